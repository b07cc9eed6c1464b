//! `countersign run --local`: the command runs on the caller's side, and everything says so (P1).

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use serde_json::{Value, json};

use crate::support::{
    Caller, Lab, argv, event, events,
    files::script,
    process::{countersign, errors, finish},
    text, until,
};

const TARGET: &str = r#"
[target.laptop]
kind = "exec"
environment = "production"
advisory = true
credential = { env = "HOME", as = "SECRET" }

[target.laptop.env]
allow = ["COLOUR"]

[[target.laptop.command]]
argv = ["./deploy", "{what:word}"]
action = "deploy"
group = "write"

[[target.laptop.command]]
argv = ["./wipe"]
action = "wipe"
group = "delete"
"#;

const POLICIES: &str = r#"
@id("laptop-run")
permit (principal in Group::"agents", action in Action::"execute", resource in Target::"laptop");
@id("laptop-write")
permit (principal in Group::"agents", action in Action::"write", resource in Target::"laptop");
@id("laptop-held") @approval("one")
forbid (principal, action == Action::"exec:deploy", resource);
"#;

fn laptop(files: &mut BTreeMap<String, String>) {
    files.get_mut("countersign.toml").unwrap().push_str(TARGET);
    files.insert("policies/laptop.cedar".into(), POLICIES.into());
}

/// A lab with an advisory target, and the caller's own directory.
pub(crate) struct Bench {
    pub(crate) lab: Lab,
    bot: Caller,
    pub(crate) ann: Caller,
    pub(crate) here: tempfile::TempDir,
}

impl Bench {
    pub(crate) async fn new() -> Self {
        let lab = Lab::with(laptop).await;
        let here = tempfile::tempdir().unwrap();
        for name in ["deploy", "wipe"] {
            script(
                &here.path().join(name),
                "#!/bin/sh\necho \"$0 $1\" >> ran\n",
            );
        }
        Self {
            bot: lab.bot().await,
            ann: lab.session("ann").await,
            lab,
            here,
        }
    }

    fn command(&self, options: &[&str], argv: &[&str]) -> Command {
        command(
            &self.lab.url,
            &self.bot.secret,
            self.here.path(),
            options,
            argv,
        )
    }

    pub(crate) async fn run(&self, options: &[&str], argv: &[&str]) -> std::process::Output {
        finish(self.command(options, argv)).await
    }

    pub(crate) fn ran(&self) -> String {
        fs::read_to_string(self.here.path().join("ran")).unwrap_or_default()
    }

    /// The newest request.
    async fn newest(&self) -> Value {
        let list = self.lab.session("ann").await.get("/v1/requests").await;
        list.body["items"][0].clone()
    }

    /// Waits for a request that is held.
    pub(crate) async fn held(&self) -> String {
        until("it is held", || async {
            self.newest().await["state"] == "held"
        })
        .await;
        self.newest().await["id"].as_str().unwrap().to_owned()
    }

    /// The evidence of an outcome, once it is recorded.
    async fn outcome(&self, status: &str) -> Value {
        let found = || {
            let records = self.lab.records();
            let outcome = records
                .into_iter()
                .rev()
                .find(|one| one.kind() == "action.outcome");
            outcome.filter(|one| one.field("status") == status)
        };
        until(status, || async { found().is_some() }).await;
        found().unwrap().evidence["result"].clone()
    }
}

fn command(url: &str, token: &str, here: &Path, options: &[&str], argv: &[&str]) -> Command {
    let mut command = countersign();
    command
        .args(["run", "--target", "laptop", "--local"])
        .args(options)
        .arg("--")
        .args(argv)
        .current_dir(here)
        .env("COUNTERSIGN_URL", url)
        .env("COUNTERSIGN_TOKEN", token);
    command
}

#[tokio::test]
async fn a_permitted_command_runs_here_with_its_own_status() {
    let bench = Bench::new().await;
    let line = "echo \"$COLOUR $SECRET.\"; echo oops >&2; cat; exit 3";
    let ran = bench
        .run(&["--env", "COLOUR=red"], &["sh", "-c", line])
        .await;
    assert_eq!(ran.status.code(), Some(3), "{}", errors(&ran));
    assert_eq!(String::from_utf8_lossy(&ran.stdout), "red .\n");
    assert_eq!(errors(&ran), "oops\n");
    let result = bench.outcome("failed").await;
    assert_eq!(result["reported_by"], "agent:bot", "{result}");
    let records = bench.lab.records();
    let outcome = records
        .iter()
        .rev()
        .find(|one| one.kind() == "action.outcome")
        .unwrap();
    assert_eq!(outcome.field("exit"), 3, "{outcome:?}");
    let asked = records
        .iter()
        .rev()
        .find(|one| one.kind() == "action.requested")
        .unwrap();
    assert_eq!(asked.field("gate"), "exec-local");
    let stated = &asked.evidence["action"]["arguments"];
    assert_eq!(stated["env"], json!({ "COLOUR": "red" }));
    assert_eq!(
        stated["directory"],
        text(&bench.here.path().canonicalize().unwrap())
    );
    assert!(
        stated["executable"]["program"]["sha256"].is_string(),
        "{stated}"
    );
    // Ended by a signal.
    let killed = bench.run(&[], &["sh", "-c", "kill -TERM $$"]).await;
    assert_eq!(killed.status.code(), Some(143));
    assert_eq!(
        bench.outcome("failed").await["detail"],
        "ended by signal 15"
    );
    bench.lab.verify().await;
}

#[tokio::test]
async fn json_says_that_it_is_advisory() {
    let bench = Bench::new().await;
    let ran = bench
        .run(&["--json"], &["sh", "-c", "echo out; exit 4"])
        .await;
    assert_eq!(ran.status.code(), Some(4), "{}", errors(&ran));
    let seen = events(&String::from_utf8_lossy(&ran.stdout));
    let kinds: Vec<_> = seen
        .iter()
        .map(|one| one["event"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["permitted", "stdout", "exited"]);
    assert_eq!(seen[0]["advisory"], true);
    assert_eq!(
        (&seen[1]["data"], &seen[2]["status"]),
        (&json!("b3V0Cg=="), &json!(4))
    );
    let held = bench
        .run(&["--json", "--wait", "0s"], &["./deploy", "x"])
        .await;
    assert_eq!(held.status.code(), Some(75));
    let seen = events(&String::from_utf8_lossy(&held.stdout));
    assert_eq!(event(&seen, "held").unwrap()["advisory"], true);
}

#[tokio::test]
async fn a_held_command_runs_here_once_it_is_approved() {
    let bench = Bench::new().await;
    let waiting = tokio::spawn(finish(
        bench.command(&["--wait", "60s"], &["./deploy", "x"]),
    ));
    let id = bench.held().await;
    let seen = bench.ann.see(&id).await;
    assert_eq!(
        (&seen["advisory"], &seen["gate"]),
        (&json!(true), &json!("exec-local"))
    );
    assert!(
        seen["title"].as_str().unwrap().starts_with("Advisory: "),
        "{seen}"
    );
    for field in ["action", "blast_radius"] {
        let said = seen[field].as_str().unwrap();
        assert!(
            said.contains("Advisory: the caller executes this itself"),
            "{said}"
        );
    }
    let said = seen["action"].as_str().unwrap();
    for part in ["not checked", "executable", "sha-256", "directory"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(
        !seen["can"].as_array().unwrap().contains(&json!("amend")),
        "{seen}"
    );
    let page = bench
        .ann
        .request(reqwest::Method::GET, &format!("/requests/{id}"));
    let page = page.send().await.unwrap().text().await.unwrap();
    for (part, said) in [
        ("Advisory gate.", true),
        ("The caller runs it itself; nobody makes sure", true),
        ("stored copy", false),
        ("Runs as", false),
    ] {
        assert_eq!(page.contains(part), said, "{part}: {page}");
    }
    assert_eq!(seen["runs_as"], Value::Null);
    let inbox = bench.ann.request(reqwest::Method::GET, "/");
    let inbox = inbox.send().await.unwrap().text().await.unwrap();
    assert!(inbox.contains("advisory gate"), "{inbox}");
    assert_eq!(bench.ran(), "");
    bench.ann.approve(&id).await;
    let ran = waiting.await.unwrap();
    assert_eq!(ran.status.code(), Some(0), "{}", errors(&ran));
    assert!(errors(&ran).contains("advisory"), "{}", errors(&ran));
    assert!(bench.ran().ends_with("/deploy x\n"), "{}", bench.ran());
    until("it is recorded", || async {
        bench.lab.state(&id).await == "succeeded"
    })
    .await;
    // The approval is used: the same again is a new request.
    let again = bench.run(&["--wait", "0s"], &["./deploy", "x"]).await;
    assert_eq!(again.status.code(), Some(75));
    assert_ne!(bench.held().await, id);
    bench.lab.verify().await;
}

/// What was approved is what runs: another file of that name is another action, and one that
/// changed after it was stated does not start.
#[tokio::test]
async fn another_executable_does_not_run() {
    let bench = Bench::new().await;
    let path = bench.here.path().join("deploy");
    let other = "#!/bin/sh\necho other >> ran\n";
    let original = fs::read_to_string(&path).unwrap();
    let first = bench.run(&["--wait", "0s"], &["./deploy", "x"]).await;
    assert_eq!(first.status.code(), Some(75));
    let id = bench.held().await;
    bench.ann.approve(&id).await;
    script(&path, other);
    let changed = bench.run(&["--wait", "0s"], &["./deploy", "x"]).await;
    assert_eq!(changed.status.code(), Some(75), "{}", errors(&changed));
    assert_eq!(bench.lab.state(&id).await, "approved");
    let second = bench.held().await;
    assert_ne!(second, id);
    script(&path, &original);
    // Changed while it waits: the permit is handed out, and the check before the start refuses.
    let waiting = tokio::spawn(finish(
        bench.command(&["--wait", "60s"], &["./deploy", "y"]),
    ));
    until("it is held", || async { bench.held().await != second }).await;
    let id = bench.held().await;
    script(&path, other);
    bench.ann.approve(&id).await;
    let refused = waiting.await.unwrap();
    assert_eq!(refused.status.code(), Some(77), "{}", errors(&refused));
    assert!(
        errors(&refused).contains("nothing was run"),
        "{}",
        errors(&refused)
    );
    until("it is recorded", || async {
        bench.lab.state(&id).await == "failed"
    })
    .await;
    assert_eq!(bench.ran(), "");
}

#[tokio::test]
async fn without_a_permit_nothing_runs() {
    let bench = Bench::new().await;
    let denied = bench.run(&[], &["./wipe"]).await;
    assert_eq!(denied.status.code(), Some(77), "{}", errors(&denied));
    // Nobody has a page to look at; what there is to know is said.
    let said = errors(&denied);
    assert!(
        said.contains("asked as `agent:bot`") && !said.contains("requests show"),
        "{said}"
    );
    let held = bench.run(&["--wait", "0s"], &["./deploy", "x"]).await;
    assert_eq!(held.status.code(), Some(75), "{}", errors(&held));
    let id = bench.held().await;
    let waiting = bench.command(&["--wait", "60s"], &["./deploy", "x"]);
    let waiting = tokio::spawn(finish(waiting));
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    bench.ann.vote(&id, "deny").await.expect(200);
    let refused = waiting.await.unwrap();
    let why = format!("see why: countersign requests show {id}");
    assert!(errors(&refused).contains(&why), "{}", errors(&refused));
    let denied = bench.run(&["--wait", "0s"], &["./deploy", "x"]).await;
    assert_eq!(denied.status.code(), Some(77), "{}", errors(&denied));
    // Only a target that says so may be used like this.
    let mut enforcing = countersign();
    enforcing
        .args([
            "run", "--target", "tools", "--local", "--", "./tally", "free", "x",
        ])
        .current_dir(bench.lab.place.work())
        .env("COUNTERSIGN_URL", &bench.lab.url)
        .env("COUNTERSIGN_TOKEN", &bench.bot.secret);
    let refused = finish(enforcing).await;
    assert_eq!(refused.status.code(), Some(77), "{}", errors(&refused));
    assert!(
        errors(&refused).contains("advisory = true"),
        "{}",
        errors(&refused)
    );
    bench.lab.nothing_ran().await;
    let nowhere = "http://127.0.0.1:1";
    for (what, url, token) in [
        ("no gateway", nowhere, bench.bot.secret.as_str()),
        ("a wrong token", bench.lab.url.as_str(), "wrong"),
    ] {
        let command = command(url, token, bench.here.path(), &[], &["./deploy", "x"]);
        let ended = finish(command).await;
        assert_eq!(ended.status.code(), Some(69), "{what}: {}", errors(&ended));
    }
    let files = ["--bind", "deploy"];
    assert_eq!(
        bench.run(&files, &["./deploy", "x"]).await.status.code(),
        Some(64)
    );
    let gone = bench.run(&[], &["./gone"]).await;
    assert_eq!(gone.status.code(), Some(64));
    assert!(!errors(&gone).contains("gateway's"), "{}", errors(&gone));
    assert_eq!(bench.ran(), "");
}

/// A request of one gate can't be run through the other.
#[tokio::test]
async fn the_gate_is_part_of_the_action() {
    let bench = Bench::new().await;
    bench.run(&["--wait", "0s"], &["./deploy", "x"]).await;
    let id = bench.held().await;
    bench.ann.approve(&id).await;
    let last = bench.bot.claim(&id, "./deploy x").await;
    assert_eq!(last["event"], "refused", "{last}");
    assert!(
        last["message"].as_str().unwrap().contains("--local"),
        "{last}"
    );
    let behind = json!({ "target": "laptop", "argv": argv("./deploy x"), "wait_ms": 0 });
    let events = bench.bot.run_with(behind).await;
    assert_ne!(
        event(&events, "held").map(|one| one["request"].clone()),
        Some(json!(id))
    );
    assert_eq!(bench.lab.state(&id).await, "approved");
    // What a caller states must be whole, and is not believed to be a file.
    let good = json!({ "program": { "path": "/bin/true", "sha256": "0".repeat(64) },
        "interpreters": [] });
    for (what, local) in [
        ("relative", json!({ "directory": "x", "executable": good })),
        ("no executable", json!({ "directory": "/" })),
        (
            "unknown",
            json!({ "directory": "/", "executable": good, "trusted": true }),
        ),
    ] {
        let call = json!({ "target": "laptop", "argv": ["true"], "wait_ms": 0, "local": local });
        let path = "/v1/run";
        let answer = bench.bot.post(path, &call).await;
        let refused = answer.status == 400 || answer.body.to_string().contains("refused");
        assert!(refused, "{what}: {answer:?}");
    }
}

#[tokio::test]
async fn a_caller_that_dies_leaves_the_outcome_unknown() {
    let bench = Bench::new().await;
    let mut command = bench.command(&[], &["sh", "-c", "echo $$ > pid; exec sleep 60"]);
    let mut child = command.spawn().unwrap();
    let pid = bench.here.path().join("pid");
    let read = || {
        fs::read_to_string(&pid)
            .unwrap_or_default()
            .trim()
            .parse::<i32>()
    };
    until("it runs", || async { read().is_ok() }).await;
    child.kill().unwrap();
    child.wait().unwrap();
    let result = bench.outcome("unknown").await;
    assert!(
        result["why"].as_str().unwrap().contains("connection ended"),
        "{result}"
    );
    // Its command outlives it, and is this test's to end.
    let left = nix::unistd::Pid::from_raw(read().unwrap());
    nix::sys::signal::kill(left, nix::sys::signal::Signal::SIGKILL).unwrap();
    // An identical call needs a person now.
    let again = bench
        .run(
            &["--wait", "0s"],
            &["sh", "-c", "echo $$ > pid; exec sleep 60"],
        )
        .await;
    assert_eq!(again.status.code(), Some(75), "{}", errors(&again));
    bench.lab.verify().await;
}

#[tokio::test]
async fn a_stopped_agent_is_told_to_end_its_command() {
    let bench = Bench::new().await;
    let command = bench.command(&[], &["sh", "-c", "echo up > ran; exec sleep 60"]);
    let running = tokio::spawn(finish(command));
    until("it runs", || async { bench.ran() == "up\n" }).await;
    let ada = bench.lab.session("ada").await;
    ada.propose("agent-stop", json!({ "agent": "bot" }))
        .await
        .expect(200);
    let ended = running.await.unwrap();
    assert_eq!(ended.status.code(), Some(143), "{}", errors(&ended));
    assert!(
        errors(&ended).contains("stopped or disabled"),
        "{}",
        errors(&ended)
    );
    let result = bench.outcome("unknown").await;
    assert!(
        result["why"].as_str().unwrap().contains("person:ada"),
        "{result}"
    );
}

/// The target's patterns say what policy decides about, also where the caller runs the command.
#[tokio::test]
async fn nothing_is_handed_out_for_what_is_taken_for_something_else_by_now() {
    let bench = Bench::new().await;
    let executable = json!({ "program": { "path": "/bin/true", "sha256": "0".repeat(64) },
        "interpreters": [] });
    let mut call = json!({ "target": "laptop", "argv": ["./deploy", "x"], "wait_ms": 0,
        "local": { "directory": "/", "executable": executable } });
    let held = bench.bot.run_with(call.clone()).await;
    let id = event(&held, "held").unwrap()["request"].clone();
    bench.ann.approve(id.as_str().unwrap()).await;
    bench
        .lab
        .apply(|files| {
            files.get_mut("countersign.toml").unwrap().push_str(
                "[[target.laptop.command]]\nargv = [\"./deploy\", \"x\"]\naction = \"wipe\"\n\
                 group = \"delete\"\n",
            );
        })
        .await;
    call["claim"] = id.clone();
    let heard = bench.bot.run_with(call).await;
    assert!(event(&heard, "permitted").is_none(), "{heard:?}");
    let last = heard.last().unwrap();
    assert_eq!(
        (&last["event"], &last["code"]),
        (&json!("refused"), &json!("not_run")),
        "{last}"
    );
    assert_eq!(bench.lab.state(id.as_str().unwrap()).await, "failed");
    bench.lab.verify().await;
}
