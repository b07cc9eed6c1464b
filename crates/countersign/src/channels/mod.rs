//! Channels: where people are told what waits for them, and decide.
//!
//! In scope: starting and ending channels as the active bundle says; what comes in for one of them.
//! Out of scope: what is recorded for other systems (`streams`).
//! Invariant: a channel decides nothing. What somebody does in one is judged by the same functions as
//! what they do in the console, with less assurance; a channel that fails stops nothing but itself.

mod accounts;
mod acting;
mod alarm;
mod board;
mod chat;
pub(crate) mod email;
mod messenger;
mod reminding;
mod sending;
pub(crate) mod slack;
pub(crate) mod teams;
mod telling;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    Router,
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header::AUTHORIZATION},
    response::{IntoResponse, Response},
    routing::post,
};
use countersign_core::count::counted;
use countersign_policy::Channel;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{api::Api, status::Status};

/// What comes in for a channel is for one of these.
#[derive(Clone)]
enum App {
    Slack(Arc<slack::App>),
    Teams(Arc<teams::App>),
}

/// One channel that runs.
struct Running {
    channel: Channel,
    app: Option<App>,
    status: Arc<Status>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

/// Every channel. Cheap to clone.
#[derive(Clone)]
pub struct Channels {
    running: Arc<Mutex<BTreeMap<String, Running>>>,
    stop: CancellationToken,
    manager: Arc<Mutex<Option<JoinHandle<()>>>>,
}

/// How one channel is configured and stands.
#[derive(Debug, Clone)]
pub struct Standing {
    /// Its name.
    pub name: String,
    /// Its settings.
    pub channel: Channel,
    /// What is wrong with it.
    pub fault: Option<String>,
}

impl Default for Channels {
    fn default() -> Self {
        Self {
            running: Arc::default(),
            stop: CancellationToken::new(),
            manager: Arc::default(),
        }
    }
}

impl Channels {
    /// Starts the channels of the active bundle, and of every one after it. Call it within the runtime
    /// that serves.
    pub fn start(&self, api: &Api) {
        let managing = self.clone().manage(api.clone());
        *lock(&self.manager) = Some(tokio::spawn(managing));
    }

    async fn manage(self, api: Api) {
        let mut active = api.gateway.watch();
        loop {
            let wanted = active.borrow_and_update().bundle.channels().clone();
            self.bring_about(&api, wanted).await;
            tokio::select! {
                changed = active.changed() => {
                    if changed.is_err() {
                        break;
                    }
                }
                () = self.stop.cancelled() => break,
            }
        }
        self.bring_about(&api, BTreeMap::new()).await;
    }

    /// Ends what is not wanted any more, waits for it, and starts what is new.
    async fn bring_about(&self, api: &Api, wanted: BTreeMap<String, Channel>) {
        let ended: Vec<Running> = {
            let mut running = lock(&self.running);
            let goes = |name: &String, one: &mut Running| wanted.get(name) != Some(&one.channel);
            running.extract_if(.., goes).map(|(_, one)| one).collect()
        };
        for mut one in ended {
            one.stop.cancel();
            // Two of one name would tell everything twice.
            while one.tasks.join_next().await.is_some() {}
        }
        let mut running = lock(&self.running);
        for (name, channel) in wanted {
            running
                .entry(name)
                .or_insert_with_key(|name| self.run(api, name, channel));
        }
    }

    fn run(&self, api: &Api, name: &str, channel: Channel) -> Running {
        let status = Arc::new(Status::new(name));
        let stop = self.stop.child_token();
        let (told, until) = (status.clone(), stop.clone());
        let started = match &channel {
            Channel::Slack(slack) => slack::start(api, (name, slack), told, until)
                .map(|(app, tasks)| (Some(App::Slack(app)), tasks)),
            Channel::Teams(teams) => teams::start(api, (name, teams), told, until)
                .map(|(app, tasks)| (Some(App::Teams(app)), tasks)),
            Channel::Email(email) => {
                email::start(api, (name, email), told, until).map(|tasks| (None, tasks))
            }
        };
        let (app, tasks) = match started {
            Ok(started) => started,
            Err(error) => {
                status.wrong("", &format!("{error:#}"));
                (None, JoinSet::new())
            }
        };
        Running {
            channel,
            app,
            status,
            stop,
            tasks,
        }
    }

    /// How every channel stands, by name.
    #[must_use]
    pub fn standing(&self) -> Vec<Standing> {
        let running = lock(&self.running);
        let standing = running.iter().map(|(name, one)| Standing {
            name: name.clone(),
            channel: one.channel.clone(),
            fault: one.status.fault(),
        });
        standing.collect()
    }

    /// What anybody may know of what is wrong.
    #[must_use]
    pub fn notices(&self) -> Vec<String> {
        let standing = self.standing();
        match standing.iter().filter(|one| one.fault.is_some()).count() {
            0 => Vec::new(),
            many => {
                let channels = counted(many, "channel does", "channels do");
                vec![format!("{channels} not reach people.")]
            }
        }
    }

    /// Ends all channels.
    pub async fn stop(&self) {
        self.stop.cancel();
        let manager = lock(&self.manager).take();
        if let Some(manager) = manager
            && let Err(error) = manager.await
        {
            tracing::error!(%error, "the channels broke off");
        }
    }

    fn app(&self, name: &str) -> Option<App> {
        lock(&self.running).get(name)?.app.clone()
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What somebody writes before a code to link an account; `None` where there are none.
pub(crate) fn link_command(channel: &Channel) -> Option<String> {
    match channel {
        Channel::Slack(_) => Some(format!("{} link", slack::COMMAND)),
        Channel::Teams(_) => Some("link".into()),
        Channel::Email(_) => None,
    }
}

/// The address that chats post to.
pub fn routes(api: Api) -> Router {
    Router::new()
        .route("/channels/{name}", post(take))
        .with_state(api)
}

async fn take(
    State(api): State<Api>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let Some(app) = api.channels.app(&name) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let signature = match &app {
        App::Slack(_) => slack::SIGNATURE,
        App::Teams(_) => AUTHORIZATION.as_str(),
    };
    let taken = match api.intake.read(&headers, signature, body).await {
        Ok(taken) => taken,
        Err(status) => return status.into_response(),
    };
    match app {
        App::Slack(app) => app.post(&headers, &taken.bytes).await,
        App::Teams(app) => app.post(&headers, &taken.bytes).await,
    }
}
