//! Settings of this one gateway: where it listens and keeps its data.
//!
//! In scope: the `[server]` and `[store]` tables.
//! Out of scope: everything that takes part in a decision. These two tables are not in the
//! bundle's hash, so machines that share a bundle can differ in them.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

use super::exposure::refusal;

/// Where the gateway listens, and how much it accepts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerSettings {
    /// The address and port.
    pub listen: SocketAddr,
    /// The address that people and clients use, when it is not the one above.
    pub public_url: Option<String>,
    /// Certificate and key, when the gateway ends TLS itself.
    pub tls: Option<TlsFiles>,
    /// Proxies whose forwarded addresses are believed.
    pub behind_proxy: Vec<Network>,
    /// Where numbers for monitoring are given out, if anywhere.
    pub metrics: Option<SocketAddr>,
    /// How much is accepted.
    pub limits: Limits,
}

/// Paths of a certificate chain and its private key, both PEM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    /// The certificate chain.
    pub cert: String,
    /// The private key.
    pub key: String,
}

/// How much the gateway accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// The largest request body in bytes.
    pub max_request_bytes: u64,
    /// The most connections at once.
    pub max_connections: u32,
    /// The most held actions at once.
    pub max_held: u32,
    /// The most held actions of one requester at once.
    pub max_held_per_subject: u32,
    /// The most bytes of uploaded inputs kept for one subject.
    pub max_input_bytes_per_subject: u64,
    /// The most uploads kept for one subject.
    pub max_inputs_per_subject: u32,
}

/// Where the data is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreSettings {
    /// The data directory; relative paths start at the configuration directory.
    pub path: String,
}

/// Another address to listen on, at which the gateway would not serve.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}; {next}")]
pub struct NotServed {
    what: String,
    next: &'static str,
}

impl ServerSettings {
    /// The same at another address, which the same rules are asked about. Numbers stay with whoever
    /// listens at the configured one.
    ///
    /// # Errors
    /// With such settings the gateway would not be served.
    pub fn listening_at(&self, listen: SocketAddr) -> Result<Self, NotServed> {
        let settings = Self {
            listen,
            metrics: None,
            ..self.clone()
        };
        match refusal(&settings) {
            Some((what, next)) => Err(NotServed { what, next }),
            None => Ok(settings),
        }
    }
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7780)),
            public_url: None,
            tls: None,
            behind_proxy: Vec::new(),
            metrics: None,
            limits: Limits::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_request_bytes: 8 * 1024 * 1024,
            max_connections: 10_000,
            max_held: 100_000,
            max_held_per_subject: 100,
            max_input_bytes_per_subject: 1 << 30,
            max_inputs_per_subject: 100,
        }
    }
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self {
            path: "data".into(),
        }
    }
}

/// A network such as `10.0.0.0/8`, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// Why a text is not a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not a network: write an address and a prefix length, like `10.0.0.0/8`", .0.escape_debug())]
pub struct InvalidNetwork(String);

impl Network {
    /// Whether `address` lies in this network.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let mask = u32::MAX
                    .checked_shl(32 - u32::from(self.prefix))
                    .unwrap_or(0);
                u32::from(network) & mask == u32::from(address) & mask
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let mask = u128::MAX
                    .checked_shl(128 - u32::from(self.prefix))
                    .unwrap_or(0);
                u128::from(network) & mask == u128::from(address) & mask
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = InvalidNetwork;
    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        let invalid = || InvalidNetwork(text.chars().take(60).collect());
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| invalid())?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(prefix) => prefix.parse().map_err(|_| invalid())?,
            None => longest,
        };
        if prefix > longest {
            Err(invalid())
        } else {
            Ok(Self { address, prefix })
        }
    }
}

impl TryFrom<String> for Network {
    type Error = InvalidNetwork;
    fn try_from(text: String) -> Result<Self, InvalidNetwork> {
        text.parse()
    }
}

impl From<Network> for String {
    fn from(network: Network) -> String {
        network.to_string()
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks() {
        for (network, address, expected) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("0.0.0.0/0", "11.0.0.1", true),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.8", false),
            ("2001:db8::/32", "2001:db8::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("0.0.0.0/0", "2001:db9::1", false),
        ] {
            let network: Network = network.parse().unwrap();
            assert_eq!(
                network.contains(address.parse().unwrap()),
                expected,
                "{network} {address}"
            );
        }
        for bad in ["", "10.0.0.0/33", "10.0.0/8", "x/8", "10.0.0.0/-1"] {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
    }
}
