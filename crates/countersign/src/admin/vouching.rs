//! Who proposed what machines prove themselves with.
//!
//! In scope: keeping that from one configuration to the next; everybody behind one proof.
//! Out of scope: what a proof is made of; the policy crate says so.
//! Invariant: whoever had a hand in a change that brought in a key or a claim is *self* in what is asked with
//! it: they could be the machine. Writing it anew does not make it somebody else's.

use std::collections::{BTreeMap, BTreeSet};

use countersign_core::{canonical::Hash, id::PersonId, request::Request, subject::SubjectId};
use countersign_policy::{Bundle, Proof};

use crate::{active::Active, keys::Keys};

/// Each part of a proof that was there once, with what the log calls those who brought it in.
pub(super) type Vouched = BTreeMap<Hash, BTreeSet<String>>;

/// Everybody who had a hand in a request.
pub(super) fn hands_in(request: &Request) -> BTreeSet<PersonId> {
    let members = request.chain.members();
    let members = members.flat_map(|member| member.people().cloned());
    let issued = request.issuers.iter().chain(&request.behind).cloned();
    members.chain(issued).collect()
}

/// Who is behind each part once a bundle is active that somebody proposed. Files that are trusted on this
/// machine are nobody's.
pub(super) fn vouched(
    before: &Active,
    bundle: &Bundle,
    (request, keys): (Option<&Request>, &Keys),
) -> Vouched {
    let mut vouched = before.directory.vouched.clone();
    let people = request.map(hands_in).unwrap_or_default();
    if people.is_empty() {
        return vouched;
    }
    let names: Vec<String> = people
        .iter()
        .map(|person| keys.pseudonyms.of_person(person).to_string())
        .collect();
    let known = before.bundle.vouched_parts();
    for part in bundle.vouched_parts().difference(&known) {
        let by = vouched.entry(*part).or_default();
        by.extend(names.iter().cloned());
    }
    vouched
}

/// Everybody who proposed any part of the proof that has these settings.
pub(crate) fn behind(
    active: &Active,
    machine: &SubjectId,
    settings: Hash,
    keys: &Keys,
) -> BTreeSet<PersonId> {
    let proofs = active.bundle.machines().get(machine);
    let proofs = proofs.map(|machine| machine.proofs.as_slice());
    let mut proofs = proofs.unwrap_or_default().iter();
    let Some(proof) = proofs.find(|proof: &&Proof| proof.settings() == settings) else {
        return BTreeSet::new();
    };
    behind_parts(active, &active.bundle.parts_of(machine, proof), keys)
}

/// Everybody who proposed any of these parts.
pub(crate) fn behind_parts(
    active: &Active,
    parts: &BTreeSet<Hash>,
    keys: &Keys,
) -> BTreeSet<PersonId> {
    let by = parts
        .iter()
        .filter_map(|part| active.directory.vouched.get(part));
    let names: BTreeSet<&String> = by.flatten().collect();
    if names.is_empty() {
        return BTreeSet::new();
    }
    let people = active.directory.people.keys();
    let theirs = people.filter(|one| names.contains(&keys.pseudonyms.of_person(one).to_string()));
    theirs.cloned().collect()
}
