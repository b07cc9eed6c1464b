//! Cases and their votes.
//!
//! In scope: writing them, and every reading but the list.
//! Out of scope: which phases may follow each other; the schema's triggers say so.
//! Invariant: nothing is cached, and no query here looks at more rows than it returns, but for the
//! ones of one attach key, or of one requester or member of a chain.

use countersign_core::{
    digest::AttachKey,
    id::{PersonId, RequestId, TargetId},
    request::Case,
    time::Timestamp,
};
use sqlx::{SqliteConnection, SqlitePool, query, query_as, query_scalar};

use super::{
    apply::{Statement, changed, run},
    error::{reading, writing},
    read::{identifier, identifiers},
};
use crate::{
    CaseWrite, StoreError, StoredCase,
    row::{self, CaseRow},
};

pub(super) const FIND_ATTACHABLE: &str = "\
    SELECT id FROM ( \
        SELECT id, 0 AS closed, 0 AS refuse_until FROM cases \
        WHERE attach_key = $1 AND phase IN ('held', 'approved', 'running') \
        UNION ALL \
        SELECT id, 1, refuse_until FROM cases WHERE attach_key = $1 AND refuse_until > $2 \
    ) ORDER BY closed, refuse_until DESC, id DESC LIMIT 1";
pub(super) const DUE: &str =
    "SELECT id FROM cases WHERE deadline <= $1 ORDER BY deadline, id LIMIT $2";
pub(super) const NEXT_DEADLINE: &str = "\
    SELECT deadline FROM cases WHERE deadline IS NOT NULL ORDER BY deadline LIMIT 1";
pub(super) const AWAITING_REVIEW: &str = "\
    SELECT request, review_by FROM emergencies WHERE review_by IS NOT NULL ORDER BY review_by, request";
pub(super) const IN_PHASE: &str = "SELECT id FROM cases WHERE phase = $1 ORDER BY at, id";
pub(super) const OPEN_OF_REQUESTER: &str =
    "SELECT count(*) FROM cases WHERE requester = $1 AND deadline IS NOT NULL";
pub(super) const REFUSED_UNTIL: &str = "\
    SELECT refuse_until FROM denials \
    WHERE member = $1 AND target = $2 AND refuse_until > $3 \
    ORDER BY refuse_until DESC LIMIT $4";
pub(super) const DENIED: &str = "\
    SELECT request FROM denials \
    WHERE member = $1 AND target = $2 AND refuse_until > $3 \
    ORDER BY refuse_until DESC LIMIT $4";
pub(super) const GRANTING: &str =
    "SELECT id FROM cases WHERE grant_until > $1 ORDER BY grant_until, id";
pub(super) const GRANTING_OF: &str = "\
    SELECT id FROM cases WHERE requester = $2 AND target = $3 AND grant_until > $1 \
    ORDER BY grant_until, id";
pub(super) const OPEN_IN_ALL: &str = "SELECT count(*) FROM cases WHERE deadline IS NOT NULL";
/// The case comes first, with 0 in place of a vote's number; one statement sees one state.
pub(super) const CASE: &str = "\
    SELECT 0 AS seq, version, phase AS label, body FROM cases WHERE id = $1 \
    UNION ALL \
    SELECT seq, 0, voter, envelope FROM votes WHERE request = $1 \
    ORDER BY seq";
/// A trigger adds the people.
const INSERT: &str = "\
    INSERT INTO cases (id, version, phase, attach_key, digest, requester, target, at, deadline, \
                       refuse_until, permit, title, reason, folded, people, voters, body, \
                       grant_until) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)";
/// Fixed columns are compared and not set, so that their indexes are left alone. A trigger deletes
/// the envelopes of votes that are gone.
const SWAP: &str = "\
    UPDATE cases SET version = $2, phase = $3, deadline = $9, refuse_until = $10, permit = $11, \
                     voters = $16, body = $17, grant_until = $18 \
    WHERE id = $1 AND version = $2 - 1 AND attach_key = $4 AND digest = $5 AND requester = $6 \
      AND target = $7 AND at = $8 AND title = $12 AND reason IS $13 AND folded = $14 \
      AND people = $15";

/// Stores a new case.
pub(super) async fn insert(
    connection: &mut SqliteConnection,
    write: &CaseWrite,
) -> Result<(), StoreError> {
    let row = CaseRow::of(write)?;
    let body = row::encode_new(&write.case)?;
    run(connection, bind(INSERT, &row, body)?).await?;
    note_emergency(connection, &row).await?;
    insert_envelopes(connection, &row.id, &write.envelopes).await
}

/// Stores a stepped case.
pub(super) async fn swap(
    connection: &mut SqliteConnection,
    write: &CaseWrite,
) -> Result<(), StoreError> {
    let row = CaseRow::of(write)?;
    let body = row::encode(&write.case)?;
    if changed(connection, bind(SWAP, &row, body)?).await? == 0 {
        return Err(why_not_swapped(connection, &row).await);
    }
    note_emergency(connection, &row).await?;
    note_denial(connection, &row, &write.case).await?;
    insert_envelopes(connection, &row.id, &write.envelopes).await
}

/// Keeps beside a case by when an emergency of it must be reviewed.
async fn note_emergency(
    connection: &mut SqliteConnection,
    row: &CaseRow,
) -> Result<(), StoreError> {
    let Some(emergency) = row.emergency else {
        return Ok(());
    };
    let note = query(
        "INSERT INTO emergencies (request, at, review_by) VALUES ($1, $2, $3) \
         ON CONFLICT (request) DO UPDATE SET review_by = excluded.review_by",
    )
    .bind(row.id.as_str().to_owned())
    .bind(row.fixed.at.0)
    .bind(emergency.review_by.map(|at| at.0));
    run(connection, note).await
}

/// Keeps beside a denied case whom it was denied to.
async fn note_denial(
    connection: &mut SqliteConnection,
    row: &CaseRow,
    case: &Case,
) -> Result<(), StoreError> {
    let Some(until) = row.denied_until() else {
        return Ok(());
    };
    for member in row::members(case) {
        let note = query(
            "INSERT INTO denials (member, target, refuse_until, request) VALUES ($1, $2, $3, $4) \
             ON CONFLICT DO NOTHING",
        )
        .bind(member)
        .bind(row.fixed.target.clone())
        .bind(until.0)
        .bind(row.id.as_str().to_owned());
        run(connection, note).await?;
    }
    Ok(())
}

fn bind(statement: &'static str, row: &CaseRow, body: Vec<u8>) -> Result<Statement, StoreError> {
    let version = i64::try_from(row.version)
        .map_err(|_| StoreError::Refused("case_version_counts".into()))?;
    let fixed = &row.fixed;
    Ok(query(statement)
        .bind(row.id.as_str().to_owned())
        .bind(version)
        .bind(row.phase)
        .bind(fixed.attach_key.0.0.to_vec())
        .bind(fixed.digest.0.to_vec())
        .bind(fixed.requester.clone())
        .bind(fixed.target.clone())
        .bind(fixed.at.0)
        .bind(row.deadline.map(|at| at.0))
        .bind(row.refuse_until.map(|at| at.0))
        .bind(row.permit.as_ref().map(|permit| permit.as_str().to_owned()))
        .bind(fixed.title.clone())
        .bind(fixed.reason.clone())
        .bind(fixed.folded.clone())
        .bind(names(&fixed.people))
        .bind(names(&row.voters))
        .bind(body)
        .bind(row.grant_until.map(|at| at.0)))
}

/// People as a JSON array.
fn names<'a>(people: impl IntoIterator<Item = &'a PersonId>) -> String {
    let names = people.into_iter().map(PersonId::as_str);
    serde_json::Value::from_iter(names).to_string()
}

/// Whether somebody was faster, or the write would change the request itself.
async fn why_not_swapped(connection: &mut SqliteConnection, row: &CaseRow) -> StoreError {
    let stored: Result<Option<i64>, _> = query_scalar("SELECT version FROM cases WHERE id = $1")
        .bind(row.id.as_str())
        .fetch_optional(connection)
        .await;
    let before = row.version.checked_sub(1);
    match stored {
        Ok(stored) if stored.is_none() || stored.and_then(|v| u64::try_from(v).ok()) != before => {
            StoreError::Conflict
        }
        Ok(_) => StoreError::Refused("case_request_is_fixed".into()),
        Err(error) => writing(error),
    }
}

async fn insert_envelopes(
    connection: &mut SqliteConnection,
    request: &RequestId,
    envelopes: &[(PersonId, Vec<u8>)],
) -> Result<(), StoreError> {
    for (voter, envelope) in envelopes {
        let insert = query("INSERT INTO votes (request, voter, envelope) VALUES ($1, $2, $3)")
            .bind(request.as_str().to_owned())
            .bind(voter.as_str().to_owned())
            .bind(envelope.clone());
        run(connection, insert).await?;
    }
    Ok(())
}

/// A vote's number or 0, a case's version or 0, voter or phase, envelope or body.
type CasePart = (i64, i64, String, Vec<u8>);

/// One case with its envelopes.
pub(super) async fn case(
    readers: &SqlitePool,
    id: &RequestId,
) -> Result<Option<StoredCase>, StoreError> {
    let parts: Vec<CasePart> = query_as(CASE)
        .bind(id.as_str())
        .fetch_all(readers)
        .await
        .map_err(reading)?;
    let mut parts = parts.into_iter();
    let Some((0, version, phase, body)) = parts.next() else {
        return Ok(None);
    };
    let case = row::decode(id, &body)?;
    let agrees = case.request.id == *id
        && u64::try_from(version) == Ok(case.version)
        && phase == case.phase.name();
    if !agrees {
        return Err(StoreError::Corrupt(format!(
            "`{id}`: what is kept beside the case contradicts it"
        )));
    }
    let envelopes = parts
        .map(|(_, _, voter, envelope)| Ok((identifier(voter)?, envelope)))
        .collect::<Result<_, StoreError>>()?;
    Ok(Some(StoredCase { case, envelopes }))
}

/// See [`Store::find_attachable`](crate::Store::find_attachable).
pub(super) async fn find_attachable(
    readers: &SqlitePool,
    key: &AttachKey,
    now: Timestamp,
) -> Result<Option<RequestId>, StoreError> {
    let found: Option<String> = query_scalar(FIND_ATTACHABLE)
        .bind(key.0.0.to_vec())
        .bind(now.0)
        .fetch_optional(readers)
        .await
        .map_err(reading)?;
    found.map(identifier).transpose()
}

/// See [`Store::due`](crate::Store::due).
pub(super) async fn due(
    readers: &SqlitePool,
    now: Timestamp,
    limit: u32,
) -> Result<Vec<RequestId>, StoreError> {
    let found = query_scalar(DUE).bind(now.0).bind(limit);
    identifiers(found.fetch_all(readers).await.map_err(reading)?)
}

/// See [`Store::in_phase`](crate::Store::in_phase).
pub(super) async fn in_phase(
    readers: &SqlitePool,
    phase: &str,
) -> Result<Vec<RequestId>, StoreError> {
    let found = query_scalar(IN_PHASE).bind(phase);
    identifiers(found.fetch_all(readers).await.map_err(reading)?)
}

/// See [`Store::awaiting_review`](crate::Store::awaiting_review).
pub(super) async fn awaiting_review(
    readers: &SqlitePool,
) -> Result<Vec<(RequestId, Timestamp)>, StoreError> {
    let found: Vec<(String, i64)> = query_as(AWAITING_REVIEW)
        .fetch_all(readers)
        .await
        .map_err(reading)?;
    let each = found.into_iter();
    each.map(|(id, at)| Ok((identifier(id)?, Timestamp(at))))
        .collect()
}

/// See [`Store::next_deadline`](crate::Store::next_deadline).
pub(super) async fn next_deadline(readers: &SqlitePool) -> Result<Option<Timestamp>, StoreError> {
    let found: Option<i64> = query_scalar(NEXT_DEADLINE)
        .fetch_optional(readers)
        .await
        .map_err(reading)?;
    Ok(found.map(Timestamp))
}

/// See [`Store::open_of_requester`](crate::Store::open_of_requester).
pub(super) async fn open_of_requester(
    readers: &SqlitePool,
    requester: &str,
) -> Result<u32, StoreError> {
    let count: i64 = query_scalar(OPEN_OF_REQUESTER)
        .bind(requester)
        .fetch_one(readers)
        .await
        .map_err(reading)?;
    Ok(u32::try_from(count).unwrap_or(u32::MAX))
}

/// See [`Store::refused_until`](crate::Store::refused_until).
pub(super) async fn refused_until(
    readers: &SqlitePool,
    member: &str,
    target: &TargetId,
    now: Timestamp,
    limit: u32,
) -> Result<Vec<Timestamp>, StoreError> {
    let found: Vec<i64> = query_scalar(REFUSED_UNTIL)
        .bind(member)
        .bind(target.as_str())
        .bind(now.0)
        .bind(limit)
        .fetch_all(readers)
        .await
        .map_err(reading)?;
    Ok(found.into_iter().map(Timestamp).collect())
}

/// See [`Store::denied`](crate::Store::denied).
pub(super) async fn denied(
    readers: &SqlitePool,
    member: &str,
    target: &TargetId,
    now: Timestamp,
    limit: u32,
) -> Result<Vec<RequestId>, StoreError> {
    let found = query_scalar(DENIED)
        .bind(member)
        .bind(target.as_str())
        .bind(now.0)
        .bind(limit);
    identifiers(found.fetch_all(readers).await.map_err(reading)?)
}

/// See [`Store::granting`](crate::Store::granting).
pub(super) async fn granting(
    readers: &SqlitePool,
    of: Option<(&str, &TargetId)>,
    now: Timestamp,
) -> Result<Vec<RequestId>, StoreError> {
    let found = match of {
        None => query_scalar(GRANTING).bind(now.0),
        Some((requester, target)) => query_scalar(GRANTING_OF)
            .bind(now.0)
            .bind(requester)
            .bind(target.as_str()),
    };
    identifiers(found.fetch_all(readers).await.map_err(reading)?)
}

/// See [`Store::open_in_all`](crate::Store::open_in_all).
pub(super) async fn open_in_all(readers: &SqlitePool) -> Result<u32, StoreError> {
    let count: i64 = query_scalar(OPEN_IN_ALL)
        .fetch_one(readers)
        .await
        .map_err(reading)?;
    Ok(u32::try_from(count).unwrap_or(u32::MAX))
}
