//! Tokens that machines ask for, and whom they act for.

use countersign_core::{
    id::CredentialId,
    time::{Span, Timestamp},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a machine asks with (RFC 8693, RFC 7523), as a form.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub struct TokenForm {
    /// `urn:ietf:params:oauth:grant-type:token-exchange` or `client_credentials`.
    pub grant_type: String,
    /// The machine's token of its issuer, or a delegation to it.
    pub subject_token: Option<String>,
    /// `urn:ietf:params:oauth:token-type:jwt` or `…:id_token`; `…:access_token` for a delegation.
    pub subject_token_type: Option<String>,
    /// With a delegation: the machine's token of its issuer.
    pub actor_token: Option<String>,
    /// `urn:ietf:params:oauth:token-type:jwt` or `…:id_token`.
    pub actor_token_type: Option<String>,
    /// Signed with the machine's own key.
    pub client_assertion: Option<String>,
    /// `urn:ietf:params:oauth:client-assertion-type:jwt-bearer`.
    pub client_assertion_type: Option<String>,
}

/// A token for a machine (RFC 6749, section 5.1; RFC 8693, section 2.2.1).
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TokenAnswer {
    /// The token.
    pub access_token: String,
    /// `urn:ietf:params:oauth:token-type:access_token`, where tokens were exchanged.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub issued_token_type: Option<String>,
    /// `Bearer` or `DPoP`.
    pub token_type: String,
    /// Seconds that it lasts.
    pub expires_in: i64,
}

/// Why there is no token (RFC 6749, section 5.2).
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TokenError {
    /// A word of the protocol, such as `invalid_request`.
    pub error: String,
    /// What was wrong, for people.
    pub error_description: String,
}

/// Where tokens are asked for (RFC 8414).
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct OauthMetadata {
    /// This gateway.
    pub issuer: String,
    /// Where tokens are asked for.
    pub token_endpoint: String,
    /// Ways to ask.
    pub grant_types_supported: Vec<String>,
    /// None: nobody is sent anywhere.
    pub response_types_supported: Vec<String>,
    /// How whoever asks proves who it is.
    pub token_endpoint_auth_methods_supported: Vec<String>,
    /// Signatures of assertions.
    pub token_endpoint_auth_signing_alg_values_supported: Vec<String>,
    /// Signatures of proofs of a key.
    pub dpop_signing_alg_values_supported: Vec<String>,
}

/// Whom to let act for the caller.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DelegationBody {
    /// `agent:NAME` or `workload:NAME`.
    pub to: String,
    /// How long, like `1h`; at most `12h`, and never beyond the caller's own credential.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub valid_for: Option<Span>,
}

/// A delegation.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DelegationMade {
    /// What the machine exchanges, together with a proof of its own; shown once.
    pub delegation: String,
    /// Its name, for revoking it.
    #[schema(value_type = String)]
    pub credential: CredentialId,
    /// Who may act.
    pub to: String,
    /// For whom, nearest first.
    pub on_behalf_of: Vec<String>,
    /// Until when.
    #[schema(value_type = i64)]
    pub expires: Timestamp,
}
