//! Heartbeats that older versions have kept, each as a row with its JSON, go to history.db
//! after the start. A kill between two steps changes nothing.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use fleetbeat_history::{Arrival, Host, HostSamples, Sample};
use fleetbeat_protocol::{Heartbeat, Json};
use rusqlite::types::Value;
use rusqlite::{Connection, params};

use super::merging::{Merging, pause};
use super::stopped::Stopped;
use crate::store::embedded::connection::{Connections, Work};
use crate::store::history::{Tended, sample};

/// Rows that are converted at once.
const BATCH: i64 = 200;

/// The tables with such rows, and what names the host there and in `servers`.
const TABLES: [(&str, &str, &str); 2] =
    [("history", "host", "id"), ("history_by_ip", "ip", "ip")];

/// A row.
struct Former {
    /// What names the host in the table.
    name: Value,
    /// Milliseconds since 1970.
    collected_at: i64,
    heartbeat: String,
    server_id: String,
}

/// Merges the rows of hosts that are there, and deletes them. The sweep deletes those of
/// hosts that are gone.
pub(super) fn convert(
    connections: &Connections,
    file: &Merging,
    deadline: Instant,
    tended: &mut Tended,
) -> Result<(), Stopped> {
    for (table, name, in_servers) in TABLES {
        let select = format!(
            "SELECT {table}.{name}, collected_at, heartbeat, server_id FROM {table} \
             CROSS JOIN servers ON servers.{in_servers} = {table}.{name} \
             ORDER BY {table}.{name}, collected_at LIMIT ?1"
        );
        let delete =
            format!("DELETE FROM {table} WHERE {name} = ?1 AND collected_at = ?2");
        while Instant::now() < deadline {
            let rows = connections.read(|connection| find(connection, &select))?;
            if rows.is_empty() {
                break;
            }
            file.keep(&by_host(&rows), tended)?;
            delete_each(connections, &delete, &rows)?;
            pause();
        }
    }
    Ok(())
}

/// What older versions have kept of a host, and is not converted yet.
pub(super) fn of_host(
    connection: &Connection,
    host: i64,
) -> rusqlite::Result<Vec<Sample>> {
    let mut samples = Vec::new();
    for (table, name, in_servers) in TABLES {
        let select = format!(
            "SELECT {table}.{name}, collected_at, heartbeat, server_id FROM servers \
             CROSS JOIN {table} ON servers.{in_servers} = {table}.{name} \
             WHERE servers.id = ?1"
        );
        let mut select = connection.prepare_cached(&select)?;
        let rows = select.query_map([host], former_from_row)?;
        for row in rows {
            samples.extend(row?.sample());
        }
    }
    Ok(samples)
}

fn find(connection: &Connection, select: &str) -> rusqlite::Result<Vec<Former>> {
    let mut select = connection.prepare_cached(select)?;
    let rows = select.query_map([BATCH], former_from_row)?;
    rows.collect()
}

fn former_from_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Former> {
    Ok(Former {
        name: row.get(0)?,
        collected_at: row.get(1)?,
        heartbeat: row.get(2)?,
        server_id: row.get(3)?,
    })
}

fn by_host(rows: &[Former]) -> Vec<HostSamples> {
    let mut hosts: BTreeMap<&str, Vec<Sample>> = BTreeMap::new();
    for row in rows {
        let samples = hosts.entry(&row.server_id).or_default();
        samples.extend(row.sample());
    }
    let of_host = |(server_id, samples)| {
        let host = Host::new(server_id);
        HostSamples { host, samples }
    };
    hosts.into_iter().map(of_host).collect()
}

fn delete_each(
    connections: &Connections,
    delete: &str,
    rows: &[Former],
) -> Result<(), Stopped> {
    let mut rows = rows.iter();
    let deadline = Instant::now() + Duration::from_secs(30);
    connections.maintain(deadline, |connection| {
        let Some(row) = rows.next() else {
            return Ok(Work::Done);
        };
        connection
            .prepare_cached(delete)?
            .execute(params![row.name, row.collected_at])?;
        Ok(Work::More)
    })?;
    Ok(())
}

impl Former {
    /// The row as it is kept from now on; `None` if it makes no sense.
    fn sample(&self) -> Option<Sample> {
        let json: Json<'_> = serde_json::from_str(&self.heartbeat).ok()?;
        let heartbeat = Heartbeat::from_json(&json).ok()?;
        let at = self.collected_at.div_euclid(1000);
        Some(sample(&heartbeat, at, Arrival::Spooled))
    }
}
