//! A group: its JSON, and what operations do to it.
//!
//! In scope: the attributes that are kept, and members.
//! Out of scope: which group here it stands for.
//! Invariant: members are users that there are. Whoever stays a member keeps since when. One operation
//! takes as long as it has values, and as there are members only where it has a filter.
//! Specification: RFC 7643, section 4.2.

use std::collections::BTreeMap;

use countersign_core::{
    id::{UserGroupId, UserId},
    provisioning::{User, UserGroup},
    time::Timestamp,
};
use serde_json::{Map, Value, json};

use super::{
    error::ScimError,
    filter::{Filter, field},
    patch::{Op, Operation, is_whole, many, required, text},
    user::{check_id, meta},
};

/// The schema of a group.
pub(super) const SCHEMA: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";

/// The most operations of one body that look at every member.
const MAX_SEARCHES: usize = 10;

/// The JSON of a group, without its members where nobody wants them.
pub(super) fn to_json(
    base: &str,
    (id, group): (&UserGroupId, &UserGroup),
    members: bool,
) -> Map<String, Value> {
    let mut fields = Map::new();
    let mut put = |name: &str, value: Value| fields.insert(name.into(), value);
    put("schemas", json!([SCHEMA]));
    put("id", json!(id));
    if let Some(external) = &group.external_id {
        put("externalId", json!(external));
    }
    put("displayName", json!(group.display_name));
    if members && !group.members.is_empty() {
        let all = group.members.keys().map(|user| member(base, user));
        put("members", all.collect());
    }
    let location = format!("{base}/Groups/{id}");
    put(
        "meta",
        meta("Group", (group.created, group.modified), &location),
    );
    fields
}

fn member(base: &str, user: &UserId) -> Value {
    json!({ "value": user, "type": "User", "$ref": format!("{base}/Users/{user}") })
}

/// A group before anything is said of it.
pub(super) fn unnamed(now: Timestamp) -> UserGroup {
    UserGroup {
        display_name: String::new(),
        external_id: None,
        gives: None,
        members: BTreeMap::new(),
        created: now,
        modified: now,
    }
}

/// What is left of a group before the whole of it is replaced.
pub(super) fn emptied(group: &UserGroup) -> UserGroup {
    UserGroup {
        display_name: String::new(),
        external_id: None,
        ..group.clone()
    }
}

/// Refuses a group without a name.
///
/// # Errors
/// `invalidValue`.
pub(super) fn check(group: &UserGroup) -> Result<(), ScimError> {
    match group.display_name.is_empty() {
        true => Err(ScimError::value("`displayName` is needed")),
        false => Ok(()),
    }
}

/// Refuses operations that would each look at every member.
///
/// # Errors
/// There are more than [`MAX_SEARCHES`].
pub(super) fn check_effort(operations: &[Operation]) -> Result<(), ScimError> {
    let filters = operations.iter().filter_map(|one| one.path.filter.as_ref());
    match filters.filter(|filter| only(filter).is_none()).count() > MAX_SEARCHES {
        true => Err(ScimError::too_many(format!(
            "at most {MAX_SEARCHES} operations search among the members; name each in `value eq`"
        ))),
        false => Ok(()),
    }
}

/// Does an operation. `users` are all that there are.
///
/// # Errors
/// It can't be done.
pub(super) fn apply(
    group: &mut UserGroup,
    id: Option<&UserGroupId>,
    operation: &Operation,
    (users, now): (&BTreeMap<UserId, User>, Timestamp),
) -> Result<(), ScimError> {
    let Operation { op, path, value } = operation;
    let name = path.attribute.name.as_str();
    if ["displayname", "externalid", "id"].contains(&name) && !is_whole(path) {
        return Err(ScimError::path(format!("`{name}` has no parts")));
    }
    let removed = *op == Op::Remove;
    match name {
        "displayname" if removed => {
            return Err(ScimError::mutability("`displayName` can't be removed"));
        }
        "displayname" => group.display_name = required("displayName", value)?,
        "externalid" if removed => group.external_id = None,
        "externalid" => group.external_id = text("externalId", value)?,
        "members" => change_members(&mut group.members, operation, (users, now))?,
        "id" => check_id(id.map(UserGroupId::as_str), value)?,
        // Not kept.
        _ => {}
    }
    Ok(())
}

fn change_members(
    members: &mut BTreeMap<UserId, Timestamp>,
    operation: &Operation,
    (users, now): (&BTreeMap<UserId, User>, Timestamp),
) -> Result<(), ScimError> {
    let Operation { op, path, value } = operation;
    if path.attribute.part.is_some() || (path.filter.is_some() && *op != Op::Remove) {
        let detail = "members are added, replaced or removed whole";
        return Err(ScimError::path(detail));
    }
    let named = || many(value).iter().map(named);
    match (op, &path.filter) {
        (Op::Remove, Some(filter)) => match only(filter) {
            Some(wanted) => drop(
                wanted
                    .parse()
                    .ok()
                    .and_then(|id: UserId| members.remove(&id)),
            ),
            None => members.retain(|id, _| !is_meant(filter, id)),
        },
        (Op::Remove, None) if value.is_null() => members.clear(),
        // Entra ID names the members that go beside the path.
        (Op::Remove, None) => {
            for gone in named() {
                members.remove(&gone?);
            }
        }
        (Op::Add | Op::Replace, _) => {
            let mut before = BTreeMap::new();
            if *op == Op::Replace {
                before = std::mem::take(members);
            }
            for new in named() {
                let new = known(new?, users)?;
                let since = before.get(&new).copied().unwrap_or(now);
                members.entry(new).or_insert(since);
            }
        }
    }
    Ok(())
}

/// The member that a filter asks for, if it asks for one and nothing else.
fn only(filter: &Filter) -> Option<&str> {
    let (name, wanted) = filter.only_equal()?;
    (name == "value").then_some(wanted)
}

fn is_meant(filter: &Filter, id: &UserId) -> bool {
    let member = json!({ "value": id, "type": "User" });
    member.as_object().is_some_and(|one| filter.matches(one))
}

/// The user that a value names.
fn named(value: &Value) -> Result<UserId, ScimError> {
    let text = match value {
        Value::Object(fields) => {
            let kind = field(fields, "type").and_then(Value::as_str);
            if kind.is_some_and(|kind| !kind.eq_ignore_ascii_case("user")) {
                return Err(ScimError::value(
                    "members are users; groups in groups are not known",
                ));
            }
            field(fields, "value")
        }
        one => Some(one),
    };
    let text = text.and_then(Value::as_str);
    let id = text.and_then(|text| text.parse().ok());
    id.ok_or_else(|| ScimError::value("a member is named by the `id` of a user in `value`"))
}

fn known(id: UserId, users: &BTreeMap<UserId, User>) -> Result<UserId, ScimError> {
    match users.contains_key(&id) {
        true => Ok(id),
        false => Err(ScimError::value(format!(
            "there is no user `{id}` to be a member"
        ))),
    }
}
