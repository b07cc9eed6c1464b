//! Letting a job go on with a permit.
//!
//! In scope: claiming, telling GitHub `approved`, again until it has it or the approval lapses, and
//! recording how that ended.
//! Out of scope: everything else that GitHub is told ([`following`](super::following)).
//! Invariant: a permit is spent on the digest computed here, and what is told is rebuilt from the stored
//! request (P2). Nothing is told after the approval's time, or once a member of the chain is stopped, or where
//! the bundle or GitHub says otherwise now of what was asked: each time that it is tried. What GitHub may
//! have taken is never recorded as failed (P7).

use std::time::Duration;

use countersign_core::{
    digest::action_digest,
    id::RequestId,
    permit::Permit,
    request::{Case, Outcome, Request},
    time::Timestamp,
};
use serde_json::{Value, json};

use super::{
    Running,
    asking::Deploy,
    github::{Failure, Token},
    patience::{Backoff, Trouble},
    row::Stage,
    runs::gone,
    words,
};
use crate::{
    engine::{Ended, EngineError, Input},
    gates::exec::is_passing,
    runner::{stopped, until_stopped},
};

/// How long what policy permits at once can be told.
const AT_ONCE: Duration = Duration::from_secs(600);
/// How soon an outcome that could not be recorded is tried again.
const RECORD_AGAIN: Duration = Duration::from_secs(1);

/// What became of telling.
struct Told {
    outcome: Outcome,
    why: Option<String>,
}

/// What is told, and until when.
struct Telling {
    deploy: Deploy,
    until: Timestamp,
    token: Option<Token>,
    page: Option<String>,
}

impl Running {
    /// Claims an approved request and tells GitHub.
    ///
    /// # Errors
    /// [`Trouble`]; nothing was claimed, and it can be tried again while the approval lasts.
    pub(super) async fn claim(
        &self,
        case: &Case,
        until: Timestamp,
    ) -> Result<Option<Stage>, Trouble> {
        let request = &case.request;
        let deploy = self.deploy(request).map_err(Trouble::says)?;
        // First all that could fail for long: the approval is used up by claiming.
        let (token, run) = self.read(&deploy.job()).await?;
        if let Some(why) = gone(run.as_ref(), &deploy.seen()) {
            self.close(case, &why).await?;
            return Ok(Some(Stage::Over));
        }
        let by = request.chain.requester.id.clone();
        let claimed = self
            .gateway
            .engine
            .step(request.id.clone(), Input::Claim { by })
            .await;
        let stepped = match claimed {
            Ok(stepped) => stepped,
            // It ended, or somebody was faster; the case says what is next.
            Err(EngineError::Refused(_)) => return Ok(None),
            Err(error) => return Err(Trouble::says(crate::explain(&error))),
        };
        let Some(permit) = stepped.permit else {
            return Err(Trouble::says("a claim gave no permit".into()));
        };
        let request = stepped.case.request;
        let page = Some(self.gateway.request_url(&request.id));
        let telling = Telling {
            deploy,
            until,
            token: Some(token),
            page,
        };
        let id = Some(request.id.clone());
        Ok(Some(self.carry(&request, permit, telling, id).await))
    }

    /// Tells GitHub of what policy permits at once.
    pub(super) async fn at_once(&self, request: &Request, permit: Permit) -> Stage {
        let span = i64::try_from(AT_ONCE.as_millis()).unwrap_or(0);
        let deploy = match self.deploy(request) {
            Ok(deploy) => deploy,
            Err(why) => {
                let told = not_told(why);
                return self
                    .end(request, permit.id().clone(), None, (told, None))
                    .await;
            }
        };
        let telling = Telling {
            deploy,
            until: Timestamp(self.gateway.clock.now().0.saturating_add(span)),
            token: None,
            page: None,
        };
        self.carry(request, permit, telling, None).await
    }

    /// What a stored request is about, where it would still be asked like that.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn deploy(&self, request: &Request) -> Result<Deploy, String> {
        let action = &request.action;
        let deploy: Deploy = serde_json::from_value(action.arguments.clone())
            .map_err(|error| format!("the stored request can't be read: {error}."))?;
        // What counts now, also when this App is about to be ended for it.
        let active = self.gateway.active();
        let github = active.bundle.deployments().get(&self.name);
        let unlike = match github.filter(|_| deploy.deployments == self.name) {
            Some(github) => deploy.unlike(github, &action.target, &request.chain),
            None => Some(format!("`[deployments.{}]` is gone.", deploy.deployments)),
        };
        unlike.map_or(Ok(deploy), Err)
    }

    async fn carry(
        &self,
        request: &Request,
        permit: Permit,
        telling: Telling,
        held: Option<RequestId>,
    ) -> Stage {
        let id = permit.id().clone();
        let page = telling.page.clone();
        let digest = action_digest(&request.chain, &request.action, &request.id, &request.nonce);
        let now = self.gateway.clock.now();
        let told = match digest.map(|digest| permit.spend(digest, now)) {
            // A crash from here on is found at the next start: a permit without an outcome.
            Ok(Ok(_)) => self.tell(request, telling).await,
            Ok(Err(mismatch)) => not_told(mismatch.to_string()),
            Err(error) => not_told(error.to_string()),
        };
        self.end(request, id, held, (told, page)).await
    }

    /// Tells GitHub until it has it.
    async fn tell(&self, request: &Request, telling: Telling) -> Told {
        let Telling {
            deploy,
            until,
            mut token,
            page,
        } = telling;
        let comment = words::approved(page.as_deref());
        let (mut backoff, mut maybe) = (Backoff::default(), false);
        let mut last = None;
        loop {
            let hindrance = if let Some(stopped) = stopped(&request.chain, &self.gateway.active()) {
                Some(stopped.to_string())
            } else if let Err(unlike) = self.deploy(request) {
                Some(unlike)
            } else if self.gateway.clock.now() >= until {
                Some("its time is over".into())
            } else {
                self.stop.is_cancelled().then(|| "the gateway stops".into())
            };
            if let Some(why) = hindrance {
                let why = last.map_or(why.clone(), |last| format!("{why}; {last}"));
                return ended_by(why, maybe);
            }
            let answered = self.approve(&deploy, token.take(), &comment).await;
            let pause = match answered {
                Ok(None) => {
                    return Told {
                        outcome: Outcome::Succeeded,
                        why: None,
                    };
                }
                Ok(Some(why)) | Err(Failure::Refused { why, .. }) => return ended_by(why, maybe),
                Err(failure) => {
                    self.status.wrong(request.id.as_str(), failure.why());
                    last = Some(failure.why().to_owned());
                    let after = match failure {
                        Failure::Later {
                            after, maybe: took, ..
                        } => {
                            maybe |= took;
                            after
                        }
                        Failure::Hindered(_) | Failure::Refused { .. } => None,
                    };
                    backoff.next(after)
                }
            };
            let left = until.millis_since(self.gateway.clock.now());
            let left = Duration::from_millis(u64::try_from(left).unwrap_or(0));
            tokio::select! {
                () = tokio::time::sleep(pause.min(left)) => {}
                _ = until_stopped(&request.chain, self.gateway.watch()) => {}
                () = self.stop.cancelled() => {}
            }
        }
    }

    /// Says yes, where GitHub says of the run what it said when it was asked about; otherwise says nothing, and
    /// gives why.
    async fn approve(
        &self,
        deploy: &Deploy,
        token: Option<Token>,
        comment: &str,
    ) -> Result<Option<String>, Failure> {
        let job = deploy.job();
        let token = match token {
            Some(token) => token,
            None => self.github(&job).await.map_err(Trouble::into_failure)?,
        };
        // As late as possible: what GitHub takes is for the run and the environment, whatever attempt it is at.
        let run = self.speaking.run(&job, &token).await?;
        if let Some(why) = gone(run.as_ref(), &deploy.seen()) {
            return Ok(Some(why));
        }
        let answer = self
            .speaking
            .answer(&job, &token, Some("approved"), comment);
        answer.await.map(|()| None)
    }

    /// Records how it ended, and says what GitHub is owed then.
    async fn end(
        &self,
        request: &Request,
        permit: countersign_core::id::PermitId,
        held: Option<RequestId>,
        (told, page): (Told, Option<String>),
    ) -> Stage {
        let Told { outcome, why } = told;
        self.status.well(request.id.as_str());
        let result = match &why {
            None => json!({ "answered": "approved" }),
            Some(why) => json!({
                "error": why,
                "not_run": if outcome == Outcome::Failed { Value::Bool(true) } else { Value::Null },
            }),
        };
        let ended = Ended {
            permit,
            outcome,
            exit: None,
            result,
        };
        loop {
            let recorded = match &held {
                Some(id) => {
                    let ended = Input::Ended {
                        ended: ended.clone(),
                    };
                    self.gateway
                        .engine
                        .step(id.clone(), ended)
                        .await
                        .map(|_| ())
                }
                None => self.gateway.admission.ended(request, &ended).await,
            };
            match recorded {
                Err(error) if is_passing(&error) && !self.stop.is_cancelled() => {
                    tokio::time::sleep(RECORD_AGAIN).await;
                }
                Err(error) => {
                    // The next start finds a permit without an outcome.
                    let (request, error) = (&request.id, crate::explain(&error));
                    tracing::error!(%request, error, "an outcome was not recorded");
                    break;
                }
                Ok(()) => break,
            }
        }
        match outcome {
            Outcome::Succeeded => Stage::Over,
            outcome => Stage::Rejecting {
                comment: words::ended(outcome, page.as_deref()),
            },
        }
    }
}

fn not_told(why: String) -> Told {
    ended_by(why, false)
}

fn ended_by(why: String, maybe: bool) -> Told {
    let outcome = if maybe {
        Outcome::Unknown
    } else {
        Outcome::Failed
    };
    Told {
        outcome,
        why: Some(why),
    }
}
