//! What GitHub says of a run when it is asked.
//!
//! In scope: reading a run; whether a delivery says the same of it; whether it is still what was asked about.
//! Out of scope: fetching it ([`github`](super::github)); who somebody of GitHub's is here.
//! Invariant: a delivery is a hint. What is asked, and for whom, is what GitHub says of the run; what is told
//! was asked of this attempt of it, and of no other.
//! Specification: <https://docs.github.com/en/rest/actions/workflow-runs#get-a-workflow-run>

use countersign_policy::{deployment::is_environment, strict};
use countersign_runner::quote::reveal;
use serde::{Deserialize, Serialize};

use super::incoming::{Account, MAX_NUMBER, MAX_PULLS, Wanted, is_commit, is_event};

/// What an answer is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Job {
    /// As the bundle writes it.
    pub(super) repository: String,
    pub(super) repository_id: u64,
    pub(super) installation: u64,
    pub(super) run: u64,
    pub(super) environment: String,
}

impl Job {
    /// Whether GitHub would take an answer for the one as one for the other.
    pub(super) fn is_answered_with(&self, other: &Self) -> bool {
        (self.repository_id, self.run) == (other.repository_id, other.run)
            && self.environment.to_lowercase() == other.environment.to_lowercase()
    }
}

/// Which run of a run's number was asked about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seen {
    pub(super) attempt: u64,
    pub(super) sha: String,
    /// The number of the account that had it run.
    pub(super) triggering_actor: u64,
}

/// A run, at its last attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) attempt: u64,
    pub(super) completed: bool,
    pub(super) sha: String,
    pub(super) event: String,
    pub(super) pull_requests: Vec<u64>,
    /// Who had it run first.
    pub(super) actor: Account,
    /// Who had this attempt run.
    pub(super) triggering_actor: Account,
    repository: u64,
    branch: Option<String>,
    /// Where the branch is, if that is another repository.
    elsewhere: Option<String>,
}

#[derive(Deserialize)]
struct Said {
    id: u64,
    run_attempt: u64,
    status: String,
    head_sha: String,
    head_branch: Option<String>,
    event: String,
    actor: Account,
    triggering_actor: Account,
    repository: Repository,
    head_repository: Option<Repository>,
    #[serde(default)]
    pull_requests: Option<Vec<Pull>>,
}

#[derive(Deserialize)]
struct Repository {
    id: u64,
    full_name: String,
}

#[derive(Deserialize)]
struct Pull {
    number: u64,
}

/// Reads a run.
///
/// # Errors
/// What is wrong with it.
pub(super) fn read(body: &[u8], run: u64) -> Result<Run, &'static str> {
    let said: Said = strict::from_slice(body).map_err(|_| "it lacks what GitHub says of a run")?;
    if said.id != run {
        return Err("it is another run");
    }
    let accounts = [said.actor.clone(), said.triggering_actor.clone()];
    let pulls = said.pull_requests.unwrap_or_default();
    let mut numbers = [said.run_attempt, said.repository.id]
        .into_iter()
        .chain(accounts.iter().map(|account| account.id))
        .chain(pulls.iter().map(|pull| pull.number));
    if !numbers.all(|number| (1..=MAX_NUMBER).contains(&number)) {
        return Err("it has a number that GitHub has for nothing");
    }
    let elsewhere = match said.head_repository {
        Some(head) if head.id == said.repository.id => None,
        Some(head) => Some(head.full_name),
        None => Some("unknown".into()),
    };
    let texts = said.head_branch.iter().chain(&elsewhere);
    let mut texts = texts.chain(accounts.iter().map(|account| &account.login));
    let shown = texts.all(|text| is_environment(text));
    if !shown {
        return Err("it has a name that can't be shown");
    }
    if !is_commit(&said.head_sha) || !is_event(&said.event) || said.event.is_empty() {
        return Err("it names no commit or no event");
    }
    Ok(Run {
        attempt: said.run_attempt,
        completed: said.status == "completed",
        sha: said.head_sha,
        event: said.event,
        pull_requests: pulls
            .iter()
            .map(|pull| pull.number)
            .take(MAX_PULLS)
            .collect(),
        repository: said.repository.id,
        branch: said.head_branch,
        elsewhere,
        actor: said.actor,
        triggering_actor: said.triggering_actor,
    })
}

/// Whether a ref is a pull request's, and of which.
fn pull_of(text: &str) -> Option<u64> {
    let (number, kind) = text.strip_prefix("refs/pull/")?.split_once('/')?;
    let digits = number.chars().all(|c| c.is_ascii_digit());
    let number = number.parse().ok().filter(|_| digits)?;
    ["merge", "head"].contains(&kind).then_some(number)
}

impl Run {
    pub(super) fn seen(&self) -> Seen {
        Seen {
            attempt: self.attempt,
            sha: self.sha.clone(),
            triggering_actor: self.triggering_actor.id,
        }
    }

    /// The ref that is deployed from, in GitHub's words: a branch or tag of the repository, `OWNER/NAME:BRANCH`
    /// of another one, or a pull request's.
    ///
    /// # Errors
    /// A short stable name for what the delivery says otherwise.
    pub(super) fn reference(&self, wanted: &Wanted) -> Result<String, &'static str> {
        if self.repository != wanted.repository_id {
            return Err("other_repository");
        }
        if self.sha != wanted.sha {
            return Err("other_commit");
        }
        if !wanted.event.is_empty() && self.event != wanted.event {
            return Err("other_event");
        }
        let said = wanted.r#ref.as_str();
        let bare = said
            .strip_prefix("refs/heads/")
            .or_else(|| said.strip_prefix("refs/tags/"))
            .unwrap_or(said);
        if let Some(pull) = pull_of(said).filter(|_| self.event.starts_with("pull_request")) {
            let pulls = &self.pull_requests;
            // GitHub names no pull requests that come from elsewhere.
            let known = pulls.contains(&pull) || (pulls.is_empty() && self.elsewhere.is_some());
            return known.then(|| said.to_owned()).ok_or("other_ref");
        }
        match &self.branch {
            Some(branch) if branch == bare => Ok(match &self.elsewhere {
                Some(elsewhere) => format!("{elsewhere}:{branch}"),
                None => branch.clone(),
            }),
            _ => Err("other_ref"),
        }
    }
}

/// Why nothing is to be told any more of what was asked about; `None` where it is still so.
pub(super) fn gone(run: Option<&Run>, seen: &Seen) -> Option<String> {
    let Some(run) = run else {
        return Some("GitHub does not have this run any more.".into());
    };
    if run.attempt != seen.attempt {
        return Some(format!(
            "GitHub runs attempt {} of it now, which `{}` (number {}) started; this was asked for attempt {}.",
            run.attempt,
            reveal(&run.triggering_actor.login),
            run.triggering_actor.id,
            seen.attempt
        ));
    }
    if run.completed {
        return Some("The run ended at GitHub: it was cancelled, or answered there.".into());
    }
    (run.seen() != *seen).then(|| "GitHub says of the run what it did not say before.".into())
}

#[cfg(test)]
#[path = "runs_tests.rs"]
mod tests;
