//! The forms of the people page: each becomes a proposal.
//!
//! In scope: from a form to the proposal's arguments, and what follows.
//! Out of scope: who may propose what; policy decides that about every proposal.
//! Invariant: a secret is shown by one answer only, which nothing keeps.

use axum::{
    extract::{Path, State},
    http::StatusCode,
    response::Response,
};
use countersign_console::{
    access::SecretPage,
    shell::{Flash, Link, Place},
};
use countersign_core::time::Timestamp;
use serde_json::{Value, json};

use super::{
    answer,
    fields::Fields,
    flash::{self, Done},
    people as directory, request,
    session::Session,
    viewer::{self, Viewer},
    words,
};
use crate::{
    admin,
    api::{
        Api,
        problem::ApiError,
        types::{ProposalAnswer, ProposalBody},
    },
    days::{DAY, start_of},
};

/// Addresses of forms below `/people/` or `/agents/` and the operations they propose. An
/// operation's own name is an address too.
const FORMS: [(&str, &str); 13] = [
    ("people/add", "person-add"),
    ("people/disable", "person-disable"),
    ("people/enable", "person-enable"),
    ("people/sign-in-link", "person-link"),
    ("people/membership/add", "membership-add"),
    ("people/membership/remove", "membership-remove"),
    ("people/absence/set", "absence-set"),
    ("people/absence/end", "absence-end"),
    ("agents/add", "agent-add"),
    ("agents/token", "agent-token"),
    ("agents/stop", "agent-stop"),
    ("agents/start", "agent-start"),
    ("people/revoke", "credential-revoke"),
];

/// An address of a form, opened as a page.
pub(super) async fn back() -> Response {
    answer::see("/people")
}

pub(super) async fn people(
    State(api): State<Api>,
    session: Session,
    Path(form): Path<String>,
    fields: Result<Fields, ApiError>,
) -> Response {
    propose(&api, &session, &format!("people/{form}"), fields).await
}

pub(super) async fn agents(
    State(api): State<Api>,
    session: Session,
    Path(form): Path<String>,
    fields: Result<Fields, ApiError>,
) -> Response {
    propose(&api, &session, &format!("agents/{form}"), fields).await
}

async fn propose(
    api: &Api,
    session: &Session,
    form: &str,
    fields: Result<Fields, ApiError>,
) -> Response {
    let proposed = async {
        let fields = fields?;
        session.check_form(api, &fields)?;
        let body = read(form, &fields, api.gateway.clock.now())?;
        let proposed = Box::pin(admin::propose(&api.gateway, &session.caller, body));
        Ok::<_, ApiError>(proposed.await?)
    };
    match Box::pin(proposed).await {
        Ok(answer) => follow(api, session, &answer).await,
        Err(error) => refused(api, session, &error).await,
    }
}

/// What follows a proposal: the secret it made, its request, or the directory.
async fn follow(api: &Api, session: &Session, proposed: &ProposalAnswer) -> Response {
    if let Some(response) = secret(api, session, proposed).await {
        return response;
    }
    let id = &proposed.request;
    match proposed.state.as_str() {
        // Permitted at once: there is no case to show.
        "succeeded" => answer::see(&flash::address(
            api,
            session,
            "/people",
            None,
            Done::Applied,
        )),
        "denied" => refused(api, session, &denied(proposed)).await,
        _ => {
            let path = request::path(id);
            answer::see(&flash::address(
                api,
                session,
                &path,
                Some(id),
                Done::Proposed,
            ))
        }
    }
}

/// What policy refused.
pub(super) fn denied(proposed: &ProposalAnswer) -> ApiError {
    let title = format!("the change was refused: {}", proposed.message);
    ApiError::new(StatusCode::FORBIDDEN, "denied", title)
        .with_detail("It is recorded. Ask somebody whom policy allows to propose it.")
}

/// The directory again, with why it was refused.
async fn refused(api: &Api, session: &Session, error: &ApiError) -> Response {
    let problem = error.problem();
    let next = problem.detail.clone().unwrap_or_default();
    let flash = Flash::refused(format!("{}.", words::sentence(&problem.title)), next);
    match directory::page(api, session, "", Some(flash)).await {
        Ok(page) => answer::page(answer::status(error), &page),
        Err(error) => answer::error(api, session, &error).await,
    }
}

/// The page that shows a result's secret; `None` when it has none.
pub(super) async fn secret(
    api: &Api,
    session: &Session,
    proposed: &ProposalAnswer,
) -> Option<Response> {
    let result = proposed.result.as_ref()?;
    let text = |name: &str| result.get(name).and_then(Value::as_str);
    let (secret, is_link) = match (text("token"), text("link")) {
        (Some(token), _) => (token, false),
        (None, Some(link)) => (link, true),
        (None, None) => return None,
    };
    let holder = text("holder").unwrap_or_default().replacen(':', " ", 1);
    let whom = holder.strip_prefix("person ").unwrap_or(&holder);
    let (title, usage, command) = match is_link {
        true => (
            format!("Sign-in link for {whom}"),
            format!(
                "Give it to {whom} in a way that nobody else reads. It signs them in.{}",
                careful(proposed)
            ),
            String::new(),
        ),
        false => (
            format!("Token for {whom}"),
            "Give it to whoever runs it as COUNTERSIGN_TOKEN.".to_owned(),
            format!(
                "export COUNTERSIGN_URL={} COUNTERSIGN_TOKEN=…",
                api.gateway.url()
            ),
        ),
    };
    let viewer = Viewer::new(api, session);
    let expires = result.get("expires").and_then(Value::as_i64).map(Timestamp);
    let shown = SecretPage {
        shell: viewer.counted_shell(Place::People, "").await,
        title,
        secret: secret.into(),
        usage,
        command,
        left: expires.map(|at| viewer::deadline(at, viewer.now)),
        single_use: is_link,
        link: Link {
            href: "/people".into(),
            text: "I have copied it".into(),
        },
    };
    Some(answer::page(StatusCode::OK, &shown))
}

/// What to know about a change, as sentences after others.
fn careful(proposed: &ProposalAnswer) -> String {
    let sentence = |warning: &String| format!(" {}.", words::sentence(warning));
    proposed.warnings.iter().map(sentence).collect()
}

/// The proposal that a form makes.
fn read(form: &str, fields: &Fields, now: Timestamp) -> Result<ProposalBody, ApiError> {
    let is_form = |(address, operation): &&(&str, &str)| {
        *address == form || form.strip_prefix("people/") == Some(operation)
    };
    let nothing = || ApiError::new(StatusCode::NOT_FOUND, "not_found", "there is no such form");
    let (_, operation) = FORMS.iter().find(is_form).ok_or_else(nothing)?;
    Ok(ProposalBody {
        operation: (*operation).into(),
        arguments: arguments(operation, fields, now)?,
        reason: fields.written("reason"),
    })
}

fn arguments(operation: &str, fields: &Fields, now: Timestamp) -> Result<Value, ApiError> {
    let name = |field: &str| fields.name(field);
    let groups = || -> Vec<&str> {
        let separators = |c: char| c.is_whitespace() || c == ',';
        fields
            .text("groups")
            .split(separators)
            .filter(|group| !group.is_empty())
            .collect()
    };
    Ok(match operation {
        "person-add" => match name("manager") {
            "" => json!({ "person": name("person"), "groups": groups() }),
            manager => {
                json!({ "person": name("person"), "groups": groups(), "manager": manager })
            }
        },
        "person-disable" | "person-enable" | "person-link" => json!({ "person": name("person") }),
        "membership-add" | "membership-remove" => {
            json!({ "person": of_kind("person", name("member"))?, "group": name("group") })
        }
        "absence-set" => absence(fields, now)?,
        "absence-end" => json!({ "person": name("person") }),
        "agent-add" if name("kind") == "workload" => return Err(in_files("workload")),
        "agent-add" => {
            json!({ "agent": name("name"), "owner": name("owner"), "groups": groups() })
        }
        "agent-stop" | "agent-start" | "agent-token" => {
            let (kind, machine) = machine(name("machine"))?;
            match name("expires") {
                "" => json!({ kind: machine }),
                expires => json!({ kind: machine, "valid_for": expires }),
            }
        }
        _ => json!({ "credential": name("credential") }),
    })
}

/// Who is away on which days, the last one whole.
fn absence(fields: &Fields, now: Timestamp) -> Result<Value, ApiError> {
    let day = |field: &str| {
        let start = start_of(fields.name(field));
        start.ok_or_else(|| ApiError::invalid("choose the days"))
    };
    let from = match fields.name("from") {
        "" => now,
        _ => day("from")?,
    };
    let stand_in = match fields.name("stand_in") {
        "" => return Err(ApiError::invalid("choose who signs in their place")),
        stand_in => stand_in,
    };
    Ok(json!({
        "person": fields.name("person"),
        "stand_in": stand_in,
        "from": from,
        "until": day("until")?.after(DAY),
    }))
}

/// Kind and name out of `agent:deploy-bot` or `workload:nightly`.
fn machine(subject: &str) -> Result<(&str, &str), ApiError> {
    let parts = subject.split_once(':');
    let parts = parts.filter(|(kind, _)| ["agent", "workload"].contains(kind));
    parts.ok_or_else(|| ApiError::invalid("choose who it is about"))
}

/// The name out of `person:sam@example.com`, for an operation that takes one kind only.
fn of_kind<'a>(kind: &str, subject: &'a str) -> Result<&'a str, ApiError> {
    match subject.split_once(':') {
        Some((found, name)) if found == kind => Ok(name),
        Some((found @ ("person" | "agent" | "workload"), _)) => Err(in_files(found)),
        _ => Err(ApiError::invalid("choose who it is about")),
    }
}

fn in_files(kind: &str) -> ApiError {
    let title = format!("this can't be proposed here for a {kind}");
    ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_proposal", title).with_detail(
        "Change it in countersign.toml and propose that with `countersign policy apply`.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_become_the_arguments_of_proposals() {
        let read = |form: &str, fields: Fields| {
            read(form, &fields, Timestamp(5)).map(|body| (body.operation, body.arguments))
        };
        let add = Fields::from([("person", " sam@example.com "), ("groups", "dba, ops")]);
        assert_eq!(
            read("people/add", add).unwrap(),
            (
                "person-add".into(),
                json!({ "person": "sam@example.com", "groups": ["dba", "ops"] })
            )
        );
        let token = Fields::from([("machine", "agent:bot:1"), ("expires", "7d")]);
        assert_eq!(
            read("agents/token", token).unwrap(),
            (
                "agent-token".into(),
                json!({ "agent": "bot:1", "valid_for": "7d" })
            )
        );
        let away = Fields::from([
            ("person", "sam"),
            ("stand_in", "lea"),
            ("until", "1970-01-02"),
        ]);
        assert_eq!(
            read("people/absence/set", away).unwrap(),
            (
                "absence-set".into(),
                json!({ "person": "sam", "stand_in": "lea", "from": 5, "until": 172_800_000 })
            )
        );
        let stop = Fields::from([("machine", "workload:ci")]);
        let stop = read("agents/stop", stop).unwrap();
        assert_eq!(stop, ("agent-stop".into(), json!({ "workload": "ci" })));
        let enable = Fields::from([("person", "sam@example.com")]);
        let (operation, _) = read("people/person-enable", enable).unwrap();
        assert_eq!(operation, "person-enable");
        for (form, fields) in [
            ("agents/stop", Fields::from([("machine", "person:ci")])),
            (
                "agents/add",
                Fields::from([("kind", "workload"), ("name", "ci")]),
            ),
            (
                "people/membership/add",
                Fields::from([("member", ""), ("group", "dba")]),
            ),
            ("people/nothing", Fields::default()),
            ("agents/person-add", Fields::default()),
        ] {
            assert!(read(form, fields).is_err(), "{form}");
        }
    }
}
