//! The list of cases, filtered and paged.
//!
//! In scope: building one statement for a filter.
//! Out of scope: how long a page is at most; [`row`](crate::row) says.
//! Invariant: whatever the filter, rows come out of an index in the order of the page, so that
//! reading stops when the page is full; nothing but a page is ever sorted.

use countersign_core::{
    id::{PersonId, RequestId},
    time::Timestamp,
};
use sqlx::{AssertSqlSafe, Row, SqlitePool, query, query_scalar, sqlite::SqliteRow};

use super::{error::reading, read::identifier};
use crate::{CaseFilter, CaseSummary, Page, ReviewFilter, StoreError, row};

const COLUMNS: &str = "c.id, c.phase, c.requester, c.target, c.title, c.reason, c.at, c.deadline";

/// A value of a statement.
#[derive(Debug)]
enum Value {
    Text(String),
    Number(i64),
}

/// A statement in the making. Text from callers goes only into `values`.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) text: String,
    values: Vec<Value>,
}

impl Plan {
    fn text(&mut self, value: &str) -> String {
        self.push(Value::Text(value.to_owned()))
    }

    fn number(&mut self, value: i64) -> String {
        self.push(Value::Number(value))
    }

    fn push(&mut self, value: Value) -> String {
        self.values.push(value);
        format!("${}", self.values.len())
    }
}

/// The statement for one line more than a page.
pub(super) fn plan(filter: &CaseFilter, after: Option<(Timestamp, &RequestId)>) -> Plan {
    let mut plan = Plan::default();
    let (from, [at, id]) = match &filter.side_of {
        Some(person) => (of_person(&mut plan, person), ["p.at", "p.request"]),
        // Few are emergencies, so that reading begins with them.
        None if filter.emergency.is_some() => (
            "FROM emergencies l CROSS JOIN cases c ON c.id = l.request WHERE TRUE".to_owned(),
            ["l.at", "l.request"],
        ),
        None => ("FROM cases c WHERE TRUE".to_owned(), ["c.at", "c.id"]),
    };
    let conditions = conditions(&mut plan, filter, after, [at, id]);
    let limit = i64::from(row::page_size(filter)) + 1;
    let limit = plan.number(limit);
    let select = |more: &str| {
        format!(
            "SELECT {COLUMNS} {from}{conditions}{more} ORDER BY {at} DESC, {id} DESC LIMIT {limit}"
        )
    };
    let mut phases = filter.phases.clone();
    phases.retain(|phase| row::PHASES.contains(&phase.as_str()));
    phases.sort();
    phases.dedup();
    let phases: Vec<_> = phases.iter().map(|phase| plan.text(phase)).collect();
    plan.text = match phases.as_slice() {
        [] if filter.phases.is_empty() => select(""),
        // Only names that no phase has: nothing is in them.
        [] => select(" AND FALSE"),
        [phase] => select(&format!(" AND c.phase = {phase}")),
        many if filter.side_of.is_some() => {
            select(&format!(" AND c.phase IN ({})", many.join(", ")))
        }
        // Several phases in one condition would be sorted as a whole before the first line.
        many => {
            let each = many.iter().map(|phase| {
                format!(
                    "SELECT * FROM ({})",
                    select(&format!(" AND c.phase = {phase}"))
                )
            });
            let all = each.collect::<Vec<_>>().join(" UNION ALL ");
            format!("{all} ORDER BY at DESC, id DESC LIMIT {limit}")
        }
    };
    plan
}

/// `CROSS JOIN` keeps SQLite from choosing the other order of the two tables.
fn of_person(plan: &mut Plan, person: &PersonId) -> String {
    let person = plan.text(person.as_str());
    format!("FROM case_people p CROSS JOIN cases c ON c.id = p.request WHERE p.person = {person}")
}

fn conditions(
    plan: &mut Plan,
    filter: &CaseFilter,
    after: Option<(Timestamp, &RequestId)>,
    [at, id]: [&str; 2],
) -> String {
    let mut conditions = String::new();
    let mut add = |condition: String| conditions.extend([" AND ", &condition]);
    if let Some((moment, request)) = after {
        let (moment, request) = (plan.number(moment.0), plan.text(request.as_str()));
        add(format!("({at}, {id}) < ({moment}, {request})"));
    }
    if let Some(since) = filter.since {
        add(format!("{at} >= {}", plan.number(since.0)));
    }
    if let Some(until) = filter.until {
        add(format!("{at} < {}", plan.number(until.0)));
    }
    if let Some(emergency) = filter.emergency {
        let review_by = match emergency {
            ReviewFilter::Any => String::new(),
            ReviewFilter::Due(now) => format!(" AND e.review_by >= {}", plan.number(now.0)),
            ReviewFilter::Overdue(now) => format!(" AND e.review_by < {}", plan.number(now.0)),
            ReviewFilter::Reviewed => " AND e.review_by IS NULL".into(),
        };
        add(format!(
            "EXISTS (SELECT 1 FROM emergencies e WHERE e.request = c.id{review_by})"
        ));
    }
    if let Some(requester) = &filter.requester {
        add(format!("c.requester = {}", plan.text(requester)));
    }
    if let Some(target) = &filter.target {
        add(format!("c.target = {}", plan.text(target)));
    }
    if let Some(text) = &filter.text {
        add(format!(
            "instr(c.folded, {}) > 0",
            plan.text(&row::fold(text))
        ));
    }
    conditions
}

fn decode(row: &SqliteRow) -> Result<CaseSummary, StoreError> {
    let text = |column| row.try_get::<String, _>(column).map_err(reading);
    Ok(CaseSummary {
        id: identifier(text("id")?)?,
        phase: text("phase")?,
        requester: text("requester")?,
        target: text("target")?,
        title: text("title")?,
        reason: row.try_get("reason").map_err(reading)?,
        at: Timestamp(row.try_get("at").map_err(reading)?),
        deadline: row
            .try_get::<Option<i64>, _>("deadline")
            .map_err(reading)?
            .map(Timestamp),
    })
}

/// See [`Store::list`](crate::Store::list).
pub(super) async fn list(
    readers: &SqlitePool,
    filter: &CaseFilter,
) -> Result<Page<CaseSummary>, StoreError> {
    let after = match &filter.after {
        Some(after) => Some((asked_at(readers, after).await?, after)),
        None => None,
    };
    let Plan { text, values } = plan(filter, after);
    let mut find = query(AssertSqlSafe(text));
    for value in values {
        find = match value {
            Value::Text(text) => find.bind(text),
            Value::Number(number) => find.bind(number),
        };
    }
    let lines = find.fetch_all(readers).await.map_err(reading)?;
    let lines = lines.iter().map(decode);
    Ok(row::page(filter, lines.collect::<Result<_, _>>()?))
}

async fn asked_at(readers: &SqlitePool, id: &RequestId) -> Result<Timestamp, StoreError> {
    let found: Option<i64> = query_scalar("SELECT at FROM cases WHERE id = $1")
        .bind(id.as_str())
        .fetch_optional(readers)
        .await
        .map_err(reading)?;
    found.map(Timestamp).ok_or_else(|| row::no_such_cursor(id))
}
