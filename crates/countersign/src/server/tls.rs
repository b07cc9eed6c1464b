//! The certificate that the gateway serves with.
//!
//! In scope: reading certificate and key, refusing what no client would accept, reading them again
//! without a restart.
//! Out of scope: connections; where certificates come from.
//! Invariant: a key that others on the machine can read is not used. A new pair replaces the old
//! one only as a whole and only after every check that the first one passed.

use std::{
    fs::File,
    io::Read,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, bail};
use axum::http::Uri;
use countersign_core::{canonical::Hash, time::Timestamp};
use countersign_policy::bundle::settings::TlsFiles;
use rustls::{
    CertificateError, Error, InconsistentKeys, RootCertStore, ServerConfig,
    client::{verify_server_cert_signed_by_trust_anchor, verify_server_name},
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    server::ParsedCertificate,
};
use tokio::{
    net::TcpStream,
    signal::unix::{Signal, SignalKind, signal},
    time::Instant,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// The most bytes of a file.
const MAX_FILE: u64 = 1 << 20;
/// How often it is looked whether the files changed.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How long before its end a certificate is warned of, and how often.
const SOON: Duration = Duration::from_secs(7 * 86_400);
const WARN_EVERY: Duration = Duration::from_secs(86_400);

/// The certificate, and what has it read again.
pub struct Tls {
    served: Arc<Served>,
    hangup: Signal,
}

/// Certificate and key, as they are now.
pub(super) struct Served {
    cert: PathBuf,
    key: PathBuf,
    current: Mutex<Arc<Current>>,
}

/// A pair that passed every check.
struct Current {
    config: Arc<ServerConfig>,
    leaf: CertificateDer<'static>,
    files: Hash,
}

/// What is in the two files.
struct Pair {
    cert: Vec<u8>,
    key: Vec<u8>,
}

impl Tls {
    /// Reads both files; relative paths start at the configuration directory. From now on SIGHUP
    /// does not end the process. Call it within the runtime.
    ///
    /// # Errors
    /// One is missing, unreadable or not what it should be; the key is not the certificate's, or
    /// can be read by others; a client would refuse the certificate, whoever signed it.
    pub fn open(files: &TlsFiles, config: &Path) -> anyhow::Result<Self> {
        Ok(Self {
            served: Arc::new(Served::open(files, config)?),
            hangup: signal(SignalKind::hangup()).context("SIGHUP can't be received")?,
        })
    }

    /// Why clients that use `url` would refuse the certificate, when they would for its name.
    #[must_use]
    pub fn is_not_for(&self, url: &str) -> Option<String> {
        self.served.is_not_for(url)
    }

    pub(super) fn served(&self) -> Arc<Served> {
        self.served.clone()
    }

    /// Reads the files again when they changed or the process gets SIGHUP, for ever.
    pub(super) async fn watch(&mut self) {
        let (mut refused, mut warned) = (None, Instant::now());
        loop {
            let asked = tokio::select! {
                _ = self.hangup.recv() => true,
                () = tokio::time::sleep(LOOK_EVERY) => false,
            };
            self.served.look_again(asked, &mut refused);
            if warned.elapsed() >= WARN_EVERY {
                warned = Instant::now();
                self.served.warn_of_its_end();
            }
        }
    }
}

/// Reads both files once, as [`Tls::open`] does.
pub(super) fn check(files: &TlsFiles, config: &Path) -> anyhow::Result<()> {
    Served::open(files, config).map(drop)
}

impl Served {
    fn open(files: &TlsFiles, config: &Path) -> anyhow::Result<Self> {
        let (cert, key) = (config.join(&files.cert), config.join(&files.key));
        let pair = Pair::read(&cert, &key)?;
        let current = pair.checked(&cert, &key)?;
        let tls = Self {
            cert,
            key,
            current: Mutex::new(Arc::new(current)),
        };
        tls.warn_of_its_end();
        Ok(tls)
    }

    fn is_not_for(&self, url: &str) -> Option<String> {
        let url: Uri = url.parse().ok()?;
        let host = url.host()?.trim_matches(['[', ']']);
        let name = ServerName::try_from(host).ok()?;
        let current = self.current();
        let parsed = ParsedCertificate::try_from(&current.leaf).ok()?;
        let error = verify_server_name(&parsed, &name).err()?;
        Some(format!(
            "clients will refuse the certificate `{}`, because it is not for `{host}`, under which \
             the gateway says it is reached (`public_url`): {error}",
            self.cert.display()
        ))
    }

    /// Answers a client's handshake.
    ///
    /// # Errors
    /// The client breaks off, or does not speak TLS.
    pub(super) async fn accept(&self, socket: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        TlsAcceptor::from(self.current().config.clone())
            .accept(socket)
            .await
    }

    /// Takes what is in the files now, if it is new and good. What was refused once is told about
    /// once, unless somebody asked.
    fn look_again(&self, asked: bool, refused: &mut Option<Result<Hash, String>>) {
        let failed = |error: anyhow::Error| {
            tracing::error!("the certificate stays the one before: {error:#}");
        };
        let pair = match Pair::read(&self.cert, &self.key) {
            Ok(pair) => pair,
            Err(error) => {
                let why = Some(Err(format!("{error:#}")));
                if asked || *refused != why {
                    *refused = why;
                    failed(error);
                }
                return;
            }
        };
        let files = pair.hash();
        if !asked && (files == self.current().files || *refused == Some(Ok(files))) {
            return;
        }
        match pair.checked(&self.cert, &self.key) {
            Ok(new) => {
                *refused = None;
                *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
                tracing::info!("the certificate was read again");
                self.warn_of_its_end();
            }
            Err(error) => {
                *refused = Some(Ok(files));
                failed(error);
            }
        }
    }

    fn current(&self) -> Arc<Current> {
        let current = self.current.lock();
        current.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn warn_of_its_end(&self) {
        let soon = UnixTime::since_unix_epoch(Duration::from_secs(
            UnixTime::now().as_secs().saturating_add(SOON.as_secs()),
        ));
        if let Err(Error::InvalidCertificate(error)) = acceptable(&self.current().leaf, soon) {
            tracing::warn!(
                "the certificate `{}` {}; replace the files, which needs no restart",
                self.cert.display(),
                why(&error)
            );
        }
    }
}

impl Pair {
    fn read(cert: &Path, key: &Path) -> anyhow::Result<Self> {
        Ok(Self {
            cert: read(cert, "certificate", false)?,
            key: read(key, "key", true)?,
        })
    }

    fn hash(&self) -> Hash {
        let both = [Hash::of(&self.cert).0, Hash::of(&self.key).0];
        Hash::of(both.as_flattened())
    }

    /// Puts the pair to every test that needs no client.
    fn checked(&self, cert: &Path, key: &Path) -> anyhow::Result<Current> {
        let (cert_path, key_path) = (cert.display(), key.display());
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&self.cert)
            .collect::<Result<_, _>>()
            .with_context(|| format!("the certificate `{cert_path}` is not PEM"))?;
        let Some(leaf) = chain.first().cloned() else {
            bail!(
                "`{cert_path}` holds no certificate; it must begin with `-----BEGIN CERTIFICATE-----`"
            );
        };
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|_| {
            let encrypted = self.key.windows(9).any(|word| word == b"ENCRYPTED");
            let what = if encrypted {
                "is encrypted; write it without a password, for example with `openssl pkey`"
            } else {
                "holds no private key in PEM"
            };
            anyhow::anyhow!("the key `{key_path}` {what}")
        })?;
        if let Err(error) = acceptable(&leaf, UnixTime::now()) {
            let why = match &error {
                Error::InvalidCertificate(error) => why(error),
                other => format!("can't be used: {other}"),
            };
            bail!("the certificate `{cert_path}` {why}; put a good one there");
        }
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|error| match error {
                Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => anyhow::anyhow!(
                    "the key `{key_path}` is not the one of the first certificate in \
                     `{cert_path}`; they must come as a pair, the server's certificate first"
                ),
                other => anyhow::anyhow!("`{cert_path}` and `{key_path}` can't be used: {other}"),
            })?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Current {
            config: Arc::new(config),
            leaf,
            files: self.hash(),
        })
    }
}

/// Reads a file, and for a secret makes sure that it is one.
fn read(path: &Path, what: &str, secret: bool) -> anyhow::Result<Vec<u8>> {
    let shown = path.display();
    let next = "`[server] tls` names it";
    let failed = || format!("the {what} `{shown}` can't be read; {next}");
    let file = File::open(path).with_context(failed)?;
    // Asked of the open file, so that what is checked is what is read.
    let about = file.metadata().with_context(failed)?;
    if !about.is_file() {
        bail!("the {what} `{shown}` is no file; {next}");
    }
    if secret && about.permissions().mode() & 0o077 != 0 {
        bail!("the {what} `{shown}` can be read by others; run `chmod 600 {shown}`");
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1)
        .read_to_end(&mut bytes)
        .with_context(failed)?;
    if u64::try_from(bytes.len()).is_ok_and(|read| read > MAX_FILE) {
        bail!("the {what} `{shown}` is larger than {MAX_FILE} bytes; {next}");
    }
    Ok(bytes)
}

/// Judges a certificate as clients do, whoever signed it: that is theirs to know.
fn acceptable(leaf: &CertificateDer<'_>, at: UnixTime) -> Result<(), Error> {
    let algorithms = default_provider().signature_verification_algorithms.all;
    let parsed = ParsedCertificate::try_from(leaf)?;
    let nobody = RootCertStore::empty();
    match verify_server_cert_signed_by_trust_anchor(&parsed, &nobody, &[], at, algorithms) {
        Err(Error::InvalidCertificate(CertificateError::UnknownIssuer)) => Ok(()),
        other => other,
    }
}

fn why(error: &CertificateError) -> String {
    let time = |at: &UnixTime| {
        let seconds = i64::try_from(at.as_secs()).unwrap_or(i64::MAX);
        Timestamp(seconds.saturating_mul(1_000)).to_string()
    };
    match error {
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("is valid until {} only", time(not_after))
        }
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("is valid from {} on", time(not_before))
        }
        other => format!("would be refused by clients: {other}"),
    }
}

#[cfg(test)]
#[path = "tls_tests.rs"]
pub(super) mod tests;
