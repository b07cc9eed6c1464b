//! A person's own accounts in chats.
//!
//! In scope: the page, making a code, unlinking.
//! Out of scope: linking, which somebody does in the chat with a code from here (`channels`).
//! Invariant: a code is made and an account unlinked by its holder's own session only.

use axum::{extract::State, http::StatusCode, response::Response};
use countersign_console::{
    accounts::{AccountRow, AccountsPage, LinkIn},
    shell::{Flash, Place, Shell},
};
use countersign_core::id::CredentialId;

use super::{
    answer,
    fields::{Asked, Fields},
    flash::{self, Done},
    session::Session,
    viewer::Viewer,
    words,
};
use crate::{
    api::{Api, problem::ApiError},
    channels::link_command,
    engine::EngineError,
    identity::account::{self, CODE},
};

pub(super) async fn show(State(api): State<Api>, session: Session, asked: Asked) -> Response {
    let flash = flash::read(&api, &session, &asked, None);
    page(&api, &session, StatusCode::OK, (flash, String::new())).await
}

async fn page(
    api: &Api,
    session: &Session,
    status: StatusCode,
    (flash, code): (Option<Flash>, String),
) -> Response {
    let viewer = Viewer::new(api, session);
    let rows = match rows(&viewer).await {
        Ok(rows) => rows,
        Err(error) => return answer::error(api, session, &error).await,
    };
    let channels = viewer.active.bundle.channels().iter();
    let channels = channels.filter_map(|(name, channel)| {
        Some(LinkIn {
            channel: name.clone(),
            command: link_command(channel)?,
        })
    });
    let page = AccountsPage {
        accounts: rows,
        channels: channels.collect(),
        code,
        minutes: u32::try_from(CODE.as_millis() / 60_000).unwrap_or_default(),
        shell: Shell {
            flash,
            ..viewer.counted_shell(Place::Elsewhere, "").await
        },
    };
    answer::page(status, &page)
}

async fn rows(viewer: &Viewer<'_>) -> Result<Vec<AccountRow>, ApiError> {
    let holder = format!("person:{}", viewer.session.person);
    let store = &viewer.api.gateway.store;
    let all = store.credentials(Some(&holder)).await;
    let all = all.map_err(EngineError::from)?;
    let live = all.iter().filter(|one| one.revoked.is_none());
    let rows = live.filter_map(|one| {
        let known = account::linked(one)?;
        Some(AccountRow {
            id: one.id.to_string(),
            channel: known.account.channel,
            user: known.account.user,
            called: known.called,
            linked: viewer.moment(one.issued),
            only_reads: !known.countersigned,
        })
    });
    Ok(rows.collect())
}

async fn refused(api: &Api, session: &Session, error: &ApiError) -> Response {
    let problem = error.problem();
    let next = problem.detail.clone().unwrap_or_default();
    let flash = Flash::refused(format!("{}.", words::sentence(&problem.title)), next);
    let status = answer::status(error);
    page(api, session, status, (Some(flash), String::new())).await
}

/// An address of a form, opened as a page.
pub(super) async fn back() -> Response {
    answer::see("/accounts")
}

pub(super) async fn code(
    State(api): State<Api>,
    session: Session,
    fields: Result<Fields, ApiError>,
) -> Response {
    let made = fields.and_then(|fields| {
        session.check_form(&api, &fields)?;
        Ok(api.gateway.identity.link_code(&session.caller)?)
    });
    match made {
        Ok(code) => page(&api, &session, StatusCode::OK, (None, code)).await,
        Err(error) => refused(&api, &session, &error).await,
    }
}

pub(super) async fn remove(
    State(api): State<Api>,
    session: Session,
    fields: Result<Fields, ApiError>,
) -> Response {
    let removed = async {
        let fields = fields?;
        session.check_form(&api, &fields)?;
        let id: Result<CredentialId, _> = fields.text("credential").parse();
        let viewer = Viewer::new(&api, &session);
        let mine = rows(&viewer).await?;
        let none = || {
            let title = "there is no such account of yours";
            ApiError::new(StatusCode::NOT_FOUND, "no_such_account", title)
        };
        let id = id
            .ok()
            .filter(|id| mine.iter().any(|row| row.id == id.as_str()));
        api.gateway.identity.revoke(&id.ok_or_else(none)?).await?;
        Ok::<_, ApiError>(())
    };
    match removed.await {
        Ok(()) => answer::see(&flash::address(
            &api,
            &session,
            "/accounts",
            None,
            Done::Removed,
        )),
        Err(error) => refused(&api, &session, &error).await,
    }
}
