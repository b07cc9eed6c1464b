//! Measures the spine: `script/bench spine` runs this and draws the table.
//!
//! Writes one JSON line a figure to standard output. Everything runs in this process over a real
//! store and a real log in a new directory; `fdatasync` is measured in the same directory and run.
//! Names of parts (`held`, `votes`, `permitted`) as arguments measure only those.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::OpenOptions,
    io::Write as _,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use countersign::{
    engine::{Admitted, Asked, Ended, Input},
    gateway::{Gateway, Options},
};
use countersign_core::{
    action::{Action, Effect, Resource},
    approval::{
        rule::Assurance,
        vote::{Credential, Verdict},
    },
    canonical::Hash,
    digest::AttachKey,
    id::{CredentialId, RequestId},
    lifecycle::{Ballot, Event},
    request::{Case, Outcome, Presentation},
    subject::SubjectChain,
};
use countersign_store::{CaseWrite, Write};
use serde_json::json;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CLIENTS: usize = 64;
const FOR: Duration = Duration::from_secs(5);
const VOTES: usize = 200;
const HELD: u32 = 100_000;

const CONFIG: &str = r#"
[server.limits]
max_held_per_subject = 1000000
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
expires = "7d"
"#;
const POLICY: &str = r#"
@id("look") permit (principal in Group::"agents", action in Action::"read", resource in Target::"tools");
@id("change") permit (principal in Group::"agents", action in Action::"write", resource in Target::"tools");
@id("review") @approval("review") forbid (principal, action in Action::"write", resource in Target::"tools");
"#;

fn figure(
    metric: &str,
    value: f64,
    unit: &str,
    goal: Option<f64>,
    more_is_better: bool,
    beside: &str,
) {
    let meets = goal.map(|goal| {
        if more_is_better {
            value >= goal
        } else {
            value <= goal
        }
    });
    let value = (value * 1_000.0).round() / 1_000.0;
    println!(
        "{}",
        json!({ "bench": "spine", "metric": metric, "value": value, "unit": unit, "goal": goal,
                "meets": meets, "beside": beside })
    );
}

fn percentile(sorted: &[Duration], per_cent: usize) -> Duration {
    let index = (sorted.len() * per_cent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(index).copied().unwrap_or_default()
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

/// Takes the time of one small append with its sync, in a file of its own.
struct Probe {
    file: std::fs::File,
    taken: Vec<Duration>,
}

impl Probe {
    fn new(dir: &Path) -> anyhow::Result<Self> {
        let path = dir.join("sync-probe");
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let taken = Vec::new();
        Ok(Self { file, taken })
    }

    fn sync(&mut self) -> anyhow::Result<()> {
        let start = Instant::now();
        self.file.write_all(&[b'x'; 600])?;
        self.file.sync_data()?;
        self.taken.push(start.elapsed());
        Ok(())
    }

    fn p50(&mut self) -> Duration {
        self.taken.sort();
        percentile(&self.taken, 50)
    }
}

async fn gateway(dir: &Path) -> anyhow::Result<Gateway> {
    let config = dir.join("config");
    std::fs::create_dir_all(config.join("policies"))?;
    std::fs::write(config.join("countersign.toml"), CONFIG)?;
    std::fs::write(config.join("approvals.toml"), APPROVALS)?;
    std::fs::write(config.join("policies/tools.cedar"), POLICY)?;
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
        amends: None,
        trace: None,
        secrets: Default::default(),
    })
}

/// Permitted actions with intent and outcome durable, a second, by many clients at once.
async fn permitted(gateway: &Gateway) -> anyhow::Result<()> {
    let (done, number) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let start = Instant::now();
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..CLIENTS {
        let (gateway, done, number) = (gateway.clone(), done.clone(), number.clone());
        clients.spawn(async move {
            while start.elapsed() < FOR {
                let n = number.fetch_add(1, Ordering::Relaxed);
                let admitted = gateway.admission.ask(asked(&gateway, "look", n)?).await?;
                let Admitted::Permitted {
                    request, permit, ..
                } = admitted
                else {
                    bail!("not permitted")
                };
                let spent = permit.spend(request.digest, gateway.clock.now())?;
                let ended = Ended {
                    permit: spent.permit,
                    outcome: Outcome::Succeeded,
                    exit: Some(0),
                    result: json!({}),
                };
                gateway.admission.ended(&request, &ended).await?;
                done.fetch_add(1, Ordering::Relaxed);
            }
            anyhow::Ok(())
        });
    }
    while let Some(client) = clients.join_next().await {
        client??;
    }
    let rate = done.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64();
    figure(
        "permitted actions, intent and outcome recorded durably, 64 clients",
        rate,
        "/s",
        Some(20_000.0),
        true,
        "",
    );
    Ok(())
}

/// From the vote's arrival to the waiting runner awake, and to its permit.
async fn votes(gateway: &Gateway, dir: &Path) -> anyhow::Result<()> {
    let (mut woken, mut permitted) = (Vec::new(), Vec::new());
    // Between the votes, so that both meet the disk in the same mood.
    let mut probe = Probe::new(dir)?;
    for n in 0..VOTES {
        probe.sync()?;
        let asked = asked(gateway, "change", 1_000_000 + n as u64)?;
        let Admitted::Held(case) = gateway.admission.ask(asked).await? else {
            bail!("not held")
        };
        let id = case.request.id.clone();
        let waiter = gateway.engine.updates().waiter(&id);
        let changed = waiter.changed();
        let start = Instant::now();
        let voting = gateway
            .engine
            .step(id.clone(), Input::Event(Event::Vote(ballot(&case)?)));
        let (voted, ()) = tokio::join!(voting, async {
            changed.await;
            woken.push(start.elapsed());
        });
        voted?;
        let by = case.request.chain.requester.id.clone();
        let claimed = gateway.engine.step(id.clone(), Input::Claim { by }).await?;
        let permit = claimed.permit.context("no permit")?;
        permitted.push(start.elapsed());
        let ended = Ended {
            permit: permit.id().clone(),
            outcome: Outcome::Succeeded,
            exit: Some(0),
            result: json!({}),
        };
        gateway.engine.step(id, Input::Ended { ended }).await?;
    }
    vote_figures(woken, permitted, probe.p50());
    Ok(())
}

fn vote_figures(mut woken: Vec<Duration>, mut permitted: Vec<Duration>, sync: Duration) {
    woken.sort();
    permitted.sort();
    let over = millis(percentile(&woken, 50).saturating_sub(sync));
    let beside = format!("fdatasync p50 {:.3} ms", millis(sync));
    let plain = |name, value, beside| figure(name, value, "ms", None, false, beside);
    plain("fdatasync of 600 bytes, p50", millis(sync), "");
    figure(
        "vote received to waiting runner resumed, p50 over fdatasync",
        over,
        "ms",
        Some(0.5),
        false,
        &beside,
    );
    let p99 = millis(percentile(&woken, 99));
    plain("vote received to waiting runner resumed, p99", p99, &beside);
    let p50 = millis(percentile(&permitted, 50));
    plain("vote received to permit recorded, p50", p50, &beside);
}

fn ballot(case: &Case) -> anyhow::Result<Ballot> {
    Ok(Ballot {
        voter: "ann@example.com".parse()?,
        credential: Credential {
            id: CredentialId::from_bits(1),
            issued_by: None,
            lineage: Default::default(),
            assurance: Assurance::Session,
        },
        verdict: Verdict::Approve,
        reason: None,
        digest: case.request.digest,
        typed_digest: None,
        grant: None,
        signature: None,
    })
}

fn resident() -> anyhow::Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS"))
        .context("no VmRSS")?;
    let kilobytes = line.split_whitespace().nth(1).context("no value")?;
    Ok(kilobytes.parse::<f64>()? * 1_024.0)
}

/// Memory and start-up with many held requests.
async fn held(dir: &Path) -> anyhow::Result<()> {
    let first = gateway(dir).await?;
    let Admitted::Held(model) = first.admission.ask(asked(&first, "change", 1)?).await? else {
        bail!("not held")
    };
    let mut writes = Vec::new();
    for n in 0..HELD {
        let mut case = Case::clone(&model);
        case.request.id = RequestId::from_bits(u128::from(n) + 1);
        case.request.attach_key = AttachKey(Hash::of(&n.to_be_bytes()));
        writes.push(Write::InsertCase(Box::new(CaseWrite {
            case,
            envelopes: Vec::new(),
        })));
        if writes.len() == 500 {
            first.store.commit(std::mem::take(&mut writes)).await?;
        }
    }
    first.log.checkpoint().await;
    drop(first);
    // The engine's loop holds the store until it has noticed.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let before = resident()?;
    let start = Instant::now();
    let again = gateway(dir).await?;
    let opened = start.elapsed();
    let waiting = again.store.in_phase("held").await?.len();
    anyhow::ensure!(waiting > 100_000, "only {waiting} are held");
    tokio::time::sleep(Duration::from_secs(2)).await;
    let each = (resident()? - before).max(0.0) / f64::from(HELD);
    figure(
        "start-up with 100,000 held",
        opened.as_secs_f64(),
        "s",
        Some(2.0),
        false,
        "",
    );
    figure(
        "memory with 100,000 held, each",
        each / 1_024.0,
        "KB",
        Some(1.5),
        false,
        "",
    );
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let named: Vec<String> = std::env::args().skip(1).collect();
    let wanted = |part: &str| named.is_empty() || named.iter().any(|name| name == part);
    if wanted("held") {
        held(&dir.path().join("held")).await?;
    }
    let gateway = gateway(&dir.path().join("flow")).await?;
    if wanted("votes") {
        votes(&gateway, dir.path()).await?;
    }
    if wanted("permitted") {
        permitted(&gateway).await?;
    }
    Ok(())
}
