//! `countersign run`: one command through the exec gate.
//!
//! In scope: arguments, capturing inputs, asking, and passing the command's output and exit status
//! on as if it had run here; with `--local`, running it here ([`local`]).
//! Out of scope: deciding, and running behind the gate, which the gateway does; what each event means
//! ([`watch`]) and what happens when the connection breaks ([`mod@follow`]).
//! Invariant: the exit status is the command's only when the gateway reported it; every other
//! ending has one of the statuses 64, 69, 70, 75, 77, 130 or 143.

mod follow;
mod inputs;
mod local;
mod watch;

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use countersign_core::{id::RequestId, subject::Origin, time::Span, trace::TraceParent};

use self::{follow::follow, local::Here};
use super::{
    client::Client,
    config::Sources,
    failure::{Failure, GENERAL, REFUSED, UNAVAILABLE, USAGE},
    output::Output,
    signals::Signals,
};
use crate::api::types::RunRequest;

/// Pauses before a wait is taken up again after its connection broke; a minute in all.
const PAUSES: [Duration; 6] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
    Duration::from_secs(15),
    Duration::from_secs(30),
];

const EXAMPLES: &str = "\
Examples:
  countersign run --target release -- git push origin main
  countersign run --target db --bind migrations --reason \"ticket 4711\" -- psql -f migrations/7.sql
  countersign run --target release --wait 0s -- make deploy   # ask, don't wait; the same command again runs it
  countersign run --target laptop --local -- ./cleanup.sh    # runs here, once it may; advisory

Exit status: the command's own; or
  64  the command line is wrong            70  the action may have run; nobody here knows
  69  gateway unreachable or token wrong   75  still held
  77  denied or refused                   130  interrupted; the request goes on waiting
Apart from 70, 130 and a command's own status nothing was run.

Environment:
  COUNTERSIGN_TARGET                       instead of --target
  COUNTERSIGN_MODEL, _SESSION, _TASK       what reviewers see of where the call comes from, as stated";

/// Arguments of `countersign run`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The target that runs the command
    #[arg(
        long,
        short,
        env = "COUNTERSIGN_TARGET",
        value_name = "TARGET",
        required_unless_present = "claim"
    )]
    pub(crate) target: Option<String>,
    /// Capture a file or directory by content and give it to the command; PATH=NAME finds it there as NAME
    #[arg(long = "bind", short, value_name = "PATH[=NAME]")]
    pub(crate) binds: Vec<PathBuf>,
    /// Pass an environment value the target allows; without a value the caller's own
    #[arg(long, short, value_name = "NAME[=VALUE]")]
    pub(crate) env: Vec<String>,
    /// Why, for the people who decide
    #[arg(long, short, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    /// Run the command on this machine, with its files and environment, once the gateway permits it.
    ///
    /// Advisory: the gateway decides and records, and can't enforce. The target must say
    /// `advisory = true`; none of its credentials come here.
    #[arg(long, conflicts_with_all = ["binds", "claim"])]
    pub(crate) local: bool,
    /// How long to wait for people
    #[arg(long, short, default_value = "30m", value_name = "TIME")]
    pub(crate) wait: Span,
    /// Claim this approved or amended request instead of asking again
    #[arg(long, value_name = "REQUEST")]
    pub(crate) claim: Option<RequestId>,
    /// The command and its arguments
    #[arg(last = true, required_unless_present = "claim", value_name = "COMMAND")]
    pub(crate) argv: Vec<String>,
}

/// Asks, waits, and gives the exit status.
///
/// # Errors
/// When nothing was run, or nobody knows.
pub(crate) async fn run(args: Args, sources: &Sources, output: &mut Output) -> Result<u8, Failure> {
    let mut signals = Signals::listen()?;
    let prepared = tokio::select! {
        prepared = prepare(args, sources) => prepared,
        status = signals.next() => {
            return Err(Failure::new("interrupted", "interrupted before anything was asked")
                .exit(status));
        }
    };
    let (client, request, here) = prepared.map_err(as_refusal)?;
    follow(&client, request, here, &PAUSES, &mut signals, output)
        .await
        .map_err(as_refusal)
}

async fn prepare(
    args: Args,
    sources: &Sources,
) -> Result<(Client, RunRequest, Option<Here>), Failure> {
    let client = Client::new(&sources.settings()?)?;
    let env = environment(&args.env, |name| std::env::var(name).ok())?;
    let target = args.target.unwrap_or_default();
    let inputs = inputs::send(&client, &target, &args.binds).await?;
    let here = args
        .local
        .then(|| Here::find(&args.argv, &env))
        .transpose()?;
    let request = RunRequest {
        target,
        argv: args.argv,
        env,
        inputs,
        reason: args.reason,
        origin: origin(|name| std::env::var(name).ok()),
        wait_ms: u64::try_from(args.wait.as_millis()).unwrap_or(0),
        local: here.as_ref().map(Here::stated),
        claim: args.claim,
        trace: trace(|name| std::env::var(name).ok()),
    };
    Ok((client, request, here))
}

/// Keeps the statuses a command is likely to have itself away from our own refusals.
fn as_refusal(mut failure: Failure) -> Failure {
    failure.exit = match (failure.exit, failure.http) {
        (GENERAL, Some(408 | 425 | 429)) => UNAVAILABLE,
        (GENERAL, Some(_)) => REFUSED,
        (GENERAL, None) => USAGE,
        (exit, _) => exit,
    };
    failure
}

/// Reads `NAME=VALUE`, and `NAME` from the caller's own environment.
fn environment(
    given: &[String],
    own: impl Fn(&str) -> Option<String>,
) -> Result<BTreeMap<String, String>, Failure> {
    let mut values = BTreeMap::new();
    for item in given {
        let (name, value) = match item.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (item.as_str(), own(item)),
        };
        let shown = name.escape_debug();
        let value = value.ok_or_else(|| {
            Failure::usage(format!("`{shown}` is not set here, or is not UTF-8"))
                .next(format!("write `--env {shown}=VALUE`"))
        })?;
        if name.is_empty() || values.insert(name.to_owned(), value).is_some() {
            return Err(
                Failure::usage(format!("`--env {shown}` has no name or is there twice"))
                    .next("write each name once, like `--env NAME=VALUE`"),
            );
        }
    }
    Ok(values)
}

/// The trace that this command runs in, as whoever started it says.
fn trace(own: impl Fn(&str) -> Option<String>) -> Option<TraceParent> {
    own("TRACEPARENT")?.parse().ok()
}

fn origin(own: impl Fn(&str) -> Option<String>) -> Origin {
    let stated = |name: &str| own(name).filter(|value| !value.is_empty());
    Origin {
        model: stated("COUNTERSIGN_MODEL"),
        session: stated("COUNTERSIGN_SESSION"),
        task: stated("COUNTERSIGN_TASK"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn environment_values_come_from_the_line_or_from_here() {
        let own = |name: &str| (name == "HERE").then(|| "mine".to_owned());
        let read = |given: &[&str]| {
            let given: Vec<String> = given.iter().map(|item| (*item).to_owned()).collect();
            environment(&given, own)
                .map(|values| format!("{values:?}"))
                .map_err(|f| f.exit)
        };
        for (given, expected) in [
            (&[][..], Ok("{}")),
            (&["A=b=c", "HERE"], Ok(r#"{"A": "b=c", "HERE": "mine"}"#)),
            (&["A="], Ok(r#"{"A": ""}"#)),
            (&["GONE"], Err(64)),
            (&["=x"], Err(64)),
            (&["A=1", "A=2"], Err(64)),
        ] {
            assert_eq!(read(given), expected.map(str::to_owned), "{given:?}");
        }
    }

    #[test]
    fn refusals_have_statuses_of_their_own() {
        let failure = |exit, http| Failure {
            exit,
            http,
            ..Failure::new("x", "y")
        };
        for (exit, http, expected) in [
            (1, Some(404), 77),
            (1, Some(400), 77),
            (1, Some(429), 69),
            (77, Some(403), 77),
            (69, Some(401), 69),
            (1, None, 64),
            (70, None, 70),
        ] {
            assert_eq!(
                as_refusal(failure(exit, http)).exit,
                expected,
                "{exit} {http:?}"
            );
        }
    }
}
