//! Following one job from what GitHub asked to what it was answered.
//!
//! In scope: what is next at each stage, what is tried again, and when.
//! Out of scope: claiming and telling yes ([`carrying`](super::carrying)).
//! Invariant: each stage is stored before the next is begun, so a crash repeats at most words. Nothing is
//! decided here; whether it waits, and how it ended, the case says.

use std::{sync::Arc, time::Duration};

use countersign_core::{
    id::RequestId,
    request::{Case, Outcome, Phase},
    time::Timestamp,
};
use countersign_store::StoreError;

use super::{
    Running,
    asking::{self, Deploy, NotAsked},
    github::{Failure, Token},
    owed,
    row::{Row, Stage},
    words,
};
use crate::{api::auth::record_refused, engine::Admitted};

/// The first pause after something failed, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// How long GitHub waits for an answer, in milliseconds.
const GITHUB_WAITS: i64 = 30 * 86_400_000;

/// What keeps a job from being answered for now.
#[derive(Debug)]
pub(super) struct Trouble {
    why: String,
    after: Option<Duration>,
}

impl Trouble {
    pub(super) fn says(why: String) -> Self {
        Self { why, after: None }
    }

    /// The same, as what GitHub did not take.
    pub(super) fn into_failure(self) -> Failure {
        Failure::Later {
            why: self.why,
            after: self.after,
            maybe: false,
        }
    }
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Later { why, after, .. } => Self { why, after },
            Failure::Hindered(why) | Failure::Refused(why) => Self::says(why),
        }
    }
}

/// How long to wait after each failure.
#[derive(Debug, Default)]
pub(super) struct Backoff(Option<Duration>);

impl Backoff {
    /// The next pause; at least what the other side wants.
    pub(super) fn next(&mut self, wanted: Option<Duration>) -> Duration {
        let (first, most) = PAUSES;
        let pause = self.0.unwrap_or(first);
        self.0 = Some((pause * 2).min(most));
        wanted.map_or(pause, |wanted| wanted.max(first))
    }
}

/// Follows one job until nothing is owed any more, or the gateway stops.
pub(super) async fn follow(running: Arc<Running>, mut row: Row) -> String {
    let key = row.wanted.key();
    let mut backoff = Backoff::default();
    while row.stage != Stage::Over && !running.stop.is_cancelled() {
        match Box::pin(running.step(&row)).await {
            Ok(stage) if stage == row.stage => {}
            Ok(stage) => {
                backoff = Backoff::default();
                running.status.well(&key);
                row.stage = stage;
                running.save(&row).await;
            }
            Err(trouble) => {
                running.status.wrong(&key, &trouble.why);
                let pause = backoff.next(trouble.after);
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = running.stop.cancelled() => {}
                }
            }
        }
    }
    running.status.well(&key);
    key
}

impl Running {
    /// Stores how far it is, as soon as that is possible.
    async fn save(&self, row: &Row) {
        let mut backoff = Backoff::default();
        while let Err(error) = row.save(self.gateway.store.as_ref()).await {
            tracing::error!(%error, "how far a deployment is was not stored");
            if matches!(error, StoreError::Refused(_)) {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(backoff.next(None)) => {}
                () = self.stop.cancelled() => return,
            }
        }
    }

    async fn step(&self, row: &Row) -> Result<Stage, Trouble> {
        let now = self.gateway.clock.now();
        if now.millis_since(row.at) > GITHUB_WAITS && !matches!(row.stage, Stage::Waiting { .. }) {
            tracing::warn!(
                key = row.wanted.key(),
                "GitHub does not wait for this answer any more"
            );
            return Ok(Stage::Over);
        }
        match &row.stage {
            Stage::Asking => self.ask(row).await,
            Stage::Carrying { .. } => Ok(Stage::Rejecting {
                comment: words::ended(Outcome::Unknown, None),
            }),
            Stage::Waiting { request, told } => self.wait(row, request, *told).await,
            Stage::Rejecting { comment } => self.reject(row, comment).await,
            Stage::Over => Ok(Stage::Over),
        }
    }

    async fn ask(&self, row: &Row) -> Result<Stage, Trouble> {
        let active = self.gateway.active();
        let of = (self.name.as_str(), &self.github);
        let asked = match asking::asked(of, &active, &self.gateway.keys, &row.wanted) {
            Ok(asked) => asked,
            Err(NotAsked::Refused { code, why }) => {
                record_refused(&self.api, code, None).await;
                let comment = words::not_asked(&why);
                return Ok(Stage::Rejecting { comment });
            }
            Err(NotAsked::Engine(error)) => return Err(Trouble::says(crate::explain(&error))),
        };
        let chain = asked.chain.clone();
        let admitted = self.gateway.admission.ask(asked).await;
        match admitted.map_err(|error| Trouble::says(crate::explain(&error)))? {
            Admitted::Permitted {
                request, permit, ..
            } => {
                let carrying = Stage::Carrying {
                    request: request.id.clone(),
                };
                let row = Row {
                    stage: carrying,
                    ..row.clone()
                };
                // Otherwise it would be asked again after a crash that came when all was done.
                if let Err(error) = row.save(self.gateway.store.as_ref()).await {
                    tracing::error!(%error, "how far a deployment is was not stored");
                }
                Ok(self.at_once(&request, permit).await)
            }
            Admitted::Attached(case) if matches!(case.phase, Phase::Running { .. }) => {
                // What is told of the other job may come before GitHub has this one wait.
                Err(Trouble::says(format!(
                    "`{}` is being told",
                    case.request.id
                )))
            }
            Admitted::Held(case) => {
                let (request, told) = (case.request.id, false);
                Ok(Stage::Waiting { request, told })
            }
            Admitted::Attached(case) => {
                let request = case.request.id;
                let told = self.is_followed(&request).await?;
                Ok(Stage::Waiting { request, told })
            }
            Admitted::Denied {
                reason, policies, ..
            } => Ok(Stage::Rejecting {
                comment: words::denied(&active, &chain, &reason, &policies),
            }),
        }
    }

    /// Whether another job of the same run waits for this request already, which says so for both.
    async fn is_followed(&self, id: &RequestId) -> Result<bool, Trouble> {
        let owed = owed(self).await;
        let owed = owed.map_err(|error| Trouble::says(crate::explain(&error)))?;
        let waits =
            |row: &Row| matches!(&row.stage, Stage::Waiting { request, .. } if request == id);
        Ok(owed.iter().any(waits))
    }

    /// Waits for people, and does what they decided.
    async fn wait(&self, row: &Row, id: &RequestId, told: bool) -> Result<Stage, Trouble> {
        let same = Stage::Waiting {
            request: id.clone(),
            told,
        };
        let waiter = self.gateway.engine.updates().waiter(id);
        let changed = waiter.changed();
        let case = self.gateway.sealed_case(id).await;
        let case = case.map_err(|error| Trouble::says(crate::explain(&error)))?;
        let page = self.gateway.request_url(id);
        let Some(case) = case else {
            let why = "its request can't be read any more; run the job again.";
            return Ok(Stage::Rejecting {
                comment: words::not_asked(why),
            });
        };
        match &case.phase {
            Phase::Held { .. } if !told => self.say(row, &words::held(&page), same, changed).await,
            Phase::Held { .. } | Phase::Running { .. } => {
                tokio::select! {
                    () = changed => {}
                    () = self.stop.cancelled() => {}
                }
                Ok(same)
            }
            Phase::Approved { until } => self.approved(&case, *until, same, changed).await,
            Phase::Finished {
                outcome: Outcome::Succeeded,
                ..
            } => Ok(Stage::Over),
            Phase::Finished { outcome, .. } => Ok(Stage::Rejecting {
                comment: words::ended(*outcome, Some(&page)),
            }),
            Phase::Closed { closure, .. } => Ok(Stage::Rejecting {
                comment: words::closed(closure, &page),
            }),
        }
    }

    /// Says once at GitHub that people decide. Whatever keeps that from being said keeps nothing else.
    async fn say(
        &self,
        row: &Row,
        comment: &str,
        same: Stage,
        changed: impl Future<Output = ()>,
    ) -> Result<Stage, Trouble> {
        let deploy = Deploy::of(&self.name, &row.wanted);
        let said = async {
            let token = self.github(&deploy).await?;
            let said = self.speaking.answer(&deploy, &token, None, comment).await;
            said.map_err(Trouble::from)
        };
        match said.await {
            Ok(()) => Ok(match same {
                Stage::Waiting { request, .. } => Stage::Waiting {
                    request,
                    told: true,
                },
                other => other,
            }),
            Err(trouble) => {
                self.status.wrong(&row.wanted.key(), &trouble.why);
                let pause = trouble.after.unwrap_or(PAUSES.1 / 4);
                tokio::select! {
                    () = changed => {}
                    () = tokio::time::sleep(pause) => {}
                    () = self.stop.cancelled() => {}
                }
                Ok(same)
            }
        }
    }

    /// Claims, or waits a while after that failed, unless the case ends before.
    async fn approved(
        &self,
        case: &Case,
        until: Timestamp,
        same: Stage,
        changed: impl Future<Output = ()>,
    ) -> Result<Stage, Trouble> {
        let mut pause = PAUSES.0;
        match self.claim(case, until).await {
            Ok(Some(stage)) => return Ok(stage),
            // The case says what is next.
            Ok(None) => {}
            Err(trouble) => {
                self.status.wrong(case.request.id.as_str(), &trouble.why);
                pause = trouble.after.unwrap_or(pause * 2);
            }
        }
        tokio::select! {
            () = changed => {}
            () = tokio::time::sleep(pause) => {}
            () = self.stop.cancelled() => {}
        }
        self.status.well(case.request.id.as_str());
        Ok(same)
    }

    /// Tells GitHub no.
    async fn reject(&self, row: &Row, comment: &str) -> Result<Stage, Trouble> {
        let deploy = Deploy::of(&self.name, &row.wanted);
        if self.github.repository(&deploy.repository).is_none() {
            tracing::warn!(
                repository = deploy.repository,
                "it is not configured any more, and gets no answer"
            );
            return Ok(Stage::Over);
        }
        let token = self.github(&deploy).await?;
        match self
            .speaking
            .answer(&deploy, &token, Some("rejected"), comment)
            .await
        {
            Ok(()) => Ok(Stage::Over),
            Err(Failure::Refused(why)) => {
                // The job was cancelled, or answered by somebody else: nothing waits any more.
                tracing::warn!(key = row.wanted.key(), "{why}");
                Ok(Stage::Over)
            }
            Err(failure) => Err(failure.into()),
        }
    }

    /// A token, as one of a few at once.
    pub(super) async fn github(&self, deploy: &Deploy) -> Result<Token, Trouble> {
        let _turn = self.turns.acquire().await.ok();
        let now = self.gateway.clock.now();
        Ok(self.speaking.token(deploy, now).await?)
    }
}
