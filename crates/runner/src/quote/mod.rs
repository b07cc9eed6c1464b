//! Text as a reviewer must see it: nothing hidden, nothing that reads as something else.
//!
//! In scope: a command line as shell words, any other text with its invisible characters marked,
//! and hints about letters that look like others.
//! Out of scope: shortening (what is too long to show whole is the caller's decision, P8), markup
//! of the surface it is shown on (HTML, Slack), and whole-word confusables beyond a small table.
//! Invariant: [`quote_argv`] and [`reveal()`] are injective. Two command lines that differ are shown
//! as texts that differ, and no character shown moves, hides or joins its neighbours.
//! Specification: POSIX.1-2024 section 2.2 (`'…'`, `$'…'`), bash's `\u`, Unicode general
//! categories.

mod class;
mod hints;
mod reveal;
mod unusual;

use class::{Class, class, is_right_to_left};
pub use hints::{Hint, hints};
pub use reveal::{has_hidden, reveal, reveal_lines, spell_out};
pub use unusual::unusual;

/// Combining marks after one letter that are still shown as they are. Languages need at most
/// three; more only serve to cover the lines around them.
const MAX_MARKS: usize = 3;

/// Shows `argv` as shell words with one space between them.
///
/// Words of letters, digits and `_@%+=:,./-` stay plain. Others are put in `'…'`, and those with
/// anything a reader could not see or would see in another place in `$'…'` with escapes: controls
/// (newline as `\n`, escape as `\e`), invisible and bidirectional characters, right-to-left
/// letters (they change the order in which neighbouring words appear), private use, unassigned, and
/// combining marks with nothing to combine with. In a UTF-8 locale bash reads the result back as
/// the same words, except for NUL, which no command line can hold.
#[must_use]
pub fn quote_argv(argv: &[String]) -> String {
    let words: Vec<String> = argv.iter().map(|word| quote_word(word)).collect();
    words.join(" ")
}

fn quote_word(word: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || "_@%+=:,./-".contains(c);
    if !word.is_empty() && word.chars().all(bare) {
        return word.to_owned();
    }
    let shown = mark_hidden(word, is_right_to_left);
    if shown.iter().all(|(_, hidden)| !hidden) {
        return format!("'{}'", word.replace('\'', r"'\''"));
    }
    let mut quoted = String::from("$'");
    for (c, hidden) in shown {
        match c {
            '\\' => quoted.push_str(r"\\"),
            '\'' => quoted.push_str(r"\'"),
            '\n' => quoted.push_str(r"\n"),
            '\t' => quoted.push_str(r"\t"),
            '\r' => quoted.push_str(r"\r"),
            '\u{1b}' => quoted.push_str(r"\e"),
            _ if !hidden => quoted.push(c),
            _ if c.is_ascii() => quoted.push_str(&format!(r"\x{:02x}", u32::from(c))),
            _ if u32::from(c) <= 0xffff => quoted.push_str(&format!(r"\u{:04x}", u32::from(c))),
            _ => quoted.push_str(&format!(r"\U{:08x}", u32::from(c))),
        }
    }
    quoted.push('\'');
    quoted
}

/// Every character of `text` and whether it must be written out instead of shown, where `also`
/// names characters to write out besides the hidden ones.
fn mark_hidden(text: &str, also: impl Fn(char) -> bool) -> Vec<(char, bool)> {
    // Marks that the letter before can still take; none at the start or after anything but a letter
    // or digit, where a mark would join a quotation mark.
    let mut marks_left = 0;
    text.chars()
        .map(|c| {
            let hidden = match class(c) {
                _ if also(c) => true,
                Class::Hidden => true,
                Class::Visible => false,
                Class::Mark => marks_left == 0,
            };
            marks_left = match class(c) {
                _ if hidden => 0,
                Class::Mark => marks_left - 1,
                _ if c.is_alphanumeric() => MAX_MARKS,
                _ => 0,
            };
            (c, hidden)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    fn quote(words: &[&str]) -> String {
        quote_argv(
            &words
                .iter()
                .map(|&word| word.to_owned())
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn words_are_quoted_as_a_shell_reads_them() {
        for (argv, shown) in [
            (&["ls", "-la", "/var/log"][..], "ls -la /var/log"),
            (&[], ""),
            (&[""], "''"),
            (&["", ""], "'' ''"),
            (&["a b"], "'a b'"),
            (&["a", "b"], "a b"),
            (&["it's"], r"'it'\''s'"),
            (
                &["$HOME", "`id`", "a;b", "~", "*"],
                "'$HOME' '`id`' 'a;b' '~' '*'",
            ),
            (&["a\nb"], r"$'a\nb'"),
            (&[r"a\nb"], r"'a\nb'"),
            (&["it's\n\\"], r"$'it\'s\n\\'"),
            (&["\u{1b}[31mred"], r"$'\e[31mred'"),
            (&["\u{7}\u{7f}\r\t"], r"$'\x07\x7f\r\t'"),
            (&["\u{85}"], r"$'\u0085'"),
            (&["safe\u{202e}cod.exe"], r"$'safe\u202ecod.exe'"),
            (&["a\u{200b}b"], r"$'a\u200bb'"),
            (&["a\u{a0}b"], r"$'a\u00a0b'"),
            (&["\u{e0041}"], r"$'\U000e0041'"),
            (&["\u{e000}\u{fffe}\u{378}"], r"$'\ue000\ufffe\u0378'"),
            (&["\u{3164}\u{2800}"], r"$'\u3164\u2800'"),
            (&["é", "日本"], "'é' '日本'"),
            (&["e\u{301}"], "'e\u{301}'"),
            (&["\u{301}e"], r"$'\u0301e'"),
            (
                &["e\u{301}\u{301}\u{301}\u{301}"],
                "$'e\u{301}\u{301}\u{301}\\u0301'",
            ),
            (&["א", "ב"], r"$'\u05d0' $'\u05d1'"),
        ] {
            assert_eq!(quote(argv), shown, "{argv:?}");
        }
    }

    #[test]
    fn bash_reads_the_same_words_back() {
        let argv: Vec<String> = [
            "it's",
            "",
            "a b",
            "\u{1b}[2J",
            "x\ny",
            "\u{202e}1",
            "\u{e0041}f",
            "\\x41",
            "\u{7}1f",
            "é",
            "\u{301}",
            "$'x'",
            "!!",
            "-n",
        ]
        .map(str::to_owned)
        .to_vec();
        let script = format!("printf '%s\\0' {}", quote_argv(&argv));
        let output = Command::new("bash")
            .args(["-c", &script])
            .env("LC_ALL", "C.UTF-8")
            .output()
            .unwrap();
        let words: Vec<String> = String::from_utf8(output.stdout)
            .unwrap()
            .split_terminator('\0')
            .map(str::to_owned)
            .collect();
        assert_eq!(words, argv);
    }

    fn tricky() -> impl Strategy<Value = Vec<String>> {
        proptest::collection::vec(r"[ab '\\$nu0-2\n\u{301}\u{202e}]{0,4}", 0..4)
    }

    proptest! {
        #[test]
        fn different_commands_are_shown_differently(one in tricky(), other in tricky()) {
            prop_assert_eq!(one == other, quote_argv(&one) == quote_argv(&other));
        }

        #[test]
        fn nothing_shown_is_hidden(argv in proptest::collection::vec(any::<String>(), 0..4)) {
            prop_assert!(!has_hidden(&quote_argv(&argv)));
        }
    }
}
