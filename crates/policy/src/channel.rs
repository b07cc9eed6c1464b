//! Channels: where people are told what waits for them, and decide.
//!
//! In scope: the settings of one channel, and what a rule's `notify` names.
//! Out of scope: speaking to them; the gateway does that.
//! Invariant: which workspace and which app are believed about who clicked is part of the bundle's
//! hash, so it changes only through a request. Secrets are named, never held.

use std::str::FromStr;

use countersign_core::time::Span;

use crate::target::exec::CredentialSource;

/// A channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Channel {
    /// A Slack workspace.
    Slack(Box<Slack>),
    /// A tenant of Microsoft Teams.
    Teams(Box<Teams>),
    /// Mails, which tell and lead to the console.
    Email(Box<Email>),
}

/// A server that takes mails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Email {
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How it is spoken to.
    pub tls: MailTls,
    /// Who the gateway is there, and its password; nobody where the server asks for none.
    pub login: Option<(String, CredentialSource)>,
    /// The address that mails come from.
    pub from: String,
    /// A file of the only authorities that vouch for the server.
    pub ca: Option<String>,
    /// How much a mail says.
    pub content: MailContent,
}

/// How a server of mails is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailTls {
    /// With TLS from the first byte.
    Implicit,
    /// In the clear until `STARTTLS`, without which nothing is said.
    StartTls,
    /// In the clear, to this machine only.
    None,
}

/// How much a mail says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MailContent {
    /// That something waits, and where.
    Link,
    /// Who asks for what and why.
    Full,
}

/// One app in one Slack workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slack {
    /// The workspace (`T…`): whoever clicks elsewhere is nobody here.
    pub team: String,
    /// The organisation (`E…`) that the workspace is in, where it is in one.
    pub enterprise: Option<String>,
    /// The app (`A…`).
    pub app: String,
    /// What the app speaks with (`xoxb-…`).
    pub bot_token: CredentialSource,
    /// How Slack reaches the gateway.
    pub reached: Reached,
    /// How long ago, at most, somebody whom a provider signs in has to have signed in.
    pub signed_in_within: Span,
    /// Where the Web API is: Slack's, but for tests.
    pub api: String,
}

/// One bot in one tenant of Microsoft Teams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Teams {
    /// The tenant, in small letters: whoever clicks elsewhere is nobody here.
    pub tenant: String,
    /// The bot's app id, in small letters. Tokens have to be for it.
    pub app: String,
    /// What the bot proves itself with where it gets its tokens.
    pub secret: CredentialSource,
    /// How long ago, at most, somebody whom a provider signs in has to have signed in.
    pub signed_in_within: Span,
    /// Who makes the tokens of what comes in. Its tokens for the bot are asked for under this name, too.
    pub issuer: String,
    /// Where that issuer says which keys it signs with.
    pub metadata: String,
    /// Where the bot gets its tokens.
    pub token: String,
    /// Where messages are sent: the one address that gets the bot's tokens. What comes in has to come
    /// from the same place.
    pub service: String,
}

/// How Slack reaches the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reached {
    /// It posts to the gateway's own address, signed with this secret.
    Signed(CredentialSource),
    /// The gateway opens a WebSocket to it, with this token (`xapp-…`).
    Socket(CredentialSource),
}

/// Where a rule's requests are told: an entry of its `notify`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Notify {
    /// The channel's name.
    pub channel: String,
    /// Where in it; without it, each person who can act is told in private.
    pub place: Option<String>,
}

/// What an entry of `notify` looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("write `CHANNEL` or `CHANNEL:PLACE`, such as `slack` or `slack:C0123ABCD`")]
pub struct NotNotify;

impl FromStr for Notify {
    type Err = NotNotify;

    fn from_str(text: &str) -> Result<Self, NotNotify> {
        let (channel, place) = match text.split_once(':') {
            Some((channel, place)) => (channel, Some(place)),
            None => (text, None),
        };
        match channel.is_empty() || place == Some("") {
            true => Err(NotNotify),
            false => Ok(Self {
                channel: channel.into(),
                place: place.map(Into::into),
            }),
        }
    }
}

impl Channel {
    /// Why a place can't be one of this channel; nothing when it can.
    #[must_use]
    pub fn refuses(&self, place: &str) -> Option<&'static str> {
        match self {
            Self::Slack(_) => (!is_id(place, &["C", "G"])).then_some(
                "name the Slack channel by its id (`C…`, at the end of its details): names change \
                 hands",
            ),
            Self::Teams(_) => (!is_thread(place)).then_some(
                "name the Teams channel or chat by its id (`19:…@thread.tacv2`); the bot says it when \
                 somebody writes `help` to it there",
            ),
            Self::Email(_) => (!is_address(place))
                .then_some("write an address such as `ops@example.com`, in plain ASCII"),
        }
    }
}

/// Whether a text is an address that mails can go to: plain ASCII, without quotation marks, of a
/// domain with a dot.
#[must_use]
pub fn is_address(text: &str) -> bool {
    let Some((local, domain)) = text.split_once('@') else {
        return false;
    };
    let atom = |part: &str| {
        let good = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c);
        !part.is_empty() && part.chars().all(good)
    };
    let label = |part: &str| {
        let good = |c: char| c.is_ascii_alphanumeric() || c == '-';
        let bare = !part.starts_with('-') && !part.ends_with('-');
        (1..=63).contains(&part.len()) && bare && part.chars().all(good)
    };
    text.len() <= 254
        && local.len() <= 64
        && local.split('.').all(atom)
        && domain.contains('.')
        && domain.split('.').all(label)
}

/// Whether a text is an id of Slack's that begins with one of these letters.
#[must_use]
pub fn is_id(text: &str, first: &[&str]) -> bool {
    let good = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit();
    (3..=40).contains(&text.len())
        && text.chars().all(good)
        && first.iter().any(|first| text.starts_with(first))
}

/// Whether a text is the id of a channel or a group chat of Teams, without a message in it.
#[must_use]
pub fn is_thread(text: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let parts = text
        .strip_prefix("19:")
        .and_then(|rest| rest.split_once("@thread."));
    text.len() <= 200
        && parts.is_some_and(|(name, kind)| {
            !name.is_empty() && !kind.is_empty() && name.chars().all(good) && kind.chars().all(good)
        })
}

/// Whether a text is a GUID in small letters.
#[must_use]
pub fn is_guid(text: &str) -> bool {
    let lengths: Vec<usize> = text.split('-').map(str::len).collect();
    let good = |c: char| c == '-' || c.is_ascii_digit() || ('a'..='f').contains(&c);
    lengths == [8, 4, 4, 4, 12] && text.chars().all(good)
}

#[cfg(test)]
mod tests {
    //! What mails can go to.
    //!
    //! In scope: the form of addresses.
    //! Out of scope: whether anybody reads them.
    //! Invariant: nothing that is taken can end a line or begin another header.

    use super::*;

    #[test]
    fn addresses_are_plain() {
        for good in ["dana@example.com", "d.o'neil+x@a-b.example", "1@2.3"] {
            assert!(is_address(good), "{good}");
        }
        for bad in [
            "",
            "dana",
            "@example.com",
            "dana@",
            "dana@localhost",
            "a@b@example.com",
            "dana@example..com",
            ".dana@example.com",
            "da..na@example.com",
            "dana@-a.example",
            "dana @example.com",
            "dana@example.com\r\nBcc: eve@example.com",
            "dana@example.com,eve@example.com",
            "<dana@example.com>",
            "\"dana\"@example.com",
            "däna@example.com",
            "dana@exämple.com",
        ] {
            assert!(!is_address(bad), "{bad}");
        }
        assert!(!is_address(&format!("{}@example.com", "a".repeat(65))));
    }
}
