//! A token for the command line of whoever is signed in.
//!
//! In scope: making it out of the session, and showing it once.
//! Out of scope: tokens of agents, and links; those are proposals.
//! Invariant: it can do less than the session it comes from: it never votes. It ends with the
//! session, and whoever had a hand in the session had one in it.

use axum::{extract::State, http::StatusCode, response::Response};
use countersign_console::{
    access::SecretPage,
    shell::{Link, Place},
};
use countersign_core::time::Span;
use countersign_store::CredentialKind;

use super::{answer, fields::Fields, session::Session, viewer, viewer::Viewer};
use crate::{
    api::{Api, problem::ApiError},
    identity::{Issue, TOKEN},
};

pub(super) async fn make(
    State(api): State<Api>,
    session: Session,
    fields: Result<Fields, ApiError>,
) -> Response {
    match page(&api, &session, fields).await {
        Ok(page) => answer::page(StatusCode::OK, &page),
        Err(error) => answer::error(&api, &session, &error).await,
    }
}

async fn page(
    api: &Api,
    session: &Session,
    fields: Result<Fields, ApiError>,
) -> Result<SecretPage, ApiError> {
    session.check_form(api, &fields?)?;
    let caller = &session.caller;
    let viewer = Viewer::new(api, session);
    let left = caller.credential.expires.millis_since(viewer.now);
    let issue = Issue {
        kind: CredentialKind::Token,
        holder: caller.subject.id.clone(),
        issued_by: caller.credential.issued_by.clone(),
        lineage: caller.lineage(),
        parent: Some(caller.credential.id.clone()),
        account: None,
        valid_for: Span::from_millis(left).min(TOKEN),
    };
    let (token, credential) = api.gateway.identity.issue(&issue).await?;
    Ok(SecretPage {
        shell: viewer.counted_shell(Place::People, "").await,
        title: "Token for your command line".into(),
        secret: token.text().into(),
        usage: "Run this on your machine and paste the token there. It asks and proposes in your \
                name, and never votes. Signing out here ends it."
            .into(),
        command: format!("countersign login --url {}", api.gateway.url()),
        left: Some(viewer::deadline(credential.expires, viewer.now)),
        single_use: false,
        link: Link {
            href: "/people".into(),
            text: "I have copied it".into(),
        },
    })
}
