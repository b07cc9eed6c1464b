//! Listening: one socket for the interface and the console.
//!
//! In scope: binding, serving, ending in order.
//! Invariant: on the way out nothing new is accepted, running commands get a moment to end, and
//! the log signs a last checkpoint.

use std::{future::Future, net::SocketAddr, time::Duration};

use anyhow::{Context, bail};
use axum::serve::ListenerExt as _;
use tokio::net::TcpListener;
use tower_http::catch_panic::CatchPanicLayer;

use crate::{
    api::{self, Api},
    console,
    gateway::Gateway,
};

/// How long connections have to end after the gateway was told to stop.
const GRACE: Duration = Duration::from_secs(10);

/// Binds the listening socket.
///
/// # Errors
/// The address is taken or may not be used.
pub async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("can't listen on {address}; is another gateway running?"))
}

/// Refuses to serve people in the clear on anything but this machine.
///
/// # Errors
/// Neither TLS nor a proxy is configured and the address is not loopback.
pub fn check_exposure(gateway: &Gateway, address: SocketAddr) -> anyhow::Result<()> {
    let active = gateway.active();
    let server = active.bundle.server();
    if server.tls.is_some() {
        bail!(
            "`[server] tls` is not available in this version; put a proxy that ends TLS in front \
             and name it in `behind_proxy`"
        );
    }
    if !address.ip().is_loopback() && server.behind_proxy.is_empty() {
        bail!(
            "{address} can be reached from elsewhere, and there is no TLS; listen on 127.0.0.1, \
             or put a proxy that ends TLS in front and name it in `[server] behind_proxy`"
        );
    }
    Ok(())
}

/// Serves until `stop` completes.
///
/// # Errors
/// The socket failed.
pub async fn serve(
    gateway: Gateway,
    listener: TcpListener,
    stop: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let api = Api::new(gateway.clone());
    let app = api::routes(api.clone())
        .merge(console::routes(api))
        .layer(CatchPanicLayer::new());
    let (told, stopping) = tokio::sync::oneshot::channel::<()>();
    let graceful = async move {
        stop.await;
        let _gone = told.send(());
    };
    // Small pieces follow each other; waiting to fill a packet would cost 40 ms each time.
    let listener = listener.tap_io(|socket| {
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%error, "a connection delays small pieces");
        }
    });
    let serving = axum::serve(listener, app).with_graceful_shutdown(graceful);
    tokio::select! {
        done = serving.into_future() => done?,
        () = async {
            let _told = stopping.await;
            tokio::time::sleep(GRACE).await;
        } => tracing::warn!("connections were still open when the gateway stopped"),
    }
    gateway.log.close().await;
    Ok(())
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
