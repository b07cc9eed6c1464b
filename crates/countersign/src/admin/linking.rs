//! Linking a person's account in a chat.
//!
//! In scope: the proposal, by whoever made the code in their session, and what reviewers read of it.
//! Out of scope: the code, and who clicks ([`account`]).
//! Invariant: an account is linked to whoever's session the code came from, and to nobody else; one that
//! is linked stays whose it is until it is unlinked.

use countersign_core::id::PersonId;
use countersign_runner::quote::reveal_lines;
use countersign_store::CredentialKind;

use super::{AdminError, InvalidProposal, Proposal, asked, propose_recorded};
use crate::{
    api::types::ProposalAnswer,
    engine::EngineError,
    gateway::Gateway,
    identity::{
        Caller,
        account::{self, ChatAccount, Linked},
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
    let signed_in = caller.credential.kind == CredentialKind::Session;
    let person = caller.person().filter(|_| signed_in);
    let person = person.cloned().ok_or(InvalidProposal::InChatOnly)?;
    check_free(gateway, &caller.credential.holder, &linked.account).await?;
    let proposal = Proposal::Account {
        person,
        linked,
        signed_in: caller.account(),
    };
    let asked = asked(&gateway.active(), caller, &proposal, None)?;
    propose_recorded(gateway, caller, asked).await
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
