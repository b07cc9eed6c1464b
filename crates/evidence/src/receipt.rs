//! Receipts: what the log says of one request, in one file, with its proofs.
//!
//! In scope: the file's text, and the proofs in it.
//! Out of scope: finding the entries in a log; whether they keep the rules
//! ([`verify_receipt`](crate::verify::verify_receipt)).
//! Invariant: a text that reads is written again as it was. Everything but the checkpoint and the
//! proofs is believed only as far as these cover it.
//! Specification: <https://c2sp.org/tlog-proof> for the request's last entry. Its extra data is
//! RFC 8785 JSON: `{"entries":[{"evidence"?,"index","leaf","proof":[…]}…],"request","v":1}`, with
//! leaf and evidence as the text that is in the log, and hashes as hexadecimal digits.

use base64::{Engine, engine::general_purpose::STANDARD};
use countersign_core::{
    canonical::{Hash, to_canonical},
    id::RequestId,
};
use serde::{Deserialize, Serialize};

use crate::{
    leaf::safe,
    merkle::proof::{ProofUnavailable, inclusion},
};

const FIRST_LINE: &str = "c2sp.org/tlog-proof@v1";
const VERSION: u32 = 1;

/// Why a text is no receipt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidReceipt {
    /// A line of the proof's own format.
    #[error("line {0} is not what a tlog-proof has there")]
    Line(usize),
    /// The extra data.
    #[error(
        "the proof is not a receipt of Countersign: its extra data does not list the entries of a request"
    )]
    Extra,
    /// The proof is of another entry than the extra data says.
    #[error("the proof is not that of the last entry it lists")]
    Last,
}

/// One entry and its proof.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proven {
    /// The evidence as it is stored; `None` when it was left out.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub evidence: Option<String>,
    /// Its place in the log.
    #[serde(with = "safe")]
    pub index: u64,
    /// The leaf.
    pub leaf: String,
    /// The inclusion proof, leaf to root.
    pub proof: Vec<Hash>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Extra {
    entries: Vec<Proven>,
    request: RequestId,
    v: u32,
}

/// What the log says of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The request.
    pub request: RequestId,
    /// Its entries, in the order of the log.
    pub entries: Vec<Proven>,
    /// The signed checkpoint that the proofs lead to.
    pub checkpoint: String,
}

impl Receipt {
    /// Proves entries, each with its index, leaf and evidence, under a checkpoint of `size`
    /// entries. `subtree` gives roots of perfect subtrees as [`inclusion`] wants them.
    ///
    /// # Errors
    /// [`ProofUnavailable`] when an entry is beyond the checkpoint or a hash is missing.
    pub fn prove(
        request: RequestId,
        entries: Vec<(u64, String, Option<String>)>,
        (checkpoint, size): (String, u64),
        subtree: &impl Fn(u32, u64) -> Option<Hash>,
    ) -> Result<Self, ProofUnavailable> {
        let entries = entries.into_iter().map(|(index, leaf, evidence)| {
            let proof = inclusion(index, size, subtree)?;
            Ok(Proven {
                evidence,
                index,
                leaf,
                proof,
            })
        });
        let entries = entries.collect::<Result<_, _>>()?;
        Ok(Self {
            request,
            entries,
            checkpoint,
        })
    }

    /// The file's text; `None` for a receipt without entries.
    #[must_use]
    pub fn to_text(&self) -> Option<String> {
        let last = self.entries.last()?;
        let extra = Extra {
            entries: self.entries.clone(),
            request: self.request.clone(),
            v: VERSION,
        };
        let extra = STANDARD.encode(to_canonical(&extra).ok()?);
        let mut text = format!("{FIRST_LINE}\nextra {extra}\nindex {}\n", last.index);
        for hash in &last.proof {
            text.push_str(&STANDARD.encode(hash.0));
            text.push('\n');
        }
        text.push('\n');
        text.push_str(&self.checkpoint);
        Some(text)
    }

    /// Reads the file's text.
    ///
    /// # Errors
    /// [`InvalidReceipt`] for anything that [`to_text`](Self::to_text) would write differently.
    pub fn parse(text: &str) -> Result<Self, InvalidReceipt> {
        let (head, checkpoint) = text.split_once("\n\n").ok_or(InvalidReceipt::Line(1))?;
        let mut lines = head.split('\n');
        if lines.next() != Some(FIRST_LINE) {
            return Err(InvalidReceipt::Line(1));
        }
        let extra = lines.next().and_then(|line| line.strip_prefix("extra "));
        let extra = STANDARD
            .decode(extra.ok_or(InvalidReceipt::Line(2))?)
            .map_err(|_| InvalidReceipt::Line(2))?;
        let read: Extra = serde_json::from_slice(&extra).map_err(|_| InvalidReceipt::Extra)?;
        if read.v != VERSION {
            return Err(InvalidReceipt::Extra);
        }
        let receipt = Self {
            request: read.request,
            entries: read.entries,
            checkpoint: checkpoint.to_owned(),
        };
        // Index and proof stand in both places; what is written again tells whether they agree.
        match receipt.to_text() {
            Some(again) if again == text => Ok(receipt),
            Some(_) => Err(InvalidReceipt::Last),
            None => Err(InvalidReceipt::Extra),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::merkle::{leaf_hash, proof::subtrees_of, proof::verify_inclusion};

    fn receipt(indexes: &[u64], evidence: bool) -> Receipt {
        let leaves: Vec<_> = (0..20u64).map(|n| leaf_hash(&n.to_be_bytes())).collect();
        let entries = indexes.iter().map(|n| {
            let evidence = evidence.then(|| format!("evidence {n}"));
            (*n, format!("leaf {n}"), evidence)
        });
        let checkpoint = ("origin\n20\nroot\n\n— origin signature\n".to_owned(), 20);
        let subtrees = subtrees_of(&leaves);
        Receipt::prove(
            RequestId::from_bits(7),
            entries.collect(),
            checkpoint,
            &subtrees,
        )
        .unwrap()
    }

    #[test]
    fn the_text_is_a_tlog_proof_of_the_last_entry() {
        let receipt = receipt(&[3, 9], true);
        let text = receipt.to_text().unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "c2sp.org/tlog-proof@v1");
        assert!(lines[1].starts_with("extra "));
        assert_eq!(lines[2], "index 9");
        let end = lines.iter().position(|line| line.is_empty()).unwrap();
        let path: Vec<Hash> = lines[3..end]
            .iter()
            .map(|line| Hash(STANDARD.decode(line).unwrap().try_into().unwrap()))
            .collect();
        let leaves: Vec<_> = (0..20u64).map(|n| leaf_hash(&n.to_be_bytes())).collect();
        let root = crate::merkle::tests::root_by_definition(&leaves);
        verify_inclusion(leaves[9], 9, 20, &path, root).unwrap();
        assert!(text.ends_with("\n\norigin\n20\nroot\n\n— origin signature\n"));
    }

    #[test]
    fn texts_read_back_and_others_are_refused() {
        for evidence in [true, false] {
            let receipt = receipt(&[0, 5, 19], evidence);
            let text = receipt.to_text().unwrap();
            assert_eq!(Receipt::parse(&text), Ok(receipt));
            for (from, to) in [
                ("@v1", "@v2"),
                ("index 19", "index 5"),
                ("index 19", "index 019"),
                ("extra ", "extra  "),
                ("extra ", ""),
            ] {
                assert!(Receipt::parse(&text.replacen(from, to, 1)).is_err(), "{to}");
            }
        }
        assert_eq!(receipt(&[], true).to_text(), None);
    }

    proptest! {
        #[test]
        fn what_reads_is_written_the_same(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let text = receipt(&[1, 2], true).to_text().unwrap();
            let mut bytes = text.clone().into_bytes();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if let Ok(changed) = String::from_utf8(bytes)
                && let Ok(read) = Receipt::parse(&changed)
            {
                prop_assert_eq!(read.to_text(), Some(changed));
            }
        }
    }
}
