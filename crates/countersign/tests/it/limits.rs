//! How much one caller, and everybody together, can take of the gateway.

use std::time::Duration;

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Caller, Lab, Place, event, until};

fn limited(limits: &str) -> impl FnOnce(&mut std::collections::BTreeMap<String, String>) {
    let server = format!("[server]\nlimits = {{ {limits} }}\n");
    move |files| {
        let config = files.get_mut("countersign.toml").unwrap();
        *config = config.replace("[server]\n", &server);
    }
}

/// The requests that were held, and the codes of the refusals.
fn sorted(streams: &[Vec<Value>]) -> (Vec<String>, Vec<String>) {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let held = streams.iter().filter_map(|events| event(events, "held"));
    let refused = streams.iter().filter_map(|events| event(events, "refused"));
    (
        held.map(|held| text(&held["request"])).collect(),
        refused.map(|refused| text(&refused["code"])).collect(),
    )
}

/// Asks for many things at once, so that they come into one turn of the engine.
async fn ask_many(bot: &Caller, name: &str, many: usize) -> (Vec<String>, Vec<String>) {
    let asked =
        (0..many).map(|n| async move { bot.run(&format!("./tally one {name}{n}"), 0).await });
    sorted(&join_all(asked).await)
}

#[tokio::test]
async fn what_waits_is_bounded_for_one_and_for_all() {
    let lab = Lab::with(limited("max_held = 5, max_held_per_subject = 3")).await;
    let (bot, pat) = (lab.bot().await, lab.token("person:pat").await);
    let (held, refused) = ask_many(&bot, "a", 12).await;
    assert_eq!(
        (held.len(), refused),
        (3, vec!["too_many_held".to_owned(); 9])
    );
    let (others, refused) = ask_many(&pat, "b", 12).await;
    assert_eq!((others.len(), refused.len()), (2, 10));
    assert!(
        refused.iter().all(|code| code == "too_many_held_in_all"),
        "{refused:?}"
    );

    // What is permitted at once needs no room, and what waits is decided as ever.
    let permitted = bot.run("./tally free c", 0).await;
    assert!(event(&permitted, "finished").is_some() || lab.place.ran_with("c") == 1);
    lab.session("ann").await.approve(&held[0]).await;
    bot.claim(&held[0], "./tally one a0").await;
    let cancel = format!("/v1/requests/{}/cancel", others[0]);
    pat.post(&cancel, &json!({})).await.expect(200);
    let (more, _) = ask_many(&pat, "d", 12).await;
    assert!(!more.is_empty() && more.len() <= 2, "{more:?}");
    lab.verify().await;
}

async fn listen(caller: &Caller) -> reqwest::Response {
    caller
        .request(Method::GET, "/v1/events")
        .send()
        .await
        .unwrap()
}

#[tokio::test]
async fn one_subject_has_a_bounded_number_of_streams() {
    let lab = Lab::new().await;
    let (bot, other) = (lab.bot().await, lab.bot().await);
    let mut streams = Vec::new();
    for n in 0..32 {
        let stream = listen(if n % 2 == 0 { &bot } else { &other }).await;
        assert_eq!(stream.status(), 200, "{n}");
        streams.push(stream);
    }
    // Another token of the same subject is the same subject.
    for caller in [&bot, &other] {
        let refused = Answer::of(listen(caller).await).await;
        refused.refused("one stream more", 429, "too_many_streams");
    }
    assert_eq!(listen(&lab.session("ann").await).await.status(), 200);
    drop(streams);
    until("there is room again", || async {
        listen(&bot).await.status() == 200
    })
    .await;
}

#[tokio::test]
async fn a_stop_does_not_wait_for_whoever_listens() {
    let lab = Lab::new().await;
    let stream = listen(&lab.session("ann").await).await;
    assert_eq!(stream.status(), 200);
    let started = std::time::Instant::now();
    lab.stop().await;
    let took = started.elapsed();
    assert!(took < std::time::Duration::from_secs(5), "{took:?}");
    // The stream ended as a whole answer does.
    assert!(stream.text().await.is_ok());
}

/// Whoever waits with as many connections as it likes would leave nobody one to decide or to stop
/// it with.
#[tokio::test]
async fn one_subject_has_a_bounded_number_of_calls() {
    let lab = Lab::new().await;
    let bot = lab.bot().await;
    let ask = async |caller: &Caller| {
        let call = json!({ "target": "tools", "argv": ["./tally", "one", "x"], "wait_ms": 60_000 });
        let request = caller.request(Method::POST, "/v1/run").json(&call);
        request.send().await.unwrap()
    };
    let mut waiting = Vec::new();
    for n in 0..256 {
        let answer = ask(&bot).await;
        assert_eq!(answer.status(), 200, "{n}");
        waiting.push(answer);
    }
    let refused = Answer::of(ask(&lab.bot().await).await).await;
    refused.refused("one call more", 429, "too_many_calls");
    assert_eq!(ask(&lab.token("agent:twin").await).await.status(), 200);
    drop(waiting);
    until("there is room again", || async {
        ask(&bot).await.status() == 200
    })
    .await;
}

#[tokio::test]
async fn one_subject_does_not_take_every_place_for_uploads() {
    let lab = Lab::new().await;
    let (bot, twin) = (lab.bot().await, lab.token("agent:twin").await);
    let dripping = || {
        let never = futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>();
        let request = bot.request(Method::POST, "/v1/inputs");
        tokio::spawn(request.body(reqwest::Body::wrap_stream(never)).send())
    };
    let sending: Vec<_> = (0..16).map(|_| dripping()).collect();
    until("the others are refused", || async {
        sending.iter().filter(|one| one.is_finished()).count() == 12
    })
    .await;
    let refused = Answer::of(
        bot.request(Method::POST, "/v1/inputs")
            .body("x")
            .send()
            .await
            .unwrap(),
    )
    .await;
    refused.refused("one upload more", 429, "too_many_uploads");
    crate::exec::upload_files(&twin, &[("job", "x")])
        .await
        .expect(200);
    sending.iter().for_each(tokio::task::JoinHandle::abort);
}

/// A stream tells of what its caller may see, and ends with the credential.
#[tokio::test]
async fn a_stream_ends_with_its_credential() {
    let lab = Lab::new().await;
    let (bot, twin) = (lab.bot().await, lab.token("agent:twin").await);
    let (mut own, mut others) = (listen(&bot).await, listen(&twin).await);
    let id = bot.held("./tally one x").await;
    let heard = own.chunk().await.unwrap().unwrap();
    let heard = String::from_utf8_lossy(&heard).into_owned();
    assert!(
        heard.starts_with("event: request") && heard.contains(&id),
        "{heard}"
    );
    let silent = tokio::time::timeout(Duration::from_millis(200), others.chunk()).await;
    assert!(silent.is_err(), "{silent:?}");

    lab.gateway.identity.revoke(&bot.id).await.unwrap();
    lab.session("ann").await.approve(&id).await;
    assert_eq!(own.chunk().await.unwrap(), None, "the stream goes on");
}

/// Whoever asks and never reads does not keep the connection. It takes a minute.
#[tokio::test]
async fn an_answer_that_nobody_reads_is_given_up() {
    use tokio::{io::AsyncWriteExt, net::TcpStream};
    if !crate::support::full() {
        return;
    }
    let lab = Lab::at(Place::new(limited("max_connections = 1"))).await;
    let address = lab.url.strip_prefix("http://").unwrap().to_owned();
    let mut deaf = TcpStream::connect(&address).await.unwrap();
    let ask = "GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n".repeat(1_000);
    let asking = tokio::spawn(async move {
        let _closed = deaf.write_all(ask.as_bytes()).await;
        tokio::time::sleep(Duration::from_secs(200)).await;
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    let http = reqwest::Client::builder()
        .timeout(Duration::from_secs(150))
        .build()
        .unwrap();
    let health = http.get(format!("{}/v1/health", lab.url)).send().await;
    assert_eq!(
        health.unwrap().status(),
        200,
        "the deaf one has the only connection"
    );
    asking.abort();
}

/// A body that does not come is not waited for without end. It takes a minute.
#[tokio::test]
async fn a_body_that_never_comes_is_given_up() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    if !crate::support::full() {
        return;
    }
    let lab = Lab::new().await;
    let address = lab.url.strip_prefix("http://").unwrap();
    let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
    let head = "POST /v1/login HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
                content-length: 100\r\n\r\n{";
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let read = socket.read_to_string(&mut answer);
    tokio::time::timeout(Duration::from_secs(90), read)
        .await
        .unwrap()
        .unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 408 ") && answer.contains("too_slow"),
        "{answer}"
    );
}
