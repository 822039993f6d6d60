//! The fleet in SQLite: one row for each host, and the history of spooled heartbeats.
//!
//! The statements are made from the tables of [`crate::store::column`], once. A row has
//! first the [`Identity`], then the flags, then the columns, so that the place of each
//! value is known without its name.

use std::iter;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use fleetbeat_protocol::{FlagsPatch, Heartbeat, Server, Status, Timestamp};
use log::Level;
use rusqlite::types::{Null, ToSqlOutput, Value};
use rusqlite::{
    Connection, OptionalExtension, Row, Transaction, params, params_from_iter,
};
use serde::Serialize;

use super::connection::Connections;
use super::error::is_taken_server_id;
use super::row::{parsed, timestamp};
use crate::recurring::log_if_due;
use crate::store::column::{COLUMNS, FLAGS, Identity, Kind};
use crate::store::error::StoreError;
use crate::store::server::{Beat, Supersedes, Swept, new_server_id};

/// How often a new host is given another id because its id was taken. Eight hexadecimal
/// digits collide now and then in a large fleet; so many in a row do not.
const SERVER_ID_TRIES: usize = 16;
/// Rows of history deleted in one transaction, so that heartbeats need not wait for the
/// end of a long outage's history.
const HISTORY_CHUNK: u32 = 5000;

/// The columns of an [`Identity`].
const IDENTITY: [&str; 5] = [
    "ip",
    "server_id",
    "status",
    "last_heartbeat",
    "first_heartbeat",
];
/// The index of the first flag in a row.
const FIRST_FLAG: usize = IDENTITY.len();
/// The index of the first of [`COLUMNS`] in a row.
const FIRST_COLUMN: usize = FIRST_FLAG + FLAGS.len();
/// The values of a row.
const ROW: usize = FIRST_COLUMN + COLUMNS.len();

static SELECT_ALL: LazyLock<String> =
    LazyLock::new(|| format!("SELECT {} FROM servers", listed(names())));
static SELECT_ONE: LazyLock<String> =
    LazyLock::new(|| format!("{} WHERE ip = ?1", *SELECT_ALL));

/// One statement decides between insert and update, and a spooled heartbeat updates only
/// what is older. Flags are written on insert alone, so that no heartbeat can change one.
static UPSERT: LazyLock<String> = LazyLock::new(|| {
    let columns = COLUMNS.iter().map(|column| column.sql);
    let updated = ["status", "last_heartbeat"].into_iter().chain(columns);
    format!(
        "INSERT INTO servers ({names}) VALUES ({values}) \
         ON CONFLICT (ip) DO UPDATE SET {updates} \
         WHERE ?{always} OR (?{if_newer} \
         AND excluded.last_heartbeat > servers.last_heartbeat)",
        names = listed(names()),
        values = listed((1..=ROW).map(|place| format!("?{place}"))),
        updates = listed(updated.map(|name| format!("{name} = excluded.{name}"))),
        always = ROW + 1,
        if_newer = ROW + 2,
    )
});

/// A flag that the patch does not name is given as NULL.
static SET_FLAGS: LazyLock<String> = LazyLock::new(|| {
    let names = FLAGS.iter().map(|flag| flag.name);
    let updates = (2..)
        .zip(names)
        .map(|(place, name)| format!("{name} = coalesce(?{place}, {name})"));
    format!("UPDATE servers SET {} WHERE ip = ?1", listed(updates))
});

/// The columns of a row.
fn names() -> impl Iterator<Item = &'static str> {
    let flags = FLAGS.iter().map(|flag| flag.name);
    let columns = COLUMNS.iter().map(|column| column.sql);
    IDENTITY.into_iter().chain(flags).chain(columns)
}

fn listed<T: Into<String>>(items: impl Iterator<Item = T>) -> String {
    items.map(Into::into).collect::<Vec<String>>().join(", ")
}

/// Every host, sorted by address.
pub(super) fn all(connection: &Connection) -> rusqlite::Result<Vec<Arc<Server>>> {
    let mut statement = connection.prepare_cached(&SELECT_ALL)?;
    let mut rows = statement.query([])?;

    let mut servers = Vec::new();
    while let Some(row) = rows.next()? {
        match server_from_row(row) {
            Ok(server) => servers.push(Arc::new(server)),
            // Somebody has edited the file; the other hosts must not suffer.
            Err(error) => {
                let line = || format!("a damaged row is left out: {error}");
                log_if_due(Level::Warn, "damaged rows", &error.to_string(), line);
            }
        }
    }

    servers.sort_unstable_by_key(|server| server.ip);
    Ok(servers)
}

/// One host.
pub(super) fn by_ip(
    connection: &Connection,
    ip: IpAddr,
) -> rusqlite::Result<Option<Server>> {
    let mut statement = connection.prepare_cached(&SELECT_ONE)?;
    statement
        .query_row([ip.to_string()], server_from_row)
        .optional()
}

/// Stores one heartbeat.
pub(super) fn record(
    transaction: &Transaction<'_>,
    beat: &Beat,
) -> Result<(), StoreError> {
    if let Some(collected_at) = beat.collected_at() {
        let mut insert = transaction.prepare_cached(
            "INSERT INTO history (ip, collected_at, heartbeat) VALUES (?1, ?2, ?3) \
             ON CONFLICT DO NOTHING",
        )?;
        insert.execute(params![
            beat.ip.to_string(),
            collected_at.as_millisecond(),
            json(&beat.heartbeat),
        ])?;
    }

    for _ in 0..SERVER_ID_TRIES {
        match upsert(transaction, beat) {
            Err(error) if is_taken_server_id(&error) => {}
            result => return Ok(result?),
        }
    }
    Err(rusqlite::Error::StatementChangedRows(0).into())
}

fn upsert(transaction: &Transaction<'_>, beat: &Beat) -> rusqlite::Result<()> {
    let at = beat.at.as_millisecond();
    let identity: [ToSqlOutput<'_>; IDENTITY.len()] = [
        beat.ip.to_string().into(),
        new_server_id().into(),
        beat.status.as_str().into(),
        at.into(),
        at.into(),
    ];
    let flags = FLAGS.iter().map(|flag| flag.default().into());
    let columns = COLUMNS
        .iter()
        .map(|column| value(&column.kind, &beat.heartbeat));
    let conditions = [Supersedes::Always, Supersedes::IfNewer]
        .map(|supersedes| (beat.supersedes == supersedes).into());

    let row = identity.into_iter().chain(flags).chain(columns);
    let mut upsert = transaction.prepare_cached(&UPSERT)?;
    upsert.execute(params_from_iter(row.chain(conditions)))?;
    Ok(())
}

/// A column's value as SQLite keeps it.
fn value<'a>(kind: &Kind, heartbeat: &'a Heartbeat) -> ToSqlOutput<'a> {
    match kind {
        Kind::Text(place) => (place.in_heartbeat)(heartbeat).as_str().into(),
        Kind::OptionalText(place) => match (place.in_heartbeat)(heartbeat) {
            Some(text) => text.as_str().into(),
            None => Null.into(),
        },
        Kind::Number(place) => match (place.in_heartbeat)(heartbeat) {
            Some(number) => (*number).into(),
            None => Null.into(),
        },
        Kind::Services(place) => json((place.in_heartbeat)(heartbeat)).into(),
        Kind::Metrics(place) => json((place.in_heartbeat)(heartbeat)).into(),
    }
}

/// A host from a row.
fn server_from_row(row: &Row<'_>) -> rusqlite::Result<Server> {
    let is_active = row.get_ref(2)?.as_str()? == Status::Active.as_str();
    let identity = Identity {
        ip: parsed(row, 0, str::parse::<IpAddr>)?,
        server_id: row.get(1)?,
        status: if is_active {
            Status::Active
        } else {
            Status::Down
        },
        last_heartbeat: timestamp(row, 3)?,
        first_heartbeat: timestamp(row, 4)?,
    };

    let mut server = identity.into_server();
    for (index, flag) in (FIRST_FLAG..).zip(FLAGS) {
        *(flag.in_flags)(&mut server.flags) = row.get(index)?;
    }
    for (index, column) in (FIRST_COLUMN..).zip(COLUMNS) {
        read(&column.kind, row, index, &mut server)?;
    }
    Ok(server)
}

/// Reads a column's value, which is at `index`, into a record.
fn read(
    kind: &Kind,
    row: &Row<'_>,
    index: usize,
    server: &mut Server,
) -> rusqlite::Result<()> {
    match kind {
        Kind::Text(place) => *(place.in_server)(server) = row.get(index)?,
        Kind::OptionalText(place) => *(place.in_server)(server) = row.get(index)?,
        Kind::Number(place) => *(place.in_server)(server) = row.get(index)?,
        Kind::Services(place) => {
            *(place.in_server)(server) = parsed(row, index, serde_json::from_str)?;
        }
        Kind::Metrics(place) => {
            *(place.in_server)(server) = parsed(row, index, serde_json::from_str)?;
        }
    }
    Ok(())
}

/// Sets the patch's flags and gives the host as it is now.
pub(super) fn set_flags(
    transaction: &Transaction<'_>,
    ip: IpAddr,
    patch: FlagsPatch,
) -> rusqlite::Result<Option<Server>> {
    let mut statement = transaction.prepare_cached(&SET_FLAGS)?;
    let ip_value = iter::once(Value::from(ip.to_string()));
    let flags = FLAGS
        .iter()
        .map(|flag| Value::from((flag.in_patch)(&patch)));
    statement.execute(params_from_iter(ip_value.chain(flags)))?;
    by_ip(transaction, ip)
}

/// Deletes the hosts, and their history, that are not static and were silent since before
/// `delete_before`; marks those down that were silent since before `down_before`.
pub(super) fn sweep(
    transaction: &Transaction<'_>,
    down_before: Timestamp,
    delete_before: Timestamp,
) -> rusqlite::Result<Swept> {
    let delete_before = delete_before.as_millisecond();
    transaction.execute(
        "DELETE FROM history WHERE ip IN \
         (SELECT ip FROM servers WHERE last_heartbeat < ?1 AND static = 0)",
        [delete_before],
    )?;
    let deleted = transaction.execute(
        "DELETE FROM servers WHERE last_heartbeat < ?1 AND static = 0",
        [delete_before],
    )?;

    let down = transaction.execute(
        "UPDATE servers SET status = 'down' \
         WHERE last_heartbeat < ?1 AND status <> 'down'",
        [down_before.as_millisecond()],
    )?;
    Ok(Swept { down, deleted })
}

/// Deletes history from before `delete_before`, a chunk in each transaction.
pub(super) fn forget_history(
    connections: &Connections,
    delete_before: Timestamp,
) -> Result<(), StoreError> {
    let chunk = "DELETE FROM history WHERE (ip, collected_at) IN \
        (SELECT ip, collected_at FROM history WHERE collected_at < ?1 LIMIT ?2)";
    loop {
        let deleted = connections.write(|transaction| {
            let values = params![delete_before.as_millisecond(), HISTORY_CHUNK];
            Ok(transaction.execute(chunk, values)?)
        })?;
        if deleted < HISTORY_CHUNK as usize {
            return Ok(());
        }
    }
}

/// A value as the API has it.
fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("a heartbeat is plain JSON")
}
