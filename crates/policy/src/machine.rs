//! How machines prove who they are, and who says so.
//!
//! In scope: the settings of issuers and of one machine's proofs.
//! Out of scope: verifying anything that is presented; the gateway does that.
//! Invariant: whom we believe about which machine, and by which key, is part of the bundle's hash,
//! so that it changes only through a request. Keys are public ones; a name is matched as a whole.

use std::collections::{BTreeMap, BTreeSet};

use countersign_core::{
    canonical::{Hash, NotCanonical, hash_in_domain},
    id::IssuerId,
    time::Span,
};
/// How long a token lasts that a machine exchanges its proof for, when nothing else is configured.
pub const TOKEN_LIFETIME: Span = Span::minutes(15);
/// The longest of those.
pub const MAX_TOKEN_LIFETIME: Span = Span::minutes(60);
/// The longest a token lasts that a machine is simply issued, unless its table allows more.
pub const SHORT_TOKEN: Span = Span::minutes(24 * 60);
/// The longest that a table can allow.
pub const MAX_LONG_TOKEN: Span = Span::minutes(90 * 24 * 60);

/// Somebody who signs tokens that say which machine has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer {
    /// What its tokens have in `iss`; or `spiffe://…`, a trust domain whose tokens need not have it.
    pub issuer: String,
    /// Where its keys are.
    pub keys: IssuerKeys,
    /// A file of the only authorities that vouch for its address.
    pub ca: Option<String>,
    /// The signatures that are believed, by their names in JOSE.
    pub algorithms: BTreeSet<String>,
    /// Whom its tokens are for; this gateway's address when absent.
    pub audience: Option<String>,
}

/// Where the keys of an issuer are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IssuerKeys {
    /// Where its discovery document says.
    Discovered,
    /// At this address.
    At(String),
    /// In the bundle itself: a JSON Web Key Set.
    Given(String),
}

impl Issuer {
    /// The trust domain, with its scheme and without a path, where it is one of SPIFFE.
    #[must_use]
    pub fn trust_domain(&self) -> Option<&str> {
        self.issuer
            .starts_with("spiffe://")
            .then_some(self.issuer.as_str())
    }
}

/// One way in which a machine proves who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// By a token of an issuer that has exactly these texts.
    Token {
        /// Who signed it.
        issuer: IssuerId,
        /// Claims, at least one of which names the machine.
        claims: BTreeMap<String, String>,
        /// What stands for all of that, and for how the issuer is believed.
        settings: Hash,
    },
    /// By signing with a key.
    Key(MachineKey),
}

impl Proof {
    /// The proof by a token of `issuer`, called `id`, with these claims.
    ///
    /// # Errors
    /// The settings have no canonical form, which those that were read have.
    pub fn by_token(
        id: &IssuerId,
        issuer: &Issuer,
        claims: BTreeMap<String, String>,
    ) -> Result<Self, NotCanonical> {
        let keys = match &issuer.keys {
            IssuerKeys::Discovered => ("discovered", ""),
            IssuerKeys::At(address) => ("at", address.as_str()),
            IssuerKeys::Given(keys) => ("given", keys.as_str()),
        };
        let believed = (&issuer.ca, &issuer.algorithms, &issuer.audience);
        let settings = hash_in_domain("proof-token", &(&issuer.issuer, keys, believed, &claims))?;
        Ok(Self::Token {
            issuer: id.clone(),
            claims,
            settings,
        })
    }

    /// What stands for the proof as it is believed: a token that was given for it under other settings is
    /// over.
    #[must_use]
    pub fn settings(&self) -> Hash {
        match self {
            Self::Token { settings, .. } => *settings,
            Self::Key(key) => {
                Hash::of_parts(&[b"countersign/proof-key/v1\0", key.identity.as_bytes()])
            }
        }
    }
}

/// The public key of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineKey {
    /// The JSON Web Key, as it was written.
    pub jwk: String,
    /// What every spelling of the same key has in common: its kind and parameters (RFC 7638).
    pub identity: String,
}

/// How one agent or workload proves who it is, and what its tokens may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineSettings {
    /// Each of these is enough.
    pub proofs: Vec<Proof>,
    /// Whether its tokens must be bound to a key that every use proves.
    pub require_dpop: bool,
    /// How long a token lasts that it exchanges a proof for.
    pub token_lifetime: Span,
    /// How long a token may last that it is simply issued, where that is more than [`SHORT_TOKEN`].
    pub long_lived_tokens: Option<Span>,
}

impl Default for MachineSettings {
    fn default() -> Self {
        Self {
            proofs: Vec::new(),
            require_dpop: false,
            token_lifetime: TOKEN_LIFETIME,
            long_lived_tokens: None,
        }
    }
}

impl MachineSettings {
    /// How long a token may last that is issued without a proof.
    #[must_use]
    pub fn longest_token(&self) -> Span {
        self.long_lived_tokens.unwrap_or(SHORT_TOKEN)
    }
}
