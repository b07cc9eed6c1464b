//! Microsoft's Bot Connector.
//!
//! In scope: the bot's own token, calling the connector, telling apart what it answers.
//! Out of scope: what is called when.
//! Invariant: the secret goes to the configured address for tokens only, a token to the configured
//! `service_url` only, wherever an activity says that it comes from; neither is in any message of an
//! error.
//! Specification: <https://learn.microsoft.com/azure/bot-service/rest-api/bot-framework-rest-connector-api-reference>

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use countersign_policy::Teams;
use countersign_runner::vault::VaultError;
use reqwest::{Client, Method, StatusCode, Url, header::RETRY_AFTER};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use super::{super::messenger::Failed, incoming::text};
use crate::outbound::{self, FreshSecret, USER_AGENT};

/// The most bytes of an answer.
const MAX_ANSWER: usize = 1 << 20;
/// How long to wait where Teams wants that and doesn't say for how long.
const WAIT: Duration = Duration::from_secs(30);
/// The longest that Teams can have the gateway wait.
const MAX_WAIT: Duration = Duration::from_secs(600);
/// How long before its end a token is not used any more.
const SPARE: u64 = 300;
/// The longest that a token is used.
const MAX_TOKEN: u64 = 24 * 3_600;

/// The connector for one bot.
pub(super) struct Connector {
    http: Client,
    service: Url,
    login: Client,
    token_url: Url,
    app: String,
    scope: String,
    secret: FreshSecret,
    /// Until when a token is used.
    bearer: Mutex<Option<(Instant, Zeroizing<String>)>>,
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    expires_in: u64,
}

impl Connector {
    /// The connector as the bundle has it.
    ///
    /// # Errors
    /// An address or TLS can't be used.
    pub(super) fn new(teams: &Teams, config: &Path) -> anyhow::Result<Self> {
        let service: Url = teams.service.parse()?;
        let token_url: Url = teams.token.parse()?;
        Ok(Self {
            http: outbound::client(&service, None, config)?,
            login: outbound::client(&token_url, None, config)?,
            service,
            token_url,
            app: teams.app.clone(),
            scope: format!("{}/.default", teams.issuer),
            secret: FreshSecret::of(&teams.secret, config),
            bearer: Mutex::default(),
        })
    }

    /// Whether a token for the connector can be had.
    ///
    /// # Errors
    /// Why not.
    pub(super) async fn has_token(&self) -> anyhow::Result<()> {
        self.token().await.map(drop)
    }

    /// The value of the header that proves who calls.
    async fn token(&self) -> anyhow::Result<Zeroizing<String>> {
        // Held while it is fetched: however many want it, one is asked for.
        let mut bearer = self.bearer.lock().await;
        if let Some((until, token)) = &*bearer
            && *until > Instant::now()
        {
            return Ok(token.clone());
        }
        let secret = self.secret.get(|_| Ok::<_, VaultError>(())).await;
        let secret = secret.context("the bot's secret can't be had")?;
        let fields = form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "client_credentials")
            .append_pair("client_id", &self.app)
            .append_pair("scope", &self.scope)
            .finish();
        let form = Zeroizing::new(format!("{fields}&{}", secret.client_form().as_str()));
        let asked = self
            .login
            .post(self.token_url.clone())
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form.as_bytes().to_vec());
        let (status, body) = outbound::answer(asked).await?;
        let body = Zeroizing::new(body);
        ensure!(
            status == StatusCode::OK,
            "no token for the bot: `token_url` answers with status {status}; look at `app`, `tenant` \
             and `secret`"
        );
        let granted: Granted =
            serde_json::from_slice(&body).context("what `token_url` answers is no token")?;
        let given = Zeroizing::new(granted.access_token);
        let visible = |c: char| c.is_ascii_graphic();
        ensure!(
            given.chars().all(visible) && !given.is_empty(),
            "what `token_url` answers is no token"
        );
        let lasts = granted.expires_in.min(MAX_TOKEN);
        let lasts = lasts.saturating_sub(SPARE.min(lasts / 2));
        let token = Zeroizing::new(format!("Bearer {}", given.as_str()));
        *bearer = Some((Instant::now() + Duration::from_secs(lasts), token.clone()));
        Ok(token)
    }

    /// Calls the connector: `path` are the segments behind `service_url`.
    ///
    /// # Errors
    /// [`Failed`].
    pub(super) async fn call(
        &self,
        method: Method,
        path: &[&str],
        body: Option<&Value>,
    ) -> Result<Value, Failed> {
        let updates = method == Method::PUT;
        let token = self.token().await;
        let token = token.map_err(|error| Failed::Now(format!("{error:#}")))?;
        let mut url = self.service.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        let asked = self
            .http
            .request(method, url)
            .header("user-agent", USER_AGENT)
            .header("accept", "application/json")
            .header("authorization", token.as_str());
        let asked = match body {
            Some(body) => asked.json(body),
            None => asked,
        };
        let unanswered = |error: reqwest::Error| {
            Failed::Now(format!("Teams does not answer: {}", error.without_url()))
        };
        let mut answer = asked.send().await.map_err(unanswered)?;
        let status = answer.status();
        let after = answer.headers().get(RETRY_AFTER);
        let after = after.and_then(|value| value.to_str().ok()?.parse().ok());
        let said = outbound::body(&mut answer, MAX_ANSWER).await;
        let said = said.map_err(unanswered)?.unwrap_or_default();
        let said: Value = serde_json::from_slice(&said).unwrap_or_default();
        if status == StatusCode::UNAUTHORIZED {
            // It may have been taken back; the next try asks for another.
            *self.bearer.lock().await = None;
        }
        match status.is_success() {
            true => Ok(said),
            false => Err(match failed(status, &said, after) {
                // Only a message that was there can be gone.
                Failed::Gone(why) if !updates => Failed::Now(why),
                failed => failed,
            }),
        }
    }
}

/// What an answer means that is no success.
fn failed(status: StatusCode, said: &Value, after: Option<u64>) -> Failed {
    let code = text(said, &["error", "code"]).unwrap_or("unknown");
    let code: String = code
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .take(60)
        .collect();
    let why = format!(
        "Teams answers {} (`{code}`){}",
        status.as_u16(),
        help(&code)
    );
    match status {
        StatusCode::TOO_MANY_REQUESTS => {
            let wait = after.map_or(WAIT, Duration::from_secs);
            Failed::Limited(wait.clamp(Duration::from_secs(1), MAX_WAIT))
        }
        StatusCode::PAYLOAD_TOO_LARGE => Failed::Unshowable(why),
        StatusCode::BAD_REQUEST if is_of_conversation(&code) => Failed::Now(why),
        StatusCode::BAD_REQUEST => Failed::Unshowable(why),
        StatusCode::NOT_FOUND | StatusCode::GONE if !is_of_conversation(&code) => Failed::Gone(why),
        _ => Failed::Now(why),
    }
}

/// Whether a word is about a conversation, so that nothing can be said there.
fn is_of_conversation(code: &str) -> bool {
    [
        "BotNotInConversationRoster",
        "BotDisabledByAdmin",
        "ConversationNotFound",
        "ConversationBlockedByUser",
        "ForbiddenOperationException",
        "MessageWritesBlocked",
        "TenantNotFound",
        "UserNotFound",
    ]
    .contains(&code)
}

/// What to do about a word of Teams'.
fn help(code: &str) -> &'static str {
    match code {
        "BotNotInConversationRoster" | "ConversationNotFound" => {
            "; add the app to the team or chat"
        }
        "ForbiddenOperationException" | "UserNotFound" => "; the person has not installed the app",
        "BotDisabledByAdmin" => "; an administrator of Teams blocks the app",
        _ => "",
    }
}
