//! Connections to the file, and its schema.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use crate::file_store::error::FileError;
use crate::file_store::files;
use crate::store::HistoryError;

/// The version of the schema, kept as the file's `user_version`.
const SCHEMA: i64 = 3;
/// How long a statement waits for another process, such as a backup.
const BUSY_TIMEOUT: Duration = Duration::from_secs(1);
/// What the file's pages have, in bytes: see the folder's documentation.
const PAGE_BYTES: u64 = 4096;

const CREATE: &str = "
    CREATE TABLE hosts (
        host_no INTEGER PRIMARY KEY AUTOINCREMENT,
        host TEXT NOT NULL UNIQUE
    );
    CREATE TABLE growing (id INTEGER PRIMARY KEY, chunk BLOB NOT NULL);
    CREATE TABLE chunks (id INTEGER PRIMARY KEY, chunk BLOB NOT NULL);
";
/// What the second version has added.
const ADD_TRAFFIC: &str = "
    CREATE TABLE traffic (id INTEGER PRIMARY KEY, sums BLOB NOT NULL);
";
/// What the third version has added.
const ADD_WAITING: &str = "
    CREATE TABLE waiting (
        at INTEGER NOT NULL,
        host TEXT NOT NULL,
        sample BLOB NOT NULL,
        PRIMARY KEY (at, host)
    ) WITHOUT ROWID;
    PRAGMA user_version = 3;
";

/// Opens the file for writing; makes it if it is missing. The file never has more than
/// `max_bytes`.
pub(crate) fn open_writer(path: &Path, max_bytes: u64) -> Result<Connection, FileError> {
    files::create(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut writer = Connection::open_with_flags(path, flags)?;
    writer.busy_timeout(BUSY_TIMEOUT)?;
    writer.pragma_update(None, "page_size", PAGE_BYTES.cast_signed())?;
    writer.pragma_update(None, "journal_mode", "WAL")?;
    writer.pragma_update(None, "synchronous", "NORMAL")?;
    writer.pragma_update(None, "journal_size_limit", 4 << 20)?;

    let pages = (max_bytes / PAGE_BYTES).clamp(1, u64::from(u32::MAX - 1));
    writer.pragma_update_and_check(
        None,
        "max_page_count",
        pages.cast_signed(),
        |_| Ok(()),
    )?;
    create_schema(&mut writer)?;
    Ok(writer)
}

/// Opens the file for reading. It must be there.
pub(crate) fn open_reader(path: &Path) -> Result<Connection, FileError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let reader = Connection::open_with_flags(path, flags)?;
    reader.busy_timeout(BUSY_TIMEOUT)?;
    check_version(version(&reader)?)?;
    Ok(reader)
}

fn create_schema(writer: &mut Connection) -> Result<(), FileError> {
    let transaction = writer.transaction()?;
    let version = version(&transaction)?;
    check_version(version)?;
    for (step, sql) in (0..).zip([CREATE, ADD_TRAFFIC, ADD_WAITING]) {
        if version <= step {
            transaction.execute_batch(sql)?;
        }
    }
    transaction.commit()?;
    Ok(())
}

fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

fn check_version(found: i64) -> Result<(), FileError> {
    if (0..=SCHEMA).contains(&found) {
        return Ok(());
    }
    let known = SCHEMA;
    Err(HistoryError::Version { found, known }.into())
}
