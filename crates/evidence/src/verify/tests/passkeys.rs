//! Votes by passkey: what the verifier finds where a key, an enrolment or a signature is wrong.

use super::build::*;
use crate::{
    approval::tests::{SITE, signed, signed_until},
    body::*,
    reference::Ref,
    verify::Problem,
    vote::VoteStatement,
    webauthn::tests::Key,
};
use countersign_core::{
    approval::vote::PasskeySignature, canonical::Hash, id::CredentialId, time::Timestamp,
};
use serde_json::json;

/// The name of the passkey.
pub(super) fn passkey() -> CredentialId {
    CredentialId::from_bits(5)
}

pub(super) fn enrolment(key: &Key, holder: Ref) -> Draft {
    control(Body::CredentialIssued(CredentialIssued {
        credential: passkey(),
        holder,
        issuer: None,
        kind: CredentialKind::Passkey,
        passkey: Some(EnrolledKey {
            key: Hash::of(&key.cose()),
            site: SITE.into(),
            countersigned: true,
        }),
    }))
}

fn revocation() -> Draft {
    control(Body::CredentialRevoked(CredentialRevoked {
        credential: passkey(),
    }))
}

fn dana_votes(key: &Key) -> (PasskeySignature, VoteStatement) {
    let mut plain = statement(HELD, MINUTE, DANA, "dba", 0);
    plain.assurance = Assurance::Passkey;
    plain.credential = passkey();
    signed(key, plain)
}

fn draft(signature: &PasskeySignature, statement: &VoteStatement) -> Draft {
    vote_with(HELD, MINUTE, signature, statement)
}

/// A vote with what the voter's passkey signed.
pub(super) fn vote_with(
    request: u128,
    at: i64,
    signature: &PasskeySignature,
    statement: &VoteStatement,
) -> Draft {
    let mut draft = vote(request, at, statement);
    let envelope = draft.value.as_ref().unwrap()["envelope"].clone();
    draft.value = Some(json!({ "envelope": envelope, "vote": { "signature": signature } }));
    draft
}

/// A good log in which Dana signs with `key`; the rule asks for it.
fn log(key: &Key) -> Log {
    let mut log = good();
    log.0.insert(1, enrolment(key, person(DANA)));
    let (signature, statement) = dana_votes(key);
    let place = log.place(HELD, 2);
    log.0[place] = draft(&signature, &statement);
    log
}

fn problems(log: &Log) -> Vec<Problem> {
    let report = log.verify();
    report
        .failures()
        .map(|found| found.problem.clone())
        .collect()
}

#[test]
fn a_vote_by_an_enrolled_passkey_holds() {
    for key in Key::all() {
        assert_eq!(problems(&log(&key)), []);
    }
}

#[test]
fn a_passkey_speaks_for_whom_the_log_enrolled_it() {
    let [key, other, _] = Key::all();
    let not_enrolled = || Problem::PasskeyNotEnrolled {
        voter: person(DANA),
    };
    // A key that was put into the database by hand has no enrolment.
    let mut without = log(&key);
    without.0.remove(1);
    let credential = passkey;
    assert_eq!(
        problems(&without),
        [Problem::CredentialUnknown {
            credential: credential()
        }]
    );
    let mut of_another = log(&key);
    of_another.0[1] = enrolment(&key, person(ERIN));
    let of_other = Problem::CredentialOfOther {
        credential: credential(),
    };
    assert_eq!(problems(&of_another), [of_other, not_enrolled()]);
    let mut another_key = log(&key);
    another_key.0[1] = enrolment(&other, person(DANA));
    assert_eq!(problems(&another_key), [not_enrolled()]);
    let mut replaced = log(&key);
    replaced.0[1] = enrolment(&other, person(DANA));
    replaced.0.insert(2, enrolment(&key, person(DANA)));
    assert_eq!(problems(&replaced), [not_enrolled()]);
}

#[test]
fn a_revoked_passkey_speaks_for_nobody() {
    let key = &Key::all()[0];
    let revoked = || Problem::PasskeyRevoked {
        voter: person(DANA),
    };
    let mut before_vote = log(key);
    before_vote.0.insert(2, revocation());
    let credential = passkey();
    assert_eq!(
        problems(&before_vote),
        [Problem::CredentialRevoked { credential }, revoked()]
    );
    let mut before_permit = log(key);
    before_permit.before(HELD, 5, revocation());
    assert_eq!(problems(&before_permit), [revoked()]);
    let mut afterwards = log(key);
    afterwards.behind(HELD, 5, revocation());
    assert_eq!(problems(&afterwards), []);
}

#[test]
fn a_signature_that_is_missing_or_another_is_found() {
    let [key, other, _] = Key::all();
    let (signature, statement) = dana_votes(&key);
    let voter = person(DANA);
    let with = |draft: Draft| {
        let mut log = log(&key);
        let place = log.place(HELD, 2);
        log.0[place] = draft;
        problems(&log)
    };
    // Whoever has the gateway's own keys can say anything but what the passkey signed.
    let mut unsigned = statement.clone();
    unsigned.signature = None;
    let missing = [Problem::SignatureMissing { voter }];
    assert_eq!(with(vote(HELD, MINUTE, &unsigned)), missing);
    assert_eq!(with(vote(HELD, MINUTE, &statement)), missing);
    let (forged, of_forged) = dana_votes(&other);
    let found = with(draft(&forged, &of_forged));
    assert!(
        matches!(found[..], [Problem::PasskeyNotEnrolled { .. }]),
        "{found:?}"
    );
    let mut elsewhere = statement.clone();
    elsewhere.reason = Some("another".into());
    let found = with(draft(&signature, &elsewhere));
    assert!(
        matches!(found[..], [Problem::SignatureRefused { .. }]),
        "{found:?}"
    );
    let found = with(draft(&forged, &statement));
    assert!(
        matches!(found[..], [Problem::SignatureRefused { .. }]),
        "{found:?}"
    );
}

#[test]
fn a_passkey_that_its_holder_alone_added_signs_no_votes() {
    let key = &Key::all()[0];
    let mut log = log(key);
    let Body::CredentialIssued(issued) = &mut log.0[1].body else {
        panic!("the enrolment")
    };
    issued.passkey.as_mut().unwrap().countersigned = false;
    let voter = person(DANA);
    assert_eq!(problems(&log), [Problem::PasskeyNotEnrolled { voter }]);
}

#[test]
fn a_signature_counts_once() {
    let key = &Key::all()[0];
    let (signature, statement) = dana_votes(key);
    let mut log = log(key);
    let place = log.place(HELD, 2);
    let withdrawn = ApprovalWithdrawn {
        voter: person(DANA),
    };
    let withdrawn = of(HELD, MINUTE, Body::ApprovalWithdrawn(withdrawn));
    log.0.insert(place + 1, withdrawn);
    log.0.insert(place + 2, draft(&signature, &statement));
    let voter = person(DANA);
    assert_eq!(problems(&log), [Problem::SignatureUsedTwice { voter }]);
}

#[test]
fn a_statement_is_good_for_minutes() {
    let key = &Key::all()[0];
    for (away, holds) in [(0, true), (600_000, true), (600_001, false), (-1, false)] {
        let mut plain = statement(HELD, MINUTE, DANA, "dba", 0);
        plain.assurance = Assurance::Passkey;
        plain.credential = passkey();
        let until = Timestamp(plain.at.0 + away);
        let (signature, statement) = signed_until(key, plain, until);
        let mut log = log(key);
        let place = log.place(HELD, 2);
        log.0[place] = draft(&signature, &statement);
        assert_eq!(problems(&log).is_empty(), holds, "{away}");
    }
}

/// Whoever was disabled has no credential any more, also once they are back.
#[test]
fn credentials_end_with_their_holder() {
    let key = &Key::all()[0];
    for (what, ends) in [
        ("disable_person", true),
        ("stop_agent", true),
        ("add_membership", false),
    ] {
        let mut log = log(key);
        let changed = DirectoryChanged {
            subject: person(DANA),
            what: what.into(),
        };
        log.0.insert(2, control(Body::DirectoryChanged(changed)));
        let found = problems(&log);
        assert_eq!(!found.is_empty(), ends, "{what}: {found:?}");
    }
}
