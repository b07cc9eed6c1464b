//! Patterns that name what to keep of a directory.
//!
//! In scope: `*` and `?` within one name, `**` for any number of directories, exact otherwise.
//! Out of scope: `[…]`, `{…}`, `!` and `\`, which are refused so that they can't be misread.
//! Invariant: matching takes time proportional to pattern times path, whatever the pattern.

use std::collections::BTreeSet;
use std::str::FromStr;

/// A pattern over paths relative to a bound directory: `.git/objects/**`, `*.sql`, `src/**/*.rs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob(Vec<String>);

/// Why a text is not a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a pattern to keep: write a relative path with `*`, `?` and `**` only, like `src/**/*.rs`"
)]
pub struct InvalidGlob(String);

impl FromStr for Glob {
    type Err = InvalidGlob;

    /// # Errors
    /// [`InvalidGlob`] for an absolute or empty pattern, one with `..` or empty parts, or other
    /// special characters. A trailing `/` stands for `/**`.
    fn from_str(text: &str) -> Result<Self, InvalidGlob> {
        let invalid = || InvalidGlob(text.to_owned());
        let expanded = text.strip_suffix('/').map(|start| format!("{start}/**"));
        let parts: Vec<String> = expanded
            .as_deref()
            .unwrap_or(text)
            .split('/')
            .map(str::to_owned)
            .collect();
        let good = |part: &String| {
            !matches!(part.as_str(), "" | "." | "..")
                && !part.contains(['[', ']', '{', '}', '!', '\\'])
                && (part == "**" || !part.contains("**"))
        };
        if parts.len() > super::MAX_DEPTH || !parts.iter().all(good) {
            return Err(invalid());
        }
        Ok(Self(parts))
    }
}

impl Glob {
    /// Whether the whole of `path` matches.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        self.positions_after(path).contains(&self.0.len())
    }

    /// Whether something below the directory `path` could match.
    #[must_use]
    pub fn could_match_below(&self, path: &str) -> bool {
        self.positions_after(path)
            .iter()
            .any(|position| *position < self.0.len())
    }

    /// Where in the pattern one can be after reading `path`.
    fn positions_after(&self, path: &str) -> BTreeSet<usize> {
        let mut positions = self.with_skips([0].into());
        for name in path.split('/') {
            let mut next = BTreeSet::new();
            for position in positions {
                match self.0.get(position).map(String::as_str) {
                    Some("**") => {
                        next.insert(position);
                    }
                    Some(part) if name_matches(part, name) => {
                        next.insert(position + 1);
                    }
                    _ => {}
                }
            }
            positions = self.with_skips(next);
        }
        positions
    }

    /// `positions` and those reached by letting `**` stand for nothing.
    fn with_skips(&self, positions: BTreeSet<usize>) -> BTreeSet<usize> {
        let mut all = positions.clone();
        for mut position in positions {
            while self.0.get(position).is_some_and(|part| part == "**") {
                position += 1;
                all.insert(position);
            }
        }
        all
    }
}

/// Whether `name` matches a part with `*` and `?`: on a mismatch the last `*` takes one more.
fn name_matches(part: &str, name: &str) -> bool {
    let (part, name): (Vec<char>, Vec<char>) = (part.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    let mut star = None;
    while n < name.len() {
        match part.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(c) if *c == '?' || Some(c) == name.get(n) => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    p = at + 1;
                    n = taken + 1;
                }
                None => return false,
            },
        }
    }
    part.iter().skip(p).all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_exactly() {
        for (pattern, path, matches) in [
            (".git/objects/**", ".git/objects/ab/cd", true),
            (".git/objects/**", ".git/objects", true),
            (".git/objects/**", ".git/config", false),
            ("*.sql", "a.sql", true),
            ("*.sql", "a/b.sql", false),
            ("**/*.sql", "b.sql", true),
            ("**/*.sql", "a/b/c.sql", true),
            ("src/**/test?.rs", "src/test1.rs", true),
            ("src/**/test?.rs", "src/a/test12.rs", false),
            ("a*b*c", "axxbxxbc", true),
            ("a*b*c", "axxbxx", false),
            ("dir/", "dir/x/y", true),
            ("**", "anything/at/all", true),
            ("A", "a", false),
        ] {
            assert_eq!(
                pattern.parse::<Glob>().unwrap().matches(path),
                matches,
                "{pattern} {path}"
            );
        }
    }

    #[test]
    fn directories_without_a_chance_are_known() {
        for (pattern, path, could) in [
            (".git/objects/**", ".git", true),
            (".git/objects/**", "node_modules", false),
            ("a/b", "a", true),
            ("a/b", "a/b", false),
            ("**/x", "deep/down", true),
        ] {
            assert_eq!(
                pattern.parse::<Glob>().unwrap().could_match_below(path),
                could,
                "{pattern} {path}"
            );
        }
    }

    #[test]
    fn what_could_be_misread_is_refused() {
        for bad in [
            "", "/a", "a//b", "../a", "a/./b", "[ab]", "{a,b}", "!a", "a**", "a\\b", "/",
        ] {
            assert!(bad.parse::<Glob>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_costly_pattern_is_cheap() {
        let pattern: Glob = format!("{}b", "*a".repeat(60)).parse().unwrap();
        assert!(!pattern.matches(&"a".repeat(200)));
        let pattern: Glob = format!("{}b", "**/a/".repeat(20)).parse().unwrap();
        assert!(!pattern.matches(&vec!["a"; 60].join("/")));
    }
}
