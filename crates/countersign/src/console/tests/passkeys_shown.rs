//! Passkeys as their holders and reviewers see them: what waits, what removing one does, whom a rule
//! leaves nobody to sign for.

use serde_json::json;

use super::{
    OLGA, POLICIES, SAM, Site, form,
    passkeys::{ADDING, APPROVALS, Authenticator, KIM, enrol, fields, propose, proposed, site},
};

#[tokio::test]
async fn removing_the_passkey_of_this_session_is_asked_twice_and_explained() {
    let site = site().await;
    let (sam, olga) = (site.sign_in(SAM).await, site.sign_in(OLGA).await);
    let mut key = Authenticator::new(1);
    enrol(&site, &sam, &olga, &key).await;
    let made = site.json("/sign-in/options", ("", ""), "").await;
    let signed = key.sign(&serde_json::from_str(&made.text).unwrap());
    let answer = site.post("/sign-in", "", form(&fields(&signed))).await;
    let cookie = answer.header("set-cookie");
    let session = cookie.split(';').next().unwrap().to_owned();
    let page = site.get("/passkeys", &session).await;
    page.says("I know that this signs me out, and that I need a new sign-in link then");
    let (csrf, credential) = (page.field("csrf"), page.field("credential"));
    let gone = [("csrf", csrf.as_str()), ("credential", credential.as_str())];
    let refused = site.post("/passkeys/remove", &session, form(&gone)).await;
    refused.is(409).says("signs you out");
    let knows = [gone[0], gone[1], ("signs_out", "yes")];
    let removed = site.post("/passkeys/remove", &session, form(&knows)).await;
    removed
        .is(200)
        .says("You removed the passkey that this session was begun with");
    site.get("/inbox", &session).await.is(401);
    // Another session of the same person goes on, and is told what follows.
    site.get("/passkeys", &sam).await.says("You have none yet");
}

#[tokio::test]
async fn a_proposed_passkey_is_shown_and_is_nobody_elses() {
    let site = site().await;
    let (sam, kim) = (site.sign_in(SAM).await, site.sign_in(KIM).await);
    let key = Authenticator::new(1);
    let id = proposed(&propose(&site, &sam, &key).await);
    site.get("/passkeys", &sam)
        .await
        .says("waits for a countersignature")
        .says(&format!("href=\"/requests/{id}\""));
    let page = site.get("/passkeys", &kim).await;
    assert!(!page.text.contains("waits for a countersignature"));
    propose(&site, &kim, &key)
        .await
        .says("one passkey stands for one person");
    let olga = site.sign_in(OLGA).await;
    let path = format!("/requests/{id}");
    let shown = site.get(&path, &olga).await;
    site.post(&format!("{path}/approve"), &olga, shown.form(&[]))
        .await
        .is(303);
    site.get("/passkeys", &sam).await.says("Apply it");
}

#[tokio::test]
async fn a_rule_that_too_few_can_sign_is_warned_about() {
    let site = Site::open_with(super::APPROVALS, &format!("{POLICIES}{ADDING}")).await;
    let (sam, olga) = (site.sign_in(SAM).await, site.sign_in(OLGA).await);
    let mut files = site.gateway.active().bundle.files().clone();
    files.insert("approvals.toml".into(), APPROVALS.into());
    let body = json!({ "operation": "bundle-apply", "arguments": { "files": files } }).to_string();
    let csrf = site.get("/people", &olga).await.field("csrf");
    let applied = site.json("/v1/proposals", (&olga, &csrf), &body);
    applied.await.says("rule `ops` asks for passkeys");
    // Once somebody who could sign has one, nobody is warned.
    enrol(&site, &sam, &olga, &Authenticator::new(1)).await;
    files.insert("approvals.toml".into(), format!("# again\n{APPROVALS}"));
    let body = json!({ "operation": "bundle-apply", "arguments": { "files": files } }).to_string();
    let applied = site.json("/v1/proposals", (&olga, &csrf), &body);
    let text = applied.await.text;
    assert!(!text.contains("passkeys"), "{text}");
}
