//! A `[channel.NAME]` of kind `teams`.
//!
//! In scope: reading its settings; refusing what names whom it believes by something that changes hands.
//! Out of scope: whether Microsoft knows the bot.
//! Invariant: tenant and bot are named by their ids; every address is spoken to over TLS, or is this
//! machine's.

use countersign_core::time::Span;
use serde::Deserialize;
use toml::Spanned;

use super::{
    channels::{address, secret, signed_in},
    reading::Reader,
    targets::RawSecret,
};
use crate::{
    channel::{Teams, is_guid},
    problem::shown,
};

/// Who makes the tokens of what comes from Teams, unless configured otherwise.
const ISSUER: &str = "https://api.botframework.com";
/// Where that issuer says which keys it signs with.
const METADATA: &str = "https://login.botframework.com/v1/.well-known/openidconfiguration";
/// Where messages to Teams are sent, unless configured otherwise: the one address for all regions.
const SERVICE: &str = "https://smba.trafficmanager.net/teams";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTeams {
    #[serde(rename = "kind")]
    _kind: String,
    tenant: Spanned<String>,
    app: Spanned<String>,
    secret: Spanned<RawSecret>,
    signed_in_within: Option<Spanned<Span>>,
    issuer: Option<Spanned<String>>,
    metadata_url: Option<Spanned<String>>,
    token_url: Option<Spanned<String>>,
    service_url: Option<Spanned<String>>,
}

/// Reads the settings; `None` when they cannot be used.
pub(super) fn read(reader: &mut Reader<'_>, raw: RawTeams) -> Option<Teams> {
    let tenant = guid(reader, raw.tenant, "tenant");
    let app = guid(reader, raw.app, "app");
    let proof = secret(reader, raw.secret, "secret");
    let tenant = tenant?;
    let token = format!("https://login.microsoftonline.com/{tenant}/oauth2/v2.0/token");
    Some(Teams {
        app: app?,
        secret: proof?,
        signed_in_within: signed_in(reader, raw.signed_in_within),
        issuer: address(reader, ("issuer", raw.issuer), ISSUER)?,
        metadata: address(reader, ("metadata_url", raw.metadata_url), METADATA)?,
        token: address(reader, ("token_url", raw.token_url), &token)?,
        service: address(reader, ("service_url", raw.service_url), SERVICE)?,
        tenant,
    })
}

fn guid(reader: &mut Reader<'_>, raw: Spanned<String>, key: &str) -> Option<String> {
    let line = reader.line(raw.span().start);
    let text = raw.into_inner().to_ascii_lowercase();
    if is_guid(&text) {
        return Some(text);
    }
    let message = format!("`{}` is no `{key}` of Microsoft's", shown(&text));
    let help = "write its id, like `00000000-0000-0000-0000-000000000000`: names change hands";
    reader.error(line, message, help);
    None
}
