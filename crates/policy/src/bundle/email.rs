//! A `[channel.NAME]` of kind `email`.
//!
//! In scope: reading its settings; refusing what would send mails or a password in the clear.
//! Out of scope: whether the server takes them.
//! Invariant: a server beyond this machine is spoken to over TLS.

use core::net::{IpAddr, Ipv6Addr};

use serde::Deserialize;
use toml::Spanned;

use super::{channels::secret, reading::Reader, targets::RawSecret};
use crate::{
    channel::{Email, MailContent, MailTls, is_address},
    problem::shown,
};

/// The longest name of a server, and of whoever the gateway is there.
const MAX_TEXT: usize = 253;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawEmail {
    #[serde(rename = "kind")]
    _kind: String,
    server: Spanned<String>,
    tls: Option<Spanned<RawTls>>,
    user: Option<Spanned<String>>,
    secret: Option<Spanned<RawSecret>>,
    from: Spanned<String>,
    ca: Option<String>,
    content: Option<RawContent>,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum RawTls {
    Implicit,
    StartTls,
    None,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawContent {
    Link,
    Full,
}

/// Reads the settings; `None` when they cannot be used.
pub(super) fn read(reader: &mut Reader<'_>, line: u32, raw: RawEmail) -> Option<Email> {
    let server = server(reader, raw.server);
    let tls = tls(reader, line, raw.tls, server.as_ref(), raw.ca.is_some());
    let from = from(reader, raw.from);
    let login = match (raw.user, raw.secret) {
        (None, None) => Some(None),
        (Some(user), Some(password)) => {
            let user = user_name(reader, user);
            let password = secret(reader, password, "secret");
            Some(Some((user?, password?)))
        }
        _ => {
            let message = "a channel of mails has `user` and `secret`, or neither";
            reader.error(line, message, "give both, as the server knows the gateway");
            None
        }
    };
    let (host, port) = server?;
    Some(Email {
        host,
        port,
        tls: tls?,
        login: login?,
        from: from?,
        ca: raw.ca,
        content: match raw.content {
            Some(RawContent::Link) => MailContent::Link,
            Some(RawContent::Full) | None => MailContent::Full,
        },
    })
}

fn server(reader: &mut Reader<'_>, raw: Spanned<String>) -> Option<(String, u16)> {
    let line = reader.line(raw.span().start);
    let text = raw.into_inner();
    let found = text.rsplit_once(':').and_then(|(host, port)| {
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let good = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
        let host = match bare {
            Some(address) => address.parse::<Ipv6Addr>().ok()?.to_string(),
            None if !host.is_empty() && host.chars().all(good) => host.to_owned(),
            None => return None,
        };
        let port: u16 = port.parse().ok().filter(|port| *port > 0)?;
        (host.len() <= MAX_TEXT).then_some((host, port))
    });
    if found.is_none() {
        let message = format!("`{}` is no server of mails", shown(&text));
        reader.error(
            line,
            message,
            "write `HOST:PORT`, such as `smtp.example.com:465`",
        );
    }
    found
}

fn tls(
    reader: &mut Reader<'_>,
    line: u32,
    raw: Option<Spanned<RawTls>>,
    server: Option<&(String, u16)>,
    vouched: bool,
) -> Option<MailTls> {
    let line = raw
        .as_ref()
        .map_or(line, |raw| reader.line(raw.span().start));
    match raw.map(Spanned::into_inner) {
        None | Some(RawTls::Implicit) => Some(MailTls::Implicit),
        Some(RawTls::StartTls) => Some(MailTls::StartTls),
        Some(RawTls::None) if vouched => {
            let message = "a server that is spoken to in the clear has no use for `ca`";
            reader.error(line, message, "remove one of `tls` and `ca`");
            None
        }
        Some(RawTls::None) => {
            let here = server.is_none_or(|(host, _)| {
                let address = host.parse::<IpAddr>();
                address.is_ok_and(|address| address.is_loopback())
            });
            if !here {
                let message = "mails are sent in the clear to an address of this machine only";
                let help = "use `implicit` or `starttls`; for a relay on this machine write its \
                            address, such as `127.0.0.1:25`";
                reader.error(line, message, help);
            }
            here.then_some(MailTls::None)
        }
    }
}

fn from(reader: &mut Reader<'_>, raw: Spanned<String>) -> Option<String> {
    let line = reader.line(raw.span().start);
    let text = raw.into_inner();
    if is_address(&text) {
        return Some(text);
    }
    let message = format!("`{}` is no address that mails can come from", shown(&text));
    reader.error(line, message, "write one such as `countersign@example.com`");
    None
}

fn user_name(reader: &mut Reader<'_>, raw: Spanned<String>) -> Option<String> {
    let line = reader.line(raw.span().start);
    let text = raw.into_inner();
    let good = |c: char| c.is_ascii_graphic() || c == ' ';
    if !text.is_empty() && text.len() <= MAX_TEXT && text.chars().all(good) {
        return Some(text);
    }
    let message = format!("`{}` is no `user` of a server of mails", shown(&text));
    reader.error(line, message, "write it in plain ASCII");
    None
}
