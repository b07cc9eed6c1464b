//! The console: pages for people in a browser.
//!
//! In scope: routes, sessions by cookie, forms, what surrounds a page, security headers.
//! Out of scope: markup (the crate `countersign-console`) and everything a page shows or does: the
//! interface's own functions, engine and admin decide again whatever a page offered.
//! Invariant: every answer carries the headers of [`guard`]; nothing changes without a session's
//! cookie, its CSRF token and a request that no other site caused; a vote also needs the proof of
//! a fresh act. No address is made from the `Host` header, and no text from an address is shown
//! as the gateway's own.

mod accounts;
mod answer;
mod assets;
mod command_line;
mod emergencies;
mod fields;
mod flash;
mod grants;
mod guard;
mod inbox;
mod linking;
mod passkeys;
mod people;
mod proposals;
mod provider;
mod request;
mod session;
mod sign_in;
mod standing;
mod viewer;
mod waiting;
mod words;

#[cfg(test)]
pub(crate) mod tests;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware::{from_fn_with_state, map_response},
    response::Response,
    routing::{get, post},
};

use crate::api::{Api, problem::ApiError};

/// The largest form, in bytes.
const MAX_FORM: usize = 1 << 20;

/// An error of an address outside of the console, for whoever reads pages.
pub async fn error_page(api: &Api, error: &ApiError) -> Response {
    guard::add_headers(answer::stranger_error(api, error)).await
}

/// All routes of the console. There is no fallback among them, so that they merge with those of
/// the interface.
pub fn routes(api: Api) -> Router {
    Router::new()
        .route("/", get(inbox::show))
        .route("/inbox", get(inbox::show))
        .route("/requests/{id}", get(request::show))
        .route(
            "/requests/{id}/{act}",
            get(request::back).post(request::act),
        )
        .route("/emergencies", get(emergencies::show))
        .route("/grants", get(grants::show))
        .route("/people", get(people::show))
        .route(
            "/people/{*form}",
            get(proposals::back).post(proposals::people),
        )
        .route(
            "/agents/{*form}",
            get(proposals::back).post(proposals::agents),
        )
        .route("/accounts", get(accounts::show))
        .route(
            "/accounts/link/{provider}",
            get(linking::back).post(linking::leave),
        )
        .route("/accounts/from/{provider}", get(linking::finish))
        .route("/accounts/code", get(accounts::back).post(accounts::code))
        .route(
            "/accounts/remove",
            get(accounts::back).post(accounts::remove),
        )
        .route("/passkeys", get(passkeys::show))
        .route("/passkeys/options", post(passkeys::options))
        .route("/passkeys/add", get(passkeys::back).post(passkeys::add))
        .route(
            "/passkeys/remove",
            get(passkeys::back).post(passkeys::remove),
        )
        .route("/sign-in", get(sign_in::ask).post(passkeys::sign_in))
        .route("/sign-in/options", post(passkeys::sign_in_options))
        .route("/sign-in/with/{provider}", get(provider::leave))
        .route("/sign-in/from/{provider}", get(provider::come_back))
        .route("/sign-in/{secret}", get(sign_in::show).post(sign_in::take))
        .route(
            "/command-line",
            get(proposals::back).post(command_line::make),
        )
        .route("/sign-out", post(sign_in::leave))
        .route("/assets/{*path}", get(assets::serve))
        .method_not_allowed_fallback(answer::wrong_method)
        .layer(DefaultBodyLimit::max(MAX_FORM))
        .layer(from_fn_with_state(api.clone(), guard::refuse_other_sites))
        .layer(map_response(guard::add_headers))
        .with_state(api)
}
