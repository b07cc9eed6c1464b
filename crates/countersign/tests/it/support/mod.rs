//! A laboratory: one gateway, its people, its agents and a target that counts.

pub(crate) mod caller;
pub(crate) mod files;
pub(crate) mod journal;
pub(crate) mod process;

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Once,
    time::Duration,
};

use countersign::{
    gateway::{Gateway, Options},
    identity::Issue,
    server,
};
use countersign_core::{
    id::{CredentialId, PersonId},
    request::Case,
    subject::SubjectId,
    time::Span,
};
use countersign_store::CredentialKind;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};

pub(crate) use caller::{Answer, Caller, event, events};

/// How long anything here may take before the test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Whether the long versions are wanted.
pub(crate) fn full() -> bool {
    std::env::var("COUNTERSIGN_FULL").is_ok_and(|value| value == "1")
}

/// Installs what the HTTP client needs, once a process.
pub(crate) fn provider() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let _already = rustls::crypto::aws_lc_rs::default_provider().install_default();
    });
}

/// Directories of one installation.
pub(crate) struct Place {
    pub(crate) dir: TempDir,
}

impl Drop for Place {
    /// A gateway that is ending may still write; the directory goes once it has ended.
    fn drop(&mut self) {
        for _ in 0..50 {
            if fs::remove_dir_all(self.dir.path()).is_ok() || !self.dir.path().exists() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Place {
    /// Writes the standard files, which `change` may alter, and the target's directory.
    pub(crate) fn new(change: impl FnOnce(&mut BTreeMap<String, String>)) -> Self {
        provider();
        let dir = tempfile::Builder::new()
            .prefix("countersign-it-")
            .tempdir()
            .unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o711)).unwrap();
        let place = Self { dir };
        fs::create_dir_all(place.work()).unwrap();
        files::script(&place.work().join("tally"), files::TALLY);
        let mut all = files::standard(&place.work());
        change(&mut all);
        place.write(&all);
        place
    }

    /// Writes configuration files.
    pub(crate) fn write(&self, all: &BTreeMap<String, String>) {
        for (name, text) in all {
            let path = self.config().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.dir.path().join("config")
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Removes the database of a gateway that does not run.
    pub(crate) fn lose_the_database(&self) {
        for ending in ["", "-wal", "-shm"] {
            let _not_there = fs::remove_file(self.data().join(format!("countersign.db{ending}")));
        }
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.data().join("log")
    }

    /// The directory that commands of the target run in.
    pub(crate) fn work(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    /// The words with which the target's program ran, in order.
    pub(crate) fn ran(&self) -> Vec<String> {
        let text = fs::read_to_string(self.work().join("ran")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// How often the program ran with this word.
    pub(crate) fn ran_with(&self, word: &str) -> usize {
        self.ran()
            .iter()
            .filter(|line| line.as_str() == word)
            .count()
    }

    pub(crate) async fn open(&self, address: SocketAddr) -> anyhow::Result<Gateway> {
        Gateway::open(Options {
            config: self.config(),
            data: Some(self.data()),
            url: Some(format!("http://{address}")),
            listen: None,
            recovering: false,
        })
        .await
    }
}

/// Completes when the gateway is told to stop.
pub(crate) type Stopped = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

/// A gateway that serves, with everything around it.
pub(crate) struct Lab {
    pub(crate) place: Place,
    pub(crate) gateway: Gateway,
    pub(crate) url: String,
    /// Sessions made in advance.
    pub(crate) kept: tokio::sync::Mutex<BTreeMap<String, Caller>>,
    http: reqwest::Client,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<anyhow::Result<()>>,
}

impl Lab {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// With changed files.
    pub(crate) async fn with(change: impl FnOnce(&mut BTreeMap<String, String>)) -> Self {
        let lab = Self::at(Place::new(change)).await;
        // Nobody is disabled in files; this is how people become it.
        let ada = lab.session("ada").await;
        let disabled = ada
            .propose("person-disable", json!({ "person": "dan" }))
            .await;
        assert_eq!(disabled.text("state"), "succeeded", "{disabled:?}");
        lab
    }

    /// On files and data that are there already.
    pub(crate) async fn at(place: Place) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let gateway = place.open(address).await.unwrap();
        Self::serving(place, gateway, address, |gateway, stopped| {
            tokio::spawn(server::serve(gateway, listener, None, stopped))
        })
    }

    /// With whatever is to listen at `address`.
    pub(crate) fn serving(
        place: Place,
        gateway: Gateway,
        address: SocketAddr,
        serve: impl FnOnce(Gateway, Stopped) -> JoinHandle<anyhow::Result<()>>,
    ) -> Self {
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = serve(
            gateway.clone(),
            Box::pin(async move {
                let _gone = stopped.await;
            }),
        );
        let url = format!("http://{address}");
        Self {
            place,
            gateway,
            url,
            kept: Default::default(),
            http: client(),
            stop,
            serving,
        }
    }

    /// Stops serving and lets go of the data.
    pub(crate) async fn stop(self) -> Place {
        let Self {
            place,
            gateway,
            stop,
            serving,
            ..
        } = self;
        let _gone = stop.send(());
        serving.await.unwrap().unwrap();
        drop(gateway);
        place
    }

    /// Stops and starts again on the same data.
    pub(crate) async fn restart(self) -> Self {
        Self::at(self.stop().await).await
    }

    pub(crate) async fn issue(
        &self,
        kind: CredentialKind,
        holder: &str,
        issued_by: Option<&str>,
    ) -> (String, CredentialId) {
        issue(&self.gateway, kind, holder, issued_by).await
    }

    fn caller(&self, secret: &str, id: CredentialId, kind: CredentialKind) -> Caller {
        let csrf = self.gateway.identity.acts().csrf(&id);
        let session = (kind == CredentialKind::Session).then_some(csrf);
        Caller {
            http: self.http.clone(),
            url: self.url.clone(),
            secret: secret.into(),
            csrf: session,
            id,
        }
    }

    /// A person's session that nobody else issued.
    pub(crate) async fn session(&self, person: &str) -> Caller {
        self.session_from(person, None).await
    }

    /// Makes a session for later.
    pub(crate) async fn keep(&self, person: &str) {
        let session = self.session(person).await;
        self.kept.lock().await.insert(person.to_owned(), session);
    }

    /// A person's session from a link that `issuer` asked for.
    pub(crate) async fn session_from(&self, person: &str, issuer: Option<&str>) -> Caller {
        let holder = format!("person:{person}");
        let (link, _) = self.issue(CredentialKind::Link, &holder, issuer).await;
        self.use_link(&link).await
    }

    /// The session that a sign-in link gives.
    pub(crate) async fn use_link(&self, secret: &str) -> Caller {
        let identity = &self.gateway.identity;
        let valid_for = Span::minutes(60);
        let (secret, caller) = identity
            .use_link(secret, CredentialKind::Session, valid_for)
            .await
            .unwrap();
        self.caller(secret.text(), caller.credential.id, CredentialKind::Session)
    }

    /// A token of `agent:NAME` or `person:NAME`.
    pub(crate) async fn token(&self, holder: &str) -> Caller {
        self.token_from(holder, None).await
    }

    pub(crate) async fn token_from(&self, holder: &str, issuer: Option<&str>) -> Caller {
        let (secret, id) = self.issue(CredentialKind::Token, holder, issuer).await;
        self.caller(&secret, id, CredentialKind::Token)
    }

    /// The agent that most tests use.
    pub(crate) async fn bot(&self) -> Caller {
        self.token("agent:bot").await
    }

    /// Changes the active bundle the way it is changed: ada proposes, abe countersigns, ada claims.
    pub(crate) async fn apply(&self, change: impl FnOnce(&mut BTreeMap<String, String>)) {
        self.apply_by("ada", change).await;
    }

    pub(crate) async fn apply_by(
        &self,
        proposer: &str,
        change: impl FnOnce(&mut BTreeMap<String, String>),
    ) {
        let mut all = self.gateway.active().bundle.files().clone();
        change(&mut all);
        self.change_by(proposer, "bundle-apply", json!({ "files": all }))
            .await;
    }

    /// Has a change of Countersign itself countersigned by abe and applied.
    pub(crate) async fn change_by(
        &self,
        proposer: &str,
        operation: &str,
        arguments: Value,
    ) -> Value {
        let (ada, abe) = (self.session(proposer).await, self.session("abe").await);
        let proposed = ada.propose(operation, arguments).await;
        assert_eq!(proposed.text("state"), "held", "{proposed:?}");
        let id = proposed.text("request");
        abe.vote(&id, "approve").await.expect(200);
        let applied = ada
            .post(&format!("/v1/requests/{id}/claim"), &json!({}))
            .await;
        assert_eq!(applied.text("state"), "succeeded", "{applied:?}");
        applied.body
    }

    /// A request as the store has it.
    pub(crate) async fn stored(&self, id: &str) -> Case {
        let stored = self.gateway.store.case(&id.parse().unwrap()).await;
        stored.unwrap().unwrap().case
    }

    /// The state of a request, from the store.
    pub(crate) async fn state(&self, id: &str) -> String {
        self.stored(id).await.phase.name().to_owned()
    }

    /// Asserts that nothing ran at the target and that the log verifies.
    pub(crate) async fn nothing_ran(&self) {
        assert_eq!(self.place.ran(), Vec::<String>::new());
        self.verify().await;
    }

    /// Verifies the whole log offline.
    pub(crate) async fn verify(&self) {
        self.gateway.log.checkpoint().await;
        journal::verify(&self.place.log());
    }

    /// Everything recorded so far.
    pub(crate) fn records(&self) -> Vec<journal::Entry> {
        journal::read(&self.place.log())
    }
}

pub(crate) fn client() -> reqwest::Client {
    reqwest::Client::builder()
        .timeout(PATIENCE)
        .build()
        .unwrap()
}

pub(crate) async fn issue(
    gateway: &Gateway,
    kind: CredentialKind,
    holder: &str,
    issued_by: Option<&str>,
) -> (String, CredentialId) {
    let holder: SubjectId = countersign::identity::parse_subject(holder).unwrap();
    let issued_by: Option<PersonId> = issued_by.map(|name| name.parse().unwrap());
    let valid_for = Span::minutes(60);
    let issue = Issue {
        lineage: Default::default(),
        kind,
        holder,
        issued_by,
        parent: None,
        account: None,
        valid_for,
    };
    let (secret, credential) = gateway.identity.issue(&issue).await.unwrap();
    (secret.text().to_owned(), credential.id)
}

/// Waits until something holds.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, holds: impl FnMut() -> F) {
    until_within(PATIENCE, what, holds).await;
}

/// The same with more patience.
pub(crate) async fn until_within<F: Future<Output = bool>>(
    patience: Duration,
    what: &str,
    mut holds: impl FnMut() -> F,
) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let done = tokio::time::timeout(patience, waiting).await;
    assert!(done.is_ok(), "never came: {what}");
}

/// The words of a command line.
pub(crate) fn argv(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

/// Whether commands of the test can have the rights of another user, and disks be mounted.
pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// A directory's path as text.
pub(crate) fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}
