//! The heartbeats of each host that are not in history.db yet: the open chunk in the
//! host's record, to which a heartbeat adds some bytes, and full chunks beside it.

use fleetbeat_history::open_chunk::{self, Full};
use rusqlite::{Connection, Transaction, params};

use crate::store::history::sample_of_beat;
use crate::store::server::Beat;

/// An open chunk of so many bytes is full, because each heartbeat writes all of it: a
/// usual host has a quarter of that after four hours. A host has sent what it had spooled,
/// or history.db is away.
const FULL_BYTES: usize = 8 << 10;
/// Full chunks of a host that may wait while history.db is written: more than an agent's
/// spool of 4 MiB, which may come within one round of the care of history.
const MAX_FULL: u32 = 100;
/// Full chunks of a host that may wait while history.db cannot be written: a usual host
/// fills one in most of a day, so there is room for more than a week.
const MAX_FULL_WHILE_AWAY: u32 = 15;

/// How history grows by the heartbeats of a transaction.
#[derive(Debug, Default)]
pub(super) struct Appending {
    /// The series of a heartbeat that are kept; `None`: nothing is kept.
    max_series: Option<usize>,
    /// Full chunks of a host that may wait.
    max_full: u32,
    /// The heartbeats for which there was no room.
    pub(super) dropped: u64,
}

impl Appending {
    /// Nothing has been appended yet. `is_away` says whether history.db cannot be written.
    pub(super) fn new(max_series: Option<usize>, is_away: bool) -> Appending {
        let max_full = if is_away {
            MAX_FULL_WHILE_AWAY
        } else {
            MAX_FULL
        };
        Appending {
            max_series,
            max_full,
            dropped: 0,
        }
    }

    /// Appends the heartbeat to the open chunk of `host`.
    pub(super) fn append(
        &mut self,
        transaction: &Transaction<'_>,
        host: i64,
        beat: &Beat,
    ) -> rusqlite::Result<()> {
        let Some(max_series) = self.max_series else {
            return Ok(());
        };
        let mut sample = sample_of_beat(beat);
        sample.keep_series(max_series);

        let mut open = find(transaction, host)?;
        if open.len() >= FULL_BYTES && put_aside(transaction, host, &open, self.max_full)?
        {
            open.clear();
        }
        let longer = match open_chunk::append(&open, &sample) {
            Err(Full) if put_aside(transaction, host, &open, self.max_full)? => {
                open_chunk::append(&[], &sample)
            }
            longer => longer,
        };
        match longer {
            Ok(longer) => put(transaction, host, Some(&longer)),
            Err(Full) => {
                self.dropped += 1;
                Ok(())
            }
        }
    }
}

/// The open chunk of a host, empty for none.
pub(super) fn find(connection: &Connection, host: i64) -> rusqlite::Result<Vec<u8>> {
    let select = "SELECT coalesce(open_chunk, x'') FROM servers WHERE id = ?1";
    let mut select = connection.prepare_cached(select)?;
    select.query_row([host], |row| row.get(0))
}

/// Sets the open chunk of a host.
pub(super) fn put(
    connection: &Connection,
    host: i64,
    chunk: Option<&[u8]>,
) -> rusqlite::Result<()> {
    let update = "UPDATE servers SET open_chunk = ?2 WHERE id = ?1";
    let mut update = connection.prepare_cached(update)?;
    update.execute(params![host, chunk])?;
    Ok(())
}

/// Puts a full chunk beside the record, and says whether there was room: fewer than
/// `max_full` wait.
fn put_aside(
    transaction: &Transaction<'_>,
    host: i64,
    chunk: &[u8],
    max_full: u32,
) -> rusqlite::Result<bool> {
    let mut insert = transaction.prepare_cached(
        "INSERT INTO full_chunks (server_id, chunk) \
         SELECT server_id, ?2 FROM servers WHERE id = ?1 AND ?3 > \
         (SELECT count(*) FROM full_chunks WHERE server_id = servers.server_id)",
    )?;
    Ok(insert.execute(params![host, chunk, max_full])? > 0)
}

/// Gives what is kept of the host `from`, whose record goes, to the host `to`: its
/// heartbeats, its full chunks, and later what history.db has.
pub(super) fn hand_over(
    transaction: &Transaction<'_>,
    from: i64,
    to: i64,
) -> rusqlite::Result<()> {
    let mut merged = find(transaction, to)?;
    for sample in open_chunk::read(&find(transaction, from)?).samples {
        match open_chunk::append(&merged, &sample) {
            Ok(longer) => merged = longer,
            // However many wait: there is one more for each record that goes.
            Err(Full) if put_aside(transaction, to, &merged, u32::MAX)? => {
                merged = open_chunk::append(&[], &sample).unwrap_or_default();
            }
            Err(Full) => {}
        }
    }
    if !merged.is_empty() {
        put(transaction, to, Some(&merged))?;
    }

    let both = params![from, to];
    transaction.execute(
        "UPDATE full_chunks SET server_id = (SELECT server_id FROM servers WHERE id = ?2) \
         WHERE server_id = (SELECT server_id FROM servers WHERE id = ?1)",
        both,
    )?;
    transaction.execute(
        "INSERT INTO gone_histories (server_id, heir) \
         SELECT old.server_id, new.server_id FROM servers AS old, servers AS new \
         WHERE old.id = ?1 AND new.id = ?2 ON CONFLICT DO NOTHING",
        both,
    )?;
    Ok(())
}

/// What of the open chunk `now` is still to be merged when `merged` was, which was the open
/// chunk some time before; `None` for nothing.
pub(super) fn rest(now: &[u8], merged: &[u8]) -> Option<Vec<u8>> {
    if now.len() == merged.len() && now == merged {
        return None;
    }
    // Another chunk has taken the place. What is merged twice is there once.
    if !now.starts_with(merged) {
        return Some(now.to_vec());
    }
    let done = open_chunk::read(merged).samples.len();
    let samples = open_chunk::read(now).samples;
    let rest = samples[done..]
        .iter()
        .try_fold(Vec::new(), |rest, sample| open_chunk::append(&rest, sample));
    rest.ok().filter(|rest| !rest.is_empty())
}

#[cfg(test)]
mod tests {
    use fleetbeat_history::{Arrival, Identity, Sample};

    use super::*;

    fn chunk(times: std::ops::Range<i64>) -> Vec<u8> {
        times.fold(Vec::new(), |chunk, at| {
            let mut sample = Sample::new(at, Identity::Unknown, Arrival::Live);
            sample.set_loads(Some(1.0), None, None);
            open_chunk::append(&chunk, &sample).unwrap()
        })
    }

    #[test]
    fn what_was_appended_since_a_merge_is_what_is_left() {
        let (merged, now) = (chunk(0..10), chunk(0..13));
        assert_eq!(rest(&merged, &merged), None);
        let left = open_chunk::read(&rest(&now, &merged).unwrap()).samples;
        let times: Vec<i64> = left.iter().map(Sample::at).collect();
        assert_eq!(times, [10, 11, 12]);
        // The record is another one.
        let other = chunk(20..22);
        assert_eq!(rest(&other, &merged), Some(other));
    }
}
