//! Live updates as server-sent events.
//!
//! In scope: streams, how many one subject has, what each may hear.
//! Out of scope: what happened to a request; a listener looks for itself.
//! Invariant: nobody hears of a request that they may not see, and a stream ends with the
//! credential or the person it belongs to.

use std::{convert::Infallible, time::Duration};

use axum::{
    extract::State,
    http::StatusCode,
    response::sse::{Event, Sse},
};
use futures_util::{Stream, stream::unfold};
use serde_json::json;
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    time::{Instant, timeout_at},
};

use super::{Api, problem::ApiError, seats::Seat};
use crate::{engine::Update, identity::Caller, names::Names};

/// How often a comment keeps an idle connection open.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// The most streams of one subject.
pub(super) const STREAMS: usize = 32;

fn seat(api: &Api, caller: &Caller) -> Result<Seat, ApiError> {
    api.listening
        .take(&caller.credential.holder)
        .ok_or_else(|| {
            let title = format!("you listen to {STREAMS} streams of events, which is the limit");
            ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too_many_streams", title)
                .with_detail("Close some, for example tabs of the console.")
        })
}

/// A caller who listens.
struct Listener {
    api: Api,
    caller: Caller,
    updates: Receiver<Update>,
    _seat: Seat,
}

impl Listener {
    /// What the caller hears next; nothing once the caller is nobody any more.
    async fn next(&mut self) -> Option<Event> {
        let quiet_until = Instant::now() + KEEP_ALIVE;
        let event = loop {
            let heard = tokio::select! {
                heard = timeout_at(quiet_until, self.updates.recv()) => heard,
                () = self.api.stopping.cancelled() => return None,
            };
            match heard {
                Err(_) => break Event::default().comment(""),
                Ok(Err(RecvError::Closed)) => return None,
                // Whoever listens looks again.
                Ok(Err(RecvError::Lagged(_))) => {
                    break Event::default().event("missed").data("{}");
                }
                Ok(Ok(update)) => {
                    if let Some(event) = self.hear(&update).await {
                        break event;
                    }
                }
            }
        };
        // Asked last, and only of whoever would hear something.
        let current = self.api.gateway.identity.is_current(&self.caller).await;
        current.then_some(event)
    }

    async fn hear(&self, update: &Update) -> Option<Event> {
        let gateway = &self.api.gateway;
        gateway.case_of(&self.caller, &update.request).await.ok()?;
        let text = Names::to(&self.caller).update(update);
        let data = json!({ "id": update.request, "state": update.phase, "text": text });
        Some(Event::default().event("request").data(data.to_string()))
    }
}

pub(super) async fn stream(
    State(api): State<Api>,
    caller: Caller,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, ApiError> {
    let listener = Listener {
        _seat: seat(&api, &caller)?,
        updates: api.gateway.engine.updates().subscribe(),
        api,
        caller,
    };
    Ok(Sse::new(unfold(
        listener,
        async |mut listener: Listener| {
            let event = listener.next().await?;
            Some((Ok(event), listener))
        },
    )))
}
