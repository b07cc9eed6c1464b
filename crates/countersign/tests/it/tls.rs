//! TLS in the gateway, with an authority made for the test and the real command line.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::support::{
    PATIENCE, Place,
    process::{countersign, errors, finish, free_port},
    provider, until,
};

/// An authority and where its certificate is.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    pub(crate) file: PathBuf,
}

impl Authority {
    pub(crate) fn new(dir: &Path, name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let file = dir.join(format!("{name}.pem"));
        fs::write(&file, issuer.pem()).unwrap();
        Self { issuer, file }
    }

    /// A certificate for names, valid to the beginning of a year, and its key.
    pub(crate) fn issue(&self, names: &[&str], until: i32) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        (cert.pem(), key.serialize_pem())
    }
}

/// A gateway that ends TLS itself, as a process.
struct Site {
    place: Place,
    port: u16,
    process: Child,
    /// What it said at its start.
    said: Vec<String>,
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ended_already = self.process.kill();
        let _reaped_already = self.process.wait();
    }
}

fn put(place: &Place, (cert, key): &(String, String)) {
    let path = |name| place.config().join(name);
    fs::write(path("cert.pem"), cert).unwrap();
    fs::write(path("new.pem"), key).unwrap();
    fs::set_permissions(path("new.pem"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(path("new.pem"), path("key.pem")).unwrap();
}

fn up(place: &Place) -> Command {
    let temporary = place.dir.path().join("tmp");
    fs::create_dir_all(&temporary).unwrap();
    let mut command = countersign();
    command.env("TMPDIR", temporary).arg("up");
    command.arg("--config").arg(place.config());
    command.arg("--data").arg(place.data());
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

fn place(port: u16) -> Place {
    Place::new(|files| {
        let config = files.get_mut("countersign.toml").unwrap();
        *config = config.replace(
            "listen = \"127.0.0.1:0\"",
            &format!(
                "listen = \"127.0.0.1:{port}\"\ntls = {{ cert = \"cert.pem\", key = \"key.pem\" }}"
            ),
        );
    })
}

impl Site {
    async fn start(pair: &(String, String)) -> Self {
        let port = free_port();
        let place = place(port);
        put(&place, pair);
        let mut process = up(&place).spawn().unwrap();
        let said = BufReader::new(process.stderr.take().unwrap()).lines();
        let mut site = Self {
            place,
            port,
            process,
            said: Vec::new(),
        };
        // Nobody reads what it says later; that must not matter to it.
        for line in said.map_while(Result::ok) {
            let last = line.contains("to nobody else");
            site.said.push(line);
            if last {
                break;
            }
        }
        until("it listens", || async { site.connect().await.is_ok() }).await;
        site
    }

    fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    async fn connect(&self) -> std::io::Result<TcpStream> {
        TcpStream::connect(("127.0.0.1", self.port)).await
    }

    fn link(&self, person: &str) -> &str {
        let start = format!("sign-in link for {person}, once, within 24 hours: ");
        let found = self.said.iter().find_map(|line| line.strip_prefix(&start));
        found.unwrap_or_else(|| panic!("no link for {person}: {:?}", self.said))
    }

    /// A command whose settings are in the directory of the site.
    fn command(&self, words: &[&str]) -> Command {
        let mut command = countersign();
        command
            .args(words)
            .env("XDG_CONFIG_HOME", self.place.dir.path().join("home"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// What `doctor` says of the gateway when this file vouches for it.
    async fn doctor(&self, url: &str, ca: Option<&Path>) -> String {
        let mut command = self.command(&["doctor"]);
        command.env("COUNTERSIGN_URL", url);
        command.env("COUNTERSIGN_TOKEN", "cst_none");
        if let Some(ca) = ca {
            command.env("COUNTERSIGN_CA", ca);
        }
        let output = finish(command).await;
        assert_eq!(output.status.code(), Some(1), "the token is none");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Whether a client that believes this authority reaches the gateway.
    async fn believed(&self, ca: &Authority) -> bool {
        let client = http(ca).build().unwrap();
        let url = format!("{}/v1/health", self.url());
        client.get(url).send().await.is_ok()
    }
}

fn http(ca: &Authority) -> reqwest::ClientBuilder {
    provider();
    let pem = fs::read(&ca.file).unwrap();
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .tls_certs_only(reqwest::Certificate::from_pem_bundle(&pem).unwrap())
        .timeout(Duration::from_secs(30))
}

const SELF: &[&str] = &["127.0.0.1"];

#[tokio::test]
async fn people_and_commands_use_the_gateway_over_tls() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Authority::new(dir.path(), "ca");
    let site = Site::start(&ca.issue(SELF, 2200)).await;
    assert!(
        site.said
            .iter()
            .any(|line| line.ends_with(&format!(" at {}", site.url()))),
        "{:?}",
        site.said
    );

    // The authority is named once and kept with the token.
    let mut login = site.command(&["login", site.link("ann")]);
    login.env("COUNTERSIGN_CA", &ca.file);
    let login = finish(login).await;
    assert!(login.status.success(), "{}", errors(&login));
    let whoami = finish(site.command(&["whoami"])).await;
    assert!(whoami.status.success(), "{}", errors(&whoami));
    assert!(String::from_utf8_lossy(&whoami.stdout).contains("person:ann"));
    fs::remove_file(&ca.file).unwrap();
    let without = finish(site.command(&["whoami"])).await;
    assert_eq!(without.status.code(), Some(69), "{}", errors(&without));
    assert!(
        errors(&without).contains("can't be used"),
        "{}",
        errors(&without)
    );
    fs::write(&ca.file, ca.issuer.pem()).unwrap();

    // A browser gets a cookie that no other page and no plain connection can set or see.
    let browser = http(&ca).build().unwrap();
    let signed_in = browser.post(site.link("bob")).send().await.unwrap();
    let cookie = signed_in.headers()["set-cookie"]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(
        cookie.starts_with("__Host-countersign_session=css_"),
        "{cookie}"
    );
    for part in ["; Path=/;", "; HttpOnly", "; SameSite=Strict", "; Secure"] {
        assert!(cookie.contains(part), "{part}: {cookie}");
    }
    assert!(!cookie.contains("Domain"), "{cookie}");
    let pair = cookie.split(';').next().unwrap();
    let plain_name = pair.strip_prefix("__Host-").unwrap();
    for (cookie, status) in [(pair, 200), (plain_name, 401)] {
        let whoami = browser.get(format!("{}/v1/whoami", site.url()));
        let answer = whoami.header("cookie", cookie).send().await.unwrap();
        assert_eq!(answer.status(), status, "{cookie:.30}");
    }
    for version in [
        reqwest::tls::Version::TLS_1_2,
        reqwest::tls::Version::TLS_1_3,
    ] {
        let client = http(&ca).tls_version_min(version).tls_version_max(version);
        let health = client
            .build()
            .unwrap()
            .get(format!("{}/v1/health", site.url()));
        assert_eq!(health.send().await.unwrap().status(), 200, "{version:?}");
    }
}

#[tokio::test]
async fn a_gateway_that_cannot_prove_itself_gets_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (ca, other) = (
        Authority::new(dir.path(), "ca"),
        Authority::new(dir.path(), "other"),
    );
    let site = Site::start(&ca.issue(SELF, 2200)).await;
    let url = site.url();
    let good = site.doctor(&url, Some(&ca.file)).await;
    assert!(good.contains("ok    gateway"), "{good}");
    assert!(good.contains("ca.pem alone"), "{good}");
    let named = format!("https://localhost:{}", site.port);
    for (url, ca, why, next) in [
        (&url, None, "nobody that is trusted here", "COUNTERSIGN_CA"),
        (
            &url,
            Some(&other.file),
            "nobody that is trusted here",
            "COUNTERSIGN_CA",
        ),
        (&named, Some(&ca.file), "for another name", "use the name"),
    ] {
        let said = site.doctor(url, ca.map(PathBuf::as_path)).await;
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(said.contains("fail gateway"), "{said}");
        assert!(said.contains(why) && said.contains(next), "{why}: {said}");
    }

    // A gateway never serves an expired certificate, so something else does.
    let (url, heard) = serve_anyway(&ca.issue(SELF, 2002)).await;
    let said = site.doctor(&url, Some(&ca.file)).await;
    assert!(
        said.contains("expired") && said.contains("renew it"),
        "{said}"
    );
    assert_eq!(*heard.lock().unwrap(), b"", "something was sent");

    // And a gateway without TLS is none that https finds.
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let _gone = socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let said = site
        .doctor(&format!("https://{address}"), Some(&ca.file))
        .await;
    assert!(said.contains("does not speak TLS"), "{said}");
}

/// A server for any certificate, and what its clients said after the handshake.
async fn serve_anyway((cert, key): &(String, String)) -> (String, Arc<std::sync::Mutex<Vec<u8>>>) {
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
    provider();
    let chain = vec![CertificateDer::from_pem_slice(cert.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let heard = Arc::new(std::sync::Mutex::new(Vec::new()));
    let all = heard.clone();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            if let Ok(mut stream) = acceptor.accept(socket).await {
                let mut bytes = Vec::new();
                let _alert = stream.read_to_end(&mut bytes).await;
                all.lock().unwrap().extend(bytes);
            }
        }
    });
    (url, heard)
}

/// What is not TLS gets no word of HTTP, and what says nothing is not waited for.
#[tokio::test]
async fn plain_http_is_closed_on() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Authority::new(dir.path(), "ca");
    let site = Site::start(&ca.issue(SELF, 2200)).await;
    for text in ["GET / HTTP/1.1\r\nhost: x\r\n\r\n", "\u{0}", "x", ""] {
        let mut socket = site.connect().await.unwrap();
        socket.write_all(text.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let read = socket.read_to_end(&mut answer);
        let read = tokio::time::timeout(Duration::from_secs(20), read).await;
        let _reset_is_closed_too = read.expect("the connection stays open");
        // At most an alert of TLS itself: 21, version, length, two bytes.
        assert!(
            answer.len() <= 7 && !answer.starts_with(b"HTTP"),
            "{answer:?}"
        );
    }
    assert!(site.believed(&ca).await);
}

/// The pair is exchanged without a restart, by a signal or by itself; a bad one changes nothing.
#[tokio::test]
async fn certificates_are_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (
        Authority::new(dir.path(), "old"),
        Authority::new(dir.path(), "new"),
    );
    let (first, second) = (old.issue(SELF, 2200), new.issue(SELF, 2200));
    let site = Site::start(&first).await;
    let hang_up = || {
        let pid = Pid::from_raw(site.process.id().try_into().unwrap());
        kill(pid, Signal::SIGHUP).unwrap();
    };
    assert!(site.believed(&old).await && !site.believed(&new).await);
    for bad in [
        (second.0.clone(), first.1.clone()),
        new.issue(SELF, 2002),
        (String::new(), String::new()),
    ] {
        put(&site.place, &bad);
        hang_up();
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(site.believed(&old).await, "the old pair is gone");
    }
    put(&site.place, &second);
    hang_up();
    until("the new pair is served", || site.believed(&new)).await;
    assert!(!site.believed(&old).await);
    // And back again without a signal.
    put(&site.place, &first);
    until("the first pair is served again", || site.believed(&old)).await;
}

/// What a gateway says that does not start.
async fn refused_start(place: &Place) -> String {
    let mut process = up(place).spawn().unwrap();
    let started = Instant::now();
    while process.try_wait().unwrap().is_none() && started.elapsed() < PATIENCE / 3 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let _ended_already = process.kill();
    let output = process.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", errors(&output));
    errors(&output)
}

/// A start that fails for its certificate says why, and the next one still is the first.
#[tokio::test]
async fn a_bad_certificate_keeps_the_gateway_from_starting() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Authority::new(dir.path(), "ca");
    let place = place(free_port());
    let good = ca.issue(SELF, 2200);
    put(&place, &ca.issue(SELF, 2002));
    let said = refused_start(&place).await;
    assert!(
        said.contains("cert.pem") && said.contains("is valid until"),
        "{said}"
    );
    put(&place, &good);
    fs::set_permissions(
        place.config().join("key.pem"),
        fs::Permissions::from_mode(0o644),
    )
    .unwrap();
    let said = refused_start(&place).await;
    assert!(said.contains("chmod 600"), "{said}");
    put(&place, &good);
    let gateway = place.open(([127, 0, 0, 1], 1).into()).await.unwrap();
    assert!(gateway.is_first_start(), "no links would be shown");
}
