//! The shape of a command line that has a name of its own.
//!
//! In scope: tokens with placeholders, matching one argument each, resource names made of
//! captures.
//! Out of scope: which target a pattern belongs to and what follows from a match.
//! Invariant: a pattern matches a text in at most one way, and a capture can never begin with a
//! dash, hold whitespace, `:` or `..`, or be anything but plain ASCII.

use std::collections::BTreeMap;

use serde_json::Value;

/// The largest number that JSON holds exactly.
const MAX_NUMBER: i64 = (1 << 53) - 1;

/// The longest text a placeholder takes, in bytes.
const MAX_CAPTURE_BYTES: usize = 256;

/// What a placeholder accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CaptureKind {
    /// A letter or digit, then letters, digits and `._/@-`, without `..`.
    Word,
    /// A whole number up to 2^53 - 1, which JSON holds exactly, without leading zeros.
    Number,
    /// 40 or 64 lower-case hexadecimal digits.
    Hex,
}

/// Why a text is not a token or template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not a valid pattern: {what}", .text.escape_debug())]
pub struct InvalidPattern {
    text: String,
    what: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    Placeholder { name: String, kind: CaptureKind },
}

/// One argument of a pattern: literal text mixed with placeholders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    parts: Vec<Part>,
}

/// A resource name with `{placeholders}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

impl CaptureKind {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "word" => Some(Self::Word),
            "number" => Some(Self::Number),
            "hex" => Some(Self::Hex),
            _ => None,
        }
    }

    fn takes(self, c: char) -> bool {
        match self {
            Self::Word => c.is_ascii_alphanumeric() || "._/@-".contains(c),
            Self::Number => c.is_ascii_digit(),
            Self::Hex => matches!(c, '0'..='9' | 'a'..='f'),
        }
    }

    /// The captured value, or nothing when the text is not of this kind.
    fn capture(self, text: &str) -> Option<Value> {
        if text.is_empty() || text.len() > MAX_CAPTURE_BYTES || !text.chars().all(|c| self.takes(c))
        {
            return None;
        }
        match self {
            Self::Word => (text.starts_with(|c: char| c.is_ascii_alphanumeric())
                && !text.contains(".."))
            .then(|| Value::from(text)),
            Self::Number => (text.len() <= 18 && (text == "0" || !text.starts_with('0')))
                .then(|| {
                    text.parse::<i64>()
                        .ok()
                        .filter(|n| *n <= MAX_NUMBER)
                        .map(Value::from)
                })
                .flatten(),
            Self::Hex => matches!(text.len(), 40 | 64).then(|| Value::from(text)),
        }
    }
}

impl Token {
    /// Reads a token such as `push`, `{branch:word}` or `{commit:hex}:refs/heads/{branch:word}`;
    /// `{{` and `}}` stand for braces.
    ///
    /// # Errors
    /// [`InvalidPattern`] when braces do not pair, a kind is unknown, or two placeholders are not
    /// kept apart by text that the first cannot take.
    pub fn parse(text: &str) -> Result<Self, InvalidPattern> {
        let parts = split(text, |inside| {
            let (name, kind) = inside.split_once(':')?;
            Some((name, CaptureKind::parse(kind)?))
        })
        .map_err(|what| InvalidPattern {
            text: text.into(),
            what,
        })?;
        let token = Self { parts };
        token.check_separated().map_err(|what| InvalidPattern {
            text: text.into(),
            what,
        })?;
        Ok(token)
    }

    /// The placeholders of this token.
    pub fn placeholders(&self) -> impl Iterator<Item = (&str, CaptureKind)> {
        placeholders(&self.parts)
    }

    fn check_separated(&self) -> Result<(), String> {
        let mut parts = self.parts.iter().peekable();
        while let Some(part) = parts.next() {
            let Part::Placeholder { name, kind } = part else {
                continue;
            };
            let rest_holds_placeholder = parts
                .clone()
                .any(|later| matches!(later, Part::Placeholder { .. }));
            if !rest_holds_placeholder {
                return Ok(());
            }
            let separated = matches!(parts.peek(), Some(Part::Literal(text))
                if text.chars().next().is_some_and(|c| !kind.takes(c)));
            if !separated {
                return Err(format!(
                    "put a character between `{{{name}}}` and the next placeholder that \
                     `{{{name}}}` itself cannot take, such as `:`"
                ));
            }
        }
        Ok(())
    }

    /// Whether `text` has this shape; captures go to `found`.
    pub(crate) fn matches(&self, text: &str, found: &mut Captures) -> bool {
        let mut rest = text;
        let mut parts = self.parts.iter().peekable();
        while let Some(part) = parts.next() {
            match part {
                Part::Literal(literal) => match rest.strip_prefix(literal.as_str()) {
                    Some(after) => rest = after,
                    None => return false,
                },
                Part::Placeholder { name, kind } => {
                    let last = !parts.clone().any(|p| matches!(p, Part::Placeholder { .. }));
                    let taken = if last {
                        let suffix = match parts.next() {
                            Some(Part::Literal(suffix)) => suffix.as_str(),
                            _ => "",
                        };
                        let Some(taken) = rest.strip_suffix(suffix) else {
                            return false;
                        };
                        rest = "";
                        taken
                    } else {
                        let end = rest.find(|c| !kind.takes(c)).unwrap_or(rest.len());
                        let Some((taken, after)) = rest.split_at_checked(end) else {
                            return false;
                        };
                        rest = after;
                        taken
                    };
                    let Some(value) = kind.capture(taken) else {
                        return false;
                    };
                    found.insert(name.clone(), value);
                }
            }
        }
        rest.is_empty()
    }
}

/// What placeholders took: texts, and numbers for `number`.
pub type Captures = BTreeMap<String, Value>;

impl Template {
    /// Reads a template such as `branch/{branch}`.
    ///
    /// # Errors
    /// [`InvalidPattern`] when braces do not pair.
    pub fn parse(text: &str) -> Result<Self, InvalidPattern> {
        split(text, |inside| Some((inside, CaptureKind::Word)))
            .map(|parts| Self { parts })
            .map_err(|what| InvalidPattern {
                text: text.into(),
                what,
            })
    }

    /// The names of the placeholders.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        placeholders(&self.parts).map(|(name, _)| name)
    }

    /// The template with its placeholders filled; a missing capture leaves nothing.
    pub(crate) fn render(&self, captures: &Captures) -> Option<String> {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Literal(text) => out.push_str(text),
                Part::Placeholder { name, .. } => match captures.get(name)? {
                    Value::String(text) => out.push_str(text),
                    other => out.push_str(&other.to_string()),
                },
            }
        }
        Some(out)
    }
}

fn placeholders(parts: &[Part]) -> impl Iterator<Item = (&str, CaptureKind)> {
    parts.iter().filter_map(|part| match part {
        Part::Literal(_) => None,
        Part::Placeholder { name, kind } => Some((name.as_str(), *kind)),
    })
}

fn split(
    text: &str,
    read: impl Fn(&str) -> Option<(&str, CaptureKind)>,
) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("{{") {
            literal.push('{');
            rest = after;
        } else if let Some(after) = rest.strip_prefix("}}") {
            literal.push('}');
            rest = after;
        } else if let Some(after) = rest.strip_prefix('{') {
            let (inside, after) = after
                .split_once('}')
                .ok_or("a `{` is not closed; write `{{` for a brace")?;
            let (name, kind) = read(inside).ok_or_else(|| {
                format!(
                    "`{{{}}}` is no placeholder; write `{{name:word}}`, `{{name:number}}` or \
                     `{{name:hex}}`",
                    inside.escape_debug()
                )
            })?;
            check_name(name)?;
            if !literal.is_empty() {
                parts.push(Part::Literal(std::mem::take(&mut literal)));
            }
            parts.push(Part::Placeholder {
                name: name.into(),
                kind,
            });
            rest = after;
        } else if c == '}' {
            return Err("a `}` is not opened; write `}}` for a brace".into());
        } else {
            literal.push(c);
            rest = rest.strip_prefix(c).unwrap_or("");
        }
    }
    if !literal.is_empty() {
        parts.push(Part::Literal(literal));
    }
    Ok(parts)
}

fn check_name(name: &str) -> Result<(), String> {
    let good = name.len() <= 40
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if good {
        Ok(())
    } else {
        Err(format!(
            "`{}` is no placeholder name; use lower-case letters, digits and `_`",
            name.escape_debug()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matched(pattern: &str, text: &str) -> Option<Captures> {
        let mut found = Captures::new();
        Token::parse(pattern)
            .unwrap()
            .matches(text, &mut found)
            .then_some(found)
    }

    #[test]
    fn numbers_end_where_json_loses_them() {
        let token = Token::parse("{n:number}").unwrap();
        let matches = |text| token.matches(text, &mut Captures::new());
        assert!(matches("9007199254740991"));
        assert!(!matches("9007199254740992"));
        assert!(!matches("999999999999999999"));
    }

    #[test]
    fn tokens_match_exactly_or_not_at_all() {
        let sha = "0123456789abcdef0123456789abcdef01234567";
        let with_sha = |rest: &str| format!("{sha}{rest}");
        for (pattern, text, expected) in [
            ("push", "push", true),
            ("push", "push ", false),
            ("push", "pu\u{0455}h", false),
            ("", "", true),
            ("", " ", false),
            ("{b:word}", "main", true),
            ("{b:word}", "release/2026.1", true),
            ("{b:word}", "", false),
            ("{b:word}", "-f", false),
            ("{b:word}", "--force", false),
            ("{b:word}", ".hidden", false),
            ("{b:word}", "a..b", false),
            ("{b:word}", "../x", false),
            ("{b:word}", "a:b", false),
            ("{b:word}", "a b", false),
            ("{b:word}", "a\nb", false),
            ("{b:word}", "main\n", false),
            ("{b:word}", "m\u{0430}in", false),
            ("{b:word}", "main\u{200b}", false),
            ("{b:word}", "a;b", false),
            ("{b:word}", "$(id)", false),
            ("{n:number}", "0", true),
            ("{n:number}", "15", true),
            ("{n:number}", "015", false),
            ("{n:number}", "-1", false),
            ("{n:number}", "1.5", false),
            ("{n:number}", "\u{0661}", false),
            ("{n:number}", "9999999999999999999", false),
            ("{c:hex}", sha, true),
            ("{c:hex}", "abc", false),
            ("{c:hex}", "0123456789ABCDEF0123456789abcdef01234567", false),
            (
                "{c:hex}:refs/heads/{b:word}",
                &with_sha(":refs/heads/main"),
                true,
            ),
            (
                "{c:hex}:refs/heads/{b:word}",
                &with_sha(":refs/heads/-main"),
                false,
            ),
            (
                "{c:hex}:refs/heads/{b:word}",
                &with_sha(":refs/tags/main"),
                false,
            ),
            (
                "{c:hex}:refs/heads/{b:word}",
                &with_sha(":refs/heads/a:b"),
                false,
            ),
            (
                "{c:hex}:refs/heads/{b:word}",
                &with_sha("0:refs/heads/main"),
                false,
            ),
            ("+{c:hex}:x", &with_sha(":x"), false),
            ("--file={f:word}.txt", "--file=a.txt.txt", true),
            ("--file={f:word}.txt", "--file=.txt", false),
            ("stash@{{{n:number}}}", "stash@{3}", true),
        ] {
            assert_eq!(
                matched(pattern, text).is_some(),
                expected,
                "{pattern} {text:?}"
            );
        }
    }

    #[test]
    fn ambiguous_and_broken_patterns_are_refused() {
        for bad in [
            "{a:word}{b:word}",
            "{a:word}-{b:word}",
            "{a:hex}a{b:word}",
            "{a}",
            "{a:text}",
            "{:word}",
            "{A:word}",
            "{a:word",
            "a}",
        ] {
            assert!(Token::parse(bad).is_err(), "{bad}");
        }
        assert!(Token::parse("{a:word}:{b:word}").is_ok());
    }

    #[test]
    fn numbers_are_numbers_and_names_are_rendered() {
        let found = matched("{n:number}", "42").unwrap();
        assert_eq!(found.get("n"), Some(&Value::from(42)));
        let template = Template::parse("issue/{n}").unwrap();
        assert_eq!(template.render(&found).as_deref(), Some("issue/42"));
        assert_eq!(template.render(&Captures::new()), None);
    }
}
