//! Which record a heartbeat is stored in: does in SQLite what
//! [`crate::store::identity`] decides.

use std::net::IpAddr;
use std::sync::LazyLock;

use fleetbeat_protocol::{AgentId, Status};
use rusqlite::{OptionalExtension, Row, Transaction, params};

use super::error::is_taken_server_id;
use super::events;
use super::row::{optional_agent_id, optional_ip, optional_timestamp, parsed, timestamp};
use super::servers::{self, listed};
use crate::store::column::FLAGS;
use crate::store::error::StoreError;
use crate::store::event::Act;
use crate::store::identity::{
    self, Conflicts, Finding, Step, tombstone_of_agent, tombstone_of_ip,
};
use crate::store::removal::{IDENTITY, Removal};
use crate::store::server::{Beat, Supersedes, new_server_id};

/// How often a new host is given another id because its id was taken. Eight hexadecimal
/// digits collide now and then in a large fleet; so many in a row do not.
const SERVER_ID_TRIES: usize = 16;
/// A record is moved or makes room in a few steps; more in a row would be a mistake.
const MAX_STEPS: usize = 8;

/// A record as far as identity goes, by the host's number.
type Known = identity::Known<i64>;

static SELECT_BY_IP: LazyLock<String> = LazyLock::new(|| select_known("ip"));
static SELECT_BY_AGENT: LazyLock<String> = LazyLock::new(|| select_known("agent_id"));

/// Copies a host's flags if they differ from the defaults.
static BURY: LazyLock<String> = LazyLock::new(|| {
    let names = listed(FLAGS.iter().map(|flag| flag.name));
    let differs = FLAGS
        .iter()
        .map(|flag| format!("{} <> {}", flag.name, i64::from(flag.default())));
    format!(
        "INSERT INTO tombstones (name, buried_at, heir, {names}) \
         SELECT ?1, service_time, ?2, {names} FROM flags, state \
         WHERE host = ?3 AND ({})",
        differs.collect::<Vec<_>>().join(" OR ")
    )
});
static RAISE: LazyLock<String> = LazyLock::new(|| {
    let names = listed(FLAGS.iter().map(|flag| flag.name));
    format!(
        "INSERT INTO flags (host, {names}) SELECT ?1, {names} FROM tombstones \
         WHERE name = ?2"
    )
});
static COPY_FLAGS: LazyLock<String> = LazyLock::new(|| {
    let names = listed(FLAGS.iter().map(|flag| flag.name));
    format!(
        "INSERT INTO flags (host, copied, {names}) SELECT ?1, 1, {names} FROM flags \
         WHERE host = ?2"
    )
});

fn select_known(column: &str) -> String {
    format!(
        "SELECT id, ip, agent_id, boot_id, last_heartbeat, status, moved_at, wanted_ip, \
         clone_of FROM servers WHERE {column} = ?1"
    )
}

/// Stores one heartbeat. What the log is to be told when the transaction is committed
/// goes to `findings`.
pub(super) fn record(
    transaction: &Transaction<'_>,
    beat: &Beat,
    conflicts: &Conflicts,
    findings: &mut Vec<Finding>,
) -> Result<(), StoreError> {
    if servers::store_ordinary(transaction, beat)? {
        return Ok(());
    }
    for _ in 0..MAX_STEPS {
        let at_ip = known(transaction, &SELECT_BY_IP, &beat.ip.to_string())?;
        let of_agent = of_agent(transaction, beat, at_ip.as_ref())?;
        let is_remembered = is_remembered(transaction, beat, at_ip.as_ref())?;
        let step =
            identity::decide(beat, at_ip.as_ref(), of_agent.as_ref(), is_remembered);

        match step {
            Step::Store {
                record,
                taken_by,
                wanted_ip,
            } => {
                if beat.supersedes == Supersedes::Always
                    && let Some(finding) = conflicts.look_at(record, beat)
                {
                    tell(transaction, beat, record.key, finding, findings)?;
                }
                if let Some(agent_id) = taken_by {
                    take(transaction, record, agent_id)?;
                }
                servers::store(transaction, beat, record.key, wanted_ip)?;
                servers::keep_history(transaction, beat, record.key)?;
                return Ok(());
            }
            Step::Insert { agent_id, clone_of } => {
                let host = insert(transaction, beat, agent_id, clone_of)?;
                servers::keep_history(transaction, beat, host)?;
                if let (Some(_), Some(agent_id)) = (clone_of, beat.heartbeat.agent_id) {
                    let finding = Finding::Clone {
                        ip: beat.ip,
                        agent_id,
                    };
                    tell(transaction, beat, host, finding, findings)?;
                }
                return Ok(());
            }
            step => prepare(transaction, beat, &step, findings)?,
        }
    }
    Err(StoreError::Refused {
        database: "SQLite",
        reason: format!("no record was found for {} in {MAX_STEPS} steps", beat.ip),
    })
}

/// Writes the finding's event about `host`, and keeps the finding for the log.
fn tell(
    transaction: &Transaction<'_>,
    beat: &Beat,
    host: i64,
    finding: Finding,
    findings: &mut Vec<Finding>,
) -> rusqlite::Result<()> {
    if let Some(event) = finding.event(beat.at) {
        events::write(transaction, Some(host), &event)?;
    }
    findings.push(finding);
    Ok(())
}

/// Does a step after which the record has to be looked for again.
fn prepare(
    transaction: &Transaction<'_>,
    beat: &Beat,
    step: &Step<'_, i64>,
    findings: &mut Vec<Finding>,
) -> rusqlite::Result<()> {
    match step {
        Step::Remove(record) => {
            let server_id = server_id(transaction, record)?;
            let act = Act::program(IDENTITY, beat.at);
            remove(transaction, record.key, &act, Removal::Replaced)?;
            let ip = beat.ip;
            findings.push(Finding::Replaced { server_id, ip });
        }
        Step::Absorb { record, clone } => absorb(transaction, beat, record, clone)?,
        Step::Move(record) => {
            relocate(transaction, record, beat.ip)?;
            note_move(transaction, beat, record)?;
            leave(transaction, record)?;
            let finding = moved(transaction, record, beat.ip)?;
            tell(transaction, beat, record.key, finding, findings)?;
        }
        Step::Exchange { record, other } => {
            exchange(transaction, beat, record, other)?;
            let finding = moved(transaction, record, beat.ip)?;
            tell(transaction, beat, record.key, finding, findings)?;
            if let Some(to) = record.ip {
                let finding = moved(transaction, other, to)?;
                tell(transaction, beat, other.key, finding, findings)?;
            }
        }
        Step::Store { .. } | Step::Insert { .. } => {}
    }
    Ok(())
}

/// The record of the heartbeat's agent.
fn of_agent(
    transaction: &Transaction<'_>,
    beat: &Beat,
    at_ip: Option<&Known>,
) -> rusqlite::Result<Option<Known>> {
    let Some(id) = beat.heartbeat.agent_id else {
        return Ok(None);
    };
    match at_ip {
        Some(record) if record.agent_id == Some(id) => Ok(Some(record.clone())),
        _ => known(transaction, &SELECT_BY_AGENT, &id.expose()),
    }
}

fn known(
    transaction: &Transaction<'_>,
    select: &str,
    name: &str,
) -> rusqlite::Result<Option<Known>> {
    let mut statement = transaction.prepare_cached(select)?;
    statement.query_row([name], known_from_row).optional()
}

fn known_from_row(row: &Row<'_>) -> rusqlite::Result<Known> {
    Ok(Known {
        key: row.get(0)?,
        ip: Some(parsed(row, 1, str::parse::<IpAddr>)?),
        agent_id: optional_agent_id(row, 2)?,
        boot_id: row.get(3)?,
        last_heartbeat: timestamp(row, 4)?,
        is_down: row.get_ref(5)?.as_str()? == Status::Down.as_str(),
        moved_at: optional_timestamp(row, 6)?,
        wanted_ip: optional_ip(row, 7)?,
        clone_of: optional_agent_id(row, 8)?,
    })
}

/// Whether the agent's flags wait for its return, other than as those of the host that
/// has taken the agent's place at `at_ip`.
fn is_remembered(
    transaction: &Transaction<'_>,
    beat: &Beat,
    at_ip: Option<&Known>,
) -> rusqlite::Result<bool> {
    let (Some(id), Some(record)) = (beat.heartbeat.agent_id, at_ip) else {
        return Ok(false);
    };
    if record.agent_id == Some(id) {
        return Ok(false);
    }
    let mut select =
        transaction.prepare_cached("SELECT heir FROM tombstones WHERE name = ?1")?;
    let heir: Option<Option<i64>> = select
        .query_row([tombstone_of_agent(id)], |row| row.get(0))
        .optional()?;
    Ok(heir.is_some_and(|heir| heir != Some(record.key)))
}

/// Makes a record. Flags that wait for the host's return are the record's.
fn insert(
    transaction: &Transaction<'_>,
    beat: &Beat,
    agent_id: Option<AgentId>,
    clone_of: Option<&Known>,
) -> Result<i64, StoreError> {
    let claimed = clone_of.and(beat.heartbeat.agent_id).map(AgentId::expose);
    let mut tries = 0;
    let host = loop {
        let (server_id, agent) = (new_server_id(), agent_id.map(AgentId::expose));
        match servers::insert(transaction, beat, &server_id, agent, claimed.clone()) {
            Err(error) if is_taken_server_id(&error) && tries < SERVER_ID_TRIES => {
                tries += 1;
            }
            result => break result?,
        }
    };

    arrive(transaction, beat.ip)?;
    if let Some(original) = clone_of {
        let copy = params![host, original.key];
        transaction.prepare_cached(&COPY_FLAGS)?.execute(copy)?;
        return Ok(host);
    }
    for name in agent_id
        .map(tombstone_of_agent)
        .into_iter()
        .chain([tombstone_of_ip(beat.ip)])
    {
        let is_raised = transaction
            .prepare_cached(&RAISE)?
            .execute(params![host, name])?
            > 0;
        if is_raised {
            transaction.execute("DELETE FROM tombstones WHERE name = ?1", [name])?;
            break;
        }
    }
    Ok(host)
}

/// Gives the record to another agent. The one before may be somewhere else, so its flags
/// wait for its return.
fn take(
    transaction: &Transaction<'_>,
    record: &Known,
    agent_id: AgentId,
) -> rusqlite::Result<()> {
    if let Some(before) = record.agent_id {
        bury(
            transaction,
            &tombstone_of_agent(before),
            Some(record.key),
            record.key,
        )?;
    }
    transaction.execute(
        "UPDATE servers SET agent_id = ?1, clone_of = NULL WHERE id = ?2",
        params![agent_id.expose(), record.key],
    )?;
    Ok(())
}

/// Keeps the flags of `host` in a tombstone, if they differ from the defaults.
fn bury(
    connection: &rusqlite::Connection,
    name: &str,
    heir: Option<i64>,
    host: i64,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached("DELETE FROM tombstones WHERE name = ?1")?
        .execute([name])?;
    connection
        .prepare_cached(&BURY)?
        .execute(params![name, heir, host])?;
    Ok(())
}

/// Removes a host. Its flags go to a tombstone; its history is deleted later.
pub(super) fn remove(
    connection: &rusqlite::Connection,
    host: i64,
    act: &Act,
    removal: Removal,
) -> rusqlite::Result<()> {
    let mut select =
        connection.prepare_cached("SELECT agent_id, ip FROM servers WHERE id = ?1")?;
    let (agent_id, ip) = select.query_row([host], |row| {
        Ok((optional_agent_id(row, 0)?, parsed(row, 1, str::parse)?))
    })?;
    let name = match agent_id {
        Some(id) => tombstone_of_agent(id),
        None => tombstone_of_ip(ip),
    };

    bury(connection, &name, None, host)?;
    delete(connection, host, act, removal)
}

/// Deletes what is kept of a host, but for its history, which is deleted later, and its
/// events.
fn delete(
    connection: &rusqlite::Connection,
    host: i64,
    act: &Act,
    removal: Removal,
) -> rusqlite::Result<()> {
    events::write(connection, Some(host), &removal.event(act))?;
    for statement in [
        "INSERT INTO departed (host, server_id, ip) \
         SELECT id, server_id, ip FROM servers WHERE id = ?1",
        "DELETE FROM sightings WHERE host = ?1",
        "INSERT INTO gone VALUES (?1) ON CONFLICT DO NOTHING",
        "DELETE FROM flags WHERE host = ?1",
        "DELETE FROM servers WHERE id = ?1",
    ] {
        connection.prepare_cached(statement)?.execute([host])?;
    }
    Ok(())
}

/// Makes one record of two.
fn absorb(
    transaction: &Transaction<'_>,
    beat: &Beat,
    record: &Known,
    clone: &Known,
) -> rusqlite::Result<()> {
    let both = params![record.key, clone.key];
    // Where an admin has set flags on the clone, those are the newest.
    transaction.execute(
        "DELETE FROM flags WHERE host = ?1 \
         AND EXISTS (SELECT 1 FROM flags WHERE host = ?2 AND NOT copied)",
        both,
    )?;
    transaction.execute(
        "UPDATE flags SET host = ?1 WHERE host = ?2 AND NOT copied",
        both,
    )?;
    transaction.execute(
        "UPDATE OR IGNORE history SET host = ?1 WHERE host = ?2",
        both,
    )?;
    let act = Act::program(IDENTITY, beat.at);
    delete(transaction, clone.key, &act, Removal::Absorbed)
}

/// Gives the record an address that is free.
fn relocate(
    transaction: &Transaction<'_>,
    record: &Known,
    to: IpAddr,
) -> rusqlite::Result<()> {
    transaction.execute(
        "UPDATE servers SET ip = ?2, ip_confirmed = 0 WHERE id = ?1",
        params![record.key, to.to_string()],
    )?;
    arrive(transaction, to)
}

/// Notes that the host itself has asked for its new address.
fn note_move(
    transaction: &Transaction<'_>,
    beat: &Beat,
    record: &Known,
) -> rusqlite::Result<()> {
    transaction.execute(
        "UPDATE servers SET moved_at = ?2, wanted_ip = NULL WHERE id = ?1",
        params![record.key, beat.at.as_millisecond()],
    )?;
    Ok(())
}

/// Lets two records change places.
fn exchange(
    transaction: &Transaction<'_>,
    beat: &Beat,
    record: &Known,
    other: &Known,
) -> rusqlite::Result<()> {
    let Some(before) = record.ip else {
        return Ok(());
    };
    // No two records may have one address, not even for a moment.
    transaction.execute("UPDATE servers SET ip = '' WHERE id = ?1", [other.key])?;
    relocate(transaction, record, beat.ip)?;
    note_move(transaction, beat, record)?;
    relocate(transaction, other, before)?;
    if other.wanted_ip == Some(before) {
        note_move(transaction, beat, other)?;
    }
    Ok(())
}

/// Notes which host has left an address.
fn leave(transaction: &Transaction<'_>, record: &Known) -> rusqlite::Result<()> {
    if let Some(ip) = record.ip {
        transaction.execute(
            "INSERT OR REPLACE INTO moves (ip, host) VALUES (?1, ?2)",
            params![ip.to_string(), record.key],
        )?;
    }
    Ok(())
}

/// An address has a host again.
fn arrive(transaction: &Transaction<'_>, ip: IpAddr) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("DELETE FROM moves WHERE ip = ?1")?
        .execute([ip.to_string()])?;
    Ok(())
}

/// The address of the host that has left `ip`.
pub(super) fn moved_to(
    connection: &rusqlite::Connection,
    ip: IpAddr,
) -> rusqlite::Result<Option<IpAddr>> {
    let mut select = connection.prepare_cached(
        "SELECT servers.ip FROM moves JOIN servers ON servers.id = moves.host \
         WHERE moves.ip = ?1",
    )?;
    let found = select.query_row([ip.to_string()], |row| optional_ip(row, 0));
    Ok(found.optional()?.flatten())
}

fn moved(
    transaction: &Transaction<'_>,
    record: &Known,
    to: IpAddr,
) -> rusqlite::Result<Finding> {
    Ok(Finding::Moved {
        server_id: server_id(transaction, record)?,
        from: record.ip,
        to,
    })
}

fn server_id(transaction: &Transaction<'_>, record: &Known) -> rusqlite::Result<String> {
    transaction.query_row(
        "SELECT server_id FROM servers WHERE id = ?1",
        [record.key],
        |row| row.get(0),
    )
}
