//! The kill switch, what denied callers learn, and what keeps people from being worn down.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Lab, argv, event, journal::Entry, until};

/// What a held command does: it says that it runs, then goes on and ignores the first signal.
const LONG: &str = "trap '' TERM; echo up >> ran; sleep 60; echo done >> ran";

#[tokio::test]
async fn stopping_ends_what_runs() {
    let table = [
        (
            "the agent",
            "agent-stop",
            json!({ "agent": "bot" }),
            "agent:bot",
            "`agent:bot` was stopped or disabled by a person",
        ),
        (
            "its owner",
            "person-disable",
            json!({ "person": "olga" }),
            "person:olga",
            ": a person was stopped or disabled by a person",
        ),
    ];
    for (what, operation, arguments, who, told) in table {
        let lab = Lab::new().await;
        let (bot, ann) = (lab.bot().await, lab.session("ann").await);
        let call = json!({ "argv": ["sh", "-c", LONG], "wait_ms": 30_000 });
        let running = tokio::spawn({
            let bot = bot.clone();
            async move { bot.run_with(call).await }
        });
        let newest = async || {
            let list = ann.get("/v1/requests").await;
            list.body["items"][0].clone()
        };
        until("it is held", || async { newest().await["state"] == "held" }).await;
        let id = newest().await["id"].as_str().unwrap().to_owned();
        ann.approve(&id).await;
        until("it runs", || async { lab.place.ran() == ["up"] }).await;
        let begin = Instant::now();
        let ada = lab.session("ada").await;
        ada.propose(operation, arguments).await.expect(200);
        let last = running.await.unwrap().pop().unwrap();
        assert!(begin.elapsed() < Duration::from_secs(20), "{what}");
        assert_eq!(
            (&last["event"], &last["outcome"]),
            (&json!("exited"), &json!("failed"))
        );
        assert_eq!(last["status"], 143, "{last}");
        assert!(
            last["warning"].as_str().unwrap().contains(told),
            "{what}: {last}"
        );
        assert_eq!(lab.state(&id).await, "failed", "{what}");
        let is_outcome = |one: &&Entry| one.kind() == "action.outcome";
        let records = lab.records();
        let of_request = records.iter().filter(|one| one.request() == Some(&id));
        let outcome = of_request.rev().find(is_outcome).unwrap();
        // The record has the names that the agent is not told.
        let said = format!("`{who}` was stopped or disabled by `person:ada`");
        assert_eq!(outcome.evidence["result"]["stopped"], said, "{what}");
        assert_eq!(lab.place.ran(), ["up"], "{what}");
        lab.verify().await;
    }
}

/// What policy denies is denied in the same words whatever there is on the gateway's disk.
#[tokio::test]
async fn a_denied_caller_learns_nothing_about_files() {
    let lab = Lab::new().await;
    let stray = lab.token("agent:stray").await;
    let mut said = Vec::new();
    for command in [
        "/bin/true",
        "/no/such/program",
        "/etc/passwd",
        "/root",
        "nothing-of-that-name",
        "./tally",
        "./nothing",
        "../../etc/passwd",
    ] {
        let last = stray.run(command, 0).await.pop().unwrap();
        said.push((command, last["code"].clone(), last["message"].clone()));
    }
    for (command, code, message) in &said {
        assert_eq!((code, message), (&said[0].1, &said[0].2), "{command}");
        assert_eq!(code, "denied", "{command}");
    }
    // Each is recorded as denied, without the file that nobody looked up.
    let records = lab.records();
    let asked: Vec<_> = records
        .iter()
        .filter(|one| one.kind() == "action.requested" && one.field("gate") == "exec")
        .collect();
    assert_eq!(asked.len(), said.len());
    for one in asked {
        assert!(one.evidence["action"]["arguments"]["executable"].is_null());
    }
    lab.nothing_ran().await;
}

/// Another spelling of what people deny again and again is not asked again for a while.
#[tokio::test]
async fn five_denials_end_the_asking() {
    let lab = Lab::new().await;
    let (bot, ann) = (lab.bot().await, lab.session("ann").await);
    for word in ["a", "b", "c", "d", "e"] {
        let id = bot.held(&format!("./tally one {word}")).await;
        ann.vote(&id, "deny").await.expect(200);
    }
    let last = bot.run("./tally one f", 0).await.pop().unwrap();
    assert_eq!(
        (&last["event"], &last["code"]),
        (&json!("refused"), &json!("denied"))
    );
    let message = last["message"].as_str().unwrap();
    assert!(message.contains("people denied 5 requests"), "{message}");
    let year = jiff::Timestamp::now().to_string();
    assert!(
        message.contains(&year[..8]) && message.contains('Z'),
        "{message}"
    );
    assert!(!message.contains("ann"), "{message}");
    // What needs nobody goes on; so do others.
    let free = bot.run("./tally free x", 0).await;
    assert_eq!(free.last().unwrap()["event"], "exited");
    lab.token("agent:twin").await.held("./tally one f").await;
    // A restart forgets nothing.
    let lab = lab.restart().await;
    let last = lab.bot().await.run("./tally one g", 0).await.pop().unwrap();
    assert!(
        last["message"]
            .as_str()
            .unwrap()
            .contains("people denied 5"),
        "{last}"
    );
    lab.verify().await;
}

#[tokio::test]
async fn a_repetition_is_told_why_and_until_when() {
    let lab = Lab::new().await;
    let (bot, ann) = (lab.bot().await, lab.session("ann").await);
    let id = bot.held("./tally one x").await;
    let seen = ann.see(&id).await;
    let body = json!({ "verdict": "deny", "digest": seen["digest"], "act": seen["act"],
        "reason": "not on a Friday" });
    ann.post(&format!("/v1/requests/{id}/votes"), &body)
        .await
        .expect(200);
    let last = bot.run("./tally one x", 0).await.pop().unwrap();
    let message = last["message"].as_str().unwrap();
    assert!(message.contains("not on a Friday"), "{message}");
    assert!(
        message.contains("again from 20") && message.contains("Z on"),
        "{message}"
    );
    assert!(!message.contains("ann"), "{message}");
}

/// Machines hear of groups and counts, people of names.
#[tokio::test]
async fn machines_don_t_learn_who_decides() {
    let lab = Lab::new().await;
    let people = ["ann", "bob", "cyd", "sid", "ray", "olga"];
    let names = |text: String| {
        people
            .into_iter()
            .find(|name| text.contains(&format!("\"{name}")))
    };
    let (bot, ann) = (lab.bot().await, lab.session("ann").await);
    let waiting = bot.start("./tally staged x", 30_000);
    let list = async || ann.get("/v1/requests").await.body["items"][0].clone();
    until("it is held", || async { list().await["state"] == "held" }).await;
    let id = list().await["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/requests/{id}");
    ann.post(&format!("{path}/questions"), &json!({ "text": "why?" }))
        .await
        .expect(200);
    ann.approve(&id).await;
    let seen = bot.get(&path).await.body;
    for field in ["rules", "votes", "conversation"] {
        assert_eq!(names(seen[field].to_string()), None, "{}", seen[field]);
    }
    assert_eq!(seen["votes"][0]["voter"], "a person");
    // Policies may name people too: only people read them, whichever way.
    assert!(seen["policies"][0]["source"].is_null(), "{seen}");
    assert!(ann.see(&id).await["policies"][0]["source"].is_string());
    let question = json!({ "subject": "agent:bot", "target": "tools", "argv": ["./tally"] });
    let explained = bot.post("/v1/policy/explain", &question).await;
    explained.refused("an explanation", 403, "people_only");
    let pat = lab.token("person:pat").await;
    pat.post("/v1/policy/explain", &question).await.expect(200);
    lab.session("sid").await.vote(&id, "deny").await.expect(200);
    let heard = waiting.await.unwrap();
    let held = event(&heard, "held").unwrap();
    let from = json!(["a person the rule names", "group:reviewers"]);
    let expected = json!({ "count": 5, "people": [], "from": from });
    assert_eq!(held["approvers"], expected, "{held}");
    let said = heard.iter().map(ToString::to_string).collect::<String>();
    for name in people {
        assert!(
            !said.contains(&format!(" {name} ")) && !said.contains(&format!("\"{name}")),
            "{said}"
        );
    }
    // A person who asks sees who can help.
    let pat = lab.session("pat").await;
    let call = json!({ "argv": argv("./tally one y"), "wait_ms": 0 });
    let held = pat.run_with(call).await;
    let approvers = event(&held, "held").unwrap()["approvers"]["people"].clone();
    assert!(
        approvers.as_array().unwrap().contains(&json!("ann")),
        "{approvers}"
    );
}
