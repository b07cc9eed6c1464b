//! Socket Mode: Slack reaches the gateway over a WebSocket that the gateway opened.
//!
//! In scope: keeping one socket open, acknowledging, noticing one that fell silent.
//! Out of scope: what is in the envelopes ([`incoming`](super::incoming)).
//! Invariant: an envelope is acknowledged with what came of it; one that comes again is answered the
//! same and done once.
//! Specification: <https://docs.slack.dev/apis/events-api/using-socket-mode/>

use std::{sync::Arc, time::Duration};

use anyhow::{Context, bail};
use aws_lc_rs::digest;
use base64::{Engine, engine::general_purpose::STANDARD};
use countersign_policy::target::exec::CredentialSource;
use futures_util::{SinkExt, StreamExt};
use reqwest::{StatusCode, Upgraded};
use serde_json::{Value, json};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, protocol::Role, protocol::WebSocketConfig},
};

use super::{
    App, incoming,
    web::{Web, text},
};
use crate::keys;

/// What the socket is called where something is wrong with it.
const SOCKET: &str = "socket";
/// Answers that wait to be sent.
const ANSWERS: usize = 64;
/// How long a socket may say nothing, its own pings included.
const SILENT: Duration = Duration::from_secs(30);
/// How often this side pings.
const PING: Duration = Duration::from_secs(10);
/// How long a socket may take to open.
const OPENING: Duration = Duration::from_secs(20);
/// Pauses between attempts, at first and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// The largest message; Slack's are far smaller.
const MAX_MESSAGE: usize = 4 << 20;
/// What a WebSocket's key is joined with (RFC 6455).
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

type Socket = WebSocketStream<Upgraded>;

/// Keeps a socket open until the channel ends.
pub(super) async fn keep(app: Arc<App>, token: CredentialSource) {
    let config = app.chat.api.gateway.config.clone();
    let web = match Web::new(&app.slack, &token, &config) {
        Ok(web) => web,
        Err(error) => return app.chat.status.wrong(SOCKET, &format!("{error:#}")),
    };
    let mut pause = PAUSE.0;
    loop {
        let began = Instant::now();
        let ended = tokio::select! {
            ended = run(&app, &web) => ended,
            () = app.chat.stop.cancelled() => return,
        };
        if let Err(error) = &ended {
            let why = format!("the socket to Slack ended: {error:#}");
            app.chat.status.wrong(SOCKET, &why);
        }
        // Slack closes sockets now and then, and says so; but not one right after the other.
        if began.elapsed() > SILENT {
            pause = PAUSE.0;
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = app.chat.stop.cancelled() => return,
        }
        pause = (pause * 2).min(PAUSE.1);
    }
}

async fn open(web: &Web) -> anyhow::Result<Socket> {
    let opened = web.call("apps.connections.open", &json!({})).await?;
    let url = text(&opened, &["url"]).context("Slack named no socket")?;
    // A WebSocket begins as a request; the client for it refuses plain text beyond this machine.
    let url = match url.split_once("://") {
        Some(("wss", rest)) => format!("https://{rest}"),
        Some(("ws", rest)) => format!("http://{rest}"),
        _ => bail!("Slack named something else than a socket"),
    };
    crate::outbound::check(&url.parse().context("Slack named no socket")?)?;
    let random = keys::random()?;
    let key = STANDARD.encode(random.get(..16).unwrap_or_default());
    let sent = web
        .client()
        .get(url)
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", &key)
        .timeout(Duration::MAX)
        .send();
    let answer = timeout(OPENING, sent)
        .await
        .context("the socket took too long to open")?;
    let answer = answer.map_err(reqwest::Error::without_url)?;
    let accepted = answer.headers().get("sec-websocket-accept");
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS
        || accepted.map(|value| value.as_bytes()) != Some(accept(&key).as_bytes())
    {
        bail!("it opened no socket and said {}", answer.status());
    }
    let raw = answer
        .upgrade()
        .await
        .map_err(reqwest::Error::without_url)?;
    let limits = WebSocketConfig::default()
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE));
    Ok(WebSocketStream::from_raw_socket(raw, Role::Client, Some(limits)).await)
}

/// What whoever opened a socket answers to its key.
fn accept(key: &str) -> String {
    let joined = format!("{key}{GUID}");
    let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, joined.as_bytes());
    STANDARD.encode(hash)
}

/// Serves one socket until Slack closes it or it fails.
async fn run(app: &Arc<App>, web: &Web) -> anyhow::Result<()> {
    let mut socket = open(web).await?;
    let mut heard = Instant::now();
    let mut ping = tokio::time::interval(PING);
    let (answers, mut answered) = mpsc::channel::<Value>(ANSWERS);
    loop {
        let message = tokio::select! {
            message = socket.next() => message,
            Some(answer) = answered.recv() => {
                socket.send(Message::text(answer.to_string())).await?;
                continue;
            }
            _ = ping.tick() => {
                if heard.elapsed() > SILENT {
                    bail!("it fell silent");
                }
                socket.send(Message::Ping(Vec::new().into())).await?;
                continue;
            }
        };
        let message = match message {
            Some(message) => message?,
            None => bail!("it closed without a word"),
        };
        heard = Instant::now();
        match message {
            Message::Text(said) => {
                let envelope: Value = serde_json::from_str(&said).context("it said no JSON")?;
                match text(&envelope, &["type"]) {
                    Some("hello") => app.chat.status.well(SOCKET),
                    Some("disconnect") => return Ok(()),
                    // One that takes long keeps no other waiting.
                    _ => {
                        let (app, answers) = (app.clone(), answers.clone());
                        tokio::spawn(async move {
                            if let Some(answer) = answer(&app, &envelope).await {
                                let _the_socket_ended = answers.send(answer).await;
                            }
                        });
                    }
                }
            }
            Message::Close(_) => return Ok(()),
            _ => {}
        }
    }
}

/// Acts upon an envelope, and acknowledges it.
async fn answer(app: &Arc<App>, envelope: &Value) -> Option<Value> {
    let id = text(envelope, &["envelope_id"])?;
    let payload = envelope.get("payload").unwrap_or(&Value::Null);
    let read = match text(envelope, &["type"]) {
        Some("interactive") => incoming::interaction(&app.slack, payload),
        Some("slash_commands") => incoming::command(&app.slack, payload),
        Some("events_api") => incoming::event(&app.slack, payload),
        _ => incoming::Read::Nothing,
    };
    let said = app.take(read).await;
    Some(match said {
        Some(payload) => json!({ "envelope_id": id, "payload": payload }),
        None => json!({ "envelope_id": id }),
    })
}
