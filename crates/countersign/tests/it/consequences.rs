//! What reviewers of a change are pointed to before anything else: what is destroyed, and who is told.

use serde_json::json;

use crate::support::{Caller, Lab};

/// What a reviewer reads first of a proposed configuration.
async fn first_lines(lab: &Lab, ada: &Caller, added: &str) -> Vec<String> {
    let mut files = lab.gateway.active().bundle.files().clone();
    files.get_mut("countersign.toml").unwrap().push_str(added);
    let proposed = ada.propose("bundle-apply", json!({ "files": files })).await;
    assert_eq!(proposed.text("state"), "held", "{proposed:?}");
    let id = proposed.text("request");
    let seen = lab.session("abe").await.see(&id).await;
    let action = seen["action"].as_str().unwrap();
    let marked = action.lines().take_while(|line| line.starts_with("! "));
    marked.map(str::to_owned).collect()
}

const SIEM: &str = "[stream.siem]\nkind = \"ocsf\"\npath = \"siem.jsonl\"\n";
const KEPT: &str = "[retention]\npayload = \"90d\"\n";

#[tokio::test]
async fn reviewers_are_pointed_to_what_a_configuration_destroys_and_tells() {
    let lab = Lab::new().await;
    let ada = lab.session("ada").await;
    let both = |first: &str, second: &str| format!("\n{first}\n{second}");
    for (added, points) in [
        ("\n# nothing\n".to_owned(), vec![]),
        // Who has references only is told what anybody who has the log is.
        (both(SIEM, ""), vec![]),
        (
            both(KEPT, ""),
            vec![
                "What was asked for, and what came of it, can be read for 90d and not for ever.",
                "Requests that ended more than 90d ago are deleted",
            ],
        ),
        (
            format!("\n{SIEM}details = \"all\"\n"),
            vec!["The stream `siem` tells whoever reads the file `siem.jsonl` names, arguments"],
        ),
        (
            format!("\n{SIEM}details = \"names\"\n"),
            vec!["tells whoever reads the file `siem.jsonl` the names of people and machines."],
        ),
    ] {
        let lines = first_lines(&lab, &ada, &added).await;
        assert_eq!(lines.len(), points.len(), "{added}: {lines:#?}");
        for (line, words) in lines.iter().zip(points) {
            assert!(line.contains(words), "{added}: {line}");
        }
    }
}

/// Only what becomes less, or more, than it was.
#[tokio::test]
async fn what_stays_as_it_was_is_not_pointed_to() {
    let lab = Lab::new().await;
    lab.apply(|files| {
        let config = files.get_mut("countersign.toml").unwrap();
        config.push_str(&format!("\n{KEPT}\n{SIEM}details = \"all\"\n"));
    })
    .await;
    let ada = lab.session("ada").await;
    let table = [
        ("90d", "90d", "siem.jsonl", vec![]),
        ("90d", "180d", "siem.jsonl", vec![]),
        (
            "90d",
            "30d",
            "siem.jsonl",
            vec!["can be read for 30d and not for 90d", "more than 30d ago"],
        ),
        // Somebody else is told.
        ("90d", "90d", "other.jsonl", vec!["the file `other.jsonl`"]),
    ];
    for (from, to, path, points) in table {
        let mut files = lab.gateway.active().bundle.files().clone();
        let config = files.get_mut("countersign.toml").unwrap();
        *config = config.replace(from, to).replace("siem.jsonl", path) + "\n# changed\n";
        let proposed = ada.propose("bundle-apply", json!({ "files": files })).await;
        let id = proposed.text("request");
        let seen = lab.session("abe").await.see(&id).await;
        let action = seen["action"].as_str().unwrap();
        let marked: Vec<_> = action
            .lines()
            .take_while(|line| line.starts_with("! "))
            .collect();
        assert_eq!(marked.len(), points.len(), "{to} {path}: {marked:#?}");
        for (line, words) in marked.iter().zip(points) {
            assert!(line.contains(words), "{to} {path}: {line}");
        }
    }
}

#[tokio::test]
async fn reviewers_are_pointed_to_whom_is_believed_about_people() {
    const CORP: &str = "[provider.corp]\nissuer = \"https://login.example.com\"\n\
                        client_id = \"c\"\nclient_secret = { env = \"S\" }\n\
                        creates_people = false\n";
    let lab = Lab::new().await;
    let group = {
        let active = lab.gateway.active();
        active.directory.groups.iter().next().unwrap().to_string()
    };
    let mapped = format!("{CORP}groups = {{ \"their \\u202e group\" = \"{group}\" }}\n");
    let believed = "says who people are, by `email`. Whoever administers it can be anybody";
    let member =
        format!("Whoever it says is in \"their \\u{{202e}} group\" is in the group `{group}`");
    let anybody = "Whomever it signs in becomes a person here";
    let ada = lab.session("ada").await;
    let check = async |added: &str, points: &[&str]| {
        let lines = first_lines(&lab, &ada, &format!("\n{added}")).await;
        assert_eq!(lines.len(), points.len(), "{added}: {lines:#?}");
        for (line, words) in lines.iter().zip(points) {
            assert!(line.contains(words), "{added}: {line}");
        }
    };
    check(CORP, &[believed]).await;
    check(&mapped, &[believed, &member]).await;
    check(&CORP.replace("false", "true"), &[believed, anybody]).await;
    let scim = format!("{CORP}scim = {{ token = {{ env = \"T\" }} }}\n");
    check(&scim, &[believed, "Whoever has the token of `scim`"]).await;
    lab.apply(|files| {
        files
            .get_mut("countersign.toml")
            .unwrap()
            .push_str(&format!("\n{CORP}"))
    })
    .await;
    let ada = lab.session("ada").await;
    let changed = async |from: &str, to: &str| {
        let mut files = lab.gateway.active().bundle.files().clone();
        let config = files.get_mut("countersign.toml").unwrap();
        assert!(config.contains(from), "{from}");
        *config = config.replace(from, to);
        let proposed = ada.propose("bundle-apply", json!({ "files": files })).await;
        let seen = lab
            .session("abe")
            .await
            .see(&proposed.text("request"))
            .await;
        let action = seen["action"].as_str().unwrap().to_owned();
        action.lines().filter(|line| line.starts_with("! ")).count()
    };
    for (from, to, lines) in [
        ("client_id = \"c\"", "client_id = \"d\"", 1),
        ("https://login.example.com", "https://login.example.org", 1),
        ("creates_people = false", "creates_people = true", 1),
        (
            "creates_people",
            "person_claim = \"upn\"\ncreates_people",
            1,
        ),
        ("creates_people", "ca = \"ca.pem\"\ncreates_people", 1),
        ("creates_people", "session = \"7d\"\ncreates_people", 1),
        ("creates_people", "session = \"1h\"\ncreates_people", 0),
        ("creates_people", "title = \"Corp\"\ncreates_people", 0),
        (CORP, &mapped, 1),
        (CORP, &scim, 1),
    ] {
        assert_eq!(changed(from, to).await, lines, "{to}");
    }
}
