//! The connections to the SQLite file: one writes, a few read.
//!
//! The writing connection is behind a lock. The readers never wait for it, because the
//! database is in WAL mode. A commit is on the disk before it returns
//! (`synchronous=FULL`).
//!
//! Maintenance, such as the deletion of history, writes in slices of some milliseconds.
//! Between two slices the writing connection is free for at least as long as a slice
//! took, so that heartbeats go between. Maintenance has a connection of its own, which
//! waits for no disk: what a loss of power takes back is done again later. And it writes
//! the log into the database while heartbeats go on.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use fleetbeat_daemon::lock::lock;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

use super::changed::Changed;
use super::error::{explain_open_error, is_busy, unusable};
use super::{folder, schema};
use crate::store::error::StoreError;
#[cfg(test)]
use crate::store::fuse::{Burn, Fuse, killed};

/// How long a statement waits for another process, such as the user command. Below the
/// 3 s in which an agent must get its answer.
const BUSY_TIMEOUT: Duration = Duration::from_secs(1);
/// Pages of 4 KiB in the write-ahead log before they go into the database. A beating
/// fleet rewrites the same pages again and again: four times SQLite's default lets a
/// checkpoint write most of them once.
const CHECKPOINT_PAGES: u32 = 4000;
/// How much a reading connection keeps of the database, in SQLite's unit: -1 is a KiB.
/// The pages of a full scan are not worth keeping, because each reader would hold a copy.
const READER_CACHE: i32 = -256;
/// The size of the write-ahead log that is kept after a checkpoint, in bytes: what the
/// log grows to in ordinary operation. A log that maintenance has made larger is cut.
const KEPT_LOG: u32 = CHECKPOINT_PAGES * 4096;
/// The time after which a slice of maintenance ends.
const SLICE: Duration = Duration::from_millis(4);
/// The shortest pause between two slices.
const MIN_PAUSE: Duration = Duration::from_millis(4);
/// The longest pause: a slice that had to wait for the disk says nothing of the next.
const MAX_PAUSE: Duration = Duration::from_millis(100);
/// The time between two checkpoints during maintenance.
const CHECKPOINT_EVERY: Duration = Duration::from_millis(500);

/// The connections to one database.
pub(super) struct Connections {
    writer: Mutex<Connection>,
    /// Idle reading connections. There are never more than there were readers at once.
    readers: Mutex<Vec<Connection>>,
    /// The connection of maintenance, made when it is needed first.
    maintenance: Mutex<Option<Connection>>,
    file: PathBuf,
    /// The records that have changed.
    pub(super) changed: Changed,
    #[cfg(test)]
    pub(super) fuse: Fuse,
    /// Held as long as the server runs. Closing the file releases the lock, however the
    /// process ends.
    _server_lock: Option<File>,
}

impl Connections {
    /// Opens the database in `folder` and brings the schema up to date; makes an empty
    /// database if there is none. `server_lock` is the lock of a server.
    ///
    /// # Errors
    /// The database is damaged, newer, or cannot be written.
    pub(super) fn open(
        folder: &Path,
        server_lock: Option<File>,
        check: Check,
    ) -> Result<Connections, StoreError> {
        let file = folder.join(folder::DATABASE);
        let explain = |error| explain_open_error(&file, error);

        folder::create_private_file(&file).map_err(|error| unusable(&file, &error))?;
        let mut writer = Connection::open(&file).map_err(explain)?;
        prepare_writer(&mut writer, check).map_err(explain)?;
        schema::migrate(&mut writer, &file)?;
        let changed = Changed::default();
        changed.listen_to(&mut writer)?;

        Ok(Connections {
            writer: Mutex::new(writer),
            readers: Mutex::default(),
            maintenance: Mutex::default(),
            file,
            changed,
            #[cfg(test)]
            fuse: Fuse::default(),
            _server_lock: server_lock,
        })
    }

    /// The writing connection. A panic between two statements rolls the transaction back,
    /// so the connection stays good.
    pub(super) fn writer(&self) -> MutexGuard<'_, Connection> {
        lock(&self.writer)
    }

    /// Runs `change` in a transaction that is on the disk when this returns.
    pub(super) fn write<T>(
        &self,
        change: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut writer = self.writer();
        let transaction =
            writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let value = change(&transaction)?;
        self.commit(transaction)?;
        Ok(value)
    }

    /// Commits, and tells of the records that have changed. After an error nobody knows
    /// whether they have, so that is told, too.
    fn commit(&self, transaction: Transaction<'_>) -> Result<(), StoreError> {
        let committed = self.try_commit(transaction);
        self.changed.commit();
        committed
    }

    #[cfg(not(test))]
    #[allow(clippy::unused_self, reason = "tests kill here")]
    fn try_commit(&self, transaction: Transaction<'_>) -> Result<(), StoreError> {
        Ok(transaction.commit()?)
    }

    #[cfg(test)]
    fn try_commit(&self, transaction: Transaction<'_>) -> Result<(), StoreError> {
        match self.fuse.burn() {
            Burn::Through => return Ok(transaction.commit()?),
            Burn::Done => transaction.commit()?,
            Burn::Dead => drop(transaction),
        }
        Err(killed().into())
    }

    /// Runs `query` on a reading connection. After an error that connection is closed.
    pub(super) fn read<T>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let idle = lock(&self.readers).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => open_reader(&self.file)?,
        };
        let value = query(&connection)?;
        lock(&self.readers).push(connection);
        Ok(value)
    }

    /// Repeats `step` in slices until the step says [`Work::Done`], or `deadline` has
    /// passed. A step should take less than a millisecond.
    pub(super) fn maintain(
        &self,
        deadline: Instant,
        mut step: impl FnMut(&Connection) -> rusqlite::Result<Work>,
    ) -> Result<(), StoreError> {
        let mut connection = lock(&self.maintenance);
        let connection = match &mut *connection {
            Some(connection) => connection,
            none => {
                let mut connection = open_maintenance(&self.file)?;
                self.changed.listen_to(&mut connection)?;
                none.insert(connection)
            }
        };

        let changes_before = connection.total_changes();
        let mut last_checkpoint = Instant::now();
        loop {
            let (work, took) = self.run_slice(connection, &mut step)?;
            let is_over = work == Work::Done || Instant::now() > deadline;
            let has_changes = connection.total_changes() > changes_before;
            let is_due = is_over || last_checkpoint.elapsed() > CHECKPOINT_EVERY;
            if has_changes && is_due {
                // Nobody waits for this, so it may fail while a reader is in the way.
                let _ = connection.query_row(
                    "PRAGMA wal_checkpoint(PASSIVE)",
                    [],
                    |_| Ok(()),
                );
                last_checkpoint = Instant::now();
            }
            if is_over {
                return Ok(());
            }
            thread::sleep(took.clamp(MIN_PAUSE, MAX_PAUSE));
        }
    }

    /// Repeats `step` for the time of a slice, in one transaction. Gives how long the
    /// writing connection had to wait.
    fn run_slice(
        &self,
        connection: &mut Connection,
        step: &mut impl FnMut(&Connection) -> rusqlite::Result<Work>,
    ) -> Result<(Work, Duration), StoreError> {
        let _turn = self.writer();
        let started = Instant::now();
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate)?;

        let mut work = Work::More;
        while work == Work::More && started.elapsed() < SLICE {
            work = step(&transaction)?;
        }
        self.commit(transaction)?;
        Ok((work, started.elapsed()))
    }

    /// Moves everything from the write-ahead log into the database.
    pub(super) fn checkpoint(&self) -> rusqlite::Result<()> {
        checkpoint(&self.writer())
    }
}

/// What a step of maintenance says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    /// Another step may find something to do.
    More,
    /// There is nothing left to do.
    Done,
}

/// How much of the database is checked before use.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Check {
    /// The header, which opening reads anyway.
    Header,
    /// Every page.
    Whole,
}

/// Checks the database and prepares `connection` for writing.
pub(super) fn prepare_writer(
    connection: &mut Connection,
    check: Check,
) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // Closing a connection writes the log of a killed server into the database. That must
    // not happen to a damaged database.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    if check == Check::Whole {
        check_all_pages(connection)?;
    }

    retry_while_busy(|| {
        connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))
    })?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    limit_log(connection)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
    Ok(())
}

/// Moves everything from the write-ahead log into the database.
pub(super) fn checkpoint(connection: &Connection) -> rusqlite::Result<()> {
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
}

fn check_all_pages(connection: &Connection) -> rusqlite::Result<()> {
    let found: String =
        connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if found == "ok" {
        return Ok(());
    }
    let corrupt = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
    Err(rusqlite::Error::SqliteFailure(corrupt, Some(found)))
}

/// Runs `attempt` until the database is free. SQLite does not wait by itself where two
/// processes change the journal's mode at once.
fn retry_while_busy(
    mut attempt: impl FnMut() -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    let deadline = Instant::now() + BUSY_TIMEOUT;
    loop {
        match attempt() {
            Err(error) if Instant::now() < deadline && is_busy(&error) => {
                thread::sleep(Duration::from_millis(20));
            }
            result => return result,
        }
    }
}

/// Whether the database `file` is there and needs no change of its schema. A schema of a
/// newer version needs none that this version could make.
///
/// # Errors
/// The database cannot be read.
pub(super) fn has_current_schema(file: &Path) -> Result<bool, StoreError> {
    if !folder::is_database(file)? {
        return Ok(false);
    }
    // Closing a reading connection leaves the log of a killed server as it is.
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let found = Connection::open_with_flags(file, flags).and_then(|connection| {
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0))
    });
    let found = found.map_err(|error| explain_open_error(file, error))?;
    Ok(usize::try_from(found).is_ok_and(|found| found >= schema::NEWEST))
}

/// Cuts the write-ahead log to its ordinary size whenever it begins anew.
fn limit_log(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update_and_check(None, "journal_size_limit", KEPT_LOG, |_| Ok(()))
}

fn open_maintenance(file: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "synchronous", "normal")?;
    // A checkpoint within a commit would hold up heartbeats.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    limit_log(&connection)?;
    Ok(connection)
}

/// A connection that changes nothing.
///
/// # Errors
/// The database cannot be read.
pub(super) fn open_reader(file: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "cache_size", READER_CACHE)?;
    Ok(connection)
}
