//! Puts a backup in the database's place.
//!
//! The backup is copied into the folder under another name, opened and checked there as
//! the server will open it, and only then put in place. The last step is a rename. If the
//! program is killed before that step, the old database is whole under the usual name,
//! with everything that was in the write-ahead log; after that step the new database is.
//! The old database stays beside the new one.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use fleetbeat_protocol::Timestamp;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::alerts;
use super::connection::{Check, checkpoint, prepare_writer};
use super::contents::{Contents, HistoryContents};
use super::error::{no_backup, unusable};
use super::folder::{
    DATABASE, HISTORY, HISTORY_ENDING, create_new_private_file, create_private_folder,
    take_lock,
};
use super::schema::migrate;
use crate::ownership::give_to_owner_of_folder;
use crate::store::error::StoreError;
use crate::store::history::Extent;

/// The backup in the folder, until it is known to be good.
const UNCHECKED: &str = "restoring.db";
/// The copy of history.db, until it is known to be good.
const UNCHECKED_HISTORY: &str = "restoring-history.db";
/// Why a message that waited in the backup is not sent.
const RESTORED: &str = "the database was restored from a backup";
/// SQLite's write-ahead log and its index lie beside the database, with these endings.
const LOG: &str = "-wal";
const LOG_INDEX: &str = "-shm";

/// The result of a restore. `Display` makes sentences for a person.
pub(in crate::store) struct Restored {
    contents: Contents,
    /// The place of the database that was there before.
    replaced: Option<PathBuf>,
    /// What there is of history, and the place of the file before; `None` where history was
    /// not wanted.
    history: Option<(HistoryContents, Option<PathBuf>)>,
}

/// Puts the database in the file `backup` in the place of the one in `folder`, which no
/// server may be using; and so with the copy of history.db beside it, if that is wanted.
/// Both are checked before either is put in place.
///
/// # Errors
/// A server runs, a file is not a whole database of a known version, or the folder cannot
/// be written.
pub(in crate::store) fn restore(
    folder: &Path,
    backup: &Path,
    extent: Extent,
    now: Timestamp,
) -> Result<Restored, StoreError> {
    create_private_folder(folder)?;
    let _lock = take_lock(folder)?;
    let unchecked = folder.join(UNCHECKED);
    let unchecked_history = folder.join(UNCHECKED_HISTORY);

    let restored = copy(backup, &unchecked)
        .and_then(|()| check_copy(backup, &unchecked, &folder.join(DATABASE), now))
        .and_then(|contents| {
            let history = match extent {
                Extent::Database => None,
                Extent::WithHistory => {
                    let contents = take_history(backup, &unchecked_history)?;
                    let replaced = put_in_place(folder, HISTORY, &unchecked_history, now);
                    Some((contents, replaced?))
                }
            };
            let replaced = put_in_place(folder, DATABASE, &unchecked, now)?;
            Ok(Restored {
                contents,
                replaced,
                history,
            })
        });
    let _ = remove_database(&unchecked);
    let _ = remove_database(&unchecked_history);
    restored
}

/// Copies the history beside the `backup` to `unchecked`, and checks the copy.
fn take_history(backup: &Path, unchecked: &Path) -> Result<HistoryContents, StoreError> {
    let backup = with_ending(backup, HISTORY_ENDING);
    if matches!(fs::metadata(&backup), Err(error) if error.kind() == io::ErrorKind::NotFound)
    {
        let reason = "it is not there: the backup was made without history, or before any \
                      was merged, and is restored without --with-history";
        return Err(no_backup(&backup, reason.to_owned()));
    }
    copy(&backup, unchecked)?;
    let contents = fleetbeat_history::check_file(unchecked);
    let contents = contents.map_err(|error| no_backup(&backup, error.to_string()))?;
    Ok(HistoryContents::File(contents))
}

impl fmt::Display for Restored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "restored: {}", self.contents)?;
        if let Some(path) = &self.replaced {
            writeln!(f, "the database before it is kept as {}", path.display())?;
        }

        let Some((history, replaced)) = &self.history else {
            return Ok(());
        };
        writeln!(f, "restored: {history}")?;
        match replaced {
            Some(path) => {
                writeln!(f, "the history before it is kept as {}", path.display())
            }
            None => Ok(()),
        }
    }
}

/// Copies `backup`, and the log beside it if there is one. A backup has none; a database
/// that a killed server has left has one, and [`put_in_place`] keeps both.
fn copy(backup: &Path, unchecked: &Path) -> Result<(), StoreError> {
    let copy_both = || -> io::Result<()> {
        remove_database(unchecked)?;
        copy_file(backup, unchecked)?;
        let log = copy_file(&with_ending(backup, LOG), &with_ending(unchecked, LOG));
        or_not_there(log).map(|_| ())
    };
    copy_both().map_err(|error| no_backup(backup, error.to_string()))
}

fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    // A pipe would be waited for.
    if !fs::metadata(from)?.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is not a file",
        ));
    }
    let mut from = File::open(from)?;
    let mut copied = create_new_private_file(to)?;
    give_to_owner_of_folder(&copied, to)?;
    io::copy(&mut from, &mut copied).map(|_| ())
}

/// Opens the copy as the server will, and leaves a single file. Gives the contents. New
/// events get numbers behind those of the database that is `replaced`, so that a reader
/// who follows the events goes on. Messages that waited are given up: the server that made
/// the backup has most likely sent them.
fn check_copy(
    backup: &Path,
    unchecked: &Path,
    replaced: &Path,
    now: Timestamp,
) -> Result<Contents, StoreError> {
    let explain = |error| explain_check_error(backup, &error);
    let mut connection = Connection::open(unchecked).map_err(explain)?;

    let (tables, version): (i64, i64) = connection
        .query_row(
            "SELECT count(*), (SELECT user_version FROM pragma_user_version) \
             FROM sqlite_schema WHERE name IN ('servers', 'history', 'users')",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .map_err(explain)?;
    if tables != 3 || version == 0 {
        return Err(no_backup(backup, "it is no database of fleetbeat-server's"));
    }

    prepare_writer(&mut connection, Check::Whole).map_err(explain)?;
    migrate(&mut connection, backup)?;
    if let Some(newest) = newest_event(replaced) {
        number_behind(&connection, newest).map_err(explain)?;
    }
    alerts::give_up_all(&connection, now, RESTORED).map_err(explain)?;
    checkpoint(&connection).map_err(explain)?;
    Contents::read(&connection).map_err(explain)
}

/// The number of the newest event in the database `file`; `None` if it has none, or cannot
/// be read.
fn newest_event(file: &Path) -> Option<i64> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags).ok()?;
    let select = "SELECT seq FROM sqlite_sequence WHERE name = 'events'";
    connection.query_row(select, [], |row| row.get(0)).ok()
}

/// Lets the next event have a number behind `newest`.
fn number_behind(connection: &Connection, newest: i64) -> rusqlite::Result<()> {
    let update = "UPDATE sqlite_sequence SET seq = max(seq, ?1) WHERE name = 'events'";
    if connection.execute(update, [newest])? == 0 {
        let insert = "INSERT INTO sqlite_sequence (name, seq) VALUES ('events', ?1)";
        connection.execute(insert, [newest])?;
    }
    Ok(())
}

fn explain_check_error(backup: &Path, error: &rusqlite::Error) -> StoreError {
    let reason = match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => "it is no database".to_owned(),
        Some(ErrorCode::DatabaseCorrupt) => format!("it is damaged ({error})"),
        _ => error.to_string(),
    };
    no_backup(backup, reason)
}

/// Makes the checked copy the folder's database with this name. Gives the place of the
/// database that was there before.
fn put_in_place(
    folder: &Path,
    name: &str,
    checked: &Path,
    now: Timestamp,
) -> Result<Option<PathBuf>, StoreError> {
    let file = folder.join(name);
    let kept = folder.join(format!(
        "{name}.replaced-{}",
        now.strftime("%Y%m%dT%H%M%SZ")
    ));
    let failed = |error| unusable(&file, &error);

    File::open(checked)
        .and_then(|checked| checked.sync_all())
        .map_err(failed)?;

    // Then the old database is whole without a log. A database that is too damaged for
    // that keeps the log.
    let _ = empty_log(&file);
    // The old database gets a second name, instead of being renamed: so there is a
    // database under the usual name at every moment.
    let is_replaced = or_not_there(fs::hard_link(&file, &kept)).map_err(failed)?;

    if let Err(error) = swap(checked, &file, &kept) {
        let _ = fs::rename(with_ending(&kept, LOG), with_ending(&file, LOG));
        let _ = is_replaced.then(|| fs::remove_file(&kept));
        return Err(failed(error));
    }
    sync_folder_of(&file).map_err(failed)?;
    Ok(is_replaced.then_some(kept))
}

/// Renames the checked copy to `file`. The log of the old database goes to `kept`,
/// because SQLite would write that log into the new database.
fn swap(checked: &Path, file: &Path, kept: &Path) -> io::Result<()> {
    or_not_there(fs::rename(with_ending(file, LOG), with_ending(kept, LOG)))?;
    or_not_there(fs::remove_file(with_ending(file, LOG_INDEX)))?;
    sync_folder_of(file)?;
    fs::rename(checked, file)
}

/// Makes the names in the folder of `file` safe from a loss of power.
pub(super) fn sync_folder_of(file: &Path) -> io::Result<()> {
    let folder = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// Moves everything from the database's log into the database.
fn empty_log(file: &Path) -> rusqlite::Result<()> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags)?;
    checkpoint(&connection)
}

/// Removes a database and SQLite's files beside the database.
pub(super) fn remove_database(file: &Path) -> io::Result<()> {
    for ending in ["", LOG, LOG_INDEX] {
        or_not_there(fs::remove_file(with_ending(file, ending)))?;
    }
    Ok(())
}

/// False if the file was not there.
fn or_not_there(done: io::Result<()>) -> io::Result<bool> {
    match done {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

pub(super) fn with_ending(file: &Path, ending: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::conformance::{beat, servers};
    use crate::store::embedded::{Embedded, IfMissing, backup};
    use crate::store::server::ServerStore;

    #[test]
    fn what_is_replaced_is_whole_without_its_log() {
        let (folder, elsewhere) =
            (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let old = Embedded::open_beside_server(folder.path(), IfMissing::Create).unwrap();
        let checked = folder.path().join(UNCHECKED);
        backup(folder.path(), &checked, Extent::Database).unwrap();
        old.record(&[beat("192.0.2.1", Timestamp::UNIX_EPOCH)])
            .unwrap();
        // As after a kill: what was committed last is in the log alone.
        assert!(
            fs::metadata(with_ending(&folder.path().join(DATABASE), LOG))
                .unwrap()
                .len()
                > 0
        );
        std::mem::forget(old);
        let kept = put_in_place(folder.path(), DATABASE, &checked, Timestamp::UNIX_EPOCH)
            .unwrap()
            .unwrap();
        fs::copy(kept, elsewhere.path().join(DATABASE)).unwrap();
        assert_eq!(servers(&Embedded::open(elsewhere.path()).unwrap()).len(), 1);
        assert!(servers(&Embedded::open(folder.path()).unwrap()).is_empty());
    }
}
