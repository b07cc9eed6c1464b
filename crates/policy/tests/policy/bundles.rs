//! Hash, difference, transformation, directory and warnings of bundles that load.

use std::collections::BTreeSet;

use countersign_core::{directory::Membership, time::Timestamp};
use countersign_policy::{Bundle, DirectoryChange, bundle::diff::FileChange};

use crate::fixture::{MAIN, NOW, files, snapshot};

const ALL: &str = "@id(\"all\") permit (principal, action, resource);\n";

fn bundle(files: &std::collections::BTreeMap<String, String>) -> Bundle {
    Bundle::from_files(files).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

#[test]
fn the_hash_covers_what_decides_and_not_what_is_local() {
    let base = files(ALL);
    let with_main = |main: String| {
        let mut files = base.clone();
        files.insert("countersign.toml".into(), main);
        bundle(&files).hash()
    };
    let hash = bundle(&base).hash();
    assert_eq!(
        hash,
        with_main(MAIN.replace("127.0.0.1:7780", "127.0.0.1:9999"))
    );
    assert_eq!(
        hash,
        with_main(format!(
            "{MAIN}\n# a comment\n[store]\npath = \"elsewhere\"\n"
        ))
    );
    assert_ne!(
        hash,
        with_main(MAIN.replace("\"production\"", "\"staging\""))
    );
    assert_ne!(hash, with_main(format!("{MAIN}\n[group.more]\n")));
    assert_ne!(hash, bundle(&files(&format!("{ALL}// more\n"))).hash());
}

#[test]
fn a_difference_shows_each_file() {
    let before = bundle(&files(ALL));
    let mut changed = files(&format!(
        "{ALL}@id(\"no\") forbid (principal is Agent, action, resource);\n"
    ));
    changed.insert("policies/b.cedar".into(), String::new());
    let diff = before.diff(&bundle(&changed));
    let summary = diff
        .files
        .iter()
        .map(|f| (f.path.as_str(), f.change, f.added, f.removed))
        .collect::<Vec<_>>();
    assert_eq!(
        summary,
        [
            ("policies/a.cedar", FileChange::Changed, 1, 0),
            ("policies/b.cedar", FileChange::Added, 0, 0)
        ]
    );
    assert!(diff.to_string().contains("+@id(\"no\") forbid"));
    assert!(before.diff(&before).is_empty());
}

#[test]
fn an_approval_becomes_a_condition() {
    let s = snapshot(
        "@id(\"one\") @approval(\"dba\") forbid (principal, action in Action::\"write\", resource) when { context.gate == \"exec\" };\n\
         @id(\"two\") @approval(\"security, dba\") @reason(\"both\") forbid (principal, action in Action::\"delete\", resource);",
    );
    let policies = s.cedar_policies_json().unwrap();
    let clause = |id: &str, at: usize| policies["staticPolicies"][id]["conditions"][at].clone();
    let context = serde_json::json!({ "Var": "context" });
    let given = serde_json::json!({ ".": { "left": context, "attr": "approvals" } });
    let lifted = |op: &str, needed: serde_json::Value| {
        serde_json::json!({ "kind": "unless", "body": { "&&": {
            "left": { "has": { "left": context, "attr": "approvals" } },
            "right": { op: { "left": given, "right": needed } },
        } } })
    };
    assert_eq!(clause("one", 0)["kind"], "when");
    assert_eq!(
        clause("one", 1),
        lifted("contains", serde_json::json!({ "Value": "dba" }))
    );
    let both = serde_json::json!({ "Set": [{ "Value": "dba" }, { "Value": "security" }] });
    assert_eq!(clause("two", 0), lifted("containsAll", both));
    assert_eq!(
        policies["staticPolicies"]["two"]["annotations"]["reason"],
        "both"
    );
    assert!(policies["staticPolicies"]["countersign.unclassified"].is_object());

    let statement = s.statement(&"two".parse().unwrap()).unwrap();
    assert_eq!((&*statement.file, statement.line), ("policies/a.cedar", 2));
    assert!(
        statement
            .source
            .starts_with("@id(\"two\") @approval(\"security, dba\")")
    );
    assert_eq!(statement.reason.as_deref(), Some("both"));
    assert_eq!(s.statement_count(), 3);
}

#[test]
fn warnings_do_not_keep_a_bundle_from_loading() {
    let mut files =
        files("@id(\"a\") forbid (principal == Person::\"eve@example.com\", action, resource);");
    files.insert(
        "approvals.toml".into(),
        "[approval.x]\nstages = [{ from = [\"group:security\"], count = 1 }, { from = [\"user:sam@example.com\"] }]".into(),
    );
    let bundle = bundle(&files);
    let warnings = bundle
        .warnings()
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>();
    assert_eq!(warnings.len(), 3, "{warnings:#?}");
    assert!(warnings[0].starts_with("approvals.toml:1: warning: `x` needs 2 people"));
    assert!(warnings[1].starts_with("countersign.toml:19: warning: agent `orphan` has no owner"));
    assert!(
        warnings[2]
            .starts_with("policies/a.cedar:1: warning: statement `a` names the unknown person")
    );
    let directory = bundle.directory(NOW, None, true);
    assert!(countersign_policy::Snapshot::new(bundle.into(), directory.into()).is_err());
}

#[test]
fn memberships_keep_their_beginning() {
    let first = bundle(&files(ALL));
    let before = first.directory(Timestamp(1), None, true);
    let mut changed = files(ALL);
    let more = MAIN.replace("groups = [\"dba\"]", "groups = [\"dba\", \"security\"]");
    changed.insert("countersign.toml".into(), more);
    let after = bundle(&changed).directory(Timestamp(2), Some(&before), false);
    let groups = &after.people[&"dana@example.com".parse().unwrap()].groups;
    let at = |since, countersigned| Membership {
        since: Timestamp(since),
        countersigned,
        provided: false,
    };
    assert_eq!(groups[&"dba".parse().unwrap()], at(1, true));
    assert_eq!(groups[&"security".parse().unwrap()], at(2, false));
}

#[test]
fn changes_while_running() {
    let mut directory = bundle(&files(ALL)).directory(NOW, None, true);
    let apply = |directory: &mut _, text: &str| {
        let change: DirectoryChange = serde_json::from_str(text).unwrap();
        assert_eq!(
            change,
            serde_json::from_value(serde_json::to_value(&change).unwrap()).unwrap()
        );
        change
            .apply(directory, NOW, false)
            .map_err(|e| e.to_string())
    };
    for (text, expected) in [
        (
            r#"{"change":"add_person","person":"eve@example.com","groups":["dba"]}"#,
            Ok(()),
        ),
        (
            r#"{"change":"add_person","person":"eve@example.com"}"#,
            Err("the person `eve@example.com` exists already"),
        ),
        (
            r#"{"change":"add_person","person":"x","groups":["nobody"]}"#,
            Err("there is no group `nobody`"),
        ),
        (
            r#"{"change":"add_person","person":"x","manager":"y"}"#,
            Err("there is no person `y`"),
        ),
        (
            r#"{"change":"add_membership","person":"eve@example.com","group":"security"}"#,
            Ok(()),
        ),
        (
            r#"{"change":"add_membership","person":"eve@example.com","group":"security"}"#,
            Err("the membership `eve@example.com in security` exists already"),
        ),
        (
            r#"{"change":"remove_membership","person":"eve@example.com","group":"security"}"#,
            Ok(()),
        ),
        (
            r#"{"change":"remove_membership","person":"eve@example.com","group":"security"}"#,
            Err("there is no membership"),
        ),
        (
            r#"{"change":"disable_person","person":"eve@example.com"}"#,
            Ok(()),
        ),
        (
            r#"{"change":"enable_person","person":"eve@example.com"}"#,
            Ok(()),
        ),
        (
            r#"{"change":"disable_person","person":"nobody"}"#,
            Err("there is no person `nobody`"),
        ),
        (
            r#"{"change":"add_agent","agent":"new","owner":"eve@example.com","groups":["agents"]}"#,
            Ok(()),
        ),
        (
            r#"{"change":"add_agent","agent":"new","owner":"eve@example.com"}"#,
            Err("the agent `new` exists already"),
        ),
        (
            r#"{"change":"add_agent","agent":"newer","owner":"nobody"}"#,
            Err("there is no person `nobody`"),
        ),
        (r#"{"change":"stop_agent","agent":"new"}"#, Ok(())),
        (r#"{"change":"start_agent","agent":"new"}"#, Ok(())),
        (
            r#"{"change":"add_workload","workload":"w","owner":"eve@example.com"}"#,
            Ok(()),
        ),
        (r#"{"change":"stop_workload","workload":"w"}"#, Ok(())),
        (
            r#"{"change":"start_workload","workload":"nothing"}"#,
            Err("there is no workload `nothing`"),
        ),
    ] {
        match (apply(&mut directory, text), expected) {
            (Ok(()), Ok(())) => {}
            (Err(error), Err(start)) => assert!(error.starts_with(start), "{text}: {error}"),
            (found, _) => panic!("{text}: {found:?}"),
        }
    }
    let eve = &directory.people[&"eve@example.com".parse().unwrap()];
    assert_eq!(
        eve.groups[&"dba".parse().unwrap()],
        Membership {
            since: NOW,
            countersigned: false,
            provided: false,
        }
    );
}

#[test]
fn reachable_counts_people() {
    let s = snapshot(ALL);
    let rules = |names: &[&str]| {
        names
            .iter()
            .map(|n| n.parse().unwrap())
            .collect::<BTreeSet<_>>()
    };
    let people = |names: &[&str]| {
        names
            .iter()
            .map(|n| n.parse().unwrap())
            .collect::<BTreeSet<_>>()
    };
    assert_eq!(
        s.reachable(&rules(&["dba", "security"]), &people(&[])),
        Ok(())
    );
    assert_eq!(
        s.reachable(&rules(&["dba"]), &people(&["dana@example.com"])),
        Ok(())
    );
    let error = s
        .reachable(&rules(&["security"]), &people(&["sam@example.com"]))
        .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("rule `security` needs 1 person and 0 can decide")
    );
}
