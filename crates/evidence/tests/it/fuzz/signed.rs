//! What one key signs: notes, checkpoints, envelopes; and keys as text.

use countersign_evidence::{
    checkpoint::Checkpoint,
    envelope::{VOTE_TYPE, open, peek, sign},
    key::{SigningKey, VerifyingKey},
    note::{self, InvalidNote, Note},
    vote::VoteStatement,
};

use super::{log_key, turned, vote_key};

pub(super) fn note(bytes: &[u8]) -> bool {
    let key = log_key();
    let known = [key.verifying().clone()];
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(signed) = note::sign(text, &key)
    {
        let opened = Note::open(signed.as_bytes(), &known).expect("what was signed opens");
        assert_eq!(opened.text(), text);
        for changed in turned(signed.as_bytes()) {
            assert!(Note::open(&changed, &known).is_err());
        }
    }
    let opened = Note::open(bytes, &known);
    let Ok(text) = Note::peek(bytes) else {
        assert!(opened.is_err());
        return false;
    };
    assert!(text.ends_with('\n') && bytes.starts_with(text.as_bytes()));
    assert!(!matches!(
        opened,
        Err(InvalidNote::Form | InvalidNote::Characters)
    ));
    // One more signature makes it a note of ours, unless one in our name is wrong.
    let line = note::sign(text, &key)
        .unwrap_or_default()
        .split_off(text.len() + 1);
    match Note::open(&[bytes, line.as_bytes()].concat(), &known) {
        Ok(with) => assert_eq!((with.text(), with.signers().len()), (text, 1)),
        Err(InvalidNote::BadSignature(_)) => assert!(opened.is_err()),
        Err(InvalidNote::TooManySignatures | InvalidNote::TooLong(_)) => {}
        Err(other) => panic!("{other}"),
    }
    let Ok(note) = opened else {
        return false;
    };
    assert_eq!(note.text(), text);
    // Lines of strangers are not covered; the text is.
    for changed in turned(bytes) {
        if let Ok(other) = Note::open(&changed, &known) {
            assert_eq!(other, note);
        }
    }
    true
}

pub(super) fn checkpoint(bytes: &[u8]) -> bool {
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(read) = Checkpoint::parse(text)
    {
        assert_eq!(read.to_text(), text);
        if let Ok(key) = SigningKey::from_seed(&read.origin, &[5; 32]) {
            let signed = read.sign(&key).expect("the key has the log's name");
            let opened = Checkpoint::open(signed.as_bytes(), key.verifying());
            assert_eq!(opened.as_ref(), Ok(&read));
            for changed in turned(signed.as_bytes()) {
                assert!(Checkpoint::open(&changed, key.verifying()).is_err());
            }
        }
        assert!(read.sign(&log_key()).is_err() || read.origin == "log.example");
    }
    let key = log_key();
    let Ok(opened) = Checkpoint::open(bytes, key.verifying()) else {
        return false;
    };
    assert_eq!(Checkpoint::peek(bytes).as_ref(), Ok(&opened));
    assert_eq!(Note::peek(bytes), Ok(opened.to_text().as_str()));
    for changed in turned(bytes) {
        if let Ok(other) = Checkpoint::open(&changed, key.verifying()) {
            assert_eq!(other, opened);
        }
    }
    true
}

pub(super) fn envelope(bytes: &[u8]) -> bool {
    let key = vote_key();
    let known = [key.verifying().clone()];
    let signed = sign(VOTE_TYPE, bytes, &key);
    assert_eq!(
        open(signed.as_bytes(), VOTE_TYPE, &known).as_deref(),
        Ok(bytes)
    );
    assert!(open(signed.as_bytes(), "text/plain", &known).is_err());
    for changed in turned(signed.as_bytes()) {
        // Nothing but white space between the parts could be another way to write the same.
        assert!(open(&changed, VOTE_TYPE, &known).is_err());
    }
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(stated) = VoteStatement::open(text, None)
    {
        let again = stated.sign(&key).expect("what was read can be written");
        let read = VoteStatement::open(&again, Some(&known));
        assert_eq!(read.as_ref(), Ok(&stated));
        let record = stated.record(&again);
        assert_eq!(stated.difference(&record, &stated.request, stated.at), None);
    }
    let Ok(payload) = open(bytes, VOTE_TYPE, &known) else {
        return false;
    };
    assert_eq!(peek(bytes, VOTE_TYPE).as_ref(), Ok(&payload));
    for changed in turned(bytes) {
        if let Ok(other) = open(&changed, VOTE_TYPE, &known) {
            assert_eq!(other, payload);
        }
    }
    true
}

pub(super) fn key(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return false;
    };
    let Ok(key) = text.parse::<VerifyingKey>() else {
        return false;
    };
    assert_eq!(key.to_string(), text);
    assert!(key.verify(b"message", &[7; 64]).is_err());
    for changed in turned(bytes) {
        let read = std::str::from_utf8(&changed).ok().map(str::parse);
        assert!(!matches!(read, Some(Ok(other)) if key == other));
    }
    true
}
