//! The gate for commands: `countersign run`.
//!
//! In scope: one call from request to exit status, as a stream of events.
//! Out of scope: HTTP (see `api`) and executing (see `runner`).
//! Invariant: a caller that goes away ends its wait, never the request and never a command that
//! runs. The outcome is recorded before the exit status is sent.

mod present;
mod questions;
mod targets;

use std::{collections::BTreeSet, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use countersign_core::{
    canonical::Hash,
    id::{PersonId, RequestId, TargetId},
    permit::Permit,
    request::{Amends, Case, Closure, Outcome, Phase, Request},
    subject::SubjectChain,
};
use countersign_policy::ExecTarget;
use countersign_runner::spawn::Output;
use tokio::sync::mpsc::{self, Sender};

use crate::{
    active::Active,
    api::{
        deciding,
        types::{RunEvent, RunRequest},
    },
    engine::{Admitted, Asked, Ended, EngineError, Input},
    gateway::Gateway,
    identity::Caller,
    log::LogError,
    runner::{self, Captured, PlanError, capture},
};

/// Pieces of output that wait for a slow caller.
const OUTPUT_QUEUE: usize = 64;
/// The longest a caller can wait, in milliseconds.
const MAX_WAIT: u64 = 24 * 3_600_000;
/// How soon an outcome that could not be recorded is tried again.
const RECORD_AGAIN: Duration = Duration::from_secs(1);
/// The gate's name in actions.
const GATE: &str = "exec";
/// The longest reason, in bytes.
const MAX_REASON: usize = countersign_core::request::MAX_TEXT_BYTES;

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
            Self::Plan(_) | Self::Invalid(_) => "invalid_call",
            Self::Engine(EngineError::Refused(refusal)) => refusal.code(),
            Self::Engine(EngineError::ForgedVote(_)) => "forged_vote",
            Self::Engine(EngineError::NoSuchRequest(_)) => "no_such_request",
            Self::Engine(EngineError::Clock(_)) => "clock",
            Self::Engine(EngineError::RefusedByLog(_)) => "unrecordable",
            Self::Engine(EngineError::TooManyHeld(..)) => "too_many_held",
            Self::CallerEnded => "unauthenticated",
            Self::Engine(_) => "unavailable",
        }
    }
}

/// Serves one call, sending events until it is over or the caller is gone.
pub async fn serve(gateway: Gateway, caller: Caller, call: RunRequest, events: Sender<RunEvent>) {
    let run = Run { gateway, events };
    if let Err(error) = run.serve(&caller, call).await {
        let request = None;
        let (code, message) = (error.code().into(), crate::explain(&error));
        run.send(RunEvent::Refused {
            request,
            code,
            message,
            amended: None,
        })
        .await;
    }
}

/// The longest word of a command or value of a variable, in bytes; the kernel takes no longer one.
const MAX_WORD: usize = 128 << 10;
/// The most bytes of all words and values together.
const MAX_WORDS: usize = 1 << 20;
/// The longest statement of origin, in bytes.
const MAX_ORIGIN: usize = 1_024;

/// Refuses what no command can be before any work is done on it.
fn check_size(call: &RunRequest) -> Result<(), ExecError> {
    let words = || {
        call.argv
            .iter()
            .chain(call.env.keys())
            .chain(call.env.values())
    };
    let total: usize = words().map(String::len).sum();
    if words().any(|word| word.len() > MAX_WORD) || total > MAX_WORDS {
        let what = format!("a word is longer than {MAX_WORD} bytes, or all than {MAX_WORDS}");
        return Err(ExecError::Invalid(what));
    }
    let origin = &call.origin;
    let stated = [&origin.model, &origin.session, &origin.task];
    if stated
        .into_iter()
        .flatten()
        .any(|text| text.len() > MAX_ORIGIN)
    {
        let what = format!("a field of `origin` is longer than {MAX_ORIGIN} bytes");
        return Err(ExecError::Invalid(what));
    }
    Ok(())
}

/// What a gate asks for when a call is captured.
///
/// # Errors
/// [`ExecError`] when the call can't be understood.
pub fn asked(
    active: &Active,
    chain: SubjectChain,
    captured: Captured,
    issuers: BTreeSet<PersonId>,
    reason: Option<String>,
    amends: Option<Amends>,
) -> Result<Asked, ExecError> {
    let target = active.snapshot.target(&captured.action.target);
    let owner = target.and_then(|target| target.owner.clone());
    let exec = target.and_then(|target| target.exec());
    let exec = exec.ok_or_else(|| PlanError::NoTarget(captured.action.target.clone()))?;
    let argv = argv(&captured)?;
    let classified = ExecTarget::classify(exec, &argv, captured.manifest.is_some());
    let presentation = present::presentation(exec, &captured, &argv, &classified);
    Ok(Asked {
        chain,
        action: captured.action,
        effects: classified.effects,
        captures: classified.arguments,
        reason,
        presentation,
        resource_owners: owner.into_iter().collect(),
        issuers,
        administrative: false,
        amends,
    })
}

fn argv(captured: &Captured) -> Result<Vec<String>, ExecError> {
    let argv = captured
        .action
        .arguments
        .get("argv")
        .cloned()
        .unwrap_or_default();
    serde_json::from_value(argv).map_err(|_| ExecError::Invalid("the command has no words".into()))
}

struct Run {
    gateway: Gateway,
    events: Sender<RunEvent>,
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
        if call
            .reason
            .as_ref()
            .is_some_and(|reason| reason.len() > MAX_REASON)
        {
            return Err(ExecError::Invalid(format!(
                "the reason is longer than {MAX_REASON} bytes"
            )));
        }
        check_size(&call)?;
        let asked = self.capture(caller, call).await?;
        match self.gateway.admission.ask(asked).await? {
            Admitted::Permitted { request, permit } => {
                self.execute(*request, permit, None).await;
                Ok(())
            }
            Admitted::Denied {
                request,
                reason,
                policies,
            } => {
                let message = self.denial(&reason, &policies);
                let code = "denied".into();
                let request = Some(request);
                self.send(RunEvent::Refused {
                    request,
                    code,
                    message,
                    amended: None,
                })
                .await;
                Ok(())
            }
            Admitted::Held(case) => self.wait_for(caller, case.request.id, wait, false).await,
            Admitted::Attached(case) => self.wait_for(caller, case.request.id, wait, true).await,
        }
    }

    async fn capture(&self, caller: &Caller, call: RunRequest) -> Result<Asked, ExecError> {
        let invalid = |what: &str| ExecError::Invalid(format!("`{what}` is not valid"));
        let target: TargetId = call.target.parse().map_err(|_| invalid("target"))?;
        let inputs = call.inputs.as_deref().map(str::parse::<Hash>).transpose();
        let inputs = inputs.map_err(|_| invalid("inputs"))?;
        let active = self.gateway.active();
        if !active.bundle.targets().contains_key(&target) {
            let now = self.gateway.clock.now();
            let why = targets::unknown(&active, caller, &target, &call.argv, now);
            return Err(ExecError::Invalid(why));
        }
        let bundle = active.bundle.clone();
        let machine = &self.gateway.machine;
        let captured = capture(machine, bundle, target, call.argv, call.env, inputs).await?;
        let mut chain = SubjectChain::of(caller.subject.clone());
        chain.origin = call.origin;
        asked(
            &active,
            chain,
            captured,
            caller.lineage(),
            call.reason,
            None,
        )
    }

    fn denial(
        &self,
        reason: &countersign_core::decision::DenyReason,
        policies: &std::collections::BTreeSet<countersign_core::id::PolicyId>,
    ) -> String {
        let active = self.gateway.active();
        let said: Vec<_> = policies
            .iter()
            .map(|id| {
                match active
                    .snapshot
                    .statement(id)
                    .and_then(|one| one.reason.clone())
                {
                    Some(why) => format!("{id}: {why}"),
                    None => id.to_string(),
                }
            })
            .collect();
        match said.is_empty() {
            true => reason.to_string(),
            false => format!("{reason} ({})", said.join("; ")),
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
        let mut told = false;
        let mut questions = BTreeSet::new();
        loop {
            let changed = waiter.changed();
            // Whoever was refused meanwhile neither learns more nor runs anything.
            if !self.gateway.identity.is_current(caller).await {
                return Err(ExecError::CallerEnded);
            }
            let case = self.gateway.case_of(caller, &id).await?;
            if case.request.action.gate != GATE {
                return Err(ExecError::Invalid(format!(
                    "`{id}` is no command; an approved change is applied with `countersign requests \
                     apply {id}`"
                )));
            }
            match &case.phase {
                Phase::Held { expires } => {
                    if !told && !self.send(self.held(&case, *expires, attached)).await {
                        return Ok(());
                    }
                    told = true;
                    for asked in questions::new(&case, &mut questions) {
                        if !self.send(asked).await {
                            return Ok(());
                        }
                    }
                }
                Phase::Approved { .. } => match self.claim(caller, &id).await {
                    Err(ExecError::Engine(EngineError::Refused(refusal)))
                        if refusal.code() == "not_open" =>
                    {
                        continue;
                    }
                    claimed => return claimed,
                },
                _ => {
                    self.send(ended_event(&case)).await;
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

    fn held(
        &self,
        case: &Case,
        expires: countersign_core::time::Timestamp,
        attached: bool,
    ) -> RunEvent {
        let active = self.gateway.active();
        let now = self.gateway.clock.now();
        let approvers = deciding::approvers(&active, case, now);
        RunEvent::Held {
            request: case.request.id.clone(),
            url: self.gateway.request_url(&case.request.id),
            rules: case
                .request
                .rules
                .iter()
                .map(|rule| rule.name.to_string())
                .collect(),
            approvers,
            expires,
            attached,
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
                    text: update.text,
                };
                self.send(event).await;
            }
        }
    }

    async fn claim(&self, caller: &Caller, id: &RequestId) -> Result<(), ExecError> {
        let input = Input::Claim {
            by: caller.subject.id.clone(),
        };
        let stepped = match self.gateway.engine.step(id.clone(), input).await {
            // Somebody else of the requester's was faster, which its own record says.
            Err(EngineError::Refused(refusal)) if refusal.code() != "not_open" => {
                self.gateway
                    .record_refused(caller, id, refusal.code())
                    .await;
                return Err(EngineError::Refused(refusal).into());
            }
            stepped => stepped?,
        };
        let Some(permit) = stepped.permit else {
            return Err(EngineError::Internal("a claim without a permit".into()).into());
        };
        let held = Some(id.clone());
        self.execute(stepped.case.request, permit, held).await;
        Ok(())
    }

    /// Runs the command to its end, whether or not the caller stays.
    async fn execute(&self, request: Request, permit: Permit, held: Option<RequestId>) {
        let (to, output) = mpsc::channel(OUTPUT_QUEUE);
        let started = RunEvent::Started {
            request: request.id.clone(),
            permit: permit.id().to_string(),
        };
        self.send(started).await;
        let gateway = self.gateway.clone();
        let running = tokio::spawn(async move {
            let active = || gateway.active();
            let (machine, clock) = (&gateway.machine, &gateway.clock);
            let (ended, error) =
                runner::execute(permit, &request, machine, clock, &active, to).await;
            let recorded = record(&gateway, &request, held.clone(), &ended).await;
            if recorded.as_ref().is_err_and(is_passing) {
                tokio::spawn(record_later(gateway, request, held, ended.clone()));
            }
            (ended, error, recorded)
        });
        self.stream(output).await;
        let last = match running.await {
            Ok((ended, error, recorded)) => last_event(&ended, error, recorded),
            Err(error) => RunEvent::Refused {
                request: None,
                code: "unavailable".into(),
                message: format!("the runner failed: {error}"),
                amended: None,
            },
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

/// Records the outcome, with the case or without.
async fn record(
    gateway: &Gateway,
    request: &Request,
    held: Option<RequestId>,
    ended: &Ended,
) -> Result<(), EngineError> {
    match held {
        Some(id) => gateway
            .engine
            .step(
                id,
                Input::Ended {
                    ended: ended.clone(),
                },
            )
            .await
            .map(|_| ()),
        None => gateway.admission.ended(request, ended).await,
    }
}

/// Whether recording may work later: the disk is full, or too much is under way.
fn is_passing(error: &EngineError) -> bool {
    match error {
        EngineError::Store(_) | EngineError::Busy => true,
        EngineError::Log(error) => !matches!(error, LogError::Stopped),
        _ => false,
    }
}

/// Records an outcome as soon as that is possible. A stop before makes it unknown at the next
/// start.
async fn record_later(gateway: Gateway, request: Request, held: Option<RequestId>, ended: Ended) {
    loop {
        tokio::time::sleep(RECORD_AGAIN).await;
        match record(&gateway, &request, held.clone(), &ended).await {
            Err(error) if is_passing(&error) => {}
            Err(error) => {
                let (request, error) = (&request.id, crate::explain(&error));
                tracing::error!(%request, error, "an outcome was not recorded");
                return;
            }
            Ok(()) => return,
        }
    }
}

fn last_event(
    ended: &Ended,
    error: Option<runner::RunError>,
    recorded: Result<(), EngineError>,
) -> RunEvent {
    if let Some(error) = error.filter(|_| ended.outcome == Outcome::Failed) {
        let (code, message) = ("not_run".into(), crate::explain(&error));
        return RunEvent::Refused {
            request: None,
            code,
            message,
            amended: None,
        };
    }
    let unrecorded = recorded.err().map(|error| {
        format!(
            "executed, but the outcome could not be recorded: {}",
            crate::explain(&error)
        )
    });
    RunEvent::Exited {
        status: ended.exit.unwrap_or(70),
        outcome: format!("{:?}", ended.outcome).to_lowercase(),
        warning: unrecorded,
    }
}

/// What a waiting caller is told of a request that is no longer open.
fn ended_event(case: &Case) -> RunEvent {
    let refused = |code: &str, message: String, amended| RunEvent::Refused {
        request: Some(case.request.id.clone()),
        code: code.into(),
        message,
        amended,
    };
    match &case.phase {
        Phase::Closed { closure, .. } => {
            let (message, amended) = match closure {
                Closure::Denied { by, reason } => {
                    let why = reason
                        .as_ref()
                        .map(|why| format!(": {why}"))
                        .unwrap_or_default();
                    (format!("{by} denied it{why}"), None)
                }
                Closure::Expired => ("nobody decided in time; ask again".into(), None),
                Closure::Unclaimed => (
                    "the approval lapsed before it was used; ask again".into(),
                    None,
                ),
                Closure::Cancelled { by } => (format!("{by} cancelled it"), None),
                Closure::Amended { by, into } => (
                    format!(
                        "{by} proposes another action instead; read it at its page and, if you \
                         accept it, run `countersign run --claim {into}`"
                    ),
                    Some(into.clone()),
                ),
                Closure::Unreachable { .. } => (
                    "nobody is left who could approve it; ask an administrator".into(),
                    None,
                ),
                Closure::PolicyChanged { detail } => (
                    format!("current policy no longer allows it: {detail}"),
                    None,
                ),
            };
            refused(case.phase.name(), message, amended)
        }
        _ => refused(
            "already_claimed",
            "another caller of yours claimed this approval; it runs once".into(),
            None,
        ),
    }
}
