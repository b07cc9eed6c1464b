//! Who is told over TLS: whoever can prove to be the receiver, and nobody else.

use std::sync::{Arc, Mutex};

use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

use super::{place, stands};
use crate::{
    support::{Lab, provider, until},
    tls::Authority,
};

/// A receiver with a certificate; gives its port and what was sent to it in the clear of TLS.
async fn receiver(authority: &Authority, name: &str) -> (u16, Arc<Mutex<Vec<u8>>>) {
    provider();
    let (cert, key) = authority.issue(&[name], 2099);
    let cert = CertificateDer::from_pem_slice(cert.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![cert], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sent = seen.clone();
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let (acceptor, sent) = (acceptor.clone(), sent.clone());
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(socket).await else {
                    return;
                };
                let mut buffer = vec![0; 64 << 10];
                while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                    sent.lock().unwrap().extend_from_slice(&buffer[..read]);
                    // Events of these tests come whole, or in two pieces.
                    if buffer[..read].ends_with(b"}") {
                        let answer = b"HTTP/1.1 204 No Content\r\n\r\n";
                        stream.write_all(answer).await.unwrap();
                    }
                }
            });
        }
    });
    (port, seen)
}

fn table(port: u16, host: &str, more: &str) -> String {
    format!(
        "\n[stream.hook]\nkind = \"webhook\"\nstart = \"beginning\"\n\
         url = \"https://{host}:{port}/in\"\nsecret = {{ file = \"hook.key\" }}\n{more}\n"
    )
}

#[tokio::test]
async fn only_whoever_proves_to_be_the_receiver_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (own, foreign) = (
        Authority::new(dir.path(), "own"),
        Authority::new(dir.path(), "foreign"),
    );
    let (port, seen) = receiver(&own, "localhost").await;
    let ca = |authority: &Authority| format!("ca = {:?}", authority.file.to_str().unwrap());
    for (table, expected) in [
        // Nobody the system knows, somebody else's authority, another name, no file.
        (table(port, "localhost", ""), "does not take events"),
        (
            table(port, "localhost", &ca(&foreign)),
            "does not take events",
        ),
        (table(port, "127.0.0.1", &ca(&own)), "does not take events"),
        (
            table(port, "localhost", "ca = \"missing.pem\""),
            "can't be used",
        ),
    ] {
        let lab = Lab::at(place(&table)).await;
        lab.bot().await.run("./tally free word", 10_000).await;
        stands(&lab, "hook", expected, |one| {
            let fault = one["fault"].as_str().unwrap_or_default();
            fault.contains(expected)
        })
        .await;
        assert!(seen.lock().unwrap().is_empty(), "{table}");
    }
    let lab = Lab::at(place(&table(port, "localhost", &ca(&own)))).await;
    lab.bot().await.run("./tally free word", 10_000).await;
    until("events", async || {
        let seen = seen.lock().unwrap();
        String::from_utf8_lossy(&seen).contains("countersign.action.outcome")
    })
    .await;
}
