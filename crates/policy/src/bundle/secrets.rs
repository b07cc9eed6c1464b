//! The `[secret.NAME]` tables: what secrets look like that no well-known format has.
//!
//! In scope: reading the patterns, and refusing those that can't be meant.
//! Out of scope: finding secrets; `masking` does.
//! Invariant: part of the bundle's hash, so that it changes only through a request.

use serde::Deserialize;
use toml::Spanned;

use super::reading::{Entry, Reader};
use crate::{masking::Masker, problem::shown};

/// The longest name; it stands in every mask.
const MAX_NAME: usize = 40;
/// The most patterns; every text is searched for each.
const MAX_PATTERNS: usize = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSecret {
    pattern: Spanned<String>,
}

/// Reads the tables.
pub(super) fn read(reader: &mut Reader<'_>, entries: Vec<Entry<RawSecret>>) -> Masker {
    let mut masker = Masker::default();
    if let Some(one) = entries.get(MAX_PATTERNS) {
        let message = format!("there are more than {MAX_PATTERNS} `secret` tables");
        let help = "join patterns with `|`; every text is searched for each of them";
        reader.error(one.line, message, help);
    }
    for entry in entries {
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if entry.name.is_empty() || entry.name.len() > MAX_NAME || !entry.name.chars().all(is_name)
        {
            let name = shown(&entry.name);
            let message = format!("`{name}` can't stand in a mask");
            let help = format!("use at most {MAX_NAME} small letters, digits and `-`");
            reader.error(entry.line, message, help);
            continue;
        }
        let line = reader.line(entry.value.pattern.span().start);
        if let Err(error) = masker.add(&entry.name, entry.value.pattern.get_ref()) {
            let help = "write a regular expression without look-around in '…', such as \
                        'acme_[A-Za-z0-9]{32}'; a group `(?P<secret>…)` masks only a part";
            reader.error(line, error.to_string(), help);
        }
    }
    masker
}
