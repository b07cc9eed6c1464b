//! Microsoft Teams: requests as cards, decided where people talk.
//!
//! In scope: one bot in one tenant: what comes in, what goes out, its package.
//! Out of scope: other channels ([`channels`](super)); whether a vote counts (core).
//! Invariant: nothing is acted upon without a token of Microsoft's for this bot, about the address that
//! the activity names, nor from another tenant; nothing is acted upon twice. An account acts for the one
//! person it is linked to.
//! Specification: <https://learn.microsoft.com/microsoftteams/platform/bots/what-are-bots>

mod act;
mod card;
mod connector;
mod incoming;
pub(crate) mod package;
mod sending;
#[cfg(test)]
mod tests;
mod token;

use std::sync::{Arc, Mutex};

use axum::{
    Json,
    http::{HeaderMap, StatusCode, header::AUTHORIZATION},
    response::{IntoResponse, Response},
};
use countersign_policy::Teams;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::{
    connector::Connector,
    incoming::{Incoming, Read, text},
    sending::Members,
    token::{Gatekeeper, Proven},
};
use super::{
    board::Keeper,
    chat::{Chat, Kind},
};
use crate::{
    api::{Api, strict},
    status::Status,
};

/// What Microsoft calls Teams among what bots are reached through.
const CHANNEL: &str = "msteams";
/// Teams, and how accounts are linked there.
const TEAMS: Kind = Kind {
    name: "Teams",
    to_link: "link CODE",
};

/// One bot in one tenant.
pub(super) struct App {
    chat: Chat,
    teams: Teams,
    connector: Connector,
    gatekeeper: Gatekeeper,
    members: Mutex<Members>,
}

/// Starts a bot, which runs until `stop`.
///
/// # Errors
/// An address or TLS can't be used.
pub(super) fn start(
    api: &Api,
    (name, teams): (&str, &Teams),
    status: Arc<Status>,
    stop: CancellationToken,
) -> anyhow::Result<(Arc<App>, JoinSet<()>)> {
    let config = &api.gateway.config;
    let of = (teams.tenant.as_str(), teams.signed_in_within);
    let (chat, wished) = Chat::new(api, (TEAMS, name), of, status, stop);
    let app = Arc::new(App {
        chat,
        connector: Connector::new(teams, config)?,
        gatekeeper: Gatekeeper::new(teams, config.clone())?,
        teams: teams.clone(),
        members: Mutex::default(),
    });
    let mut tasks = JoinSet::new();
    tasks.spawn(Keeper::new(app.clone(), wished).keep());
    Ok((app, tasks))
}

impl App {
    /// Takes an activity.
    pub(super) async fn post(self: &Arc<Self>, headers: &HeaderMap, body: &[u8]) -> Response {
        let activity = match self.believed(headers, body).await {
            Ok(activity) => activity,
            Err(error) => {
                if self.chat.api.may_record_stranger() {
                    let why = format!("{error:#}");
                    tracing::warn!(channel = %self.chat.name, why, "a post was not from Teams");
                }
                return StatusCode::UNAUTHORIZED.into_response();
            }
        };
        match incoming::read(&self.teams, &activity) {
            Read::Act(incoming, once, seconds) => {
                if let Err(why) = self.chat.check_sent(seconds) {
                    tracing::warn!(channel = %self.chat.name, why, "an activity is not acted upon");
                    return StatusCode::FORBIDDEN.into_response();
                }
                match self.take(*incoming, once).await {
                    Some(answer) => Json(answer).into_response(),
                    None => StatusCode::OK.into_response(),
                }
            }
            Read::Nothing => StatusCode::OK.into_response(),
            Read::Foreign(why) => {
                tracing::warn!(channel = %self.chat.name, why, "something foreign came from Teams");
                StatusCode::FORBIDDEN.into_response()
            }
        }
    }

    /// An activity that Microsoft vouches for.
    async fn believed(&self, headers: &HeaderMap, body: &[u8]) -> anyhow::Result<Value> {
        let mut all = headers.get_all(AUTHORIZATION).iter();
        let only = all.next().filter(|_| all.next().is_none());
        let token = only
            .and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "))
            .ok_or_else(|| anyhow::anyhow!("it has no token"))?;
        let now = self.chat.api.gateway.clock.now();
        let proven = self.gatekeeper.check(token, now).await?;
        let activity: Value = strict::from_slice(body)?;
        is_about(&proven, &activity)?;
        Ok(activity)
    }

    /// Acts upon what was read, once. What is returned is the answer to a click.
    async fn take(self: &Arc<Self>, incoming: Incoming, once: String) -> Option<Value> {
        // Looking does nothing, however often.
        let looks = matches!(&incoming, Incoming::Click { click, .. } if click.verb == "refresh");
        if looks {
            return act::act(self, incoming).await;
        }
        if self.chat.begin(&once).is_some() {
            let clicks = matches!(incoming, Incoming::Click { .. });
            return clicks.then(|| act::line("This was taken already."));
        }
        let answer = act::act(self, incoming).await;
        self.chat.answered(once, None);
        answer
    }
}

/// Whether what a token proves is about this activity.
///
/// # Errors
/// It is not.
fn is_about(proven: &Proven, activity: &Value) -> anyhow::Result<()> {
    let channel = text(activity, &["channelId"]).unwrap_or_default();
    anyhow::ensure!(channel == CHANNEL, "it is of another channel than Teams");
    anyhow::ensure!(
        proven.endorsements.iter().any(|one| one == channel),
        "the key of its token is not endorsed for Teams"
    );
    anyhow::ensure!(
        text(activity, &["serviceUrl"]) == Some(proven.service.as_str()),
        "its token is about another `serviceUrl`"
    );
    Ok(())
}
