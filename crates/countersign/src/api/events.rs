//! Live updates as server-sent events.

use std::{convert::Infallible, time::Duration};

use axum::{
    extract::State,
    response::sse::{Event, KeepAlive, Sse},
};
use futures_util::Stream;
use serde_json::json;
use tokio_stream::{StreamExt as _, wrappers::BroadcastStream};

use super::Api;
use crate::{identity::Caller, names::Names};

/// How often a comment keeps an idle connection open.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

pub(super) async fn stream(
    State(api): State<Api>,
    caller: Caller,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let updates = BroadcastStream::new(api.gateway.engine.updates().subscribe());
    let events = futures_util::StreamExt::filter_map(updates, move |update| {
        let (api, caller) = (api.clone(), caller.clone());
        async move {
            // A session that ended, or a person who was disabled, hears nothing more.
            if !api.gateway.identity.is_current(&caller).await {
                return None;
            }
            let Ok(update) = update else {
                // Some were missed; whoever listens looks again.
                return Some(Ok(Event::default().event("missed").data("{}")));
            };
            api.gateway.case_of(&caller, &update.request).await.ok()?;
            let data = json!({ "id": update.request, "state": update.phase, "text": Names::to(&caller).update(&update) });
            Some(Ok(Event::default().event("request").data(data.to_string())))
        }
    });
    Sse::new(events.map(|event| event)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}
