//! `countersign log new-epoch`: the recorded way out when a restored log can't be continued.
//!
//! In scope: showing what was found and what will be done, asking, saying what comes next.
//! Out of scope: doing it ([`epoch`](crate::gateway::epoch)).
//! Invariant: nothing is changed before somebody has said yes, on a terminal or with `--yes`.

use std::{
    io::{IsTerminal, stdin},
    path::{Path, PathBuf},
};

use countersign_core::count::counted;
use countersign_runner::quote::quote_argv;
use serde_json::json;

use super::read;
use crate::{
    cli::{failure::Failure, output::Output, text::shown},
    gateway::epoch::{Look, OpenRequest, Pending, Plan},
};

const EXAMPLES: &str = "\
Examples:
  countersign log new-epoch /var/lib/countersign                          # shows, and asks
  countersign log new-epoch /var/lib/countersign --yes
  countersign log new-epoch /var/lib/countersign --checkpoint newest.txt  # one that you kept

Stop the gateway first. Restore the newest copy of everything instead, if there is one: what came
after the copy is not in the new log either. The old log stays as it is, beside the new one; every
credential ends, and nothing that was approved before runs. It is recorded, and shown on every page
from then on. A call that was interrupted is finished by the next one.";

/// Arguments of `countersign log new-epoch`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The data directory of the stopped gateway
    #[arg(value_name = "DATA")]
    data: PathBuf,
    /// Do it without asking
    #[arg(long)]
    yes: bool,
    /// Do it although nothing keeps the gateway from going on with the log that is there
    #[arg(long)]
    although_whole: bool,
    /// A checkpoint kept elsewhere, which may be ahead of what was restored
    #[arg(long = "checkpoint", value_name = "FILE")]
    kept: Vec<PathBuf>,
}

/// Begins a new log.
///
/// # Errors
/// A gateway uses the data, nobody said yes, or something can't be read or written.
pub(super) async fn run(args: Args, output: &mut Output) -> Result<u8, Failure> {
    if !args.data.join("log").is_dir() && !args.data.join("epoch").is_dir() {
        let there = args.data.display();
        return Err(Failure::usage(format!("`{there}` has no log"))
            .next("name the gateway's data directory, which has `log` and `keys` in it"));
    }
    let failed = |error: anyhow::Error| Failure::new("epoch", format!("{error:#}"));
    if let Some(pending) = Pending::at(&args.data).map_err(failed)? {
        let number = pending.finish().map_err(failed)?;
        let done = json!({ "finished": true, "number": number });
        output.result(&done, |_, _| {
            format!(
                "The new log that was begun before is in its place; the old one is log.{number}."
            )
        })?;
        next(output, &args.data);
        return Ok(0);
    }
    let kept: Result<Vec<_>, _> = args.kept.iter().map(|path| read(path)).collect();
    let look = Look::at(&args.data, &kept?).await.map_err(failed)?;
    output.note(found(look.plan()));
    if is_whole(look.plan()) && !args.although_whole {
        let why = "nothing was done: nothing keeps the gateway from going on with this log";
        return Err(Failure::usage(why).next(
            "start the gateway; if you keep a newer checkpoint of it elsewhere, give that with \
             `--checkpoint`; `--although-whole` begins a new log all the same",
        ));
    }
    output.note(will(look.plan(), &args.data));
    if !args.yes {
        confirm(output, look.plan())?;
    }
    let plan = look.begin().await.map_err(failed)?;
    output.result(&json!({ "begun": true, "plan": plan }), |_, _| {
        format!("The new log is `{}`.", plan.origin)
    })?;
    next(output, &args.data);
    Ok(0)
}

fn confirm(output: &mut Output, plan: &Plan) -> Result<(), Failure> {
    let refused = |why: &str| Failure::usage(why).next("add `--yes` to do it without being asked");
    if output.is_json() {
        output.result(&json!({ "begun": false, "plan": plan }), |_, _| {
            String::new()
        })?;
    }
    if !output.is_watched() || !stdin().is_terminal() {
        return Err(refused("nothing was done: nobody was there to say yes"));
    }
    output.note("\nBegin a new log? Type `yes`:");
    let mut answer = String::new();
    stdin().read_line(&mut answer)?;
    match answer.trim() {
        "yes" => Ok(()),
        _ => Err(refused("nothing was done")),
    }
}

/// What was found, in sentences.
fn found(plan: &Plan) -> String {
    let Plan {
        former,
        kept: (kept, _),
        missing,
        ..
    } = plan;
    let mut lines = vec![format!(
        "Whole records of the log `{}` here: {kept}.",
        shown(former)
    )];
    if let Some((size, _)) = plan.checkpoint {
        lines.push(format!(
            "The newest signed checkpoint that is known is over {size}."
        ));
    }
    match (plan.found, &plan.damage) {
        (_, Some(damage)) => lines.push(format!("After them: {}.", shown(damage))),
        ("changed", _) => {
            lines.push("They are not those that a checkpoint was signed over.".into())
        }
        _ => {}
    }
    if *missing > 0 {
        lines.push(format!(
            "At least {} missing: nobody here knows what was said there.",
            counted(*missing, "record is", "records are")
        ));
    }
    lines.push(match plan.database {
        "none" => "There is no database with people and policies.".into(),
        "fits" => "The database is as old as the log.".into(),
        other => format!("The database is {other} than the log."),
    });
    match plan.people_and_policies {
        "other" => lines.push(
            "Its people and policies are not those that the log has; they will count from now on."
                .into(),
        ),
        "unknown" => lines.push(
            "The log does not say which people and policies there were; those of the database will \
             count from now on."
                .into(),
        ),
        _ => {}
    }
    if is_whole(plan) {
        lines.push("Nothing was found that keeps the gateway from going on with it.".into());
    }
    lines.join("\n")
}

/// Whether the gateway would go on with what was found.
fn is_whole(plan: &Plan) -> bool {
    plan.found == "whole" && plan.database == "fits" && plan.people_and_policies == "recorded"
}

/// The requests that were open, a line each.
fn open(plan: &Plan) -> String {
    let line = |one: &OpenRequest| {
        let (id, title) = (&one.request, shown(&one.title));
        format!("\n     {id}, {} at {}: {title}", one.phase, one.target)
    };
    plan.open.iter().map(line).collect()
}

/// The emergencies whose review is due nowhere any more.
fn unreviewed(plan: &Plan) -> String {
    if plan.unreviewed.is_empty() {
        return String::new();
    }
    let ids: Vec<_> = plan.unreviewed.iter().map(ToString::to_string).collect();
    format!(
        "- emergencies that nobody has reviewed are due nowhere any more, have somebody look at them: {};\n  ",
        ids.join(", ")
    )
}

/// What will be done, in sentences.
fn will(plan: &Plan, data: &Path) -> String {
    let Plan {
        number,
        dropped,
        unknown,
        unrecorded,
        ..
    } = plan;
    format!(
        "\nA new log `{}` will begin in {}:\n  \
         - the old log stays as log.{number}, the old database goes to former.{number};\n  \
         - {} and {} dropped;\n  \
         - {} may have run, look at the targets: an identical call waits for a person;{}\n  \
         {}\
         - every session, token, link and passkey ends;\n  \
         - people and policies are those that the database has now;\n  \
         - streams begin with the new log's first record.",
        plan.origin,
        data.display(),
        counted(*dropped, "open request ends", "open requests end"),
        counted(*unrecorded, "waiting record is", "waiting records are"),
        counted(*unknown, "action", "actions"),
        open(plan),
        unreviewed(plan),
    )
}

fn next(output: &mut Output, data: &Path) {
    let data = quote_argv(&[data.to_string_lossy().into_owned()]);
    output.note(format!(
        "Next: make a sign-in link with `countersign recover --config DIR --data {data} --person \
         NAME`, DIR being the configuration and NAME a person; start the gateway, look at people \
         and policies, issue tokens anew, and give the new key to whoever verifies: `countersign \
         log key`."
    ));
}
