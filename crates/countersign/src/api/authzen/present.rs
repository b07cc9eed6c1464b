//! What a reviewer sees of a question (P8).
//!
//! Invariant: the whole question is shown, with hidden characters spelt out and what the caller
//! merely says marked as such; the first thing said is that nobody enforces the answer.

use countersign_core::{action::Effect, request::Presentation};
use countersign_policy::Target;
use countersign_runner::quote::{reveal, reveal_lines};
use serde_json::{Map, Value};

use super::{ADVISORY, types::EvaluationBody};

/// The longest title, in characters.
const TITLE: usize = 120;

/// Shows a question. `effect` is what policy was asked about, `target` what stands behind it.
pub(super) fn presentation(
    body: &EvaluationBody,
    target: Option<&Target>,
    effect: &Effect,
) -> Presentation {
    let action = reveal(&body.action.name);
    let resource = format!(
        "{} {}",
        reveal(&body.resource.kind),
        reveal(&body.resource.id)
    );
    let behind = match target {
        Some(target) => format!("{} (environment {})", target.id, target.environment),
        None => "none that is configured".into(),
    };
    let mut text =
        format!("{ADVISORY}\n\naction     {action}\nresource   {resource}\ntarget     {behind}\n");
    let claims = [
        ("its context", &body.context),
        ("of the action", &body.action.properties),
        ("of the resource", &body.resource.properties),
        ("of itself", &body.subject.properties),
    ];
    for (about, members) in claims {
        if let Some(members) = members.as_ref().filter(|members| !members.is_empty()) {
            text.push_str(&format!("\nThe caller states {about} (not checked):\n"));
            text.push_str(&shown(members));
            text.push('\n');
        }
    }
    Presentation {
        title: shorten(&format!("{action} on {resource}")),
        body: text,
        blast_radius: format!(
            "{} on {}, as the caller states it. What it really does is not known. {ADVISORY}",
            effect.action,
            reveal(&effect.resource.id)
        ),
        complete: true,
    }
}

fn shown(members: &Map<String, Value>) -> String {
    reveal_lines(&serde_json::to_string_pretty(members).unwrap_or_default())
}

fn shorten(text: &str) -> String {
    if text.chars().count() <= TITLE {
        return text.into();
    }
    let head: String = text.chars().take(TITLE - 1).collect();
    format!("{head}…")
}
