//! The fixed words that records use.
//!
//! In scope: enumerations without data, written in snake case.
//! Out of scope: the records ([`body`](super)).
//! Invariant: a word once written is never renamed or reused, because old records stay readable.

use serde::{Deserialize, Serialize};

macro_rules! words {
    ($($(#[$doc:meta])* $name:ident {$($(#[$word_doc:meta])* $word:ident,)*})*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name {$($(#[$word_doc])* $word,)*}
    )*};
}

words! {
    /// What a key signs.
    KeyPurpose {
        /// Checkpoints.
        Log,
        /// Votes.
        Vote,
    }
    /// Why keys were destroyed.
    Erasure {
        /// A person was erased.
        Person,
        /// They had been kept as long as they should be.
        Retention,
    }
    /// When policy was asked.
    Phase {
        /// When the action was requested.
        Request,
        /// When the approved action was claimed.
        Claim,
    }
    /// What policy said.
    Decision {
        /// Go ahead.
        Permit,
        /// Wait for approvals.
        Hold,
        /// No.
        Deny,
    }
    /// For or against.
    Verdict {
        /// Countersigned.
        Approve,
        /// Refused.
        Deny,
    }
    /// How sure the gateway was that the voter is who they are, weakest first.
    Assurance {
        /// A click in a chat.
        Chat,
        /// A fresh act in a signed-in browser session.
        Session,
        /// A signature by a passkey with user verification.
        Passkey,
    }
    /// What a message is.
    CommentKind {
        /// Said by anybody who sees the request.
        Comment,
        /// Asked by a reviewer.
        Question,
        /// Given by the requester's side.
        Answer,
        /// Another action proposed instead.
        Amendment,
    }
    /// How an action ended.
    OutcomeStatus {
        /// It did what it should.
        Succeeded,
        /// It ran and reported failure.
        Failed,
        /// Nobody knows.
        Unknown,
    }
    /// Why a request ended without running.
    CloseReason {
        /// An eligible person said no.
        Denied,
        /// Nobody decided in time.
        Expired,
        /// Approved, but not claimed in time.
        Unclaimed,
        /// Taken back.
        Cancelled,
        /// Replaced by another request.
        Amended,
        /// The quorum can no longer be reached.
        Unreachable,
        /// At the claim, current policy said otherwise.
        PolicyChanged,
        /// Whoever asked, or somebody they act for, was stopped, disabled or removed.
        RequesterStopped,
    }
    /// How a bundle became active.
    ActivatedBy {
        /// Trusted once, at the first start.
        FirstStart,
        /// By a permitted request.
        Request,
        /// By a local recovery.
        Recovery,
    }
    /// What a credential is.
    CredentialKind {
        /// A sign-in link.
        Link,
        /// A browser session.
        Session,
        /// A token, which never votes.
        Token,
        /// A passkey, which signs votes.
        Passkey,
        /// An account in a chat, which votes with a click there.
        Account,
    }
}
