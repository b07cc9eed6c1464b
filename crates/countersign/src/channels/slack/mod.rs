//! Slack: requests as cards, decided where people talk.
//!
//! In scope: one app in one workspace: its address or its socket, what comes in, what goes out.
//! Out of scope: other channels ([`channels`](super)); whether a vote counts (core).
//! Invariant: nothing is acted upon that Slack did not sign, or send over the socket that the gateway
//! opened with the app's own token; nothing is acted upon twice. An account acts for the one person it
//! is linked to.
//! Specification: <https://docs.slack.dev/>

mod act;
mod card;
mod incoming;
pub(crate) mod manifest;
mod sending;
mod socket;
#[cfg(test)]
mod tests;
mod web;

use std::sync::Arc;

use axum::{
    Json,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use countersign_policy::{Slack, channel::Reached};
use countersign_runner::vault::Secret;
use serde_json::{Map, Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::{incoming::Read, web::Web};
use super::{
    board::Keeper,
    chat::{Chat, Kind},
};
use crate::{api::Api, outbound::FreshSecret, status::Status};

/// The command in Slack.
pub(crate) const COMMAND: &str = "/countersign";
/// The header with Slack's signature of a post.
pub(super) const SIGNATURE: &str = "x-slack-signature";
/// Slack, and how accounts are linked there.
const SLACK: Kind = Kind {
    name: "Slack",
    to_link: "/countersign link CODE",
};

/// One app in one workspace.
pub(super) struct App {
    chat: Chat,
    slack: Slack,
    web: Web,
    signing: Option<FreshSecret>,
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
    let of = (slack.team.as_str(), slack.signed_in_within);
    let (chat, wished) = Chat::new(api, (SLACK, name), of, status, stop);
    let app = Arc::new(App {
        chat,
        web: Web::new(slack, &slack.bot_token, config)?,
        signing: match &slack.reached {
            Reached::Signed(secret) => Some(FreshSecret::of(secret, config)),
            Reached::Socket(_) => None,
        },
        slack: slack.clone(),
    });
    let mut tasks = JoinSet::new();
    tasks.spawn(Keeper::new(app.clone(), wished).keep());
    if let Reached::Socket(token) = &slack.reached {
        tasks.spawn(socket::keep(app.clone(), token.clone()));
    }
    Ok((app, tasks))
}

impl App {
    /// Takes a post of Slack's.
    pub(super) async fn post(self: &Arc<Self>, headers: &HeaderMap, body: &[u8]) -> Response {
        match self.is_signed(headers, body).await {
            Ok(()) => {}
            Err(why) => {
                if self.chat.api.may_record_stranger() {
                    tracing::warn!(channel = %self.chat.name, why, "a post was not signed by Slack");
                }
                return StatusCode::UNAUTHORIZED.into_response();
            }
        }
        let read = self.read(headers, body);
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
        self.chat.check_sent(seconds)?;
        let signature = header(SIGNATURE).and_then(|text| text.strip_prefix("v0="));
        let signature = signature.ok_or("it has no signature")?;
        let secret = signing.get(Secret::check_header).await;
        let secret = secret.map_err(|error| {
            self.chat.status.wrong(
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
                tracing::warn!(channel = %self.chat.name, why, "something foreign came from Slack");
                return None;
            }
            Read::Challenge(_) | Read::Nothing => return None,
        };
        if let Some(answered) = self.chat.begin(&once) {
            return answered;
        }
        let answer = Box::pin(act::act(self, *incoming)).await;
        // What comes again is a dialog that was refused, if anything; the rest is long.
        let kept = answer
            .clone()
            .filter(|answer| answer.get("errors").is_some());
        self.chat.answered(once, kept);
        answer
    }
}
