//! The `countersign` command line, from the caller's side.
//!
//! In scope: arguments, dispatch, exit statuses. One file a command.
//! Out of scope: what the commands do at the gateway.
//! Invariant: a token is never an argument, so no list of processes shows it.

mod agent;
mod agent_key;
mod answer;
mod backup;
mod channel;
mod client;
mod clock;
mod completions;
mod config;
mod delegate;
mod demo;
mod doctor;
mod failure;
mod grant;
mod identity;
mod init;
mod key;
mod lines;
mod log;
mod login;
mod logout;
mod output;
mod people;
mod policy;
mod proposal;
mod recover;
mod requests;
mod run;
mod signals;
mod stop_all;
mod stream;
#[cfg(test)]
mod testing;
mod text;
mod trust;
mod up;
mod whoami;

use std::{ffi::OsString, process::ExitCode};

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand, error::ErrorKind};

pub(crate) use self::up::first_links;
use self::{config::Sources, failure::Failure, output::Output};

const EXAMPLES: &str = "\
Start here:
  countersign login                                          # once, with a token from the console
  countersign run --target release -- git push origin main   # runs once people have countersigned it
  countersign requests list --state held                     # what waits
  countersign doctor                                         # when something does not work

Environment: COUNTERSIGN_URL, COUNTERSIGN_TOKEN and COUNTERSIGN_CA count before
~/.config/countersign/client.toml. Jobs and services have COUNTERSIGN_IDENTITY instead of a token:
`github-actions`, `env:NAME`, `file:PATH`, or `key:PATH` with COUNTERSIGN_AS=agent:NAME.";

/// A gateway that puts human judgment into automated work at the moment it matters
#[derive(Debug, Parser)]
#[command(name = "countersign", version, after_help = EXAMPLES, propagate_version = true)]
pub(crate) struct Cli {
    /// One JSON object a line on standard output; problems as JSON on standard error
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// The gateway, for example https://countersign.example.com; counts before COUNTERSIGN_URL
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// What to do
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show everything on this machine: a gateway, people, an agent, a real target
    Demo(demo::Args),
    /// Write a configuration to begin with
    Init(init::Args),
    /// Run the gateway
    Up(up::Args),
    /// The local way back in, recorded and announced
    Recover(recover::Args),
    /// Copy everything the gateway keeps, while it runs
    Backup(backup::Args),
    /// Run a command behind its gate: at once, after people countersigned it, or not at all
    Run(run::Args),
    /// Sign in with a link and save a token
    Login(login::Args),
    /// Forget the saved token
    Logout,
    /// Show whom the gateway takes you for
    Whoami,
    /// Read, decide and talk about requests
    #[command(subcommand)]
    Requests(requests::Command),
    /// Check, explain and change the policy
    #[command(subcommand)]
    Policy(policy::Command),
    /// Verify the record, and keep what is needed to verify it later
    #[command(subcommand)]
    Log(log::Command),
    /// Agents, their tokens, and the kill switch
    #[command(subcommand)]
    Agent(agent::Command),
    /// The installation's own signing keys
    #[command(subcommand)]
    Key(key::Command),
    /// People, their groups and sign-in links
    #[command(subcommand)]
    People(people::Command),
    /// What of the record is told to other systems, and what was not
    #[command(subcommand)]
    Stream(stream::Command),
    /// Where people are told what waits, and decide
    #[command(subcommand)]
    Channel(channel::Command),
    /// Show and end what approvers granted beside single actions
    #[command(subcommand)]
    Grant(grant::Command),
    /// Check that this machine can use its gateway
    #[command(after_help = doctor::EXIT)]
    Doctor,
    /// Write what your shell needs to complete commands
    Completions(completions::Args),
}

/// Commands that ask no gateway, or are one; `--url` means nothing to them.
const WITHOUT_GATEWAY: [&[&str]; 15] = [
    &["demo"],
    &["init"],
    &["up"],
    &["recover"],
    &["backup"],
    &["completions"],
    &["agent", "key"],
    &["policy", "check"],
    &["policy", "schema"],
    &["policy", "mask"],
    &["log", "verify"],
    &["log", "list"],
    &["log", "prove"],
    &["channel", "slack", "manifest"],
    &["channel", "teams", "package"],
];

/// The whole command line, in which nobody is offered what means nothing.
pub(crate) fn line() -> clap::Command {
    let mut line = Cli::command();
    for path in WITHOUT_GATEWAY {
        line = without_url(line, path);
    }
    line
}

fn without_url(command: clap::Command, path: &[&'static str]) -> clap::Command {
    match path.split_first() {
        Some((name, rest)) => command.mut_subcommand(name, |inner| without_url(inner, rest)),
        // Its own, instead of the one that every command has.
        None => command.arg(clap::Arg::new("url").long("url").hide(true)),
    }
}

/// Reads `args`, the program's name first, does what they say and gives the exit status.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    let read = line()
        .try_get_matches_from(&args)
        .and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match read {
        Ok(cli) => cli,
        Err(error) => {
            if error.use_stderr() && wants_json(&args) {
                let failure = misread(&error);
                Output::of_process(true).failure(&failure);
                return ExitCode::from(failure.exit);
            }
            // Help and versions are errors to clap that belong on standard output.
            let _ = error.print();
            if let Some(meant) =
                meant(&args).filter(|_| error.kind() == ErrorKind::InvalidSubcommand)
            {
                eprintln!("\nPerhaps you meant: countersign {meant}");
            }
            if error.use_stderr() && lacks_dashes(&args) {
                eprintln!(
                    "\nPut `--` before the command, so that its options are not taken for ours:\n  \
                     countersign run --target TARGET -- COMMAND ARGS"
                );
            }
            return ExitCode::from(if error.use_stderr() {
                failure::USAGE
            } else {
                0
            });
        }
    };
    let mut output = Output::of_process(cli.json);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let done = match runtime {
        Ok(runtime) => {
            let done = runtime.block_on(dispatch(cli, &mut output));
            // A thread that still reads standard input must not keep the process alive.
            runtime.shutdown_background();
            done
        }
        Err(error) => Err(Failure::new(
            "runtime",
            format!("threads can't be started: {error}"),
        )),
    };
    ExitCode::from(done.unwrap_or_else(|failure| {
        output.failure(&failure);
        failure.exit
    }))
}

/// Whether problems are to be JSON, before anything else of the line is known.
fn wants_json(args: &[OsString]) -> bool {
    let ours = args.iter().take_while(|arg| *arg != "--");
    ours.into_iter().any(|arg| arg == "--json")
}

/// What clap says of a line: its first paragraph is what was wrong, the rest what to do.
fn misread(error: &clap::Error) -> Failure {
    let text = error.render().to_string();
    let (title, rest) = text.split_once("\n\n").unwrap_or((&text, ""));
    let title = title.trim_start_matches("error: ").trim_end();
    Failure::usage(title).next(rest.trim())
}

/// Words that other programs have for our commands.
const MEANT: [(&str, &str); 10] = [
    ("serve", "up"),
    ("server", "up"),
    ("start", "up"),
    ("exec", "run"),
    ("signin", "login"),
    ("list", "requests list"),
    ("approve", "requests approve"),
    ("deny", "requests deny"),
    ("verify", "log verify"),
    ("apply", "policy apply"),
];

/// The command that somebody means who writes another program's word for it.
fn meant(args: &[OsString]) -> Option<&'static str> {
    let mut words = args.iter().skip(1).filter_map(|word| word.to_str());
    let word = words.find(|word| !word.starts_with('-'))?;
    let found = MEANT.iter().find(|(theirs, _)| *theirs == word);
    found.map(|(_, ours)| *ours)
}

/// Whether this is a `run` whose command does not stand after `--`.
fn lacks_dashes(args: &[OsString]) -> bool {
    let has = |word: &str| args.iter().any(|arg| arg == word);
    has("run") && !has("--")
}

async fn dispatch(cli: Cli, output: &mut Output) -> Result<u8, Failure> {
    let sources = Sources::of_process(cli.url);
    match cli.command {
        Command::Demo(args) => Box::pin(demo::run(args, output)).await,
        Command::Init(args) => init::run(&args, output),
        Command::Up(args) => Box::pin(up::run(args, output)).await,
        Command::Recover(args) => Box::pin(recover::run(args, output)).await,
        Command::Backup(args) => Box::pin(backup::run(args, output)).await,
        Command::Run(args) => Box::pin(run::run(args, &sources, output)).await,
        Command::Login(args) => login::run(args, &sources, output).await,
        Command::Logout => logout::run(&sources, output),
        Command::Whoami => whoami::run(&sources, output).await,
        Command::Requests(command) => Box::pin(requests::run(command, &sources, output)).await,
        Command::Policy(command) => Box::pin(policy::run(command, &sources, output)).await,
        Command::Log(command) => log::run(command, &sources, output).await,
        Command::Agent(command) => Box::pin(agent::run(command, &sources, output)).await,
        Command::Key(command) => Box::pin(key::run(command, &sources, output)).await,
        Command::People(command) => Box::pin(people::run(command, &sources, output)).await,
        Command::Channel(command) => channel::run(command, &sources, output).await,
        Command::Grant(command) => grant::run(command, &sources, output).await,
        Command::Stream(command) => stream::run(command, &sources, output).await,
        Command::Doctor => doctor::run(&sources, output).await,
        Command::Completions(args) => completions::run(&args, output),
    }
}

#[cfg(test)]
mod tests;
