//! What reviewers of a change must not overlook about deployments: whose word makes whom of whom.
//!
//! In scope: lines in front of a proposal's text, from the two configurations.
//! Out of scope: whether GitHub knows any of it.
//! Invariant: whatever account is somebody who it was not, and whatever may ask that could not, has a line.

use countersign_policy::Bundle;

/// The lines.
pub(super) fn lines(before: &Bundle, after: &Bundle) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, github) in after.deployments() {
        let was = before.deployments().get(name);
        let was = was.filter(|was| (&was.api, was.app) == (&github.api, github.app));
        let secrets = (&github.private_key, &github.webhook_secret);
        if was.is_none_or(|was| (&was.private_key, &was.webhook_secret) != secrets) {
            lines.push(format!(
                "`{name}` believes the GitHub App {} at `{}` about who deploys. Whoever administers it or \
                 has its webhook secret can ask as anybody named there.",
                github.app, github.api
            ));
        }
        for (account, person) in &github.people {
            if was.is_none_or(|was| was.people.get(account) != Some(person)) {
                lines.push(format!(
                    "The GitHub account {account} is `{person}` for `{name}`."
                ));
            }
        }
        for one in &github.repositories {
            let known = was.and_then(|was| was.repository(&one.name));
            if known == Some(one) {
                continue;
            }
            let environments = one.environments.iter();
            let environments = environments.map(|(from, to)| format!("{from:?} (`{to}`)"));
            let environments: Vec<_> = environments.collect();
            lines.push(format!(
                "Jobs of `{}` ask as `workload:{}` for {}.",
                one.name,
                one.workload,
                environments.join(", ")
            ));
        }
    }
    lines
}
