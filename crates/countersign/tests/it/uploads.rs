//! Uploaded inputs: so much for each, and no longer than they are needed.

use serde_json::json;

use crate::{
    exec::upload_files,
    support::{Lab, event, files::limit, until},
};

#[tokio::test]
async fn a_quota_for_each_and_room_again_when_a_request_ends() {
    let lab = Lab::with(|files| limit(files, "max_inputs_per_subject", 2)).await;
    let bot = lab.bot().await;
    let job = |word: &str| format!("#!/bin/sh\necho {word}\n");
    let one = upload_files(&bot, &[("job", &job("one"))])
        .await
        .expect(200);
    upload_files(&bot, &[("job", &job("two"))])
        .await
        .expect(200);
    let third = upload_files(&bot, &[("job", &job("three"))]).await;
    third.refused("the third", 429, "inputs_quota");
    assert!(third.text("title").contains("after an hour"), "{third:?}");
    let twin = lab.token("agent:twin").await;
    upload_files(&twin, &[("job", &job("three"))])
        .await
        .expect(200);
    // A held request keeps its inputs, also over a restart.
    let digest = one.text("digest");
    let call = json!({ "argv": ["./job"], "inputs": digest, "wait_ms": 0 });
    let id = event(&bot.run_with(call.clone()).await, "held").unwrap()["request"].clone();
    let id = id.as_str().unwrap();
    let lab = lab.restart().await;
    let (bot, ann) = (lab.bot().await, lab.session("ann").await);
    let file = lab.place.data().join(format!("inputs/{digest}.tar"));
    assert!(file.exists());
    let fourth = upload_files(&bot, &[("job", &job("four"))]).await;
    fourth.refused("the fourth", 429, "inputs_quota");
    ann.approve(id).await;
    let ran = bot.run_with(call).await;
    assert_eq!(ran.last().unwrap()["outcome"], "succeeded", "{ran:?}");
    until("they are removed", || async { !file.exists() }).await;
    upload_files(&bot, &[("job", &job("four"))])
        .await
        .expect(200);
    // The second way a request ends.
    let digest = upload_files(&twin_of(&lab).await, &[("job", &job("five"))])
        .await
        .text("digest");
    let twin = twin_of(&lab).await;
    let call = json!({ "argv": ["./job"], "inputs": digest, "wait_ms": 0 });
    let id = event(&twin.run_with(call).await, "held").unwrap()["request"].clone();
    let file = lab.place.data().join(format!("inputs/{digest}.tar"));
    assert!(file.exists());
    twin.post(
        &format!("/v1/requests/{}/cancel", id.as_str().unwrap()),
        &json!({}),
    )
    .await
    .expect(200);
    until("they are removed", || async { !file.exists() }).await;
}

async fn twin_of(lab: &Lab) -> crate::support::Caller {
    lab.token("agent:twin").await
}
