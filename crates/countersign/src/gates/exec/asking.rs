//! From a call to what the gate asks for.
//!
//! In scope: what no command can be, what policy denies by the words alone, what people see.
//! Out of scope: deciding; looking at the machine ([`capture`]).
//! Invariant: files are looked up and hashed only for a call that policy does not deny by its
//! words. Otherwise the refusals of denied calls would tell which files exist.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use countersign_core::{
    action::Action,
    canonical::Hash,
    id::{PersonId, TargetId},
    request::Amends,
    subject::SubjectChain,
    trace::TraceParent,
};
use countersign_policy::{ExecTarget, Masker, target::exec::Classified};

use super::{ExecError, present};
use crate::{
    active::Active,
    api::types::RunRequest,
    engine::{Admitted, Asked, Early, EngineError},
    gateway::Gateway,
    runner::{Call, Captured, PlanError, Preview, capture, preview},
    secrets::{self, Keep, Secrets, TextMasks},
};

/// The longest reason, in bytes.
const MAX_REASON: usize = countersign_core::request::MAX_TEXT_BYTES;
/// The longest word of a command or value of a variable, in bytes; the kernel takes no longer one.
const MAX_WORD: usize = 128 << 10;
/// The most bytes of all words and values together.
const MAX_WORDS: usize = 1 << 20;
/// Words of more bytes than this are looked through on a thread of their own.
const LARGE: usize = 16 << 10;
/// The longest statement of origin, in bytes.
const MAX_ORIGIN: usize = 1_024;

/// Refuses what no command can be before any work is done on it.
pub(super) fn check_size(call: &RunRequest) -> Result<(), ExecError> {
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
    if call
        .reason
        .as_ref()
        .is_some_and(|reason| reason.len() > MAX_REASON)
    {
        let what = format!("the reason is longer than {MAX_REASON} bytes");
        return Err(ExecError::Invalid(what));
    }
    Ok(())
}

/// Who asks, and what for besides the command.
#[derive(Clone)]
pub struct Asking {
    /// The chain.
    pub chain: SubjectChain,
    /// Everybody who issued the caller's credential.
    pub issuers: BTreeSet<PersonId>,
    /// Why, as stated.
    pub reason: Option<String>,
    /// What it replaces.
    pub amends: Option<Amends>,
    /// The trace that the caller says it belongs to.
    pub trace: Option<TraceParent>,
}

impl Asking {
    /// Without the secrets in what the caller states.
    pub(super) fn masked(mut self, masker: &Masker, action: &Action, known: &Secrets) -> Self {
        let origin = &mut self.chain.origin;
        let stated = [&mut origin.model, &mut origin.session, &mut origin.task];
        for text in stated.into_iter().chain([&mut self.reason]) {
            let masked = text.take().map(|text| secrets::without(masker, text));
            *text = masked.map(|text| known.mask(action, text));
        }
        self
    }
}

/// What a call comes to before anybody is asked.
pub enum Considered {
    /// Policy denies it whatever the files are; recorded.
    Denied(Admitted),
    /// The exact action, to be asked for.
    Exact(Box<Asked>),
}

/// Makes the exact action of a call that policy does not deny by its words.
///
/// # Errors
/// [`ExecError`] when the call can't be understood or captured.
pub async fn consider(
    gateway: &Gateway,
    call: Call,
    asking: Asking,
) -> Result<Considered, ExecError> {
    let active = gateway.active();
    let words = call.words(&active.bundle)?;
    let large = call.argv.iter().map(String::len).sum::<usize>() > LARGE;
    let by_words = asked_apart(large, &active, words, (asking.clone(), Vec::new())).await?;
    let people_look = match gateway.admission.early(by_words).await? {
        Early::Denied(denied) => return Ok(Considered::Denied(denied)),
        Early::Permits => false,
        Early::Holds => true,
    };
    let captured = capture(&gateway.machine, active.bundle.clone(), call).await?;
    let previews = match people_look {
        true => previews(gateway, &active, &captured).await?,
        false => Vec::new(),
    };
    let asked = asked_apart(large, &active, captured, (asking, previews)).await?;
    Ok(Considered::Exact(Box::new(asked)))
}

/// [`asked`], where looking through a large command keeps nobody else waiting.
async fn asked_apart(
    large: bool,
    active: &Arc<Active>,
    captured: Captured,
    (asking, previews): (Asking, Vec<Preview>),
) -> Result<Asked, ExecError> {
    if !large {
        return asked(active, captured, asking, &previews);
    }
    let active = active.clone();
    let work = tokio::task::spawn_blocking(move || asked(&active, captured, asking, &previews));
    let done = work.await;
    done.map_err(|error| EngineError::Internal(error.to_string()))?
}

/// What the target shows reviewers of a command.
async fn previews(
    gateway: &Gateway,
    active: &Active,
    captured: &Captured,
) -> Result<Vec<Preview>, ExecError> {
    let (_, _, classified) = classified(active, captured)?;
    let mut previews = Vec::new();
    for argv in classified.previews {
        let bundle = active.bundle.clone();
        previews.push(preview(captured, argv, &gateway.machine, bundle).await);
    }
    Ok(previews)
}

fn classified<'a>(
    active: &'a Active,
    captured: &Captured,
) -> Result<(&'a ExecTarget, Vec<String>, Classified), ExecError> {
    let target = active.snapshot.target(&captured.action.target);
    let exec = target.and_then(|target| target.exec());
    let exec = exec.ok_or_else(|| PlanError::NoTarget(captured.action.target.clone()))?;
    let argv = argv(&captured.action)?;
    let has_inputs = captured
        .action
        .arguments
        .get("inputs")
        .is_some_and(|one| !one.is_null());
    let classified = exec.classify(&argv, has_inputs, active.bundle.masker());
    Ok((exec, argv, classified))
}

fn asked(
    active: &Active,
    mut captured: Captured,
    asking: Asking,
    previews: &[Preview],
) -> Result<Asked, ExecError> {
    let target = active.snapshot.target(&captured.action.target);
    let owner = target.and_then(|target| target.owner.clone());
    let (exec, _, classified) = classified(active, &captured)?;
    let masker = active.bundle.masker();
    let arguments = &mut captured.action.arguments;
    let taken = secrets::take_out(masker, arguments, Keep::UntilItEnds)?;
    captured.action.masked = taken.masks;
    let asking = asking.masked(masker, &captured.action, &taken.secrets);
    let mut texts = TextMasks::new(masker);
    captured
        .texts
        .values_mut()
        .for_each(|text| texts.mask(text));
    let previews = previews.iter().map(|preview| preview.masked(&mut texts));
    let previews: Vec<_> = previews.collect();
    let argv = argv(&captured.action)?;
    let shown = (&classified, previews.as_slice());
    let mut presentation = present::presentation(exec, &captured, &argv, shown, &mut texts);
    presentation.complete &= taken.verified && texts.verified;
    Ok(Asked {
        chain: asking.chain,
        action: captured.action,
        effects: classified.effects,
        captures: classified.arguments,
        reason: asking.reason,
        presentation,
        resource_owners: owner.into_iter().collect(),
        issuers: asking.issuers,
        behind: BTreeSet::new(),
        places: places(&classified.places),
        administrative: false,
        amends: asking.amends,
        trace: asking.trace,
        secrets: taken.secrets,
    })
}

/// Where in the arguments the words with placeholders are.
pub(super) fn places(words: &BTreeMap<usize, String>) -> BTreeMap<String, String> {
    let place = |(number, name): (&usize, &String)| (format!("/argv/{number}"), name.clone());
    words.iter().map(place).collect()
}

/// The words of a command.
pub(super) fn argv(action: &Action) -> Result<Vec<String>, ExecError> {
    let argv = action.arguments.get("argv").cloned().unwrap_or_default();
    serde_json::from_value(argv).map_err(|_| ExecError::Invalid("the command has no words".into()))
}

/// The target that a call names.
pub(super) fn target(call: &RunRequest) -> Result<TargetId, ExecError> {
    let invalid = |_| ExecError::Invalid("`target` is not valid".into());
    call.target.parse().map_err(invalid)
}

/// The command of a call.
pub(super) fn command(call: &RunRequest) -> Result<Call, ExecError> {
    let inputs = call.inputs.as_deref().map(str::parse::<Hash>).transpose();
    Ok(Call {
        target: target(call)?,
        argv: call.argv.clone(),
        env: call.env.clone(),
        inputs: inputs.map_err(|_| ExecError::Invalid("`inputs` is not valid".into()))?,
    })
}
