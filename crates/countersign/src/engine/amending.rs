//! One request in the place of another: from the moment both are held to the one that is left.
//!
//! In scope: who is *self* of the new request because of the original, whether it may run yet, and
//! finishing at a start what a crash cut off.
//! Out of scope: making the new request (`api::amend`).
//! Invariant: an amended request runs only after its original was closed for it. After a start at
//! most one of the two is open, unless nobody can decide about the original because it was edited.

use std::collections::BTreeSet;

use countersign_core::{
    approval::myself::myself,
    id::{MessageId, PersonId, RequestId},
    lifecycle::{self, Event, Step},
    request::{Amends, Case, Closure, Message, MessageKind, Phase},
    subject::SubjectId,
};
use countersign_store::{Store, Write};

use super::{
    EngineError, Input, Parts, seal,
    turn::Turn,
    turns::{Job, Turns},
};
use crate::ids;

/// What stands in the conversation instead of words that a crash took.
const WORDS_LOST: &str =
    "(The gateway stopped before this was finished. What was written with it is lost.)";

/// The setting with the requests whose originals have not ended for them: a start need not look into
/// every open case.
const UNDER_WAY: &str = "amending";

/// The signed votes of a case.
type Envelopes = Vec<(PersonId, Vec<u8>)>;

/// Whether a request ended for another one.
fn ended_for(case: &Case, other: &RequestId) -> bool {
    matches!(
        &case.phase,
        Phase::Closed { closure: Closure::Amended { into, .. }, .. } if into == other
    )
}

impl Turn {
    /// Remembers a new request until its original ended for it, in one commit with holding it. What
    /// replaces another request is replaced only once that one ended for it, so that chains end in their
    /// order, which the verifier follows.
    pub(super) async fn begins(&mut self, parts: &Parts, case: &Case) -> Result<(), EngineError> {
        if let Some(Amends { request, .. }) = &case.request.amends {
            let original = self.load(parts, request).await?;
            self.check_original(parts, &original.case).await?;
            let mut ids = self.under_way(parts).await?;
            ids.insert(case.request.id.clone());
            self.writes.push(set_under_way(&ids));
            self.amending = Some(ids);
        }
        Ok(())
    }

    /// Nothing is left to do about what ended, and about what it ended for.
    async fn is_done(&mut self, parts: &Parts, ended: &Case) -> Result<(), EngineError> {
        let into = match &ended.phase {
            Phase::Closed {
                closure: Closure::Amended { into, .. },
                ..
            } => Some(into),
            _ => None,
        };
        if into.is_none() && ended.request.amends.is_none() {
            return Ok(());
        }
        let mut ids = self.under_way(parts).await?;
        let known = ids.len();
        ids.retain(|id| *id != ended.request.id && Some(id) != into);
        if ids.len() < known {
            self.writes.push(set_under_way(&ids));
        }
        self.amending = Some(ids);
        Ok(())
    }

    /// As earlier jobs of this turn left it.
    async fn under_way(&self, parts: &Parts) -> Result<BTreeSet<RequestId>, EngineError> {
        match &self.amending {
            Some(ids) => Ok(ids.clone()),
            None => under_way(parts.store.as_ref()).await,
        }
    }

    /// Refuses to run what replaces a request that has not ended for it: both could run.
    pub(super) async fn check_original(
        &mut self,
        parts: &Parts,
        case: &Case,
    ) -> Result<(), EngineError> {
        let Some(Amends { request, .. }) = &case.request.amends else {
            return Ok(());
        };
        match self.load(parts, request).await {
            Ok(original) if ended_for(&original.case, &case.request.id) => Ok(()),
            // What ended long ago is not kept for ever.
            Err(EngineError::NoSuchRequest(_)) => Ok(()),
            Ok(_) => Err(EngineError::OriginalNotClosed(request.clone())),
            Err(error) => Err(error),
        }
    }

    /// Whoever became *self* of a request after the one in its place was made becomes *self* of that,
    /// too, as the first ends for it.
    pub(super) async fn handed_on(
        &mut self,
        parts: &Parts,
        original: &Case,
    ) -> Result<Option<(Envelopes, Step)>, EngineError> {
        self.is_done(parts, original).await?;
        let Phase::Closed {
            closure: Closure::Amended { by, into },
            ..
        } = &original.phase
        else {
            return Ok(None);
        };
        let mut stored = match self.load(parts, into).await {
            Err(EngineError::NoSuchRequest(_)) => return Ok(None),
            loaded => loaded?,
        };
        let active = self.active.clone();
        let mut people = myself(original, &active.directory);
        people.insert(by.clone());
        let known = myself(&stored.case, &active.directory);
        people.retain(|person| !known.contains(person));
        // Nothing is decided about one that was edited in the database, so that it needs nobody.
        if people.is_empty() || !seal::still_holds(&parts.keys, &mut stored.case) {
            return Ok(None);
        }
        let grew = Event::SelfGrew { people };
        let step = lifecycle::step(stored.case, grew, active.world(), self.now)?;
        Ok(Some((stored.envelopes, step)))
    }
}

/// An open request that replaces another one.
struct Replacement {
    id: RequestId,
    amends: Amends,
    requester: SubjectId,
}

/// Finishes amendments that a crash cut off, the oldest first, so that of two requests one is left.
pub(super) async fn finish(turns: &mut Turns) -> Result<(), EngineError> {
    for replacement in replacements(turns).await? {
        let Replacement { id, amends, .. } = &replacement;
        let original = match turns.parts.store.case(&amends.request).await? {
            Some(original) if !ended_for(&original.case, id) => original.case,
            _ => continue,
        };
        let done = match original.phase.is_open() {
            true => close_for(turns, &replacement).await,
            false => cancel(turns, &replacement).await,
        };
        match done {
            // Its editor may not decide any more, or its time has passed: the amendment did not happen.
            Err(EngineError::Refused(_)) => ignore_refusal(cancel(turns, &replacement).await)?,
            Err(EngineError::ForgedRequest(edited)) => {
                tracing::warn!(request = %edited, "an amendment is not finished, because a request was edited in the database");
            }
            done => done?,
        }
    }
    let store = &turns.parts.store;
    if !under_way(store.as_ref()).await?.is_empty() {
        store.commit(vec![set_under_way(&BTreeSet::new())]).await?;
    }
    Ok(())
}

/// The open requests of which it is not known that their originals ended for them, the oldest first.
async fn replacements(turns: &Turns) -> Result<Vec<Replacement>, EngineError> {
    let store = turns.parts.store.as_ref();
    let mut found = Vec::new();
    for id in under_way(store).await? {
        let case = store.case(&id).await?.map(|stored| stored.case);
        let Some(case) = case.filter(|case| case.phase.is_open()) else {
            continue;
        };
        if let Some(amends) = case.request.amends {
            found.push(Replacement {
                id,
                amends,
                requester: case.request.chain.requester.id,
            });
        }
    }
    Ok(found)
}

/// New requests whose originals have not ended for them, as far as is stored. What they are called
/// begins with when they were asked.
async fn under_way(store: &dyn Store) -> Result<BTreeSet<RequestId>, EngineError> {
    let stored = store.setting(UNDER_WAY).await?.unwrap_or_default();
    let ids = stored.split_whitespace().map(str::parse);
    ids.collect::<Result<_, _>>()
        .map_err(|_| EngineError::Internal(format!("the setting `{UNDER_WAY}` was edited")))
}

fn set_under_way(ids: &BTreeSet<RequestId>) -> Write {
    let ids: Vec<_> = ids.iter().map(RequestId::as_str).collect();
    Write::Set {
        key: UNDER_WAY.into(),
        value: ids.join(" "),
    }
}

/// Closes the original for its replacement, as the amendment was about to.
async fn close_for(turns: &mut Turns, replacement: &Replacement) -> Result<(), EngineError> {
    let (into, editor) = (replacement.id.clone(), replacement.amends.editor.clone());
    let at = turns.parts.clock.now();
    let message = Message {
        id: MessageId::from_bits(ids::bits(at)?),
        by: SubjectId::Person(editor.clone()),
        at,
        kind: MessageKind::Amendment {
            request: into.clone(),
        },
        text: WORDS_LOST.into(),
    };
    let amend = Event::Amend {
        editor,
        into,
        message,
    };
    step(turns, &replacement.amends.request, amend).await
}

/// Ends a replacement of what ended otherwise.
async fn cancel(turns: &mut Turns, replacement: &Replacement) -> Result<(), EngineError> {
    let by = replacement.requester.clone();
    step(turns, &replacement.id, Event::Cancel { by }).await
}

/// It ended by itself in the meantime.
fn ignore_refusal(done: Result<(), EngineError>) -> Result<(), EngineError> {
    match done {
        Err(EngineError::Refused(_)) => Ok(()),
        done => done,
    }
}

async fn step(turns: &mut Turns, id: &RequestId, event: Event) -> Result<(), EngineError> {
    let job = Job::Step(id.clone(), Box::new(Input::Event(event)));
    for done in turns.run(vec![job]).await {
        done?;
    }
    Ok(())
}
