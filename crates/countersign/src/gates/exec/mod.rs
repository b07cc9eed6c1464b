//! The gate for commands: `countersign run`.
//!
//! In scope: one call from request to exit status, as a stream of events; with `local`, one call
//! from request to the permit, after which the caller itself runs the command ([`local`]).
//! Out of scope: HTTP (see `api`) and executing (see `runner`).
//! Invariant: a caller that goes away ends its wait, never the request and never a command that
//! runs here. The outcome is recorded before the exit status is sent. A command that was asked for
//! one way never runs the other way: the gate is part of the action.

mod asking;
mod denial;
mod ending;
mod local;
mod present;
mod questions;
mod targets;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use countersign_core::{
    canonical::Hash,
    id::{RequestId, TargetId},
    permit::Permit,
    request::{Case, Phase, Request},
    subject::SubjectId,
};
use countersign_runner::spawn::Output;
use tokio::sync::mpsc::{self, Sender};

pub use asking::{Asking, Considered, consider};
pub(crate) use ending::is_passing;

use self::ending::{ended_event, last_event, record, record_later};
use super::advisory::{Outstanding, TooManyOutstanding, outstanding::Place};
use crate::{
    api::{
        types::{RunEvent, RunRequest},
        ways::Ways,
    },
    engine::{Admitted, Asked, EngineError},
    gateway::{Gateway, check_claimant},
    identity::Caller,
    names::Names,
    runner::{self, PlanError},
    secrets::{MaskError, SecretFileError, Secrets},
};

/// Pieces of output that wait for a slow caller.
const OUTPUT_QUEUE: usize = 64;
/// The longest a caller can wait, in milliseconds.
const MAX_WAIT: u64 = 24 * 3_600_000;
/// The gate's name in actions.
pub const GATE: &str = "exec";
/// Its name where the caller itself runs the command.
pub const LOCAL_GATE: &str = "exec-local";

/// Why a call did not become a request.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// The call itself.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The caller's credential came to an end while it waited.
    #[error("your credential was revoked or ended while the request waited; nothing was run")]
    CallerEnded,
    /// The caller was stopped while it waited.
    #[error("`{0}` was stopped or disabled while the request waited; nothing was run")]
    CallerStopped(SubjectId),
    /// A target whose commands only the gateway runs.
    #[error(
        "the target `{0}` does not let callers run its commands themselves; run it without \
         `--local`, or have an administrator set `advisory = true` for the target"
    )]
    NotAdvisory(TargetId),
    /// Nothing more is permitted to callers that execute themselves.
    #[error(transparent)]
    Outstanding(#[from] TooManyOutstanding),
    /// The secrets of a held request.
    #[error(transparent)]
    Secrets(#[from] SecretFileError),
    /// The secrets among the arguments.
    #[error(transparent)]
    Mask(#[from] MaskError),
    /// A field of the call.
    #[error("{0}")]
    Invalid(String),
}

impl ExecError {
    /// A short stable name.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Plan(PlanError::Changed(_)) => "changed",
            Self::Plan(_) | Self::Invalid(_) | Self::Mask(MaskError::NotMasked(_)) => {
                "invalid_call"
            }
            Self::Secrets(_) => "secrets_gone",
            Self::Engine(EngineError::Refused(refusal)) => refusal.code(),
            Self::Engine(EngineError::ForgedVote(_)) => "forged_vote",
            Self::Engine(EngineError::RevokedPasskey(_)) => "revoked_passkey",
            Self::Engine(EngineError::ForgedRequest(_)) => "forged_request",
            Self::Engine(EngineError::OriginalNotClosed(_)) => "original_not_closed",
            Self::Engine(EngineError::MayHaveRun(_)) => "may_have_run",
            Self::Engine(EngineError::NoSuchRequest(_)) => "no_such_request",
            Self::Engine(EngineError::Clock(_)) => "clock",
            Self::Engine(EngineError::RefusedByLog(_)) => "unrecordable",
            Self::Engine(EngineError::TooManyHeld(..)) => "too_many_held",
            Self::Engine(EngineError::TooManyHeldInAll(_)) => "too_many_held_in_all",
            Self::CallerEnded => "unauthenticated",
            Self::CallerStopped(_) => "disabled",
            Self::NotAdvisory(_) => "not_advisory",
            Self::Outstanding(_) => "too_many_outstanding",
            Self::Engine(_) | Self::Mask(MaskError::Random(_)) => "unavailable",
        }
    }
}

/// Serves one call, sending events until it is over or the caller is gone.
pub async fn serve(
    gateway: Gateway,
    outstanding: Arc<Outstanding>,
    caller: Caller,
    call: RunRequest,
    events: Sender<RunEvent>,
) {
    let gate = if call.local.is_some() {
        LOCAL_GATE
    } else {
        GATE
    };
    let run = Run {
        gateway,
        outstanding,
        events,
        gate,
        names: Names::to(&caller),
    };
    if let Err(error) = run.serve(&caller, call).await {
        let refused = RunEvent::refused(None, error.code(), crate::explain(&error), None);
        run.send(refused).await;
    }
}

struct Run {
    gateway: Gateway,
    outstanding: Arc<Outstanding>,
    events: Sender<RunEvent>,
    gate: &'static str,
    /// As the caller may hear them.
    names: Names,
}

impl Run {
    /// Sends an event; `false` when the caller is gone.
    async fn send(&self, event: RunEvent) -> bool {
        self.events.send(event).await.is_ok()
    }

    async fn serve(&self, caller: &Caller, call: RunRequest) -> Result<(), ExecError> {
        let wait = Duration::from_millis(call.wait_ms.min(MAX_WAIT));
        if let Some(id) = &call.claim {
            return self.wait_for(caller, id.clone(), wait, true).await;
        }
        asking::check_size(&call)?;
        let command = asking::command(&call)?;
        // Until the request itself keeps them.
        let pin = command
            .inputs
            .map(|inputs| self.gateway.uploads.pin(inputs));
        let inputs = command.inputs;
        let place = self.place(&caller.subject.id)?;
        let admitted = match self.capture(caller, call).await? {
            Considered::Denied(denied) => denied,
            Considered::Exact(asked) => self.gateway.admission.ask(*asked).await?,
        };
        self.keep_inputs(caller, inputs, &admitted);
        drop(pin);
        match admitted {
            Admitted::Permitted {
                request,
                permit,
                secrets,
            } => {
                let id = request.id.clone();
                let done = self.go((*request, secrets), permit, None, place).await;
                self.gateway.uploads.release(&id);
                done
            }
            Admitted::Denied {
                request,
                reason,
                policies,
            } => {
                self.gateway.uploads.release(&request);
                let active = self.gateway.active();
                let why = denial::words(&active, caller, &reason, &policies);
                let denied = RunEvent::refused(Some(request), "denied", why, None);
                self.send(denied).await;
                Ok(())
            }
            Admitted::Held(case) => self.wait_for(caller, case.request.id, wait, false).await,
            Admitted::Attached(case) => self.wait_for(caller, case.request.id, wait, true).await,
        }
    }

    /// A place for the outcome that a caller which executes itself will owe.
    fn place(&self, requester: &SubjectId) -> Result<Option<Place>, TooManyOutstanding> {
        let local = self.gate == LOCAL_GATE;
        local
            .then(|| self.outstanding.reserve(requester))
            .transpose()
    }

    /// Makes the new request the one that the inputs are kept for.
    fn keep_inputs(&self, caller: &Caller, inputs: Option<Hash>, admitted: &Admitted) {
        let id = match admitted {
            Admitted::Permitted { request, .. } => &request.id,
            Admitted::Held(case) => &case.request.id,
            Admitted::Denied { request, .. } => request,
            // It is kept for that one already.
            Admitted::Attached(_) => return,
        };
        if let Some(inputs) = inputs {
            self.gateway.uploads.refer(inputs, id, &caller.subject.id);
        }
    }

    async fn capture(&self, caller: &Caller, call: RunRequest) -> Result<Considered, ExecError> {
        let target = asking::target(&call)?;
        let active = self.gateway.active();
        if !active.bundle.targets().contains_key(&target) {
            let now = self.gateway.clock.now();
            let why = targets::unknown(&active, caller, &target, (self.gate, &call.argv), now);
            return Err(ExecError::Invalid(why));
        }
        let mut chain = caller.chain();
        chain.origin = call.origin.clone();
        let asking = Asking {
            chain,
            issuers: caller.lineage(),
            reason: call.reason.clone(),
            amends: None,
            trace: call.trace,
        };
        match call.local.clone() {
            Some(local) => {
                let asked: Asked = local::asked(&self.gateway.active(), &call, local, asking)?;
                Ok(Considered::Exact(Box::new(asked)))
            }
            None => consider(&self.gateway, asking::command(&call)?, asking).await,
        }
    }

    /// Waits until the request is approved, then claims and runs it.
    async fn wait_for(
        &self,
        caller: &Caller,
        id: RequestId,
        wait: Duration,
        attached: bool,
    ) -> Result<(), ExecError> {
        let deadline = tokio::time::Instant::now() + wait;
        let mut updates = self.gateway.engine.updates().subscribe();
        let waiter = self.gateway.engine.updates().waiter(&id);
        let (mut told, mut lent) = (false, false);
        let mut questions = BTreeSet::new();
        loop {
            let changed = waiter.changed();
            // Whoever was refused meanwhile neither learns more nor runs anything.
            if !self.gateway.identity.is_current(caller).await {
                let who = &caller.subject.id;
                let goes_on = self.gateway.active().directory.resolve(who).is_some();
                return Err(match goes_on {
                    true => ExecError::CallerEnded,
                    false => ExecError::CallerStopped(who.clone()),
                });
            }
            let case = self.gateway.case_of(caller, &id).await?;
            self.check_gate(&case)?;
            match &case.phase {
                Phase::Held { expires } => {
                    if !told && !self.tell_held(&case, *expires, attached).await {
                        return Ok(());
                    }
                    told = true;
                    for asked in questions::new(&case, &mut questions, self.names) {
                        if !self.send(asked).await {
                            return Ok(());
                        }
                    }
                }
                Phase::Approved { .. } => {
                    if !std::mem::replace(&mut lent, true) {
                        self.tell_granted(&case).await;
                    }
                    match self.claim(caller, &case.request).await {
                        Err(ExecError::Engine(EngineError::Refused(refusal)))
                            if refusal.code() == "not_open" =>
                        {
                            continue;
                        }
                        claimed => return claimed,
                    }
                }
                _ => {
                    let page = self.gateway.request_url(&id);
                    self.send(ended_event(&case, page, self.names)).await;
                    return Ok(());
                }
            }
            tokio::select! {
                () = changed => self.progress(&id, &mut updates).await,
                () = tokio::time::sleep_until(deadline) => {
                    let url = self.gateway.request_url(&id);
                    self.send(RunEvent::StillHeld { request: id, url }).await;
                    return Ok(());
                }
                () = self.events.closed() => return Ok(()),
            }
        }
    }

    /// Whether a case is one of this gate's.
    fn check_gate(&self, case: &Case) -> Result<(), ExecError> {
        let id = &case.request.id;
        let why = match case.request.action.gate.as_str() {
            gate if gate == self.gate => return Ok(()),
            LOCAL_GATE => "was asked with `--local`; run the same command with it again",
            GATE => "was asked without `--local`; run it without",
            _ if case.request.administrative => {
                return Err(ExecError::Invalid(format!(
                    "`{id}` is no command; an approved change is applied with `countersign requests \
                     apply {id}`"
                )));
            }
            _ => "is no command; claim it where it was asked",
        };
        Err(ExecError::Invalid(format!("`{id}` {why}")))
    }

    /// Whether the caller still listens.
    async fn tell_held(
        &self,
        case: &Case,
        expires: countersign_core::time::Timestamp,
        attached: bool,
    ) -> bool {
        let ways = Ways::of(&self.gateway, case).await.unwrap_or_default();
        let event = RunEvent::Held {
            request: case.request.id.clone(),
            url: self.gateway.request_url(&case.request.id),
            rules: case
                .request
                .rules
                .iter()
                .map(|rule| rule.name.to_string())
                .collect(),
            approvers: ways.approvers(case, self.names),
            expires,
            attached,
            advisory: self.gate == LOCAL_GATE,
        };
        self.send(event).await
    }

    /// Says that nobody is asked, and why.
    async fn tell_granted(&self, case: &Case) {
        if let Some(granted) = &case.granted {
            let (request, grant) = (case.request.id.clone(), &granted.request);
            let text = format!("{request} runs under the grant that was given with {grant}");
            self.send(RunEvent::Progress { request, text }).await;
        }
    }

    /// Passes on what happened to the request.
    async fn progress(
        &self,
        id: &RequestId,
        updates: &mut tokio::sync::broadcast::Receiver<crate::engine::Update>,
    ) {
        while let Ok(update) = updates.try_recv() {
            if update.request == *id {
                let event = RunEvent::Progress {
                    request: id.clone(),
                    text: self.names.update(&update).into(),
                };
                self.send(event).await;
            }
        }
    }

    async fn claim(&self, caller: &Caller, request: &Request) -> Result<(), ExecError> {
        let id = &request.id;
        if let Err(error) = check_claimant(caller, &request.chain) {
            self.gateway
                .record_refused(caller, id, "not_requester")
                .await;
            return Err(error.into());
        }
        // Before, so that nothing is claimed that can't run.
        let secrets = self.gateway.secrets.of(request).await?;
        let place = self.place(&caller.subject.id)?;
        let (by, behind) = (caller.subject.id.clone(), caller.lineage());
        let stepped = match self.gateway.engine.claim(id, by, behind).await {
            Err(error) => {
                // Somebody else of the requester's was faster, which its own record says.
                if let Some(code) = error.refusal().filter(|code| *code != "not_open") {
                    self.gateway.record_refused(caller, id, code).await;
                }
                return Err(error.into());
            }
            Ok(stepped) => stepped,
        };
        let Some(permit) = stepped.permit else {
            return Err(EngineError::Internal("a claim without a permit".into()).into());
        };
        let held = Some(id.clone());
        let action = (stepped.case.request, secrets);
        self.go(action, permit, held, place).await
    }

    /// Uses a permit the way that the caller asked for.
    async fn go(
        &self,
        action: (Request, Secrets),
        permit: Permit,
        held: Option<RequestId>,
        place: Option<Place>,
    ) -> Result<(), ExecError> {
        match place {
            Some(place) => self.hand_over(action, permit, held.is_some(), place).await,
            None => {
                self.execute(action, permit, held).await;
                Ok(())
            }
        }
    }

    /// Runs the command to its end, whether or not the caller stays.
    async fn execute(
        &self,
        (request, secrets): (Request, Secrets),
        permit: Permit,
        held: Option<RequestId>,
    ) {
        let (to, output) = mpsc::channel(OUTPUT_QUEUE);
        let started = RunEvent::Started {
            request: request.id.clone(),
            permit: permit.id().to_string(),
        };
        self.send(started).await;
        let gateway = self.gateway.clone();
        let running = tokio::spawn(async move {
            let (machine, clock) = (&gateway.machine, &gateway.clock);
            let active = gateway.watch();
            let action = (&request, &secrets);
            let executed = runner::execute(permit, action, machine, clock, active, to).await;
            let recorded = record(&gateway, &request, held.clone(), &executed.ended).await;
            if recorded.as_ref().is_err_and(is_passing) {
                let ended = executed.ended.clone();
                tokio::spawn(record_later(gateway, request, held, ended));
            }
            (executed, recorded)
        });
        self.stream(output).await;
        let last = match running.await {
            Ok((executed, recorded)) => last_event(executed, recorded, self.names),
            Err(error) => {
                let why = format!("the runner failed: {error}");
                RunEvent::refused(None, "unavailable", why, None)
            }
        };
        self.send(last).await;
    }

    async fn stream(&self, mut output: mpsc::Receiver<Output>) {
        while let Some(piece) = output.recv().await {
            let event = match piece {
                Output::Stdout(bytes) => RunEvent::Stdout {
                    data: STANDARD.encode(bytes),
                },
                Output::Stderr(bytes) => RunEvent::Stderr {
                    data: STANDARD.encode(bytes),
                },
            };
            if !self.send(event).await {
                // The caller is gone; dropping the receiver lets the command go on undisturbed.
                return;
            }
        }
    }
}
