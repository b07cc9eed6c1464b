//! Provisioning with SCIM 2.0: the provider says who there is, who may act, and who is in which group.
//!
//! In scope: the protocol at `/scim/v2`.
//! Out of scope: who a user is here, and what becomes of the directory (`admin::provision`).
//! Invariant: every route needs the provider's token. A call does all it says, recorded and stored, or
//! nothing. What is not understood is refused, but for attributes that are not kept.
//! Specification: RFC 7643 and RFC 7644, without bulk, sorting, versions and `/Me`.

mod door;
mod error;
mod filter;
mod group;
mod list;
mod patch;
mod schema;
#[cfg(test)]
pub(crate) mod tests;
mod user;

use axum::{
    Json, Router,
    body::Body,
    extract::{FromRequest, Path, Request, State},
    http::{HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::{MethodRouter, get, post},
};
use countersign_core::{
    id::{UserGroupId, UserId},
    provisioning::{User, UserGroup},
};
use serde_json::Value;

use self::{
    door::Provisioner,
    error::SCIM_JSON,
    filter::Filter,
    list::{Asked, MAX_MEMBERS},
};
pub(crate) use self::{
    door::{Door, MIN_TOKEN},
    error::ScimError,
};
use crate::{
    admin::provision::{provision, provisioned},
    api::{Api, in_time, read_body, strict},
};

/// The most bytes of a body: ten thousand members, as providers write them.
const MAX_BODY: usize = 4 << 20;
/// The most users and groups.
const MAX_RESOURCES: usize = 100_000;

/// The routes.
pub(crate) fn routes() -> Router<Api> {
    let under = |path: &str| format!("/scim/v2{path}");
    let only = |methods: MethodRouter<Api>| methods.fallback(wrong_method);
    Router::new()
        .route(&under("/ServiceProviderConfig"), only(get(config)))
        .route(&under("/ResourceTypes"), only(get(resource_types)))
        .route(&under("/ResourceTypes/{id}"), only(get(resource_type)))
        .route(&under("/Schemas"), only(get(schemas)))
        .route(&under("/Schemas/{id}"), only(get(schema_of)))
        .route(&under("/Users"), only(get(users).post(add_user)))
        .route(
            &under("/Users/{id}"),
            only(
                get(user_of)
                    .put(put_user)
                    .patch(patch_user)
                    .delete(remove_user),
            ),
        )
        .route(&under("/Groups"), only(get(groups).post(add_group)))
        .route(
            &under("/Groups/{id}"),
            only(
                get(group_of)
                    .put(put_group)
                    .patch(patch_group)
                    .delete(remove_group),
            ),
        )
        .route(&under("/Bulk"), post(not_here).fallback(not_here))
        .route(&under("/.search"), post(not_here).fallback(not_here))
        .route(&under("/Me"), get(not_here).fallback(not_here))
        .route(&under("/{*rest}"), get(nothing).fallback(nothing))
}

/// A JSON body, read strictly.
struct ScimJson(Value);

impl FromRequest<Api> for ScimJson {
    type Rejection = ScimError;

    async fn from_request(request: Request<Body>, api: &Api) -> Result<Self, ScimError> {
        let kind = request.headers().get(header::CONTENT_TYPE);
        let kind = kind
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        if !["application/scim+json", "application/json"]
            .contains(&kind.to_ascii_lowercase().as_str())
        {
            let detail = "the body is `application/scim+json`";
            return Err(ScimError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
        }
        let limit = api
            .gateway
            .active()
            .bundle
            .server()
            .limits
            .max_request_bytes;
        let limit = usize::try_from(limit).unwrap_or(MAX_BODY).min(MAX_BODY);
        let bytes = in_time(read_body(request.into_body(), limit)).await??;
        let read = strict::from_slice(&bytes);
        read.map(Self)
            .map_err(|error| ScimError::syntax(format!("the body can't be read: {error}")))
    }
}

fn answer(status: StatusCode, body: Value) -> Response {
    let location = body.pointer("/meta/location").and_then(Value::as_str);
    let location = location.and_then(|at| HeaderValue::from_str(at).ok());
    let mut response = (status, Json(body)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, SCIM_JSON);
    if let Some(location) = location.filter(|_| status == StatusCode::CREATED) {
        headers.insert(header::LOCATION, location);
    }
    response
}

fn ok(body: Value) -> Response {
    answer(StatusCode::OK, body)
}

fn parsed<T: std::str::FromStr>(what: &str, id: &str) -> Result<T, ScimError> {
    id.parse().map_err(|_| ScimError::not_found(what, id))
}

async fn wrong_method(_: Provisioner) -> ScimError {
    let detail = "this address does not take this method";
    ScimError::new(StatusCode::METHOD_NOT_ALLOWED, detail)
}

async fn not_here(_: Provisioner) -> ScimError {
    ScimError::new(StatusCode::NOT_IMPLEMENTED, "this is not supported")
}

async fn nothing(_: Provisioner) -> ScimError {
    ScimError::new(StatusCode::NOT_FOUND, "there is nothing at this address")
}

async fn config(by: Provisioner) -> Response {
    ok(schema::service_provider_config(&by.base))
}

async fn resource_types(by: Provisioner) -> Response {
    ok(list::whole(&schema::resource_types(&by.base)))
}

async fn resource_type(by: Provisioner, Path(id): Path<String>) -> Result<Response, ScimError> {
    schema::one(schema::resource_types(&by.base), "resource type", &id).map(ok)
}

async fn schemas(by: Provisioner) -> Response {
    ok(list::whole(&schema::schemas(&by.base)))
}

async fn schema_of(by: Provisioner, Path(id): Path<String>) -> Result<Response, ScimError> {
    schema::one(schema::schemas(&by.base), "schema", &id).map(ok)
}

async fn users(State(api): State<Api>, by: Provisioner, uri: Uri) -> Result<Response, ScimError> {
    let asked = Asked::of(&uri)?;
    let all = provisioned(&api.gateway)?;
    let is_meant = |(id, one): &(&UserId, &User)| match &asked.filter {
        None => true,
        Some(filter) => match plainly(filter, id.as_str(), |name| match name {
            "username" => Some((Some(one.user_name.as_str()), false)),
            "displayname" => Some((one.display_name.as_deref(), false)),
            "externalid" => Some((one.external_id.as_deref(), true)),
            _ => None,
        }) {
            Some(equal) => equal,
            None => filter.matches(&user::to_json(&by.base, id, one)),
        },
    };
    let meant: Vec<_> = all.users.iter().filter(is_meant).collect();
    let page = asked.page(&meant, |(id, one)| Ok(user::to_json(&by.base, id, one)));
    page.map(ok)
}

/// Whether a text is the one that a filter asks for, if that is all it asks: providers look for every
/// user by name, and no JSON has to be made for it. `text_of` has texts by name, with whether capital
/// letters matter.
fn plainly<'a>(
    filter: &Filter,
    id: &str,
    text_of: impl Fn(&str) -> Option<(Option<&'a str>, bool)>,
) -> Option<bool> {
    let (name, wanted) = filter.only_equal()?;
    if name == "id" {
        return Some(id == wanted);
    }
    let (text, exact) = text_of(name)?;
    Some(text.is_some_and(|text| match exact {
        true => text == wanted,
        false => text.to_lowercase() == wanted.to_lowercase(),
    }))
}

async fn user_of(
    State(api): State<Api>,
    by: Provisioner,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Response, ScimError> {
    let asked = Asked::of(&uri)?;
    told_user(&api, &by, &parsed("user", &id)?, &asked).map(ok)
}

fn told_user(api: &Api, by: &Provisioner, id: &UserId, asked: &Asked) -> Result<Value, ScimError> {
    let all = provisioned(&api.gateway)?;
    let found = all.users.get(id);
    let found = found.ok_or_else(|| ScimError::not_found("user", id.as_str()))?;
    Ok(asked.told(user::to_json(&by.base, id, found)))
}

async fn add_user(
    State(api): State<Api>,
    by: Provisioner,
    uri: Uri,
    ScimJson(body): ScimJson,
) -> Result<Response, ScimError> {
    let asked = Asked::of(&uri)?;
    let operations = patch::whole(&body)?;
    user::check_counts(&operations)?;
    let made = provision(&api.gateway, (&by.id, &by.provider), None, |draft| {
        check_room(draft.after.users.len())?;
        let mut new = user::unnamed(draft.now);
        for operation in operations
            .iter()
            .filter(|one| one.path.attribute.name != "id")
        {
            user::apply(&mut new, None, operation)?;
        }
        user::check(&new)?;
        draft.add_user(new)
    });
    let id = made.await?;
    Ok(answer(
        StatusCode::CREATED,
        told_user(&api, &by, &id, &asked)?,
    ))
}

fn check_room(known: usize) -> Result<(), ScimError> {
    match known >= MAX_RESOURCES {
        true => Err(ScimError::too_many(format!(
            "there are {MAX_RESOURCES}, which is the limit"
        ))),
        false => Ok(()),
    }
}

async fn put_user(
    state: State<Api>,
    by: Provisioner,
    Path(id): Path<String>,
    uri: Uri,
    ScimJson(body): ScimJson,
) -> Result<Response, ScimError> {
    change_user(
        &state.0,
        &by,
        (&id, &uri),
        &patch::whole(&body)?,
        user::emptied,
    )
    .await
}

async fn patch_user(
    state: State<Api>,
    by: Provisioner,
    Path(id): Path<String>,
    uri: Uri,
    ScimJson(body): ScimJson,
) -> Result<Response, ScimError> {
    change_user(
        &state.0,
        &by,
        (&id, &uri),
        &patch::read(&body)?,
        User::clone,
    )
    .await
}

/// Does operations on what `begin` leaves of a user.
async fn change_user(
    api: &Api,
    by: &Provisioner,
    (id, uri): (&str, &Uri),
    operations: &[patch::Operation],
    begin: fn(&User) -> User,
) -> Result<Response, ScimError> {
    let asked = Asked::of(uri)?;
    let id: UserId = parsed("user", id)?;
    user::check_counts(operations)?;
    let changed = provision(&api.gateway, (&by.id, &by.provider), Some(&id), |draft| {
        let known = draft.after.users.get(&id);
        let known = known.ok_or_else(|| ScimError::not_found("user", id.as_str()))?;
        let mut after = begin(known);
        for operation in operations {
            user::apply(&mut after, Some(&id), operation)?;
        }
        user::check(&after)?;
        draft.set_user(&id, after)
    });
    changed.await?;
    told_user(api, by, &id, &asked).map(ok)
}

async fn remove_user(
    State(api): State<Api>,
    by: Provisioner,
    Path(id): Path<String>,
) -> Result<StatusCode, ScimError> {
    let id: UserId = parsed("user", &id)?;
    let by = (&by.id, &by.provider);
    provision(&api.gateway, by, Some(&id), |draft| draft.remove_user(&id)).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn groups(State(api): State<Api>, by: Provisioner, uri: Uri) -> Result<Response, ScimError> {
    let asked = Asked::of(&uri)?;
    let all = provisioned(&api.gateway)?;
    let members = asked
        .filter
        .as_ref()
        .is_some_and(|filter| filter.asks_about("members"));
    let is_meant = |(id, one): &(&UserGroupId, &UserGroup)| match &asked.filter {
        None => true,
        Some(filter) => match plainly(filter, id.as_str(), |name| match name {
            "displayname" => Some((Some(one.display_name.as_str()), false)),
            "externalid" => Some((one.external_id.as_deref(), true)),
            _ => None,
        }) {
            Some(equal) => equal,
            None => filter.matches(&group::to_json(&by.base, (id, one), members)),
        },
    };
    let meant: Vec<_> = all.groups.iter().filter(is_meant).collect();
    let (wanted, mut told) = (asked.wants("members"), 0);
    let page = asked.page(&meant, |one| {
        told += if wanted { one.1.members.len() } else { 0 };
        if told > MAX_MEMBERS && meant.len() > 1 {
            let detail = format!(
                "the groups have more than {MAX_MEMBERS} members; ask with \
                 `excludedAttributes=members`, or for fewer"
            );
            return Err(ScimError::too_many(detail));
        }
        Ok(group::to_json(&by.base, *one, wanted))
    });
    page.map(ok)
}

async fn group_of(
    State(api): State<Api>,
    by: Provisioner,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Response, ScimError> {
    let asked = Asked::of(&uri)?;
    told_group(&api, &by, &parsed("group", &id)?, &asked).map(ok)
}

fn told_group(
    api: &Api,
    by: &Provisioner,
    id: &UserGroupId,
    asked: &Asked,
) -> Result<Value, ScimError> {
    let all = provisioned(&api.gateway)?;
    let found = all.groups.get(id);
    let found = found.ok_or_else(|| ScimError::not_found("group", id.as_str()))?;
    let members = asked.wants("members");
    Ok(asked.told(group::to_json(&by.base, (id, found), members)))
}

async fn add_group(
    State(api): State<Api>,
    by: Provisioner,
    uri: Uri,
    ScimJson(body): ScimJson,
) -> Result<Response, ScimError> {
    let asked = Asked::of(&uri)?;
    let operations = patch::whole(&body)?;
    let made = provision(&api.gateway, (&by.id, &by.provider), None, |draft| {
        check_room(draft.after.groups.len())?;
        let mut new = group::unnamed(draft.now);
        for operation in operations
            .iter()
            .filter(|one| one.path.attribute.name != "id")
        {
            group::apply(&mut new, None, operation, (&draft.after.users, draft.now))?;
        }
        group::check(&new)?;
        draft.add_group(new)
    });
    let id = made.await?;
    Ok(answer(
        StatusCode::CREATED,
        told_group(&api, &by, &id, &asked)?,
    ))
}

async fn put_group(
    State(api): State<Api>,
    by: Provisioner,
    Path(id): Path<String>,
    uri: Uri,
    ScimJson(body): ScimJson,
) -> Result<Response, ScimError> {
    let mut operations = patch::whole(&body)?;
    // A whole group without members has none.
    if !operations
        .iter()
        .any(|one| one.path.attribute.name == "members")
    {
        operations.push(patch::Operation {
            op: patch::Op::Remove,
            path: filter::Path::parse("members")?,
            value: Value::Null,
        });
    }
    let id = parsed("group", &id)?;
    change_group(&api, &by, &id, &operations, group::emptied).await?;
    told_group(&api, &by, &id, &Asked::of(&uri)?).map(ok)
}

async fn patch_group(
    State(api): State<Api>,
    by: Provisioner,
    Path(id): Path<String>,
    uri: Uri,
    ScimJson(body): ScimJson,
) -> Result<Response, ScimError> {
    let (operations, asked) = (patch::read(&body)?, Asked::of(&uri)?);
    let id = parsed("group", &id)?;
    change_group(&api, &by, &id, &operations, UserGroup::clone).await?;
    // Nobody wants ten thousand members back for one.
    match asked.chooses() {
        true => told_group(&api, &by, &id, &asked).map(ok),
        false => Ok(StatusCode::NO_CONTENT.into_response()),
    }
}

/// Does operations on what `begin` leaves of a group.
async fn change_group(
    api: &Api,
    by: &Provisioner,
    id: &UserGroupId,
    operations: &[patch::Operation],
    begin: fn(&UserGroup) -> UserGroup,
) -> Result<(), ScimError> {
    let changed = provision(&api.gateway, (&by.id, &by.provider), None, |draft| {
        let known = draft.after.groups.get(id);
        let known = known.ok_or_else(|| ScimError::not_found("group", id.as_str()))?;
        group::check_effort(operations)?;
        let mut after = begin(known);
        for operation in operations {
            group::apply(
                &mut after,
                Some(id),
                operation,
                (&draft.after.users, draft.now),
            )?;
        }
        group::check(&after)?;
        draft.put_group(id, after)
    });
    changed.await
}

async fn remove_group(
    State(api): State<Api>,
    by: Provisioner,
    Path(id): Path<String>,
) -> Result<StatusCode, ScimError> {
    let id: UserGroupId = parsed("group", &id)?;
    let removed = provision(&api.gateway, (&by.id, &by.provider), None, |draft| {
        let gone = draft.after.groups.remove(&id);
        gone.map(drop)
            .ok_or_else(|| ScimError::not_found("group", id.as_str()))
    });
    removed.await?;
    Ok(StatusCode::NO_CONTENT)
}
