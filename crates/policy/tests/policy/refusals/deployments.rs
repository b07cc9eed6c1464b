//! Deployments that do not load.

use super::check;
use crate::fixture::{MAIN, files};

const GOOD: &str = r#"[deployments.github]
kind = "github"
app = 7
private_key = { file = "app.pem" }
webhook_secret = { env = "S" }
people = { 583231 = "dana@example.com" }
[[deployments.github.repository]]
name = "acme/shop"
id = 11
workload = "shop-release"
environments = { production = "shop-live" }
[target.shop-live]
kind = "deployment"
environment = "production"
[workload.shop-release]
owner = "dana@example.com"
"#;

#[test]
fn deployments() {
    let lines = MAIN.lines().count();
    let good = format!("{MAIN}{GOOD}");
    let mut all = files("");
    all.insert("countersign.toml".into(), good);
    countersign_policy::Bundle::from_files(&all).unwrap();
    for (from, to, line, expected) in [
        (
            "[deployments.github]",
            "[deployments.GitHub]",
            1,
            "`GitHub` cannot name deployments",
        ),
        (
            "\"github\"",
            "\"gitlab\"",
            2,
            "there are no deployments of kind `gitlab`",
        ),
        ("app = 7", "app = 0", 3, "`0` is no `app` of GitHub's"),
        ("app = 7\n", "", 1, "missing field `app`"),
        (
            "{ file = \"app.pem\" }",
            "\"-----BEGIN\"",
            4,
            "invalid type",
        ),
        (
            "{ env = \"S\" }",
            "{}",
            5,
            "the webhook_secret has not one source",
        ),
        (
            "people",
            "api = \"http://ghe.example/api/v3\"\npeople",
            6,
            "`api` it would be sent in the clear",
        ),
        ("people", "colour = 1\npeople", 6, "unknown field `colour`"),
        ("583231", "octocat", 6, "`octocat` is no account's number"),
        ("583231", "0583231", 6, "`0583231` is no account's number"),
        (
            "dana@example.com\" }",
            "eve@example.com\" }",
            6,
            "unknown person `eve@example.com`",
        ),
        ("\"acme/shop\"", "\"shop\"", 8, "`shop` is no repository"),
        (
            "\"acme/shop\"",
            "\"acme/../x\"",
            8,
            "`acme/../x` is no repository",
        ),
        ("id = 11", "id = 0", 9, "`0` is no `id` of GitHub's"),
        (
            "\"shop-release\"",
            "\"other\"",
            10,
            "unknown workload `other`",
        ),
        (
            "{ production = \"shop-live\" }",
            "{}",
            8,
            "`acme/shop` names no environment",
        ),
        (
            "production = \"shop-live\"",
            "\" x\" = \"shop-live\"",
            11,
            "` x` is no environment",
        ),
        (
            "{ production",
            "{ Production = \"shop-live\", production",
            11,
            "the environment `production` is named twice",
        ),
        (
            "= \"shop-live\" }",
            "= \"nowhere\" }",
            11,
            "unknown target `nowhere`",
        ),
        (
            "kind = \"deployment\"",
            "kind = \"deployment\"\nworkdir = \"/\"",
            12,
            "the target `shop-live` runs nothing",
        ),
    ] {
        let added = GOOD.replacen(from, to, 1);
        let text = format!("{MAIN}{added}");
        let expected = format!("countersign.toml:{}: error: {expected}", lines + line);
        let mut files = files("");
        files.insert("countersign.toml".into(), text);
        check(&files, &expected, &added);
    }
}
