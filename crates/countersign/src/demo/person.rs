//! A person in a browser: a link, a cookie, forms.

use anyhow::{Context, bail};
use reqwest::{Client, header, redirect};
use serde_json::{Value, json};

/// A signed-in person.
pub(super) struct Person {
    client: Client,
    url: String,
    cookie: String,
    csrf: String,
}

/// What an act led to.
#[derive(Debug)]
pub(super) struct Answer {
    /// The HTTP status.
    pub(super) status: u16,
    /// The answer.
    pub(super) body: Value,
}

impl Answer {
    /// The stable name of a problem.
    pub(super) fn kind(&self) -> &str {
        self.body
            .get("type")
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// What a problem says.
    pub(super) fn title(&self) -> &str {
        self.body
            .get("title")
            .and_then(Value::as_str)
            .unwrap_or_default()
    }
}

impl Person {
    /// Follows a sign-in link as a browser does: reads the page, then presses its button.
    pub(super) async fn sign_in(url: &str, link: &str) -> anyhow::Result<Self> {
        let client = Client::builder()
            .redirect(redirect::Policy::none())
            .build()?;
        let page = client.get(link).send().await?.text().await?;
        let secret = link.rsplit('/').next().unwrap_or_default();
        let fields = [(
            "token",
            hidden(&page, "token").unwrap_or_else(|_| secret.into()),
        )];
        let answer = client.post(link).form(&fields).send().await?;
        let cookie = answer
            .headers()
            .get(header::SET_COOKIE)
            .and_then(|value| value.to_str().ok());
        let Some(cookie) = cookie.and_then(|text| text.split(';').next()) else {
            bail!("signing in gave no session: {}", answer.status());
        };
        let cookie = cookie.to_owned();
        let inbox = client
            .get(format!("{url}/people"))
            .header(header::COOKIE, &cookie)
            .send()
            .await?;
        let csrf = hidden(&inbox.text().await?, "csrf")?;
        Ok(Self {
            client,
            url: url.into(),
            cookie,
            csrf,
        })
    }

    async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let request = self.client.get(format!("{}{path}", self.url));
        Ok(request
            .header(header::COOKIE, &self.cookie)
            .send()
            .await?
            .json()
            .await?)
    }

    async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Answer> {
        let request = self.client.post(format!("{}{path}", self.url)).json(body);
        let request = request.header(header::COOKIE, &self.cookie);
        let answer = request.header("x-csrf-token", &self.csrf).send().await?;
        Ok(Answer {
            status: answer.status().as_u16(),
            body: answer.json().await?,
        })
    }

    /// A request as this person sees it.
    pub(super) async fn request(&self, id: &str) -> anyhow::Result<Value> {
        self.get(&format!("/v1/requests/{id}")).await
    }

    /// Opens a request and votes on what it shows.
    pub(super) async fn vote(&self, id: &str, verdict: &str) -> anyhow::Result<Answer> {
        let seen = self.request(id).await?;
        let text = |name: &str| {
            seen.get(name)
                .and_then(Value::as_str)
                .unwrap_or("none")
                .to_owned()
        };
        let body = json!({ "verdict": verdict, "digest": text("digest"), "act": text("act") });
        self.post(&format!("/v1/requests/{id}/votes"), &body).await
    }

    /// Votes with an act that was proven before.
    pub(super) async fn vote_again(&self, id: &str, seen: &Value) -> anyhow::Result<Answer> {
        let text = |name: &str| {
            seen.get(name)
                .and_then(Value::as_str)
                .unwrap_or("none")
                .to_owned()
        };
        let body = json!({ "verdict": "approve", "digest": text("digest"), "act": text("act") });
        self.post(&format!("/v1/requests/{id}/votes"), &body).await
    }
}

/// The value of a hidden field of a page.
fn hidden(page: &str, name: &str) -> anyhow::Result<String> {
    let marker = format!("name=\"{name}\" value=\"");
    let (_, rest) = page
        .split_once(&marker)
        .with_context(|| format!("the page has no field `{name}`"))?;
    Ok(rest.split('"').next().unwrap_or_default().to_owned())
}
