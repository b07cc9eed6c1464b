//! What makes a text read as something else than it is.
//!
//! In scope: hidden characters, blanks that push text out of sight, letters drawn like others.
//! Out of scope: command lines as shell words, which are quoted; deciding what follows.
//! Invariant: it only warns the reviewer; nothing is decided by it.

use std::collections::BTreeSet;

use super::{has_hidden, hints};

/// So many blanks in a row are pointed out.
const BLANKS: usize = 20;
/// More empty lines in a row than this are pointed out.
const LINES: usize = 4;

/// What a reviewer should know about `texts` before reading them, each once.
#[must_use]
pub fn unusual<'a>(texts: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut found = BTreeSet::new();
    let mut alike = Vec::new();
    for text in texts {
        // Ends of lines are no secret in a text of several.
        let flat: String = text.chars().filter(|c| !"\r\n\t".contains(*c)).collect();
        if has_hidden(&flat) {
            found.insert("invisible characters, or ones that reorder text; they are written out");
        }
        if is_padded(text) {
            found.insert("long runs of blanks, after which more follows");
        }
        if text.chars().any(is_styled) {
            found.insert("full-width or styled letters that look like plain ones");
        }
        alike.extend(hints(text).iter().map(ToString::to_string));
    }
    let mut all: Vec<String> = found.into_iter().map(str::to_owned).collect();
    for hint in alike {
        if !all.contains(&hint) {
            all.push(hint);
        }
    }
    all
}

/// Whether runs of blanks push a part of the text out of sight.
fn is_padded(text: &str) -> bool {
    let (mut blanks, mut lines) = (0_usize, 0_usize);
    text.chars().any(|char| {
        if char == '\n' {
            lines += 1;
        } else if char.is_whitespace() {
            blanks += 1;
        } else {
            let padded = blanks >= BLANKS || lines > LINES;
            (blanks, lines) = (0, 0);
            return padded;
        }
        false
    })
}

/// Full-width forms, mathematical letters, letters in circles and the wide blank.
fn is_styled(char: char) -> bool {
    matches!(
        char,
        '\u{ff01}'..='\u{ff5e}' | '\u{1d400}'..='\u{1d7ff}' | '\u{249c}'..='\u{24ff}'
            | '\u{2100}'..='\u{214f}' | '\u{3000}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_reads_as_something_else_is_named() {
        let padded = format!("git push{}--force", " ".repeat(40));
        let pushed = format!("fine{}and more", "\n".repeat(9));
        for (text, expected) in [
            ("git push origin main", ""),
            ("two\n\nparagraphs\twith tabs", ""),
            ("Grüße, 日本語", ""),
            ("ends with blanks                              ", ""),
            (padded.as_str(), "long runs of blanks"),
            (pushed.as_str(), "long runs of blanks"),
            ("a\u{200b}b", "invisible characters"),
            ("safe\u{202e}cod.exe", "invisible characters"),
            ("ｒｍ -rf", "full-width"),
            ("𝗋𝗆", "full-width"),
            ("p\u{430}ypal", "`pаypal` mixes"),
        ] {
            let found = unusual([text]).join("; ");
            assert!(found.starts_with(expected), "{text:?}: {found}");
            assert_eq!(found.is_empty(), expected.is_empty(), "{text:?}: {found}");
        }
        assert_eq!(unusual(["ｒｍ", "ｌｓ"]).len(), 1);
    }
}
