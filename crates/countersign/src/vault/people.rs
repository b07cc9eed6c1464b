//! Who is mentioned in a text.
//!
//! In scope: the names of everybody whom the vault knows, as whole words, in capitals or not.
//! Invariant: finds too much rather than too little: what is found is put back when it is read.

use std::{collections::BTreeSet, ops::Range};

use aho_corasick::{AhoCorasick, AhoCorasickBuilder, MatchKind};
use countersign_core::id::PersonId;
use countersign_evidence::evidence::names::Finder;

/// Finds people by their names.
#[derive(Debug, Default)]
pub(super) struct People {
    people: Vec<PersonId>,
    finder: Option<AhoCorasick>,
    /// Bytes of the shortest name: what is shorter mentions nobody.
    shortest: usize,
}

impl People {
    pub(super) fn new(people: BTreeSet<PersonId>) -> anyhow::Result<Self> {
        let people: Vec<_> = people.into_iter().collect();
        let finder = AhoCorasickBuilder::new()
            .match_kind(MatchKind::Standard)
            .ascii_case_insensitive(true)
            .build(people.iter().map(PersonId::as_str))?;
        let finder = (!people.is_empty()).then_some(finder);
        let lengths = people.iter().map(|person| person.as_str().len());
        Ok(Self {
            shortest: lengths.min().unwrap_or_default(),
            people,
            finder,
        })
    }
}

impl Finder for People {
    fn mentions(&self, text: &str) -> Vec<(Range<usize>, PersonId)> {
        let Some(finder) = self.finder.as_ref().filter(|_| text.len() >= self.shortest) else {
            return Vec::new();
        };
        let mut found: Vec<_> = finder
            .find_overlapping_iter(text)
            .filter(|found| is_word(text, found.start(), found.end()))
            .collect();
        // The longest of those that begin first.
        found.sort_by_key(|found| (found.start(), std::cmp::Reverse(found.end())));
        let mut mentions: Vec<(Range<usize>, PersonId)> = Vec::new();
        for one in found {
            let is_free = mentions
                .last()
                .is_none_or(|(before, _)| before.end <= one.start());
            if let (true, Some(person)) = (is_free, self.people.get(one.pattern().as_usize())) {
                mentions.push((one.start()..one.end(), person.clone()));
            }
        }
        mentions
    }
}

/// Whether nothing that could belong to the word is right before it or behind it.
fn is_word(text: &str, start: usize, end: usize) -> bool {
    let before = text.get(..start).and_then(|text| text.chars().next_back());
    let behind = text.get(end..).and_then(|text| text.chars().next());
    let [before, behind] = [before, behind].map(|one| one.is_some_and(char::is_alphanumeric));
    !before && !behind
}
