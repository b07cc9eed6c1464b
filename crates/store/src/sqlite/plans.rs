//! Tests that no query on a hot path looks at every row.

use countersign_core::{id::RequestId, time::Timestamp};
use sqlx::{AssertSqlSafe, Row};

use super::{SqliteStore, cards, cases, credentials, deliveries, list};
use crate::CaseFilter;

async fn plan_of(store: &SqliteStore, statement: &str) -> Vec<String> {
    let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {statement}"));
    let rows = sqlx::query(explain).fetch_all(&store.readers).await;
    let rows = rows.unwrap();
    rows.iter().map(|row| row.get("detail")).collect()
}

/// Fails on a step that reads a whole table, or sorts anything but the page of a subquery.
fn assert_direct(statement: &str, plan: &[String], may_walk: &str) {
    let steps = std::iter::once("").chain(plan.iter().map(String::as_str));
    for (before, step) in steps.zip(plan) {
        let walks = step.starts_with("SCAN c") || step.starts_with("SCAN p");
        let sorts = step.contains("ORDER BY") && !before.starts_with("SCAN (subquery");
        let fine = !sorts && (!walks || step.ends_with(may_walk));
        assert!(fine, "{step}\n{statement}\n{plan:#?}");
    }
}

#[tokio::test]
async fn single_queries_use_their_index() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&directory.path().join("store.db")).await;
    let store = store.unwrap();
    for (statement, index) in [
        (cases::FIND_ATTACHABLE, "cases_one_open_per_key"),
        (cases::FIND_ATTACHABLE, "cases_refusing"),
        (cases::DUE, "COVERING INDEX cases_due"),
        (cases::IN_PHASE, "COVERING INDEX cases_by_phase"),
        (cases::OPEN_OF_REQUESTER, "cases_open_by_requester"),
        (cases::GRANTING, "COVERING INDEX cases_granted"),
        (cases::GRANTING_OF, "COVERING INDEX cases_granting"),
        (
            cases::REFUSED_UNTIL,
            "denials USING PRIMARY KEY (member=? AND target=?",
        ),
        (
            cases::DENIED,
            "denials USING PRIMARY KEY (member=? AND target=?",
        ),
        (cases::CASE, "sqlite_autoindex_cases_1"),
        (cases::CASE, "sqlite_autoindex_votes_1"),
        (credentials::BY_SECRET, "sqlite_autoindex_credentials_2"),
        (credentials::BY_ID, "sqlite_autoindex_credentials_1"),
        (credentials::BY_HOLDER, "credentials_by_holder"),
        (credentials::REVOKE, "credentials_by_parent"),
        (cards::OF_REQUEST, "PRIMARY KEY"),
        (cards::CHANGING, "COVERING INDEX cards_changing"),
        (cards::OF_MESSAGE, "COVERING INDEX cards_by_message"),
        (deliveries::ONE, "PRIMARY KEY"),
        (deliveries::OWED, "deliveries_owed"),
    ] {
        let plan = plan_of(&store, statement).await;
        let used = plan.iter().any(|step| step.contains(index));
        assert!(used, "{statement}\n{plan:#?}");
        assert!(
            !plan.iter().any(|step| step.starts_with("SCAN c")),
            "{statement}\n{plan:#?}"
        );
    }
    // The first entry of an index in its order is no scan, whatever it is called.
    let plan = plan_of(&store, cases::NEXT_DEADLINE).await;
    assert_direct(cases::NEXT_DEADLINE, &plan, "cases_due");
    let plan = plan_of(&store, credentials::ALL).await;
    assert_direct(credentials::ALL, &plan, "credentials_by_time");
}

#[tokio::test]
async fn every_list_reads_in_the_order_of_an_index() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&directory.path().join("store.db")).await;
    let store = store.unwrap();
    let after = RequestId::from_bits(1);
    for choice in 0..256_u32 {
        let chosen = |bit: u32| choice >> bit & 1 == 1;
        let mut filter = CaseFilter {
            requester: chosen(0).then(|| "agent:a".into()),
            side_of: chosen(1).then(|| "dana@example.com".parse().unwrap()),
            target: chosen(2).then(|| "orders".into()),
            text: chosen(3).then(|| "x".into()),
            since: chosen(4).then_some(Timestamp(1)),
            until: chosen(5).then_some(Timestamp(9)),
            limit: 50,
            ..CaseFilter::default()
        };
        let after = chosen(6).then_some((Timestamp(5), &after));
        let phases: &[&[&str]] = if chosen(7) {
            &[&["held"], &["held", "approved", "running"]]
        } else {
            &[&[]]
        };
        for phases in phases {
            filter.phases = phases.iter().map(ToString::to_string).collect();
            let statement = list::plan(&filter, after).text;
            let plan = plan_of(&store, &statement).await;
            assert_direct(&statement, &plan, "USING INDEX cases_by_time");
        }
    }
}
