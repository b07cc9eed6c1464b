//! Where a gateway may be served.
//!
//! In scope: refusing `[server]` tables with which people would be served in the clear, under an
//! address that leads nowhere, or not at all.
//! Out of scope: whether the certificate can be used and the address is free; the gateway finds out.
//! Invariant: beyond this machine nothing is served in the clear, except to a proxy that is named.

use super::settings::ServerSettings;

/// Why the gateway would not serve with these settings, and what to do; nothing when it would.
pub(super) fn refusal(server: &ServerSettings) -> Option<(String, &'static str)> {
    let address = server.listen;
    let public = server.public_url.as_deref();
    if server.tls.is_some() && public.is_some_and(|url| !url.starts_with("https://")) {
        return Some((
            "`public_url` does not begin with `https://`, and there is `tls`".into(),
            "write the address under which people reach it over TLS",
        ));
    }
    if public.is_none() && address.ip().is_unspecified() {
        return Some((
            format!("{address} stands for every address of this machine and can't be in a link"),
            "say in `public_url` under which name people reach it",
        ));
    }
    let outside = !address.ip().is_loopback();
    if outside && server.tls.is_none() && server.behind_proxy.is_empty() {
        return Some((
            format!("{address} can be reached from elsewhere, and there is no TLS"),
            "listen on 127.0.0.1, give `tls` a certificate, or put a proxy that ends TLS in front \
             and name it in `behind_proxy`",
        ));
    }
    if let Some(metrics) = server.metrics {
        // Nobody proves who they are there, and there is no TLS.
        if !metrics.ip().is_loopback() && server.behind_proxy.is_empty() {
            return Some((
                format!("`metrics` at {metrics} can be reached from elsewhere, in the clear"),
                "write 127.0.0.1, or name in `behind_proxy` who may connect",
            ));
        }
        if metrics == server.listen && metrics.port() != 0 {
            return Some((
                format!("`metrics` has the address of `listen`, {metrics}"),
                "give it a port of its own",
            ));
        }
    }
    if server.limits.max_connections == 0 {
        return Some((
            "`max_connections` is 0, so nobody could connect".into(),
            "make it larger",
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{
        super::settings::{ServerSettings, TlsFiles},
        *,
    };

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
                listen: address.parse().unwrap(),
                public_url: public.map(str::to_owned),
                tls: tls.then_some(files),
                behind_proxy: proxy
                    .then(|| "192.0.2.0/24".parse().unwrap())
                    .into_iter()
                    .collect(),
                ..ServerSettings::default()
            };
            let said = refusal(&server).map_or_else(String::new, |(why, next)| why + next);
            let fits = if refused.is_empty() {
                said.is_empty()
            } else {
                said.contains(refused)
            };
            assert!(fits, "{address} {tls} {proxy} {public:?}: {said}");
            // Somewhere else the same is asked.
            let elsewhere = ServerSettings {
                listen: local.parse().unwrap(),
                ..server.clone()
            };
            let moved = elsewhere.listening_at(server.listen);
            assert_eq!(moved.is_err(), !said.is_empty(), "{address}");
        }
        for (metrics, proxy, refused) in [
            (local, false, false),
            (lan, false, true),
            (every, false, true),
            (lan, true, false),
            ("127.0.0.1:7780", false, true),
        ] {
            let server = ServerSettings {
                metrics: Some(metrics.parse().unwrap()),
                behind_proxy: proxy
                    .then(|| "192.0.2.0/24".parse().unwrap())
                    .into_iter()
                    .collect(),
                ..ServerSettings::default()
            };
            assert_eq!(refusal(&server).is_some(), refused, "{metrics} {proxy}");
        }
        let mut server = ServerSettings::default();
        server.limits.max_connections = 0;
        assert!(refusal(&server).is_some());
    }
}
