//! Hosts that are gone take their chunks along.

use std::time::{Duration, Instant};

use fleetbeat_history::{Day, HistoryError, HistoryStore, Host, HostSamples};
use rusqlite::{Connection, OptionalExtension};

use super::merging::{Merging, pause};
use super::stopped::Stopped;
use crate::store::embedded::connection::{Connections, Work};
use crate::store::history::Tended;

/// Days whose chunks are handed over at once.
const DAYS: u32 = 8;

/// A host that is gone.
struct Gone {
    id: i64,
    host: Host,
    heir: Option<Host>,
}

/// Deletes the chunks of hosts that are gone, in the order in which they went. Another
/// host may get them first: then both were one.
pub(super) fn remove_gone(
    connections: &Connections,
    file: &Merging,
    deadline: Instant,
) -> Result<(), Stopped> {
    while Instant::now() < deadline {
        let Some(gone) = connections.read(find_gone)? else {
            break;
        };
        // A file that is not there has nothing, and is not made for that.
        if file.store.oldest_day()?.is_some() {
            if let Some(heir) = &gone.heir {
                hand_over(file, &gone.host, heir)?;
            }
            file.store.delete_host(&gone.host)?;
        }

        let until = Instant::now() + Duration::from_secs(30);
        connections.maintain(until, |connection| {
            let delete = "DELETE FROM gone_histories WHERE id = ?1";
            connection.prepare_cached(delete)?.execute([gone.id])?;
            Ok(Work::Done)
        })?;
        pause();
    }
    Ok(())
}

fn find_gone(connection: &Connection) -> rusqlite::Result<Option<Gone>> {
    let select = "SELECT id, server_id, heir FROM gone_histories ORDER BY id LIMIT 1";
    let mut select = connection.prepare_cached(select)?;
    let gone = select.query_row([], |row| {
        let heir: Option<String> = row.get(2)?;
        Ok(Gone {
            id: row.get(0)?,
            host: Host::new(row.get::<_, String>(1)?),
            heir: heir.map(Host::new),
        })
    });
    gone.optional()
}

/// Merges the chunks of one host into those of another one.
fn hand_over(file: &Merging, from: &Host, to: &Host) -> Result<(), HistoryError> {
    let Some(mut first) = file.store.oldest_day()? else {
        return Ok(());
    };
    let newest = newest_day(file, from, first)?;
    while first <= newest {
        let last = Day::new(first.number().saturating_add(DAYS - 1)).min(newest);
        let mut samples = Vec::new();
        file.store.read(from, first, last, &mut |chunk| {
            // What cannot be read goes with its host.
            if let Ok(chunk) = chunk.decode() {
                samples.extend(chunk.samples());
            }
        })?;
        if !samples.is_empty() {
            let host = to.clone();
            let batch = [HostSamples { host, samples }];
            file.keep(&batch, &mut Tended::default())?;
            pause();
        }
        if last == Day::LAST {
            break;
        }
        first = last.next();
    }
    Ok(())
}

/// The last day of which there is a chunk of the host, or `first`.
fn newest_day(file: &Merging, host: &Host, first: Day) -> Result<Day, HistoryError> {
    let mut newest = first;
    file.store
        .read(host, first, Day::LAST, &mut |chunk| newest = chunk.day())?;
    Ok(newest)
}
