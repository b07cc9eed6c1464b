//! Whose word it takes that what answers is the gateway.
//!
//! In scope: the certificates of an organization's own authority; what to do when a gateway can't
//! prove who it is.
//! Out of scope: which file counts ([`config`](super::config)).
//! Invariant: where a file is named, nobody outside of it is believed, and a file that can't be
//! used is never replaced by the system's certificates.

use std::{error::Error as StdError, fs::File, io, io::Read, path::Path};

use reqwest::Certificate;
use rustls::{CertificateError, Error};

use super::{
    config::CA_VARIABLE,
    failure::{Failure, UNAVAILABLE},
};

/// The most bytes of a file of certificates.
const MAX_FILE: u64 = 1 << 20;

/// The kind of a failure to prove that it is the gateway.
pub(crate) const UNTRUSTED: &str = "untrusted";

/// The certificates in a PEM file.
///
/// # Errors
/// When the file can't be read or holds none.
pub(crate) fn authorities(file: &Path) -> Result<Vec<Certificate>, Failure> {
    let failed =
        |why: &str| {
            Failure::new(
            "ca",
            format!("the authorities in `{}` can't be used: {why}", file.display()),
        )
        .next(format!(
            "{CA_VARIABLE}, or `ca` in client.toml, names a PEM file with the certificate of your \
             own authority"
        ))
        .exit(UNAVAILABLE)
        };
    let mut pem = Vec::new();
    File::open(file)
        .and_then(|opened| opened.take(MAX_FILE).read_to_end(&mut pem))
        .map_err(|error| failed(&error.to_string()))?;
    let found = Certificate::from_pem_bundle(&pem).map_err(|_| failed("it is not PEM"))?;
    if found.is_empty() {
        return Err(failed("it holds no certificate"));
    }
    Ok(found)
}

/// Why TLS with the gateway at `url` came to nothing, when that is what went wrong.
#[must_use]
pub(crate) fn explain(url: &str, error: &reqwest::Error) -> Option<Failure> {
    let (why, next) = match tls_error(error)? {
        Error::InvalidCertificate(error) => certificate(error),
        Error::InvalidMessage(_) => (
            "does not speak TLS".to_owned(),
            "check the address and the port with whoever runs the gateway".to_owned(),
        ),
        _ => return None,
    };
    Some(
        Failure::new(UNTRUSTED, format!("what answers at {url} {why}"))
            .next(next)
            .exit(UNAVAILABLE),
    )
}

fn certificate(error: &CertificateError) -> (String, String) {
    let (why, next): (&str, &str) = match error {
        CertificateError::UnknownIssuer => (
            "has a certificate from nobody that is trusted here",
            "if your organization has its own authority, set COUNTERSIGN_CA to its certificate; \
             otherwise somebody may be in between: send nothing",
        ),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => (
            "has a certificate for another name",
            "use the name that the certificate is for, or have one made for this name",
        ),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => (
            "has a certificate that has expired",
            "have whoever runs the gateway renew it, and check this machine's clock",
        ),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => (
            "has a certificate that is not valid yet",
            "check this machine's clock",
        ),
        _ => (
            "has a certificate that can't be used",
            "have whoever runs the gateway replace it",
        ),
    };
    (format!("{why}: {error}"), next.to_owned())
}

/// The error of TLS among the causes. Errors of input and output keep what they wrap to themselves.
fn tls_error(error: &reqwest::Error) -> Option<&Error> {
    let mut cause: Option<&(dyn StdError + 'static)> = error.source();
    while let Some(one) = cause {
        if let Some(found) = one.downcast_ref::<Error>() {
            return Some(found);
        }
        let wrapped = one.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        cause = match wrapped {
            Some(wrapped) => Some(wrapped),
            None => one.source(),
        };
    }
    None
}
