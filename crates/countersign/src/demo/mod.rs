//! The product on one machine: real gateway, real people's sessions, a real target.
//!
//! In scope: setting up, letting an agent work, playing both people, showing the receipt.
//! Invariant: nothing here has a way that users don't have. The agent is the `countersign` command
//! with a token; people are HTTP sessions; the target is a git server that knows one password,
//! which only the gateway's runner is given.

mod agent;
mod person;
mod receipt;
mod remote;
mod setup;
mod story;

use std::path::{Path, PathBuf};

use anyhow::Context;
use tokio::sync::oneshot;

use self::{agent::Agent, remote::Remote, setup::Setup, story::Story};
use crate::{
    cli::first_links,
    gateway::{Gateway, Options as GatewayOptions},
    server,
};

/// What the demo takes.
#[derive(Debug, Clone)]
pub struct Options {
    /// Play both people.
    pub auto: bool,
    /// Where to keep everything.
    pub data: Option<PathBuf>,
    /// The port of the gateway; any free one when 0.
    pub port: u16,
    /// One JSON line a step.
    pub json: bool,
}

/// Runs the demo; `true` when every step was as expected.
///
/// # Errors
/// Something that the demo needs is missing.
pub async fn run(options: Options) -> anyhow::Result<bool> {
    let (dir, temporary) = directory(options.data.as_deref())?;
    let remote = Remote::start(&dir).await?;
    let listener = server::bind(([127, 0, 0, 1], options.port).into()).await?;
    let address = listener.local_addr()?;
    let setup = Setup::write(&dir, &remote, address)?;
    let gateway = Gateway::open(GatewayOptions {
        config: setup.config.clone(),
        data: Some(setup.data.clone()),
        url: Some(format!("http://{address}")),
        listen: None,
        recovering: false,
    })
    .await?;
    let links = first_links(&gateway).await?;
    let token = setup::agent_token(&gateway).await?;
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(server::serve(gateway.clone(), listener, None, async move {
        let _told = stopped.await;
    }));
    let agent = Agent::new(&dir, gateway.url(), &token, &remote).await?;
    let mut story = Story {
        gateway,
        agent,
        remote,
        setup,
        links,
        json: options.json,
        failed: false,
    };
    let done = match options.auto {
        true => story.play().await,
        false => story.invite().await,
    };
    let _gone = stop.send(());
    serving.await.context("the gateway stopped early")??;
    done?;
    let passed = story.finish(temporary.is_none()).await?;
    drop(temporary);
    Ok(passed)
}

/// The directory of the demo, and what removes it at the end.
fn directory(given: Option<&Path>) -> anyhow::Result<(PathBuf, Option<tempfile::TempDir>)> {
    match given {
        Some(dir) => {
            std::fs::create_dir_all(dir)?;
            let dir = dir.canonicalize()?;
            anyhow::ensure!(
                std::fs::read_dir(&dir)?.next().is_none(),
                "`{}` is not empty; name a new directory",
                dir.display()
            );
            Ok((dir, None))
        }
        None => {
            let dir = tempfile::Builder::new()
                .prefix("countersign-demo-")
                .tempdir()?;
            // Commands run as another user where the gateway is root; they must get through.
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o711);
            std::fs::set_permissions(dir.path(), mode)?;
            Ok((dir.path().canonicalize()?, Some(dir)))
        }
    }
}
