//! Commands that the caller itself runs: `countersign run --local`.
//!
//! In scope: what such a call says of the caller's machine, as an action; handing the permit over
//! and waiting for the outcome while the caller's connection lives.
//! Out of scope: running; the command line does, on its own machine.
//! Invariant: only a target with `advisory = true` is used like this. Everything about the
//! caller's machine is what the caller states, and is shown as that (P1, P8). Nothing of the
//! target's configuration reaches the caller, its credentials least of all. A caller that is gone
//! without a report leaves the outcome *unknown* (P7).

use std::{collections::BTreeSet, time::Duration};

use countersign_core::{
    action::Action,
    permit::Permit,
    request::{Outcome, Presentation, Request},
    time::Span,
};
use countersign_policy::{ExecTarget, target::exec::Classified};
use countersign_runner::{
    quote::{hints, quote_argv, reveal},
    resolve::{Executable, Resolved},
    spawn::caller_env_allowed,
};
use serde_json::{Value, json};

use super::{Asking, ExecError, LOCAL_GATE, Run, asking, present};
use crate::{
    active::Active,
    api::types::{LocalCommand, RunEvent, RunRequest},
    engine::Asked,
    gates::advisory::{
        ADVISORY, hand_out,
        outstanding::{Awaited, Place},
    },
    runner::{PlanError, check_taken_for, stopped, until_stopped},
    secrets::{self, Keep, Secrets},
};

/// The longest that a caller may take, as long as its connection lives.
const WITHIN: Span = Span::from_millis(24 * 3_600_000);
/// How long a caller whose connection ended has to report all the same.
const GRACE: Duration = Duration::from_secs(20);
/// The longest path, in bytes.
const MAX_PATH: usize = 4_096;
/// The most interpreters of a script.
const MAX_INTERPRETERS: usize = 8;

/// The arguments of an action of this gate, all of them stated by the caller.
#[derive(serde::Serialize)]
struct Arguments<'a> {
    argv: &'a [String],
    env: &'a std::collections::BTreeMap<String, String>,
    directory: &'a str,
    executable: &'a countersign_runner::resolve::Resolved,
}

/// Makes the action of a call.
///
/// # Errors
/// The target is no advisory one, or the call can't be understood.
pub(super) fn asked(
    active: &Active,
    call: &RunRequest,
    local: LocalCommand,
    asking: Asking,
) -> Result<Asked, ExecError> {
    let id = asking::target(call)?;
    let none = || PlanError::NoTarget(id.clone());
    let target = active.snapshot.target(&id).ok_or_else(none)?;
    let exec = target.exec().ok_or_else(none)?;
    if !target.advisory {
        return Err(ExecError::NotAdvisory(id));
    }
    check(call, &local, exec)?;
    let arguments = Arguments {
        argv: &call.argv,
        env: &call.env,
        directory: &local.directory,
        executable: &local.executable,
    };
    let mut arguments =
        serde_json::to_value(&arguments).map_err(|error| PlanError::Stored(error.to_string()))?;
    let masker = active.bundle.masker();
    let classified = exec.classify(&call.argv, false, masker);
    let taken = secrets::take_out(masker, &mut arguments, Keep::UntilItEnds)?;
    let action = Action {
        gate: LOCAL_GATE.into(),
        target: id,
        operation: "run".into(),
        arguments,
        session: Value::Null,
        masked: taken.masks,
    };
    let asking = asking.masked(masker, &action, &taken.secrets);
    let mut presentation = presentation(exec, &action, &classified)?;
    presentation.complete &= taken.verified;
    Ok(Asked {
        chain: asking.chain,
        action,
        effects: classified.effects,
        captures: classified.arguments,
        reason: asking.reason,
        presentation,
        resource_owners: target.owner.clone().into_iter().collect(),
        issuers: asking.issuers,
        behind: BTreeSet::new(),
        places: asking::places(&classified.places),
        administrative: false,
        amends: asking.amends,
        trace: asking.trace,
        secrets: taken.secrets,
    })
}

fn check(call: &RunRequest, local: &LocalCommand, exec: &ExecTarget) -> Result<(), ExecError> {
    let invalid = |what: &str| Err(ExecError::Invalid(what.into()));
    if call.argv.is_empty() {
        return Err(PlanError::Empty.into());
    }
    if call.argv.iter().any(|word| word.contains('\0')) {
        return Err(PlanError::Nul.into());
    }
    if call.inputs.is_some() {
        return invalid("a command on your own side has your own files; leave out the inputs");
    }
    let allowed: Vec<String> = exec.env_allow.iter().cloned().collect();
    for name in call.env.keys() {
        caller_env_allowed(name, &allowed).map_err(PlanError::from)?;
    }
    if local.executable.interpreters.len() > MAX_INTERPRETERS {
        return invalid("`local.executable` has too many interpreters");
    }
    let is_path = |path: &str| path.starts_with('/') && path.len() <= MAX_PATH;
    let paths = executables(local).filter_map(|one| one.path.to_str());
    if !paths.chain([local.directory.as_str()]).all(is_path) {
        return invalid("`local` has a path that is not absolute, or is too long");
    }
    Ok(())
}

/// Whether a stored request is still what the target would take it for.
fn check_same(active: &Active, request: &Request, secrets: &Secrets) -> Result<(), PlanError> {
    let stored = |error: serde_json::Error| PlanError::Stored(error.to_string());
    let argv = secrets.restore(&request.action)?.arguments;
    let argv = argv.get("argv").cloned();
    let argv: Vec<String> = serde_json::from_value(argv.unwrap_or_default()).map_err(stored)?;
    let id = &request.action.target;
    let target = active.snapshot.target(id);
    let exec = target.filter(|target| target.advisory);
    let exec = exec.and_then(|target| target.exec());
    let exec = exec.ok_or_else(|| PlanError::NoTarget(id.clone()))?;
    let masker = active.bundle.masker();
    check_taken_for((exec, masker), &argv, false, &request.effects)
}

fn executables(local: &LocalCommand) -> impl Iterator<Item = &Executable> {
    std::iter::once(&local.executable.program).chain(&local.executable.interpreters)
}

/// Shows a call. The first thing said is that nobody enforces the answer.
fn presentation(
    exec: &ExecTarget,
    action: &Action,
    classified: &Classified,
) -> Result<Presentation, ExecError> {
    let argv = asking::argv(action)?;
    let command = quote_argv(&argv);
    let mut body = format!("{ADVISORY}\n\n$ {command}\n");
    for hint in argv.iter().flat_map(|word| hints(word)) {
        body.push_str(&format!("! {hint}\n"));
    }
    body.push_str(&format!("\ntarget       {}\n", exec.target));
    body.push_str("\nThe caller states of its own machine (not checked):\n");
    let stored = |name: &str| action.arguments.get(name).cloned().unwrap_or_default();
    let executable: Resolved = serde_json::from_value(stored("executable"))
        .map_err(|error| PlanError::Stored(error.to_string()))?;
    for one in std::iter::once(&executable.program).chain(&executable.interpreters) {
        let path = reveal(&one.path.to_string_lossy());
        body.push_str(&format!(
            "executable   {path}\n  sha-256    {}\n",
            one.sha256
        ));
    }
    let directory = stored("directory");
    let directory = reveal(directory.as_str().unwrap_or_default());
    body.push_str(&format!("directory    {directory}\n"));
    present::environment(action, &mut body);
    body.push_str("Its other files and the rest of its environment are not known here.\n");
    secrets::describe(action, &mut body);
    let radius = present::radius(classified);
    Ok(Presentation {
        title: present::shorten(&format!("Advisory: {command}")),
        body,
        blast_radius: format!("{radius} {ADVISORY}"),
        complete: true,
    })
}

impl Run {
    /// Hands the permit over and follows the caller until it has reported, or can't any more.
    pub(super) async fn hand_over(
        &self,
        (request, secrets): (Request, Secrets),
        permit: Permit,
        has_case: bool,
        place: Place,
    ) -> Result<(), ExecError> {
        let gateway = &self.gateway;
        let handed = hand_out(gateway, place, &request, permit, has_case, WITHIN).await?;
        let awaited = match handed {
            Ok(awaited) => awaited,
            Err(mismatch) => {
                let page = has_case.then(|| gateway.request_url(&request.id));
                let why = mismatch.to_string();
                self.send(RunEvent::refused(Some(request.id), "not_run", why, page))
                    .await;
                return Ok(());
            }
        };
        if let Err(changed) = check_same(&gateway.active(), &request, &secrets) {
            let why = changed.to_string();
            return self.never_ran(&awaited, &why, why.clone()).await;
        }
        if let Some(stopped) = stopped(&request.chain, &gateway.active()) {
            let told = format!("{}; nothing was permitted", stopped.told(self.names));
            return self.never_ran(&awaited, &stopped.to_string(), told).await;
        }
        let permitted = RunEvent::Permitted {
            request: request.id.clone(),
            permit: awaited.permit.to_string(),
            advisory: true,
            report_before: awaited.until,
        };
        if !self.send(permitted).await {
            let why = "the caller was gone before it was told";
            return self.never_ran(&awaited, why, why.into()).await;
        }
        let mut why = "the caller's connection ended, and it reported no outcome".to_owned();
        tokio::select! {
            () = self.events.closed() => {}
            stopped = until_stopped(&request.chain, gateway.watch()) => {
                why = format!("{stopped}; its caller was told to end the command");
                self.send(RunEvent::Stop { message: stopped.told(self.names) }).await;
                let _ended_or_not = tokio::time::timeout(GRACE, self.events.closed()).await;
            }
        }
        // A report and the end of the connection can pass each other.
        if self.outstanding.awaits(&awaited) {
            tokio::time::sleep(GRACE).await;
            let result = json!({ "why": why });
            let outcome = Outcome::Unknown;
            self.outstanding
                .settle(gateway, &awaited, outcome, result)
                .await;
        }
        Ok(())
    }

    /// Records what certainly did not run, and says so.
    async fn never_ran(&self, awaited: &Awaited, why: &str, told: String) -> Result<(), ExecError> {
        let result = json!({ "error": why, "not_run": true });
        let outcome = Outcome::Failed;
        self.outstanding
            .settle(&self.gateway, awaited, outcome, result)
            .await;
        let request = Some(awaited.of.request.clone());
        let page = awaited.has_case;
        let page = page.then(|| self.gateway.request_url(&awaited.of.request));
        self.send(RunEvent::refused(request, "not_run", told, page))
            .await;
        Ok(())
    }
}
