//! What reviewers see of captured files, and when one click is enough (P8).

use serde_json::json;

use crate::{
    exec::upload,
    support::{Lab, event},
};

/// A target that shows what its files say, with the words of `preview`.
async fn lab(preview: &str) -> Lab {
    let preview = preview.to_owned();
    Lab::with(move |files| {
        let config = files.get_mut("countersign.toml").unwrap();
        config.push_str(&format!(
            "\n[[target.tools.command]]\nargv = [\"cat\", \"{{name:word}}\"]\naction = \"cat\"\n\
             group = \"execute\"\ninputs = \"allowed\"\npreview = {preview}\n"
        ));
    })
    .await
}

/// What the page says of `cat name` over these files, and whether it takes a typed digest.
async fn shown(lab: &Lab, name: &str, files: &[(&str, &str)]) -> (String, bool) {
    let bot = lab.bot().await;
    let inputs = upload(&bot, files).await;
    let call = json!({ "argv": ["cat", name], "inputs": inputs, "wait_ms": 0 });
    let events = bot.run_with(call).await;
    let held = event(&events, "held").unwrap_or_else(|| panic!("{events:?}"));
    let id = held["request"].as_str().unwrap();
    let seen = lab.session("ann").await.see(id).await;
    let typed = seen["needs_typed_digest"].as_bool().unwrap();
    (seen["action"].as_str().unwrap().to_owned(), typed)
}

#[tokio::test]
async fn a_whole_preview_can_be_approved_with_one_click() {
    let lab = lab(r#"["sh", "-c", "echo as `id -un`; echo $COLOUR; cat {name}"]"#).await;
    let big = "x".repeat(5_000);
    let files = [("plan", "drop nothing\n\u{1b}[2Jand more"), ("data", &big)];
    let (page, typed) = shown(&lab, "plan", &files).await;
    assert!(!typed, "{page}");
    assert!(page.contains("\n  │ drop nothing\n"), "{page}");
    assert!(page.contains("⟨U+001B⟩[2Jand more"), "{page}");
    if nix::unistd::geteuid().is_root() {
        // Whatever user the command would run as, nothing has been approved yet.
        assert!(page.contains("  │ as nobody\n"), "{page}");
    }
}

#[tokio::test]
async fn what_a_preview_leaves_out_takes_a_second_look() {
    let failing = lab(r#"["sh", "-c", "echo begun; exit 3"]"#).await;
    let (page, typed) = shown(&failing, "a", &[("a", "text")]).await;
    assert!(typed, "{page}");
    assert!(page.contains("  │ begun\n"), "{page}");
    assert!(
        page.contains("! not the whole preview: it failed with status 3"),
        "{page}"
    );

    let endless = lab(r#"["sh", "-c", "while :; do echo more; done"]"#).await;
    let (page, typed) = shown(&endless, "a", &[("a", "text")]).await;
    assert!(
        typed && page.contains("there is more than can be shown"),
        "{page}"
    );

    let missing = lab(r#"["no-such-program", "{name}"]"#).await;
    let (page, typed) = shown(&missing, "a", &[("a", "text")]).await;
    assert!(
        typed && page.contains("! not the whole preview: "),
        "{page}"
    );
}

/// A preview runs before anybody decided: it gets the files and nothing else.
#[tokio::test]
async fn a_preview_reaches_no_target() {
    let lab = lab(r#"["sh", "-c", "pwd; env; ls -a; touch touched"]"#).await;
    let (page, _) = shown(&lab, "a", &[("a", "text")]).await;
    let work = lab.place.work();
    assert!(!page.contains(&format!("│ {}\n", work.display())), "{page}");
    assert!(!work.join("touched").exists());
    lab.nothing_ran().await;
}

#[tokio::test]
async fn without_a_preview_texts_are_shown_and_the_rest_takes_a_second_look() {
    let lab = lab("[]").await;
    let (page, typed) = shown(&lab, "a", &[("a", "one\ntwo\n")]).await;
    assert!(!typed, "{page}");
    assert!(page.contains("a  8 bytes\n  │ one\n  │ two\n"), "{page}");

    let (page, typed) = shown(&lab, "a", &[("a", "zero \0 byte")]).await;
    assert!(typed, "{page}");
    assert!(page.contains(", not shown\n"), "{page}");

    let big = "x".repeat(5_000);
    let (_, typed) = shown(&lab, "a", &[("a", &big)]).await;
    assert!(typed);
}
