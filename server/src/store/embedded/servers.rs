//! The hosts' records in SQLite: how a record is read, and how a heartbeat is stored.
//!
//! The statements are made from the tables of [`crate::store::column`], once. A row has
//! first the [`Identity`], then the flags, then what else admins set, then the columns,
//! then the host's number, so that the place of each value is known without its name.
//! Which record a heartbeat belongs to is decided in [`crate::store::identity`];
//! `owners.rs` does what is decided.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use fleetbeat_protocol::{AgentId, Heartbeat, Server, Status};
use log::Level;
use rusqlite::types::{Null, ToSqlOutput};
use rusqlite::{Connection, OptionalExtension, Row, Rows, Transaction, params_from_iter};

use super::events;
use super::flags;
use super::row::{
    json, listed, optional, optional_ip, optional_timestamp, parsed, timestamp,
};
use crate::recurring::log_if_due;
use crate::store::bulk::Bulk;
use crate::store::column::{COLUMNS, FLAGS, Identity, Kind};
use crate::store::error::{Conflict, StoreError};
use crate::store::event::Act;
use crate::store::flags::{HostPatch, Judge, SetFlags, Verdict};
use crate::store::server::{Beat, HostName, Supersedes};

/// The columns of an [`Identity`].
const IDENTITY: [&str; 8] = [
    "ip",
    "server_id",
    "status",
    "last_heartbeat",
    "first_heartbeat",
    "observed_ip",
    "ip_confirmed",
    "up_since",
];
/// The index of the first flag in a row.
const FIRST_FLAG: usize = IDENTITY.len();
/// The index in a row of the first of what else admins set.
const FIRST_ALSO_SET: usize = FIRST_FLAG + FLAGS.len();
/// The index of the first of [`COLUMNS`] in a row.
const FIRST_COLUMN: usize = FIRST_ALSO_SET + flags::ALSO_SET.len();
/// The index of the host's number in a row.
const NUMBER: usize = FIRST_COLUMN + COLUMNS.len();

static SELECT_ALL: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT {} FROM servers LEFT JOIN flags ON flags.host = servers.id",
        listed(names())
    )
});
static SELECT_BY_NUMBER: LazyLock<String> =
    LazyLock::new(|| format!("{} WHERE servers.id = ?1", *SELECT_ALL));
static SELECT_BY_IP: LazyLock<String> =
    LazyLock::new(|| format!("{} WHERE servers.ip = ?1", *SELECT_ALL));
static SELECT_BY_SERVER_ID: LazyLock<String> =
    LazyLock::new(|| format!("{} WHERE servers.server_id = ?1", *SELECT_ALL));

/// The columns that every heartbeat sets which counts, from the parameter 1 on.
static SET_COLUMNS: LazyLock<String> = LazyLock::new(|| {
    let columns = COLUMNS.iter().map(|column| column.sql);
    let updated = ["status", "last_heartbeat"].into_iter().chain(columns);
    let set = (1..).zip(updated);
    let set = set.map(|(place, name)| format!("{name} = ?{place}"));
    listed(set.chain([UP_SINCE.to_owned()]))
});
/// A host that was down and is heard is up since then. The status on the right is the one
/// from before.
const UP_SINCE: &str = "up_since = iif(status = 'down' AND ?1 = 'active', ?2, up_since)";
/// The first parameter behind those of [`SET_COLUMNS`].
const BEHIND_COLUMNS: usize = COLUMNS.len() + 3;

/// A live heartbeat: it counts whatever the record's time is, and tells more of the host.
static STORE_LIVE: LazyLock<String> = LazyLock::new(|| {
    let [
        host,
        keyed,
        boot_id,
        wanted_ip,
        observed_ip,
        agent_id,
        clock_off,
    ] = [0, 1, 2, 3, 4, 5, 6].map(|n| BEHIND_COLUMNS + n);
    format!(
        "UPDATE servers SET {}, down_since = NULL, boot_id = ?{boot_id}, \
         keyed = keyed OR ?{keyed}, clock_off = ?{clock_off}, \
         guest_since = iif(agent_id NOT NULL AND ?{agent_id} IS NULL, \
         coalesce(guest_since, ?2), NULL), \
         wanted_ip = ?{wanted_ip}, observed_ip = coalesce(?{observed_ip}, observed_ip), \
         ip_confirmed = ip_confirmed OR ip IS ?{observed_ip} WHERE id = ?{host}",
        *SET_COLUMNS
    )
});

/// A live heartbeat that is ordinary: agent, boot and kind of key are those of the record
/// at the address, so nobody has to be asked whose it is.
static STORE_ORDINARY: LazyLock<String> = LazyLock::new(|| {
    let [ip, agent_id, boot_id, observed_ip, clock_off, keyed] =
        [0, 1, 2, 3, 4, 5].map(|n| BEHIND_COLUMNS + n);
    format!(
        "UPDATE servers SET {}, down_since = NULL, wanted_ip = NULL, \
         clock_off = ?{clock_off}, \
         observed_ip = coalesce(?{observed_ip}, observed_ip), \
         ip_confirmed = ip_confirmed OR ip IS ?{observed_ip} \
         WHERE ip = ?{ip} AND +agent_id IS ?{agent_id} AND boot_id IS ?{boot_id} \
         AND guest_since IS NULL AND keyed = ?{keyed} RETURNING id",
        *SET_COLUMNS
    )
});

/// A spooled heartbeat: it counts only if it is newer than the record.
static STORE_IF_NEWER: LazyLock<String> = LazyLock::new(|| {
    let [host, keyed] = [0, 1].map(|n| BEHIND_COLUMNS + n);
    format!(
        "UPDATE servers SET {}, down_since = NULL, keyed = keyed OR ?{keyed} \
         WHERE id = ?{host} AND last_heartbeat < ?2",
        *SET_COLUMNS
    )
});

/// The columns of a new record that are not in [`SET_COLUMNS`], behind the host.
const OF_A_NEW_HOST: [&str; 9] = [
    "ip",
    "server_id",
    "agent_id",
    "clone_of",
    "boot_id",
    "observed_ip",
    "ip_confirmed",
    "clock_off",
    "keyed",
];

/// Makes a record with the next number. `first_heartbeat` is the last one, too.
static INSERT: LazyLock<String> = LazyLock::new(|| {
    let columns = COLUMNS.iter().map(|column| column.sql);
    let set = ["status", "last_heartbeat"].into_iter().chain(columns);
    let names = set.chain(OF_A_NEW_HOST);
    let values = (1..BEHIND_COLUMNS + OF_A_NEW_HOST.len()).map(|n| format!("?{n}"));
    format!(
        "INSERT INTO servers ({}, first_heartbeat, up_since, id) \
         VALUES ({}, ?2, iif(?1 = 'active', ?2, NULL), (SELECT next_host FROM state))",
        listed(names),
        listed(values)
    )
});

/// The columns of a row.
fn names() -> impl Iterator<Item = String> {
    let flags = FLAGS.iter().map(|flag| flag.name).chain(flags::ALSO_SET);
    let flags = flags.map(|name| format!("flags.{name}"));
    let columns = COLUMNS.iter().map(|column| column.sql);
    let of_servers = |name| format!("servers.{name}");
    IDENTITY
        .into_iter()
        .map(of_servers)
        .chain(flags)
        .chain(columns.chain(["id"]).map(of_servers))
}

/// A host's number and record.
pub(super) type Numbered = (i64, Arc<Server>);

/// Every host, sorted by address.
pub(super) fn all(connection: &Connection) -> rusqlite::Result<Vec<Numbered>> {
    let mut statement = connection.prepare_cached(&SELECT_ALL)?;
    let mut servers = Vec::new();
    read_rows(&mut statement.query([])?, &mut servers)?;
    servers.sort_unstable_by_key(|(_, server)| server.ip);
    Ok(servers)
}

/// The hosts of these numbers that are there, sorted by address.
pub(super) fn of_hosts(
    connection: &Connection,
    hosts: &HashSet<i64>,
) -> rusqlite::Result<Vec<Numbered>> {
    let mut statement = connection.prepare_cached(&SELECT_BY_NUMBER)?;
    let mut servers = Vec::with_capacity(hosts.len());
    // One transaction, so that no two records are read that have changed places between.
    let _transaction = connection.unchecked_transaction()?;
    for host in hosts {
        read_rows(&mut statement.query([host])?, &mut servers)?;
    }
    servers.sort_unstable_by_key(|(_, server)| server.ip);
    Ok(servers)
}

/// Reads what `rows` give, but for damaged rows.
fn read_rows(rows: &mut Rows<'_>, servers: &mut Vec<Numbered>) -> rusqlite::Result<()> {
    while let Some(row) = rows.next()? {
        match server_from_row(row) {
            Ok(server) => servers.push((row.get(NUMBER)?, Arc::new(server))),
            // Somebody has edited the file; the other hosts must not suffer.
            Err(error) => {
                let line = || format!("a damaged row is left out: {error}");
                log_if_due(Level::Warn, "damaged rows", &error.to_string(), line);
            }
        }
    }
    Ok(())
}

/// One host.
pub(super) fn by_name(
    connection: &Connection,
    host: &HostName,
) -> rusqlite::Result<Option<Server>> {
    let (select, name) = match host {
        HostName::Ip(ip) => (&*SELECT_BY_IP, ip.to_string()),
        HostName::ServerId(id) => (&*SELECT_BY_SERVER_ID, id.clone()),
    };
    let mut statement = connection.prepare_cached(select)?;
    statement.query_row([name], server_from_row).optional()
}

/// Stores a live heartbeat in the record at its address, if agent and boot are the
/// record's, and gives the record's number; `None` if they are not.
pub(super) fn store_ordinary(
    transaction: &Transaction<'_>,
    beat: &Beat,
) -> rusqlite::Result<Option<i64>> {
    if beat.supersedes != Supersedes::Always {
        return Ok(None);
    }
    let behind: [ToSqlOutput<'_>; 6] = [
        beat.ip.to_string().into(),
        optional(beat.heartbeat.agent_id.map(AgentId::expose)),
        optional(beat.heartbeat.boot_id.as_deref()),
        optional(beat.observed_ip.map(|ip| ip.to_string())),
        optional(beat.clock_off()),
        beat.speaker.has_own_key().into(),
    ];
    let mut store = transaction.prepare_cached(&STORE_ORDINARY)?;
    let values = params_from_iter(columns(beat).chain(behind));
    store.query_row(values, |row| row.get(0)).optional()
}

/// Stores a heartbeat in the record of `host`. `wanted_ip` is the address that the host
/// asks for and cannot have yet.
pub(super) fn store(
    transaction: &Transaction<'_>,
    beat: &Beat,
    host: i64,
    wanted_ip: Option<IpAddr>,
) -> rusqlite::Result<()> {
    let statement = match beat.supersedes {
        Supersedes::Always => &*STORE_LIVE,
        Supersedes::IfNewer => &*STORE_IF_NEWER,
        Supersedes::IfUnknown => return Ok(()),
    };
    let is_keyed = beat.speaker.has_own_key();
    let mut behind: Vec<ToSqlOutput<'_>> = vec![host.into(), is_keyed.into()];
    if beat.supersedes == Supersedes::Always {
        behind.push(optional(beat.heartbeat.boot_id.as_deref()));
        behind.push(optional(wanted_ip.map(|ip| ip.to_string())));
        behind.push(optional(beat.observed_ip.map(|ip| ip.to_string())));
        behind.push(optional(beat.heartbeat.agent_id.map(AgentId::expose)));
        behind.push(optional(beat.clock_off()));
    }

    let mut store = transaction.prepare_cached(statement)?;
    store.execute(params_from_iter(columns(beat).chain(behind)))?;
    Ok(())
}

/// Makes a record with the flags' defaults for the heartbeat's host, and gives its
/// number.
pub(super) fn insert(
    transaction: &Transaction<'_>,
    beat: &Beat,
    server_id: &str,
    agent_id: Option<String>,
    clone_of: Option<String>,
) -> rusqlite::Result<i64> {
    let is_confirmed = beat.observed_ip == Some(beat.ip);
    let of_a_new_host: [ToSqlOutput<'_>; OF_A_NEW_HOST.len()] = [
        beat.ip.to_string().into(),
        server_id.into(),
        optional(agent_id),
        optional(clone_of),
        optional(beat.heartbeat.boot_id.as_deref()),
        optional(beat.observed_ip.map(|ip| ip.to_string())),
        is_confirmed.into(),
        optional(beat.clock_off()),
        beat.speaker.has_own_key().into(),
    ];

    let mut insert = transaction.prepare_cached(&INSERT)?;
    insert.execute(params_from_iter(columns(beat).chain(of_a_new_host)))?;
    let host = transaction.last_insert_rowid();
    transaction
        .prepare_cached("UPDATE state SET next_host = next_host + 1")?
        .execute([])?;
    Ok(host)
}

/// The values of [`SET_COLUMNS`].
fn columns(beat: &Beat) -> impl Iterator<Item = ToSqlOutput<'_>> {
    let head: [ToSqlOutput<'_>; 2] =
        [beat.status.as_str().into(), beat.at.as_millisecond().into()];
    let values = COLUMNS
        .iter()
        .map(|column| value(&column.kind, &beat.heartbeat));
    head.into_iter().chain(values)
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
        Kind::Tags(place) => json((place.in_heartbeat)(heartbeat)).into(),
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
        observed_ip: optional_ip(row, 5)?,
        ip_confirmed: row.get(6)?,
        up_since: optional_timestamp(row, 7)?,
    };

    let mut server = identity.into_server();
    for (index, flag) in (FIRST_FLAG..).zip(FLAGS) {
        // A host without a row of flags has the defaults.
        if let Some(value) = row.get(index)? {
            *(flag.in_flags)(&mut server.flags) = value;
        }
    }
    let mut set = SetFlags::default();
    flags::read_also_set(row, FIRST_ALSO_SET, &mut set)?;
    server.tags = set.tags.shown();
    server.state = set.state.state;
    server.settings = set.settings.shown();
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
        Kind::Tags(place) => {
            *(place.in_server)(server) = parsed(row, index, serde_json::from_str)?;
        }
    }
    Ok(())
}

/// Sets what the patch asks for and gives the host as it is now. Writes an event for each
/// thing that is another one then.
///
/// # Errors
/// The host would have too many tags or leave the admin's sight, or the database cannot be
/// written.
pub(super) fn set(
    transaction: &Transaction<'_>,
    host: &HostName,
    patch: HostPatch<'_>,
    judge: Judge<'_>,
    act: &Act,
) -> Result<Option<Server>, StoreError> {
    let Some(id) = number(transaction, host)? else {
        return Ok(None);
    };
    if let Some(judge) = judge {
        let record = by_name(transaction, host)?;
        match record.map(|record| judge(&record)) {
            Some(Verdict::Allowed) => {}
            Some(Verdict::Leaves) => return Err(Conflict::LeavesScope.into()),
            Some(Verdict::Unseen) | None => return Ok(None),
        }
    }

    let before = flags::change(transaction, id, &[patch], act.at)?;
    for event in before.changes(patch, act) {
        events::write(transaction, Some(id), &event)?;
    }
    Ok(by_name(transaction, host)?)
}

/// Sets it on these hosts, by `server_id`, and gives on how many.
pub(super) fn set_many(
    transaction: &Transaction<'_>,
    hosts: &[String],
    bulk: &Bulk<'_>,
) -> Result<usize, StoreError> {
    let mut count = 0;
    for host in hosts {
        let host = HostName::ServerId(host.clone());
        let Some(id) = number(transaction, &host)? else {
            continue;
        };
        // The whole record is read only where somebody asks for it.
        if bulk.judge.is_some() {
            let record = by_name(transaction, &host)?;
            if !record.is_some_and(|record| bulk.may_change(&record)) {
                continue;
            }
        }
        match flags::change(transaction, id, bulk.patches, bulk.act.at) {
            Ok(_) => count += 1,
            Err(StoreError::Conflict(_)) => {}
            Err(error) => return Err(error),
        }
    }

    if count > 0 {
        events::write(transaction, None, &bulk.event(count))?;
    }
    Ok(count)
}

/// The number of the host of this name.
fn number(
    transaction: &Transaction<'_>,
    host: &HostName,
) -> rusqlite::Result<Option<i64>> {
    let (select, name) = match host {
        HostName::Ip(ip) => ("SELECT id FROM servers WHERE ip = ?1", ip.to_string()),
        HostName::ServerId(id) => {
            ("SELECT id FROM servers WHERE server_id = ?1", id.clone())
        }
    };
    let mut select = transaction.prepare_cached(select)?;
    select.query_row([name], |row| row.get(0)).optional()
}
