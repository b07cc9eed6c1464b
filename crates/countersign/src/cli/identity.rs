//! Who a job or a service is, by what it has already.
//!
//! In scope: getting that (from GitHub Actions, a file, a key), and exchanging it for a token.
//! Out of scope: whether it is believed; the gateway decides that.
//! Invariant: what is shown is for this gateway alone, and is sent nowhere else. Tokens are kept in
//! memory only, and renewed before they end. A private key that others can read is not used.
//! Specification: RFC 8693, RFC 7523.

use std::{
    fs,
    io::Read,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use aws_lc_rs::{
    rand::{self, SystemRandom},
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
        RsaKeyPair,
    },
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_core::id::base32;
use reqwest::{
    Url,
    header::{ACCEPT, AUTHORIZATION},
};
use rustls::pki_types::{PrivatePkcs8KeyDer, pem::PemObject};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::{
    answer::chain,
    config::{Token, is_loopback},
    failure::{Failure, UNAVAILABLE},
};
use crate::api::types::{TokenAnswer, TokenError};

/// The variable that says what a job or a service proves itself with.
pub(crate) const IDENTITY_VARIABLE: &str = "COUNTERSIGN_IDENTITY";
/// The variable with the name of whoever has a key.
pub(crate) const AS_VARIABLE: &str = "COUNTERSIGN_AS";
/// The variable with whom tokens are for, where that is not the gateway's address.
pub(crate) const AUDIENCE_VARIABLE: &str = "COUNTERSIGN_AUDIENCE";
/// The variable with a delegation.
pub(crate) const DELEGATION_VARIABLE: &str = "COUNTERSIGN_DELEGATION";

/// How long one exchange may take.
const ANSWER: Duration = Duration::from_secs(30);
/// The most bytes of a token or key.
const MAX_FILE: u64 = 64 << 10;
/// How long an assertion holds, in seconds.
const HOLDS: u64 = 60;

const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// Where a token that proves something comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// GitHub Actions.
    GithubActions,
    /// A variable.
    Env(String),
    /// A file that something else keeps fresh.
    File(PathBuf),
    /// A private key, of this agent or workload.
    Key(PathBuf, String),
}

/// What a caller proves itself with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Workload {
    /// Where it comes from.
    pub(crate) source: Source,
    /// Whom it is for, where that is not the gateway's address.
    pub(crate) audience: Option<String>,
    /// Whom the caller acts for.
    pub(crate) delegation: Option<Token>,
}

impl Workload {
    /// Reads what the variables say.
    ///
    /// # Errors
    /// They say nothing that is understood.
    pub(crate) fn read(
        identity: &str,
        acts_as: Option<&str>,
        audience: Option<&str>,
        delegation: Option<&str>,
    ) -> Result<Self, Failure> {
        let source = match identity.split_once(':') {
            None if identity == "github-actions" => Source::GithubActions,
            Some(("env", name)) if !name.is_empty() => Source::Env(name.into()),
            Some(("file", path)) if !path.is_empty() => Source::File(path.into()),
            Some(("key", path)) if !path.is_empty() => {
                let name = acts_as.filter(|name| name.contains(':'));
                let name = name.ok_or_else(|| {
                    refused(format!("{AS_VARIABLE} does not say whose key it is"))
                        .next(format!("set {AS_VARIABLE}=agent:NAME or workload:NAME"))
                })?;
                Source::Key(path.into(), name.to_owned())
            }
            _ => {
                let shown = identity.escape_debug();
                return Err(refused(format!(
                    "{IDENTITY_VARIABLE} is `{shown}`, which means nothing"
                ))
                .next("write `github-actions`, `env:NAME`, `file:PATH` or `key:PATH`"));
            }
        };
        Ok(Self {
            source,
            audience: audience.map(str::to_owned),
            delegation: delegation.map(Token::new).transpose()?,
        })
    }
}

fn refused(title: impl Into<String>) -> Failure {
    Failure::usage(title).exit(UNAVAILABLE)
}

/// Exchanges what a caller has for tokens of one gateway.
#[derive(Debug)]
pub(crate) struct Exchange {
    workload: Workload,
    base: Url,
    kept: Mutex<Option<(Token, Instant)>>,
}

impl Exchange {
    /// For the gateway at `base`.
    pub(crate) fn new(workload: Workload, base: Url) -> Self {
        Self {
            workload,
            base,
            kept: Mutex::default(),
        }
    }

    /// A token that lasts for a while.
    ///
    /// # Errors
    /// There is nothing to exchange, or the gateway does not believe it.
    pub(crate) async fn token(&self, http: &reqwest::Client) -> Result<Token, Failure> {
        let mut kept = self.kept.lock().await;
        if let Some((token, until)) = &*kept
            && Instant::now() < *until
        {
            return Ok(token.clone());
        }
        let asked = Instant::now();
        let form = self.form().await?;
        let answer = self.ask(http, &form).await?;
        let token = Token::new(&answer.access_token)?;
        // Renewed before it ends, so that nothing under way meets its end.
        let lasts = u64::try_from(answer.expires_in).unwrap_or_default();
        let until = asked + Duration::from_secs(lasts).mul_f64(0.75);
        *kept = Some((token.clone(), until));
        Ok(token)
    }

    /// Forgets the token, which the gateway no longer takes.
    pub(crate) async fn renew(&self) {
        *self.kept.lock().await = None;
    }

    /// The gateway's address as it names itself: without a slash at its end.
    fn gateway(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    async fn form(&self) -> Result<Vec<(&'static str, String)>, Failure> {
        let workload = &self.workload;
        let audience = workload
            .audience
            .as_deref()
            .unwrap_or_else(|| self.gateway());
        let shown = match &workload.source {
            Source::GithubActions => of_github(audience, |name| std::env::var(name).ok()).await?,
            Source::Env(name) => std::env::var(name).map_err(|_| {
                refused(format!("{name} is not set, or is no text"))
                    .next(format!("correct {IDENTITY_VARIABLE}, or whatever sets it"))
            })?,
            Source::File(path) => read(path)?.trim().to_owned(),
            Source::Key(path, name) => {
                let here = format!("{}/oauth/token", self.gateway());
                let shown = signed(path, name, workload.audience.as_deref().unwrap_or(&here))?;
                let mut form = vec![
                    ("client_assertion_type", ASSERTION.to_owned()),
                    ("client_assertion", shown),
                ];
                match &workload.delegation {
                    None => form.push(("grant_type", "client_credentials".into())),
                    Some(delegation) => form.extend(delegated(delegation)),
                }
                return Ok(form);
            }
        };
        Ok(match &workload.delegation {
            None => vec![
                ("grant_type", EXCHANGE.into()),
                ("subject_token", shown),
                ("subject_token_type", JWT.into()),
            ],
            Some(delegation) => {
                let mut form = delegated(delegation).to_vec();
                form.extend([("actor_token", shown), ("actor_token_type", JWT.into())]);
                form
            }
        })
    }

    async fn ask(
        &self,
        http: &reqwest::Client,
        form: &[(&'static str, String)],
    ) -> Result<TokenAnswer, Failure> {
        let url = format!("{}/oauth/token", self.gateway());
        let asked = http.post(url).timeout(ANSWER).form(form).send().await;
        let failed = |error: &reqwest::Error| {
            let why = chain(error);
            Failure::new("unreachable", format!("{} gave no token: {why}", self.base))
                .exit(UNAVAILABLE)
        };
        let answer = asked.map_err(|error| failed(&error))?;
        let status = answer.status();
        let text = answer.text().await.map_err(|error| failed(&error))?;
        if status.is_success() {
            return serde_json::from_str(&text).map_err(|_| {
                Failure::new("unexpected_answer", format!("{} gave no token", self.base))
                    .exit(UNAVAILABLE)
            });
        }
        let said: Option<TokenError> = serde_json::from_str(&text).ok();
        let why = said.map_or_else(|| format!("status {status}"), |said| said.error_description);
        let mut failure = Failure::new("token_refused", format!("{} gave no token: {why}", self.base))
            .next(format!(
                "compare it with `proves` or `keys` of the agent in countersign.toml, and the address with \
                 `public_url`; {IDENTITY_VARIABLE} says what is shown"
            ))
            .exit(UNAVAILABLE);
        failure.http = Some(status.as_u16());
        Err(failure)
    }
}

fn delegated(delegation: &Token) -> [(&'static str, String); 3] {
    [
        ("grant_type", EXCHANGE.into()),
        ("subject_token", delegation.secret().to_owned()),
        ("subject_token_type", ACCESS_TOKEN.into()),
    ]
}

/// The token that GitHub makes for a job, for one audience.
async fn of_github(
    audience: &str,
    own: impl Fn(&str) -> Option<String>,
) -> Result<String, Failure> {
    #[derive(Deserialize)]
    struct Given {
        value: String,
    }
    let missing = || {
        refused("this job may not ask GitHub who it is")
            .next("add `permissions: { id-token: write }` to the job")
    };
    let url = own("ACTIONS_ID_TOKEN_REQUEST_URL").ok_or_else(missing)?;
    let bearer = own("ACTIONS_ID_TOKEN_REQUEST_TOKEN").ok_or_else(missing)?;
    let mut url =
        Url::parse(&url).map_err(|_| refused("ACTIONS_ID_TOKEN_REQUEST_URL is no address"))?;
    if url.scheme() != "https" && !is_loopback(&url) {
        return Err(refused("GitHub's address for tokens is not `https`"));
    }
    let client = super::client::http(&url, None)?;
    url.query_pairs_mut().append_pair("audience", audience);
    let asked = client
        .get(url)
        .timeout(ANSWER)
        .header(AUTHORIZATION, format!("bearer {bearer}"))
        .header(ACCEPT, "application/json");
    let failed = |why: String| {
        Failure::new(
            "no_identity",
            format!("GitHub does not say who this job is: {why}"),
        )
        .exit(UNAVAILABLE)
    };
    let answer = asked
        .send()
        .await
        .map_err(|error| failed(chain(&error.without_url())))?;
    let status = answer.status();
    let given = answer
        .text()
        .await
        .map_err(|error| failed(chain(&error.without_url())))?;
    let given = serde_json::from_str::<Given>(&given);
    given
        .map(|given| given.value)
        .map_err(|_| failed(format!("status {status}")))
}

fn read(path: &Path) -> Result<String, Failure> {
    let failed = |error: std::io::Error| {
        refused(format!("`{}` can't be read: {error}", path.display())).next(format!(
            "correct {IDENTITY_VARIABLE}, or whatever writes the file"
        ))
    };
    let file = fs::File::open(path).map_err(failed)?;
    let mut text = String::new();
    file.take(MAX_FILE)
        .read_to_string(&mut text)
        .map_err(failed)?;
    Ok(text)
}

/// Says who signs it, once and for a minute.
fn signed(path: &Path, name: &str, audience: &str) -> Result<String, Failure> {
    let unreadable = |error| refused(format!("`{}` can't be read: {error}", path.display()));
    let mode = fs::metadata(path).map_err(unreadable)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        let shown = path.display();
        return Err(refused(format!(
            "others on this machine can read the private key `{shown}` (mode {mode:03o})"
        ))
        .next(format!(
            "run `chmod 600 {shown}`; if others may have read it, make a new one"
        )));
    }
    let key = private_key(&read(path)?).ok_or_else(|| {
        refused(format!("`{}` is no private key", path.display())).next(
            "it holds one as PEM (`BEGIN PRIVATE KEY`; P-256, Ed25519 or RSA) or as JSON Web Key (P-256)",
        )
    })?;
    let now = jsonwebtoken::get_current_timestamp();
    let claims = json!({
        "iss": name, "sub": name, "aud": audience,
        "iat": now, "exp": now + HOLDS, "jti": random()?,
    });
    let head = json!({ "typ": "JWT", "alg": key.algorithm() });
    let part = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
    let message = format!("{}.{}", part(&head), part(&claims));
    let signature = key.sign(message.as_bytes());
    let signature = signature.ok_or_else(|| refused("the private key does not sign"))?;
    Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

fn random() -> Result<String, Failure> {
    let mut bytes = [0; 16];
    rand::fill(&mut bytes)
        .map_err(|_| Failure::new("random", "the system gives no random numbers"))?;
    Ok(base32(u128::from_be_bytes(bytes)))
}

/// A private key.
enum Key {
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

impl Key {
    /// What it signs with, by its name in JOSE.
    fn algorithm(&self) -> &'static str {
        match self {
            Self::Ec(_) => "ES256",
            Self::Ed(_) => "EdDSA",
            Self::Rsa(_) => "RS256",
        }
    }

    fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        let random = SystemRandom::new();
        match self {
            Self::Ec(pair) => Some(pair.sign(&random, message).ok()?.as_ref().to_vec()),
            Self::Ed(pair) => Some(pair.sign(message).as_ref().to_vec()),
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
                    .ok()?;
                Some(signature)
            }
        }
    }
}

/// Reads a private key, as PEM or as JSON Web Key.
fn private_key(text: &str) -> Option<Key> {
    if text.trim_start().starts_with('{') {
        return of_jwk(text).map(Key::Ec);
    }
    let der = PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes()).ok()?;
    let der = der.secret_pkcs8_der();
    let ec = || EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der);
    let ed = || Ed25519KeyPair::from_pkcs8(der);
    ec().map(Key::Ec)
        .or_else(|_| ed().map(Key::Ed))
        .or_else(|_| RsaKeyPair::from_pkcs8(der).map(Key::Rsa))
        .ok()
}

/// A JSON Web Key on P-256.
fn of_jwk(text: &str) -> Option<EcdsaKeyPair> {
    let jwk: Value = serde_json::from_str(text).ok()?;
    let part = |name: &str| URL_SAFE_NO_PAD.decode(jwk.get(name)?.as_str()?).ok();
    (jwk.get("crv")?.as_str()? == "P-256").then_some(())?;
    let point: Vec<u8> = [vec![4], part("x")?, part("y")?].concat();
    let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
    EcdsaKeyPair::from_private_key_and_public_key(algorithm, &part("d")?, &point).ok()
}

/// A new key pair: the private half as PEM, the public one as JSON Web Key.
///
/// # Errors
/// The system gives no random numbers.
pub(crate) fn new_pair() -> Result<(String, String), Failure> {
    let failed = |_| Failure::new("random", "the system makes no key");
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(failed)?;
    let private = pair.to_pkcs8v1().map_err(failed)?;
    let (x, y) = pair
        .public_key()
        .as_ref()
        .get(1..)
        .unwrap_or_default()
        .split_at(32);
    let jwk = json!({
        "kty": "EC", "crv": "P-256", "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
    });
    let text = base64::engine::general_purpose::STANDARD.encode(private.as_ref());
    let lines: Vec<&str> = text
        .as_bytes()
        .chunks(64)
        .filter_map(|line| str::from_utf8(line).ok())
        .collect();
    let pem = format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        lines.join("\n")
    );
    Ok((pem, jwk.to_string()))
}

#[cfg(test)]
#[path = "identity_tests.rs"]
mod tests;
