//! Speaking to configured addresses elsewhere.
//!
//! In scope: the client for one address, reading an answer up to a limit, how long to leave it alone.
//! Out of scope: what is said, and what an answer means.
//! Invariant: no redirect is followed and no proxy of the environment used. In the clear that is this
//! machine, or nothing is sent.

use std::{
    net::IpAddr,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use countersign_policy::target::exec::CredentialSource;
use countersign_runner::vault::{Secret, Source, VaultError};
use reqwest::{
    Certificate, Client, RequestBuilder, Response, StatusCode, Url,
    header::{ACCEPT, DATE, HeaderMap, RETRY_AFTER, USER_AGENT as AGENT},
    redirect,
};
use tokio::sync::Mutex;

/// How long reaching the other side may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long one exchange may take in all.
const ANSWER: Duration = Duration::from_secs(15);
/// How long it is not fetched again after that failed.
const FAILED: Duration = Duration::from_secs(1);
/// How long a secret is used before it is fetched again.
const FRESH: Duration = Duration::from_secs(60);
/// The most bytes of a file of authorities.
const MAX_CA: u64 = 1 << 20;

/// The longest pause that the other side can ask for.
const LONGEST: Duration = Duration::from_secs(3_600);

/// How much of an answer is read, in bytes.
const MAX_ANSWER: usize = 1 << 20;

/// Who asks, for whoever keeps a log there.
pub(crate) const USER_AGENT: &str = concat!("countersign/", env!("CARGO_PKG_VERSION"));

/// Refuses an address that would be spoken to in the clear beyond this machine.
///
/// # Errors
/// It would.
pub(crate) fn check(url: &Url) -> anyhow::Result<()> {
    let here = match url.host_str().unwrap_or_default().trim_matches(['[', ']']) {
        "localhost" => true,
        host => host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback()),
    };
    match url.scheme() {
        "https" => Ok(()),
        "http" if here => Ok(()),
        _ => bail!("nothing is sent in the clear beyond this machine"),
    }
}

/// A client for an address. Of `ca`, a file, are the only authorities that vouch for it; relative
/// paths start at `config`.
///
/// # Errors
/// Address, authorities or TLS can't be used.
pub(crate) fn client(url: &Url, ca: Option<&str>, config: &Path) -> anyhow::Result<Client> {
    check(url)?;
    let mut http = Client::builder()
        .connect_timeout(CONNECT)
        .timeout(ANSWER)
        .redirect(redirect::Policy::none())
        .no_proxy()
        .https_only(url.scheme() == "https");
    if let Some(ca) = ca {
        http = http.tls_certs_only(authorities(&config.join(ca))?);
    }
    http.build().context("TLS can't be set up")
}

/// A secret that is fetched anew once a minute.
pub(crate) struct FreshSecret {
    source: Source,
    /// When it was fetched last, and what came of it.
    kept: Mutex<Option<(Instant, Option<Secret>)>>,
}

impl FreshSecret {
    /// Where a secret is fetched; relative paths start at `config`.
    pub(crate) fn of(secret: &CredentialSource, config: &Path) -> Self {
        let source = match secret {
            CredentialSource::Env(name) => Source::Env(name.clone()),
            CredentialSource::File(path) => Source::File(config.join(path)),
            CredentialSource::Command(argv) => Source::Command(argv.clone()),
        };
        let kept = Mutex::default();
        Self { source, kept }
    }

    /// The secret, where `good` finds it so.
    ///
    /// # Errors
    /// It can't be had, or is not good. Nothing of it is in the message.
    pub(crate) async fn get(
        &self,
        good: impl Fn(&Secret) -> Result<(), VaultError> + Send,
    ) -> Result<Secret, VaultError> {
        // Held while it is fetched: however many want it, one command runs.
        let mut kept = self.kept.lock().await;
        match &*kept {
            Some((since, Some(secret))) if since.elapsed() < FRESH => return Ok(secret.clone()),
            Some((since, None)) if since.elapsed() < FAILED => return Err(VaultError::Lately),
            _ => {}
        }
        let fetched = self.source.fetch().await;
        let fetched = fetched.and_then(|secret| good(&secret).map(|()| secret));
        *kept = Some((Instant::now(), fetched.as_ref().ok().cloned()));
        fetched
    }
}

/// Asks and reads what is answered.
///
/// # Errors
/// There is no answer, or too long a one.
pub(crate) async fn answer(asked: RequestBuilder) -> anyhow::Result<(StatusCode, Vec<u8>)> {
    let asked = asked
        .header(AGENT, USER_AGENT)
        .header(ACCEPT, "application/json");
    let mut answer = asked.send().await.map_err(|error| {
        // Its address is in the configuration or its own document; a query could hold anything.
        let host = error
            .url()
            .and_then(|url| url.host_str().map(str::to_owned));
        let host = host.unwrap_or_default();
        anyhow::Error::new(error.without_url()).context(format!("{host} does not answer"))
    })?;
    let read = body(&mut answer, MAX_ANSWER).await;
    let read = read.map_err(reqwest::Error::without_url)?;
    Ok((answer.status(), read.context("its answer is too long")?))
}

/// What was answered, where that is a success.
///
/// # Errors
/// It is not.
pub(crate) fn good((status, body): (StatusCode, Vec<u8>)) -> anyhow::Result<Vec<u8>> {
    match status {
        StatusCode::OK => Ok(body),
        status => bail!("it answers with status {status}"),
    }
}

/// What an answer says; `None` when that is `limit` bytes or more.
///
/// # Errors
/// It breaks off.
pub(crate) async fn body(answer: &mut Response, limit: usize) -> reqwest::Result<Option<Vec<u8>>> {
    let mut body = Vec::new();
    while let Some(piece) = answer.chunk().await? {
        if body.len() + piece.len() >= limit {
            return Ok(None);
        }
        body.extend_from_slice(&piece);
    }
    Ok(Some(body))
}

fn authorities(path: &Path) -> anyhow::Result<Vec<Certificate>> {
    let pem = authorities_file(path)?;
    let failed = || format!("the authorities in `{}` can't be used", path.display());
    let found = Certificate::from_pem_bundle(&pem).with_context(failed)?;
    if found.is_empty() {
        return Err(anyhow::anyhow!("it holds no certificate")).with_context(failed);
    }
    Ok(found)
}

/// What a file of authorities says, in PEM.
///
/// # Errors
/// It can't be read.
pub(crate) fn authorities_file(path: &Path) -> anyhow::Result<Vec<u8>> {
    use std::io::Read;
    let failed = || format!("the authorities in `{}` can't be used", path.display());
    let mut pem = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_CA).read_to_end(&mut pem))
        .with_context(failed)?;
    Ok(pem)
}

/// How long the other side wants to be left alone: seconds, or a date by its own clock.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
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
}
