//! How one kind of chat shows requests.
//!
//! In scope: what the keeper of cards asks of a chat, and the ways in which a chat fails.
//! Out of scope: who is told what, and when ([`board`](super::board)).
//! Invariant: nothing here decides anything; a messenger sends what it is given and says what came of it.

use std::{future::Future, time::Duration};

use countersign_core::{
    canonical::Hash,
    id::PersonId,
    request::{Case, Message},
};
use serde_json::Value;

use super::{accounts::Accounts, alarm::Alarm, chat::Chat, reminding::Reminder};
use crate::active::Active;

/// What a message shows, in the chat's own form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Made {
    /// The content.
    pub(super) content: Value,
    /// Whether nothing on it changes any more.
    pub(super) done: bool,
}

impl Made {
    /// What it shows, to tell whether it is shown already.
    ///
    /// # Errors
    /// It can't be written as JSON.
    pub(super) fn shown(&self) -> serde_json::Result<Hash> {
        Ok(Hash::of(&serde_json::to_vec(&self.content)?))
    }
}

/// Where a card stands, and who reads it there.
pub(super) struct Sight<'a> {
    pub(super) active: &'a Active,
    pub(super) case: &'a Case,
    /// The conversation, as the chat calls it.
    pub(super) conversation: &'a str,
    /// The one person who reads it, where it is private.
    pub(super) reader: Option<&'a PersonId>,
    /// Whether that person is on the requester's side, and confirms nothing.
    pub(super) of_side: bool,
    /// Who has linked an account.
    pub(super) accounts: &'a Accounts,
}

/// Why something was not sent.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    /// Too much was sent.
    #[error("it wants {0:?} of peace")]
    Limited(Duration),
    /// What was meant is not there (any more).
    #[error("{0}")]
    Gone(String),
    /// It would not be shown, however often it is sent.
    #[error("{0}")]
    Unshowable(String),
    /// This one message is refused; others of its place can go on.
    #[error("{0}")]
    Refused(String),
    /// Nothing can be sent there now.
    #[error("{0}")]
    Now(String),
}

impl Failed {
    /// Whether this one message is refused, so that the others of its place can go on.
    pub(super) fn is_of_one_message(&self) -> bool {
        matches!(self, Self::Gone(_) | Self::Unshowable(_) | Self::Refused(_))
    }
}

/// A chat that messages are sent in.
pub(super) trait Messenger: Send + Sync + 'static {
    /// What it has like every chat.
    fn chat(&self) -> &Chat;

    /// Whether what it speaks with is of the workspace that is believed; why not, where it isn't.
    fn is_ours(&self) -> impl Future<Output = Result<(), String>> + Send;

    /// Whether a place is a conversation, and no account's.
    fn is_conversation(&self, place: &str) -> bool;

    /// Opens the conversation with an account.
    fn open(&self, user: &str) -> impl Future<Output = Result<String, Failed>> + Send;

    /// The card of a case.
    fn card(&self, sight: &Sight<'_>) -> impl Future<Output = Made> + Send;

    /// A card for what the chat doesn't take.
    fn bare(&self, active: &Active, case: &Case) -> Made;

    /// One message for many requests: their lines, and how many of them wait.
    fn list(&self, lines: &[(String, String)], open: usize) -> Made;

    /// One message of a case's conversation.
    fn said(&self, case: &Case, message: &Message) -> Made;

    /// A message about an emergency.
    fn alarm(&self, alarm: &Alarm) -> Made;

    /// A message about what still waits for somebody.
    fn reminder(&self, reminder: &Reminder) -> Made;

    /// Posts a message that is no card and never changes, and gives its name.
    fn announce(
        &self,
        conversation: &str,
        made: &Made,
    ) -> impl Future<Output = Result<String, Failed>> + Send;

    /// Posts a card, and gives the message's name.
    fn post(
        &self,
        conversation: &str,
        case: &Case,
        made: &Made,
    ) -> impl Future<Output = Result<String, Failed>> + Send;

    /// Shows something else in a message.
    fn update(&self, message: &str, made: &Made)
    -> impl Future<Output = Result<(), Failed>> + Send;

    /// Says something below a message, and gives the new one's name.
    fn reply(
        &self,
        message: &str,
        made: &Made,
    ) -> impl Future<Output = Result<String, Failed>> + Send;

    /// The card of a request whose sending broke off, where it arrived and can be found.
    fn found(
        &self,
        conversation: &str,
        case: &Case,
    ) -> impl Future<Output = Result<Option<String>, Failed>> + Send;
}
