//! Channels as the interface shows them.
//!
//! Invariant: no secret and nobody's name; ids are those of the bundle.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Every channel.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct ChannelList {
    /// By name.
    pub channels: Vec<ChannelInfo>,
}

/// How one channel stands.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ChannelInfo {
    /// Its name.
    pub name: String,
    /// `slack`, `teams` or `email`.
    pub kind: String,
    /// The workspace or tenant; of mails, the server.
    pub team: String,
    /// `signed` where it posts to the gateway, `socket` where the gateway opened one; of mails, how TLS
    /// begins: `implicit`, `starttls` or `none`.
    pub reached: String,
    /// How many people have linked an account; of mails, how many have an address.
    pub linked: usize,
    /// What is wrong now.
    pub fault: Option<String>,
}
