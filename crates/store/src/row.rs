//! What is kept beside a case's body so that it can be found.
//!
//! In scope: the columns derived from a case, its body as bytes, what makes a write acceptable
//! before any store sees it, and the filter of a list.
//! Out of scope: where the columns are kept.
//! Invariant: both stores derive the same columns from the same case, and a body that is accepted
//! reads back as the same case.

use std::collections::BTreeSet;

use countersign_core::{
    approval::grant::Grant,
    canonical::Hash,
    digest::AttachKey,
    id::{PermitId, PersonId, RequestId},
    lifecycle,
    request::{Case, Phase},
    time::Timestamp,
};

use crate::{CaseFilter, CaseSummary, CaseWrite, Page, StoreError};

/// The most lines of one page.
const MAX_PAGE: u32 = 200;

/// How long an answer is kept under its idempotency key, in milliseconds.
pub(crate) const IDEMPOTENCY_KEPT: i64 = 24 * 60 * 60 * 1_000;

/// How long what was answered is kept, in milliseconds: longer than anybody waits for an answer.
pub(crate) const DELIVERIES_KEPT: i64 = 90 * 24 * 60 * 60 * 1_000;

/// What is said when a write refers to a row that is not there.
pub(crate) const DANGLING: &str = "it refers to something that is not stored";

/// Every phase's name, as [`Phase::name`] gives it and the schema's CHECK repeats it.
pub const PHASES: [&str; 14] = [
    "held",
    "approved",
    "running",
    "succeeded",
    "failed",
    "unknown",
    "denied",
    "expired",
    "unclaimed",
    "cancelled",
    "amended",
    "unreachable",
    "policy_changed",
    "requester_stopped",
];

/// The columns that never change.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Fixed {
    pub(crate) attach_key: AttachKey,
    pub(crate) digest: Hash,
    pub(crate) requester: String,
    pub(crate) target: String,
    pub(crate) title: String,
    pub(crate) reason: Option<String>,
    pub(crate) folded: String,
    pub(crate) at: Timestamp,
    /// The people on whose side the request is.
    pub(crate) people: BTreeSet<PersonId>,
}

/// All columns but the body.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CaseRow {
    pub(crate) id: RequestId,
    pub(crate) version: u64,
    pub(crate) phase: &'static str,
    pub(crate) fixed: Fixed,
    pub(crate) deadline: Option<Timestamp>,
    pub(crate) refuse_until: Option<Timestamp>,
    pub(crate) permit: Option<PermitId>,
    pub(crate) grant_until: Option<Timestamp>,
    pub(crate) voters: BTreeSet<PersonId>,
    /// That something of it was lifted in an emergency.
    pub(crate) emergency: Option<Emergency>,
}

/// What is kept beside a case of its emergencies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Emergency {
    /// The earliest time by which one that nobody has reviewed must be.
    pub(crate) review_by: Option<Timestamp>,
}

impl CaseRow {
    /// Derives the columns of a write.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when an envelope comes without its vote, so that it could never be
    /// traced to a verdict.
    pub(crate) fn of(write: &CaseWrite) -> Result<Self, StoreError> {
        let CaseWrite { case, envelopes } = write;
        let voters: BTreeSet<_> = case.votes.iter().map(|vote| vote.voter.clone()).collect();
        if !envelopes.iter().all(|(voter, _)| voters.contains(voter)) {
            return Err(StoreError::Refused("envelope_has_its_vote".into()));
        }
        let request = &case.request;
        let requester = request.chain.requester.id.to_string();
        let title = &request.presentation.title;
        let reason = request.reason.as_deref();
        let folded = fold(&format!("{title}\n{}\n{requester}", reason.unwrap_or("")));
        let (refuse_until, permit) = match &case.phase {
            Phase::Held { .. } | Phase::Approved { .. } => (None, None),
            Phase::Running { permit, .. } | Phase::Finished { permit, .. } => {
                (None, Some(permit.clone()))
            }
            Phase::Closed { refuse_until, .. } => (Some(*refuse_until), None),
        };
        Ok(Self {
            id: request.id.clone(),
            version: case.version,
            phase: case.phase.name(),
            fixed: Fixed {
                attach_key: request.attach_key,
                digest: request.digest.0,
                requester,
                target: request.action.target.to_string(),
                title: title.clone(),
                reason: request.reason.clone(),
                folded,
                at: request.at,
                people: people(case),
            },
            deadline: lifecycle::deadline(case),
            refuse_until,
            permit,
            grant_until: case.grant.as_deref().and_then(Grant::live_until),
            voters,
            emergency: emergency(case),
        })
    }

    /// Whether an identical call attaches to it as long as nothing changes.
    pub(crate) fn is_attachable(&self) -> bool {
        self.deadline.is_some() || self.phase == "running"
    }

    /// Until when an identical call is refused, where a person denied it.
    pub(crate) fn denied_until(&self) -> Option<Timestamp> {
        self.refuse_until.filter(|_| self.phase == "denied")
    }

    /// Whether something of it was lifted in an emergency that nobody has reviewed.
    pub(crate) fn awaits_review(&self) -> bool {
        self.emergency.is_some_and(|one| one.review_by.is_some())
    }

    /// Whether the list shows it, apart from paging.
    pub(crate) fn matches(&self, filter: &CaseFilter) -> bool {
        let Fixed {
            requester,
            target,
            at,
            folded,
            people,
            ..
        } = &self.fixed;
        (filter.phases.is_empty() || filter.phases.iter().any(|phase| phase == self.phase))
            && filter.requester.as_ref().is_none_or(|who| who == requester)
            && filter
                .side_of
                .as_ref()
                .is_none_or(|who| people.contains(who))
            && filter.emergency.is_none_or(|wanted| {
                self.emergency
                    .is_some_and(|one| wanted.takes(one.review_by))
            })
            && filter.target.as_ref().is_none_or(|which| which == target)
            && filter
                .text
                .as_ref()
                .is_none_or(|text| folded.contains(&fold(text)))
            && filter.since.is_none_or(|since| *at >= since)
            && filter.until.is_none_or(|until| *at < until)
    }

    /// One line of a list.
    pub(crate) fn summary(&self) -> CaseSummary {
        CaseSummary {
            id: self.id.clone(),
            phase: self.phase.into(),
            requester: self.fixed.requester.clone(),
            target: self.fixed.target.clone(),
            title: self.fixed.title.clone(),
            reason: self.fixed.reason.clone(),
            at: self.fixed.at,
            deadline: self.deadline,
        }
    }
}

fn emergency(case: &Case) -> Option<Emergency> {
    let due = case.lifted.iter().filter(|lift| lift.reviewed.is_none());
    let review_by = due.map(|lift| lift.review_by).min();
    (!case.lifted.is_empty()).then_some(Emergency { review_by })
}

/// The people on whose side a request is.
fn people(case: &Case) -> BTreeSet<PersonId> {
    let members = case.request.chain.members();
    members
        .flat_map(countersign_core::subject::Subject::people)
        .cloned()
        .collect()
}

/// Everybody who asks in a request: its requester, and whom they act for.
pub(crate) fn members(case: &Case) -> BTreeSet<String> {
    let members = case.request.chain.members();
    members.map(|member| member.id.to_string()).collect()
}

/// The form in which text is compared without regard to case.
pub(crate) fn fold(text: &str) -> String {
    text.to_lowercase()
}

/// How many lines a page has.
pub(crate) fn page_size(filter: &CaseFilter) -> u32 {
    filter.limit.clamp(1, MAX_PAGE)
}

/// A page out of its lines and, where there are more, one line of the next.
pub(crate) fn page(filter: &CaseFilter, mut items: Vec<CaseSummary>) -> Page<CaseSummary> {
    let size = usize::try_from(page_size(filter)).unwrap_or(usize::MAX);
    let more = items.len() > size;
    items.truncate(size);
    let last = items.last().map(|line| line.id.clone());
    Page {
        next: last.filter(|_| more),
        items,
    }
}

/// The refusal of a list that goes on after a request that does not exist.
pub(crate) fn no_such_cursor(after: &RequestId) -> StoreError {
    StoreError::Refused(format!("no request `{after}` to continue after"))
}

/// The bytes of a case.
///
/// # Errors
/// [`StoreError::Refused`] when it has no JSON form.
pub(crate) fn encode(case: &Case) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(case).map_err(|error| {
        StoreError::Refused(format!("the case cannot be written as JSON: {error}"))
    })
}

/// The bytes of a new case, from which it reads back the same.
///
/// # Errors
/// [`StoreError::Refused`] when it does not, for example because its arguments are nested more
/// deeply than the reader follows: what was approved could never run.
pub(crate) fn encode_new(case: &Case) -> Result<Vec<u8>, StoreError> {
    let body = encode(case)?;
    match serde_json::from_slice::<Case>(&body) {
        Ok(read) if read == *case => Ok(body),
        Ok(_) => Err(StoreError::Refused(
            "case_reads_back: it would change".into(),
        )),
        Err(error) => Err(StoreError::Refused(format!("case_reads_back: {error}"))),
    }
}

/// The case in `body`.
///
/// # Errors
/// [`StoreError::Corrupt`] when the body is none.
pub(crate) fn decode(id: &RequestId, body: &[u8]) -> Result<Case, StoreError> {
    serde_json::from_slice(body).map_err(|error| StoreError::Corrupt(format!("`{id}`: {error}")))
}
