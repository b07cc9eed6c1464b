//! What opens, what stays closed, and what is refused.

use std::{collections::BTreeMap, ops::Range};

use countersign_core::{canonical::json_to_canonical, id::PersonId};
use proptest::prelude::*;
use serde_json::json;

use super::{names::*, sealing::*, *};

/// Some keys by name.
#[derive(Debug, Default)]
struct Ring(BTreeMap<KeyId, SealingKey>);

impl Ring {
    fn of(numbers: &[u8]) -> Self {
        Self(numbers.iter().map(|n| (KeyId([*n; 8]), key(*n))).collect())
    }
}

impl KeySource for Ring {
    fn key(&self, id: KeyId) -> Option<SealingKey> {
        self.0.get(&id).cloned()
    }
}

fn key(number: u8) -> SealingKey {
    SealingKey([number; 32])
}

fn sealed(kind: Kind, number: u8, value: &Value) -> Part {
    let part = Part::new(kind, [number; 32], value).unwrap();
    part.sealed(KeyId([number; 8]), &key(number)).unwrap()
}

fn open() -> Evidence {
    Evidence::open_details([1; 32], &json!({"b": "x", "a": 1.0})).unwrap()
}

/// Control in the open, details of key 1, names of keys 2 and 3.
fn mixed() -> Evidence {
    let details = json!({ "by": "\u{e000}0\u{e001}", "to": "\u{e000}1\u{e001}, \u{e000}\u{e000}" });
    Evidence::new(vec![
        Part::new(Kind::Control, [0; 32], &json!({ "outbox": 7 })).unwrap(),
        sealed(Kind::Details, 1, &details),
        sealed(Kind::Names, 2, &json!({ "0": "dana" })),
        sealed(Kind::Names, 3, &json!({ "1": "\"Eli\"\n" })),
    ])
}

#[test]
fn the_commitment_is_the_one_specified() {
    // p = hashlib.sha256(b"countersign/part/v1\0details\0" + b"\1" * 32 + b'{"a":1,"b":"x"}').digest()
    // hashlib.sha256(b"countersign/evidence/v2\0" + b"\0" + p).hexdigest()
    let expected = "3d8cd01e23f0b555edcc64bc09a819c3c72c40c7d222bde87dcaeeadb13e9fb7";
    assert_eq!(open().commitment().to_hex(), expected);
    let value = json!({"a": 1, "b": "x"});
    let other_salt = Evidence::open_details([2; 32], &value).unwrap();
    assert_ne!(other_salt.commitment(), open().commitment());
    let other_kind = Part::new(Kind::Control, [1; 32], &value).unwrap();
    let other_kind = Evidence::new(vec![other_kind]);
    assert_ne!(other_kind.commitment(), open().commitment());
}

#[test]
fn sealing_withholding_and_opening_keep_the_commitment() {
    let evidence = mixed();
    let all = Ring::of(&[1, 2, 3]);
    let disclosed = evidence.disclosed(&all).unwrap();
    let withheld = evidence.disclosed(&NoKeys).unwrap();
    for form in [&evidence, &disclosed, &withheld] {
        assert_eq!(form.commitment(), evidence.commitment());
        assert_eq!(Evidence::parse(&form.to_bytes()).as_ref(), Ok(form));
    }
    let read = |evidence: &Evidence, keys: &dyn KeySource| {
        Evidence::open(&evidence.to_bytes(), evidence.commitment(), keys).unwrap()
    };
    assert_eq!(read(&evidence, &all), read(&disclosed, &NoKeys));
    let whole = read(&evidence, &all);
    assert_eq!(
        whole.value(),
        json!({ "by": "dana", "outbox": 7, "to": "\"Eli\"\n, \u{e000}" })
    );
    assert_eq!(
        whole.details(),
        Some("{\"by\":\"dana\",\"to\":\"\\\"Eli\\\"\\n, \u{e000}\"}")
    );
    assert_eq!(read(&withheld, &all).value(), json!({ "outbox": 7 }));
}

#[test]
fn what_has_no_key_stays_closed() {
    let evidence = mixed();
    let opened = |keys: &[u8]| evidence.opened(&Ring::of(keys)).unwrap();
    let closed = |opened: &Opened| {
        let names = opened.closed.iter().map(|key| key.unwrap().0[0]);
        names.collect::<Vec<_>>()
    };
    let nobody = opened(&[]);
    assert_eq!(closed(&nobody), [1, 2, 3]);
    assert_eq!(nobody.details(), None);
    assert_eq!(evidence.control(), json!({ "outbox": 7 }));
    let without_dana = opened(&[1, 3]);
    assert_eq!(closed(&without_dana), [2]);
    assert_eq!(without_dana.value()["by"], ERASED);
    let bytes = String::from_utf8(evidence.to_bytes()).unwrap();
    assert!(
        !bytes.contains("dana") && !bytes.contains("\"by\""),
        "{bytes}"
    );
}

#[test]
fn another_key_or_changed_bytes_do_not_open() {
    let mut ring = Ring::of(&[1, 2, 3]);
    ring.0.insert(KeyId([1; 8]), key(9));
    assert_eq!(mixed().opened(&ring), Err(InvalidEvidence::Sealed));
    let ring = Ring::of(&[1, 2, 3]);
    let stored = mixed().to_bytes();
    let commitment = mixed().commitment();
    for bit in 0..stored.len() * 8 {
        let mut changed = stored.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let read = Evidence::open(&changed, commitment, &ring);
        assert!(read.is_err(), "bit {bit}");
    }
}

#[test]
fn only_the_stored_form_is_read() {
    let stored = open().to_bytes();
    let text = String::from_utf8(stored.clone()).unwrap();
    assert_eq!(Evidence::parse(&stored), Ok(open()));
    for bad in [
        String::new(),
        text.replace("\"a\":1,", ""),
        text.replace("\"a\":1", "\"a\": 1"),
        text.replace("\"a\":1", "\"a\":1.0"),
        text.replace("{\"a\":1,\"b\":\"x\"}", "{\"b\":\"x\",\"a\":1}"),
        text.replace("{\"a\":1,\"b\":\"x\"}", "{\"a\":1,\"a\":1,\"b\":\"x\"}"),
        text.replace("{\"a\":1,\"b\":\"x\"}", "1,\"more\":2"),
        text.replace("details", "names"),
        text.replace("details", "other"),
        text.replace("0101", "01"),
        text.replace("[", "[ "),
        text.replace("\"salt\"", "\"key\":\"0000000000000000\",\"salt\""),
        format!("[{0},{0}]", &text[1..text.len() - 1]),
        format!("{text} "),
    ] {
        let read = Evidence::open(bad.as_bytes(), open().commitment(), &NoKeys);
        assert!(read.is_err(), "{bad}");
    }
}

/// Finds whole words.
struct Words(Vec<&'static str>);

impl Finder for Words {
    fn mentions(&self, text: &str) -> Vec<(Range<usize>, PersonId)> {
        let mut found = Vec::new();
        for name in &self.0 {
            for (at, _) in text.match_indices(name) {
                found.push((at..at + name.len(), name.to_lowercase().parse().unwrap()));
            }
        }
        found.sort_by_key(|(place, _)| place.start);
        found
    }
}

#[test]
fn names_are_numbered_once_and_by_person() {
    let mut value = json!({ "a": ["dana asks eli", "dana"], "dana": "DANA", "n": 1 });
    let taken = take_out(&mut value, &Words(vec!["dana", "DANA", "eli"]));
    assert_eq!(
        value,
        json!({
            "a": ["\u{e000}0\u{e001} asks \u{e000}1\u{e001}", "\u{e000}0\u{e001}"],
            "dana": "\u{e000}2\u{e001}",
            "n": 1,
        })
    );
    let taken = serde_json::to_value(taken).unwrap();
    assert_eq!(
        taken,
        json!({ "dana": { "0": "dana", "2": "DANA" }, "eli": { "1": "eli" } })
    );
}

proptest! {
    #[test]
    fn taking_out_and_putting_back_change_nothing(text in "[dan\u{e000}\u{e001}0 \"\\\\]{0,30}") {
        let value = json!({ "text": [text] });
        let mut marked = value.clone();
        let taken = take_out(&mut marked, &Words(vec!["dana"]));
        let names = taken.values().map(|table| {
            Part::new(Kind::Names, [2; 32], &Value::Object(table.clone())).unwrap()
        });
        let details = Part::new(Kind::Details, [1; 32], &marked).unwrap();
        let evidence = Evidence::new(std::iter::once(details).chain(names).collect());
        let opened = evidence.opened(&NoKeys).unwrap();
        prop_assert_eq!(opened.value(), value.clone());
        let canonical = json_to_canonical(&value).unwrap();
        prop_assert_eq!(opened.details().unwrap().as_bytes(), canonical);
    }

    #[test]
    fn evidence_reads_back(salt: [u8; 32], text: String, number: i32) {
        let value = json!({"t": text, "n": number});
        let evidence = Evidence::open_details(salt, &value).unwrap();
        let opened = Evidence::open(&evidence.to_bytes(), evidence.commitment(), &NoKeys);
        prop_assert_eq!(opened.unwrap().value(), value);
    }
}
