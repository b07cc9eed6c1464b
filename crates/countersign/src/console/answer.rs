//! Pages and redirections as answers.
//!
//! In scope: a page with its status, error pages, going on to another page.
//! Invariant: a redirection leads to a path of this installation.

use axum::{
    extract::State,
    http::StatusCode,
    response::{Html, IntoResponse, Redirect, Response},
};
use countersign_console::{
    Page,
    access::ErrorPage,
    render,
    shell::{Link, Place, Shell},
};

use super::{
    session::Session,
    viewer::{self, Viewer},
};
use crate::api::{Api, problem::ApiError};

/// A page.
pub(super) fn page(status: StatusCode, page: &impl Page) -> Response {
    (status, Html(render(page))).into_response()
}

/// Go on to `path` of this installation, with a `GET`.
pub(super) fn see(path: &str) -> Response {
    Redirect::to(path).into_response()
}

/// The status that a refusal has.
pub(super) fn status(error: &ApiError) -> StatusCode {
    StatusCode::from_u16(error.problem().status).unwrap_or(StatusCode::BAD_REQUEST)
}

/// An error as a page for somebody who is signed in.
pub(super) async fn error(api: &Api, session: &Session, error: &ApiError) -> Response {
    let shell = Viewer::new(api, session)
        .counted_shell(Place::Elsewhere, "")
        .await;
    error_page(shell, error)
}

/// An error as a page for somebody who is not, or may not be, signed in.
pub(super) fn stranger_error(api: &Api, error: &ApiError) -> Response {
    error_page(viewer::strangers_shell(api), error)
}

fn error_page(shell: Shell, error: &ApiError) -> Response {
    let link = Link {
        href: "/inbox".into(),
        text: "Go to the inbox".into(),
    };
    error_with(shell, error, link)
}

/// An error as a page that leads on somewhere.
pub(super) fn error_with(shell: Shell, error: &ApiError, link: Link) -> Response {
    let problem = error.problem();
    let shown = ErrorPage {
        shell,
        status: problem.status,
        title: super::words::sentence(&problem.title),
        detail: String::new(),
        next: problem.detail.clone().unwrap_or_default(),
        link: Some(link),
        trace: String::new(),
    };
    page(status(error), &shown)
}

/// What an address says to a method that it does not take.
pub(super) async fn wrong_method(State(api): State<Api>) -> Response {
    let error = ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "this address takes forms only; nothing was done",
    );
    stranger_error(&api, &error)
}
