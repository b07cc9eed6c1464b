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

/// Every crate that features bring in, as `format` writes it. Cargo.lock also names others, so
/// cargo itself is asked.
fn tree(format: &str) -> BTreeSet<String> {
    let asked = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["tree", "--workspace", "--locked", "--offline"])
        .args(["--prefix=none", "--no-dedupe", "--format", format])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    let said = String::from_utf8_lossy(&asked.stderr);
    let lines = String::from_utf8_lossy(&asked.stdout);
    assert!(lines.contains("aws-lc-rs"), "cargo tree said: {said}");
    let lines = lines.lines().filter(|line| !line.is_empty());
    lines.map(str::to_owned).collect()
}

#[test]
fn cryptography_comes_from_one_library() {
    let banned: Vec<_> = tree("{p}")
        .into_iter()
        .filter(|line| BANNED.contains(&line.split(' ').next().unwrap_or_default()))
        .collect();
    none(&banned, "came in; see `cargo tree -i NAME` and deny.toml");
}

#[test]
fn licences_let_the_program_be_passed_on() {
    let deny = text("deny.toml");
    let allowed = deny.split_once("\nallow = [").expect("an allow list").1;
    let allowed = allowed.split_once("\n]").expect("its end").0;
    let allowed: BTreeSet<_> = allowed.split('"').skip(1).step_by(2).collect();
    assert!(allowed.contains("Apache-2.0"), "{allowed:?}");
    let strange: Vec<_> = tree("{p} | {l}")
        .into_iter()
        .filter(|line| {
            let licence = line.split_once(" | ").map_or("", |(_, licence)| licence);
            !is_allowed(licence.trim_end_matches(" (*)"), &allowed)
        })
        .collect();
    none(&strange, "not allowed by deny.toml");
}

/// Whether an SPDX expression can be met by allowed licences alone.
fn is_allowed(expression: &str, allowed: &BTreeSet<&str>) -> bool {
    // The old way to write OR.
    let expression = expression.replace('/', " OR ");
    let spaced = expression.replace('(', " ( ").replace(')', " ) ");
    let words: Vec<_> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    any_of(&mut rest, allowed) && rest.is_empty()
}

fn any_of(words: &mut &[&str], allowed: &BTreeSet<&str>) -> bool {
    let mut met = all_of(words, allowed);
    while let ["OR", rest @ ..] = *words {
        *words = rest;
        met |= all_of(words, allowed);
    }
    met
}

fn all_of(words: &mut &[&str], allowed: &BTreeSet<&str>) -> bool {
    let mut met = one(words, allowed);
    while let ["AND", rest @ ..] = *words {
        *words = rest;
        met &= one(words, allowed);
    }
    met
}

fn one(words: &mut &[&str], allowed: &BTreeSet<&str>) -> bool {
    match *words {
        ["(", rest @ ..] => {
            *words = rest;
            let met = any_of(words, allowed);
            let [")", rest @ ..] = *words else {
                return false;
            };
            *words = rest;
            met
        }
        [name, "WITH", exception, rest @ ..] => {
            *words = rest;
            allowed.contains(format!("{name} WITH {exception}").as_str())
        }
        [name, rest @ ..] => {
            *words = rest;
            allowed.contains(name)
        }
        [] => false,
    }
}

#[test]
fn expressions_of_licences_are_understood() {
    let allowed = BTreeSet::from(["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"]);
    for (expression, expected) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("", false),
        ("MIT/GPL-3.0", true),
        ("GPL-3.0 OR MIT", true),
        ("GPL-3.0 AND MIT", false),
        ("MIT OR GPL-3.0 AND LGPL-3.0", true),
        ("(MIT OR GPL-3.0) AND LGPL-3.0", false),
        ("ISC AND (Apache-2.0 OR ISC)", true),
        ("Apache-2.0 WITH LLVM-exception", true),
        ("MIT WITH LLVM-exception", false),
        ("(MIT", false),
        ("MIT ISC", false),
    ] {
        assert_eq!(is_allowed(expression, &allowed), expected, "{expression}");
    }
}
