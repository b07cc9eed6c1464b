//! Names taken out of the details, so that each can be sealed with its own key.
//!
//! In scope: marks in place of names, the table of what they stand for, putting names back.
//! Out of scope: finding out who is mentioned, which a [`Finder`] does.
//! Invariant: taking out and putting back gives the same text. Without the names no text of details
//! has what the finder finds; keys of objects are not looked at.
//! Specification: a mark is U+E000, a number in decimal digits, U+E001. A U+E000 of the text itself is
//! doubled. A table is a JSON object from numbers to names.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    ops::Range,
};

use countersign_core::id::PersonId;
use serde_json::{Map, Value};

const OPEN: char = '\u{e000}';
const CLOSE: char = '\u{e001}';
/// What stands for a name that nobody can tell any more.
pub const ERASED: &str = "(erased)";

/// Finds people who are mentioned.
pub trait Finder {
    /// The places of their names in the text, from front to back, without overlaps.
    fn mentions(&self, text: &str) -> Vec<(Range<usize>, PersonId)>;
}

/// The names of each person that were taken out, by the number of their marks.
pub type Taken = BTreeMap<PersonId, Map<String, Value>>;

/// Puts marks in the place of names.
pub fn take_out(value: &mut Value, finder: &impl Finder) -> Taken {
    let mut taking = Taking {
        finder,
        numbers: BTreeMap::new(),
        taken: Taken::new(),
    };
    taking.value(value);
    taking.taken
}

struct Taking<'a, F> {
    finder: &'a F,
    numbers: BTreeMap<(PersonId, String), usize>,
    taken: Taken,
}

impl<F: Finder> Taking<'_, F> {
    fn value(&mut self, value: &mut Value) {
        match value {
            Value::String(text) => self.text(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.value(item)),
            Value::Object(fields) => fields.values_mut().for_each(|field| self.value(field)),
            _ => {}
        }
    }

    fn text(&mut self, text: &mut String) {
        let found = self.finder.mentions(text);
        // Most texts are plain, which is seen faster than that they have no mark.
        if found.is_empty() && (text.is_ascii() || !text.contains(OPEN)) {
            return;
        }
        let mut marked = String::with_capacity(text.len());
        let mut rest = 0;
        for (place, person) in found {
            marked.push_str(&doubled(text.get(rest..place.start).unwrap_or_default()));
            let name = text.get(place.clone()).unwrap_or_default().to_owned();
            let number = self.number(person, name);
            marked.push_str(&format!("{OPEN}{number}{CLOSE}"));
            rest = place.end;
        }
        marked.push_str(&doubled(text.get(rest..).unwrap_or_default()));
        *text = marked;
    }

    fn number(&mut self, person: PersonId, name: String) -> usize {
        let next = self.numbers.len();
        match self.numbers.entry((person, name)) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(new) => {
                let (person, name) = new.key().clone();
                let names = self.taken.entry(person).or_default();
                names.insert(next.to_string(), Value::String(name));
                *new.insert(next)
            }
        }
    }
}

fn doubled(text: &str) -> String {
    text.replace(OPEN, "\u{e000}\u{e000}")
}

/// What marks stand for.
#[derive(Debug, Default)]
pub(super) struct Names(BTreeMap<String, String>);

impl Names {
    /// Takes a table; `None` when it is none.
    pub(super) fn learn(&mut self, table: &str) -> Option<()> {
        let read: BTreeMap<String, String> = serde_json::from_str(table).ok()?;
        self.0.extend(read);
        Some(())
    }

    /// Puts names back into canonical JSON.
    pub(super) fn restore(&self, text: String) -> String {
        if !text.contains(OPEN) {
            return text;
        }
        let mut restored = String::with_capacity(text.len());
        let mut rest = text.as_str();
        while let Some((before, behind)) = rest.split_once(OPEN) {
            restored.push_str(before);
            rest = match behind.strip_prefix(OPEN) {
                Some(behind) => {
                    restored.push(OPEN);
                    behind
                }
                None => {
                    let (number, behind) = behind.split_once(CLOSE).unwrap_or((behind, ""));
                    restored.push_str(&self.inside_json(number));
                    behind
                }
            };
        }
        restored.push_str(rest);
        restored
    }

    /// A name as it stands inside a string of canonical JSON.
    fn inside_json(&self, number: &str) -> String {
        let name = self.0.get(number).map_or(ERASED, String::as_str);
        let quoted = countersign_core::canonical::to_canonical(&name).unwrap_or_default();
        let quoted = String::from_utf8(quoted).unwrap_or_default();
        let inner = quoted
            .strip_prefix('"')
            .and_then(|text| text.strip_suffix('"'));
        inner.unwrap_or_default().to_owned()
    }
}
