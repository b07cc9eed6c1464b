//! Listening: one socket for the interface and the console.
//!
//! In scope: where it may listen, binding, serving, ending in order.
//! Out of scope: what a connection may take ([`connections`]), certificates ([`tls`](mod@tls)).
//! Invariant: beyond this machine nothing is served in the clear, except to a proxy that is named.
//! On the way out nothing new is accepted, running commands get a moment to end, and the log signs
//! a last checkpoint.

mod connections;
mod tls;

use std::{future::Future, net::SocketAddr, time::Duration};

use anyhow::{Context, bail};
use countersign_policy::bundle::settings::ServerSettings;
use tokio::net::TcpListener;
use tower_http::catch_panic::CatchPanicLayer;

use self::connections::{Connections, Pace};
pub use self::tls::Tls;
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

/// Refuses to serve people in the clear on anything but this machine, and under an address that
/// leads nowhere.
///
/// # Errors
/// Neither TLS nor a proxy is configured and the address is not loopback; or people could not use
/// the address that links are made of.
pub fn check_exposure(server: &ServerSettings, address: SocketAddr) -> anyhow::Result<()> {
    let public = server.public_url.as_deref();
    if server.tls.is_some() && public.is_some_and(|url| !url.starts_with("https://")) {
        bail!("`[server] public_url` must begin with `https://` where there is `tls`");
    }
    if public.is_none() && address.ip().is_unspecified() {
        bail!(
            "{address} stands for every address of this machine and can't be in a link; say in \
             `[server] public_url` under which name people reach it"
        );
    }
    let outside = !address.ip().is_loopback();
    if outside && server.tls.is_none() && server.behind_proxy.is_empty() {
        bail!(
            "{address} can be reached from elsewhere, and there is no TLS; listen on 127.0.0.1, \
             give `[server] tls` a certificate, or put a proxy that ends TLS in front and name it \
             in `behind_proxy`"
        );
    }
    if server.limits.max_connections == 0 {
        bail!("`[server.limits] max_connections` is 0, so nobody could connect; make it larger");
    }
    Ok(())
}

/// The certificate and key that the gateway serves with; nothing when it leaves TLS to a proxy.
///
/// # Errors
/// They can't be used; says why, with the path and what to do.
pub fn tls(gateway: &Gateway) -> anyhow::Result<Option<Tls>> {
    let active = gateway.active();
    let Some(files) = &active.bundle.server().tls else {
        return Ok(None);
    };
    let tls = Tls::open(files, &gateway.config)?;
    if let Some(other) = tls.is_not_for(gateway.url()) {
        tracing::warn!("{other}");
    }
    Ok(Some(tls))
}

/// Serves until `stop` completes.
///
/// # Errors
/// The system does not say what it allows.
pub async fn serve(
    gateway: Gateway,
    listener: TcpListener,
    mut tls: Option<Tls>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let api = Api::new(gateway.clone());
    let app = api::routes(api.clone())
        .merge(console::routes(api))
        .layer(CatchPanicLayer::new());
    let active = gateway.active();
    let served = tls.as_ref().map(Tls::served);
    let connections = Connections::new(app, active.bundle.server(), served, Pace::default())?;
    let watching = async {
        match &mut tls {
            Some(tls) => tls.watch().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = connections.accept(listener) => {}
        () = watching => {}
        () = stop => {}
    }
    if !connections.end(GRACE).await {
        tracing::warn!("connections were still open when the gateway stopped");
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

#[cfg(test)]
mod tests {
    use countersign_policy::bundle::settings::TlsFiles;

    use super::*;

    #[test]
    fn beyond_this_machine_nothing_is_in_the_clear() {
        let name = "https://gate.example.com";
        let (local, lan, every) = ("127.0.0.1:1", "192.0.2.1:1", "[::]:1");
        for (address, tls, proxy, public, refused) in [
            (local, false, false, None, ""),
            (lan, false, false, None, "there is no TLS"),
            (lan, false, false, Some(name), "there is no TLS"),
            (every, false, false, Some(name), "there is no TLS"),
            (lan, false, true, None, ""),
            (lan, true, false, None, ""),
            (every, true, false, Some(name), ""),
            (every, true, false, None, "public_url"),
            (every, false, true, None, "public_url"),
            (
                lan,
                true,
                false,
                Some("http://gate.example.com"),
                "https://",
            ),
        ] {
            let files = TlsFiles {
                cert: "cert.pem".into(),
                key: "key.pem".into(),
            };
            let server = ServerSettings {
                public_url: public.map(str::to_owned),
                tls: tls.then_some(files),
                behind_proxy: proxy
                    .then(|| "192.0.2.0/24".parse().unwrap())
                    .into_iter()
                    .collect(),
                ..ServerSettings::default()
            };
            let said = check_exposure(&server, address.parse().unwrap());
            let said = said.map_or_else(|error| error.to_string(), |()| String::new());
            let fits = if refused.is_empty() {
                said.is_empty()
            } else {
                said.contains(refused)
            };
            assert!(fits, "{address} {tls} {proxy} {public:?}: {said}");
        }
        let mut server = ServerSettings::default();
        server.limits.max_connections = 0;
        assert!(check_exposure(&server, local.parse().unwrap()).is_err());
    }
}
