//! Speaking to GitHub as an App.
//!
//! In scope: the token of an installation, for one repository and what an answer takes; the run; the answer.
//! Out of scope: what is answered, and when again.
//! Invariant: every address is made here of the configured one, a repository of the bundle's and numbers. The
//! key goes nowhere; a token goes to the configured address only, and into no message of an error.
//! Specification: <https://docs.github.com/en/rest/actions/workflow-runs>

use std::{path::Path, time::Duration};

use anyhow::Context;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_core::time::Timestamp;
use countersign_policy::GitHub;
use countersign_runner::vault::{Secret, VaultError};
use reqwest::{Client, RequestBuilder, StatusCode, Url, header::HeaderMap};
use serde::Deserialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::runs::{self, Job, Run};
use crate::outbound::{self, FreshSecret, USER_AGENT, retry_after};

/// The most bytes of an answer.
const MAX_ANSWER: usize = 1 << 20;
/// How long the word of the App counts, in seconds; GitHub takes up to ten minutes.
const LASTS: i64 = 300;
/// How far clocks may be apart.
const SKEW: i64 = 60;
/// The version of the interface.
const VERSION: (&str, &str) = ("x-github-api-version", "2022-11-28");

/// Why GitHub did not take something.
#[derive(Debug)]
pub(super) enum Failure {
    /// Not this time.
    Later {
        why: String,
        /// How long GitHub wants to be left alone.
        after: Option<Duration>,
        /// Whether it may have taken it nevertheless.
        maybe: bool,
    },
    /// Somebody has to put something right first.
    Hindered(String),
    /// It never will.
    Refused { why: String, status: StatusCode },
}

impl Failure {
    pub(super) fn why(&self) -> &str {
        match self {
            Self::Later { why, .. } | Self::Hindered(why) | Self::Refused { why, .. } => why,
        }
    }

    /// The same of a question: nothing was answered, whatever GitHub did, and it can be asked again.
    fn of_a_question(self) -> Self {
        match self {
            Self::Later { why, after, .. } => later(why, after, false),
            Self::Hindered(why) | Self::Refused { why, .. } => Self::Hindered(why),
        }
    }
}

/// The token of an installation.
pub(super) struct Token(Zeroizing<String>);

/// One App.
pub(super) struct Speaking {
    client: Client,
    api: String,
    app: u64,
    key: FreshSecret,
}

impl Speaking {
    /// The App as the bundle has it.
    ///
    /// # Errors
    /// The address or TLS can't be used.
    pub(super) fn new(github: &GitHub, config: &Path) -> anyhow::Result<Self> {
        let url: Url = github.api.parse().context("`api` can't be read")?;
        Ok(Self {
            client: outbound::client(&url, None, config)?,
            api: github.api.clone(),
            app: github.app,
            key: FreshSecret::of(&github.private_key, config),
        })
    }

    /// A token for the answer to one job.
    ///
    /// # Errors
    /// [`Failure`]; nothing was answered.
    pub(super) async fn token(&self, job: &Job, now: Timestamp) -> Result<Token, Failure> {
        #[derive(Deserialize)]
        struct Given {
            token: String,
        }
        let word = self.word(now).await;
        let word = word.map_err(|error| Failure::Hindered(format!("the App's key: {error}")))?;
        let (api, installation) = (&self.api, job.installation);
        let asked = self
            .client
            .post(format!(
                "{api}/app/installations/{installation}/access_tokens"
            ))
            .json(&json!({
                "repository_ids": [job.repository_id],
                "permissions": { "actions": "read", "deployments": "write" },
            }));
        let body = sent(asked, &word, "the token").await;
        let body = body.map_err(Failure::of_a_question)?;
        let given: Option<Given> = serde_json::from_slice(&body).ok();
        let plain =
            |token: &String| !token.is_empty() && token.chars().all(|c| c.is_ascii_graphic());
        match given.map(|given| given.token).filter(plain) {
            Some(token) => Ok(Token(Zeroizing::new(token))),
            None => Err(Failure::Hindered(
                "GitHub gives no token for the App".into(),
            )),
        }
    }

    /// What GitHub says of the run; `None` when it has no such run.
    ///
    /// # Errors
    /// [`Failure`]; nothing was answered.
    pub(super) async fn run(&self, job: &Job, token: &Token) -> Result<Option<Run>, Failure> {
        let (api, repository, run) = (&self.api, &job.repository, job.run);
        let url = format!("{api}/repos/{repository}/actions/runs/{run}");
        let asked = sent(self.client.get(url), &token.0, "what the run is").await;
        let body = match asked {
            Err(Failure::Refused { status, .. }) if status == StatusCode::NOT_FOUND => {
                return Ok(None);
            }
            other => other.map_err(Failure::of_a_question)?,
        };
        let run = runs::read(&body, run);
        let unread =
            |why| Failure::Hindered(format!("what GitHub says of a run can't be read: {why}"));
        run.map(Some).map_err(unread)
    }

    /// Answers for a job: `approved`, `rejected`, or only words.
    ///
    /// # Errors
    /// [`Failure`].
    pub(super) async fn answer(
        &self,
        job: &Job,
        token: &Token,
        state: Option<&str>,
        comment: &str,
    ) -> Result<(), Failure> {
        let (api, repository, run) = (&self.api, &job.repository, job.run);
        let mut body = json!({ "environment_name": job.environment, "comment": comment });
        if let Some(fields) = body.as_object_mut() {
            fields.extend(state.map(|state| ("state".to_owned(), Value::from(state))));
        }
        let url = format!("{api}/repos/{repository}/actions/runs/{run}/deployment_protection_rule");
        let asked = self.client.post(url).json(&body);
        sent(asked, &token.0, "the answer").await.map(|_| ())
    }

    /// What the App says of itself, signed.
    async fn word(&self, now: Timestamp) -> Result<Zeroizing<String>, VaultError> {
        let key = self.key.get(Secret::check_rsa).await?;
        let now = now.0.div_euclid(1_000);
        let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let claims = json!({
            "iss": self.app.to_string(),
            "iat": now - SKEW,
            "exp": now + LASTS,
        });
        let header = encode(&json!({ "alg": "RS256", "typ": "JWT" }));
        let text = format!("{header}.{}", encode(&claims));
        let signature = key.sign_rs256(text.as_bytes())?;
        Ok(Zeroizing::new(format!(
            "{text}.{}",
            URL_SAFE_NO_PAD.encode(signature)
        )))
    }
}

/// Sends something, and tells apart what becomes of it.
async fn sent(asked: RequestBuilder, bearer: &str, what: &str) -> Result<Vec<u8>, Failure> {
    let asked = asked
        .bearer_auth(bearer)
        .header("accept", "application/vnd.github+json")
        .header("user-agent", USER_AGENT)
        .header(VERSION.0, VERSION.1);
    let later = |error: reqwest::Error| Failure::Later {
        maybe: !error.is_connect(),
        why: format!(
            "GitHub did not answer {what}: {}",
            crate::explain(&error.without_url())
        ),
        after: None,
    };
    let mut answer = asked.send().await.map_err(later)?;
    let (status, headers) = (answer.status(), answer.headers().clone());
    let body = outbound::body(&mut answer, MAX_ANSWER).await;
    if status.is_success() {
        // It was taken, however much of the rest arrives.
        return Ok(body.ok().flatten().unwrap_or_default());
    }
    let said = body.ok().flatten().unwrap_or_default();
    Err(failure(status, &headers, &said, what))
}

/// What a status that is no success means.
fn failure(status: StatusCode, headers: &HeaderMap, said: &[u8], what: &str) -> Failure {
    let said: Option<Value> = serde_json::from_slice(said).ok();
    let said = said.as_ref().and_then(|said| said.get("message")?.as_str());
    let said: String = said.unwrap_or_default().chars().take(200).collect();
    let why = format!("GitHub answers {what} with {}: {said:?}", status.as_u16());
    let after = retry_after(headers);
    let text = |name: &str| headers.get(name)?.to_str().ok();
    let spent = text("x-ratelimit-remaining") == Some("0");
    match status {
        StatusCode::TOO_MANY_REQUESTS => later(why, after, false),
        StatusCode::FORBIDDEN if after.is_some() || spent => later(why, after, false),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Failure::Hindered(why),
        StatusCode::REQUEST_TIMEOUT => later(why, after, true),
        status if status.is_server_error() => later(why, after, true),
        _ => Failure::Refused { why, status },
    }
}

fn later(why: String, after: Option<Duration>, maybe: bool) -> Failure {
    Failure::Later { why, after, maybe }
}

#[cfg(test)]
mod tests {
    //! What GitHub's answers mean.
    //!
    //! In scope: statuses and headers.
    //! Out of scope: sending.
    //! Invariant: what may have been taken is never said not to have been.

    use reqwest::header::HeaderValue;

    use super::*;

    #[test]
    fn statuses_are_told_apart() {
        let limited = ("x-ratelimit-remaining", "0");
        for (status, header, expected) in [
            (403, None, "hindered"),
            (403, Some(limited), "later"),
            (403, Some(("retry-after", "7")), "later 7"),
            (401, None, "hindered"),
            (404, None, "refused"),
            (422, None, "refused"),
            (302, None, "refused"),
            (429, None, "later"),
            (429, Some(("retry-after", "3")), "later 3"),
            (408, None, "later maybe"),
            (500, None, "later maybe"),
            (503, Some(("retry-after", "9")), "later maybe 9"),
        ] {
            let mut headers = HeaderMap::new();
            if let Some((name, value)) = header {
                headers.insert(name, HeaderValue::from_static(value));
            }
            let status = StatusCode::from_u16(status).unwrap();
            let said = match failure(status, &headers, b"{\"message\":\"no\\n\"}", "it") {
                Failure::Hindered(_) => "hindered".to_owned(),
                Failure::Refused { .. } => "refused".into(),
                Failure::Later { after, maybe, why } => {
                    assert!(!why.contains('\n'), "{why}");
                    let maybe = if maybe { " maybe" } else { "" };
                    let after = after.map(|after| format!(" {}", after.as_secs()));
                    format!("later{maybe}{}", after.unwrap_or_default())
                }
            };
            assert_eq!(said, expected, "{status} {header:?}");
        }
    }
}
