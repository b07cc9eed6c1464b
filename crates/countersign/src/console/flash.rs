//! How an act ended, told on the page that follows it.
//!
//! In scope: fixed texts, their names in an address, the seal that goes with a name.
//! Out of scope: refusals; they are told in the answer to the form itself.
//! Invariant: an address can choose among these texts only, and only with a seal that this session
//! got for this request within the last minutes. So a link from elsewhere never says "Done".

use countersign_console::shell::Flash;
use countersign_core::{canonical::Hash, digest::ActionDigest, id::RequestId};

use super::{fields::Asked, session::Session};
use crate::api::Api;

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Done {
    Approved,
    Denied,
    Commented,
    Asked,
    Answered,
    Amended,
    Withdrawn,
    Cancelled,
    Applied,
    Proposed,
    Removed,
    Linked,
    Unlinked,
    GrantEnded,
    GlassBroken,
    Reviewed,
    Confirmed,
}

impl Done {
    const ALL: [Self; 17] = [
        Self::Approved,
        Self::Denied,
        Self::Commented,
        Self::Asked,
        Self::Answered,
        Self::Amended,
        Self::Withdrawn,
        Self::Cancelled,
        Self::Applied,
        Self::Proposed,
        Self::Removed,
        Self::Linked,
        Self::Unlinked,
        Self::GrantEnded,
        Self::GlassBroken,
        Self::Reviewed,
        Self::Confirmed,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::Commented => "commented",
            Self::Asked => "asked",
            Self::Answered => "answered",
            Self::Amended => "amended",
            Self::Withdrawn => "withdrawn",
            Self::Cancelled => "cancelled",
            Self::Applied => "applied",
            Self::Proposed => "proposed",
            Self::Removed => "removed",
            Self::Linked => "linked",
            Self::Unlinked => "unlinked",
            Self::GrantEnded => "grant-ended",
            Self::GlassBroken => "lifted",
            Self::Reviewed => "reviewed",
            Self::Confirmed => "confirmed",
        }
    }

    fn text(self) -> (&'static str, &'static str) {
        match self {
            Self::Approved => ("Your approval is recorded.", ""),
            Self::Denied => ("You denied this action. It will not run.", ""),
            Self::Commented => ("Your comment is recorded.", ""),
            Self::Asked => (
                "Your question is recorded.",
                "The requester's side can answer it.",
            ),
            Self::Answered => ("Your answer is recorded.", ""),
            Self::Amended => (
                "This request ended, and the action you proposed is asked in its place.",
                "Others countersign it; you can't.",
            ),
            Self::Withdrawn => ("Your approval is taken back.", "The request waits again."),
            Self::Cancelled => ("The request is cancelled. Nothing ran.", ""),
            Self::GrantEnded => (
                "The grant is ended.",
                "What would have run under it waits for people again.",
            ),
            Self::Applied => ("The change was applied.", ""),
            Self::Removed => (
                "The passkey is removed.",
                "Sessions begun with it have ended, and approvals signed with it no longer count.",
            ),
            Self::Linked => ("The account is linked.", ""),
            Self::Unlinked => (
                "The account is unlinked.",
                "What is clicked with it counts for nobody, and sessions begun with it have ended.",
            ),
            Self::GlassBroken => (
                "You lifted the rule in an emergency. It is recorded, and everybody concerned is told.",
                "Somebody else has to review it.",
            ),
            Self::Reviewed => ("Your review is recorded.", ""),
            Self::Confirmed => ("Your confirmation is recorded.", ""),
            Self::Proposed => (
                "Your proposal is a request.",
                "Once others have countersigned it, apply it here; until then nothing changes.",
            ),
        }
    }

    /// What the seal is about. No action has such a digest, so a seal is never the proof of a vote.
    fn sealed(self) -> ActionDigest {
        ActionDigest(Hash::of(format!("flash\0{}", self.name()).as_bytes()))
    }
}

/// Stands for the request where a text is about none.
fn no_request() -> RequestId {
    RequestId::from_bits(0)
}

/// The address of `path` with the text of `done`, which is about this request.
pub(super) fn address(
    api: &Api,
    session: &Session,
    path: &str,
    about: Option<&RequestId>,
    done: Done,
) -> String {
    let none = no_request();
    let (about, now) = (about.unwrap_or(&none), api.gateway.clock.now());
    let acts = api.gateway.identity.acts();
    let seal = acts.act(&session.caller.credential.id, about, &done.sealed(), now);
    format!("{path}?done={}&seal={seal}", done.name())
}

/// The text that an address names, if its seal holds.
pub(super) fn read(
    api: &Api,
    session: &Session,
    asked: &Asked,
    about: Option<&RequestId>,
) -> Option<Flash> {
    let name = asked.0.text("done");
    let done = Done::ALL.into_iter().find(|done| done.name() == name)?;
    let none = no_request();
    let (about, now) = (about.unwrap_or(&none), api.gateway.clock.now());
    let acts = api.gateway.identity.acts();
    let credential = &session.caller.credential.id;
    acts.check(asked.0.text("seal"), credential, about, &done.sealed(), now)
        .ok()?;
    let (text, next) = done.text();
    Some(Flash {
        done: true,
        text: text.into(),
        next: next.into(),
    })
}
