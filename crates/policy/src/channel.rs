//! Channels: where people are told what waits for them, and decide.
//!
//! In scope: the settings of one channel, and what a rule's `notify` names.
//! Out of scope: speaking to them; the gateway does that.
//! Invariant: which workspace and which app are believed about who clicked is part of the bundle's
//! hash, so it changes only through a request. Secrets are named, never held.

use std::str::FromStr;

use countersign_core::time::Span;

use crate::target::exec::CredentialSource;

/// A channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Channel {
    /// A Slack workspace.
    Slack(Box<Slack>),
}

/// One app in one Slack workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slack {
    /// The workspace (`T…`): whoever clicks elsewhere is nobody here.
    pub team: String,
    /// The organisation (`E…`) that the workspace is in, where it is in one.
    pub enterprise: Option<String>,
    /// The app (`A…`).
    pub app: String,
    /// What the app speaks with (`xoxb-…`).
    pub bot_token: CredentialSource,
    /// How Slack reaches the gateway.
    pub reached: Reached,
    /// How long ago, at most, somebody whom a provider signs in has to have signed in.
    pub signed_in_within: Span,
    /// Where the Web API is: Slack's, but for tests.
    pub api: String,
}

/// How Slack reaches the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reached {
    /// It posts to the gateway's own address, signed with this secret.
    Signed(CredentialSource),
    /// The gateway opens a WebSocket to it, with this token (`xapp-…`).
    Socket(CredentialSource),
}

/// Where a rule's requests are told: an entry of its `notify`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Notify {
    /// The channel's name.
    pub channel: String,
    /// Where in it; without it, each person who can act is told in private.
    pub place: Option<String>,
}

/// What an entry of `notify` looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("write `CHANNEL` or `CHANNEL:PLACE`, such as `slack` or `slack:C0123ABCD`")]
pub struct NotNotify;

impl FromStr for Notify {
    type Err = NotNotify;

    fn from_str(text: &str) -> Result<Self, NotNotify> {
        let (channel, place) = match text.split_once(':') {
            Some((channel, place)) => (channel, Some(place)),
            None => (text, None),
        };
        match channel.is_empty() || place == Some("") {
            true => Err(NotNotify),
            false => Ok(Self {
                channel: channel.into(),
                place: place.map(Into::into),
            }),
        }
    }
}

impl Channel {
    /// Why a place can't be one of this channel; nothing when it can.
    #[must_use]
    pub fn refuses(&self, place: &str) -> Option<&'static str> {
        match self {
            Self::Slack(_) => (!is_id(place, &["C", "G"])).then_some(
                "name the Slack channel by its id (`C…`, at the end of its details): names change \
                 hands",
            ),
        }
    }
}

/// Whether a text is an id of Slack's that begins with one of these letters.
#[must_use]
pub fn is_id(text: &str, first: &[&str]) -> bool {
    let good = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit();
    (3..=40).contains(&text.len())
        && text.chars().all(good)
        && first.iter().any(|first| text.starts_with(first))
}
