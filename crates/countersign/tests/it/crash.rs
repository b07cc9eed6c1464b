//! The real server, killed in the middle of work again and again (P6, P7).

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use countersign_store::CredentialKind;
use serde_json::{Value, json};

use crate::support::{
    Caller, Lab, Place, client, event,
    files::limit,
    full, issue,
    journal::{self, Entry},
    process::{Server, free_port},
};

/// An installation whose server is a process, with credentials that were issued before.
pub(crate) struct Installation {
    pub(crate) place: Place,
    url: String,
    pub(crate) bot: Caller,
    pub(crate) ann: Caller,
}

impl Installation {
    pub(crate) async fn new() -> Self {
        let port = free_port();
        let place = Place::new(|files| {
            let config = files.get_mut("countersign.toml").unwrap();
            *config = config.replace("127.0.0.1:0", &format!("127.0.0.1:{port}"));
            // What was asked and not approved in time stays, over a thousand cycles.
            limit(files, "max_held_per_subject", 100_000);
            // So does what waits from the first to the last, however long they take.
            let rules = files.get_mut("approvals.toml").unwrap();
            *rules = rules.replace("expires = \"30m\"", "expires = \"12h\"");
        });
        let url = format!("http://127.0.0.1:{port}");
        let gateway = place.open(([127, 0, 0, 1], port).into()).await.unwrap();
        let bot = issue(&gateway, CredentialKind::Token, "agent:bot", None).await;
        let ann = issue(&gateway, CredentialKind::Session, "person:ann", None).await;
        let csrf = gateway.identity.acts().csrf(&ann.1);
        gateway.log.close().await;
        drop(gateway);
        let caller = |(secret, id), csrf| Caller {
            http: client(),
            url: url.clone(),
            secret,
            csrf,
            id,
        };
        Self {
            bot: caller(bot, None),
            ann: caller(ann, Some(csrf)),
            place,
            url,
        }
    }

    pub(crate) async fn start(&self) -> Server {
        Server::start(&self.place.config(), &self.place.data(), &self.url).await
    }
}

/// What clients were told.
#[derive(Default)]
struct Told {
    events: Mutex<Vec<Value>>,
    /// Requests whose approval was answered with success.
    approved: Mutex<Vec<String>>,
}

/// Asks without failing when the server is gone; keeps whatever arrived whole.
async fn ask(bot: &Caller, command: &str, wait_ms: u64, told: &Told) {
    let call =
        json!({ "target": "tools", "argv": crate::support::argv(command), "wait_ms": wait_ms });
    let request = bot.request(reqwest::Method::POST, "/v1/run").json(&call);
    let Ok(mut response) = request.send().await else {
        return;
    };
    let mut text = Vec::new();
    while let Ok(Some(piece)) = response.chunk().await {
        text.extend_from_slice(&piece);
    }
    let whole = text
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |at| at + 1);
    let lines = String::from_utf8_lossy(&text[..whole]).into_owned();
    told.events
        .lock()
        .unwrap()
        .extend(crate::support::events(&lines));
}

async fn try_json(
    caller: &Caller,
    method: reqwest::Method,
    path: &str,
    body: Option<&Value>,
) -> Option<Value> {
    let mut request = caller.request(method, path);
    if let Some(body) = body {
        request = request.json(body);
    }
    let response = request.send().await.ok()?;
    let good = response.status() == 200;
    response.json().await.ok().filter(|_| good)
}

/// Approves whatever waits, until told to stop.
async fn approve_all(ann: Caller, stop: Arc<AtomicBool>, told: Arc<Told>) {
    while !stop.load(Ordering::Relaxed) {
        let page = try_json(
            &ann,
            reqwest::Method::GET,
            "/v1/requests?state=held&limit=20",
            None,
        )
        .await;
        for line in page
            .iter()
            .flat_map(|page| page["items"].as_array().unwrap())
        {
            // These wait for nobody, to be found again after the crash.
            if line["title"]
                .as_str()
                .is_some_and(|title| title.contains("stay"))
            {
                continue;
            }
            let id = line["id"].as_str().unwrap();
            let path = format!("/v1/requests/{id}");
            let Some(seen) = try_json(&ann, reqwest::Method::GET, &path, None).await else {
                continue;
            };
            let Some(act) = seen["act"].as_str() else {
                continue;
            };
            let vote = json!({ "verdict": "approve", "digest": seen["digest"], "act": act });
            let votes = format!("{path}/votes");
            if try_json(&ann, reqwest::Method::POST, &votes, Some(&vote))
                .await
                .is_some()
            {
                told.approved.lock().unwrap().push(id.to_owned());
            }
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Puts the server under load until `stop`.
fn load(
    installation: &Installation,
    numbers: &Arc<AtomicU64>,
    stop: &Arc<AtomicBool>,
    told: &Arc<Told>,
) -> Vec<tokio::task::JoinHandle<()>> {
    let mut tasks = Vec::new();
    for kind in ["free", "free", "slow", "one", "one", "one", "never"] {
        let (bot, numbers) = (installation.bot.clone(), numbers.clone());
        let (stop, told) = (stop.clone(), told.clone());
        tasks.push(tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let n = numbers.fetch_add(1, Ordering::Relaxed);
                ask(&bot, &format!("./tally {kind} w{n}"), 5_000, &told).await;
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }));
    }
    tasks.push(tokio::spawn(approve_all(
        installation.ann.clone(),
        stop.clone(),
        told.clone(),
    )));
    tasks
}

/// The log by request.
struct Book {
    of: BTreeMap<String, Vec<Entry>>,
}

impl Book {
    fn read(place: &Place) -> Self {
        let mut of: BTreeMap<String, Vec<Entry>> = BTreeMap::new();
        for entry in journal::read(&place.log()) {
            if let Some(id) = entry.request().map(str::to_owned) {
                of.entry(id).or_default().push(entry);
            }
        }
        Self { of }
    }

    fn has(&self, id: &str, kind: &str) -> bool {
        self.of
            .get(id)
            .is_some_and(|entries| entries.iter().any(|entry| entry.kind() == kind))
    }

    /// The command of a request of the load.
    fn words(entries: &[Entry]) -> Option<(String, String)> {
        let argv = &entries[0].evidence["action"]["arguments"]["argv"];
        Some((argv[1].as_str()?.to_owned(), argv[2].as_str()?.to_owned()))
    }

    /// The words with which something was permitted to run.
    fn intended(&self) -> BTreeSet<String> {
        let permitted = self
            .of
            .values()
            .filter(|entries| entries.iter().any(|e| e.kind() == "action.permitted"));
        permitted
            .filter_map(|entries| Self::words(entries))
            .map(|(_, word)| word)
            .collect()
    }

    fn invariant_every_answer_is_recorded(&self, told: &Told) {
        for event in told.events.lock().unwrap().iter() {
            let Some(id) = event["request"].as_str() else {
                continue;
            };
            let kind = match event["event"].as_str().unwrap() {
                "started" => "action.permitted",
                _ => "policy.decided",
            };
            assert!(self.has(id, kind), "told but not recorded: {event}");
        }
        // A stream names its request once; its end belongs to it.
        let events = told.events.lock().unwrap();
        let exits = events
            .iter()
            .filter(|event| event["event"] == "exited")
            .count();
        let count = |kind: &str| {
            self.of
                .values()
                .flatten()
                .filter(|entry| entry.kind() == kind)
                .count()
        };
        assert!(
            exits <= count("action.outcome"),
            "more ends told than recorded"
        );
        for id in told.approved.lock().unwrap().iter() {
            assert!(
                self.has(id, "approval.decided"),
                "a vote was taken and not recorded: {id}"
            );
        }
    }

    fn invariant_nothing_ran_without_intent(&self, place: &Place) {
        let intended = self.intended();
        for word in place.ran() {
            assert!(
                intended.contains(&word),
                "`{word}` ran without a durable intent"
            );
        }
    }

    /// The requests whose action was under way when the server was killed: permitted, and unknown
    /// since the last start.
    fn unknown(&self) -> Vec<(String, String)> {
        let ended = |entries: &[Entry]| {
            entries
                .iter()
                .any(|e| e.kind() == "action.outcome" && e.field("status") == "unknown")
        };
        let unknown = self.of.values().filter(|entries| ended(entries));
        unknown.filter_map(|entries| Self::words(entries)).collect()
    }

    fn invariant_every_permit_has_an_outcome(&self) {
        for (id, entries) in &self.of {
            if self.has(id, "action.permitted") {
                assert!(self.has(id, "action.outcome"), "{entries:?}");
            }
        }
    }
}

fn invariant_nothing_ran_twice(place: &Place) {
    let mut ran = place.ran();
    let all = ran.len();
    ran.sort_unstable();
    ran.dedup();
    assert_eq!(ran.len(), all, "something ran twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_under_load_again_and_again() {
    let cycles = if full() { 1_000 } else { 20 };
    let installation = Installation::new().await;
    let (numbers, told) = (Arc::new(AtomicU64::new(0)), Arc::new(Told::default()));
    let mut server = installation.start().await;
    let stay = installation.bot.held("./tally one stay").await;
    let (mut in_the_middle, mut asked_again) = (0, BTreeSet::new());
    for cycle in 0..cycles {
        let stop = Arc::new(AtomicBool::new(false));
        let tasks = load(&installation, &numbers, &stop, &told);
        tokio::time::sleep(Duration::from_millis(120 + (cycle * 37) % 200)).await;
        server.kill();
        stop.store(true, Ordering::Relaxed);
        for task in tasks {
            task.await.unwrap();
        }
        server = installation.start().await;
        installation.ann.get("/v1/log/checkpoint").await.expect(200);
        // What was started goes on for a moment by itself.
        tokio::time::sleep(Duration::from_millis(350)).await;
        let place = &installation.place;
        if cycle % 25 == 0 || cycle + 1 == cycles || !full() {
            journal::verify(&place.log());
            let book = Book::read(place);
            book.invariant_nothing_ran_without_intent(place);
            book.invariant_every_answer_is_recorded(&told);
            book.invariant_every_permit_has_an_outcome();
            invariant_nothing_ran_twice(place);
            let unknown = book.unknown();
            in_the_middle += usize::from(!unknown.is_empty());
            // The same call again waits for a person, also where policy permits it.
            for (kind, word) in unknown
                .into_iter()
                .filter(|(_, word)| asked_again.insert(word.clone()))
                .take(2)
            {
                let events = installation
                    .bot
                    .run(&format!("./tally {kind} {word}"), 0)
                    .await;
                assert!(
                    event(&events, "held").is_some(),
                    "{kind} {word}: {events:?}"
                );
                let id = events[0]["request"].as_str().unwrap();
                let cancel = format!("/v1/requests/{id}/cancel");
                installation.bot.post(&cancel, &json!({})).await.expect(200);
            }
        }
        assert_eq!(installation.bot.see(&stay).await["state"], "held");
    }
    assert!(in_the_middle > 0, "no kill came in the middle of an action");
    // What was held all along can be approved and runs once.
    installation.ann.approve(&stay).await;
    installation.bot.run("./tally one stay", 0).await;
    assert_eq!(installation.place.ran_with("stay"), 1);
}

/// A first start that was killed at any moment can be done again.
#[tokio::test]
async fn killed_at_the_first_start() {
    for n in 0..if full() { 300 } else { 15 } {
        let port = free_port();
        let place = Place::new(|files| {
            let config = files.get_mut("countersign.toml").unwrap();
            *config = config.replace("127.0.0.1:0", &format!("127.0.0.1:{port}"));
        });
        let server = Server::spawn(&place.config(), &place.data());
        tokio::time::sleep(Duration::from_millis(10 * (n % 15))).await;
        server.kill();
        let gateway = place.open(([127, 0, 0, 1], port).into()).await.unwrap();
        gateway.log.checkpoint().await;
        journal::verify(&place.log());
    }
}

/// Between the log's first record and the database's first bundle only what was recorded can be
/// made active; once anything else happened, a lost database is a lost database.
#[tokio::test]
async fn an_interrupted_first_start_trusts_what_it_trusted() {
    let place = Place::new(|_| {});
    let address = ([127, 0, 0, 1], 1).into();
    let open = async || match place.open(address).await {
        Ok(gateway) => {
            gateway.log.close().await;
            Ok((gateway.active().hash, gateway.is_first_start(), gateway))
        }
        Err(error) => Err(format!("{error:#}")),
    };
    let (trusted, first, _) = open().await.unwrap();
    assert!(first);
    let approvals = place.config().join("approvals.toml");
    let original = fs::read_to_string(&approvals).unwrap();

    place.lose_the_database();
    fs::write(&approvals, original.replace("count = 2", "count = 1")).unwrap();
    let refused = open().await.err().unwrap();
    assert!(refused.contains("has changed since"), "{refused}");
    fs::write(&approvals, &original).unwrap();
    let (again, first, _) = open().await.unwrap();
    assert_eq!((again, first), (trusted, true));
    let activated = journal::read(&place.log());
    let activated = activated
        .iter()
        .filter(|one| one.kind() == "policy.activated");
    assert_eq!(activated.count(), 1, "it is recorded once");
    journal::verify(&place.log());

    // Nobody was shown a link, so the next start still is the first.
    let gateway = place.open(address).await.unwrap();
    assert!(gateway.is_first_start());
    issue(&gateway, CredentialKind::Link, "person:ann", None).await;
    gateway.log.close().await;
    drop(gateway);
    let (_, first, gateway) = open().await.unwrap();
    assert!(!first);
    drop(gateway);
    place.lose_the_database();
    let refused = open().await.err().unwrap();
    assert!(
        refused.contains("countersign recover --config"),
        "{refused}"
    );
}

/// Whoever brings an old copy of the log back does not get links for everybody.
#[tokio::test]
async fn an_old_log_is_no_first_start() {
    let place = Place::new(|_| {});
    let address = ([127, 0, 0, 1], 1).into();
    let gateway = place.open(address).await.unwrap();
    gateway.log.close().await;
    drop(gateway);
    let files = || {
        fs::read_dir(place.log())
            .unwrap()
            .map(|one| one.unwrap().path())
    };
    let copy: Vec<_> = files()
        .filter(|path| path.is_file())
        .map(|path| (fs::read(&path).unwrap(), path))
        .collect();
    let gateway = place.open(address).await.unwrap();
    issue(&gateway, CredentialKind::Token, "person:ann", None).await;
    gateway.log.close().await;
    drop(gateway);
    for (bytes, path) in copy {
        fs::write(path, bytes).unwrap();
    }
    let opened = place.open(address).await;
    assert!(opened.is_ok_and(|gateway| !gateway.is_first_start()));
}

/// A request that was running when the server died is unknown afterwards, and so is its like.
#[tokio::test]
async fn what_was_running_is_unknown() {
    let installation = Installation::new().await;
    let (bot, ann) = (&installation.bot, &installation.ann);
    for command in [
        "./tally slow permitted",
        "sh -c sleep${IFS}1;echo${IFS}approved>>ran",
    ] {
        let server = installation.start().await;
        let first = bot.run_with(json!({ "argv": crate::support::argv(command), "wait_ms": 0 }));
        let running = if command.starts_with("sh") {
            let id = first.await[0]["request"].as_str().unwrap().to_owned();
            ann.approve(&id).await;
            bot.start(command, 0)
        } else {
            drop(first);
            bot.start(command, 0)
        };
        let log = installation.place.log();
        let open = || {
            let entries = journal::read(&log);
            let count = |kind: &str| entries.iter().filter(|entry| entry.kind() == kind).count();
            count("action.permitted") > count("action.outcome")
        };
        crate::support::until("it runs", || async { open() }).await;
        server.kill();
        let _broken = running.await;
        let server = installation.start().await;
        let last = journal::read(&installation.place.log());
        let outcome = last
            .iter()
            .rfind(|entry| entry.kind() == "action.outcome")
            .unwrap();
        assert_eq!(outcome.field("status"), "unknown", "{command}");
        let again = bot.run(command, 0).await;
        let held = event(&again, "held").unwrap_or_else(|| panic!("{command}: {again:?}"));
        let id = held["request"].as_str().unwrap();
        let seen = ann.see(id).await;
        let action = seen["action"].as_str().unwrap();
        assert!(
            action.starts_with("! This may have happened already"),
            "{action}"
        );
        // A person may have it repeated; then it is like any other again.
        ann.approve(id).await;
        let repeated = bot.run(command, 0).await;
        assert_eq!(
            repeated.last().unwrap()["event"],
            "exited",
            "{command}: {repeated:?}"
        );
        ann.get("/v1/log/checkpoint").await.expect(200);
        journal::verify(&installation.place.log());
        server.kill();
    }
}

/// Deadlines are in the store, not in a process.
#[tokio::test]
async fn a_restart_keeps_deadlines() {
    let installation = Installation::new().await;
    let server = installation.start().await;
    let short = installation.bot.held("./tally short x").await;
    let long = installation.bot.held("./tally one y").await;
    server.kill();
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    let server = installation.start().await;
    crate::support::until("it expires", || async {
        installation.bot.see(&short).await["state"] == "expired"
    })
    .await;
    assert_eq!(installation.bot.see(&long).await["state"], "held");
    let claimed = installation.bot.claim(&short, "./tally short x").await;
    assert_eq!(claimed["event"], "refused", "{claimed}");
    // One that expires while the server runs again.
    let next = installation.bot.held("./tally short z").await;
    server.kill();
    let server = installation.start().await;
    assert_eq!(installation.bot.see(&next).await["state"], "held");
    crate::support::until("it expires", || async {
        installation.bot.see(&next).await["state"] == "expired"
    })
    .await;
    drop(server);
}

/// Stopping in order loses nothing either, and an approval that was not used is still there.
#[tokio::test]
async fn an_approval_survives_a_restart() {
    let lab = Lab::new().await;
    let (bot, ann) = (lab.bot().await, lab.session("ann").await);
    let (one, two) = (
        bot.held("./tally one x").await,
        bot.held("./tally two y").await,
    );
    ann.approve(&one).await;
    ann.approve(&two).await;
    let lab = lab.restart().await;
    assert_eq!(
        (
            lab.state(&one).await.as_str(),
            lab.state(&two).await.as_str()
        ),
        ("approved", "held")
    );
    let bot = lab.bot().await;
    bot.run("./tally one x", 0).await;
    lab.session("bob").await.approve(&two).await;
    bot.run("./tally two y", 0).await;
    assert_eq!(lab.place.ran(), ["x", "y"]);
    lab.verify().await;
}
