//! Everything that happens is a record, and what the database says counts only where it was signed
//! (P6, P10).

use countersign_store::CredentialKind;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, SqliteConnection};

use crate::support::{Lab, argv, journal::Entry, process::countersign};

/// The kinds of records of one request, in order.
fn kinds(lab: &Lab, id: &str) -> Vec<String> {
    let entries = lab.records();
    let of = entries.iter().filter(|entry| entry.request() == Some(id));
    of.map(|entry| entry.kind().to_owned()).collect()
}

/// Asserts that `countersign log list` has every record, and everybody in them by name.
fn assert_listed(lab: &Lab) {
    let mut command = countersign();
    command.args(["log", "list", "--last", "0", "--json"]);
    let listed = command.arg(lab.place.data()).output().unwrap();
    let text = String::from_utf8(listed.stdout).unwrap();
    let mut lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let counted = lines.pop().unwrap();
    let records = lab.records();
    assert_eq!(counted, json!({ "listed": records.len(), "left_out": 0 }));
    for (line, record) in lines.iter().zip(&records) {
        assert_eq!(line["kind"], record.kind());
        let is_known = !line["who"].as_str().unwrap_or_default().starts_with("ref:");
        assert!(is_known, "{line}");
        let is_about = record.request().is_some();
        assert_eq!(line["action"].is_string(), is_about, "{line}");
        assert!(line["who"].is_string() || !is_about, "{line}");
    }
}

#[tokio::test]
async fn the_life_of_a_request_is_recorded() {
    let lab = Lab::new().await;
    let (bot, ann, bob) = (
        lab.bot().await,
        lab.session("ann").await,
        lab.session("bob").await,
    );
    let id = bot.held("./tally two x").await;
    let path = |act: &str| format!("/v1/requests/{id}/{act}");
    let asked = ann
        .post(&path("questions"), &json!({ "text": "why?" }))
        .await
        .expect(200);
    let question = asked.body["conversation"][0]["id"].clone();
    bot.post(
        &path("answers"),
        &json!({ "text": "because", "to": question }),
    )
    .await
    .expect(200);
    bot.post(&path("comments"), &json!({ "text": "thanks" }))
        .await
        .expect(200);
    bot.post(
        &path("votes"),
        &json!({ "verdict": "approve", "digest": "x", "act": "x" }),
    )
    .await
    .expect(403);
    ann.approve(&id).await;
    ann.post(&path("withdraw"), &json!({})).await.expect(200);
    ann.approve(&id).await;
    bob.approve(&id).await;
    let ann_claims = ann.claim(&id, "./tally two x").await;
    assert_eq!(ann_claims["code"], "not_requester");
    bot.run("./tally two x", 0).await;
    let expected = [
        "action.requested",
        "policy.decided",
        "commented",
        "commented",
        "commented",
        "refused",
        "opened",
        "approval.decided",
        "approval.withdrawn",
        "approval.decided",
        "opened",
        "approval.decided",
        "refused",
        "policy.decided",
        "action.permitted",
        "action.outcome",
    ];
    assert_eq!(kinds(&lab, &id), expected);
    let numbers: Vec<u64> = lab
        .records()
        .iter()
        .filter_map(|entry| entry.leaf.request.clone())
        .filter(|within| within.id.as_str() == id)
        .map(|within| within.seq)
        .collect();
    assert_eq!(numbers, (0..16).collect::<Vec<_>>());
    assert_listed(&lab);
    lab.verify().await;
}

/// Every other end of a request, and requests that never wait.
#[tokio::test]
async fn every_end_is_recorded() {
    let lab = Lab::new().await;
    let (bot, ann) = (lab.bot().await, lab.session("ann").await);
    let request = |events: &[Value]| events[0]["request"].as_str().unwrap().to_owned();
    let free = request(&bot.run("./tally free f", 0).await);
    assert_eq!(
        kinds(&lab, &free),
        [
            "action.requested",
            "policy.decided",
            "action.permitted",
            "action.outcome"
        ]
    );
    let never = request(&bot.run("./tally never n", 0).await);
    assert_eq!(kinds(&lab, &never), ["action.requested", "policy.decided"]);
    let cancelled = bot.held("./tally one c").await;
    bot.post(&format!("/v1/requests/{cancelled}/cancel"), &json!({}))
        .await
        .expect(200);
    let denied = bot.held("./tally one d").await;
    ann.vote(&denied, "deny").await.expect(200);
    let again = request(&bot.run("./tally one d", 0).await);
    let amended = bot.held("./tally one a").await;
    let body = json!({ "argv": argv("./tally one b"), "text": "rather this" });
    ann.post(&format!("/v1/requests/{amended}/amendments"), &body)
        .await
        .expect(200);
    let expired = bot.held("./tally short e").await;
    tokio::time::sleep(std::time::Duration::from_millis(2_500)).await;
    for (what, id, why) in [
        ("cancelled", &cancelled, "cancelled"),
        ("denied", &denied, "denied"),
        ("amended", &amended, "amended"),
        ("expired", &expired, "expired"),
    ] {
        let entries = lab.records();
        let closed = entries
            .iter()
            .rfind(|entry| entry.request() == Some(id))
            .unwrap();
        assert_eq!(closed.kind(), "request.closed", "{what}");
        assert_eq!(closed.field("why"), why, "{what}");
    }
    assert_eq!(kinds(&lab, &again), ["action.requested", "policy.decided"]);
    assert_listed(&lab);
    lab.verify().await;
}

/// Changes of people, machines, credentials and bundle, and strangers at the door.
#[tokio::test]
async fn every_change_of_countersign_itself_is_recorded() {
    let lab = Lab::new().await;
    let ada = lab.session("ada").await;
    let since = lab.records().len();
    let bot = lab.bot().await;
    lab.apply(|files| {
        files
            .get_mut("approvals.toml")
            .unwrap()
            .push_str("# changed\n")
    })
    .await;
    lab.change_by(
        "ada",
        "person-add",
        json!({ "person": "eve", "groups": [] }),
    )
    .await;
    ada.propose("agent-stop", json!({ "agent": "twin" }))
        .await
        .expect(200);
    ada.propose("agent-token", json!({ "agent": "bot" }))
        .await
        .expect(200);
    ada.propose("person-link", json!({ "person": "eve" }))
        .await
        .expect(200);
    ada.propose("credential-revoke", json!({ "credential": bot.id }))
        .await
        .expect(200);
    bot.get("/v1/whoami").await.expect(401);
    lab.session("ann")
        .await
        .propose("agent-stop", json!({ "agent": "bot" }))
        .await
        .expect(200);
    let (entries, mut seen) = (lab.records(), Vec::new());
    for entry in entries.iter().skip(since) {
        let more = match entry.kind() {
            "directory.changed" => entry.field("what"),
            "credential.issued" => entry.field("kind"),
            "policy.activated" => entry.field("by"),
            "refused" => entry.field("code"),
            "credential.revoked" => &Value::Null,
            _ => continue,
        };
        seen.push(format!(
            "{} {}",
            entry.kind(),
            more.as_str().unwrap_or_default()
        ));
    }
    for expected in [
        "credential.issued token",
        "credential.issued link",
        "credential.issued session",
        "policy.activated request",
        "directory.changed add_person",
        "directory.changed stop_agent",
        "credential.revoked ",
        "refused invalid_credential",
    ] {
        assert!(
            seen.iter().any(|one| one == expected),
            "{expected}: {seen:?}"
        );
    }
    // The proposal that policy denied is one like any other.
    let denied = entries
        .iter()
        .rfind(|entry| entry.kind() == "policy.decided")
        .unwrap();
    assert_eq!(denied.field("decision"), "deny");
    assert_listed(&lab);
    lab.verify().await;
}

/// Names, words and reasons are in the evidence alone; the leaves can be shown to anybody (P11).
#[tokio::test]
async fn leaves_hold_no_names_and_no_content() {
    let lab = Lab::new().await;
    let (bot, ann) = (lab.bot().await, lab.session("ann").await);
    let call = json!({ "argv": argv("./tally one sesame"), "reason": "sesame", "wait_ms": 0 });
    let events = bot.run_with(call).await;
    let id = events[0]["request"].as_str().unwrap();
    ann.post(
        &format!("/v1/requests/{id}/comments"),
        &json!({ "text": "sesame" }),
    )
    .await
    .expect(200);
    ann.approve(id).await;
    bot.run("./tally one sesame", 0).await;
    for entry in lab.records() {
        let leaf = serde_json::to_string(&entry.leaf).unwrap();
        for word in [
            "sesame", "\"ann\"", "\"olga\"", "\"bot\"", "person:", "agent:",
        ] {
            assert!(!leaf.contains(word), "{word} in {leaf}");
        }
    }
    lab.verify().await;
}

pub(crate) async fn database(lab: &Lab) -> SqliteConnection {
    let path = lab.place.data().join("countersign.db");
    SqliteConnection::connect(&format!("sqlite://{}", path.display()))
        .await
        .unwrap()
}

pub(crate) async fn sql(database: &mut SqliteConnection, text: &str) {
    sqlx::raw_sql(AssertSqlSafe(text.to_owned()))
        .execute(database)
        .await
        .unwrap();
}

/// What somebody with the database does by hand: the schema's guards go first.
pub(crate) async fn edit(lab: &Lab, id: &str, change: impl FnOnce(&mut Value)) {
    let mut database = database(lab).await;
    sql(&mut database, "DROP TRIGGER cases_step; DROP TRIGGER votes_begin; DROP TRIGGER votes_fixed; DROP TRIGGER votes_end;").await;
    let body: Vec<u8> = sqlx::query_scalar("SELECT body FROM cases WHERE id = $1")
        .bind(id.to_owned())
        .fetch_one(&mut database)
        .await
        .unwrap();
    let mut case: Value = serde_json::from_slice(&body).unwrap();
    change(&mut case);
    // The column has the outcome's name where the body has that it is finished.
    let phase = case["phase"]["outcome"].as_str();
    let phase = phase
        .or(case["phase"]["phase"].as_str())
        .unwrap()
        .to_owned();
    sqlx::query("UPDATE cases SET body = $2, phase = $3 WHERE id = $1")
        .bind(id.to_owned())
        .bind(serde_json::to_vec(&case).unwrap())
        .bind(phase)
        .execute(&mut database)
        .await
        .unwrap();
}

fn security_events(lab: &Lab) -> usize {
    let is_one = |entry: &&Entry| entry.kind() == "security.event";
    lab.records().iter().filter(is_one).count()
}

/// A case edited in the database runs nothing, and says so.
#[tokio::test]
async fn what_was_edited_by_hand_does_not_run() {
    type Change = fn(&mut Value);
    fn approve(case: &mut Value, voter: &str) {
        let vote = json!({
            "voter": voter,
            "credential": { "id": "cred_00000000000000000000000001", "issued_by": null, "assurance": "session" },
            "verdict": "approve",
            "reason": null,
            "digest": case["request"]["digest"],
            "at": case["request"]["at"],
        });
        case["votes"].as_array_mut().unwrap().push(vote);
        let until = case["request"]["at"].as_i64().unwrap() + 600_000;
        case["phase"] = json!({ "phase": "approved", "until": until });
    }
    let table: [(&str, bool, Change); 9] = [
        ("a forged approval", false, |case| approve(case, "ann")),
        ("an approval without votes", false, |case| {
            let until = case["request"]["at"].as_i64().unwrap() + 600_000;
            case["phase"] = json!({ "phase": "approved", "until": until });
        }),
        ("the owner's forged approval", false, |case| {
            approve(case, "olga")
        }),
        ("no rules", false, |case| {
            case["request"]["rules"] = json!([]);
            approve(case, "ann");
        }),
        ("a renamed voter", true, |case| {
            case["votes"][0]["voter"] = json!("bob")
        }),
        ("an added reason", true, |case| {
            case["votes"][0]["reason"] = json!("I read it")
        }),
        ("a later vote", true, |case| {
            let at = case["votes"][0]["at"].as_i64().unwrap();
            case["votes"][0]["at"] = json!(at + 1);
        }),
        ("another command", true, |case| {
            case["request"]["action"]["arguments"]["argv"][2] = json!("evil")
        }),
        ("another text was shown", true, |case| {
            case["request"]["presentation"]["body"] = json!("$ ./tally one harmless");
        }),
    ];
    for (what, voted, change) in table {
        let lab = Lab::new().await;
        let bot = lab.bot().await;
        let id = bot.held("./tally one x").await;
        if voted {
            lab.session("ann").await.approve(&id).await;
        }
        edit(&lab, &id, change).await;
        let last = bot.claim(&id, "./tally one x").await;
        assert!(
            ["refused", "still_held"].contains(&last["event"].as_str().unwrap()),
            "{what}: {last}"
        );
        assert_eq!(last["code"], "forged_request", "{what}: {last}");
        assert_eq!(security_events(&lab), 1, "{what}");
        lab.nothing_ran().await;
    }
}

/// A vote's signed statement, exchanged for another genuine one.
#[tokio::test]
async fn an_envelope_fits_one_vote() {
    let lab = Lab::new().await;
    let (bot, ann) = (lab.bot().await, lab.session("ann").await);
    let (mine, other) = (
        bot.held("./tally one x").await,
        bot.held("./tally one y").await,
    );
    ann.approve(&mine).await;
    ann.approve(&other).await;
    let mut database = database(&lab).await;
    sql(&mut database, "DROP TRIGGER votes_fixed").await;
    let exchange = format!(
        "UPDATE votes SET envelope = (SELECT envelope FROM votes WHERE request = '{other}') \
         WHERE request = '{mine}'"
    );
    sql(&mut database, &exchange).await;
    let last = bot.claim(&mine, "./tally one x").await;
    assert_eq!(last["code"], "forged_vote", "{last}");
    // A denial that was signed, in place of the approval.
    sql(
        &mut database,
        &format!("UPDATE votes SET envelope = x'7b7d' WHERE request = '{other}'"),
    )
    .await;
    let last = bot.claim(&other, "./tally one y").await;
    assert_eq!(last["code"], "forged_vote", "{last}");
    assert_eq!(security_events(&lab), 2);
    lab.nothing_ran().await;
}

/// A bundle edited in the database is not loaded.
#[tokio::test]
async fn an_edited_bundle_is_not_loaded() {
    let lab = Lab::new().await;
    let mut database = database(&lab).await;
    sql(&mut database, "DROP TRIGGER bundles_fixed").await;
    let open =
        "UPDATE bundles SET files = replace(files, 'count = 2', 'count = 1') WHERE active = 1";
    sql(&mut database, open).await;
    drop(database);
    let place = lab.stop().await;
    let error = place.open(([127, 0, 0, 1], 1).into()).await.err().unwrap();
    assert!(
        format!("{error:#}").contains("changed in the database"),
        "{error:#}"
    );
    assert_eq!(place.ran(), Vec::<String>::new());
}

/// A secret is kept only as a hash.
#[tokio::test]
async fn secrets_are_nowhere_in_the_data() {
    let lab = Lab::new().await;
    let bot = lab.bot().await;
    let (link, _) = lab.issue(CredentialKind::Link, "person:ann", None).await;
    let ann = lab.session("ann").await;
    let issued = lab
        .session("ada")
        .await
        .propose("agent-token", json!({ "agent": "bot" }))
        .await;
    let token = issued.body["result"]["token"].as_str().unwrap().to_owned();
    lab.gateway.log.checkpoint().await;
    for file in ["countersign.db", "countersign.db-wal", "log/journal"] {
        let Ok(bytes) = std::fs::read(lab.place.data().join(file)) else {
            continue;
        };
        for secret in [&bot.secret, &link, &ann.secret, &token] {
            let found = bytes
                .windows(secret.len())
                .any(|window| window == secret.as_bytes());
            assert!(!found, "{file}");
        }
    }
    lab.verify().await;
}

/// What is recorded of a held request is what policy was asked when it decided, not what it would
/// be asked by the time that the request reaches the engine.
#[tokio::test]
async fn a_hold_is_recorded_with_the_question_that_was_decided() {
    let lab = Lab::new().await;
    let bot = lab.bot().await;
    let asked = (0..40).map(|n| {
        let (bot, command) = (bot.clone(), format!("./tally one h{n}"));
        async move { bot.run(&command, 0).await }
    });
    futures_util::future::join_all(asked).await;
    let entries = lab.records();
    let decided: Vec<_> = entries
        .iter()
        .filter(|entry| entry.kind() == "policy.decided" && entry.request().is_some())
        .filter(|entry| entry.field("decision") == "hold")
        .collect();
    assert_eq!(decided.len(), 40);
    for entry in decided {
        let now = &entry.evidence["input"]["asks"][0]["context"]["now"];
        let at: jiff::Timestamp = entry.leaf.at.to_string().parse().unwrap();
        let at = jiff::fmt::strtime::format("%Y-%m-%dT%H:%M:%S%.3fZ", at).unwrap();
        assert!(now.to_string().contains(&at), "{now} {at}");
    }
}
