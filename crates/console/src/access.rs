//! Signing in and out, errors, and secrets that are shown once.
//!
//! In scope: pages that stand by themselves.
//! Out of scope: sessions, links and tokens themselves.
//! Invariant: none of these pages refreshes itself, whatever its surroundings say, so a secret is
//! shown by one response only.

use askama::Template;

use crate::{
    coded::Coded,
    part::Deadline,
    shell::{Link, Shell, local},
};

/// Signing in with a single-use link: `POST` of `token` to `action`. Opening the link signs
/// nobody in, so that a mail scanner doesn't use it up.
#[derive(Debug, Clone, Default, Template)]
#[template(path = "sign_in.html", whitespace = "minimize")]
pub struct SignInPage {
    /// The surroundings, with nobody signed in.
    pub shell: Shell,
    /// Whom the link is for.
    pub person: String,
    /// Where the form posts, for example `/sign-in`.
    pub action: String,
    /// The single-use token of the link.
    pub token: String,
    /// Who made the link; empty when it was made on the machine itself.
    pub issued_by: String,
    /// Until when it can be used.
    pub left: Option<Deadline>,
}

impl SignInPage {
    fn local_action(&self) -> &str {
        local(&self.action)
    }
}

/// After signing out, or when nobody is signed in.
#[derive(Debug, Clone, Default, Template)]
#[template(path = "signed_out.html", whitespace = "minimize")]
pub struct SignedOutPage {
    /// The surroundings, with nobody signed in.
    pub shell: Shell,
    /// Whether somebody has just signed out; otherwise signing in is needed first.
    pub just_now: bool,
    /// Why, where signing out was not what they asked for; may be empty.
    pub why: String,
    /// Where they sign out of whoever signed them in, who would sign them in again without asking.
    pub elsewhere: Option<Link>,
    /// Who signs people in.
    pub providers: Vec<SignInWay>,
    /// Whether browsers can use passkeys at this address.
    pub passkeys: bool,
    /// The only address at which they do.
    pub origin: String,
    /// The page that was asked for; may be empty.
    pub next: String,
}

impl SignedOutPage {
    /// An address of the web, or nowhere.
    fn elsewhere_href<'a>(&self, link: &'a Link) -> &'a str {
        let web = ["https://", "http://"];
        match web.iter().any(|scheme| link.href.starts_with(scheme)) {
            true => &link.href,
            false => "#main",
        }
    }
}

/// Somebody who signs people in.
#[derive(Debug, Clone, Default)]
pub struct SignInWay {
    /// Their name in addresses.
    pub id: String,
    /// What people call them.
    pub title: String,
    /// Whether they sign in only who has linked an account there.
    pub linked: bool,
}

impl SignInWay {
    /// Where signing in begins, so that it ends at `next`.
    fn address(&self, next: &str) -> String {
        let plain = |text: &str| {
            let good = |c: char| c.is_ascii_alphanumeric() || "/_-".contains(c);
            !text.is_empty() && text.chars().all(good)
        };
        match (plain(&self.id), plain(next)) {
            (true, true) => format!("/sign-in/with/{}?next={next}", self.id),
            (true, false) => format!("/sign-in/with/{}", self.id),
            (false, _) => "#main".into(),
        }
    }
}

/// Something went wrong.
#[derive(Debug, Clone, Default, Template)]
#[template(path = "error.html", whitespace = "minimize")]
pub struct ErrorPage {
    /// The surroundings.
    pub shell: Shell,
    /// The HTTP status.
    pub status: u16,
    /// What was wrong, in a few words.
    pub title: String,
    /// What was wrong exactly.
    pub detail: String,
    /// What to do next.
    pub next: String,
    /// Where to go from here.
    pub link: Option<Link>,
    /// A name under which the log has more; may be empty.
    pub trace: String,
}

impl ErrorPage {
    fn coded<'a>(&self, text: &'a str) -> Coded<'a> {
        Coded(text)
    }
}

/// Somebody has signed in elsewhere and goes on. A browser that came from another site sends no
/// session yet; it does once it goes on from here.
#[derive(Debug, Clone, Default, Template)]
#[template(path = "welcome.html", whitespace = "minimize")]
pub struct WelcomePage {
    /// The surroundings, with nobody signed in.
    pub shell: Shell,
    /// Who.
    pub person: String,
    /// Where they go on.
    pub link: Link,
}

impl WelcomePage {
    fn local_href(&self) -> &str {
        local(&self.link.href)
    }
}

/// A browser on its way to a provider, or back from it: the page goes on by itself.
#[derive(Debug, Clone, Default, Template)]
#[template(path = "going.html", whitespace = "minimize")]
pub struct GoingPage {
    /// The surroundings, with nobody signed in.
    pub shell: Shell,
    /// Where it goes.
    pub title: String,
    /// An address here, or of the web.
    pub link: Link,
}

impl GoingPage {
    fn href(&self) -> &str {
        let web = ["https://", "http://"];
        match web.iter().any(|scheme| self.link.href.starts_with(scheme)) {
            true => &self.link.href,
            false => local(&self.link.href),
        }
    }
}

/// A token or link that has just been made and is shown this once. Send it with
/// `Cache-Control: no-store`.
#[derive(Debug, Clone, Default, Template)]
#[template(path = "secret.html", whitespace = "minimize")]
pub struct SecretPage {
    /// The surroundings.
    pub shell: Shell,
    /// What it is, for example `Token for agent deploy-bot`.
    pub title: String,
    /// The secret itself.
    pub secret: String,
    /// How to use it.
    pub usage: String,
    /// A command that uses it, with `…` in its place; may be empty.
    pub command: String,
    /// Until when it works.
    pub left: Option<Deadline>,
    /// Whether it works only once.
    pub single_use: bool,
    /// Where to go from here.
    pub link: Link,
}
