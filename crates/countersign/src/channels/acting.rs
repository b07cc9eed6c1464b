//! Doing what somebody clicked or wrote in any chat.
//!
//! In scope: from an account to a caller, from a verb to what the interface does, and what whoever
//! acted is told.
//! Out of scope: whether it counts; the same functions decide that as for everybody else.
//! Invariant: an account that is linked to nobody does nothing. What is refused is told to whoever
//! tried, and to nobody else.

use std::{collections::BTreeMap, sync::Arc};

use countersign_core::{
    approval::{myself::myself, vote::Verdict},
    id::{MessageId, RequestId},
    lifecycle,
    request::{Case, MessageKind},
    subject::SubjectId,
};

use super::{board::Wish, chat::Chat, telling};
use crate::{
    admin,
    api::{
        problem::ApiError,
        requests::{Clicked, click, say, take_back},
    },
    engine::EngineError,
    identity::{
        Caller, IdentityError,
        account::{Linked, NoAccount},
    },
};

/// The most requests that the inbox lists.
pub(super) const LISTED: usize = 10;

/// What waits for somebody: a line each and what its button carries, and how many there are.
pub(super) struct Inbox {
    pub(super) lines: Vec<(String, String)>,
    pub(super) found: usize,
}

/// What a refusal says to people.
pub(super) fn in_words(error: &ApiError) -> String {
    let problem = error.problem();
    match &problem.detail {
        Some(detail) => format!("{}. {detail}", problem.title),
        None => format!("{}.", problem.title),
    }
}

impl Chat {
    /// Whoever has the account.
    pub(super) async fn caller(&self, user: &str) -> Result<Caller, String> {
        let account = self.account(user);
        let gateway = &self.api.gateway;
        let chat = self.kind.name;
        let found = gateway.identity.who_clicks(&account, self.signed_in_within);
        let caller = found.await.map_err(|error| match error {
            NoAccount::Unlinked => format!(
                "Your {chat} account is not linked to anybody in Countersign. {}",
                self.how_to_link()
            ),
            NoAccount::SignInAgain(span) => format!(
                "You have not signed in to Countersign for more than {span}. Do so at {}/sign-in, \
                 and your {chat} account decides again.",
                gateway.url()
            ),
            NoAccount::Identity(IdentityError::Disabled(id)) => {
                format!("`{id}` is stopped or disabled.")
            }
            NoAccount::Identity(error) => {
                tracing::error!(%error, "an account in {chat} could not be looked up");
                "It could not be looked up who you are; try again, or decide in the console.".into()
            }
        })?;
        let rate = self.api.check_rate(&caller);
        rate.map_err(|error| in_words(&error))?;
        Ok(caller)
    }

    pub(super) fn how_to_link(&self) -> String {
        format!(
            "Sign in at {}/accounts, read the code there, and write `{}` here.",
            self.api.gateway.url(),
            self.kind.to_link
        )
    }

    pub(super) async fn case_of(&self, caller: &Caller, id: &RequestId) -> Result<Case, String> {
        let case = self.api.gateway.case_of(caller, id).await;
        case.map_err(|error| in_words(&error.into()))
    }

    /// Votes. What the chat can't show whole is not approved by a click.
    pub(super) async fn vote(
        &self,
        caller: &Caller,
        (case, whole): (&Case, bool),
        (verdict, shown): (Verdict, &str),
        reason: Option<String>,
    ) -> Result<(), String> {
        let id = &case.request.id;
        if verdict == Verdict::Approve && !whole {
            let url = self.api.gateway.request_url(id);
            return Err(format!(
                "{} can't show this action whole; approve it on its page: {url}",
                self.kind.name
            ));
        }
        let clicked = Clicked {
            verdict,
            reason,
            shown,
        };
        let done = click(&self.api, caller, id, clicked).await;
        done.map(|_| ()).map_err(|error| in_words(&error))
    }

    /// Takes an approval back.
    pub(super) async fn withdraw(&self, caller: &Caller, id: &RequestId) -> Result<(), String> {
        let done = take_back(&self.api, caller, id).await;
        done.map(|_| ()).map_err(|error| in_words(&error))
    }

    /// Says something in a request's conversation, and gives its name there.
    pub(super) async fn speak(
        &self,
        caller: &Caller,
        id: &RequestId,
        (kind, words): (MessageKind, String),
    ) -> Result<Option<MessageId>, String> {
        let seen = say(&self.api, caller, id, kind, words).await;
        let seen = seen.map_err(|error| in_words(&error))?;
        let by = caller.subject.id.to_string();
        let mine = seen.conversation.iter().rev().find(|one| one.by == by);
        Ok(mine.map(|one| one.id.clone()))
    }

    /// A message of the requester's side answers what was asked last; any other is a comment.
    pub(super) fn kind_of(&self, caller: &Caller, case: &Case) -> MessageKind {
        let active = self.api.gateway.active();
        let side = myself(case, &active.directory);
        let of_side = caller.person().is_some_and(|person| side.contains(person));
        match case.open_questions().next().filter(|_| of_side) {
            Some(question) => MessageKind::Answer {
                to: question.id.clone(),
            },
            None => MessageKind::Comment,
        }
    }

    /// The one request whose card has this name; `None` for a list, and for other messages.
    pub(super) async fn request_of(&self, message: &str) -> Result<Option<RequestId>, String> {
        let store = &self.api.gateway.store;
        let found = store.carded(&self.name, message).await;
        let found = found.map_err(|error| in_words(&EngineError::from(error).into()))?;
        let [id] = found.as_slice() else {
            return Ok(None);
        };
        Ok(Some(id.clone()))
    }

    /// Takes a message below a card into the conversation, once. `card` and `message` are the names of
    /// both. What somebody writes who is linked to nobody stays in the chat.
    pub(super) async fn said(
        &self,
        user: &str,
        (card, message): (&str, String),
        text: String,
    ) -> Result<(), String> {
        let Some(id) = self.request_of(card).await? else {
            return Ok(());
        };
        let Ok(caller) = self.caller(user).await else {
            return Err(format!(
                "Your message stays in {}. {}",
                self.kind.name,
                self.how_to_link()
            ));
        };
        let case = self.case_of(&caller, &id).await?;
        if self.board.has(&id, &message).await {
            return Ok(());
        }
        let kind = self.kind_of(&caller, &case);
        if let Some(said) = self.speak(&caller, &id, (kind, text)).await? {
            self.board.note_said(&id, &said, (card, message)).await;
        }
        Ok(())
    }

    /// What waits for somebody.
    pub(super) async fn inbox(&self, user: &str) -> Result<Inbox, String> {
        let caller = self.caller(user).await?;
        let gateway = &self.api.gateway;
        let SubjectId::Person(person) = &caller.subject.id else {
            return Err("Only people have an inbox.".into());
        };
        let open = gateway.engine.desk().open(gateway.store.as_ref()).await;
        let open = open.map_err(|error| in_words(&EngineError::from(error).into()))?;
        let active = gateway.active();
        let now = gateway.clock.now();
        let waits = |case: &&Arc<Case>| {
            lifecycle::is_eligible(case, active.world(), now, person) && case.phase.name() == "held"
        };
        let found: Vec<_> = open.iter().rev().filter(waits).collect();
        // Whoever asks for much does not hide the others.
        let mut many: BTreeMap<&SubjectId, usize> = BTreeMap::new();
        let mut ranked = Vec::new();
        for case in &found {
            let before = many.entry(&case.request.chain.requester.id).or_default();
            ranked.push((*before, &case.request.id));
            *before += 1;
        }
        ranked.sort_by_key(|(rank, _)| *rank);
        let mut lines = Vec::new();
        for (_, id) in ranked.into_iter().take(LISTED) {
            if let Ok(case) = gateway.case_of(&caller, id).await {
                lines.push(telling::line(&case));
            }
        }
        let found = found.len();
        Ok(Inbox { lines, found })
    }

    /// Proposes to link an account to whoever made the code.
    pub(super) async fn link(
        &self,
        (user, called): (&str, &str),
        code: &str,
    ) -> Result<String, String> {
        if !self.may_try_code(user) {
            return Err("Too many codes; wait a minute and make a new one.".into());
        }
        let gateway = &self.api.gateway;
        let Some(caller) = gateway.identity.use_code(code).await else {
            let url = gateway.url();
            return Err(format!(
                "There is no such code, or it is more than ten minutes old. Make a new one at \
                 {url}/accounts."
            ));
        };
        let linked = Linked {
            account: self.account(user),
            called: called.chars().take(80).collect(),
            countersigned: false,
        };
        let answer = admin::propose_account(gateway, &caller, linked).await;
        let answer = answer.map_err(|error| in_words(&error.into()))?;
        let holder = &caller.credential.holder;
        Ok(match answer.state.as_str() {
            "succeeded" => {
                self.wish(Wish::All);
                format!("Your {} account is linked to {holder}.", self.kind.name)
            }
            "denied" => format!("It was denied: {}", answer.message),
            _ => format!(
                "It would be linked to {holder}. Somebody else has to countersign it; then apply it \
                 on its page: {}",
                gateway.request_url(&answer.request)
            ),
        })
    }
}
