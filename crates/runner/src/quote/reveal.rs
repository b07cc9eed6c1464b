//! Any text with its invisible characters written out as `⟨U+202E⟩`.
//!
//! In scope: reasons, paths, output and names that somebody else wrote.
//! Out of scope: command lines (see [`quote_argv`](super::quote_argv)) and escaping for markup.
//! Invariant: injective: `⟨` itself is written out, so a text can't pretend that it was revealed.

use super::{class::is_right_to_left, mark_hidden};

/// `text` with every control, bidirectional, invisible, unassigned or private-use character, every
/// combining mark without a letter, and `⟨` itself written as `⟨U+XXXX⟩`.
///
/// Right-to-left letters stay readable: show each text in its own line or element.
#[must_use]
pub fn reveal(text: &str) -> String {
    write_out(text, &[])
}

/// Like [`reveal`], but line feeds and tabs stay what they are. For texts of several lines.
#[must_use]
pub fn reveal_lines(text: &str) -> String {
    write_out(text, &['\n', '\t'])
}

/// Like [`reveal_lines`] for texts in which hidden characters are written out already: what is
/// written out stays as it is. Not injective, so only for what was revealed before.
#[must_use]
pub fn spell_out(text: &str) -> String {
    write_out_but(text, &['\n', '\t'], |_| false)
}

/// Whether `text` holds anything that [`reveal`] writes out because a reader would not see it.
#[must_use]
pub fn has_hidden(text: &str) -> bool {
    mark_hidden(text, |_| false)
        .iter()
        .any(|(_, hidden)| *hidden)
}

/// Whether `text` holds letters that run from right to left.
pub(super) fn has_right_to_left(text: &str) -> bool {
    text.chars().any(is_right_to_left)
}

fn write_out(text: &str, keep: &[char]) -> String {
    write_out_but(text, keep, |c| c == '⟨')
}

fn write_out_but(text: &str, keep: &[char], also: impl Fn(char) -> bool) -> String {
    let mut shown = String::with_capacity(text.len());
    for (c, hidden) in mark_hidden(text, also) {
        if !hidden || keep.contains(&c) {
            shown.push(c);
        } else {
            shown.push_str(&format!("⟨U+{:04X}⟩", u32::from(c)));
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hidden_characters_are_written_out() {
        for (text, shown) in [
            ("plain text, ü 漢 😀", "plain text, ü 漢 😀"),
            ("a\u{202e}b", "a⟨U+202E⟩b"),
            ("a\u{1b}[2Jb\n", "a⟨U+001B⟩[2Jb⟨U+000A⟩"),
            ("\u{200b}\u{2066}\u{feff}", "⟨U+200B⟩⟨U+2066⟩⟨U+FEFF⟩"),
            ("⟨U+202E⟩", "⟨U+27E8⟩U+202E⟩"),
            ("\u{301}x \u{301}", "⟨U+0301⟩x ⟨U+0301⟩"),
            ("\u{e0041}", "⟨U+E0041⟩"),
            ("שלום", "שלום"),
        ] {
            assert_eq!(reveal(text), shown);
        }
        assert_eq!(reveal_lines("a\n\tb\r\u{301}"), "a\n\tb⟨U+000D⟩⟨U+0301⟩");
    }

    #[test]
    fn hidden_is_noticed() {
        assert!(!has_hidden("rm -rf ./build"));
        for text in ["a\nb", "\u{202e}", "x\u{ad}y", "\u{3164}", "\u{301}"] {
            assert!(has_hidden(text), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn different_texts_are_shown_differently(
            one in r"[aU+⟩⟨0-2\u{301}\u{202e}]{0,6}", other in r"[aU+⟩⟨0-2\u{301}\u{202e}]{0,6}",
        ) {
            prop_assert_eq!(one == other, reveal(&one) == reveal(&other));
        }

        #[test]
        fn what_was_revealed_stays_as_it_is(text in any::<String>()) {
            let revealed = reveal_lines(&text);
            prop_assert_eq!(&spell_out(&revealed), &revealed);
            prop_assert!(!has_hidden(&spell_out(&text).replace(['\n', '\t'], "")));
        }

        #[test]
        fn what_was_revealed_hides_nothing(text in any::<String>()) {
            prop_assert!(!has_hidden(&reveal(&text)));
        }
    }
}
