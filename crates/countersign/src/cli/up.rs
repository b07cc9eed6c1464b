//! `countersign up`: the gateway.

use std::{collections::BTreeSet, net::SocketAddr, path::PathBuf};

use anyhow::Context;
use countersign_core::{id::PersonId, subject::SubjectId};
use countersign_store::CredentialKind;
use serde_json::{Value, json};

use super::{failure::Failure, output::Output};
use crate::{
    bundle_files,
    gateway::{Gateway, Opening, Options},
    identity::{Issue, LINK},
    server,
};

const EXAMPLES: &str = "\
Examples:
  countersign up                                    # configuration in ., data where it says
  countersign up --config /etc/countersign --data /var/lib/countersign
  countersign up --config /etc/countersign --data /srv/copy --listen 127.0.0.1:7781   # beside it

The files in the configuration directory are trusted once, at the first start. Afterwards they are
proposals: change them, then run `countersign policy apply`.";

/// What `up` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The configuration directory
    #[arg(long, short, default_value = ".", value_name = "DIR")]
    config: PathBuf,
    /// The data directory; the configuration's own when absent
    #[arg(long, short, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Listen here instead of where the configuration says, without `metrics`; what it asks of an
    /// address is asked of this one
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,
}

/// Serves until told to stop.
pub(crate) async fn run(args: Args, output: &mut Output) -> Result<u8, Failure> {
    serve(args, output)
        .await
        .map(|()| 0)
        .map_err(|error| Failure::new("gateway", format!("{error:#}")))
}

async fn serve(args: Args, output: &mut Output) -> anyhow::Result<()> {
    let listen = args.listen;
    let opening = Opening::new(Options {
        config: args.config,
        data: args.data,
        url: None,
        listen,
        recovering: false,
    })
    .await?;
    // Whatever can keep the gateway from serving comes before the files are trusted.
    let tls = server::tls(&opening)?;
    let listeners = server::Listeners::bind(opening.server()).await?;
    let gateway = opening.finish().await?;
    output.note(format!(
        "countersign {} at {}",
        env!("CARGO_PKG_VERSION"),
        gateway.url()
    ));
    if let Some(address) = listen {
        output.note(format!(
            "note: it listens at {address}; links and pages are those of {}",
            gateway.url()
        ));
    }
    let links = match gateway.is_first_start() {
        true => first_links(&gateway).await?,
        false => Vec::new(),
    };
    if output.is_json() {
        // Links are shown once; a program that starts a gateway would lose them otherwise.
        output.result(&started(&gateway, &links), |_, _| String::new())?;
    }
    if !links.is_empty() {
        for (person, link) in &links {
            output.note(format!(
                "sign-in link for {person}, once, within 24 hours: {link}"
            ));
        }
        output.note(
            "Give each link to its person, and to nobody else. It signs in to the console; the \
             command line gets its token there, under People and agents.",
        );
    }
    for notice in gateway.notices().await {
        output.note(format!("note: {notice}"));
    }
    let on_disk = bundle_files::read(&gateway.config);
    if !on_disk.is_ok_and(|read| &read.files == gateway.active().bundle.files()) {
        output.note(
            "note: the configuration files differ from the active bundle; compare with \
             `countersign policy diff`, propose with `countersign policy apply`",
        );
    }
    server::serve(gateway, listeners, tls, server::told_to_stop()).await
}

/// What a program is told of a start.
fn started(gateway: &Gateway, links: &[(String, String)]) -> Value {
    let links = links
        .iter()
        .map(|(person, link)| json!({ "person": person, "link": link }));
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "url": gateway.url(),
        "first_start": gateway.is_first_start(),
        "links": links.collect::<Vec<_>>(),
    })
}

/// A sign-in link for every person, at the first start.
///
/// # Errors
/// The links can't be stored or recorded.
pub(crate) async fn first_links(gateway: &Gateway) -> anyhow::Result<Vec<(String, String)>> {
    let mut links = Vec::new();
    for person in gateway.active().directory.people.keys() {
        links.push((person.to_string(), sign_in_link(gateway, person).await?));
    }
    Ok(links)
}

/// A sign-in link that the installation itself issues: at the first start and in a recovery.
///
/// # Errors
/// The link can't be stored or recorded.
pub(super) async fn sign_in_link(gateway: &Gateway, person: &PersonId) -> anyhow::Result<String> {
    let issue = Issue {
        kind: CredentialKind::Link,
        holder: SubjectId::Person(person.clone()),
        issued_by: None,
        lineage: BTreeSet::new(),
        parent: None,
        account: None,
        valid_for: LINK,
    };
    let (secret, _) = gateway
        .identity
        .issue(&issue)
        .await
        .context("no sign-in link")?;
    Ok(format!("{}/sign-in/{}", gateway.url(), secret.text()))
}
