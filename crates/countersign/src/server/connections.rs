//! Connections: who may open one, how many there are, how long one may dawdle.
//!
//! In scope: accepting, TLS before HTTP, the limits of a connection that has said nothing yet.
//! Out of scope: what is asked over a connection; the interface limits that by its caller.
//! Invariant: whoever has not sent a whole request holds a connection for a bounded time, and all
//! connections together are bounded. A connection that is served is never given up for a new one.

use std::{net::IpAddr, pin::pin, sync::Arc, time::Duration};

use anyhow::Context;
use axum::Router;
use countersign_policy::bundle::settings::{Network, ServerSettings};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use nix::sys::{
    resource::{Resource, getrlimit},
    socket::{setsockopt, sockopt},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::tls::Served;

/// The most bytes of a request's first line and headers.
const HEADER_BYTES: usize = 64 << 10;
/// The most headers of a request.
const HEADERS: usize = 100;
/// How long what was sent may stay unread by the other side, in milliseconds.
const UNREAD_MS: u32 = 60_000;
/// How often it is said that no more connections are taken.
const SAY_EVERY: Duration = Duration::from_secs(60);
/// How long accepting pauses when the system has nothing left to accept with.
const PAUSE: Duration = Duration::from_secs(1);

/// How long a connection may take to get anywhere.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// For the TLS handshake.
    pub(super) handshake: Duration,
    /// For a request's headers, from the end of the request before.
    pub(super) headers: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            headers: Duration::from_secs(30),
        }
    }
}

/// Every connection of the gateway. Cheap to clone.
#[derive(Clone)]
pub(super) struct Connections {
    app: Router,
    http: http1::Builder,
    tls: Option<Arc<Served>>,
    /// Who may connect without TLS beside this machine; everybody when there is TLS.
    proxies: Arc<[Network]>,
    pace: Pace,
    limit: usize,
    slots: Arc<Semaphore>,
    open: TaskTracker,
    ending: CancellationToken,
}

impl Connections {
    /// None yet.
    ///
    /// # Errors
    /// The system does not say how many files may be open.
    pub(super) fn new(
        app: Router,
        server: &ServerSettings,
        tls: Option<Arc<Served>>,
        pace: Pace,
    ) -> anyhow::Result<Self> {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(pace.headers)
            .max_buf_size(HEADER_BYTES)
            .max_headers(HEADERS);
        let limit = usize::try_from(server.limits.max_connections)
            .unwrap_or(usize::MAX)
            .min(half_of_all_files()?);
        Ok(Self {
            app,
            http,
            tls,
            proxies: server.behind_proxy.clone().into(),
            pace,
            limit,
            slots: Arc::new(Semaphore::new(limit)),
            open: TaskTracker::new(),
            ending: CancellationToken::new(),
        })
    }

    /// Accepts connections for ever. Over the limit they wait with the system until one ends.
    pub(super) async fn accept(&self, listener: TcpListener) {
        let mut said: Option<Instant> = None;
        loop {
            if self.slots.available_permits() == 0
                && said.is_none_or(|said| said.elapsed() >= SAY_EVERY)
            {
                said = Some(Instant::now());
                tracing::warn!(
                    "all {} connections are taken and new ones wait; see `max_connections` and \
                     the most files this process may open",
                    self.limit
                );
            }
            let Ok(slot) = self.slots.clone().acquire_owned().await else {
                return;
            };
            match listener.accept().await {
                Ok((socket, peer)) if self.may_connect(peer.ip()) => {
                    self.open.spawn(self.clone().serve(socket, slot));
                }
                Ok((_, peer)) => {
                    tracing::debug!(%peer, "refused: it is not in `behind_proxy`");
                }
                Err(error) if ended_meanwhile(&error) => {}
                Err(error) => {
                    tracing::error!(%error, "connections can't be accepted");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Lets every request that is under way end, and closes what has none. Gives whether all ended
    /// within `grace`.
    pub(super) async fn end(&self, grace: Duration) -> bool {
        self.ending.cancel();
        self.open.close();
        timeout(grace, self.open.wait()).await.is_ok()
    }

    /// How many there are.
    pub(super) fn open(&self) -> usize {
        self.open.len()
    }

    /// In the clear, only this machine and the proxies that are named.
    fn may_connect(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.tls.is_some()
            || peer.is_loopback()
            || self.proxies.iter().any(|network| network.contains(peer))
    }

    async fn serve(self, socket: TcpStream, slot: OwnedSemaphorePermit) {
        prepare(&socket);
        match &self.tls {
            None => self.speak(socket).await,
            Some(tls) => {
                let handshake = timeout(self.pace.handshake, tls.accept(socket));
                tokio::select! {
                    done = handshake => match done {
                        Ok(Ok(stream)) => self.speak(stream).await,
                        Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
                        Err(_) => tracing::debug!("a TLS handshake took too long"),
                    },
                    () = self.ending.cancelled() => {}
                }
            }
        }
        drop(slot);
    }

    async fn speak(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send) {
        let service = TowerToHyperService::new(self.app.clone());
        let mut connection = pin!(self.http.serve_connection(TokioIo::new(stream), service));
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.ending.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection broke off");
        }
    }
}

/// Commands, the database and the log need files as well.
fn half_of_all_files() -> anyhow::Result<usize> {
    let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE)
        .context("the system does not say how many files may be open")?;
    Ok(usize::try_from(soft / 2)
        .unwrap_or(usize::MAX)
        .clamp(1, Semaphore::MAX_PERMITS))
}

fn prepare(socket: &TcpStream) {
    // Small pieces follow each other; waiting to fill a packet would cost 40 ms each time.
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%error, "a connection delays small pieces");
    }
    // Whoever asks and never reads the answer would hold the connection for ever.
    if let Err(error) = setsockopt(socket, sockopt::TcpUserTimeout, &UNREAD_MS) {
        tracing::debug!(%error, "a connection may stay unread");
    }
}

fn ended_meanwhile(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    )
}

#[cfg(test)]
#[path = "connections_tests.rs"]
mod tests;
