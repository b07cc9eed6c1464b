//! Secrets in what is asked: shown to nobody, kept nowhere but sealed, passed on as they were sent.

use std::fs;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::support::{Caller, Lab, event, process::countersign};

/// Put together here, so that no scanner takes it for a leak.
fn token(ending: &str) -> String {
    let random = "a1B2c3D4e5F6g7H8i9J0a1B2c3D4e5F6g7H8";
    ["gh", "p_", &random[..36 - ending.len()], ending].concat()
}

const MASK: &str = "‹github-token 40›";
const OWN: &str = "
[secret.acme]
pattern = 'acme_[a-z]{8}'
[secret.colour]
pattern = '^COLOUR=(?P<secret>secret-.+)$'
";

/// A command that leaves behind what it was given in a variable.
const PAINT: &str = "
[[target.tools.command]]
argv = [\"sh\", \"-c\", \"echo $COLOUR >> ran\"]
action = \"paint\"
group = \"read\"
";

async fn lab() -> Lab {
    let more = |files: &mut std::collections::BTreeMap<String, String>| {
        let config = files.get_mut("countersign.toml").unwrap();
        config.push_str(OWN);
        config.push_str(PAINT);
    };
    Lab::with(more).await
}

/// The requests whose secrets are kept.
fn kept(lab: &Lab) -> Vec<String> {
    let entries = fs::read_dir(lab.place.data().join("secrets")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.collect()
}

async fn none_kept(lab: &Lab) {
    crate::support::until("the secrets are destroyed", || async {
        kept(lab).is_empty()
    })
    .await;
}

/// Files below a directory that have a text, and everything in the record's evidence that has.
fn places_with(lab: &Lab, text: &str) -> Vec<String> {
    let mut found = crate::erasing::files_with(&lab.place.data(), &text.to_ascii_lowercase());
    for record in lab.records() {
        if record.evidence.to_string().contains(text) {
            found.push(format!("the evidence of {}", record.kind()));
        }
    }
    found
}

/// What somebody reads who gets the receipt of a request.
fn opened_receipt(lab: &Lab, id: &str) -> String {
    let made = countersign()
        .args(["log", "prove", id])
        .current_dir(lab.place.data())
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let text = String::from_utf8(made.stdout).unwrap();
    let words = text.split_whitespace();
    let decoded = words.filter_map(|word| STANDARD.decode(word).ok());
    let decoded = decoded.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    decoded.chain([text.clone()]).collect()
}

async fn held(bot: &Caller, argv: &[&str]) -> String {
    let events = bot.run_with(json!({ "argv": argv, "wait_ms": 0 })).await;
    let held = event(&events, "held").unwrap_or_else(|| panic!("{events:?}"));
    held["request"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_secret_is_seen_by_the_command_alone() {
    let (lab, secret) = (lab().await, token("x1"));
    let (bot, ann) = (lab.bot().await, lab.session("ann").await);
    let call = json!({
        "argv": ["./tally", "one", secret],
        "wait_ms": 0,
        "reason": format!("rotating {secret}"),
        "origin": { "task": format!("task {secret}") },
    });
    let events = bot.run_with(call).await;
    let id = event(&events, "held").unwrap()["request"]
        .as_str()
        .unwrap()
        .to_owned();
    let said = json!({ "text": format!("is {secret} meant?") });
    ann.post(&format!("/v1/requests/{id}/questions"), &said)
        .await
        .expect(200);

    assert_eq!(kept(&lab), std::slice::from_ref(&id));
    assert_eq!(places_with(&lab, &secret), Vec::<String>::new());
    assert_ne!(places_with(&lab, MASK), Vec::<String>::new());
    let seen = ann.see(&id).await;
    assert!(!seen.to_string().contains(&secret));
    assert_eq!(seen["arguments"]["argv"], json!(["./tally", "one", MASK]));
    let masked = json!([
        { "at": "/argv/2", "kind": "github-token", "length": 40, "start": 0, "verified": true },
    ]);
    assert_eq!(seen["masked"], masked);
    let action = seen["action"].as_str().unwrap();
    assert!(action.contains("masked       1 secret"), "{action}");
    assert!(
        action.contains("github-token in word 3: 40 characters"),
        "{action}"
    );
    assert_eq!(seen["needs_typed_digest"], false);
    for said in [
        &seen["reason"],
        &seen["origin"]["task"],
        &seen["conversation"][0]["text"],
    ] {
        assert!(said.as_str().unwrap().contains(MASK), "{said}");
    }

    // Another secret of the same look is another action; the same one finds its request, also after
    // a restart.
    let other = held(&bot, &["./tally", "one", &token("x2")]).await;
    assert_ne!(other, id);
    assert_eq!(held(&bot, &["./tally", "one", &secret]).await, id);
    bot.post(&format!("/v1/requests/{other}/cancel"), &json!({}))
        .await
        .expect(200);
    let lab = lab.restart().await;
    let (bot, ann) = (lab.bot().await, lab.session("ann").await);
    assert_eq!(kept(&lab), std::slice::from_ref(&id));
    ann.approve(&id).await;
    assert_eq!(bot.claim(&id, "").await["event"], "exited");
    assert_eq!(lab.place.ran(), std::slice::from_ref(&secret));
    none_kept(&lab).await;
    assert_eq!(places_with(&lab, &secret), Vec::<String>::new());
    lab.verify().await;
    let shown = opened_receipt(&lab, &id);
    assert!(shown.contains(MASK) && !shown.contains(&secret), "{shown}");
}

#[tokio::test]
async fn what_policy_permits_runs_with_its_secrets_and_keeps_none() {
    let (lab, secret) = (lab().await, token("y1"));
    let bot = lab.bot().await;
    let with_secret = async |argv: Value| {
        bot.run_with(json!({ "argv": argv, "env": { "COLOUR": secret }, "wait_ms": 0 }))
            .await
    };
    let events = with_secret(json!(["sh", "-c", "echo $COLOUR >> ran"])).await;
    assert_eq!(events.last().unwrap()["event"], "exited", "{events:?}");
    let denied = with_secret(json!(["./tally", "never", "x"])).await;
    assert_eq!(denied.last().unwrap()["code"], "denied", "{denied:?}");
    assert_eq!(lab.place.ran(), std::slice::from_ref(&secret));
    assert_eq!(kept(&lab), Vec::<String>::new());
    assert_eq!(places_with(&lab, &secret), Vec::<String>::new());
    lab.verify().await;
}

/// However a request ends, its secrets end with it.
#[tokio::test]
async fn secrets_go_when_the_request_ends() {
    let lab = lab().await;
    let (bot, ann) = (lab.bot().await, lab.session("ann").await);
    let denied = held(&bot, &["./tally", "one", &token("a1")]).await;
    let cancelled = held(&bot, &["./tally", "one", &token("a2")]).await;
    let short = json!({ "argv": ["./tally", "short", "w"], "env": { "COLOUR": token("a3") }, "wait_ms": 0 });
    assert!(event(&bot.run_with(short).await, "held").is_some());
    let stays = held(&bot, &["./tally", "one", &token("a4")]).await;
    assert_eq!(kept(&lab).len(), 4);
    ann.vote(&denied, "deny").await.expect(200);
    bot.post(&format!("/v1/requests/{cancelled}/cancel"), &json!({}))
        .await
        .expect(200);
    crate::support::until("the others are destroyed", || async {
        kept(&lab) == [stays.clone()]
    })
    .await;

    // A crash between the end and the file, and between the file and the request.
    let place = lab.stop().await;
    let secrets = place.data().join("secrets");
    let file = fs::read(secrets.join(&stays)).unwrap();
    for id in [denied.as_str(), "req_00000000000000000000000000"] {
        fs::write(secrets.join(id), &file).unwrap();
    }
    // A link leads to nothing that is overwritten.
    let other = place.dir.path().join("other");
    fs::write(&other, "untouched").unwrap();
    let link = secrets.join("req_00000000000000000000000001");
    std::os::unix::fs::symlink(&other, &link).unwrap();
    let lab = Lab::at(place).await;
    assert_eq!(fs::read_to_string(other).unwrap(), "untouched");
    fs::remove_file(link).unwrap();
    assert_eq!(kept(&lab), [stays]);
}

#[tokio::test]
async fn without_its_very_secret_nothing_runs() {
    let lab = lab().await;
    let (bot, ann) = (lab.bot().await, lab.session("ann").await);
    let one = held(&bot, &["./tally", "one", &token("b1")]).await;
    let two = held(&bot, &["./tally", "one", &token("b2")]).await;
    ann.approve(&one).await;
    ann.approve(&two).await;
    let path = |id: &str| lab.place.data().join("secrets").join(id);
    let (first, second) = (fs::read(path(&one)).unwrap(), fs::read(path(&two)).unwrap());
    let mut flipped = first.clone();
    *flipped.last_mut().unwrap() ^= 1;
    for (what, bytes) in [
        ("another request's", second),
        ("one bit", flipped),
        ("cut short", first[..20].to_vec()),
        ("nothing", Vec::new()),
    ] {
        fs::write(path(&one), bytes).unwrap();
        let refused = bot.claim(&one, "").await;
        assert_eq!(refused["code"], "secrets_gone", "{what}: {refused}");
    }
    fs::remove_file(path(&one)).unwrap();
    assert_eq!(bot.claim(&one, "").await["code"], "secrets_gone");
    assert_eq!(lab.state(&one).await, "approved");
    lab.nothing_ran().await;
    fs::write(path(&one), first).unwrap();
    assert_eq!(bot.claim(&one, "").await["event"], "exited");
    assert_eq!(lab.place.ran(), [token("b1")]);
}

/// What could hide something else than a secret is not approved with one click (P8).
#[tokio::test]
async fn a_mask_that_could_hide_anything_takes_a_typed_digest() {
    let lab = lab().await;
    let (bot, ann) = (lab.bot().await, lab.session("ann").await);
    for (argv, env, shown) in [
        (
            vec!["sh", "-c", "curl http://u:hunter2@example.com"],
            json!({}),
            "'curl http://u:‹password 7›@example.com'",
        ),
        (vec!["echo", "acme_abcdefgh"], json!({}), "‹acme 13›"),
        (
            vec!["echo", "x"],
            json!({ "COLOUR": "secret-blue" }),
            "COLOUR='‹colour 11›'",
        ),
    ] {
        let call = json!({ "argv": argv, "env": env, "wait_ms": 0 });
        let events = bot.run_with(call).await;
        let id = event(&events, "held").unwrap()["request"]
            .as_str()
            .unwrap()
            .to_owned();
        let seen = ann.see(&id).await;
        assert!(seen["action"].as_str().unwrap().contains(shown), "{seen}");
        let action = seen["action"].as_str().unwrap();
        assert!(
            action.contains("characters; it could be any text\n"),
            "{action}"
        );
        assert_eq!(seen["needs_typed_digest"], true);
    }
    // What only looks like a mask is text, and said to be.
    let id = held(&bot, &["echo", MASK]).await;
    let seen = ann.see(&id).await;
    assert_eq!(seen["masked"], json!([]));
    let action = seen["action"].as_str().unwrap();
    assert!(
        action.contains("in word 2 was sent as text; it masks nothing"),
        "{action}"
    );
}

/// What looks like a secret never dodges what policy says of a named command: it is an unnamed one.
#[tokio::test]
async fn no_placeholder_takes_a_secret_or_a_piece_of_one() {
    let pattern = "
[secret.pin]
pattern = '--pin=(?P<secret>[0-9]+)'
[[target.tools.command]]
argv = [\"./tally\", \"login\", \"ghp_{rest:word}\"]
action = \"login\"
group = \"read\"
[[target.tools.command]]
argv = [\"./tally\", \"login\", \"--pin={pin:number}\"]
action = \"pin\"
group = \"read\"
";
    let lab = Lab::with(|files| files.get_mut("countersign.toml").unwrap().push_str(pattern)).await;
    let (bot, ann) = (lab.bot().await, lab.session("ann").await);
    let secret = token("e1");
    for (argv, told) in [
        (["./tally", "free", &secret], secret.as_str()),
        (["./tally", "login", &secret], &secret[4..]),
        (["./tally", "login", "--pin=739182645511"], "739182645511"),
    ] {
        let id = held(&bot, &argv).await;
        let seen = ann.see(&id).await;
        assert_eq!(seen["rules"][0]["name"], "one", "{seen}");
        assert_eq!(places_with(&lab, told), Vec::<String>::new(), "{argv:?}");
    }
    lab.nothing_ran().await;
}

/// What an error says of a command that was made whole again is told without its secrets.
#[tokio::test]
async fn an_error_names_no_secret() {
    let (lab, secret) = (lab().await, token("g1"));
    let (bot, ann) = (lab.bot().await, lab.session("ann").await);
    let program = lab.place.work().join(&secret);
    crate::support::files::script(&program, "#!/bin/sh\n");
    let id = held(&bot, &[&format!("./{secret}"), "x"]).await;
    let seen = ann.see(&id).await;
    assert_eq!(
        seen["needs_typed_digest"], true,
        "a program is no value: {seen}"
    );
    let digest = seen["digest"].as_str().unwrap();
    let vote = json!({
        "verdict": "approve", "digest": digest, "act": seen["act"], "typed_digest": &digest[..8],
    });
    ann.post(&format!("/v1/requests/{id}/votes"), &vote)
        .await
        .expect(200);
    fs::remove_file(program).unwrap();
    bot.claim(&id, "").await;
    assert_eq!(lab.state(&id).await, "failed");
    lab.verify().await;
    assert_eq!(places_with(&lab, &secret), Vec::<String>::new());
    assert!(!opened_receipt(&lab, &id).contains(&secret));
    assert_ne!(places_with(&lab, MASK), Vec::<String>::new());
}

/// A call that is not held leaves nothing behind, however it is refused.
#[tokio::test]
async fn refused_calls_leave_no_secrets() {
    let lab =
        Lab::with(|files| crate::support::files::limit(files, "max_held_per_subject", 1)).await;
    let bot = lab.bot().await;
    held(&bot, &["./tally", "one", &token("h0")]).await;
    for ending in ["h1", "h2", "h3"] {
        let events = bot.run(&format!("./tally one {}", token(ending)), 0).await;
        assert_eq!(
            events.last().unwrap()["code"],
            "too_many_held",
            "{events:?}"
        );
    }
    assert_eq!(kept(&lab).len(), 1);
}

#[tokio::test]
async fn an_amendment_keeps_secrets_in_words_that_stay() {
    let (lab, secret) = (lab().await, token("c1"));
    let (bot, ann, bob) = (
        lab.bot().await,
        lab.session("ann").await,
        lab.session("bob").await,
    );
    let id = held(&bot, &["./tally", "one", &secret]).await;
    let path = format!("/v1/requests/{id}/amendments");
    let propose = async |argv: Value| {
        let body = json!({ "argv": argv, "text": "rather this" });
        ann.post(&path, &body).await
    };
    for argv in [
        json!(["./tally", "one", format!("x{MASK}")]),
        json!(["./tally", "one", "‹github-token 41›"]),
    ] {
        let refused = propose(argv).await;
        refused.refused("a mask without a secret", 400, "invalid_request");
    }
    assert_eq!(lab.state(&id).await, "held");
    propose(json!(["./tally", "two", MASK])).await.expect(200);
    let told = bot.claim(&id, "").await;
    let into = told["amended"].as_str().unwrap().to_owned();
    assert!(!ann.see(&into).await.to_string().contains(&secret));
    bob.approve(&into).await;
    assert_eq!(bot.claim(&into, "").await["event"], "exited");
    assert_eq!(lab.place.ran(), std::slice::from_ref(&secret));
    none_kept(&lab).await;
    assert_eq!(places_with(&lab, &secret), Vec::<String>::new());
    lab.verify().await;
}

/// Files that come along are shown without their secrets, too.
#[tokio::test]
async fn texts_among_inputs_are_shown_without_secrets() {
    let (lab, secret) = (lab().await, token("d1"));
    let (bot, ann) = (lab.bot().await, lab.session("ann").await);
    let script = format!(
        "#!/bin/sh\necho {secret} >> {}/ran\n",
        lab.place.work().display()
    );
    let digest = crate::exec::upload(&bot, &[("tally", &script)]).await;
    let call = json!({ "argv": ["./tally", "one", "w"], "inputs": digest, "wait_ms": 0 });
    let events = bot.run_with(call.clone()).await;
    let id = event(&events, "held").unwrap()["request"]
        .as_str()
        .unwrap()
        .to_owned();
    let seen = ann.see(&id).await;
    let action = seen["action"].as_str().unwrap();
    assert!(action.contains(&format!("echo {MASK} >>")), "{action}");
    assert_eq!(seen["needs_typed_digest"], false);
    ann.approve(&id).await;
    let events = bot.run_with(call).await;
    assert_eq!(events.last().unwrap()["event"], "exited", "{events:?}");
    assert_eq!(lab.place.ran(), [secret]);
}

/// The names of files that come along have no secrets either, nor have those that links lead to.
#[tokio::test]
async fn names_of_inputs_are_shown_without_secrets() {
    let (lab, secret) = (lab().await, token("e1"));
    let (bot, ann) = (lab.bot().await, lab.session("ann").await);
    let named = format!("{secret}.txt");
    let files = [("tally", "#!/bin/sh\necho here >> ran\n"), (&named, "x\n")];
    let digest = crate::exec::upload(&bot, &files).await;
    let call = json!({ "argv": ["./tally", "one", "w"], "inputs": digest, "wait_ms": 0 });
    let events = bot.run_with(call).await;
    let held = event(&events, "held").unwrap();
    let id = held["request"].as_str().unwrap().to_owned();
    let seen = ann.see(&id).await;
    let action = seen["action"].as_str().unwrap();
    assert!(action.contains(&format!("{MASK}.txt")), "{action}");
    for said in [seen.to_string(), json!(events).to_string()] {
        assert!(!said.contains(&secret), "{said}");
    }
    let cancelled = format!("/v1/requests/{id}/cancel");
    // The files themselves stay until the request ends, and nothing else has the name.
    bot.post(&cancelled, &json!({})).await.expect(200);
    for record in lab.records() {
        assert!(!record.evidence.to_string().contains(&secret));
    }
    let database = fs::read(lab.place.data().join("countersign.db")).unwrap();
    let is_there = |window: &[u8]| window == secret.as_bytes();
    assert!(!database.windows(secret.len()).any(is_there));
}

/// Where the caller runs the command, too, what is kept is what classifies it again at the claim.
#[tokio::test]
async fn local_commands_are_masked_and_run_by_their_caller() {
    let (bench, secret) = (crate::local::Bench::new().await, token("f1"));
    let colour = format!("COLOUR={secret}");
    let options = ["--wait", "60s", "--env", &colour];
    let program = "#!/bin/sh\necho \"$COLOUR\" >> ran\n";
    crate::support::files::script(&bench.here.path().join("deploy"), program);
    let waiting = bench.run(&options, &["./deploy", "w"]);
    let deciding = async {
        let id = bench.held().await;
        let seen = bench.ann.see(&id).await;
        assert_eq!(seen["arguments"]["env"], json!({ "COLOUR": MASK }));
        assert!(!seen.to_string().contains(&secret));
        assert_eq!(kept(&bench.lab), std::slice::from_ref(&id));
        bench.ann.approve(&id).await;
    };
    let (ran, ()) = tokio::join!(waiting, deciding);
    assert_eq!(ran.status.code(), Some(0), "{ran:?}");
    assert!(bench.ran().contains(&secret));
    none_kept(&bench.lab).await;
    assert_eq!(places_with(&bench.lab, &secret), Vec::<String>::new());
    bench.lab.verify().await;
}
