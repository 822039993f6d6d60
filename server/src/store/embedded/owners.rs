//! Which record a heartbeat is stored in: does in SQLite what
//! [`crate::store::identity`] decides.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::LazyLock;

use fleetbeat_protocol::{AgentId, Server, Status};
use rusqlite::{OptionalExtension, Params, Row, Transaction, params};

use super::error::is_taken_server_id;
use super::events;
use super::open_chunks::{self, Appending};
use super::row::{optional_agent_id, optional_ip, optional_timestamp, parsed, timestamp};
use super::{flags, keys, servers};
use crate::store::error::StoreError;
use crate::store::event::Act;
use crate::store::flags::SetFlags;
use crate::store::identity::{
    self, Conflicts, Finding, Heir, Step, Tombstone, tombstone_of_agent, tombstone_of_ip,
};
use crate::store::key::{AgentKey, Mark};
use crate::store::removal::{IDENTITY, Removal};
use crate::store::server::{Beat, Denial, Supersedes, new_server_id};

/// How often a new host is given another id because its id was taken. Eight hexadecimal
/// digits collide now and then in a large fleet; so many in a row do not.
const SERVER_ID_TRIES: usize = 16;
/// A record is moved or makes room in a few steps; more in a row would be a mistake.
const MAX_STEPS: usize = 8;

/// A record as far as identity goes, by the host's number.
type Known = identity::Known<i64>;

static SELECT_BY_IP: LazyLock<String> = LazyLock::new(|| select_known("ip = ?1"));
static SELECT_BY_AGENT: LazyLock<String> =
    LazyLock::new(|| select_known("agent_id = ?1"));
static SELECT_BY_ID: LazyLock<String> = LazyLock::new(|| select_known("id = ?1"));
/// The newest record of a host that claims to be an agent's, at another address.
static SELECT_CLONE: LazyLock<String> = LazyLock::new(|| {
    select_known(
        "clone_of = ?1 AND agent_id IS NULL AND ip <> ?2 \
         ORDER BY first_heartbeat DESC LIMIT 1",
    )
});

fn select_known(condition: &str) -> String {
    format!(
        "SELECT id, ip, agent_id, boot_id, last_heartbeat, status, moved_at, wanted_ip, \
         clone_of, first_heartbeat, guest_since, keyed FROM servers WHERE {condition}"
    )
}

/// What is gathered while heartbeats are stored.
#[derive(Default)]
pub(super) struct Outcome {
    /// What the log is to be told when the transaction is committed.
    pub(super) findings: Vec<Finding>,
    /// The addresses of records that have changed by more than an ordinary heartbeat.
    pub(super) changed: BTreeSet<IpAddr>,
    /// How history grows.
    pub(super) history: Appending,
}

/// What is known of a heartbeat's address and agent: see [`identity::Found`].
#[derive(Default)]
struct Found {
    at_ip: Option<Known>,
    own: Option<Known>,
    clone: Option<Known>,
    tombstone: Option<Tombstone<i64>>,
    mark: Option<Mark>,
}

impl Found {
    fn read(transaction: &Transaction<'_>, beat: &Beat) -> rusqlite::Result<Found> {
        let ip = beat.ip.to_string();
        let at_ip = known(transaction, &SELECT_BY_IP, [&ip])?;
        let Some(id) = beat.heartbeat.agent_id else {
            return Ok(Found {
                at_ip,
                ..Found::default()
            });
        };

        let is_own = |record: &&Known| record.agent_id == Some(id);
        let own = match at_ip.as_ref().filter(is_own) {
            Some(own) => Some(own.clone()),
            None => known(transaction, &SELECT_BY_AGENT, [&id.expose()])?,
        };
        let clone = known(transaction, &SELECT_CLONE, [&id.expose(), &ip])?;
        let tombstone = match &own {
            Some(_) => None,
            None => flags::tombstone(transaction, &tombstone_of_agent(id))?,
        };
        let mark = match &own {
            Some(_) => None,
            None => keys::mark_of(transaction, id)?,
        };
        Ok(Found {
            at_ip,
            own,
            clone,
            tombstone,
            mark,
        })
    }

    fn decide(&self, beat: &Beat) -> Step<'_, i64> {
        let found = identity::Found {
            at_ip: self.at_ip.as_ref(),
            own: self.own.as_ref(),
            clone: self.clone.as_ref(),
            tombstone: self.tombstone.as_ref(),
            mark: self.mark,
        };
        identity::decide(beat, &found)
    }
}

/// Stores one heartbeat, or gives why not.
pub(super) fn record(
    transaction: &Transaction<'_>,
    beat: &Beat,
    conflicts: &Conflicts,
    outcome: &mut Outcome,
) -> Result<Option<Denial>, StoreError> {
    if let Some(host) = servers::store_ordinary(transaction, beat)? {
        outcome.history.append(transaction, host, beat)?;
        return Ok(None);
    }
    outcome.changed.insert(beat.ip);
    for _ in 0..MAX_STEPS {
        let found = Found::read(transaction, beat)?;
        match found.decide(beat) {
            Step::Store { record, wanted_ip } => {
                outcome.changed.extend(record.ip);
                if beat.supersedes == Supersedes::Always {
                    let finding = conflicts.look_at(record, beat, wanted_ip);
                    tell(transaction, beat, record.key, finding, outcome)?;
                }
                servers::store(transaction, beat, record.key, wanted_ip)?;
                outcome.history.append(transaction, record.key, beat)?;
                return Ok(None);
            }
            Step::Refuse { record, denial } => {
                let finding = conflicts.look_at_denied(record, beat, denial);
                if let Some(record) = record {
                    tell(transaction, beat, record.key, finding, outcome)?;
                }
                return Ok(Some(denial));
            }
            Step::Insert { agent_id, clone_of } => {
                let host = insert(transaction, beat, agent_id, clone_of)?;
                outcome.history.append(transaction, host, beat)?;
                let clone = beat.heartbeat.agent_id.filter(|_| clone_of.is_some());
                let ip = beat.ip;
                let finding = clone.map(|agent_id| Finding::Clone { ip, agent_id });
                tell(transaction, beat, host, finding, outcome)?;
                return Ok(None);
            }
            Step::Take { record, waiting } => {
                let finding = conflicts.look_at_taken(record, beat, waiting);
                tell(transaction, beat, record.key, finding, outcome)?;
                take(transaction, beat, record, waiting)?;
            }
            step => prepare(transaction, beat, &step, outcome)?,
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
    finding: impl Into<Option<Finding>>,
    outcome: &mut Outcome,
) -> rusqlite::Result<()> {
    let Some(finding) = finding.into() else {
        return Ok(());
    };
    if let Some(event) = finding.event(beat.at) {
        events::write(transaction, Some(host), &event)?;
    }
    outcome.findings.push(finding);
    Ok(())
}

/// Does a step after which the record has to be looked for again.
fn prepare(
    transaction: &Transaction<'_>,
    beat: &Beat,
    step: &Step<'_, i64>,
    outcome: &mut Outcome,
) -> rusqlite::Result<()> {
    match step {
        Step::Remove(record) => {
            let server_id = server_id(transaction, record)?;
            lay_to_rest(transaction, record, None)?;
            let act = Act::program(IDENTITY, beat.at);
            delete(transaction, record.key, &act, Removal::Replaced)?;
            let ip = beat.ip;
            outcome.findings.push(Finding::Replaced { server_id, ip });
        }
        Step::Absorb { record, clone } => absorb(transaction, beat, record, clone)?,
        Step::Move(record) => {
            relocate(transaction, record, beat.ip)?;
            note_move(transaction, beat, record)?;
            leave(transaction, record)?;
            let finding = moved(transaction, record, beat.ip)?;
            tell(transaction, beat, record.key, finding, outcome)?;
        }
        Step::Exchange { record, other } => {
            exchange(transaction, beat, record, other)?;
            let finding = moved(transaction, record, beat.ip)?;
            tell(transaction, beat, record.key, finding, outcome)?;
            if let Some(to) = record.ip {
                let finding = moved(transaction, other, to)?;
                tell(transaction, beat, other.key, finding, outcome)?;
                // The other record may have had to be looked at where it was.
                outcome.changed.insert(to);
            }
        }
        Step::Store { .. }
        | Step::Insert { .. }
        | Step::Take { .. }
        | Step::Refuse { .. } => {}
    }
    Ok(())
}

fn known(
    connection: &rusqlite::Connection,
    select: &str,
    names: impl Params,
) -> rusqlite::Result<Option<Known>> {
    let mut statement = connection.prepare_cached(select)?;
    statement.query_row(names, known_from_row).optional()
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
        first_heartbeat: timestamp(row, 9)?,
        guest_since: optional_timestamp(row, 10)?,
        is_keyed: row.get(11)?,
    })
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
        let copy = flags::of_host(transaction, original.key)?;
        flags::put(transaction, host, &copy)?;
        return Ok(host);
    }
    let names = agent_id.map(tombstone_of_agent).into_iter();
    for name in names.chain([tombstone_of_ip(beat.ip)]) {
        if let Some(waiting) = flags::tombstone(transaction, &name)? {
            flags::put(transaction, host, &waiting.flags)?;
            flags::raise(transaction, &name)?;
            return Ok(host);
        }
    }
    let new = SetFlags::of_new_host(beat.new_flags);
    if !new.are_defaults() {
        flags::put(transaction, host, &new)?;
    }
    Ok(host)
}

/// Gives the record to the heartbeat's agent.
fn take(
    transaction: &Transaction<'_>,
    beat: &Beat,
    record: &Known,
    waiting: Option<&SetFlags>,
) -> rusqlite::Result<()> {
    let Some(id) = beat.heartbeat.agent_id else {
        return Ok(());
    };
    let is_own = record.is_clone_of(id);
    if !is_own {
        let heir = Heir {
            key: record.key,
            ip: record.ip,
        };
        lay_to_rest(
            transaction,
            record,
            Some(&heir).filter(|_| waiting.is_none()),
        )?;
    }
    if let Some(waiting) = waiting {
        let mut flags = waiting.clone();
        if is_own {
            flags.merge(&flags::of_host(transaction, record.key)?);
        }
        flags::put(transaction, record.key, &flags)?;
    }
    flags::raise(transaction, &tombstone_of_agent(id))?;
    transaction.execute(
        "UPDATE servers SET agent_id = ?1, boot_id = ?2, clone_of = NULL, \
         guest_since = NULL WHERE id = ?3",
        params![id.expose(), beat.heartbeat.boot_id, record.key],
    )?;
    Ok(())
}

/// Keeps the flags of a record that makes room, or goes to another agent. `heir`: the
/// record keeps them, too.
fn lay_to_rest(
    connection: &rusqlite::Connection,
    record: &Known,
    heir: Option<&Heir<i64>>,
) -> rusqlite::Result<()> {
    let flags = flags::of_host(connection, record.key)?;
    match (record.agent_id, record.clone_of, record.ip) {
        // What nobody has set is not worth a tombstone for each installation.
        (Some(_), ..) if heir.is_some() && flags.are_defaults() => Ok(()),
        (Some(id), ..) => flags::bury(connection, &tombstone_of_agent(id), &flags, heir),
        (None, Some(id), _) => lay_clone_to_rest(connection, record, id, &flags),
        (None, None, Some(ip)) if heir.is_none() => {
            flags::bury(connection, &tombstone_of_ip(ip), &flags, None)
        }
        (None, None, _) => Ok(()),
    }
}

/// Keeps the flags of a record whose host claims to be the agent `id`, if it may be that
/// agent's. A copied host that comes back has the flags of its original.
fn lay_clone_to_rest(
    connection: &rusqlite::Connection,
    clone: &Known,
    id: AgentId,
    flags: &SetFlags,
) -> rusqlite::Result<()> {
    match known(connection, &SELECT_BY_AGENT, [&id.expose()])? {
        Some(original) if clone.may_be(&original) => {
            let mut merged = flags::of_host(connection, original.key)?;
            merged.merge(flags);
            flags::put(connection, original.key, &merged)
        }
        Some(_) => Ok(()),
        None => {
            let name = tombstone_of_agent(id);
            let older = flags::tombstone(connection, &name)?;
            let mut merged = older.map_or_else(|| flags.clone(), |older| older.flags);
            merged.merge(flags);
            flags::bury(connection, &name, &merged, None)
        }
    }
}

/// Removes a host. Its flags wait for its return; its history is deleted later.
pub(super) fn remove(
    connection: &rusqlite::Connection,
    host: i64,
    act: &Act,
    removal: Removal,
) -> rusqlite::Result<()> {
    if let Some(record) = known(connection, &SELECT_BY_ID, [host])? {
        lay_to_rest(connection, &record, None)?;
    }
    delete(connection, host, act, removal)
}

/// Removes the host as somebody has asked for: no flags wait for its return, and its agent
/// is refused. Gives the agent's key or mark.
pub(super) fn remove_for_good(
    connection: &Transaction<'_>,
    server: &Server,
    act: &Act,
) -> rusqlite::Result<Option<AgentKey>> {
    let ip = server.ip;
    let Some(record) = known(connection, &SELECT_BY_IP, [ip.to_string()])? else {
        return Ok(None);
    };
    let refused = match record.agent_id {
        Some(id) => Some(keys::refuse(connection, id, &server.hostname, act)?),
        None => None,
    };
    delete(connection, record.key, act, Removal::Asked)?;
    let agent = record.agent_id.map(tombstone_of_agent);
    for name in agent.into_iter().chain([tombstone_of_ip(ip)]) {
        flags::raise(connection, &name)?;
    }
    Ok(refused)
}

/// Deletes what is kept of a host, but for what history.db and the table `history` have,
/// which is deleted later, and its events.
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
        "INSERT INTO gone_histories (server_id) \
         SELECT server_id FROM servers WHERE id = ?1 ON CONFLICT DO NOTHING",
        "DELETE FROM full_chunks WHERE server_id = \
         (SELECT server_id FROM servers WHERE id = ?1)",
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
    let mut flags = flags::of_host(transaction, record.key)?;
    flags.merge(&flags::of_host(transaction, clone.key)?);
    flags::put(transaction, record.key, &flags)?;
    transaction.execute(
        "UPDATE OR IGNORE history SET host = ?1 WHERE host = ?2",
        both,
    )?;
    open_chunks::hand_over(transaction, clone.key, record.key)?;
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
