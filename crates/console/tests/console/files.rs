//! What templates and assets must not contain, so that the strict content policy holds.

use std::{fs, path::Path};

use countersign_console::{
    CONTENT_SECURITY_POLICY,
    asset::{CSS, JS, LOGO},
};

use super::markup::tags;

/// Every file of a directory of this crate, with its text.
fn files(directory: &str) -> Vec<(String, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    let entries = fs::read_dir(path).expect("the directory exists");
    let paths = entries.map(|entry| entry.expect("the directory can be read").path());
    paths
        .filter(|path| path.is_file())
        .map(|path| {
            let text = fs::read_to_string(&path).expect("the file is text");
            (path.display().to_string(), text)
        })
        .collect()
}

fn templates() -> Vec<(String, String)> {
    let mut found = files("templates");
    found.extend(files("templates/part"));
    assert!(found.len() > 20, "templates are found");
    found
}

#[test]
fn templates_have_nothing_inline_and_nothing_from_elsewhere() {
    for (path, mut source) in templates() {
        // A mail is no page of ours: it brings its style along, or would have to fetch it.
        if path.ends_with("templates/mail.html") {
            source = source.replacen("<style", "", 1);
        }
        for banned in [
            "http://",
            "https://",
            "|safe",
            "| safe",
            "<style",
            "javascript:",
            "srcdoc",
            "<iframe",
        ] {
            assert!(!source.contains(banned), "{path}: {banned}");
        }
        for word in source.split([' ', '\n', '<', '%', '}']) {
            let name = word.split('=').next().unwrap_or_default();
            let is_attribute = word.contains('=');
            let is_handler = name.len() > 2
                && name.starts_with("on")
                && name.chars().all(|c| c.is_ascii_lowercase());
            assert!(
                !(is_attribute && (name == "style" || is_handler)),
                "{path}: {word}"
            );
        }
        for script in source.split("<script").skip(1) {
            assert!(
                script.starts_with(" src=\"/assets/"),
                "{path}: inline script"
            );
            assert!(script.contains("defer></script>"), "{path}: inline script");
        }
    }
}

#[test]
fn templates_are_files_so_that_the_test_above_sees_them() {
    for (path, source) in files("src").iter().chain(&files("src/request")) {
        for attribute in source.split("#[template(").skip(1) {
            assert!(attribute.starts_with("path = \""), "{path}");
            let (options, _) = attribute.split_once(")]").expect("an attribute ends");
            assert!(!options.contains("escape"), "{path}");
        }
    }
}

#[test]
fn assets_load_nothing_and_write_no_markup() {
    let css = std::str::from_utf8(CSS.bytes).unwrap();
    let js = std::str::from_utf8(JS.bytes).unwrap();
    let logo = std::str::from_utf8(LOGO.bytes).unwrap();
    for banned in ["url(", "@import", "http"] {
        assert!(!css.contains(banned), "{banned}");
    }
    for banned in [
        "innerHTML",
        "outerHTML",
        "insertAdjacent",
        "eval(",
        "Function(",
        "http",
        ".style",
        "document.write",
    ] {
        assert!(!js.contains(banned), "{banned}");
    }
    assert!(!logo.contains("<script") && !logo.contains("style"));
    assert!(tags(logo).iter().any(|tag| tag.name == "svg"));
}

#[test]
fn the_content_policy_allows_nothing_inline() {
    assert!(CONTENT_SECURITY_POLICY.starts_with("default-src 'none'"));
    assert!(!CONTENT_SECURITY_POLICY.contains("unsafe"));
    assert!(CONTENT_SECURITY_POLICY.contains("frame-ancestors 'none'"));
}
