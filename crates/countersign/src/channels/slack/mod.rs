//! Slack: requests as cards, decided where people talk.
//!
//! In scope: one app in one workspace: its address or its socket, what comes in, what goes out.
//! Out of scope: other channels ([`channels`](super)); whether a vote counts (core).
//! Invariant: nothing is acted upon that Slack did not sign, or send over the socket that the gateway
//! opened with the app's own token; nothing is acted upon twice. An account acts for the one person it
//! is linked to.
//! Specification: <https://docs.slack.dev/>

mod accounts;
mod act;
mod board;
pub(super) mod card;
mod incoming;
pub(crate) mod manifest;
mod sending;
mod socket;
#[cfg(test)]
mod tests;
mod web;

use std::{
    collections::BTreeMap,
    num::NonZeroU32,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Json,
    body::Bytes,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use countersign_policy::{Slack, channel::Reached};
use countersign_runner::vault::Secret;
use governor::{DefaultKeyedRateLimiter, Quota};
use serde_json::{Map, Value, json};
use tokio::{sync::mpsc, task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

use self::{
    board::{Board, Keeper, Wish},
    incoming::Read,
    web::Web,
};
use super::status::Status;
use crate::{api::Api, outbound::FreshSecret};

/// The command in Slack.
pub(crate) const COMMAND: &str = "/countersign";
/// How far from now what Slack sends may have been sent, in seconds.
const FRESH: i64 = 300;
/// How long what was taken is remembered; what was sent earlier is refused for its age.
const REMEMBERED: Duration = Duration::from_secs(600);
/// What is remembered before what is older is let go.
const REMEMBERED_AT_LEAST: usize = 1_000;
/// Codes that one account can try in a minute.
const CODES: u32 = 5;
/// How often one account is told in a minute what was refused.
const TOLD: u32 = 20;
/// Wishes that wait at once.
const WISHES: usize = 1_000;

/// One app in one workspace.
pub(super) struct App {
    name: Arc<str>,
    slack: Slack,
    api: Api,
    web: Web,
    signing: Option<FreshSecret>,
    board: Board,
    wishes: mpsc::Sender<Wish>,
    taken: Mutex<BTreeMap<String, (Instant, Option<Value>)>>,
    codes: DefaultKeyedRateLimiter<String>,
    told: DefaultKeyedRateLimiter<String>,
    /// What was taken before this is not remembered, so that what was sent before it is refused.
    since: i64,
    status: Arc<Status>,
    stop: CancellationToken,
}

/// Starts an app, which runs until `stop`.
///
/// # Errors
/// Its address or TLS can't be used.
pub(super) fn start(
    api: &Api,
    (name, slack): (&str, &Slack),
    status: Arc<Status>,
    stop: CancellationToken,
) -> anyhow::Result<(Arc<App>, JoinSet<()>)> {
    let config = &api.gateway.config;
    let (wishes, wished) = mpsc::channel(WISHES);
    let a_minute = |times| {
        let times = NonZeroU32::new(times).unwrap_or(NonZeroU32::MIN);
        DefaultKeyedRateLimiter::keyed(Quota::per_minute(times))
    };
    let app = Arc::new(App {
        name: name.into(),
        web: Web::new(slack, &slack.bot_token, config)?,
        signing: match &slack.reached {
            Reached::Signed(secret) => Some(FreshSecret::of(secret, config)),
            Reached::Socket(_) => None,
        },
        board: Board::new(api.gateway.clone(), name),
        slack: slack.clone(),
        api: api.clone(),
        wishes,
        taken: Mutex::default(),
        codes: a_minute(CODES),
        told: a_minute(TOLD),
        since: api.gateway.clock.now().0 / 1_000,
        status,
        stop,
    });
    let mut tasks = JoinSet::new();
    tasks.spawn(Keeper::new(app.clone(), wished).keep());
    if let Reached::Socket(token) = &slack.reached {
        tasks.spawn(socket::keep(app.clone(), token.clone()));
    }
    Ok((app, tasks))
}

impl App {
    /// Hands a wish to the keeper. What finds no room comes with the next look at everything.
    fn wish(&self, wish: Wish) {
        if let Err(error) = self.wishes.try_send(wish) {
            tracing::warn!(%error, "Slack is too slow for what is asked of it");
        }
    }

    fn may_try_code(&self, user: &str) -> bool {
        self.codes.check_key(&user.to_owned()).is_ok()
    }

    fn may_tell(&self, user: &str) -> bool {
        self.told.check_key(&user.to_owned()).is_ok()
    }

    /// Takes a post of Slack's.
    pub(super) async fn post(self: &Arc<Self>, headers: &HeaderMap, body: Bytes) -> Response {
        match self.is_signed(headers, &body).await {
            Ok(()) => {}
            Err(why) => {
                if self.api.may_record_stranger() {
                    tracing::warn!(channel = %self.name, why, "a post was not signed by Slack");
                }
                return StatusCode::UNAUTHORIZED.into_response();
            }
        }
        let read = self.read(headers, &body);
        if let Read::Challenge(challenge) = read {
            return Json(json!({ "challenge": challenge })).into_response();
        }
        let foreign = matches!(read, Read::Foreign(_));
        match self.take(read).await {
            Some(answer) => Json(answer).into_response(),
            None if foreign => StatusCode::FORBIDDEN.into_response(),
            None => StatusCode::OK.into_response(),
        }
    }

    /// Whether Slack signed a post, and lately.
    async fn is_signed(&self, headers: &HeaderMap, body: &[u8]) -> Result<(), &'static str> {
        let Some(signing) = &self.signing else {
            return Err("this channel is reached over a socket");
        };
        let header = |name: &str| {
            let mut all = headers.get_all(name).iter();
            let only = all.next().filter(|_| all.next().is_none());
            only.and_then(|value| value.to_str().ok())
        };
        let at = header("x-slack-request-timestamp").ok_or("it has no time")?;
        let seconds: i64 = at.parse().map_err(|_| "it has no time")?;
        let now = self.api.gateway.clock.now().0 / 1_000;
        if now.saturating_sub(seconds).saturating_abs() > FRESH {
            return Err("it is too old, or from the future");
        }
        if seconds <= self.since {
            return Err("it was sent before this gateway started, and may have been taken then");
        }
        let signature = header("x-slack-signature").and_then(|text| text.strip_prefix("v0="));
        let signature = signature.ok_or("it has no signature")?;
        let secret = signing.get(Secret::check_header).await;
        let secret = secret.map_err(|error| {
            self.status.wrong(
                "signing",
                &format!("the signing secret can't be had: {error}"),
            );
            "the signing secret can't be had"
        })?;
        match secret.signed_by_slack(at, body, signature) {
            true => Ok(()),
            false => Err("the signature is not Slack's"),
        }
    }

    fn read(&self, headers: &HeaderMap, body: &[u8]) -> Read {
        let kind = headers
            .get("content-type")
            .and_then(|value| value.to_str().ok());
        if kind.is_some_and(|kind| kind.starts_with("application/json")) {
            return match serde_json::from_slice(body) {
                Ok(envelope) => incoming::event(&self.slack, &envelope),
                Err(_) => Read::Foreign("it is no JSON"),
            };
        }
        let mut fields = Map::new();
        for (name, value) in form_urlencoded::parse(body) {
            if fields.insert(name.into_owned(), json!(value)).is_some() {
                return Read::Foreign("it has a field twice");
            }
        }
        match fields.get("payload").and_then(Value::as_str) {
            Some(payload) => match serde_json::from_str(payload) {
                Ok(payload) => incoming::interaction(&self.slack, &payload),
                Err(_) => Read::Foreign("its payload is no JSON"),
            },
            None => incoming::command(&self.slack, &Value::Object(fields)),
        }
    }

    /// Acts upon what was read, once. What is returned is Slack's answer.
    async fn take(self: &Arc<Self>, read: Read) -> Option<Value> {
        let (incoming, once) = match read {
            Read::Act(incoming, once) => (incoming, once),
            Read::Foreign(why) => {
                tracing::warn!(channel = %self.name, why, "something foreign came from Slack");
                return None;
            }
            Read::Challenge(_) | Read::Nothing => return None,
        };
        if let Some(answered) = self.begin(&once) {
            return answered;
        }
        let answer = act::act(self, *incoming).await;
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        // What comes again is a dialog that was refused, if anything; the rest is long.
        let kept = answer
            .clone()
            .filter(|answer| answer.get("errors").is_some());
        taken.insert(once, (Instant::now(), kept));
        answer
    }

    /// Notes that something is taken up, or gives what was answered when it was taken before.
    fn begin(&self, once: &str) -> Option<Option<Value>> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, answer)) = taken.get(once) {
            return Some(answer.clone());
        }
        if taken.len() >= REMEMBERED_AT_LEAST {
            taken.retain(|_, (since, _)| since.elapsed() < REMEMBERED);
        }
        taken.insert(once.to_owned(), (Instant::now(), None));
        None
    }
}
