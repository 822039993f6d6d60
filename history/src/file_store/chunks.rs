//! The rows of chunks, in both tables.

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use crate::day::Day;
use crate::file_store::hosts::HostNo;
use crate::file_store::traffic;

/// The latest days, whose chunks may grow: the newest one and the one before.
const GROWING_DAYS: u32 = 2;

const TABLES: [&str; 2] = ["growing", "chunks"];

/// The number of the row of a host and day.
fn id(day: Day, host: HostNo) -> i64 {
    i64::from(day.number()) << 32 | i64::from(host.0)
}

/// The numbers that the rows of a day may have: from the first to the last one.
fn ids(day: Day) -> (i64, i64) {
    (id(day, HostNo(0)), id(day, HostNo(u32::MAX)))
}

fn day_of(id: i64) -> Day {
    u32::try_from(id >> 32).map_or(Day::FIRST, Day::new)
}

/// The bytes of a chunk; `None` if there is none. What is not bytes, in a file that was
/// damaged, is no bytes.
pub(crate) fn find(
    connection: &Connection,
    day: Day,
    host: HostNo,
) -> rusqlite::Result<Option<Vec<u8>>> {
    // One statement, because a merge may move the row from one table to the other.
    let select = "SELECT chunk FROM growing WHERE id = ?1
                  UNION ALL SELECT chunk FROM chunks WHERE id = ?1";
    let mut statement = connection.prepare_cached(select)?;
    let chunk = statement.query_row([id(day, host)], |row| {
        let bytes = row.get_ref(0)?.as_bytes_or_null();
        Ok(bytes.unwrap_or_default().unwrap_or_default().to_vec())
    });
    chunk.optional()
}

/// Stores a chunk in the place of what is there, or among those that grow.
pub(crate) fn put(
    transaction: &Transaction<'_>,
    day: Day,
    host: HostNo,
    chunk: &[u8],
) -> rusqlite::Result<()> {
    let id = id(day, host);
    let update = "UPDATE chunks SET chunk = ?2 WHERE id = ?1";
    let updated = transaction
        .prepare_cached(update)?
        .execute(params![id, chunk])?;
    if updated == 0 {
        let upsert = "INSERT INTO growing (id, chunk) VALUES (?1, ?2)
                      ON CONFLICT (id) DO UPDATE SET chunk = excluded.chunk";
        transaction
            .prepare_cached(upsert)?
            .execute(params![id, chunk])?;
    }
    Ok(())
}

/// Moves at most `at_most` chunks whose day is over to the table of those that do not
/// grow any more.
pub(crate) fn settle(
    transaction: &Transaction<'_>,
    at_most: usize,
) -> rusqlite::Result<()> {
    let Some(newest) = newest_day(transaction)? else {
        return Ok(());
    };
    let end = ids(newest.before(GROWING_DAYS - 1)).0;
    let most = i64::try_from(at_most).unwrap_or(i64::MAX);
    let last = "SELECT max(id) FROM
                (SELECT id FROM growing WHERE id < ?1 ORDER BY id LIMIT ?2)";
    let mut statement = transaction.prepare_cached(last)?;
    let last: Option<i64> = statement.query_row([end, most], |row| row.get(0))?;
    let Some(last) = last else {
        return Ok(());
    };

    // A row is in both tables only where a file was damaged.
    let insert = "INSERT OR REPLACE INTO chunks
                  SELECT id, chunk FROM growing WHERE id <= ?1 ORDER BY id";
    transaction.prepare_cached(insert)?.execute([last])?;
    let delete = "DELETE FROM growing WHERE id <= ?1";
    transaction.prepare_cached(delete)?.execute([last])?;
    Ok(())
}

/// The earliest day that has a row.
pub(crate) fn oldest_day(connection: &Connection) -> rusqlite::Result<Option<Day>> {
    let select = "SELECT min(id) FROM (SELECT min(id) AS id FROM growing
                  UNION ALL SELECT min(id) FROM chunks)";
    let mut statement = connection.prepare_cached(select)?;
    let oldest: Option<i64> = statement.query_row([], |row| row.get(0))?;
    Ok(oldest.map(day_of))
}

/// The latest day that has a row.
pub(crate) fn newest_day(connection: &Connection) -> rusqlite::Result<Option<Day>> {
    let select = "SELECT max(id) FROM (SELECT max(id) AS id FROM growing
                  UNION ALL SELECT max(id) FROM chunks)";
    let mut statement = connection.prepare_cached(select)?;
    let newest: Option<i64> = statement.query_row([], |row| row.get(0))?;
    Ok(newest.map(day_of))
}

/// The earliest day after `day` that has a row.
pub(crate) fn day_after(
    connection: &Connection,
    day: Day,
) -> rusqlite::Result<Option<Day>> {
    let select = "SELECT min(id) FROM
                  (SELECT min(id) AS id FROM growing WHERE id > ?1
                   UNION ALL SELECT min(id) FROM chunks WHERE id > ?1)";
    let mut statement = connection.prepare_cached(select)?;
    let next: Option<i64> = statement.query_row([ids(day).1], |row| row.get(0))?;
    Ok(next.map(day_of))
}

fn host_of(id: i64) -> HostNo {
    HostNo(u32::try_from(id & i64::from(u32::MAX)).unwrap_or_default())
}

/// Deletes at most `at_most` rows of a day, with their traffic, and says how many.
pub(crate) fn delete_day(
    transaction: &Transaction<'_>,
    day: Day,
    at_most: usize,
) -> rusqlite::Result<usize> {
    let (first, last) = ids(day);
    let mut deleted = 0;
    for table in TABLES {
        let most = i64::try_from(at_most - deleted).unwrap_or(i64::MAX);
        let delete = format!(
            "DELETE FROM {table} WHERE id IN
             (SELECT id FROM {table} WHERE id BETWEEN ?1 AND ?2 LIMIT ?3) RETURNING id"
        );
        let mut delete = transaction.prepare_cached(&delete)?;
        let ids = delete.query_map(params![first, last, most], |row| row.get(0))?;
        for id in ids.collect::<rusqlite::Result<Vec<i64>>>()? {
            traffic::delete(transaction, host_of(id), day)?;
            deleted += 1;
        }
    }
    Ok(deleted)
}

/// Deletes the row of a host and day, if there is one.
pub(crate) fn delete(
    transaction: &Transaction<'_>,
    day: Day,
    host: HostNo,
) -> rusqlite::Result<()> {
    for table in TABLES {
        let delete = format!("DELETE FROM {table} WHERE id = ?1");
        transaction
            .prepare_cached(&delete)?
            .execute([id(day, host)])?;
    }
    Ok(())
}
