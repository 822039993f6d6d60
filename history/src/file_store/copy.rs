//! Copies of the file, and what is in them.

use std::path::Path;

use rusqlite::Connection;

use crate::day::Day;
use crate::file_store::chunks;
use crate::file_store::connection::open_reader;
use crate::file_store::error::FileError;
use crate::store::{COUNTRY, FLEET, HistoryError};

/// What is in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileContents {
    /// The hosts that have chunks, but for groups of hosts.
    pub hosts: u64,
    /// The first and the last day; `None` if there are no chunks.
    pub days: Option<(Day, Day)>,
}

impl FileContents {
    fn read(connection: &Connection) -> rusqlite::Result<FileContents> {
        let select = "SELECT count(*) FROM hosts
                      WHERE host <> ?1 AND substr(host, 1, length(?2)) <> ?2";
        let groups = [FLEET, COUNTRY];
        let hosts: i64 = connection.query_row(select, groups, |row| row.get(0))?;
        let (first, last) = (
            chunks::oldest_day(connection)?,
            chunks::newest_day(connection)?,
        );
        Ok(FileContents {
            hosts: hosts.unsigned_abs(),
            days: first.zip(last),
        })
    }
}

/// Writes a copy of the file `from` to the empty file `to`, also while another process
/// writes `from`. Gives what is in the copy.
///
/// # Errors
/// `from` cannot be read, or `to` cannot be written.
pub fn copy_file(from: &Path, to: &Path) -> Result<FileContents, HistoryError> {
    let name = to.to_str().ok_or_else(|| {
        HistoryError::Unavailable(format!("{} is not a name in UTF-8", to.display()))
    })?;
    let copied = open_reader(from).and_then(|reader| {
        reader.execute("VACUUM INTO ?1", [name])?;
        Ok(FileContents::read(&open_reader(to)?)?)
    });
    copied.map_err(FileError::into_told)
}

/// Looks through the whole file at `path`, which nobody else has open, and gives what is in
/// it.
///
/// # Errors
/// The file is damaged, not a file of history, or of a later version.
pub fn check_file(path: &Path) -> Result<FileContents, HistoryError> {
    let checked = open_reader(path).and_then(|reader| {
        let found: String =
            reader.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if found != "ok" {
            return Err(FileError::Damaged(found));
        }
        Ok(FileContents::read(&reader)?)
    });
    checked.map_err(FileError::into_told)
}
