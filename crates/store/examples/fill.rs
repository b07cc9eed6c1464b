//! Writes many held cases, to measure start-up, memory and commits with.
//!
//! In scope: `fill DIR N` writes N cases of about 2 KB to `DIR/store.db` and then says how long
//! commits of a gateway's usual sizes take there.
//! Out of scope: judging the numbers.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::Context;
use countersign_core::{
    action::Action,
    approval::{ApprovalRule, rule::Approver, rule::Stage},
    canonical::Hash,
    decision::{Decided, Decision},
    digest::{self, Nonce},
    directory::{Directory, Membership, Person},
    id::RequestId,
    lifecycle::{self, World},
    request::{Case, Presentation, Request},
    subject::{Subject, SubjectChain, SubjectId},
    time::Timestamp,
};
use countersign_store::{CaseWrite, SqliteStore, Store, Write};
use serde_json::json;

/// Cases of one commit.
const BATCH: u32 = 500;
/// How often each commit is measured.
const ROUNDS: usize = 50;
/// 2026-01-01.
const START: i64 = 1_767_225_600_000;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: fill DIR N";
    let directory = PathBuf::from(arguments.next().context(usage)?);
    let count: u32 = arguments.next().context(usage)?.parse().context(usage)?;
    std::fs::create_dir_all(&directory)?;
    let store = SqliteStore::open(&directory.join("store.db")).await?;
    let before = u32::try_from(store.in_phase("held").await?.len())?;
    let started = Instant::now();
    for first in (before..before + count).step_by(BATCH.try_into()?) {
        let numbers = first..before.saturating_add(count).min(first + BATCH);
        let writes = numbers.map(|number| Ok(insert(held(number)?)));
        let writes = writes.collect::<anyhow::Result<_>>()?;
        store.commit(writes).await?;
    }
    println!("{count} cases in {:?}", started.elapsed());
    measure_reads(&store).await?;
    measure_commits(&store, before + count).await?;
    store.close().await?;
    Ok(())
}

fn insert(case: Case) -> Write {
    let envelopes = Vec::new();
    Write::InsertCase(Box::new(CaseWrite { case, envelopes }))
}

fn swap(case: Case) -> Write {
    let envelopes = Vec::new();
    Write::SwapCase(Box::new(CaseWrite { case, envelopes }))
}

async fn measure_reads(store: &SqliteStore) -> anyhow::Result<()> {
    let started = Instant::now();
    let held = store.in_phase("held").await?.len();
    println!("{held} held cases named in {:?}", started.elapsed());
    let started = Instant::now();
    store.next_deadline().await?;
    store.due(Timestamp(i64::MAX), 100).await?;
    println!("deadlines in {:?}", started.elapsed());
    Ok(())
}

async fn measure_commits(store: &SqliteStore, from: u32) -> anyhow::Result<()> {
    let mut cases = (from..from + 100)
        .map(held)
        .collect::<Result<Vec<_>, _>>()?;
    let writes = cases.iter().cloned().map(insert).collect();
    store.commit(writes).await?;
    for size in [1, 100] {
        let mut times = Vec::new();
        for _ in 0..ROUNDS {
            let mut writes = Vec::new();
            for case in cases.iter_mut().take(size) {
                case.version += 1;
                writes.push(swap(case.clone()));
                writes.extend((0..3).map(|_| Write::Record(vec![7; 1_000])));
            }
            let started = Instant::now();
            store.commit(writes).await?;
            times.push(started.elapsed());
        }
        let [half, most] = percentiles(&mut times);
        println!("{size} swaps with 3 records each: p50 {half:?}, p95 {most:?}");
    }
    store.commit(vec![Write::Acknowledge(u64::MAX)]).await?;
    Ok(())
}

fn percentiles(times: &mut [Duration]) -> [Duration; 2] {
    times.sort();
    let at = |percent: usize| times.get(times.len() * percent / 100).copied();
    [50, 95].map(|percent| at(percent).unwrap_or_default())
}

fn action(number: u32, statement: &str) -> anyhow::Result<Action> {
    Ok(Action {
        gate: "exec".into(),
        target: format!("target-{}", number % 20).parse()?,
        operation: "run".into(),
        arguments: json!({ "argv": ["psql", "-c", statement], "env": {}, "cwd": "/srv" }),
        session: json!(null),
        masked: Vec::new(),
    })
}

/// A held case like those of an agent that deploys.
fn held(number: u32) -> anyhow::Result<Case> {
    let stage = Stage {
        from: vec![Approver::Group("dba".parse()?)],
        count: 1,
    };
    let rule = ApprovalRule::new("dba".parse()?, vec![stage]);
    let chain = SubjectChain::of(Subject {
        id: SubjectId::Agent(format!("bot-{}", number % 50).parse()?),
        owner: Some("olga@example.com".parse()?),
    });
    let statement = format!("UPDATE orders SET state = 'sent' WHERE id = {number}");
    let action = action(number, &statement)?;
    let at = START + i64::from(number) * 10;
    let id = RequestId::from_bits(u128::from(at.unsigned_abs()) << 80 | u128::from(number));
    let nonce = Nonce(Hash::of(&number.to_be_bytes()));
    let request = Request {
        digest: digest::action_digest(&chain, &action, &id, &nonce)?,
        attach_key: digest::attach_key(b"example", &chain, &action)?,
        repeat_key: None,
        id,
        chain,
        effects: Vec::new(),
        captures: BTreeMap::new(),
        reason: Some("the orders of yesterday were not marked as sent".into()),
        nonce,
        at: Timestamp(at),
        decided: Decided {
            decision: Decision::Hold {
                rules: BTreeSet::from([rule.name.clone()]),
                policies: BTreeSet::from(["prod-writes".parse()?]),
            },
            bundle: Hash::of(b"bundle"),
            approvals: BTreeSet::new(),
        },
        rules: vec![rule.clone()],
        grants: None,
        resource_owners: BTreeSet::new(),
        issuers: BTreeSet::new(),
        behind: BTreeSet::new(),
        administrative: false,
        amends: None,
        trace: None,
        presentation: Presentation {
            title: statement.clone(),
            body: statement,
            blast_radius: "1 row of `orders`".into(),
            complete: true,
        },
        action,
    };
    let joined = Membership {
        since: Timestamp(0),
        countersigned: true,
        provided: false,
    };
    let dana = Person {
        groups: BTreeMap::from([("dba".parse()?, joined)]),
        ..Person::default()
    };
    let directory = Directory {
        people: BTreeMap::from([("dana@example.com".parse()?, dana)]),
        ..Directory::default()
    };
    let world = World {
        directory: &directory,
        rules: &BTreeMap::from([(rule.name.clone(), rule)]),
        due_reviews: None,
    };
    Ok(lifecycle::open(request, world)?)
}
