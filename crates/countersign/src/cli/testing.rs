//! A gateway of prepared answers, for tests.
//!
//! In scope: one connection an answer, in order, on a real socket.
//! Out of scope: HTTP beyond what the client sends.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::config::{Settings, Sources, Token, gateway};

/// A gateway of prepared answers.
pub(crate) struct Stub {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Stub {
    /// Answers each connection with the next of `answers` and closes it; an empty answer closes it
    /// without a word. After the last one, nothing listens any more.
    pub(crate) async fn start(answers: Vec<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let kept = seen.clone();
        tokio::spawn(async move {
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let request = request(&mut stream).await;
                kept.lock().unwrap().push(request);
                stream.write_all(answer.as_bytes()).await.unwrap();
                stream.shutdown().await.unwrap();
            }
        });
        Self { address, seen }
    }

    /// Settings that lead here.
    pub(crate) fn settings(&self) -> Settings {
        Settings {
            url: gateway(&format!("http://{}", self.address)).unwrap(),
            identity: None,
            token: Some(Token::new("secret").unwrap()),
            ca: None,
            url_from: "test".into(),
            token_from: "test".into(),
        }
    }

    /// Sources that lead here.
    pub(crate) fn sources(&self) -> Sources {
        Sources {
            url: Some(format!("http://{}", self.address)),
            identity: Default::default(),
            token: Some("secret".into()),
            ca: None,
            file: None,
        }
    }

    /// The requests so far, head and body as text.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

async fn request(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .map_or(0, |length| length.parse().unwrap());
            if body.len() >= length {
                return text;
            }
        }
        let mut piece = [0; 4096];
        match stream.read(&mut piece).await.unwrap() {
            0 => return text,
            read => bytes.extend_from_slice(&piece[..read]),
        }
    }
}

/// A successful answer of JSON.
pub(crate) fn json_answer(json: &str) -> String {
    let length = json.len();
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{json}"
    )
}

/// A stream of `lines` that ends properly, or in the middle.
pub(crate) fn stream_answer(lines: &[&str], whole: bool) -> String {
    let mut text = String::from(
        "HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n",
    );
    for line in lines {
        text.push_str(&format!("{:x}\r\n{line}\n\r\n", line.len() + 1));
    }
    if whole {
        text.push_str("0\r\n\r\n");
    }
    text
}

/// A refusal.
pub(crate) fn problem(status: u16, kind: &str, title: &str) -> String {
    let body = format!(r#"{{"type":"{kind}","status":{status},"title":"{title}"}}"#);
    let length = body.len();
    format!(
        "HTTP/1.1 {status} No\r\ncontent-type: application/problem+json\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

/// A request's details as the gateway gives them, in `state`.
pub(crate) fn detail(state: &str) -> String {
    format!(
        r#"{{"id":"req_1","state":"{state}","requester":"agent:bot","target":"release",
        "title":"git push origin main","reason":"ship 1.2","at":1000000,"deadline":2800000,
        "url":"https://gate.example.com/requests/req_1","chain":["agent:bot (owner olga@example.com)"],
        "origin":{{"model":"m-1"}},"gate":"exec","advisory":false,"action":"git push origin main",
        "arguments":{{}},"blast_radius":"branch main of release","digest":"ab12",
        "needs_typed_digest":false,"rules":[{{"name":"dba","confirmation":false,"stages":[
        {{"from":["group:dba"],"count":1,"signed":["dana@example.com"]}},
        {{"from":["group:security"],"count":1,"signed":[]}}]}}],
        "policies":[{{"id":"prod","reason":"Releases need a DBA","place":"policies/prod.cedar:3","source":null}}],
        "votes":[{{"voter":"dana@example.com","verdict":"approve","reason":"fine","at":1060000}}],
        "conversation":[{{"id":"msg_1","by":"lea@example.com","kind":"question","to":null,
        "text":"which\u001b branch?","at":1090000}}],"amends":null,
        "can":["vote","answer","cancel"],"why_not_vote":null}}"#
    )
    .replace('\n', " ")
}
