//! Everything at the same instant (P7).

use std::{collections::BTreeSet, sync::Arc};

use serde_json::{Value, json};
use tokio::sync::Barrier;

use crate::support::{Lab, event, files::limit, full, until};

/// With as many more people as the crowd has.
async fn crowded(people: usize) -> Lab {
    Lab::with(|files| {
        let config = files.get_mut("countersign.toml").unwrap();
        for n in 0..people {
            config.push_str(&format!("[person.c{n}]\ngroups = [\"crowd\"]\n"));
        }
    })
    .await
}

/// 64 people vote on one request at the same instant: those who are needed count, once each.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_64_votes_at_once_the_needed_ones_count() {
    const PEOPLE: usize = 64;
    let lab = crowded(PEOPLE).await;
    let bot = lab.bot().await;
    for round in 0..if full() { 50 } else { 2 } {
        let id = bot.held(&format!("./tally crowd r{round}")).await;
        let barrier = Arc::new(Barrier::new(PEOPLE));
        let mut votes = Vec::new();
        for n in 0..PEOPLE {
            let person = lab.session(&format!("c{n}")).await;
            let (id, barrier) = (id.clone(), barrier.clone());
            votes.push(tokio::spawn(async move {
                let seen = person.see(&id).await;
                barrier.wait().await;
                person.vote_seen(&id, "approve", &seen).await
            }));
        }
        let answers = futures_util::future::join_all(votes).await;
        let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
        let counted = answers.iter().filter(|answer| answer.status == 200).count();
        assert_eq!(counted, 3, "{answers:?}");
        for answer in answers.iter().filter(|answer| answer.status != 200) {
            answer.refused("too many", 409, "not_needed");
        }
        assert_eq!(lab.state(&id).await, "approved");
        let of_request = |entry: &&crate::support::journal::Entry| {
            entry.kind() == "approval.decided" && entry.request() == Some(&id)
        };
        assert_eq!(lab.records().iter().filter(of_request).count(), 3);
        bot.run(&format!("./tally crowd r{round}"), 0).await;
        assert_eq!(lab.place.ran_with(&format!("r{round}")), 1);
    }
    lab.verify().await;
}

/// 64 identical calls wait when the approval comes: one runs, the others are told so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_64_waiting_calls_one_runs() {
    const CALLS: usize = 64;
    let lab = Lab::new().await;
    let (bot, ann) = (lab.bot().await, lab.session("ann").await);
    for round in 0..if full() { 50 } else { 2 } {
        let command = format!("./tally one r{round}");
        let id = bot.held(&command).await;
        let waiting: Vec<_> = (0..CALLS).map(|_| bot.start(&command, 30_000)).collect();
        // Some wait by now, some come in the middle, some after.
        tokio::time::sleep(std::time::Duration::from_millis(150 * (round % 3))).await;
        ann.approve(&id).await;
        let ends = futures_util::future::join_all(waiting).await;
        let ends: Vec<Vec<Value>> = ends.into_iter().map(Result::unwrap).collect();
        let ran = ends
            .iter()
            .filter(|events| event(events, "exited").is_some())
            .count();
        assert_eq!(ran, 1);
        for events in ends
            .iter()
            .filter(|events| event(events, "exited").is_none())
        {
            let last = events.last().unwrap();
            // Whoever came after it had run asked anew.
            let told = last["code"] == "already_claimed" || last["event"] == "still_held";
            let asked_anew = last["event"] == "still_held" && last["request"] != json!(id);
            assert!(
                told && (last["event"] != "still_held" || asked_anew),
                "{events:?}"
            );
        }
        assert_eq!(lab.place.ran_with(&format!("r{round}")), 1);
    }
    lab.verify().await;
}

/// 64 claims of one approved request at the same instant.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_64_claims_at_once_one_runs() {
    let lab = Lab::new().await;
    let (bot, ann) = (lab.bot().await, lab.session("ann").await);
    let id = bot.held("./tally one x").await;
    ann.approve(&id).await;
    let claims = (0..64).map(|_| bot.claim(&id, "./tally one x"));
    let ends = futures_util::future::join_all(claims).await;
    let ran = ends.iter().filter(|last| last["event"] == "exited").count();
    let told = ends
        .iter()
        .filter(|last| last["code"] == "already_claimed")
        .count();
    assert_eq!((ran, told), (1, 63), "{ends:?}");
    assert_eq!(lab.place.ran(), ["x"]);
    lab.verify().await;
}

/// However many come in one turn, no more wait than may.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_wait_for_one_subject() {
    let lab = Lab::new().await;
    let bot = lab.bot().await;
    let asked = (0..150).map(|n| {
        let bot = bot.clone();
        tokio::spawn(async move { bot.run(&format!("./tally one w{n}"), 0).await })
    });
    let (mut held, mut refused) = (0, 0);
    for events in futures_util::future::join_all(asked).await {
        let events = events.unwrap();
        held += usize::from(event(&events, "held").is_some());
        refused += usize::from(events.last().unwrap()["code"] == "too_many_held");
    }
    assert_eq!((held, refused), (100, 50));
}

/// Distinct requests side by side: each is held, approved and run exactly once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_requests_run_once_each() {
    let count = if full() { 800 } else { 200 };
    let lab = Lab::with(|files| limit(files, "max_held_per_subject", 1_000)).await;
    let bot = lab.bot().await;
    let people = [
        lab.session("ann").await,
        lab.session("bob").await,
        lab.session("cyd").await,
    ];
    // One subject has at most 256 calls under way.
    for wave in (0..count).collect::<Vec<_>>().chunks(200) {
        let mut runs = Vec::new();
        for n in wave.iter().copied() {
            let (bot, person) = (bot.clone(), people[n % 3].clone());
            runs.push(tokio::spawn(async move {
                let command = format!("./tally one w{n}");
                let id = bot.held(&command).await;
                person.approve(&id).await;
                bot.run(&command, 0).await
            }));
        }
        for run in runs {
            let events = run.await.unwrap();
            assert_eq!(event(&events, "exited").unwrap()["status"], 0, "{events:?}");
        }
    }
    let mut ran = lab.place.ran();
    assert_eq!(ran.len(), count);
    ran.sort_unstable();
    ran.dedup();
    assert_eq!(ran.len(), count);
    let permits: BTreeSet<String> = lab
        .records()
        .iter()
        .filter(|entry| entry.kind() == "action.permitted" && entry.evidence["held"] == true)
        .map(|entry| entry.field("permit").to_string())
        .collect();
    assert_eq!(permits.len(), count);
    lab.verify().await;
}

/// Comments, questions, votes, withdrawals, cancellations and claims in any order: nothing is lost,
/// nothing runs twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_act_on_one_request_at_once() {
    let lab = Lab::with(|files| limit(files, "max_held_per_subject", 1_000)).await;
    let (bot, olga) = (lab.bot().await, lab.session("olga").await);
    for round in 0..if full() { 200 } else { 10 } {
        let command = format!("./tally two r{round}");
        let id = bot.held(&command).await;
        let path = |act: &str| format!("/v1/requests/{id}/{act}");
        let mut acts = Vec::new();
        for name in ["ann", "bob", "cyd", "sid"] {
            let person = lab.session(name).await;
            let (id, comments, withdraw) = (id.clone(), path("comments"), path("withdraw"));
            acts.push(tokio::spawn(async move {
                let said = person.post(&comments, &json!({ "text": "looking" })).await;
                let voted = person.vote(&id, "approve").await;
                if name == "ann" {
                    person.post(&withdraw, &json!({})).await;
                }
                assert!(said.status == 200 || said.status == 409, "{said:?}");
                assert!([200, 409].contains(&voted.status), "{voted:?}");
                usize::from(said.status == 200)
            }));
        }
        let waiting = [bot.start(&command, 400), bot.start(&command, 400)];
        if round % 2 == 1 {
            let cancelled = olga.post(&path("cancel"), &json!({})).await;
            assert!([200, 409].contains(&cancelled.status), "{cancelled:?}");
        }
        let mut said = 0;
        for act in acts {
            said += act.await.unwrap();
        }
        for call in waiting {
            call.await.unwrap();
        }
        assert_eq!(lab.stored(&id).await.conversation.len(), said);
        assert!(lab.place.ran_with(&format!("r{round}")) <= 1);
    }
    until("every run has ended", || async {
        lab.gateway
            .store
            .in_phase("running")
            .await
            .unwrap()
            .is_empty()
    })
    .await;
    lab.verify().await;
}
