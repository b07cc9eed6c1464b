//! A valid log, and everything that can be done to it.
//!
//! In scope: the untampered control, one table per area of what an attacker changes, every flipped
//! bit.
//! Out of scope: forks, which need a witness.

mod amendments;
mod approvals;
mod build;
mod emergencies;
mod epoch;
mod erasure;
mod grants;
mod integrity;
mod passkeys;
mod receipts;
mod report;
mod rotation;
mod rules;
mod seeds;
mod tamper;
mod tiles;

use build::{Log, good};

use super::*;

#[test]
fn the_untampered_log_passes() {
    let report = good().verify();
    assert_eq!(report.findings, []);
    assert_eq!((report.entries, report.requests), (38, 6));
    assert!(report.passed() && report.holds(Area::Rules));
}

/// The failures of a log that was changed, in order.
#[track_caller]
fn check(name: &str, change: impl Fn(&mut Log), expected: &[Problem]) {
    let mut log = good();
    change(&mut log);
    let report = log.verify();
    let found: Vec<_> = report
        .failures()
        .map(|finding| finding.problem.clone())
        .collect();
    assert_eq!(found, expected, "{name}");
    assert_eq!(report.passed(), expected.is_empty());
}
