//! Who can be told in private.
//!
//! Invariant: a linked account, by the name of its credential; it goes with the credential.

use std::collections::{BTreeMap, HashMap};

use countersign_core::id::PersonId;

use crate::{gateway::Gateway, identity::account::linked};

/// Everybody whose account in a channel is linked.
#[derive(Default)]
pub(super) struct Accounts {
    by_person: BTreeMap<PersonId, String>,
    /// Whose an account is, and what it is called in the chat.
    pub(super) users: HashMap<String, (PersonId, String)>,
}

impl Accounts {
    pub(super) async fn of(gateway: &Gateway, channel: &str) -> anyhow::Result<Self> {
        let all = gateway.store.credentials(None).await?;
        let mut accounts = Self::default();
        for one in all.iter().filter(|one| one.revoked.is_none()) {
            let known = linked(one).filter(|known| known.account.channel == channel);
            let person = one
                .holder
                .strip_prefix("person:")
                .and_then(|name| name.parse().ok());
            if let (Some(known), Some(person)) = (known, person) {
                let holder = (PersonId::clone(&person), known.account.user);
                accounts.users.insert(one.id.to_string(), holder);
                accounts.by_person.insert(person, one.id.to_string());
            }
        }
        Ok(accounts)
    }

    /// The account of a person, by the name of its credential.
    pub(super) fn of_person(&self, person: &PersonId) -> Option<String> {
        self.by_person.get(person).cloned()
    }
}
