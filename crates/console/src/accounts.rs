//! The viewer's own linked accounts, in chats and with providers.
//!
//! In scope: which are linked, the code that links one in a chat, leaving for a provider, unlinking.
//! Out of scope: other people's; chats and providers themselves.
//! Invariant: a code is shown once, to the session that asked for it.

use askama::Template;

use crate::{part::Moment, shell::Shell};

/// `/accounts`.
#[derive(Debug, Clone, Default, Template)]
#[template(path = "accounts.html", whitespace = "minimize")]
pub struct AccountsPage {
    /// The surroundings.
    pub shell: Shell,
    /// The accounts that are linked, newest first.
    pub accounts: Vec<AccountRow>,
    /// The channels in which one can be linked.
    pub channels: Vec<LinkIn>,
    /// The providers with which one can be linked, and the viewer has none.
    pub providers: Vec<LinkWith>,
    /// The provider of the linked account that this session began with, in which nothing is linked; empty
    /// otherwise.
    pub through: String,
    /// A code that was just made; empty otherwise.
    pub code: String,
    /// For how many minutes it is good.
    pub minutes: u32,
}

/// How an account of one channel is linked.
#[derive(Debug, Clone, Default)]
pub struct LinkIn {
    /// The channel's name.
    pub channel: String,
    /// What to write there before the code.
    pub command: String,
}

/// A provider with which an account can be linked.
#[derive(Debug, Clone, Default)]
pub struct LinkWith {
    /// Its name in addresses.
    pub id: String,
    /// What people call it.
    pub title: String,
}

impl LinkWith {
    /// Where the form posts.
    fn action(&self) -> String {
        let good = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
        match !self.id.is_empty() && self.id.chars().all(good) {
            true => format!("/accounts/link/{}", self.id),
            false => "#main".into(),
        }
    }
}

/// A linked account.
#[derive(Debug, Clone, Default)]
pub struct AccountRow {
    /// Its name in the record, for example `crd_01k9…`.
    pub id: String,
    /// The channel or provider it is in.
    pub channel: String,
    /// The account's own id there.
    pub user: String,
    /// What it was called when it was linked.
    pub called: String,
    /// When it was linked.
    pub linked: Moment,
    /// Whether it decides nothing, because nobody countersigned it.
    pub only_reads: bool,
    /// Whether it signs in, and is in no chat.
    pub signs_in: bool,
}
