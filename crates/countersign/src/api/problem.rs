//! The one place where refusals become HTTP answers.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use countersign_core::{id::RequestId, lifecycle::Refusal, subject::SubjectId};

use super::types::Problem;
use crate::{
    admin::{AdminError, InvalidProposal},
    engine::EngineError,
    explain,
    gates::{advisory::TooManyOutstanding, exec::ExecError},
    identity::{IdentityError, dpop::NotProven},
    secrets::{MaskError, SecretFileError},
    uploads::UploadError,
};

/// How a token that is bound to a key is sent (RFC 9449, section 7.1).
const DPOP: &str = "DPoP algs=\"ES256 EdDSA PS256 RS256\"";
/// The same, to whoever must say a nonce first (section 9).
const NEEDS_NONCE: &str = "DPoP error=\"use_dpop_nonce\", algs=\"ES256 EdDSA PS256 RS256\"";

/// An answer that says what was wrong.
#[derive(Debug)]
pub struct ApiError {
    problem: Box<Problem>,
    /// What the next proof of a key must say.
    nonce: Option<String>,
}

impl ApiError {
    /// An answer of this status with a stable name and a text for people.
    #[must_use]
    pub fn new(status: StatusCode, kind: &str, title: impl Into<String>) -> Self {
        Self {
            problem: Box::new(Problem {
                kind: kind.into(),
                status: status.as_u16(),
                title: title.into(),
                detail: None,
                request: None,
            }),
            nonce: None,
        }
    }

    /// Adds what to do next.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.problem.detail = Some(detail.into());
        self
    }

    /// Names the request concerned.
    #[must_use]
    pub fn about(mut self, request: &RequestId) -> Self {
        self.problem.request = Some(request.clone());
        self
    }

    /// A body or parameter that can't be read.
    #[must_use]
    pub fn invalid(title: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", title)
    }

    /// The problem itself.
    #[must_use]
    pub fn problem(&self) -> &Problem {
        &self.problem
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.problem.status).unwrap_or(StatusCode::BAD_REQUEST);
        let mut response = (status, Json(*self.problem)).into_response();
        let kind = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(CONTENT_TYPE, kind);
        if status == StatusCode::UNAUTHORIZED {
            let headers = response.headers_mut();
            headers.insert("www-authenticate", HeaderValue::from_static("Bearer"));
            let nonce = self
                .nonce
                .and_then(|nonce| HeaderValue::try_from(nonce).ok());
            let challenge = if nonce.is_some() { NEEDS_NONCE } else { DPOP };
            headers.append("www-authenticate", HeaderValue::from_static(challenge));
            if let Some(nonce) = nonce {
                headers.insert("dpop-nonce", nonce);
            }
        }
        response
    }
}

fn refusal_status(refusal: &Refusal) -> StatusCode {
    match refusal {
        Refusal::OwnRequest(_)
        | Refusal::OwnEmergency(_)
        | Refusal::CredentialFromRequester(_)
        | Refusal::SharedCredential(_)
        | Refusal::NotEligible(_)
        | Refusal::AssuranceTooLow { .. }
        | Refusal::NotRequester
        | Refusal::NotParticipant
        | Refusal::NoEmergency(_) => StatusCode::FORBIDDEN,
        Refusal::ReasonRequired
        | Refusal::TextTooLong
        | Refusal::DigestNotTyped
        | Refusal::OtherDigestTyped
        | Refusal::NotGrantable(_)
        | Refusal::NoSuchQuestion => StatusCode::UNPROCESSABLE_ENTITY,
        _ => StatusCode::CONFLICT,
    }
}

impl From<EngineError> for ApiError {
    fn from(error: EngineError) -> Self {
        let text = explain(&error);
        match &error {
            EngineError::Refused(refusal) => {
                Self::new(refusal_status(refusal), refusal.code(), text)
            }
            EngineError::NoSuchRequest(id) => {
                Self::new(StatusCode::NOT_FOUND, "no_such_request", text)
                    .with_detail("It does not exist, or you are not among those who may see it.")
                    .about(id)
            }
            EngineError::ForgedVote(_) => Self::new(StatusCode::CONFLICT, "forged_vote", text),
            EngineError::ForgedRequest(_) => {
                Self::new(StatusCode::CONFLICT, "forged_request", text)
            }
            EngineError::RevokedPasskey(_) => {
                Self::new(StatusCode::CONFLICT, "revoked_passkey", text)
            }
            EngineError::MayHaveRun(id) => {
                Self::new(StatusCode::CONFLICT, "may_have_run", text).about(id)
            }
            EngineError::OriginalNotClosed(id) => {
                Self::new(StatusCode::CONFLICT, "original_not_closed", text).about(id)
            }
            EngineError::NotSigned(_) => Self::new(StatusCode::CONFLICT, "not_signed", text)
                .with_detail("Reload the page, look, and sign again."),
            EngineError::TooManyHeld(..) => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_held", text)
            }
            EngineError::TooManyHeldInAll(_) => {
                tracing::warn!("{text}");
                Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "too_many_held_in_all",
                    text,
                )
                .with_detail("Try again later, or tell whoever runs the gateway (`max_held`).")
            }
            EngineError::RefusedByLog(_) => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "unrecordable", text)
            }
            EngineError::StoredNotLogged(_) => {
                tracing::error!(error = %text, "what was stored is not recorded yet");
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "unrecorded", text).with_detail(
                    "It is stored and takes effect once the log can be written; look before you \
                     try again.",
                )
            }
            EngineError::Clock(_) => Self::new(StatusCode::SERVICE_UNAVAILABLE, "clock", text),
            EngineError::Store(_)
            | EngineError::Log(_)
            | EngineError::Busy
            | EngineError::Internal(_) => {
                tracing::error!(error = %text, "the engine could not do it");
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", text)
                    .with_detail("Nothing was done. Try again; if it goes on, ask an operator.")
            }
        }
    }
}

impl From<IdentityError> for ApiError {
    fn from(error: IdentityError) -> Self {
        let text = explain(&error);
        match error {
            IdentityError::Missing | IdentityError::Invalid | IdentityError::Forged => {
                Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", text).with_detail(
                    "Sign in, run `countersign login`, or set COUNTERSIGN_TOKEN to a valid token.",
                )
            }
            IdentityError::Disabled(who) => {
                Self::new(StatusCode::FORBIDDEN, "disabled", text).with_detail(how_to_go_on(&who))
            }
            IdentityError::Removed(_) => Self::new(StatusCode::FORBIDDEN, "disabled", text)
                .with_detail("Ask an administrator; nothing was done."),
            IdentityError::HasAccount(_) => Self::new(StatusCode::FORBIDDEN, "has_account", text)
                .with_detail(
                    "Sign in with the account. Where that is not possible any more, an administrator \
                     unlinks it first: countersign people unlink PERSON PROVIDER.",
                ),
            IdentityError::Key(NotProven::NeedsNonce(nonce)) => Self {
                nonce: Some(nonce),
                ..Self::new(StatusCode::UNAUTHORIZED, "use_dpop_nonce", text)
            },
            IdentityError::Key(_) => Self::new(StatusCode::UNAUTHORIZED, "invalid_dpop_proof", text)
                .with_detail("Make a new proof for every request, with the key that the token is bound to."),
            IdentityError::Store(error) => EngineError::from(error).into(),
            IdentityError::Engine(error) => error.into(),
        }
    }
}

/// Who lets somebody go on who was stopped, and how.
fn how_to_go_on(who: &SubjectId) -> String {
    match who {
        SubjectId::Agent(agent) => format!(
            "Nothing was done. An administrator can start it again with `countersign agent start \
             {agent}`; then it needs a new token, from `countersign agent token {agent}`."
        ),
        SubjectId::Person(person) => format!(
            "Nothing was done. An administrator can let you act again with `countersign people \
             enable {person}`; then you need a new sign-in link, from `countersign people link \
             {person}`."
        ),
        SubjectId::Workload(_) => "Nothing was done. Ask an administrator.".into(),
    }
}

impl From<TooManyOutstanding> for ApiError {
    fn from(error: TooManyOutstanding) -> Self {
        let status = match error {
            TooManyOutstanding::OfOne => StatusCode::TOO_MANY_REQUESTS,
            TooManyOutstanding::InAll => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, "too_many_outstanding", error.to_string())
            .with_detail("Report outcomes at `/v1/outcomes`; in time they count as unknown.")
    }
}

impl From<UploadError> for ApiError {
    fn from(error: UploadError) -> Self {
        let text = explain(&error);
        match error {
            UploadError::TooMany(..) | UploadError::TooMuch(..) => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, "inputs_quota", text)
            }
            UploadError::Input(_) => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "inputs_refused", text)
            }
            UploadError::Index(_) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", text)
                    .with_detail("Send them again; if it goes on, ask an operator.")
            }
        }
    }
}

impl From<ExecError> for ApiError {
    fn from(error: ExecError) -> Self {
        match error {
            ExecError::Engine(error) => error.into(),
            ExecError::Outstanding(error) => error.into(),
            ExecError::CallerEnded => IdentityError::Invalid.into(),
            ExecError::CallerStopped(who) => IdentityError::Disabled(who).into(),
            other => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                other.code(),
                explain(&other),
            ),
        }
    }
}

impl From<MaskError> for ApiError {
    fn from(error: MaskError) -> Self {
        let text = explain(&error);
        match error {
            MaskError::NotMasked(_) => Self::invalid(text),
            MaskError::Random(_) => Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", text)
                .with_detail("Ask again; if it goes on, ask an operator."),
        }
    }
}

impl From<SecretFileError> for ApiError {
    fn from(error: SecretFileError) -> Self {
        Self::new(StatusCode::CONFLICT, "secrets_gone", explain(&error))
    }
}

impl From<AdminError> for ApiError {
    fn from(error: AdminError) -> Self {
        let text = explain(&error);
        match error {
            AdminError::Engine(error) => error.into(),
            AdminError::Invalid(InvalidProposal::Bundle(_)) => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "bundle_refused", text)
            }
            AdminError::Invalid(_) => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_proposal", text)
            }
            AdminError::Unrecorded { .. } => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "stopped_unrecorded", text).with_detail(
                    "The stop works already, and the gateway goes on trying to record it. Until \
                     then a restart would undo it: free space, and look at `countersign doctor`.",
                )
            }
            AdminError::NotApplied(_) => Self::new(StatusCode::CONFLICT, "not_applied", text),
        }
    }
}
