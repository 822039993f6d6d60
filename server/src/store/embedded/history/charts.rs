//! Charts of hosts and their days: what history.db has, and what waits in the fleet's database.

use std::net::IpAddr;

use fleetbeat_history::chart::ChartQuery;
use fleetbeat_history::{
    Chunk, Day, FileStore, HistoryStore, Host, Sample, host_chart, host_days, open_chunk,
};
use rusqlite::{Connection, OptionalExtension};

use super::former;
use crate::store::embedded::connection::Connections;
use crate::store::embedded::row::parsed;
use crate::store::error::StoreError;
use crate::store::history::{DaysRead, HostHistory};
use crate::store::server::HostName;

/// A host, and its samples that are not in history.db.
struct Waiting {
    ip: IpAddr,
    server_id: String,
    samples: Vec<Sample>,
    /// Whether a part of them cannot be read.
    is_damaged: bool,
}

impl Waiting {
    fn add(&mut self, chunk: &[u8]) {
        let read = open_chunk::read(chunk);
        self.samples.extend(read.samples);
        self.is_damaged |= read.damage.is_some();
    }
}

/// The chart of a host; `None` if the host is not known. While history.db cannot be read,
/// the chart has what waits.
pub(super) fn chart(
    connections: &Connections,
    store: &FileStore,
    host: &HostName,
    query: &ChartQuery,
) -> Result<Option<HostHistory>, StoreError> {
    // Before history.db: what is merged in between is in both, and not in none.
    let waiting = connections.read(|connection| find_waiting(connection, host))?;
    let Some(waiting) = waiting else {
        return Ok(None);
    };
    let of_host = Host::new(&waiting.server_id);
    let mut chart = host_chart(store, &of_host, &waiting.samples, query);
    chart.is_incomplete |= waiting.is_damaged;
    Ok(Some(HostHistory {
        ip: waiting.ip,
        server_id: waiting.server_id,
        chart,
    }))
}

/// Gives each day of a host to `each`; `None` if the host is not known.
pub(super) fn days(
    connections: &Connections,
    store: &FileStore,
    host: &HostName,
    range: (Day, Day),
    each: &mut dyn FnMut(&Chunk),
) -> Result<Option<DaysRead>, StoreError> {
    let waiting = connections.read(|connection| find_waiting(connection, host))?;
    let Some(waiting) = waiting else {
        return Ok(None);
    };
    let of_host = Host::new(&waiting.server_id);
    let read = host_days(store, &of_host, &waiting.samples, range, each);
    let is_damaged = read.map_err(|error| StoreError::Refused {
        database: "history.db",
        reason: error.to_string(),
    })?;
    Ok(Some(DaysRead {
        is_incomplete: is_damaged || waiting.is_damaged,
        troubles: store.take_troubles(),
    }))
}

fn find_waiting(
    connection: &Connection,
    host: &HostName,
) -> rusqlite::Result<Option<Waiting>> {
    let (column, name) = match host {
        HostName::Ip(ip) => ("ip", ip.to_string()),
        HostName::ServerId(id) => ("server_id", id.clone()),
    };
    let select = format!(
        "SELECT id, ip, server_id, coalesce(open_chunk, x'') FROM servers \
         WHERE {column} = ?1"
    );
    let mut select = connection.prepare_cached(&select)?;
    let found = select.query_row([name], |row| {
        let id: i64 = row.get(0)?;
        let chunk: Vec<u8> = row.get(3)?;
        let mut waiting = Waiting {
            ip: parsed(row, 1, str::parse::<IpAddr>)?,
            server_id: row.get(2)?,
            samples: Vec::new(),
            is_damaged: false,
        };
        waiting.add(&chunk);
        Ok((id, waiting))
    });
    let Some((id, mut waiting)) = found.optional()? else {
        return Ok(None);
    };

    let select = "SELECT chunk FROM full_chunks WHERE server_id = ?1";
    let mut select = connection.prepare_cached(select)?;
    let chunks = select.query_map([&waiting.server_id], |row| row.get(0))?;
    let chunks = chunks.collect::<rusqlite::Result<Vec<Vec<u8>>>>()?;
    for chunk in &chunks {
        waiting.add(chunk);
    }
    waiting.samples.extend(former::of_host(connection, id)?);
    Ok(Some(waiting))
}
