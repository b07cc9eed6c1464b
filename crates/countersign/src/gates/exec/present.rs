//! What a reviewer sees of a command (P8).
//!
//! Invariant: the words are quoted so that different commands never look the same; hidden
//! characters are spelt out; what is not listed is counted.

use countersign_core::request::Presentation;
use countersign_policy::{ExecTarget, target::exec::Classified};
use countersign_runner::{
    inputs::{Entry, Manifest},
    quote::{hints, quote_argv, reveal},
};

use crate::runner::Captured;

/// The most captured files listed.
const LISTED: usize = 40;
/// The longest title, in characters.
const TITLE: usize = 120;

/// Shows a captured call.
#[must_use]
pub(super) fn presentation(
    exec: &ExecTarget,
    captured: &Captured,
    argv: &[String],
    classified: &Classified,
) -> Presentation {
    let command = quote_argv(argv);
    let mut body = format!("$ {command}\n");
    for hint in argv.iter().flat_map(|word| hints(word)) {
        body.push_str(&format!("! {hint}\n"));
    }
    let field = |name: &str| {
        captured
            .action
            .arguments
            .get(name)
            .cloned()
            .unwrap_or_default()
    };
    body.push_str(&format!("\ntarget       {}\n", exec.target));
    if let Some(program) = field("executable").get("program") {
        let text = |key: &str| {
            program
                .get(key)
                .and_then(|v| v.as_str())
                .unwrap_or("?")
                .to_owned()
        };
        body.push_str(&format!("executable   {}\n", reveal(&text("path"))));
        body.push_str(&format!("  sha-256    {}\n", text("sha256")));
    }
    if let Some(dir) = exec
        .workdir
        .as_ref()
        .filter(|_| captured.manifest.is_none())
    {
        body.push_str(&format!("directory    {}\n", reveal(dir)));
    }
    for (name, value) in field("env").as_object().into_iter().flatten() {
        let value = value.as_str().unwrap_or_default();
        body.push_str(&format!(
            "environment  {}={}\n",
            reveal(name),
            quote_argv(&[value.into()])
        ));
    }
    let mut complete = true;
    if let Some(manifest) = &captured.manifest {
        complete = inputs(manifest, &mut body);
    }
    Presentation {
        title: shorten(&command),
        body,
        blast_radius: radius(classified),
        complete,
    }
}

/// Lists captured files; `false` when not all are listed or one could be executed unseen.
fn inputs(manifest: &Manifest, body: &mut String) -> bool {
    let summary = manifest.summary(LISTED);
    body.push_str(&format!(
        "inputs       {} files ({} executable), {} links, {} bytes, by content {}\n",
        summary.files,
        summary.executables,
        summary.symlinks,
        summary.total_bytes,
        manifest.digest()
    ));
    for listed in &summary.listed {
        let line = match &listed.entry {
            Entry::File {
                size,
                sha256,
                executable,
            } => {
                let mark = if *executable { "x" } else { " " };
                let digits: String = sha256.to_string().chars().take(16).collect();
                format!(
                    "  {mark} {}  {size} bytes  sha-256 {digits}…\n",
                    listed.path
                )
            }
            Entry::Symlink { target } => {
                format!("  → {} links to {}\n", listed.path, reveal(target))
            }
            Entry::Dir => continue,
        };
        body.push_str(&line);
    }
    if summary.not_listed > 0 {
        body.push_str(&format!(
            "  … and {} more that are not listed here\n",
            summary.not_listed
        ));
    }
    summary.not_listed == 0
}

pub(super) fn radius(classified: &Classified) -> String {
    let touched: Vec<_> = classified
        .effects
        .iter()
        .map(|effect| format!("{} on {}", effect.action, reveal(&effect.resource.id)))
        .collect();
    format!(
        "{}. What the command changes beyond this is not known.",
        touched.join("; ")
    )
}

pub(super) fn shorten(text: &str) -> String {
    if text.chars().count() <= TITLE {
        return text.into();
    }
    let head: String = text.chars().take(TITLE - 1).collect();
    format!("{head}…")
}
