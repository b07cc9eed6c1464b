//! The page of one request: what is asked, by whom, under which rules, what happened, and what
//! the viewer can do about it.
//!
//! In scope: everything a reviewer must see before deciding (P8), and the forms to decide with.
//! Out of scope: whether the viewer may decide; [`Actions`] says it and the handler checks it.
//! Invariant: what a machine states of itself is marked as stated wherever it appears, and a
//! form exists only for an action that the model offers.

mod actions;
mod grant;
mod progress;
mod timeline;

use askama::Template;

pub use actions::{
    Actions, AmendForm, ApproveForm, ClaimForm, DenyForm, EmergencyForm, OneClick, ReviewForm,
};
pub use grant::{GrantForm, GrantShown, OpenPlace};
pub use progress::{Lifted, Rule, Signature, Slot, Stage, StageState};
pub use timeline::{Event, EventKind};

use crate::{
    part::{Deadline, Moment, Party, Phase},
    shell::{Link, Shell},
};

/// How many of the digest's first digits are emphasised and, where one click is not enough, typed.
pub const TYPED_DIGITS: usize = 8;

/// One request, at `GET /requests/ID`.
#[derive(Debug, Clone, Default, Template)]
#[template(path = "request.html", whitespace = "minimize")]
pub struct RequestPage {
    /// The surroundings.
    pub shell: Shell,
    /// The request's id.
    pub id: String,
    /// What, in one line.
    pub title: String,
    /// Where it stands.
    pub phase: Phase,
    /// More about how it ended: who denied it and why, what policy said, …
    pub phase_detail: String,
    /// When it was asked.
    pub asked: Moment,
    /// Time left, while it is held or approved.
    pub left: Option<Deadline>,
    /// Whether somebody else executes what is approved here, so that holding is their promise.
    pub advisory: bool,
    /// Whether it changes Countersign itself.
    pub administrative: bool,
    /// Who asks, and for whom.
    pub who: Who,
    /// What exactly.
    pub what: What,
    /// What it would touch, or that this is not known.
    pub blast_radius: String,
    /// Why, in the requester's own words.
    pub why: Option<String>,
    /// The policy statements that decided.
    pub policies: Vec<Policy>,
    /// The hash of the bundle of policies that decided.
    pub bundle: String,
    /// The rules to satisfy and how far each is.
    pub rules: Vec<Rule>,
    /// Why people whom the rules name can't sign with what they have, a sentence each.
    pub hindered: Vec<String>,
    /// Rules lifted in an emergency.
    pub lifted: Vec<Lifted>,
    /// What was granted with it.
    pub grant: Option<GrantShown>,
    /// What happened so far, oldest first.
    pub timeline: Vec<Event>,
    /// The request that this one replaces, or that replaces it.
    pub related: Vec<Related>,
    /// What the viewer can do.
    pub actions: Actions,
}

/// Another version of this request.
#[derive(Debug, Clone, Default)]
pub struct Related {
    /// How it is related, for example `Replaces, edited by sam@example.com`.
    pub how: String,
    /// The other request.
    pub link: Link,
}

/// Who asks.
#[derive(Debug, Clone, Default)]
pub struct Who {
    /// Who calls the gate.
    pub requester: Party,
    /// Whom the requester acts for, nearest first.
    pub on_behalf_of: Vec<Party>,
    /// What the requester says of itself: model, session, task. Never verified.
    pub stated: Vec<Pair>,
    /// Who counts as the requester's side and can't countersign.
    pub myself: Vec<String>,
}

/// A name and a value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pair {
    /// The name.
    pub name: String,
    /// The value.
    pub value: String,
}

impl Pair {
    /// A name and a value.
    #[must_use]
    pub fn new(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            value: value.into(),
        }
    }
}

/// What exactly is asked.
#[derive(Debug, Clone, Default)]
pub struct What {
    /// The gate that holds it.
    pub gate: String,
    /// What stands behind the gate.
    pub target: String,
    /// The target's environment; empty when it has none to show.
    pub environment: String,
    /// The gate's own verb.
    pub operation: String,
    /// The whole action with hidden characters made visible.
    pub body: String,
    /// Whether the body shows everything.
    pub complete: bool,
    /// How large the action is, for example `24 310 bytes, of which the first 8 192 are shown`.
    pub size: String,
    /// The action's digest, 64 hexadecimal digits.
    pub digest: String,
    /// What it does to what.
    pub effects: Vec<Effect>,
    /// Captured inputs, session state and the like, by name.
    pub details: Vec<Pair>,
    /// The user that the command runs as; empty when that is not known.
    pub runs_as: String,
    /// What in it reads as something else than it is.
    pub unusual: Vec<String>,
}

/// One thing the action does to one resource.
#[derive(Debug, Clone, Default)]
pub struct Effect {
    /// A shared group's plain action or a gate's finer one.
    pub action: String,
    /// What it touches.
    pub resource: String,
    /// Whether the effect could not be understood.
    pub unclassified: bool,
}

/// A policy statement that decided.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// Its id.
    pub id: String,
    /// `forbid` or `permit`.
    pub effect: String,
    /// The rule that lifts it; empty for others.
    pub approval: String,
    /// File and line, for example `policies/prod.cedar:12`.
    pub place: String,
    /// Its source.
    pub source: String,
    /// Its stated reason.
    pub reason: String,
}

impl RequestPage {
    /// The digest's first digits, which reviewers compare and type.
    fn digest_head(&self) -> &str {
        let head = self.what.digest.split_at_checked(TYPED_DIGITS);
        head.map_or(self.what.digest.as_str(), |(head, _)| head)
    }

    /// The rest of the digest in groups, so that it can be compared by eye.
    fn digest_tail(&self) -> Vec<&str> {
        let tail = self.what.digest.get(TYPED_DIGITS..).unwrap_or_default();
        let mut groups = Vec::new();
        let mut rest = tail;
        while let Some((group, more)) = rest.split_at_checked(TYPED_DIGITS) {
            groups.push(group);
            rest = more;
        }
        if !rest.is_empty() {
            groups.push(rest);
        }
        groups
    }

    /// The action's lines; each is an element of its own, so that it can be numbered.
    fn lines(&self) -> std::str::Split<'_, char> {
        let body = &self.what.body;
        body.strip_suffix('\n').unwrap_or(body).split('\n')
    }

    /// Whether every rule is a confirmation, so that nobody countersigns.
    fn is_confirmation(&self) -> bool {
        !self.rules.is_empty() && self.rules.iter().all(|rule| rule.confirmation)
    }

    /// Slots filled and slots in all, over all rules.
    fn signatures(&self) -> (usize, usize) {
        let slots = || {
            let stages = self.rules.iter().flat_map(|rule| &rule.stages);
            stages.flat_map(|stage| &stage.slots)
        };
        let filled = slots().filter(|slot| slot.is_filled()).count();
        (filled, slots().count())
    }

    fn open_questions(&self) -> usize {
        let open = |event: &&Event| event.kind == EventKind::Question && event.unanswered;
        self.timeline.iter().filter(open).count()
    }

    /// Where it stands, in one sentence.
    fn meaning(&self) -> &'static str {
        match (self.phase, self.administrative) {
            (Phase::Held, true) => "Nothing has changed. It waits until people decide.",
            (Phase::Approved, true) => {
                "Every rule is satisfied. Nothing has changed yet; whoever proposed it applies it."
            }
            (Phase::Running, true) => "The change is being made now.",
            (Phase::Succeeded, true) => "The change was made.",
            (Phase::Failed, true) => "The change could not be made.",
            (phase, _) => phase.meaning(),
        }
    }

    /// What happens with an approval, in words.
    fn after_approval(&self, form: &ApproveForm) -> String {
        let name = &self.who.requester.name;
        let runs = if self.advisory {
            format!("{name} may then run it. Countersign does not run it itself")
        } else {
            match self.administrative {
                true => format!("{name} can then apply exactly this change, once"),
                false => format!("{name} can then run exactly this action, once"),
            }
        };
        let verb = if self.administrative {
            "be applied"
        } else {
            "run"
        };
        let within = match form.valid_for.as_str() {
            "" => String::new(),
            span => format!(", within {span}"),
        };
        match form.needed_after {
            0 if self.is_confirmation() => format!("{runs}{within}."),
            0 => format!("Yours is the last signature needed. {runs}{within}."),
            1 => format!("After yours, 1 more signature is needed before it can {verb}."),
            more => format!("After yours, {more} more signatures are needed before it can {verb}."),
        }
    }
}
