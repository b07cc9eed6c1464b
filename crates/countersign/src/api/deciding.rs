//! Whether a caller can decide a request, and why not, in words for them.
//!
//! In scope: what a page offers and what it says instead; who could decide.
//! Out of scope: deciding. The core judges every vote again; what is said here comes from the same
//! function, so that a page offers what would be taken.

use countersign_core::{
    approval::{
        ApprovalRule,
        myself::myself,
        rule::{Assurance, ReasonRequirement},
        vote::Verdict,
    },
    id::PersonId,
    lifecycle::{Refusal, World},
    request::Case,
    subject::SubjectId,
};

use super::ways::{Judge, Means, issuer_on_side};
use crate::{active::Active, identity::Caller};

/// Why a verdict of this caller would be refused now, whatever they type with it.
#[must_use]
pub fn would_refuse(
    judge: &Judge<'_>,
    caller: &Caller,
    case: &Case,
    verdict: Verdict,
) -> Option<String> {
    let Some(person) = caller.person() else {
        return Some("Only people decide, never agents or workloads.".into());
    };
    if caller.assurance().is_none() {
        let side = myself(case, &judge.active.directory);
        let confirms = case.request.rules.iter().any(|rule| rule.confirmation);
        if case.phase.is_open() && !confirms && side.contains(person) {
            return Some(in_words(&Refusal::OwnRequest(person.clone()), person, case));
        }
        if caller.through.is_some() {
            return Some(
                "You are signed in with an account that nobody countersigned when you linked it: unlink \
                 it, and link it again under a rule."
                    .into(),
            );
        }
        return Some("A token never votes. Sign in to the console and decide there.".into());
    }
    let refusal = refusal(judge, caller, case, verdict)?;
    if wants_passkey(&refusal) && !caller.passkeys.is_empty() {
        return Some(
            "It takes a passkey that signs here. Yours only signs in, because nobody countersigned \
             it: remove it, and add it again under a rule."
                .into(),
        );
    }
    Some(in_words(&refusal, person, case))
}

/// Whether an approval of the case must be signed with a passkey, by its rules as they were or are.
#[must_use]
pub fn needs_passkey(case: &Case, world: World<'_>) -> bool {
    needed(case, world) == Assurance::Passkey
}

/// What an approval of the case takes at least, by its rules as they were or are.
#[must_use]
pub fn needed(case: &Case, world: World<'_>) -> Assurance {
    let rules = case.request.rules.iter();
    let now = |rule: &ApprovalRule| world.rules.get(&rule.name).map(|now| now.assurance);
    let all = rules.flat_map(|rule| [Some(rule.assurance), now(rule)]);
    // Without a rule nobody can approve.
    all.flatten().max().unwrap_or(Assurance::Passkey)
}

/// Whether an approval of the case needs a reason, by its rules as they were or are.
#[must_use]
pub fn needs_reason(case: &Case, world: World<'_>) -> bool {
    let rules = case.request.rules.iter();
    let now = |rule: &ApprovalRule| world.rules.get(&rule.name).map(|now| now.reason);
    rules
        .flat_map(|rule| [Some(rule.reason), now(rule)])
        .any(|reason| reason == Some(ReasonRequirement::Required))
}

/// A session in which somebody of the requester's side had a hand speaks for them.
#[must_use]
pub fn from_requesters_side(active: &Active, caller: &Caller, case: &Case) -> Option<Refusal> {
    issuer_on_side(active, caller.person()?, &caller.credential, case)
}

fn refusal(judge: &Judge<'_>, caller: &Caller, case: &Case, verdict: Verdict) -> Option<Refusal> {
    let means = Means {
        entry: Some(&caller.credential),
        passkeys: &caller.passkeys,
    };
    judge.refusal(case, caller.person()?, means, verdict)
}

/// Whether all that keeps a caller with a session from approving is a passkey of their own.
#[must_use]
pub fn lacks_passkey(judge: &Judge<'_>, caller: &Caller, case: &Case) -> bool {
    let refusal = refusal(judge, caller, case, Verdict::Approve);
    caller.assurance().is_some() && refusal.as_ref().is_some_and(wants_passkey)
}

fn wants_passkey(refusal: &Refusal) -> bool {
    let needed = Assurance::Passkey;
    matches!(refusal, Refusal::AssuranceTooLow { needed: of, .. } if *of == needed)
}

fn in_words(refusal: &Refusal, person: &PersonId, case: &Case) -> String {
    match refusal {
        Refusal::NotOpen(state) => format!("The request is {state}."),
        Refusal::OwnRequest(_) => format!("{} Somebody else must decide.", own(person, case)),
        Refusal::CredentialFromRequester(issuer) => format!(
            "{issuer}, who is on the requester's side, had a hand in the link you signed in with, so \
             that your vote could be theirs. It takes a session from a link that nobody of that side \
             asked for, or somebody else who can sign."
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
        } => "It takes a passkey, and you have none here yet.".into(),
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
    if request.behind.contains(person) {
        let name = request.chain.requester.id.name();
        return match &request.chain.requester.id {
            // People are let act for nobody: it is whom the change serves.
            SubjectId::Person(_) => "You would sign in somebody's place by it.".into(),
            _ => format!("You let {name} act for you when it asked this."),
        };
    }
    "You are on the requester's side: you own part of what asks, edited it, or proposed a change of \
     what decides it."
        .into()
}
