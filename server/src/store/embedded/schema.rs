//! The schema of the SQLite file, and how an older file gets it.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior, params};

use super::users;
use crate::store::error::{Setup, StoreError};
use crate::store::event::EventKind;

/// The schema, one step for each `user_version`; a released step never changes.
const MIGRATIONS: [&str; 11] = [
    FIRST,
    HOST_IDS,
    CHANGES_OF_FLAGS,
    GUESTS,
    EVENTS,
    ACCOUNTS,
    KEYS,
    SET_BY_ADMINS,
    HISTORY,
    SCOPES,
    ALERTS,
];

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

/// Events, and what the watch has seen last. The hosts that are there count as seen, so
/// that an upgrade tells nothing.
const EVENTS: &str = "
    -- By how many seconds the host's clock is wrong, NULL while it is right.
    ALTER TABLE servers ADD COLUMN clock_off INTEGER;

    CREATE TABLE events (
        id INTEGER PRIMARY KEY AUTOINCREMENT,   -- the order, and the cursor
        at INTEGER NOT NULL,                -- milliseconds since 1970, UTC
        kind INTEGER NOT NULL,              -- of event_kinds
        host INTEGER,                       -- of servers, or of departed
        ip TEXT,                            -- the host's, at that time
        hostname TEXT,
        user TEXT,                          -- whom it is about
        actor TEXT,                         -- the user who did it
        program TEXT,                       -- the program that did it
        address TEXT,                       -- from where it was done
        data TEXT                           -- JSON, NULL where there is nothing to tell
    ) STRICT;
    CREATE INDEX events_by_kind ON events (kind);
    CREATE INDEX events_by_host ON events (host, kind) WHERE host IS NOT NULL;
    CREATE INDEX events_by_user ON events (user, kind) WHERE user IS NOT NULL;
    CREATE INDEX events_by_actor ON events (actor, kind) WHERE actor IS NOT NULL;
    -- For people who read the table.
    CREATE TABLE event_kinds (kind INTEGER PRIMARY KEY, name TEXT NOT NULL) STRICT;

    -- The events from first_id up to the next span are about an hour's: when they were
    -- written, in service time and by the clock, and how many there are of each class.
    CREATE TABLE event_spans (
        first_id INTEGER PRIMARY KEY,
        service_time INTEGER NOT NULL,
        min_at INTEGER NOT NULL,
        max_at INTEGER NOT NULL,
        life INTEGER NOT NULL DEFAULT 0,
        host INTEGER NOT NULL DEFAULT 0,
        audit INTEGER NOT NULL DEFAULT 0,
        login INTEGER NOT NULL DEFAULT 0,
        refusal INTEGER NOT NULL DEFAULT 0
    ) STRICT;

    -- What the watch has seen last of each host.
    CREATE TABLE sightings (
        host INTEGER PRIMARY KEY,
        status TEXT NOT NULL,
        since INTEGER NOT NULL,             -- when it went down or came up
        newest INTEGER,                     -- the newest of its events of class life
        boot_id TEXT,
        boot_before TEXT,
        clock_off INTEGER,
        services TEXT NOT NULL              -- JSON, as in servers
    ) STRICT;
    CREATE INDEX sightings_down ON sightings (since) WHERE status = 'down';
    INSERT INTO sightings (host, status, since, boot_id, services)
        SELECT id, status, last_heartbeat, boot_id, services FROM servers;
    -- Hosts that are gone and that events tell of.
    CREATE TABLE departed (
        host INTEGER PRIMARY KEY,
        server_id TEXT NOT NULL,
        ip TEXT NOT NULL
    ) STRICT;
    CREATE INDEX departed_by_ip ON departed (ip);
    CREATE INDEX departed_by_server_id ON departed (server_id);
    -- A row while many hosts are down that went down together: the first of their events.
    CREATE TABLE mass_down (first_event INTEGER NOT NULL) STRICT;
";

/// Users in all spellings of their names, second factors, and API tokens. What spellings
/// of a name have in common is filled in by [`users::fill_keys`].
const ACCOUNTS: &str = "
    ALTER TABLE users ADD COLUMN user_id TEXT NOT NULL DEFAULT '';
    ALTER TABLE users ADD COLUMN name_key TEXT NOT NULL DEFAULT '';
    ALTER TABLE users ADD COLUMN totp_secret TEXT;      -- base32
    ALTER TABLE users ADD COLUMN totp_pending TEXT;     -- waits for its first code
    ALTER TABLE users ADD COLUMN totp_step INTEGER NOT NULL DEFAULT 0;  -- last used
    ALTER TABLE users ADD COLUMN recovery_codes TEXT NOT NULL DEFAULT '[]'; -- SHA-256
    UPDATE users SET user_id = lower(hex(randomblob(8)));
    CREATE INDEX users_by_key ON users (name_key);

    CREATE TABLE api_tokens (
        id TEXT PRIMARY KEY,
        user_id TEXT NOT NULL,              -- of users
        username TEXT NOT NULL,
        name TEXT NOT NULL,
        hash TEXT NOT NULL,                 -- SHA-256 of the secret part
        scopes TEXT NOT NULL,               -- JSON
        networks TEXT NOT NULL,             -- JSON, empty for everywhere
        created_at INTEGER NOT NULL,        -- milliseconds since 1970, UTC
        expires_at INTEGER NOT NULL,
        last_used_on INTEGER                -- the midnight before
    ) STRICT;
";

/// Hosts' own keys, and the codes that enrol hosts.
const KEYS: &str = "
    -- Whether only the host's own key may write the record.
    ALTER TABLE servers ADD COLUMN keyed INTEGER NOT NULL DEFAULT 0;

    CREATE TABLE agent_keys (
        agent_id TEXT PRIMARY KEY,
        hostname TEXT NOT NULL,
        hash BLOB,                          -- SHA-256 of the key; NULL without one
        next BLOB,                          -- of the key that follows when it is used
        ended BLOB NOT NULL DEFAULT x'',    -- of the keys before, one behind the other
        rotate INTEGER NOT NULL,            -- the host is asked for another key
        revoked_at INTEGER,                 -- milliseconds since 1970, UTC
        removed_at INTEGER,                 -- the host is refused since then
        code TEXT NOT NULL,                 -- the id of the code that enrolled the host
        flags TEXT NOT NULL,                -- JSON, what a new record begins with
        reinstall INTEGER NOT NULL,
        enrolled_at INTEGER NOT NULL,
        rev INTEGER NOT NULL                -- the order of changes, over all keys
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX agent_keys_by_rev ON agent_keys (rev);
    CREATE TABLE enrollment_codes (
        id TEXT PRIMARY KEY,
        hash BLOB NOT NULL,                 -- SHA-256 of the code
        max_uses INTEGER NOT NULL,
        uses INTEGER NOT NULL,
        expires_at INTEGER NOT NULL,
        flags TEXT NOT NULL,                -- JSON
        networks TEXT NOT NULL,             -- JSON
        reinstall INTEGER NOT NULL,
        note TEXT NOT NULL,
        created_by TEXT NOT NULL,
        created_at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
";

/// Tags, states and settings: what agents say beside the other columns, what admins set
/// beside the flags.
const SET_BY_ADMINS: &str = "
    ALTER TABLE servers ADD COLUMN up_since INTEGER;        -- milliseconds since 1970, UTC
    ALTER TABLE servers ADD COLUMN agent_version TEXT;
    ALTER TABLE servers ADD COLUMN agent_tags TEXT NOT NULL DEFAULT '{}';   -- JSON
    -- JSON: by key, the value (null: removed) and the number of the change.
    ALTER TABLE flags ADD COLUMN tags TEXT NOT NULL DEFAULT '{}';
    ALTER TABLE tombstones ADD COLUMN tags TEXT NOT NULL DEFAULT '{}';
    -- JSON: the state as it was set last, and the number of the change.
    ALTER TABLE flags ADD COLUMN state TEXT NOT NULL DEFAULT '{}';
    ALTER TABLE tombstones ADD COLUMN state TEXT NOT NULL DEFAULT '{}';
    -- JSON: by name, the value (null: removed) and the number of the change.
    ALTER TABLE flags ADD COLUMN settings TEXT NOT NULL DEFAULT '{}';
    ALTER TABLE tombstones ADD COLUMN settings TEXT NOT NULL DEFAULT '{}';
";

/// Every heartbeat is kept. The rows of the table `history` go to history.db after the
/// start, in slices, so that a start need not wait.
const HISTORY: &str = "
    -- The heartbeats that are not in history.db yet.
    ALTER TABLE servers ADD COLUMN open_chunk BLOB;
    -- Open chunks that are full, until they are in history.db.
    CREATE TABLE full_chunks (
        id INTEGER PRIMARY KEY,
        server_id TEXT NOT NULL,
        chunk BLOB NOT NULL
    ) STRICT;
    CREATE INDEX full_chunks_by_host ON full_chunks (server_id);
    -- Hosts that are gone, whose chunks are still to be deleted from history.db.
    CREATE TABLE gone_histories (
        id INTEGER PRIMARY KEY,             -- the order in which they went
        server_id TEXT NOT NULL UNIQUE,
        heir TEXT                           -- the server_id that gets the chunks first
    ) STRICT;
    -- The largest size of history.db where the operator names none, in bytes.
    ALTER TABLE state ADD COLUMN history_room INTEGER;
    -- The day, since 1970, by which history was judged last, and the service time then.
    ALTER TABLE state ADD COLUMN history_day INTEGER;
    ALTER TABLE state ADD COLUMN history_day_at INTEGER;
";

/// The hosts that a user sees and changes.
const SCOPES: &str = "
    ALTER TABLE users ADD COLUMN scope TEXT;    -- a selector, NULL for every host
";

/// Alerts, what people set up for them, and the messages on their way.
const ALERTS: &str = "
    CREATE TABLE alert_objects (
        kind TEXT NOT NULL,                 -- rule, mute, channel or acknowledgement
        id TEXT NOT NULL,                   -- of an acknowledgement: the alert's
        version INTEGER NOT NULL,
        body TEXT NOT NULL,                 -- JSON
        PRIMARY KEY (kind, id)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE alerts (
        id TEXT PRIMARY KEY,
        rule TEXT NOT NULL,
        server_id TEXT,                     -- NULL for an alert of a group
        severity TEXT NOT NULL,
        state TEXT NOT NULL,                -- pending, firing or resolved
        opened_at INTEGER NOT NULL,         -- milliseconds since 1970, UTC
        ended_at INTEGER,
        written INTEGER NOT NULL,           -- service time
        body TEXT NOT NULL                  -- JSON
    ) STRICT;
    CREATE INDEX alerts_by_begin ON alerts (opened_at, id);
    CREATE INDEX alerts_by_end ON alerts (ended_at, opened_at, id);
    CREATE INDEX alerts_by_rule ON alerts (rule, opened_at, id);
    CREATE INDEX alerts_by_host ON alerts (server_id, opened_at, id)
        WHERE server_id IS NOT NULL;
    CREATE INDEX alerts_by_age ON alerts (written) WHERE state = 'resolved';
    -- One row: what whoever looks after the alerts remembers, as JSON.
    CREATE TABLE alert_state (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        body TEXT NOT NULL
    ) STRICT;

    CREATE TABLE deliveries (
        id TEXT PRIMARY KEY,
        number INTEGER NOT NULL,            -- the order in which they go
        channel TEXT NOT NULL,
        alerts TEXT NOT NULL,               -- JSON, their ids
        folds TEXT NOT NULL,                -- JSON, the ids of those that this one replaces
        state TEXT NOT NULL,
        created_at INTEGER NOT NULL,        -- milliseconds since 1970, UTC
        asked_at INTEGER,                   -- when somebody wanted another attempt
        next_at INTEGER NOT NULL,
        settled_at INTEGER,
        tries INTEGER NOT NULL,
        error TEXT,
        written INTEGER NOT NULL,           -- service time
        body TEXT NOT NULL,                 -- JSON
        message TEXT                        -- JSON, once it was tried
    ) STRICT;
    CREATE INDEX deliveries_by_number ON deliveries (number, id);
    CREATE INDEX deliveries_by_state ON deliveries (state, number, id);
    CREATE INDEX deliveries_by_begin ON deliveries (created_at);
    CREATE INDEX deliveries_by_channel ON deliveries (channel, number, id);
    CREATE TABLE alert_deliveries (
        alert TEXT NOT NULL,
        delivery TEXT NOT NULL,
        PRIMARY KEY (alert, delivery)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX alerts_of_delivery ON alert_deliveries (delivery);
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
    users::fill_keys(&transaction)?;
    for kind in EventKind::ALL {
        transaction.execute(
            "INSERT INTO event_kinds VALUES (?1, ?2) ON CONFLICT DO NOTHING",
            params![kind.number(), kind.as_str()],
        )?;
    }
    transaction.pragma_update(None, "user_version", known)?;
    transaction.commit()?;
    Ok(())
}

/// Makes the database `file` as the version of this schema has left a new one.
#[cfg(test)]
pub(super) fn make_older(file: &Path, version: u8) -> Connection {
    let connection = Connection::open(file).unwrap();
    for step in &MIGRATIONS[..usize::from(version)] {
        connection.execute_batch(step).unwrap();
    }
    connection
        .pragma_update(None, "user_version", version)
        .unwrap();
    connection
}
