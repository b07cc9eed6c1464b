//! Believing what a machine proves itself with.
//!
//! In scope: tokens of issuers, and assertions signed with a machine's own key.
//! Out of scope: what it gets for that ([`exchange`](super::exchange)).
//! Invariant: a token counts for exactly one machine, whose claims it has to the letter; it is for this
//! gateway alone, holds now, and is signed by a key of its issuer. Nobody is asked for keys on account
//! of a token that could not count anyhow. An assertion counts once.
//! Specification: RFC 8693, RFC 7523, RFC 8725; SPIFFE JWT-SVID.

use anyhow::{Context, bail, ensure};
use countersign_core::{
    canonical::Hash,
    id::{CredentialId, IssuerId},
    subject::SubjectId,
    time::Timestamp,
};
use countersign_policy::{Issuer, Proof};
use jsonwebtoken::jwk::Jwk;
use serde_json::{Map, Value, json};

use super::{
    Identity,
    exchange::Turn,
    parse_subject,
    replay::Again,
    signed::{SIGNATURES, Token},
};
use crate::active::Active;

/// The types of tokens that machines have; others are made for something else.
const KINDS: [&str; 3] = ["", "jwt", "jose"];
/// The types of assertions.
const ASSERTIONS: [&str; 3] = ["", "jwt", "client-authentication+jwt"];
/// How long an assertion may hold, in milliseconds.
const ASSERTION: i64 = 10 * 60_000;
/// The longest name of an assertion, in bytes.
const MAX_NAME: usize = 200;
/// The longest text that is recorded of a claim.
const MAX_TOLD: usize = 300;
/// What is recorded of a token beside the claims that name the machine: with it, its run is found.
const TOLD: [&str; 8] = [
    "sub",
    "jti",
    "repository",
    "ref",
    "sha",
    "run_id",
    "workflow_ref",
    "event_name",
];
/// How an assertion's machine is said to have proven itself.
pub(super) const BY_KEY: &str = "key";

/// A machine that proved who it is.
#[derive(Debug)]
pub(super) struct Proven {
    /// Which.
    pub(super) machine: SubjectId,
    /// Who said so: an issuer's name, or [`BY_KEY`].
    pub(super) by: String,
    /// The settings under which that is believed.
    pub(super) settings: Hash,
    /// When what it showed ends, where what it gets for it may not last longer.
    pub(super) until: Option<Timestamp>,
    /// What of it counts once, where that is so.
    pub(super) once: Option<Once>,
    /// What is recorded of it.
    pub(super) told: Value,
}

/// What is shown once.
#[derive(Debug)]
pub(super) struct Once {
    /// The name of what is given for it, so that it is not had twice.
    pub(super) id: CredentialId,
    what: Hash,
    until: Timestamp,
}

impl Identity {
    /// Which machine has this token of an issuer. `url` is this gateway's address.
    ///
    /// # Errors
    /// Why it is not believed, or of no machine.
    pub(super) async fn by_token(
        &self,
        active: &Active,
        text: &str,
        (url, turn): (&str, &mut Turn<'_>),
        now: Timestamp,
    ) -> anyhow::Result<Proven> {
        let token = Token::read(text)?;
        ensure!(
            KINDS.contains(&token.kind().as_str()),
            "its `typ` says that it is made for something else"
        );
        ensure!(
            !token.claims.contains_key("nonce"),
            "it signs somebody in (`nonce`) and proves no machine"
        );
        let (id, issuer) = issuer_of(active, &token)?;
        let named = format!("{:?}", token.header.alg);
        ensure!(
            issuer.algorithms.contains(&named),
            "it is signed with {named}, which is not allowed"
        );
        let audience = issuer.audience.as_deref().unwrap_or(url);
        ensure!(
            token.is_only_for(&[audience]),
            "it is not for this gateway alone: ask for the audience `{audience}`"
        );
        let until = token.holds_until(now)?;
        token
            .moment("iat")?
            .context("it does not say when it was made (`iat`)")?;
        let (machine, proof, claims) = machine_of(active, id, &token.claims)?;
        let keys = match self.issuers.known((id, issuer), text) {
            Some(keys) => Ok(keys),
            // Nobody else waits because this one does.
            None => {
                turn.leave();
                let keys = self.issuers.keys((id, issuer), text).await;
                turn.take().await;
                keys
            }
        };
        let keys = keys.with_context(|| format!("the keys of `{id}` can't be had"))?;
        token.check_signature(&keys.keys)?;
        let told = told(&token.claims, claims.keys().map(String::as_str).chain(TOLD));
        Ok(Proven {
            machine: machine.clone(),
            by: id.to_string(),
            settings: proof.settings(),
            until: Some(until),
            once: None,
            told: json!({ "issuer": issuer.issuer, "claims": told }),
        })
    }

    /// Which machine signed this assertion. `url` is this gateway's address, `here` that of the place
    /// where assertions are taken.
    ///
    /// # Errors
    /// Why it is not believed.
    pub(super) async fn by_assertion(
        &self,
        active: &Active,
        text: &str,
        (url, here): (&str, &str),
        now: Timestamp,
    ) -> anyhow::Result<Proven> {
        let token = Token::read(text)?;
        ensure!(
            ASSERTIONS.contains(&token.kind().as_str()),
            "its `typ` says that it is made for something else"
        );
        let name = token
            .text("iss")
            .filter(|name| token.text("sub") == Some(name));
        let name = name
            .context("its `iss` and `sub` are not the machine's name, like `agent:deploy-bot`")?;
        ensure!(
            token.is_only_for(&[here, url]),
            "it is not for `{here}` alone (`aud`)"
        );
        let until = token.holds_until(now)?;
        ensure!(
            until.millis_since(now) <= ASSERTION,
            "it holds for more than 10 minutes; make a new one for each use"
        );
        let jti = token.text("jti").unwrap_or_default();
        ensure!(
            !jti.is_empty() && jti.len() <= MAX_NAME,
            "its name (`jti`) is missing or too long"
        );
        let machine = parse_subject(name).filter(|id| !matches!(id, SubjectId::Person(_)));
        let machine = machine.context("it names no agent and no workload")?;
        let key = signer(active, &machine, &token).context("no key of that machine signed it")?;
        let once = self.unspent(&machine, jti, (now, until)).await?;
        Ok(Proven {
            machine,
            by: BY_KEY.into(),
            settings: key,
            until: None,
            once: Some(once),
            told: json!({ "key": key, "jti": jti }),
        })
    }

    /// An assertion that was not used yet. The token that is given for it has a name made of it, so that it
    /// gives no second one after a restart either.
    async fn unspent(
        &self,
        machine: &SubjectId,
        jti: &str,
        (now, until): (Timestamp, Timestamp),
    ) -> anyhow::Result<Once> {
        let text = format!("countersign/assertion/v1\0{machine}\0{jti}");
        let what = Hash::keyed(&self.keys.act, text.as_bytes());
        let mut bits = [0; 16];
        for (to, from) in bits.iter_mut().zip(what.0) {
            *to = from;
        }
        let id = CredentialId::from_bits(u128::from_be_bytes(bits));
        if self.assertions.has(&what, now) || self.store.credential(&id).await?.is_some() {
            bail!("it was used before");
        }
        Ok(Once { id, what, until })
    }

    /// Uses up what is shown once.
    ///
    /// # Errors
    /// It was used before, or too much is remembered.
    pub(super) fn spend(&self, once: &Once, now: Timestamp) -> Result<(), Again> {
        self.assertions.once(once.what, once.until, now)
    }
}

/// Whose a token says it is.
fn issuer_of<'a>(
    active: &'a Active,
    token: &Token<'_>,
) -> anyhow::Result<(&'a IssuerId, &'a Issuer)> {
    let issuers = active.bundle.issuers();
    let named = token
        .claims
        .get("iss")
        .map(|name| name.as_str().unwrap_or_default());
    let subject = token.text("sub").unwrap_or_default();
    let is_whose = |issuer: &Issuer| match (issuer.trust_domain(), named) {
        // Tokens of SPIFFE need not say whose they are: the subject does.
        (Some(domain), None) => subject
            .strip_prefix(domain)
            .is_some_and(|rest| rest.starts_with('/')),
        (_, named) => named == Some(issuer.issuer.as_str()),
    };
    let mut found = issuers.iter().filter(|(_, issuer)| is_whose(issuer));
    found
        .next()
        .context("its issuer (`iss`) is not believed here")
}

type Found<'a> = (
    &'a SubjectId,
    &'a Proof,
    &'a std::collections::BTreeMap<String, String>,
);

/// The one machine that these claims name.
fn machine_of<'a>(
    active: &'a Active,
    issuer: &IssuerId,
    told: &Map<String, Value>,
) -> anyhow::Result<Found<'a>> {
    let all = active.bundle.machines().iter();
    let mut found = all.filter_map(|(id, settings)| {
        let proof = settings.proofs.iter().find_map(|proof| match proof {
            Proof::Token {
                issuer: by, claims, ..
            } if by == issuer => {
                let has = |(name, text): (&String, &String)| {
                    told.get(name).and_then(Value::as_str) == Some(text.as_str())
                };
                claims.iter().all(has).then_some((proof, claims))
            }
            _ => None,
        });
        proof.map(|(proof, claims)| (id, proof, claims))
    });
    let one = found.next().context(
        "no agent and no workload has the claims of this token; compare them with `proves`",
    )?;
    // Loading refuses settings with which that could be.
    ensure!(found.next().is_none(), "it could be of several machines");
    Ok(one)
}

/// What stands for the key of a machine that signed a token.
fn signer(active: &Active, machine: &SubjectId, token: &Token<'_>) -> anyhow::Result<Hash> {
    let settings = active.bundle.machines().get(machine);
    let proofs = settings
        .map(|settings| settings.proofs.as_slice())
        .unwrap_or_default();
    ensure!(
        SIGNATURES.contains(&token.header.alg),
        "it is not signed as it should be"
    );
    let mut why = anyhow::anyhow!("it has none");
    for proof in proofs {
        let Proof::Key(key) = proof else { continue };
        let mut jwk: Jwk = serde_json::from_str(&key.jwk)?;
        if jwk.common.key_id.is_none() {
            jwk.common.key_id.clone_from(&token.header.kid);
        }
        match token.check_signature(&[jwk]) {
            Ok(()) => return Ok(proof.settings()),
            Err(error) => why = error,
        }
    }
    Err(why)
}

/// What is recorded of claims.
fn told<'a>(
    claims: &Map<String, Value>,
    wanted: impl Iterator<Item = &'a str>,
) -> Map<String, Value> {
    let short = |name: &str| {
        let text = claims
            .get(name)?
            .as_str()
            .filter(|text| text.len() <= MAX_TOLD)?;
        Some((name.to_owned(), Value::from(text)))
    };
    wanted.filter_map(short).collect()
}
