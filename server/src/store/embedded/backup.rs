//! A consistent copy of the database while it is in use.
//!
//! The copy is written under another name, synced, and only then renamed. So a file with
//! the name that was asked for is a whole backup, however the command ends.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use fleetbeat_history::HistoryError;
use rusqlite::{Connection, OpenFlags};

use super::contents::{Contents, HistoryContents};
use super::error::unusable;
use super::folder::{HISTORY_ENDING, open_private_file};
use super::restore::{remove_database, sync_folder_of, with_ending};
use crate::store::error::{Setup, StoreError};

/// The ending of a backup's name until the backup is whole.
const UNFINISHED: &str = ".part";
/// What a backup has written goes to the disk this often.
const SYNC_EVERY: Duration = Duration::from_millis(50);

/// Writes a consistent copy of the whole database to `file`, which must not exist. Gives
/// what is in the copy.
///
/// # Errors
/// The file exists or cannot be written. Nothing is left behind.
pub(super) fn backup(database: &Connection, file: &Path) -> Result<Contents, StoreError> {
    write_new(file, |unfinished| copy(database, file, unfinished))
}

/// Writes a consistent copy of `history`, the file history.db, beside the backup `file`.
/// Gives what is in the copy.
///
/// # Errors
/// The copy exists or cannot be written, or the history cannot be read. Nothing is left
/// behind.
pub(super) fn backup_history(
    history: &Path,
    file: &Path,
) -> Result<HistoryContents, StoreError> {
    let file = with_ending(file, HISTORY_ENDING);
    match fs::metadata(history) {
        // A copy that is there would be taken for this backup's.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            refuse_existing(&file)?;
            return Ok(HistoryContents::Nothing);
        }
        _ => {}
    }
    write_new(&file, |unfinished| {
        let copied = fleetbeat_history::copy_file(history, unfinished);
        let explain = |error: HistoryError| Setup::Unusable {
            path: file.display().to_string(),
            reason: error.to_string(),
        };
        Ok(HistoryContents::File(copied.map_err(explain)?))
    })
}

/// Writes `file`, which must not exist, by `copy`, which gets the name of the file until it
/// is whole.
fn write_new<T>(
    file: &Path,
    copy: impl FnOnce(&Path) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let failed = |error: io::Error| unusable(file, &error);
    refuse_existing(file)?;

    let unfinished = with_ending(file, UNFINISHED);
    let lock =
        open_unfinished(&unfinished).map_err(|error| unusable(&unfinished, &error))?;
    let copied = while_syncing(&lock, || copy(&unfinished));
    let contents = copied.and_then(|contents| {
        lock.sync_all()
            .and_then(|()| fs::rename(&unfinished, file))
            .and_then(|()| sync_folder_of(file))
            .map_err(failed)?;
        Ok(contents)
    });

    if contents.is_err() {
        let _ = remove_database(&unfinished);
    }
    contents
}

fn refuse_existing(file: &Path) -> Result<(), StoreError> {
    if fs::symlink_metadata(file).is_err() {
        return Ok(());
    }
    let exists = "exists, and a backup goes to a new file";
    let error = io::Error::new(io::ErrorKind::AlreadyExists, exists);
    Err(unusable(file, &error))
}

/// Runs `copy` while what it writes to `file` goes to the disk in small pieces. Left to the
/// system, it would go in bursts of hundreds of megabytes, and each commit of the server
/// would wait behind them.
fn while_syncing<T>(file: &File, copy: impl FnOnce() -> T) -> T {
    let (done, is_done) = mpsc::channel::<()>();
    thread::scope(|scope| {
        // Without a thread, the copy goes to the disk as the system likes.
        let _ = thread::Builder::new().spawn_scoped(scope, move || {
            let timeout = Err(RecvTimeoutError::Timeout);
            while is_done.recv_timeout(SYNC_EVERY) == timeout {
                // The last sync tells of errors.
                let _ = file.sync_data();
            }
        });
        let copied = copy();
        drop(done);
        copied
    })
}

/// An empty file that this backup alone writes. What a killed backup has left is
/// overwritten. Made here and not by SQLite, the file is private from its first byte on.
fn open_unfinished(file: &Path) -> io::Result<File> {
    let opened = open_private_file(file)?;
    match opened.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let busy = "another backup is writing this file";
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, busy));
        }
        Err(TryLockError::Error(error)) => return Err(error),
    }
    opened.set_len(0)?;
    Ok(opened)
}

/// Copies the database to `unfinished`, and reads the copy.
fn copy(
    database: &Connection,
    file: &Path,
    unfinished: &Path,
) -> Result<Contents, StoreError> {
    let name = unfinished
        .to_str()
        .ok_or_else(|| unusable(file, &io::ErrorKind::InvalidInput.into()))?;
    let explain = |error: rusqlite::Error| Setup::Unusable {
        path: file.display().to_string(),
        reason: error.to_string(),
    };

    let copied = database.execute("VACUUM INTO ?1", [name]);
    copied.map_err(explain)?;

    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let contents = Connection::open_with_flags(unfinished, flags)
        .and_then(|connection| Contents::read(&connection));
    Ok(contents.map_err(explain)?)
}
