//! The rows of traffic.

use rusqlite::{Connection, Transaction, params};

use crate::day::Day;
use crate::file_store::hosts::HostNo;
use crate::traffic::{DayTraffic, LOOK_BACK_DAYS};

/// The number of the row of a host and day.
fn id(host: HostNo, day: Day) -> i64 {
    i64::from(host.0) << 32 | i64::from(day.number())
}

fn day_of(id: i64) -> Day {
    u32::try_from(id & i64::from(u32::MAX)).map_or(Day::FIRST, Day::new)
}

/// Stores the traffic of a host and day. A day without counters has no row.
pub(crate) fn put(
    transaction: &Transaction<'_>,
    host: HostNo,
    day: Day,
    traffic: &DayTraffic,
) -> rusqlite::Result<()> {
    if traffic.is_empty() {
        return delete(transaction, host, day);
    }
    let upsert = "INSERT INTO traffic (id, sums) VALUES (?1, ?2)
                  ON CONFLICT (id) DO UPDATE SET sums = excluded.sums";
    let mut upsert = transaction.prepare_cached(upsert)?;
    upsert.execute(params![id(host, day), traffic.encode()])?;
    Ok(())
}

/// Calls `each` for the days of the range, and before them for those of the
/// [`LOOK_BACK_DAYS`] before. Gives how many cannot be read.
pub(crate) fn read(
    connection: &Connection,
    host: HostNo,
    (first, last): (Day, Day),
    each: &mut dyn FnMut(Day, DayTraffic),
) -> rusqlite::Result<usize> {
    let select = "SELECT id, sums FROM traffic WHERE id BETWEEN ?1 AND ?2 ORDER BY id";
    let range = [first.before(LOOK_BACK_DAYS), last].map(|day| id(host, day));
    let mut select = connection.prepare_cached(select)?;
    let mut rows = select.query(range)?;
    let mut unread = 0;
    while let Some(row) = rows.next()? {
        let sums = row.get_ref(1)?.as_bytes_or_null();
        let sums = sums.unwrap_or_default().unwrap_or_default();
        match DayTraffic::decode(sums) {
            Ok(traffic) => each(day_of(row.get(0)?), traffic),
            Err(_) => unread += 1,
        }
    }
    Ok(unread)
}

/// Deletes the traffic of a host and day.
pub(crate) fn delete(
    transaction: &Transaction<'_>,
    host: HostNo,
    day: Day,
) -> rusqlite::Result<()> {
    let delete = "DELETE FROM traffic WHERE id = ?1";
    transaction
        .prepare_cached(delete)?
        .execute([id(host, day)])?;
    Ok(())
}

/// Deletes all traffic of a host.
pub(crate) fn delete_all(
    transaction: &Transaction<'_>,
    host: HostNo,
) -> rusqlite::Result<()> {
    let range = [Day::FIRST, Day::LAST].map(|day| id(host, day));
    let delete = "DELETE FROM traffic WHERE id BETWEEN ?1 AND ?2";
    transaction.prepare_cached(delete)?.execute(range)?;
    Ok(())
}
