//! Clients that dawdle, say nothing or come in numbers.

use std::net::SocketAddr;

use axum::routing::get;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinHandle,
};

use super::*;

/// How long a test waits for what must happen.
const PATIENCE: Duration = Duration::from_secs(20);
/// What is short here.
const PACE: Pace = Pace {
    handshake: Duration::from_millis(300),
    headers: Duration::from_millis(300),
};

struct Bench {
    connections: Connections,
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn bench(change: impl FnOnce(&mut ServerSettings), pace: Pace) -> Bench {
    with_tls(change, pace, None).await
}

async fn with_tls(
    change: impl FnOnce(&mut ServerSettings),
    pace: Pace,
    tls: Option<Arc<Served>>,
) -> Bench {
    let mut server = ServerSettings::default();
    change(&mut server);
    let slow = || async {
        tokio::time::sleep(Duration::from_millis(700)).await;
        "slept"
    };
    let app = Router::new()
        .route("/", get(|| async { "hello" }))
        .route("/slow", get(slow));
    let connections = Connections::new(app, &server, tls, pace).unwrap();
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = connections.clone();
    Bench {
        accepting: tokio::spawn(async move { serving.accept(listener).await }),
        connections,
        address,
    }
}

const ASK: &str = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";

impl Bench {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// What comes back until the connection is closed.
    async fn say(&self, text: &str) -> String {
        let mut socket = self.connect().await;
        socket.write_all(text.as_bytes()).await.unwrap();
        rest(&mut socket).await
    }
}

async fn rest(socket: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let read = timeout(PATIENCE, socket.read_to_end(&mut text)).await;
    let _reset_is_closed_too = read.expect("the connection stays open");
    String::from_utf8(text).unwrap()
}

/// Reads until the answer to `ASK` is there.
async fn answer(socket: &mut TcpStream) {
    let mut text = Vec::new();
    while !text.ends_with(b"hello") {
        let read = timeout(PATIENCE, socket.read_buf(&mut text)).await;
        assert_ne!(read.expect("no answer").unwrap(), 0, "closed");
    }
}

#[tokio::test]
async fn whoever_dawdles_with_headers_is_let_go() {
    let bench = bench(|_| {}, PACE).await;
    let started = Instant::now();
    for beginning in ["", "GET / HT", "GET / HTTP/1.1\r\nhost: x\r\nx-slow: "] {
        assert_eq!(bench.say(beginning).await, "", "{beginning}");
    }
    // One letter at a time buys no more time, and a first request none for the second.
    let mut socket = bench.connect().await;
    socket.write_all(ASK.as_bytes()).await.unwrap();
    answer(&mut socket).await;
    let mut letters = 0;
    while socket.write_all(b"x").await.is_ok() {
        letters += 1;
        assert!(letters < 200, "the connection stays open");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(started.elapsed() < PATIENCE);
    // One is for whoever comes next.
    let free = bench.connections.slots.available_permits();
    assert_eq!(free, bench.connections.limit - 1);
}

#[tokio::test]
async fn a_request_takes_as_long_as_it_takes() {
    let bench = bench(|_| {}, PACE).await;
    let slow = ASK.replace("GET /", "GET /slow");
    assert!(bench.say(&slow).await.ends_with("slept"));
}

#[tokio::test]
async fn headers_have_a_size() {
    let bench = bench(|_| {}, Pace::default()).await;
    let padded = |header: String| ASK.replace("\r\n\r\n", &format!("\r\n{header}\r\n\r\n"));
    let close = "connection: close\r\nx-long: ";
    let long = padded(format!("{close}{}", "x".repeat(HEADER_BYTES / 2)));
    assert!(bench.say(&long).await.starts_with("HTTP/1.1 200 "));
    let longer = padded(format!("{close}{}", "x".repeat(HEADER_BYTES * 2)));
    let answer = bench.say(&longer).await;
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 431 "),
        "{answer}"
    );
    let many = padded(vec!["x: y"; HEADERS + 1].join("\r\n"));
    assert!(bench.say(&many).await.starts_with("HTTP/1.1 431 "));
    // Headers without an end are not collected for ever.
    let mut socket = bench.connect().await;
    socket.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    let piece = format!("x: {}\r\n", "y".repeat(1_000));
    let mut sent = 0;
    while socket.write_all(piece.as_bytes()).await.is_ok() {
        sent += piece.len();
        assert!(sent < 64 << 20, "headers are taken without end");
    }
}

#[tokio::test]
async fn over_the_limit_new_connections_wait_and_old_ones_go_on() {
    let bench = bench(|server| server.limits.max_connections = 2, Pace::default()).await;
    let (mut one, mut two) = (bench.connect().await, bench.connect().await);
    for socket in [&mut one, &mut two] {
        socket.write_all(ASK.as_bytes()).await.unwrap();
        answer(socket).await;
    }
    let mut three = bench.connect().await;
    three.write_all(ASK.as_bytes()).await.unwrap();
    let mut byte = [0];
    let early = timeout(Duration::from_millis(300), three.read(&mut byte)).await;
    assert!(early.is_err(), "the third connection got {early:?}");
    one.write_all(ASK.as_bytes()).await.unwrap();
    answer(&mut one).await;
    drop(two);
    answer(&mut three).await;
    one.write_all(ASK.as_bytes()).await.unwrap();
    answer(&mut one).await;
}

#[tokio::test]
async fn connections_leave_files_for_the_rest() {
    let bench = bench(|server| server.limits.max_connections = u32::MAX, PACE).await;
    let (files, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    assert!(u64::try_from(bench.connections.limit).unwrap() <= files / 2);
}

#[tokio::test]
async fn in_the_clear_only_this_machine_and_named_proxies_connect() {
    let proxied = |server: &mut ServerSettings| {
        server.behind_proxy = vec!["192.0.2.0/24".parse().unwrap()];
    };
    let bench = bench(proxied, PACE).await;
    for (peer, may) in [
        ("127.0.0.1", true),
        ("::1", true),
        ("::ffff:127.0.0.1", true),
        ("192.0.2.9", true),
        ("::ffff:192.0.2.9", true),
        ("198.51.100.1", false),
        ("::ffff:198.51.100.1", false),
        ("2001:db8::1", false),
    ] {
        let peer: IpAddr = peer.parse().unwrap();
        assert_eq!(bench.connections.may_connect(peer), may, "{peer}");
    }
}

#[tokio::test]
async fn what_is_under_way_ends_and_what_is_idle_is_closed() {
    let bench = bench(|_| {}, Pace::default()).await;
    let (mut idle, mut busy) = (bench.connect().await, bench.connect().await);
    idle.write_all(ASK.as_bytes()).await.unwrap();
    answer(&mut idle).await;
    let slow = ASK.replace("GET /", "GET /slow");
    busy.write_all(slow.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    bench.accepting.abort();
    let ending = bench.connections.end(PATIENCE);
    let (ended, last, nothing) = tokio::join!(ending, rest(&mut busy), rest(&mut idle));
    assert!(ended);
    assert!(last.ends_with("slept"), "{last}");
    assert_eq!(nothing, "");
}

#[tokio::test]
async fn a_handshake_that_does_not_come_is_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let served = crate::server::tls::tests::served(dir.path());
    let bench = with_tls(|_| {}, PACE, Some(Arc::new(served))).await;
    for beginning in ["", "\u{16}\u{3}\u{1}"] {
        assert_eq!(bench.say(beginning).await, "", "{beginning:?}");
    }
}
