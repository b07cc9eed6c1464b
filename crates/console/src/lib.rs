//! The console: what people see in a browser when they read, countersign and propose, and in mails.
//!
//! In scope: view models (plain values), templates, the style sheet, the script, and rendering a
//! page to text.
//! Out of scope: HTTP, sessions, and deciding who may do what. A page offers exactly the actions
//! its model lists; the handler that receives a form decides again.
//! Invariant: whatever a field contains, the page shows it as text: markup is escaped by the
//! templates, and characters that hide or reorder text are spelt out by [`render`]. Pages work
//! without the script and under [`CONTENT_SECURITY_POLICY`].

pub mod access;
pub mod accounts;
pub mod asset;
mod coded;
pub mod emergencies;
pub mod grants;
pub mod hidden;
pub mod inbox;
pub mod mail;
pub mod part;
pub mod passkeys;
pub mod people;
pub mod request;
pub mod shell;

pub use asset::{Asset, asset};

/// The policy to send with every page. Nothing inline, nothing from elsewhere.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// What is shown if a page could not be rendered; it carries no part of the page.
const NOT_RENDERED: &str = "<!doctype html><html lang=\"en\"><title>Countersign</title><p>This page could not be rendered. Nothing was decided. Reload it, or use the command line: countersign requests list</p></html>\n";

/// A whole page. Implemented by the page models of this crate only.
pub trait Page: askama::Template + sealed::Sealed {}

mod sealed {
    /// Keeps [`Page`](super::Page) to this crate.
    pub trait Sealed {}
}

macro_rules! pages {
    ($($page:ty),+ $(,)?) => {
        $(impl sealed::Sealed for $page {}
          impl Page for $page {})+
    };
}

pages!(
    access::ErrorPage,
    access::SecretPage,
    access::SignInPage,
    access::SignedOutPage,
    access::GoingPage,
    access::WelcomePage,
    inbox::InboxPage,
    emergencies::EmergenciesPage,
    grants::GrantsPage,
    accounts::AccountsPage,
    passkeys::PasskeysPage,
    people::PeoplePage,
    request::RequestPage,
);

/// Renders a page to HTML, in UTF-8, with every hiding or reordering character spelt out.
#[must_use]
pub fn render(page: &impl Page) -> String {
    match page.render() {
        Ok(html) => hidden::spell_out(html),
        Err(_) => NOT_RENDERED.into(),
    }
}
