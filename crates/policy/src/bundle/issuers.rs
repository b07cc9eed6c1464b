//! The `[issuer.NAME]` tables.
//!
//! In scope: reading who says which machine has a token.
//! Out of scope: asking it; which machines it speaks for ([`proofs`](super::proofs)).
//! Invariant: only signatures that nobody but the issuer can make are believed. A token that signs
//! people in is never one that a machine proves itself with.

use std::collections::{BTreeMap, BTreeSet};

use countersign_core::id::{IssuerId, ProviderId};
use serde::Deserialize;
use serde_json::Value;
use toml::Spanned;

use super::{
    reading::{Entry, Reader},
    streams::refused_url,
};
use crate::{
    machine::{Issuer, IssuerKeys},
    problem::shown,
    provider::Provider,
    public_key::public_key,
    strict,
};

/// Signatures that can be believed.
pub(super) const ALGORITHMS: [&str; 9] = [
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA",
];
/// The longest key set and the most keys in it.
const MAX_KEYS_BYTES: usize = 65_536;
const MAX_KEYS: usize = 32;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawIssuer {
    issuer: Spanned<String>,
    jwks_uri: Option<Spanned<String>>,
    keys: Option<Spanned<String>>,
    ca: Option<String>,
    algorithms: Option<Spanned<Vec<String>>>,
    audience: Option<Spanned<String>>,
}

/// Reads all issuers. `here` is the gateway's own address, as far as the file says.
pub(super) fn read(
    reader: &mut Reader<'_>,
    providers: &BTreeMap<ProviderId, Provider>,
    here: Option<&str>,
    entries: Vec<Entry<RawIssuer>>,
) -> BTreeMap<IssuerId, Issuer> {
    let mut issuers = BTreeMap::new();
    for entry in entries {
        let line = entry.line;
        let Some(id) = reader.identifier::<IssuerId>(&entry.name, line) else {
            continue;
        };
        let Some(issuer) = read_one(reader, entry) else {
            continue;
        };
        let same = |known: &&Issuer| known.issuer == issuer.issuer;
        if issuers.values().any(|known| same(&known)) {
            let message = format!(
                "`{}` is another issuer's address already",
                shown(&issuer.issuer)
            );
            reader.error(line, message, "write one table for each issuer");
        }
        let audience = issuer.audience.as_deref().or(here);
        let signs_in = |one: &&Provider| {
            one.issuer == issuer.issuer && audience == Some(one.client_id.as_str())
        };
        if providers.values().any(|one| signs_in(&one)) {
            let message = "people sign in with tokens for this audience".to_owned();
            let help = "give machines tokens for another audience than the provider's `client_id`";
            reader.error(line, message, help);
        }
        issuers.insert(id, issuer);
    }
    issuers
}

fn read_one(reader: &mut Reader<'_>, entry: Entry<RawIssuer>) -> Option<Issuer> {
    let Entry {
        name,
        line,
        value: raw,
    } = entry;
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.len() > 64 || !name.chars().all(good) {
        let message = format!("`{}` cannot name an issuer", shown(&name));
        reader.error(
            line,
            message,
            "use 1 to 64 lower-case letters, digits and `-`",
        );
    }
    let issuer = address(reader, &raw.issuer)?;
    let keys = match (raw.jwks_uri, raw.keys) {
        (Some(_), Some(_)) => {
            let help = "write the address of its keys, or the keys themselves";
            reader.error(line, "both `jwks_uri` and `keys` are there", help);
            return None;
        }
        (Some(uri), None) => IssuerKeys::At(checked_url(reader, &uri)?),
        (None, Some(keys)) => IssuerKeys::Given(key_set(reader, keys)?),
        (None, None) if issuer.starts_with("spiffe://") => {
            let help = "write `jwks_uri`, or the keys of its bundle in `keys`";
            reader.error(line, "a trust domain has no discovery document", help);
            return None;
        }
        (None, None) => IssuerKeys::Discovered,
    };
    if raw.ca.is_some() && matches!(keys, IssuerKeys::Given(_)) {
        let help = "remove `ca`: keys that are written here are fetched nowhere";
        reader.error(line, "`ca` means nothing beside `keys`", help);
    }
    let audience = raw.audience.map(|audience| {
        if audience.get_ref().is_empty() || audience.get_ref().len() > 500 {
            let line = reader.line(audience.span().start);
            reader.error(line, "`audience` can't be used", "write 1 to 500 bytes");
        }
        audience.into_inner()
    });
    Some(Issuer {
        issuer,
        keys,
        ca: raw.ca,
        algorithms: algorithms(reader, raw.algorithms),
        audience,
    })
}

fn address(reader: &mut Reader<'_>, written: &Spanned<String>) -> Option<String> {
    let text = written.get_ref();
    if let Some(domain) = text.strip_prefix("spiffe://") {
        let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
        if !domain.is_empty() && domain.len() <= 255 && domain.chars().all(good) {
            return Some(text.clone());
        }
        let message = format!("`{}` is no trust domain", shown(text));
        let line = reader.line(written.span().start);
        reader.error(
            line,
            message,
            "write it like `spiffe://example.org`, without a path",
        );
        return None;
    }
    checked_url(reader, written)
}

fn checked_url(reader: &mut Reader<'_>, written: &Spanned<String>) -> Option<String> {
    let text = written.get_ref();
    let refused = refused_url(text).or(text.contains('?').then_some("it has a query"));
    let Some(why) = refused else {
        return Some(text.clone());
    };
    let message = format!("`{}` can't be used: {why}", shown(text));
    let help = "write an `https://` address, exactly as its tokens or its discovery document have it; \
                `http://` only of 127.0.0.1, [::1] or localhost";
    reader.error(reader.line(written.span().start), message, help);
    None
}

fn algorithms(reader: &mut Reader<'_>, written: Option<Spanned<Vec<String>>>) -> BTreeSet<String> {
    let Some(written) = written else {
        return ALGORITHMS.map(str::to_owned).into();
    };
    let line = reader.line(written.span().start);
    let named = written.into_inner();
    let strange = named.iter().find(|one| !ALGORITHMS.contains(&one.as_str()));
    if named.is_empty() || strange.is_some() {
        let strange = strange.map_or_else(String::new, |one| shown(one));
        let message = format!("`algorithms` has `{strange}`, which is not believed");
        let help = format!("name some of {}", ALGORITHMS.join(", "));
        reader.error(line, message, help);
    }
    named.into_iter().collect()
}

fn key_set(reader: &mut Reader<'_>, written: Spanned<String>) -> Option<String> {
    let line = reader.line(written.span().start);
    let help = "write a JSON Web Key Set with public keys: `keys = '''{\"keys\": […]}'''`";
    let text = written.into_inner();
    let read = match text.len() <= MAX_KEYS_BYTES {
        true => strict::from_slice::<Value>(text.as_bytes()).ok(),
        false => None,
    };
    let keys = read
        .as_ref()
        .and_then(|set| set.get("keys"))
        .and_then(Value::as_array);
    let Some(keys) = keys.filter(|keys| !keys.is_empty() && keys.len() <= MAX_KEYS) else {
        reader.error(line, "`keys` is no set of 1 to 32 keys", help);
        return None;
    };
    for (place, key) in keys.iter().enumerate() {
        if let Err(why) = public_key(key) {
            reader.error(
                line,
                format!("key {} can't be used: {why}", place + 1),
                help,
            );
        }
    }
    Some(text)
}
