//! What a reviewer sees of a command (P8).
//!
//! Invariant: the words are quoted so that different commands never look the same; hidden
//! characters are spelt out; what is not listed is counted; no secret of a known form is in it, nor in
//! the name of a file.

use std::collections::BTreeMap;

use countersign_core::{action::Action, count::counted, request::Presentation};
use countersign_policy::{ExecTarget, target::exec::Classified};
use countersign_runner::{
    inputs::{Entry, Manifest},
    quote::{hints, quote_argv, reveal, reveal_lines},
};

use crate::{
    runner::{Captured, Preview},
    secrets::{self, TextMasks},
};

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
    (classified, previews): (&Classified, &[Preview]),
    masks: &mut TextMasks<'_>,
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
    environment(&captured.action, &mut body);
    secrets::describe(&captured.action, &mut body);
    let mut shown = true;
    if let Some(manifest) = &captured.manifest {
        shown = inputs(manifest, &captured.texts, masks, &mut body);
    }
    for preview in previews {
        previewed(preview, &mut body);
    }
    // Whoever wrote the target's configuration says that its preview tells what the files mean.
    let told = !previews.is_empty() && previews.iter().all(|preview| preview.cut.is_none());
    Presentation {
        title: shorten(&command),
        body,
        blast_radius: radius(classified),
        complete: told || (shown && previews.is_empty()),
    }
}

/// The variables that the caller sets.
pub(super) fn environment(action: &Action, body: &mut String) {
    let variables = action.arguments.get("env").and_then(|env| env.as_object());
    for (name, value) in variables.into_iter().flatten() {
        let value = quote_argv(&[value.as_str().unwrap_or_default().into()]);
        body.push_str(&format!("environment  {}={value}\n", reveal(name)));
    }
}

/// What the target's own command shows of it.
fn previewed(preview: &Preview, body: &mut String) {
    body.push_str(&format!("\npreview      $ {}\n", quote_argv(&preview.argv)));
    quoted(&preview.text, body);
    if let Some(why) = &preview.cut {
        body.push_str(&format!("! not the whole preview: {}\n", reveal(why)));
    }
}

/// Somebody else's text, each line behind a bar so that it can't pass for ours.
fn quoted(text: &str, body: &mut String) {
    for line in text.lines() {
        body.push_str(&format!("  │ {}\n", reveal_lines(line)));
    }
    for hint in hints(text) {
        body.push_str(&format!("  ! {hint}\n"));
    }
    if let Some(sign) = secrets::like_a_mask(text) {
        body.push_str(&format!("  ! `{sign}` is text; it masks nothing\n"));
    }
}

/// A name without its secrets, on one line.
fn name(path: &str, masks: &mut TextMasks<'_>) -> String {
    let mut name = path.to_owned();
    masks.mask(&mut name);
    name
}

/// Lists captured files with the texts among them; `false` unless all is there to be read.
fn inputs(
    manifest: &Manifest,
    texts: &BTreeMap<String, String>,
    masks: &mut TextMasks<'_>,
    body: &mut String,
) -> bool {
    let summary = manifest.summary(LISTED);
    let mut whole = summary.not_listed == 0;
    body.push_str(&format!(
        "inputs       {} ({} executable), {}, {}, by content {}\n",
        counted(summary.files, "file", "files"),
        summary.executables,
        counted(summary.symlinks, "link", "links"),
        counted(summary.total_bytes, "byte", "bytes"),
        manifest.digest()
    ));
    for listed in &summary.listed {
        let path = name(&listed.path, masks);
        let line = match &listed.entry {
            Entry::File {
                size,
                sha256,
                executable,
            } => {
                let mark = if *executable { "x" } else { " " };
                let size = counted(*size, "byte", "bytes");
                body.push_str(&format!("  {mark} {path}  {size}\n"));
                match texts.get(&listed.path) {
                    Some(text) => quoted(text, body),
                    None => {
                        whole = false;
                        body.push_str(&format!("    sha-256 {sha256}, not shown\n"));
                    }
                }
                continue;
            }
            Entry::Symlink { target } => {
                format!("  → {path} links to {}\n", name(&reveal(target), masks))
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
    whole
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
