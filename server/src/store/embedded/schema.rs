//! The schema of the SQLite file, and how an older file gets it.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use crate::store::error::{Setup, StoreError};

/// The schema, one step for each `user_version`; a released step never changes.
const MIGRATIONS: [&str; 4] = [FIRST, HOST_IDS, CHANGES_OF_FLAGS, GUESTS];

/// Hosts by address.
const FIRST: &str = "
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
";

/// Hosts by a number that stays when the address changes, with flags apart. Heartbeats
/// of the history that were stored by address are moved by the sweep, in slices, so that
/// a start need not wait.
const HOST_IDS: &str = "
    ALTER TABLE servers RENAME TO servers_by_ip;
    CREATE TABLE servers (
        id INTEGER PRIMARY KEY,             -- never given again
        ip TEXT NOT NULL UNIQUE,
        server_id TEXT NOT NULL UNIQUE,
        agent_id TEXT UNIQUE,               -- half a secret
        boot_id TEXT,                       -- of the last live heartbeat
        last_heartbeat INTEGER NOT NULL,    -- milliseconds since 1970, UTC
        first_heartbeat INTEGER NOT NULL,
        status TEXT NOT NULL,
        down_since INTEGER,                 -- service time
        moved_at INTEGER,                   -- milliseconds since 1970, UTC
        wanted_ip TEXT,                     -- what the host asks for and cannot have yet
        clone_of TEXT,                      -- the agent_id that is in use elsewhere
        observed_ip TEXT,
        ip_confirmed INTEGER NOT NULL DEFAULT 0,
        hostname TEXT NOT NULL,
        country_code TEXT NOT NULL,
        country TEXT NOT NULL,
        region TEXT,
        city TEXT NOT NULL,
        cpu REAL, ram REAL, net REAL,       -- percent, NULL where not measured
        services TEXT NOT NULL,             -- JSON, as in the API
        metrics TEXT NOT NULL               -- JSON, as in the API
    ) STRICT;
    INSERT INTO servers (ip, server_id, last_heartbeat, first_heartbeat, status,
        hostname, country_code, country, region, city, cpu, ram, net, services, metrics)
        SELECT ip, server_id, last_heartbeat, first_heartbeat, status,
        hostname, country_code, country, region, city, cpu, ram, net, services, metrics
        FROM servers_by_ip;

    -- A host without a row has the defaults: nobody has set a flag.
    CREATE TABLE flags (
        host INTEGER PRIMARY KEY,
        copied INTEGER NOT NULL DEFAULT 0,  -- from the host that this one claims to be
        gaming INTEGER NOT NULL,
        streaming INTEGER NOT NULL,
        paid INTEGER NOT NULL,
        enabled INTEGER NOT NULL,
        static INTEGER NOT NULL
    ) STRICT;
    INSERT INTO flags (host, gaming, streaming, paid, enabled, static)
        SELECT id, gaming, streaming, paid, enabled, static
        FROM servers JOIN servers_by_ip USING (ip)
        WHERE gaming OR streaming OR paid OR NOT enabled OR static;
    DROP TABLE servers_by_ip;

    -- The flags of hosts that are gone, by agent_id, or by ip for a host without one.
    CREATE TABLE tombstones (
        name TEXT PRIMARY KEY,
        buried_at INTEGER NOT NULL,         -- service time
        heir INTEGER,                       -- the host that has taken the agent's place
        gaming INTEGER NOT NULL,
        streaming INTEGER NOT NULL,
        paid INTEGER NOT NULL,
        enabled INTEGER NOT NULL,
        static INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    -- Addresses that hosts have left.
    CREATE TABLE moves (
        ip TEXT PRIMARY KEY,
        host INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;

    ALTER TABLE history RENAME TO history_by_ip;
    CREATE TABLE history (
        host INTEGER NOT NULL,
        collected_at INTEGER NOT NULL,
        stored_at INTEGER NOT NULL,         -- service time
        heartbeat TEXT NOT NULL,            -- JSON, as the agent spooled it
        PRIMARY KEY (host, collected_at)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX history_by_age ON history (stored_at);
    -- Hosts that are gone, whose history is still to be deleted.
    CREATE TABLE gone (host INTEGER PRIMARY KEY) STRICT;

    -- One row. Service time is what servers have run for, in milliseconds.
    CREATE TABLE state (
        service_time INTEGER NOT NULL,
        may_delete_to INTEGER NOT NULL,     -- hosts that are down since then, or longer
        next_host INTEGER NOT NULL
    ) STRICT;
    INSERT INTO state SELECT 0, -1, coalesce(max(id), 0) + 1 FROM servers;
";

/// The order in which flags were set, in place of whether anybody has set them. What an
/// admin has set on a host that claims to be another one is newer than that one's.
const CHANGES_OF_FLAGS: &str = r#"
    ALTER TABLE flags ADD COLUMN changes TEXT NOT NULL DEFAULT '{}';    -- JSON
    UPDATE flags
        SET changes = '{"gaming":1,"streaming":1,"paid":1,"enabled":1,"static":1}'
        WHERE NOT copied AND host IN (SELECT id FROM servers WHERE clone_of NOT NULL);
    ALTER TABLE flags DROP COLUMN copied;
    ALTER TABLE tombstones ADD COLUMN changes TEXT NOT NULL DEFAULT '{}';
    ALTER TABLE state ADD COLUMN flag_changes INTEGER NOT NULL DEFAULT 1;
"#;

/// Who speaks in a record, and where an agent's place was taken.
const GUESTS: &str = "
    ALTER TABLE servers ADD COLUMN guest_since INTEGER;     -- milliseconds since 1970, UTC
    CREATE INDEX clones ON servers (clone_of) WHERE clone_of NOT NULL;
    ALTER TABLE tombstones ADD COLUMN heir_ip TEXT;
";

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
