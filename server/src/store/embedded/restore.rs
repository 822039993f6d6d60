//! Puts a backup in the database's place.
//!
//! The copy is opened and checked under a name of its own, just as the server will open
//! it, before anything is changed. Whatever ends this half-way, there is a whole database
//! under the usual name: the old one, with all that was in its log, until the last step,
//! a rename, and the new one from then on. What it replaces stays beside it.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use fleetbeat_protocol::Timestamp;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::error::{no_backup, unusable};
use super::{
    Check, Embedded, FILE, create_private_folder, give_to_owner_of_folder, migrate,
    prepare_writer, take_lock,
};
use crate::store::error::StoreError;

/// The backup in the folder, until it is known to be good.
const UNCHECKED: &str = "restoring.db";
/// SQLite's write-ahead log and its index lie beside the database, with these endings.
const LOG: &str = "-wal";
const LOG_INDEX: &str = "-shm";

/// What was restored; shown, it says so to a person.
pub(crate) struct Restored {
    contents: Contents,
    /// Where the database that was there before is now.
    replaced: Option<PathBuf>,
}

struct Contents {
    servers: i64,
    users: i64,
    last_heartbeat: Option<i64>,
}

impl Embedded {
    /// Puts the database in the file `backup` in the place of the one in `folder`, which
    /// no server may be using.
    ///
    /// # Errors
    /// A server runs, the file is no whole database of a version that is known, or the
    /// folder cannot be written.
    pub(crate) fn restore(
        folder: &Path,
        backup: &Path,
        now: Timestamp,
    ) -> Result<Restored, StoreError> {
        create_private_folder(folder)?;
        let _lock = take_lock(folder)?;
        let unchecked = folder.join(UNCHECKED);
        let restored = copy(backup, &unchecked)
            .and_then(|()| check(backup, &unchecked))
            .and_then(|contents| {
                Ok(Restored {
                    contents,
                    replaced: put_in_place(folder, &unchecked, now)?,
                })
            });
        let _ = remove_database(&unchecked);
        restored
    }
}

impl fmt::Display for Restored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Contents {
            servers,
            users,
            last_heartbeat,
        } = self.contents;
        write!(f, "restored: {servers} servers, {users} users")?;
        if let Some(at) =
            last_heartbeat.and_then(|at| Timestamp::from_millisecond(at).ok())
        {
            write!(f, ", the last heartbeat at {at:.0}")?;
        }
        writeln!(f)?;
        match &self.replaced {
            Some(path) => {
                writeln!(f, "the database before it is kept as {}", path.display())
            }
            None => Ok(()),
        }
    }
}

/// Copies `backup`, with its log if it is no backup of ours but what a server has left,
/// as [`put_in_place`] keeps it.
fn copy(backup: &Path, unchecked: &Path) -> Result<(), StoreError> {
    let all = || -> io::Result<()> {
        remove_database(unchecked)?;
        for ending in ["", LOG] {
            let mut from = match File::open(with_ending(backup, ending)) {
                Err(error)
                    if ending == LOG && error.kind() == io::ErrorKind::NotFound =>
                {
                    continue;
                }
                from => from?,
            };
            let mut options = File::options();
            let to = options.create_new(true).write(true).mode(0o600);
            let path = with_ending(unchecked, ending);
            let mut to = to.open(&path)?;
            give_to_owner_of_folder(&to, &path)?;
            io::copy(&mut from, &mut to)?;
        }
        Ok(())
    };
    all().map_err(|error| no_backup(backup, error.to_string()))
}

/// Opens the copy as the server will, and leaves it as one file.
fn check(backup: &Path, unchecked: &Path) -> Result<Contents, StoreError> {
    let explain = |error: rusqlite::Error| {
        let reason = match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => "it is no database".to_owned(),
            Some(ErrorCode::DatabaseCorrupt) => format!("it is damaged ({error})"),
            _ => error.to_string(),
        };
        no_backup(backup, reason)
    };
    let mut connection = Connection::open(unchecked).map_err(explain)?;
    let count = |connection: &Connection, query: &str| {
        connection.query_row(query, [], |row| row.get(0))
    };
    let tables = "SELECT count(*) FROM sqlite_schema WHERE name IN ('servers', 'history', 'users')";
    if count(&connection, tables).map_err(explain)? != 3 {
        return Err(no_backup(
            backup,
            "it is no database of fleetbeat-server's".to_owned(),
        ));
    }
    prepare_writer(&mut connection, Check::Whole).map_err(explain)?;
    migrate(&mut connection, backup)?;
    let read = || -> rusqlite::Result<Contents> {
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        Ok(Contents {
            servers: count(&connection, "SELECT count(*) FROM servers")?,
            users: count(&connection, "SELECT count(*) FROM users")?,
            last_heartbeat: connection.query_row(
                "SELECT max(last_heartbeat) FROM servers",
                [],
                |row| row.get(0),
            )?,
        })
    };
    read().map_err(explain)
}

/// Makes the checked copy the folder's database; gives the place of the one before.
fn put_in_place(
    folder: &Path,
    checked: &Path,
    now: Timestamp,
) -> Result<Option<PathBuf>, StoreError> {
    let file = folder.join(FILE);
    let kept = folder.join(format!(
        "{FILE}.replaced-{}",
        now.strftime("%Y%m%dT%H%M%SZ")
    ));
    let failed = |error| unusable(&file, &error);
    let sync_folder = || File::open(folder)?.sync_all();
    File::open(checked)
        .and_then(|checked| checked.sync_all())
        .map_err(failed)?;
    // So that the old one is whole without its log. One that is too damaged for that
    // keeps both.
    let _ = empty_log(&file);
    // A second name, not another one: there is a database at every moment.
    let is_replaced = or_not_there(fs::hard_link(&file, &kept)).map_err(failed)?;
    let swap = || -> io::Result<()> {
        // SQLite would write the old one's log into the new one.
        or_not_there(fs::rename(with_ending(&file, LOG), with_ending(&kept, LOG)))?;
        or_not_there(fs::remove_file(with_ending(&file, LOG_INDEX)))?;
        sync_folder()?;
        fs::rename(checked, &file)
    };
    let undo = |_: &io::Error| {
        let _ = fs::rename(with_ending(&kept, LOG), with_ending(&file, LOG));
        let _ = is_replaced.then(|| fs::remove_file(&kept));
    };
    swap()
        .inspect_err(undo)
        .and_then(|()| sync_folder())
        .map_err(failed)?;
    Ok(is_replaced.then_some(kept))
}

/// Writes what only the database's log has into the database.
fn empty_log(file: &Path) -> rusqlite::Result<()> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags)?;
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
}

/// Removes a database and what SQLite keeps beside it.
fn remove_database(file: &Path) -> io::Result<()> {
    for ending in ["", LOG, LOG_INDEX] {
        or_not_there(fs::remove_file(with_ending(file, ending)))?;
    }
    Ok(())
}

/// Whether it was done; false if the file was not there.
fn or_not_there(done: io::Result<()>) -> io::Result<bool> {
    match done {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn with_ending(file: &Path, ending: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::conformance::{beat, servers};
    use crate::store::server::ServerStore;

    #[test]
    fn what_is_replaced_is_whole_without_its_log() {
        let (folder, elsewhere) =
            (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let old = Embedded::open_beside_server(folder.path()).unwrap();
        let checked = folder.path().join(UNCHECKED);
        old.backup(&checked).unwrap();
        old.record(&[beat("192.0.2.1", Timestamp::UNIX_EPOCH)])
            .unwrap();
        // As after a kill: what was committed last is in the log alone.
        assert!(
            fs::metadata(with_ending(&folder.path().join(FILE), LOG))
                .unwrap()
                .len()
                > 0
        );
        std::mem::forget(old);
        let kept = put_in_place(folder.path(), &checked, Timestamp::UNIX_EPOCH)
            .unwrap()
            .unwrap();
        fs::copy(kept, elsewhere.path().join(FILE)).unwrap();
        assert_eq!(servers(&Embedded::open(elsewhere.path()).unwrap()).len(), 1);
        assert!(servers(&Embedded::open(folder.path()).unwrap()).is_empty());
    }
}
