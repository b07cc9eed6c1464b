//! Where the gateway is and how the caller proves who it is.
//!
//! In scope: the environment, the configuration file, which of them counts, and which addresses a
//! token may be sent to.
//! Out of scope: the configuration of the gateway itself.
//! Invariant: a token goes only over TLS or to this machine, and a saved token only to the gateway
//! that it was saved for. A file that others can read is not used.

use std::{
    ffi::OsString,
    fmt, fs,
    io::{Read, Write},
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};

use reqwest::Url;
use serde::Deserialize;

use super::{
    failure::{Failure, UNAVAILABLE},
    identity::{AS_VARIABLE, AUDIENCE_VARIABLE, DELEGATION_VARIABLE, IDENTITY_VARIABLE, Workload},
};

/// The variable with the gateway's address.
pub(crate) const URL_VARIABLE: &str = "COUNTERSIGN_URL";
/// The variable with the caller's token.
pub(crate) const TOKEN_VARIABLE: &str = "COUNTERSIGN_TOKEN";
/// The variable with the certificates of an organization's own authority.
pub(crate) const CA_VARIABLE: &str = "COUNTERSIGN_CA";
/// The most bytes read of a configuration file.
const MAX_FILE: u64 = 64 << 10;

/// A secret that is never shown.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(crate) struct Token(String);

impl Token {
    /// Accepts 1 to 4,096 visible ASCII characters.
    ///
    /// # Errors
    /// When `text` can't be a token; the text itself is not repeated.
    pub(crate) fn new(text: &str) -> Result<Self, Failure> {
        let text = text.trim();
        if text.is_empty() || text.len() > 4096 || !text.bytes().all(|c| c.is_ascii_graphic()) {
            return Err(
                Failure::usage("the token is empty or holds characters no token has")
                    .next("copy it again as a whole, without spaces and line breaks")
                    .exit(UNAVAILABLE),
            );
        }
        Ok(Self(text.to_owned()))
    }

    /// The secret itself.
    #[must_use]
    pub(crate) fn secret(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(hidden)")
    }
}

/// What the caller gave, before anything is read.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sources {
    /// From `--url` or the environment.
    pub(crate) url: Option<String>,
    /// From the environment.
    pub(crate) token: Option<String>,
    /// From the environment: what a job or a service proves itself with.
    pub(crate) identity: Identity,
    /// From the environment: who alone vouches for the gateway.
    pub(crate) ca: Option<PathBuf>,
    /// The configuration file, whether it exists or not.
    pub(crate) file: Option<PathBuf>,
}

/// What a job or a service proves itself with, before it is read.
#[derive(Debug, Clone, Default)]
pub(crate) struct Identity {
    /// What it is.
    pub(crate) what: Option<String>,
    /// Whose key it is.
    pub(crate) acts_as: Option<String>,
    /// Whom it is for.
    pub(crate) audience: Option<String>,
    /// Whom the caller acts for.
    pub(crate) delegation: Option<String>,
}

impl Identity {
    fn read(&self) -> Result<Option<Workload>, Failure> {
        match &self.what {
            Some(what) => Workload::read(
                what,
                self.acts_as.as_deref(),
                self.audience.as_deref(),
                self.delegation.as_deref(),
            )
            .map(Some),
            None if self.delegation.is_some() => Err(Failure::usage(format!(
                "{DELEGATION_VARIABLE} is set, and {IDENTITY_VARIABLE} is not"
            ))
            .next(format!("set {IDENTITY_VARIABLE} to what shows who acts"))
            .exit(UNAVAILABLE)),
            None => Ok(None),
        }
    }
}

/// What counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    /// The gateway.
    pub(crate) url: Url,
    /// The caller's token, when there is one for this gateway.
    pub(crate) token: Option<Token>,
    /// What the caller exchanges for tokens instead.
    pub(crate) identity: Option<Workload>,
    /// Who alone vouches for the gateway; the system's certificates when absent.
    pub(crate) ca: Option<PathBuf>,
    /// Where the address comes from, for people.
    pub(crate) url_from: String,
    /// Where the token comes from, for people.
    pub(crate) token_from: String,
}

/// The configuration file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Saved {
    /// The gateway.
    pub(crate) url: String,
    /// The token for it.
    #[serde(default)]
    pub(crate) token: Option<Token>,
    /// Who alone vouches for it.
    #[serde(default)]
    pub(crate) ca: Option<PathBuf>,
}

impl Sources {
    /// Reads the environment; `url` comes from the command line.
    #[must_use]
    pub(crate) fn of_process(url: Option<String>) -> Self {
        let text = |value: OsString| value.to_string_lossy().into_owned();
        let folder = std::env::var_os("XDG_CONFIG_HOME")
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
            .or_else(|| {
                let home = std::env::var_os("HOME").filter(|home| !home.is_empty());
                home.map(|home| PathBuf::from(home).join(".config"))
            });
        Self {
            url: url.or_else(|| std::env::var_os(URL_VARIABLE).map(text)),
            token: std::env::var_os(TOKEN_VARIABLE).map(text),
            identity: Identity {
                what: std::env::var_os(IDENTITY_VARIABLE).map(text),
                acts_as: std::env::var_os(AS_VARIABLE).map(text),
                audience: std::env::var_os(AUDIENCE_VARIABLE).map(text),
                delegation: std::env::var_os(DELEGATION_VARIABLE).map(text),
            },
            ca: std::env::var_os(CA_VARIABLE).map(PathBuf::from),
            file: folder.map(|folder| folder.join("countersign").join("client.toml")),
        }
    }

    /// Decides which address and token count: the command line and the environment before the
    /// file, and a saved token only for the address it was saved with.
    ///
    /// # Errors
    /// When nothing names a gateway, or what does is wrong.
    pub(crate) fn settings(&self) -> Result<Settings, Failure> {
        self.check_set()?;
        let saved = match &self.file {
            Some(file) => read(file)?.map(|saved| (file.display().to_string(), saved)),
            None => None,
        };
        let (url, url_from) = match (&self.url, &saved) {
            (Some(url), _) => (gateway(url)?, format!("--url or {URL_VARIABLE}")),
            (None, Some((file, saved))) => (gateway(&saved.url)?, file.clone()),
            (None, None) => {
                return Err(Failure::usage("no gateway is configured")
                    .next(format!(
                        "run `countersign login --url http://127.0.0.1:7780`, or wherever the gateway \
                         is, or set {URL_VARIABLE} and {TOKEN_VARIABLE}"
                    ))
                    .exit(UNAVAILABLE));
            }
        };
        let ca = self.ca_for(&url, saved.as_ref().map(|(_, saved)| saved))?;
        if let Some(identity) = self.identity.read()? {
            return self.exchanging(url, url_from, ca, identity);
        }
        let (token, token_from) = match (&self.token, saved) {
            (Some(token), _) => (Some(Token::new(token)?), TOKEN_VARIABLE.to_owned()),
            (None, Some((file, saved))) if gateway(&saved.url)? == url => (saved.token, file),
            (None, Some((file, saved))) => {
                (None, format!("none; {file} has one for {} only", saved.url))
            }
            (None, None) => (None, "none".to_owned()),
        };
        Ok(Settings {
            url,
            token,
            identity: None,
            ca,
            url_from,
            token_from,
        })
    }

    /// Settings of whoever exchanges what it has. A token beside it would leave open who calls.
    fn exchanging(
        &self,
        url: Url,
        url_from: String,
        ca: Option<PathBuf>,
        identity: Workload,
    ) -> Result<Settings, Failure> {
        if self.token.is_some() {
            return Err(Failure::usage(format!(
                "{TOKEN_VARIABLE} and {IDENTITY_VARIABLE} are both set"
            ))
            .next("unset the one that does not say who calls")
            .exit(UNAVAILABLE));
        }
        Ok(Settings {
            url,
            token: None,
            identity: Some(identity),
            ca,
            url_from,
            token_from: IDENTITY_VARIABLE.to_owned(),
        })
    }

    /// Refuses what was set to nothing: a job whose secret is missing must not go on as whoever
    /// signed in on its machine.
    fn check_set(&self) -> Result<(), Failure> {
        let is_blank =
            |text: &Option<String>| text.as_ref().is_some_and(|text| text.trim().is_empty());
        let ca = self.ca.as_ref().is_some_and(|ca| ca.as_os_str().is_empty());
        let found = [
            (is_blank(&self.url), URL_VARIABLE),
            (is_blank(&self.token), TOKEN_VARIABLE),
            (is_blank(&self.identity.what), IDENTITY_VARIABLE),
            (is_blank(&self.identity.acts_as), AS_VARIABLE),
            (is_blank(&self.identity.audience), AUDIENCE_VARIABLE),
            (is_blank(&self.identity.delegation), DELEGATION_VARIABLE),
            (ca, CA_VARIABLE),
        ];
        match found.iter().find(|(blank, _)| *blank) {
            None => Ok(()),
            Some((_, name)) => Err(Failure::usage(format!("{name} is set, and empty")).next(
                format!("give it a value, or unset it to use what is saved: `unset {name}`"),
            )),
        }
    }

    /// Who alone vouches for the gateway at `url`, for whoever has no token yet.
    ///
    /// # Errors
    /// When the configuration file is wrong, or something was set to nothing.
    pub(crate) fn ca(&self, url: &Url) -> Result<Option<PathBuf>, Failure> {
        self.check_set()?;
        let saved = self.file.as_deref().map(read).transpose()?.flatten();
        self.ca_for(url, saved.as_ref())
    }

    /// The environment counts before the file, and what is saved only for its own gateway.
    fn ca_for(&self, url: &Url, saved: Option<&Saved>) -> Result<Option<PathBuf>, Failure> {
        match (&self.ca, saved) {
            (Some(ca), _) => Ok(Some(ca.clone())),
            (None, Some(saved)) if gateway(&saved.url)? == *url => match &saved.ca {
                Some(ca) if !ca.is_absolute() => Err(Failure::usage(format!(
                    "`ca` in the client configuration is `{}`, which is another file in every directory",
                    ca.display()
                ))
                .next("write the whole path, from the root on")
                .exit(UNAVAILABLE)),
                ca => Ok(ca.clone()),
            },
            (None, _) => Ok(None),
        }
    }
}

/// Checks that `text` is an address to which a token may be sent, and brings it into the form to
/// which paths are added.
///
/// # Errors
/// For anything but `https`, or `http` to this machine; for addresses with a user, a query or a
/// fragment.
pub(crate) fn gateway(text: &str) -> Result<Url, Failure> {
    let advice = "write it like `https://countersign.example.com`, or `http://127.0.0.1:7780`";
    let refuse = |why: &str| {
        let shown = text.escape_debug();
        Failure::usage(format!(
            "`{shown}` can't be the address of a gateway: {why}"
        ))
        .next(advice)
        .exit(UNAVAILABLE)
    };
    let mut url = Url::parse(text.trim()).map_err(|error| refuse(&error.to_string()))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refuse("it holds a user name or password"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(refuse("it holds a query or fragment"));
    }
    match url.scheme() {
        "https" => {}
        "http" if is_loopback(&url) => {}
        "http" => return Err(refuse("without TLS only this machine itself is allowed")),
        _ => return Err(refuse("it is neither `https` nor `http`")),
    }
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Ok(url)
}

/// Whether an address is of this machine.
#[must_use]
pub(crate) fn is_loopback(url: &Url) -> bool {
    let Some(host) = url.host_str() else {
        return false;
    };
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || address
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback())
}

/// Reads a configuration file; nothing when there is none.
///
/// # Errors
/// When others can read it, or it is not what [`write()`] writes.
pub(crate) fn read(file: &Path) -> Result<Option<Saved>, Failure> {
    let shown = file.display();
    let failed = |error: std::io::Error| {
        Failure::usage(format!("`{shown}` can't be read: {error}"))
            .next("correct it, or delete it and sign in again with `countersign login`")
            .exit(UNAVAILABLE)
    };
    let opened = match fs::File::open(file) {
        Ok(opened) => opened,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    // Asked of the open file, so that what is checked is what is read.
    let mode = opened.metadata().map_err(failed)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(Failure::usage(format!(
            "`{shown}` holds a token and other people on this machine can reach it (mode {mode:03o})"
        ))
        .next(format!(
            "run `chmod 600 {shown}`; if others may have read it, have the token revoked"
        ))
        .exit(UNAVAILABLE));
    }
    let mut text = String::new();
    opened
        .take(MAX_FILE)
        .read_to_string(&mut text)
        .map_err(failed)?;
    toml::from_str(&text).map(Some).map_err(|error| {
        // The message names the key; the file's text stays out of it, for it may hold the token.
        let what = error.message();
        Failure::usage(format!("`{shown}` is not a client configuration: {what}"))
            .next(
                "it holds `url` and `token`; delete it and sign in again with `countersign login`",
            )
            .exit(UNAVAILABLE)
    })
}

/// Writes a configuration file that only its owner can read, replacing the old one at once.
///
/// # Errors
/// When it can't be written.
pub(crate) fn write(
    file: &Path,
    url: &Url,
    token: &Token,
    ca: Option<&Path>,
) -> Result<(), Failure> {
    let failed = |error: std::io::Error| {
        Failure::new(
            "configuration",
            format!("`{}` can't be written: {error}", file.display()),
        )
        .next(format!("set {URL_VARIABLE} and {TOKEN_VARIABLE} instead"))
    };
    let folder = file
        .parent()
        .ok_or_else(|| failed(std::io::ErrorKind::InvalidInput.into()))?;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(failed)?;
    // A JSON string is a TOML basic string.
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let mut text = format!(
        "url = {}\ntoken = {}\n",
        quoted(url.as_str()),
        quoted(token.secret())
    );
    if let Some(ca) = ca {
        // Commands run in other directories later.
        let ca = fs::canonicalize(ca).map_err(failed)?;
        let ca = ca
            .to_str()
            .ok_or_else(|| failed(std::io::ErrorKind::InvalidInput.into()))?;
        text.push_str(&format!("ca = {}\n", quoted(ca)));
    }
    let mut new = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    new.write_all(text.as_bytes()).map_err(failed)?;
    new.as_file()
        .set_permissions(fs::Permissions::from_mode(0o600))
        .map_err(failed)?;
    new.as_file().sync_all().map_err(failed)?;
    new.persist(file).map_err(|error| failed(error.error))?;
    Ok(())
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
