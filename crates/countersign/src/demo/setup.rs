//! The demo's configuration, written out to be read and kept.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use countersign_core::{id::AgentId, subject::SubjectId};
use countersign_store::CredentialKind;

use super::remote::Remote;
use crate::{
    gateway::Gateway,
    identity::{Issue, TOKEN},
};

/// The agent.
pub(super) const AGENT: &str = "deploy-bot";
/// The person who answers for the agent.
pub(super) const OWNER: &str = "olga@example.com";
/// The person who countersigns releases.
pub(super) const APPROVER: &str = "rene@example.com";

/// Where everything is.
pub(super) struct Setup {
    /// The configuration directory.
    pub(super) config: PathBuf,
    /// The data directory.
    pub(super) data: PathBuf,
}

impl Setup {
    /// Writes the configuration.
    pub(super) fn write(dir: &Path, remote: &Remote, address: SocketAddr) -> anyhow::Result<Self> {
        let setup = Self {
            config: dir.join("config"),
            data: dir.join("data"),
        };
        let overlay = setup.config.join("overlay/release/.git");
        fs::create_dir_all(&overlay)?;
        fs::create_dir_all(setup.config.join("policies"))?;
        let fill = |text: &str| {
            text.replace("{listen}", &address.to_string())
                .replace("{repository}", &remote.repository.display().to_string())
                .replace("{remote}", &remote.url)
                .replace("{run_as}", run_as(&remote.repository))
        };
        for (name, text) in [
            (
                "countersign.toml",
                include_str!("../sample/demo/countersign.toml"),
            ),
            (
                "approvals.toml",
                include_str!("../sample/demo/approvals.toml"),
            ),
            (
                "policies/countersign.cedar",
                include_str!("../sample/demo/countersign.cedar"),
            ),
            (
                "policies/release.cedar",
                include_str!("../sample/demo/release.cedar"),
            ),
            (
                "overlay/release/.git/config",
                include_str!("../sample/demo/git-config"),
            ),
        ] {
            fs::write(setup.config.join(name), fill(text))?;
        }
        let secret = setup.config.join("release.password");
        fs::write(&secret, &remote.password)?;
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600))?;
        Ok(setup)
    }
}

/// Where the gateway is root, commands run as nobody, provided nobody can get at the repository.
fn run_as(repository: &Path) -> &'static str {
    let root = nix::unistd::geteuid().is_root();
    let passable = |dir: &Path| fs::metadata(dir).is_ok_and(|found| found.mode() & 0o001 != 0);
    match (root, repository.ancestors().all(passable)) {
        (true, true) => "run_as = \"nobody\"",
        (true, false) => "run_as = \"root\" # this directory lets no other user in",
        (false, _) => "",
    }
}

/// A token for the agent, issued by the installation.
pub(super) async fn agent_token(gateway: &Gateway) -> anyhow::Result<String> {
    let issue = Issue {
        kind: CredentialKind::Token,
        holder: SubjectId::Agent(AgentId::new(AGENT)?),
        issued_by: None,
        lineage: Default::default(),
        parent: None,
        account: None,
        valid_for: TOKEN,
    };
    let (secret, _) = gateway.identity.issue(&issue).await?;
    Ok(secret.text().to_owned())
}
