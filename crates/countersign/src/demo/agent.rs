//! The agent: a clone, a token, and the `countersign` command.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::Context;
use tokio::process::{Child, Command};

use super::remote::{Remote, git};

/// An agent at work.
pub(super) struct Agent {
    clone: PathBuf,
    url: String,
    token: String,
}

/// How a command of the agent ended.
#[derive(Debug)]
pub(super) struct Ran {
    /// Its exit status.
    pub(super) status: i32,
    /// What it wrote.
    pub(super) output: String,
    /// What it wrote to its error output.
    pub(super) errors: String,
}

impl Agent {
    /// Makes a clone with one commit, which the remote has as well.
    pub(super) async fn new(
        dir: &Path,
        url: &str,
        token: &str,
        remote: &Remote,
    ) -> anyhow::Result<Self> {
        let clone = dir.join("clone");
        std::fs::create_dir_all(&clone)?;
        let agent = Self {
            clone,
            url: url.into(),
            token: token.into(),
        };
        git(
            &agent.clone,
            &["init", "--quiet", "--initial-branch=release"],
        )
        .await?;
        git(&agent.clone, &["config", "user.name", "deploy-bot"]).await?;
        git(
            &agent.clone,
            &["config", "user.email", "deploy-bot@example.com"],
        )
        .await?;
        git(&agent.clone, &["remote", "add", "origin", &remote.url]).await?;
        agent.commit("first release").await?;
        let local = remote.repository.to_str().context("not UTF-8")?;
        git(&agent.clone, &["push", "--quiet", local, "release"]).await?;
        Ok(agent)
    }

    /// Commits something new and gives its name.
    pub(super) async fn commit(&self, message: &str) -> anyhow::Result<String> {
        std::fs::write(self.clone.join("version.txt"), format!("{message}\n"))?;
        git(&self.clone, &["add", "version.txt"]).await?;
        git(&self.clone, &["commit", "--quiet", "-m", message]).await?;
        git(&self.clone, &["rev-parse", "HEAD"]).await
    }

    /// Pushes around the gate, as an agent that doesn't like waiting would.
    pub(super) async fn push_around_the_gate(&self) -> anyhow::Result<Ran> {
        let child =
            super::remote::command(&self.clone, &["push", "origin", "HEAD:refs/heads/release"])
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()?;
        finish(child).await
    }

    fn command(&self, options: &[&str], argv: &[&str]) -> anyhow::Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command
            .current_dir(&self.clone)
            .args(["run", "--target", "release"])
            .args(options)
            .arg("--")
            .args(argv)
            .env("COUNTERSIGN_URL", &self.url)
            .env("COUNTERSIGN_TOKEN", &self.token)
            .env_remove("COUNTERSIGN_TARGET")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Ok(command)
    }

    /// Runs a command through the gate to its end.
    pub(super) async fn run(&self, options: &[&str], argv: &[&str]) -> anyhow::Result<Ran> {
        finish(self.command(options, argv)?.spawn()?).await
    }

    /// Starts a command that will wait for people.
    pub(super) fn start(&self, options: &[&str], argv: &[&str]) -> anyhow::Result<Child> {
        Ok(self.command(options, argv)?.kill_on_drop(true).spawn()?)
    }

    /// The agent's own attempt to vote, with the only credential it has.
    pub(super) async fn vote(&self, request: &str, digest: &str) -> anyhow::Result<(u16, String)> {
        let body = serde_json::json!({ "verdict": "approve", "digest": digest, "act": "none" });
        let answer = reqwest::Client::new()
            .post(format!("{}/v1/requests/{request}/votes", self.url))
            .bearer_auth(&self.token)
            .json(&body)
            .send()
            .await?;
        Ok((answer.status().as_u16(), answer.text().await?))
    }
}

/// Waits for a command's end.
pub(super) async fn finish(child: Child) -> anyhow::Result<Ran> {
    let output = child.wait_with_output().await?;
    Ok(Ran {
        status: output.status.code().unwrap_or(-1),
        output: String::from_utf8_lossy(&output.stdout).into_owned(),
        errors: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}
