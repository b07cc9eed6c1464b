//! The only event loop for holds.
//!
//! In scope: admission of new requests, one loop that steps held cases, persists and records each
//! step before anybody is told, and wakes whoever waits.
//! Out of scope: deciding (policy), judging votes (core), executing (runner).
//! Invariant: a case is changed only here, by [`step`](countersign_core::lifecycle::step), in the
//! order store, log, answer. A permit leaves here only after its intent is in the log.

mod admission;
mod amending;
mod checking;
mod desk;
mod emergencies;
mod evaluate;
mod granting;
mod looping;
mod records;
mod recovery;
pub mod seal;
mod turn;
mod turns;
mod unknown;
mod updates;
mod wearing;
mod words;

use std::collections::BTreeSet;

use countersign_core::{
    approval::vote::Credential,
    count::counted,
    id::{PersonId, RequestId},
    lifecycle::{Event, Refusal},
    permit::Permit,
    request::{Case, Request},
    subject::SubjectId,
};
use countersign_evidence::body::Body;
use countersign_store::{Forgetting, StoreError};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

pub use admission::{Admission, Admitted, Asked, Early, Uncased};
pub use desk::Desk;
pub use emergencies::{Emergencies, Unreviewed};
pub use evaluate::{Evaluated, Submitted};
pub use looping::{Parts, start};
pub use records::{decided_record, outcome_record, permitted_record, requested_record};
pub use unknown::Unknown;
pub use updates::{Update, Updates};

use crate::log::LogError;

/// Why the engine did not do something.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The event was refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// There is no such request.
    #[error("there is no request `{0}`")]
    NoSuchRequest(RequestId),
    /// The clock can't be trusted.
    #[error("nothing is claimed while the clock is wrong: {0}")]
    Clock(String),
    /// A stored vote is not what was signed.
    #[error("a stored vote is not what was signed; the request was not run")]
    ForgedVote(PersonId),
    /// What the database has of a request was not written by this gateway.
    #[error("`{0}` was changed in the database; nothing is decided about it, ask for it again")]
    ForgedRequest(RequestId),
    /// The request that this one replaces has not ended for it.
    #[error(
        "`{0}`, which this request replaces, did not end for it, so that both could run; cancel this one and ask for it again"
    )]
    OriginalNotClosed(RequestId),
    /// The same action of somebody else ended, and nobody knows how, after this one was approved.
    #[error(
        "`{0}` may have happened already: somebody else asked for the same, and nobody knows how that \
         ended; cancel this request and ask for it again"
    )]
    MayHaveRun(RequestId),
    /// A vote's passkey was revoked after the vote.
    #[error(
        "the passkey that `{0}` signed with was revoked since; ask them to withdraw and decide again, or \
         for what was lifted in an emergency ask for the action again"
    )]
    RevokedPasskey(PersonId),
    /// What came along as a passkey's signature is not that of the vote.
    #[error("the passkey's signature does not fit the vote: {0}")]
    NotSigned(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The log failed.
    #[error(transparent)]
    Log(#[from] LogError),
    /// One subject holds too much.
    #[error(
        "`{0}` has {waiting} waiting, which is the limit; cancel some or wait",
        waiting = counted(*.1, "request", "requests")
    )]
    TooManyHeld(String, u32),
    /// Everybody together holds too much.
    #[error(
        "{0} requests are waiting in all, which is this gateway's limit; nothing more is held until some are decided"
    )]
    TooManyHeldInAll(u32),
    /// The log can't take a record of it.
    #[error("it can't be recorded, so it is not done: {0}")]
    RefusedByLog(String),
    /// The change is stored and its record is not in the log yet.
    #[error("it is stored, but not recorded yet: {0}")]
    StoredNotLogged(String),
    /// Too much is under way.
    #[error("the gateway is busy; try again in a moment")]
    Busy,
    /// Something inside is broken.
    #[error("{0}")]
    Internal(String),
}

impl EngineError {
    /// The name of a refusal that is recorded as an attempt on the request; `None` for what could
    /// not be decided at all.
    #[must_use]
    pub fn refusal(&self) -> Option<&'static str> {
        Some(match self {
            Self::Refused(refusal) => refusal.code(),
            Self::ForgedVote(_) => "forged_vote",
            Self::RevokedPasskey(_) => "revoked_passkey",
            Self::ForgedRequest(_) => "forged_request",
            Self::NotSigned(_) => "not_signed",
            Self::OriginalNotClosed(_) => "original_not_closed",
            Self::MayHaveRun(_) => "may_have_run",
            _ => return None,
        })
    }
}

/// Something to do to a case.
#[derive(Debug, Clone)]
pub enum Input {
    /// An event of the lifecycle. A vote comes with the text the voter was shown.
    Event(Event),
    /// The requester wants the action to run now.
    Claim {
        /// Who.
        by: SubjectId,
    },
    /// Somebody comes along with a credential of their own, to wait for it too or to claim it: whoever had a
    /// hand in that credential is *self* for the case from now on.
    Came {
        /// Everybody who had.
        behind: BTreeSet<PersonId>,
    },
    /// Something to record about the case that does not change it: a page was opened, an attempt
    /// was refused.
    Note {
        /// The record.
        body: Body,
        /// Its evidence.
        evidence: Value,
    },
    /// The permitted action ended.
    Ended {
        /// How.
        ended: Ended,
    },
}

/// How an execution ended, with what is recorded of it.
#[derive(Debug, Clone)]
pub struct Ended {
    /// The permit it ran under.
    pub permit: countersign_core::id::PermitId,
    /// How.
    pub outcome: countersign_core::request::Outcome,
    /// Its exit status.
    pub exit: Option<i32>,
    /// Details, for example hashes of the output.
    pub result: Value,
}

/// What a step led to.
#[derive(Debug)]
pub struct Stepped {
    /// The case afterwards.
    pub case: Case,
    /// The permit, from a successful claim.
    pub permit: Option<Permit>,
}

type Answer<T> = oneshot::Sender<Result<T, EngineError>>;

enum Command {
    Open {
        request: Box<Request>,
        input: Value,
        answer: Answer<Opened>,
    },
    Step {
        id: RequestId,
        input: Box<Input>,
        answer: Answer<Stepped>,
    },
    Forget {
        what: Forgetting,
        answer: Answer<()>,
    },
    Delegated {
        answer: Answer<()>,
    },
    Flush {
        answer: Answer<()>,
    },
    WorldChanged {
        proposers: BTreeSet<PersonId>,
        answer: Answer<usize>,
    },
}

/// What became of a request that policy holds.
#[derive(Debug)]
pub enum Opened {
    /// It waits now.
    Held(Box<Case>),
    /// An identical one was there already.
    Attached(Box<Case>),
    /// It can't be satisfied, or an identical one was denied a short while ago.
    Denied {
        /// The request, recorded as denied.
        request: RequestId,
        /// Why.
        reason: countersign_core::decision::DenyReason,
    },
}

/// The way to the loop. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    to: mpsc::Sender<Command>,
    updates: Updates,
    desk: Desk,
    emergencies: Emergencies,
}

impl Engine {
    async fn ask<T>(&self, command: impl FnOnce(Answer<T>) -> Command) -> Result<T, EngineError> {
        let (answer, result) = oneshot::channel();
        self.to
            .try_send(command(answer))
            .map_err(|_| EngineError::Busy)?;
        result
            .await
            .map_err(|_| EngineError::Internal("the engine has stopped".into()))?
    }

    /// Holds a request, or attaches to an identical one. `input` is what policy was asked when it
    /// decided so, for the record.
    ///
    /// # Errors
    /// [`EngineError`] when nothing was stored.
    pub async fn open(&self, request: Request, input: Value) -> Result<Opened, EngineError> {
        self.ask(|answer| Command::Open {
            request: Box::new(request),
            input,
            answer,
        })
        .await
    }

    /// Does something to a case.
    ///
    /// # Errors
    /// [`EngineError::Refused`] with the reason; other errors when it could not be done.
    pub async fn step(&self, id: RequestId, input: Input) -> Result<Stepped, EngineError> {
        self.ask(|answer| Command::Step {
            id,
            input: Box::new(input),
            answer,
        })
        .await
    }

    /// Claims a request, once everybody who had a hand in the claimant's credential is *self* for it.
    ///
    /// # Errors
    /// [`EngineError::Refused`] with the reason; other errors when it could not be done.
    pub async fn claim(
        &self,
        id: &RequestId,
        by: SubjectId,
        behind: BTreeSet<PersonId>,
    ) -> Result<Stepped, EngineError> {
        match self.step(id.clone(), Input::Came { behind }).await {
            // The claim says so, which is recorded.
            Ok(_) | Err(EngineError::ForgedRequest(_)) => {}
            Err(error) => return Err(error),
        }
        self.step(id.clone(), Input::Claim { by }).await
    }

    /// Judges every open case again after directory or rules changed. `proposers` count as *self*
    /// for the cases that are open now. Returns how many ended because their requester was stopped.
    ///
    /// # Errors
    /// [`EngineError`] when not all could be judged; claims judge again anyway.
    pub async fn world_changed(&self, proposers: BTreeSet<PersonId>) -> Result<usize, EngineError> {
        self.ask(|answer| Command::WorldChanged { proposers, answer })
            .await
    }

    /// Has whoever lets a machine act for them be *self* for what it asked and what is still open.
    ///
    /// # Errors
    /// [`EngineError`] when not all could be told.
    pub async fn delegated(&self) -> Result<(), EngineError> {
        self.ask(|answer| Command::Delegated { answer }).await
    }

    /// Brings records that wait in the store to the log.
    ///
    /// # Errors
    /// [`EngineError`] when the log can't be written; the next turn, or the next start, does it.
    pub async fn flush(&self) -> Result<(), EngineError> {
        self.ask(|answer| Command::Flush { answer }).await
    }

    /// Deletes for good, between two turns, and with it what waited on its way to the log.
    ///
    /// # Errors
    /// [`EngineError`] when something may still be in a file; doing it again finishes it.
    pub async fn forget(&self, what: Forgetting) -> Result<(), EngineError> {
        self.ask(|answer| Command::Forget { what, answer }).await
    }

    /// The open cases.
    #[must_use]
    pub fn desk(&self) -> &Desk {
        &self.desk
    }

    /// The emergencies that nobody has reviewed.
    #[must_use]
    pub fn emergencies(&self) -> &Emergencies {
        &self.emergencies
    }

    /// News of requests.
    #[must_use]
    pub fn updates(&self) -> &Updates {
        &self.updates
    }
}

/// A credential as the core sees it.
#[must_use]
pub fn credential(
    stored: &countersign_store::StoredCredential,
    assurance: countersign_core::approval::rule::Assurance,
) -> Credential {
    let mut lineage = crate::identity::lineage_of(stored);
    lineage.retain(|person| stored.issued_by.as_ref() != Some(person));
    Credential {
        id: stored.id.clone(),
        issued_by: stored.issued_by.clone(),
        lineage,
        assurance,
    }
}
