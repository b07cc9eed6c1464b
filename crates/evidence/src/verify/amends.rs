//! What an amended request owes to the one it replaces.
//!
//! In scope: everybody who was *self* of the original, and who edited it, is *self* of the new request;
//! it runs only after the original was closed for it.
//! Out of scope: requests that say nothing of each other, which are different requests.
//! Invariant: beside the people who are *self* anyway, an open request keeps the name of its original
//! and whom its own records leave out, which is nobody unless somebody lies; an ended one keeps nothing.
//!
//! The order of the records: the new request's question and hold, the message to the original which
//! says who edited it and into what, the original's end. So the original's *self* is still known when it
//! is handed on, and everything before the new request's permit.

use std::collections::BTreeSet;

use countersign_core::id::RequestId;

use super::{Problem, requests::Open};
use crate::{
    body::{CommentKind, Commented, RequestClosed},
    reference::Ref,
};

/// What a request replaces.
#[derive(Debug)]
pub(super) struct Amends {
    original: RequestId,
    /// Whether the original was closed for it, and the original's own original for that.
    settled: bool,
    /// Who was *self* of the original and is not in this request's own records.
    left_out: BTreeSet<Ref>,
}

/// What a message to a request says it was amended into.
#[derive(Debug)]
pub(super) struct Amended {
    pub(super) into: RequestId,
    editor: Ref,
}

impl Amends {
    pub(super) fn of(original: RequestId) -> Self {
        Self {
            original,
            settled: false,
            left_out: BTreeSet::new(),
        }
    }

    /// At the permit.
    pub(super) fn check(&self, problems: &mut Vec<Problem>) {
        if !self.settled {
            let original = self.original.clone();
            problems.push(Problem::OriginalNotClosed { original });
        }
        problems.extend(self.left_out.iter().map(|who| Problem::SelfLeftOut {
            original: self.original.clone(),
            who: *who,
        }));
    }
}

impl Open {
    /// More people are *self*.
    pub(super) fn grow(&mut self, people: &[Ref]) {
        self.myself.extend(people);
        if let Some(amends) = &mut self.amends {
            for person in people {
                amends.left_out.remove(person);
            }
        }
    }

    /// Somebody proposed another action instead.
    pub(super) fn amended_by(&mut self, said: &Commented) {
        if let (CommentKind::Amendment, Some(into)) = (said.kind, &said.about) {
            self.amended = Some(Box::new(Amended {
                into: into.clone(),
                editor: said.by,
            }));
        }
    }

    /// Takes the people of a request that ends for this one. `false` when it does not replace it.
    pub(super) fn take_over(
        &mut self,
        id: &RequestId,
        original: &Self,
        closed: &RequestClosed,
    ) -> bool {
        let Some(amends) = self.amends.as_mut().filter(|of| of.original == *id) else {
            return false;
        };
        let editor = original.amended.iter().map(|amended| amended.editor);
        let people = original.myself.iter().copied().chain(editor);
        for person in people.chain(closed.by) {
            if self.myself.insert(person) {
                amends.left_out.insert(person);
            }
        }
        amends.settled = original.amends.as_ref().is_none_or(|of| of.settled);
        true
    }
}
