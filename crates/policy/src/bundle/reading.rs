//! Reading TOML piece by piece, so that one mistake does not hide the next.
//!
//! In scope: splitting a file into named entries with lines; turning one entry into a type.
//! Out of scope: what the entries mean.
//! Invariant: an unknown or repeated key is an error with its line.

use serde::de::DeserializeOwned;
use toml::{
    Spanned,
    de::{DeTable, DeValue, ValueDeserializer},
};

use crate::problem::{Problem, line_at, shown};

/// A file being read, with the problems found so far.
pub(crate) struct Reader<'a> {
    pub(crate) file: &'a str,
    pub(crate) text: &'a str,
    pub(crate) problems: &'a mut Vec<Problem>,
}

/// A named entry of a table.
pub(crate) struct Entry<T> {
    pub(crate) name: String,
    pub(crate) line: u32,
    pub(crate) value: T,
}

impl<T> Entry<T> {
    /// The same entry of something else.
    pub(crate) fn map<U>(self, to: impl FnOnce(T) -> U) -> Entry<U> {
        Entry {
            name: self.name,
            line: self.line,
            value: to(self.value),
        }
    }
}

impl<'a> Reader<'a> {
    /// The top-level keys.
    pub(crate) fn top_level(&mut self) -> Vec<Entry<Spanned<DeValue<'a>>>> {
        let (table, errors) = DeTable::parse_recoverable(self.text);
        for error in &errors {
            self.syntax(error, 0);
        }
        if errors.is_empty() {
            self.split(table.into_inner())
        } else {
            Vec::new()
        }
    }

    fn split(&self, table: DeTable<'a>) -> Vec<Entry<Spanned<DeValue<'a>>>> {
        let mut entries = table
            .into_iter()
            .map(|(key, value)| Entry {
                line: line_at(self.text, key.span().start),
                name: key.into_inner().into_owned(),
                value,
            })
            .collect::<Vec<_>>();
        entries.sort_by_key(|entry| entry.line);
        entries
    }

    /// The entries of a table of named tables, each read as `T`. What cannot be read is left out.
    pub(crate) fn named<T: DeserializeOwned>(
        &mut self,
        section: Entry<Spanned<DeValue<'a>>>,
    ) -> Vec<Entry<T>> {
        let entries = self.tables(section);
        entries
            .into_iter()
            .filter_map(|entry| self.read(entry))
            .collect()
    }

    /// The entries of a table of named tables, as they are.
    pub(crate) fn tables(
        &mut self,
        section: Entry<Spanned<DeValue<'a>>>,
    ) -> Vec<Entry<Spanned<DeValue<'a>>>> {
        let DeValue::Table(table) = section.value.into_inner() else {
            let message = format!("`{}` is not a table", shown(&section.name));
            let help = format!("write `[{}.NAME]`", shown(&section.name));
            self.problems
                .push(Problem::error(self.file, section.line, message, help));
            return Vec::new();
        };
        self.split(table)
    }

    /// One entry as `T`.
    pub(crate) fn read<T: DeserializeOwned>(
        &mut self,
        entry: Entry<Spanned<DeValue<'a>>>,
    ) -> Option<Entry<T>> {
        let start = entry.value.span().start;
        match T::deserialize(ValueDeserializer::from(entry.value)) {
            Ok(value) => Some(Entry {
                name: entry.name,
                line: entry.line,
                value,
            }),
            Err(error) => {
                self.syntax(&error, start);
                None
            }
        }
    }

    fn syntax(&mut self, error: &toml::de::Error, fallback: usize) {
        let line = self.line(error.span().map_or(fallback, |span| span.start));
        let message = error.message().trim().replace('\n', "; ");
        let missing = message
            .strip_prefix("missing field `")
            .and_then(|rest| rest.split_once('`'));
        let help = match missing {
            Some((field, _)) => format!("add `{field} = …`; docs/configuration.md says what"),
            None => "correct or remove it".into(),
        };
        self.problems
            .push(Problem::error(self.file, line, message, help));
    }

    /// The line of an offset.
    pub(crate) fn line(&self, offset: usize) -> u32 {
        line_at(self.text, offset)
    }

    /// Notes an error.
    pub(crate) fn error(&mut self, line: u32, message: impl Into<String>, help: impl Into<String>) {
        self.problems
            .push(Problem::error(self.file, line, message, help));
    }

    /// Notes a name that nothing has. That may only follow from another error.
    pub(crate) fn unknown(
        &mut self,
        line: u32,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let problem = Problem::error(self.file, line, message, help);
        self.problems.push(problem.following());
    }

    /// A name as identifier `T`; a bad one is noted.
    pub(crate) fn identifier<T>(&mut self, text: &str, line: u32) -> Option<T>
    where
        T: std::str::FromStr<Err = countersign_core::id::InvalidId>,
    {
        match text.parse() {
            Ok(id) => Some(id),
            Err(error) => {
                self.error(line, error.to_string(), "choose another name");
                None
            }
        }
    }
}
