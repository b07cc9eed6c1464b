//! Text for people: columns, colours, times, and other people's words made safe to show.
//!
//! In scope: pure functions from values to text.
//! Out of scope: where it is written ([`output`](super::output)).
//! Invariant: whatever comes from the gateway passes through [`shown`] or [`shown_lines`], so that
//! no name, reason or comment can move the cursor, change colours or reorder a line.

use countersign_core::time::Timestamp;
use countersign_runner::quote::{reveal, reveal_lines, spell_out};
use serde_json::Value;

/// The longest text in a column of a table, in characters.
const MAX_CELL: usize = 72;

/// Colours, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Paint {
    coloured: bool,
}

impl Paint {
    /// Colours if `coloured`.
    #[must_use]
    pub(crate) fn new(coloured: bool) -> Self {
        Self { coloured }
    }

    /// No colours.
    #[cfg(test)]
    #[must_use]
    pub(crate) fn plain() -> Self {
        Self::new(false)
    }

    /// What to look at first.
    #[must_use]
    pub(crate) fn bold(self, text: &str) -> String {
        self.code("1", text)
    }

    /// What matters less.
    #[must_use]
    pub(crate) fn dim(self, text: &str) -> String {
        self.code("2", text)
    }

    /// What is wrong.
    #[must_use]
    pub(crate) fn red(self, text: &str) -> String {
        self.code("31", text)
    }

    /// What is right.
    #[must_use]
    pub(crate) fn green(self, text: &str) -> String {
        self.code("32", text)
    }

    /// What needs attention.
    #[must_use]
    pub(crate) fn yellow(self, text: &str) -> String {
        self.code("33", text)
    }

    /// A state of a request in its colour.
    #[must_use]
    pub(crate) fn state(self, state: &str) -> String {
        let text = shown(state);
        match state {
            "succeeded" | "approved" => self.green(&text),
            "held" | "running" => self.yellow(&text),
            "denied" | "failed" | "unknown" | "expired" => self.red(&text),
            _ => text,
        }
    }

    fn code(self, code: &str, text: &str) -> String {
        if self.coloured {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}

/// One line of somebody else's words, with hidden characters written out.
#[must_use]
pub(crate) fn shown(text: &str) -> String {
    reveal(text)
}

/// Several lines of somebody else's words, with hidden characters written out.
#[must_use]
pub(crate) fn shown_lines(text: &str) -> String {
    reveal_lines(text)
}

/// The gateway's own text in which hidden characters are written out already: only what could still
/// disturb a terminal is written out.
#[must_use]
pub(crate) fn spelt(text: &str) -> String {
    spell_out(text)
}

/// Somebody else's words with a bar before each line, so that no line reads as one of ours.
#[must_use]
pub(crate) fn quoted(text: &str) -> String {
    barred(&shown_lines(text))
}

/// Lines that are safe to show, each with a bar before it.
#[must_use]
pub(crate) fn barred(lines: &str) -> String {
    let lines = lines.trim_end_matches('\n').split('\n');
    let lines: Vec<_> = lines.map(|line| format!("│ {line}")).collect();
    lines.join("\n")
}

/// Every line moved to the right.
#[must_use]
pub(crate) fn indent(columns: usize, text: &str) -> String {
    let space = " ".repeat(columns);
    let lines: Vec<_> = text
        .split('\n')
        .map(|line| format!("{space}{line}"))
        .collect();
    lines.join("\n")
}

/// Several names with commas, or a dash.
#[must_use]
pub(crate) fn list(names: &[String]) -> String {
    if names.is_empty() {
        "–".into()
    } else {
        shown(&names.join(", "))
    }
}

/// Rows below a header, every column as wide as its longest cell.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these column names.
    #[must_use]
    pub(crate) fn new(header: &[&str]) -> Self {
        Self {
            rows: vec![header.iter().map(|name| (*name).to_owned()).collect()],
        }
    }

    /// Adds a row of cells as they came from elsewhere.
    pub(crate) fn row(&mut self, cells: &[&str]) {
        self.rows
            .push(cells.iter().map(|cell| cut(&shown(cell))).collect());
    }

    /// The lines. Colouring keeps the columns where they are.
    #[must_use]
    pub(crate) fn to_text(&self, paint: Paint) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let lines = self.rows.iter().enumerate().map(|(index, row)| {
            let cells = row
                .iter()
                .zip(&widths)
                .map(|(cell, width)| format!("{cell:width$}"));
            let line = cells.collect::<Vec<_>>().join("  ").trim_end().to_owned();
            if index == 0 { paint.dim(&line) } else { line }
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}

fn cut(text: &str) -> String {
    if text.chars().count() <= MAX_CELL {
        return text.to_owned();
    }
    let mut kept: String = text.chars().take(MAX_CELL - 1).collect();
    kept.push('…');
    kept
}

/// Names and values below each other, the values aligned. Values are shown as given, so callers
/// pass what came from elsewhere through [`shown`].
#[must_use]
pub(crate) fn pairs(indent: usize, pairs: &[(&str, String)], paint: Paint) -> String {
    let width = pairs
        .iter()
        .map(|(name, _)| name.chars().count())
        .max()
        .unwrap_or(0);
    let lines = pairs.iter().map(|(name, value)| {
        let name = paint.dim(&format!("{name:width$}"));
        let value = value.replace('\n', &format!("\n{:1$}", "", indent + width + 2));
        format!("{:indent$}{name}  {value}", "")
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// A length of time in its largest unit: `45s`, `12m`, `3h`, `5d`.
#[must_use]
pub(crate) fn rough(millis: i64) -> String {
    let seconds = millis.max(0) / 1_000;
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// `3m ago`, or `in 3m`.
#[must_use]
pub(crate) fn relative(at: Timestamp, now: Timestamp) -> String {
    let passed = now.millis_since(at);
    if passed >= 0 {
        format!("{} ago", rough(passed))
    } else {
        format!("in {}", rough(-passed))
    }
}

/// JSON as an indented outline, for answers whose fields only the gateway knows.
#[must_use]
pub(crate) fn outline(value: &Value, paint: Paint) -> String {
    let mut lines = Vec::new();
    branch(value, 0, paint, &mut lines);
    lines.join("\n")
}

fn branch(value: &Value, depth: usize, paint: Paint, lines: &mut Vec<String>) {
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                let name = paint.dim(&format!("{}:", shown(name)));
                match leaf(field) {
                    Some(text) => lines.push(indented(&indent, &format!("{name} "), &text)),
                    None => {
                        lines.push(format!("{indent}{name}"));
                        branch(field, depth + 1, paint, lines);
                    }
                }
            }
        }
        Value::Array(items) => {
            for item in items {
                match leaf(item) {
                    Some(text) => lines.push(indented(&indent, "- ", &text)),
                    None => {
                        lines.push(format!("{indent}-"));
                        branch(item, depth + 1, paint, lines);
                    }
                }
            }
        }
        other => lines.extend(leaf(other).map(|text| indented(&indent, "", &text))),
    }
}

fn indented(indent: &str, label: &str, text: &str) -> String {
    if text.contains('\n') {
        let text = text.trim_end().replace('\n', &format!("\n{indent}  "));
        return format!("{indent}{}\n{indent}  {text}", label.trim_end());
    }
    format!("{indent}{label}{text}")
}

fn leaf(value: &Value) -> Option<String> {
    match value {
        Value::Null => Some("–".into()),
        Value::Bool(true) => Some("yes".into()),
        Value::Bool(false) => Some("no".into()),
        Value::Number(number) => Some(number.to_string()),
        Value::String(text) => Some(shown_lines(text)),
        Value::Array(items) if items.is_empty() => Some("–".into()),
        Value::Object(fields) if fields.is_empty() => Some("–".into()),
        Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_are_aligned_and_safe() {
        let mut table = Table::new(&["ID", "STATE", "WHAT"]);
        table.row(&["req_1", "held", "git push"]);
        table.row(&["req_22", "succeeded", "\u{1b}[31mred\u{202e}"]);
        table.row(&["req_3", "denied", &"x".repeat(100)]);
        expect![[r#"
            ID      STATE      WHAT
            req_1   held       git push
            req_22  succeeded  ⟨U+001B⟩[31mred⟨U+202E⟩
            req_3   denied     xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…"#]]
        .assert_eq(&table.to_text(Paint::plain()));
    }

    #[test]
    fn values_stand_below_each_other() {
        let both = [
            ("page", "https://x".to_owned()),
            ("time left", "a\nb".to_owned()),
        ];
        assert_eq!(
            pairs(2, &both, Paint::plain()),
            "  page       https://x\n  time left  a\n             b"
        );
        assert_eq!(
            pairs(0, &[("a", "b".to_owned())], Paint::new(true)),
            "\u{1b}[2ma\u{1b}[0m  b"
        );
    }

    #[test]
    fn other_peoples_lines_stand_behind_a_bar() {
        assert_eq!(
            quoted("fine\n\nVotes\n  dana approved\u{1b}[A\n"),
            "│ fine\n│ \n│ Votes\n│   dana approved⟨U+001B⟩[A"
        );
        assert_eq!(spelt("⟨U+001B⟩[2J\u{1b}"), "⟨U+001B⟩[2J⟨U+001B⟩");
        assert_eq!(indent(2, "a\nb"), "  a\n  b");
    }

    #[test]
    fn times_are_rough() {
        for (millis, text) in [
            (-5, "0s"),
            (45_900, "45s"),
            (120_000, "2m"),
            (7_199_000, "119m"),
            (7_200_000, "2h"),
            (400_000_000, "4d"),
        ] {
            assert_eq!(rough(millis), text, "{millis}");
        }
        assert_eq!(relative(Timestamp(0), Timestamp(180_000)), "3m ago");
        assert_eq!(relative(Timestamp(180_000), Timestamp(0)), "in 3m");
    }

    #[test]
    fn unknown_json_is_an_outline() {
        let value = json!({
            "decision": "hold", "effects": [{"action": "exec:run", "ok": true}], "none": [],
            "rules": ["dba"], "source": "permit (\n  principal\n);", "why": null
        });
        expect![[r#"
            decision: hold
            effects:
              -
                action: exec:run
                ok: yes
            none: –
            rules:
              - dba
            source:
              permit (
                principal
              );
            why: –"#]]
        .assert_eq(&outline(&value, Paint::plain()));
    }
}
