//! What does not load, with the file and line that says so.

mod channels;
mod deployments;
mod machines;
mod providers;
mod streams;

use std::collections::BTreeMap;

use countersign_policy::Bundle;

use crate::fixture::{APPROVALS, MAIN, files};

fn problems(files: &BTreeMap<String, String>) -> Vec<String> {
    match Bundle::from_files(files) {
        Ok(_) => Vec::new(),
        Err(problems) => problems
            .iter()
            .filter(|p| p.is_error())
            .map(ToString::to_string)
            .collect(),
    }
}

fn check(files: &BTreeMap<String, String>, expected: &str, shown: &str) {
    let found = problems(files);
    assert!(
        found.iter().any(|p| p.starts_with(expected)),
        "{shown}\nexpected {expected}\nfound {found:#?}"
    );
}

#[test]
fn policies() {
    let deep = format!(
        "permit (principal, action, resource) when {{ {}true{} }};",
        "(".repeat(40),
        ")".repeat(40)
    );
    let deep = format!("@id(\"a\")\n\n{deep}");
    for (text, expected) in [
        (
            "\npermit (principal, action, resource);",
            "policies/a.cedar:2: error: the statement has no `@id`",
        ),
        (
            "@id(\"a\") permit (principal, action, resource);\n@id(\"a\") permit (principal, action, resource);",
            "policies/a.cedar:2: error: the id `a` is taken by policies/a.cedar:1",
        ),
        (
            "@id(\"a\")\n@aproval(\"dba\")\nforbid (principal, action, resource);",
            "policies/a.cedar:2: error: unknown annotation `@aproval`",
        ),
        (
            "@id(\"a\")\n@approval(\"dba\")\npermit (principal, action, resource);",
            "policies/a.cedar:2: error: `@approval` stands on a permit",
        ),
        (
            "@id(\"a\")\n@approval\nforbid (principal, action, resource);",
            "policies/a.cedar:2: error: `@approval` names no rule",
        ),
        (
            "@id(\"a\")\n@approval(\"dba,\")\nforbid (principal, action, resource);",
            "policies/a.cedar:2: error: `@approval` names no rule",
        ),
        (
            "@id(\"a\")\n@approval(\"dbaa\")\nforbid (principal, action, resource);",
            "policies/a.cedar:2: error: unknown approval rule `dbaa`",
        ),
        (
            "@id(\"a\")\n@approval(\"d b\")\nforbid (principal, action, resource);",
            "policies/a.cedar:2: error: `d b` cannot name a rule",
        ),
        (
            "@id(\"a\")\n@id(\"b\")\nforbid (principal, action, resource);",
            "policies/a.cedar:2: error: duplicate annotation",
        ),
        (
            "@id(\"countersign.x\") forbid (principal, action, resource);",
            "policies/a.cedar:1: error: the id `countersign.x` is reserved",
        ),
        (
            "@id(\"\") forbid (principal, action, resource);",
            "policies/a.cedar:1: error: `` is not a valid policy",
        ),
        (
            "@id(\"a b\") forbid (principal, action, resource);",
            "policies/a.cedar:1: error: `a b` is not a valid policy",
        ),
        (
            "@id(\"a\")\nforbid (principal == ?principal, action, resource);",
            "policies/a.cedar:",
        ),
        (
            "@id(\"a\")\nforbid (principal, action,\n resourc);",
            "policies/a.cedar:3: error: ",
        ),
        (
            "@id(\"a\")\nforbid (principal, action, resource)",
            "policies/a.cedar:2: error: ",
        ),
        (
            "@id(\"a\") forbid (principal, action, resource);\n}",
            "policies/a.cedar:2: error: ",
        ),
        (
            &deep,
            "policies/a.cedar:3: error: brackets nest deeper than 32",
        ),
        (
            "@id(\"a\")\nforbid (principal, action, resource)\nwhen { context.approvals.contains(\"dba\") };",
            "policies/a.cedar:3: error: the condition names `context.approvals`",
        ),
        (
            "@id(\"a\")\nforbid (principal, action, resource)\nwhen { context has approvals };",
            "policies/a.cedar:3: error: the condition names `context.approvals`",
        ),
        (
            "@id(\"a\")\nforbid (principal, action, resource)\nwhen { context has \"approvals\" };",
            "policies/a.cedar:3: error: the condition names `context.approvals`",
        ),
        (
            "@id(\"a\")\nforbid (principal, action, resource)\nwhen { {\"x\": context}.x.gate == \"exec\" };",
            "policies/a.cedar:3: error: the condition uses `context` as a whole",
        ),
        (
            "@id(\"a\")\nforbid (principal, action, resource)\nwhen { (if true then context else context).gate == \"exec\" };",
            "policies/a.cedar:3: error: the condition uses `context` as a whole",
        ),
        (
            "@id(\"a\")\nforbid (principal, action, resource)\nwhen { Resource::\"x\" in resource };",
            "policies/a.cedar:1: error: the condition looks into a resource",
        ),
        (
            "@id(\"a\")\nforbid (principal, action == Action::\"wirte\", resource);",
            "policies/a.cedar:1: error: ",
        ),
        (
            "@id(\"a\")\nforbid (principal in Group::\"nobody\", action, resource);",
            "policies/a.cedar:1: error: statement `a` names the unknown group `nobody`",
        ),
        (
            "@id(\"a\")\nforbid (principal, action, resource in Target::\"relase\");",
            "policies/a.cedar:1: error: statement `a` names the unknown target `relase`",
        ),
        (
            "@id(\"a\")\nforbid (principal, action, resource in Environment::\"prod\");",
            "policies/a.cedar:1: error: statement `a` names the unknown environment `prod`",
        ),
        (
            "@id(\"a\")\nforbid (principal is Group, action, resource);",
            "policies/a.cedar:1: error: ",
        ),
        (
            "@id(\"a\")\nforbid (principal, action, resource) when { 1 == 2 };",
            "policies/a.cedar:1: error: ",
        ),
        (
            "@id(\"a\")\nforbid (principal, action, resource) when { context.gate };",
            "policies/a.cedar:1: error: ",
        ),
    ] {
        check(&files(text), expected, text);
    }
}

#[test]
fn every_problem_is_reported_at_once() {
    let mut files = files(
        "permit (principal, action, resource);\n@id(\"b\") @x forbid (principal, action, resource);",
    );
    files.insert(
        "countersign.toml".into(),
        format!("{MAIN}\n[target.x]\nkind = \"postgres\"\n[nonsense]\n"),
    );
    files.insert(
        "approvals.toml".into(),
        format!("{APPROVALS}[approval.none]\n"),
    );
    files.insert("notes.txt".into(), String::new());
    let found = problems(&files).join("\n");
    for part in [
        "no `@id`",
        "`@x`",
        "kind `postgres`",
        "`nonsense`",
        "no stages",
        "notes.txt: error: unknown file",
    ] {
        assert!(found.contains(part), "{part} is missing in\n{found}");
    }
}

#[test]
fn causes_come_without_their_consequences() {
    let policies = "@id(\"a\") @approval(\"none\")\nforbid (principal in Group::\"dba\", action, \
                    resource in Target::\"x\");";
    let mut files = files(policies);
    // The file does not read, so nothing in it is known: rules, groups, targets.
    files.insert("countersign.toml".into(), format!("{MAIN}\n[target.x\n"));
    let found = problems(&files);
    assert!(
        found.iter().all(|one| one.starts_with("countersign.toml:")),
        "{found:#?}"
    );
    // One statement that does not read says nothing certain about those after it.
    let found = problems(&self::files("permit (principal;\n@x permit (a);\n)))"));
    assert_eq!(found.len(), 1, "{found:#?}");
}

#[test]
fn main_file() {
    let lines = MAIN.lines().count();
    for (added, line, expected) in [
        ("[server]\n", 1, "duplicate key"),
        ("[servr]\n", 1, "unknown table `servr`"),
        (
            "[retention]\npayload = \"90d\"\nwords = \"6d\"\n",
            1,
            "`retention` below 7d would destroy",
        ),
        ("[retention]\nall = \"90d\"\n", 2, "unknown field `all`"),
        (
            "[target.x]\nkind = \"postgres\"\nenvironment = \"e\"",
            2,
            "targets of kind `postgres` are not available yet",
        ),
        (
            "[target.x]\nkind = \"exec\"",
            1,
            "target `x` has no environment",
        ),
        (
            "[target.x]\nkind = \"exec\"\nenvironment = \"e\"\ncolour = 1",
            4,
            "unknown field `colour`",
        ),
        (
            "[target.countersign]\nkind = \"exec\"\nenvironment = \"e\"",
            1,
            "the target name `countersign` is reserved",
        ),
        (
            "[target.x]\nkind = \"exec\"\nenvironment = \"countersign\"",
            3,
            "the environment `countersign` is reserved",
        ),
        (
            "[target.x]\nkind = \"exec\"\nenvironment = \"e\"\nowner = \"eve@example.com\"",
            4,
            "unknown person `eve@example.com`",
        ),
        (
            "[target.x]\nkind = \"exec\"\nenvironment = \"e\"\ncredential = { env = \"A\", file = \"b\", as = \"C\" }",
            4,
            "the credential has not one source",
        ),
        (
            "[target.x]\nkind = \"exec\"\nenvironment = \"e\"\ntimeout = \"5\"",
            4,
            "`5` is not a span of time",
        ),
        ("[person.\"x y\"]\n", 1, "`x y` is not a valid person"),
        (
            "[person.x]\ngroups = [\"dba\", \"nobody\"]",
            2,
            "unknown group `nobody`",
        ),
        (
            "[person.x]\ngroups = [\"dba\", \"dba\"]",
            2,
            "group `dba` is named twice",
        ),
        (
            "[person.x]\nmanager = \"eve@example.com\"",
            2,
            "unknown person `eve@example.com`",
        ),
        (
            "[agent.x]\nowner = \"eve@example.com\"",
            2,
            "unknown person `eve@example.com`",
        ),
        (
            "[agent.x]\nowner = \"dana@example.com\"\nmodel = 1",
            3,
            "unknown field `model`",
        ),
        ("[group.dba]\n", 1, "duplicate key"),
        ("x = ", 1, ""),
        (
            "[[target.sandbox.command]]\nargv = [\"a\"]\naction = \"a\"",
            1,
            "missing field `group`",
        ),
        (
            "[[target.sandbox.command]]\nargv = [\"a\"]\naction = \"a\"\ngroup = \"wirte\"",
            4,
            "unknown group `wirte`",
        ),
        (
            "[[target.sandbox.command]]\nargv = [\"a\"]\naction = \"run\"\ngroup = \"write\"",
            3,
            "`run` cannot name an action",
        ),
        (
            "[[target.sandbox.command]]\nargv = []\naction = \"a\"\ngroup = \"write\"",
            1,
            "`argv` has 0 tokens",
        ),
        (
            "[[target.sandbox.command]]\nargv = [\"{a:text}\"]\naction = \"a\"\ngroup = \"write\"",
            2,
            "`{a:text}` is not a valid pattern",
        ),
        (
            "[[target.sandbox.command]]\nargv = [\"{a:word}\", \"{a:word}\"]\naction = \"a\"\ngroup = \"write\"",
            2,
            "`{a}` is used twice",
        ),
        (
            "[[target.sandbox.command]]\nargv = [\"{a:word}\"]\naction = \"a\"\ngroup = \"write\"\nresource = \"x/{b}\"",
            5,
            "`{b}` is not captured by `argv`",
        ),
        (
            "[[target.sandbox.command]]\nargv = [\"a\"]\naction = \"a\"\ngroup = \"write\"\ninputs = \"allowed\"\npreview = [\"cat\", \"{b}\"]",
            6,
            "`{b}` is not captured by `argv`",
        ),
        (
            "[[target.sandbox.command]]\nargv = [\"a\"]\naction = \"a\"\ngroup = \"write\"\npreview = [\"cat\", \"x\"]",
            1,
            "`preview` shows captured files, and this command takes none",
        ),
        (
            "[[target.sandbox.command]]\nargv = [\"a\"]\naction = \"git-push\"\ngroup = \"admin\"",
            1,
            "`exec:git-push` is in group `admin` here and in `write`",
        ),
        (
            "[[target.sandbox.command]]\nargv = [\"{branch:number}\"]\naction = \"git-push\"\ngroup = \"write\"",
            1,
            "`{branch}` is a text in one `exec:git-push` and a number in another",
        ),
    ] {
        let mut files = files("");
        files.insert("countersign.toml".into(), format!("{MAIN}{added}"));
        check(
            &files,
            &format!("countersign.toml:{}: error: {expected}", lines + line),
            added,
        );
    }
}

#[test]
fn approval_rules() {
    for (text, expected) in [
        (
            "[approval.x]\nstages = []",
            "approvals.toml:1: error: the rule has no stages",
        ),
        (
            "[approval.x]\n",
            "approvals.toml:1: error: the rule has no stages",
        ),
        (
            "[approval.x]\nstages = [{ from = [\"group:dba\"], count = 0 }]",
            "approvals.toml:2: error: a stage with `count = 0` asks nobody",
        ),
        (
            "[approval.x]\nstages = [{ from = [] }]",
            "approvals.toml:2: error: nobody is named",
        ),
        (
            "[approval.x]\nstages = [{ from = [\"group:nobody\"] }]",
            "approvals.toml:2: error: unknown group `nobody`",
        ),
        (
            "[approval.x]\nstages = [{ from = [\"user:eve@example.com\"] }]",
            "approvals.toml:2: error: unknown person `eve@example.com`",
        ),
        (
            "[approval.x]\nstages = [{ from = [\"everybody\"] }]",
            "approvals.toml:2: error: `everybody` names no approver",
        ),
        (
            "[approval.x]\nconfirmation = true\nstages = [{ from = [\"group:dba\"] }]",
            "approvals.toml:1: error: a confirmation has no stages",
        ),
        (
            "[approval.x]\nconfirmation = true\nexpires = \"0m\"",
            "approvals.toml:3: error: `0ms` is no time at all",
        ),
        (
            "[approval.x]\nconfirmation = true\nexpires = \"soon\"",
            "approvals.toml:3: error: `soon` is not a span of time",
        ),
        (
            "[approval.x]\nconfirmation = true\nassurance = \"shout\"",
            "approvals.toml:3: error: unknown variant `shout`",
        ),
        (
            "[approval.x]\nconfirmation = true\nhours = \"always\"",
            "approvals.toml:3: error: `always` is not a weekly window",
        ),
        (
            "[approval.x]\nconfirmation = true\nquorum = 2",
            "approvals.toml:3: error: unknown field `quorum`",
        ),
        (
            "[approval.x]\nconfirmation = true\ngrants = { max = \"15m\", uses = 0 }",
            "approvals.toml:3: error: a grant of nothing",
        ),
        (
            "[approval.x]\nconfirmation = true\nescalate = [{ after = \"1m\", to = [\"group:nobody\"] }]",
            "approvals.toml:3: error: unknown group `nobody`",
        ),
        (
            "[approval.x]\nstages = [{ from = [\"group:dba\"] }]\nemergency = { from = [\"group:nobody\"], review_within = \"1d\" }",
            "approvals.toml:3: error: unknown group `nobody`",
        ),
        (
            "[approval.x]\nconfirmation = true\nemergency = { from = [\"group:dba\"], review_within = \"1d\" }",
            "approvals.toml:3: error: a confirmation has nothing to lift",
        ),
        (
            "[approval.x]\nstages = [{ from = [\"group:dba\"] }]\nemergency = { from = [\"group:dba\"], review_within = \"0m\" }",
            "approvals.toml:3: error: an emergency that is overdue at once",
        ),
        (
            "[approval.x]\nstages = [{ from = [\"group:dba\"] }]\nremind = \"5m\"",
            "approvals.toml:3: error: a reminder that goes nowhere",
        ),
        (
            "[approval.x]\nstages = [{ from = [\"group:dba\"] }]\nnotify = [\"chat\"]\nremind = \"30m\"",
            "approvals.toml:4: error: a reminder after 30m of the 30m that it waits",
        ),
        (
            "[approval.x]\nstages = [{ from = [\"group:dba\"] }]\nemergency = { from = [\"group:dba\"], review_within = \"31d\" }",
            "approvals.toml:3: error: an emergency that nobody has to review soon",
        ),
        (
            "[aproval.x]\n",
            "approvals.toml:1: error: unknown table `aproval`",
        ),
    ] {
        let mut files = files("");
        files.insert("approvals.toml".into(), text.into());
        check(&files, expected, text);
    }
}

#[test]
fn a_chat_is_not_enough_for_privilege_and_admin() {
    let rules = "[approval.chat]\nassurance = \"chat\"\nstages = [{ from = [\"group:dba\"] }]";
    for (action, refused) in [
        ("action", true),
        ("action == Action::\"admin\"", true),
        ("action in Action::\"privilege\"", true),
        ("action in [Action::\"read\", Action::\"admin\"]", true),
        ("action == Action::\"countersign:person-add\"", true),
        ("action in Action::\"write\"", false),
        ("action == Action::\"exec:git-push\"", false),
    ] {
        let mut files = files(&format!(
            "@id(\"a\") @approval(\"chat\") forbid (principal, {action}, resource);"
        ));
        files.insert("approvals.toml".into(), rules.into());
        let found = problems(&files);
        assert_eq!(!found.is_empty(), refused, "{action}: {found:?}");
        if refused {
            assert!(found[0].starts_with("approvals.toml:1: error: `chat` is satisfied by a chat, but `a` (policies/a.cedar:1)"), "{found:?}");
        }
    }
}

#[test]
fn a_chat_is_not_enough_to_repeat_what_may_have_happened() {
    for (assurance, refused) in [("chat", true), ("session", false), ("passkey", false)] {
        let rule = format!(
            "[approval.repeat-after-unknown]\nassurance = \"{assurance}\"\nstages = [{{ from = [\"group:dba\"] }}]"
        );
        let mut files = files("");
        files.insert("approvals.toml".into(), rule);
        let found = problems(&files);
        assert_eq!(!found.is_empty(), refused, "{assurance}: {found:?}");
        let said = found
            .iter()
            .all(|one| one.contains("can hold every action"));
        assert!(said, "{found:?}");
    }
}

#[test]
fn own_schemas() {
    for (text, expected) in [
        (
            "entity Table in [Target];\nentity Person in [Target];",
            "schema/own.cedarschema:2: error: the type `Person` is taken",
        ),
        (
            "entity Table;",
            "schema/own.cedarschema:1: error: the type `Table` is not in `Target` alone",
        ),
        (
            "entity Table in [Environment];",
            "schema/own.cedarschema:1: error: the type `Table` is not in `Target` alone",
        ),
        (
            "entity A in [Target] { other: B };\nentity B in [Target];",
            "schema/own.cedarschema:1: error: an attribute of `A` is of an own entity type",
        ),
        (
            "action \"exec:run\" appliesTo { principal: [Person], resource: [Target] };",
            "schema/own.cedarschema:1: error: the schema declares the action `exec:run`",
        ),
        (
            "namespace X { entity Table in [Target]; }",
            "schema/own.cedarschema: error: own types are in the namespace `X`",
        ),
        (
            "type datetime = Long;",
            "schema/own.cedarschema:1: error: the type `datetime` is taken",
        ),
        (
            "entity datetime in [Target];",
            "schema/own.cedarschema:1: error: the type `datetime` is taken",
        ),
        (
            "type Person = Long;",
            "schema/own.cedarschema:1: error: the type `Person` is taken",
        ),
        (
            "type Stated = { x: Long };",
            "schema/own.cedarschema:1: error: the type `Stated` is taken",
        ),
        (
            "entity Table in [Target] {\n x: };",
            "schema/own.cedarschema:2: error: ",
        ),
        (
            "entity Table in [Target] { x: Nothing };",
            "schema/own.cedarschema: error: the schema does not hold together",
        ),
    ] {
        let mut files = files("");
        files.insert("schema/own.cedarschema".into(), text.into());
        check(&files, expected, text);
    }
}

#[test]
fn files_out_of_place() {
    for path in [
        "policies/a.txt",
        "policies/deep/a.cedar",
        "other.toml",
        "policies/.cedar",
        "schema/x.json",
    ] {
        let mut files = files("");
        files.insert(path.into(), String::new());
        check(&files, &format!("{path}: error: unknown file"), path);
    }
    let mut large = files("");
    large.insert("policies/b.cedar".into(), " ".repeat(256 * 1024 + 1));
    check(
        &large,
        "policies/b.cedar: error: the file has 262145 bytes",
        "size",
    );
    check(
        &BTreeMap::new(),
        "countersign.toml: error: the file is missing",
        "nothing",
    );
}
