//! The bundle that the tests run under.

use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt, path::Path};

/// Appends its last word to `ran`; with `slow`, only after a moment.
pub(crate) const TALLY: &str = "\
#!/bin/sh
case $1 in slow) sleep 0.3;; esac
for word; do :; done
echo \"$word\" >> ran
";

/// Writes a program.
pub(crate) fn script(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Sets a limit of the gateway.
pub(crate) fn limit(files: &mut BTreeMap<String, String>, name: &str, value: u32) {
    let config = files.get_mut("countersign.toml").unwrap();
    let limits = format!("[server.limits]\n{name} = {value}\n\n[group.reviewers]");
    *config = config.replacen("[group.reviewers]", &limits, 1);
}

/// Every file of the standard bundle.
pub(crate) fn standard(work: &Path) -> BTreeMap<String, String> {
    let run_as = if super::is_root() {
        "run_as = \"root\"\n"
    } else {
        ""
    };
    let config = CONFIG
        .replace("{work}", work.to_str().unwrap())
        .replace("{run_as}", run_as)
        .replace("{people}", &people())
        .replace("{commands}", &commands());
    BTreeMap::from([
        ("countersign.toml".into(), config),
        ("approvals.toml".into(), APPROVALS.into()),
        ("policies/all.cedar".into(), format!("{POLICIES}{}", held())),
    ])
}

/// Everybody, with their groups. Pat may ask and may decide, but not both on one request.
const PEOPLE: [(&str, &[&str]); 10] = [
    ("ann", &["reviewers"]),
    ("bob", &["reviewers"]),
    ("cyd", &["reviewers", "security"]),
    ("sid", &["security"]),
    ("dan", &["reviewers"]),
    ("pat", &["agents", "reviewers"]),
    ("olga", &["reviewers"]),
    ("ada", &["admins"]),
    ("abe", &["admins"]),
    ("ray", &["admins", "reviewers"]),
];

fn people() -> String {
    let person =
        |(name, groups): &(&str, &[&str])| format!("[person.{name}]\ngroups = {groups:?}\n");
    PEOPLE.iter().map(person).collect()
}

/// The names under which `tally` is called: each is an action, and those behind `free` and `slow`
/// are held for the rule of the same name.
const ACTIONS: [(&str, &str); 11] = [
    ("free", "read"),
    ("slow", "read"),
    ("one", "write"),
    ("two", "write"),
    ("both", "write"),
    ("staged", "write"),
    ("confirm", "write"),
    ("short", "write"),
    ("crowd", "write"),
    ("reasoned", "write"),
    ("never", "delete"),
];

fn commands() -> String {
    let command = |(name, group): &(&str, &str)| {
        format!(
            "[[target.tools.command]]\nargv = [\"./tally\", \"{name}\", \"{{word:word}}\"]\n\
             action = \"{name}\"\ngroup = \"{group}\"\ninputs = \"allowed\"\n\n"
        )
    };
    ACTIONS.iter().map(command).collect()
}

fn held() -> String {
    let rule = |name: &str| {
        format!(
            "@id(\"{name}-held\") @approval(\"{name}\")\n\
             forbid (principal, action == Action::\"exec:{name}\", resource);\n\n"
        )
    };
    let names = ACTIONS.iter().filter(|(_, group)| *group == "write");
    names.map(|(name, _)| rule(name)).collect()
}

const CONFIG: &str = r#"
[server]
listen = "127.0.0.1:0"

[group.reviewers]
[group.security]
[group.admins]
[group.agents]
[group.crowd]

{people}
[agent.bot]
owner = "olga"
groups = ["agents"]
[agent.twin]
owner = "olga"
groups = ["agents"]
[agent.stray]
owner = "ann"

[target.tools]
kind = "exec"
environment = "production"
workdir = "{work}"
{run_as}timeout = "20s"
output_limit = 100000

[target.tools.env]
allow = ["COLOUR"]

[target.tools.inputs]
max_bytes = 1000000

{commands}
"#;

const APPROVALS: &str = r#"
[approval.one]
stages = [{ from = ["group:reviewers"], count = 1 }]
expires = "30m"
valid_for = "10m"

[approval.two]
stages = [{ from = ["group:reviewers", "group:security"], count = 2 }]

[approval.both]
stages = [{ from = ["group:reviewers"], count = 1 }, { from = ["group:security"], count = 1 }]

[approval.staged]
stages = [{ from = ["group:reviewers"], count = 1 }, { from = ["user:sid"], count = 1 }]

[approval.confirm]
confirmation = true

[approval.short]
stages = [{ from = ["group:reviewers"], count = 1 }]
expires = "2s"

[approval.crowd]
stages = [{ from = ["group:crowd", "group:reviewers"], count = 3 }]

[approval.reasoned]
stages = [{ from = ["group:reviewers"], count = 1 }]
reason = "required"

[approval.admins]
stages = [{ from = ["group:admins"], count = 1 }]

[approval.repeat-after-unknown]
stages = [{ from = ["group:reviewers"], count = 1 }]
"#;

const POLICIES: &str = r#"
@id("agents-read")
permit (principal in Group::"agents", action in Action::"read", resource in Target::"tools");
@id("agents-write")
permit (principal in Group::"agents", action in Action::"write", resource in Target::"tools");
@id("agents-delete")
permit (principal in Group::"agents", action in Action::"delete", resource in Target::"tools");
@id("agents-run")
permit (principal in Group::"agents", action in Action::"execute", resource in Target::"tools");

@id("run-held") @approval("one")
forbid (principal, action in Action::"execute", resource in Target::"tools");

@id("never") @reason("History stays")
forbid (principal, action == Action::"exec:never", resource);

@id("admins-propose")
permit (principal in Group::"admins", action in Action::"admin", resource in Target::"countersign");
@id("admins-audit")
permit (principal in Group::"admins", action == Action::"countersign:audit-read", resource);
@id("admin-held") @approval("admins") @reason("Nobody changes the rules alone")
forbid (principal, action in Action::"admin", resource in Target::"countersign")
unless {
  action == Action::"countersign:agent-stop" || action == Action::"countersign:person-disable" ||
  action == Action::"countersign:membership-remove" || action == Action::"countersign:agent-token" ||
  action == Action::"countersign:person-link" || action == Action::"countersign:credential-revoke" ||
  action == Action::"countersign:audit-read"
};

"#;
