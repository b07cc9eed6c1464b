//! The body of a PATCH: operations, as the specification has them and as Entra ID and Okta send them.
//!
//! In scope: reading operations into where and what; values as the two write them.
//! Out of scope: what an operation does to a user or a group.
//! Invariant: all operations of a body are read before the first is done, and a body is done whole or
//! not at all.
//! Specification: RFC 7644, section 3.5.2.

use serde_json::{Map, Value};

use super::{
    error::ScimError,
    filter::{Attribute, Path, field},
};

/// The most operations of one body.
const MAX_OPERATIONS: usize = 1_000;
/// The longest text of an attribute in bytes.
const MAX_TEXT: usize = 500;

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    Add,
    Replace,
    Remove,
}

/// One operation at one place.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Operation {
    pub(super) op: Op,
    pub(super) path: Path,
    pub(super) value: Value,
}

/// Reads the operations of a body.
///
/// # Errors
/// `invalidSyntax`, `invalidPath` or `noTarget`.
pub(super) fn read(body: &Value) -> Result<Vec<Operation>, ScimError> {
    let fields = body.as_object();
    let all = fields.and_then(|fields| field(fields, "Operations")?.as_array());
    let all = all.ok_or_else(|| ScimError::syntax("a PATCH has a list `Operations`"))?;
    if all.is_empty() || all.len() > MAX_OPERATIONS {
        let detail = format!("a PATCH has 1 to {MAX_OPERATIONS} operations");
        return Err(ScimError::syntax(detail));
    }
    let mut operations = Vec::with_capacity(all.len());
    for one in all {
        let one = one.as_object();
        let one = one.ok_or_else(|| ScimError::syntax("an operation is an object"))?;
        read_one(one, &mut operations)?;
    }
    Ok(operations)
}

fn read_one(one: &Map<String, Value>, to: &mut Vec<Operation>) -> Result<(), ScimError> {
    let op = field(one, "op").and_then(Value::as_str).unwrap_or_default();
    let op = match op.to_ascii_lowercase().as_str() {
        "add" => Op::Add,
        "replace" => Op::Replace,
        "remove" => Op::Remove,
        _ => return Err(ScimError::syntax("`op` is `add`, `replace` or `remove`")),
    };
    let value = field(one, "value").cloned().unwrap_or_default();
    match field(one, "path") {
        None | Some(Value::Null) => without_path(op, &value, to),
        Some(Value::String(path)) => {
            let path = Path::parse(path)?;
            to.push(Operation { op, path, value });
            Ok(())
        }
        Some(_) => Err(ScimError::path("a path is a text")),
    }
}

/// Each field of the value is a place; Entra ID writes whole paths there.
fn without_path(op: Op, value: &Value, to: &mut Vec<Operation>) -> Result<(), ScimError> {
    if op == Op::Remove {
        return Err(ScimError::no_target("a removal has a path"));
    }
    let fields = value.as_object();
    let fields =
        fields.ok_or_else(|| ScimError::syntax("without a path the value is an object"))?;
    for (name, value) in fields {
        let is_schema = name.to_ascii_lowercase().starts_with("urn:");
        match value {
            // The attributes of one schema.
            Value::Object(inner) if is_schema => {
                for (part, value) in inner {
                    to.push(Operation {
                        op,
                        path: Path::parse(&format!("{name}:{part}"))?,
                        value: value.clone(),
                    });
                }
            }
            value => to.push(Operation {
                op,
                path: Path::parse(name)?,
                value: value.clone(),
            }),
        }
    }
    Ok(())
}

/// The fields of a whole resource as operations that set them.
///
/// # Errors
/// The body is no object.
pub(super) fn whole(body: &Value) -> Result<Vec<Operation>, ScimError> {
    let mut operations = Vec::new();
    let fields = body.as_object();
    let fields = fields.ok_or_else(|| ScimError::syntax("a resource is an object"))?;
    for (name, value) in fields {
        // Names that can't be one are none of ours.
        let Ok(path) = Path::parse(name) else {
            continue;
        };
        operations.push(Operation {
            op: Op::Replace,
            path,
            value: value.clone(),
        });
    }
    Ok(operations)
}

/// Whether a place is an attribute as a whole.
pub(super) fn is_whole(path: &Path) -> bool {
    let Attribute { part, .. } = &path.attribute;
    path.filter.is_none() && part.is_none()
}

/// A text as a value; nothing for none.
///
/// # Errors
/// It is something else, too long, or has what can't be seen.
pub(super) fn text(name: &str, value: &Value) -> Result<Option<String>, ScimError> {
    let text = match value {
        Value::Null => return Ok(None),
        Value::String(text) => text,
        _ => return Err(ScimError::value(format!("`{name}` is a text"))),
    };
    if text.len() > MAX_TEXT || text.chars().any(char::is_control) {
        let detail = format!("`{name}` has at most {MAX_TEXT} bytes and no control characters");
        return Err(ScimError::value(detail));
    }
    Ok(Some(text.clone()).filter(|text| !text.is_empty()))
}

/// A text that there must be.
///
/// # Errors
/// There is none, or [`text`] refuses it.
pub(super) fn required(name: &str, value: &Value) -> Result<String, ScimError> {
    let missing = || ScimError::value(format!("`{name}` is needed"));
    text(name, value)?.ok_or_else(missing)
}

/// Yes or no; Entra ID writes it as a text.
///
/// # Errors
/// It is neither.
pub(super) fn truth(name: &str, value: &Value) -> Result<bool, ScimError> {
    match value {
        Value::Bool(value) => Ok(*value),
        Value::String(text) if text.eq_ignore_ascii_case("true") => Ok(true),
        Value::String(text) if text.eq_ignore_ascii_case("false") => Ok(false),
        _ => Err(ScimError::value(format!("`{name}` is true or false"))),
    }
}

/// One value or several.
pub(super) fn many(value: &Value) -> &[Value] {
    match value {
        Value::Array(all) => all,
        Value::Null => &[],
        one => std::slice::from_ref(one),
    }
}
