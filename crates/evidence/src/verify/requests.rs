//! The rules of a request's life, record by record.
//!
//! In scope: order, digests, votes taken and withdrawn, at most one permit, outcome and end.
//! Out of scope: whether the votes suffice at the permit ([`quorum`](super::quorum)); what an amended
//! request owes to its original ([`amends`](super::amends)).
//! Invariant: a request that ended keeps a few bytes, enough to notice that it goes on.

use std::collections::{BTreeSet, HashMap};

use countersign_core::{
    approval::grant::GrantTerms,
    canonical::Hash,
    digest::ActionDigest,
    id::{PermitId, RequestId},
    time::{Span, Timestamp},
};

use super::{
    Problem,
    amends::{Amended, Amends},
    emergencies::Emergencies,
    grants::{Agreed, Grants},
    grounds::Grounds,
    quorum,
    votes::Cast,
};
use crate::{
    body::{
        ActionOutcome, ActionPermitted, ActionRequested, ApprovalDecided, Body, CloseReason,
        Decision, GrantUsed, OutcomeStatus, Phase, PolicyDecided, RequestClosed, RuleShape,
        Verdict,
    },
    leaf::{InRequest, Leaf},
    reference::Ref,
};

/// A vote that stands.
#[derive(Debug, Clone)]
pub(super) struct Standing {
    pub(super) vote: ApprovalDecided,
    pub(super) at: Timestamp,
    pub(super) seq: u64,
    pub(super) has_reason: bool,
    /// What it grants.
    pub(super) grant: Option<GrantTerms>,
    /// Whether it was cast on another request and counts by the grant of that one.
    pub(super) granted: bool,
}

/// A decision of policy and when it was made.
#[derive(Debug)]
pub(super) struct Decided {
    pub(super) body: PolicyDecided,
    pub(super) at: Timestamp,
    pub(super) seq: u64,
}

/// A request that has not ended.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) digest: Option<ActionDigest>,
    pub(super) requested: Timestamp,
    /// Who asks; `None` when the first record does not say.
    pub(super) requester: Option<Ref>,
    pub(super) myself: BTreeSet<Ref>,
    pub(super) first: Option<Decided>,
    pub(super) claim: Option<Decided>,
    pub(super) denied_by_policy: bool,
    pub(super) votes: Vec<Standing>,
    /// What it replaces.
    pub(super) amends: Option<Box<Amends>>,
    /// What it was amended into, as somebody's message says.
    pub(super) amended: Option<Box<Amended>>,
    /// What its evidence has of the action, as text, while it is held.
    pub(super) asked: Option<Box<str>>,
    /// What those granted on whose votes it was permitted.
    pub(super) agreed: Option<Box<Agreed>>,
    /// The end of the grant it runs under.
    pub(super) granted_until: Option<Timestamp>,
    /// Whether its grant is not among the records that are looked at.
    pub(super) granted_elsewhere: bool,
    /// Every statement that a passkey signed.
    signed: BTreeSet<Hash>,
    permit: Option<PermitId>,
    last: Timestamp,
}

#[derive(Debug)]
enum State {
    Open(Box<Open>),
    /// The outcome is recorded.
    Finished,
    /// It was closed without running.
    Closed,
    /// It is not among the records that are looked at.
    Elsewhere,
}

#[derive(Debug)]
struct Entry {
    next: u64,
    state: State,
}

/// Every request seen so far.
#[derive(Debug, Default)]
pub(super) struct Requests {
    known: HashMap<RequestId, Entry>,
    grants: Grants,
    emergencies: Emergencies,
}

impl Requests {
    /// How many requests were seen.
    pub(super) fn seen(&self) -> u64 {
        u64::try_from(self.known.len()).unwrap_or(u64::MAX)
    }

    /// One when this request was seen.
    pub(super) fn seen_of(&self, request: &RequestId) -> u64 {
        self.known.contains_key(request).into()
    }

    /// Permitted requests without an outcome, and emergencies without a review, in the order of their
    /// names.
    pub(super) fn unfinished(self) -> Vec<(RequestId, Problem)> {
        let permitted = |entry: &Entry| match &entry.state {
            State::Open(open) => open.permit.is_some(),
            State::Finished | State::Closed | State::Elsewhere => false,
        };
        let found = self.known.into_iter().filter(|(_, entry)| permitted(entry));
        let mut list: Vec<_> = found.map(|(id, _)| (id, Problem::OutcomeMissing)).collect();
        list.extend(self.emergencies.unreviewed());
        list.sort_by(|(one, _), (other, _)| one.cmp(other));
        list
    }

    /// Takes it that a request was asked that is not among the records.
    pub(super) fn assume(&mut self, elsewhere: RequestId) {
        let unseen = Entry {
            next: 0,
            state: State::Elsewhere,
        };
        self.known.entry(elsewhere).or_insert(unseen);
    }

    /// Takes the next record of a request, with what a vote says of itself.
    pub(super) fn apply(
        &mut self,
        leaf: &Leaf,
        place: &InRequest,
        (cast, grounds): (&Cast, &Grounds),
        problems: &mut Vec<Problem>,
    ) {
        let amends = self.amends(&leaf.body, problems);
        if let Body::GrantUsed(used) = &leaf.body {
            self.lend(leaf, place, used, problems);
        }
        let Some(entry) = self.known.get_mut(&place.id) else {
            let entry = begin(leaf, place, (amends, cast), problems);
            self.known.insert(place.id.clone(), entry);
            return;
        };
        if place.seq != entry.next {
            let (expected, found) = (entry.next, place.seq);
            problems.push(Problem::RequestGap { expected, found });
        }
        entry.next = place.seq.saturating_add(1);
        if ends_grant(&leaf.body) {
            self.grants.end(&place.id);
        }
        self.emergencies.meet(leaf.at);
        match (&leaf.body, &entry.state) {
            (Body::ApprovalDecided(vote), State::Open(open)) if vote.emergency => {
                let held = open.first.iter().flat_map(|first| &first.body.rules);
                let held: Vec<_> = held.cloned().collect();
                let lift = (vote, leaf.at);
                let beside = (held.as_slice(), &open.myself);
                self.emergencies.lifted(&place.id, lift, beside, problems);
            }
            (Body::SelfGrew(grown), _) => {
                self.emergencies.grew(&place.id, &grown.refs);
                self.grants.grew(&place.id, &grown.refs);
            }
            (Body::EmergencyReviewed(review), _) => {
                self.emergencies.reviewed(&place.id, review, problems);
            }
            _ => {}
        }
        match &mut entry.state {
            State::Open(open) => {
                if let Body::GrantGiven(given) = &leaf.body {
                    self.grants.give(&place.id, open, given, problems);
                }
                if let Some(ended) = open.apply(leaf, place, (cast, grounds), problems)
                    && let State::Open(ended) = std::mem::replace(&mut entry.state, ended)
                    && let Body::RequestClosed(closed) = &leaf.body
                {
                    self.hand_on(&place.id, &ended, closed, problems);
                }
            }
            // Its votes count on in what runs under its grant.
            State::Finished
                if matches!(leaf.body, Body::SelfGrew(_)) && self.grants.was_given(&place.id) => {}
            State::Finished => after_finish(&leaf.body, problems),
            State::Closed | State::Elsewhere => after_close(&leaf.body, problems),
        }
    }

    /// Gives a request the votes of the grant that it says it runs under.
    fn lend(
        &mut self,
        leaf: &Leaf,
        place: &InRequest,
        used: &GrantUsed,
        problems: &mut Vec<Problem>,
    ) {
        let elsewhere = self.known.get(&used.grant);
        let elsewhere = elsewhere.is_some_and(|entry| matches!(entry.state, State::Elsewhere));
        let Some(entry) = self.known.get_mut(&place.id) else {
            return;
        };
        let State::Open(open) = &mut entry.state else {
            // That it goes on after its end is a finding of its own.
            return;
        };
        if open.permit.is_some() {
            problems.push(Problem::VoteAfterPermit);
        }
        if elsewhere {
            open.granted_elsewhere = true;
            let grant = used.grant.clone();
            return problems.push(Problem::GrantUnchecked { grant });
        }
        self.grants.lend(open, used, (leaf.at, place.seq), problems);
    }

    /// What a first record says it replaces.
    fn amends(&self, body: &Body, problems: &mut Vec<Problem>) -> Option<Box<Amends>> {
        let Body::ActionRequested(ActionRequested {
            amends: Some(original),
            ..
        }) = body
        else {
            return None;
        };
        match self.known.get(original).map(|entry| &entry.state) {
            Some(State::Elsewhere) => return None,
            Some(_) => {}
            None => problems.push(Problem::AmendsUnknown {
                original: original.clone(),
            }),
        }
        Some(Box::new(Amends::of(original.clone())))
    }

    /// Gives everybody who was *self* of a request that ends for another to that one.
    fn hand_on(
        &mut self,
        original: &RequestId,
        ended: &Open,
        closed: &RequestClosed,
        problems: &mut Vec<Problem>,
    ) {
        let Some(amended) = ended.amended.as_ref() else {
            return;
        };
        if closed.why != CloseReason::Amended {
            return;
        }
        let into = match self.known.get_mut(&amended.into) {
            Some(entry) => match &mut entry.state {
                State::Open(into) => Some(into),
                // It ended before; it has no votes to count any more.
                State::Finished | State::Closed | State::Elsewhere => return,
            },
            None => None,
        };
        let taken = into.is_some_and(|into| into.take_over(original, ended, closed));
        if !taken {
            let into = amended.into.clone();
            problems.push(Problem::AmendedIntoOther { into });
        }
    }
}

fn begin(
    leaf: &Leaf,
    place: &InRequest,
    (amends, cast): (Option<Box<Amends>>, &Cast),
    problems: &mut Vec<Problem>,
) -> Entry {
    if place.seq != 0 {
        problems.push(Problem::RequestGap {
            expected: 0,
            found: place.seq,
        });
    }
    let myself = match &leaf.body {
        Body::ActionRequested(asked) => {
            if leaf.digest.is_none() {
                problems.push(Problem::DigestMissing);
            }
            asked
                .self_refs
                .iter()
                .copied()
                .chain([asked.requester])
                .collect()
        }
        _ => {
            problems.push(Problem::NotRequested);
            BTreeSet::new()
        }
    };
    let open = Open {
        digest: leaf.digest,
        requested: leaf.at,
        requester: match &leaf.body {
            Body::ActionRequested(asked) => Some(asked.requester),
            _ => None,
        },
        myself,
        first: None,
        claim: None,
        denied_by_policy: false,
        votes: Vec::new(),
        amends,
        amended: None,
        asked: cast.asked.clone(),
        agreed: None,
        granted_until: None,
        granted_elsewhere: false,
        signed: BTreeSet::new(),
        permit: None,
        last: leaf.at,
    };
    Entry {
        next: place.seq.saturating_add(1),
        state: State::Open(Box::new(open)),
    }
}

/// Whether nothing may run any more under the grant of the request that a record is about.
fn ends_grant(body: &Body) -> bool {
    match body {
        Body::GrantEnded(_) => true,
        Body::ActionOutcome(outcome) => outcome.status == OutcomeStatus::Unknown,
        _ => false,
    }
}

/// Whether a record may follow even the end of a request.
fn is_talk(body: &Body) -> bool {
    matches!(
        body,
        Body::Opened(_)
            | Body::Refused(_)
            | Body::Commented(_)
            | Body::EmergencyReviewed(_)
            | Body::GrantEnded(_)
            | Body::EmergencyOverdue(_)
    )
}

fn after_close(body: &Body, problems: &mut Vec<Problem>) {
    if !is_talk(body) {
        problems.push(Problem::AfterEnd);
    }
}

fn after_finish(body: &Body, problems: &mut Vec<Problem>) {
    match body {
        Body::ActionPermitted(_) => problems.push(Problem::PermittedTwice),
        Body::ActionOutcome(_) => problems.push(Problem::OutcomeTwice),
        Body::RequestClosed(_) => problems.push(Problem::ClosedAfterPermit),
        // What an administrative action changed may be recorded after its outcome.
        body if is_talk(body) || !body.needs_request() => {}
        _ => problems.push(Problem::AfterEnd),
    }
}

impl Open {
    fn apply(
        &mut self,
        leaf: &Leaf,
        place: &InRequest,
        (cast, grounds): (&Cast, &Grounds),
        problems: &mut Vec<Problem>,
    ) -> Option<State> {
        if leaf.digest.is_some() {
            self.compare(leaf.digest, "record", problems);
        }
        if !is_talk(&leaf.body) {
            if leaf.at < self.last {
                problems.push(Problem::TimeWentBack);
            }
            self.last = self.last.max(leaf.at);
        }
        match &leaf.body {
            Body::ActionRequested(_) => problems.push(Problem::RequestedTwice),
            Body::PolicyDecided(body) => {
                let decided = Decided {
                    body: body.clone(),
                    at: leaf.at,
                    seq: place.seq,
                };
                self.decide(decided, problems);
            }
            Body::SelfGrew(grown) => self.grow(&grown.refs),
            Body::Commented(said) => self.amended_by(said),
            Body::ApprovalDecided(vote) => {
                if let Some(statement) = cast.statement
                    && !self.signed.insert(statement)
                {
                    let voter = vote.voter;
                    problems.push(Problem::SignatureUsedTwice { voter });
                }
                let (vote, at, seq) = (vote.clone(), leaf.at, place.seq);
                self.take(
                    Standing {
                        vote,
                        at,
                        seq,
                        has_reason: cast.has_reason,
                        grant: cast.grant.clone(),
                        granted: false,
                    },
                    problems,
                );
            }
            Body::GrantEnded(_) => self.votes.retain(|standing| !standing.granted),
            Body::ApprovalWithdrawn(withdrawn) => self.withdraw(withdrawn.voter, problems),
            Body::ActionPermitted(permitted) => {
                self.check_passkeys(permitted, grounds, problems);
                self.permit(permitted, leaf.at, problems);
            }
            Body::ActionOutcome(outcome) => {
                self.end(outcome, problems);
                return Some(State::Finished);
            }
            Body::RequestClosed(_) => {
                if self.permit.is_some() {
                    problems.push(Problem::ClosedAfterPermit);
                }
                return Some(State::Closed);
            }
            _ => {}
        }
        None
    }

    fn compare(
        &self,
        digest: Option<ActionDigest>,
        what: &'static str,
        problems: &mut Vec<Problem>,
    ) {
        if digest != self.digest {
            problems.push(Problem::DigestMismatch { what });
        }
    }

    fn decide(&mut self, decided: Decided, problems: &mut Vec<Problem>) {
        self.denied_by_policy |= decided.body.decision == Decision::Deny;
        match (decided.body.phase, &self.first) {
            (Phase::Request, Some(_)) => problems.push(Problem::DecidedTwice),
            (Phase::Request, None) => {
                check_hold(&decided.body, problems);
                if decided.body.decision != Decision::Hold {
                    self.asked = None;
                }
                self.first = Some(decided);
            }
            (Phase::Claim, None) => problems.push(Problem::ClaimBeforeDecision),
            (Phase::Claim, Some(_)) => self.claim = Some(decided),
        }
    }

    fn take(&mut self, standing: Standing, problems: &mut Vec<Problem>) {
        let vote = &standing.vote;
        let voter = vote.voter;
        let held = self
            .first
            .as_ref()
            .filter(|first| first.body.decision == Decision::Hold);
        if held.is_none() {
            problems.push(Problem::VoteWithoutHold);
        }
        if self.permit.is_some() {
            problems.push(Problem::VoteAfterPermit);
        }
        self.compare(Some(vote.digest), "vote", problems);
        // A denial ends an approved request too, whose approval can outlast `expires`.
        let rules = held.map_or(&[][..], |first| &first.body.rules);
        let expires = rules.iter().map(|rule| rule.expires).min();
        if vote.verdict == Verdict::Approve
            && expires.is_some_and(|expires| standing.at > self.requested.after(expires))
        {
            problems.push(Problem::VoteAfterExpiry { voter });
        }
        // Lifting a rule in an emergency fills no slot and stands beside the person's vote.
        let again = |earlier: &Standing| {
            earlier.vote.voter == voter && !earlier.vote.emergency && !earlier.granted
        };
        if !vote.emergency && self.votes.iter().any(again) {
            problems.push(Problem::VotedTwice { voter });
        }
        self.votes.push(standing);
    }

    fn withdraw(&mut self, voter: Ref, problems: &mut Vec<Problem>) {
        if self.permit.is_some() {
            problems.push(Problem::VoteAfterPermit);
        }
        let before = self.votes.len();
        self.votes
            .retain(|one| one.vote.voter != voter || one.vote.emergency || one.granted);
        if self.votes.len() == before {
            problems.push(Problem::NothingToWithdraw { voter });
        }
    }

    /// A passkey that was revoked in the meantime speaks for nobody any more.
    fn check_passkeys(
        &self,
        permitted: &ActionPermitted,
        grounds: &Grounds,
        problems: &mut Vec<Problem>,
    ) {
        let counted = |vote: &&ApprovalDecided| {
            vote.emergency || permitted.fills.iter().any(|fill| fill.voter == vote.voter)
        };
        let votes = self.votes.iter().map(|standing| &standing.vote);
        for vote in votes.filter(counted) {
            if grounds.is_revoked(vote) {
                let voter = vote.voter;
                problems.push(Problem::PasskeyRevoked { voter });
            }
        }
    }

    fn permit(&mut self, permitted: &ActionPermitted, at: Timestamp, problems: &mut Vec<Problem>) {
        if self.permit.is_some() {
            problems.push(Problem::PermittedTwice);
            return;
        }
        self.permit = Some(permitted.permit.clone());
        self.compare(Some(permitted.digest), "permit", problems);
        if let Some(amends) = &self.amends {
            amends.check(problems);
        }
        quorum::check(self, permitted, at, problems);
        self.agreed = Agreed::of(self, permitted).map(Box::new);
        self.votes = Vec::new();
    }

    fn end(&self, outcome: &ActionOutcome, problems: &mut Vec<Problem>) {
        match &self.permit {
            None => problems.push(Problem::OutcomeWithoutPermit),
            Some(permit) if *permit != outcome.permit => {
                problems.push(Problem::OutcomeOfOtherPermit {
                    found: outcome.permit.clone(),
                });
            }
            Some(_) => {}
        }
    }

    /// The shortest time among the rules as they were at the request and at the claim.
    pub(super) fn shortest(&self, time: impl Fn(&RuleShape) -> Span) -> Option<Span> {
        let decisions = self.first.iter().chain(&self.claim);
        decisions
            .flat_map(|decided| &decided.body.rules)
            .map(time)
            .min()
    }
}

/// A hold must need somebody, or it holds nothing.
fn check_hold(decided: &PolicyDecided, problems: &mut Vec<Problem>) {
    if decided.decision != Decision::Hold {
        return;
    }
    let needs_nobody = |rule: &&RuleShape| {
        (rule.stages.is_empty() && !rule.confirmation) || rule.stages.contains(&0)
    };
    let empty = decided
        .rules
        .iter()
        .filter(needs_nobody)
        .map(|rule| rule.name.to_string());
    let nothing = decided.rules.is_empty().then(String::new);
    problems.extend(empty.chain(nothing).map(|rule| Problem::EmptyRule { rule }));
}
