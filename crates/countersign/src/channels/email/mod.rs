//! Mails: people are told what waits for them, and led to its page.
//!
//! In scope: one server that takes mails; what is told to whom, and when.
//! Out of scope: deciding; nothing that arrives by mail is read. Other channels ([`channels`](super)).
//! Invariant: a mail decides nothing and carries nothing that could: its links are pages that ask who is
//! there. What is owed is noted before it is sent, and sent under a name that follows from what it is.
//! Specification: RFC 5321, RFC 5322, RFC 3834 (`Auto-Submitted`)

mod addresses;
mod board;
mod bounded;
mod letter;
mod news;
mod pace;
mod post;
mod smtp;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use countersign_core::id::PersonId;
use countersign_policy::Email;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::{board::Keeper, news::Recipient, post::Post};
use crate::{api::Api, status::Status};

/// Starts a channel, which runs until `stop`.
///
/// # Errors
/// Its settings can't be used.
pub(super) fn start(
    api: &Api,
    (name, email): (&str, &Email),
    status: Arc<Status>,
    stop: CancellationToken,
) -> anyhow::Result<JoinSet<()>> {
    let post = Post::new(&api.gateway, name, email)?;
    let mut tasks = JoinSet::new();
    tasks.spawn(Keeper::new(api.gateway.clone(), post, status, stop).keep());
    Ok(tasks)
}

/// How many people mails can reach.
pub(crate) fn reachable(active: &crate::active::Active) -> usize {
    let people = active.directory.people.iter();
    people
        .filter(|(id, person)| person.acts() && addresses::of(active, id).is_some())
        .count()
}

/// The beginnings of the places in which cards are of a person.
pub(crate) fn places_of(person: &PersonId) -> Vec<String> {
    [
        Recipient::Person(person.clone()),
        Recipient::Place(person.to_string()),
    ]
    .map(|recipient| format!("{recipient} "))
    .into()
}
