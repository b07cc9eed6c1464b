//! Limits on policy text, checked before any parser sees it.
//!
//! In scope: splitting a file into statements; bounding size, nesting and the depth of the tree
//! that long chains of operators make.
//! Out of scope: syntax; whatever this lets through may still be refused by the parser.
//! Invariant: one pass without recursion, so that no input can exhaust the stack here; whatever
//! passes has an expression tree at most [`MAX_DEPTH`] deep, which parses, validates and
//! evaluates on an ordinary stack.
//! Specification: <https://docs.cedarpolicy.com/policies/syntax-grammar.html>.

/// The largest file, in bytes.
pub const MAX_SOURCE_BYTES: usize = 256 * 1024;
/// The deepest nesting of brackets, and of `if`.
pub const MAX_NESTING: usize = 32;
/// The deepest tree: operators in a chain add to it, each pair of brackets adds what it holds.
pub const MAX_DEPTH: usize = 128;

/// A limit that a text goes beyond.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Limit {
    pub(crate) line: Option<u32>,
    pub(crate) message: String,
    pub(crate) help: &'static str,
}

/// One statement of a file: its text from the first annotation to the semicolon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece<'a> {
    pub(crate) line: u32,
    pub(crate) text: &'a str,
}

/// Checks the limits only.
pub(crate) fn check(text: &str) -> Result<(), Limit> {
    split(text).map(|_| ())
}

/// What one pair of brackets holds. `or`, `and` and `rest` count operators by how tightly they
/// bind; a chain of one kind becomes a tree as deep as it is long.
#[derive(Default)]
struct Level {
    or: usize,
    and: usize,
    most_and: usize,
    rest: usize,
    most_rest: usize,
    deepest_inside: usize,
    /// The deepest of the elements before the last comma.
    deepest_element: usize,
}

impl Level {
    fn operator(&mut self, kind: Kind) {
        match kind {
            Kind::Or => {
                self.or += 1;
                self.and = 0;
                self.rest = 0;
            }
            Kind::And => {
                self.and += 1;
                self.most_and = self.most_and.max(self.and);
                self.rest = 0;
            }
            Kind::Rest => {
                self.rest += 1;
                self.most_rest = self.most_rest.max(self.rest);
            }
        }
    }

    fn depth(&self) -> usize {
        let element = self.or + self.most_and + self.most_rest + self.deepest_inside;
        element.max(self.deepest_element) + 1
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Or,
    And,
    Rest,
}

/// A pass over a text.
struct Scan<'a> {
    text: &'a str,
    bytes: std::iter::Peekable<std::iter::Enumerate<std::str::Bytes<'a>>>,
    line: u32,
    levels: Vec<Level>,
    conditionals: usize,
    clauses: usize,
    /// The offset and line at which the statement begins, once something of it was seen.
    start: Option<(usize, u32)>,
}

/// Splits a file into statements.
pub(crate) fn split(text: &str) -> Result<Vec<Piece<'_>>, Limit> {
    if text.len() > MAX_SOURCE_BYTES {
        let message = format!("the file has {} bytes", text.len());
        let help = "split it: a file may have 262144 bytes";
        return Err(Limit {
            line: None,
            message,
            help,
        });
    }
    let mut scan = Scan {
        text,
        bytes: text.bytes().enumerate().peekable(),
        line: 1,
        levels: vec![Level::default()],
        conditionals: 0,
        clauses: 0,
        start: None,
    };
    let mut pieces = Vec::new();
    while let Some((at, byte)) = scan.bytes.next() {
        if let Some(piece) = scan.step(at, byte)? {
            pieces.push(piece);
        }
    }
    if let Some((start, line)) = scan.start {
        scan.check_depth()?;
        pieces.push(Piece {
            line,
            text: text.get(start..).unwrap_or(""),
        });
    }
    Ok(pieces)
}

impl<'a> Scan<'a> {
    fn step(&mut self, at: usize, byte: u8) -> Result<Option<Piece<'a>>, Limit> {
        if byte == b'\n' {
            self.line = self.line.saturating_add(1);
        }
        if byte.is_ascii_whitespace() {
            return Ok(None);
        }
        if byte == b'/' && self.next_is(b'/') {
            self.skip_comment();
            return Ok(None);
        }
        if self.start.is_none() {
            self.start = Some((at, self.line));
        }
        match byte {
            b'"' => self.skip_string(),
            b'(' | b'[' | b'{' => self.open()?,
            b')' | b']' | b'}' => self.close()?,
            b',' => self.next_element(),
            b'|' if self.take(b'|') => self.operator(Kind::Or),
            b'&' if self.take(b'&') => self.operator(Kind::And),
            b'=' | b'<' | b'>' | b'!' | b'+' | b'-' | b'*' | b'.' | b'%' | b'/' => {
                self.operator(Kind::Rest);
            }
            b';' if self.levels.len() == 1 => return self.end(at).map(Some),
            b if b.is_ascii_alphabetic() || b == b'_' => self.word(at)?,
            _ => {}
        }
        Ok(None)
    }

    fn next_is(&mut self, byte: u8) -> bool {
        self.bytes.peek().is_some_and(|(_, next)| *next == byte)
    }

    fn take(&mut self, byte: u8) -> bool {
        self.bytes.next_if(|(_, next)| *next == byte).is_some()
    }

    fn skip_comment(&mut self) {
        // Cedar's lexer ends a comment at a bare carriage return as well.
        while self
            .bytes
            .next_if(|(_, byte)| !matches!(byte, b'\n' | b'\r'))
            .is_some()
        {}
    }

    fn skip_string(&mut self) {
        while let Some((_, byte)) = self.bytes.next() {
            match byte {
                b'"' => return,
                b'\\' => {
                    if let Some((_, b'\n')) = self.bytes.next() {
                        self.line = self.line.saturating_add(1);
                    }
                }
                b'\n' => self.line = self.line.saturating_add(1),
                _ => {}
            }
        }
    }

    fn open(&mut self) -> Result<(), Limit> {
        if self.levels.len() > MAX_NESTING {
            return Err(self.limit(format!("brackets nest deeper than {MAX_NESTING}")));
        }
        // An index or a call is a step in a chain too.
        self.operator(Kind::Rest);
        self.levels.push(Level::default());
        Ok(())
    }

    fn close(&mut self) -> Result<(), Limit> {
        self.check_depth()?;
        if self.levels.len() > 1
            && let Some(closed) = self.levels.pop()
            && let Some(outer) = self.levels.last_mut()
        {
            outer.deepest_inside = outer.deepest_inside.max(closed.depth());
        }
        Ok(())
    }

    /// Elements of a list stand side by side in the tree.
    fn next_element(&mut self) {
        if let Some(level) = self.levels.last_mut() {
            *level = Level {
                deepest_element: level.depth() - 1,
                ..Level::default()
            };
        }
    }

    fn operator(&mut self, kind: Kind) {
        if let Some(level) = self.levels.last_mut() {
            level.operator(kind);
        }
    }

    fn word(&mut self, at: usize) -> Result<(), Limit> {
        let mut end = at + 1;
        while let Some((next, _)) = self
            .bytes
            .next_if(|(_, b)| b.is_ascii_alphanumeric() || *b == b'_')
        {
            end = next + 1;
        }
        match self.text.get(at..end) {
            Some("if") => {
                self.conditionals += 1;
                if self.conditionals > MAX_NESTING {
                    return Err(
                        self.limit(format!("more than {MAX_NESTING} `if` in one statement"))
                    );
                }
                self.operator(Kind::Or);
            }
            Some("when" | "unless") if self.levels.len() == 1 => {
                self.clauses += 1;
                if self.clauses > MAX_NESTING {
                    let message = format!("more than {MAX_NESTING} conditions in one statement");
                    return Err(self.limit(message));
                }
                self.operator(Kind::And);
            }
            Some("has" | "like" | "in" | "is") => self.operator(Kind::Rest),
            _ => {}
        }
        Ok(())
    }

    fn end(&mut self, at: usize) -> Result<Piece<'a>, Limit> {
        self.check_depth()?;
        let (start, line) = self.start.take().unwrap_or((at, self.line));
        self.levels = vec![Level::default()];
        self.conditionals = 0;
        self.clauses = 0;
        Ok(Piece {
            line,
            text: self.text.get(start..=at).unwrap_or(""),
        })
    }

    fn check_depth(&self) -> Result<(), Limit> {
        if self
            .levels
            .last()
            .is_some_and(|level| level.depth() > MAX_DEPTH)
        {
            return Err(self.limit(format!(
                "an expression is more than {MAX_DEPTH} operators deep"
            )));
        }
        Ok(())
    }

    fn limit(&self, message: String) -> Limit {
        let help = "split the statement, or use a set or a group instead of a chain";
        Limit {
            line: Some(self.line),
            message,
            help,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement(condition: &str) -> String {
        format!("@id(\"a\")\npermit (principal, action, resource) when {{ {condition} }};")
    }

    #[test]
    fn statements_are_split_with_their_lines() {
        let text = "// a ; comment\n@id(\"a;\\\"b\")\npermit (principal, action, resource);\n\n forbid (principal,\naction, resource); x";
        let pieces = split(text).unwrap();
        let lines = pieces.iter().map(|p| p.line).collect::<Vec<_>>();
        assert_eq!(lines, [2, 5, 6]);
        assert!(pieces[0].text.starts_with("@id") && pieces[0].text.ends_with(");"));
        assert_eq!(pieces[2].text, "x");
        assert!(split("  // nothing\n").unwrap().is_empty());
    }

    #[test]
    fn what_could_exhaust_a_stack_is_refused_before_parsing() {
        let nested = |n: usize| format!("{}true{}", "!(".repeat(n), ")".repeat(n));
        let chain = |n: usize, op: &str| vec!["true"; n].join(op);
        let strings = vec!["\"((((\""; 1000].join(", ");
        for (condition, expected) in [
            (nested(20), true),
            (nested(40), false),
            (nested(200), false),
            (nested(100_000), false),
            (chain(100, " || "), true),
            (chain(1000, " || "), false),
            (chain(1000, " && "), false),
            (format!("1 == {}", chain(1000, " + ")), false),
            (format!("context{}", ".a".repeat(1000)), false),
            (format!("context{}", "[\"a\"]".repeat(1000)), false),
            (
                format!("[{}].contains(1)", vec!["1 + 2"; 1000].join(", ")),
                true,
            ),
            (format!("// (\r{}true", "!(".repeat(200)), false),
            (format!("{}true", "!".repeat(1000)), false),
            (format!("1 == {}1", "-".repeat(1000)), false),
            (
                format!("{}true", "if true then true else ".repeat(40)),
                false,
            ),
            (format!("[{strings}].contains(\"a\")"), true),
            (vec!["principal.a == \"x\" && true"; 60].join(" || "), true),
        ] {
            let shown = condition.chars().take(40).collect::<String>();
            assert_eq!(split(&statement(&condition)).is_ok(), expected, "{shown}");
        }
        let clauses = format!(
            "permit (principal, action, resource) {};",
            "when { true } ".repeat(1000)
        );
        assert!(split(&clauses).is_err());
        assert!(split(&" ".repeat(MAX_SOURCE_BYTES + 1)).is_err());
        // Nested chains add up.
        let mut mixed = "true".to_owned();
        for _ in 0..10 {
            mixed = format!("({}{mixed})", "true || ".repeat(20));
        }
        assert!(split(&statement(&mixed)).is_err());
    }
}
