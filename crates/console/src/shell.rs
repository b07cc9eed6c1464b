//! What surrounds every page: navigation, the signed-in person, banners, the result of the last
//! act, and live updates.
//!
//! In scope: values that the base layout shows.
//! Out of scope: making tokens and reading sessions.

use crate::{
    asset::{self, CSS, JS, LOGO},
    coded::Coded,
    part::Moment,
};

/// The surroundings of one page.
#[derive(Debug, Clone, Default)]
pub struct Shell {
    /// Which installation this is, for example its host name; empty shows nothing.
    pub installation: String,
    /// Who is signed in.
    pub person: Option<SignedIn>,
    /// How many requests wait for this person; shown in the title and the navigation.
    pub waiting: u32,
    /// Emergencies that this person may see and nobody has reviewed; shown in the navigation.
    pub emergencies: u32,
    /// Whether one of them is overdue.
    pub overdue: bool,
    /// Sent back as the field `csrf` by every form that posts.
    pub csrf: String,
    /// Sent back as the field `act` by every form that posts: the proof of a fresh, single
    /// interactive act. Empty leaves the field out.
    pub act: String,
    /// Which entry of the navigation is current.
    pub place: Place,
    /// What everybody must know, the gravest first.
    pub banners: Vec<Banner>,
    /// How the last act ended.
    pub flash: Option<Flash>,
    /// Where changes are announced; without it the page does not refresh itself.
    pub live: Option<Live>,
}

/// The person whose session it is.
#[derive(Debug, Clone, Default)]
pub struct SignedIn {
    /// Their name, for example `dana@example.com`.
    pub name: String,
    /// Roles to show, for example `administrator`.
    pub roles: Vec<String>,
    /// When the session ends.
    pub until: Option<Moment>,
}

/// Entries of the navigation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Place {
    /// `/inbox` and the requests behind it.
    Inbox,
    /// `/emergencies`.
    Emergencies,
    /// `/grants`.
    Grants,
    /// `/people`.
    People,
    /// None of them.
    #[default]
    Elsewhere,
}

/// How grave something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gravity {
    /// Good to know.
    Note,
    /// Changes what a decision is worth.
    Warning,
    /// Something is broken or must be looked at now.
    Danger,
}

impl Gravity {
    /// The class in the style sheet.
    pub(crate) fn class(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Danger => "danger",
        }
    }

    /// The word for those who don't see colours.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Note => "Note",
            Self::Warning => "Warning",
            Self::Danger => "Attention",
        }
    }
}

/// A message above every page.
#[derive(Debug, Clone)]
pub struct Banner {
    /// How grave.
    pub gravity: Gravity,
    /// The fact, in a few words.
    pub title: String,
    /// What follows from it and what to do.
    pub text: String,
    /// Where more is, on this installation.
    pub link: Option<Link>,
}

impl Banner {
    /// Nobody else can countersign here.
    #[must_use]
    pub fn single_person() -> Self {
        Self {
            gravity: Gravity::Warning,
            title: "Nobody else can countersign here: confirmations only.".into(),
            text: "A confirmation is your own yes to your own agent. It is recorded and reported as a confirmation, not as a countersignature. Add a second person to change that.".into(),
            link: Some(Link {
                href: "/people#add-person".into(),
                text: "Add a person".into(),
            }),
        }
    }

    /// The clock can't be relied on; `detail` says how it is off.
    #[must_use]
    pub fn clock_fault(detail: impl Into<String>) -> Self {
        let detail: String = detail.into();
        Self {
            gravity: Gravity::Danger,
            title: "The clock of this installation is wrong: nothing can be claimed.".into(),
            text: format!(
                "{detail} Approvals are kept; actions run again once the clock is right."
            ),
            link: None,
        }
    }

    /// Somebody with access to the machine used the recovery.
    #[must_use]
    pub fn recovery_used(by: &str, when: &str) -> Self {
        Self {
            gravity: Gravity::Danger,
            title: format!("Recovery was used on the machine by {by} at {when}."),
            text: "It changed who may do what without a countersignature. Check the record, and ask whoever did it.".into(),
            link: None,
        }
    }
}

/// A link within this installation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Link {
    /// A path on this installation, with its query already encoded.
    pub href: String,
    /// The text.
    pub text: String,
}

impl Link {
    /// The address if it stays on this installation, otherwise nothing: an address made from data
    /// never becomes `javascript:` or another site.
    pub(crate) fn path(&self) -> &str {
        local(&self.href)
    }
}

/// `href` if it is a path, query or fragment of this installation; otherwise a dead fragment.
pub(crate) fn local(href: &str) -> &str {
    let same_site = match href.as_bytes() {
        [b'/', b'/' | b'\\', ..] => false,
        [b'/' | b'?' | b'#', ..] => !href.contains(['\t', '\n', '\r']),
        _ => false,
    };
    if same_site { href } else { "#main" }
}

/// How the last act ended.
#[derive(Debug, Clone)]
pub struct Flash {
    /// Whether it was done.
    pub done: bool,
    /// What was done, or why it was refused.
    pub text: String,
    /// What to do next; may be empty.
    pub next: String,
}

impl Flash {
    pub(crate) fn shown(&self) -> Coded<'_> {
        Coded(&self.text)
    }

    pub(crate) fn shown_next(&self) -> Coded<'_> {
        Coded(&self.next)
    }

    /// Something was done.
    #[must_use]
    pub fn done(text: impl Into<String>) -> Self {
        Self {
            done: true,
            text: text.into(),
            next: String::new(),
        }
    }

    /// Something was refused; `next` says what to do and may be empty.
    #[must_use]
    pub fn refused(text: impl Into<String>, next: impl Into<String>) -> Self {
        Self {
            done: false,
            text: text.into(),
            next: next.into(),
        }
    }
}

/// Where a page learns that it has changed.
#[derive(Debug, Clone, Default)]
pub struct Live {
    /// A server-sent event stream, for example `/v1/events?request=req_…`. Every event named
    /// `message`, `request` or `directory` makes the page fetch itself again.
    pub events: String,
    /// The address under which this page is fetched again; differs from the address in the
    /// browser when the page answers a form.
    pub page: String,
}

impl Shell {
    /// The text before a page's title: how many requests wait.
    pub(crate) fn count(&self) -> String {
        match self.waiting {
            0 => String::new(),
            count => format!("({count}) "),
        }
    }

    pub(crate) fn at_inbox(&self) -> bool {
        self.place == Place::Inbox
    }

    pub(crate) fn at_emergencies(&self) -> bool {
        self.place == Place::Emergencies
    }

    pub(crate) fn at_grants(&self) -> bool {
        self.place == Place::Grants
    }

    pub(crate) fn at_people(&self) -> bool {
        self.place == Place::People
    }

    pub(crate) fn css_version(&self) -> &'static str {
        asset::version(CSS)
    }

    pub(crate) fn js_version(&self) -> &'static str {
        asset::version(JS)
    }

    pub(crate) fn logo_version(&self) -> &'static str {
        asset::version(LOGO)
    }
}

#[cfg(test)]
mod tests {
    use super::local;

    #[test]
    fn only_addresses_of_this_installation_become_links() {
        for href in ["/inbox", "/requests/r1?x=1#y", "?after=3", "#main"] {
            assert_eq!(local(href), href);
        }
        for href in [
            "javascript:alert(1)",
            "//evil.example",
            "/\\evil.example",
            "/\t/evil.example",
            "https://evil.example",
            "data:text/html,x",
            "",
        ] {
            assert_eq!(local(href), "#main", "{href}");
        }
    }
}
