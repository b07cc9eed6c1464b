//! What reviewers are told about masks (P8).
//!
//! Invariant: whatever looks like a mask and is none is said to be text.

use countersign_core::{
    action::Action,
    count::counted,
    masking::{MASK_CLOSES, MASK_OPENS, Mask},
};
use countersign_runner::quote::reveal;
use serde_json::Value;

/// Lists the masks of an action, and what only looks like one.
pub fn describe(action: &Action, body: &mut String) {
    if !action.masked.is_empty() {
        let secrets = counted(action.masked.len(), "secret", "secrets");
        body.push_str(&format!(
            "\nmasked       {secrets}, passed on as sent and shown to nobody\n"
        ));
        for mask in &action.masked {
            let place = place(&mask.at);
            let doubt = match mask.verified {
                true => "",
                false => "; it could be any text",
            };
            body.push_str(&format!(
                "  {} in {place}: {}{doubt}\n",
                mask.kind,
                counted(mask.length, "character", "characters")
            ));
        }
    }
    let mut texts = Vec::new();
    look_alikes(
        &action.arguments,
        &mut String::new(),
        &action.masked,
        &mut texts,
    );
    for at in texts {
        let place = place(&at);
        body.push_str(&format!(
            "! `{MASK_OPENS}` in {place} was sent as text; it masks nothing\n"
        ));
    }
}

/// The place of a text in the words of a reviewer.
pub(crate) fn place(at: &str) -> String {
    let mut steps = at.split('/').skip(1);
    match (steps.next(), steps.next(), steps.next()) {
        (Some("argv"), Some(index), None) => match index.parse::<usize>() {
            Ok(index) => format!("word {}", index.saturating_add(1)),
            Err(_) => reveal(at),
        },
        (Some("env"), Some(name), None) => format!("variable {}", reveal(name)),
        _ => reveal(at.trim_start_matches('/')),
    }
}

/// The places of texts that have a mask's signs outside of masks.
fn look_alikes(value: &Value, at: &mut String, masks: &[Mask], found: &mut Vec<String>) {
    let here = at.len();
    match value {
        Value::String(text) => {
            let mut rest = text.clone();
            for mask in masks.iter().rev().filter(|mask| mask.at == *at) {
                let end = mask.start.saturating_add(mask.shown().len());
                if rest.get(mask.start..end).is_some() {
                    rest.replace_range(mask.start..end, "");
                }
            }
            if rest.contains([MASK_OPENS, MASK_CLOSES]) {
                found.push(at.clone());
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                at.push_str(&format!("/{index}"));
                look_alikes(item, at, masks, found);
                at.truncate(here);
            }
        }
        Value::Object(members) => {
            for (name, member) in members {
                at.push('/');
                at.push_str(&name.replace('~', "~0").replace('/', "~1"));
                look_alikes(member, at, masks, found);
                at.truncate(here);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use countersign_core::canonical::Hash;
    use serde_json::json;

    use super::*;

    #[test]
    fn masks_are_listed_and_what_looks_like_one_is_called_text() {
        let mask = Mask {
            at: "/argv/1".into(),
            start: 2,
            kind: "token".into(),
            length: 5,
            verified: true,
            commitment: Hash::of(b""),
        };
        let mut action = Action {
            gate: "exec".into(),
            target: "release".parse().unwrap(),
            operation: "run".into(),
            arguments: json!({ "argv": ["a", "x=‹token 5›"], "env": { "A": "‹token 5›" } }),
            session: json!(null),
            masked: vec![mask],
        };
        let described = |action: &Action| {
            let mut body = String::new();
            describe(action, &mut body);
            body
        };
        assert_eq!(
            described(&action),
            "\nmasked       1 secret, passed on as sent and shown to nobody\n  \
             token in word 2: 5 characters\n\
             ! `‹` in variable A was sent as text; it masks nothing\n"
        );
        action.masked.clear();
        action.arguments = json!({ "argv": ["a"] });
        assert_eq!(described(&action), "");
    }
}
