//! What a waiting caller is told while people look at its request.

use countersign_core::{
    id::RequestId,
    subject::{Origin, SubjectId},
};
use countersign_store::CredentialKind;
use tokio::sync::mpsc;

use super::{SAM, Site};
use crate::{
    api::types::{RunEvent, RunRequest},
    gates::{advisory::Outstanding, exec},
    identity::{Caller, Issue, TOKEN},
};

async fn bot(site: &Site) -> Caller {
    let issue = Issue {
        kind: CredentialKind::Token,
        holder: SubjectId::Agent("bot".parse().unwrap()),
        issued_by: None,
        lineage: Default::default(),
        parent: None,
        account: None,
        valid_for: TOKEN,
    };
    let identity = &site.gateway.identity;
    let (token, _) = identity.issue(&issue).await.unwrap();
    let caller = identity.caller(token.text(), CredentialKind::Token);
    caller.await.unwrap()
}

/// Starts `true` on a target as the agent; its events.
async fn run(site: &Site, target: &str) -> mpsc::Receiver<RunEvent> {
    call(site, target, None).await
}

/// Claims a request as the agent; its events.
pub(super) async fn claim(site: &Site, id: &RequestId) -> mpsc::Receiver<RunEvent> {
    call(site, "", Some(id.clone())).await
}

async fn call(site: &Site, target: &str, claim: Option<RequestId>) -> mpsc::Receiver<RunEvent> {
    let (to, events) = mpsc::channel(16);
    let call = RunRequest {
        trace: None,
        target: target.into(),
        argv: vec!["true".into()],
        env: Default::default(),
        inputs: None,
        reason: None,
        origin: Origin::default(),
        wait_ms: 60_000,
        claim,
        local: None,
    };
    let (gateway, caller) = (site.gateway.clone(), bot(site).await);
    let outstanding = Outstanding::start(&gateway);
    tokio::spawn(exec::serve(gateway, outstanding, caller, call, to));
    events
}

async fn question(events: &mut mpsc::Receiver<RunEvent>) -> (String, String) {
    loop {
        match events.recv().await.unwrap() {
            RunEvent::Asked { by, text, .. } => return (by, text),
            RunEvent::Held { approvers, .. } => {
                assert_eq!((approvers.count, approvers.people.len()), (2, 0));
                assert!(!approvers.to_string().contains('@'), "{approvers:?}");
            }
            RunEvent::Progress { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_question_reaches_whoever_waits_and_whoever_comes_later() {
    let site = Site::open().await;
    let mut first = run(&site, "tools").await;
    let Some(RunEvent::Held { request, .. }) = first.recv().await else {
        panic!("not held")
    };
    let sam = site.sign_in(SAM).await;
    let path = format!("/requests/{request}");
    let page = site.get(&path, &sam).await;
    let ask = page.form(&[("text", "which disk?")]);
    site.post(&format!("{path}/ask"), &sam, ask).await.is(303);
    // An agent is told what to answer, not who asks or who could sign.
    let asked = ("a person".to_owned(), "which disk?".to_owned());
    assert_eq!(question(&mut first).await, asked);
    let mut second = run(&site, "tools").await;
    assert_eq!(question(&mut second).await, asked);
}

#[tokio::test]
async fn an_unknown_target_is_answered_with_those_the_caller_can_use() {
    let site = Site::open().await;
    let mut events = run(&site, "tool").await;
    let Some(RunEvent::Refused { message, .. }) = events.recv().await else {
        panic!("not refused")
    };
    assert_eq!(
        message,
        "there is no target `tool`; for this command you can use `tools`"
    );
}
