//! The schema of the SQLite file, and how an older file gets it.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use crate::store::error::{Setup, StoreError};

/// The schema, one step for each `user_version`; a released step never changes.
const MIGRATIONS: [&str; 1] = ["
    CREATE TABLE servers (
        ip TEXT PRIMARY KEY,
        server_id TEXT NOT NULL UNIQUE,
        hostname TEXT NOT NULL,
        country_code TEXT NOT NULL,
        country TEXT NOT NULL,
        region TEXT,
        city TEXT NOT NULL,
        status TEXT NOT NULL,
        last_heartbeat INTEGER NOT NULL,    -- milliseconds since 1970, UTC
        first_heartbeat INTEGER NOT NULL,
        cpu REAL, ram REAL, net REAL,       -- percent, NULL where not measured
        services TEXT NOT NULL,             -- JSON, as in the API
        metrics TEXT NOT NULL,              -- JSON, as in the API
        gaming INTEGER NOT NULL,
        streaming INTEGER NOT NULL,
        paid INTEGER NOT NULL,
        enabled INTEGER NOT NULL,
        static INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE history (
        ip TEXT NOT NULL,
        collected_at INTEGER NOT NULL,
        heartbeat TEXT NOT NULL,            -- JSON, as the agent spooled it
        PRIMARY KEY (ip, collected_at)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX history_by_time ON history (collected_at);
    CREATE TABLE users (
        username TEXT PRIMARY KEY,
        role TEXT NOT NULL,
        hashed_password TEXT NOT NULL,
        token_version TEXT NOT NULL
    ) STRICT;
"];

/// The version of the schema that this program makes.
pub(super) const NEWEST: usize = MIGRATIONS.len();

/// Brings the schema of the database `file` up to date.
///
/// # Errors
/// A newer version has written the database, or the database cannot be written.
pub(super) fn migrate(
    connection: &mut Connection,
    file: &Path,
) -> Result<(), StoreError> {
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    // Immediate: of two processes that open a new folder at once, one makes the schema
    // and the other waits.
    let transaction =
        connection.transaction_with_behavior(TransactionBehavior::Immediate)?;

    let found: i64 =
        transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if found > known {
        let path = file.display().to_string();
        return Err(Setup::Newer { path, found, known }.into());
    }

    let done = usize::try_from(found).unwrap_or_default();
    for step in &MIGRATIONS[done..] {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "user_version", known)?;
    transaction.commit()?;
    Ok(())
}
