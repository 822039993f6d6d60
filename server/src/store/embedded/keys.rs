//! Hosts' own keys and the codes that enrol hosts, in SQLite.

use fleetbeat_protocol::{AgentId, KeyHash, Timestamp};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::events;
use super::row::{json, optional_agent_id, optional_ip, optional_timestamp, timestamp};
use crate::store::enrollment::{self, ENDED_CODES_STAY, EnrollStep};
use crate::store::error::StoreError;
use crate::store::event::{Act, EventKind, Facts, NewEvent};
use crate::store::key::{
    self, AgentKey, Code, EnrollRefusal, EnrollRequest, Enrolled, KeyHost, ListedKey,
    Mark, flags_as_json, flags_from_json, networks_as_texts, networks_from,
};

const KEY: &str = "agent_keys.agent_id, agent_keys.hostname, hash, next, rotate, \
    revoked_at, removed_at, code, flags, reinstall, enrolled_at, rev, ended";
const CODE: &str = "id, hash, max_uses, uses, expires_at, flags, networks, reinstall, \
    note, created_by, created_at";

/// Every code, the newest first.
pub(super) fn codes(connection: &Connection) -> rusqlite::Result<Vec<Code>> {
    let select =
        format!("SELECT {CODE} FROM enrollment_codes ORDER BY created_at DESC, id");
    let mut select = connection.prepare_cached(&select)?;
    select.query_map([], code_from_row)?.collect()
}

fn code(connection: &Connection, id: &str) -> rusqlite::Result<Option<Code>> {
    let select = format!("SELECT {CODE} FROM enrollment_codes WHERE id = ?1");
    let mut select = connection.prepare_cached(&select)?;
    select.query_row([id], code_from_row).optional()
}

/// Adds a code. Codes that have ended long ago go.
pub(super) fn add_code(
    transaction: &Transaction<'_>,
    code: &Code,
    act: &Act,
) -> Result<(), StoreError> {
    let long_ago = code.created_at.checked_sub(ENDED_CODES_STAY);
    transaction.execute(
        "DELETE FROM enrollment_codes WHERE expires_at < ?1",
        [long_ago.unwrap_or(Timestamp::MIN).as_millisecond()],
    )?;
    transaction.execute(
        &format!(
            "INSERT INTO enrollment_codes ({CODE}) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)"
        ),
        params![
            code.id,
            code.hash.0,
            code.max_uses,
            code.uses,
            code.expires_at.as_millisecond(),
            json(&flags_as_json(&code.flags)),
            json(&networks_as_texts(&code.networks)),
            code.reinstall,
            code.note,
            code.created_by,
            code.created_at.as_millisecond(),
        ],
    )?;
    events::write(transaction, None, &code.event(EventKind::CodeCreated, act))?;
    Ok(())
}

/// Removes a code and gives it.
pub(super) fn remove_code(
    transaction: &Transaction<'_>,
    id: &str,
    act: &Act,
) -> Result<Option<Code>, StoreError> {
    let Some(code) = code(transaction, id)? else {
        return Ok(None);
    };
    transaction.execute("DELETE FROM enrollment_codes WHERE id = ?1", [id])?;
    events::write(transaction, None, &code.event(EventKind::CodeDeleted, act))?;
    Ok(Some(code))
}

/// Takes a host's key, if the rules allow it.
pub(super) fn enroll(
    transaction: &Transaction<'_>,
    request: &EnrollRequest,
) -> Result<Result<Enrolled, EnrollRefusal>, StoreError> {
    let key = find(transaction, request.agent_id)?;
    let code = match &request.code {
        Some((id, _)) => code(transaction, id)?,
        None => None,
    };
    let is_at_record = is_at_record(transaction, request)?;
    let step =
        match enrollment::decide(request, key.as_ref(), code.as_ref(), is_at_record) {
            Ok(step) => step,
            Err(refusal) => return Ok(Err(refusal)),
        };

    match (step, code) {
        (EnrollStep::Nothing, _) => return Ok(Ok(Enrolled::Before)),
        (EnrollStep::Follow, _) => follow(transaction, request)?,
        (EnrollStep::Take { again }, Some(code)) => {
            let ended = key.map(|key| key.ended_with_this()).unwrap_or_default();
            take(transaction, request, &code, (ended, again))?;
        }
        (EnrollStep::Take { .. }, None) => return Ok(Err(EnrollRefusal::UnknownCode)),
    }
    Ok(Ok(Enrolled::Now))
}

/// Whether the request comes from the address of the host's record.
fn is_at_record(
    connection: &Connection,
    request: &EnrollRequest,
) -> rusqlite::Result<bool> {
    let Some(source) = request.source else {
        return Ok(false);
    };
    let mut select = connection
        .prepare_cached("SELECT 1 FROM servers WHERE agent_id = ?1 AND ip = ?2")?;
    select.exists(params![request.agent_id.expose(), source.to_string()])
}

/// Notes the key that follows.
fn follow(
    transaction: &Transaction<'_>,
    request: &EnrollRequest,
) -> Result<(), StoreError> {
    transaction.execute(
        "UPDATE agent_keys SET next = ?2, rev = ?3 WHERE agent_id = ?1",
        params![
            request.agent_id.expose(),
            request.hash.0,
            next_rev(transaction)?
        ],
    )?;
    Ok(())
}

/// Makes the key the host's, with one use of the code, and closes the host's record to
/// all other keys.
fn take(
    transaction: &Transaction<'_>,
    request: &EnrollRequest,
    code: &Code,
    (ended, again): (Vec<KeyHash>, bool),
) -> Result<(), StoreError> {
    transaction.execute(
        "UPDATE enrollment_codes SET uses = uses + 1 WHERE id = ?1",
        [&code.id],
    )?;
    let key = AgentKey {
        ended,
        ..AgentKey::enrolled_by(request, code, next_rev(transaction)?)
    };
    put(transaction, &key)?;
    transaction.execute(
        "UPDATE servers SET keyed = 1 WHERE agent_id = ?1",
        [key.agent_id.expose()],
    )?;
    tell(transaction, &key, &key.enrolled(&request.act(), again))?;
    Ok(())
}

/// Writes a key whole.
fn put(transaction: &Transaction<'_>, key: &AgentKey) -> rusqlite::Result<()> {
    let millis = |at: Option<Timestamp>| at.map(Timestamp::as_millisecond);
    transaction.execute(
        "INSERT OR REPLACE INTO agent_keys (agent_id, hostname, hash, next, rotate, \
         revoked_at, removed_at, code, flags, reinstall, enrolled_at, rev, ended) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
        params![
            key.agent_id.expose(),
            key.hostname,
            key.hash.map(|hash| hash.0),
            key.next.map(|hash| hash.0),
            key.rotate,
            millis(key.revoked_at),
            millis(key.removed_at),
            key.code,
            json(&flags_as_json(&key.flags)),
            key.reinstall,
            key.enrolled_at.as_millisecond(),
            key.rev,
            bytes_of(&key.ended),
        ],
    )?;
    Ok(())
}

/// Refuses the host from now on, which is about to be removed. Gives the key that it had,
/// or the mark.
pub(super) fn refuse(
    transaction: &Transaction<'_>,
    id: AgentId,
    hostname: &str,
    act: &Act,
) -> rusqlite::Result<AgentKey> {
    let rev = next_rev(transaction)?;
    let refused = match find(transaction, id)? {
        Some(key) => {
            if key.is_active() {
                tell(transaction, &key, &key.ended_by_removal(act))?;
            }
            AgentKey {
                removed_at: key.removed_at.or(Some(act.at)),
                rev,
                ..key
            }
        }
        None => AgentKey::mark_of_removed(id, hostname, act.at, rev),
    };
    put(transaction, &refused)?;
    Ok(refused)
}

/// What is known of a host that has no record.
pub(super) fn mark_of(
    connection: &Connection,
    id: AgentId,
) -> rusqlite::Result<Option<Mark>> {
    Ok(find(connection, id)?.and_then(|key| key.mark()))
}

/// Lets a host come back that was removed.
pub(super) fn readmit(
    transaction: &Transaction<'_>,
    id: AgentId,
    act: &Act,
) -> Result<Option<AgentKey>, StoreError> {
    let changed = transaction.execute(
        "UPDATE agent_keys SET removed_at = NULL, rev = ?2 \
         WHERE agent_id = ?1 AND removed_at IS NOT NULL",
        params![id.expose(), next_rev(transaction)?],
    )?;
    tell_if(changed > 0, transaction, id, EventKind::HostReadmitted, act)
}

/// Every key with its host's record.
pub(super) fn all(connection: &Connection) -> rusqlite::Result<Vec<ListedKey>> {
    let select = format!(
        "SELECT {KEY}, server_id, ip, servers.hostname, last_heartbeat \
         FROM agent_keys LEFT JOIN servers USING (agent_id) \
         ORDER BY agent_keys.hostname, agent_keys.agent_id"
    );
    let mut select = connection.prepare_cached(&select)?;
    let listed = |row: &Row<'_>| {
        let server_id: Option<String> = row.get(13)?;
        let host = match server_id {
            Some(server_id) => Some(KeyHost {
                server_id,
                ip: optional_ip(row, 14)?,
                hostname: row.get(15)?,
                last_heartbeat: timestamp(row, 16)?,
            }),
            None => None,
        };
        Ok(ListedKey {
            key: key_from_row(row)?,
            host,
        })
    };
    select.query_map([], listed)?.collect()
}

/// One host's key.
pub(super) fn find(
    connection: &Connection,
    id: AgentId,
) -> rusqlite::Result<Option<AgentKey>> {
    let select = format!("SELECT {KEY} FROM agent_keys WHERE agent_id = ?1");
    let mut select = connection.prepare_cached(&select)?;
    select.query_row([id.expose()], key_from_row).optional()
}

/// Hands over the keys that have changed since `rev`.
pub(super) fn since(
    connection: &Connection,
    rev: i64,
    each: &mut dyn FnMut(AgentKey),
) -> rusqlite::Result<()> {
    let select = format!("SELECT {KEY} FROM agent_keys WHERE rev > ?1 ORDER BY rev");
    let mut select = connection.prepare_cached(&select)?;
    let mut rows = select.query([rev])?;
    while let Some(row) = rows.next()? {
        each(key_from_row(row)?);
    }
    Ok(())
}

/// The key that follows is used.
pub(super) fn use_next(
    transaction: &Transaction<'_>,
    id: AgentId,
    next: KeyHash,
    at: Timestamp,
) -> Result<Option<AgentKey>, StoreError> {
    let Some(key) = find(transaction, id)? else {
        return Ok(None);
    };
    if key.next != Some(next) || !key.is_active() {
        return Ok(Some(key));
    }
    let used = AgentKey {
        hash: Some(next),
        next: None,
        ended: key.ended_with_this(),
        rotate: false,
        rev: next_rev(transaction)?,
        ..key
    };
    put(transaction, &used)?;
    tell(transaction, &used, &key::rotated(&used, at))?;
    Ok(Some(used))
}

/// Ends a host's key.
pub(super) fn revoke(
    transaction: &Transaction<'_>,
    id: AgentId,
    act: &Act,
) -> Result<Option<AgentKey>, StoreError> {
    let changed = transaction.execute(
        "UPDATE agent_keys SET revoked_at = ?2, rev = ?3 \
         WHERE agent_id = ?1 AND revoked_at IS NULL AND hash IS NOT NULL",
        params![id.expose(), act.at.as_millisecond(), next_rev(transaction)?],
    )?;
    tell_if(changed > 0, transaction, id, EventKind::KeyRevoked, act)
}

/// Asks a host to replace its key.
pub(super) fn ask_for_rotation(
    transaction: &Transaction<'_>,
    id: AgentId,
    act: &Act,
) -> Result<Option<AgentKey>, StoreError> {
    let changed = transaction.execute(
        "UPDATE agent_keys SET rotate = 1, rev = ?2 \
         WHERE agent_id = ?1 AND revoked_at IS NULL AND removed_at IS NULL \
         AND hash IS NOT NULL AND NOT rotate",
        params![id.expose(), next_rev(transaction)?],
    )?;
    tell_if(
        changed > 0,
        transaction,
        id,
        EventKind::KeyRotationAsked,
        act,
    )
}

/// Gives the key as it is now, and tells of its change if there was one.
fn tell_if(
    is_changed: bool,
    transaction: &Transaction<'_>,
    id: AgentId,
    kind: EventKind,
    act: &Act,
) -> Result<Option<AgentKey>, StoreError> {
    let key = find(transaction, id)?;
    if let Some(key) = key.as_ref().filter(|_| is_changed) {
        tell(transaction, key, &key.event(kind, act, Facts::new()))?;
    }
    Ok(key)
}

/// Writes the event about the key's host, if the host has a record.
fn tell(
    connection: &Connection,
    key: &AgentKey,
    event: &NewEvent,
) -> rusqlite::Result<()> {
    let mut select =
        connection.prepare_cached("SELECT id FROM servers WHERE agent_id = ?1")?;
    let host: Option<i64> = select
        .query_row([key.agent_id.expose()], |row| row.get(0))
        .optional()?;
    events::write(connection, host, event).map(drop)
}

/// Hashes, one behind the other.
fn bytes_of(hashes: &[KeyHash]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| hash.0).collect()
}

fn hashes_of(bytes: &[u8]) -> Vec<KeyHash> {
    let (hashes, _) = bytes.as_chunks();
    hashes.iter().copied().map(KeyHash).collect()
}

fn next_rev(connection: &Connection) -> rusqlite::Result<i64> {
    let select = "SELECT coalesce(max(rev), 0) + 1 FROM agent_keys";
    connection.query_row(select, [], |row| row.get(0))
}

fn key_from_row(row: &Row<'_>) -> rusqlite::Result<AgentKey> {
    let damaged = || {
        let error = std::io::Error::other("is not an agent_id");
        rusqlite::Error::FromSqlConversionFailure(0, Type::Text, error.into())
    };
    let hash: Option<[u8; 32]> = row.get(2)?;
    let next: Option<[u8; 32]> = row.get(3)?;
    Ok(AgentKey {
        agent_id: optional_agent_id(row, 0)?.ok_or_else(damaged)?,
        hostname: row.get(1)?,
        hash: hash.map(KeyHash),
        next: next.map(KeyHash),
        ended: hashes_of(row.get_ref(12)?.as_blob()?),
        rotate: row.get(4)?,
        revoked_at: optional_timestamp(row, 5)?,
        removed_at: optional_timestamp(row, 6)?,
        code: row.get(7)?,
        flags: flags_from_json(row.get_ref(8)?.as_str()?),
        reinstall: row.get(9)?,
        enrolled_at: timestamp(row, 10)?,
        rev: row.get(11)?,
    })
}

fn code_from_row(row: &Row<'_>) -> rusqlite::Result<Code> {
    let networks: Vec<String> =
        serde_json::from_str(row.get_ref(6)?.as_str()?).unwrap_or_default();
    Ok(Code {
        id: row.get(0)?,
        hash: KeyHash(row.get(1)?),
        max_uses: row.get(2)?,
        uses: row.get(3)?,
        expires_at: timestamp(row, 4)?,
        flags: flags_from_json(row.get_ref(5)?.as_str()?),
        networks: networks_from(&networks),
        reinstall: row.get(7)?,
        note: row.get(8)?,
        created_by: row.get(9)?,
        created_at: timestamp(row, 10)?,
    })
}
