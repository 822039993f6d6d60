//! Chunks from the records of the hosts are merged into history.db.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use fleetbeat_history::open_chunk::{self, OpenSamples};
use fleetbeat_history::{FileStore, HistoryError, HistoryStore, Host, HostSamples};
use rusqlite::{Connection, OptionalExtension};

use super::stopped::Stopped;
use crate::store::embedded::connection::{Connections, Work};
use crate::store::embedded::open_chunks;
use crate::store::history::Tended;

/// Full chunks that are merged at once.
const FULL_BATCH: i64 = 8;
/// What heartbeats have of the disk and the processor between two batches.
const PAUSE: Duration = Duration::from_millis(10);
/// How long records may take to give up what is merged, in slices.
const MAX_CLEARING: Duration = Duration::from_secs(30);

/// history.db, and the log beside it.
pub(super) struct Merging {
    pub(super) store: FileStore,
    log: PathBuf,
}

/// A chunk of a host.
struct Found {
    /// Of the host, or of the full chunk.
    id: i64,
    server_id: String,
    chunk: Vec<u8>,
}

/// Leaves the disk and the processor to heartbeats for a moment.
pub(super) fn pause() {
    thread::sleep(PAUSE);
}

impl Merging {
    /// `path` is the file of the `store`.
    pub(super) fn new(store: FileStore, path: &Path) -> Merging {
        let mut log = path.as_os_str().to_owned();
        log.push("-wal");
        Merging {
            store,
            log: log.into(),
        }
    }

    /// Keeps the samples, and waits until they are on the disk.
    ///
    /// # Errors
    /// They are not kept, or nobody knows.
    pub(super) fn keep(
        &self,
        batch: &[HostSamples],
        tended: &mut Tended,
    ) -> Result<(), HistoryError> {
        let cut = self.store.merge(batch)?;
        // The store does not wait for the disk itself, and the records give up what is
        // merged: a power cut must not take it from both.
        self.sync().map_err(|error| {
            let log = self.log.display();
            HistoryError::Unavailable(format!("{log}: {error}"))
        })?;

        tended.cut.series += cut.series;
        tended.cut.samples += cut.samples;
        tended.cut.samples_of_later_versions += cut.samples_of_later_versions;
        let merged: usize = batch.iter().map(|host| host.samples.len()).sum();
        tended.merged += merged as u64;
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        match File::open(&self.log) {
            Ok(log) => log.sync_data(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Merges the open chunks of the hosts, and takes what is merged out of their records.
    pub(super) fn merge_hosts(
        &self,
        connections: &Connections,
        hosts: &[i64],
        tended: &mut Tended,
    ) -> Result<(), Stopped> {
        let found = connections.read(|connection| {
            let found = hosts.iter().map(|host| find_open(connection, *host));
            let found = found.collect::<rusqlite::Result<Vec<_>>>()?;
            Ok(found.into_iter().flatten().collect::<Vec<_>>())
        })?;
        if found.is_empty() {
            return Ok(());
        }
        self.keep(&read_all(&found, tended), tended)?;

        let mut merged = found.into_iter();
        let deadline = Instant::now() + MAX_CLEARING;
        connections.maintain(deadline, |connection| {
            let Some(merged) = merged.next() else {
                return Ok(Work::Done);
            };
            clear(connection, &merged)?;
            Ok(Work::More)
        })?;
        pause();
        Ok(())
    }

    /// Merges full chunks and removes them.
    pub(super) fn merge_full(
        &self,
        connections: &Connections,
        deadline: Instant,
        tended: &mut Tended,
    ) -> Result<(), Stopped> {
        while Instant::now() < deadline {
            let found = connections.read(find_full)?;
            if found.is_empty() {
                break;
            }
            self.keep(&read_all(&found, tended), tended)?;

            let mut merged = found.iter();
            let until = Instant::now() + MAX_CLEARING;
            connections.maintain(until, |connection| {
                let Some(merged) = merged.next() else {
                    return Ok(Work::Done);
                };
                let delete = "DELETE FROM full_chunks WHERE id = ?1";
                connection.prepare_cached(delete)?.execute([merged.id])?;
                Ok(Work::More)
            })?;
            pause();
        }
        Ok(())
    }
}

fn find_open(connection: &Connection, host: i64) -> rusqlite::Result<Option<Found>> {
    let select = "SELECT id, server_id, open_chunk FROM servers \
                  WHERE id = ?1 AND open_chunk NOT NULL";
    let mut select = connection.prepare_cached(select)?;
    select.query_row([host], found_from_row).optional()
}

fn find_full(connection: &Connection) -> rusqlite::Result<Vec<Found>> {
    let select = "SELECT id, server_id, chunk FROM full_chunks ORDER BY id LIMIT ?1";
    let mut select = connection.prepare_cached(select)?;
    let rows = select.query_map([FULL_BATCH], found_from_row)?;
    rows.collect()
}

fn found_from_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Found> {
    Ok(Found {
        id: row.get(0)?,
        server_id: row.get(1)?,
        chunk: row.get(2)?,
    })
}

fn read_all(found: &[Found], tended: &mut Tended) -> Vec<HostSamples> {
    let read = found.iter().map(|found| {
        let OpenSamples { samples, damage } = open_chunk::read(&found.chunk);
        tended.damaged += u64::from(damage.is_some());
        let host = Host::new(&found.server_id);
        HostSamples { host, samples }
    });
    read.collect()
}

/// Takes what is merged out of a host's record. A heartbeat may have come meanwhile.
fn clear(connection: &Connection, merged: &Found) -> rusqlite::Result<()> {
    // The host may be gone, too.
    let Some(now) = find_open(connection, merged.id)? else {
        return Ok(());
    };
    let rest = open_chunks::rest(&now.chunk, &merged.chunk);
    open_chunks::put(connection, merged.id, rest.as_deref())
}
