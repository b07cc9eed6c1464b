//! Handing a mail to a server.
//!
//! In scope: one connection for one mail; telling apart what keeps it from being taken.
//! Out of scope: what is sent, and when it is tried again; how much is read ([`bounded`](super::bounded)).
//! Invariant: a server beyond this machine hears neither a password nor a mail without TLS. A mail whose
//! last byte was sent and not answered may have been taken, and is reported so.
//! Specification: RFC 5321, RFC 3207 (`STARTTLS`), RFC 4954 (`AUTH`), RFC 8314

use std::{path::Path, time::Duration};

use anyhow::Context;
use countersign_policy::{Email, channel::MailTls};
use countersign_runner::{quote::reveal, vault::Secret};
use lettre::{
    Address,
    transport::smtp::{
        Error,
        authentication::{Credentials, Mechanism},
        client::{AsyncSmtpConnection, Certificate, CertificateStore, TlsParameters},
        commands::{Data, Mail, Rcpt},
        extension::ClientId,
    },
};
use tokio::{
    net::{TcpStream, lookup_host},
    time::timeout,
};

use super::bounded::Bounded;
use crate::outbound::{self, FreshSecret};

/// How long reaching the server may take, at each of its addresses.
const CONNECT: Duration = Duration::from_secs(10);
/// How long everything may take until the server wants the mail itself.
const OPENING: Duration = Duration::from_secs(60);
/// How long the server may take to take it.
const TAKING: Duration = Duration::from_secs(120);
/// How long to wait for a server's goodbye.
const LEAVING: Duration = Duration::from_secs(2);
/// The most characters of what a server says.
const SAID: usize = 300;

/// Why a mail was not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum SmtpError {
    /// The server can't be used now, for any mail. Nothing was taken.
    #[error("no mail can be sent: {0}")]
    Server(String),
    /// The server does not take this one now.
    #[error("the server does not take it now: {0}")]
    Later(String),
    /// The server will never take this one.
    #[error("the server refuses it for good: {0}")]
    Refused(String),
    /// The server may have taken it.
    #[error("it is not known whether the server took a mail: {0}")]
    Unknown(String),
}

/// A server that takes mails.
pub(super) struct Smtp {
    host: String,
    port: u16,
    tls: Tls,
    login: Option<(String, FreshSecret)>,
    hello: ClientId,
    from: Address,
}

enum Tls {
    Implicit(TlsParameters),
    Start(TlsParameters),
    /// To this machine only.
    None,
}

impl Smtp {
    /// The server as the bundle has it; relative paths start at `config`. `hello` is this gateway's name.
    ///
    /// # Errors
    /// Authorities or TLS can't be used.
    pub(super) fn new(email: &Email, hello: &str, config: &Path) -> anyhow::Result<Self> {
        let parameters = || parameters(email, config).context("TLS can't be set up");
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
        let hello = match hello.parse() {
            Ok(address) => match address {
                std::net::IpAddr::V4(address) => ClientId::Ipv4(address),
                std::net::IpAddr::V6(address) => ClientId::Ipv6(address),
            },
            Err(_) if hello.chars().all(plain) => ClientId::Domain(hello.to_owned()),
            Err(_) => ClientId::default(),
        };
        Ok(Self {
            host: email.host.clone(),
            port: email.port,
            tls: match email.tls {
                MailTls::Implicit => Tls::Implicit(parameters()?),
                MailTls::StartTls => Tls::Start(parameters()?),
                MailTls::None => Tls::None,
            },
            login: email
                .login
                .as_ref()
                .map(|(user, secret)| (user.clone(), FreshSecret::of(secret, config))),
            hello,
            from: email.from.parse()?,
        })
    }

    /// Hands a mail to the server.
    ///
    /// # Errors
    /// [`SmtpError`].
    pub(super) async fn send(&self, to: &str, mail: &[u8]) -> Result<(), SmtpError> {
        let to: Address = to
            .parse()
            .map_err(|_| SmtpError::Refused("it is no address".into()))?;
        let opened = timeout(OPENING, self.open(&to)).await;
        let late = |_| SmtpError::Server("the server takes too long to answer".into());
        let mut connection = opened.map_err(late)??;
        let taken = timeout(TAKING, connection.message(mail)).await;
        let taken = taken.map_err(|_| SmtpError::Unknown("the server does not answer".into()))?;
        taken.map_err(|error| match &error {
            error if error.is_permanent() => SmtpError::Refused(said(error)),
            error if error.is_transient() => SmtpError::Later(said(error)),
            error => SmtpError::Unknown(said(error)),
        })?;
        // It is taken, whatever comes of the goodbye.
        let _taken = timeout(LEAVING, connection.quit()).await;
        Ok(())
    }

    /// A connection whose server waits for the mail itself.
    async fn open(&self, to: &Address) -> Result<AsyncSmtpConnection, SmtpError> {
        let mut connection = self.greet().await?;
        if let Some((user, secret)) = &self.login {
            let password = secret.get(Secret::check_header).await;
            let password = password.and_then(|secret| secret.password());
            let password = password.map_err(|error| {
                SmtpError::Server(format!("the password can't be had: {error}"))
            })?;
            let credentials = Credentials::new(user.clone(), password.as_str().to_owned());
            let ways = [Mechanism::Plain, Mechanism::Login];
            let known = connection.auth(&ways, &credentials).await;
            known.map_err(|error| {
                SmtpError::Server(format!("it does not know the gateway: {}", said(&error)))
            })?;
        }
        let from = Mail::new(Some(self.from.clone()), Vec::new());
        let from = connection.command(from).await;
        from.map_err(|error| of_server(&error))?;
        let taken = connection.command(Rcpt::new(to.clone(), Vec::new())).await;
        taken.map_err(|error| of_mail(&error))?;
        let wanted = connection.command(Data).await;
        wanted.map_err(|error| of_mail(&error))?;
        Ok(connection)
    }

    async fn greet(&self) -> Result<AsyncSmtpConnection, SmtpError> {
        let bounded = Bounded::new(Box::new(self.connect().await?));
        let greeted = async {
            let hello = &self.hello;
            match &self.tls {
                Tls::Implicit(parameters) => {
                    let encrypted = bounded.encrypted(parameters.clone()).await?;
                    AsyncSmtpConnection::connect_with_transport(encrypted, hello).await
                }
                Tls::Start(parameters) => {
                    let plain = Box::new(bounded);
                    let connected = AsyncSmtpConnection::connect_with_transport(plain, hello);
                    let mut connection = connected.await?;
                    connection.starttls(parameters.clone(), hello).await?;
                    Ok(connection)
                }
                Tls::None => {
                    AsyncSmtpConnection::connect_with_transport(Box::new(bounded), hello).await
                }
            }
        };
        greeted.await.map_err(|error: Error| of_server(&error))
    }

    /// A connection to the first of the server's addresses that takes one.
    async fn connect(&self) -> Result<TcpStream, SmtpError> {
        let failed = |error: &std::io::Error| SmtpError::Server(reveal(&error.to_string()));
        let found = lookup_host((self.host.as_str(), self.port)).await;
        let mut last = SmtpError::Server("the server's name has no address".into());
        for address in found.map_err(|error| failed(&error))? {
            last = match timeout(CONNECT, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => failed(&error),
                Err(_) => SmtpError::Server("the server can't be reached".into()),
            };
        }
        Err(last)
    }
}

/// What TLS with the server stands on. Of `ca`, a file, are the only authorities.
fn parameters(email: &Email, config: &Path) -> anyhow::Result<TlsParameters> {
    let mut tls = TlsParameters::builder(email.host.clone());
    if let Some(ca) = &email.ca {
        let pem = outbound::authorities_file(&config.join(ca))?;
        tls = tls.certificate_store(CertificateStore::None);
        tls = tls.add_root_certificate(Certificate::from_pem(&pem)?);
    }
    Ok(tls.build()?)
}

/// What keeps every mail from being sent.
fn of_server(error: &Error) -> SmtpError {
    SmtpError::Server(said(error))
}

/// What keeps one mail from being sent, where the server says so.
fn of_mail(error: &Error) -> SmtpError {
    match error {
        error if error.is_permanent() => SmtpError::Refused(said(error)),
        error if error.is_transient() => SmtpError::Later(said(error)),
        error => of_server(error),
    }
}

/// What went wrong, in words, with what the server says, which it may say in any way it likes.
fn said(error: &Error) -> String {
    let said: String = error.to_string().chars().take(SAID).collect();
    reveal(&said)
}

#[cfg(test)]
mod tests {
    //! Servers that never end.
    //!
    //! In scope: how much is read of them.
    //! Out of scope: good servers; `integration/email` has those.
    //! Invariant: what is read is bounded, whoever says it.

    use tokio::{io::AsyncWriteExt, net::TcpListener};

    use super::*;

    /// Sends a mail to a server that greets and then repeats itself for ever.
    async fn sent_to(greeting: &'static [u8], repeats: &str) -> (String, usize) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let piece = repeats.repeat(100_000 / repeats.len());
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(greeting).await.unwrap();
            let mut written = 0;
            while stream.write_all(piece.as_bytes()).await.is_ok() && written < 200 << 20 {
                written += piece.len();
            }
            written
        });
        let smtp = Smtp {
            host: "127.0.0.1".into(),
            port,
            tls: Tls::None,
            login: None,
            hello: ClientId::Domain("localhost".into()),
            from: "gateway@example.com".parse().unwrap(),
        };
        let sent = smtp.send("dana@example.com", b"Subject: x\r\n\r\nx").await;
        (sent.unwrap_err().to_string(), server.await.unwrap())
    }

    #[tokio::test]
    async fn no_server_is_read_for_ever() {
        let line = format!("250-{}\r\n", "a".repeat(900));
        for (greeting, repeats) in [
            (&b"220-"[..], "a"),
            (b"220 hi\r\n250-", "a"),
            (b"220 hi\r\n", &line),
        ] {
            let (said, written) = sent_to(greeting, repeats).await;
            assert!(said.contains("says too much"), "{said}");
            // What fits into the buffers of two sockets is written and not read.
            assert!(written < 32 << 20, "{written}");
        }
    }
}
