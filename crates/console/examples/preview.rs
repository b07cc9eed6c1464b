//! Writes every page in several states, and the assets, into a directory:
//! `cargo run -p countersign-console --example preview -- DIR`. With `--bench` it renders the
//! longest pages many times instead and prints how long one takes.

use std::{fs, hint::black_box, path::Path, time::Instant};

use countersign_console::{
    asset,
    inbox::{Filter, Tab},
    render,
};

#[path = "../samples/mod.rs"]
mod samples;

fn main() -> std::io::Result<()> {
    match std::env::args().nth(1).as_deref() {
        Some("--bench") => {
            bench();
            Ok(())
        }
        Some(directory) => write(Path::new(directory)),
        None => Err(std::io::Error::other("usage: preview DIR | --bench")),
    }
}

fn pages() -> Vec<(&'static str, String)> {
    let none = Filter {
        text: "truncate".into(),
        ..Filter::default()
    };
    vec![
        ("inbox", render(&samples::inbox())),
        ("inbox-decided", render(&samples::inbox_decided())),
        (
            "inbox-empty",
            render(&samples::inbox_empty(Tab::Waiting, Filter::default())),
        ),
        (
            "inbox-mine-empty",
            render(&samples::inbox_empty(Tab::Mine, Filter::default())),
        ),
        (
            "inbox-no-match",
            render(&samples::inbox_empty(Tab::Decided, none)),
        ),
        ("request", render(&samples::reviewer())),
        ("request-own", render(&samples::own())),
        ("request-refused", render(&samples::answerer())),
        ("request-long", render(&samples::too_long())),
        ("request-approved", render(&samples::approved())),
        ("request-finished", render(&samples::finished())),
        ("request-advisory", render(&samples::advisory())),
        ("request-confirm", render(&samples::confirmation())),
        ("request-emergency", render(&samples::in_an_emergency())),
        ("request-lifted", render(&samples::lifted())),
        ("emergencies", render(&samples::emergencies())),
        ("grants", render(&samples::grants())),
        ("people", render(&samples::people())),
        ("people-reader", render(&samples::people_reader())),
        ("sign-in", render(&samples::sign_in())),
        ("passkeys", render(&samples::passkeys())),
        ("signed-out", render(&samples::signed_out())),
        ("welcome", render(&samples::welcome())),
        ("error", render(&samples::error())),
        ("secret", render(&samples::secret())),
    ]
}

fn write(directory: &Path) -> std::io::Result<()> {
    fs::create_dir_all(directory.join("assets"))?;
    for name in ["console.css", "console.js", "logo.svg"] {
        if let Some(found) = asset(name) {
            fs::write(directory.join("assets").join(name), found.bytes)?;
        }
    }
    for (name, html) in pages() {
        fs::write(directory.join(format!("{name}.html")), html)?;
    }
    Ok(())
}

fn bench() {
    const ROUNDS: u32 = 2_000;
    let mut inbox = samples::inbox();
    inbox.rows = inbox.rows.iter().cycle().take(50).cloned().collect();
    let long = samples::too_long();
    for (name, page) in [
        (
            "inbox with 50 rows",
            &(|| render(&inbox)) as &dyn Fn() -> String,
        ),
        ("request with a long action", &|| render(&long)),
    ] {
        let start = Instant::now();
        let mut bytes = 0;
        for _ in 0..ROUNDS {
            bytes = black_box(page()).len();
        }
        println!(
            "{name}: {:?} a page, {bytes} bytes",
            start.elapsed() / ROUNDS
        );
    }
}
