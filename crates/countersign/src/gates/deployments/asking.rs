//! From what GitHub sent to what the gate asks for.
//!
//! In scope: who asks for whom, the exact action, what reviewers see.
//! Out of scope: deciding.
//! Invariant: whoever GitHub says had the run run, now or first, and whoever its delivery names, is in the chain
//! and so *self*; an account that stands for nobody here asks for nothing. Whoever proposed any part of
//! what makes an account somebody is *self*, too.

use std::collections::{BTreeMap, BTreeSet};

use countersign_core::{
    action::{Action, Effect},
    count::counted,
    id::{PersonId, TargetId},
    request::Presentation,
    subject::{Origin, Subject, SubjectChain, SubjectId},
};
use countersign_policy::{
    GitHub, deployment::GITHUB_DEPLOY, deployment::Repository, target::exec::target_resource,
};
use countersign_runner::quote::{hints, reveal};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    GATE,
    incoming::{Account, Wanted},
    runs::{Job, Run, Seen},
};
use crate::{
    active::Active,
    admin::vouching,
    engine::{Asked, EngineError},
    keys::Keys,
    secrets::{self, Keep, Secrets},
};

/// What reviewers are told of this gate.
const HELD_BY: &str = "GitHub holds the job until this is answered; whoever administers the repository \
can let it go on without.";
/// Pull requests that are listed.
const LISTED: usize = 20;

/// The arguments of the action: everything that says which jobs may go on, and for whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Deploy {
    pub(super) deployments: String,
    pub(super) repository: String,
    pub(super) repository_id: u64,
    pub(super) installation: u64,
    pub(super) run: u64,
    pub(super) attempt: u64,
    pub(super) environment: String,
    pub(super) r#ref: String,
    pub(super) sha: String,
    pub(super) event: String,
    pub(super) pull_requests: Vec<u64>,
    /// Who had this attempt run.
    pub(super) triggering_actor: u64,
    /// Everybody it is asked for: the former first, then who had the run run first, and the others by number.
    pub(super) accounts: Vec<u64>,
}

impl Deploy {
    fn of(
        (name, repository): (&str, &Repository),
        (wanted, run, reference): (&Wanted, &Run, String),
        accounts: &[Known<'_>],
    ) -> Self {
        Self {
            deployments: name.into(),
            repository: repository.name.clone(),
            repository_id: wanted.repository_id,
            installation: wanted.installation,
            run: wanted.run,
            attempt: run.attempt,
            environment: wanted.environment.clone(),
            r#ref: reference,
            sha: run.sha.clone(),
            event: run.event.clone(),
            pull_requests: run.pull_requests.clone(),
            triggering_actor: run.triggering_actor.id,
            accounts: accounts.iter().map(|(_, account, _)| account.id).collect(),
        }
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

    /// Which run it is of.
    pub(super) fn seen(&self) -> Seen {
        Seen {
            attempt: self.attempt,
            sha: self.sha.clone(),
            triggering_actor: self.triggering_actor,
        }
    }

    /// Why this would not be asked like this any more: by these settings the environment is another target, or
    /// the repository or an account somebody else.
    pub(super) fn unlike(
        &self,
        github: &GitHub,
        target: &TargetId,
        chain: &SubjectChain,
    ) -> Option<String> {
        let known = github.repository(&self.repository);
        let known = known.filter(|one| one.id.is_none_or(|id| id == self.repository_id));
        let known = known.filter(|one| one.installation.is_none_or(|id| id == self.installation));
        let environment = reveal(&self.environment);
        let Some(known) = known.filter(|one| one.target(&self.environment) == Some(target)) else {
            let repository = &self.repository;
            return Some(format!(
                "the environment `{environment}` of `{repository}` is not configured as it was."
            ));
        };
        if chain.requester.id != SubjectId::Workload(known.workload.clone()) {
            let (workload, repository) = (&known.workload, &self.repository);
            return Some(format!("`{repository}` asks as `{workload}` now."));
        }
        let mut people = Vec::new();
        for account in &self.accounts {
            let Some(person) = github.people.get(account) else {
                return Some(format!(
                    "the GitHub account with the number {account} stands for nobody here any more."
                ));
            };
            people.push(SubjectId::Person(person.clone()));
        }
        let mut seen = BTreeSet::new();
        people.retain(|person| seen.insert(person.clone()));
        let was = chain.on_behalf_of.iter().map(|member| &member.id);
        (!people.iter().eq(was)).then(|| "its GitHub accounts stand for others here now.".into())
    }
}

/// Why nobody is asked.
#[derive(Debug)]
pub(super) enum NotAsked {
    /// GitHub is told no.
    Refused {
        /// A short stable name, for the record.
        code: &'static str,
        /// Why, and what to do.
        why: String,
    },
    /// It could not be found out.
    Engine(EngineError),
}

fn refused(code: &'static str, why: String) -> NotAsked {
    NotAsked::Refused { code, why }
}

/// Makes what is asked for; also for whomever other deliveries named for the same attempt.
///
/// # Errors
/// [`NotAsked`].
pub(super) fn asked(
    (name, github): (&str, &GitHub),
    active: &Active,
    keys: &Keys,
    (wanted, run, reference): (&Wanted, &Run, String),
    also: &[&Wanted],
) -> Result<(Asked, Deploy), NotAsked> {
    let repository = github.repository(&wanted.repository).ok_or_else(|| {
        let why = format!("`{}` is not configured any more.", wanted.repository);
        refused("unknown_repository", why)
    })?;
    let environment = reveal(&wanted.environment);
    let target = repository.target(&wanted.environment).ok_or_else(|| {
        let why = format!(
            "the environment `{environment}` of `{}` has no target; add it to `environments` of the \
             repository in `[deployments.{name}]`.",
            repository.name
        );
        refused("unknown_environment", why)
    })?;
    let accounts = accounts((name, github), (wanted, also), run)?;
    let chain = chain(active, repository, &accounts)?;
    let deploy = Deploy::of((name, repository), (wanted, run, reference), &accounts);
    let internal =
        |error: &dyn std::fmt::Display| NotAsked::Engine(EngineError::Internal(error.to_string()));
    let mut arguments = serde_json::to_value(&deploy).map_err(|error| internal(&error))?;
    let taken = secrets::take_out(active.bundle.masker(), &mut arguments, Keep::Never);
    if !taken.map_err(|error| internal(&error))?.masks.is_empty() {
        let why = "one of its names looks like a secret, and would be shown to reviewers.";
        return Err(refused("secret_name", why.into()));
    }
    let parts = github.parts_of(&deploy.accounts, repository, &wanted.environment);
    let effect = Effect {
        action: GITHUB_DEPLOY.parse().map_err(|error| internal(&error))?,
        resource: target_resource(target),
    };
    let owner = active.snapshot.target(target);
    let owner = owner.and_then(|target| target.owner.clone());
    let asked = Asked {
        presentation: presentation(github, (&chain, &accounts, wanted), &deploy),
        chain,
        action: Action {
            gate: GATE.into(),
            target: target.clone(),
            operation: "deploy".into(),
            arguments,
            session: Value::Null,
            masked: Vec::new(),
        },
        effects: vec![effect],
        captures: captures(&deploy),
        reason: None,
        resource_owners: owner.into_iter().collect(),
        issuers: vouching::behind_parts(active, &parts, keys),
        behind: BTreeSet::new(),
        places: BTreeMap::new(),
        administrative: false,
        amends: None,
        trace: None,
        secrets: Secrets::default(),
    };
    Ok((asked, deploy))
}

/// What policies see.
fn captures(deploy: &Deploy) -> BTreeMap<String, Value> {
    let captures = [
        ("repository", json!(deploy.repository)),
        ("environment", json!(deploy.environment)),
        ("ref", json!(deploy.r#ref)),
        ("sha", json!(deploy.sha)),
        ("event", json!(deploy.event)),
        ("run", json!(deploy.run)),
        ("attempt", json!(deploy.attempt)),
        ("pull_requests", json!(deploy.pull_requests.len())),
    ];
    let named = captures.map(|(name, value)| (name.to_owned(), value));
    named.into_iter().collect()
}

/// What an account did, which one it is, and whom it stands for here.
type Known<'a> = (&'static str, &'a Account, PersonId);

/// Everybody whom GitHub names, each once and in an order of their own, who all have to be somebody here.
fn accounts<'a>(
    (name, github): (&str, &GitHub),
    (wanted, also): (&'a Wanted, &[&'a Wanted]),
    run: &'a Run,
) -> Result<Vec<Known<'a>>, NotAsked> {
    if wanted.creator.is_none() {
        let why = "GitHub does not say who made the deployment; run the job again.";
        return Err(refused("unknown_account", why.into()));
    }
    let mut delivered = Vec::new();
    for one in [wanted].iter().chain(also) {
        // GitHub's own account made it, for whoever started it.
        let stands =
            |creator: &&Account| !creator.is_actions() || github.people.contains_key(&creator.id);
        let creator = one.creator.iter().filter(stands);
        let creator = creator.map(|one| ("deployment by", "which made the deployment", one));
        let sender = ("delivered for", "for which it was delivered", &one.sender);
        delivered.extend(creator.chain([sender]));
    }
    delivered.sort_by_key(|(_, _, account)| account.id);
    let mut named = vec![
        ("started by", "which started it", &run.triggering_actor),
        ("first run by", "which started it first", &run.actor),
    ];
    named.extend(delivered);
    let mut seen = BTreeSet::new();
    named.retain(|(_, _, account)| seen.insert(account.id));
    let known = named.into_iter().map(|(what, which, account)| {
        let person = github.people.get(&account.id).cloned();
        let person = person.ok_or_else(|| {
            let (id, login) = (account.id, reveal(&account.login));
            let why = format!(
                "the GitHub account `{login}` (number {id}), {which}, stands for nobody here; add \
                 `{id} = \"PERSON\"` to `people` of `[deployments.{name}]`."
            );
            refused("unknown_account", why)
        })?;
        Ok((what, account, person))
    });
    known.collect()
}

/// The workload, for whoever GitHub says it is.
fn chain(
    active: &Active,
    repository: &Repository,
    accounts: &[Known<'_>],
) -> Result<SubjectChain, NotAsked> {
    let resolve = |id: SubjectId| {
        let known = active.directory.resolve(&id);
        let why = format!("`{id}` is unknown here or was stopped.");
        known.ok_or_else(|| refused("disabled", why))
    };
    let mut people: Vec<PersonId> = accounts.iter().map(|known| known.2.clone()).collect();
    let mut seen = BTreeSet::new();
    people.retain(|person| seen.insert(person.clone()));
    let people = people
        .into_iter()
        .map(|person| resolve(SubjectId::Person(person)));
    Ok(SubjectChain {
        requester: resolve(SubjectId::Workload(repository.workload.clone()))?,
        on_behalf_of: people.collect::<Result<Vec<Subject>, NotAsked>>()?,
        origin: Origin::default(),
    })
}

/// The page of a run, where people read it.
fn page(github: &GitHub, deploy: &Deploy) -> String {
    let web = match github.api.strip_suffix("/api/v3") {
        Some(web) => web.to_owned(),
        None => github.api.replacen("://api.", "://", 1),
    };
    let (repository, run, attempt) = (&deploy.repository, deploy.run, deploy.attempt);
    format!("{web}/{repository}/actions/runs/{run}/attempts/{attempt}")
}

fn presentation(
    github: &GitHub,
    (chain, accounts, wanted): (&SubjectChain, &[Known<'_>], &Wanted),
    deploy: &Deploy,
) -> Presentation {
    let environment = reveal(&deploy.environment);
    let (repository, sha, attempt) = (&deploy.repository, &deploy.sha, deploy.attempt);
    let short: String = sha.chars().take(12).collect();
    let mut body = format!(
        "repository     {repository} (number {})\nenvironment    {environment}\nref            {}\n\
         commit         {sha}\nevent          {}\nrun            {}\nattempt        {attempt}\n",
        deploy.repository_id,
        reveal(&deploy.r#ref),
        deploy.event,
        page(github, deploy),
    );
    for hint in [&deploy.environment, &deploy.r#ref]
        .into_iter()
        .flat_map(|text| hints(text))
    {
        body.push_str(&format!("! {hint}\n"));
    }
    let pulls = &deploy.pull_requests;
    if !pulls.is_empty() {
        let listed: Vec<_> = pulls
            .iter()
            .take(LISTED)
            .map(|one| format!("#{one}"))
            .collect();
        let more = pulls.len().saturating_sub(LISTED);
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        body.push_str(&format!("pull requests  {}{more}\n", listed.join(", ")));
    }
    body.push_str("\nGitHub says of it:\n");
    let mut said = BTreeSet::new();
    let known = accounts.iter().map(|(what, account, _)| (*what, *account));
    // Also where it is GitHub's own, which stands for nobody.
    let creator = wanted.creator.iter().map(|one| ("deployment by", one));
    for (what, account) in known.chain(creator) {
        let (login, id) = (reveal(&account.login), account.id);
        if said.insert(id) {
            body.push_str(&format!("{what:<15}{login} (number {id})\n"));
        }
    }
    let people: Vec<_> = chain.on_behalf_of.iter().map(|one| one.id.name()).collect();
    body.push_str(&format!("which is here  {}\n", people.join(", ")));
    body.push_str(&format!("\n{HELD_BY}\n"));
    let pulls = counted(pulls.len(), "pull request", "pull requests");
    let again = match attempt {
        1 => String::new(),
        again => format!(" (attempt {again})"),
    };
    Presentation {
        title: format!("Deploy {repository} to {environment} at {short}{again}"),
        body,
        blast_radius: format!(
            "Every job of this run that waits for {environment} goes on ({pulls}). What it does there is \
             not known here. {HELD_BY}"
        ),
        complete: true,
    }
}

#[cfg(test)]
#[path = "asking_tests.rs"]
mod tests;
