//! Which targets could run a command for a caller.
//!
//! In scope: naming them when the caller named none that exists.
//! Invariant: a caller learns only the names of targets whose policy does not simply refuse it.

use std::collections::BTreeSet;

use countersign_core::{decision::Decision, id::TargetId, subject::SubjectChain, time::Timestamp};
use countersign_policy::{ExecTarget, Question};

use crate::{active::Active, identity::Caller};

/// What to say of a target that does not exist.
pub(super) fn unknown(
    active: &Active,
    caller: &Caller,
    named: &TargetId,
    (gate, argv): (&str, &[String]),
    now: Timestamp,
) -> String {
    let chain = caller.chain();
    in_words(named.as_str(), &usable(active, &chain, (gate, argv), now))
}

/// The names of the targets that would run, or hold, this command for the chain.
fn usable(
    active: &Active,
    chain: &SubjectChain,
    (gate, argv): (&str, &[String]),
    now: Timestamp,
) -> Vec<String> {
    let none = BTreeSet::new();
    let would = |exec: &ExecTarget| {
        let classified = exec.classify(argv, false, active.bundle.masker());
        let asked = Question {
            chain,
            gate,
            operation: "run",
            effects: &classified.effects,
            arguments: &classified.arguments,
            reason: None,
            approvals: &none,
            now,
        };
        let decision = active.snapshot.evaluate(&asked).decision;
        !matches!(decision, Decision::Deny { .. })
    };
    let targets = active.bundle.targets().iter();
    let usable = targets.filter(|(_, target)| target.exec().is_some_and(would));
    usable.map(|(name, _)| name.to_string()).collect()
}

fn in_words(named: &str, usable: &[String]) -> String {
    let next = match usable.is_empty() {
        true => "no target would run this command for you; ask an administrator".to_owned(),
        false => format!("for this command you can use `{}`", usable.join("`, `")),
    };
    format!("there is no target `{}`; {next}", named.escape_debug())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_target_is_answered_with_those_that_would_do() {
        assert_eq!(
            in_words("tool\n", &["tools".into(), "release".into()]),
            "there is no target `tool\\n`; for this command you can use `tools`, `release`"
        );
        assert!(in_words("x", &[]).contains("ask an administrator"));
    }
}
