//! Votes by passkey: what the verifier finds where a key, an enrolment or a signature is wrong.

use super::build::*;
use crate::{
    approval::tests::{SITE, signed},
    body::*,
    reference::Ref,
    verify::Problem,
    vote::VoteStatement,
    webauthn::tests::Key,
};
use countersign_core::{approval::vote::PasskeySignature, canonical::Hash, id::CredentialId};
use serde_json::json;

pub(super) fn enrolment(key: &Key, holder: Ref) -> Draft {
    control(Body::CredentialIssued(CredentialIssued {
        credential: CredentialId::from_bits(5),
        holder,
        issuer: None,
        kind: CredentialKind::Passkey,
        passkey: Some(EnrolledKey {
            key: Hash::of(&key.cose()),
            site: SITE.into(),
        }),
    }))
}

fn revocation() -> Draft {
    control(Body::CredentialRevoked(CredentialRevoked {
        credential: CredentialId::from_bits(5),
    }))
}

fn dana_votes(key: &Key) -> (PasskeySignature, VoteStatement) {
    let mut plain = statement(HELD, MINUTE, DANA, "dba", 0);
    plain.assurance = Assurance::Passkey;
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
        passkey: CredentialId::from_bits(5),
        voter: person(DANA),
    };
    // A key that was put into the database by hand has no enrolment.
    let mut without = log(&key);
    without.0.remove(1);
    assert_eq!(problems(&without), [not_enrolled()]);
    let mut of_another = log(&key);
    of_another.0[1] = enrolment(&key, person(ERIN));
    assert_eq!(problems(&of_another), [not_enrolled()]);
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
    assert_eq!(problems(&before_vote), [revoked(), revoked()]);
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
