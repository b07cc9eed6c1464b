//! Measures tokens of machines: `script/bench exchange` runs this and draws the table.
//!
//! Writes one JSON line a figure to standard output. Everything runs in this process over a real store and a
//! real log in a new directory, without HTTP.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use aws_lc_rs::{
    encoding::AsDer,
    rand::SystemRandom,
    rsa::{KeyPair as RsaPair, KeySize},
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
    },
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign::{
    gateway::{Gateway, Options},
    identity::{
        dpop,
        exchange::{ExchangeError, Exchanged, Presented, Showing, Turn},
    },
};
use countersign_core::canonical::Hash;
use countersign_store::CredentialKind;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const MACHINES: usize = 200;
const CLIENTS: usize = 32;
const EXCHANGES: usize = 20_000;
const LOOKS: usize = 50_000;
const PROOFS: usize = 5_000;
const ISSUER: &str = "https://issuer.example";
const HERE: &str = "/oauth/token";

fn text(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn figure(metric: &str, value: f64, unit: &str) {
    println!(
        "{}",
        json!({ "metric": metric, "value": value, "unit": unit })
    );
}

fn a_second(count: usize, since: Instant) -> anyhow::Result<f64> {
    Ok(f64::from(u32::try_from(count)?) / since.elapsed().as_secs_f64())
}

/// Keys of the issuer, and one of a machine.
struct Keys {
    ec: EncodingKey,
    rsa: RsaKeyPair,
    set: String,
    own: EncodingKey,
    own_jwk: Value,
}

fn ec(name: Option<&str>) -> anyhow::Result<(EncodingKey, Value)> {
    let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
    let pair = EcdsaKeyPair::generate(algorithm)?;
    let (_, point) = pair.public_key().as_ref().split_at(1);
    let (x, y) = point.split_at(32);
    let mut jwk = json!({ "kty": "EC", "crv": "P-256", "x": text(x), "y": text(y) });
    if let (Some(name), Some(fields)) = (name, jwk.as_object_mut()) {
        fields.insert("kid".into(), json!(name));
    }
    Ok((EncodingKey::from_ec_der(pair.to_pkcs8v1()?.as_ref()), jwk))
}

impl Keys {
    fn new() -> anyhow::Result<Self> {
        let (ec_key, ec_jwk) = ec(Some("ec"))?;
        let (own, own_jwk) = ec(None)?;
        let pair = RsaPair::generate(KeySize::Rsa2048)?;
        let n = pair.public_key().modulus();
        let rsa_jwk = json!({
            "kty": "RSA", "kid": "rsa", "n": text(n.big_endian_without_leading_zero()), "e": "AQAB",
        });
        let der = AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&pair)?;
        Ok(Self {
            ec: ec_key,
            rsa: RsaKeyPair::from_pkcs8(der.as_ref())?,
            set: json!({ "keys": [ec_jwk, rsa_jwk] }).to_string(),
            own,
            own_jwk,
        })
    }

    fn token(&self, url: &str, subject: &str, algorithm: Algorithm) -> anyhow::Result<String> {
        let now = jsonwebtoken::get_current_timestamp();
        let claims = json!({
            "iss": ISSUER, "aud": url, "sub": subject, "iat": now, "exp": now + 3_000,
            "repository": "acme/shop", "ref": "refs/heads/main", "run_id": "1", "jti": subject,
        });
        if algorithm == Algorithm::RS256 {
            let head = json!({ "alg": "RS256", "kid": "rsa" }).to_string();
            let message = format!(
                "{}.{}",
                text(head.as_bytes()),
                text(claims.to_string().as_bytes())
            );
            let mut signature = vec![0; self.rsa.public_modulus_len()];
            let random = SystemRandom::new();
            self.rsa.sign(
                &RSA_PKCS1_SHA256,
                &random,
                message.as_bytes(),
                &mut signature,
            )?;
            return Ok(format!("{message}.{}", text(&signature)));
        }
        let mut header = Header::new(algorithm);
        header.kid = Some("ec".into());
        Ok(encode(&header, &claims, &self.ec)?)
    }
}

fn config(keys: &Keys) -> String {
    let agents = (0..MACHINES).map(|number| {
        format!(
            "[agent.a{number}]\nowner = \"olga@example.com\"\n\
             proves = [{{ issuer = \"own\", claims = {{ sub = \"job-{number}\" }} }}]\n"
        )
    });
    let agents: String = agents.collect();
    format!(
        "[person.\"olga@example.com\"]\n[issuer.own]\nissuer = \"{ISSUER}\"\nkeys = '''{}'''\n{agents}",
        keys.set
    )
}

async fn opened(dir: &Path, keys: &Keys) -> anyhow::Result<Gateway> {
    let folder = dir.join("config");
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("countersign.toml"), config(keys))?;
    Gateway::open(Options {
        config: folder,
        data: Some(dir.join("data")),
        url: None,
        listen: None,
        recovering: false,
    })
    .await
}

async fn exchange(
    gateway: &Gateway,
    token: &str,
    proof: Option<&str>,
) -> Result<Exchanged, ExchangeError> {
    let here = format!("{}{HERE}", gateway.url());
    let presented = Presented {
        machine: Showing::Token(token),
        client: None,
        delegation: None,
        proof,
        url: gateway.url(),
        here: &here,
    };
    let places = Semaphore::new(1);
    let Some(mut turn) = Turn::at(&places).await else {
        return Err(ExchangeError::Disbelieved(anyhow::anyhow!("no place")));
    };
    gateway.identity.exchange(&presented, &mut turn).await
}

/// Tokens that somebody else signed: reading, claims and signature, and nothing else.
async fn refused(gateway: &Gateway, keys: &Keys, algorithm: Algorithm) -> anyhow::Result<()> {
    let token = keys.token(gateway.url(), "job-1", algorithm)?;
    let (rest, signature) = token.rsplit_once('.').context("a token")?;
    let mut bytes = URL_SAFE_NO_PAD.decode(signature)?;
    *bytes.last_mut().context("a signature")? ^= 1;
    let token = format!("{rest}.{}", text(&bytes));
    let begin = Instant::now();
    for _ in 0..LOOKS / 5 {
        match exchange(gateway, &token, None).await {
            Err(ExchangeError::Disbelieved(_)) => {}
            other => bail!("{other:?}"),
        }
    }
    let metric = format!("{algorithm:?} token verified and refused, one thread");
    figure(&metric, a_second(LOOKS / 5, begin)?, "/s");
    Ok(())
}

async fn exchanged(gateway: &Gateway, keys: &Arc<Keys>) -> anyhow::Result<String> {
    let tokens = (0..MACHINES)
        .map(|number| keys.token(gateway.url(), &format!("job-{number}"), Algorithm::ES256));
    let tokens: Arc<Vec<String>> = Arc::new(tokens.collect::<Result<_, _>>()?);
    let next = Arc::new(AtomicU64::new(0));
    let begin = Instant::now();
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..CLIENTS {
        let (gateway, tokens, next) = (gateway.clone(), tokens.clone(), next.clone());
        all.spawn(async move {
            let (mut taken, mut last) = (Vec::new(), String::new());
            loop {
                let number = usize::try_from(next.fetch_add(1, Ordering::Relaxed))?;
                if number >= EXCHANGES {
                    return anyhow::Ok((taken, last));
                }
                let token = tokens.get(number % MACHINES).context("a token")?;
                let since = Instant::now();
                last = exchange(&gateway, token, None)
                    .await?
                    .secret
                    .text()
                    .to_owned();
                taken.push(since.elapsed());
            }
        });
    }
    let (mut taken, mut some) = (Vec::new(), String::new());
    while let Some(done) = all.join_next().await {
        let (mine, last) = done??;
        taken.extend(mine);
        some = last;
    }
    figure(
        &format!("exchanged, recorded and stored, {CLIENTS} at once"),
        a_second(EXCHANGES, begin)?,
        "/s",
    );
    taken.sort();
    let at = |part: usize| {
        taken
            .get(taken.len() * part / 100)
            .copied()
            .unwrap_or_default()
    };
    figure(
        "one exchange of those, p50",
        at(50).as_secs_f64() * 1_000.0,
        "ms",
    );
    figure(
        "one exchange of those, p99",
        at(99).as_secs_f64() * 1_000.0,
        "ms",
    );
    Ok(some)
}

async fn used(gateway: &Gateway, secret: &str) -> anyhow::Result<()> {
    let begin = Instant::now();
    for _ in 0..LOOKS {
        gateway
            .identity
            .caller(secret, CredentialKind::Token)
            .await?;
    }
    figure(
        "exchanged token looked up, one after the other",
        a_second(LOOKS, begin)?,
        "/s",
    );
    Ok(())
}

fn proof(
    keys: &Keys,
    method: &str,
    address: &str,
    token: Option<&str>,
    number: usize,
) -> anyhow::Result<String> {
    let head = json!({ "typ": "dpop+jwt", "alg": "ES256", "jwk": keys.own_jwk });
    let ath = token.map(|token| text(&Hash::of(token.as_bytes()).0));
    let mut claims = json!({
        "htm": method, "htu": address, "iat": jsonwebtoken::get_current_timestamp(), "jti": number.to_string(),
    });
    if let (Some(ath), Some(fields)) = (ath, claims.as_object_mut()) {
        fields.insert("ath".into(), json!(ath));
    }
    let message = format!(
        "{}.{}",
        text(head.to_string().as_bytes()),
        text(claims.to_string().as_bytes())
    );
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &keys.own, Algorithm::ES256)?;
    Ok(format!("{message}.{signature}"))
}

async fn proven(gateway: &Gateway, keys: &Keys) -> anyhow::Result<()> {
    let here = format!("{}{HERE}", gateway.url());
    // In the first seconds proofs must say a nonce.
    tokio::time::sleep(Duration::from_secs(7)).await;
    let first = proof(keys, "POST", &here, None, 0)?;
    let token = keys.token(gateway.url(), "job-0", Algorithm::ES256)?;
    let given = exchange(gateway, &token, Some(&first)).await?;
    ensure!(given.bound, "not bound");
    let secret = given.secret.text();
    let caller = gateway
        .identity
        .caller(secret, CredentialKind::Token)
        .await?;
    let address = format!("{}/v1/whoami", gateway.url());
    let proofs = (1..=PROOFS).map(|number| proof(keys, "GET", &address, Some(secret), number));
    let proofs: Vec<String> = proofs.collect::<Result<_, _>>()?;
    let request = dpop::Request {
        method: "GET",
        address: &address,
        token: Some(secret),
    };
    let begin = Instant::now();
    for proof in &proofs {
        gateway.identity.check_key(&caller, Some(proof), &request)?;
    }
    figure(
        "DPoP proof verified and remembered, one thread",
        a_second(PROOFS, begin)?,
        "/s",
    );
    ensure!(
        proofs.iter().all(|proof| gateway
            .identity
            .check_key(&caller, Some(proof), &request)
            .is_err()),
        "a replay"
    );
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let keys = Arc::new(Keys::new()?);
    let gateway = opened(dir.path(), &keys).await?;
    refused(&gateway, &keys, Algorithm::ES256).await?;
    refused(&gateway, &keys, Algorithm::RS256).await?;
    proven(&gateway, &keys).await?;
    let secret = exchanged(&gateway, &keys).await?;
    used(&gateway, &secret).await?;
    gateway.log.close().await;
    Ok(())
}
