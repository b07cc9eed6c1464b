//! The HTTP interface: AuthZEN, requests, administration.
//!
//! In scope: routes, limits, reading bodies strictly, answers. Errors are problem+json.
//! Out of scope: everything the routes do; they call engine, gates and admin.
//! Invariant: every route but health, sign-in and the log's public parts needs a caller; every
//! body is read with a limit and without ambiguity.

pub mod amend;
pub mod auth;
pub mod authzen;
mod channels;
pub mod deciding;
mod delegating;
pub mod detail;
pub mod emergencies;
mod events;
pub mod explaining;
pub(crate) mod granting;
mod intake;
mod log;
pub(crate) mod manage;
pub mod narrowing;
pub mod oauth;
pub mod openapi;
pub mod problem;
pub mod requests;
mod run;
mod seats;
pub mod signing;
mod streams;
pub mod types;
pub mod ways;

use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{FromRequest, Request, State},
    http::{HeaderMap, StatusCode, Uri, header},
    middleware::map_response,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use countersign_core::{canonical::Hash, id::RequestId, time::Timestamp, trace::TraceParent};
use countersign_evidence::body::{Body as RecordBody, Opened};
pub use countersign_policy::strict;
use countersign_store::Write;
use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use self::{intake::Intake, problem::ApiError, seats::Seats};
use crate::{
    channels::Channels,
    engine::{EngineError, Input},
    gates::{advisory::Outstanding, deployments::Deployments},
    gateway::Gateway,
    identity::Caller,
    scim::Door,
    streams::Streams,
};

/// Requests a second of one subject, and in one burst ten times as many.
const RATE: u32 = 200;
/// How long the body of a request may take; inputs have their own time.
const BODY: Duration = Duration::from_secs(60);
/// Uploads at once; each takes a thread.
const UPLOADS: usize = 16;
/// Refused strangers recorded a second.
const STRANGERS: u32 = 5;
/// How long one reader's visit of a page counts as one, in milliseconds.
const VISIT: i64 = 15 * 60_000;
/// Visits remembered before old ones are forgotten.
const VISITS: usize = 10_000;

/// What every route shares. Cheap to clone.
#[derive(Clone)]
pub struct Api {
    /// The gateway.
    pub gateway: Gateway,
    rates: Arc<DefaultKeyedRateLimiter<String>>,
    strangers: Arc<DefaultDirectRateLimiter>,
    uploads: Arc<Semaphore>,
    exchanges: Arc<Semaphore>,
    exchanging: Arc<DefaultDirectRateLimiter>,
    visits: Arc<Mutex<HashMap<(String, RequestId), Timestamp>>>,
    outstanding: Arc<Outstanding>,
    /// What is told to other systems.
    pub streams: Streams,
    /// Where people are told and decide.
    pub channels: Channels,
    /// Deployments that wait elsewhere for an answer.
    pub deployments: Deployments,
    uploading: Seats,
    running: Seats,
    listening: Seats,
    /// The way in for whoever provisions people.
    pub(crate) scim: Door,
    /// Room for what strangers post.
    pub(crate) intake: Intake,
    /// Set when the gateway stops, so that streams of events end at once.
    pub stopping: CancellationToken,
}

impl Api {
    /// The interface over a gateway. Call it once, within the runtime that serves it.
    #[must_use]
    pub fn new(gateway: Gateway) -> Self {
        let per_second = |rate| NonZeroU32::new(rate).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(per_second(RATE)).allow_burst(per_second(RATE * 10));
        let strangers = Quota::per_second(per_second(STRANGERS));
        Self {
            outstanding: Outstanding::start(&gateway),
            streams: Streams::start(&gateway),
            channels: Channels::default(),
            deployments: Deployments::default(),
            gateway,
            rates: Arc::new(DefaultKeyedRateLimiter::keyed(quota)),
            strangers: Arc::new(DefaultDirectRateLimiter::direct(strangers)),
            uploads: Arc::new(Semaphore::new(UPLOADS)),
            exchanges: Arc::new(Semaphore::new(oauth::AT_ONCE)),
            exchanging: Arc::new(DefaultDirectRateLimiter::direct(
                Quota::per_second(per_second(oauth::RATE)).allow_burst(per_second(oauth::RATE * 4)),
            )),
            visits: Arc::default(),
            uploading: Seats::new(run::UPLOADS),
            running: Seats::new(run::CALLS),
            listening: Seats::new(events::STREAMS),
            scim: Door::default(),
            intake: Intake::default(),
            stopping: CancellationToken::new(),
        }
    }

    /// What anybody may know of what is wrong with what the gateway talks to.
    pub(crate) fn notices_of_parts(&self) -> Vec<String> {
        let mut notices = self.streams.notices();
        notices.extend(self.channels.notices());
        notices.extend(self.deployments.notices());
        notices
    }

    /// Takes one request off the caller's allowance.
    ///
    /// # Errors
    /// 429 when it is used up.
    pub fn check_rate(&self, caller: &Caller) -> Result<(), ApiError> {
        self.check_rate_of(&caller.credential.holder)
    }

    /// Takes one request off the allowance of whoever has this name.
    ///
    /// # Errors
    /// 429 when it is used up.
    pub(crate) fn check_rate_of(&self, name: &String) -> Result<(), ApiError> {
        self.rates.check_key(name).map_err(|_| {
            ApiError::new(
                StatusCode::TOO_MANY_REQUESTS,
                "too_many_requests",
                "too many requests",
            )
            .with_detail("Wait a second and go on more slowly.")
        })
    }

    pub(crate) fn may_record_stranger(&self) -> bool {
        self.strangers.check().is_ok()
    }

    /// Records that a person opened a request's page, once a visit.
    ///
    /// # Errors
    /// The record could not be written; then the page is not shown.
    pub async fn record_opened(&self, caller: &Caller, id: &RequestId) -> Result<(), ApiError> {
        let Some(person) = caller.person() else {
            return Ok(());
        };
        if !self.is_new_visit(caller, id) {
            return Ok(());
        }
        let by = self.gateway.keys.pseudonyms.of_person(person);
        let body = RecordBody::Opened(Opened {
            by,
            page: "request".into(),
        });
        let evidence = json!({ "person": person });
        let note = Input::Note { body, evidence };
        if let Err(error) = self.gateway.engine.step(id.clone(), note).await {
            // The next visit has to be recorded instead.
            self.visits().remove(&visit(caller, id));
            return Err(error.into());
        }
        Ok(())
    }

    fn visits(&self) -> MutexGuard<'_, HashMap<(String, RequestId), Timestamp>> {
        self.visits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_new_visit(&self, caller: &Caller, id: &RequestId) -> bool {
        let now = self.gateway.clock.now();
        let key = visit(caller, id);
        let mut visits = self.visits();
        if visits
            .get(&key)
            .is_some_and(|last| now.millis_since(*last) < VISIT)
        {
            return false;
        }
        if visits.len() >= VISITS {
            visits.retain(|_, last| now.millis_since(*last) < VISIT);
        }
        visits.insert(key, now);
        true
    }

    /// Records that an attempt on a request was refused, and passes the refusal on.
    pub async fn refused(&self, caller: &Caller, id: &RequestId, error: EngineError) -> ApiError {
        if let Some(code) = error.refusal() {
            self.record_refused(caller, id, code).await;
        }
        ApiError::from(error).about(id)
    }

    /// Records that an attempt on a request was refused.
    pub async fn record_refused(&self, caller: &Caller, id: &RequestId, code: &str) {
        self.gateway.record_refused(caller, id, code).await;
    }
}

fn visit(caller: &Caller, id: &RequestId) -> (String, RequestId) {
    (caller.credential.id.to_string(), id.clone())
}

/// A JSON body, read strictly.
pub struct StrictJson<T>(pub T);

impl<T: DeserializeOwned> FromRequest<Api> for StrictJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, api: &Api) -> Result<Self, ApiError> {
        let kind = request.headers().get(header::CONTENT_TYPE);
        let kind = kind
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        if !is_json(kind) {
            return Err(ApiError::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                "the body must be `application/json` in UTF-8",
            ));
        }
        let limit = api
            .gateway
            .active()
            .bundle
            .server()
            .limits
            .max_request_bytes;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let bytes = in_time(read_body(request.into_body(), limit)).await??;
        strict::from_slice(&bytes)
            .map(Self)
            .map_err(|error| ApiError::invalid(format!("the body can't be read: {error}")))
    }
}

fn is_json(kind: &str) -> bool {
    let mut parts = kind.split(';').map(|part| part.trim().to_ascii_lowercase());
    let json = parts.next().is_some_and(|kind| kind == "application/json");
    json && parts.all(|part| !part.starts_with("charset=") || part == "charset=utf-8")
}

/// Gives up on a body that does not arrive.
///
/// # Errors
/// 408 when `reading` takes longer than a minute.
pub(crate) async fn in_time<T>(reading: impl Future<Output = T>) -> Result<T, ApiError> {
    tokio::time::timeout(BODY, reading).await.map_err(|_| {
        let title = "the body did not arrive within a minute";
        ApiError::new(StatusCode::REQUEST_TIMEOUT, "too_slow", title)
    })
}

pub(crate) async fn read_body(body: Body, limit: usize) -> Result<bytes::Bytes, ApiError> {
    to_bytes(body, limit).await.map_err(|error| {
        let too_long = format!("{error:?}").contains("LengthLimit");
        match too_long {
            true => ApiError::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "too_large",
                format!("the body is larger than {limit} bytes"),
            ),
            false => ApiError::invalid("the body ended early"),
        }
    })
}

/// The trace that a caller says its call belongs to. One that can't be read is none, as its
/// specification has it.
pub(crate) fn trace_of(headers: &HeaderMap) -> Option<TraceParent> {
    let mut all = headers.get_all("traceparent").iter();
    let only = all.next().filter(|_| all.next().is_none())?;
    only.to_str().ok()?.parse().ok()
}

/// Does something once per `Idempotency-Key` of a caller, and answers the same afterwards.
///
/// # Errors
/// What `work` says; 422 when the key was used for another body.
pub(crate) async fn once<T, F>(
    api: &Api,
    caller: &Caller,
    headers: &HeaderMap,
    body: &impl Serialize,
    work: F,
) -> Result<Response, ApiError>
where
    T: Serialize,
    F: Future<Output = Result<T, ApiError>>,
{
    once_if(api, caller, headers, body, |_| true, work).await
}

/// Like [`once`], for answers of which only some are final: the others are given anew each time.
///
/// # Errors
/// What `work` says; 422 when the key was used for another body.
pub(crate) async fn once_if<T, F>(
    api: &Api,
    caller: &Caller,
    headers: &HeaderMap,
    body: &impl Serialize,
    is_final: impl FnOnce(&T) -> bool,
    work: F,
) -> Result<Response, ApiError>
where
    T: Serialize,
    F: Future<Output = Result<T, ApiError>>,
{
    let key = headers
        .get("idempotency-key")
        .and_then(|value| value.to_str().ok());
    let Some(key) = key else {
        return Ok(axum::Json(work.await?).into_response());
    };
    if key.is_empty() || key.len() > 200 {
        return Err(ApiError::invalid(
            "an `Idempotency-Key` has 1 to 200 characters",
        ));
    }
    let subject = &caller.line();
    let hash = body_hash(api, body)?;
    if let Some((before, answer)) = api
        .gateway
        .store
        .idempotent(subject, key)
        .await
        .map_err(EngineError::from)?
    {
        if before != hash {
            return Err(ApiError::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "key_reused",
                "this `Idempotency-Key` was used for another body",
            ));
        }
        return Ok(([(header::CONTENT_TYPE, "application/json")], answer).into_response());
    }
    let said = work.await?;
    if !is_final(&said) {
        return Ok(axum::Json(said).into_response());
    }
    let answer =
        serde_json::to_vec(&said).map_err(|error| EngineError::Internal(error.to_string()))?;
    let write = Write::Idempotent {
        subject: subject.clone(),
        key: key.into(),
        body: hash,
        answer: answer.clone(),
        at: api.gateway.clock.now(),
    };
    // Two at once with one key: the work itself attaches or conflicts; the first answer stays.
    if let Err(error) = api.gateway.store.commit(vec![write]).await {
        tracing::warn!(%error, "an answer was not kept under its idempotency key");
    }
    Ok(([(header::CONTENT_TYPE, "application/json")], answer).into_response())
}

/// What of a body is kept to recognise it: keyed, because bodies can have secrets in them.
fn body_hash(api: &Api, body: &impl Serialize) -> Result<Hash, ApiError> {
    let bytes = serde_json::to_vec(&("idempotency", body));
    let bytes = bytes.map_err(|error| EngineError::Internal(error.to_string()))?;
    Ok(Hash::keyed(&api.gateway.keys.attach, &bytes))
}

/// All routes of the interface.
pub fn routes(api: Api) -> Router {
    Router::new()
        .route("/v1/health", get(manage::health))
        .route("/v1/whoami", get(manage::who_am_i))
        .route("/v1/login", post(manage::login))
        .route("/v1/targets/{name}", get(run::target))
        .route("/v1/inputs", post(run::inputs))
        .route("/v1/run", post(run::run))
        .route("/v1/requests", get(requests::list))
        .route("/v1/requests/{id}", get(requests::show))
        .route("/v1/requests/{id}/votes", post(requests::vote))
        .route("/v1/requests/{id}/passkey", post(signing::options))
        .route(
            "/v1/requests/{id}/emergency",
            post(emergencies::break_glass),
        )
        .route("/v1/requests/{id}/review", post(emergencies::look_at))
        .route("/v1/emergencies", get(emergencies::show))
        .route("/v1/requests/{id}/withdraw", post(requests::withdraw))
        .route("/v1/requests/{id}/comments", post(requests::comment))
        .route("/v1/requests/{id}/questions", post(requests::question))
        .route("/v1/requests/{id}/answers", post(requests::answer))
        .route("/v1/requests/{id}/amendments", post(requests::amend))
        .route("/v1/requests/{id}/cancel", post(requests::cancel))
        .route("/v1/requests/{id}/claim", post(manage::claim))
        .route("/v1/requests/{id}/end-grant", post(granting::end_grant))
        .route("/v1/grants", get(granting::list))
        .route("/v1/events", get(events::stream))
        .route("/v1/proposals", post(manage::propose))
        .route("/v1/policy", get(manage::policy))
        .route("/v1/policy/explain", post(explaining::explain))
        .route("/v1/directory", get(manage::directory))
        .route("/v1/channels", get(channels::list))
        .route("/v1/streams", get(streams::list))
        .route("/v1/streams/{name}/retry", post(streams::retry))
        .route("/v1/log/checkpoint", get(log::checkpoint))
        .route("/v1/log/key", get(log::key))
        .route("/v1/log/vote-key", get(log::vote_key))
        .route("/v1/log/tile/entries/{*path}", get(log::entries))
        .route("/v1/log/tile/{level}/{*path}", get(log::hashes))
        .route("/openapi.json", get(openapi::serve))
        .route("/v1/delegations", post(delegating::delegate))
        .route("/oauth/token", post(oauth::token))
        .route(
            "/.well-known/oauth-authorization-server",
            get(oauth::metadata),
        )
        .merge(authzen::routes())
        .merge(crate::scim::routes())
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        .layer(map_response(as_problem))
        .with_state(api)
}

/// Makes a problem of what the router refuses by itself, such as an address that is not UTF-8.
async fn as_problem(response: Response) -> Response {
    let kind = response
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let status = response.status();
    if !status.is_client_error() || !kind.is_some_and(|kind| kind.starts_with("text/plain")) {
        return response;
    }
    ApiError::new(status, "invalid_request", "the address can't be read").into_response()
}

/// Nothing is here: a page for a browser, a problem for everybody else.
async fn not_found(State(api): State<Api>, uri: Uri, headers: HeaderMap) -> Response {
    let error = ApiError::new(
        StatusCode::NOT_FOUND,
        "not_found",
        "there is nothing at this address",
    );
    let interface = ["/v1/", "/access/", "/oauth/", "/.well-known/", "/scim/"];
    let accepts = headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok());
    let reads_pages = accepts.is_some_and(|kinds| kinds.contains("text/html"));
    match reads_pages && !interface.iter().any(|start| uri.path().starts_with(start)) {
        true => crate::console::error_page(&api, &error).await,
        false => error.into_response(),
    }
}

async fn wrong_method() -> ApiError {
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "this address does not take this method",
    )
}
