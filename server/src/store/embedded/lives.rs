//! How the lives of hosts are found in SQLite: each host by ranges of the index of its
//! events.

use std::net::IpAddr;

use rusqlite::{Connection, OptionalExtension, Row};

use super::row::{parsed, timestamp};
use crate::store::event::{EventKind, Facts};
use crate::store::life::{Life, LifeQuery, Turn};
use crate::store::server::HostName;

const LAST_BEFORE: &str = "SELECT max(id) FROM events INDEXED BY events_by_host \
    WHERE host = ?1 AND kind = ?2 AND id < ?3";
const TURN: &str = "SELECT kind, at, data FROM events WHERE id = ?1";
const TURNS: &str = "SELECT id FROM events INDEXED BY events_by_host \
    WHERE host = ?1 AND kind = ?2 AND id >= ?3";

/// The lives that `query` asks for, by address; none if the host is not known.
pub(super) fn find(
    connection: &Connection,
    query: &LifeQuery,
) -> rusqlite::Result<Vec<Life>> {
    let from = query.from.as_millisecond();
    let select = "SELECT min(first_id) FROM event_spans WHERE max_at >= ?1";
    let first: Option<i64> = connection.query_row(select, [from], |row| row.get(0))?;
    let first = first.unwrap_or(i64::MAX);

    let mut lives = Vec::new();
    for (host, mut life) in hosts(connection, query.host.as_ref())? {
        for id in ids(connection, host, first)? {
            life.turns.extend(turn(connection, id)?);
        }
        lives.push(life);
    }
    lives.sort_by_key(|life| life.ip);
    Ok(lives)
}

/// The hosts by number, with no turns yet.
fn hosts(
    connection: &Connection,
    host: Option<&HostName>,
) -> rusqlite::Result<Vec<(i64, Life)>> {
    let (condition, name) = match host {
        None => ("?1 IS NULL", None),
        Some(HostName::Ip(ip)) => ("ip = ?1", Some(ip.to_string())),
        Some(HostName::ServerId(id)) => ("server_id = ?1", Some(id.clone())),
    };
    let select = format!("SELECT id, ip, server_id FROM servers WHERE {condition}");
    let mut select = connection.prepare_cached(&select)?;
    let hosts = select.query_map([name], |row| {
        let life = Life {
            ip: parsed(row, 1, str::parse::<IpAddr>)?,
            server_id: row.get(2)?,
            turns: Vec::new(),
        };
        Ok((row.get(0)?, life))
    })?;
    hosts.collect()
}

/// The numbers of the host's turns from `first` on, and of the last one before.
fn ids(connection: &Connection, host: i64, first: i64) -> rusqlite::Result<Vec<i64>> {
    let mut before: Option<i64> = None;
    let mut ids = Vec::new();
    for kind in Turn::KINDS {
        let of_kind = [host, kind.number(), first];
        let mut last = connection.prepare_cached(LAST_BEFORE)?;
        before = before.max(last.query_row(of_kind, |row| row.get(0))?);
        let mut turns = connection.prepare_cached(TURNS)?;
        for id in turns.query_map(of_kind, |row| row.get(0))? {
            ids.push(id?);
        }
    }
    ids.extend(before);
    ids.sort_unstable();
    Ok(ids)
}

/// The turn that an event tells. The event may have been deleted meanwhile.
fn turn(connection: &Connection, id: i64) -> rusqlite::Result<Option<Turn>> {
    let mut select = connection.prepare_cached(TURN)?;
    let turn = select.query_row([id], turn_from_row).optional()?;
    Ok(turn.flatten())
}

fn turn_from_row(row: &Row<'_>) -> rusqlite::Result<Option<Turn>> {
    let data: Option<String> = row.get(2)?;
    let facts = data.and_then(|data| serde_json::from_str::<Facts>(&data).ok());
    let (kind, at) = (EventKind::from_number(row.get(0)?), timestamp(row, 1)?);
    Ok(kind.and_then(|kind| Turn::told_by(kind, at, &facts.unwrap_or_default())))
}
