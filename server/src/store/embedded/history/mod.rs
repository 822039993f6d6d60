//! History in a file of its own: how the heartbeats get there that stand in the records of
//! the hosts.
//!
//! ```text
//! heartbeat ──► open chunk, in the host's record
//!                   │ every four hours, each host at its own time; soon if it is full
//!                   ▼
//!               history.db
//! ```
//!
//! What is merged is written to history.db first, and taken out of the record when it is
//! on the disk there. A kill between the two changes nothing: the same heartbeats are
//! merged again, and are there once. history.db may be full, damaged or away: then the
//! open chunks grow, and no heartbeat waits for it.

mod agenda;
mod charts;
mod former;
mod groups;
mod merging;
mod removing;
mod stopped;
#[cfg(test)]
mod tests;
mod today;
mod traffic;

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fleetbeat_daemon::lock::lock;
use fleetbeat_history::chart::ChartQuery;
use fleetbeat_history::retention::{Limits, trim};
use fleetbeat_history::{
    Chunk, Day, FileStore, HistoryError, HistoryStore as _, HostSamples, HostTraffic,
    Options,
};
use fleetbeat_protocol::Timestamp;
use rustix::fs::statvfs;

use self::agenda::Agenda;
use self::merging::Merging;
use self::stopped::Stopped;
use super::connection::Connections;
use super::error::unusable;
use super::folder;
use super::open_chunks::Appending;
use crate::store::error::StoreError;
use crate::store::history::{
    DaysRead, GroupHistory, Groups, HistorySettings, HostHistory, Tended, TrafficQuery,
};
use crate::store::server::HostName;

/// The time after which a call of [`History::tend`] comes to its end.
const MAX_ROUND: Duration = Duration::from_secs(1);
/// Chunks that are deleted at once, because they are too old or too much.
const TRIM_STEP: usize = 200;

/// The history of all hosts.
pub(super) struct History {
    file: Merging,
    limits: Limits,
    /// The series of a heartbeat that are kept; `None`: no heartbeat is kept.
    max_series: Option<usize>,
    /// Whether the last round could not write history.db.
    is_away: AtomicBool,
    waiting: Mutex<Waiting>,
}

/// What is to be done the next time.
#[derive(Debug, Default)]
struct Waiting {
    agenda: Agenda,
    /// The heartbeats for which there was no room.
    dropped: u64,
}

impl History {
    /// The history in `folder`. Nothing is opened before it is needed.
    ///
    /// # Errors
    /// How much room there is cannot be found out or noted.
    pub(super) fn new(
        connections: &Connections,
        folder: &Path,
        settings: &HistorySettings,
    ) -> Result<History, StoreError> {
        let max_bytes = match settings.max_bytes {
            Some(max_bytes) => max_bytes,
            None => find_room(connections, folder)?,
        };
        let path = folder.join(folder::HISTORY);
        let max_series = settings.max_series;
        let options = Options {
            max_bytes,
            max_series,
        };
        let store = FileStore::new(&path, options);
        Ok(History {
            file: Merging::new(store, &path),
            limits: settings.limits(max_bytes),
            max_series: settings.is_enabled.then_some(max_series),
            is_away: AtomicBool::default(),
            waiting: Mutex::default(),
        })
    }

    /// What a transaction appends begins.
    pub(super) fn begin(&self) -> Appending {
        Appending::new(self.max_series, self.is_away.load(Ordering::Relaxed))
    }

    /// Notes what a transaction has appended.
    pub(super) fn note(&self, appended: &Appending) {
        if appended.dropped > 0 {
            lock(&self.waiting).dropped += appended.dropped;
        }
    }

    /// Does a round of what heartbeats do not wait for.
    ///
    /// # Errors
    /// The fleet's database cannot be read or written.
    pub(super) fn tend(
        &self,
        connections: &Connections,
        now: Timestamp,
    ) -> Result<Tended, StoreError> {
        let mut tended = Tended {
            dropped: std::mem::take(&mut lock(&self.waiting).dropped),
            ..Tended::default()
        };
        match self.tend_until_stopped(connections, now.as_second(), &mut tended) {
            Ok(()) => {}
            Err(Stopped::History(error)) => tended.failure = Some(error),
            Err(Stopped::Store(error)) => {
                // It is told the next time.
                lock(&self.waiting).dropped += tended.dropped;
                return Err(error);
            }
        }
        let is_away = tended.failure.is_some();
        self.is_away.store(is_away, Ordering::Relaxed);
        tended.troubles = self.file.store.take_troubles();
        tended.size = self.file.store.size().ok();
        Ok(tended)
    }

    /// The chart of a host; `None` if the host is not known.
    ///
    /// # Errors
    /// The fleet's database cannot be read.
    pub(super) fn chart(
        &self,
        connections: &Connections,
        host: &HostName,
        query: &ChartQuery,
    ) -> Result<Option<HostHistory>, StoreError> {
        charts::chart(connections, &self.file.store, host, query)
    }

    /// Gives each day of a host to `each`; `None` if the host is not known.
    ///
    /// # Errors
    /// The fleet's database or history.db cannot be read.
    pub(super) fn days(
        &self,
        connections: &Connections,
        host: &HostName,
        range: (Day, Day),
        each: &mut dyn FnMut(&Chunk),
    ) -> Result<Option<DaysRead>, StoreError> {
        charts::days(connections, &self.file.store, host, range, each)
    }

    /// The traffic of each host.
    ///
    /// # Errors
    /// The fleet's database cannot be read.
    pub(super) fn traffic(
        &self,
        connections: &Connections,
        hosts: &[TrafficQuery],
    ) -> Result<Vec<HostTraffic>, StoreError> {
        traffic::traffic(connections, &self.file.store, hosts)
    }

    /// Keeps samples of groups, unless heartbeats are not kept.
    ///
    /// # Errors
    /// history.db cannot be written.
    pub(super) fn add_groups(&self, groups: &[HostSamples]) -> Result<(), StoreError> {
        match self.max_series {
            Some(_) => groups::add(&self.file.store, groups),
            None => Ok(()),
        }
    }

    /// The charts of groups.
    pub(super) fn group_charts(
        &self,
        groups: Groups,
        query: &ChartQuery,
    ) -> Vec<GroupHistory> {
        groups::charts(&self.file.store, groups, query)
    }

    fn tend_until_stopped(
        &self,
        connections: &Connections,
        now: i64,
        tended: &mut Tended,
    ) -> Result<(), Stopped> {
        let deadline = Instant::now() + MAX_ROUND;
        let ids = connections.read(agenda::find_ids)?;
        lock(&self.waiting).agenda.pass(ids, now, |first, last| {
            connections.read(|connection| agenda::find_hosts(connection, first, last))
        })?;

        // First what makes room.
        removing::remove_gone(connections, &self.file, deadline)?;
        self.trim(today::find(connections, now)?, deadline)?;
        self.file.merge_full(connections, deadline, tended)?;
        while let Some(hosts) = self.next_hosts(deadline) {
            self.file.merge_hosts(connections, &hosts, tended)?;
            lock(&self.waiting).agenda.done(&hosts);
        }
        if self.max_series.is_some() {
            former::convert(connections, &self.file, deadline, tended)?;
        }
        Ok(())
    }

    /// The hosts whose chunks are merged next; `None` if there are none, or the time is
    /// over.
    fn next_hosts(&self, deadline: Instant) -> Option<Vec<i64>> {
        let hosts = lock(&self.waiting).agenda.next();
        let is_over = hosts.is_empty() || Instant::now() > deadline;
        (!is_over).then_some(hosts)
    }

    /// Deletes what is too old or too much.
    fn trim(&self, today: Day, deadline: Instant) -> Result<(), HistoryError> {
        while Instant::now() < deadline
            && trim(&self.file.store, self.limits, today, TRIM_STEP)?
        {
            merging::pause();
        }
        Ok(())
    }
}

/// Half of what was free when the first server started that asked, in bytes.
fn find_room(connections: &Connections, folder: &Path) -> Result<u64, StoreError> {
    let select = "SELECT history_room FROM state";
    let noted: Option<i64> = connections
        .read(|connection| connection.query_row(select, [], |row| row.get(0)))?;
    if let Some(noted) = noted {
        return Ok(noted.unsigned_abs());
    }

    let disk = statvfs(folder).map_err(|errno| unusable(folder, &errno.into()))?;
    let half = (disk.f_bavail / 2).saturating_mul(disk.f_frsize);
    let room = i64::try_from(half).unwrap_or(i64::MAX);
    connections.write(|transaction| {
        transaction.execute("UPDATE state SET history_room = ?1", [room])?;
        Ok(())
    })?;
    Ok(room.unsigned_abs())
}
