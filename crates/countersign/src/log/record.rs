//! A record before it has its place in the log.

use countersign_core::{digest::ActionDigest, id::RequestId, time::Timestamp};
use countersign_evidence::{body::Body, evidence::Evidence};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::journal::Noted;
use crate::keys;

/// What happened, with the details that the leaf only commits to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// When.
    pub at: Timestamp,
    /// What.
    pub body: Body,
    /// The action concerned.
    pub digest: Option<ActionDigest>,
    /// The request concerned and the record's number within it.
    pub request: Option<(RequestId, u64)>,
    /// Details, kept beside the leaf; an object.
    pub evidence: Value,
}

/// A record whose evidence is salted and encoded, ready for the sequencer.
#[derive(Debug)]
pub struct Prepared {
    pub(super) record: Record,
    pub(super) evidence: Evidence,
    pub(super) noted: Noted,
}

impl Record {
    /// Salts the evidence.
    ///
    /// `outbox` is the number under which the store keeps the record until it is in the log; it
    /// lets a restart tell what arrived.
    ///
    /// # Errors
    /// When no random bytes are to be had or the evidence is not JSON.
    pub fn prepare(self, outbox: Option<u64>) -> anyhow::Result<Prepared> {
        let mut record = self;
        let mut value = std::mem::take(&mut record.evidence);
        if let (Some(seq), Some(fields)) = (outbox, value.as_object_mut()) {
            fields.insert("outbox".into(), json!(seq));
        }
        let evidence = Evidence::new(keys::random()?, &value)?;
        Ok(Prepared {
            record,
            evidence,
            noted: Noted::of(&value),
        })
    }
}
