//! A log that begins in the place of another one.

use countersign_core::canonical::Hash;

use super::{build::*, check};
use crate::{
    body::*,
    verify::{Problem, Severity},
};

fn began() -> Draft {
    let head = |size| Head {
        root: Hash::of(b"root"),
        size,
    };
    control(Body::EpochStarted(EpochStarted {
        checkpoint: Some(head(50)),
        dropped: 2,
        former: "log.example/before".into(),
        found: "short".into(),
        kept: head(40),
        missing: 10,
        unknown: 1,
        unrecorded: 0,
    }))
}

#[test]
fn a_log_that_begins_after_another_holds_and_says_so() {
    let mut log = good();
    log.0[0] = began();
    let report = log.verify();
    assert!(report.passed(), "{:?}", report.findings);
    let [found] = &report.findings[..] else {
        panic!("{:?}", report.findings);
    };
    assert_eq!(
        (found.entry, found.problem.severity()),
        (Some(0), Severity::Note)
    );
    let text = found.to_string();
    assert!(
        text.contains("`log.example/before`, of which 40 records were there and at least 10"),
        "{text}"
    );
}

#[test]
fn a_log_begins_only_once_and_with_its_first_record() {
    let instance = || "gw-1".into();
    check(
        "in the middle of an instance",
        |log| log.0.insert(3, began()),
        &[
            Problem::StartedTwice {
                instance: instance(),
            },
            Problem::EpochInside,
        ],
    );
    check(
        "as another instance",
        |log| {
            let instance = "gw-9";
            log.0.insert(
                3,
                Draft {
                    instance,
                    ..began()
                },
            );
        },
        &[Problem::EpochInside],
    );
}
