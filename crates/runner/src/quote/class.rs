//! Which characters a reader sees.
//!
//! In scope: one character at a time, by Unicode general category.
//! Out of scope: fonts; a letter is taken to be drawn.
//! Invariant: an allow-list of categories. What is unassigned in our tables is hidden, so newer
//! characters are written out, not trusted.
//! Specification: Unicode Character Database, `General_Category`, `Default_Ignorable_Code_Point`,
//! `Bidi_Class` defaults.

use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory};

/// How a character appears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// Drawn by itself.
    Visible,
    /// Drawn onto the character before it.
    Mark,
    /// Not drawn, drawn like a space, changes how others are drawn, or has no agreed meaning.
    Hidden,
}

pub(super) fn class(c: char) -> Class {
    if (' '..='~').contains(&c) {
        return Class::Visible;
    }
    if is_blank(c) {
        return Class::Hidden;
    }
    match c.general_category_group() {
        GeneralCategoryGroup::Letter
        | GeneralCategoryGroup::Number
        | GeneralCategoryGroup::Punctuation
        | GeneralCategoryGroup::Symbol => Class::Visible,
        GeneralCategoryGroup::Mark => Class::Mark,
        GeneralCategoryGroup::Separator | GeneralCategoryGroup::Other => Class::Hidden,
    }
}

/// Letters, marks and symbols that are drawn as nothing or as a space.
fn is_blank(c: char) -> bool {
    matches!(c,
        '\u{034f}'                       // combining grapheme joiner
        | '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' // Hangul fillers
        | '\u{17b4}' | '\u{17b5}'        // Khmer inherent vowels
        | '\u{180b}'..='\u{180f}'        // Mongolian variation selectors
        | '\u{2800}'                     // Braille blank
        | '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}' // variation selectors
        | '\u{fffc}'                     // object replacement
        | '\u{16fe4}' | '\u{1d159}'      // Khitan filler, null notehead
    )
}

/// Whether `c` lies in a block whose letters run from right to left.
pub(super) fn is_right_to_left(c: char) -> bool {
    matches!(c,
        '\u{0590}'..='\u{08ff}'
        | '\u{fb1d}'..='\u{fdff}'
        | '\u{fe70}'..='\u{feff}'
        | '\u{10800}'..='\u{10fff}'
        | '\u{1e800}'..='\u{1efff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_are_sorted_by_what_a_reader_sees() {
        for (class_expected, characters) in [
            (Class::Visible, "aZ 0~éя漢€«→😀"),
            (Class::Mark, "\u{301}\u{20dd}\u{903}"),
            (
                Class::Hidden,
                "\0\n\u{7f}\u{85}\u{a0}\u{ad}\u{61c}\u{200b}\u{200d}\u{200e}\u{2028}\u{2029}\u{202a}\u{202e}\
                 \u{2060}\u{2066}\u{2069}\u{3000}\u{e000}\u{fdd0}\u{feff}\u{fff9}\u{ffff}\u{e0001}\u{e0020}\
                 \u{f0000}\u{10ffff}\u{fe0f}\u{3164}\u{2800}",
            ),
        ] {
            for c in characters.chars() {
                assert_eq!(class(c), class_expected, "U+{:04X}", u32::from(c));
            }
        }
    }
}
