//! `countersign requests`: read, decide and talk about what is held.
//!
//! In scope: one subcommand a variant; those that only tell the gateway something are in [`tell`].
//! Out of scope: voting itself, which needs a person's fresh act in the console (P3).

mod decide;
mod emergencies;
mod list;
mod show;
mod tell;
mod watch;

use clap::Subcommand;
pub(super) use list::since;

use super::{config::Sources, failure::Failure, output::Output};

/// Subcommands of `countersign requests`.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List requests, newest first
    List(list::Args),
    /// Show one request with everything you may see
    Show(show::Args),
    /// Follow what happens, until Ctrl-C or until one request ends
    Watch(watch::Args),
    /// Open a request's page to countersign it
    #[command(after_help = decide::APPROVE_EXAMPLES)]
    Approve(decide::Args),
    /// Open a request's page to deny it
    #[command(after_help = decide::DENY_EXAMPLES)]
    Deny(decide::Args),
    /// Open a request's page to lift one rule in an emergency, which is no vote
    #[command(after_help = emergencies::LIFT_EXAMPLES)]
    Emergency(emergencies::Args),
    /// List what was lifted in emergencies, and how the reviews stand
    #[command(after_help = emergencies::LIST_EXAMPLES)]
    Emergencies(emergencies::ListArgs),
    /// Open a request's page to review somebody else's emergency
    #[command(after_help = emergencies::REVIEW_EXAMPLES)]
    Review(emergencies::Args),
    /// Say something about a request
    #[command(after_help = tell::COMMENT_EXAMPLES)]
    Comment(tell::Said),
    /// Ask the requester something; the time to decide goes on
    #[command(after_help = tell::ASK_EXAMPLES)]
    Ask(tell::Said),
    /// Answer a question
    Answer(tell::Answered),
    /// Open a request's page to propose another command instead
    #[command(after_help = decide::AMEND_EXAMPLES)]
    Amend(decide::Args),
    /// Take your own request back
    #[command(after_help = tell::CANCEL_EXAMPLES)]
    Cancel(tell::Named),
    /// Open a request's page to take your vote back, until the action is claimed
    #[command(after_help = decide::WITHDRAW_EXAMPLES)]
    Withdraw(decide::Args),
    /// Apply a change of Countersign itself that you proposed, once it is approved
    #[command(after_help = tell::APPLY_EXAMPLES)]
    Apply(tell::Named),
}

/// Runs a subcommand.
///
/// # Errors
/// When the gateway can't be reached or refuses.
pub(crate) async fn run(
    command: Command,
    sources: &Sources,
    output: &mut Output,
) -> Result<u8, Failure> {
    match command {
        Command::List(args) => list::run(args, sources, output).await,
        Command::Show(args) => show::run(args, sources, output).await,
        Command::Watch(args) => watch::run(args, sources, output).await,
        Command::Approve(args) => decide::run(args, "approve", sources, output).await,
        Command::Deny(args) => decide::run(args, "deny", sources, output).await,
        Command::Emergency(args) => emergencies::break_glass(args, sources, output).await,
        Command::Emergencies(args) => emergencies::list(args, sources, output).await,
        Command::Review(args) => emergencies::review(args, sources, output).await,
        Command::Comment(args) => tell::say(args, "comments", sources, output).await,
        Command::Ask(args) => tell::say(args, "questions", sources, output).await,
        Command::Answer(args) => tell::answer(args, sources, output).await,
        Command::Amend(args) => decide::run(args, "amend", sources, output).await,
        Command::Cancel(args) => tell::cancel(args, sources, output).await,
        Command::Withdraw(args) => {
            decide::run(args, "withdraw your vote on", sources, output).await
        }
        Command::Apply(args) => tell::apply(args, sources, output).await,
    }
}

/// Whether a request in this state never changes again.
fn is_over(state: &str) -> bool {
    !matches!(state, "held" | "approved" | "running")
}
