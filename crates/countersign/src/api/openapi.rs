//! The interface's description, made from the code that serves it (OpenAPI 3.1).
//!
//! In scope: `GET /openapi.json`; one line for each route.
//! Out of scope: the shapes of bodies, which their types describe themselves.
//! Invariant: every route that is served has its line and no other has one; a test compares the
//! lines with the routers' sources and the whole with `docs/openapi.json`.
//! Specification: <https://spec.openapis.org/oas/v3.1.0.html>.

mod table;
#[cfg(test)]
mod tests;

use axum::{http::header, response::IntoResponse};
use utoipa::{
    ToSchema,
    openapi::{
        Components, ComponentsBuilder, Content, Info, License, OpenApi, OpenApiBuilder, Paths, Ref,
        RefOr, Required, Response, Schema,
        path::{Operation, OperationBuilder, Parameter, ParameterBuilder, ParameterIn},
        request_body::{RequestBody, RequestBodyBuilder},
        schema::{ObjectBuilder, Type},
        security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme},
    },
};

use self::table::{Given, ROUTES, Route, Sent};
use super::{authzen::types as authzen, types};

/// The name of the bearer scheme within the document.
const BEARER: &str = "bearer";

pub(super) async fn serve() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], text())
}

/// The document as it is served and kept.
#[must_use]
pub fn text() -> String {
    // Sorted by key, so that the text does not depend on the order in which schemas are met.
    let sorted = serde_json::to_value(document());
    let pretty = sorted.and_then(|document| serde_json::to_string_pretty(&document));
    pretty.map(|text| text + "\n").unwrap_or_default()
}

/// The document.
#[must_use]
pub fn document() -> OpenApi {
    let mut info = Info::new("Countersign", env!("CARGO_PKG_VERSION"));
    info.description = Some(
        "AuthZEN, requests, votes and administration. Errors are problem details (RFC 9457)."
            .into(),
    );
    let mut license = License::new("Apache-2.0");
    license.identifier = Some("Apache-2.0".into());
    info.license = Some(license);
    let mut paths = Paths::new();
    for route in ROUTES {
        paths.add_path_operation(route.path, vec![route.method.into()], operation(route));
    }
    OpenApiBuilder::new()
        .info(info)
        .paths(paths)
        .components(Some(components()))
        .build()
}

fn operation(route: &Route) -> Operation {
    let mut operation = OperationBuilder::new()
        .operation_id(Some(route.name))
        .summary(Some(route.summary))
        .tag(tag(route.path))
        .request_body(body(route.sent))
        .response(route.given.status(), answer(route.given))
        .response("default", problem());
    for name in placeholders(route.path) {
        operation = operation.parameter(text_parameter(name, ParameterIn::Path, Required::True));
    }
    for name in route.query {
        operation = operation.parameter(text_parameter(name, ParameterIn::Query, Required::False));
    }
    if route.once {
        let key = text_parameter("Idempotency-Key", ParameterIn::Header, Required::False);
        operation = operation.parameter(key);
    }
    match route.public {
        true => operation.build(),
        false => operation
            .security(SecurityRequirement::new(BEARER, Vec::<String>::new()))
            .build(),
    }
}

fn tag(path: &str) -> &'static str {
    match path {
        path if path.contains("authzen") || path.starts_with("/access/") => "AuthZEN",
        "/v1/outcomes" => "AuthZEN",
        path if path.starts_with("/v1/requests") => "Requests",
        path if path.starts_with("/v1/log") => "Log",
        "/v1/run" | "/v1/inputs" | "/v1/targets/{name}" => "Commands",
        _ => "Gateway",
    }
}

fn placeholders(path: &str) -> impl Iterator<Item = &str> {
    path.split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}

fn text_parameter(name: &str, place: ParameterIn, required: Required) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(place)
        .required(required)
        .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
        .build()
}

fn body(sent: Sent) -> Option<RequestBody> {
    let content = match sent {
        Sent::Nothing => return None,
        Sent::Json(name) => (
            "application/json",
            Content::new(Some(Ref::from_schema_name(name))),
        ),
        Sent::Form(name) => (
            "application/x-www-form-urlencoded",
            Content::new(Some(Ref::from_schema_name(name))),
        ),
        Sent::Bytes => (
            "application/octet-stream",
            Content::new(None::<RefOr<Schema>>),
        ),
    };
    let (kind, content) = content;
    Some(
        RequestBodyBuilder::new()
            .content(kind, content)
            .required(Some(Required::True))
            .build(),
    )
}

fn answer(given: Given) -> Response {
    let of = |name| Content::new(Some(Ref::from_schema_name(name)));
    let untyped = || Content::new(None::<RefOr<Schema>>);
    let (kind, content, words) = match given {
        Given::Json(name) => ("application/json", of(name), "The answer."),
        Given::Created(name) => ("application/json", of(name), "It was made, or was there."),
        Given::Lines(name) => ("application/x-ndjson", of(name), "One event a line."),
        Given::AnyJson => ("application/json", untyped(), "The answer."),
        Given::Text => ("text/plain", untyped(), "The text."),
        Given::Bytes => ("application/octet-stream", untyped(), "The bytes."),
        Given::Events => ("text/event-stream", untyped(), "Events as they happen."),
    };
    let mut response = Response::new(words);
    response.content.insert(kind.into(), content.into());
    response
}

fn problem() -> Response {
    let mut response = Response::new("What was wrong and what to do next.");
    let content = Content::new(Some(Ref::from_schema_name("Problem")));
    response
        .content
        .insert("application/problem+json".into(), content.into());
    response
}

fn components() -> Components {
    let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    ComponentsBuilder::new()
        .schemas_from_iter(schemas())
        .security_scheme(BEARER, scheme)
        .build()
}

/// Adds a type and everything it is made of.
fn add<T: ToSchema>(all: &mut Vec<(String, RefOr<Schema>)>) {
    all.push((T::name().into_owned(), T::schema()));
    T::schemas(all);
}

macro_rules! every {
    ($($schema:ty),+ $(,)?) => {{
        let mut all = Vec::new();
        $(add::<$schema>(&mut all);)+
        all
    }};
}

fn schemas() -> Vec<(String, RefOr<Schema>)> {
    every![
        authzen::EvaluationAnswer,
        authzen::EvaluationBody,
        authzen::EvaluationsAnswer,
        authzen::EvaluationsBody,
        authzen::Metadata,
        authzen::OutcomeAnswer,
        authzen::OutcomeBody,
        authzen::SubmitBody,
        authzen::TaskAnswer,
        types::AmendBody,
        types::BundleInfo,
        types::DelegationBody,
        types::DelegationMade,
        types::DirectoryInfo,
        types::EmergencyBody,
        types::EmergencyList,
        types::ExplainBody,
        types::Health,
        types::InputsReceived,
        types::IssuedToken,
        types::LoginBody,
        types::OauthMetadata,
        types::Problem,
        types::ProposalAnswer,
        types::ProposalBody,
        types::RequestDetail,
        types::RequestList,
        types::ReviewBody,
        types::RunEvent,
        types::RunRequest,
        types::SayBody,
        types::ChannelList,
        types::StreamList,
        types::TargetInfo,
        types::TokenAnswer,
        types::TokenError,
        types::TokenForm,
        types::VoteBody,
        types::GrantWanted,
        types::GrantOffered,
        types::GrantPlace,
        types::GrantLine,
        types::GrantedRequest,
        types::GrantList,
        types::RunsUnder,
        types::ToSign,
        types::SigningOptions,
        crate::identity::passkey::Signed,
        types::WhoAmI,
    ]
}
