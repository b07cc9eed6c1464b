//! Credentials: links, sessions and tokens.
//!
//! In scope: issuing, using once, revoking with everything that came from it, finding.
//! Out of scope: expiry; whoever asks compares it with the time.
//! Invariant: use and revocation are set once and never taken back (a trigger repeats it).

use countersign_core::{canonical::Hash, id::CredentialId, time::Timestamp};
use sqlx::{Row, SqliteConnection, SqlitePool, query, sqlite::SqliteRow};

use super::{
    apply::{Statement, changed, run},
    error::reading,
    read::{hash, identifier, json},
};
use crate::{CredentialKind, StoreError, StoredCredential};

pub(super) const BY_SECRET: &str = "SELECT * FROM credentials WHERE secret = $1";
pub(super) const BY_ID: &str = "SELECT * FROM credentials WHERE id = $1";
pub(super) const BY_HOLDER: &str =
    "SELECT * FROM credentials WHERE holder = $1 ORDER BY issued DESC, id DESC";
pub(super) const ALL: &str = "SELECT * FROM credentials ORDER BY issued DESC, id DESC";
pub(super) const REVOKE: &str = "\
    WITH RECURSIVE tree (id) AS ( \
        SELECT $1 \
        UNION \
        SELECT child.id FROM tree JOIN credentials child ON child.parent = tree.id \
    ) \
    UPDATE credentials SET revoked = $2 \
    WHERE revoked IS NULL AND id IN (SELECT id FROM tree)";

/// Stores a new credential.
pub(super) async fn insert(
    connection: &mut SqliteConnection,
    credential: &StoredCredential,
) -> Result<(), StoreError> {
    let parent = credential.parent.as_ref();
    let issuer = credential.issued_by.as_ref();
    let insert = query(
        "INSERT INTO credentials (id, kind, secret, holder, issued_by, parent, issued, expires, \
                                  used, revoked, revoked_with_holder, extra) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
    )
    .bind(credential.id.as_str().to_owned())
    .bind(kind_name(credential.kind))
    .bind(credential.secret.0.to_vec())
    .bind(credential.holder.clone())
    .bind(issuer.map(|person| person.as_str().to_owned()))
    .bind(parent.map(|parent| parent.as_str().to_owned()))
    .bind(credential.issued.0)
    .bind(credential.expires.0)
    .bind(credential.used.map(|at| at.0))
    .bind(credential.revoked.map(|at| at.0))
    .bind(credential.revoked_with_holder)
    .bind(credential.extra.to_string());
    run(connection, insert).await
}

/// Uses a link. That nothing but a link is used, the schema sees to.
pub(super) async fn use_once(
    connection: &mut SqliteConnection,
    id: &CredentialId,
    at: Timestamp,
) -> Result<(), StoreError> {
    let update = query(
        "UPDATE credentials SET used = $2 WHERE id = $1 AND used IS NULL AND revoked IS NULL",
    );
    match changed(connection, update.bind(id.as_str().to_owned()).bind(at.0)).await? {
        0 => Err(StoreError::Conflict),
        _ => Ok(()),
    }
}

/// Revokes a credential with all that came from it.
pub(super) async fn revoke(
    connection: &mut SqliteConnection,
    id: &CredentialId,
    at: Timestamp,
) -> Result<(), StoreError> {
    let revoke = query(REVOKE).bind(id.as_str().to_owned()).bind(at.0);
    if changed(connection, revoke).await? > 0 {
        return Ok(());
    }
    let exists = query("SELECT 1 FROM credentials WHERE id = $1").bind(id.as_str().to_owned());
    match exists.fetch_optional(connection).await.map_err(reading)? {
        Some(_) => Ok(()),
        // Saying yes to a mistyped name would leave the credential good and its owner assured.
        None => Err(StoreError::Conflict),
    }
}

/// Revokes all of a holder.
pub(super) async fn revoke_holder(
    connection: &mut SqliteConnection,
    holder: &str,
    at: Timestamp,
) -> Result<(), StoreError> {
    let revoke = query(
        "UPDATE credentials SET revoked = $2, revoked_with_holder = 1 \
         WHERE holder = $1 AND revoked IS NULL",
    );
    run(connection, revoke.bind(holder.to_owned()).bind(at.0)).await
}

fn decode(row: &SqliteRow) -> Result<StoredCredential, StoreError> {
    let name = |column| row.try_get::<Option<String>, _>(column).map_err(reading);
    let text = |column| row.try_get::<String, _>(column).map_err(reading);
    let moment = |column| row.try_get::<Option<i64>, _>(column).map_err(reading);
    let always = |column| row.try_get::<i64, _>(column).map_err(reading);
    let secret: Vec<u8> = row.try_get("secret").map_err(reading)?;
    Ok(StoredCredential {
        id: identifier(text("id")?)?,
        kind: kind(&text("kind")?)?,
        secret: hash(&secret)?,
        holder: text("holder")?,
        issued_by: name("issued_by")?.map(identifier).transpose()?,
        parent: name("parent")?.map(identifier).transpose()?,
        issued: Timestamp(always("issued")?),
        expires: Timestamp(always("expires")?),
        used: moment("used")?.map(Timestamp),
        revoked: moment("revoked")?.map(Timestamp),
        revoked_with_holder: row.try_get("revoked_with_holder").map_err(reading)?,
        extra: json(&text("extra")?)?,
    })
}

fn kind_name(kind: CredentialKind) -> &'static str {
    match kind {
        CredentialKind::Link => "link",
        CredentialKind::Session => "session",
        CredentialKind::Token => "token",
        CredentialKind::Passkey => "passkey",
        CredentialKind::Account => "account",
    }
}

fn kind(name: &str) -> Result<CredentialKind, StoreError> {
    match name {
        "link" => Ok(CredentialKind::Link),
        "session" => Ok(CredentialKind::Session),
        "token" => Ok(CredentialKind::Token),
        "passkey" => Ok(CredentialKind::Passkey),
        "account" => Ok(CredentialKind::Account),
        other => Err(StoreError::Corrupt(format!(
            "`{other}` is no kind of credential"
        ))),
    }
}

/// The credential with this secret.
pub(super) async fn by_secret(
    readers: &SqlitePool,
    secret: &Hash,
) -> Result<Option<StoredCredential>, StoreError> {
    one(readers, query(BY_SECRET).bind(secret.0.to_vec())).await
}

/// The credential of this name.
pub(super) async fn by_id(
    readers: &SqlitePool,
    id: &CredentialId,
) -> Result<Option<StoredCredential>, StoreError> {
    one(readers, query(BY_ID).bind(id.as_str().to_owned())).await
}

async fn one(
    readers: &SqlitePool,
    find: Statement,
) -> Result<Option<StoredCredential>, StoreError> {
    let found = find.fetch_optional(readers).await.map_err(reading)?;
    found.as_ref().map(decode).transpose()
}

/// All credentials, or those of one holder, newest first.
pub(super) async fn all(
    readers: &SqlitePool,
    holder: Option<&str>,
) -> Result<Vec<StoredCredential>, StoreError> {
    let find = match holder {
        Some(holder) => query(BY_HOLDER).bind(holder.to_owned()),
        None => query(ALL),
    };
    let found = find.fetch_all(readers).await.map_err(reading)?;
    found.iter().map(decode).collect()
}
