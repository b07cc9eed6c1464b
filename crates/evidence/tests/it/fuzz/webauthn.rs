//! What browsers and authenticators send.

use countersign_evidence::webauthn::{
    Assertion, AuthenticatorData, Credential, MAX_CREDENTIAL_ID_BYTES, PublicKey, RelyingParty,
    register, verify,
};

use super::{part, turned};

/// The challenge of every seed.
pub(crate) const CHALLENGE: &[u8] = b"thirty-two bytes of a challenge.";
const OTHER: &[u8] = b"thirty-two bytes of a question..";

/// The site of every seed.
pub(crate) fn party() -> RelyingParty {
    RelyingParty {
        id: "gate.example.com".into(),
        origin: "https://gate.example.com".into(),
    }
}

fn elsewhere() -> RelyingParty {
    RelyingParty {
        origin: "https://gate.example.org".into(),
        ..party()
    }
}

/// Every byte of authenticator data belongs to something.
fn check_whole(bytes: &[u8]) {
    if AuthenticatorData::parse(bytes).is_err() {
        return;
    }
    assert!(AuthenticatorData::parse(&[bytes, &[0]].concat()).is_err());
    let shorter = bytes.split_last().map_or(&[][..], |(_, shorter)| shorter);
    assert!(AuthenticatorData::parse(shorter).is_err());
}

/// Client data, with its length before it, and authenticator data.
pub(super) fn registration(bytes: &[u8]) -> bool {
    let Some((client_data, data)) = part(bytes) else {
        return false;
    };
    check_whole(data);
    let _read_or_refused = PublicKey::parse(data);
    let registered = |party, challenge| register(&party, challenge, client_data, data);
    let Ok(credential) = registered(party(), CHALLENGE) else {
        return false;
    };
    assert!((1..=MAX_CREDENTIAL_ID_BYTES).contains(&credential.id.len()));
    let key = PublicKey::parse(&credential.public_key).expect("it was registered");
    assert!(!key.verifies(CHALLENGE, &credential.id));
    assert!(registered(party(), OTHER).is_err());
    assert!(registered(elsewhere(), CHALLENGE).is_err());
    let read = AuthenticatorData::parse(data).expect("it was registered");
    let made = read.credential.expect("it was registered");
    assert!(read.present && read.verified);
    assert_eq!(
        (made.id, made.public_key),
        (&credential.id[..], &credential.public_key[..])
    );
    true
}

/// Client data, authenticator data and public key, each with its length before it, and a signature.
pub(super) fn assertion(bytes: &[u8]) -> bool {
    let parts = part(bytes).and_then(|(client_data, rest)| {
        let (authenticator_data, rest) = part(rest)?;
        let (public_key, signature) = part(rest)?;
        Some((client_data, authenticator_data, public_key, signature))
    });
    let Some((client_data, authenticator_data, public_key, signature)) = parts else {
        return false;
    };
    check_whole(authenticator_data);
    let credential = Credential {
        id: b"name".to_vec(),
        public_key: public_key.to_vec(),
        counter: 0,
        backup_eligible: authenticator_data
            .get(32)
            .is_some_and(|flags| flags & 8 != 0),
    };
    let assertion = Assertion {
        client_data: client_data.to_vec(),
        authenticator_data: authenticator_data.to_vec(),
        signature: signature.to_vec(),
    };
    let holds = |assertion: &Assertion| verify(&party(), CHALLENGE, &credential, assertion);
    if holds(&assertion).is_err() {
        return false;
    }
    assert!(verify(&party(), OTHER, &credential, &assertion).is_err());
    assert!(verify(&elsewhere(), CHALLENGE, &credential, &assertion).is_err());
    let not = |change: &dyn Fn(&mut Assertion)| {
        let mut changed = assertion.clone();
        change(&mut changed);
        assert!(holds(&changed).is_err());
    };
    for changed in turned(client_data) {
        not(&|assertion| assertion.client_data.clone_from(&changed));
    }
    for changed in turned(authenticator_data) {
        not(&|assertion| assertion.authenticator_data.clone_from(&changed));
    }
    for changed in turned(signature) {
        not(&|assertion| assertion.signature.clone_from(&changed));
    }
    true
}
