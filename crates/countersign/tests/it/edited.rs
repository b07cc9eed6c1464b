//! A database edited by hand while the gateway is stopped: people, policies and credentials that no
//! record stands behind are believed by no start (P9).

use std::net::SocketAddr;

use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, SqliteConnection};

use crate::{
    record::edit,
    support::{Lab, Place},
};

async fn sql(place: &Place, text: &str) {
    let path = place.data().join("countersign.db");
    let address = format!("sqlite://{}", path.display());
    let mut database = SqliteConnection::connect(&address).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(text.to_owned()))
        .execute(&mut database)
        .await
        .unwrap();
    database.close().await.unwrap();
}

fn nowhere() -> SocketAddr {
    "127.0.0.1:1".parse().unwrap()
}

/// A place with some history: a person added, an agent stopped, another policy active.
async fn lived_in() -> Place {
    let lab = Lab::new().await;
    lab.change_by(
        "ada",
        "person-add",
        json!({ "person": "eve", "groups": ["crowd"] }),
    )
    .await;
    let ada = lab.session("ada").await;
    ada.propose("agent-stop", json!({ "agent": "twin" }))
        .await
        .expect(200);
    lab.stop().await
}

#[tokio::test]
async fn what_was_recorded_is_believed() {
    let mut place = lived_in().await;
    for _ in 0..2 {
        place = Lab::at(place).await.stop().await;
    }
}

#[tokio::test]
async fn people_and_policies_edited_in_the_database_keep_the_gateway_from_starting() {
    let edits = [
        (
            "somebody disabled",
            "DROP TRIGGER bundles_fixed; UPDATE bundles SET directory = \
             replace(directory, '\"disabled\":false', '\"disabled\":true') WHERE active = 1",
        ),
        (
            "a change more",
            "INSERT INTO directory_changes (change, at, countersigned) VALUES \
             ('{\"change\":\"add_membership\",\"person\":\"eve\",\"group\":\"reviewers\"}', 1, 1)",
        ),
        (
            "a stop undone",
            "DELETE FROM directory_changes WHERE change LIKE '%stop_agent%'",
        ),
        (
            "a change countersigned that was not",
            "UPDATE directory_changes SET countersigned = 1 - countersigned",
        ),
    ];
    for (what, edit) in edits {
        let place = lived_in().await;
        sql(&place, edit).await;
        let refused = place
            .open(nowhere())
            .await
            .err()
            .unwrap_or_else(|| panic!("{what}"));
        let why = format!("{refused:#}");
        assert!(why.contains("not those that the log has"), "{what}: {why}");
    }
}

#[tokio::test]
async fn credentials_edited_in_the_database_are_none() {
    let edits = [
        ("another holder", "holder = 'person:ann'"),
        ("longer", "expires = expires + 1"),
        ("another issuer", "issued_by = 'bob'"),
        (
            "nobody had a hand in it",
            "extra = replace(extra, 'lineage', 'linage')",
        ),
        ("no seal", "extra = '{\"lineage\":[]}'"),
    ];
    for (what, edit) in edits {
        let lab = Lab::new().await;
        let session = lab.session("olga").await;
        session.get("/v1/whoami").await.expect(200);
        let edit = format!(
            "DROP TRIGGER IF EXISTS credentials_step; UPDATE credentials SET {edit} \
             WHERE holder = 'person:olga' AND kind = 'session'"
        );
        sql(&lab.place, &edit).await;
        let refused = session.get("/v1/whoami").await.expect(401);
        assert_eq!(refused.text("type"), "unauthenticated", "{what}");
        let codes: Vec<_> = lab
            .records()
            .iter()
            .filter(|entry| entry.kind() == "refused")
            .map(|entry| entry.field("code").clone())
            .collect();
        assert_eq!(codes, [json!("forged_credential")], "{what}");
    }
}

/// What would be shown to reviewers, or decided, was edited while the gateway runs.
#[tokio::test]
async fn a_request_edited_in_the_database_is_neither_shown_nor_decided() {
    let edits = [
        ("the text shown", "'./tally one x'", "'./tally one y'"),
        ("who asked", "'\"bot\"'", "'\"twin\"'"),
        ("how many must agree", "'\"count\":2'", "'\"count\":1'"),
        ("the seal", "'\"seal\":'", "'\"sail\":'"),
    ];
    for (what, old, new) in edits {
        let lab = Lab::new().await;
        let (bot, ann) = (lab.bot().await, lab.session("ann").await);
        let id = bot.held("./tally two x").await;
        let (old, new) = (old.replace("one", "two"), new.replace("one", "two"));
        let edit = format!(
            "DROP TRIGGER cases_step; UPDATE cases SET body = \
             CAST(replace(CAST(body AS TEXT), {old}, {new}) AS BLOB) WHERE id = '{id}'"
        );
        let seen = ann.see(&id).await;
        sql(&lab.place, &edit).await;
        let shown = ann.get(&format!("/v1/requests/{id}")).await;
        shown.refused(what, 409, "forged_request");
        let voted = ann.vote_seen(&id, "approve", &seen).await;
        voted.refused(what, 409, "forged_request");
        let claimed = bot.claim(&id, "./tally two x").await;
        assert_eq!(claimed["event"], "refused", "{what}: {claimed}");
        lab.nothing_ran().await;
    }
}

/// A record that somebody put where records wait for the log is not recorded as ours.
#[tokio::test]
async fn a_record_put_into_the_outbox_is_refused() {
    let lab = Lab::new().await;
    let before = lab.records().len();
    let place = lab.stop().await;
    let forged = json!({
        "at": 1,
        "body": { "type": "credential.revoked", "credential": "cred_00000000000000000000000001" },
        "digest": null,
        "request": null,
        "evidence": { "world": "00" },
    });
    let plain = forged.to_string();
    let sealed = json!({ "record": plain, "seal": "00".repeat(32) }).to_string();
    for body in [plain, sealed] {
        let insert = format!("INSERT INTO outbox (record) VALUES (CAST('{body}' AS BLOB))");
        sql(&place, &insert).await;
    }
    let lab = Lab::at(place).await;
    let entries = lab.records();
    let new: Vec<_> = entries
        .iter()
        .skip(before)
        .map(|entry| entry.kind())
        .collect();
    assert!(!new.contains(&"credential.revoked"), "{new:?}");
    let events = new.iter().filter(|kind| **kind == "security.event");
    assert_eq!(events.count(), 2, "{new:?}");
    lab.stop().await;
}

/// A change would vouch for what was edited before it.
#[tokio::test]
async fn no_change_is_built_on_an_edited_directory() {
    let edits = [
        "INSERT INTO directory_changes (change, at, countersigned) VALUES \
         ('{\"change\":\"add_membership\",\"person\":\"eve\",\"group\":\"reviewers\"}', 1, 1)",
        "DROP TRIGGER bundles_fixed; UPDATE bundles SET directory = \
         replace(directory, '\"disabled\":false', '\"disabled\":true') WHERE active = 1",
    ];
    for edit in edits {
        let lab = Lab::new().await;
        lab.change_by(
            "ada",
            "person-add",
            json!({ "person": "eve", "groups": [] }),
        )
        .await;
        sql(&lab.place, edit).await;
        let recorded = lab.records().len();
        let ada = lab.session("ada").await;
        let answer = ada.propose("agent-stop", json!({ "agent": "twin" })).await;
        assert!(
            answer.body.to_string().contains("changed the database"),
            "{}",
            answer.body
        );
        let stopped = |entry: &&crate::support::journal::Entry| entry.kind() == "directory.changed";
        let entries = lab.records();
        assert_eq!(entries.iter().skip(recorded).filter(stopped).count(), 0);
        assert!(lab.place.open(nowhere()).await.is_err());
    }
}

/// A start records how edited requests ended, and vouches for nothing that was written into them.
#[tokio::test]
async fn what_was_edited_is_not_sealed_by_ending_it() {
    let lab = Lab::new().await;
    let (bot, ann) = (lab.bot().await, lab.session("ann").await);
    let id = bot.held("./tally one x").await;
    ann.approve(&id).await;
    bot.run("./tally one x", 0).await;
    assert_eq!(lab.state(&id).await, "succeeded");
    edit(&lab, &id, |case| {
        let permit = case["phase"]["permit"].clone();
        case["phase"] =
            json!({ "phase": "running", "permit": permit, "since": case["request"]["at"] });
        case["request"]["presentation"]["body"] = json!("$ ./tally one harmless");
    })
    .await;
    let lab = lab.restart().await;
    assert_eq!(lab.state(&id).await, "unknown");
    let shown = lab.session("ann").await;
    let shown = shown.get(&format!("/v1/requests/{id}")).await;
    shown.refused("after the start", 409, "forged_request");
}
