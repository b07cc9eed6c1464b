//! What a machine's table says of how it proves who it is.
//!
//! In scope: reading proofs and lifetimes; refusing proofs with which a stranger, or one machine,
//! could be another.
//! Out of scope: believing what is presented.
//! Invariant: no token and no key is the proof of two machines. Every proof names its machine
//! by exact texts.

use std::collections::BTreeMap;

use countersign_core::{id::IssuerId, subject::SubjectId, time::Span};
use serde::Deserialize;
use toml::Spanned;

use super::reading::{Entry, Reader};
use crate::{
    machine::{
        Issuer, MAX_LONG_TOKEN, MAX_TOKEN_LIFETIME, MachineKey, MachineSettings, Proof,
        SHORT_TOKEN, TOKEN_LIFETIME,
    },
    problem::{Problem, shown},
    public_key,
};

/// Issuers where anybody can have tokens, and the claims of which one says whose they are.
const FOR_ANYBODY: [(&str, &[&str]); 2] = [
    (
        "https://token.actions.githubusercontent.com",
        &["repository", "repository_id"],
    ),
    ("https://gitlab.com", &["project_id", "project_path"]),
];
/// How the addresses of GitHub's own servers elsewhere end.
const GITHUB_SERVER: &str = "/_services/token";
/// Claims with which a workflow of GitHub is told from one that somebody proposes.
const PLACES: [&str; 6] = [
    "environment",
    "ref",
    "sub",
    "workflow_ref",
    "job_workflow_ref",
    "event_name",
];
/// What a token says of itself and not of its holder.
const OF_TOKENS: [&str; 7] = ["iss", "aud", "exp", "nbf", "iat", "jti", "azp"];
/// The longest name and text of a claim, and the most proofs of one machine.
const MAX_TEXT: usize = 500;
const MAX_PROOFS: usize = 16;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawProof {
    issuer: Spanned<String>,
    claims: BTreeMap<String, Spanned<String>>,
}

/// The part of a machine's table that is about its proofs.
#[derive(Default)]
pub(super) struct RawProofs {
    pub(super) proves: Vec<RawProof>,
    pub(super) keys: Vec<Spanned<String>>,
    pub(super) require_dpop: bool,
    pub(super) token_lifetime: Option<Spanned<Span>>,
    pub(super) long_lived_tokens: Option<Spanned<Span>>,
}

/// Reads the proofs of all machines.
pub(super) fn read(
    reader: &mut Reader<'_>,
    issuers: &BTreeMap<IssuerId, Issuer>,
    machines: Vec<(SubjectId, Entry<RawProofs>)>,
) -> BTreeMap<SubjectId, MachineSettings> {
    let mut read: BTreeMap<SubjectId, MachineSettings> = BTreeMap::new();
    for (id, entry) in machines {
        let line = entry.line;
        let settings = read_one(reader, issuers, entry);
        for (other, known) in &read {
            if let Some(why) = overlap(&settings, known) {
                let message = format!("`{id}` and `{other}` can't be told apart: {why}");
                let help =
                    "name a claim in both, with two texts; give each machine a key of its own";
                reader.error(line, message, help);
            }
        }
        read.insert(id, settings);
    }
    read
}

fn read_one(
    reader: &mut Reader<'_>,
    issuers: &BTreeMap<IssuerId, Issuer>,
    entry: Entry<RawProofs>,
) -> MachineSettings {
    let Entry {
        line, value: raw, ..
    } = entry;
    if raw.proves.len() + raw.keys.len() > MAX_PROOFS {
        let message = format!("a machine proves itself in at most {MAX_PROOFS} ways");
        reader.error(line, message, "remove some");
    }
    let mut proofs: Vec<Proof> = Vec::new();
    for proof in raw.proves {
        proofs.extend(token(reader, issuers, proof));
    }
    for written in raw.keys {
        proofs.extend(key(reader, &written).map(Proof::Key));
    }
    if raw.require_dpop && proofs.is_empty() {
        let help = "say how it proves who it is, with `proves` or `keys`";
        reader.error(
            line,
            "`require_dpop` leaves this machine no token at all",
            help,
        );
    }
    let lifetime = raw.token_lifetime;
    let token_lifetime = match &lifetime {
        None => TOKEN_LIFETIME,
        Some(span) => {
            let bounds = (Span::minutes(1), MAX_TOKEN_LIFETIME);
            bounded(reader, span, bounds, "an exchanged token lasts 1m to 1h")
        }
    };
    let long = raw.long_lived_tokens.as_ref().map(|span| {
        let bounds = (SHORT_TOKEN, MAX_LONG_TOKEN);
        bounded(
            reader,
            span,
            bounds,
            "what lasts up to 24h needs no setting; the longest is 90d",
        )
    });
    MachineSettings {
        proofs,
        require_dpop: raw.require_dpop,
        token_lifetime,
        long_lived_tokens: long,
    }
}

fn bounded(
    reader: &mut Reader<'_>,
    written: &Spanned<Span>,
    (least, most): (Span, Span),
    help: &str,
) -> Span {
    let span = *written.get_ref();
    if span < least || span > most {
        let line = reader.line(written.span().start);
        reader.error(line, format!("`{span}` is out of bounds"), help);
    }
    span
}

fn token(
    reader: &mut Reader<'_>,
    issuers: &BTreeMap<IssuerId, Issuer>,
    raw: RawProof,
) -> Option<Proof> {
    let line = reader.line(raw.issuer.span().start);
    let id = reader.identifier::<IssuerId>(raw.issuer.get_ref(), line)?;
    let Some(issuer) = issuers.get(&id) else {
        let help = format!("add `[issuer.{id}]`");
        reader.unknown(line, format!("unknown issuer `{id}`"), help);
        return None;
    };
    let mut claims = BTreeMap::new();
    for (name, value) in raw.claims {
        let line = reader.line(value.span().start);
        let text = value.into_inner();
        if let Some(why) = refused_claim(&name, &text) {
            let message = format!("`{}` can't be asked for: {why}", shown(&name));
            reader.error(
                line,
                message,
                "write the claim's whole text, as its tokens have it",
            );
        }
        claims.insert(name, text);
    }
    if let Some((why, help)) = nameless(issuer, &claims) {
        reader.error(line, why, help);
    }
    warn_of_proposals(reader, line, issuer, &claims);
    Proof::by_token(&id, issuer, claims).ok()
}

fn refused_claim(name: &str, text: &str) -> Option<&'static str> {
    if OF_TOKENS.contains(&name) {
        return Some("it says nothing of who has the token");
    }
    if text.contains('*') {
        return Some("`*` stands for nothing here, and every text is compared as a whole");
    }
    let fits = |text: &str| !text.is_empty() && text.len() <= MAX_TEXT;
    (!fits(name) || !fits(text)).then_some("it is empty or longer than 500 bytes")
}

fn is_github(issuer: &str) -> bool {
    FOR_ANYBODY
        .first()
        .is_some_and(|(github, _)| is_below(issuer, github))
        || issuer.ends_with(GITHUB_SERVER)
}

/// Whether an address is another, or below it.
fn is_below(address: &str, other: &str) -> bool {
    let rest = address.strip_prefix(other);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Why claims name no machine, and what would.
fn nameless(issuer: &Issuer, claims: &BTreeMap<String, String>) -> Option<(String, String)> {
    let public = FOR_ANYBODY
        .iter()
        .find(|(known, _)| is_below(&issuer.issuer, known));
    let github = FOR_ANYBODY.first().filter(|_| is_github(&issuer.issuer));
    if let Some((_, naming)) = github.or(public) {
        if naming.iter().any(|name| claims.contains_key(*name)) {
            return None;
        }
        let why = format!(
            "`{}` signs tokens for everybody's repositories",
            shown(&issuer.issuer)
        );
        return Some((
            why,
            format!("say which one is meant: `{}`", naming.join("` or `")),
        ));
    }
    let Some(subject) = claims.get("sub") else {
        let why = "no claim names the machine".to_owned();
        return Some((why, "write its whole `sub`".into()));
    };
    let account = subject.strip_prefix("system:serviceaccount:");
    let whole = |account: &str| {
        let parts: Vec<_> = account.split(':').collect();
        parts.len() == 2 && parts.iter().all(|part| !part.is_empty())
    };
    if account.is_some_and(|account| !whole(account)) {
        let why = format!("`{}` is no service account", shown(subject));
        return Some((why, "write `system:serviceaccount:NAMESPACE:NAME`".into()));
    }
    let spiffe = subject.strip_prefix("spiffe://");
    let pathless = spiffe.is_some_and(|rest| !rest.trim_end_matches('/').contains('/'));
    let domain = issuer.trust_domain();
    let elsewhere = domain.is_some_and(|domain| !is_below(subject, domain));
    if pathless || elsewhere {
        let why = format!("`{}` names no workload of the trust domain", shown(subject));
        return Some((
            why,
            "write the whole SPIFFE ID, as `spiffe://DOMAIN/PATH`".into(),
        ));
    }
    None
}

/// A proposed change of a repository runs its workflows, too.
fn warn_of_proposals(
    reader: &mut Reader<'_>,
    line: u32,
    issuer: &Issuer,
    claims: &BTreeMap<String, String>,
) {
    if is_github(&issuer.issuer) && !PLACES.iter().any(|name| claims.contains_key(*name)) {
        reader.problems.push(Problem::warning(
            reader.file,
            line,
            "any workflow of the repository is this machine, on any branch and for pull requests",
            "name an `environment`, a `ref` or a `job_workflow_ref`, too",
        ));
    }
}

fn key(reader: &mut Reader<'_>, written: &Spanned<String>) -> Option<MachineKey> {
    let line = reader.line(written.span().start);
    let help = "write a public JSON Web Key, from `countersign agent key`";
    match public_key::from_text(written.get_ref()) {
        Ok((_, identity)) => Some(MachineKey {
            jwk: written.get_ref().clone(),
            identity,
        }),
        Err(why) => {
            reader.error(line, format!("the key can't be used: {why}"), help);
            None
        }
    }
}

/// Why something could be the proof of both machines.
fn overlap(one: &MachineSettings, other: &MachineSettings) -> Option<String> {
    let pairs = one
        .proofs
        .iter()
        .flat_map(|mine| other.proofs.iter().map(move |theirs| (mine, theirs)));
    let mut whys = pairs.filter_map(|(mine, theirs)| match (mine, theirs) {
        (
            Proof::Token { issuer, claims, .. },
            Proof::Token {
                issuer: their_issuer,
                claims: their_claims,
                ..
            },
        ) if issuer == their_issuer => {
            let differ = |(name, text): (&String, &String)| {
                their_claims.get(name).is_some_and(|theirs| theirs != text)
            };
            let apart = claims.iter().any(differ);
            (!apart).then(|| format!("one token of `{issuer}` could be both"))
        }
        (Proof::Key(mine), Proof::Key(theirs)) if mine.identity == theirs.identity => {
            Some("they have the same key".into())
        }
        _ => None,
    });
    whys.next()
}
