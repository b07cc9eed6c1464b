//! Measures the record: `script/bench evidence` runs this and draws the table.
//!
//! `evidence appends` writes batches of several sizes through the gateway's own log, beside plain
//! `fdatasync` of as many bytes. `evidence write DIR ACTIONS` has a gateway in DIR permit and record
//! actions, and one that a person approved, for other programs to verify. `evidence receipt FILE LOG`
//! verifies a receipt many times. `evidence recording LOG` records the actions of a log once more and
//! says what that costs. All write one JSON line a figure to standard output.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, OpenOptions},
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::sync_channel,
    },
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use countersign::{
    engine::{Admitted, Asked, Ended, Input},
    gateway::{Gateway, Options},
    keys::{self, Keys},
    log::{Log, Record},
    vault::{self, Of},
};
use countersign_core::{
    action::{Action, Effect, Resource},
    approval::{
        rule::Assurance,
        vote::{Credential, Verdict},
    },
    id::CredentialId,
    lifecycle::{Ballot, Event},
    permit::Permit,
    request::{Outcome, Presentation, Request},
    subject::SubjectChain,
    time::{Span, Timestamp},
};
use countersign_evidence::{
    body::{Body, SecurityEvent},
    evidence::Evidence,
    frame::{Decoder, Step},
    key::VerifyingKey,
    leaf::Leaf,
    receipt::Receipt,
    verify::{Trust, verify_receipt},
};
use countersign_store::CredentialKind;
use serde_json::json;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BATCHES: [usize; 6] = [1, 4, 16, 64, 256, 1_024];
/// How long each size of batch is written.
const FOR: Duration = Duration::from_secs(3);
const CLIENTS: usize = 64;

const CONFIG: &str = r#"
[group.reviewers]
[group.agents]
[person."ann@example.com"]
groups = ["reviewers"]
[person."olga@example.com"]
[agent.bot]
owner = "olga@example.com"
groups = ["agents"]
[target.tools]
kind = "exec"
environment = "production"
[[target.tools.command]]
argv = ["look", "{what:word}"]
action = "look"
group = "read"
[[target.tools.command]]
argv = ["change", "{what:word}"]
action = "change"
group = "write"
"#;
const APPROVALS: &str = r#"
[approval.review]
stages = [{ from = ["group:reviewers"], count = 1 }]
"#;
const POLICY: &str = r#"
@id("look") permit (principal in Group::"agents", action in Action::"read", resource in Target::"tools");
@id("change") permit (principal in Group::"agents", action in Action::"write", resource in Target::"tools");
@id("review") @approval("review") forbid (principal, action in Action::"write", resource in Target::"tools");
"#;

fn figure(metric: &str, value: f64, unit: &str, beside: &str) {
    let line = json!({ "metric": metric, "value": value, "unit": unit, "beside": beside });
    println!("{line}");
}

fn p50(mut times: Vec<Duration>) -> f64 {
    times.sort();
    let middle = times.get(times.len() / 2).copied().unwrap_or_default();
    middle.as_secs_f64() * 1_000.0
}

fn p99(mut times: Vec<Duration>) -> f64 {
    times.sort();
    let high = times.get(times.len() * 99 / 100).copied();
    high.unwrap_or_default().as_secs_f64() * 1_000.0
}

/// A record of about 600 bytes with its evidence.
fn record(number: usize) -> Record {
    Record::control(
        Timestamp(1_790_000_000_000),
        Body::SecurityEvent(SecurityEvent {
            code: format!("measured-{number:020}"),
        }),
        json!({ "detail": "x".repeat(140) }),
    )
}

/// Writes batches for a while; prepared by another thread, as by many callers.
async fn appends(dir: &Path, batch: usize) -> anyhow::Result<()> {
    fs::create_dir_all(dir)?;
    let keys = Arc::new(Keys::open(&dir.join("keys"), true)?);
    let vault = keys.vault.clone();
    let (log, _) = Log::open(
        &dir.join("log"),
        keys,
        "i-bench",
        Timestamp(1_790_000_000_000),
    )?;
    let (to, from) = sync_channel(8);
    let preparing = std::thread::spawn(move || {
        for number in (0..).step_by(batch) {
            let records = (number..number + batch).map(|n| record(n).prepare(None, &vault));
            let Ok(records) = records.collect::<anyhow::Result<Vec<_>>>() else {
                return;
            };
            if to.send(records).is_err() {
                return;
            }
        }
    });
    let (first, start) = (log.size(), Instant::now());
    let mut taken = Vec::new();
    while start.elapsed() < FOR {
        let records = from.recv()?;
        let append = Instant::now();
        log.append(records).await?;
        taken.push(append.elapsed());
    }
    let written = log.size() - first;
    let durable = written as f64 / start.elapsed().as_secs_f64();
    log.checkpoint().await;
    let provable = written as f64 / start.elapsed().as_secs_f64();
    drop(from);
    let _ended = preparing.join();
    log.close().await;
    let bytes = fs::metadata(dir.join("log/journal"))?.len() / log.size();
    let bytes_of_batch = usize::try_from(bytes)? * batch;
    let (raw, sync) = raw(dir, bytes_of_batch)?;
    let (p50, p99) = (p50(taken.clone()), p99(taken));
    let name = format!("batch {batch}");
    figure(
        &format!("{name}: durable"),
        durable,
        "/s",
        &format!("fdatasync alone {:.0}/s", raw * batch as f64),
    );
    figure(
        &format!("{name}: durable and provable"),
        provable,
        "/s",
        &format!("{bytes} bytes each"),
    );
    figure(
        &format!("{name}: append to durable, p50"),
        p50,
        "ms",
        &format!("fdatasync p50 {sync:.3} ms"),
    );
    figure(&format!("{name}: append to durable, p99"), p99, "ms", "");
    Ok(())
}

/// As many bytes written and synced, again and again: how often a second, and how long one takes.
fn raw(dir: &Path, bytes: usize) -> anyhow::Result<(f64, f64)> {
    let path = dir.join("raw");
    let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
    let block = vec![b'x'; bytes];
    let (start, mut taken) = (Instant::now(), Vec::new());
    while start.elapsed() < Duration::from_secs(1) {
        let one = Instant::now();
        file.write_all(&block)?;
        file.sync_data()?;
        taken.push(one.elapsed());
    }
    let rate = taken.len() as f64 / start.elapsed().as_secs_f64();
    fs::remove_file(path)?;
    Ok((rate, p50(taken)))
}

async fn gateway(dir: &Path) -> anyhow::Result<Gateway> {
    let config = dir.join("config");
    fs::create_dir_all(config.join("policies"))?;
    fs::write(config.join("countersign.toml"), CONFIG)?;
    fs::write(config.join("approvals.toml"), APPROVALS)?;
    fs::write(config.join("policies/tools.cedar"), POLICY)?;
    Gateway::open(Options {
        config,
        data: Some(dir.join("data")),
        url: None,
        listen: None,
        recovering: false,
    })
    .await
}

fn asked(gateway: &Gateway, action: &str, number: u64) -> anyhow::Result<Asked> {
    let bot = countersign::identity::parse_subject("agent:bot").context("a subject")?;
    let subject = gateway.active().directory.resolve(&bot).context("no bot")?;
    let what = format!("thing-{number}");
    let resource = Resource {
        kind: "Target".into(),
        id: "tools".into(),
        target: "tools".parse()?,
        attributes: BTreeMap::new(),
    };
    Ok(Asked {
        chain: SubjectChain::of(subject),
        action: Action {
            gate: "exec".into(),
            target: "tools".parse()?,
            operation: "run".into(),
            arguments: json!({ "argv": [action, what] }),
            session: json!(null),
            masked: Vec::new(),
        },
        effects: vec![Effect {
            action: format!("exec:{action}").parse()?,
            resource,
        }],
        captures: BTreeMap::from([("what".into(), json!(what))]),
        reason: Some("a benchmark".into()),
        presentation: Presentation {
            title: format!("{action} {what}"),
            body: format!("$ {action} {what}\n"),
            blast_radius: "one thing".into(),
            complete: true,
        },
        places: BTreeMap::new(),
        resource_owners: BTreeSet::new(),
        issuers: BTreeSet::new(),
        behind: BTreeSet::new(),
        administrative: false,
        trace: None,
        secrets: Default::default(),
        amends: None,
    })
}

async fn run(gateway: &Gateway, request: &Request, permit: Permit) -> anyhow::Result<()> {
    let spent = permit.spend(request.digest, gateway.clock.now())?;
    let ended = Ended {
        permit: spent.permit,
        outcome: Outcome::Succeeded,
        exit: Some(0),
        result: json!({}),
    };
    Ok(gateway.admission.ended(request, &ended).await?)
}

/// Has actions permitted and recorded by many clients at once, and one approved.
async fn write(dir: &Path, actions: u64) -> anyhow::Result<()> {
    let gateway = gateway(dir).await?;
    approved(&gateway).await?;
    let number = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..CLIENTS {
        let (gateway, number) = (gateway.clone(), number.clone());
        clients.spawn(async move {
            loop {
                let n = number.fetch_add(1, Ordering::Relaxed);
                if n >= actions {
                    return anyhow::Ok(());
                }
                let admitted = gateway.admission.ask(asked(&gateway, "look", n)?).await?;
                let Admitted::Permitted {
                    request, permit, ..
                } = admitted
                else {
                    bail!("not permitted")
                };
                run(&gateway, &request, permit).await?;
            }
        });
    }
    while let Some(client) = clients.join_next().await {
        client??;
    }
    let took = start.elapsed().as_secs_f64();
    gateway.log.close().await;
    let entries = gateway.log.size();
    let journal = fs::metadata(dir.join("data/log/journal"))?.len();
    let tiles = size_of(&dir.join("data/log/tile"))?;
    let per = |bytes: u64| bytes as f64 / actions as f64;
    figure(
        "permitted actions a second while writing",
        actions as f64 / took,
        "/s",
        &format!("{entries} entries"),
    );
    figure(
        "journal, each permitted action",
        per(journal),
        "bytes",
        "4 records",
    );
    figure(
        "tiles and bundles, each permitted action",
        per(tiles),
        "bytes",
        "",
    );
    Ok(())
}

/// One action that a person approved, with a session as people have it.
async fn approved(gateway: &Gateway) -> anyhow::Result<()> {
    let holder =
        countersign::identity::parse_subject("person:ann@example.com").context("a person")?;
    let issue = countersign::identity::Issue {
        lineage: BTreeSet::new(),
        kind: CredentialKind::Session,
        holder,
        issued_by: None,
        parent: None,
        account: None,
        valid_for: Span::minutes(60),
    };
    let (_, session) = gateway.identity.issue(&issue).await?;
    let Admitted::Held(case) = gateway.admission.ask(asked(gateway, "change", 0)?).await? else {
        bail!("not held")
    };
    let id = case.request.id.clone();
    let ballot = Ballot {
        voter: "ann@example.com".parse()?,
        credential: Credential {
            id: CredentialId::clone(&session.id),
            issued_by: None,
            lineage: BTreeSet::new(),
            assurance: Assurance::Session,
        },
        verdict: Verdict::Approve,
        reason: None,
        digest: case.request.digest,
        typed_digest: None,
        grant: None,
        signature: None,
    };
    let vote = Input::Event(Event::Vote(ballot));
    gateway.engine.step(id.clone(), vote).await?;
    let by = case.request.chain.requester.id.clone();
    let claimed = gateway.engine.step(id.clone(), Input::Claim { by }).await?;
    let permit = claimed.permit.context("no permit")?;
    let ended = Ended {
        permit: permit.id().clone(),
        outcome: Outcome::Succeeded,
        exit: Some(0),
        result: json!({}),
    };
    gateway
        .engine
        .step(id.clone(), Input::Ended { ended })
        .await?;
    println!("{}", json!({ "request": id }));
    Ok(())
}

fn size_of(path: &Path) -> anyhow::Result<u64> {
    let mut size = 0;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        size += match entry.file_type()?.is_dir() {
            true => size_of(&entry.path())?,
            false => entry.metadata()?.len(),
        };
    }
    Ok(size)
}

fn key(log: &Path, name: &str) -> anyhow::Result<VerifyingKey> {
    Ok(fs::read_to_string(log.join(name))?.trim().parse()?)
}

/// How long reading and verifying a receipt takes.
fn receipt(file: &Path, log: &Path) -> anyhow::Result<()> {
    let text = fs::read_to_string(file)?;
    let trust = Trust {
        log: key(log, "key.pub")?,
        votes: Some(vec![key(log, "vote-key.pub")?]),
    };
    let mut taken = Vec::new();
    for _ in 0..500 {
        let start = Instant::now();
        let report = verify_receipt(&Receipt::parse(&text)?, &trust);
        taken.push(start.elapsed());
        anyhow::ensure!(report.passed(), "{report:?}");
    }
    let entries = Receipt::parse(&text)?.entries.len();
    let beside = format!("{entries} records");
    figure(
        "receipt of an approved action, size",
        text.len() as f64 / 1_024.0,
        "KB",
        &beside,
    );
    figure(
        "receipt of an approved action, verified, p50",
        p50(taken),
        "ms",
        "",
    );
    Ok(())
}

/// Processor time of this process so far, in seconds: clock ticks are hundredths.
fn processor() -> anyhow::Result<f64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit(')').next().context("no fields")?;
    let ticks = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(str::parse::<f64>);
    Ok(ticks.sum::<Result<f64, _>>()? / 100.0)
}

/// The four records of one permitted action of a log.
fn records(log: &Path) -> anyhow::Result<Vec<Record>> {
    let mut journal = Vec::new();
    File::open(log.join("journal"))?
        .take(1 << 20)
        .read_to_end(&mut journal)?;
    let keys = log
        .parent()
        .map(|data| data.join("keys").join(keys::EVIDENCE));
    let keys = vault::reader(&keys.context("no data")?)?.context("no keys")?;
    let (mut decoder, mut records) = (
        Decoder::new(&journal, 0),
        BTreeMap::<String, Vec<Record>>::new(),
    );
    while let Step::Frame(frame) = decoder.step() {
        let leaf = Leaf::parse(frame.leaf)?;
        let Some(place) = leaf.request else { continue };
        let found = records.entry(place.id.to_string()).or_default();
        found.push(Record {
            at: leaf.at,
            body: leaf.body,
            digest: leaf.digest,
            request: Some((place.id, place.seq)),
            evidence: Evidence::parse(frame.evidence)?
                .opened(keys.as_ref())?
                .value(),
            of: Of::Payload("olga@example.com".parse()?),
        });
    }
    let complete = records.into_values().find(|found| found.len() == 4);
    complete.context("no permitted action")
}

/// What recording the same action again and again costs, and nothing else.
async fn recording(log: &Path) -> anyhow::Result<()> {
    const ACTIONS: usize = 50_000;
    let records = records(log)?;
    let dir = tempfile::tempdir()?;
    let keys = Arc::new(Keys::open(&dir.path().join("keys"), true)?);
    let (log, _) = Log::open(
        &dir.path().join("log"),
        keys,
        "i-bench",
        records.first().context("none")?.at,
    )?;
    let (before, start) = (processor()?, Instant::now());
    let next = Arc::new(AtomicU64::new(0));
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..CLIENTS {
        let (log, records, next) = (log.clone(), records.clone(), next.clone());
        clients.spawn(async move {
            while next.fetch_add(1, Ordering::Relaxed) < ACTIONS as u64 {
                // As the gateway does it: what was asked, decided and permitted, then how it ended.
                let prepared = records
                    .iter()
                    .map(|record| record.clone().prepare(None, log.vault()));
                let mut prepared = prepared.collect::<anyhow::Result<Vec<_>>>()?;
                let last = prepared.pop().context("an outcome")?;
                log.append(prepared).await?;
                log.append(vec![last]).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(client) = clients.join_next().await {
        client??;
    }
    log.close().await;
    let each = |seconds: f64| seconds * 1e6 / ACTIONS as f64;
    let wall = format!(
        "{:.1} µs of time, 64 at once",
        each(start.elapsed().as_secs_f64())
    );
    figure(
        "recording a permitted action, processor time",
        each(processor()? - before),
        "µs",
        &wall,
    );
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["appends"] => {
            let dir = tempfile::tempdir()?;
            for batch in BATCHES {
                appends(&dir.path().join(batch.to_string()), batch).await?;
            }
            Ok(())
        }
        ["write", dir, actions] => write(&PathBuf::from(dir), actions.parse()?).await,
        ["receipt", file, log] => receipt(Path::new(file), Path::new(log)),
        ["recording", log] => recording(Path::new(log)).await,
        _ => {
            bail!("usage: evidence appends | write DIR ACTIONS | receipt FILE LOG | recording LOG")
        }
    }
}
