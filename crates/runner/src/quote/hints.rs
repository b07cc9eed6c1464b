//! Hints about letters that look like other letters.
//!
//! In scope: words that mix Latin with Cyrillic, Greek, Armenian or Cherokee; words made only of
//! Cyrillic or Greek letters that are drawn like Latin ones; right-to-left letters.
//! Out of scope: look-alikes within one script (`l` and `I`), and look-alike punctuation.
//! Invariant: a hint never changes a decision; it only warns the reviewer.
//! Specification: the idea of UTS #39, reduced to the scripts in which look-alikes are common.

use std::collections::BTreeSet;
use std::fmt;

use unicode_script::{Script, UnicodeScript};

use super::reveal::{has_right_to_left, reveal};

/// Cyrillic and Greek letters drawn like Latin ones in most fonts.
const LATIN_LOOKALIKES: &str = "асеорхуіјѕԁһԛԝАВЕКМНОРСТХУЅІЈοανΑΒΕΖΗΙΚΜΝΟΡΤΥΧ";

/// Something about a text that a reviewer should look at twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hint {
    /// The word mixes scripts whose letters look alike.
    MixedScripts {
        /// The word, with its hidden characters written out.
        word: String,
        /// Names of the scripts, sorted.
        scripts: Vec<&'static str>,
    },
    /// Every letter of the word is drawn like a Latin letter, and none is.
    LooksLatin {
        /// The word, with its hidden characters written out.
        word: String,
    },
    /// The text has letters that run from right to left.
    RightToLeft,
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MixedScripts { word, scripts } => {
                write!(
                    f,
                    "`{word}` mixes {} letters that look alike",
                    scripts.join(" and ")
                )
            }
            Self::LooksLatin { word } => {
                write!(
                    f,
                    "`{word}` looks like Latin letters but is written with others"
                )
            }
            Self::RightToLeft => {
                f.write_str("has right-to-left letters: what appears first need not come first")
            }
        }
    }
}

/// The hints about `text`, each once, in order of appearance.
#[must_use]
pub fn hints(text: &str) -> Vec<Hint> {
    let mut found = Vec::new();
    let mut add = |hint: Hint| {
        if !found.contains(&hint) {
            found.push(hint);
        }
    };
    for word in text
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
    {
        if let Some(hint) = hint_about(word) {
            add(hint);
        }
    }
    if has_right_to_left(text) {
        add(Hint::RightToLeft);
    }
    found
}

fn hint_about(word: &str) -> Option<Hint> {
    let scripts: BTreeSet<&'static str> = word.chars().filter_map(alike_script).collect();
    if scripts.len() > 1 {
        let scripts = scripts.into_iter().collect();
        return Some(Hint::MixedScripts {
            word: reveal(word),
            scripts,
        });
    }
    let mut letters = word.chars().filter(|c| c.is_alphabetic());
    let looks_latin = word.chars().filter(|c| c.is_alphabetic()).count() > 1
        && letters.all(|c| LATIN_LOOKALIKES.contains(c));
    looks_latin.then(|| Hint::LooksLatin { word: reveal(word) })
}

/// The script of `c` if its letters look like those of other scripts.
fn alike_script(c: char) -> Option<&'static str> {
    match c.script() {
        Script::Latin => Some("Latin"),
        Script::Cyrillic => Some("Cyrillic"),
        Script::Greek => Some("Greek"),
        Script::Armenian => Some("Armenian"),
        Script::Cherokee => Some("Cherokee"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_look_like_others_are_named() {
        for (text, shown) in [
            ("delete from orders", ""),
            ("привет мир", ""),
            ("καλημέρα", ""),
            ("日本 tokyo", ""),
            (
                "p\u{430}ypal.com",
                "`pаypal` mixes Cyrillic and Latin letters that look alike",
            ),
            (
                "pr\u{3bf}d prod",
                "`prοd` mixes Greek and Latin letters that look alike",
            ),
            (
                "\u{441}\u{43e}\u{440}\u{435}",
                "`соре` looks like Latin letters but is written with others",
            ),
            (
                "א",
                "has right-to-left letters: what appears first need not come first",
            ),
        ] {
            let found: Vec<String> = hints(text).iter().map(ToString::to_string).collect();
            assert_eq!(found.join("; "), shown, "{text}");
        }
    }
}
