//! Slack's Web API.
//!
//! In scope: calling a method, and telling apart what it answers.
//! Out of scope: what is called when.
//! Invariant: the token goes to the configured address only, and into no message of an error.
//! Specification: <https://docs.slack.dev/apis/web-api/>

use std::{path::Path, time::Duration};

use countersign_policy::{Slack, target::exec::CredentialSource};
use countersign_runner::vault::{Secret, VaultError};
use reqwest::{Client, StatusCode, Url, header::RETRY_AFTER};
use serde_json::Value;

use crate::outbound::{self, FreshSecret, USER_AGENT};

/// The most bytes of an answer.
const MAX_ANSWER: usize = 4 << 20;
/// How long to wait where Slack wants that and doesn't say for how long.
const WAIT: Duration = Duration::from_secs(30);
/// The longest that Slack can have the gateway wait.
const MAX_WAIT: Duration = Duration::from_secs(600);

/// Why a call came to nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum WebError {
    /// Too many calls.
    #[error("Slack wants {0:?} of peace")]
    Limited(Duration),
    /// Slack says no, in a word of its own.
    #[error("Slack answers `{code}` to {method}{help}", help = help(code))]
    Refused {
        /// The method.
        method: &'static str,
        /// The word.
        code: String,
    },
    /// Nobody answers, or not in Slack's words.
    #[error("{method} was not answered: {why}")]
    Unanswered {
        /// The method.
        method: &'static str,
        /// What came instead.
        why: String,
    },
    /// The token.
    #[error("the token can't be had: {0}")]
    Token(VaultError),
}

impl WebError {
    /// Whether Slack says that what is meant is not there (any more).
    pub(super) fn is_gone(&self) -> bool {
        let gone = [
            "message_not_found",
            "cant_update_message",
            "thread_not_found",
        ];
        matches!(self, Self::Refused { code, .. } if gone.contains(&code.as_str()))
    }

    /// Whether Slack refuses this one message, so that the others of its place can go on.
    pub(super) fn is_of_one_message(&self) -> bool {
        let of_all = [
            "account_inactive",
            "channel_not_found",
            "fatal_error",
            "internal_error",
            "invalid_auth",
            "is_archived",
            "missing_scope",
            "not_authed",
            "not_in_channel",
            "request_timeout",
            "service_unavailable",
            "team_access_not_granted",
            "token_expired",
            "token_revoked",
        ];
        matches!(self, Self::Refused { code, .. } if !of_all.contains(&code.as_str()))
    }

    /// Whether Slack would not show it, however often it is asked.
    pub(super) fn is_unshowable(&self) -> bool {
        let never = [
            "invalid_arguments",
            "invalid_blocks",
            "invalid_blocks_format",
            "msg_blocks_too_long",
            "msg_too_long",
        ];
        matches!(self, Self::Refused { code, .. } if never.contains(&code.as_str()))
    }
}

/// What to do about a word of Slack's.
fn help(code: &str) -> &'static str {
    match code {
        "not_in_channel" | "channel_not_found" => "; invite the app to the channel",
        "missing_scope" => "; install the app again with the manifest of this version",
        "invalid_auth" | "token_revoked" | "account_inactive" => "; install the app again",
        _ => "",
    }
}

/// The Web API with one token.
pub(super) struct Web {
    client: Client,
    api: String,
    token: FreshSecret,
}

impl Web {
    /// The API as the bundle has it, with this token.
    ///
    /// # Errors
    /// The address or TLS can't be used.
    pub(super) fn new(
        slack: &Slack,
        token: &CredentialSource,
        config: &Path,
    ) -> anyhow::Result<Self> {
        let url: Url = slack.api.parse()?;
        Ok(Self {
            client: outbound::client(&url, None, config)?,
            api: slack.api.clone(),
            token: FreshSecret::of(token, config),
        })
    }

    /// The client, for what else is spoken to the same side.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Calls a method.
    ///
    /// # Errors
    /// [`WebError`].
    pub(super) async fn call(
        &self,
        method: &'static str,
        arguments: &Value,
    ) -> Result<Value, WebError> {
        let body = serde_json::to_vec(arguments).unwrap_or_default();
        self.post(method, "application/json; charset=utf-8", body)
            .await
    }

    /// Calls a method that reads, which Slack takes as a form only.
    ///
    /// # Errors
    /// [`WebError`].
    pub(super) async fn read(
        &self,
        method: &'static str,
        arguments: &[(&str, &str)],
    ) -> Result<Value, WebError> {
        let body = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(arguments)
            .finish()
            .into_bytes();
        self.post(method, "application/x-www-form-urlencoded", body)
            .await
    }

    async fn post(
        &self,
        method: &'static str,
        kind: &'static str,
        body: Vec<u8>,
    ) -> Result<Value, WebError> {
        let unanswered = |why: String| WebError::Unanswered { method, why };
        let token = self.token.get(Secret::check_header).await;
        let bearer = token
            .and_then(|token| token.bearer())
            .map_err(WebError::Token)?;
        let sent = self
            .client
            .post(format!("{}/{method}", self.api))
            .header("user-agent", USER_AGENT)
            .header("content-type", kind)
            .header("authorization", bearer.as_str())
            .body(body)
            .send()
            .await;
        let mut answer = sent.map_err(|error| unanswered(error.without_url().to_string()))?;
        if answer.status() == StatusCode::TOO_MANY_REQUESTS {
            let after = answer.headers().get(RETRY_AFTER);
            let seconds = after.and_then(|value| value.to_str().ok()?.parse().ok());
            let wait = seconds.map_or(WAIT, Duration::from_secs);
            return Err(WebError::Limited(wait.min(MAX_WAIT)));
        }
        let body = outbound::body(&mut answer, MAX_ANSWER).await;
        let body = body.map_err(|error| unanswered(error.without_url().to_string()))?;
        let status = answer.status();
        let said: Option<Value> = body.and_then(|body| serde_json::from_slice(&body).ok());
        let ok = said.as_ref().and_then(|said| said.get("ok")?.as_bool());
        let (Some(said), Some(ok)) = (said, ok) else {
            return Err(unanswered(format!(
                "it says {status}, and not as Slack does"
            )));
        };
        if ok {
            return Ok(said);
        }
        let code = text(&said, &["error"]).unwrap_or("unknown").to_owned();
        match code.as_str() {
            "ratelimited" | "rate_limited" => Err(WebError::Limited(WAIT)),
            _ => Err(WebError::Refused { method, code }),
        }
    }
}

/// A text within what Slack says; nothing where there is none, or an empty one.
pub(super) fn text<'a>(value: &'a Value, path: &[&str]) -> Option<&'a str> {
    let found = path.iter().try_fold(value, |value, key| value.get(key))?;
    found.as_str().filter(|text| !text.is_empty())
}
