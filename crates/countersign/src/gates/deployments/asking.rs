//! From what GitHub sent to what the gate asks for.
//!
//! In scope: who asks for whom, the exact action, what reviewers see.
//! Out of scope: deciding.
//! Invariant: whoever GitHub says pressed the button, or made the deployment, is in the chain and so *self*; an
//! account that stands for nobody here asks for nothing. Whoever proposed any part of what makes an
//! account somebody is *self*, too.

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
    pub(super) environment: String,
    pub(super) r#ref: String,
    pub(super) sha: String,
    pub(super) event: String,
    pub(super) pull_requests: Vec<u64>,
    pub(super) sender: u64,
    pub(super) creator: Option<u64>,
}

impl Deploy {
    pub(super) fn of(name: &str, wanted: &Wanted) -> Self {
        Self {
            deployments: name.into(),
            repository: wanted.repository.clone(),
            repository_id: wanted.repository_id,
            installation: wanted.installation,
            run: wanted.run,
            environment: wanted.environment.clone(),
            r#ref: wanted.r#ref.clone(),
            sha: wanted.sha.clone(),
            event: wanted.event.clone(),
            pull_requests: wanted.pull_requests.clone(),
            sender: wanted.sender.id,
            creator: wanted.creator.as_ref().map(|account| account.id),
        }
    }

    /// Where the bundle has the environment still, and as the same target.
    pub(super) fn is_configured(&self, github: &GitHub, target: &TargetId) -> bool {
        let known = github.repository(&self.repository);
        let known = known.filter(|one| one.id.is_none_or(|id| id == self.repository_id));
        let known = known.filter(|one| one.installation.is_none_or(|id| id == self.installation));
        known.and_then(|one| one.target(&self.environment)) == Some(target)
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

/// Makes what is asked for.
///
/// # Errors
/// [`NotAsked`].
pub(super) fn asked(
    (name, github): (&str, &GitHub),
    active: &Active,
    keys: &Keys,
    wanted: &Wanted,
) -> Result<Asked, NotAsked> {
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
    let chain = chain((name, github), active, repository, wanted)?;
    let deploy = Deploy::of(name, wanted);
    let internal =
        |error: &dyn std::fmt::Display| NotAsked::Engine(EngineError::Internal(error.to_string()));
    let mut arguments = serde_json::to_value(&deploy).map_err(|error| internal(&error))?;
    let taken = secrets::take_out(active.bundle.masker(), &mut arguments, Keep::Never);
    if !taken.map_err(|error| internal(&error))?.masks.is_empty() {
        let why = "one of its names looks like a secret, and would be shown to reviewers.";
        return Err(refused("secret_name", why.into()));
    }
    let accounts = deploy.creator.iter().chain([&deploy.sender]);
    let parts = github.parts_of(accounts, repository, &wanted.environment);
    let effect = Effect {
        action: GITHUB_DEPLOY.parse().map_err(|error| internal(&error))?,
        resource: target_resource(target),
    };
    let owner = active.snapshot.target(target);
    let owner = owner.and_then(|target| target.owner.clone());
    Ok(Asked {
        presentation: presentation(github, &chain, wanted),
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
    })
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
        ("pull_requests", json!(deploy.pull_requests.len())),
    ];
    let named = captures.map(|(name, value)| (name.to_owned(), value));
    named.into_iter().collect()
}

/// The workload, for whoever GitHub says it is.
fn chain(
    (name, github): (&str, &GitHub),
    active: &Active,
    repository: &Repository,
    wanted: &Wanted,
) -> Result<SubjectChain, NotAsked> {
    let resolve = |id: SubjectId| {
        let known = active.directory.resolve(&id);
        let why = format!("`{id}` is unknown here or was stopped.");
        known.ok_or_else(|| refused("disabled", why))
    };
    let person = |account: &Account, what: &str| {
        let known = github.people.get(&account.id).cloned();
        known.ok_or_else(|| {
            let login = reveal(&account.login);
            let why = format!(
                "the GitHub account `{login}` (number {id}), {what}, stands for nobody here; add \
                 `{id} = \"PERSON\"` to `people` of `[deployments.{name}]`.",
                id = account.id
            );
            refused("unknown_account", why)
        })
    };
    let mut people: Vec<PersonId> = vec![person(&wanted.sender, "which started it")?];
    match &wanted.creator {
        // GitHub's own account made it, for whoever started it.
        Some(creator) if creator.is_actions() && !github.people.contains_key(&creator.id) => {}
        Some(creator) => people.push(person(creator, "which made the deployment")?),
        None => {
            let why = "GitHub does not say who made the deployment; run the job again.";
            return Err(refused("unknown_account", why.into()));
        }
    }
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
fn page(github: &GitHub, wanted: &Wanted) -> String {
    let web = match github.api.strip_suffix("/api/v3") {
        Some(web) => web.to_owned(),
        None => github.api.replacen("://api.", "://", 1),
    };
    format!("{web}/{}/actions/runs/{}", wanted.repository, wanted.run)
}

fn presentation(github: &GitHub, chain: &SubjectChain, wanted: &Wanted) -> Presentation {
    let environment = reveal(&wanted.environment);
    let (repository, sha) = (&wanted.repository, &wanted.sha);
    let short: String = sha.chars().take(12).collect();
    let mut body = format!(
        "repository     {repository} (number {})\nenvironment    {environment}\nref            {}\n\
         commit         {sha}\nrun            {}\n",
        wanted.repository_id,
        reveal(&wanted.r#ref),
        page(github, wanted),
    );
    if !wanted.event.is_empty() {
        body.push_str(&format!("event          {}\n", wanted.event));
    }
    for hint in [&wanted.environment, &wanted.r#ref]
        .into_iter()
        .flat_map(|text| hints(text))
    {
        body.push_str(&format!("! {hint}\n"));
    }
    let pulls = &wanted.pull_requests;
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
    let people: Vec<_> = chain.on_behalf_of.iter().map(|one| one.id.name()).collect();
    let mut says = |what: &str, account: &Account| {
        let (login, id) = (reveal(&account.login), account.id);
        body.push_str(&format!("{what}  {login} (number {id})\n"));
    };
    says("started by    ", &wanted.sender);
    if let Some(creator) = &wanted.creator {
        says("deployment by ", creator);
    }
    body.push_str(&format!("which is here   {}\n", people.join(", ")));
    body.push_str(&format!("\n{HELD_BY}\n"));
    let pulls = counted(pulls.len(), "pull request", "pull requests");
    Presentation {
        title: format!("Deploy {repository} to {environment} at {short}"),
        body,
        blast_radius: format!(
            "Every job of this run that waits for {environment} goes on ({pulls}). What it does there is \
             not known here. {HELD_BY}"
        ),
        complete: true,
    }
}
