//! Every way to become one's own approver, or to run one approval twice (P2, P3, P4, P7).
//!
//! Invariant: each test ends by counting what ran at the target and by verifying the log.

mod claiming;
mod credentials;
mod policy;
mod voting;

use countersign_core::{canonical::Hash, digest::ActionDigest, time::Timestamp};
use serde_json::{Value, json};

use crate::support::{Answer, Caller, Lab};

/// A genuine proof of a fresh act, whether or not the page would give it.
fn act(lab: &Lab, caller: &Caller, id: &str, digest: &str, age: i64) -> String {
    let digest: Hash = digest.parse().unwrap();
    let at = Timestamp(lab.gateway.clock.now().0 - age);
    let acts = lab.gateway.identity.acts();
    acts.act(&caller.id, &id.parse().unwrap(), &ActionDigest(digest), at)
}

/// The digest of a request, whether or not the caller may see it.
async fn digest(lab: &Lab, id: &str) -> String {
    lab.stored(id).await.request.digest.to_string()
}

/// Votes with a genuine act, so that it is the core that refuses and not the page.
async fn force(lab: &Lab, caller: &Caller, id: &str, verdict: &str) -> Answer {
    let digest = digest(lab, id).await;
    let act = act(lab, caller, id, &digest, 0);
    let body = json!({ "verdict": verdict, "digest": digest, "act": act });
    caller
        .post(&format!("/v1/requests/{id}/votes"), &body)
        .await
}

/// The last event of a stream as kind and code.
fn end(events: &[Value]) -> (String, String) {
    let last = events.last().unwrap();
    let text = |name: &str| last[name].as_str().unwrap_or_default().to_owned();
    (text("event"), text("code"))
}

#[track_caller]
fn assert_refused(last: &Value, what: &str, code: &str) {
    assert_eq!(
        (last["event"].as_str(), last["code"].as_str()),
        (Some("refused"), Some(code)),
        "{what}: {last}"
    );
}
