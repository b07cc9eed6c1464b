//! A record before it has its place in the log.

use countersign_core::{canonical::Hash, digest::ActionDigest, id::RequestId, time::Timestamp};
use countersign_evidence::body::Body;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::journal::Noted;
use crate::vault::{Of, Vault};

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
    /// Whose details they are.
    pub of: Of,
}

/// A record whose evidence is sealed and encoded, ready for the sequencer.
#[derive(Debug)]
pub struct Prepared {
    pub(super) record: Record,
    pub(super) commitment: Option<Hash>,
    /// The stored form of the evidence.
    pub(super) evidence: Vec<u8>,
    pub(super) noted: Noted,
}

/// The most bytes of evidence; the log takes more, but no record of ours has.
const MAX_EVIDENCE: usize = 12 << 20;
/// The most bytes of a body in a leaf.
const MAX_BODY: usize = 48 << 10;

impl Record {
    /// A record that is about no request, with evidence of the installation's.
    #[must_use]
    pub fn control(at: Timestamp, body: Body, evidence: Value) -> Self {
        Self {
            at,
            body,
            digest: None,
            request: None,
            evidence,
            of: Of::Operation,
        }
    }

    /// Whether the log will take it. Asked before anything is stored, because what is stored and
    /// can't be recorded would stop every later record.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> anyhow::Result<()> {
        let evidence = countersign_core::canonical::json_to_canonical(&self.evidence)?;
        let body = countersign_core::canonical::to_canonical(&self.body)?;
        anyhow::ensure!(
            evidence.len() <= MAX_EVIDENCE && body.len() <= MAX_BODY,
            "the action is too large to be recorded"
        );
        Ok(())
    }

    /// Divides and seals the evidence.
    ///
    /// `outbox` is the number under which the store keeps the record until it is in the log; it
    /// lets a restart tell what arrived.
    ///
    /// # Errors
    /// When no random bytes are to be had, the evidence is not JSON, or a new key can't be kept.
    pub fn prepare(mut self, outbox: Option<u64>, vault: &Vault) -> anyhow::Result<Prepared> {
        let mut fields = std::mem::take(&mut self.evidence);
        if let (Some(seq), Some(fields)) = (outbox, fields.as_object_mut()) {
            fields.insert("outbox".into(), json!(seq));
        }
        // All hashing that needs no place in the log is done here, off the one thread that gives
        // places.
        let sealed = vault.seal(&self.of, self.at, fields)?;
        Ok(Prepared {
            record: self,
            commitment: sealed.commitment,
            evidence: sealed.stored,
            noted: Noted::of(&sealed.control),
        })
    }
}

#[cfg(test)]
mod tests {
    use countersign_evidence::body::SecurityEvent;

    use super::*;

    #[test]
    fn what_the_log_would_not_take_is_refused_before() {
        let record = |evidence| {
            Record::control(
                Timestamp(0),
                Body::SecurityEvent(SecurityEvent {
                    code: "test".into(),
                }),
                evidence,
            )
        };
        assert!(
            record(json!({ "n": 9_007_199_254_740_991_u64 }))
                .check()
                .is_ok()
        );
        assert!(
            record(json!({ "n": 9_007_199_254_740_992_u64 }))
                .check()
                .is_err()
        );
        assert!(
            record(json!({ "text": "x".repeat(MAX_EVIDENCE) }))
                .check()
                .is_err()
        );
    }
}
