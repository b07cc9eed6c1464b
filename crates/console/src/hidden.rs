//! Spelling out characters that hide, reorder or rewrite the text around them.
//!
//! In scope: control, bidirectional, zero-width, filler and tag characters, written `⟨U+202E⟩`.
//! Out of scope: letters of different scripts that look alike; the gates mark those.
//! Invariant: the result contains none of these characters, except line feed, tab and the emoji
//! variation selector U+FE0F, which changes no text.
//! Specification: Unicode Standard Annex 9 (bidirectional formatting), Unicode Technical
//! Standard 39 (default ignorable code points).

use std::fmt::Write;

/// Replaces every hiding character of `text` by its code point; line ends become line feeds.
/// Costs one pass and no copy when there is none.
#[must_use]
pub fn spell_out(text: String) -> String {
    let Some(first) = text.find(is_hiding) else {
        return text;
    };
    let (clean, rest) = text.split_at(first);
    let mut spelt = String::with_capacity(text.len() + 64);
    spelt.push_str(clean);
    let mut chars = rest.chars().peekable();
    while let Some(char) = chars.next() {
        if char == '\r' && chars.peek() == Some(&'\n') {
            continue;
        }
        if is_hiding(char) {
            // Writing to a string does not fail.
            let _ = write!(spelt, "⟨U+{:04X}⟩", u32::from(char));
        } else {
            spelt.push(char);
        }
    }
    spelt
}

/// Whether a character hides or reorders text instead of being text.
#[must_use]
pub fn is_hiding(char: char) -> bool {
    match char {
        '\n' | '\t' | ' '..='~' => false,
        '\u{00ad}' | '\u{034f}' | '\u{061c}' | '\u{115f}' | '\u{1160}' => true,
        '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}' => true,
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' => true,
        '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0e}' | '\u{feff}' | '\u{ffa0}' => true,
        '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' => true,
        '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}' => true,
        other => other.is_control(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hiding_characters_are_spelt_out_and_text_is_not() {
        for (text, expected) in [
            ("plain", "plain"),
            ("a\r\nb\tc", "a\nb\tc"),
            ("a\rb", "a⟨U+000D⟩b"),
            ("\u{1b}[2J", "⟨U+001B⟩[2J"),
            ("x\u{202e}y\u{2066}", "x⟨U+202E⟩y⟨U+2066⟩"),
            ("\u{e0041}\u{200b}", "⟨U+E0041⟩⟨U+200B⟩"),
            ("\u{9b}31m\u{7f}", "⟨U+009B⟩31m⟨U+007F⟩"),
            ("Grüße, 日本語 🗝️", "Grüße, 日本語 🗝️"),
        ] {
            assert_eq!(spell_out(text.into()), expected);
        }
    }
}
