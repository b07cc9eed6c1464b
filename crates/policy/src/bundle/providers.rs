//! The `[provider.NAME]` tables.
//!
//! In scope: reading a provider's settings, and refusing those with which strangers would be people.
//! Out of scope: whether it answers, and what it says there.
//! Invariant: at most one provider says who is who; others only sign in whose account is linked. What
//! they say goes over TLS, or stays on this machine. No two are at one address, so that an account is in
//! one place.

use std::collections::{BTreeMap, BTreeSet};

use countersign_core::{
    id::{GroupId, ProviderId},
    provisioning::Named,
    time::Span,
};
use serde::Deserialize;
use toml::Spanned;

use super::{
    channels::signed_in,
    reading::{Entry, Reader},
    streams::refused_url,
    targets::RawSecret,
};
use crate::{
    problem::shown,
    provider::{Links, Provider, Scim},
};

/// How long a session lasts, unless configured otherwise: a working day, so that whoever was removed
/// at the provider is gone by the next.
const SESSION: Span = Span::minutes(12 * 60);
/// The longest session.
const MAX_SESSION: Span = Span::minutes(7 * 24 * 60);
/// The most providers.
const MAX_PROVIDERS: usize = 20;
/// The longest text of a setting that is sent or shown.
const MAX_TEXT: usize = 200;
/// Issuers where anybody can have an account, and the claim that says whose it is.
const FOR_ANYBODY: [(&str, &str); 2] = [
    ("https://accounts.google.com", "hd"),
    (
        "https://login.microsoftonline.com/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0",
        "tid",
    ),
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawProvider {
    title: Option<Spanned<String>>,
    issuer: Spanned<String>,
    client_id: Spanned<String>,
    client_secret: Spanned<RawSecret>,
    ca: Option<String>,
    scopes: Option<Spanned<Vec<String>>>,
    creates_people: Option<bool>,
    #[serde(default = "email")]
    person_claim: String,
    groups_claim: Option<String>,
    #[serde(default)]
    groups: BTreeMap<String, Spanned<String>>,
    #[serde(default)]
    require: BTreeMap<String, String>,
    session: Option<Spanned<Span>>,
    scim: Option<Spanned<RawScim>>,
    #[serde(default)]
    links_only: bool,
    signed_in_within: Option<Spanned<Span>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawScim {
    token: RawSecret,
    #[serde(default)]
    person: Named,
}

fn email() -> String {
    "email".into()
}

/// Reads all providers.
pub(super) fn read(
    reader: &mut Reader<'_>,
    known: &BTreeSet<GroupId>,
    entries: Vec<Entry<RawProvider>>,
) -> BTreeMap<ProviderId, Provider> {
    let mut providers = BTreeMap::new();
    for entry in entries {
        let line = entry.line;
        if let Some((id, provider)) = read_one(reader, known, entry) {
            check_others(reader, (&id, &provider), &providers, line);
            providers.insert(id, provider);
        }
    }
    providers
}

/// Refuses a second provider that says who is who, and a second one at the same address.
fn check_others(
    reader: &mut Reader<'_>,
    (id, provider): (&ProviderId, &Provider),
    others: &BTreeMap<ProviderId, Provider>,
    line: u32,
) {
    let says = |one: &Provider| one.links.is_none();
    if says(provider) && others.values().any(says) {
        let message = format!("`{id}` is a second provider that says who people are");
        let help = "keep one that does, and give every other one `links_only = true`: it then signs in \
                    people who have linked their account there";
        reader.error(line, message, help);
    }
    if let Some((other, _)) = others
        .iter()
        .find(|(_, other)| other.issuer == provider.issuer)
    {
        let message = format!("`{id}` has the same issuer as `{other}`");
        let help = "keep one of the two: an account there would be two";
        reader.error(line, message, help);
    }
    if others.len() == MAX_PROVIDERS {
        let message = format!("`{id}` is one provider more than {MAX_PROVIDERS}");
        reader.error(line, message, "remove one that nobody needs");
    }
}

fn read_one(
    reader: &mut Reader<'_>,
    known: &BTreeSet<GroupId>,
    entry: Entry<RawProvider>,
) -> Option<(ProviderId, Provider)> {
    let Entry {
        name,
        line,
        value: raw,
    } = entry;
    let id: ProviderId = reader.identifier(&name, line)?;
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.len() > 64 || !name.chars().all(good) {
        let message = format!("`{}` cannot name a provider", shown(&name));
        // It is part of an address that the provider is told.
        reader.error(
            line,
            message,
            "use 1 to 64 lower-case letters, digits and `-`",
        );
    }
    let issuer = issuer(reader, &raw);
    let client_id = text(reader, &raw.client_id);
    let title = raw.title.as_ref().map(|title| text(reader, title));
    let links = match raw.links_only {
        true => Some(links(reader, &raw, line)),
        false => {
            no_links(reader, &raw);
            None
        }
    };
    let scopes = scopes(reader, raw.scopes);
    let groups = mapped(reader, known, raw.groups);
    let session = session(reader, raw.session);
    let scim = scim(reader, raw.scim);
    let secret_line = reader.line(raw.client_secret.span().start);
    let secret = raw.client_secret.into_inner();
    let client_secret = secret.source(reader, secret_line, "client_secret");
    let provider = Provider {
        title: title.unwrap_or_else(|| name.clone()),
        issuer,
        client_id,
        client_secret: client_secret?,
        ca: raw.ca,
        scopes,
        creates_people: raw.creates_people.unwrap_or(links.is_none()),
        person_claim: raw.person_claim,
        groups_claim: raw.groups_claim.unwrap_or_else(|| "groups".into()),
        groups,
        require: raw.require,
        session,
        scim: scim?,
        links,
    };
    Some((id, provider))
}

/// How a provider of linked accounts does it. What would have it say who people are is refused.
fn links(reader: &mut Reader<'_>, raw: &RawProvider, line: u32) -> Links {
    let says = [
        ("creates_people", raw.creates_people == Some(true)),
        ("groups", !raw.groups.is_empty()),
        ("groups_claim", raw.groups_claim.is_some()),
        ("scim", raw.scim.is_some()),
    ];
    for (key, _) in says.into_iter().filter(|(_, written)| *written) {
        let message = format!("a provider that only links has no `{key}`");
        let help = "remove it, or `links_only`: another provider says who people are";
        reader.error(line, message, help);
    }
    Links {
        signed_in_within: signed_in(reader, raw.signed_in_within.clone()),
    }
}

/// Refuses what only a provider of linked accounts has.
fn no_links(reader: &mut Reader<'_>, raw: &RawProvider) {
    if let Some(written) = &raw.signed_in_within {
        let help = "remove it, or add `links_only = true`";
        let line = reader.line(written.span().start);
        reader.error(
            line,
            "`signed_in_within` is for providers that only link",
            help,
        );
    }
}

/// How it provisions; `None` where that was noted as a problem.
fn scim(reader: &mut Reader<'_>, written: Option<Spanned<RawScim>>) -> Option<Option<Scim>> {
    let Some(written) = written else {
        return Some(None);
    };
    let line = reader.line(written.span().start);
    let RawScim { token, person } = written.into_inner();
    let token = token.source(reader, line, "token of `scim`")?;
    Some(Some(Scim { token, person }))
}

fn issuer(reader: &mut Reader<'_>, raw: &RawProvider) -> String {
    let issuer = raw.issuer.get_ref();
    let line = reader.line(raw.issuer.span().start);
    let refused = refused_url(issuer).or(issuer.contains('?').then_some("it has a query"));
    if let Some(why) = refused {
        let message = format!("`{}` can't be an issuer: {why}", shown(issuer));
        let help = "write the `issuer` of its discovery document: an `https://` address; `http://` \
                    only of 127.0.0.1, [::1] or localhost";
        reader.error(line, message, help);
    }
    let same = |known: &str| issuer.trim_end_matches('/') == known;
    let public = FOR_ANYBODY.iter().find(|(known, _)| same(known));
    if let Some((_, claim)) = public
        && !raw.require.contains_key(*claim)
    {
        let message = format!("anybody can have an account at `{}`", shown(issuer));
        let help = format!("say whose people are meant: `require = {{ {claim} = \"…\" }}`");
        reader.error(line, message, help);
    }
    issuer.clone()
}

fn text(reader: &mut Reader<'_>, written: &Spanned<String>) -> String {
    let value = written.get_ref();
    let plain = |c: char| c == ' ' || c.is_alphanumeric() || c.is_ascii_graphic();
    if value.trim().is_empty() || value.len() > MAX_TEXT || !value.chars().all(plain) {
        let message = format!("`{}` can't be used here", shown(value));
        let help = format!("write 1 to {MAX_TEXT} bytes of plain characters");
        reader.error(reader.line(written.span().start), message, help);
    }
    value.clone()
}

fn scopes(reader: &mut Reader<'_>, written: Option<Spanned<Vec<String>>>) -> Vec<String> {
    let Some(written) = written else {
        return vec!["profile".into(), "email".into()];
    };
    // RFC 6749, section 3.3.
    let good = |c: char| c.is_ascii_graphic() && c != '"' && c != '\\';
    let named = |scope: &String| !scope.is_empty() && scope.chars().all(good);
    if !written.get_ref().iter().all(named) {
        let help = "write each scope by itself, without blanks";
        let line = reader.line(written.span().start);
        reader.error(line, "`scopes` has something that is none", help);
    }
    let mut scopes = written.into_inner();
    scopes.retain(|scope| scope != "openid");
    scopes
}

fn mapped(
    reader: &mut Reader<'_>,
    known: &BTreeSet<GroupId>,
    written: BTreeMap<String, Spanned<String>>,
) -> BTreeMap<String, GroupId> {
    let mut groups = BTreeMap::new();
    for (theirs, ours) in written {
        let line = reader.line(ours.span().start);
        let Some(group) = reader.identifier::<GroupId>(ours.get_ref(), line) else {
            continue;
        };
        if known.contains(&group) {
            groups.insert(theirs, group);
        } else {
            let help = format!("add `[group.{group}]`");
            reader.unknown(line, format!("unknown group `{group}`"), help);
        }
    }
    groups
}

fn session(reader: &mut Reader<'_>, written: Option<Spanned<Span>>) -> Span {
    let Some(written) = written else {
        return SESSION;
    };
    let span = *written.get_ref();
    if span < Span::minutes(5) || span > MAX_SESSION {
        let message = format!("a session of {span} is out of bounds");
        let line = reader.line(written.span().start);
        reader.error(line, message, "write 5m to 7d");
    }
    span
}
