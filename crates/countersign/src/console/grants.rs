//! The page of grants.
//!
//! In scope: the grants of the viewer's sight that can be used.
//! Out of scope: giving and ending one, which is done on the request's page.
//! Invariant: only grants of requests that the viewer may see are listed.

use axum::{extract::State, http::StatusCode, response::Response};
use countersign_console::{
    grants::{GrantRow, GrantsPage},
    shell::Place,
};
use countersign_core::count::counted;

use super::{answer, session::Session, viewer::Viewer};
use crate::api::{Api, granting::live, problem::ApiError, types::GrantedRequest};

/// The address of the page.
const PATH: &str = "/grants";

pub(super) async fn show(State(api): State<Api>, session: Session) -> Response {
    match page(&Viewer::new(&api, &session)).await {
        Ok(page) => answer::page(StatusCode::OK, &page),
        Err(error) => answer::error(&api, &session, &error).await,
    }
}

async fn page(viewer: &Viewer<'_>) -> Result<GrantsPage, ApiError> {
    let found = live(viewer.api, &viewer.session.caller).await?;
    let row = |GrantedRequest {
                   request,
                   grant,
                   can_end,
               }| GrantRow {
        id: request.id.to_string(),
        title: request.title,
        words: grant.words,
        used: format!("{} of {}", grant.used, counted(grant.uses, "use", "uses")),
        until: viewer.deadline(grant.until),
        can_end,
    };
    Ok(GrantsPage {
        shell: viewer.counted_shell(Place::Grants, PATH).await,
        rows: found.into_iter().map(row).collect(),
    })
}
