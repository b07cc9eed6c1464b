//! One suite for every store, and what only the SQLite store promises.
//!
//! In scope: each method, each conflict, atomicity, races; then durability, damage and full disks.
//! Invariant: a test of the suite knows nothing but [`Store`](countersign_store::Store), so a new
//! kind of store runs it by one line more in `stores!`.

#[cfg(test)]
mod conformance {
    mod fixture;

    mod atomicity;
    mod bundle;
    mod cases;
    mod credentials;
    mod emergencies;
    mod finding;
    mod forgetting;
    mod listing;
    mod outbox;
    mod races;
    mod small;
    mod sqlite_damage;
    mod sqlite_durable;
    mod steps;
}
