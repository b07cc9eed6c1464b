//! Filters: which resources, or which values of one, are meant.
//!
//! In scope: parsing with limits, and matching against the JSON of a resource.
//! Out of scope: which resources there are.
//! Invariant: a filter is understood whole or refused. Its length and depth are limited, so that
//! matching takes no longer than the length of the filter times that of what it is matched with.
//! Specification: RFC 7644, section 3.4.2.2 and figure 1.

use std::cmp::Ordering;

use serde_json::{Map, Value};

use super::error::ScimError;

/// The longest filter or path in bytes.
pub(super) const MAX_LENGTH: usize = 2_000;
/// How deep parentheses, brackets and `not` go.
const MAX_DEPTH: usize = 16;
/// Before the name of an attribute, where a schema is named as well.
const CORE: &str = "urn:ietf:params:scim:schemas:core:2.0:";
/// Attributes in which capital letters matter.
const EXACT: [&str; 3] = ["id", "externalid", "$ref"];

/// An attribute by its names, in small letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Attribute {
    /// Its name.
    pub(super) name: String,
    /// A part of it.
    pub(super) part: Option<String>,
}

/// How a value is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Contains,
    StartsWith,
    EndsWith,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

/// A filter.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Filter {
    Any(Vec<Self>),
    All(Vec<Self>),
    Not(Box<Self>),
    Present(Attribute),
    Compare(Attribute, Comparison, Value),
    /// One of the values of an attribute meets all of a filter.
    Within(Attribute, Box<Self>),
}

/// Where a PATCH changes something: an attribute, perhaps only some of its values, perhaps only a part.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Path {
    /// The attribute and the part.
    pub(super) attribute: Attribute,
    /// Which values.
    pub(super) filter: Option<Filter>,
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Word(String),
    Literal(Value),
    Mark(char),
}

/// The pieces of a text.
fn tokens(text: &str) -> Result<Vec<Token>, ScimError> {
    if text.len() > MAX_LENGTH {
        let detail = format!("it is longer than {MAX_LENGTH} bytes");
        return Err(ScimError::filter(detail));
    }
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '(' | ')' | '[' | ']' => {
                tokens.push(Token::Mark(first));
                1
            }
            '"' => {
                let mut values = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
                let Some(Ok(value)) = values.next() else {
                    return Err(ScimError::filter("a text in quotes can't be read"));
                };
                tokens.push(Token::Literal(value));
                values.byte_offset()
            }
            _ => {
                let ends = |c: char| c.is_whitespace() || "()[]\"".contains(c);
                let length = rest.find(ends).unwrap_or(rest.len());
                let (word, _) = rest.split_at(length);
                tokens.push(Token::Word(word.to_owned()));
                length
            }
        };
        rest = rest.get(length..).unwrap_or_default().trim_start();
    }
    Ok(tokens)
}

struct Parser {
    tokens: std::iter::Peekable<std::vec::IntoIter<Token>>,
}

impl Parser {
    fn of(text: &str) -> Result<Self, ScimError> {
        Ok(Self {
            tokens: tokens(text)?.into_iter().peekable(),
        })
    }

    /// Takes the next word if it is this one.
    fn word(&mut self, wanted: &str) -> bool {
        let is_it =
            |token: &Token| matches!(token, Token::Word(word) if word.eq_ignore_ascii_case(wanted));
        self.tokens.next_if(is_it).is_some()
    }

    /// Takes the next mark if it is this one.
    fn mark(&mut self, wanted: char) -> bool {
        self.tokens.next_if_eq(&Token::Mark(wanted)).is_some()
    }

    fn expect(&mut self, wanted: char) -> Result<(), ScimError> {
        match self.mark(wanted) {
            true => Ok(()),
            false => Err(ScimError::filter(format!("a `{wanted}` is missing"))),
        }
    }

    fn end(&mut self) -> Result<(), ScimError> {
        match self.tokens.peek() {
            None => Ok(()),
            Some(_) => Err(ScimError::filter(
                "something follows that belongs to nothing",
            )),
        }
    }

    fn any(&mut self, depth: usize) -> Result<Filter, ScimError> {
        if depth > MAX_DEPTH {
            let detail = format!("it is deeper than {MAX_DEPTH} levels");
            return Err(ScimError::filter(detail));
        }
        let mut all = vec![self.all(depth)?];
        while self.word("or") {
            all.push(self.all(depth)?);
        }
        Ok(one_or(all, Filter::Any))
    }

    fn all(&mut self, depth: usize) -> Result<Filter, ScimError> {
        let mut all = vec![self.one(depth)?];
        while self.word("and") {
            all.push(self.one(depth)?);
        }
        Ok(one_or(all, Filter::All))
    }

    fn one(&mut self, depth: usize) -> Result<Filter, ScimError> {
        if self.mark('(') {
            let inner = self.any(depth + 1)?;
            self.expect(')')?;
            return Ok(inner);
        }
        let word = self.next_word("an attribute")?;
        if word.eq_ignore_ascii_case("not") && self.mark('(') {
            let inner = self.any(depth + 1)?;
            self.expect(')')?;
            return Ok(Filter::Not(inner.into()));
        }
        let attribute = attribute(&word)?;
        if self.mark('[') {
            let inner = self.any(depth + 1)?;
            self.expect(']')?;
            return Ok(Filter::Within(attribute, inner.into()));
        }
        let operator = self.next_word("an operator")?.to_ascii_lowercase();
        if operator == "pr" {
            return Ok(Filter::Present(attribute));
        }
        let comparison = comparison(&operator)?;
        let value = self.value()?;
        let ordered = !matches!(comparison, Comparison::Equal | Comparison::NotEqual);
        if ordered && !value.is_string() && !value.is_number() {
            let detail = format!("`{operator}` compares texts and numbers");
            return Err(ScimError::filter(detail));
        }
        Ok(Filter::Compare(attribute, comparison, value))
    }

    fn next_word(&mut self, what: &str) -> Result<String, ScimError> {
        match self.tokens.next() {
            Some(Token::Word(word)) => Ok(word),
            _ => Err(ScimError::filter(format!("{what} is missing"))),
        }
    }

    fn value(&mut self) -> Result<Value, ScimError> {
        let wrong =
            || ScimError::filter("a value is missing: \"text\", true, false, null or a number");
        match self.tokens.next() {
            Some(Token::Literal(value)) => Ok(value),
            Some(Token::Word(word)) => {
                let value = serde_json::from_str(&word.to_ascii_lowercase()).ok();
                let plain = |value: &Value| !value.is_array() && !value.is_object();
                value.filter(plain).ok_or_else(wrong)
            }
            _ => Err(wrong()),
        }
    }
}

fn one_or(mut all: Vec<Filter>, many: fn(Vec<Filter>) -> Filter) -> Filter {
    match (all.len(), all.pop()) {
        (1, Some(only)) => only,
        (_, last) => {
            all.extend(last);
            many(all)
        }
    }
}

fn comparison(operator: &str) -> Result<Comparison, ScimError> {
    Ok(match operator {
        "eq" => Comparison::Equal,
        "ne" => Comparison::NotEqual,
        "co" => Comparison::Contains,
        "sw" => Comparison::StartsWith,
        "ew" => Comparison::EndsWith,
        "gt" => Comparison::Greater,
        "ge" => Comparison::GreaterOrEqual,
        "lt" => Comparison::Less,
        "le" => Comparison::LessOrEqual,
        _ => return Err(ScimError::filter("it has an operator that there is not")),
    })
}

/// An attribute as it is written, with or without its schema. One of another schema has a name that is
/// none of ours.
fn attribute(word: &str) -> Result<Attribute, ScimError> {
    let word = word.to_ascii_lowercase();
    let plain = match word.strip_prefix(CORE) {
        Some(rest) => rest.split_once(':').map_or("", |(_, name)| name),
        None if word.starts_with("urn:") => {
            return Ok(Attribute {
                name: word,
                part: None,
            });
        }
        None => &word,
    };
    let (name, part) = match plain.split_once('.') {
        Some((name, part)) => (name, Some(part)),
        None => (plain, None),
    };
    let good = |name: &str| {
        let inner = |c: char| c.is_ascii_alphanumeric() || "_-$".contains(c);
        !name.is_empty() && name.chars().all(inner)
    };
    if !good(name) || !part.is_none_or(good) {
        return Err(ScimError::filter("it has an attribute that can't be one"));
    }
    Ok(Attribute {
        name: name.to_owned(),
        part: part.map(str::to_owned),
    })
}

impl Path {
    /// Reads the path of a PATCH.
    ///
    /// # Errors
    /// `invalidPath`.
    pub(super) fn parse(text: &str) -> Result<Self, ScimError> {
        let refused = |error: ScimError| match error.kind {
            // What is within brackets is a filter.
            Some(_) => ScimError::path(format!("the path can't be read: {}", error.detail)),
            None => error,
        };
        Self::read(text).map_err(refused)
    }

    fn read(text: &str) -> Result<Self, ScimError> {
        let mut parser = Parser::of(text)?;
        let word = parser.next_word("an attribute")?;
        let mut attribute = attribute(&word)?;
        let mut filter = None;
        if parser.mark('[') {
            filter = Some(parser.any(1)?);
            parser.expect(']')?;
            if parser.tokens.peek().is_some() {
                let part = parser.next_word("a part")?;
                let part = part.strip_prefix('.').unwrap_or_default();
                let part = self::attribute(part)?;
                attribute.part = Some(part.name);
            }
        }
        parser.end()?;
        Ok(Self { attribute, filter })
    }
}

impl Filter {
    /// Reads a filter.
    ///
    /// # Errors
    /// `invalidFilter`.
    pub(super) fn parse(text: &str) -> Result<Self, ScimError> {
        let mut parser = Parser::of(text)?;
        let filter = parser.any(1)?;
        parser.end()?;
        Ok(filter)
    }

    /// Whether a resource, or a value of one, is meant.
    pub(super) fn matches(&self, fields: &Map<String, Value>) -> bool {
        match self {
            Self::Any(all) => all.iter().any(|one| one.matches(fields)),
            Self::All(all) => all.iter().all(|one| one.matches(fields)),
            Self::Not(inner) => !inner.matches(fields),
            Self::Present(attribute) => values(fields, attribute)
                .iter()
                .any(|value| is_there(value)),
            Self::Compare(attribute, comparison, wanted) => {
                let found = values(fields, attribute);
                let exact = is_exact(attribute);
                match (comparison, wanted) {
                    (Comparison::Equal, Value::Null) => found.is_empty(),
                    (Comparison::NotEqual, Value::Null) => !found.is_empty(),
                    // Whatever has no such value is not equal to it.
                    (Comparison::NotEqual, _) => !found
                        .iter()
                        .any(|value| is(value, Comparison::Equal, wanted, exact)),
                    _ => found
                        .iter()
                        .any(|value| is(value, *comparison, wanted, exact)),
                }
            }
            Self::Within(attribute, inner) => {
                let one =
                    |value: &&Value| value.as_object().is_some_and(|value| inner.matches(value));
                values(fields, attribute).iter().any(one)
            }
        }
    }

    /// The attribute and the text, where all it asks is whether they are equal.
    pub(super) fn only_equal(&self) -> Option<(&str, &str)> {
        match self {
            Self::Compare(attribute, Comparison::Equal, Value::String(wanted))
                if attribute.part.is_none() =>
            {
                Some((&attribute.name, wanted))
            }
            _ => None,
        }
    }

    /// Whether an attribute is asked about.
    pub(super) fn asks_about(&self, name: &str) -> bool {
        match self {
            Self::Any(all) | Self::All(all) => all.iter().any(|one| one.asks_about(name)),
            Self::Not(inner) => inner.asks_about(name),
            Self::Present(attribute)
            | Self::Compare(attribute, ..)
            | Self::Within(attribute, _) => attribute.name == name,
        }
    }
}

fn is_exact(attribute: &Attribute) -> bool {
    let last = attribute.part.as_ref().unwrap_or(&attribute.name);
    EXACT.contains(&last.as_str()) || attribute.name == "members"
}

fn is_there(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(all) => !all.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => true,
    }
}

/// A field by its name, whatever its capital letters.
pub(super) fn field<'a>(fields: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    let found = fields.get(name);
    let is_it = |(known, _): &(&String, &Value)| known.eq_ignore_ascii_case(name);
    found.or_else(|| fields.iter().find(is_it).map(|(_, value)| value))
}

/// The values of an attribute: of a list each, of a list of objects what stands in `value` if nothing
/// else is named.
fn values<'a>(fields: &'a Map<String, Value>, attribute: &Attribute) -> Vec<&'a Value> {
    let found = field(fields, &attribute.name);
    let all: Vec<&Value> = match found {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(all)) => all.iter().collect(),
        Some(one) => vec![one],
    };
    match &attribute.part {
        None => all,
        Some(part) => {
            let parts = all
                .into_iter()
                .filter_map(|one| field(one.as_object()?, part));
            parts.filter(|value| !value.is_null()).collect()
        }
    }
}

fn is(value: &Value, comparison: Comparison, wanted: &Value, exact: bool) -> bool {
    let value = match value {
        Value::Object(fields) => field(fields, "value").unwrap_or(value),
        value => value,
    };
    let order = match (value, wanted) {
        (Value::String(value), Value::String(wanted)) => {
            return match exact {
                true => is_text(value, comparison, wanted),
                false => is_text(&value.to_lowercase(), comparison, &wanted.to_lowercase()),
            };
        }
        (Value::Number(value), Value::Number(wanted)) => {
            value.as_f64().partial_cmp(&wanted.as_f64())
        }
        (Value::Bool(value), Value::Bool(wanted)) => (value == wanted).then_some(Ordering::Equal),
        _ => None,
    };
    order.is_some_and(|order| is_so(order, comparison))
}

fn is_text(value: &str, comparison: Comparison, wanted: &str) -> bool {
    match comparison {
        Comparison::Contains => value.contains(wanted),
        Comparison::StartsWith => value.starts_with(wanted),
        Comparison::EndsWith => value.ends_with(wanted),
        other => is_so(value.cmp(wanted), other),
    }
}

fn is_so(order: Ordering, comparison: Comparison) -> bool {
    match comparison {
        Comparison::Equal => order.is_eq(),
        Comparison::NotEqual => order.is_ne(),
        Comparison::Greater => order.is_gt(),
        Comparison::GreaterOrEqual => order.is_ge(),
        Comparison::Less => order.is_lt(),
        Comparison::LessOrEqual => order.is_le(),
        Comparison::Contains | Comparison::StartsWith | Comparison::EndsWith => false,
    }
}

#[cfg(test)]
#[path = "filter_tests.rs"]
mod tests;
