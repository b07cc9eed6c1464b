//! What GitHub sends when a job wants to deploy to a protected environment.
//!
//! In scope: reading it strictly; whether it is of what the bundle names.
//! Out of scope: whether it comes from GitHub (the signature), and whether it is so
//! ([`runs`](super::runs)); who somebody of GitHub's is here.
//! Invariant: where the answer goes is made of parts that were compared, never taken as it was sent. Whoever
//! acted is known by GitHub's number only.
//! Specification: <https://docs.github.com/en/webhooks/webhook-events-and-payloads#deployment_protection_rule>

use countersign_policy::{
    GitHub,
    deployment::{Repository, is_environment},
    strict,
};
use serde::{Deserialize, Serialize};

use super::runs::Job;

/// The largest number that means the same everywhere.
pub(super) const MAX_NUMBER: u64 = (1 << 53) - 1;
/// The most pull requests that are told.
pub(super) const MAX_PULLS: usize = 100;

/// Somebody at GitHub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Account {
    /// Their number, which nobody else gets.
    pub(super) id: u64,
    /// What they are called now.
    pub(super) login: String,
    /// `User`, `Bot`, …
    #[serde(rename = "type", default)]
    pub(super) kind: String,
}

impl Account {
    /// Whether this is GitHub's own account for its Actions, which stands for nobody.
    pub(super) fn is_actions(&self) -> bool {
        self.kind == "Bot" && self.login == "github-actions[bot]"
    }
}

/// What somebody wants to deploy, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Wanted {
    /// As the bundle writes it.
    pub(super) repository: String,
    pub(super) repository_id: u64,
    pub(super) installation: u64,
    pub(super) run: u64,
    /// GitHub's number for this one attempt.
    pub(super) deployment: u64,
    pub(super) environment: String,
    pub(super) r#ref: String,
    pub(super) sha: String,
    /// Empty where GitHub does not say.
    pub(super) event: String,
    pub(super) sender: Account,
    pub(super) creator: Option<Account>,
}

impl Wanted {
    /// By what the same is recognised, however often it is sent.
    pub(super) fn key(&self) -> String {
        let environment = self.environment.to_lowercase();
        let (repository, run) = (self.repository_id, self.run);
        format!("{repository}/{run}/{}/{environment}", self.deployment)
    }

    /// Where its answer goes.
    pub(super) fn job(&self) -> Job {
        Job {
            repository: self.repository.clone(),
            repository_id: self.repository_id,
            installation: self.installation,
            run: self.run,
            environment: self.environment.clone(),
        }
    }
}

/// Why nothing is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// Not in GitHub's form.
    Unreadable(&'static str),
    /// Of something that the bundle does not name; a short stable name.
    Foreign(&'static str),
    /// Nothing to do with deployments that wait.
    Nothing,
}

#[derive(Deserialize)]
struct Payload {
    action: String,
    environment: String,
    #[serde(default)]
    event: Option<String>,
    #[serde(default)]
    sha: Option<String>,
    #[serde(default)]
    r#ref: Option<String>,
    deployment_callback_url: String,
    deployment: Deployment,
    repository: Named,
    installation: Numbered,
    sender: Account,
}

#[derive(Deserialize)]
struct Deployment {
    id: u64,
    sha: String,
    r#ref: String,
    #[serde(default)]
    environment: Option<String>,
    creator: Option<Account>,
}

#[derive(Deserialize)]
struct Named {
    id: u64,
    full_name: String,
}

#[derive(Deserialize)]
struct Numbered {
    id: u64,
}

/// Only what tells whether the rest is for us.
#[derive(Deserialize)]
struct Acted {
    action: String,
}

/// Reads what was sent.
///
/// # Errors
/// [`Refused`].
pub(super) fn read(github: &GitHub, body: &[u8]) -> Result<Wanted, Refused> {
    let acted: Acted =
        strict::from_slice(body).map_err(|_| Refused::Unreadable("it is no JSON of GitHub's"))?;
    if acted.action != "requested" {
        return Err(Refused::Nothing);
    }
    let payload: Payload =
        strict::from_slice(body).map_err(|_| Refused::Unreadable("it lacks what GitHub sends"))?;
    let repository = known(github, &payload)?;
    check(&payload)?;
    let callback = &payload.deployment_callback_url;
    let run = run_of(&github.api, &repository.name, callback);
    let run = run.ok_or(Refused::Foreign("foreign_callback"))?;
    let Deployment {
        id,
        sha,
        r#ref,
        creator,
        ..
    } = payload.deployment;
    Ok(Wanted {
        repository: repository.name.clone(),
        repository_id: payload.repository.id,
        installation: payload.installation.id,
        run,
        deployment: id,
        environment: payload.environment,
        r#ref,
        sha,
        event: payload.event.unwrap_or_default(),
        sender: payload.sender,
        creator,
    })
}

/// The repository, where everything that the bundle says of it is so.
fn known<'a>(github: &'a GitHub, payload: &Payload) -> Result<&'a Repository, Refused> {
    debug_assert_eq!(payload.action, "requested");
    let repository = github.repository(&payload.repository.full_name);
    let repository = repository.ok_or(Refused::Foreign("unknown_repository"))?;
    if repository.id.is_some_and(|id| id != payload.repository.id) {
        return Err(Refused::Foreign("other_repository"));
    }
    let installation = repository.installation;
    if installation.is_some_and(|id| id != payload.installation.id) {
        return Err(Refused::Foreign("unknown_installation"));
    }
    Ok(repository)
}

fn check(payload: &Payload) -> Result<(), Refused> {
    let deployment = &payload.deployment;
    let people = deployment.creator.iter().chain([&payload.sender]);
    let mut numbers = [
        payload.repository.id,
        payload.installation.id,
        deployment.id,
    ]
    .into_iter()
    .chain(people.clone().map(|account| account.id));
    if !numbers.all(|number| (1..=MAX_NUMBER).contains(&number)) {
        return Err(Refused::Unreadable(
            "it has a number that GitHub has for nothing",
        ));
    }
    let texts = [&payload.environment, &deployment.r#ref];
    let logins = people.map(|account| &account.login);
    if !texts
        .into_iter()
        .chain(logins)
        .all(|text| is_environment(text))
    {
        return Err(Refused::Unreadable("it has a name that can't be shown"));
    }
    if !is_commit(&deployment.sha) {
        return Err(Refused::Unreadable("it names no commit"));
    }
    if !is_event(payload.event.as_deref().unwrap_or_default()) {
        return Err(Refused::Unreadable("it names no event"));
    }
    let differ = |said: &Option<String>, is: &str| said.as_deref().is_some_and(|said| said != is);
    let contradiction = if differ(&payload.sha, &deployment.sha) {
        "its `sha` is another than that of `deployment`"
    } else if differ(&payload.r#ref, &deployment.r#ref) {
        "its `ref` is another than that of `deployment`"
    } else if differ(&deployment.environment, &payload.environment) {
        "its `environment` is another than that of `deployment`"
    } else {
        return Ok(());
    };
    Err(Refused::Unreadable(contradiction))
}

/// Whether a text names a commit whole.
pub(super) fn is_commit(text: &str) -> bool {
    let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    [40, 64].contains(&text.len()) && text.chars().all(hex)
}

/// Whether a text names an event, or none.
pub(super) fn is_event(text: &str) -> bool {
    let word = |c: char| c.is_ascii_lowercase() || c == '_';
    text.len() <= 64 && text.chars().all(word)
}

/// The run that an address for the answer names, where it is that of this repository at this interface, to
/// the letter.
pub(super) fn run_of(api: &str, repository: &str, url: &str) -> Option<u64> {
    let path = url.strip_prefix(api)?.strip_prefix("/repos/")?;
    let path = path.strip_suffix("/deployment_protection_rule")?;
    let (named, run) = path.split_once("/actions/runs/")?;
    let digits = !run.starts_with('0') && run.chars().all(|c| c.is_ascii_digit());
    let run = run.parse().ok().filter(|run| *run <= MAX_NUMBER)?;
    (digits && named.eq_ignore_ascii_case(repository)).then_some(run)
}

#[cfg(test)]
#[path = "incoming_tests.rs"]
mod tests;
