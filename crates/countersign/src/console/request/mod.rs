//! The page of one request.
//!
//! In scope: showing it, also after a refused act.
//! Out of scope: what it is made of ([`model`]) and doing things ([`acts`]).
//! Invariant: nobody reads a request's page without the record saying so, and whoever may not see
//! a request learns nothing of it, not even that it exists.

mod actions;
mod acts;
mod arguments;
mod glass;
mod grant;
mod model;
mod signing;
mod timeline;

use axum::{
    extract::{Path, State},
    http::{Method, StatusCode},
    response::Response,
};
use countersign_console::shell::{Flash, Place, Shell};
use countersign_core::id::RequestId;

pub(super) use acts::act;

use self::actions::Typed;
use super::{answer, fields::Asked, flash, session::Session, viewer::Viewer};
use crate::api::{Api, problem::ApiError, requests::request_id, ways::Ways};

/// The address of a request's page.
pub(super) fn path(id: &RequestId) -> String {
    format!("/requests/{id}")
}

pub(super) async fn show(
    State(api): State<Api>,
    method: Method,
    session: Session,
    Path(id): Path<String>,
    asked: Asked,
) -> Response {
    let shown = async {
        let id = request_id(&id)?;
        let flash = flash::read(&api, &session, &asked, Some(&id));
        // Nobody reads the answer to a HEAD.
        let read = method == Method::GET;
        page(
            &api,
            &session,
            &id,
            StatusCode::OK,
            flash,
            Typed::default(),
            read,
        )
        .await
    };
    match shown.await {
        Ok(response) => response,
        Err(error) => answer::error(&api, &session, &error).await,
    }
}

/// An address of a form, opened as a page: leads to the request.
pub(super) async fn back(Path((id, _)): Path<(String, String)>) -> Response {
    match request_id(&id) {
        Ok(id) => answer::see(&path(&id)),
        Err(_) => answer::see("/inbox"),
    }
}

/// The page as an answer of some status.
///
/// # Errors
/// The viewer may not see the request, or that they opened it could not be recorded.
async fn page(
    api: &Api,
    session: &Session,
    id: &RequestId,
    status: StatusCode,
    flash: Option<Flash>,
    typed: Typed,
    read: bool,
) -> Result<Response, ApiError> {
    let case = api.gateway.case_of(&session.caller, id).await?;
    if read {
        api.record_opened(&session.caller, id).await?;
    }
    let ways = Ways::of(&api.gateway, &case).await?;
    let viewer = Viewer::new(api, session);
    let shell = viewer.counted_shell(Place::Inbox, &path(id)).await;
    let request = &case.request;
    let acts = api.gateway.identity.acts();
    let act = acts.act(
        &session.caller.credential.id,
        &request.id,
        &request.digest,
        viewer.now,
    );
    let shell = Shell {
        act,
        flash,
        ..shell
    };
    Ok(answer::page(
        status,
        &model::page(&viewer, (&case, &ways), shell, &typed),
    ))
}
