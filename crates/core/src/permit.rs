//! The proof that one action may run, once, soon.
//!
//! In scope: [`Intent`], the core's decision to let an action run, and [`Permit`], an intent that
//! is durably recorded.
//! Out of scope: recording and executing.
//! Invariant: nothing outside this crate can make an intent; a permit is made only from an intent
//! and the place in the log at which it is durable; neither can be copied. So a target cannot be
//! reached before the record is on disk (P1, P6), nor twice with one approval (P7).

use serde::{Deserialize, Serialize};

use crate::{
    decision::Decision,
    digest::ActionDigest,
    id::{PermitId, RequestId},
    time::{Span, Timestamp},
};

/// How long a permit can be used after it was minted. Execution itself may take longer.
pub const PERMIT_LIFETIME: Span = Span::from_millis(30_000);

/// The place of a record in the log, counted from 0. Whoever makes one says that the record there
/// is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LogIndex(pub u64);

/// What a permit will say, before it is recorded. Not yet good for anything.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[must_use = "an intent that is not recorded runs nothing"]
pub struct Intent {
    id: PermitId,
    request: RequestId,
    digest: ActionDigest,
    expires: Timestamp,
}

impl Intent {
    pub(crate) fn mint(
        id: PermitId,
        request: RequestId,
        digest: ActionDigest,
        now: Timestamp,
    ) -> Self {
        Self {
            id,
            request,
            digest,
            expires: now.after(PERMIT_LIFETIME),
        }
    }

    /// The intent of an action that policy permits without anybody's approval; `None` when it
    /// does not.
    #[must_use]
    pub fn of_permitted(
        decision: &Decision,
        id: PermitId,
        request: RequestId,
        digest: ActionDigest,
        now: Timestamp,
    ) -> Option<Self> {
        match decision {
            Decision::Permit { .. } => Some(Self::mint(id, request, digest, now)),
            Decision::Hold { .. } | Decision::Deny { .. } => None,
        }
    }

    /// The permit's name.
    #[must_use]
    pub fn id(&self) -> &PermitId {
        &self.id
    }

    /// The request it is for.
    #[must_use]
    pub fn request(&self) -> &RequestId {
        &self.request
    }

    /// The action it is for.
    #[must_use]
    pub fn digest(&self) -> ActionDigest {
        self.digest
    }

    /// When it can no longer be used.
    #[must_use]
    pub fn expires(&self) -> Timestamp {
        self.expires
    }

    /// The permit, now that the intent is durable at `index`.
    pub fn recorded(self, index: LogIndex) -> Permit {
        Permit {
            intent: self,
            index,
        }
    }
}

/// Single-use proof of authorisation for one action digest.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a permit that is not used leaves its action recorded as permitted and never run"]
pub struct Permit {
    intent: Intent,
    index: LogIndex,
}

/// Why a permit does not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PermitMismatch {
    /// The action at hand is another one.
    #[error("the permit is for another action")]
    OtherAction,
    /// It came too late.
    #[error("the permit has lapsed; ask again")]
    Lapsed,
}

/// A permit that was checked against the action at hand and is used up.
#[derive(Debug, PartialEq, Eq)]
pub struct Spent {
    /// The permit's name, for the outcome's record.
    pub permit: PermitId,
    /// The request it was for.
    pub request: RequestId,
    /// The action it was for.
    pub digest: ActionDigest,
    /// Where the intent stands in the log.
    pub index: LogIndex,
}

impl Permit {
    /// Uses the permit up for the action whose digest the runner computed itself.
    ///
    /// # Errors
    /// [`PermitMismatch`] when the digest is another or the time has passed; the permit is gone
    /// either way.
    pub fn spend(self, digest: ActionDigest, now: Timestamp) -> Result<Spent, PermitMismatch> {
        let Self { intent, index } = self;
        if intent.digest != digest {
            return Err(PermitMismatch::OtherAction);
        }
        if now > intent.expires {
            return Err(PermitMismatch::Lapsed);
        }
        Ok(Spent {
            permit: intent.id,
            request: intent.request,
            digest,
            index,
        })
    }

    /// The permit's name.
    #[must_use]
    pub fn id(&self) -> &PermitId {
        &self.intent.id
    }

    /// When it can no longer be used.
    #[must_use]
    pub fn expires(&self) -> Timestamp {
        self.intent.expires
    }
}
