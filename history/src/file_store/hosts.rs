//! The numbers of hosts in the file.

use rusqlite::{Connection, OptionalExtension, Transaction};

use crate::store::{COUNTRY, Host};

/// A host's number. SQLite's AUTOINCREMENT never gives one twice, so a new host cannot
/// inherit the chunks of one that is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HostNo(pub(crate) u32);

/// The number of a host; `None` if the host has no chunks.
pub(crate) fn find(
    connection: &Connection,
    host: &Host,
) -> rusqlite::Result<Option<HostNo>> {
    let select = "SELECT host_no FROM hosts WHERE host = ?1";
    let mut statement = connection.prepare_cached(select)?;
    let number = statement.query_row([host.as_str()], |row| row.get(0));
    Ok(number.optional()?.map(HostNo))
}

/// The number of a host, which is given to it if it has none.
pub(crate) fn find_or_add(
    transaction: &Transaction<'_>,
    host: &Host,
) -> rusqlite::Result<HostNo> {
    if let Some(number) = find(transaction, host)? {
        return Ok(number);
    }
    let insert = "INSERT INTO hosts (host) VALUES (?1) RETURNING host_no";
    let mut statement = transaction.prepare_cached(insert)?;
    statement.query_row([host.as_str()], |row| row.get(0).map(HostNo))
}

/// The countries that have chunks.
pub(crate) fn countries(connection: &Connection) -> rusqlite::Result<Vec<Host>> {
    let select = "SELECT host FROM hosts WHERE substr(host, 1, length(?1)) = ?1";
    let mut select = connection.prepare_cached(select)?;
    let rows = select.query_map([COUNTRY], |row| {
        row.get(0).map(|name: String| Host::new(name))
    })?;
    rows.collect()
}

/// Takes the host's number away from it.
pub(crate) fn remove(
    transaction: &Transaction<'_>,
    host: HostNo,
) -> rusqlite::Result<()> {
    transaction.execute("DELETE FROM hosts WHERE host_no = ?1", [host.0])?;
    Ok(())
}
