//! What is sealed, destroyed, and read again.

use std::fs;

use countersign_core::subject::SubjectId;
use countersign_evidence::evidence::{Evidence, Opened, sealing::NoKeys};
use serde_json::{Value, json};

use super::*;

fn person(name: &str) -> PersonId {
    name.parse().unwrap()
}

struct Lab {
    dir: tempfile::TempDir,
    names: Pseudonyms,
    vault: Vault,
}

impl Lab {
    fn new(people: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let vault = Vault::open(&dir.path().join("evidence.keys"), true).unwrap();
        let names = Pseudonyms::new([1; 32]);
        let people: Vec<_> = people.iter().map(|name| person(name)).collect();
        vault.meet(&people, &names).unwrap();
        Self { dir, names, vault }
    }

    fn again(self) -> Self {
        let vault = Vault::open(&self.dir.path().join("evidence.keys"), false).unwrap();
        let names = Pseudonyms::new([1; 32]);
        vault.tell(&names);
        Self {
            vault,
            names,
            ..self
        }
    }

    fn bytes(&self) -> Vec<u8> {
        fs::read(self.dir.path().join("evidence.keys")).unwrap()
    }

    fn seal(&self, of: &Of, at: i64, value: Value) -> Sealed {
        self.vault.seal(of, Timestamp(at), value).unwrap()
    }

    fn open(&self, sealed: &Sealed) -> Opened {
        Evidence::open(&sealed.stored, sealed.commitment.unwrap(), &self.vault).unwrap()
    }
}

fn has(bytes: &[u8], text: &str) -> bool {
    bytes
        .windows(text.len())
        .any(|some| some == text.as_bytes())
}

#[test]
fn what_is_sealed_opens_also_after_a_start_and_names_nobody() {
    let lab = Lab::new(&["dana@example.com", "eli"]);
    let value = json!({
        "who": "person:dana@example.com", "text": "Eli asked DANA@example.com.", "outbox": 3,
    });
    let sealed = lab.seal(&Of::Words(person("eli")), 5, value.clone());
    assert_eq!(sealed.control, json!({ "outbox": 3 }));
    for text in ["dana", "Eli", "asked"] {
        assert!(!has(&sealed.stored, text), "{text}");
    }
    let (lab, refs) = (lab, |lab: &Lab| lab.names.of_person(&person("eli")));
    let before = refs(&lab);
    let lab = lab.again();
    assert_eq!(refs(&lab), before);
    assert_eq!(lab.open(&sealed).value(), value);
    assert!(lab.open(&sealed).closed.is_empty());
    let read = reader(&lab.dir.path().join("evidence.keys"))
        .unwrap()
        .unwrap();
    let opened = Evidence::open(&sealed.stored, sealed.commitment.unwrap(), read.as_ref());
    assert_eq!(opened.unwrap().value(), value);
    let nobody = Evidence::open(&sealed.stored, sealed.commitment.unwrap(), &NoKeys);
    assert_eq!(nobody.unwrap().value(), json!({ "outbox": 3 }));
}

#[test]
fn who_is_erased_is_gone_and_the_rest_stays() {
    let lab = Lab::new(&["dana", "eli"]);
    let by_dana = lab.seal(&Of::Words(person("dana")), 5, json!({ "text": "to eli" }));
    let by_eli = lab.seal(&Of::Words(person("eli")), 5, json!({ "text": "to dana" }));
    let asked = lab.seal(&Of::Payload(person("dana")), 5, json!({ "argv": ["rm"] }));
    let before = lab.names.of_person(&person("dana"));
    let gone = lab.vault.erase(&person("dana"), &lab.names).unwrap();
    assert_eq!(gone.len(), 3);
    assert_ne!(lab.names.of_person(&person("dana")), before);
    assert!(!has(&lab.bytes(), "dana"));
    let lab = lab.again();
    assert_eq!(lab.open(&by_dana).value(), json!({}));
    assert_eq!(lab.open(&asked).value(), json!({}));
    assert_eq!(lab.open(&by_eli).value(), json!({ "text": "to (erased)" }));
    assert!(
        lab.open(&by_eli)
            .closed
            .iter()
            .flatten()
            .all(|key| gone.contains(key))
    );
    assert_eq!(lab.vault.erase(&person("dana"), &lab.names).unwrap(), []);
    // Whoever comes again is somebody else to the log.
    lab.vault.meet(&[person("dana")], &lab.names).unwrap();
    assert_ne!(lab.names.of_person(&person("dana")), before);
    assert_eq!(lab.open(&by_dana).value(), json!({}));
}

#[test]
fn a_class_is_kept_as_long_as_it_should_be() {
    let lab = Lab::new(&["dana"]);
    let of = Of::Payload(person("dana"));
    let seal = |at| lab.seal(&of, at, json!({ "n": 1, "by": "dana" }));
    let [old, new] = [seal(0), seal(PERIOD)];
    assert_eq!(
        lab.vault
            .expire(Class::Payload, Timestamp(PERIOD - 1))
            .unwrap(),
        []
    );
    let said = lab.vault.expired(Class::Payload, Timestamp(PERIOD));
    let gone = lab.vault.expire(Class::Payload, Timestamp(PERIOD)).unwrap();
    assert_eq!((gone.len(), gone), (1, said));
    assert_eq!(lab.open(&old).value(), json!({}));
    assert_eq!(lab.open(&new).value(), json!({ "n": 1, "by": "dana" }));
    let gone = lab
        .vault
        .expire(Class::Names, Timestamp(3 * PERIOD))
        .unwrap();
    assert_eq!(gone.len(), 2);
    assert_eq!(lab.open(&new).value(), json!({ "n": 1, "by": "(erased)" }));
}

#[test]
fn a_reader_sees_what_was_made_after_it_began() {
    let lab = Lab::new(&["dana"]);
    let path = lab.dir.path().join("evidence.keys");
    let reader = reader(&path).unwrap().unwrap();
    let sealed = lab.seal(&Of::Words(person("dana")), 0, json!({ "n": 1 }));
    let open = || {
        let opened = Evidence::open(&sealed.stored, sealed.commitment.unwrap(), reader.as_ref());
        opened.unwrap().value()
    };
    assert_eq!(open(), json!({ "n": 1 }));
    assert!(reader.key(KeyId([0; 8])).is_none());
    fs::remove_file(&path).unwrap();
    assert!(super::reader(&path).unwrap().is_none());
    // Other keys in its place would make strangers of everybody.
    assert!(Vault::open(&path, false).is_err());
    assert!(!path.exists());
}

#[test]
fn a_line_that_a_crash_cut_short_is_removed() {
    let lab = Lab::new(&["dana"]);
    let path = lab.dir.path().join("evidence.keys");
    let whole = lab.bytes();
    for cut in 1..whole.len() {
        fs::write(&path, [&whole[..], &whole[..cut]].concat()).unwrap();
        let vault = Vault::open(&path, false);
        assert_eq!(vault.is_ok(), cut < whole.len());
        assert_eq!(fs::read(&path).unwrap(), whole);
    }
    fs::write(&path, [&whole[..], b"{}\n"].concat()).unwrap();
    assert!(Vault::open(&path, false).is_err());
}

#[test]
fn words_are_found_whole_and_the_longest_first() {
    use countersign_evidence::evidence::names::Finder;
    let people = ["ann", "ann-lee", "ann@x.org", "é"].map(person);
    let people = People::new(BTreeSet::from(people)).unwrap();
    let found = |text: &str| {
        let mentions = people.mentions(text);
        let names = mentions.into_iter().map(|(place, person)| {
            assert_eq!(text[place].to_lowercase(), person.as_str());
            person.as_str().to_owned()
        });
        names.collect::<Vec<_>>().join(" ")
    };
    for (text, expected) in [
        ("ann", "ann"),
        ("Ann, ANN", "ann ann"),
        ("joann anna", ""),
        ("ann-lee", "ann-lee"),
        ("ann-leeson", "ann"),
        ("ann@x.org", "ann@x.org"),
        ("person:ann", "ann"),
        ("Person::\"ann\"", "ann"),
        ("mann@x.org", ""),
        ("(é)", "é"),
        ("caé", ""),
    ] {
        assert_eq!(found(text), expected, "{text}");
    }
    assert_eq!(People::default().mentions("ann"), []);
}

#[test]
fn evidence_is_of_the_nearest_person() {
    use countersign_core::subject::{Subject, SubjectChain};
    let bot = SubjectId::Agent("bot".parse().unwrap());
    let chain = SubjectChain::of(Subject {
        id: bot.clone(),
        owner: Some(person("olga")),
    });
    assert_eq!(Of::asked(&chain), Of::Payload(person("olga")));
    assert_eq!(Of::said(&bot, &chain), Of::Payload(person("olga")));
    let dana = SubjectId::Person(person("dana"));
    assert_eq!(Of::said(&dana, &chain), Of::Words(person("dana")));
    let nobodys = SubjectChain::of(Subject {
        id: bot,
        owner: None,
    });
    assert_eq!(Of::asked(&nobodys), Of::Operation);
}
