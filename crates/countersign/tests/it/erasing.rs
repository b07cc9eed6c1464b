//! Erasing a person: nothing of them is readable in any file any more, and every proof holds (P11).

use std::{fs, path::Path};

use serde_json::{Value, json};

use crate::support::{
    Caller, Lab,
    process::{countersign, errors},
};

const NAME: &str = "evelyn.quartz@example.com";
/// What only Evelyn said or asked for.
const WORDS: [&str; 4] = [
    "zebra-argument",
    "marmalade-reason",
    "pelican-comment",
    "walrus-question",
];

/// A lab in which Evelyn voted, wrote, asked for things herself and through an agent, issued
/// somebody's link, and is disabled by now. Gives the requests that she decided and asked for.
async fn lived_in() -> (Lab, String, String) {
    let lab = Lab::new().await;
    let add = json!({ "person": NAME, "groups": ["reviewers"] });
    lab.change_by("ada", "person-add", add).await;
    let own = json!({ "agent": "quill", "owner": NAME, "groups": ["agents"] });
    lab.change_by("ada", "agent-add", own).await;
    let (bot, evelyn) = (lab.bot().await, lab.session(NAME).await);
    let decided = bot.held("./tally one plain").await;
    let path = |act: &str| format!("/v1/requests/{decided}/{act}");
    for (act, text) in [("questions", WORDS[3]), ("comments", WORDS[2])] {
        evelyn
            .post(&path(act), &json!({ "text": text }))
            .await
            .expect(200);
    }
    approve_with_reason(&evelyn, &decided, WORDS[1]).await;
    bot.run("./tally one plain", 0).await;
    let quill = lab.token_from("agent:quill", Some(NAME)).await;
    let asked = quill.held(&format!("./tally one {}", WORDS[0])).await;
    lab.session("ann").await.approve(&asked).await;
    quill.run(&format!("./tally one {}", WORDS[0]), 0).await;
    lab.session_from("bob", Some(NAME)).await;
    let ada = lab.session("ada").await;
    ada.propose("agent-stop", json!({ "agent": "quill" }))
        .await
        .expect(200);
    ada.propose("person-disable", json!({ "person": NAME }))
        .await
        .expect(200);
    lab.gateway.log.checkpoint().await;
    (lab, decided, asked)
}

async fn approve_with_reason(voter: &Caller, id: &str, reason: &str) {
    let seen = voter.see(id).await;
    let body = json!({
        "verdict": "approve", "digest": seen["digest"], "act": seen["act"], "reason": reason,
    });
    voter
        .post(&format!("/v1/requests/{id}/votes"), &body)
        .await
        .expect(200);
}

/// The files below a directory that have a text, in capitals or not.
pub(crate) fn files_with(dir: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_with(&path, text));
        } else if let Ok(bytes) = fs::read(&path)
            && bytes
                .to_ascii_lowercase()
                .windows(text.len())
                .any(|some| some == text.as_bytes())
        {
            found.push(path.display().to_string());
        }
    }
    found
}

/// Whoever countersigns an erasure reads how much goes.
#[tokio::test]
async fn the_size_of_an_erasure_is_said_before() {
    let (lab, ..) = lived_in().await;
    let ada = lab.session("ada").await;
    let arguments = json!({ "person": NAME });
    let proposed = ada.propose("person-erase", arguments).await;
    let id = proposed.text("request");
    let seen = lab.session("abe").await.see(&id).await;
    let first = seen["action"].as_str().unwrap().lines().next().unwrap();
    lab.session("abe")
        .await
        .vote(&id, "approve")
        .await
        .expect(200);
    let applied = ada
        .post(&format!("/v1/requests/{id}/claim"), &json!({}))
        .await;
    let result = &applied.body["result"];
    for (number, what) in [
        ("keys_destroyed", "keys would be destroyed"),
        ("requests_forgotten", "requests"),
        ("credentials_ended", "credentials"),
    ] {
        let words = format!("{} {what}", result[number]);
        assert!(
            first.starts_with("! ") && first.contains(&words),
            "{words}: {first}"
        );
        assert_ne!(result[number], 0);
    }
}

async fn erase(lab: &Lab) -> Value {
    let arguments = json!({ "person": NAME });
    lab.change_by("ada", "person-erase", arguments).await
}

fn log(lab: &Lab, words: &[&str]) -> std::process::Output {
    let mut command = countersign();
    command.arg("log").args(words);
    command.current_dir(lab.place.data()).output().unwrap()
}

fn receipt(lab: &Lab, request: &str) -> String {
    let made = log(lab, &["prove", request]);
    assert_eq!(made.status.code(), Some(0), "{}", errors(&made));
    String::from_utf8(made.stdout).unwrap()
}

/// What is said of a receipt by whoever has the keys and nothing else.
fn verified(lab: &Lab, receipt: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("receipt");
    fs::write(&file, receipt).unwrap();
    let keys = ["key.pub", "vote-key.pub"].map(|name| lab.place.log().join(name));
    let [key, votes] = keys.map(|path| path.to_str().unwrap().to_owned());
    let file = file.to_str().unwrap();
    let verified = log(lab, &["verify", file, "--key", &key, "--vote-key", &votes]);
    assert_eq!(verified.status.code(), Some(0), "{verified:?}");
    String::from_utf8(verified.stdout).unwrap()
}

#[tokio::test]
async fn nothing_of_who_was_erased_is_readable_and_proofs_hold() {
    let (lab, decided, asked) = lived_in().await;
    let data = lab.place.data();
    for text in WORDS.iter().chain([&NAME]) {
        assert_ne!(files_with(&data, text), Vec::<String>::new(), "{text}");
    }
    let older = [receipt(&lab, &decided), receipt(&lab, &asked)];
    let erased = erase(&lab).await;
    assert!(
        erased["result"]["keys_destroyed"].as_u64().unwrap() >= 3,
        "{erased}"
    );
    for text in WORDS.iter().chain([&NAME, &"quartz"]) {
        assert_eq!(files_with(&data, text), Vec::<String>::new(), "{text}");
    }
    lab.verify().await;
    let all = log(&lab, &["verify", "."]);
    let said = String::from_utf8(all.stdout.clone()).unwrap();
    assert_eq!(all.status.code(), Some(0), "{}", errors(&all));
    assert!(said.contains("parts of the evidence were erased"), "{said}");
    assert!(said.contains("which were erased kept the rules"), "{said}");
    for receipt in &older {
        assert!(!verified(&lab, receipt).contains("sealed"));
    }
    for request in [&decided, &asked] {
        assert!(verified(&lab, &receipt(&lab, request)).contains("sealed"));
    }
    let lab = lab.restart().await;
    lab.verify().await;
    for text in WORDS.iter().chain([&NAME]) {
        assert_eq!(
            files_with(&lab.place.data(), text),
            Vec::<String>::new(),
            "{text}"
        );
    }
    // What others did goes on, and the name is free again for somebody else.
    lab.bot().await.run("./tally free x", 0).await;
    let add = json!({ "person": NAME, "groups": [] });
    lab.change_by("ada", "person-add", add).await;
    lab.verify().await;
}

#[tokio::test]
async fn nobody_is_erased_who_acts_is_waited_for_or_stands_in_the_files() {
    let lab = Lab::new().await;
    let add = json!({ "person": NAME, "groups": ["reviewers"] });
    lab.change_by("ada", "person-add", add).await;
    let refused = async |arguments: Value, why: &str| {
        let proposed = lab
            .session("ada")
            .await
            .propose("person-erase", arguments)
            .await;
        proposed.refused(why, 422, "invalid_proposal");
        assert!(
            proposed.body.to_string().contains(why),
            "{:?}",
            proposed.body
        );
    };
    refused(json!({ "person": "ann" }), "still names ann").await;
    refused(json!({ "person": NAME }), "can act").await;
    let bot = lab.bot().await;
    let id = bot.held("./tally one x").await;
    let comment = json!({ "text": format!("ask {NAME}.") });
    bot.post(&format!("/v1/requests/{id}/comments"), &comment)
        .await
        .expect(200);
    let ada = lab.session("ada").await;
    ada.propose("person-disable", json!({ "person": NAME }))
        .await
        .expect(200);
    refused(json!({ "person": NAME }), "is still open").await;
    let former = lab.place.data().join("former.1");
    fs::create_dir(&former).unwrap();
    refused(json!({ "person": NAME }), "`former.1` has requests").await;
    fs::remove_dir(&former).unwrap();
    assert!(!files_with(&lab.place.data(), NAME).is_empty());
    // Agents don't erase.
    let denied = bot.propose("person-erase", json!({ "person": NAME })).await;
    assert_eq!(denied.text("state"), "denied", "{denied:?}");
}

/// What a crash leaves between the steps is finished by asking again, and by the next start.
#[tokio::test]
async fn an_erasure_that_was_interrupted_can_be_done_again() {
    let (lab, ..) = lived_in().await;
    // As if the process had ended after the keys were said to be gone: they are still there.
    erase(&lab).await;
    let ada = lab.session("ada").await;
    for unknown in [NAME, "nobody@example.com", "person:ann"] {
        let refused = ada
            .propose("person-erase", json!({ "person": unknown }))
            .await;
        refused.refused(unknown, 422, "invalid_proposal");
    }
    let person = NAME.parse().unwrap();
    lab.gateway.keys.meet([&person]).unwrap();
    let again = erase(&lab).await;
    assert_eq!(again["result"]["keys_destroyed"], 1, "{again}");
    assert_eq!(files_with(&lab.place.data(), NAME), Vec::<String>::new());
    lab.verify().await;
}

/// What is older than the bundle says is destroyed and deleted by itself; what is open stays.
#[tokio::test]
async fn what_is_old_goes_by_itself() {
    let lab = Lab::with(|files| {
        let config = files.get_mut("countersign.toml").unwrap();
        config.push_str("\n[retention]\npayload = \"30d\"\nwords = \"60d\"\n");
    })
    .await;
    let (bot, ann) = (lab.bot().await, lab.session("ann").await);
    let done = bot.held("./tally one zebra-argument").await;
    approve_with_reason(&ann, &done, "marmalade-reason").await;
    bot.run("./tally one zebra-argument", 0).await;
    let open = bot.held("./tally one walrus").await;
    let in_days = |days: i64| {
        let now = lab.gateway.clock.now();
        countersign_core::time::Timestamp(now.0 + days * 24 * 3_600_000)
    };
    let erased = || {
        let entries = lab.records();
        let of = entries
            .iter()
            .filter(|entry| entry.kind() == "evidence.erased");
        of.map(|entry| entry.field("why").clone())
            .collect::<Vec<_>>()
    };
    let evidence = |text: &str| {
        let entries = lab.records();
        entries
            .iter()
            .any(|entry| entry.evidence.to_string().contains(text))
    };
    let apply = async |days| {
        countersign::gateway::retention::apply(&lab.gateway, in_days(days))
            .await
            .unwrap();
    };
    apply(29).await;
    assert_eq!(erased(), [] as [Value; 0]);
    assert!(
        lab.gateway
            .store
            .case(&done.parse().unwrap())
            .await
            .unwrap()
            .is_some()
    );
    apply(61).await;
    assert_eq!(erased(), [json!("retention")]);
    assert!(!evidence("zebra-argument") && evidence("marmalade-reason"));
    assert!(
        lab.gateway
            .store
            .case(&done.parse().unwrap())
            .await
            .unwrap()
            .is_none()
    );
    assert_eq!(lab.state(&open).await, "held");
    assert_eq!(
        files_with(&lab.place.data(), "zebra-argument"),
        Vec::<String>::new()
    );
    apply(91).await;
    assert!(!evidence("marmalade-reason"));
    lab.verify().await;
    // The next time there is nothing to do.
    let before = lab.records().len();
    apply(91).await;
    assert_eq!(lab.records().len(), before);
}
