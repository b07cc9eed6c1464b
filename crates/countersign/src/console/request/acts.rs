//! Doing something to a request: every form of its page.
//!
//! In scope: from a form to the interface's function that does it, and what follows.
//! Out of scope: judging; those functions and the engine do, and record what they refuse.
//! Invariant: nothing is done before the session's token was checked. Votes and claims also need
//! the proof that this session was shown this very action a short while ago.

use axum::{
    extract::{Path, State},
    http::StatusCode,
    response::Response,
};
use countersign_console::shell::Flash;
use countersign_core::{
    approval::vote::Verdict,
    id::{MessageId, RequestId, RuleName},
    request::MessageKind,
};

use super::{actions::Typed, arguments, page, path};
use crate::{
    admin::{self, AdminError},
    api::{
        Api,
        amend::propose_instead,
        emergencies, granting,
        problem::ApiError,
        requests::{cast, check_act, request_id, say, take_back, take_request_back},
        types::{AmendBody, EmergencyBody, GrantWanted, RequestDetail, ReviewBody, VoteBody},
    },
    console::{
        answer,
        fields::Fields,
        flash::{self, Done},
        proposals,
        session::Session,
        words,
    },
    identity::passkey::Signed,
};

/// A form of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Approve,
    Deny,
    Comment,
    Ask,
    Answer,
    Amend,
    Withdraw,
    Cancel,
    Claim,
    EndGrant,
    Emergency,
    Review,
}

impl Act {
    fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "approve" => Self::Approve,
            "deny" => Self::Deny,
            "comment" => Self::Comment,
            "ask" => Self::Ask,
            "answer" => Self::Answer,
            "amend" => Self::Amend,
            "withdraw" => Self::Withdraw,
            "cancel" => Self::Cancel,
            "claim" => Self::Claim,
            "end-grant" => Self::EndGrant,
            "emergency" => Self::Emergency,
            "review" => Self::Review,
            _ => return None,
        })
    }
}

/// What follows an act.
enum Then {
    /// The page, with what was done.
    Page(Done),
    /// An answer of its own.
    Answer(Response),
}

pub(in crate::console) async fn act(
    State(api): State<Api>,
    session: Session,
    Path((id, name)): Path<(String, String)>,
    fields: Result<Fields, ApiError>,
) -> Response {
    let found = request_id(&id).and_then(|id| {
        let nothing = || ApiError::new(StatusCode::NOT_FOUND, "not_found", "there is no such form");
        Ok((id, Act::from_name(&name).ok_or_else(nothing)?))
    });
    let (id, act) = match found {
        Ok(found) => found,
        Err(error) => return answer::error(&api, &session, &error).await,
    };
    let mut typed = Typed::default();
    let done = async {
        let fields = fields?;
        session.check_form(&api, &fields)?;
        // What another site may have filled in is not shown again.
        typed = typed_in(act, &fields);
        perform(&api, &session, &id, act, &fields).await
    };
    match done.await {
        Ok(Then::Page(done)) => {
            answer::see(&flash::address(&api, &session, &path(&id), Some(&id), done))
        }
        Ok(Then::Answer(response)) => response,
        Err(error) => refused(&api, &session, &id, &error, typed).await,
    }
}

/// The page again, with why it was refused.
async fn refused(
    api: &Api,
    session: &Session,
    id: &RequestId,
    error: &ApiError,
    typed: Typed,
) -> Response {
    let problem = error.problem();
    let next = problem.detail.clone().unwrap_or_default();
    let flash = Flash::refused(format!("{}.", words::sentence(&problem.title)), next);
    let status = answer::status(error);
    match page(api, session, id, status, Some(flash), typed, true).await {
        Ok(response) => response,
        // There is no page for this viewer.
        Err(error) => answer::error(api, session, &error).await,
    }
}

fn typed_in(act: Act, fields: &Fields) -> Typed {
    let reason = words::line_feeds(fields.text("reason"));
    match act {
        Act::Approve => Typed {
            approve: reason,
            ..Typed::default()
        },
        Act::Emergency => Typed {
            emergency: Some((fields.name("rule").to_owned(), reason)),
            ..Typed::default()
        },
        Act::Review => {
            let note = words::line_feeds(fields.text("text"));
            Typed {
                review: Some((fields.name("rule").to_owned(), note)),
                ..Typed::default()
            }
        }
        Act::Deny => Typed {
            deny: reason,
            ..Typed::default()
        },
        Act::Amend => {
            let lines = words::line_feeds(fields.text("arguments"));
            let lines = lines.split('\n').map(String::from).collect();
            Typed {
                arguments: Some(lines),
                ..Typed::default()
            }
        }
        _ => Typed::default(),
    }
}

async fn perform(
    api: &Api,
    session: &Session,
    id: &RequestId,
    act: Act,
    fields: &Fields,
) -> Result<Then, ApiError> {
    let caller = &session.caller;
    let text = || words::line_feeds(fields.text("text"));
    let (_, done) = match act {
        Act::Approve => {
            let detail = vote(api, session, id, Verdict::Approve, fields).await?;
            let confirms = detail.rules.iter().all(|rule| rule.confirmation);
            let done = match confirms {
                true => Done::Confirmed,
                false => Done::Approved,
            };
            (detail, done)
        }
        Act::Deny => (
            vote(api, session, id, Verdict::Deny, fields).await?,
            Done::Denied,
        ),
        Act::Comment => (
            say(api, caller, id, MessageKind::Comment, text()).await?,
            Done::Commented,
        ),
        Act::Ask => (
            say(api, caller, id, MessageKind::Question, text()).await?,
            Done::Asked,
        ),
        Act::Answer => {
            let to: Result<MessageId, _> = fields.name("question").parse();
            let to =
                to.map_err(|_| ApiError::invalid("the question that this answers is missing"))?;
            (
                say(api, caller, id, MessageKind::Answer { to }, text()).await?,
                Done::Answered,
            )
        }
        Act::Amend => {
            let argv = arguments::words(fields.text("arguments"))
                .map_err(|error| ApiError::invalid(error.to_string()))?;
            let body = AmendBody { argv, text: text() };
            (propose_instead(api, caller, id, body).await?, Done::Amended)
        }
        Act::Withdraw => (take_back(api, caller, id).await?, Done::Withdrawn),
        Act::Cancel => (take_request_back(api, caller, id).await?, Done::Cancelled),
        Act::EndGrant => (granting::end(api, caller, id).await?, Done::GrantEnded),
        Act::Claim => return claim(api, session, id, fields).await,
        Act::Emergency => (
            break_glass(api, session, id, fields).await?,
            Done::GlassBroken,
        ),
        Act::Review => (review(api, session, id, fields).await?, Done::Reviewed),
    };
    Ok(Then::Page(done))
}

async fn vote(
    api: &Api,
    session: &Session,
    id: &RequestId,
    verdict: Verdict,
    fields: &Fields,
) -> Result<RequestDetail, ApiError> {
    let typed = fields.name("typed_digest").to_ascii_lowercase();
    let body = VoteBody {
        verdict,
        reason: fields.written("reason"),
        digest: fields.text("digest").into(),
        typed_digest: (!typed.is_empty()).then_some(typed),
        grant: wanted(fields)?,
        act: fields.text("act").into(),
        passkey: signed(fields),
    };
    cast(api, &session.caller, id, body).await
}

/// What the form says is granted beside the action.
fn wanted(fields: &Fields) -> Result<Option<GrantWanted>, ApiError> {
    let differs = || fields.with_prefix("grant_open_").next().is_some();
    match fields.name("grant") {
        // What others proposed stands there already ticked.
        "" if differs() && fields.name("grant_proposed").is_empty() => {
            let title = "tick “Grant its like, too” as well, or nothing of what may differ";
            return Err(ApiError::invalid(title));
        }
        "" => return Ok(None),
        "shape" => {}
        _ => return Err(ApiError::invalid("`grant` is `shape`, or left out")),
    }
    let unreadable = |what: &str| ApiError::invalid(format!("the grant's {what} can't be read"));
    let uses: u32 = fields
        .name("grant_uses")
        .parse()
        .map_err(|_| unreadable("uses"))?;
    Ok(Some(GrantWanted {
        time: fields
            .name("grant_for")
            .parse()
            .map_err(|_| unreadable("time"))?,
        uses,
        open: fields
            .with_prefix("grant_open_")
            .map(str::to_owned)
            .collect(),
    }))
}

/// Lifts a rule in an emergency, which needs a passkey whatever the rule says of votes.
async fn break_glass(
    api: &Api,
    session: &Session,
    id: &RequestId,
    fields: &Fields,
) -> Result<RequestDetail, ApiError> {
    let typed = fields.name("typed_digest").to_ascii_lowercase();
    let Some(passkey) = signed(fields) else {
        let caller = &session.caller;
        api.gateway.case_of(caller, id).await?;
        api.record_refused(caller, id, "not_signed").await;
        let title = "only a passkey's signature lifts a rule";
        let refused = ApiError::new(StatusCode::FORBIDDEN, "not_signed", title);
        return Err(refused.with_detail("Open the page with its script, and sign."));
    };
    let body = EmergencyBody {
        rule: rule(fields)?,
        reason: fields.written("reason").unwrap_or_default(),
        digest: fields.text("digest").into(),
        typed_digest: (!typed.is_empty()).then_some(typed),
        act: fields.text("act").into(),
        passkey,
    };
    emergencies::lift(api, &session.caller, id, body).await
}

async fn review(
    api: &Api,
    session: &Session,
    id: &RequestId,
    fields: &Fields,
) -> Result<RequestDetail, ApiError> {
    let body = ReviewBody {
        rule: rule(fields)?,
        note: words::line_feeds(fields.text("text")),
        digest: fields.text("digest").into(),
        act: fields.text("act").into(),
    };
    emergencies::review(api, &session.caller, id, body).await
}

fn rule(fields: &Fields) -> Result<RuleName, ApiError> {
    let rule = fields.name("rule").parse();
    rule.map_err(|_| ApiError::invalid("the rule is missing"))
}

/// What the voter's passkey signed, which the page's script puts into the form.
fn signed(fields: &Fields) -> Option<Signed> {
    let text = |name: &str| fields.text(name).to_owned();
    let given = !fields.text("passkey_signature").is_empty();
    given.then(|| Signed {
        challenge: text("passkey_challenge"),
        passkey: text("passkey"),
        client_data: text("passkey_client_data"),
        authenticator_data: text("passkey_authenticator_data"),
        signature: text("passkey_signature"),
    })
}

/// Applies an approved change of Countersign itself.
async fn claim(
    api: &Api,
    session: &Session,
    id: &RequestId,
    fields: &Fields,
) -> Result<Then, ApiError> {
    let caller = &session.caller;
    api.gateway.case_of(caller, id).await?;
    check_act(api, caller, id, (fields.text("digest"), fields.text("act"))).await?;
    let answer = match admin::claim(&api.gateway, caller, id).await {
        Ok(answer) => answer,
        Err(AdminError::Engine(error)) => return Err(api.refused(caller, id, error).await),
        Err(error) => return Err(error.into()),
    };
    Ok(match proposals::secret(api, session, &answer).await {
        Some(response) => Then::Answer(response),
        None => Then::Page(Done::Applied),
    })
}
