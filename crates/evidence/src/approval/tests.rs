//! Votes signed by an authenticator made of keys, and everything that must not hold.

use countersign_core::id::CredentialId;

use super::*;
use crate::{
    body::{Assurance, Slot},
    webauthn::tests::{Key, asserted, client_data, data},
};

pub(crate) const SITE: &str = "gate.example.com";
pub(crate) const ORIGIN: &str = "https://gate.example.com";

pub(crate) fn vote() -> VoteStatement {
    VoteStatement {
        assurance: Assurance::Passkey,
        at: Timestamp(1_790_000_000_000),
        credential: CredentialId::from_bits(5),
        digest: ActionDigest(Hash::of(b"action")),
        emergency: false,
        grant: None,
        in_place_of: None,
        lineage: Vec::new(),
        issuer: None,
        reason: Some("checked".into()),
        request: RequestId::from_bits(2),
        shown: Some(Hash::of(b"git push")),
        signature: None,
        slots: vec![Slot {
            rule: "dba".parse().unwrap(),
            stage: 0,
        }],
        verdict: Verdict::Approve,
        voter: "0123456789abcdef0123456789abcdef".parse().unwrap(),
    }
}

fn statement(vote: &VoteStatement) -> ApprovalStatement {
    ApprovalStatement {
        bundle: Hash::of(b"bundle"),
        digest: vote.digest,
        expires: Timestamp(vote.at.0 + 60_000),
        grant: vote.grant.clone(),
        lifts: lifted(vote).cloned(),
        nonce: Hash::of(b"nonce"),
        reason: vote.reason.clone(),
        renderer: RENDERER.into(),
        request: vote.request.clone(),
        shown: vote.shown.unwrap(),
        v: VERSION,
        verdict: vote.verdict,
        voter: vote.voter,
    }
}

fn sign_statement(key: &Key, statement: &ApprovalStatement, origin: &str) -> PasskeySignature {
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let challenge = statement.challenge().unwrap();
    let client = client_data("webauthn.get", &challenge.0, origin, "");
    let signed = asserted(key, client, data(SITE, 0x05, &[]));
    PasskeySignature {
        statement: statement.to_text().unwrap(),
        passkey: encode(b"name"),
        public_key: encode(&key.cose()),
        backup_eligible: false,
        site: SITE.into(),
        origin: origin.into(),
        client_data: encode(&signed.client_data),
        authenticator_data: encode(&signed.authenticator_data),
        signature: encode(&signed.signature),
    }
}

/// The signature of a vote by `key`, and the vote with its hash.
pub(crate) fn signed(key: &Key, vote: VoteStatement) -> (PasskeySignature, VoteStatement) {
    let expires = statement(&vote).expires;
    signed_until(key, vote, expires)
}

/// The same with a statement that is good until then.
pub(crate) fn signed_until(
    key: &Key,
    mut vote: VoteStatement,
    expires: Timestamp,
) -> (PasskeySignature, VoteStatement) {
    let statement = ApprovalStatement {
        expires,
        ..statement(&vote)
    };
    let signature = sign_statement(key, &statement, ORIGIN);
    vote.signature = Some(hash_of(&signature).unwrap());
    (signature, vote)
}

#[test]
fn the_challenge_is_the_one_specified() {
    // import hashlib, json; h = lambda b: hashlib.sha256(b).digest()
    // s = json.dumps({...sorted...}, separators=(",", ":")).encode()
    // h(b"countersign/approval/v1\0" + h(b"nonce") + h(s)).hex()
    let statement = statement(&vote());
    let text = statement.to_text().unwrap();
    let inner = [DOMAIN, &statement.nonce.0, &Hash::of(text.as_bytes()).0].concat();
    assert_eq!(statement.challenge().unwrap(), Hash::of(&inner));
    assert_eq!(ApprovalStatement::parse(&text), Ok(statement.clone()));
    for (from, to) in [
        ("{\"bundle\"", "{ \"bundle\""),
        ("\"v\":1", "\"v\":2"),
        ("\"v\":1", "\"v\":1,\"w\":1"),
        ("presentation/1", "presentation/2"),
    ] {
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text);
        assert!(ApprovalStatement::parse(&changed).is_err(), "{to}");
    }
}

#[test]
fn a_signature_is_that_of_one_vote_only() {
    for key in Key::all() {
        let (signature, vote) = signed(&key, vote());
        assert!(verify(&signature, &vote).is_ok());
        type Change = fn(&mut VoteStatement);
        let changes: [(&str, Change); 7] = [
            ("action", |vote| vote.digest = ActionDigest(Hash::of(b"b"))),
            ("request", |vote| vote.request = RequestId::from_bits(3)),
            ("verdict", |vote| vote.verdict = Verdict::Deny),
            ("voter", |vote| {
                vote.voter = "1123456789abcdef0123456789abcdef".parse().unwrap();
            }),
            ("reason", |vote| vote.reason = None),
            ("text shown", |vote| vote.shown = None),
            ("time", |vote| vote.at = Timestamp(vote.at.0 + 60_001)),
        ];
        for (field, change) in changes {
            let mut other = vote.clone();
            change(&mut other);
            let refused = verify(&signature, &other).unwrap_err();
            assert_eq!(refused, InvalidApproval::Differs(field));
        }
    }
}

/// Neither is a signed vote a lift, nor a lift a vote, nor the lift of another rule.
#[test]
fn a_signature_says_whether_it_lifts_and_what() {
    let lift = VoteStatement {
        emergency: true,
        ..vote()
    };
    for key in Key::all() {
        let (of_vote, vote) = signed(&key, vote());
        let (of_lift, lift) = signed(&key, lift.clone());
        assert!(verify(&of_vote, &vote).is_ok() && verify(&of_lift, &lift).is_ok());
        let purpose = InvalidApproval::Differs("purpose");
        assert_eq!(verify(&of_vote, &lift).unwrap_err(), purpose);
        assert_eq!(verify(&of_lift, &vote).unwrap_err(), purpose);
        let mut other = lift.clone();
        other.slots[0].rule = "security".parse().unwrap();
        let rule = InvalidApproval::Differs("lifted rule");
        assert_eq!(verify(&of_lift, &other).unwrap_err(), rule);
        let mut both = lift.clone();
        both.slots.push(other.slots[0].clone());
        assert_eq!(verify(&of_lift, &both).unwrap_err(), rule);
    }
    // What was signed before there were lifts is read as a vote; what is signed says the rule.
    let text = |vote: &VoteStatement| statement(vote).to_text().unwrap();
    assert!(!text(&vote()).contains("lifts"));
    assert!(text(&lift).contains("\"lifts\":\"dba\""));
}

#[test]
fn a_changed_signature_does_not_hold() {
    let [key, other, _] = Key::all();
    let (good, vote) = signed(&key, vote());
    let (others, _) = signed(&other, vote.clone());
    let mut bound = statement(&vote);
    bound.nonce = Hash::of(b"another");
    type Change = Box<dyn Fn(&mut PasskeySignature)>;
    let changes: [(&str, Change); 6] = [
        ("a nonce", {
            let text = bound.to_text().unwrap();
            Box::new(move |one| one.statement.clone_from(&text))
        }),
        ("a key", {
            let key = others.public_key.clone();
            Box::new(move |one| one.public_key.clone_from(&key))
        }),
        ("a site", Box::new(|one| one.site = "example.com".into())),
        (
            "an origin",
            Box::new(|one| one.origin = "https://gate.example.com:444".into()),
        ),
        ("a kind", Box::new(|one| one.backup_eligible = true)),
        ("a form", Box::new(|one| one.signature.push('='))),
    ];
    for (what, change) in changes {
        let mut changed = good.clone();
        change(&mut changed);
        assert!(verify(&changed, &vote).is_err(), "{what}");
        assert_ne!(
            hash_of(&changed).unwrap(),
            vote.signature.unwrap(),
            "{what}"
        );
    }
    let elsewhere = sign_statement(&key, &statement(&vote), "https://evil.example");
    assert_eq!(verify(&elsewhere, &vote), Err(InvalidApproval::Origin));
}

#[test]
fn pages_are_of_a_site_as_browsers_have_it() {
    for (origin, site, expected) in [
        ("https://gate.example.com", "gate.example.com", true),
        ("https://gate.example.com:8443", "gate.example.com", true),
        ("https://gate.example.com", "example.com", true),
        ("https://evilexample.com", "example.com", false),
        ("https://example.com", "gate.example.com", false),
        ("http://gate.example.com", "gate.example.com", false),
        ("http://localhost:7070", "localhost", true),
        ("https://x", "", false),
        ("gate.example.com", "gate.example.com", false),
    ] {
        assert_eq!(is_of_site(origin, site), expected, "{origin} {site}");
    }
}
