//! `countersign recover`: the local way back in, recorded and announced.

use std::{net::SocketAddr, path::PathBuf};

use countersign_core::{id::PersonId, time::Timestamp};
use countersign_evidence::body::{ActivatedBy, Body, Recovered};
use countersign_store::Write;
use serde_json::json;

use super::{failure::Failure, output::Output, up::sign_in_link};
use crate::{
    admin, bundle_files,
    gateway::{Gateway, Opening, Options, RECOVERED},
    log::Record,
};

const EXAMPLES: &str = "\
Examples:
  countersign recover --config /etc/countersign --person dana@example.com   # a new sign-in link
  countersign recover --config /etc/countersign --bundle                    # trust the files again

Stop the gateway first. Recovery is recorded in the log and shown on every page from then on.";

/// What `recover` takes.
#[derive(Debug, clap::Args)]
#[command(
    after_help = EXAMPLES,
    override_usage = "countersign recover [--config DIR] [--data DIR] [--listen ADDR:PORT] [--person NAME] [--bundle]"
)]
pub(crate) struct Args {
    /// The configuration directory
    #[arg(long, short, default_value = ".", value_name = "DIR")]
    config: PathBuf,
    /// The data directory; the configuration's own when absent
    #[arg(long, short, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where `countersign up` will listen, if it is told so: the link leads there, unless `public_url` says
    /// where people come from
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,
    /// Issue a sign-in link for this person; needed without --bundle
    #[arg(long, value_name = "NAME", required_unless_present = "bundle")]
    person: Option<PersonId>,
    /// Make the files in the configuration directory the active bundle
    #[arg(long)]
    bundle: bool,
}

/// Recovers.
pub(crate) async fn run(args: Args, output: &mut Output) -> Result<u8, Failure> {
    recover(args, output)
        .await
        .map(|()| 0)
        .map_err(|error| Failure::new("recovery", format!("{error:#}")))
}

async fn recover(args: Args, output: &mut Output) -> anyhow::Result<()> {
    let Args {
        config,
        data,
        listen,
        person,
        bundle,
    } = args;
    let opening = Opening::new(Options {
        config,
        data,
        url: None,
        listen,
        recovering: bundle,
    })
    .await?;
    if let Some(person) = person.as_ref().filter(|_| !bundle) {
        check_known(&opening.people(), person)?;
    }
    let now = opening.clock().now();
    let what = match (&person, bundle) {
        (Some(_), true) => "link and bundle",
        (Some(_), false) => "link",
        (None, _) => "bundle",
    };
    let record = Record::control(
        now,
        Body::Recovered(Recovered { what: what.into() }),
        json!({ "person": person }),
    );
    opening.log().record(record).await?;
    let gateway = opening.finish().await?;
    let notice = format!("Recovery ({what}) was used on this machine at {now}.");
    let set = Write::Set {
        key: RECOVERED.into(),
        value: notice.clone(),
    };
    gateway.store.commit(vec![set]).await?;
    if bundle {
        trust_files(&gateway, now, output).await?;
    }
    if let Some(person) = &person {
        let active = gateway.active();
        check_known(
            &active.directory.people.keys().cloned().collect::<Vec<_>>(),
            person,
        )?;
    }
    let link = match &person {
        Some(person) => Some(let_in(&gateway, person, output).await?),
        None => None,
    };
    if let (Some(person), Some(link)) = (&person, &link) {
        output.note(format!(
            "sign-in link for {person}, once, within 24 hours: {link}"
        ));
    }
    output.note(&notice);
    gateway.log.close().await;
    if output.is_json() {
        let done = json!({ "recovered": what, "person": person, "link": link });
        output.result(&done, |_, _| String::new())?;
    }
    Ok(())
}

/// Makes the files the active bundle.
async fn trust_files(gateway: &Gateway, now: Timestamp, output: &mut Output) -> anyhow::Result<()> {
    let files = bundle_files::bundle(&gateway.config)?;
    let by = ActivatedBy::Recovery;
    let dropped = admin::replace_bundle(gateway, files, None, now, false, by).await?;
    output.note("the files are the active bundle now");
    for title in dropped {
        output.note(format!("dropped, as it names who or what is gone: {title}"));
    }
    Ok(())
}

/// A link for a person who can use it, whatever kept them from signing in.
async fn let_in(
    gateway: &Gateway,
    person: &PersonId,
    output: &mut Output,
) -> anyhow::Result<String> {
    if admin::provide::let_in(gateway, person).await? {
        output.note(format!(
            "{person} can act again, without an account: their sessions, tokens, links and passkeys \
             from before are void"
        ));
    }
    sign_in_link(gateway, person).await
}

/// Refuses a name that nobody has.
fn check_known(people: &[PersonId], person: &PersonId) -> anyhow::Result<()> {
    if people.contains(person) {
        return Ok(());
    }
    let names: Vec<_> = people.iter().map(ToString::to_string).collect();
    anyhow::bail!(
        "there is no person `{person}`; there are {}",
        names.join(", ")
    )
}
