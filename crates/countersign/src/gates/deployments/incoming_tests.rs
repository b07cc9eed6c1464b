//! What GitHub sends, and what others could.
//!
//! In scope: reading, comparing with the bundle, the address of the answer.
//! Out of scope: signatures, which the vault's tests have.
//! Invariant: an answer goes to the repository and run that were sent, at the configured address, or
//! nowhere.

use std::collections::BTreeMap;

use countersign_policy::target::exec::CredentialSource;
use serde_json::{Value, json};

use super::*;

const API: &str = "https://api.github.com";

fn github() -> GitHub {
    let secret = || CredentialSource::Env("X".into());
    GitHub {
        app: 7,
        private_key: secret(),
        webhook_secret: secret(),
        api: API.into(),
        people: BTreeMap::new(),
        repositories: vec![Repository {
            name: "acme/shop".into(),
            id: Some(11),
            installation: Some(77),
            workload: "shop".parse().unwrap(),
            environments: BTreeMap::new(),
        }],
    }
}

fn payload() -> Value {
    let sha = "a".repeat(40);
    let octocat = json!({ "id": 583231, "login": "octocat", "type": "User", "site_admin": false });
    json!({
        "action": "requested",
        "environment": "production",
        "event": "push",
        "sha": sha,
        "ref": "main",
        "deployment_callback_url":
            "https://api.github.com/repos/acme/shop/actions/runs/42/deployment_protection_rule",
        "deployment": {
            "id": 5, "sha": sha, "ref": "main", "environment": "production", "creator": octocat,
            "task": "deploy",
        },
        "pull_requests": [{ "number": 12, "id": 3 }],
        "repository": { "id": 11, "full_name": "Acme/Shop", "private": true },
        "installation": { "id": 77 },
        "sender": octocat,
    })
}

fn reading(payload: &Value) -> Result<Wanted, Refused> {
    read(&github(), payload.to_string().as_bytes())
}

#[test]
fn a_delivery_is_read() {
    let wanted = reading(&payload()).unwrap();
    assert_eq!(wanted.repository, "acme/shop");
    assert_eq!((wanted.run, wanted.deployment), (42, 5));
    assert_eq!(wanted.key(), "11/42/5/production");
    assert_eq!(wanted.sender.id, 583_231);
    assert!(!wanted.sender.is_actions());
}

#[test]
fn what_is_of_elsewhere_or_contradicts_itself_is_refused() {
    use Refused::{Foreign, Nothing, Unreadable};
    let hidden = Unreadable("it has a name that can't be shown");
    let number = Unreadable("it has a number that GitHub has for nothing");
    let [other_sha, other_ref, other_environment] = [
        "its `sha` is another than that of `deployment`",
        "its `ref` is another than that of `deployment`",
        "its `environment` is another than that of `deployment`",
    ]
    .map(Unreadable);
    for (at, value, expected) in [
        ("/action", json!("completed"), Nothing),
        (
            "/repository/full_name",
            json!("acme/other"),
            Foreign("unknown_repository"),
        ),
        (
            "/repository/full_name",
            json!("evil/shop"),
            Foreign("unknown_repository"),
        ),
        ("/repository/id", json!(12), Foreign("other_repository")),
        (
            "/installation/id",
            json!(78),
            Foreign("unknown_installation"),
        ),
        (
            "/deployment_callback_url",
            json!(
                "https://evil.example/repos/acme/shop/actions/runs/42/deployment_protection_rule"
            ),
            Foreign("foreign_callback"),
        ),
        ("/sender/id", json!(0), number),
        (
            "/sender/id",
            json!("583231"),
            Unreadable("it lacks what GitHub sends"),
        ),
        (
            "/sender",
            json!(null),
            Unreadable("it lacks what GitHub sends"),
        ),
        ("/deployment/id", json!(1_u64 << 53), number),
        ("/sender/login", json!("octo\u{202e}cat"), hidden),
        ("/deployment/ref", json!("main\n"), hidden),
        ("/environment", json!(""), hidden),
        ("/environment", json!("staging"), other_environment),
        ("/sha", json!("b".repeat(40)), other_sha),
        ("/ref", json!("other"), other_ref),
        (
            "/deployment/sha",
            json!("HEAD"),
            Unreadable("it names no commit"),
        ),
        ("/event", json!("push `x`"), Unreadable("it names no event")),
    ] {
        let mut payload = payload();
        *payload.pointer_mut(at).unwrap() = value.clone();
        assert_eq!(reading(&payload), Err(expected), "{at} {value}");
    }
}

#[test]
fn nothing_is_said_twice() {
    let twice = payload()
        .to_string()
        .replacen('{', "{\"environment\":\"staging\",", 1);
    let read = read(&github(), twice.as_bytes());
    let expected = Refused::Unreadable("it is no JSON of GitHub's");
    assert_eq!(read, Err(expected));
}

#[test]
fn an_answer_goes_to_one_place_only() {
    let end = "/actions/runs/42/deployment_protection_rule";
    let good = format!("{API}/repos/acme/shop{end}");
    assert_eq!(run_of(API, "acme/shop", &good), Some(42));
    let capitals = format!("{API}/repos/ACME/Shop{end}");
    assert_eq!(run_of(API, "acme/shop", &capitals), Some(42));
    for hostile in [
        format!("http://api.github.com/repos/acme/shop{end}"),
        format!("https://api.github.com.evil.example/repos/acme/shop{end}"),
        format!("https://api.github.com:443/repos/acme/shop{end}"),
        format!("https://api.github.com@evil.example/repos/acme/shop{end}"),
        format!("https://evil@api.github.com/repos/acme/shop{end}"),
        format!("https://API.github.com/repos/acme/shop{end}"),
        format!("{API}//repos/acme/shop{end}"),
        format!("{API}/repos/acme/shop/../other{end}"),
        format!("{API}/repos/acme/other{end}"),
        format!("{API}/repos/acme/shop/shop{end}"),
        format!("{API}/repos/acme%2fshop{end}"),
        format!("{API}/repos/acme/shop{end}?x=1"),
        format!("{API}/repos/acme/shop{end}#x"),
        format!("{API}/repos/acme/shop{end}/"),
        format!("{API}/repos/acme/shop/actions/runs/42/../43/deployment_protection_rule"),
        format!("{API}/repos/acme/shop/actions/runs//deployment_protection_rule"),
        format!("{API}/repos/acme/shop/actions/runs/042/deployment_protection_rule"),
        format!("{API}/repos/acme/shop/actions/runs/+42/deployment_protection_rule"),
        format!("{API}/repos/acme/shop/actions/runs/４２/deployment_protection_rule"),
        format!(
            "{API}/repos/acme/shop/actions/runs/99999999999999999999/deployment_protection_rule"
        ),
        format!("{API}\\repos/acme/shop{end}"),
        format!(" {good}"),
        format!("{good}\n"),
        String::new(),
    ] {
        assert_eq!(run_of(API, "acme/shop", &hostile), None, "{hostile}");
    }
}
