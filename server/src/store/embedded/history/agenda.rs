//! Which hosts' chunks are merged when: each host's every four hours, one after the other
//! in the order of their numbers.
//!
//! The time of a host follows from the time of day and from the place of its number
//! between the first and the last one. So nothing is noted, and a server that is started
//! again goes on. A host whose time is missed is merged the next time.

use std::collections::BTreeSet;

use rusqlite::Connection;

/// Seconds in which each host's chunk is merged once.
const PERIOD: i64 = 4 * 60 * 60;
/// Hosts that are merged at once.
const BATCH: usize = 16;

/// The hosts whose chunks are to be merged.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    /// Up to when hosts have been looked for, in seconds since 1970.
    passed: Option<i64>,
    due: BTreeSet<i64>,
}

impl Agenda {
    /// Adds the hosts whose time has come at `now`. `ids` are the first and the last
    /// number, and `find` gives the hosts from one number to another.
    ///
    /// # Errors
    /// Those of `find`.
    pub(super) fn pass<E>(
        &mut self,
        ids: Option<(i64, i64)>,
        now: i64,
        find: impl Fn(i64, i64) -> Result<Vec<i64>, E>,
    ) -> Result<(), E> {
        // A clock that was put back begins anew.
        let passed = self.passed.filter(|passed| *passed <= now).unwrap_or(now);
        let passed = passed.max(now - PERIOD);
        if let Some((first, last)) = ids {
            for (from, to) in windows(passed, now) {
                let from = place(from, first, last);
                let to = place(to, first, last) - 1;
                self.due.extend(find(from, to)?);
            }
        }
        self.passed = Some(now);
        Ok(())
    }

    /// The hosts that are merged next, empty for none.
    pub(super) fn next(&self) -> Vec<i64> {
        self.due.iter().copied().take(BATCH).collect()
    }

    /// The chunks of these hosts have been merged.
    pub(super) fn done(&mut self, hosts: &[i64]) {
        for host in hosts {
            self.due.remove(host);
        }
    }
}

/// The parts of a period that are between two times, at most a period apart: one, or two
/// if a period ends between them.
fn windows(from: i64, to: i64) -> impl Iterator<Item = (i64, i64)> {
    let (start, end) = (from.rem_euclid(PERIOD), to.rem_euclid(PERIOD));
    let windows = if to - from >= PERIOD {
        [(0, PERIOD), (0, 0)]
    } else if start <= end {
        [(start, end), (0, 0)]
    } else {
        [(start, PERIOD), (0, end)]
    };
    windows.into_iter().filter(|(from, to)| from < to)
}

/// The first number whose time is not before `at`, a second of the period.
fn place(at: i64, first: i64, last: i64) -> i64 {
    let numbers = i128::from(last) - i128::from(first) + 1;
    let before = (numbers * i128::from(at) + i128::from(PERIOD) - 1) / i128::from(PERIOD);
    first.saturating_add(i64::try_from(before).unwrap_or(i64::MAX))
}

/// The first and the last number of the hosts; `None` without hosts.
pub(super) fn find_ids(connection: &Connection) -> rusqlite::Result<Option<(i64, i64)>> {
    // SQLite looks each of the two up where it stands; both at once would be a scan.
    let select = "SELECT (SELECT min(id) FROM servers), (SELECT max(id) FROM servers)";
    let mut select = connection.prepare_cached(select)?;
    let (first, last): (Option<i64>, Option<i64>) =
        select.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(first.zip(last))
}

/// The hosts from the number `first` to `last`.
pub(super) fn find_hosts(
    connection: &Connection,
    first: i64,
    last: i64,
) -> rusqlite::Result<Vec<i64>> {
    let select = "SELECT id FROM servers WHERE id BETWEEN ?1 AND ?2";
    let mut select = connection.prepare_cached(select)?;
    let rows = select.query_map([first, last], |row| row.get(0))?;
    rows.collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::convert::Infallible;

    use super::*;

    fn pass(agenda: &mut Agenda, (first, last): (i64, i64), now: i64) {
        let find = |from: i64, to: i64| {
            let hosts = from.max(first)..=to.min(last);
            Ok::<_, Infallible>(hosts.collect())
        };
        agenda.pass(Some((first, last)), now, find).unwrap();
    }

    #[test]
    fn each_host_has_its_turn_once_in_four_hours_and_they_are_spread() {
        for (first, last) in [(1, 1), (1, 7), (5, 1000), (1, 100_000)] {
            let mut agenda = Agenda::default();
            let mut turns: BTreeMap<i64, u32> = BTreeMap::new();
            let mut most = 0;
            pass(&mut agenda, (first, last), 1_000_000_003);
            for round in 1..=3 * PERIOD / 10 {
                pass(&mut agenda, (first, last), 1_000_000_003 + 10 * round);
                most = most.max(agenda.due.len());
                for host in std::mem::take(&mut agenda.due) {
                    *turns.entry(host).or_default() += 1;
                }
            }
            let hosts = usize::try_from(last - first + 1).unwrap();
            assert_eq!(turns.len(), hosts, "{first} to {last}");
            assert!(turns.values().all(|turns| *turns == 3), "{first} to {last}");
            assert!(most <= hosts / 1440 + 1, "{most} of {hosts} at once");
        }
    }

    #[test]
    fn a_clock_that_jumps_gives_no_host_more_than_one_turn_at_once() {
        let mut agenda = Agenda::default();
        pass(&mut agenda, (1, 100), 1_000_000_000);
        assert_eq!(agenda.due.len(), 0, "nobody knows since when");
        pass(&mut agenda, (1, 100), 1_000_000_000 + 86_400);
        assert_eq!(agenda.due.len(), 100);
        let all = agenda.next();
        assert_eq!(all.len(), BATCH);
        agenda.done(&all);
        assert_eq!(agenda.due.len(), 100 - BATCH);
        agenda.due.clear();
        pass(&mut agenda, (1, 100), 1_000_000_000);
        assert_eq!(agenda.due.len(), 0, "the clock was put back");
        pass(&mut agenda, (1, 100), 1_000_000_000 + PERIOD / 2);
        assert_eq!(agenda.due.len(), 50);
    }
}
