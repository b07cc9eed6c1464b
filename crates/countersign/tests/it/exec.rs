//! What was approved is what runs, and the caller gets what it gave (P2, P8).

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use countersign_runner::inputs::{Bind, Keep, Limits, pack};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    Answer, Caller, Lab, argv, event,
    files::{TALLY, script},
    journal::Entry,
    process, text, until,
};

/// Uploads files; gives their digest.
pub(crate) async fn upload(caller: &Caller, files: &[(&str, &str)]) -> String {
    upload_files(caller, files).await.expect(200).text("digest")
}

/// Uploads files.
pub(crate) async fn upload_files(caller: &Caller, files: &[(&str, &str)]) -> Answer {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
        let mode = if text.starts_with("#!") { 0o755 } else { 0o644 };
        fs::set_permissions(dir.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    upload_dir(caller, dir.path()).await
}

async fn upload_dir(caller: &Caller, dir: &Path) -> Answer {
    let bind = Bind {
        source: dir.to_owned(),
        name: ".".into(),
    };
    let mut packed = pack(&[bind], &Keep::Everything, &Limits::default()).unwrap();
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut packed.archive, &mut bytes).unwrap();
    let request = caller.request(Method::POST, "/v1/inputs").body(bytes);
    Answer::of(request.send().await.unwrap()).await
}

/// What a command wrote to one stream.
fn written(events: &[Value], stream: &str) -> String {
    let pieces = events.iter().filter(|event| event["event"] == stream);
    let bytes = pieces.flat_map(|event| STANDARD.decode(event["data"].as_str().unwrap()).unwrap());
    String::from_utf8_lossy(&bytes.collect::<Vec<_>>()).into_owned()
}

/// Approves whatever a call asks and runs it again; gives the events of the second call.
async fn approved(lab: &Lab, bot: &Caller, call: &Value) -> Vec<Value> {
    let events = bot.run_with(call.clone()).await;
    let held = event(&events, "held").unwrap_or_else(|| panic!("{events:?}"));
    lab.session("ann")
        .await
        .approve(held["request"].as_str().unwrap())
        .await;
    bot.run_with(call.clone()).await
}

async fn shell(lab: &Lab, line: &str) -> Vec<Value> {
    let bot = lab.bot().await;
    approved(
        lab,
        &bot,
        &json!({ "argv": ["sh", "-c", line], "wait_ms": 0 }),
    )
    .await
}

/// Everything that gives a command its meaning, changed while its request waits.
#[tokio::test]
async fn what_changed_while_it_waited_does_not_run() {
    type Change = fn(&Lab);
    let table: [(&str, Change); 6] = [
        ("another program", |lab| {
            script(
                &lab.place.work().join("tally"),
                &format!("{TALLY}# other\n"),
            )
        }),
        ("no program", |lab| {
            fs::remove_file(lab.place.work().join("tally")).unwrap()
        }),
        ("not executable", |lab| {
            let path = lab.place.work().join("tally");
            fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
        }),
        ("a link to another program", |lab| {
            let path = lab.place.work().join("tally");
            fs::remove_file(&path).unwrap();
            symlink("/bin/true", path).unwrap();
        }),
        ("another interpreter", |lab| {
            script(
                &lab.place.work().join("tally"),
                &TALLY.replace("/bin/sh", "/bin/bash"),
            );
        }),
        ("another working directory", |lab| {
            let work = lab.place.work();
            fs::rename(&work, work.with_extension("old")).unwrap();
            fs::create_dir(&work).unwrap();
            script(&work.join("tally"), "#!/bin/sh\necho \"other $2\" >> ran\n");
        }),
    ];
    for (what, change) in table {
        let lab = Lab::new().await;
        let (bot, ann) = (lab.bot().await, lab.session("ann").await);
        let id = bot.held("./tally one x").await;
        ann.approve(&id).await;
        change(&lab);
        let last = bot.claim(&id, "./tally one x").await;
        assert_eq!(last["event"], "refused", "{what}: {last}");
        assert!(!last["message"].as_str().unwrap().is_empty(), "{what}");
        let state = lab.state(&id).await;
        assert!(
            ["failed", "approved"].contains(&state.as_str()),
            "{what}: {state}"
        );
        lab.nothing_ran().await;
    }
}

#[tokio::test]
async fn a_changed_target_does_not_run_what_was_approved_for_the_old_one() {
    type Change = fn(&str, &str) -> String;
    let table: [(&str, Change); 6] = [
        ("workdir", |text, work| {
            text.replace(&format!("workdir = \"{work}\""), "workdir = \"/tmp\"")
        }),
        ("timeout", |text, _| {
            text.replace("timeout = \"20s\"", "timeout = \"21s\"")
        }),
        ("output limit", |text, _| {
            text.replace("output_limit = 100000", "output_limit = 100001")
        }),
        ("variables", |text, _| {
            format!("{text}\n[target.tools.variables]\nPATH = \"/tmp\"\n")
        }),
        ("preload", |text, _| {
            format!("{text}\n[target.tools.variables]\nLD_PRELOAD = \"/tmp/x.so\"\n")
        }),
        ("credentials", |text, _| {
            let credentials = "credentials = [{ env = \"HOME\", as = \"SECRET\" }]\noutput_limit";
            text.replacen("output_limit", credentials, 1)
        }),
    ];
    for (what, change) in table {
        let lab = Lab::new().await;
        let (bot, ann) = (lab.bot().await, lab.session("ann").await);
        let id = bot.held("./tally one x").await;
        ann.approve(&id).await;
        let work = text(&lab.place.work());
        lab.apply(|files| {
            let config = files.get_mut("countersign.toml").unwrap();
            let changed = change(config, &work);
            assert_ne!(*config, changed, "{what}");
            *config = changed;
        })
        .await;
        let last = bot.claim(&id, "./tally one x").await;
        assert_eq!(last["event"], "refused", "{what}: {last}");
        // The same words mean something else now, so they are a new question.
        if what != "workdir" {
            let id_now = bot.held("./tally one x").await;
            assert_ne!(id, id_now, "{what}");
        }
        lab.nothing_ran().await;
    }
}

/// Captured files: what runs is what was uploaded, or nothing.
#[tokio::test]
async fn inputs_run_as_they_were_captured() {
    let lab = Lab::new().await;
    let (bot, ann) = (lab.bot().await, lab.session("ann").await);
    let ran = text(&lab.place.work().join("ran"));
    let program = |word: &str| format!("#!/bin/sh\necho {word} >> {ran}\n");
    let good = upload(&bot, &[("job", &program("good"))]).await;
    let evil = upload(&bot, &[("job", &program("evil"))]).await;
    let call = |digest: &str| json!({ "argv": ["./job"], "inputs": digest, "wait_ms": 0 });
    let file = |digest: &str| lab.place.data().join(format!("inputs/{digest}.tar"));
    let events = bot.run_with(call(&good)).await;
    let id = event(&events, "held").unwrap()["request"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        ann.see(&id).await["action"]
            .as_str()
            .unwrap()
            .contains(&good)
    );
    ann.approve(&id).await;
    // Another upload under the approved name, a changed byte, nothing at all.
    let kept = fs::read(file(&good)).unwrap();
    let mut flipped = kept.clone();
    let at = flipped
        .windows(4)
        .position(|window| window == b"good")
        .unwrap();
    flipped[at] = b'f';
    for (what, bytes) in [
        ("exchanged", Some(fs::read(file(&evil)).unwrap())),
        ("edited", Some(flipped)),
        ("gone", None),
    ] {
        match bytes {
            Some(bytes) => fs::write(file(&good), bytes).unwrap(),
            None => fs::remove_file(file(&good)).unwrap(),
        }
        // Asked anew it is refused before anybody is asked.
        let anew = bot.run_with(call(&good)).await;
        assert_eq!(
            anew.last().unwrap()["code"],
            "invalid_call",
            "{what}: {anew:?}"
        );
    }
    fs::write(file(&good), &kept).unwrap();
    fs::write(file(&good), fs::read(file(&evil)).unwrap()).unwrap();
    let claim = json!({ "wait_ms": 0, "claim": id });
    let last = bot.run_with(claim).await.pop().unwrap();
    assert_eq!(last["event"], "refused", "{last}");
    lab.nothing_ran().await;
    fs::write(file(&good), &kept).unwrap();
    // Whether or not the approval is used up by that, the right content runs after a new one.
    let events = bot.run_with(call(&good)).await;
    if let Some(held) = event(&events, "held") {
        ann.approve(held["request"].as_str().unwrap()).await;
        bot.run_with(call(&good)).await;
    }
    assert_eq!(lab.place.ran(), ["good"]);
    lab.verify().await;
}

/// What a reviewer reads cannot be dressed up by the words.
#[tokio::test]
async fn tricks_in_the_words_are_visible() {
    let lab = Lab::new().await;
    let (bot, ann) = (lab.bot().await, lab.session("ann").await);
    for (what, word, shown) in [
        ("newline", "a\nexecutable   /bin/true", "\\n"),
        ("carriage return", "rm\r-rf", "\\r"),
        ("escape", "\u{1b}[2K\u{1b}[1A", "\\e"),
        ("bidi", "\u{202e}txt.exe", "\\u202e"),
        ("isolate", "a\u{2066}b", "\\u2066"),
        ("zero width", "ad\u{200b}min", "\\u200b"),
        ("no-break space", "a\u{a0}b", "\\u00a0"),
        ("tag", "a\u{e0041}b", "\\U000e0041"),
        ("backspace", "good\u{8}\u{8}", "\\x08"),
        ("look-alike", "p\u{430}ypal", "!"),
        ("right to left", "\u{5d0}\u{5d1}", "\\u05d0"),
    ] {
        let call = json!({ "argv": ["echo", word], "wait_ms": 0 });
        let events = bot.run_with(call).await;
        let id = event(&events, "held").unwrap()["request"]
            .as_str()
            .unwrap()
            .to_owned();
        let seen = ann.see(&id).await;
        let action = seen["action"].as_str().unwrap();
        let lower = action.to_lowercase();
        assert!(lower.contains(&shown.to_lowercase()), "{what}: {action}");
        for text in [
            action,
            seen["title"].as_str().unwrap(),
            seen["blast_radius"].as_str().unwrap(),
        ] {
            let hidden = text.chars().any(|c| {
                (c.is_control() && c != '\n') || "\u{202e}\u{2066}\u{200b}\u{e0041}".contains(c)
            });
            assert!(!hidden, "{what}: {text:?}");
        }
        assert_eq!(
            action.matches("\nexecutable ").count(),
            1,
            "{what}: {action}"
        );
    }
    lab.nothing_ran().await;
}

/// What can't be shown whole is not approved with one click.
#[tokio::test]
async fn a_long_action_needs_its_digest_typed() {
    let lab = Lab::new().await;
    let (bot, ann) = (lab.bot().await, lab.session("ann").await);
    let call = json!({ "argv": ["echo", "x".repeat(9_000)], "wait_ms": 0 });
    let events = bot.run_with(call.clone()).await;
    let id = event(&events, "held").unwrap()["request"]
        .as_str()
        .unwrap()
        .to_owned();
    let seen = ann.see(&id).await;
    assert_eq!(seen["needs_typed_digest"], true);
    ann.vote_seen(&id, "approve", &seen)
        .await
        .refused("one click", 422, "digest_not_typed");
    let digest = seen["digest"].as_str().unwrap();
    let body = |typed: &str| json!({ "verdict": "approve", "digest": digest, "act": seen["act"], "typed_digest": typed });
    let path = format!("/v1/requests/{id}/votes");
    let wrong = "other_digest_typed";
    for (typed, code) in [
        ("", "digest_not_typed"),
        ("00000000", wrong),
        (&digest[..7], wrong),
        (digest, wrong),
    ] {
        ann.post(&path, &body(typed))
            .await
            .refused(typed, 422, code);
    }
    ann.post(&path, &body(&digest[..8])).await.expect(200);
    let ran = bot.run_with(call).await;
    assert_eq!(written(&ran, "stdout").len(), 9_001);
    lab.verify().await;
}

/// Output, exit status, signals and limits reach the caller as they are.
#[tokio::test]
async fn the_caller_gets_what_the_command_gave() {
    let lab = Lab::with(|files| {
        let config = files.get_mut("countersign.toml").unwrap();
        *config = config.replace("timeout = \"20s\"", "timeout = \"1s\"");
    })
    .await;
    for (line, status, outcome) in [
        ("exit 0", 0, "succeeded"),
        ("exit 3", 3, "failed"),
        ("exit 77", 77, "failed"),
        ("kill -TERM $$", 143, "failed"),
        ("kill -KILL $$", 137, "failed"),
        ("sleep 30", 124, "failed"),
        ("head -c 200000 /dev/zero", 125, "failed"),
    ] {
        let events = shell(&lab, line).await;
        let last = events.last().unwrap();
        assert_eq!(
            (&last["event"], &last["status"]),
            (&json!("exited"), &json!(status)),
            "{line}: {last}"
        );
        assert_eq!(last["outcome"], outcome, "{line}");
    }
    let events = shell(&lab, "printf 'out\\0\\377'; printf err >&2; exit 9").await;
    let first = event(&events, "stdout").unwrap()["data"].as_str().unwrap();
    assert_eq!(STANDARD.decode(first).unwrap(), b"out\0\xff");
    assert_eq!(written(&events, "stderr"), "err");
    assert_eq!(events.last().unwrap()["status"], 9);
    lab.verify().await;
}

/// Nothing of the gateway's own surroundings reaches a command, and of the caller's only what is
/// allowed.
#[tokio::test]
async fn a_command_has_a_clean_environment() {
    let secret = "sesame-open-9f8e7d";
    let lab = Lab::with(|files| {
        let config = files.get_mut("countersign.toml").unwrap();
        let credentials =
            "credentials = [{ file = \"the.secret\", as = \"SECRET\" }]\noutput_limit";
        *config = config.replacen("output_limit", credentials, 1);
    })
    .await;
    let file = lab.place.config().join("the.secret");
    fs::write(&file, secret).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let bot = lab.bot().await;
    let call = json!({ "argv": ["env"], "env": { "COLOUR": "red\nX=1" }, "wait_ms": 0 });
    let events = approved(&lab, &bot, &call).await;
    let out = written(&events, "stdout");
    let mut names: Vec<_> = out
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|pair| pair.0)
        .collect();
    names.sort_unstable();
    // The runner's own mark, and the user's name where commands run as somebody.
    names.retain(|name| !["COUNTERSIGN_RUN", "LOGNAME", "USER"].contains(name));
    assert_eq!(
        names,
        [
            "COLOUR",
            "GIT_CEILING_DIRECTORIES",
            "HOME",
            "LANG",
            "PATH",
            "SECRET",
            "TMPDIR",
            "X"
        ],
        "{out}"
    );
    assert!(!out.contains(secret), "{out}");
    // Masked wherever it comes out, also in pieces and at the other stream.
    let events = shell(&lab, "printf %s \"$SECRET\"; printf '<%s>' \"$SECRET\" >&2; printf sesame-; sleep 0.1; printf open-9f8e7d").await;
    for stream in ["stdout", "stderr"] {
        assert!(!written(&events, stream).contains(secret), "{events:?}");
    }
    for (name, value) in [
        ("PATH", "/tmp"),
        ("LD_PRELOAD", "/tmp/x.so"),
        ("SECRET", "mine"),
        ("OTHER", "1"),
        ("", "1"),
        ("A=B", "1"),
        ("COLOUR", "nul\0"),
        ("GIT_DIR", "/tmp"),
    ] {
        let call = json!({ "argv": ["env"], "env": { name: value }, "wait_ms": 0 });
        let events = bot.run_with(call).await;
        assert_eq!(
            events.last().unwrap()["code"],
            "invalid_call",
            "{name}: {events:?}"
        );
    }
    lab.verify().await;
}

/// Calls that can't be run are refused before anybody is asked to approve them.
#[tokio::test]
async fn what_cannot_run_is_not_asked() {
    let lab = Lab::new().await;
    let bot = lab.bot().await;
    let size = lab.gateway.log.size();
    for call in [
        json!({ "argv": [], "wait_ms": 0 }),
        json!({ "argv": [""], "wait_ms": 0 }),
        json!({ "argv": ["no-such-program"], "wait_ms": 0 }),
        json!({ "argv": ["../outside"], "wait_ms": 0 }),
        json!({ "argv": ["/etc/passwd"], "wait_ms": 0 }),
        json!({ "argv": ["echo", "a\0b"], "wait_ms": 0 }),
        json!({ "argv": ["ec\0ho"], "wait_ms": 0 }),
        json!({ "argv": ["echo"], "target": "nowhere", "wait_ms": 0 }),
        json!({ "argv": ["echo"], "target": "countersign", "wait_ms": 0 }),
        json!({ "argv": ["echo"], "target": "a b", "wait_ms": 0 }),
        json!({ "argv": ["echo"], "inputs": "00", "wait_ms": 0 }),
        json!({ "argv": ["echo"], "inputs": "0".repeat(64), "wait_ms": 0 }),
        json!({ "argv": ["echo"], "reason": "r".repeat(5_000), "wait_ms": 0 }),
    ] {
        let events = bot.run_with(call.clone()).await;
        assert_eq!(
            events.last().unwrap()["code"],
            "invalid_call",
            "{call}: {events:?}"
        );
    }
    assert_eq!(lab.gateway.log.size(), size);
    lab.nothing_ran().await;
}

/// The command line's side: waiting, giving up, coming back.
#[tokio::test]
async fn the_command_line_waits_gives_up_and_attaches() {
    let lab = Lab::new().await;
    let (bot, ann) = (lab.bot().await, lab.session("ann").await);
    let run = |options: &[&str], words: &str| {
        let words = argv(words);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        process::run(&lab.url, &bot.secret, options, &words)
    };
    let free = process::finish(run(&[], "./tally free f")).await;
    assert_eq!(free.status.code(), Some(0), "{}", process::errors(&free));
    let never = process::finish(run(&[], "./tally never x")).await;
    assert_eq!(never.status.code(), Some(77), "{}", process::errors(&never));
    assert!(
        process::errors(&never).contains("History stays"),
        "{}",
        process::errors(&never)
    );
    let held = process::finish(run(&["--wait", "0s"], "./tally one x")).await;
    assert_eq!(held.status.code(), Some(75), "{}", process::errors(&held));
    let id = lab.gateway.store.in_phase("held").await.unwrap()[0].to_string();
    assert!(
        process::errors(&held).contains(&id),
        "{}",
        process::errors(&held)
    );
    // Ctrl-C ends the wait, not the request.
    let mut waiting = run(&[], "./tally one x").spawn().unwrap();
    tokio::time::sleep(Duration::from_millis(700)).await;
    let pid = nix::unistd::Pid::from_raw(i32::try_from(waiting.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    let ended = tokio::task::spawn_blocking(move || waiting.wait().unwrap())
        .await
        .unwrap();
    assert_eq!(ended.code(), Some(130));
    assert_eq!(lab.state(&id).await, "held");
    // The same call attaches, waits, and ends with the command's own status.
    let again = tokio::spawn(process::finish(run(&[], "./tally one x")));
    tokio::time::sleep(Duration::from_millis(300)).await;
    ann.approve(&id).await;
    let again = again.await.unwrap();
    assert_eq!(again.status.code(), Some(0), "{}", process::errors(&again));
    assert_eq!(lab.place.ran(), ["f", "x"]);
    lab.verify().await;
}

/// A caller that goes away in the middle leaves the command alone, and its outcome is recorded.
#[tokio::test]
async fn a_running_command_outlives_its_caller() {
    let lab = Lab::new().await;
    let bot = lab.bot().await;
    let call = json!({ "target": "tools", "argv": argv("./tally slow x"), "wait_ms": 0 });
    let mut stream = bot
        .request(Method::POST, "/v1/run")
        .json(&call)
        .send()
        .await
        .unwrap();
    let started = stream.chunk().await.unwrap().unwrap();
    assert!(String::from_utf8_lossy(&started).contains("started"));
    drop(stream);
    let id = crate::support::events(&String::from_utf8_lossy(&started))[0]["request"].clone();
    until("the outcome", || async {
        let of = |entry: &Entry| entry.kind() == "action.outcome" && entry.request() == id.as_str();
        lab.records().iter().any(of)
    })
    .await;
    assert_eq!(lab.place.ran(), ["x"]);
    lab.verify().await;
}
