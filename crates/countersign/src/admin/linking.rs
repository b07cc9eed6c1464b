//! Linking a person's account, in a chat or with a provider that only links, and unlinking the latter.
//!
//! In scope: the proposal, by whoever has the session that linking began in, and what reviewers read of it.
//! Out of scope: the code, and who clicks ([`account`]); believing the provider (`identity::provider`).
//! Invariant: an account is linked to whoever's session linking began in, and to nobody else; one that
//! is linked stays whose it is until it is unlinked. Nothing is linked in a session that itself began with
//! a linked account: it would outlive it.

#[cfg(test)]
#[path = "linking_tests.rs"]
mod tests;

use countersign_core::id::{PersonId, ProviderId};
use countersign_runner::quote::reveal_lines;
use countersign_store::CredentialKind;

use super::{AdminError, InvalidProposal, Proposal, asked, propose_recorded};
use crate::{
    api::types::{ProposalAnswer, ProposalBody},
    engine::EngineError,
    gateway::Gateway,
    identity::{
        Caller, IdentityError,
        account::{self, ChatAccount, Linked},
        further::{FurtherAccount, LinkedFurther, is_believed},
    },
};

/// Proposes to link an account in a chat to the caller, whose session a code of theirs came from.
///
/// # Errors
/// [`AdminError`].
pub async fn propose_account(
    gateway: &Gateway,
    caller: &Caller,
    linked: Linked,
) -> Result<ProposalAnswer, AdminError> {
    let person = holder_of(caller)?;
    check_free(gateway, &caller.credential.holder, &linked.account).await?;
    let proposal = Proposal::Account {
        person,
        linked,
        signed_in: caller.account(),
    };
    let asked = asked(&gateway.active(), caller, &proposal, None)?;
    propose_recorded(gateway, caller, asked).await
}

/// Proposes to link an account with a provider to the caller, in whose session both ends were proven.
///
/// # Errors
/// [`AdminError`].
pub async fn propose_further(
    gateway: &Gateway,
    caller: &Caller,
    linked: LinkedFurther,
) -> Result<ProposalAnswer, AdminError> {
    let person = holder_of(caller)?;
    check_further(gateway, &person, &linked.account).await?;
    let proposal = Proposal::Further {
        person,
        linked,
        signed_in: caller.account(),
    };
    let asked = asked(&gateway.active(), caller, &proposal, None)?;
    propose_recorded(gateway, caller, asked).await
}

/// Whoever links something in their own session.
fn holder_of(caller: &Caller) -> Result<PersonId, AdminError> {
    check_direct(caller)?;
    let signed_in = caller.credential.kind == CredentialKind::Session;
    let person = caller.person().filter(|_| signed_in);
    Ok(person.cloned().ok_or(InvalidProposal::InChatOnly)?)
}

/// Refuses to add anything to sign in or vote with in a session that began with a linked account.
///
/// # Errors
/// It did.
pub(crate) fn check_direct(caller: &Caller) -> Result<(), InvalidProposal> {
    match &caller.through {
        Some(through) => Err(InvalidProposal::ThroughLinked(through.provider.clone())),
        None => Ok(()),
    }
}

/// Refuses an account that somebody has, in whatever way, and a second one of one person with a provider.
pub(super) async fn check_further(
    gateway: &Gateway,
    person: &PersonId,
    account: &FurtherAccount,
) -> Result<(), AdminError> {
    let taken = |why| Err(InvalidProposal::AccountTaken(why).into());
    let internal = |error: IdentityError| EngineError::Internal(error.to_string());
    let active = gateway.active();
    if !is_believed(&active, account) {
        return Err(InvalidProposal::NoLinks(account.provider.clone()).into());
    }
    let identity = &gateway.identity;
    let id = account.id();
    let mut people = active.directory.people.values();
    let signs_in = people.any(|one| one.accounts.values().any(|known| known.id == id));
    let linked = identity.is_linked_further(account).await;
    if signs_in || linked.map_err(internal)? {
        return taken("this account is somebody's already; whoever has it unlinks it first");
    }
    let theirs = identity.further_accounts(Some(person)).await;
    let theirs = theirs.map_err(internal)?;
    let here = |known: &LinkedFurther| known.account.provider == account.provider;
    match theirs.iter().any(|(_, _, known)| here(known)) {
        true => taken(
            "you have linked another account with this provider; unlink that one in the console first",
        ),
        false => Ok(()),
    }
}

/// The proposal to unlink an account with a provider that only links, where a person has one; others are
/// of the directory.
///
/// # Errors
/// The store can't be read.
pub(super) async fn unlinking(
    gateway: &Gateway,
    body: &ProposalBody,
) -> Result<Option<Proposal>, AdminError> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Arguments {
        person: PersonId,
        provider: ProviderId,
    }
    let read = serde_json::from_value(body.arguments.clone());
    let (true, Ok(Arguments { person, provider })) = (body.operation == "account-unlink", read)
    else {
        return Ok(None);
    };
    let theirs = gateway.identity.further_accounts(Some(&person)).await;
    let theirs = theirs.map_err(|error| EngineError::Internal(error.to_string()))?;
    let found = theirs
        .into_iter()
        .find(|(_, _, known)| known.account.provider == provider);
    Ok(found.map(|(_, credential, _)| Proposal::Unlink {
        person,
        provider,
        credential: credential.id,
    }))
}

/// Refuses an account that somebody has, and a second one of one person in a channel.
pub(super) async fn check_free(
    gateway: &Gateway,
    holder: &str,
    account: &ChatAccount,
) -> Result<(), AdminError> {
    let taken = |why| Err(InvalidProposal::AccountTaken(why).into());
    let linked_before = gateway.identity.is_linked(account).await;
    if linked_before.map_err(|error| EngineError::Internal(error.to_string()))? {
        return taken(
            "this account is linked already; whoever has it unlinks it in the console first",
        );
    }
    let theirs = gateway.store.credentials(Some(holder)).await;
    let theirs = theirs.map_err(EngineError::from)?;
    let here = |known: Linked| known.account.channel == account.channel;
    let live = theirs.iter().filter(|one| one.revoked.is_none());
    match live.filter_map(account::linked).any(here) {
        true => taken(
            "you have linked another account of this channel; unlink that one in the console first",
        ),
        false => Ok(()),
    }
}

/// One line, and the whole change, for reviewers.
pub(super) fn present(person: &PersonId, linked: &Linked) -> (String, String) {
    (
        format!(
            "Link an account in `{}` to {person}",
            linked.account.channel
        ),
        format!(
            "person      {person}\naccount     {}\nworkspace   {}\ncalled      {:?}\n\n\
             What is clicked with it counts as what {person} decides. Names in a chat can be anything: \
             look the account up by its id, and ask {person} in person or by voice whether it is theirs \
             and whether they are linking it now.\n",
            linked.account.user,
            linked.account.team,
            reveal_lines(&linked.called),
        ),
    )
}

/// The same of an account with a provider.
pub(super) fn present_further(person: &PersonId, linked: &LinkedFurther) -> (String, String) {
    let account = &linked.account;
    (
        format!("Link an account with `{}` to {person}", account.provider),
        format!(
            "person    {person}\naccount   {:?}\nissuer    {}\ncalled    {:?}\nsettings  {}\n\n\
             Whoever signs in with it acts as {person}, and so does whoever administers `{}`. What it is \
             called can be anything: look the account up there by its id, and ask {person} in person or \
             by voice whether it is theirs and whether they are linking it now.\n",
            reveal_lines(&account.subject),
            account.issuer,
            reveal_lines(&linked.called),
            account.settings,
            account.provider,
        ),
    )
}

/// The same of unlinking one.
pub(super) fn present_unlink(person: &PersonId, provider: &ProviderId) -> (String, String) {
    (
        format!("Unlink the account of {person} with {provider}"),
        format!(
            "person    {person}\nprovider  {provider}\n\nEnds what they signed in with through it, at \
             once. They can link an account there again.\n"
        ),
    )
}
