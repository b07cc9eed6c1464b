//! Notes and checkpoints that keep or break one rule of their specification each.

mod cases;

use base64::{Engine, engine::general_purpose::STANDARD};
use cases::{all, key};
use countersign_evidence::{
    checkpoint::{Checkpoint, InvalidCheckpoint},
    merkle::empty_root,
    note::{Note, sign},
};

#[test]
fn every_rule_of_notes_is_kept() {
    let known = [key().verifying().clone()];
    for case in all() {
        let opened = Note::open(&case.note, &known);
        assert_eq!(
            opened.as_ref().err(),
            case.refused.as_ref(),
            "{}",
            case.name
        );
        assert!(
            case.go_accepts || opened.is_err(),
            "{}: laxer than Go",
            case.name
        );
        if let Ok(note) = opened {
            assert_eq!(note.signers(), [key().verifying().label()], "{}", case.name);
            assert!(
                case.note.starts_with(note.text().as_bytes()),
                "{}",
                case.name
            );
        }
    }
}

/// What the log's key signed and is no checkpoint all the same.
#[test]
fn every_rule_of_checkpoints_is_kept() {
    let root = STANDARD.encode([0xfb; 32]);
    let none = STANDARD.encode(empty_root().0);
    let line = InvalidCheckpoint::Line;
    let with = |size: &str, root: &str| format!("log.example\n{size}\n{root}\n");
    for (text, expected) in [
        (with("1", &root), None),
        (with("0", &none), None),
        (with("18446744073709551615", &root), None),
        (with("0", &root), Some(InvalidCheckpoint::EmptyRoot)),
        (with("18446744073709551616", &root), Some(line(2))),
        (with("00", &none), Some(line(2))),
        (with("01", &root), Some(line(2))),
        (with("+1", &root), Some(line(2))),
        (with("-0", &none), Some(line(2))),
        (with("1.0", &root), Some(line(2))),
        (with("1e3", &root), Some(line(2))),
        (with("0x1", &root), Some(line(2))),
        (with("1_000", &root), Some(line(2))),
        (with(" 1", &root), Some(line(2))),
        (with("1 ", &root), Some(line(2))),
        (with("\u{ff11}", &root), Some(line(2))),
        (with("", &root), Some(line(2))),
        (with("1", ""), Some(line(3))),
        (with("1", &STANDARD.encode([0xfb; 31])), Some(line(3))),
        (with("1", &STANDARD.encode([0xfb; 33])), Some(line(3))),
        (with("1", root.trim_end_matches('=')), Some(line(3))),
        (with("1", &root.replace('+', "-")), Some(line(3))),
        // The last digit has two bits that nothing stands for.
        (with("1", &root.replace("s=", "t=")), Some(line(3))),
        (with("1", &format!("{root} ")), Some(line(3))),
        // Allowed by the specification; this log never writes any.
        (with("1", &root) + "an extension line\n", Some(line(4))),
        (with("1", &root) + "\n", Some(line(4))),
        (with("1", &root) + "\nafter a blank line\n", Some(line(4))),
        ("log.example\n1\n".into(), Some(line(3))),
        ("log.example\n".into(), Some(line(2))),
        ("\n".into(), Some(line(1))),
        (format!("\n1\n{root}\n"), Some(line(1))),
        (
            format!("log.example \n1\n{root}\n"),
            Some(InvalidCheckpoint::Origin {
                found: "log.example ".into(),
                expected: "log.example".into(),
            }),
        ),
    ] {
        let note = sign(&text, &key()).unwrap();
        let opened = Checkpoint::open(note.as_bytes(), key().verifying());
        assert_eq!(opened.as_ref().err(), expected.as_ref(), "{text}");
        if let Ok(checkpoint) = opened {
            assert_eq!(checkpoint.to_text(), text);
        }
    }
}
