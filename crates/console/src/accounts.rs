//! The viewer's own accounts in chats.
//!
//! In scope: which are linked, the code that links one, unlinking.
//! Out of scope: other people's; the chat itself.
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

/// A linked account.
#[derive(Debug, Clone, Default)]
pub struct AccountRow {
    /// Its name in the record, for example `crd_01k9…`.
    pub id: String,
    /// The channel it is in.
    pub channel: String,
    /// The account's own id there.
    pub user: String,
    /// What it was called when it was linked.
    pub called: String,
    /// When it was linked.
    pub linked: Moment,
    /// Whether it decides nothing, because nobody countersigned it.
    pub only_reads: bool,
}
