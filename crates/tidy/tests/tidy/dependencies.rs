//! Which crate may know which, and where crates may come from.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

use super::repository::{files, none, root, text};

/// The crates of the workspace and the crates of ours they may depend on.
const ALLOWED: &[(&str, &[&str])] = &[
    ("core", &[]),
    ("console", &[]),
    ("tidy", &[]),
    ("policy", &["core"]),
    ("evidence", &["core"]),
    ("store", &["core"]),
    ("runner", &["core"]),
    (
        "countersign",
        &["console", "core", "evidence", "policy", "runner", "store"],
    ),
];

/// Crates that must never come in: cryptography has one library.
const BANNED: &[&str] = &["native-tls", "openssl", "openssl-sys", "ring"];

/// The only place that crates come from.
const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// The crates of ours that a manifest names, in any of its tables of dependencies.
fn ours(manifest: &str) -> BTreeSet<String> {
    let names = manifest.lines().filter_map(|line| {
        let name = line.strip_prefix("countersign-")?;
        let end = name.find(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_')?;
        Some(name.get(..end)?.to_owned())
    });
    names.collect()
}

#[test]
fn dependencies_point_one_way() {
    let allowed: BTreeMap<_, _> = ALLOWED.iter().copied().collect();
    let mut problems = Vec::new();
    for path in files("crates", "Cargo.toml") {
        let Some(name) = path.split('/').nth(1) else {
            continue;
        };
        let Some(may) = allowed.get(name) else {
            problems.push(format!("{path}: a crate that this test does not know"));
            continue;
        };
        let known = ours(&text(&path));
        let extra = known.iter().filter(|other| !may.contains(&other.as_str()));
        problems.extend(extra.map(|other| format!("{path}: `{name}` must not know `{other}`")));
        if name == "countersign" {
            let missing = may.iter().filter(|other| !known.contains(**other));
            problems.extend(missing.map(|other| format!("{path}: `{other}` is not used")));
        }
    }
    none(
        &problems,
        "correct the manifests, or ALLOWED in this test with a decision record",
    );
}

#[test]
fn crates_come_from_crates_io() {
    let lock = text("Cargo.lock");
    let sources = lock
        .lines()
        .filter_map(|line| line.strip_prefix("source = "));
    let strange = sources.map(|source| source.trim_matches('"').to_owned());
    let strange: Vec<_> = strange.filter(|source| source != CRATES_IO).collect();
    none(&strange, "these are not crates.io");
}

/// Cargo.lock also names crates that no feature brings in, so cargo itself is asked.
#[test]
fn cryptography_comes_from_one_library() {
    let asked = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args([
            "tree",
            "--workspace",
            "--locked",
            "--offline",
            "--prefix=none",
            "--format={p}",
        ])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    let tree = String::from_utf8_lossy(&asked.stdout);
    let names: BTreeSet<_> = tree
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    let said = String::from_utf8_lossy(&asked.stderr);
    assert!(names.contains("aws-lc-rs"), "cargo tree said: {said}");
    let banned: Vec<_> = BANNED
        .iter()
        .filter(|name| names.contains(**name))
        .collect();
    assert!(
        banned.is_empty(),
        "{banned:?} came in; see `cargo tree -i NAME` and deny.toml"
    );
}
