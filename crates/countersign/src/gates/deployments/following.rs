//! Following one job from what GitHub asked to what it was answered.
//!
//! In scope: what is next at each stage, what is tried again, and when.
//! Out of scope: claiming and telling yes ([`carrying`](super::carrying)); ending requests
//! ([`closing`](super::closing)).
//! Invariant: each stage is stored before the next is begun, so a crash repeats at most words. Nothing is
//! decided here; whether it waits, and how it ended, the case says. GitHub is told nothing of an attempt
//! that is not the one it was asked about.

use std::{sync::Arc, time::Duration};

use countersign_core::{
    id::RequestId,
    request::{Case, Outcome, Phase},
    time::Timestamp,
};
use countersign_store::StoreError;
use tokio::{sync::MutexGuard, time::Instant};

use super::{
    Running,
    asking::{self, NotAsked},
    github::{Failure, Token},
    patience::{Backoff, PAUSES, Patience, Trouble},
    row::{Row, Stage},
    runs::{Job, Run, gone},
    words,
};
use crate::{
    api::auth::record_refused,
    engine::{Admitted, Asked, EngineError},
};

/// How far apart looks at everything that can wait are at least.
const APART: Duration = Duration::from_secs(1);
/// How long GitHub may say of a new job what was before, in milliseconds.
const SETTLES: i64 = 60_000;
/// How long GitHub waits for an answer, in milliseconds.
const GITHUB_WAITS: i64 = 30 * 86_400_000;

/// Follows one job until nothing is owed any more, or the gateway stops.
pub(super) async fn follow(running: Arc<Running>, mut row: Row) -> String {
    let key = row.wanted.key();
    let (mut backoff, mut patience) = (Backoff::default(), Patience::new());
    while row.stage != Stage::Over && !running.stop.is_cancelled() {
        match Box::pin(running.step(&mut row, &mut patience)).await {
            Ok(stage) if stage == row.stage => {}
            Ok(stage) => {
                backoff = Backoff::default();
                running.status.well(&key);
                row.stage = stage;
                running.save(&row).await;
            }
            Err(trouble) => {
                if trouble.fault {
                    running.status.wrong(&key, &trouble.why);
                }
                let pause = backoff.next(trouble.after);
                let rest = async {
                    tokio::time::sleep(pause).await;
                    running.paced().await;
                };
                tokio::select! {
                    () = rest => {}
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

    /// Waits for a turn of what can wait.
    async fn paced(&self) {
        let _mine = self.pace.lock().await;
        tokio::time::sleep(APART).await;
    }

    async fn step(&self, row: &mut Row, patience: &mut Patience) -> Result<Stage, Trouble> {
        let now = self.gateway.clock.now();
        if now.millis_since(row.at) > GITHUB_WAITS && !matches!(row.stage, Stage::Waiting { .. }) {
            tracing::warn!(
                key = row.wanted.key(),
                "GitHub does not wait for this answer any more"
            );
            return Ok(Stage::Over);
        }
        match row.stage.clone() {
            Stage::Asking { told } => Box::pin(self.ask(row, told, patience)).await,
            Stage::Carrying { .. } => Ok(Stage::Rejecting {
                comment: words::ended(Outcome::Unknown, None),
            }),
            Stage::Waiting { request, told } => self.wait(row, &request, told, patience).await,
            Stage::Rejecting { comment } => self.reject(row, &comment).await,
            Stage::Over => Ok(Stage::Over),
        }
    }

    async fn ask(
        &self,
        row: &mut Row,
        told: bool,
        patience: &mut Patience,
    ) -> Result<Stage, Trouble> {
        let (_, run) = self.read(&row.wanted.job()).await?;
        let Some(run) = run.filter(|run| !run.completed) else {
            let since = self.gateway.clock.now().millis_since(row.at);
            if since < SETTLES {
                // GitHub may still be saying so of the attempt before.
                return Err(Trouble::passing("its run has ended, or not begun".into()));
            }
            tracing::info!(
                key = row.wanted.key(),
                "its run ended before it was asked about"
            );
            return Ok(Stage::Over);
        };
        let reference = match run.reference(&row.wanted) {
            Ok(reference) => reference,
            Err(code) => {
                record_refused(&self.api, code, None).await;
                let key = row.wanted.key();
                tracing::warn!(
                    key,
                    code,
                    "a delivery says of a run what GitHub does not; nobody is asked"
                );
                return Ok(Stage::Over);
            }
        };
        row.seen = Some(run.seen());
        let (of, active) = ((self.name.as_str(), &self.github), self.gateway.active());
        let about = (&row.wanted, &run, reference);
        let asking = self.asking.lock().await;
        let others = self.others(row).await?;
        // No delivery takes away whom another named.
        let same = others
            .iter()
            .filter(|one| one.row.seen == row.seen && one.waits());
        let also: Vec<_> = same.map(|one| &one.row.wanted).collect();
        match asking::asked(of, &active, &self.gateway.keys, about, &also) {
            Ok((asked, deploy)) => {
                self.supersede(&others, &deploy).await?;
                self.admit(row, (asked, asking), told, patience).await
            }
            Err(NotAsked::Refused { code, why }) => {
                record_refused(&self.api, code, None).await;
                let comment = words::not_asked(&why);
                Ok(Stage::Rejecting { comment })
            }
            Err(NotAsked::Engine(error)) => Err(Trouble::says(crate::explain(&error))),
        }
    }

    /// Has policy decide, and people where it holds.
    async fn admit(
        &self,
        row: &Row,
        (asked, asking): (Asked, MutexGuard<'_, ()>),
        told: bool,
        patience: &mut Patience,
    ) -> Result<Stage, Trouble> {
        let chain = asked.chain.clone();
        let admitted = match self.gateway.admission.ask(asked).await {
            Ok(admitted) => admitted,
            Err(error @ (EngineError::TooManyHeld(..) | EngineError::TooManyHeldInAll(..))) => {
                drop(asking);
                return self.wait_for_room(row, &error, told, patience).await;
            }
            Err(error) => return Err(Trouble::says(crate::explain(&error))),
        };
        match admitted {
            Admitted::Permitted {
                request, permit, ..
            } => {
                let carrying = Stage::Carrying {
                    request: request.id.clone(),
                };
                // Otherwise it would be asked again after a crash that came when all was done.
                self.note_stage(row, &carrying).await;
                drop(asking);
                Ok(self.at_once(&request, permit).await)
            }
            Admitted::Attached(case) if matches!(case.phase, Phase::Running { .. }) => {
                // What is told of the other job may come before GitHub has this one wait.
                let why = format!("`{}` is being told", case.request.id);
                Err(Trouble::passing(why))
            }
            Admitted::Held(case) => {
                let (request, told) = (case.request.id, false);
                let waiting = Stage::Waiting { request, told };
                self.note_stage(row, &waiting).await;
                Ok(waiting)
            }
            Admitted::Attached(case) => {
                let request = case.request.id;
                let told = self.is_followed(row, &request).await?;
                let waiting = Stage::Waiting { request, told };
                self.note_stage(row, &waiting).await;
                Ok(waiting)
            }
            Admitted::Denied {
                reason, policies, ..
            } => {
                let active = self.gateway.active();
                let comment = words::denied(&active, &chain, &reason, &policies);
                Ok(Stage::Rejecting { comment })
            }
        }
    }

    /// Stores how far it is before anything else is asked of the same run.
    async fn note_stage(&self, row: &Row, stage: &Stage) {
        let (row, stage) = (row.clone(), stage.clone());
        let row = Row { stage, ..row };
        if let Err(error) = row.save(self.gateway.store.as_ref()).await {
            tracing::error!(%error, "how far a deployment is was not stored");
        }
    }

    /// Waits until more can be held, and says so once at GitHub.
    async fn wait_for_room(
        &self,
        row: &Row,
        error: &EngineError,
        told: bool,
        patience: &mut Patience,
    ) -> Result<Stage, Trouble> {
        let why = crate::explain(error);
        self.status.wrong(&row.wanted.key(), &why);
        if !told && self.say(row, &words::no_room(&why)).await.is_ok() {
            return Ok(Stage::Asking { told: true });
        }
        patience.look.later(None);
        let rest = async {
            tokio::time::sleep_until(patience.look.at).await;
            self.paced().await;
        };
        tokio::select! {
            () = rest => {}
            () = self.stop.cancelled() => {}
        }
        Ok(Stage::Asking { told })
    }

    /// Waits for people, and does what they decided.
    async fn wait(
        &self,
        row: &Row,
        id: &RequestId,
        told: bool,
        patience: &mut Patience,
    ) -> Result<Stage, Trouble> {
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
        if case.phase.is_open()
            && let Err(why) = self.deploy(&case.request)
        {
            self.close(&case, &why).await?;
            return Ok(Stage::Rejecting {
                comment: words::not_asked(&why),
            });
        }
        match &case.phase {
            Phase::Held { .. } => self.held(row, &case, same, patience, changed).await,
            Phase::Running { .. } => {
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

    /// While people decide: says so at GitHub, and looks now and then whether the run still waits.
    async fn held(
        &self,
        row: &Row,
        case: &Case,
        same: Stage,
        patience: &mut Patience,
        changed: impl Future<Output = ()>,
    ) -> Result<Stage, Trouble> {
        let key = row.wanted.key();
        let request = case.request.id.clone();
        let told = matches!(same, Stage::Waiting { told: true, .. });
        if told || patience.say.is_some() {
            let rest = async {
                tokio::time::sleep_until(patience.next(told)).await;
                self.paced().await;
            };
            tokio::select! {
                () = changed => return Ok(same),
                () = self.stop.cancelled() => return Ok(same),
                () = rest => {}
            }
        }
        if patience.look.at <= Instant::now() {
            let wanted = match self.read(&row.wanted.job()).await {
                Ok((_, run)) => {
                    let seen = row.seen.as_ref();
                    if let Some(why) = seen.and_then(|seen| gone(run.as_ref(), seen)) {
                        self.close(case, &why).await?;
                        return Ok(Stage::Over);
                    }
                    self.status.well(&key);
                    None
                }
                Err(trouble) => {
                    self.status.wrong(&key, &trouble.why);
                    trouble.after
                }
            };
            patience.look.later(wanted);
        } else if !told {
            let page = self.gateway.request_url(&request);
            match self.say(row, &words::held(&page)).await {
                Ok(()) => {
                    let told = true;
                    return Ok(Stage::Waiting { request, told });
                }
                Err(trouble) => {
                    self.status.wrong(&key, &trouble.why);
                    patience.say_later(trouble.after);
                }
            }
        }
        Ok(same)
    }

    /// Says something at GitHub that decides nothing. What GitHub does not want to hear counts as said.
    async fn say(&self, row: &Row, comment: &str) -> Result<(), Trouble> {
        let job = row.wanted.job();
        let token = self.github(&job).await?;
        match self.speaking.answer(&job, &token, None, comment).await {
            Ok(()) => Ok(()),
            Err(Failure::Refused { why, .. } | Failure::Hindered(why)) => {
                tracing::info!(key = row.wanted.key(), why, "a comment was not taken");
                Ok(())
            }
            Err(later) => Err(later.into()),
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

    /// Tells GitHub no, where that is certain to be for what it was asked about.
    async fn reject(&self, row: &Row, comment: &str) -> Result<Stage, Trouble> {
        let (job, key) = (row.wanted.job(), row.wanted.key());
        if self.github.repository(&job.repository).is_none() {
            tracing::warn!(
                repository = job.repository,
                "it is not configured any more, and gets no answer"
            );
            return Ok(Stage::Over);
        }
        let (token, run) = self.read(&job).await?;
        let why = match &row.seen {
            Some(seen) => gone(run.as_ref(), seen),
            None => Some("it is not known which attempt it was asked for".into()),
        };
        if let Some(why) = why {
            tracing::info!(key, why, "GitHub is told nothing");
            return Ok(Stage::Over);
        }
        if self.is_superseded(row).await? {
            let why = "another job of the same run and environment is asked about";
            tracing::info!(key, why, "GitHub is told nothing");
            return Ok(Stage::Over);
        }
        let answer = self
            .speaking
            .answer(&job, &token, Some("rejected"), comment);
        match answer.await {
            Ok(()) => Ok(Stage::Over),
            Err(Failure::Refused { why, .. }) => {
                // The job was cancelled, or answered by somebody else: nothing waits any more.
                tracing::warn!(key, "{why}");
                Ok(Stage::Over)
            }
            Err(failure) => Err(failure.into()),
        }
    }

    /// What GitHub says of a run, and a token for the answer.
    ///
    /// # Errors
    /// [`Trouble`]; it does not say.
    pub(super) async fn read(&self, job: &Job) -> Result<(Token, Option<Run>), Trouble> {
        let token = self.github(job).await?;
        let run = self.speaking.run(job, &token).await?;
        Ok((token, run))
    }

    /// A token, as one of a few at once.
    pub(super) async fn github(&self, job: &Job) -> Result<Token, Trouble> {
        let _turn = self.turns.acquire().await.ok();
        let now = self.gateway.clock.now();
        Ok(self.speaking.token(job, now).await?)
    }
}
