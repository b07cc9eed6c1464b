//! The gate for deployments that GitHub holds: GitHub's custom deployment protection rule.
//!
//! In scope: starting and ending what the active bundle's `[deployments.NAME]` tables say; what comes in for
//! one of them.
//! Out of scope: whether a deployment may go on; that is a request like any other.
//! Invariant: nothing is read that GitHub did not sign with the App's secret. What is taken is stored before
//! GitHub is told so, once, and is owed an answer from then on, also after a crash. GitHub executes, so the
//! gate is advisory (P1): it holds back the answer, not the credential.
//! Specification: <https://docs.github.com/en/rest/actions/workflow-runs>, and
//! *Creating custom deployment protection rules* in the guides to GitHub Actions.

mod asking;
mod carrying;
mod closing;
mod following;
mod github;
mod incoming;
mod patience;
mod row;
mod runs;
mod words;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    Router,
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    routing::post,
};
use countersign_core::count::counted;
use countersign_policy::GitHub;
use countersign_runner::vault::Secret;
use countersign_store::StoreError;
use tokio::{
    sync::{Semaphore, mpsc},
    task::{JoinHandle, JoinSet},
};
use tokio_util::sync::CancellationToken;

use self::{
    github::Speaking,
    incoming::{Refused, Wanted},
    row::{Row, Stage},
};
use crate::{
    api::{Api, auth::record_refused},
    gateway::Gateway,
    outbound::FreshSecret,
    status::Status,
};

/// The name of this gate.
pub const GATE: &str = "github";

/// The header with GitHub's signature of a post.
const SIGNATURE: &str = "x-hub-signature-256";
/// The most jobs that wait for an answer of one App.
const MAX_OWED: usize = 2_000;
/// Jobs that GitHub is spoken to about at once.
const AT_ONCE: usize = 8;

/// One App that runs.
struct Running {
    name: String,
    github: GitHub,
    api: Api,
    gateway: Gateway,
    speaking: Speaking,
    hook: FreshSecret,
    status: Arc<Status>,
    stop: CancellationToken,
    turns: Semaphore,
    /// One is noted after the other, so that none is noted twice.
    noting: tokio::sync::Mutex<()>,
    /// One is asked after the other, so that of one run and environment only the last is.
    asking: tokio::sync::Mutex<()>,
    /// Held for a while by whatever can wait, so that GitHub is not asked too often.
    pace: tokio::sync::Mutex<()>,
    noted: mpsc::UnboundedSender<Row>,
}

/// What runs of a table.
struct One {
    github: GitHub,
    running: Option<Arc<Running>>,
    status: Arc<Status>,
    stop: CancellationToken,
    task: Option<JoinHandle<()>>,
}

/// Every App. Cheap to clone.
#[derive(Clone, Default)]
pub struct Deployments {
    all: Arc<Mutex<BTreeMap<String, One>>>,
    stop: CancellationToken,
    manager: Arc<Mutex<Option<JoinHandle<()>>>>,
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Deployments {
    /// Starts what the active bundle names, and every one after it. Call it within the runtime that serves.
    pub fn start(&self, api: &Api) {
        let managing = self.clone().manage(api.clone());
        *lock(&self.manager) = Some(tokio::spawn(managing));
    }

    async fn manage(self, api: Api) {
        let mut active = api.gateway.watch();
        loop {
            let wanted = active.borrow_and_update().bundle.deployments().clone();
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
    async fn bring_about(&self, api: &Api, wanted: BTreeMap<String, GitHub>) {
        let ended: Vec<One> = {
            let mut all = lock(&self.all);
            let goes = |name: &String, one: &mut One| wanted.get(name) != Some(&one.github);
            all.extract_if(.., goes).map(|(_, one)| one).collect()
        };
        for one in &ended {
            one.stop.cancel();
        }
        for task in ended.into_iter().filter_map(|one| one.task) {
            // Two of one name would answer everything twice.
            if let Err(error) = task.await {
                tracing::error!(%error, "deployments broke off");
            }
        }
        let mut all = lock(&self.all);
        for (name, github) in wanted {
            all.entry(name)
                .or_insert_with_key(|name| self.run(api, name, github));
        }
    }

    fn run(&self, api: &Api, name: &str, github: GitHub) -> One {
        let status = Arc::new(Status::new(name));
        let stop = self.stop.child_token();
        let (noted, notes) = mpsc::unbounded_channel();
        let config = &api.gateway.config;
        let speaking = Speaking::new(&github, config);
        let running = speaking.map(|speaking| {
            Arc::new(Running {
                name: name.into(),
                api: api.clone(),
                gateway: api.gateway.clone(),
                speaking,
                hook: FreshSecret::of(&github.webhook_secret, config),
                status: status.clone(),
                stop: stop.clone(),
                turns: Semaphore::new(AT_ONCE),
                noting: tokio::sync::Mutex::default(),
                asking: tokio::sync::Mutex::default(),
                pace: tokio::sync::Mutex::default(),
                noted,
                github: github.clone(),
            })
        });
        let running = match running {
            Ok(running) => Some(running),
            Err(error) => {
                status.wrong("", &format!("{error:#}"));
                None
            }
        };
        let task = running
            .clone()
            .map(|running| tokio::spawn(keep(running, notes)));
        One {
            github,
            running,
            status,
            stop,
            task,
        }
    }

    /// What anybody may know of what is wrong.
    #[must_use]
    pub fn notices(&self) -> Vec<String> {
        let all = lock(&self.all);
        match all
            .values()
            .filter(|one| one.status.fault().is_some())
            .count()
        {
            0 => Vec::new(),
            many => {
                let apps = counted(many, "GitHub app does", "GitHub apps do");
                vec![format!("{apps} not learn the answers to deployments.")]
            }
        }
    }

    /// Ends all of it.
    pub async fn stop(&self) {
        self.stop.cancel();
        let manager = lock(&self.manager).take();
        if let Some(manager) = manager
            && let Err(error) = manager.await
        {
            tracing::error!(%error, "deployments broke off");
        }
    }

    fn running(&self, name: &str) -> Option<Arc<Running>> {
        lock(&self.all).get(name)?.running.clone()
    }
}

/// Follows every job that is owed an answer, and every new one.
async fn keep(running: Arc<Running>, mut notes: mpsc::UnboundedReceiver<Row>) {
    let mut following = JoinSet::new();
    let mut known = BTreeSet::new();
    let mut owed = loop {
        match owed(&running).await {
            Ok(owed) => break owed,
            Err(error) => running.status.wrong("", &crate::explain(&error)),
        }
        tokio::select! {
            () = tokio::time::sleep(std::time::Duration::from_secs(5)) => {}
            () = running.stop.cancelled() => return,
        }
    };
    running.status.well("");
    loop {
        for row in owed.drain(..) {
            // A job can be noted while those that are owed are read.
            if known.insert(row.wanted.key()) {
                following.spawn(following::follow(running.clone(), row));
            }
        }
        tokio::select! {
            Some(row) = notes.recv() => owed.push(row),
            Some(done) = following.join_next() => match done {
                Ok(key) => {
                    known.remove(&key);
                }
                Err(error) => tracing::error!(%error, "following a deployment broke off"),
            },
            () = running.stop.cancelled() => break,
        }
    }
    while following.join_next().await.is_some() {}
}

async fn owed(running: &Running) -> Result<Vec<Row>, StoreError> {
    let owed = running.gateway.store.owed_deliveries(&running.name).await?;
    let read = owed.iter().filter_map(|delivery| match Row::read(delivery) {
        Ok(row) => Some(row),
        Err(error) => {
            tracing::error!(%error, key = delivery.key, "what a deployment is owed can't be read");
            None
        }
    });
    Ok(read.collect())
}

/// The address that GitHub posts to.
pub fn routes(api: Api) -> Router {
    Router::new()
        .route("/deployments/{name}", post(take))
        .with_state(api)
}

async fn take(
    State(api): State<Api>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> (StatusCode, &'static str) {
    let Some(running) = api.deployments.running(&name) else {
        return (StatusCode::NOT_FOUND, "there is nothing at this address\n");
    };
    match api.intake.read(&headers, SIGNATURE, body).await {
        Ok(taken) => running.post(&headers, &taken.bytes).await,
        Err(status) => (
            status,
            "this was not read: it is unsigned, too long or too slow, or there is no room\n",
        ),
    }
}

/// The value of a header that is there once.
fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut all = headers.get_all(name).iter();
    let only = all.next().filter(|_| all.next().is_none());
    only.and_then(|value| value.to_str().ok())
}

impl Running {
    /// Takes a delivery of GitHub's.
    async fn post(&self, headers: &HeaderMap, body: &[u8]) -> (StatusCode, &'static str) {
        if let Err((status, why)) = self.check_signed(headers, body).await {
            if record_refused(&self.api, "not_signed_by_github", None).await {
                tracing::warn!(
                    deployments = self.name,
                    why,
                    "a post was not signed by GitHub"
                );
            }
            return (status, "this is not signed with the App's webhook secret\n");
        }
        let id = header(headers, "x-github-delivery").unwrap_or_default();
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if !(1..=64).contains(&id.len()) || !id.chars().all(plain) {
            return (StatusCode::BAD_REQUEST, "this has no `X-GitHub-Delivery`\n");
        }
        let json = header(headers, "content-type");
        if !json.is_some_and(|kind| kind.starts_with("application/json")) {
            let why = "choose the content type `application/json` for the App's webhook\n";
            return (StatusCode::UNSUPPORTED_MEDIA_TYPE, why);
        }
        match header(headers, "x-github-event") {
            Some("deployment_protection_rule") => {}
            Some(_) => return (StatusCode::OK, "nothing to do\n"),
            None => return (StatusCode::BAD_REQUEST, "this has no `X-GitHub-Event`\n"),
        }
        let refused = match incoming::read(&self.github, body) {
            Ok(wanted) => return self.note(id, wanted).await,
            Err(refused) => refused,
        };
        match refused {
            Refused::Nothing => (StatusCode::OK, "nothing to do\n"),
            Refused::Unreadable(why) => {
                tracing::warn!(
                    deployments = self.name,
                    delivery = id,
                    why,
                    "GitHub was not understood"
                );
                (
                    StatusCode::BAD_REQUEST,
                    "this can't be read; the gateway's log says why\n",
                )
            }
            Refused::Foreign(code) => {
                record_refused(&self.api, code, None).await;
                tracing::warn!(
                    deployments = self.name,
                    delivery = id,
                    code,
                    "a delivery is of elsewhere"
                );
                (
                    StatusCode::FORBIDDEN,
                    "this is of nothing that the configuration names\n",
                )
            }
        }
    }

    /// Whether GitHub signed it with the App's secret.
    async fn check_signed(
        &self,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<(), (StatusCode, &'static str)> {
        let none = (StatusCode::UNAUTHORIZED, "it has no signature");
        let signature = header(headers, SIGNATURE).ok_or(none)?;
        let signature = signature.strip_prefix("sha256=").ok_or(none)?;
        let secret = self.hook.get(Secret::check_long).await;
        let secret = secret.map_err(|error| {
            let why = format!("the webhook secret can't be had: {error}");
            self.status.wrong("webhook", &why);
            (
                StatusCode::SERVICE_UNAVAILABLE,
                "the webhook secret can't be had",
            )
        })?;
        self.status.well("webhook");
        match secret.signed_by_github(body, signature) {
            true => Ok(()),
            false => Err((StatusCode::UNAUTHORIZED, "the signature is not GitHub's")),
        }
    }

    /// Stores what is wanted, once, before GitHub is told that it was taken.
    async fn note(&self, delivery: &str, wanted: Wanted) -> (StatusCode, &'static str) {
        let key = wanted.key();
        let row = Row {
            gate: self.name.clone(),
            at: self.gateway.clock.now(),
            wanted,
            seen: None,
            stage: Stage::Asking { told: false },
        };
        let _one_after_the_other = self.noting.lock().await;
        match self.is_new(&row).await {
            Ok(true) => {}
            Ok(false) => {
                tracing::info!(
                    deployments = self.name,
                    delivery,
                    key,
                    "it was delivered before"
                );
                return (StatusCode::OK, "this was taken before\n");
            }
            Err(error) => {
                let error = crate::explain(&error);
                tracing::error!(
                    deployments = self.name,
                    delivery,
                    key,
                    error,
                    "it was not taken"
                );
                return (StatusCode::SERVICE_UNAVAILABLE, "this can't be taken now\n");
            }
        }
        tracing::info!(deployments = self.name, delivery, key, "a deployment waits");
        let _stops = self.noted.send(row);
        (StatusCode::ACCEPTED, "taken\n")
    }

    async fn is_new(&self, row: &Row) -> Result<bool, StoreError> {
        let store = self.gateway.store.as_ref();
        if store
            .delivery(&self.name, &row.wanted.key())
            .await?
            .is_some()
        {
            return Ok(false);
        }
        if store.owed_deliveries(&self.name).await?.len() >= MAX_OWED {
            return Err(StoreError::Failed("too many deployments wait".into()));
        }
        row.save(store).await?;
        Ok(true)
    }
}
