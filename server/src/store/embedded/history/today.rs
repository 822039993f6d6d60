//! The day by which old history is judged. A clock that jumps ahead must not delete years
//! of it, so the day moves on no faster than twice the service time.

use fleetbeat_history::{DAY_SECONDS, Day};
use rusqlite::{Connection, params};

use crate::store::embedded::connection::Connections;
use crate::store::error::StoreError;

/// Days that the day may move on at once, so that a server that is off at night keeps up.
const AT_ONCE: i64 = 2;
const DAY_MS: i64 = DAY_SECONDS * 1000;

/// What is noted in the database.
struct Noted {
    service_time: i64,
    /// The day, since 1970, and the service time at which it was noted; `None` before the
    /// first time.
    last: Option<(i64, i64)>,
}

impl Noted {
    fn read(connection: &Connection) -> rusqlite::Result<Noted> {
        let select = "SELECT service_time, history_day, history_day_at FROM state";
        let mut select = connection.prepare_cached(select)?;
        select.query_row([], |row| {
            let day: Option<i64> = row.get(1)?;
            Ok(Noted {
                service_time: row.get(0)?,
                last: day.zip(row.get(2)?),
            })
        })
    }

    /// The day, where the clock says `clock`.
    fn limit(&self, clock: i64) -> i64 {
        let Some((day, at)) = self.last else {
            return clock;
        };
        let served = self.service_time.saturating_sub(at).max(0);
        let allowed = AT_ONCE + 2 * served / DAY_MS;
        clock.min(day.saturating_add(allowed))
    }
}

/// The day at `now`, in seconds since 1970 by the clock. The clock's day is noted whenever
/// it counts; while it does not, all goes by the last one that did.
///
/// # Errors
/// The database cannot be read or written.
pub(super) fn find(connections: &Connections, now: i64) -> Result<Day, StoreError> {
    let noted = connections.read(Noted::read)?;
    let clock = i64::from(Day::of(now).number());
    let today = noted.limit(clock);
    let is_news = noted.last.is_none_or(|(day, _)| day != today);
    if today == clock && is_news {
        connections.write(|transaction| {
            transaction.execute(
                "UPDATE state SET history_day = ?1, history_day_at = ?2",
                params![today, noted.service_time],
            )?;
            Ok(())
        })?;
    }
    Ok(Day::new(u32::try_from(today).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_passes_by_the_clock_and_a_jump_counts_for_little() {
        let noted = |days_served| Noted {
            service_time: days_served * DAY_MS,
            last: Some((20_000, 0)),
        };
        // The clock, the days that have been served since, and the day that counts.
        for (clock, served, expected) in [
            (20_000, 0, 20_000),
            (20_001, 1, 20_001),
            (20_001, 0, 20_001),
            (19_000, 1, 19_000),
            (99_000, 0, 20_002),
            (99_000, 1, 20_004),
            // Off for a month: some months later the day is the clock's again.
            (20_030, 0, 20_002),
            (20_058, 28, 20_058),
        ] {
            assert_eq!(noted(served).limit(clock), expected, "{clock} {served}");
        }
        let first = Noted {
            service_time: 5,
            last: None,
        };
        assert_eq!(first.limit(20_000), 20_000);
    }
}
