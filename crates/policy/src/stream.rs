//! Streams: what of the record is told to other systems, and where.
//!
//! In scope: the settings of one stream.
//! Out of scope: following the record and delivering; the gateway does that.
//! Invariant: what a stream may say ([`Details`]) and where it says it are part of the bundle's
//! hash, so both change only through a request. Secrets are named, never held.

use std::collections::BTreeMap;

use countersign_core::time::Span;

use crate::target::exec::CredentialSource;

/// How much a stream says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Details {
    /// What the leaves of the log say: pseudonyms, and the names of targets, rules and actions.
    #[default]
    Refs,
    /// The names of people and machines as well.
    Names,
    /// Everything beside the leaves: arguments, reasons, texts.
    All,
}

/// Where a stream begins when the gateway first sees it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Start {
    /// With what is recorded from then on.
    #[default]
    Now,
    /// With the first record of the log.
    Beginning,
}

/// A stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    /// Where it begins.
    pub start: Start,
    /// How much it says.
    pub details: Details,
    /// What it is.
    pub kind: StreamKind,
}

/// The kinds of streams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamKind {
    /// Lines of OCSF JSON in a file.
    Ocsf(OcsfFile),
    /// CloudEvents posted to an address.
    Webhook(Box<Webhook>),
    /// Requests as traces, posted to a collector.
    Otlp(Box<Collector>),
}

/// A file of lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OcsfFile {
    /// Absolute, or below the stream's own directory among the gateway's data.
    pub path: String,
    /// The most bytes before the file is put aside.
    pub max_bytes: u64,
    /// How many files put aside are kept.
    pub keep: u32,
}

/// Somebody who is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// The address: `https`, or `http` to this machine.
    pub url: String,
    /// What signs.
    pub secret: CredentialSource,
    /// A file of the only authorities that vouch for the receiver.
    pub ca: Option<String>,
    /// How long one event is tried.
    pub retry_for: Span,
}

/// Somebody who collects traces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collector {
    /// The address: `https`, or `http` to this machine.
    pub url: String,
    /// What proves who tells, where that is asked for: the whole value of a header.
    pub secret: Option<CredentialSource>,
    /// The header that the secret stands in.
    pub secret_header: String,
    /// Other headers, which are no secrets.
    pub headers: BTreeMap<String, String>,
    /// A file of the only authorities that vouch for the collector.
    pub ca: Option<String>,
    /// How long one trace is tried.
    pub retry_for: Span,
}

impl StreamKind {
    /// The kind as it is written.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Ocsf(_) => "ocsf",
            Self::Webhook(_) => "webhook",
            Self::Otlp(_) => "otlp",
        }
    }
}
