//! From what a provider says to a person and groups.
//!
//! In scope: the configured claims.
//! Out of scope: whether it may be believed.
//! Invariant: a name is taken only where it can stand for one person: an e-mail address that the
//! provider has verified, in plain characters, in small letters.

use std::collections::BTreeMap;

use countersign_core::{
    directory::AccountId,
    id::{GroupId, PersonId},
};
use countersign_policy::Provider;
use serde_json::{Map, Value};

use super::{
    Vouched,
    id_token::{EMAIL, VERIFIED},
};

/// Why somebody whom a provider knows is nobody here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// A required claim is missing or has another value.
    #[error("your account at `{provider}` is not one of those that may sign in (`{claim}`)")]
    NotMeant {
        /// What people call the provider.
        provider: String,
        /// The claim.
        claim: String,
    },
    /// There is no name.
    #[error(
        "`{provider}` does not say who you are: the claim `{claim}` is missing; an administrator \
         names another one in `person_claim`, or asks for the scope that has it"
    )]
    NoName {
        /// What people call the provider.
        provider: String,
        /// The claim.
        claim: String,
    },
    /// The address was not verified.
    #[error("`{0}` has not verified your e-mail address; have that done there first")]
    NotVerified(String),
    /// The name can't be one.
    #[error(
        "`{0}` calls you something that can't be a name here: only plain letters, digits and \
         `@._:/+-` can, so that no two names look the same"
    )]
    NoPlainName(String),
}

/// Whether a claim that is needed is missing, so that it is worth asking further.
pub(super) fn wants_more(told: &Map<String, Value>, provider: &Provider) -> bool {
    let verified = (provider.person_claim == EMAIL).then_some(VERIFIED);
    let has_groups = !provider.groups.is_empty() && provider.scim.is_none();
    let groups = has_groups.then_some(provider.groups_claim.as_str());
    let required = provider.require.keys().map(String::as_str);
    [provider.person_claim.as_str()]
        .into_iter()
        .chain(verified)
        .chain(groups)
        .chain(required)
        .any(|claim| !told.contains_key(claim))
}

/// The longest name of an account that is shown, in characters.
const MAX_CALLED: usize = 200;

/// Which account the claims are of, as the provider identifies it, and what it is called there, which may
/// be nothing.
///
/// # Errors
/// [`Refused`] when it is not one of those that are meant.
pub(super) fn account(
    told: &Map<String, Value>,
    provider: &Provider,
) -> Result<(String, String), Refused> {
    check_required(told, provider)?;
    let text = |claim: &str| told.get(claim).and_then(Value::as_str).unwrap_or_default();
    let called = text(&provider.person_claim).chars().take(MAX_CALLED);
    Ok((text("sub").to_owned(), called.collect()))
}

fn check_required(told: &Map<String, Value>, provider: &Provider) -> Result<(), Refused> {
    let differs = |(claim, value): &(&String, &String)| {
        told.get(*claim).and_then(Value::as_str) != Some(value.as_str())
    };
    match provider.require.iter().find(differs) {
        Some((claim, _)) => Err(Refused::NotMeant {
            provider: provider.title.clone(),
            claim: claim.clone(),
        }),
        None => Ok(()),
    }
}

/// Whom the claims mean.
///
/// # Errors
/// [`Refused`] when that can be nobody.
pub(super) fn vouched(told: &Map<String, Value>, provider: &Provider) -> Result<Vouched, Refused> {
    let title = || provider.title.clone();
    check_required(told, provider)?;
    let claim = &provider.person_claim;
    let name = told.get(claim).and_then(Value::as_str);
    let name = name.ok_or_else(|| Refused::NoName {
        provider: title(),
        claim: claim.clone(),
    })?;
    if claim == EMAIL && told.get(VERIFIED) != Some(&Value::Bool(true)) {
        return Err(Refused::NotVerified(title()));
    }
    let subject = told.get("sub").and_then(Value::as_str).unwrap_or_default();
    Ok(Vouched {
        account: AccountId::of(&provider.issuer, subject),
        person: person(name).ok_or_else(|| Refused::NoPlainName(title()))?,
        groups: groups(told.get(&provider.groups_claim), provider),
    })
}

fn person(name: &str) -> Option<PersonId> {
    let plain = name.is_ascii().then(|| name.to_ascii_lowercase())?;
    plain.parse().ok()
}

/// Ours for theirs. A claim that is no list of texts, or is missing, is no group at all. Nor is any where
/// groups are provisioned.
fn groups(told: Option<&Value>, provider: &Provider) -> BTreeMap<GroupId, String> {
    let told = told.filter(|_| provider.scim.is_none());
    let one = told.and_then(Value::as_str);
    let many = told.and_then(Value::as_array).into_iter().flatten();
    let theirs = many.filter_map(Value::as_str).chain(one);
    let ours = theirs.filter_map(|theirs| {
        let group = provider.groups.get(theirs)?;
        Some((group.clone(), theirs.to_owned()))
    });
    ours.collect()
}
