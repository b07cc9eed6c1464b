//! Configurations to begin with, as files that can be read and kept.

use countersign_core::id::PersonId;

/// The files of a new installation with these administrators.
#[must_use]
pub fn starting_point(people: &[PersonId]) -> Vec<(&'static str, String)> {
    let people: std::collections::BTreeSet<_> = people.iter().collect();
    let persons: Vec<_> = people
        .iter()
        .map(|person| format!("[person.\"{person}\"]\ngroups = [\"admins\"]\n"))
        .collect();
    let owner = people
        .first()
        .map(|person| person.to_string())
        .unwrap_or_default();
    let config = include_str!("start/countersign.toml")
        .replace("{people}", &persons.join("\n"))
        .replace("{owner}", &owner);
    let approvals = match people.len() {
        1 => include_str!("start/approvals-alone.toml"),
        _ => include_str!("start/approvals.toml"),
    };
    vec![
        (
            ".gitignore",
            "/data/\n*.password\n*.secret\n*.token\n*.pem\n*.key\n".into(),
        ),
        ("countersign.toml", config),
        ("approvals.toml", approvals.into()),
        (
            "policies/countersign.cedar",
            include_str!("start/countersign.cedar").into(),
        ),
        (
            "policies/tools.cedar",
            include_str!("start/tools.cedar").into(),
        ),
    ]
}
