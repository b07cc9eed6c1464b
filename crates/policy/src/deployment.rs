//! Deployments that somebody else holds until the gateway says yes or no.
//!
//! In scope: the settings of one GitHub App and what it is asked about.
//! Out of scope: speaking to GitHub; the gateway does that.
//! Invariant: whom GitHub's word makes whom here is part of the bundle's hash, so it changes only through
//! a request. People are named by GitHub's numbers, which nobody gets a second time; secrets are named,
//! never held.

use std::collections::BTreeMap;

use countersign_core::id::{PersonId, TargetId, WorkloadId};

use crate::target::exec::CredentialSource;

/// The action of letting a job of GitHub Actions deploy.
pub const GITHUB_DEPLOY: &str = "github:deploy";

/// One GitHub App that environments ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitHub {
    /// The App's number.
    pub app: u64,
    /// The App's private key, in PEM.
    pub private_key: CredentialSource,
    /// What GitHub signs its deliveries with.
    pub webhook_secret: CredentialSource,
    /// Where GitHub's interface is; the one address that gets the App's tokens.
    pub api: String,
    /// Which person an account of GitHub's, by its number, stands for here.
    pub people: BTreeMap<u64, PersonId>,
    /// What may be deployed from.
    pub repositories: Vec<Repository>,
}

/// A repository whose environments ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    /// `owner/name`.
    pub name: String,
    /// Its number, where the name alone is not enough: names change hands.
    pub id: Option<u64>,
    /// The number of the App's installation there, where only one may ask.
    pub installation: Option<u64>,
    /// As whom its jobs ask.
    pub workload: WorkloadId,
    /// The target that each environment is here.
    pub environments: BTreeMap<String, TargetId>,
}

impl GitHub {
    /// The repository of a name, which GitHub compares whatever the case of its letters.
    #[must_use]
    pub fn repository(&self, name: &str) -> Option<&Repository> {
        let mut all = self.repositories.iter();
        all.find(|one| one.name.eq_ignore_ascii_case(name))
    }
}

impl Repository {
    /// The target that an environment is here.
    #[must_use]
    pub fn target(&self, environment: &str) -> Option<&TargetId> {
        let mut all = self.environments.iter();
        let found = all.find(|(name, _)| name.eq_ignore_ascii_case(environment));
        found.map(|(_, target)| target)
    }
}

/// Whether a text is a repository's `owner/name` at GitHub: letters, digits, `-`, `_` and `.`, and no part
/// that a path would take for something else.
#[must_use]
pub fn is_repository(text: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let part = |part: &str| {
        (1..=100).contains(&part.len()) && part.chars().all(good) && part != "." && part != ".."
    };
    match text.split_once('/') {
        Some((owner, name)) => part(owner) && part(name),
        None => false,
    }
}

/// Whether a text can be the name of an environment at GitHub: up to 255 characters without any that
/// can't be seen.
#[must_use]
pub fn is_environment(text: &str) -> bool {
    let hidden = |c: char| c.is_control() || ('\u{200b}'..='\u{206f}').contains(&c);
    (1..=255).contains(&text.chars().count()) && text.trim() == text && !text.chars().any(hidden)
}

#[cfg(test)]
mod tests {
    //! Names at GitHub.
    //!
    //! In scope: what is taken for one.
    //! Out of scope: whether GitHub has it.
    //! Invariant: nothing that is taken leads elsewhere in an address.

    use super::*;

    #[test]
    fn repositories_stay_in_their_place() {
        for good in ["acme/shop", "Acme-1/shop.web_2", "a/.github"] {
            assert!(is_repository(good), "{good}");
        }
        for bad in [
            "",
            "acme",
            "acme/",
            "/shop",
            "acme/shop/x",
            "acme/..",
            "./shop",
            "acme/sh op",
            "acme/sh%6fp",
            "acme/shop?x",
            "acme/shöp",
            "acme\\shop",
            "acme/shop#x",
        ] {
            assert!(!is_repository(bad), "{bad}");
        }
        assert!(!is_repository(&format!("a/{}", "b".repeat(101))));
        assert!(is_environment("prod (eu)/west") && is_environment("größe"));
        for bad in ["", " prod", "prod\n", "pr\u{202e}od", "pr\u{200b}od"] {
            assert!(!is_environment(bad), "{bad:?}");
        }
    }
}
