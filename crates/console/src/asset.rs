//! The style sheet, the script and the logo, compiled in.
//!
//! In scope: finding an asset by name, its address with a hash for caching.
//! Out of scope: serving; the handler sends `etag` as `ETag`, and
//! `Cache-Control: public, max-age=31536000, immutable` when the request has a query.
//! Invariant: an asset's address changes whenever its bytes do.

/// Where assets are served.
pub const ASSET_PREFIX: &str = "/assets/";

/// One file that pages need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asset {
    /// Its content.
    pub bytes: &'static [u8],
    /// Its media type, with character set.
    pub content_type: &'static str,
    /// A strong entity tag, in quotes.
    pub etag: &'static str,
}

/// The style sheet.
pub const CSS: Asset = load(
    include_bytes!("../assets/console.css"),
    "text/css; charset=utf-8",
    text(&CSS_TAG),
);
/// The script.
pub const JS: Asset = load(
    include_bytes!("../assets/console.js"),
    "text/javascript; charset=utf-8",
    text(&JS_TAG),
);
/// The logo, which is also the icon.
pub const LOGO: Asset = load(
    include_bytes!("../assets/logo.svg"),
    "image/svg+xml",
    text(&LOGO_TAG),
);

static CSS_TAG: [u8; 18] = tag(include_bytes!("../assets/console.css"));
static JS_TAG: [u8; 18] = tag(include_bytes!("../assets/console.js"));
static LOGO_TAG: [u8; 18] = tag(include_bytes!("../assets/logo.svg"));

/// Finds an asset by its path, with or without [`ASSET_PREFIX`] and query.
#[must_use]
pub fn asset(path: &str) -> Option<Asset> {
    let name = path.strip_prefix(ASSET_PREFIX).unwrap_or(path);
    match name.split('?').next()? {
        "console.css" => Some(CSS),
        "console.js" => Some(JS),
        "logo.svg" => Some(LOGO),
        _ => None,
    }
}

/// The hash in an asset's address.
pub(crate) fn version(asset: Asset) -> &'static str {
    asset.etag.trim_matches('"')
}

const fn load(bytes: &'static [u8], content_type: &'static str, etag: &'static str) -> Asset {
    Asset {
        bytes,
        content_type,
        etag,
    }
}

const fn text(tag: &'static [u8; 18]) -> &'static str {
    match std::str::from_utf8(tag) {
        Ok(text) => text,
        Err(_) => "\"\"",
    }
}

/// A quoted hash of the bytes: FNV-1a, 64 bits. It tells versions apart and protects nothing.
#[expect(
    clippy::indexing_slicing,
    reason = "runs only while compiling, where a wrong index stops the build"
)]
const fn tag(mut bytes: &[u8]) -> [u8; 18] {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    while let Some((first, rest)) = bytes.split_first() {
        hash = (hash ^ *first as u64).wrapping_mul(0x0100_0000_01b3);
        bytes = rest;
    }
    let mut tag = [b'"'; 18];
    let mut at = 1;
    while at < 17 {
        tag[at] = b"0123456789abcdef"[(hash >> 60) as usize];
        hash <<= 4;
        at += 1;
    }
    tag
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assets_are_found_by_path_and_have_their_own_tags() {
        for path in [
            "console.css",
            "/assets/console.css",
            "/assets/console.css?v=1",
        ] {
            assert_eq!(asset(path), Some(CSS), "{path}");
        }
        assert_eq!(asset("/assets/../Cargo.toml"), None);
        assert_eq!(asset(""), None);
        let tags = [CSS.etag, JS.etag, LOGO.etag];
        for (i, one) in tags.iter().enumerate() {
            assert_eq!(one.len(), 18);
            assert!(tags.iter().skip(i + 1).all(|other| other != one));
        }
    }
}
