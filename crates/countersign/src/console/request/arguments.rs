//! The words of a command as lines of a text field, and back.
//!
//! In scope: one argument to a line; escapes for what a field would change or hide.
//! Invariant: reading back what was written gives the same words, whatever they contain, also
//! after a browser has turned line feeds into `\r\n`.

use std::fmt::Write;

use countersign_console::hidden::is_hiding;

/// How to write arguments, for people.
pub(super) const HINT: &str = r"\n, \t and \\ stand for a line feed, a tab and a backslash, \e for an empty argument; empty lines are left out";

/// Why lines are no arguments.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} has `{found}`; a backslash itself is written `\\\\`")]
pub(super) struct BadEscape {
    line: usize,
    found: String,
}

/// One line for each word.
pub(super) fn lines(words: &[String]) -> Vec<String> {
    words.iter().map(|word| line(word)).collect()
}

fn line(word: &str) -> String {
    if word.is_empty() {
        return r"\e".into();
    }
    let mut line = String::with_capacity(word.len());
    for char in word.chars() {
        match char {
            '\\' => line.push_str(r"\\"),
            '\n' => line.push_str(r"\n"),
            '\t' => line.push_str(r"\t"),
            // Writing to a string does not fail.
            hidden if is_hiding(hidden) => drop(write!(line, r"\u{{{:x}}}", u32::from(hidden))),
            shown => line.push(shown),
        }
    }
    line
}

/// The words that lines stand for.
///
/// # Errors
/// [`BadEscape`] with the first line that can't be read.
pub(super) fn words(text: &str) -> Result<Vec<String>, BadEscape> {
    let mut words = Vec::new();
    for (index, line) in text.split('\n').enumerate() {
        let line = line.strip_suffix('\r').unwrap_or(line);
        if line.is_empty() {
            continue;
        }
        let bad = |found: &str| BadEscape {
            line: index + 1,
            found: found.chars().take(12).collect(),
        };
        words.push(if line == r"\e" {
            String::new()
        } else {
            word(line).map_err(bad)?
        });
    }
    Ok(words)
}

/// The word of a line; an error is the escape that can't be read.
fn word(line: &str) -> Result<String, &str> {
    let mut word = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((plain, escape)) = rest.split_once('\\') {
        word.push_str(plain);
        let at = rest.get(plain.len()..).unwrap_or_default();
        let (char, after) = match escape.chars().next() {
            Some('\\') => ('\\', 1),
            Some('n') => ('\n', 1),
            Some('t') => ('\t', 1),
            Some('u') => code_point(escape).ok_or(at)?,
            _ => return Err(at),
        };
        word.push(char);
        rest = escape.get(after..).unwrap_or_default();
    }
    word.push_str(rest);
    Ok(word)
}

/// Reads `u{202e}` and says how long it is.
fn code_point(escape: &str) -> Option<(char, usize)> {
    let (digits, _) = escape.strip_prefix("u{")?.split_once('}')?;
    let char = char::from_u32(u32::from_str_radix(digits, 16).ok()?)?;
    Some((char, digits.len() + 3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_read_back_whatever_they_contain() {
        let hostile = [
            "git",
            "",
            " spaces ",
            "two\nlines",
            "a\r\nb",
            "tab\t",
            r"C:\new\u{1}",
            r"\e",
            "\u{202e}x\u{200b}",
            "\\",
            "é日",
            "-",
            "\u{1b}[2J",
        ];
        let argv: Vec<String> = hostile.iter().map(|word| (*word).to_owned()).collect();
        let text = lines(&argv).join("\n");
        assert_eq!(words(&text), Ok(argv.clone()));
        assert_eq!(
            words(&format!("{}\r\n", text.replace('\n', "\r\n"))),
            Ok(argv)
        );
        assert!(!text.chars().any(is_hiding));
    }

    #[test]
    fn an_unknown_escape_is_refused_and_named() {
        for (text, line, found) in [
            (r"C:\dir", 1, r"\dir"),
            ("ok\n\\u{zz}", 2, r"\u{zz}"),
            ("ok\nx\\", 2, r"\"),
            (r"\u{d800}", 1, r"\u{d800}"),
        ] {
            assert_eq!(
                words(text),
                Err(BadEscape {
                    line,
                    found: found.into()
                }),
                "{text}"
            );
        }
    }
}
