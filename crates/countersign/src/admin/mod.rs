//! Changing Countersign itself: the gate whose target is the gateway.
//!
//! In scope: proposals, their decision under the active bundle, applying them with a permit.
//! Invariant: there is no other way to change bundle, people, agents or credentials (P9), except
//! first start and local recovery, which are recorded as what they are.

mod absent;
mod apply;
mod carried;
mod consequences;
mod deploying;
mod directory_words;
mod emergencies;
mod enrolling;
pub(crate) mod erase;
mod granted;
mod linking;
mod machines;
mod proposal;
pub(crate) mod provide;
pub(crate) mod provision;
mod stop;
pub(crate) mod vouching;
mod warning;

use std::collections::{BTreeMap, BTreeSet};

use countersign_core::{
    action::{Action, Effect, Resource},
    approval::vote::Verdict,
    decision::Decision,
    id::{PersonId, RequestId, TargetId},
    permit::Permit,
    request::{Case, Outcome, Phase, Presentation, Request},
    subject::{SubjectChain, SubjectId},
    time::Timestamp,
};
use countersign_policy::Question;
use countersign_runner::quote::reveal_lines;
use countersign_store::CredentialKind;
use serde_json::{Value, json};

use apply::Applied;
pub use apply::replace_bundle;
pub(crate) use apply::subject_of;
pub(crate) use linking::check_direct;
pub use linking::{propose_account, propose_further};
pub use proposal::{InvalidProposal, Proposal};

use crate::{
    active::Active,
    api::{
        types::{Approvers, ProposalAnswer, ProposalBody},
        ways::Ways,
    },
    engine::{Admitted, Asked, Ended, EngineError, Input},
    gateway::{Gateway, check_claimant},
    identity::{
        Caller,
        passkey::{Enrolled, enrolled},
    },
    names::Names,
    secrets::{self, Secrets},
};

/// The name of the target that is Countersign itself.
pub const TARGET: &str = "countersign";

/// Why a proposal came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// It can't be understood.
    #[error(transparent)]
    Invalid(#[from] InvalidProposal),
    /// The engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// It was permitted and could not be applied.
    #[error("the change was permitted and could not be applied: {0}")]
    NotApplied(String),
    /// A stop is in effect and not recorded yet.
    #[error("`{who}` is stopped from now on, but that is not recorded yet: {why}")]
    Unrecorded {
        /// Who is stopped.
        who: SubjectId,
        /// What keeps it from being recorded.
        why: String,
    },
}

/// Proposes a change; applies it at once where policy permits that.
///
/// # Errors
/// [`AdminError`].
pub async fn propose(
    gateway: &Gateway,
    caller: &Caller,
    body: ProposalBody,
) -> Result<ProposalAnswer, AdminError> {
    let active = gateway.active();
    let proposal = match linking::unlinking(gateway, &body).await? {
        Some(unlinking) => unlinking,
        None => Proposal::read(&body, &active)?.asked_by(caller.person()),
    };
    proposal.check_time(gateway.clock.now())?;
    if proposal.outlives_a_session() {
        linking::check_direct(caller)?;
    }
    if let Proposal::Erase { person } = &proposal
        && caller.person().is_some()
    {
        // Not after somebody else has countersigned what can't be done. A machine would learn who is
        // known here.
        let possible = erase::check(gateway, person).await;
        let refused = |error: anyhow::Error| {
            InvalidProposal::Arguments("person-erase".into(), error.to_string())
        };
        possible.map_err(refused)?;
    }
    // Whoever is named in the record of this can be erased from it. Machines don't get to fill the
    // vault with names.
    if caller.person().is_some() {
        let named = gateway.keys.meet(&proposal.people());
        named.map_err(|error| EngineError::Internal(error.to_string()))?;
    }
    let mut asked = asked(&active, caller, &proposal, body.reason)?;
    let consequences = consequences::of(gateway, &proposal, caller.person().is_some()).await;
    asked
        .presentation
        .body
        .insert_str(0, &reveal_lines(&consequences));
    if let Proposal::Directory { change, .. } = &proposal
        && apply::is_stop(change)
    {
        return stop::propose(gateway, caller, asked, change.clone()).await;
    }
    let mut answer = propose_recorded(gateway, caller, asked).await?;
    // It is asked or done, whatever can be read now.
    let warnings = warning::warnings(gateway, caller, &proposal).await;
    answer.warnings = warnings.unwrap_or_default();
    Ok(answer)
}

/// Proposes to enrol a passkey that the caller has just made in their own session.
///
/// # Errors
/// [`AdminError`].
pub async fn propose_passkey(
    gateway: &Gateway,
    caller: &Caller,
    passkey: Enrolled,
) -> Result<ProposalAnswer, AdminError> {
    linking::check_direct(caller)?;
    let signed_in = caller.credential.kind == CredentialKind::Session;
    let person = caller.person().filter(|_| signed_in);
    let person = person.cloned().ok_or(InvalidProposal::InBrowserOnly)?;
    check_new(gateway, &person, &passkey).await?;
    let proposal = Proposal::Passkey { person, passkey };
    let asked = asked(&gateway.active(), caller, &proposal, None)?;
    propose_recorded(gateway, caller, asked).await
}

/// A passkey that is a request as yet.
#[derive(Debug, Clone)]
pub struct ProposedPasskey {
    /// Whose.
    pub person: PersonId,
    /// Which.
    pub passkey: Enrolled,
    /// Its request.
    pub request: RequestId,
    /// Whether it only has to be applied.
    pub approved: bool,
}

/// Every passkey that waits for a countersignature, or for being applied.
///
/// # Errors
/// The store can't be read.
pub async fn proposed_passkeys(gateway: &Gateway) -> Result<Vec<ProposedPasskey>, EngineError> {
    let store = gateway.store.as_ref();
    let mut proposed = Vec::new();
    for open in gateway.engine.desk().open(store).await? {
        let action = &open.request.action;
        if action.gate != "admin" || action.operation != "passkey-add" {
            continue;
        }
        // The desk has no arguments.
        let Some(stored) = store.case(&open.request.id).await? else {
            continue;
        };
        let case = stored.case;
        let read = serde_json::from_value(case.request.action.arguments);
        if let Ok(Proposal::Passkey { person, passkey }) = read {
            proposed.push(ProposedPasskey {
                person,
                passkey,
                request: case.request.id,
                approved: matches!(case.phase, Phase::Approved { .. }),
            });
        }
    }
    Ok(proposed)
}

/// Refuses a passkey that somebody has or proposes already: one key would speak for two people.
async fn check_new(
    gateway: &Gateway,
    person: &PersonId,
    passkey: &Enrolled,
) -> Result<(), AdminError> {
    let same = |known: &Enrolled| {
        known.passkey == passkey.passkey || known.public_key == passkey.public_key
    };
    let all = gateway.store.credentials(None).await;
    let all = all.map_err(EngineError::from)?;
    let mut live = all.iter().filter(|one| one.revoked.is_none());
    let enrolled = live.any(|one| enrolled(one).is_some_and(|known| same(&known)));
    let proposed = proposed_passkeys(gateway).await?;
    let proposed = proposed
        .iter()
        .any(|one| one.person != *person && same(&one.passkey));
    match enrolled || proposed {
        true => Err(InvalidProposal::PasskeyTaken.into()),
        false => Ok(()),
    }
}

/// Asks for a change and applies it if it is permitted, recording each step first.
async fn propose_recorded(
    gateway: &Gateway,
    caller: &Caller,
    asked: Asked,
) -> Result<ProposalAnswer, AdminError> {
    match gateway.admission.ask(asked).await? {
        Admitted::Permitted {
            request, permit, ..
        } => {
            let by = Applying::default();
            let applied = execute(gateway, &request, permit, by).await?;
            Ok(done(gateway, &request.id, applied))
        }
        Admitted::Held(case) => {
            Ok(held(gateway, caller, &case, "held: others must countersign it").await)
        }
        Admitted::Attached(case) if matches!(case.phase, Phase::Approved { .. }) => {
            let id = &case.request.id;
            let claimed = claim(gateway, caller, id).await;
            if let Err(AdminError::Engine(error)) = &claimed
                && let Some(code) = error.refusal()
            {
                gateway.record_refused(caller, id, code).await;
            }
            claimed
        }
        Admitted::Attached(case) => {
            Ok(held(gateway, caller, &case, "the same proposal waits already").await)
        }
        Admitted::Denied {
            request, reason, ..
        } => Ok(answer(
            gateway,
            &request,
            "denied",
            None,
            None,
            &reason.to_string(),
        )),
    }
}

/// Applies an approved proposal of the caller.
///
/// # Errors
/// [`AdminError`].
pub async fn claim(
    gateway: &Gateway,
    caller: &Caller,
    id: &RequestId,
) -> Result<ProposalAnswer, AdminError> {
    let case = gateway.case_of(caller, id).await?;
    check_claimant(caller, &case.request.chain)?;
    if case.request.action.gate != "admin" {
        return Err(InvalidProposal::NotAdministrative(id.clone()).into());
    }
    let read = serde_json::from_value::<Proposal>(case.request.action.arguments.clone());
    if read.is_ok_and(|proposal| proposal.outlives_a_session()) {
        linking::check_direct(caller)?;
    }
    let (by, behind) = (caller.subject.id.clone(), caller.lineage());
    let stepped = gateway.engine.claim(id, by, behind.clone()).await?;
    let Some(permit) = stepped.permit else {
        return Err(EngineError::Internal("a claim without a permit".into()).into());
    };
    let countersigned = is_countersigned(&stepped.case);
    let request = stepped.case.request;
    let by = Applying {
        held: Some(id.clone()),
        countersigned,
        claimed_by: behind,
    };
    let applied = execute(gateway, &request, permit, by).await?;
    let mut answer = done(gateway, id, applied);
    // It is applied, whatever can be read now.
    answer.warnings = warning::of_case(gateway, caller, &case)
        .await
        .unwrap_or_default();
    Ok(answer)
}

fn done(gateway: &Gateway, id: &RequestId, applied: Applied) -> ProposalAnswer {
    let Applied { result, message } = applied;
    answer(gateway, id, "succeeded", None, Some(result), &message)
}

/// Whether somebody of the other side approved; a confirmation does not count.
fn is_countersigned(case: &Case) -> bool {
    let rules = &case.request.rules;
    let signs = rules.iter().any(|rule| !rule.confirmation);
    signs
        && case
            .votes
            .iter()
            .any(|vote| vote.verdict == Verdict::Approve)
}

/// How a change comes to be applied.
#[derive(Default)]
struct Applying {
    /// The request that held it.
    held: Option<RequestId>,
    /// Whether somebody of the other side approved it.
    countersigned: bool,
    /// Everybody who had a hand in the credential that it was claimed with.
    claimed_by: BTreeSet<PersonId>,
}

async fn execute(
    gateway: &Gateway,
    request: &Request,
    permit: Permit,
    by: Applying,
) -> Result<Applied, AdminError> {
    let id = permit.id().clone();
    let Applying {
        held,
        countersigned,
        claimed_by,
    } = by;
    let applying = apply::apply(gateway, request, permit, (countersigned, claimed_by));
    let applied = Box::pin(applying).await;
    let (outcome, result) = match &applied {
        Ok(_) => (Outcome::Succeeded, json!({ "applied": true })),
        Err(error) => (Outcome::Failed, json!({ "error": error.to_string() })),
    };
    let ended = Ended {
        permit: id,
        outcome,
        exit: None,
        result,
    };
    match held {
        Some(id) => {
            gateway.engine.step(id, Input::Ended { ended }).await?;
        }
        None => gateway.admission.ended(request, &ended).await?,
    }
    if let Err(error) = erase::finish(gateway).await {
        tracing::error!(%error, "an erasure was not finished; the next start does it");
    }
    applied.map_err(|error| AdminError::NotApplied(format!("{error:#}")))
}

fn asked(
    active: &Active,
    caller: &Caller,
    proposal: &Proposal,
    reason: Option<String>,
) -> Result<Asked, AdminError> {
    let internal = |error: &dyn std::fmt::Display| EngineError::Internal(error.to_string());
    let target: TargetId = TARGET.parse().map_err(|error| internal(&error))?;
    let operation = proposal.operation();
    let name = format!("countersign:{operation}");
    let effect = Effect {
        action: name.parse().map_err(|error| internal(&error))?,
        resource: resource(&target, proposal.about()),
    };
    let arguments = serde_json::to_value(proposal).map_err(|error| internal(&error))?;
    let (title, body) = proposal.present(active);
    Ok(Asked {
        chain: caller.chain(),
        action: Action {
            gate: "admin".into(),
            target,
            operation: operation.into(),
            arguments,
            session: Value::Null,
            masked: Vec::new(),
        },
        effects: vec![effect],
        captures: BTreeMap::new(),
        reason: reason.map(|text| secrets::without(active.bundle.masker(), text)),
        presentation: Presentation {
            title,
            body,
            blast_radius: "Changes who and what this gateway trusts.".into(),
            complete: true,
        },
        resource_owners: BTreeSet::new(),
        issuers: caller.lineage(),
        behind: absent::serves(proposal),
        places: BTreeMap::new(),
        administrative: true,
        amends: None,
        trace: None,
        secrets: Secrets::default(),
    })
}

fn resource(target: &TargetId, about: &str) -> Resource {
    Resource {
        kind: "Resource".into(),
        id: format!("{TARGET}/{about}"),
        target: target.clone(),
        attributes: BTreeMap::new(),
    }
}

/// Whether policy lets the caller read everything. Only people audit: a policy that lets agents
/// read what they work on must not show them everybody's requests.
#[must_use]
pub fn may_audit(active: &Active, caller: &Caller, now: Timestamp) -> bool {
    if caller.person().is_none() {
        return false;
    }
    let (Ok(target), Ok(action)) = (TARGET.parse(), "countersign:audit-read".parse()) else {
        return false;
    };
    let effects = [Effect {
        action,
        resource: resource(&target, "audit"),
    }];
    let chain = SubjectChain::of(caller.subject.clone());
    let decision = active.snapshot.evaluate(&Question {
        chain: &chain,
        gate: "admin",
        operation: "audit-read",
        effects: &effects,
        arguments: &BTreeMap::new(),
        reason: None,
        approvals: &BTreeSet::new(),
        now,
    });
    matches!(decision.decision, Decision::Permit { .. })
}

async fn held(gateway: &Gateway, caller: &Caller, case: &Case, message: &str) -> ProposalAnswer {
    let ways = Ways::of(gateway, case).await.unwrap_or_default();
    let approvers = ways.approvers(case, Names::to(caller));
    answer(
        gateway,
        &case.request.id,
        case.phase.name(),
        Some(approvers),
        None,
        message,
    )
}

fn answer(
    gateway: &Gateway,
    id: &RequestId,
    state: &str,
    approvers: Option<Approvers>,
    result: Option<Value>,
    message: &str,
) -> ProposalAnswer {
    ProposalAnswer {
        request: id.clone(),
        state: state.into(),
        url: gateway.request_url(id),
        approvers,
        result,
        warnings: Vec::new(),
        message: message.into(),
    }
}
