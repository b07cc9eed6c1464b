//! A user: its JSON, and what operations do to it.
//!
//! In scope: the attributes that are kept. All others are taken and forgotten.
//! Out of scope: who the user is here.
//! Invariant: whatever is not understood of an attribute that is kept is refused, and nothing of the
//! body is done. A user is active only if that was said, or nothing was said of a new one.
//! Specification: RFC 7643, section 4.1.

use countersign_core::{
    id::UserId,
    provisioning::{Email, User},
    time::Timestamp,
};
use serde_json::{Map, Value, json};

use super::{
    error::ScimError,
    filter::{Filter, field},
    patch::{Op, Operation, is_whole, many, required, text, truth},
};

/// The schema of a user.
pub(super) const SCHEMA: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
/// The most addresses of a user.
const MAX_EMAILS: usize = 20;

/// The JSON of a user. `base` is the address of the interface.
pub(super) fn to_json(base: &str, id: &UserId, user: &User) -> Map<String, Value> {
    let mut fields = Map::new();
    let mut put = |name: &str, value: Value| fields.insert(name.into(), value);
    put("schemas", json!([SCHEMA]));
    put("id", json!(id));
    if let Some(external) = &user.external_id {
        put("externalId", json!(external));
    }
    put("userName", json!(user.user_name));
    if let Some(name) = &user.display_name {
        put("displayName", json!(name));
    }
    if !user.emails.is_empty() {
        put("emails", json!(user.emails));
    }
    put("active", json!(user.active));
    let location = format!("{base}/Users/{id}");
    put(
        "meta",
        meta("User", (user.created, user.modified), &location),
    );
    fields
}

/// What is said about every resource.
pub(super) fn meta(kind: &str, (created, modified): (Timestamp, Timestamp), at: &str) -> Value {
    json!({
        "resourceType": kind,
        "created": created.to_string(),
        "lastModified": modified.to_string(),
        "location": at,
    })
}

/// A user before anything is said of them.
pub(super) fn unnamed(now: Timestamp) -> User {
    User {
        user_name: String::new(),
        display_name: None,
        external_id: None,
        emails: Vec::new(),
        active: true,
        person: None,
        since: now,
        created: now,
        modified: now,
    }
}

/// What is left of a user before the whole of it is replaced. Whether it is active stays unless it is
/// said: nobody comes back because it was left out.
pub(super) fn emptied(user: &User) -> User {
    User {
        user_name: String::new(),
        display_name: None,
        external_id: None,
        emails: Vec::new(),
        ..user.clone()
    }
}

/// Refuses a user without a name.
///
/// # Errors
/// `invalidValue`.
pub(super) fn check(user: &User) -> Result<(), ScimError> {
    match user.user_name.is_empty() {
        true => Err(ScimError::value("`userName` is needed")),
        false => Ok(()),
    }
}

/// Refuses operations that can't be done whoever the user is, before anybody waits for them.
///
/// # Errors
/// A list has too many values.
pub(super) fn check_counts(operations: &[Operation]) -> Result<(), ScimError> {
    let mut emails = operations
        .iter()
        .filter(|one| one.path.attribute.name == "emails");
    emails.try_for_each(|one| check_count(many(&one.value).len()))
}

/// Does an operation.
///
/// # Errors
/// It can't be done.
pub(super) fn apply(
    user: &mut User,
    id: Option<&UserId>,
    operation: &Operation,
) -> Result<(), ScimError> {
    let Operation { op, path, value } = operation;
    let name = path.attribute.name.as_str();
    let known = ["username", "displayname", "externalid", "active", "id"];
    if known.contains(&name) && !is_whole(path) {
        return Err(ScimError::path(format!("`{name}` has no parts")));
    }
    let removed = *op == Op::Remove;
    match name {
        "username" | "active" if removed => {
            return Err(ScimError::mutability(format!("`{name}` can't be removed")));
        }
        "username" => user.user_name = required("userName", value)?,
        "active" => user.active = truth("active", value)?,
        "displayname" if removed => user.display_name = None,
        "displayname" => user.display_name = text("displayName", value)?,
        "externalid" if removed => user.external_id = None,
        "externalid" => user.external_id = text("externalId", value)?,
        "emails" => change_emails(user, operation)?,
        "id" => check_id(id.map(UserId::as_str), value)?,
        // Not kept.
        _ => {}
    }
    Ok(())
}

/// Refuses another identifier; the same may come along.
///
/// # Errors
/// `mutability`.
pub(super) fn check_id(id: Option<&str>, value: &Value) -> Result<(), ScimError> {
    match id {
        Some(id) if value.as_str() != Some(id) => {
            Err(ScimError::mutability("`id` can't be changed"))
        }
        _ => Ok(()),
    }
}

fn change_emails(user: &mut User, operation: &Operation) -> Result<(), ScimError> {
    let Operation { op, path, value } = operation;
    let emails = &mut user.emails;
    match (op, is_whole(path)) {
        (Op::Replace, true) => *emails = all(value)?,
        (Op::Add, true) => {
            for new in all(value)? {
                add(emails, new);
            }
        }
        (Op::Remove, true) => {
            let gone = all(value)?;
            let is_gone = |email: &Email| gone.iter().any(|gone| gone.value == email.value);
            // Entra ID names the values that go beside the path.
            emails.retain(|email| !gone.is_empty() && !is_gone(email));
        }
        (_, false) => change_some(emails, operation)?,
    }
    check_count(emails.len())?;
    let primary = emails.iter().filter(|email| email.primary == Some(true));
    match primary.count() {
        0 | 1 => Ok(()),
        _ => Err(ScimError::value(
            "of several addresses at most one is primary",
        )),
    }
}

fn check_count(many: usize) -> Result<(), ScimError> {
    match many > MAX_EMAILS {
        true => Err(ScimError::value(format!(
            "a user has at most {MAX_EMAILS} addresses"
        ))),
        false => Ok(()),
    }
}

fn all(value: &Value) -> Result<Vec<Email>, ScimError> {
    // Before any is read: each one is compared with all others.
    check_count(many(value).len())?;
    many(value).iter().map(email).collect()
}

fn email(value: &Value) -> Result<Email, ScimError> {
    let fields = match value {
        Value::Object(fields) => fields,
        text => {
            return Ok(Email {
                value: required("emails", text)?,
                kind: None,
                primary: None,
            });
        }
    };
    let part = |name: &str| field(fields, name).unwrap_or(&Value::Null);
    Ok(Email {
        value: required("emails.value", part("value"))?,
        kind: text("emails.type", part("type"))?,
        primary: match part("primary") {
            Value::Null => None,
            value => Some(truth("emails.primary", value)?),
        },
    })
}

/// Adds an address, in place of the same one.
fn add(emails: &mut Vec<Email>, new: Email) {
    if new.primary == Some(true) {
        for email in emails.iter_mut().filter(|email| email.primary.is_some()) {
            email.primary = Some(false);
        }
    }
    emails.retain(|email| email.value != new.value);
    emails.push(new);
}

/// Changes the addresses that are meant, or a part of them.
fn change_some(emails: &mut Vec<Email>, operation: &Operation) -> Result<(), ScimError> {
    let Operation { op, path, value } = operation;
    let part = path.attribute.part.as_deref();
    let meant = |email: &Email| match &path.filter {
        None => true,
        Some(filter) => json!(email)
            .as_object()
            .is_some_and(|one| filter.matches(one)),
    };
    if *op == Op::Remove && matches!(part, None | Some("value")) {
        emails.retain(|email| !meant(email));
        return Ok(());
    }
    if !emails.iter().any(meant) {
        let new = path.filter.as_ref().and_then(kind_of);
        // Entra ID sets the address of a kind that there is none of.
        return match (new, part, op) {
            (Some(kind), Some("value"), Op::Add | Op::Replace) => {
                emails.push(Email {
                    value: required("emails.value", value)?,
                    kind: Some(kind),
                    primary: None,
                });
                Ok(())
            }
            _ => Err(ScimError::no_target("the user has no such address")),
        };
    }
    for one in emails.iter_mut().filter(|email| meant(email)) {
        match (part, op) {
            (None, _) => *one = email(value)?,
            (Some("value"), _) => one.value = required("emails.value", value)?,
            (Some("type"), Op::Remove) => one.kind = None,
            (Some("type"), _) => one.kind = text("emails.type", value)?,
            (Some("primary"), Op::Remove) => one.primary = None,
            (Some("primary"), _) => one.primary = Some(truth("emails.primary", value)?),
            // Not kept.
            (Some(_), _) => {}
        }
    }
    Ok(())
}

/// The kind that a filter asks for, if it asks for nothing else.
fn kind_of(filter: &Filter) -> Option<String> {
    let (name, wanted) = filter.only_equal()?;
    (name == "type").then(|| wanted.to_owned())
}
