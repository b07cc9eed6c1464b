//! How far the answer to a job is.
//!
//! In scope: what is kept of it.
//! Out of scope: what is done about it ([`following`](super::following)).
//! Invariant: what is answered yes is never taken from here but from the request that was decided.

use countersign_core::{id::RequestId, time::Timestamp};
use countersign_store::{Delivery, Store, StoreError, Write};
use serde::{Deserialize, Serialize};

use super::{incoming::Wanted, runs::Seen};

/// How far it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "stage")]
pub(super) enum Stage {
    /// Nobody has decided anything.
    Asking {
        /// Whether it was said at GitHub that there is no room yet.
        told: bool,
    },
    /// It may go on, and that is being told. Whoever finds it like this does not know whether it was.
    Carrying {
        /// The request, which has no case.
        request: RequestId,
    },
    /// People decide.
    Waiting {
        /// The request.
        request: RequestId,
        /// Whether it was said at GitHub that they do.
        told: bool,
    },
    /// It may not go on, and GitHub is to be told so.
    Rejecting {
        /// In these words.
        comment: String,
    },
    /// Nothing is owed any more.
    Over,
}

/// One job that waits, or did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) gate: String,
    pub(super) at: Timestamp,
    pub(super) wanted: Wanted,
    /// What GitHub said of the run when it was asked about.
    pub(super) seen: Option<Seen>,
    pub(super) stage: Stage,
}

#[derive(Serialize, Deserialize)]
struct State {
    wanted: Wanted,
    #[serde(default)]
    seen: Option<Seen>,
    #[serde(flatten)]
    stage: Stage,
}

impl Row {
    /// What is stored of it.
    ///
    /// # Errors
    /// It has no JSON form.
    pub(super) fn delivery(&self) -> Result<Delivery, StoreError> {
        let state = State {
            wanted: self.wanted.clone(),
            seen: self.seen.clone(),
            stage: self.stage.clone(),
        };
        // Nobody is named in what is kept only so that the same is recognised.
        let state = match &self.stage {
            Stage::Over => Ok("{}".to_owned()),
            _ => serde_json::to_string(&state),
        };
        Ok(Delivery {
            gate: self.gate.clone(),
            key: self.wanted.key(),
            at: self.at,
            state: state.map_err(|error| StoreError::Failed(error.to_string()))?,
            done: self.stage == Stage::Over,
        })
    }

    /// Stores it.
    ///
    /// # Errors
    /// The store can't be written.
    pub(super) async fn save(&self, store: &dyn Store) -> Result<(), StoreError> {
        let write = Write::PutDelivery(self.delivery()?);
        store.commit(vec![write]).await.map(|_| ())
    }

    /// Reads it back.
    ///
    /// # Errors
    /// Somebody else wrote it.
    pub(super) fn read(delivery: &Delivery) -> Result<Self, StoreError> {
        let state: State = serde_json::from_str(&delivery.state)
            .map_err(|error| StoreError::Corrupt(error.to_string()))?;
        Ok(Self {
            gate: delivery.gate.clone(),
            at: delivery.at,
            wanted: state.wanted,
            seen: state.seen,
            stage: state.stage,
        })
    }
}
