//! Posting one event.
//!
//! In scope: the client, the signature, what an answer means.
//! Out of scope: the order of events and when one is tried again.
//! Invariant: only the configured address is spoken to: no redirect is followed and no proxy of the
//! environment used. In the clear that is this machine, or nothing is sent. What a receiver says
//! beyond its status and `Retry-After` is not kept.
//! Specification: <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>

use std::{
    path::Path,
    sync::Mutex,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use countersign_policy::{stream::Webhook, target::exec::CredentialSource};
use countersign_runner::vault::{Secret, Source};
use reqwest::{
    Certificate, Client, StatusCode, Url,
    header::{CONTENT_TYPE, DATE, HeaderMap, RETRY_AFTER, USER_AGENT},
    redirect,
};

use super::event;
use crate::streams::lock;

/// How long reaching the receiver may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long one attempt may take in all.
const ANSWER: Duration = Duration::from_secs(15);
/// How long a receiver is left alone that did not answer in time. One that goes on sending
/// preliminary answers (status 103) keeps this end busy as long as an attempt lasts.
const HUNG: Duration = Duration::from_secs(30);
/// How long a secret is used before it is fetched again.
const FRESH: Duration = Duration::from_secs(60);
/// The longest pause that a receiver can ask for.
const LONGEST: Duration = Duration::from_secs(3_600);
/// How much of an answer is read, so that the connection can be used again.
const DRAIN: usize = 64 << 10;
/// The most bytes of a file of authorities.
const MAX_CA: u64 = 1 << 20;

/// What became of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
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
    /// The receiver wants nothing more.
    Gone,
}

/// Somebody who is told.
pub(super) struct Receiver {
    url: Url,
    client: Client,
    source: Source,
    secret: Mutex<Option<(Instant, Secret)>>,
}

impl Receiver {
    /// The receiver of these settings; relative paths start at `config`.
    ///
    /// # Errors
    /// Address, authorities or TLS can't be used.
    pub(super) fn new(webhook: &Webhook, config: &Path) -> anyhow::Result<Self> {
        let url: Url = webhook.url.parse().context("the url can't be read")?;
        let here = match url.host_str().unwrap_or_default().trim_matches(['[', ']']) {
            "localhost" => true,
            host => host
                .parse::<std::net::IpAddr>()
                .is_ok_and(|address| address.is_loopback()),
        };
        match url.scheme() {
            "https" => {}
            "http" if here => {}
            _ => bail!("nothing is sent in the clear beyond this machine"),
        }
        let mut client = Client::builder()
            .connect_timeout(CONNECT)
            .timeout(ANSWER)
            .redirect(redirect::Policy::none())
            .no_proxy()
            .https_only(url.scheme() == "https");
        if let Some(ca) = &webhook.ca {
            client = client.tls_certs_only(authorities(&config.join(ca))?);
        }
        Ok(Self {
            url,
            client: client.build().context("TLS can't be set up")?,
            source: match &webhook.secret {
                CredentialSource::Env(name) => Source::Env(name.clone()),
                CredentialSource::File(path) => Source::File(config.join(path)),
                CredentialSource::Command(argv) => Source::Command(argv.clone()),
            },
            secret: Mutex::default(),
        })
    }

    /// The secret, fetched anew once a minute.
    ///
    /// # Errors
    /// It can't be had, or can't sign. Nothing of it is in the message.
    pub(super) async fn secret(&self) -> anyhow::Result<Secret> {
        let known = lock(&self.secret).clone();
        if let Some((since, secret)) = known
            && since.elapsed() < FRESH
        {
            return Ok(secret);
        }
        let secret = self
            .source
            .fetch()
            .await
            .context("no secret to sign with")?;
        secret.check_webhook()?;
        *lock(&self.secret) = Some((Instant::now(), secret.clone()));
        Ok(secret)
    }

    /// Posts a body under an id, signed at `now`, in seconds since 1970.
    pub(super) async fn post(&self, secret: &Secret, id: &str, body: Vec<u8>, now: i64) -> Answer {
        let signature = match secret.sign_webhook(id, now, &body) {
            Ok(signature) => signature,
            Err(error) => return failed(error.to_string()),
        };
        let sent = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, event::CONTENT_TYPE)
            .header(
                USER_AGENT,
                concat!("countersign/", env!("CARGO_PKG_VERSION")),
            )
            .header("webhook-id", id)
            .header("webhook-timestamp", now.to_string())
            .header("webhook-signature", signature)
            .body(body)
            .send()
            .await;
        match sent {
            Ok(mut answer) => {
                let read = answered(answer.status(), answer.headers());
                let mut unread = DRAIN;
                while let Ok(Some(piece)) = answer.chunk().await
                    && piece.len() < unread
                {
                    unread -= piece.len();
                }
                read
            }
            // The address may hold what identifies us to the receiver.
            Err(error) if error.is_timeout() => Answer::Failed {
                why: crate::explain(&error.without_url()),
                after: Some(HUNG),
                all: true,
            },
            Err(error) => failed(crate::explain(&error.without_url())),
        }
    }
}

fn failed(why: String) -> Answer {
    Answer::Failed {
        why,
        after: None,
        all: false,
    }
}

fn answered(status: StatusCode, headers: &HeaderMap) -> Answer {
    if status.is_success() {
        return Answer::Delivered;
    }
    if status == StatusCode::GONE {
        return Answer::Gone;
    }
    Answer::Failed {
        why: format!("status {}", status.as_u16()),
        after: retry_after(headers),
        all: matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
        ),
    }
}

/// How long a receiver wants to be left alone: seconds, or a date by its own clock.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name)?.to_str().ok().map(str::trim);
    let after = text(RETRY_AFTER)?;
    let seconds = match after.parse::<u64>() {
        Ok(seconds) => seconds,
        Err(_) => {
            let date = |text: &str| jiff::fmt::rfc2822::parse(text).ok();
            let (then, now) = (date(after)?, date(text(DATE)?)?);
            let seconds = then.timestamp().as_second() - now.timestamp().as_second();
            u64::try_from(seconds).unwrap_or(0)
        }
    };
    Some(Duration::from_secs(seconds).min(LONGEST))
}

fn authorities(path: &Path) -> anyhow::Result<Vec<Certificate>> {
    use std::io::Read;
    let failed = || format!("the authorities in `{}` can't be used", path.display());
    let mut pem = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_CA).read_to_end(&mut pem))
        .with_context(failed)?;
    let found = Certificate::from_pem_bundle(&pem).with_context(failed)?;
    if found.is_empty() {
        return Err(anyhow::anyhow!("it holds no certificate")).with_context(failed);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    #[test]
    fn receivers_say_when_to_come_back() {
        let date = "Sat, 21 Nov 2026 07:00:00 GMT";
        for (after, now, expected) in [
            ("7", None, Some(7)),
            (" 7 ", None, Some(7)),
            ("999999", None, Some(3_600)),
            ("Sat, 21 Nov 2026 07:00:30 GMT", Some(date), Some(30)),
            ("Sat, 21 Nov 2026 06:00:00 GMT", Some(date), Some(0)),
            ("Sat, 21 Nov 2026 07:00:30 GMT", None, None),
            ("soon", Some(date), None),
            ("-1", None, None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_static(after));
            if let Some(now) = now {
                headers.insert(DATE, HeaderValue::from_static(now));
            }
            let found = retry_after(&headers).map(|after| after.as_secs());
            assert_eq!(found, expected, "{after}");
        }
    }

    #[test]
    fn only_success_is_delivered() {
        let none = HeaderMap::new();
        for (status, expected) in [
            (200, "Delivered"),
            (204, "Delivered"),
            (301, "status 301"),
            (400, "status 400"),
            (410, "Gone"),
            (429, "all: true"),
            (500, "all: false"),
            (503, "all: true"),
        ] {
            let answer = answered(StatusCode::from_u16(status).unwrap(), &none);
            let answer = format!("{answer:?}");
            assert!(answer.contains(expected), "{status}: {answer}");
        }
    }
}
