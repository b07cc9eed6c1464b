//! Finding secrets in what is shown, kept and asked about.
//!
//! In scope: well-known formats ([`formats`]) and patterns of the configuration, in texts and in the
//! arguments of an action.
//! Out of scope: keeping what is taken out, and putting it back (`core::masking`).
//! Invariant: what is found depends on the text alone. A secret that is masked leaves no character of
//! it behind; secrets that overlap become one mask. A mask that could hide something else than a
//! secret says so.

mod arguments;
mod formats;

use std::{borrow::Cow, ops::Range};

use countersign_core::masking::shown;
use regex::{Regex, RegexBuilder};

pub use self::arguments::{NotMasked, Taken};
use self::formats::FORMATS;

/// The most bytes of a compiled pattern.
const MAX_PATTERN: usize = 1 << 20;
/// Random text has no longer word of small letters, most of the time; prefixes have none.
const LONGEST_WORD: usize = 8;
/// Random text of digits and letters of both cases has more digits than one in so many characters.
const DIGIT_EVERY: usize = 24;
/// A longer token is not taken for what it looks like.
const LONGEST_VERIFIED: usize = 256;

/// A pattern of the configuration.
#[derive(Debug, Clone)]
struct Own {
    name: String,
    regex: Regex,
}

/// Finds secrets.
#[derive(Debug, Clone, Default)]
pub struct Masker {
    own: Vec<Own>,
}

/// A secret within a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found<'m> {
    /// Where.
    pub range: Range<usize>,
    /// What it is.
    pub kind: &'m str,
    /// Whether it can't be anything else: of a known format without room for anything, and random.
    pub verified: bool,
}

/// A text without its secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaskedText<'t> {
    /// With masks.
    pub text: Cow<'t, str>,
    /// Whether every mask hides a secret and nothing else.
    pub verified: bool,
}

/// Why a pattern is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPattern {
    /// It can't be read.
    #[error("the pattern can't be read: {0}")]
    Syntax(String),
    /// A group that masks nothing by itself.
    #[error("the group `{0}` is not called `secret`, so all of the match would be masked")]
    Group(String),
    /// Reviewers could not tell it from what it is called like.
    #[error("`{0}` is the name of a well-known form")]
    Known(String),
    /// It is found everywhere.
    #[error("the pattern matches an empty text, so it is found everywhere")]
    Empty,
}

impl Masker {
    /// Looks for a pattern besides the well-known formats. Its group `secret` is masked, or all of it
    /// where it has none.
    ///
    /// # Errors
    /// [`InvalidPattern`].
    pub fn add(&mut self, name: &str, pattern: &str) -> Result<(), InvalidPattern> {
        let built = RegexBuilder::new(pattern).size_limit(MAX_PATTERN).build();
        let regex = built.map_err(|error| {
            let text = error.to_string();
            let last = text.lines().last().unwrap_or_default().trim();
            let why = last.trim_start_matches("error: ");
            InvalidPattern::Syntax(why.into())
        })?;
        if regex.is_match("") {
            return Err(InvalidPattern::Empty);
        }
        let mut groups = regex.capture_names().flatten();
        if let Some(other) = groups.find(|name| *name != "secret") {
            return Err(InvalidPattern::Group(other.into()));
        }
        let mut known = FORMATS.iter().flat_map(|formats| &formats.all);
        if known.any(|format| format.kind == name) {
            return Err(InvalidPattern::Known(name.into()));
        }
        let name = name.into();
        self.own.push(Own { name, regex });
        Ok(())
    }

    /// The secrets in a text, the first one first; none overlaps another.
    #[must_use]
    pub fn find(&self, text: &str) -> Vec<Found<'_>> {
        let mut all = Vec::new();
        if let Some(formats) = FORMATS.as_ref().filter(|formats| formats.in_text(text)) {
            for format in &formats.all {
                let matches = format.matches(text).filter(|m| !is_reference(m.as_str()));
                all.extend(matches.map(|found| Found {
                    range: found.range(),
                    kind: format.kind,
                    verified: format.strict
                        && is_random(found.as_str())
                        && is_value(text, &found.range()),
                }));
            }
        }
        for own in &self.own {
            let matches = own.regex.captures_iter(text);
            let secrets = matches.filter_map(|found| formats::secret(&found).map(|m| m.range()));
            let secrets = secrets.filter(|range| !range.is_empty());
            all.extend(secrets.map(|range| Found {
                range,
                kind: &own.name,
                verified: false,
            }));
        }
        merge(all)
    }

    /// A text without its secrets.
    #[must_use]
    pub fn text<'t>(&self, text: &'t str) -> MaskedText<'t> {
        let found = self.find(text);
        let verified = found.iter().all(|one| one.verified);
        let text = match found.is_empty() {
            true => Cow::Borrowed(text),
            false => Cow::Owned(masked(text, &found, |_, _, _| ())),
        };
        MaskedText { text, verified }
    }
}

/// A text with what was found in it masked. `each` is told what was found, the secret, and where its
/// mask begins.
fn masked<'t>(
    text: &'t str,
    found: &[Found<'_>],
    mut each: impl FnMut(&Found<'_>, &'t str, usize),
) -> String {
    let (mut out, mut done) = (String::new(), 0);
    for one in found {
        out.push_str(text.get(done..one.range.start).unwrap_or_default());
        let secret = text.get(one.range.clone()).unwrap_or_default();
        each(one, secret, out.len());
        out.push_str(&shown(one.kind, secret.chars().count()));
        done = one.range.end;
    }
    out.push_str(text.get(done..).unwrap_or_default());
    out
}

/// One for each stretch of text that is covered. Only a format that explains all of it verifies it.
fn merge(mut all: Vec<Found<'_>>) -> Vec<Found<'_>> {
    all.sort_by_key(|one| (one.range.start, usize::MAX - one.range.end, !one.verified));
    let mut merged: Vec<Found<'_>> = Vec::new();
    for one in all {
        match merged.last_mut() {
            Some(last) if one.range.start < last.range.end => {
                if one.range.end > last.range.end {
                    last.range.end = one.range.end;
                    last.verified = false;
                }
            }
            _ => merged.push(one),
        }
    }
    merged
}

/// What names a variable that holds the secret tells more than a mask, and no secret.
fn is_reference(text: &str) -> bool {
    let name = |text: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    let Some(rest) = text.strip_prefix('$') else {
        return !text.is_empty() && text.chars().all(|c| c == '*');
    };
    let braced = rest
        .strip_prefix('{')
        .and_then(|rest| rest.strip_suffix('}'));
    name(braced.unwrap_or(rest))
}

/// Whether a text looks as if it had been drawn by lot rather than written by somebody: no long word
/// of small or of capital letters, and digits here and there.
fn is_random(text: &str) -> bool {
    let longest = |is_of: fn(&char) -> bool| {
        let words = text.split(|c: char| !is_of(&c));
        words.map(str::len).max().unwrap_or_default()
    };
    let digits = text.chars().filter(char::is_ascii_digit).count();
    let no_place = |c: char| c.is_ascii_alphanumeric() || "_-+=".contains(c);
    text.len() <= LONGEST_VERIFIED
        && text.chars().all(no_place)
        && longest(char::is_ascii_lowercase) <= LONGEST_WORD
        && longest(char::is_ascii_uppercase) <= LONGEST_WORD
        && digits * DIGIT_EVERY >= text.len()
}

/// Whether a secret stands where a value does, and not as a host, a path or a part of a word.
fn is_value(text: &str, range: &Range<usize>) -> bool {
    let before = text
        .get(..range.start)
        .and_then(|text| text.chars().next_back());
    let behind = text.get(range.end..).and_then(|text| text.chars().next());
    let in_address = behind == Some('@') && matches!(before, Some('/' | ':'));
    let begins = |c: char| c.is_whitespace() || "=:\"'(,[{".contains(c);
    let ends = |c: char| c.is_whitespace() || "\"'),;&]}".contains(c);
    in_address || (before.is_none_or(begins) && behind.is_none_or(ends))
}

#[cfg(test)]
mod tests;
