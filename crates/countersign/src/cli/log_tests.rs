//! Verification of records on disk.

use countersign_evidence::{
    checkpoint::Checkpoint,
    frame::{Frame, encode},
    key::SigningKey,
    merkle::Tree,
};
use expect_test::expect;

use super::*;
use crate::cli::output::capture::captured;

fn signer() -> SigningKey {
    SigningKey::from_seed("gate.example.com", &[7; 32]).unwrap()
}

/// A data directory whose journal holds these leaves.
fn data(leaves: &[&[u8]]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    fs::create_dir(&log).unwrap();
    let (mut journal, mut tree) = (Vec::new(), Tree::new());
    for leaf in leaves {
        encode(
            Frame {
                leaf,
                evidence: b"",
            },
            &mut journal,
        )
        .unwrap();
        tree.push(countersign_evidence::merkle::leaf_hash(leaf));
    }
    let key = signer();
    let checkpoint = Checkpoint::of("gate.example.com", &tree)
        .sign(&key)
        .unwrap();
    fs::write(log.join("journal"), journal).unwrap();
    fs::write(log.join("checkpoint"), checkpoint).unwrap();
    fs::write(log.join("key.pub"), format!("{}\n", key.verifying())).unwrap();
    fs::write(log.join("vote-key.pub"), format!("{}\n", key.verifying())).unwrap();
    directory
}

fn args(path: PathBuf) -> Args {
    Args {
        path,
        key: None,
        vote_keys: Vec::new(),
        others: Vec::new(),
    }
}

#[test]
fn an_empty_record_holds_wherever_it_is_named() {
    let data = data(&[]);
    for path in ["", "log", "log/journal"] {
        let (mut output, out, _) = captured(false, false);
        assert_eq!(
            verify(args(data.path().join(path)), &mut output),
            Ok(0),
            "{path}"
        );
        expect![[r#"
            0 entries, 0 requests
            The record holds: nothing was changed, cut off or left out.
            The rules were kept in everything it records.
        "#]]
        .assert_eq(&out.text());
    }
}

#[test]
fn a_changed_record_does_not_hold() {
    let data = data(&[b"not a leaf"]);
    let (mut output, out, _) = captured(true, false);
    assert_eq!(verify(args(data.path().to_owned()), &mut output), Ok(1));
    let last: Value = serde_json::from_str(out.text().lines().last().unwrap()).unwrap();
    assert_eq!(
        (&last["verified"], &last["integrity"], &last["entries"]),
        (&json!(false), &json!(false), &json!(1))
    );
}

#[test]
fn pieces_of_any_size_give_the_same_entries() {
    let data = data(&[b"one", b"two", b"three"]);
    let journal = data.path().join("log/journal");
    for piece in [1, 7, 30, 1000] {
        let trust = Trust {
            log: signer().verifying().clone(),
            votes: None,
        };
        let checkpoint = fs::read(data.path().join("log/checkpoint")).unwrap();
        let mut verifier = Verifier::new(trust, &checkpoint, &[]);
        feed(&journal, piece, &mut verifier).unwrap();
        assert_eq!(verifier.finish().entries, 3, "{piece}");
    }
}

#[test]
fn what_is_missing_is_named() {
    let data = data(&[]);
    fs::remove_file(data.path().join("log/key.pub")).unwrap();
    let (mut output, _, _) = captured(false, false);
    let failure = verify(args(data.path().to_owned()), &mut output).unwrap_err();
    assert_eq!(failure.exit, 64);
    assert!(failure.detail.unwrap().contains("--key"));
}
