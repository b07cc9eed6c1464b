//! The loop itself: take what waits, do it in one turn, look at the clock.
//!
//! Invariant: one loop per store; turns never overlap.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    sync::Arc,
    time::Duration,
};

use countersign_core::{
    id::PersonId,
    lifecycle::Event,
    request::{Closure, Phase},
    subject::SubjectId,
    time::Timestamp,
};
use countersign_store::Store;
use tokio::sync::mpsc;

use super::{
    Answer, Command, Desk, Emergencies, Engine, EngineError, Input, Unknown, Updates, recovery,
    turns::{Done, Job, Turns},
};
use crate::{
    active::ActivePolicy,
    clock::Clock,
    identity::delegations::Delegations,
    keys::Keys,
    log::{Log, Resumed},
    secrets::SecretFiles,
};

/// Commands that can wait at once.
const QUEUE: usize = 16_384;
/// The most commands done in one turn, and so in one commit.
const BATCH: usize = 128;
/// The longest the loop sleeps without looking at deadlines.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The soonest it looks again, so that a clock fault can't make it spin.
const LOOK_AT_MOST_EVERY: Duration = Duration::from_millis(5);

/// What the loop works with.
#[derive(Clone)]
pub struct Parts {
    /// Where cases live.
    pub store: Arc<dyn Store>,
    /// Where records go.
    pub log: Log,
    /// The time.
    pub clock: Arc<Clock>,
    /// What signs votes.
    pub keys: Arc<Keys>,
    /// What decides.
    pub active: ActivePolicy,
    /// Actions that ended unknown.
    pub unknown: Unknown,
    /// Emergencies that nobody has reviewed.
    pub emergencies: Emergencies,
    /// The most requests one subject can have waiting.
    pub max_held_per_subject: u32,
    /// Who lets which machine act for them.
    pub delegations: Delegations,
    /// The secrets of held requests.
    pub secrets: SecretFiles,
    /// The most requests that can wait in all.
    pub max_held: u32,
}

/// Finishes what a crash left and starts the loop.
///
/// # Errors
/// Store or log can't be read or written.
pub async fn start(parts: Parts, resumed: &Resumed) -> Result<Engine, EngineError> {
    let (updates, desk) = (Updates::default(), Desk::default());
    let emergencies = parts.emergencies.clone();
    emergencies.load(parts.store.as_ref(), &parts.keys).await?;
    let mut turns = Turns::new(parts, updates.clone(), desk.clone(), resumed.outbox);
    recovery::recover(&mut turns, resumed).await?;
    let (to, from) = mpsc::channel(QUEUE);
    tokio::spawn(run(turns, from));
    Ok(Engine {
        to,
        updates,
        desk,
        emergencies,
    })
}

enum Reply {
    Open(Answer<super::Opened>),
    Step(Answer<super::Stepped>),
}

async fn run(mut turns: Turns, mut from: mpsc::Receiver<Command>) {
    let mut commands = Vec::with_capacity(BATCH);
    loop {
        let pause = until_deadline(&turns).await;
        tokio::select! {
            biased;
            taken = from.recv_many(&mut commands, BATCH) => if taken == 0 { return },
            () = tokio::time::sleep(pause) => {}
        }
        handle(&mut turns, std::mem::take(&mut commands)).await;
        tick(&mut turns).await;
    }
}

async fn until_deadline(turns: &Turns) -> Duration {
    let next = turns.parts.store.next_deadline().await.ok().flatten();
    let wait = next.map_or(i64::MAX, |at: Timestamp| {
        at.millis_since(turns.parts.clock.now())
    });
    let wait = Duration::from_millis(u64::try_from(wait).unwrap_or(0));
    wait.clamp(LOOK_AT_MOST_EVERY, LOOK_EVERY)
}

async fn handle(turns: &mut Turns, commands: Vec<Command>) {
    let (mut jobs, mut replies) = (Vec::new(), Vec::new());
    for command in commands {
        match command {
            Command::Open {
                request,
                input,
                answer,
            } => {
                jobs.push(Job::Open(request, input));
                replies.push(Reply::Open(answer));
            }
            Command::Step { id, input, answer } => {
                jobs.push(Job::Step(id, input));
                replies.push(Reply::Step(answer));
            }
            Command::Forget { what, answer } => {
                let _gone = answer.send(turns.forget(what).await);
            }
            Command::Flush { answer } => {
                let _gone = answer.send(turns.flush().await.map(drop));
            }
            Command::Delegated { answer } => {
                let _gone = answer.send(delegated(turns).await);
            }
            Command::WorldChanged { proposers, answer } => {
                let _gone = answer.send(judge_again(turns, proposers).await);
            }
        }
    }
    for (reply, done) in replies.into_iter().zip(turns.run(jobs).await) {
        // A caller that went away has lost interest in the answer, not in the effect.
        let _gone = match (reply, done) {
            (Reply::Open(answer), Ok(Done::Opened(opened))) => answer.send(Ok(opened)).is_ok(),
            (Reply::Step(answer), Ok(Done::Stepped(stepped))) => answer.send(Ok(*stepped)).is_ok(),
            (Reply::Open(answer), Err(error)) => answer.send(Err(error)).is_ok(),
            (Reply::Step(answer), Err(error)) => answer.send(Err(error)).is_ok(),
            _ => false,
        };
    }
}

async fn tick(turns: &mut Turns) {
    if let Err(error) = turns.catch_up().await {
        tracing::error!(%error, "the log is behind the store");
        return;
    }
    let now = turns.parts.clock.now();
    let limit = u32::try_from(BATCH).unwrap_or(u32::MAX);
    match turns.parts.store.due(now, limit).await {
        Ok(mut due) => {
            // Cases that ended have no deadline, and their reviews nevertheless become overdue.
            due.extend(turns.parts.emergencies.untold(now));
            let tick = |id| Job::Step(id, Box::new(Input::Event(Event::Tick)));
            let _each_says_so_itself = turns.run(due.into_iter().map(tick).collect()).await;
        }
        Err(error) => tracing::error!(%error, "deadlines can't be read"),
    }
}

async fn judge_again(
    turns: &mut Turns,
    proposers: BTreeSet<PersonId>,
) -> Result<usize, EngineError> {
    let mut stopped = 0;
    let (store, now) = (turns.parts.store.clone(), turns.parts.clock.now());
    let waiting = [
        store.in_phase("held").await?,
        store.in_phase("approved").await?,
    ];
    // The votes of those whose grants go on still count.
    for ids in waiting
        .into_iter()
        .chain([store.granting(None, now).await?])
    {
        for some in ids.chunks(BATCH / 2) {
            let events = some.iter().flat_map(|id| {
                let grew = Event::SelfGrew {
                    people: proposers.clone(),
                };
                let step = |event| Job::Step(id.clone(), Box::new(Input::Event(event)));
                [step(grew), step(Event::WorldChanged)]
            });
            for done in turns.run(events.collect()).await {
                // Nobody can decide about one that was edited; it keeps nobody from being stopped.
                if matches!(done, Err(EngineError::ForgedRequest(_))) {
                    continue;
                }
                if let Done::Stepped(stepped) = done?
                    && let Phase::Closed {
                        closure: Closure::RequesterStopped { .. },
                        ..
                    } = stepped.case.phase
                {
                    stopped += 1;
                }
            }
        }
    }
    Ok(stopped)
}

/// Whoever lets the requester of an open request act for them since it asked is *self* for it from now on.
async fn delegated(turns: &mut Turns) -> Result<(), EngineError> {
    let parts = turns.parts.clone();
    let (store, active) = (parts.store.as_ref(), parts.active.borrow().clone());
    let now = parts.clock.now();
    // Of each chain once, however much it has asked.
    let mut behind: BTreeMap<Vec<SubjectId>, BTreeSet<PersonId>> = BTreeMap::new();
    for open in turns.desk().open(store).await? {
        let within = (store, active.directory.as_ref());
        let chain = &open.request.chain;
        let members = chain.members().map(|member| member.id.clone()).collect();
        let people = match behind.entry(members) {
            Entry::Occupied(known) => known.get().clone(),
            Entry::Vacant(new) => {
                let people = parts.delegations.behind(chain, within, now).await?;
                new.insert(people).clone()
            }
        };
        if people.is_empty() {
            continue;
        }
        let event = Event::SelfGrew { people };
        let step = Job::Step(open.request.id.clone(), Box::new(Input::Event(event)));
        for done in turns.run(vec![step]).await {
            match done {
                // Nobody can decide about one that was edited, and one may have ended in a turn before.
                Ok(_) | Err(EngineError::ForgedRequest(_) | EngineError::Refused(_)) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}
