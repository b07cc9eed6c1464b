//! From a call to the exact action, and from the stored action to the command.
//!
//! In scope: everything of the machine and the target's configuration that gives a command its
//! meaning: executable by content, inputs by content, overlay, working directory, environment,
//! user, credentials by name.
//! Invariant: [`capture`] and [`command`] look at the machine in the same way; where the second
//! finds something else than the first wrote down, nothing runs.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use countersign_core::{
    action::{Action, Effect},
    canonical::Hash,
    id::TargetId,
    masking::NotRestored,
    request::Request,
};
use countersign_policy::{Bundle, ExecTarget, Masker};
use countersign_runner::{
    inputs::{Bind, Entry, Glob, InputError, InputStore, Keep, Limits, Manifest, overlay, pack},
    quote::reveal,
    resolve::{ResolveError, Resolved, resolve},
    spawn::{Command, EnvError, Environment, Scratch, User, caller_env_allowed},
    vault::{Source, VaultError},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::{gates::exec::GATE, secrets::Secrets};

/// How long a command may run when its target says nothing.
const TIMEOUT: Duration = Duration::from_secs(600);
/// How much a command may write when its target says nothing, in bytes.
const OUTPUT_LIMIT: u64 = 64 << 20;
/// The most bytes of captured texts that are shown.
const MAX_TEXTS: u64 = 4 << 10;
/// How long a preview may take.
const PREVIEW_TIMEOUT: Duration = Duration::from_secs(10);
/// How much a preview may write, in bytes; more would not be read on one page.
const PREVIEW_LIMIT: u64 = 6 << 10;
/// The user that commands run as where the gateway is root and the target names nobody.
const UNPRIVILEGED: &str = "nobody";
/// Stands for the directory of captured inputs in recorded paths.
const INPUTS: &str = "{inputs}";

/// The machine that commands run on.
#[derive(Clone)]
pub struct Machine {
    /// Captured inputs.
    pub inputs: Arc<InputStore>,
    /// Where directories of runs are made.
    pub scratch: Arc<tempfile::TempDir>,
    /// Where executables are looked for; never the caller's path.
    pub path: Arc<[PathBuf]>,
    /// Where relative paths of the configuration begin.
    pub config: PathBuf,
    /// Previews that can run at once.
    pub previews: Arc<Semaphore>,
}

/// Why a call is no action, or an approved action can't run as approved.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// No command.
    #[error("the command is empty; name a program after `--`")]
    Empty,
    /// A word that no command line can hold.
    #[error("the command has a zero byte, which no command line can hold; leave it out")]
    Nul,
    /// No such target.
    #[error("there is no target `{0}` that runs commands")]
    NoTarget(TargetId),
    /// A captured file that the target does not take.
    #[error(
        "target `{target}` does not take the file `{path}`; its `inputs.keep` names what it takes"
    )]
    NotKept {
        /// The target.
        target: TargetId,
        /// The file.
        path: String,
    },
    /// A pattern of the target's configuration.
    #[error("the target's configuration has a pattern that can't be read: {0}")]
    Pattern(String),
    /// The inputs are not here.
    #[error("there are no inputs `{0}`; upload them first")]
    NoInputs(String),
    /// The target takes none.
    #[error("target `{0}` takes no inputs; its configuration has no `inputs`")]
    TakesNoInputs(TargetId),
    /// A preview without files.
    #[error("a preview shows captured files, and there are none")]
    PreviewOfNothing,
    /// Environment.
    #[error(transparent)]
    Env(#[from] EnvError),
    /// Executable.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// Inputs.
    #[error(transparent)]
    Inputs(#[from] InputError),
    /// Credentials.
    #[error("a credential of the target can't be had")]
    Vault(#[from] VaultError),
    /// No such user.
    #[error("there is no user `{0}` on the runner's machine")]
    NoUser(String),
    /// What was approved is not what is here now.
    #[error("{0} changed since the action was decided; nothing was run, ask again")]
    Changed(&'static str),
    /// The system refused.
    #[error("the runner's directory can't be made")]
    Io(#[from] std::io::Error),
    /// The secrets that were masked are not those at hand.
    #[error(transparent)]
    Secret(#[from] NotRestored),
    /// The stored action can't be read.
    #[error("the stored action can't be read: {0}")]
    Stored(String),
}

/// The arguments of an action of this gate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arguments {
    /// The words.
    pub argv: Vec<String>,
    /// Values the caller set.
    pub env: BTreeMap<String, String>,
    /// The digest of the captured inputs.
    pub inputs: Option<Hash>,
    /// What the first word means here, by content.
    pub executable: Resolved,
}

/// What a caller wants to run.
#[derive(Debug, Clone)]
pub struct Call {
    /// The target.
    pub target: TargetId,
    /// The words.
    pub argv: Vec<String>,
    /// Values the caller sets.
    pub env: BTreeMap<String, String>,
    /// The digest of captured inputs.
    pub inputs: Option<Hash>,
}

/// A call, captured.
#[derive(Debug, Clone)]
pub struct Captured {
    /// The exact action.
    pub action: Action,
    /// What is in the inputs.
    pub manifest: Option<Manifest>,
    /// The texts among the inputs that are short enough to be shown, by path as it is shown.
    pub texts: BTreeMap<String, String>,
}

impl Call {
    /// The action as far as the call itself says it, without looking at the machine: what policy
    /// is asked about first. It names no executable, so it can't run.
    ///
    /// # Errors
    /// [`PlanError`] for what the target's configuration does not take.
    pub fn words(&self, bundle: &Bundle) -> Result<Captured, PlanError> {
        let exec = exec(bundle, &self.target)?;
        if self.argv.is_empty() {
            return Err(PlanError::Empty);
        }
        if self.argv.iter().any(|word| word.contains('\0')) {
            return Err(PlanError::Nul);
        }
        let allowed: Vec<String> = exec.env_allow.iter().cloned().collect();
        self.env
            .keys()
            .try_for_each(|name| caller_env_allowed(name, &allowed))?;
        if self.inputs.is_some() && exec.inputs.is_none() {
            return Err(PlanError::TakesNoInputs(self.target.clone()));
        }
        let arguments = json!({
            "argv": self.argv,
            "env": self.env,
            "inputs": self.inputs,
            "executable": Value::Null,
        });
        Ok(Captured {
            action: self.action(arguments, session(exec, None)),
            manifest: None,
            texts: BTreeMap::new(),
        })
    }

    fn action(&self, arguments: Value, session: Value) -> Action {
        Action {
            gate: GATE.into(),
            target: self.target.clone(),
            operation: "run".into(),
            arguments,
            session,
            masked: Vec::new(),
        }
    }
}

fn exec<'a>(bundle: &'a Bundle, target: &TargetId) -> Result<&'a ExecTarget, PlanError> {
    let found = bundle
        .targets()
        .get(target)
        .and_then(|target| target.exec());
    found.ok_or_else(|| PlanError::NoTarget(target.clone()))
}

/// Makes the exact action of a call.
///
/// # Errors
/// [`PlanError`] saying what can't be had.
pub async fn capture(
    machine: &Machine,
    bundle: Arc<Bundle>,
    call: Call,
) -> Result<Captured, PlanError> {
    let machine = machine.clone();
    blocking(move || {
        call.words(&bundle)?;
        let exec = exec(&bundle, &call.target)?;
        let place = Place::make(&machine, exec, call.inputs, user(exec.run_as.as_deref())?)?;
        let argv0 = call.argv.first().ok_or(PlanError::Empty)?;
        let arguments = Arguments {
            executable: place.resolve(argv0, &machine.path)?,
            argv: call.argv.clone(),
            env: call.env.clone(),
            inputs: call.inputs,
        };
        // What could not be set at the run is refused before anybody is asked.
        environment(&machine, exec, &arguments, &place)?;
        let stored = serde_json::to_value(&arguments)
            .map_err(|error| PlanError::Stored(error.to_string()))?;
        let session = session(exec, place.overlaid.as_ref());
        Ok(Captured {
            action: call.action(stored, session),
            texts: place.texts()?,
            manifest: place.manifest,
        })
    })
    .await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PlanError> + Send + 'static,
) -> Result<T, PlanError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| PlanError::Io(std::io::Error::other(error)))?
}

/// What of the target's configuration gives its commands their meaning.
fn session(exec: &ExecTarget, overlaid: Option<&Value>) -> Value {
    let credentials: Vec<_> = exec
        .credentials
        .iter()
        .map(|one| json!({ "as": one.as_env, "from": one.source.to_string() }))
        .collect();
    json!({
        "workdir": exec.workdir,
        "variables": exec.variables,
        "credentials": credentials,
        "overlay": overlaid,
        "run_as": exec.run_as,
        "timeout": exec.timeout,
        "output_limit": exec.output_limit,
    })
}

/// The directory a command runs in, made of what was captured.
struct Place {
    scratch: Scratch,
    dir: PathBuf,
    manifest: Option<Manifest>,
    overlaid: Option<Value>,
    user: Option<User>,
}

impl Place {
    fn make(
        machine: &Machine,
        exec: &ExecTarget,
        inputs: Option<Hash>,
        user: Option<User>,
    ) -> Result<Self, PlanError> {
        let owner = user.as_ref().map(User::owner);
        let scratch = Scratch::new(machine.scratch.path(), owner)?;
        let (mut manifest, mut overlaid) = (None, None);
        let dir = match (inputs, &exec.workdir) {
            (Some(digest), _) => {
                if !machine.inputs.has(digest) {
                    return Err(PlanError::NoInputs(digest.to_string()));
                }
                let into = scratch.inputs();
                let unpacked = machine.inputs.materialise(digest, &into, owner)?;
                check_kept(exec, &unpacked)?;
                manifest = Some(unpacked);
                let over = exec
                    .inputs
                    .as_ref()
                    .and_then(|inputs| inputs.overlay.as_ref());
                if let Some(over) = over {
                    let over = machine.config.join(over);
                    overlay(&over, &into, owner)?;
                    overlaid = Some(json!(content(over)?));
                }
                into
            }
            (None, Some(workdir)) => machine.config.join(workdir),
            (None, None) => scratch.home(),
        };
        Ok(Self {
            scratch,
            dir,
            manifest,
            overlaid,
            user,
        })
    }

    /// Resolves a program, writing paths inside the inputs in a way that does not depend on where
    /// they are unpacked.
    fn resolve(&self, argv0: &str, path: &[PathBuf]) -> Result<Resolved, PlanError> {
        let mut found = resolve(argv0, path, &self.dir)?;
        if let Ok(base) = self.dir.canonicalize()
            && self.manifest.is_some()
        {
            for one in std::iter::once(&mut found.program).chain(&mut found.interpreters) {
                if let Ok(inside) = one.path.strip_prefix(&base) {
                    one.path = Path::new(INPUTS).join(inside);
                }
            }
        }
        Ok(found)
    }
}

impl Place {
    /// The texts among the inputs, as a command would find them, as long as they are short.
    fn texts(&self) -> std::io::Result<BTreeMap<String, String>> {
        let mut texts = BTreeMap::new();
        let mut room = MAX_TEXTS;
        for (path, entry) in self.manifest.iter().flat_map(|all| all.entries()) {
            let Entry::File { size, .. } = entry else {
                continue;
            };
            if *size > room {
                continue;
            }
            let file = std::fs::read(self.dir.join(path))?;
            if let Ok(text) = String::from_utf8(file)
                && !text.contains('\0')
            {
                room = room.saturating_sub(*size);
                texts.insert(reveal(path), text);
            }
        }
        Ok(texts)
    }
}

/// Prepares a command that shows reviewers what an action would do. Nobody has permitted anything
/// yet, so it gets the captured files and nothing else: not the target's directory, user and
/// credentials, nor the caller's variables.
pub(super) async fn preview(
    captured: &Captured,
    argv: Vec<String>,
    machine: &Machine,
    bundle: Arc<Bundle>,
) -> Result<(Command, Scratch), PlanError> {
    let (action, machine) = (captured.action.clone(), machine.clone());
    blocking(move || {
        let exec = exec(&bundle, &action.target)?;
        let mut arguments: Arguments = serde_json::from_value(action.arguments)
            .map_err(|error| PlanError::Stored(error.to_string()))?;
        arguments.env.clear();
        let inputs = arguments.inputs.ok_or(PlanError::PreviewOfNothing)?;
        let place = Place::make(&machine, exec, Some(inputs), user(None)?)?;
        let argv0 = argv.first().ok_or(PlanError::Empty)?;
        let command = Command {
            resolved: resolve(argv0, &machine.path, &place.dir)?,
            env: environment(&machine, exec, &arguments, &place)?,
            argv,
            dir: place.dir,
            run_as: place.user,
            stdin: None,
            timeout: PREVIEW_TIMEOUT,
            output_limit: PREVIEW_LIMIT,
        };
        Ok((command, place.scratch))
    })
    .await
}

/// Whether the target takes every captured file. The caller's own capture leaves out what is not
/// kept, but a caller can send anything.
fn check_kept(exec: &ExecTarget, manifest: &Manifest) -> Result<(), PlanError> {
    let keep = exec.inputs.iter().flat_map(|inputs| &inputs.keep);
    let globs = keep
        .map(|text| text.parse::<Glob>())
        .collect::<Result<Vec<_>, _>>();
    let globs = globs.map_err(|error| PlanError::Pattern(error.to_string()))?;
    let taken = |path: &str| globs.is_empty() || globs.iter().any(|glob| glob.matches(path));
    let refused = manifest
        .entries()
        .iter()
        .find(|(path, entry)| **entry != Entry::Dir && !taken(path));
    match refused {
        Some((path, _)) => {
            let (target, path) = (exec.target.clone(), reveal(path));
            Err(PlanError::NotKept { target, path })
        }
        None => Ok(()),
    }
}

/// What is in the target's own directory that is laid over inputs.
fn content(directory: PathBuf) -> Result<Hash, PlanError> {
    let bind = Bind {
        source: directory,
        name: "overlay".into(),
    };
    Ok(pack(&[bind], &Keep::Everything, &Limits::default())?
        .manifest
        .digest())
}

/// The user that a target's commands run as, for people.
#[must_use]
pub fn runs_as(exec: &ExecTarget) -> String {
    let me = nix::unistd::geteuid();
    match (&exec.run_as, me.is_root()) {
        (Some(name), _) => name.clone(),
        (None, true) => UNPRIVILEGED.into(),
        (None, false) => {
            let found = nix::unistd::User::from_uid(me).ok().flatten();
            let name = found.map_or_else(|| me.to_string(), |user| user.name);
            format!("{name}, the gateway's own user")
        }
    }
}

/// The user of this name, or the one without rights where the gateway is root.
fn user(name: Option<&str>) -> Result<Option<User>, PlanError> {
    let root = nix::unistd::geteuid().is_root();
    let name = match (name, root) {
        (Some(name), _) => name,
        (None, true) => UNPRIVILEGED,
        (None, false) => return Ok(None),
    };
    let found = nix::unistd::User::from_name(name).ok().flatten();
    let found = found.ok_or_else(|| PlanError::NoUser(name.into()))?;
    if !root && found.uid == nix::unistd::geteuid() {
        return Ok(None);
    }
    Ok(Some(User {
        uid: found.uid.as_raw(),
        gid: found.gid.as_raw(),
        name: found.name,
    }))
}

/// Whether the target takes a command for what it was taken for when policy was asked about it.
/// Policy decides about effects, so that a change of the target's patterns would otherwise not
/// reach what was asked before.
///
/// # Errors
/// [`PlanError::Changed`].
pub(crate) fn check_taken_for(
    (exec, masker): (&ExecTarget, &Masker),
    argv: &[String],
    has_inputs: bool,
    taken_for: &[Effect],
) -> Result<(), PlanError> {
    if exec.classify(argv, has_inputs, masker).effects == taken_for {
        return Ok(());
    }
    Err(PlanError::Changed("what the target takes the command for"))
}

/// Rebuilds the command of a stored request, verifying that everything is what was decided.
pub(super) async fn command(
    (request, secrets): (&Request, &Secrets),
    machine: &Machine,
    bundle: Arc<Bundle>,
) -> Result<(Command, Scratch), PlanError> {
    let action = secrets.restore(&request.action)?;
    let taken_for = request.effects.clone();
    let for_blocking = machine.clone();
    let (mut command, scratch, sources) = blocking(move || {
        let machine = for_blocking;
        let exec = exec(&bundle, &action.target)?;
        let arguments: Arguments = serde_json::from_value(action.arguments)
            .map_err(|error| PlanError::Stored(error.to_string()))?;
        let user = user(exec.run_as.as_deref())?;
        let place = Place::make(&machine, exec, arguments.inputs, user)?;
        if session(exec, place.overlaid.as_ref()) != action.session {
            return Err(PlanError::Changed("the target's configuration"));
        }
        check_taken_for(
            (exec, bundle.masker()),
            &arguments.argv,
            arguments.inputs.is_some(),
            &taken_for,
        )?;
        let argv0 = arguments.argv.first().ok_or(PlanError::Empty)?;
        if place.resolve(argv0, &machine.path)? != arguments.executable {
            return Err(PlanError::Changed("the executable"));
        }
        let resolved = resolve(argv0, &machine.path, &place.dir)?;
        let env = environment(&machine, exec, &arguments, &place)?;
        let command = Command {
            argv: arguments.argv,
            resolved,
            dir: place.dir,
            env,
            run_as: place.user,
            stdin: None,
            timeout: exec.timeout.map_or(TIMEOUT, |span| {
                Duration::from_millis(u64::try_from(span.as_millis()).unwrap_or(0))
            }),
            output_limit: exec.output_limit.unwrap_or(OUTPUT_LIMIT),
        };
        Ok((command, place.scratch, sources(&machine, exec)))
    })
    .await?;
    // The secrets are fetched last and live only in the command's environment.
    for (name, source) in sources {
        let secret = source.fetch().await?;
        command.env.set_secret(&name, secret)?;
    }
    Ok((command, scratch))
}

fn environment(
    machine: &Machine,
    exec: &ExecTarget,
    arguments: &Arguments,
    place: &Place,
) -> Result<Environment, PlanError> {
    let (home, temporary) = (place.scratch.home(), place.scratch.temporary());
    let mut env = Environment::new(&machine.path, &home, &temporary);
    // Git looks for a repository in the directories above, which are not the command's.
    let above = machine.scratch.path().display().to_string();
    let own = place
        .dir
        .parent()
        .map(|dir| dir.display().to_string())
        .unwrap_or_default();
    env.set_from_target("GIT_CEILING_DIRECTORIES", &format!("{own}:{above}"))?;
    for (name, value) in &exec.variables {
        env.set_from_target(name, value)?;
    }
    let allowed: Vec<String> = exec.env_allow.iter().cloned().collect();
    for (name, value) in &arguments.env {
        env.set_from_caller(name, value, &allowed)?;
    }
    Ok(env)
}

fn sources(machine: &Machine, exec: &ExecTarget) -> Vec<(String, Source)> {
    use countersign_policy::target::exec::CredentialSource;
    let source = |source: &CredentialSource| match source {
        CredentialSource::Env(name) => Source::Env(name.clone()),
        CredentialSource::File(path) => Source::File(machine.config.join(path)),
        CredentialSource::Command(argv) => Source::Command(argv.clone()),
    };
    exec.credentials
        .iter()
        .map(|one| (one.as_env.clone(), source(&one.source)))
        .collect()
}
