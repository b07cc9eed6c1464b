//! From what SQLite says to what the caller can do about it.
//!
//! In scope: result codes, and text for people.
//! Out of scope: recovering; [`writer`](super::writer) does.
//! Invariant: a unique key is the only constraint that means [`StoreError::Conflict`]; every other
//! one is a mistake that trying again does not mend.
//! Specification: <https://www.sqlite.org/rescode.html>.

use crate::{StoreError, row::DANGLING};

const ERROR: u32 = 1;
const BUSY: u32 = 5;
const LOCKED: u32 = 6;
const READONLY: u32 = 8;
const IOERR: u32 = 10;
const CORRUPT: u32 = 11;
const FULL: u32 = 13;
const CANTOPEN: u32 = 14;
const CONSTRAINT: u32 = 19;
const NOTADB: u32 = 26;
const CONSTRAINT_FOREIGNKEY: u32 = CONSTRAINT | 3 << 8;
const CONSTRAINT_PRIMARYKEY: u32 = CONSTRAINT | 6 << 8;
const CONSTRAINT_UNIQUE: u32 = CONSTRAINT | 8 << 8;

/// An error of a write: what the disk refuses is [`StoreError::Unwritable`].
pub(super) fn writing(error: sqlx::Error) -> StoreError {
    match error {
        sqlx::Error::Io(error) => StoreError::Unwritable(error.to_string()),
        other => match code(&other).map(|code| code & 0xff) {
            Some(FULL | READONLY | IOERR | CANTOPEN) => StoreError::Unwritable(message(&other)),
            _ => reading(other),
        },
    }
}

/// An error of a read.
pub(super) fn reading(error: sqlx::Error) -> StoreError {
    let text = message(&error);
    if matches!(
        error,
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_)
    ) {
        return StoreError::Corrupt(text);
    }
    match code(&error) {
        Some(CONSTRAINT_PRIMARYKEY | CONSTRAINT_UNIQUE) => StoreError::Conflict,
        Some(CONSTRAINT_FOREIGNKEY) => StoreError::Refused(DANGLING.into()),
        Some(code) => match code & 0xff {
            CONSTRAINT => StoreError::Refused(constraint(&text).into()),
            CORRUPT | NOTADB => StoreError::Corrupt(text),
            BUSY | LOCKED => StoreError::Failed("another process keeps it locked".into()),
            _ => StoreError::Failed(text),
        },
        None => StoreError::Failed(text),
    }
}

/// Whether `ROLLBACK` failed only because SQLite had rolled back by itself.
pub(super) fn is_no_transaction(error: &sqlx::Error) -> bool {
    code(error) == Some(ERROR)
}

fn code(error: &sqlx::Error) -> Option<u32> {
    error.as_database_error()?.code()?.parse().ok()
}

fn message(error: &sqlx::Error) -> String {
    match error.as_database_error() {
        Some(said) => said.message().to_owned(),
        None => error.to_string(),
    }
}

/// The name at the end of `CHECK constraint failed: name`; a trigger's text is the name itself.
fn constraint(text: &str) -> &str {
    text.split_once("constraint failed: ")
        .map_or(text, |(_, name)| name)
}
