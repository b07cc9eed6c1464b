//! Whether a caller can decide a request, and why not, in words for them.
//!
//! In scope: what a page offers and what it says instead; who could decide.
//! Out of scope: deciding. The core judges every vote again; what is said here comes from the same
//! function, so that a page offers what would be taken.

use countersign_core::{
    approval::{ApprovalRule, myself::myself, rule::Assurance, vote::Verdict},
    id::PersonId,
    lifecycle::{self, Refusal, World},
    request::Case,
    subject::SubjectId,
    time::Timestamp,
};
use countersign_store::StoredCredential;

use super::types::Approvers;
use crate::{
    active::Active,
    engine::credential,
    identity::{Caller, lineage_of},
    names::Names,
};

/// Why a verdict of this caller would be refused now, whatever they type with it.
#[must_use]
pub fn would_refuse(
    active: &Active,
    caller: &Caller,
    case: &Case,
    verdict: Verdict,
    now: Timestamp,
) -> Option<String> {
    let Some(person) = caller.person() else {
        return Some("Only people decide, never agents or workloads.".into());
    };
    let Some(assurance) = caller.assurance() else {
        let confirms = case.request.rules.iter().any(|rule| rule.confirmation);
        if case.phase.is_open() && !confirms && myself(case, &active.directory).contains(person) {
            return Some(in_words(&Refusal::OwnRequest(person.clone()), person, case));
        }
        return Some("A token never votes. Sign in to the console and decide there.".into());
    };
    // Who has a passkey is asked for it when the rules want one.
    let strongest = caller.strongest().unwrap_or(assurance);
    let session = credential(&caller.credential, strongest);
    let refusal = from_requesters_side(active, caller, case).or_else(|| {
        lifecycle::would_refuse(case, active.world(), now, (person, &session), verdict)
    })?;
    Some(in_words(&refusal, person, case))
}

/// Whether an approval of the case must be signed with a passkey, by its rules as they were or are.
#[must_use]
pub fn needs_passkey(case: &Case, world: World<'_>) -> bool {
    let rules = case.request.rules.iter();
    let current = |rule: &ApprovalRule| world.rules.get(&rule.name).map(|now| now.assurance);
    rules
        .flat_map(|rule| [Some(rule.assurance), current(rule)])
        .any(|assurance| assurance == Some(Assurance::Passkey))
}

/// A session in which somebody of the requester's side had a hand speaks for them.
#[must_use]
pub fn from_requesters_side(active: &Active, caller: &Caller, case: &Case) -> Option<Refusal> {
    issuer_on_side(active, caller, &caller.credential, case)
}

/// A credential of the caller in which somebody of the requester's side had a hand.
#[must_use]
pub fn issuer_on_side(
    active: &Active,
    caller: &Caller,
    credential: &StoredCredential,
    case: &Case,
) -> Option<Refusal> {
    let side = myself(case, &active.directory);
    let own = caller.person().is_some_and(|person| side.contains(person));
    let lineage = lineage_of(credential);
    let issuer = lineage.intersection(&side).next().filter(|_| !own)?;
    Some(Refusal::CredentialFromRequester(issuer.clone()))
}

fn in_words(refusal: &Refusal, person: &PersonId, case: &Case) -> String {
    match refusal {
        Refusal::NotOpen(state) => format!("The request is {state}."),
        Refusal::OwnRequest(_) => format!("{} Somebody else must decide.", own(person, case)),
        Refusal::CredentialFromRequester(issuer) => format!(
            "{issuer}, who is on the requester's side, had a hand in the link you signed in with. \
             It takes a session from a link that nobody of that side asked for."
        ),
        Refusal::SharedCredential(other) => format!(
            "Your vote would not count beside that of {other}: you share a session, or one of you \
             or the same person asked for the links you signed in with."
        ),
        Refusal::NotEligible(_) => "No rule of this request names you.".into(),
        Refusal::NotNeeded => {
            "Your signature is not needed now: the stages you may sign are complete or not yet open."
                .into()
        }
        Refusal::AlreadyVoted => "You have decided already.".into(),
        Refusal::AssuranceTooLow {
            needed: Assurance::Passkey,
            ..
        } => "It takes a passkey, and you have none here yet. Add one under Passkeys.".into(),
        Refusal::AssuranceTooLow { needed, given } => format!(
            "It takes {}; your session gives {}.",
            assurance(*needed),
            assurance(*given)
        ),
        Refusal::OutsideHours { rule, hours } => {
            format!("Approvals for rule {rule} count only {hours}.")
        }
        other => format!("It would be refused: {other}."),
    }
}

/// The name of an assurance as what it takes.
fn assurance(assurance: Assurance) -> &'static str {
    match assurance {
        Assurance::Chat => "a chat account (chat)",
        Assurance::Session => "a signed-in session (session)",
        Assurance::Passkey => "a passkey (passkey)",
    }
}

/// In what way a person belongs to the requester's side.
fn own(person: &PersonId, case: &Case) -> String {
    let request = &case.request;
    let asks = request.chain.requester.id == SubjectId::Person(person.clone());
    if asks {
        return "You asked for this yourself.".into();
    }
    let owns = |member: &&countersign_core::subject::Subject| member.owner.as_ref() == Some(person);
    if let Some(member) = request.chain.members().find(owns) {
        return format!("You own {}, which asked.", member.id);
    }
    if request
        .chain
        .members()
        .any(|member| member.id == SubjectId::Person(person.clone()))
    {
        return format!("{} asks this on your behalf.", request.chain.requester.id);
    }
    if request
        .amends
        .as_ref()
        .is_some_and(|amends| amends.editor == *person)
    {
        return "You wrote this action in place of another.".into();
    }
    if request.issuers.contains(person) {
        let name = request.chain.requester.id.name();
        return format!("You had a hand in the link or token that {name} asked it with.");
    }
    "You are on the requester's side: you own part of what asks, edited it, or proposed a change of \
     what decides it."
        .into()
}

/// Who could countersign now, as a caller may hear it.
#[must_use]
pub fn approvers(active: &Active, case: &Case, now: Timestamp, names: Names) -> Approvers {
    let people = lifecycle::eligible_voters(case, active.world(), now);
    names.approvers(&case.request.rules, &people)
}
