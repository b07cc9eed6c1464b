//! Asking policy apart from acting: for callers that execute themselves and ask first.
//!
//! In scope: an evaluation, which permits or says what would be needed; a submission, which asks
//! people and never permits.
//! Out of scope: claiming, which is the loop's, and what a caller does with a permit.
//! Invariant: an evaluation asks nothing of people, whatever policy says; a submission leads to no
//! permit. Each leaves the request and policy's decision in the log before it is answered.

use std::collections::BTreeSet;

use countersign_core::{
    decision::{Decision, DenyReason},
    id::{PolicyId, RequestId},
    lifecycle,
    permit::Permit,
    request::{Case, Request},
};

use super::{
    Admission, Admitted, Asked, EngineError, Opened,
    wearing::{denied_to, often_denied, recently_denied},
};

/// What an evaluation says.
#[derive(Debug)]
pub enum Evaluated {
    /// It may happen now; the intent is recorded.
    Permitted {
        /// The request.
        request: Box<Request>,
        /// The permit.
        permit: Permit,
    },
    /// Not without people, who were not asked.
    Requestable(Box<Request>),
    /// No.
    Denied {
        /// The request.
        request: RequestId,
        /// Why.
        reason: DenyReason,
        /// The statements that said so.
        policies: BTreeSet<PolicyId>,
    },
}

/// What became of a submission.
#[derive(Debug)]
pub enum Submitted {
    /// People are asked.
    Held(Box<Case>),
    /// They were asked already: it waits, is approved or runs.
    Attached(Box<Case>),
    /// Policy permits it now without anybody; nothing was permitted by saying so.
    NotNeeded(RequestId),
    /// No.
    Denied {
        /// The request.
        request: RequestId,
        /// Why.
        reason: DenyReason,
    },
}

impl Admission {
    /// Asks policy about an action that somebody else would execute.
    ///
    /// A hold is recorded like any decision: that it was asked and that policy said *hold*, with
    /// the rules it named. Nothing else follows, neither a case nor a closing record, because
    /// nobody was asked: none of the reasons for which a request closes would be true. Should the
    /// caller submit it, that is a request of its own with its own digest.
    ///
    /// What people could not lift is a denial already here: rules that nobody is left to satisfy,
    /// and an identical call that was denied a short while ago.
    ///
    /// # Errors
    /// [`EngineError`] when it could not be decided or recorded; then it must not happen.
    pub async fn evaluate(&self, asked: Asked) -> Result<Evaluated, EngineError> {
        let mut considered = self.consider(asked)?;
        let admitted = match considered.request.decided.decision.clone() {
            Decision::Permit { .. } => Box::pin(self.permit(considered)).await?,
            Decision::Hold { .. } => match self.hopeless(&considered.request).await? {
                None => {
                    let (request, records) = self.first_records(considered);
                    self.append(records.into()).await?;
                    return Ok(Evaluated::Requestable(request));
                }
                Some(reason) => {
                    considered.request.rules.clear();
                    self.deny(considered, Decision::deny(reason)).await?
                }
            },
            decision @ Decision::Deny { .. } => self.deny(considered, decision).await?,
        };
        match admitted {
            Admitted::Permitted {
                request, permit, ..
            } => Ok(Evaluated::Permitted { request, permit }),
            Admitted::Denied {
                request,
                reason,
                policies,
            } => Ok(Evaluated::Denied {
                request,
                reason,
                policies,
            }),
            Admitted::Held(_) | Admitted::Attached(_) => {
                Err(EngineError::Internal("an evaluation became a case".into()))
            }
        }
    }

    /// Why asking people would come to nothing.
    async fn hopeless(&self, request: &Request) -> Result<Option<DenyReason>, EngineError> {
        let active = self.parts.active.borrow().clone();
        if let Err(reason) = lifecycle::open(request.clone(), active.world()) {
            return Ok(Some(reason));
        }
        let store = &self.parts.store;
        let found = store
            .find_attachable(&request.attach_key, request.at)
            .await?;
        if let Some(id) = found {
            let stored = store.case(&id).await?;
            let denied = stored.and_then(|stored| recently_denied(&stored.case, request.at));
            return Ok(denied);
        }
        if let Some(denied) = denied_to(store.as_ref(), request, request.at).await? {
            return Ok(Some(denied));
        }
        often_denied(store.as_ref(), request, request.at).await
    }

    /// Asks people about an action that policy holds, or attaches to an identical request.
    ///
    /// # Errors
    /// [`EngineError`] when it could not be decided or recorded; then nobody was asked.
    pub async fn submit(&self, asked: Asked) -> Result<Submitted, EngineError> {
        let considered = self.consider(asked)?;
        let id = considered.request.id.clone();
        match considered.request.decided.decision.clone() {
            Decision::Hold { .. } => Ok(match Box::pin(self.open(considered)).await? {
                Opened::Held(case) => Submitted::Held(case),
                Opened::Attached(case) => Submitted::Attached(case),
                Opened::Denied { request, reason } => Submitted::Denied { request, reason },
            }),
            Decision::Permit { .. } => {
                let (_, records) = self.first_records(considered);
                self.append(records.into()).await?;
                Ok(Submitted::NotNeeded(id))
            }
            Decision::Deny { reason, policies } => {
                let decision = Decision::Deny {
                    reason: reason.clone(),
                    policies,
                };
                self.deny(considered, decision).await?;
                Ok(Submitted::Denied {
                    request: id,
                    reason,
                })
            }
        }
    }
}
