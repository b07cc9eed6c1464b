//! Counts in words: `1 key`, `2 keys`.
//!
//! In scope: a number with the right form of its noun, for every text that people read.
//! Out of scope: lists of names, sentences.
//! Invariant: pure; the caller knows the noun and gives both of its forms.

use std::fmt::Display;

/// `count` and what is counted: `one` where it is 1, `many` everywhere else.
#[must_use]
pub fn counted<N: Display + PartialEq + From<u8>>(count: N, one: &str, many: &str) -> String {
    let noun = if count == N::from(1) { one } else { many };
    format!("{count} {noun}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_is_singular() {
        for (count, text) in [
            (0_u64, "0 entries"),
            (1, "1 entry"),
            (2, "2 entries"),
            (21, "21 entries"),
        ] {
            assert_eq!(counted(count, "entry", "entries"), text);
        }
        assert_eq!(counted(1_usize, "key", "keys"), "1 key");
    }
}
