//! Files that are no certificate and key, and pairs that change.

use std::fs;

use rcgen::{CertificateParams, KeyPair, date_time_ymd};

use super::*;

struct Files {
    dir: tempfile::TempDir,
    names: TlsFiles,
}

/// A certificate that signs itself, and its key.
fn made(name: &str, years: (i32, i32)) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.not_before = date_time_ymd(years.0, 1, 1);
    params.not_after = date_time_ymd(years.1, 1, 1);
    let cert = params.self_signed(&key).unwrap();
    (cert.pem(), key.serialize_pem())
}

const GOOD: (i32, i32) = (2020, 2200);

/// A good pair, written to `dir`.
pub(crate) fn served(dir: &Path) -> Served {
    let files = Files::new(&made("gate.example.com", GOOD));
    for name in ["cert.pem", "key.pem"] {
        fs::rename(files.path(name), dir.join(name)).unwrap();
    }
    Served::open(&files.names, dir).unwrap()
}

impl Files {
    fn new(pair: &(String, String)) -> Self {
        let names = TlsFiles {
            cert: "cert.pem".into(),
            key: "key.pem".into(),
        };
        let dir = tempfile::tempdir().unwrap();
        let files = Self { dir, names };
        files.put(&pair.0, &pair.1);
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn put(&self, cert: &str, key: &str) {
        fs::write(self.path("cert.pem"), cert).unwrap();
        fs::write(self.path("key.pem"), key).unwrap();
        self.allow(0o600);
    }

    fn allow(&self, mode: u32) {
        fs::set_permissions(self.path("key.pem"), fs::Permissions::from_mode(mode)).unwrap();
    }

    fn open(&self) -> Result<Served, String> {
        Served::open(&self.names, self.dir.path()).map_err(|error| format!("{error:#}"))
    }

    #[track_caller]
    fn refused(&self, file: &str, why: &str) {
        let error = self.open().err().expect(why);
        let path = self.path(file).display().to_string();
        assert!(
            error.contains(why) && error.contains(&path),
            "{why}: {error}"
        );
    }
}

#[test]
fn what_is_wrong_with_a_file_is_said_with_its_path() {
    let good = made("gate.example.com", GOOD);
    let files = Files::new(&good);
    assert!(files.open().is_ok());

    files.put(&good.0, &made("gate.example.com", GOOD).1);
    files.refused("key.pem", "is not the one of the first certificate");
    files.put("hello", &good.1);
    files.refused("cert.pem", "holds no certificate");
    files.put(&good.1, &good.1);
    files.refused("cert.pem", "holds no certificate");
    files.put(&good.0, "hello");
    files.refused("key.pem", "holds no private key");
    let encrypted = good.1.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    files.put(&good.0, &encrypted);
    files.refused("key.pem", "without a password");
    files.put(&"x".repeat(2 << 20), &good.1);
    files.refused("cert.pem", "larger than");
    for mode in [0o640, 0o604, 0o620, 0o660] {
        files.put(&good.0, &good.1);
        files.allow(mode);
        files.refused("key.pem", "chmod 600");
    }
    for file in ["cert.pem", "key.pem"] {
        files.put(&good.0, &good.1);
        fs::remove_file(files.path(file)).unwrap();
        files.refused(file, "can't be read");
        fs::create_dir(files.path(file)).unwrap();
        files.refused(file, "is no file");
        fs::remove_dir(files.path(file)).unwrap();
    }
}

#[test]
fn a_certificate_that_every_client_refuses_is_not_served() {
    let expired = Files::new(&made("gate.example.com", (2001, 2002)));
    expired.refused("cert.pem", "is valid until 2002-01-01T00:00:00.000Z only");
    let early = Files::new(&made("gate.example.com", (2190, 2200)));
    early.refused("cert.pem", "is valid from 2190-01-01T00:00:00.000Z on");

    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["gate.example.com".to_owned()]).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let cert = params.self_signed(&key).unwrap();
    let authority = Files::new(&(cert.pem(), key.serialize_pem()));
    authority.refused("cert.pem", "would be refused by clients");
}

#[test]
fn the_name_of_the_gateway_is_compared() {
    let tls = Files::new(&made("gate.example.com", GOOD)).open().unwrap();
    for (url, fits) in [
        ("https://gate.example.com", true),
        ("https://gate.example.com:8443", true),
        ("https://other.example.com", false),
        ("https://127.0.0.1:7780", false),
        ("https://[::1]:7780", false),
    ] {
        let said = tls.is_not_for(url);
        assert_eq!(said.is_none(), fits, "{url}: {said:?}");
    }
}

#[test]
fn a_new_pair_is_taken_whole_and_a_bad_one_not_at_all() {
    let (first, second) = (made("a", GOOD), made("b", GOOD));
    let files = Files::new(&first);
    let tls = files.open().unwrap();
    let serves = |pair: &(String, String)| {
        let leaf = CertificateDer::from_pem_slice(pair.0.as_bytes()).unwrap();
        tls.current().leaf == leaf
    };
    let mut refused = None;
    tls.look_again(false, &mut refused);
    assert!(serves(&first) && refused.is_none());

    // Certificate and key come one after the other.
    files.put(&second.0, &first.1);
    tls.look_again(false, &mut refused);
    assert!(serves(&first) && refused.is_some());
    files.allow(0o644);
    tls.look_again(true, &mut refused);
    assert!(serves(&first) && matches!(refused, Some(Err(_))));
    files.put(&made("c", (2001, 2002)).0, &second.1);
    tls.look_again(true, &mut refused);
    assert!(serves(&first));
    fs::remove_file(files.path("cert.pem")).unwrap();
    tls.look_again(false, &mut refused);
    assert!(serves(&first));

    files.put(&second.0, &second.1);
    tls.look_again(false, &mut refused);
    assert!(serves(&second) && refused.is_none());
    files.put(&first.0, &first.1);
    tls.look_again(true, &mut refused);
    assert!(serves(&first));
}
