//! What GitHub shows of an answer.
//!
//! In scope: the words of comments.
//! Out of scope: when they are sent.
//! Invariant: what others wrote stands in a span of code on one line: it links nowhere, names nobody and
//! ends nothing.

use std::collections::BTreeSet;

use countersign_core::{
    decision::DenyReason,
    id::PolicyId,
    request::{Closure, Outcome},
    subject::SubjectChain,
};
use countersign_runner::quote::reveal;

use crate::active::Active;

/// The longest text of others that is repeated, in characters.
const LONGEST: usize = 500;

/// A text of others.
pub(super) fn quoted(text: &str) -> String {
    let line: String = reveal(text).chars().map(plain).take(LONGEST).collect();
    let cut = if text.chars().count() > LONGEST {
        "…"
    } else {
        ""
    };
    format!("`{}{cut}`", line.trim())
}

fn plain(c: char) -> char {
    match c {
        '`' => '\'',
        c if c.is_whitespace() || c.is_control() => ' ',
        c => c,
    }
}

/// While people decide.
pub(super) fn held(page: &str) -> String {
    format!("Countersign holds this deployment until somebody else countersigns it: {page}")
}

/// While there is no room for it among what people decide.
pub(super) fn no_room(why: &str) -> String {
    format!("Countersign can't ask anybody about this deployment yet, and does once it can: {why}.")
}

/// That it goes on.
pub(super) fn approved(page: Option<&str>) -> String {
    match page {
        Some(page) => format!("Countersigned: {page}"),
        None => "Countersign's policy permits this deployment without anybody.".into(),
    }
}

/// Why it does not, before anybody was asked.
pub(super) fn not_asked(why: &str) -> String {
    format!("Countersign refuses this deployment: {why}")
}

/// That policy says no.
pub(super) fn denied(
    active: &Active,
    chain: &SubjectChain,
    reason: &DenyReason,
    policies: &BTreeSet<PolicyId>,
) -> String {
    let said = policies.iter().map(|id| {
        let statement = active.snapshot.statement(id);
        match statement.and_then(|one| one.reason.clone()) {
            Some(why) => format!("{}: {}", quoted(id.as_str()), quoted(&why)),
            None => quoted(id.as_str()),
        }
    });
    let said: Vec<_> = said.collect();
    let said = match said.is_empty() {
        true => String::new(),
        false => format!(" ({})", said.join("; ")),
    };
    let chain: Vec<_> = chain
        .members()
        .map(|one| quoted(&one.id.to_string()))
        .collect();
    let reason = quoted(&reason.to_string());
    let chain = chain.join(" on behalf of ");
    format!("Countersign denied this deployment: {reason}{said}. It was asked as {chain}.")
}

/// How a request ended that does not run.
pub(super) fn closed(closure: &Closure, page: &str) -> String {
    let why = match closure {
        Closure::Denied { by, reason } => {
            let by = quoted(by.as_str());
            match reason {
                Some(reason) => format!("{by} denied it: {}", quoted(reason)),
                None => format!("{by} denied it"),
            }
        }
        Closure::Expired => "nobody decided in time".into(),
        Closure::Unclaimed => "the approval lapsed before GitHub could be told".into(),
        Closure::Cancelled { by } => format!("{} cancelled it", quoted(&by.to_string())),
        Closure::Amended { by, .. } => {
            format!("{} proposes something else instead", quoted(by.as_str()))
        }
        Closure::Unreachable { .. } => "nobody is left who could countersign it".into(),
        Closure::PolicyChanged { detail } => {
            format!("current policy no longer allows it: {}", quoted(detail))
        }
        Closure::RequesterStopped { who } => {
            format!("{} was stopped or disabled", quoted(&who.to_string()))
        }
    };
    format!("Countersign rejects this deployment: {why}. {page}")
}

/// How a request ended that was to run.
pub(super) fn ended(outcome: Outcome, page: Option<&str>) -> String {
    let why = match outcome {
        Outcome::Succeeded => "it was answered already",
        Outcome::Failed => "it was approved, and GitHub could not be told so in time",
        Outcome::Unknown => "it was approved, and nobody knows whether GitHub was told so",
    };
    let page = page.map(|page| format!(" {page}"));
    let page = page.unwrap_or_default();
    format!("Countersign rejects this deployment: {why}; run the job again.{page}")
}

#[cfg(test)]
mod tests {
    //! Words of others in comments.
    //!
    //! In scope: that they stay words.
    //! Out of scope: which are sent.
    //! Invariant: nothing leads out of the span of code.

    use super::*;

    #[test]
    fn words_of_others_stay_words() {
        for (text, expected) in [
            ("not on a Friday", "`not on a Friday`"),
            ("`x` @acme/ops", "`'x' @acme/ops`"),
            (
                "a\n\n# b ![x](https://evil)",
                "`a⟨U+000A⟩⟨U+000A⟩# b ![x](https://evil)`",
            ),
            ("", "``"),
        ] {
            assert_eq!(quoted(text), expected);
        }
        let long = quoted(&"x".repeat(2_000));
        assert!(
            long.ends_with("x…`") && long.chars().count() < 510,
            "{long}"
        );
        let by = "dana@example.com".parse().unwrap();
        let reason = Some("not `now`".into());
        let said = closed(&Closure::Denied { by, reason }, "https://c/requests/1");
        assert_eq!(
            said,
            "Countersign rejects this deployment: `dana@example.com` denied it: `not 'now'`. \
             https://c/requests/1"
        );
    }
}
