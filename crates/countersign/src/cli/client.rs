//! The gateway's HTTP interface, seen from the caller.
//!
//! In scope: requests with the caller's token, answers as types, problem details as failures.
//! Out of scope: which settings count ([`config`](super::config)), what answers mean.
//! Invariant: the token never follows a redirect and never passes through a proxy in the clear.
//! Nothing is sent to whoever can't prove to be the gateway. Every write has an `Idempotency-Key`;
//! only what never reached the gateway, or carries such a key, is sent again.

use std::{path::Path, sync::Arc, time::Duration};

use aws_lc_rs::rand;
use countersign_core::{id::base32, trace::TraceParent};
use reqwest::{
    Method, RequestBuilder, Response, Url,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue},
    redirect,
};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    answer::{chain, checked, json, unexpected, whole},
    config::{Settings, Token, is_loopback},
    failure::{Failure, UNAVAILABLE},
    identity::Exchange,
    trust::{self, authorities},
};

/// How long an ordinary answer may take.
const ANSWER: Duration = Duration::from_secs(60);
/// How long sending inputs may take.
const UPLOAD: Duration = Duration::from_secs(900);
/// How long reaching the gateway may take.
const CONNECT: Duration = Duration::from_secs(10);
/// Pauses before an unanswered request is sent again.
const AGAIN: [Duration; 2] = [Duration::from_millis(200), Duration::from_millis(800)];

/// The kind of a failure before anything was sent.
pub(crate) const UNREACHABLE: &str = "unreachable";
/// The kind of a failure after something may have arrived.
pub(crate) const NO_ANSWER: &str = "no_answer";

/// A path below `/v1` and its query.
#[derive(Debug, Clone)]
pub(crate) struct At<'a> {
    segments: Vec<&'a str>,
    query: Vec<(&'a str, String)>,
}

impl<'a> At<'a> {
    /// The path of these segments, each escaped as needed.
    #[must_use]
    pub(crate) fn new(segments: &[&'a str]) -> Self {
        Self {
            segments: segments.to_vec(),
            query: Vec::new(),
        }
    }

    /// The same with a query parameter, when there is a value for it.
    #[must_use]
    pub(crate) fn with(mut self, name: &'a str, value: Option<impl ToString>) -> Self {
        self.query
            .extend(value.map(|value| (name, value.to_string())));
        self
    }
}

/// A connection to one gateway for one caller.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: Url,
    shown: Option<Shown>,
}

/// What says who calls.
#[derive(Debug, Clone)]
enum Shown {
    /// A token that somebody was given.
    Token(Token),
    /// Tokens for what a job or a service has.
    Exchange(Arc<Exchange>),
}

impl Client {
    /// A client for these settings.
    ///
    /// # Errors
    /// When there is no token, or TLS can't be set up.
    pub(crate) fn new(settings: &Settings) -> Result<Self, Failure> {
        if let Some(workload) = settings.identity.clone() {
            let exchange = Exchange::new(workload, settings.url.clone());
            return Ok(Self {
                shown: Some(Shown::Exchange(Arc::new(exchange))),
                ..Self::anonymous(&settings.url, settings.ca.as_deref())?
            });
        }
        let Some(token) = settings.token.clone() else {
            return Err(Failure::new(
                "no_token",
                format!("there is no token for {}", settings.url),
            )
            .next(
                "sign in with `countersign login`, or set COUNTERSIGN_TOKEN; a job or a service sets \
                 COUNTERSIGN_IDENTITY",
            )
            .exit(UNAVAILABLE));
        };
        Ok(Self {
            shown: Some(Shown::Token(token)),
            ..Self::anonymous(&settings.url, settings.ca.as_deref())?
        })
    }

    /// A client that says nothing about the caller. `ca` names who alone vouches for the gateway;
    /// without it the system's authorities do.
    ///
    /// # Errors
    /// When TLS can't be set up.
    pub(crate) fn anonymous(base: &Url, ca: Option<&Path>) -> Result<Self, Failure> {
        Ok(Self {
            http: http(base, ca)?,
            base: base.clone(),
            shown: None,
        })
    }

    /// The gateway's address.
    #[must_use]
    pub(crate) fn base(&self) -> &Url {
        &self.base
    }

    /// Reads JSON.
    ///
    /// # Errors
    /// When the gateway can't be reached, refuses or answers something else.
    pub(crate) async fn get<T: DeserializeOwned>(&self, at: At<'_>) -> Result<T, Failure> {
        json(self.answer(&at).await?).await
    }

    /// Reads text.
    ///
    /// # Errors
    /// When the gateway can't be reached, refuses or answers something else.
    pub(crate) async fn text(&self, at: At<'_>) -> Result<String, Failure> {
        let bytes = whole(self.answer(&at).await?).await?;
        String::from_utf8(bytes).map_err(|_| unexpected("text that is not UTF-8"))
    }

    /// The successful answer itself.
    ///
    /// # Errors
    /// When the gateway can't be reached or refuses.
    pub(crate) async fn answer(&self, at: &At<'_>) -> Result<Response, Failure> {
        let request = self.request(Method::GET, at).await?.timeout(ANSWER);
        self.send(request, Repeat::Always).await
    }

    /// Writes, and reads JSON.
    ///
    /// # Errors
    /// When the gateway can't be reached, refuses or answers something else.
    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        at: At<'_>,
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        json(self.write(&at, body, Repeat::Always).await?).await
    }

    /// Writes, and reads JSON that is given only once, such as a new token. What may have reached
    /// the gateway is not sent again.
    ///
    /// # Errors
    /// When the gateway can't be reached, refuses or answers something else.
    pub(crate) async fn post_once<T: DeserializeOwned>(
        &self,
        at: At<'_>,
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        json(self.write(&at, body, Repeat::Unsent).await?).await
    }

    /// Writes, and ignores what a success says.
    ///
    /// # Errors
    /// When the gateway can't be reached or refuses.
    pub(crate) async fn tell(&self, at: At<'_>, body: &impl Serialize) -> Result<(), Failure> {
        self.write(&at, body, Repeat::Always).await.map(drop)
    }

    /// Sends an archive and reads JSON.
    ///
    /// # Errors
    /// When the gateway can't be reached, refuses or answers something else.
    pub(crate) async fn upload<T: DeserializeOwned>(
        &self,
        at: At<'_>,
        archive: std::fs::File,
    ) -> Result<T, Failure> {
        let unreadable = |error| {
            Failure::new(
                "inputs",
                format!("the captured inputs can't be read: {error}"),
            )
        };
        let length = archive.metadata().map_err(unreadable)?.len();
        let request = self
            .request(Method::POST, &at)
            .await?
            .header("idempotency-key", key()?)
            .header(CONTENT_TYPE, "application/x-tar")
            .header("content-length", length)
            .timeout(UPLOAD)
            .body(tokio::fs::File::from_std(archive));
        json(self.send(request, Repeat::Never).await?).await
    }

    /// Opens a stream of events by a write, within a trace if there is one. It has no time limit.
    ///
    /// # Errors
    /// When the gateway can't be reached or refuses.
    pub(crate) async fn stream_of_write(
        &self,
        at: At<'_>,
        body: &impl Serialize,
        trace: Option<TraceParent>,
    ) -> Result<Response, Failure> {
        let mut request = self
            .request(Method::POST, &at)
            .await?
            .header("idempotency-key", key()?)
            .header(ACCEPT, "application/x-ndjson, application/problem+json")
            .json(body);
        if let Some(trace) = trace {
            request = request.header("traceparent", trace.to_string());
        }
        self.send(request, Repeat::Unsent).await
    }

    /// Opens a stream of server-sent events after the event `last`. It has no time limit.
    ///
    /// # Errors
    /// When the gateway can't be reached or refuses.
    pub(crate) async fn stream(&self, at: At<'_>, last: Option<&str>) -> Result<Response, Failure> {
        let request = self
            .request(Method::GET, &at)
            .await?
            .header(ACCEPT, "text/event-stream");
        let request = match last {
            Some(last) => request.header("last-event-id", last),
            None => request,
        };
        self.send(request, Repeat::Unsent).await
    }

    async fn write(
        &self,
        at: &At<'_>,
        body: &impl Serialize,
        repeat: Repeat,
    ) -> Result<Response, Failure> {
        let request = self
            .request(Method::POST, at)
            .await?
            .header("idempotency-key", key()?)
            .timeout(ANSWER)
            .json(body);
        self.send(request, repeat).await
    }

    /// Forgets a token that ended, where there is a way to another one; whether there is.
    pub(crate) async fn renew(&self) -> bool {
        match &self.shown {
            Some(Shown::Exchange(exchange)) => {
                exchange.renew().await;
                true
            }
            _ => false,
        }
    }

    async fn request(&self, method: Method, at: &At<'_>) -> Result<RequestBuilder, Failure> {
        let request = self.http.request(method, self.url(at)?);
        let token = match &self.shown {
            None => return Ok(request),
            Some(Shown::Token(token)) => token.clone(),
            Some(Shown::Exchange(exchange)) => exchange.token(&self.http).await?,
        };
        let mut bearer = HeaderValue::from_str(&format!("Bearer {}", token.secret()))
            .map_err(|_| Failure::usage("the token holds characters no token has"))?;
        bearer.set_sensitive(true);
        Ok(request.header(AUTHORIZATION, bearer))
    }

    fn url(&self, at: &At<'_>) -> Result<Url, Failure> {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .map_err(|()| Failure::usage(format!("`{}` can't have paths", self.base)))?
            .pop_if_empty()
            .push("v1")
            .extend(&at.segments);
        if !at.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&at.query);
        }
        Ok(url)
    }

    async fn send(&self, request: RequestBuilder, repeat: Repeat) -> Result<Response, Failure> {
        let mut pauses = AGAIN.iter();
        loop {
            let Some(attempt) = request.try_clone() else {
                // A body that is read from a file can be sent once.
                let answer = request.send().await;
                return checked(answer.map_err(|error| self.unreachable(&error))?).await;
            };
            let error = match attempt.send().await {
                Ok(answer) => return checked(answer).await,
                Err(error) => error,
            };
            match pauses.next() {
                Some(pause) if repeat.allows(&error) => tokio::time::sleep(*pause).await,
                _ => return Err(self.unreachable(&error)),
            }
        }
    }

    fn unreachable(&self, error: &reqwest::Error) -> Failure {
        if let Some(failure) = trust::explain(self.base.as_str(), error) {
            return failure;
        }
        let why = chain(error);
        let failure = if error.is_connect() {
            Failure::new(
                UNREACHABLE,
                format!("{} can't be reached: {why}", self.base),
            )
            .next("check the address with `countersign doctor`, and that the gateway runs")
        } else {
            Failure::new(NO_ANSWER, format!("{} gave no answer: {why}", self.base)).next(
                "what was asked may have arrived all the same: see `countersign requests list --mine`",
            )
        };
        failure.exit(UNAVAILABLE)
    }
}

/// Speaks to one address. `ca` names who alone vouches for it; without it the system's authorities do.
///
/// # Errors
/// When TLS can't be set up.
pub(crate) fn http(base: &Url, ca: Option<&Path>) -> Result<reqwest::Client, Failure> {
    // Fails only when a provider is there already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let builder = reqwest::Client::builder()
        .user_agent(concat!("countersign/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .connect_timeout(CONNECT)
        .tcp_keepalive(Duration::from_secs(30));
    let builder = if is_loopback(base) && base.scheme() == "http" {
        // A proxy would see the token; and a machine without certificates can still talk to
        // itself.
        builder.no_proxy().tls_certs_only([])
    } else if let Some(ca) = ca {
        builder.https_only(true).tls_certs_only(authorities(ca)?)
    } else {
        builder.https_only(true)
    };
    builder.build().map_err(|error| {
        Failure::new("tls", format!("TLS can't be set up: {}", chain(&error)))
            .next(
                "install the system's certificates, for example the package `ca-certificates`, \
                     or set COUNTERSIGN_CA to those of your own authority",
            )
            .exit(UNAVAILABLE)
    })
}

/// When a request is sent again.
#[derive(Debug, Clone, Copy)]
enum Repeat {
    /// Reads, and writes whose key the gateway knows again.
    Always,
    /// Only when no connection came about.
    Unsent,
    /// Never.
    Never,
}

impl Repeat {
    fn allows(self, error: &reqwest::Error) -> bool {
        match self {
            Self::Always => error.is_connect() || (error.is_request() && !error.is_timeout()),
            Self::Unsent => error.is_connect(),
            Self::Never => false,
        }
    }
}

/// A key under which the gateway knows a write again: 26 random characters.
fn key() -> Result<String, Failure> {
    let mut bytes = [0; 16];
    rand::fill(&mut bytes)
        .map_err(|_| Failure::new("random", "the system gives no random numbers"))?;
    Ok(base32(u128::from_be_bytes(bytes)))
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
