//! A person's own linked accounts, in chats and with providers.
//!
//! In scope: the page, making a code, unlinking.
//! Out of scope: linking, which somebody does in the chat with a code from here (`channels`), or at the
//! provider ([`linking`](super::linking)).
//! Invariant: a code is made and an account unlinked by its holder's own session only.

use axum::{extract::State, http::StatusCode, response::Response};
use countersign_console::{
    accounts::{AccountRow, AccountsPage, LinkIn, LinkWith},
    shell::{Flash, Place, Shell},
};
use countersign_core::id::CredentialId;
use countersign_store::StoredCredential;

use super::{
    answer,
    fields::{Asked, Fields},
    flash::{self, Done},
    session::Session,
    viewer::Viewer,
    words,
};
use crate::{
    admin,
    api::{Api, problem::ApiError},
    channels::link_command,
    engine::EngineError,
    identity::{
        account::{self, CODE},
        further::linked_further,
    },
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
    let providers = viewer.active.bundle.providers().iter();
    let providers = providers.filter(|(id, provider)| {
        let has = rows.iter().any(|row| row.channel == id.as_str());
        provider.links.is_some() && !has
    });
    let through = session.caller.through.clone();
    let page = AccountsPage {
        channels: channels.collect(),
        providers: providers
            .map(|(id, provider)| LinkWith {
                id: id.to_string(),
                title: provider.title.clone(),
            })
            .collect(),
        through: through.map_or_else(String::new, |through| through.provider.to_string()),
        accounts: rows,
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
    let row = |one: &StoredCredential, (channel, user): (String, String)| AccountRow {
        id: one.id.to_string(),
        channel,
        user,
        linked: viewer.moment(one.issued),
        ..AccountRow::default()
    };
    let rows = live.filter_map(|one| {
        if let Some(known) = account::linked(one) {
            let which = (known.account.channel, known.account.user);
            return Some(AccountRow {
                called: known.called,
                only_reads: !known.countersigned,
                ..row(one, which)
            });
        }
        let known = linked_further(one)?;
        let which = (known.account.provider.to_string(), known.account.subject);
        Some(AccountRow {
            called: known.called,
            only_reads: !known.countersigned,
            signs_in: true,
            ..row(one, which)
        })
    });
    Ok(rows.collect())
}

pub(super) async fn refused(api: &Api, session: &Session, error: &ApiError) -> Response {
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
        admin::check_direct(&session.caller).map_err(admin::AdminError::from)?;
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
            Done::Unlinked,
        )),
        Err(error) => refused(&api, &session, &error).await,
    }
}
