//! Listening: one socket for the interface and the console, and one for numbers where configured.
//!
//! In scope: binding, serving, ending in order.
//! Out of scope: where it may listen (the bundle refuses what is in the clear), what a connection
//! may take ([`connections`]), certificates ([`tls`](mod@tls)).
//! Invariant: on the way out nothing new is accepted, running commands get a moment to end, and the log signs
//! a last checkpoint.

mod connections;
mod metrics;
mod tls;

use std::{future::Future, net::SocketAddr, path::Path, time::Duration};

use anyhow::Context;
use countersign_core::count::counted;
use countersign_policy::bundle::settings::{ServerSettings, TlsFiles};
use tokio::net::TcpListener;
use tower_http::catch_panic::CatchPanicLayer;

use self::connections::{Connections, Pace};
pub use self::tls::Tls;
use crate::{
    api::{self, Api},
    channels, console,
    gates::deployments,
    gateway::{Gateway, Opening, retention},
};

/// How long connections have to end after the gateway was told to stop.
const GRACE: Duration = Duration::from_secs(10);
/// How long nothing is said about them.
const SILENT: Duration = Duration::from_secs(1);
/// How long whoever reads numbers has.
const GRACE_NUMBERS: Duration = Duration::from_secs(1);

/// The sockets that the gateway listens on.
#[derive(Debug)]
pub struct Listeners {
    /// For the interface and the console.
    pub main: TcpListener,
    /// For numbers, where they are wanted.
    pub metrics: Option<TcpListener>,
}

impl From<TcpListener> for Listeners {
    fn from(main: TcpListener) -> Self {
        let metrics = None;
        Self { main, metrics }
    }
}

impl Listeners {
    /// Binds what these settings name.
    ///
    /// # Errors
    /// An address is taken or may not be used.
    pub async fn bind(server: &ServerSettings) -> anyhow::Result<Self> {
        let metrics = match server.metrics {
            Some(address) => Some(bind(address).await.context("for `metrics`")?),
            None => None,
        };
        let main = bind(server.listen).await?;
        Ok(Self { main, metrics })
    }
}

/// Binds a listening socket.
///
/// # Errors
/// The address is taken or may not be used.
pub async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("can't listen on {address}; is another gateway running?"))
}

/// The certificate and key that the gateway serves with; nothing when it leaves TLS to a proxy.
///
/// # Errors
/// They can't be used; says why, with the path and what to do.
pub fn tls(opening: &Opening) -> anyhow::Result<Option<Tls>> {
    let Some(files) = &opening.server().tls else {
        return Ok(None);
    };
    let tls = Tls::open(files, opening.config())?;
    if let Some(other) = tls.is_not_for(opening.url()) {
        tracing::warn!("{other}");
    }
    Ok(Some(tls))
}

/// Checks certificate and key as the gateway in this configuration directory would.
///
/// # Errors
/// As [`tls`](fn@tls).
pub fn check_tls(files: &TlsFiles, config: &Path) -> anyhow::Result<()> {
    tls::check(files, config)
}

/// Serves until `stop` completes.
///
/// # Errors
/// The system does not say what it allows.
pub async fn serve(
    gateway: Gateway,
    listeners: impl Into<Listeners>,
    mut tls: Option<Tls>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let Listeners { main, metrics } = listeners.into();
    let api = Api::new(gateway.clone());
    let (streams, stopping) = (api.streams.clone(), api.stopping.clone());
    let channels = api.channels.clone();
    channels.start(&api);
    let deployments = api.deployments.clone();
    deployments.start(&api);
    let numbers = metrics::routes(api.clone()).layer(CatchPanicLayer::new());
    let app = api::routes(api.clone())
        .merge(channels::routes(api.clone()))
        .merge(deployments::routes(api.clone()))
        .merge(console::routes(api))
        .layer(CatchPanicLayer::new());
    let active = gateway.active();
    let served = tls.as_ref().map(Tls::served);
    let settings = active.bundle.server();
    let connections = Connections::new(app, settings, served, Pace::default())?;
    let scrapers = Connections::new(numbers, settings, None, Pace::default())?;
    let watching = async {
        match &mut tls {
            Some(tls) => tls.watch().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = connections.accept(main) => {}
        () = accept(&scrapers, metrics) => {}
        () = watching => {}
        () = retention::keep_to(gateway.clone()) => {}
        () = stop => {}
    }
    stopping.cancel();
    end(&connections).await;
    scrapers.end(GRACE_NUMBERS).await;
    channels.stop().await;
    deployments.stop().await;
    streams.stop().await;
    gateway.log.close().await;
    Ok(())
}

/// Lets what is under way end, and says what is waited for.
async fn end(connections: &Connections) {
    if connections.end(SILENT).await {
        return;
    }
    tracing::warn!(
        "stopping: {} commands that run, or calls that wait for people; at most {} seconds are left \
         to end",
        counted(connections.open(), "connection has", "connections have"),
        GRACE.as_secs()
    );
    if !connections.end(GRACE.saturating_sub(SILENT)).await {
        let open = counted(connections.open(), "connection was", "connections were");
        tracing::warn!("{open} still open when the gateway stopped");
    }
}

async fn accept(connections: &Connections, listener: Option<TcpListener>) {
    match listener {
        Some(listener) => connections.accept(listener).await,
        None => std::future::pending().await,
    }
}

/// Completes when the process is told to end, by a person or by a service manager.
pub async fn told_to_stop() {
    use tokio::signal::unix::{SignalKind, signal};
    let terminate = async {
        match signal(SignalKind::terminate()) {
            Ok(mut stream) => {
                stream.recv().await;
            }
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminate => {}
    }
}
