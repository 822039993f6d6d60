//! The traffic of hosts: what history.db has, and what waits in the fleet's database.

use fleetbeat_history::{FileStore, Host, HostTraffic, Sample, host_traffic, open_chunk};
use rusqlite::{Connection, OptionalExtension};

use crate::store::embedded::connection::Connections;
use crate::store::error::StoreError;
use crate::store::history::TrafficQuery;

/// Hosts that are read at once: what waits of them is in memory.
const BATCH: usize = 256;

/// A host's samples that are not in history.db, with their counters alone.
#[derive(Default)]
struct Waiting {
    samples: Vec<Sample>,
    /// Whether a part of them cannot be read.
    is_damaged: bool,
}

impl Waiting {
    fn add(&mut self, chunk: &[u8]) {
        let read = open_chunk::read_counters(chunk);
        self.samples.extend(read.samples);
        self.is_damaged |= read.damage.is_some();
    }
}

/// The traffic of each host, in their order. While history.db cannot be read, it is what
/// waits.
pub(super) fn traffic(
    connections: &Connections,
    store: &FileStore,
    hosts: &[TrafficQuery],
) -> Result<Vec<HostTraffic>, StoreError> {
    let mut traffic = Vec::with_capacity(hosts.len());
    for batch in hosts.chunks(BATCH) {
        // Before history.db: what is merged in between is in both, and not in none.
        let waiting = connections.read(|connection| {
            let waiting = batch.iter().map(|of| find(connection, &of.server_id));
            waiting.collect::<rusqlite::Result<Vec<Waiting>>>()
        })?;
        for (query, waiting) in batch.iter().zip(waiting) {
            let host = Host::new(&query.server_id);
            let mut sum = host_traffic(store, &host, &waiting.samples, query.days);
            sum.is_incomplete |= waiting.is_damaged;
            traffic.push(sum);
        }
    }
    Ok(traffic)
}

/// What waits of a host; nothing of one that is not known. Rows of the first version are
/// not looked for: they count when they are converted.
fn find(connection: &Connection, server_id: &str) -> rusqlite::Result<Waiting> {
    let mut waiting = Waiting::default();
    let select = "SELECT open_chunk FROM servers WHERE server_id = ?1";
    let mut select = connection.prepare_cached(select)?;
    let open = select.query_row([server_id], |row| row.get(0)).optional()?;
    if let Some(Some(open)) = open {
        let open: Vec<u8> = open;
        waiting.add(&open);
    }

    let select = "SELECT chunk FROM full_chunks WHERE server_id = ?1";
    let mut select = connection.prepare_cached(select)?;
    let mut full = select.query([server_id])?;
    while let Some(row) = full.next()? {
        let chunk: Vec<u8> = row.get(0)?;
        waiting.add(&chunk);
    }
    Ok(waiting)
}
