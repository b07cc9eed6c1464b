//! What the later records of a request are about.
//!
//! In scope: who asked what, for as long as a request is open.
//! Out of scope: how it is said ([`event`](super::event)).
//! Invariant: what is known is made of records alone, so reading again from the first record of
//! the oldest open request knows the same.

use std::collections::{BTreeSet, HashMap};

use countersign_core::id::{RequestId, RuleName};
use countersign_evidence::{body::Body, reference::Ref};

use crate::streams::{
    follow::{Entry, Place},
    view,
};

/// The most open requests that are known.
const OPEN: usize = 200_000;

/// Who asked what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct About {
    /// Who.
    pub(super) requester: Ref,
    /// The gate.
    pub(super) gate: String,
    /// The target.
    pub(super) target: Option<String>,
    /// The actions.
    pub(super) actions: Vec<String>,
    /// The rules that ask for a confirmation, which is no countersignature.
    pub(super) confirming: BTreeSet<RuleName>,
    since: Place,
}

/// Every open request.
#[derive(Debug, Default)]
pub(super) struct Open(HashMap<RequestId, About>);

impl Open {
    /// Takes a record into account, before anything is said about it.
    pub(super) fn begin(&mut self, entry: &Entry) {
        let Some(within) = &entry.leaf.request else {
            return;
        };
        let asked = match &entry.leaf.body {
            Body::ActionRequested(asked) => asked,
            Body::PolicyDecided(decided) => {
                if let Some(about) = self.0.get_mut(&within.id) {
                    let confirming = decided.rules.iter().filter(|rule| rule.confirmation);
                    about
                        .confirming
                        .extend(confirming.map(|rule| rule.name.clone()));
                }
                return;
            }
            _ => return,
        };
        if self.0.len() >= OPEN {
            return;
        }
        let about = About {
            requester: asked.requester,
            gate: asked.gate.clone(),
            target: view::asked(entry).map(|asked| asked.target),
            actions: asked.actions.iter().map(ToString::to_string).collect(),
            confirming: BTreeSet::new(),
            since: entry.at,
        };
        self.0.insert(within.id.clone(), about);
    }

    /// What a record is about.
    pub(super) fn of(&self, entry: &Entry) -> Option<&About> {
        self.0.get(&entry.leaf.request.as_ref()?.id)
    }

    /// Takes a record into account, after everything was said about it.
    pub(super) fn end(&mut self, entry: &Entry) {
        let within = entry.leaf.request.as_ref();
        if let Some(within) = within.filter(|_| entry.ends_request()) {
            self.0.remove(&within.id);
        }
    }

    /// Where the oldest open request begins.
    pub(super) fn oldest(&self) -> Option<Place> {
        self.0.values().map(|about| about.since).min()
    }
}
