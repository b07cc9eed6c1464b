//! `countersign agent delegate`: letting an agent act for whoever calls.
//!
//! In scope: asking for a delegation and showing it once.
//! Out of scope: using it; the agent does that, with a proof of its own.
//! Invariant: what is shown is worth nothing without the agent's own proof.

use countersign_core::time::Span;

use super::{
    client::{At, Client},
    clock::now,
    config::Sources,
    failure::Failure,
    output::Output,
    text::{self, Paint, shown},
};
use crate::api::types::{DelegationBody, DelegationMade};

/// Asks for a delegation to a machine.
///
/// # Errors
/// When the gateway can't be reached or refuses.
pub(crate) async fn run(
    to: String,
    valid_for: Option<Span>,
    sources: &Sources,
    output: &mut Output,
) -> Result<u8, Failure> {
    let client = Client::new(&sources.settings()?)?;
    let body = DelegationBody { to, valid_for };
    let made: DelegationMade = client.post_once(At::new(&["delegations"]), &body).await?;
    output.result(&made, page)?;
    Ok(0)
}

fn page(made: &DelegationMade, paint: Paint) -> String {
    let values = [
        ("for", text::list(&made.on_behalf_of)),
        ("until", text::relative(made.expires, now())),
        (
            "revoke with",
            format!("countersign agent revoke {}", made.credential),
        ),
    ];
    format!(
        "{} may act with this, and with who it is; it is shown once\n{}\n\n  \
         COUNTERSIGN_DELEGATION={}",
        paint.bold(&shown(&made.to)),
        text::pairs(2, &values, paint),
        made.delegation
    )
}
