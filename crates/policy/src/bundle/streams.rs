//! The `[stream.NAME]` tables.
//!
//! In scope: reading a stream's settings, and refusing addresses and paths that can't be meant.
//! Out of scope: whether anybody answers there.
//! Invariant: an address is spoken to over TLS, or is written as one of this machine; a path can't
//! climb out of where it starts.

use std::{collections::BTreeMap, fmt::Display, net::IpAddr};

use countersign_core::time::Span;
use serde::Deserialize;
use toml::Spanned;

use super::{
    reading::{Entry, Reader},
    targets::RawSecret,
};
use crate::{
    problem::shown,
    stream::{Collector, Details, OcsfFile, Start, Stream, StreamKind, Webhook},
    target::exec::CredentialSource,
};

/// The longest name of a stream; it names a directory.
const MAX_NAME: usize = 64;
/// When a file is put aside, unless configured otherwise.
const MAX_BYTES: u64 = 100 << 20;
/// The least that is worth a file.
const MIN_BYTES: u64 = 4 << 10;
/// How many files put aside are kept, unless configured otherwise.
const KEEP: u32 = 10;
/// The most files put aside.
const MAX_KEEP: u32 = 1_000;
/// How long an event is tried, unless configured otherwise.
const RETRY_FOR: Span = Span::from_millis(24 * 3_600_000);
/// The most headers of a collector, and the longest one.
const MAX_HEADERS: usize = 16;
const MAX_HEADER: usize = 1_024;
/// Headers that say how a message is sent, which is not for a configuration to say.
const OWN_HEADERS: [&str; 11] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];
/// The longest an event is tried.
const MAX_RETRY: Span = Span::from_millis(7 * 24 * 3_600_000);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawStream {
    kind: Spanned<String>,
    details: Option<RawDetails>,
    start: Option<RawStart>,
    path: Option<Spanned<String>>,
    max_bytes: Option<Spanned<u64>>,
    keep: Option<Spanned<u32>>,
    url: Option<Spanned<String>>,
    secret: Option<Spanned<RawSecret>>,
    ca: Option<String>,
    retry_for: Option<Spanned<Span>>,
    secret_header: Option<Spanned<String>>,
    headers: Option<Spanned<BTreeMap<String, String>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawDetails {
    Refs,
    Names,
    All,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawStart {
    Now,
    Beginning,
}

/// Reads one stream; `None` when it cannot be used.
pub(super) fn read(reader: &mut Reader<'_>, entry: Entry<RawStream>) -> Option<(String, Stream)> {
    let Entry {
        name,
        line,
        value: mut raw,
    } = entry;
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(good) {
        let message = format!("`{}` cannot name a stream", shown(&name));
        let help = "use 1 to 64 lower-case letters, digits and `-`";
        reader.error(line, message, help);
    }
    let kind = match raw.kind.get_ref().as_str() {
        "ocsf" => StreamKind::Ocsf(ocsf(reader, line, &mut raw)?),
        "webhook" => StreamKind::Webhook(Box::new(webhook(reader, line, &mut raw)?)),
        "otlp" => StreamKind::Otlp(Box::new(otlp(reader, line, &mut raw)?)),
        other => {
            let message = format!("there are no streams of kind `{}`", shown(other));
            let line = reader.line(raw.kind.span().start);
            reader.error(line, message, "use `ocsf`, `webhook` or `otlp`");
            return None;
        }
    };
    let stream = Stream {
        start: match raw.start {
            Some(RawStart::Beginning) => Start::Beginning,
            Some(RawStart::Now) | None => Start::Now,
        },
        details: match raw.details {
            Some(RawDetails::All) => Details::All,
            Some(RawDetails::Names) => Details::Names,
            Some(RawDetails::Refs) | None => Details::Refs,
        },
        kind,
    };
    Some((name, stream))
}

/// Notes a key that a stream of this kind has no use for.
fn needless(reader: &mut Reader<'_>, line: u32, kind: &str, keys: &[(&str, bool)]) {
    for (key, _) in keys.iter().filter(|(_, there)| *there) {
        let message = format!("a stream of kind `{kind}` has no `{key}`");
        reader.error(line, message, "remove it, or change the kind");
    }
}

fn ocsf(reader: &mut Reader<'_>, line: u32, raw: &mut RawStream) -> Option<OcsfFile> {
    let others = [
        ("url", raw.url.is_some()),
        ("secret", raw.secret.is_some()),
        ("ca", raw.ca.is_some()),
        ("retry_for", raw.retry_for.is_some()),
        ("secret_header", raw.secret_header.is_some()),
        ("headers", raw.headers.is_some()),
    ];
    needless(reader, line, "ocsf", &others);
    let Some(path) = raw.path.take() else {
        let help = "add `path = \"events.jsonl\"`, or an absolute path";
        reader.error(line, "the stream has no `path`", help);
        return None;
    };
    let mut parts = path.get_ref().split('/');
    let climbs = parts.clone().any(|part| part == ".." || part == ".");
    let named = parts.next_back().is_some_and(|last| !last.is_empty());
    if climbs || !named || path.get_ref().contains('\0') {
        let message = format!("`{}` can't be the path of a stream", shown(path.get_ref()));
        let line = reader.line(path.span().start);
        let help = "name a file, without `.` and `..`; a relative path starts at the stream's own \
                    directory";
        reader.error(line, message, help);
    }
    let max_bytes = limited(reader, raw.max_bytes.take(), MAX_BYTES, |bytes| {
        (*bytes < MIN_BYTES).then(|| format!("write at least {MIN_BYTES}"))
    });
    let keep = limited(reader, raw.keep.take(), KEEP, |keep| {
        (*keep > MAX_KEEP).then(|| format!("write at most {MAX_KEEP}"))
    });
    Some(OcsfFile {
        path: path.into_inner(),
        max_bytes,
        keep,
    })
}

/// A value within bounds, or what stands for none; `wrong` says what to write instead.
fn limited<T: Display>(
    reader: &mut Reader<'_>,
    written: Option<Spanned<T>>,
    default: T,
    wrong: impl FnOnce(&T) -> Option<String>,
) -> T {
    let Some(written) = written else {
        return default;
    };
    if let Some(help) = wrong(written.get_ref()) {
        let line = reader.line(written.span().start);
        reader.error(
            line,
            format!("`{}` is out of bounds", written.get_ref()),
            help,
        );
    }
    written.into_inner()
}

fn webhook(reader: &mut Reader<'_>, line: u32, raw: &mut RawStream) -> Option<Webhook> {
    let others = [
        ("path", raw.path.is_some()),
        ("max_bytes", raw.max_bytes.is_some()),
        ("keep", raw.keep.is_some()),
        ("secret_header", raw.secret_header.is_some()),
        ("headers", raw.headers.is_some()),
    ];
    needless(reader, line, "webhook", &others);
    let url = url(reader, line, raw);
    if raw.secret.is_none() {
        let help = "add `secret = { file = \"…\" }`, `{ env = \"…\" }` or `{ command = […] }`";
        reader.error(line, "the stream has no `secret` to sign with", help);
    }
    let (secret, retry_for) = (secret(reader, raw), retry_for(reader, raw));
    Some(Webhook {
        url: url?,
        secret: secret?,
        ca: raw.ca.take(),
        retry_for,
    })
}

fn otlp(reader: &mut Reader<'_>, line: u32, raw: &mut RawStream) -> Option<Collector> {
    let others = [
        ("path", raw.path.is_some()),
        ("max_bytes", raw.max_bytes.is_some()),
        ("keep", raw.keep.is_some()),
    ];
    needless(reader, line, "otlp", &others);
    let url = url(reader, line, raw);
    let (secret, retry_for) = (secret(reader, raw), retry_for(reader, raw));
    let secret_header = match raw.secret_header.take() {
        None => "authorization".to_owned(),
        Some(name) => {
            let line = reader.line(name.span().start);
            refuse_header(reader, line, name.get_ref(), "");
            if secret.is_none() {
                let help = "add the `secret` that stands in it, or remove `secret_header`";
                reader.error(
                    line,
                    "the stream has a `secret_header` and no `secret`",
                    help,
                );
            }
            name.into_inner()
        }
    };
    let mut headers = BTreeMap::new();
    if let Some(written) = raw.headers.take() {
        let line = reader.line(written.span().start);
        headers = written.into_inner();
        for (name, value) in &headers {
            refuse_header(reader, line, name, value);
            if *name == secret_header || name == "authorization" {
                let message = format!("the header `{name}` would be shown to reviewers");
                let help = "name it in `secret_header`, and where it is kept in `secret`";
                reader.error(line, message, help);
            }
        }
        if headers.len() > MAX_HEADERS {
            let help = format!("write at most {MAX_HEADERS}");
            reader.error(line, "the stream has too many headers", help);
        }
    }
    Some(Collector {
        url: url?,
        secret,
        secret_header,
        headers,
        ca: raw.ca.take(),
        retry_for,
    })
}

/// Notes a header that can't be sent.
fn refuse_header(reader: &mut Reader<'_>, line: u32, name: &str, value: &str) {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    let named = !name.is_empty() && name.len() <= MAX_NAME && name.chars().all(good);
    if !named || OWN_HEADERS.contains(&name) {
        let message = format!("`{}` can't be a header of a stream", shown(name));
        let help = "use lower-case letters, digits, `-` and `_`, and no header that says how \
                    something is sent";
        reader.error(line, message, help);
    }
    let plain = |c: char| c == ' ' || c.is_ascii_graphic();
    if value.len() > MAX_HEADER || !value.chars().all(plain) {
        let message = format!("the header `{}` can't have this value", shown(name));
        let help = format!("write at most {MAX_HEADER} plain characters");
        reader.error(line, message, help);
    }
}

fn url(reader: &mut Reader<'_>, line: u32, raw: &mut RawStream) -> Option<String> {
    let Some(url) = raw.url.take() else {
        let help = "add the receiver's address";
        reader.error(line, "the stream has no `url`", help);
        return None;
    };
    if let Some(why) = refused_url(url.get_ref()) {
        let message = format!("nothing is sent to `{}`: {why}", shown(url.get_ref()));
        let line = reader.line(url.span().start);
        let help = "write an `https://` address; `http://` only to 127.0.0.1, [::1] or localhost";
        reader.error(line, message, help);
    }
    Some(url.into_inner())
}

fn secret(reader: &mut Reader<'_>, raw: &mut RawStream) -> Option<CredentialSource> {
    let secret = raw.secret.take()?;
    let line = reader.line(secret.span().start);
    secret.into_inner().source(reader, line, "secret")
}

fn retry_for(reader: &mut Reader<'_>, raw: &mut RawStream) -> Span {
    limited(reader, raw.retry_for.take(), RETRY_FOR, |span| {
        (*span > MAX_RETRY).then(|| "write at most 7d".into())
    })
}

/// Why nothing is sent to an address. Over TLS the certificate says who answers, whatever the name
/// resolves to; in the clear only this machine itself can be meant, and only by its address.
pub(super) fn refused_url(url: &str) -> Option<&'static str> {
    if url.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Some("it has blanks");
    }
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
    if authority.contains('@') {
        return Some("it has a user or password, which would be shown to reviewers");
    }
    if url.contains('#') {
        return Some("it has a fragment, which is never sent");
    }
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    let here = host == "localhost"
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback());
    match scheme {
        "https" | "http" if host.is_empty() => Some("it names no host"),
        "https" => None,
        "http" if here => None,
        "http" => Some("it would be sent in the clear"),
        _ => Some("it is no address on the web"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_sent_in_the_clear_beyond_this_machine() {
        for (url, refused) in [
            ("https://siem.example.com/in?x=1", ""),
            ("https://10.0.0.7:8443/", ""),
            ("http://127.0.0.1:9/", ""),
            ("http://[::1]:9/x", ""),
            ("http://localhost/x", ""),
            ("http://localhost.example.com/x", "in the clear"),
            ("http://127.0.0.1.example.com/x", "in the clear"),
            ("http://siem.example.com/x", "in the clear"),
            ("http://127.0.0.1\\@evil.example.com/", ""),
            ("http://127.0.0.1@evil.example.com/", "password"),
            ("http://evil.example.com\\@127.0.0.1/", "in the clear"),
            ("https://user:pass@siem.example.com/", "password"),
            ("https://", "no host"),
            ("https:///path", "no host"),
            ("https://a b", "blanks"),
            ("https://a/#b", "fragment"),
            ("ftp://a", "no address"),
            ("siem.example.com", "no address"),
        ] {
            let said = refused_url(url).unwrap_or_default();
            let fits = match refused {
                "" => said.is_empty(),
                part => said.contains(part),
            };
            assert!(fits, "{url}: {said}");
        }
    }
}
