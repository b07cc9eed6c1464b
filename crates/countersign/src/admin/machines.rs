//! What reviewers of a change must not overlook about machines: who says which is which, and whose
//! tokens last.
//!
//! In scope: lines in front of a proposal's text, from the two configurations.
//! Out of scope: whether anything that is presented is believed.
//! Invariant: whoever can be a machine and could not before has a line, and so has a token that can
//! last longer, or needs a proof no more.

use std::collections::BTreeMap;

use countersign_core::canonical::Hash;
use countersign_policy::{
    Bundle, MachineSettings, Proof,
    machine::{Issuer, IssuerKeys, SHORT_TOKEN},
};

/// The lines.
pub(super) fn lines(before: &Bundle, after: &Bundle) -> Vec<String> {
    let mut lines = issuers(before, after);
    let nothing = MachineSettings::default();
    for (id, settings) in after.machines() {
        let was = before.machines().get(id).unwrap_or(&nothing);
        let known: Vec<Hash> = was.proofs.iter().map(Proof::settings).collect();
        let new = settings.proofs.iter();
        let new = new.filter(|proof| !known.contains(&proof.settings()));
        lines.extend(new.map(|proof| format!("`{id}` is {}.", whoever(proof))));
        if was.require_dpop && !settings.require_dpop {
            lines.push(format!("Tokens of `{id}` count without a proof of a key."));
        }
        if let Some(long) = settings.long_lived_tokens
            && long > was.long_lived_tokens.unwrap_or(SHORT_TOKEN)
        {
            lines.push(format!(
                "Tokens of `{id}` can last {long}, and count for whoever has them."
            ));
        }
    }
    lines
}

fn issuers(before: &Bundle, after: &Bundle) -> Vec<String> {
    let known = |issuer: &Issuer| before.issuers().values().any(|known| known == issuer);
    let new = after.issuers().values().filter(|issuer| !known(issuer));
    let told = new.map(|issuer| {
        let keys = match &issuer.keys {
            IssuerKeys::Discovered => "with the keys that it names itself".to_owned(),
            IssuerKeys::At(address) => format!("with the keys at `{address}`"),
            IssuerKeys::Given(_) => "with the keys that are written here".to_owned(),
        };
        format!(
            "`{}` says which machine is which, {keys}. Whoever administers it can be any of those that \
             prove themselves with it.",
            issuer.issuer
        )
    });
    told.collect()
}

/// Whom a proof lets be a machine.
fn whoever(proof: &Proof) -> String {
    match proof {
        Proof::Token { issuer, claims, .. } => {
            format!("whoever `{issuer}` says has {}", named(claims))
        }
        Proof::Key(key) => format!("whoever signs with the key {}", key.identity),
    }
}

fn named(claims: &BTreeMap<String, String>) -> String {
    let all = claims
        .iter()
        .map(|(name, text)| format!("{name} = {text:?}"));
    all.collect::<Vec<_>>().join(", ")
}
