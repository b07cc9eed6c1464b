//! The route about channels.
//!
//! In scope: how they stand.
//! Out of scope: changing channels; that is a change of the bundle.
//! Invariant: only people who may audit see channels.

use axum::{Json, extract::State, http::StatusCode};
use countersign_policy::{Channel, channel::Reached};

use super::{
    Api,
    problem::ApiError,
    types::{ChannelInfo, ChannelList},
};
use crate::{
    admin,
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
    let channels = api.channels.standing().into_iter().map(|standing| {
        let (kind, team, reached) = match standing.channel {
            Channel::Slack(slack) => match slack.reached {
                Reached::Signed(_) => ("slack", slack.team, "signed"),
                Reached::Socket(_) => ("slack", slack.team, "socket"),
            },
            Channel::Teams(teams) => ("teams", teams.tenant, "signed"),
        };
        let here = |name: &str| {
            accounts
                .iter()
                .filter(|one| one.account.channel == name)
                .count()
        };
        ChannelInfo {
            linked: here(&standing.name),
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
