//! Copies of a log that goes on while they are made.

use std::{fs::OpenOptions, io::Write};

use countersign_core::time::Timestamp;
use countersign_evidence::{
    body::{Counters, CredentialRevoked, Erasure, EvidenceErased},
    evidence::{Evidence, Kind, Part},
    leaf::{NO_PREVIOUS, VERSION},
};
use serde_json::json;

use super::*;
use crate::log::journal;

fn beat() -> Body {
    Body::Heartbeat(Counters::default())
}

fn revoked() -> Body {
    Body::CredentialRevoked(CredentialRevoked {
        credential: "crd_1".parse().unwrap(),
    })
}

fn erased() -> Body {
    Body::EvidenceErased(EvidenceErased {
        keys: Vec::new(),
        subject: None,
        why: Erasure::Retention,
    })
}

/// A log to which records are appended: with the number that the database gave them, or with none.
struct Bench(tempfile::TempDir, u64);

impl Bench {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap(), 0)
    }

    fn dir(&self) -> PathBuf {
        self.0.path().to_owned()
    }

    fn append(&mut self, records: Vec<(Option<u64>, Body)>) {
        let mut bytes = Vec::new();
        for (outbox, body) in records {
            let part = Part::new(Kind::Control, [1; 32], &json!({ "outbox": outbox })).unwrap();
            let evidence = Evidence::new(outbox.map(|_| part).into_iter().collect());
            let leaf = Leaf {
                at: Timestamp(1),
                body,
                digest: None,
                evidence: None,
                instance: "i-test".into(),
                prev: NO_PREVIOUS,
                request: None,
                seq: self.1,
                v: VERSION,
            };
            self.1 += 1;
            let stored = outbox.map_or(Vec::new(), |_| evidence.to_bytes());
            journal::encode(&leaf.to_bytes().unwrap(), &stored, &mut bytes).unwrap();
        }
        let path = self.dir().join("journal");
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .unwrap();
        file.write_all(&bytes).unwrap();
    }

    /// The outbox numbers in a copy that ends there.
    fn copied(&self, seen: &Seen, cut: Cut) -> Vec<u64> {
        let to = tempfile::tempdir().unwrap();
        seen.copy(cut, &mut Tree::at(to.path()).unwrap()).unwrap();
        let copy = Seen::now(&to.path().join("log")).unwrap();
        let mut found = Vec::new();
        copy.read_from(0, |frame, _| {
            found.extend(Noted::of(&control(frame.evidence)?).outbox);
            Ok(())
        })
        .unwrap();
        assert_eq!(copy.length, cut.offset, "it ends within a record");
        found
    }
}

fn database(arrived: u64, last_record: u64) -> Copied {
    Copied {
        last_record,
        arrived,
    }
}

/// The database is copied after the log was looked at: it may know more to be in the log than was, and
/// never less. What it does not have is not in the copy, however far the log has come.
#[test]
fn a_copy_ends_where_the_database_does() {
    let mut bench = Bench::new();
    bench.append(vec![(None, beat()), (Some(1), beat()), (Some(2), beat())]);
    let seen = Seen::now(&bench.dir()).unwrap();
    bench.append(vec![(Some(3), beat()), (None, beat()), (Some(4), beat())]);
    for (copied, expected) in [
        (database(2, 2), vec![1, 2]),
        (database(1, 3), vec![1, 2]),
        (database(3, 4), vec![1, 2, 3]),
        (database(4, 9), vec![1, 2, 3, 4]),
    ] {
        let cut = seen.cut(copied).unwrap().unwrap();
        assert_eq!(bench.copied(&seen, cut), expected, "{copied:?}");
    }
    for (arrived, last) in [(5, 5), (0, 1)] {
        let refused = seen.cut(database(arrived, last)).unwrap_err().to_string();
        assert!(refused.contains("of different times"), "{refused}");
    }
}

/// People, credentials and keys have no number: whether a change of them is in the copy of the database
/// is not known where it was recorded meanwhile.
#[test]
fn what_changed_meanwhile_is_looked_at_again() {
    for (change, after_cut) in [(revoked(), false), (erased(), true)] {
        let mut bench = Bench::new();
        bench.append(vec![(None, change.clone()), (Some(1), beat())]);
        let seen = Seen::now(&bench.dir()).unwrap();
        let cut = seen.cut(database(1, 1)).unwrap().unwrap();
        assert!(!seen.is_outdated(cut).unwrap(), "that was before");
        bench.append(vec![(None, change)]);
        assert_eq!(seen.cut(database(1, 1)).unwrap(), None);
        // Keys are copied later than the database.
        assert_eq!(seen.is_outdated(cut).unwrap(), after_cut);
    }
}

#[test]
fn another_log_in_its_place_is_noticed() {
    let mut bench = Bench::new();
    bench.append(vec![(Some(1), beat())]);
    let seen = Seen::now(&bench.dir()).unwrap();
    let path = bench.dir().join("journal");
    fs::copy(&path, bench.dir().join("other")).unwrap();
    fs::rename(bench.dir().join("other"), &path).unwrap();
    let refused = seen.cut(database(1, 1)).unwrap_err().to_string();
    assert!(refused.contains("was replaced"), "{refused}");
}
