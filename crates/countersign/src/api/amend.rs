//! Proposing another command instead of the one that was asked.
//!
//! In scope: making the new request and ending the old one for it.
//! Invariant: the new request belongs to the chain that asked; its editors, this one and earlier
//! ones, are *self* for it; it runs only when its requester claims it.

use axum::http::StatusCode;
use countersign_core::{
    action::Action,
    decision::DenyReason,
    id::{PersonId, RequestId},
    lifecycle::{Event, Refusal},
    masking::{MASK_CLOSES, MASK_OPENS},
    request::{Amends, Case, Message, MessageKind},
};

use super::{
    Api,
    detail::detail,
    problem::ApiError,
    requests::{act, new_message_id},
    types::{AmendBody, RequestDetail},
    ways::Ways,
};
use crate::{
    engine::{Admitted, EngineError, Input},
    gates::exec::{Asking, Considered, ExecError, consider},
    identity::Caller,
    runner::{self, Call, PlanError},
    secrets,
};

/// Proposes another command instead: a new request of the same chain, whose editor is *self*. A caller
/// who goes away does not leave it half done.
///
/// # Errors
/// The caller may not decide the request, or policy does not hold the new action.
pub async fn propose_instead(
    api: &Api,
    caller: &Caller,
    id: &RequestId,
    body: AmendBody,
) -> Result<RequestDetail, ApiError> {
    let (api, caller, id) = (api.clone(), caller.clone(), id.clone());
    let work = tokio::spawn(async move { amend(&api, &caller, &id, body).await });
    let done = work.await;
    done.unwrap_or_else(|error| Err(EngineError::Internal(error.to_string()).into()))
}

async fn amend(
    api: &Api,
    caller: &Caller,
    id: &RequestId,
    body: AmendBody,
) -> Result<RequestDetail, ApiError> {
    let gateway = &api.gateway;
    let case = gateway.case_of(caller, id).await?;
    // It ends the request, as a denial does, so it takes what a denial takes.
    let Some(editor) = caller
        .person()
        .filter(|_| caller.assurance().is_some())
        .cloned()
    else {
        api.record_refused(caller, id, "not_a_session").await;
        return Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "not_a_session",
            "only a signed-in session proposes another action; open the request's page",
        ));
    };
    let can = detail(gateway, caller, &case, &Ways::default()).can;
    if !can.iter().any(|name| name == "amend") {
        api.record_refused(caller, id, "not_participant").await;
        return Err(ApiError::from(EngineError::Refused(Refusal::NotParticipant)).about(id));
    }
    let into = replacement(api, &case, editor.clone(), body.argv).await?;
    let message = Message {
        id: new_message_id(api)?,
        by: caller.subject.id.clone(),
        at: gateway.clock.now(),
        kind: MessageKind::Amendment {
            request: into.clone(),
        },
        text: secrets::without(gateway.active().bundle.masker(), body.text),
    };
    let event = Event::Amend {
        editor,
        into: into.clone(),
        message,
    };
    let amended = act(api, caller, id, event).await;
    if amended.is_err() {
        // The original ended in the meantime; the replacement must not stay behind.
        let by = case.request.chain.requester.id.clone();
        let cancel = Input::Event(Event::Cancel { by });
        if let Err(error) = gateway.engine.step(into, cancel).await {
            tracing::warn!(%error, "a replacement was not cancelled");
        }
    }
    amended
}

/// Why the action that somebody proposes instead can't be asked.
fn refused(reason: &DenyReason) -> ApiError {
    let (title, next) = match reason {
        DenyReason::QuorumUnreachable(why) => (
            format!("no quorum can be reached: {why}"),
            "Whoever proposes an action joins the requester's side. Say in a comment what to ask for \
             instead, or have somebody else added who can countersign.",
        ),
        DenyReason::RecentlyDenied { .. } => (
            reason.to_string(),
            "Wait until then, or say in a comment what to ask for instead.",
        ),
        // Also what admission says of an amendment that policy would let through.
        DenyReason::NotPermitted => (
            "policy does not hold that action: it forbids it, or lets it through without approval"
                .into(),
            "Say in a comment what to ask for instead.",
        ),
        other => (
            format!("that action can't wait for people: {other}"),
            "Say in a comment what to ask for instead.",
        ),
    };
    ApiError::invalid(title).with_detail(next)
}

/// The words that somebody proposes, with the secrets of the words that were left as they were shown.
/// A mask in any other word stands for nothing.
fn with_secrets(
    proposed: Vec<String>,
    shown: &[String],
    before: &[String],
) -> Result<Vec<String>, ApiError> {
    let words = proposed.into_iter().enumerate().map(|(index, word)| {
        let at_its_place = shown.get(index).filter(|shown| **shown == word);
        match at_its_place.and_then(|_| before.get(index)) {
            Some(secret) => Ok(secret.clone()),
            None if !word.contains([MASK_OPENS, MASK_CLOSES]) => Ok(word),
            None => Err(ApiError::invalid(format!(
                "word {} has a mask, and stands not where its secret was",
                index.saturating_add(1)
            ))
            .with_detail(
                "Leave a word with a mask as it was, at its place; or propose the command without it.",
            )),
        }
    });
    words.collect()
}

/// Opens the new request, with every earlier editor as *self*.
async fn replacement(
    api: &Api,
    case: &Case,
    editor: PersonId,
    argv: Vec<String>,
) -> Result<RequestId, ApiError> {
    let gateway = &api.gateway;
    let request = &case.request;
    let secrets = gateway.secrets.of(request).await?;
    let whole = secrets.restore(&request.action).map_err(PlanError::from);
    let read = |action: &Action| {
        let arguments = serde_json::from_value(action.arguments.clone());
        arguments.map_err(|error| EngineError::Internal(error.to_string()))
    };
    let before: runner::Arguments = read(&whole.map_err(ExecError::from)?)?;
    let shown: runner::Arguments = read(&request.action)?;
    let argv = with_secrets(argv, &shown.argv, &before.argv)?;
    let amends = Some(Amends {
        request: request.id.clone(),
        editor,
    });
    // Earlier editors are *self* for the new version from its beginning, whatever happens next.
    let earlier = request.amends.iter().map(|amends| amends.editor.clone());
    let mut issuers = request.issuers.clone();
    issuers.extend(request.behind.iter().cloned());
    issuers.extend(earlier.chain(case.self_grown.iter().cloned()));
    let _pin = before.inputs.map(|inputs| gateway.uploads.pin(inputs));
    let call = Call {
        target: request.action.target.clone(),
        argv,
        env: before.env,
        inputs: before.inputs,
    };
    let asking = Asking {
        chain: request.chain.clone(),
        issuers,
        reason: request.reason.clone(),
        amends,
        trace: request.trace,
    };
    let admitted = match consider(gateway, call, asking).await? {
        Considered::Denied(denied) => denied,
        Considered::Exact(asked) => gateway.admission.ask(*asked).await?,
    };
    let into = match admitted {
        Admitted::Held(case) => case.request.id,
        Admitted::Attached(_) => {
            return Err(ApiError::invalid("that very action waits already"));
        }
        Admitted::Denied { reason, .. } => return Err(refused(&reason)),
        // Admission denies an amendment that policy would permit.
        Admitted::Permitted { .. } => {
            return Err(EngineError::Internal("an amendment was permitted".into()).into());
        }
    };
    if let Some(inputs) = before.inputs {
        let requester = &request.chain.requester.id;
        gateway.uploads.refer(inputs, &into, requester);
    }
    Ok(into)
}
