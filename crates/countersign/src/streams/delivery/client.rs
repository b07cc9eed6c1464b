//! Posting to one address.
//!
//! In scope: the client, fetching the secret, how long a receiver wants to be left alone.
//! Out of scope: what is posted, how the secret is used and what an answer means; the order of
//! messages and when one is tried again.
//! Invariant: only the configured address is spoken to: no redirect is followed and no proxy of the
//! environment used. In the clear that is this machine, or nothing is sent. How much of an answer is
//! read has a limit.

use std::{path::Path, time::Duration};

use anyhow::Context;
use countersign_policy::target::exec::CredentialSource;
use countersign_runner::vault::{Secret, VaultError};
use reqwest::{
    RequestBuilder, StatusCode, Url,
    header::{CONTENT_TYPE, USER_AGENT},
};

use crate::outbound::{self, FreshSecret, retry_after};

/// How long a receiver is left alone that did not answer in time. One that goes on sending
/// preliminary answers (status 103) keeps this end busy as long as an attempt lasts.
const HUNG: Duration = Duration::from_secs(30);
/// How much of an answer is read; also so that the connection can be used again.
const READ: usize = 64 << 10;

/// What became of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::streams) enum Answer {
    /// The receiver has it.
    Delivered,
    /// Not this time.
    Failed {
        /// What was met, without anything of the event.
        why: String,
        /// How long the receiver wants to be left alone.
        after: Option<Duration>,
        /// Whether that is about everything, not about this event.
        all: bool,
    },
    /// The receiver will never take it, so it need not be tried again.
    Refused {
        /// What was met, without anything of the message.
        why: String,
    },
    /// The receiver wants nothing more.
    Gone,
}

/// What a receiver answered.
pub(in crate::streams) struct Answered {
    /// The status.
    pub(in crate::streams) status: StatusCode,
    /// How long it wants to be left alone.
    pub(in crate::streams) after: Option<Duration>,
    /// What it said, as far as it was read.
    pub(in crate::streams) body: Vec<u8>,
}

/// Somebody who is told.
pub(in crate::streams) struct Client {
    url: Url,
    http: reqwest::Client,
    secret: Option<FreshSecret>,
}

impl Client {
    /// Speaks to an address. Of `ca`, a file, are the only authorities that vouch for it; relative
    /// paths start at `config`.
    ///
    /// # Errors
    /// Address, authorities or TLS can't be used.
    pub(in crate::streams) fn new(
        url: &str,
        secret: Option<&CredentialSource>,
        ca: Option<&str>,
        config: &Path,
    ) -> anyhow::Result<Self> {
        let url: Url = url.parse().context("the url can't be read")?;
        let http = outbound::client(&url, ca, config)?;
        Ok(Self {
            url,
            http,
            secret: secret.map(|secret| FreshSecret::of(secret, config)),
        })
    }

    /// The secret, fetched anew once a minute, and where `good` finds it so.
    ///
    /// # Errors
    /// It can't be had, or is not good. Nothing of it is in the message.
    pub(in crate::streams) async fn secret(
        &self,
        good: impl Fn(&Secret) -> Result<(), VaultError> + Send,
    ) -> anyhow::Result<Option<Secret>> {
        let Some(secret) = &self.secret else {
            return Ok(None);
        };
        let found = secret.get(good).await;
        found.context("no secret to prove who tells").map(Some)
    }

    /// A post of a body to the address.
    pub(in crate::streams) fn post(&self, content_type: &str, body: Vec<u8>) -> RequestBuilder {
        self.http
            .post(self.url.clone())
            .header(CONTENT_TYPE, content_type)
            .header(USER_AGENT, outbound::USER_AGENT)
            .body(body)
    }
}

/// Sends a post and reads what is answered; what failed, where nothing was.
pub(in crate::streams) async fn send(post: RequestBuilder) -> Result<Answered, Answer> {
    let mut answer = post.send().await.map_err(|error| {
        let hung = error.is_timeout();
        Answer::Failed {
            // The address may hold what identifies us to the receiver.
            why: crate::explain(&error.without_url()),
            after: hung.then_some(HUNG),
            all: hung,
        }
    })?;
    let mut body = Vec::new();
    while let Ok(Some(piece)) = answer.chunk().await
        && body.len() + piece.len() < READ
    {
        body.extend_from_slice(&piece);
    }
    Ok(Answered {
        status: answer.status(),
        after: retry_after(answer.headers()),
        body,
    })
}
