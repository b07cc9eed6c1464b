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
    for (at, sign) in texts {
        let place = place(&at);
        body.push_str(&format!(
            "! `{sign}` in {place} was sent as text; it masks nothing\n"
        ));
    }
}

/// Signs that look like those of a mask: what Unicode calls confusable with them, and brackets of their
/// form. `<` and `>` stand in too many texts to be pointed to.
const LIKE_A_MASK: [char; 29] = [
    '\u{2c2}',
    '\u{2c3}',
    '\u{1433}',
    '\u{1438}',
    '\u{16b2}',
    '\u{227a}',
    '\u{227b}',
    '\u{2329}',
    '\u{232a}',
    '\u{276c}',
    '\u{276d}',
    '\u{276e}',
    '\u{276f}',
    '\u{2770}',
    '\u{2771}',
    '\u{27e8}',
    '\u{27e9}',
    '\u{2991}',
    '\u{2992}',
    '\u{29fc}',
    '\u{29fd}',
    '\u{3008}',
    '\u{3009}',
    '\u{fe64}',
    '\u{fe65}',
    '\u{ff1c}',
    '\u{ff1e}',
    '\u{1d236}',
    '\u{1d237}',
];

/// The first sign of a text that looks like one of a mask, and is none.
#[must_use]
pub fn like_a_mask(text: &str) -> Option<char> {
    text.chars().find(|sign| LIKE_A_MASK.contains(sign))
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

/// The places of texts that have a mask's signs, or others that look like them, outside of masks, and
/// the first of those.
fn look_alikes(value: &Value, at: &mut String, masks: &[Mask], found: &mut Vec<(String, char)>) {
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
            let own = rest.find([MASK_OPENS, MASK_CLOSES]).map(|_| MASK_OPENS);
            if let Some(sign) = own.or_else(|| like_a_mask(&rest)) {
                found.push((at.clone(), sign));
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
        action.arguments = json!({
            "argv": ["a", "x=‹token 5›", "⟨token 5⟩", "<b>", "a ≺ b", "token 5＞", "«q»"],
            "env": { "A": "❮token 5❯" },
        });
        let said = described(&action);
        let lines: Vec<_> = said.lines().filter(|line| line.starts_with('!')).collect();
        assert_eq!(
            lines,
            [
                "! `⟨` in word 3 was sent as text; it masks nothing",
                "! `≺` in word 5 was sent as text; it masks nothing",
                "! `＞` in word 6 was sent as text; it masks nothing",
                "! `❮` in variable A was sent as text; it masks nothing",
            ]
        );
        action.masked.clear();
        action.arguments = json!({ "argv": ["a"] });
        assert_eq!(described(&action), "");
    }
}
