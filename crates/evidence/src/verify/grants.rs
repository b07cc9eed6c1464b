//! What a request owes to the grant it runs under.
//!
//! In scope: that all who filled the slots of the granting request signed the same grant; its end and its
//! uses; that what runs under it has its shape.
//! Out of scope: whether its votes suffice for what runs under it, which [`quorum`](super::quorum) checks
//! as for any other request.
//! Invariant: a use counts only with votes that were signed for a grant, of the action as the evidence
//! has it; nothing that the use alone states is believed. A grant that can't be used any more keeps its
//! terms, not its votes.

use std::collections::{BTreeSet, HashMap};

use countersign_core::{
    action::Action,
    approval::grant::{GrantTerms, shape},
    canonical::Hash,
    id::{RequestId, RuleName},
    subject::SubjectChain,
    time::Timestamp,
};
use serde::Deserialize;

use super::{
    Problem,
    requests::{Open, Standing},
};
use crate::{
    body::{ActionPermitted, GrantGiven, GrantUsed},
    reference::Ref,
};

/// What the evidence of a first record has of the action.
#[derive(Deserialize)]
struct Asked {
    action: Action,
    chain: SubjectChain,
}

/// The shape of what was asked; `None` where the evidence is closed or can't be read.
fn shape_of(asked: Option<&str>, open: &BTreeSet<String>) -> Option<Hash> {
    let Asked { action, chain } = serde_json::from_str(asked?).ok()?;
    shape(&chain, &action, open).ok().flatten()
}

/// What everybody who filled a slot signed.
#[derive(Debug)]
pub(super) struct Agreed {
    terms: GrantTerms,
    votes: Vec<Standing>,
    rules: BTreeSet<RuleName>,
}

impl Agreed {
    /// At the permit, whose votes have been checked.
    pub(super) fn of(open: &Open, permit: &ActionPermitted) -> Option<Self> {
        let counted = |standing: &&Standing| {
            let filled = permit
                .fills
                .iter()
                .any(|fill| fill.voter == standing.vote.voter);
            filled && !standing.granted && !standing.vote.emergency
        };
        let votes: Vec<_> = open.votes.iter().filter(counted).cloned().collect();
        let terms = votes.first()?.grant.clone()?;
        let all = votes
            .iter()
            .all(|standing| standing.grant.as_ref() == Some(&terms));
        let rules = open.first.iter().flat_map(|first| &first.body.rules);
        (all && votes.len() == permit.fills.len()).then(|| Self {
            rules: rules.map(|rule| rule.name.clone()).collect(),
            terms,
            votes,
        })
    }
}

/// A grant that was given.
#[derive(Debug)]
struct Given {
    agreed: Agreed,
    shape: Option<Hash>,
    until: Timestamp,
    used: u32,
    ended: bool,
    /// Who joined the side of the granted request since.
    grown: Vec<Ref>,
}

/// Every grant seen so far.
#[derive(Debug, Default)]
pub(super) struct Grants {
    given: HashMap<RequestId, Given>,
}

impl Grants {
    /// A record of the granting request says that a grant was given.
    pub(super) fn give(
        &mut self,
        id: &RequestId,
        open: &mut Open,
        given: &GrantGiven,
        problems: &mut Vec<Problem>,
    ) {
        let Some(agreed) = open.agreed.take() else {
            return problems.push(Problem::GrantNotAgreed);
        };
        let last = agreed.votes.iter().map(|standing| standing.at).max();
        let until = last.map(|last| last.after(agreed.terms.time));
        if until != Some(given.until) || agreed.terms.uses != given.uses {
            problems.push(Problem::GrantDiffers);
        }
        let entry = Given {
            shape: shape_of(open.asked.as_deref(), &agreed.terms.open),
            // The strictest of what was signed and what was recorded.
            until: until.map_or(given.until, |until| until.min(given.until)),
            used: 1,
            ended: false,
            grown: Vec::new(),
            agreed: *agreed,
        };
        self.given.insert(id.clone(), entry);
    }

    /// Whether a grant was given with a request.
    pub(super) fn was_given(&self, id: &RequestId) -> bool {
        self.given.contains_key(id)
    }

    /// More people are on the side of a granted request, and so of what runs under the grant.
    pub(super) fn grew(&mut self, id: &RequestId, people: &[Ref]) {
        if let Some(given) = self.given.get_mut(id) {
            given.grown.extend(people);
        }
    }

    /// Nothing runs under it any more.
    pub(super) fn end(&mut self, id: &RequestId) {
        if let Some(given) = self.given.get_mut(id) {
            given.ended = true;
            given.agreed.votes = Vec::new();
        }
    }

    /// A request says that it runs under a grant: gives it the votes, where it may.
    pub(super) fn lend(
        &mut self,
        open: &mut Open,
        used: &GrantUsed,
        (at, seq): (Timestamp, u64),
        problems: &mut Vec<Problem>,
    ) {
        let grant = || used.grant.clone();
        let Some(given) = self.given.get_mut(&used.grant) else {
            return problems.push(Problem::GrantUnknown { grant: grant() });
        };
        if given.ended || at >= given.until || given.used >= given.agreed.terms.uses {
            return problems.push(Problem::GrantOver { grant: grant() });
        }
        given.used += 1;
        let asked = shape_of(open.asked.as_deref(), &given.agreed.terms.open);
        let readable = given.shape.is_some() && open.asked.is_some();
        if readable && asked != given.shape {
            return problems.push(Problem::GrantOfOther { grant: grant() });
        }
        let mut rules = open.first.iter().flat_map(|first| &first.body.rules);
        if !rules.all(|rule| given.agreed.rules.contains(&rule.name)) {
            return problems.push(Problem::GrantOfOther { grant: grant() });
        }
        open.granted_until = Some(given.until);
        open.myself.extend(&given.grown);
        open.votes
            .extend(given.agreed.votes.iter().map(|standing| Standing {
                at,
                seq,
                granted: true,
                ..standing.clone()
            }));
        if given.used >= given.agreed.terms.uses {
            given.agreed.votes = Vec::new();
        }
    }
}
