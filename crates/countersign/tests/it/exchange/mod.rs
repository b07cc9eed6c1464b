//! Machines that exchange what they have for short-lived tokens.
//!
//! In scope: tokens of issuers, assertions, delegations and bound tokens, good and bad, over HTTP;
//! what ends them.
//! Invariant: what is refused gives nothing that opens anything.

mod asserting;
mod behind;
mod bound;
mod delegating;
mod ending;
mod for_good;
mod issuer;
mod tokens;
mod waiting;

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode as sign};
use serde_json::{Value, json};

use crate::support::{Answer, Caller, Lab, client};

pub(super) const GITHUB: &str = "https://token.actions.githubusercontent.com";
pub(super) const CLUSTER: &str = "https://kubernetes.default.svc.cluster.local";
pub(super) const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
pub(super) const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
pub(super) const ACCESS: &str = "urn:ietf:params:oauth:token-type:access_token";
pub(super) const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// A key on P-256, and what is public of it.
pub(super) struct Signer {
    pub(super) key: EncodingKey,
    point: Vec<u8>,
    pub(super) name: String,
}

pub(super) fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(super) fn now() -> i64 {
    i64::try_from(jsonwebtoken::get_current_timestamp()).unwrap()
}

impl Signer {
    pub(super) fn new(name: &str) -> Self {
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let made = EcdsaKeyPair::generate_pkcs8(algorithm, &SystemRandom::new()).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, made.as_ref()).unwrap();
        Self {
            key: EncodingKey::from_ec_der(made.as_ref()),
            point: pair.public_key().as_ref().to_vec(),
            name: name.into(),
        }
    }

    /// The public key.
    pub(super) fn jwk(&self) -> Value {
        let (x, y) = self.point[1..].split_at(32);
        json!({ "kty": "EC", "crv": "P-256", "x": encode(x), "y": encode(y) })
    }

    /// The public key, called by its name.
    pub(super) fn named(&self) -> Value {
        let mut jwk = self.jwk();
        jwk["kid"] = json!(self.name);
        jwk["alg"] = json!("ES256");
        jwk["use"] = json!("sig");
        jwk
    }

    pub(super) fn public(&self) -> &[u8] {
        &self.point
    }

    pub(super) fn header(&self) -> Header {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(self.name.clone());
        header
    }

    pub(super) fn sign(&self, claims: &Value) -> String {
        sign(&self.header(), claims, &self.key).unwrap()
    }

    /// A token whose parts are written as they are.
    pub(super) fn sign_text(&self, head: &str, claims: &str) -> String {
        let message = format!("{}.{}", encode(head.as_bytes()), encode(claims.as_bytes()));
        let signature =
            jsonwebtoken::crypto::sign(message.as_bytes(), &self.key, Algorithm::ES256).unwrap();
        format!("{message}.{signature}")
    }
}

pub(super) fn set(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}

/// Changes of an object; `null` removes.
pub(super) fn with(mut object: Value, more: Value) -> Value {
    let fields = object.as_object_mut().unwrap();
    for (name, value) in more.as_object().unwrap() {
        match value {
            Value::Null => fields.remove(name),
            value => fields.insert(name.clone(), value.clone()),
        };
    }
    object
}

/// A gateway with a repository, a cluster, and machines that have keys.
pub(super) struct Shop {
    pub(super) lab: Lab,
    pub(super) github: Signer,
    pub(super) cluster: Signer,
    pub(super) own: Signer,
}

impl Shop {
    pub(super) async fn new() -> Self {
        Self::with("").await
    }

    /// With more in the configuration.
    pub(super) async fn with(more: &str) -> Self {
        let (github, cluster, own) = (
            Signer::new("gh-1"),
            Signer::new("k-1"),
            Signer::new("own-1"),
        );
        let tables = tables(&github, &cluster, &own);
        let lab = Lab::with(|files| {
            let config = files.get_mut("countersign.toml").unwrap();
            config.push_str(&tables);
            config.push_str(more);
        })
        .await;
        Self {
            lab,
            github,
            cluster,
            own,
        }
    }

    /// What a job of the repository has.
    pub(super) fn job(&self, more: Value) -> Value {
        let claims = json!({
            "iss": GITHUB, "aud": self.lab.url, "sub": "repo:acme/shop:environment:production",
            "repository": "acme/shop", "repository_id": "42", "environment": "production",
            "ref": "refs/heads/main", "event_name": "push", "jti": "j-1", "actor": "ann",
            "iat": now() - 5, "nbf": now() - 5, "exp": now() + 300,
        });
        with(claims, more)
    }

    pub(super) fn job_token(&self) -> String {
        self.github.sign(&self.job(json!({})))
    }

    /// What a pod has.
    pub(super) fn pod(&self, more: Value) -> Value {
        let claims = json!({
            "iss": CLUSTER, "aud": [self.lab.url], "sub": "system:serviceaccount:prod:migrator",
            "iat": now() - 5, "nbf": now() - 5, "exp": now() + 3600, "jti": "k",
            "kubernetes.io": { "namespace": "prod", "serviceaccount": { "name": "migrator" } },
        });
        with(claims, more)
    }

    /// What a machine signs with its own key.
    pub(super) fn assertion(&self, name: &str, more: Value) -> Value {
        let jti = format!("{:?}", std::time::Instant::now());
        let claims = json!({
            "iss": name, "sub": name, "aud": format!("{}/oauth/token", self.lab.url),
            "iat": now(), "exp": now() + 60, "jti": encode(jti.as_bytes()),
        });
        with(claims, more)
    }

    pub(super) async fn ask(&self, form: &[(&str, &str)]) -> Answer {
        self.ask_with(form, &[]).await
    }

    pub(super) async fn ask_with(&self, form: &[(&str, &str)], headers: &[(&str, &str)]) -> Answer {
        let mut request = client()
            .post(format!("{}/oauth/token", self.lab.url))
            .form(form);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.headers()["cache-control"], "no-store");
        Answer::of(response).await
    }

    /// Exchanges a machine's token.
    pub(super) async fn exchange(&self, token: &str) -> Answer {
        self.ask(&[
            ("grant_type", EXCHANGE),
            ("subject_token", token),
            ("subject_token_type", JWT),
        ])
        .await
    }

    /// Shows an assertion.
    pub(super) async fn assert(&self, assertion: &str) -> Answer {
        self.ask(&[
            ("grant_type", "client_credentials"),
            ("client_assertion_type", ASSERTION),
            ("client_assertion", assertion),
        ])
        .await
    }

    /// Whoever has a token.
    pub(super) fn caller(&self, secret: &str) -> Caller {
        Caller {
            http: client(),
            url: self.lab.url.clone(),
            secret: secret.into(),
            csrf: None,
            id: "cred_1".parse().unwrap(),
        }
    }

    /// Whoever has what an exchange gave.
    #[track_caller]
    pub(super) fn caller_of(&self, given: &Answer) -> Caller {
        assert_eq!(given.status, 200, "{given:?}");
        self.caller(&given.text("access_token"))
    }

    /// The job, with its token.
    pub(super) async fn bot(&self) -> Caller {
        self.caller_of(&self.exchange(&self.job_token()).await)
    }
}

/// Issuers, machines, and what they prove themselves with.
fn tables(github: &Signer, cluster: &Signer, own: &Signer) -> String {
    format!(
        r#"
[issuer.github]
issuer = "{GITHUB}"
keys = '''{}'''
algorithms = ["ES256"]
[issuer.cluster]
issuer = "{CLUSTER}"
keys = '''{}'''

[agent.shop]
owner = "olga"
groups = ["agents"]
proves = [{{ issuer = "github", claims = {{ repository = "acme/shop", environment = "production" }} }}]
[agent.staging]
owner = "olga"
groups = ["agents"]
proves = [{{ issuer = "github", claims = {{ repository = "acme/shop", environment = "staging" }} }}]
[workload.migrator]
owner = "olga"
groups = ["agents"]
token_lifetime = "30m"
proves = [{{ issuer = "cluster", claims = {{ sub = "system:serviceaccount:prod:migrator" }} }}]
[agent.signer]
owner = "olga"
groups = ["agents"]
keys = ['{}']
"#,
        set(&[github.named()]),
        set(&[cluster.named()]),
        own.jwk(),
    )
}

/// Passes as this very refusal only.
#[track_caller]
pub(super) fn refused(what: &str, answer: &Answer, status: u16, error: &str, why: &str) {
    let said = (answer.status, answer.text("error"));
    assert_eq!(said, (status, error.to_owned()), "{what}: {answer:?}");
    let told = answer.text("error_description");
    assert!(told.contains(why), "{what}: {told}");
}
