//! Ending what is not to be answered any more.
//!
//! In scope: taking a request back in the name of its workload, saying why; what a newer job of the same run and
//! environment ends.
//! Out of scope: what GitHub is told then.
//! Invariant: of one run and environment one action at most waits for people, the one that was asked for last:
//! GitHub takes an answer for either as one for all.

use countersign_core::{
    id::{MessageId, RequestId},
    lifecycle::Event,
    request::{Case, Message, MessageKind, Phase},
};
use countersign_store::StoreError;

use super::{
    Running,
    asking::Deploy,
    owed,
    patience::Trouble,
    row::{Row, Stage},
};
use crate::{
    engine::{EngineError, Input},
    ids,
};

/// Another job of the same run and environment.
pub(super) struct Other {
    pub(super) row: Row,
    /// The request that it waits for.
    case: Option<Case>,
}

impl Other {
    /// Whether its request has not ended.
    pub(super) fn waits(&self) -> bool {
        self.case.as_ref().is_some_and(|case| !case.phase.is_over())
    }
}

fn failed(error: &StoreError) -> Trouble {
    Trouble::says(crate::explain(error))
}

impl Running {
    /// Ends a request that nobody needs to decide any more, with why for whoever reads it. One that ended
    /// meanwhile, or is being carried out, stays as it is.
    ///
    /// # Errors
    /// [`Trouble`]; it may still wait.
    pub(super) async fn close(&self, case: &Case, why: &str) -> Result<(), Trouble> {
        let (id, by) = (&case.request.id, case.request.chain.requester.id.clone());
        let at = self.gateway.clock.now();
        let bits = ids::bits(at).map_err(|error| Trouble::says(crate::explain(&error)))?;
        let message = Message {
            id: MessageId::from_bits(bits),
            by: by.clone(),
            at,
            kind: MessageKind::Comment,
            text: format!("Taken back: {why}"),
        };
        let said = case.conversation.last();
        let said = said.is_some_and(|last| (&last.by, &last.text) == (&by, &message.text));
        let say = (!said).then_some(Event::Say(message));
        for event in say.into_iter().chain([Event::Cancel { by }]) {
            let done = self.gateway.engine.step(id.clone(), Input::Event(event));
            match done.await {
                // It ended, or its conversation is full.
                Ok(_) | Err(EngineError::Refused(_) | EngineError::ForgedRequest(_)) => {}
                Err(error) => return Err(Trouble::says(crate::explain(&error))),
            }
        }
        tracing::info!(deployments = self.name, request = %id, why, "a deployment was taken back");
        Ok(())
    }

    /// Others of the same run and environment that are owed an answer, and the requests that they wait for.
    ///
    /// # Errors
    /// [`Trouble`]; they can't be known.
    pub(super) async fn others(&self, row: &Row) -> Result<Vec<Other>, Trouble> {
        let (job, key) = (row.wanted.job(), row.wanted.key());
        let mut owed = owed(self).await.map_err(|error| failed(&error))?;
        owed.retain(|other| other.wanted.key() != key && other.wanted.job().is_answered_with(&job));
        let mut others = Vec::new();
        for other in owed {
            let case = match &other.stage {
                Stage::Waiting { request, .. } => self.case(request).await?,
                _ => None,
            };
            others.push(Other { row: other, case });
        }
        Ok(others)
    }

    async fn case(&self, id: &RequestId) -> Result<Option<Case>, Trouble> {
        let case = self.gateway.sealed_case(id).await;
        case.map_err(|error| failed(&error))
    }

    /// Whether another job of the same run waits for this request already, which says so for both.
    pub(super) async fn is_followed(&self, row: &Row, id: &RequestId) -> Result<bool, Trouble> {
        let waits =
            |other: &Row| matches!(&other.stage, Stage::Waiting { request, .. } if request == id);
        let others = self.others(row).await?;
        Ok(others.iter().any(|other| waits(&other.row)))
    }

    /// Ends whatever else waits for an answer for the same run and environment.
    ///
    /// # Errors
    /// [`Trouble`]; something else of the same attempt is being told, or it could not be ended.
    pub(super) async fn supersede(&self, others: &[Other], deploy: &Deploy) -> Result<(), Trouble> {
        for case in others.iter().filter_map(|other| other.case.as_ref()) {
            let theirs = serde_json::from_value::<Deploy>(case.request.action.arguments.clone());
            if theirs.as_ref().is_ok_and(|theirs| theirs == deploy) {
                continue;
            }
            let same = theirs.is_ok_and(|theirs| theirs.seen() == deploy.seen());
            if matches!(case.phase, Phase::Running { .. }) && same {
                let why = format!("`{}` is being told", case.request.id);
                return Err(Trouble::passing(why));
            }
            if case.phase.is_open() {
                let attempt = deploy.attempt;
                let why = match same {
                    true => "GitHub says otherwise of the same run now, and that is asked instead."
                        .into(),
                    false => format!("GitHub asks about attempt {attempt} of this run now."),
                };
                self.close(case, &why).await?;
            }
        }
        Ok(())
    }

    /// Whether the answer for this run and environment is that to another job, which nobody has given yet.
    ///
    /// # Errors
    /// [`Trouble`]; it can't be known.
    pub(super) async fn is_superseded(&self, row: &Row) -> Result<bool, Trouble> {
        let others = self.others(row).await?;
        Ok(others.iter().any(|other| match &other.row.stage {
            Stage::Asking { .. } | Stage::Carrying { .. } => true,
            Stage::Waiting { .. } => other.waits(),
            Stage::Rejecting { .. } | Stage::Over => false,
        }))
    }
}
