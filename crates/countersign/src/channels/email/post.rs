//! A mail as it is sent: its name, its thread, its parts.
//!
//! In scope: headers, and handing it over.
//! Out of scope: what it says ([`letter`](super::letter)).
//! Invariant: the same thing told to the same recipient has the same Message-ID, so that whoever gets it
//! twice can tell. No header has anything in it that could end its line.

use std::time::{Duration, SystemTime};

use anyhow::Context;
use axum::http::Uri;
use countersign_core::{canonical::Hash, id::RequestId, time::Timestamp};
use countersign_policy::{Email, channel::MailContent};
use lettre::{
    Message,
    message::{
        Mailbox, MultiPart,
        header::{HeaderName, HeaderValue},
    },
};

use super::{
    letter::Letter,
    news::{News, Recipient, place},
    smtp::{Smtp, SmtpError},
};
use crate::gateway::Gateway;

/// How many digits of a hash are in a name.
const DIGITS: usize = 20;
/// What the name of a list begins with.
const LIST: &str = "<list.";

/// What mails of one channel are sent with.
pub(super) struct Post {
    /// The channel's name.
    pub(super) channel: String,
    pub(super) content: MailContent,
    smtp: Smtp,
    from: Mailbox,
    /// What stands behind the `@` of names.
    host: String,
}

impl Post {
    /// What a channel's mails are sent with.
    ///
    /// # Errors
    /// Its settings can't be used.
    pub(super) fn new(gateway: &Gateway, name: &str, email: &Email) -> anyhow::Result<Self> {
        let url: Uri = gateway.url().parse()?;
        let host = url.host().unwrap_or("localhost");
        let bare = host.trim_matches(['[', ']']);
        Ok(Self {
            channel: name.to_owned(),
            content: email.content,
            smtp: Smtp::new(email, bare, &gateway.config)?,
            from: Mailbox::new(Some("Countersign".into()), email.from.parse()?),
            host: host.to_owned(),
        })
    }

    /// What a mail about a request is called.
    pub(super) fn name(&self, to: &Recipient, request: &RequestId, news: &News) -> String {
        match news {
            News::Waits => self.thread(to, request),
            news => {
                let hash = self.digits(&place(to, news));
                format!("<{request}.{hash}@{}>", self.host)
            }
        }
    }

    /// What the thread is called that all mails about a request to one recipient are in. The mail that
    /// says that it waits begins it.
    fn thread(&self, to: &Recipient, request: &RequestId) -> String {
        let hash = self.digits(&place(to, &News::Waits));
        format!("<{request}.{hash}@{}>", self.host)
    }

    /// What one mail about many things is called.
    pub(super) fn list_name<'a>(
        &self,
        to: &Recipient,
        told: impl Iterator<Item = (&'a RequestId, &'a News)>,
    ) -> String {
        let mut all: Vec<String> = told.map(|(id, news)| format!("{id} {news}")).collect();
        all.sort();
        let hash = self.digits(&format!("{to} {}", all.join(" ")));
        format!("{LIST}{hash}@{}>", self.host)
    }

    /// Whether a name is a list's.
    pub(super) fn is_list(name: &str) -> bool {
        name.starts_with(LIST)
    }

    fn digits(&self, text: &str) -> String {
        let parts = [self.channel.as_bytes(), b"\0", text.as_bytes()];
        let hash = Hash::of_parts(&parts).to_string();
        hash.chars().take(DIGITS).collect()
    }

    /// Sends a mail called `name` to an address. `of` is who is told of which request, for the thread.
    ///
    /// # Errors
    /// [`SmtpError`].
    pub(super) async fn send(
        &self,
        (address, name): (&str, &str),
        of: Option<(&Recipient, &RequestId)>,
        letter: &Letter,
        now: Timestamp,
    ) -> Result<(), SmtpError> {
        let thread = of.map(|(to, request)| self.thread(to, request));
        let made = self.message((address, name), thread, letter, now);
        let made = made.map_err(|error| SmtpError::Refused(format!("{error:#}")))?;
        self.smtp.send(address, &made.formatted()).await
    }

    fn message(
        &self,
        (address, name): (&str, &str),
        thread: Option<String>,
        letter: &Letter,
        now: Timestamp,
    ) -> anyhow::Result<Message> {
        let follows = thread.filter(|thread| thread != name);
        let subject = match follows {
            Some(_) => format!("Re: {}", letter.subject),
            None => letter.subject.clone(),
        };
        let since = Duration::from_millis(u64::try_from(now.0).unwrap_or_default());
        let mut builder = Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, address.parse()?))
            .date(SystemTime::UNIX_EPOCH + since)
            .message_id(Some(name.to_owned()))
            .subject(subject);
        if let Some(thread) = follows {
            builder = builder.in_reply_to(thread.clone()).references(thread);
        }
        for (header, value) in [
            // Nobody's absence note answers it, and no list of machines takes it for a person's.
            ("Auto-Submitted", "auto-generated"),
            ("X-Auto-Response-Suppress", "All"),
        ] {
            let header = HeaderName::new_from_ascii_str(header);
            builder = builder.raw_header(HeaderValue::new(header, value.to_owned()));
        }
        let parts = MultiPart::alternative_plain_html(letter.mail.text(), letter.mail.html());
        builder.multipart(parts).context("the mail can't be made")
    }
}
