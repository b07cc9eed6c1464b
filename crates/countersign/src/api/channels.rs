//! The route about channels.
//!
//! In scope: how they stand.
//! Out of scope: changing channels; that is a change of the bundle.
//! Invariant: only people who may audit see channels.

use axum::{Json, extract::State, http::StatusCode};
use countersign_policy::{
    Channel,
    channel::{MailTls, Reached},
};

use super::{
    Api,
    problem::ApiError,
    types::{ChannelInfo, ChannelList},
};
use crate::{
    admin,
    channels::email,
    engine::EngineError,
    identity::{Caller, account::linked},
};

pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
) -> Result<Json<ChannelList>, ApiError> {
    let gateway = &api.gateway;
    if !admin::may_audit(&gateway.active(), &caller, gateway.clock.now()) {
        let title = "channels are for people who may audit";
        let refused = ApiError::new(StatusCode::FORBIDDEN, "not_permitted", title);
        return Err(refused.with_detail("Policy decides with the action `countersign:audit-read`."));
    }
    let all = gateway.store.credentials(None).await;
    let all = all.map_err(EngineError::from)?;
    let live = all.iter().filter(|one| one.revoked.is_none());
    let accounts: Vec<_> = live.filter_map(linked).collect();
    let active = gateway.active();
    let channels = api.channels.standing().into_iter().map(|standing| {
        let linked = match &standing.channel {
            Channel::Slack(_) | Channel::Teams(_) => {
                let accounts = accounts.iter();
                let here = accounts.filter(|one| one.account.channel == standing.name);
                here.count()
            }
            Channel::Email(_) => email::reachable(&active),
        };
        let (kind, team, reached) = described(standing.channel);
        ChannelInfo {
            linked,
            name: standing.name,
            kind: kind.into(),
            team,
            reached: reached.into(),
            fault: standing.fault,
        }
    });
    Ok(Json(ChannelList {
        channels: channels.collect(),
    }))
}

/// The kind of a channel, where it is, and how it is reached.
fn described(channel: Channel) -> (&'static str, String, &'static str) {
    match channel {
        Channel::Slack(slack) => {
            let reached = match slack.reached {
                Reached::Signed(_) => "signed",
                Reached::Socket(_) => "socket",
            };
            ("slack", slack.team, reached)
        }
        Channel::Teams(teams) => ("teams", teams.tenant, "signed"),
        Channel::Email(email) => {
            let reached = match email.tls {
                MailTls::Implicit => "implicit",
                MailTls::StartTls => "starttls",
                MailTls::None => "none",
            };
            ("email", format!("{}:{}", email.host, email.port), reached)
        }
    }
}
