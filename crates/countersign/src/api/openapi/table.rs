//! One line for each route.
//!
//! Invariant: names of schemas are those of [`types`](crate::api::types) and of AuthZEN's types; a
//! test finds a name that is none.

use utoipa::openapi::HttpMethod;

/// The two methods of the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    /// Reads.
    Get,
    /// Changes, or asks.
    Post,
}

impl From<Method> for HttpMethod {
    fn from(method: Method) -> Self {
        match method {
            Method::Get => Self::Get,
            Method::Post => Self::Post,
        }
    }
}

/// What a route takes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Sent {
    /// No body.
    Nothing,
    /// JSON of this schema.
    Json(&'static str),
    /// A form of this schema.
    Form(&'static str),
    /// Bytes.
    Bytes,
}

/// What a route gives.
#[derive(Debug, Clone, Copy)]
pub(super) enum Given {
    /// JSON of this schema.
    Json(&'static str),
    /// JSON of this schema, with status 201.
    Created(&'static str),
    /// JSON of this schema, one a line.
    Lines(&'static str),
    /// JSON of no fixed shape.
    AnyJson,
    /// Text.
    Text,
    /// Bytes.
    Bytes,
    /// Server-sent events.
    Events,
}

impl Given {
    /// The HTTP status of success.
    pub(super) fn status(self) -> &'static str {
        match self {
            Self::Created(_) => "201",
            _ => "200",
        }
    }
}

/// A route.
#[derive(Debug, Clone, Copy)]
pub(super) struct Route {
    pub(super) method: Method,
    pub(super) path: &'static str,
    pub(super) name: &'static str,
    pub(super) summary: &'static str,
    pub(super) sent: Sent,
    pub(super) given: Given,
    pub(super) query: &'static [&'static str],
    /// Whether no credential is needed.
    pub(super) public: bool,
    /// Whether it takes an `Idempotency-Key`.
    pub(super) once: bool,
}

impl Route {
    const fn get(
        path: &'static str,
        name: &'static str,
        summary: &'static str,
        given: Given,
    ) -> Self {
        let (sent, query) = (Sent::Nothing, &[] as &[_]);
        let (method, public, once) = (Method::Get, false, false);
        Self {
            method,
            path,
            name,
            summary,
            sent,
            given,
            query,
            public,
            once,
        }
    }

    const fn post(
        path: &'static str,
        name: &'static str,
        summary: &'static str,
        sent: Sent,
        given: Given,
    ) -> Self {
        let route = Self::get(path, name, summary, given);
        Self {
            method: Method::Post,
            sent,
            ..route
        }
    }

    const fn public(self) -> Self {
        Self {
            public: true,
            ..self
        }
    }

    const fn once(self) -> Self {
        Self { once: true, ..self }
    }

    const fn filtered(self, query: &'static [&'static str]) -> Self {
        Self { query, ..self }
    }
}

/// What narrows a list of requests.
const LIST: &[&str] = &[
    "state", "agent", "target", "text", "since", "until", "after", "limit", "mine",
];

/// What narrows the list of emergencies.
const EMERGENCIES: &[&str] = &["state", "after", "limit"];

use Given::{AnyJson, Created, Events, Json, Lines, Text};
use Sent::{Bytes, Form, Json as Body, Nothing};

/// Every route.
pub(super) const ROUTES: &[Route] = &[
    Route::get(
        "/.well-known/authzen-configuration",
        "authzenConfiguration",
        "Where AuthZEN's interfaces are",
        Json("Metadata"),
    )
    .public(),
    Route::post(
        "/access/v1/evaluation",
        "evaluate",
        "Ask whether the caller may act, or claim an approval",
        Body("EvaluationBody"),
        Json("EvaluationAnswer"),
    )
    .once(),
    Route::post(
        "/access/v1/evaluations",
        "evaluateAll",
        "Ask several questions",
        Body("EvaluationsBody"),
        Json("EvaluationsAnswer"),
    )
    .once(),
    Route::post(
        "/access/v1/requests",
        "submitAccessRequest",
        "Ask people to countersign a denied question",
        Body("SubmitBody"),
        Created("TaskAnswer"),
    )
    .once(),
    Route::get(
        "/access/v1/requests/{id}",
        "accessRequest",
        "What became of an access request",
        Json("TaskAnswer"),
    ),
    Route::post(
        "/access/v1/requests/{id}/cancel",
        "cancelAccessRequest",
        "Take an access request back",
        Nothing,
        Json("TaskAnswer"),
    ),
    Route::post(
        "/v1/outcomes",
        "reportOutcome",
        "Say how a permitted action ended",
        Body("OutcomeBody"),
        Json("OutcomeAnswer"),
    )
    .once(),
    Route::get("/openapi.json", "openapi", "This document", AnyJson).public(),
    Route::get(
        "/v1/health",
        "health",
        "Where the gateway stands",
        Json("Health"),
    )
    .public(),
    Route::get(
        "/.well-known/oauth-authorization-server",
        "oauthMetadata",
        "Where and how machines ask for tokens (RFC 8414)",
        Json("OauthMetadata"),
    )
    .public(),
    Route::post(
        "/oauth/token",
        "token",
        "A short-lived token for what a machine proves itself with (RFC 8693, RFC 7523)",
        Form("TokenForm"),
        Json("TokenAnswer"),
    )
    .public(),
    Route::post(
        "/v1/delegations",
        "delegate",
        "Let a machine act for the caller",
        Body("DelegationBody"),
        Json("DelegationMade"),
    ),
    Route::get("/v1/whoami", "whoAmI", "Who the caller is", Json("WhoAmI")),
    Route::post(
        "/v1/login",
        "login",
        "Use a sign-in link for a token",
        Body("LoginBody"),
        Json("IssuedToken"),
    )
    .public(),
    Route::get(
        "/v1/targets/{name}",
        "target",
        "What a caller needs to know of a target",
        Json("TargetInfo"),
    ),
    Route::post(
        "/v1/inputs",
        "uploadInputs",
        "Upload inputs of a command",
        Bytes,
        Json("InputsReceived"),
    ),
    Route::post(
        "/v1/run",
        "run",
        "Run a command through the gate",
        Body("RunRequest"),
        Lines("RunEvent"),
    ),
    Route::get(
        "/v1/requests",
        "requests",
        "Requests the caller may see, newest first",
        Json("RequestList"),
    )
    .filtered(LIST),
    Route::get(
        "/v1/requests/{id}",
        "request",
        "One request",
        Json("RequestDetail"),
    ),
    Route::post(
        "/v1/requests/{id}/votes",
        "vote",
        "Approve or deny, in a session",
        Body("VoteBody"),
        Json("RequestDetail"),
    ),
    Route::get(
        "/v1/emergencies",
        "emergencies",
        "Requests of which a rule was lifted in an emergency, newest first",
        Json("EmergencyList"),
    )
    .filtered(EMERGENCIES),
    Route::post(
        "/v1/requests/{id}/emergency",
        "breakGlass",
        "Lift one rule in an emergency, in a session, with a passkey",
        Body("EmergencyBody"),
        Json("RequestDetail"),
    ),
    Route::post(
        "/v1/requests/{id}/review",
        "review",
        "Review an emergency of somebody else, in a session",
        Body("ReviewBody"),
        Json("RequestDetail"),
    ),
    Route::post(
        "/v1/requests/{id}/passkey",
        "sign",
        "What a passkey is to sign for a vote or for lifting a rule, in a session",
        Body("ToSign"),
        Json("SigningOptions"),
    ),
    Route::post(
        "/v1/requests/{id}/withdraw",
        "withdraw",
        "Take an approval back",
        Nothing,
        Json("RequestDetail"),
    ),
    Route::post(
        "/v1/requests/{id}/end-grant",
        "end_grant",
        "End the grant that was given with a request",
        Nothing,
        Json("RequestDetail"),
    ),
    Route::get(
        "/v1/grants",
        "list_grants",
        "The grants that can be used",
        Json("GrantList"),
    ),
    Route::post(
        "/v1/requests/{id}/comments",
        "comment",
        "Say something",
        Body("SayBody"),
        Json("RequestDetail"),
    )
    .once(),
    Route::post(
        "/v1/requests/{id}/questions",
        "ask",
        "Ask the requester",
        Body("SayBody"),
        Json("RequestDetail"),
    )
    .once(),
    Route::post(
        "/v1/requests/{id}/answers",
        "answer",
        "Answer a question",
        Body("SayBody"),
        Json("RequestDetail"),
    )
    .once(),
    Route::post(
        "/v1/requests/{id}/amendments",
        "amend",
        "Propose another command instead",
        Body("AmendBody"),
        Json("RequestDetail"),
    )
    .once(),
    Route::post(
        "/v1/requests/{id}/cancel",
        "cancel",
        "Take a request back",
        Nothing,
        Json("RequestDetail"),
    ),
    Route::post(
        "/v1/requests/{id}/claim",
        "claim",
        "Apply an approved change of Countersign itself",
        Nothing,
        Json("ProposalAnswer"),
    ),
    Route::get(
        "/v1/events",
        "events",
        "Changes of requests as they happen",
        Events,
    ),
    Route::post(
        "/v1/proposals",
        "propose",
        "Propose a change of the gateway itself",
        Body("ProposalBody"),
        Json("ProposalAnswer"),
    )
    .once(),
    Route::get(
        "/v1/policy",
        "policy",
        "The active bundle",
        Json("BundleInfo"),
    ),
    Route::post(
        "/v1/policy/explain",
        "explain",
        "Explain a decision without asking for anything",
        Body("ExplainBody"),
        AnyJson,
    ),
    Route::get(
        "/v1/directory",
        "directory",
        "People and machines",
        Json("DirectoryInfo"),
    ),
    Route::get(
        "/v1/channels",
        "channels",
        "How the channels to people stand, for auditors",
        Json("ChannelList"),
    ),
    Route::get(
        "/v1/streams",
        "streams",
        "How the streams to other systems stand, for auditors",
        Json("StreamList"),
    ),
    Route::post(
        "/v1/streams/{name}/retry",
        "retryStream",
        "Have a stream try everything again, what it gave up included",
        Nothing,
        Json("StreamList"),
    ),
    Route::get(
        "/v1/log/checkpoint",
        "checkpoint",
        "The log's latest checkpoint",
        Text,
    )
    .public(),
    Route::get(
        "/v1/log/tile/{level}/{path}",
        "tile",
        "A tile of the log's hashes (C2SP tlog-tiles)",
        Given::Bytes,
    )
    .public(),
    Route::get(
        "/v1/log/tile/entries/{path}",
        "entries",
        "A bundle of the log's entries, for auditors (C2SP tlog-tiles)",
        Given::Bytes,
    ),
    Route::get(
        "/v1/log/key",
        "logKey",
        "The key that verifies the log",
        Text,
    )
    .public(),
    Route::get(
        "/v1/log/vote-key",
        "voteKey",
        "The key that verifies votes",
        Text,
    )
    .public(),
];
