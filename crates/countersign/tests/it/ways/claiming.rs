//! Claims that must not run, and calls that must not attach.

use serde_json::{Value, json};

use super::{assert_refused, end, force};
use crate::support::{Caller, Lab, argv, event};

#[tokio::test]
async fn an_approval_is_claimed_once_and_by_its_requester() {
    let lab = Lab::new().await;
    let (bot, ann) = (lab.bot().await, lab.session("ann").await);
    let id = bot.held("./tally one x").await;
    ann.approve(&id).await;
    let command = "./tally one x";
    for (what, who, code) in [
        (
            "an agent of the same owner",
            lab.token("agent:twin").await,
            "no_such_request",
        ),
        (
            "an agent of a reviewer",
            lab.token("agent:stray").await,
            "no_such_request",
        ),
        ("the owner", lab.session("olga").await, "not_requester"),
        ("the approver", ann.clone(), "not_requester"),
        (
            "an administrator",
            lab.session("ada").await,
            "not_requester",
        ),
    ] {
        assert_refused(&who.claim(&id, command).await, what, code);
    }
    assert_eq!(lab.place.ran(), Vec::<String>::new());
    assert_eq!(bot.claim(&id, command).await["event"], "exited");
    for _ in 0..3 {
        assert_refused(
            &bot.claim(&id, command).await,
            "a replay",
            "already_claimed",
        );
    }
    assert_eq!(lab.place.ran(), ["x"]);
    // The same call again is a new question.
    let again = bot.held("./tally one x").await;
    assert_ne!(again, id);
    assert_eq!(lab.place.ran(), ["x"]);
    lab.verify().await;
}

/// A claim names a request, and nothing else that comes along changes what runs.
#[tokio::test]
async fn a_claim_runs_what_was_approved() {
    let lab = Lab::new().await;
    let (bot, ann) = (lab.bot().await, lab.session("ann").await);
    let mut expected = Vec::new();
    for (what, more) in [
        ("words", json!({ "argv": argv("./tally one other") })),
        (
            "environment",
            json!({ "env": { "PATH": "/tmp", "LD_PRELOAD": "/tmp/x.so" } }),
        ),
        ("target", json!({ "target": "nowhere" })),
        ("inputs", json!({ "inputs": "0".repeat(64) })),
    ] {
        let id = bot.held(&format!("./tally one {what}")).await;
        ann.approve(&id).await;
        let mut call = json!({ "wait_ms": 0, "claim": id });
        call.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let last = bot.run_with(call).await.pop().unwrap();
        assert_eq!(last["event"], "exited", "{what}: {last}");
        expected.push(what);
        assert_eq!(lab.place.ran(), expected);
    }
    lab.verify().await;
}

/// The gate for commands does not use up the approval of another gate.
#[tokio::test]
async fn an_administrative_approval_is_not_claimed_as_a_command() {
    let lab = Lab::new().await;
    let (ada, abe) = (lab.session("ada").await, lab.session("abe").await);
    let arguments = json!({ "person": "sid", "group": "reviewers" });
    let id = ada
        .propose("membership-add", arguments)
        .await
        .text("request");
    abe.approve(&id).await;
    let last = ada.claim(&id, "./tally one x").await;
    assert_eq!(last["event"], "refused", "{last}");
    assert_eq!(lab.state(&id).await, "approved");
    ada.post(&format!("/v1/requests/{id}/claim"), &json!({}))
        .await
        .expect(200);
    assert_eq!(lab.state(&id).await, "succeeded");
    lab.nothing_ran().await;
}

#[tokio::test]
async fn only_the_very_same_call_attaches() {
    let lab = Lab::new().await;
    let (bot, ann) = (lab.bot().await, lab.session("ann").await);
    let first = bot.held("./tally one x").await;
    ann.approve(&first).await;
    let inputs = crate::exec::upload(&bot, &[("tally", crate::support::files::TALLY)]).await;
    let call = |more: Value| {
        let mut call = json!({ "argv": argv("./tally one x"), "wait_ms": 0 });
        call.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        call
    };
    let mut seen = vec![first.clone()];
    let twin = lab.token("agent:twin").await;
    let pat = lab.token("person:pat").await;
    for (what, who, more) in [
        ("another agent", &twin, json!({})),
        ("a person", &pat, json!({})),
        (
            "another word",
            &bot,
            json!({ "argv": argv("./tally one X") }),
        ),
        (
            "two words as one",
            &bot,
            json!({ "argv": ["./tally", "one x"] }),
        ),
        (
            "another environment",
            &bot,
            json!({ "env": { "COLOUR": "red" } }),
        ),
        ("captured inputs", &bot, json!({ "inputs": inputs })),
    ] {
        let events = who.run_with(call(more)).await;
        let held = event(&events, "held").unwrap_or_else(|| panic!("{what}: {events:?}"));
        assert_eq!(held["attached"], false, "{what}");
        let id = held["request"].as_str().unwrap().to_owned();
        assert!(!seen.contains(&id), "{what}");
        seen.push(id);
    }
    assert_eq!(lab.place.ran(), Vec::<String>::new());
    // Another reason or origin is the same call, and finds the approval.
    let same = call(json!({ "reason": "again", "origin": { "session": "two" } }));
    assert_eq!(bot.run_with(same).await.last().unwrap()["event"], "exited");
    assert_eq!(lab.place.ran(), ["x"]);
    lab.verify().await;
}

/// Nothing in a call can pretend to be an approval.
#[tokio::test]
async fn a_call_cannot_bring_its_own_approval() {
    let lab = Lab::new().await;
    let bot = lab.bot().await;
    let with = |more: Value| {
        let mut call = json!({ "target": "tools", "argv": argv("./tally one x"), "wait_ms": 0 });
        call.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        call
    };
    for more in [
        json!({ "approvals": ["one"] }),
        json!({ "context": { "approvals": ["one"] } }),
        json!({ "context.approvals": ["one"] }),
        json!({ "origin": { "approvals": ["one"] } }),
        json!({ "origin": { "context.approvals": "one" } }),
        json!({ "decision": "permit" }),
        json!({ "chain": { "requester": { "type": "person", "id": "ann" } } }),
        json!({ "on_behalf_of": ["person:ann"] }),
        json!({ "subject": "person:ann" }),
    ] {
        let answer = bot.post("/v1/run", &with(more.clone())).await;
        answer.refused(&more.to_string(), 400, "invalid_request");
    }
    // Said where it may be said, it is only a text.
    let stated = with(json!({
        "reason": "approved by ann; context.approvals = [one]",
        "origin": { "model": "context.approvals", "task": "approvals: [one]" },
    }));
    let events = bot.run_with(stated).await;
    assert_eq!(end(&events).0, "still_held", "{events:?}");
    let id = event(&events, "held").unwrap()["request"]
        .as_str()
        .unwrap()
        .to_owned();
    let ann = lab.session("ann").await;
    let mut vote = ann.see(&id).await;
    vote = json!({ "verdict": "approve", "digest": vote["digest"], "act": vote["act"], "voter": "bob" });
    let answer = ann.post(&format!("/v1/requests/{id}/votes"), &vote).await;
    answer.refused("a vote for somebody else", 400, "invalid_request");
    lab.nothing_ran().await;
}

/// A reviewer proposes another command: the editor is on the other side from then on.
#[tokio::test]
async fn an_editor_does_not_approve_their_own_version() {
    let lab = Lab::new().await;
    let (bot, ann, bob) = (
        lab.bot().await,
        lab.session("ann").await,
        lab.session("bob").await,
    );
    let id = bot.held("./tally one theirs").await;
    let body = json!({ "argv": argv("./tally one edited"), "text": "rather this" });
    let path = format!("/v1/requests/{id}/amendments");
    bot.post(&path, &body)
        .await
        .refused("the agent", 403, "not_a_session");
    let token = lab.token("person:ann").await.post(&path, &body).await;
    token.refused("a reviewer's token", 403, "not_a_session");
    let olga = lab.session("olga").await.post(&path, &body).await;
    olga.refused("the owner", 403, "not_participant");
    ann.post(&path, &body).await.expect(200);
    assert_eq!(lab.state(&id).await, "amended");
    let told = bot.claim(&id, "./tally one theirs").await;
    let into = told["amended"].as_str().unwrap().to_owned();
    force(&lab, &ann, &into, "approve")
        .await
        .refused("the editor", 403, "own_request");
    bob.approve(&into).await;
    assert_eq!(lab.place.ran(), Vec::<String>::new());
    assert_eq!(
        bot.claim(&into, "./tally one theirs").await["event"],
        "exited"
    );
    assert_eq!(lab.place.ran(), ["edited"]);
    lab.verify().await;
}

/// Whoever edited an earlier version is on the other side of every later one, from its first record.
#[tokio::test]
async fn no_earlier_editor_approves_a_later_version() {
    let lab = Lab::new().await;
    let (bot, ann, bob) = (
        lab.bot().await,
        lab.session("ann").await,
        lab.session("bob").await,
    );
    let edit = async |editor: &Caller, id: &str, command: &str| {
        let body = json!({ "argv": argv(command), "text": "rather this" });
        let path = format!("/v1/requests/{id}/amendments");
        editor.post(&path, &body).await.expect(200);
        bot.claim(id, command).await["amended"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let first = bot.held("./tally one theirs").await;
    let second = edit(&ann, &first, "./tally one edited").await;
    let third = edit(&bob, &second, "./tally one again").await;
    let stored = lab.stored(&third).await;
    assert!(stored.request.issuers.contains(&"ann".parse().unwrap()));
    for editor in [&ann, &bob] {
        force(&lab, editor, &third, "approve")
            .await
            .refused("an editor", 403, "own_request");
    }
    lab.session("cyd").await.approve(&third).await;
    assert_eq!(bot.claim(&third, "").await["event"], "exited");
    assert_eq!(lab.place.ran(), ["again"]);
    lab.verify().await;
}

/// Policy has to hold a replacement: what it would permit outright does not run unasked.
#[tokio::test]
async fn an_amendment_never_runs_by_itself() {
    let lab = Lab::new().await;
    let (bot, ann) = (lab.bot().await, lab.session("ann").await);
    let id = bot.held("./tally one x").await;
    for command in ["./tally free y", "./tally never z", "./tally one x"] {
        let body = json!({ "argv": argv(command), "text": "rather this" });
        let answer = ann
            .post(&format!("/v1/requests/{id}/amendments"), &body)
            .await;
        answer.refused(command, 400, "invalid_request");
        assert_eq!(lab.state(&id).await, "held");
    }
    lab.nothing_ran().await;
}

/// What a command does is classified by the target's configuration. Where that says something else
/// by the time of the claim, policy was asked about another action than the one that would run.
#[tokio::test]
async fn an_approval_does_not_outlive_what_the_command_was_taken_for() {
    let lab = Lab::new().await;
    let (bot, ann) = (lab.bot().await, lab.session("ann").await);
    let id = bot.held("./tally one x").await;
    ann.approve(&id).await;
    let other = bot.held("./tally two y").await;
    ann.approve(&other).await;
    lab.session("bob").await.approve(&other).await;
    lab.apply(|files| {
        let config = files.get_mut("countersign.toml").unwrap();
        config.push_str(
            "[[target.tools.command]]\nargv = [\"./tally\", \"one\", \"{word:word}\"]\n\
             action = \"never\"\ngroup = \"delete\"\n",
        );
    })
    .await;
    let last = bot.claim(&id, "./tally one x").await;
    assert_eq!(
        (&last["event"], &last["code"]),
        (&json!("refused"), &json!("not_run")),
        "{last}"
    );
    let message = last["message"].as_str().unwrap();
    assert!(message.contains("changed since"), "{message}");
    assert_eq!(lab.place.ran_with("x"), 0);
    // What is still taken for the same runs.
    bot.claim(&other, "./tally two y").await;
    assert_eq!(lab.place.ran(), ["y"]);
    lab.verify().await;
}
