//! How old events are deleted in SQLite: span by span and class by class, in slices, so
//! that heartbeats go between.

use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::connection::{Connections, Work};
use crate::store::error::StoreError;
use crate::store::event::Class;
use crate::store::event_spans::{self, Begun, Counts, Due, find_due};
use crate::store::event_store::Retention;

/// The longest that events are deleted at once; the next time goes on.
const MAX_MAINTENANCE: Duration = Duration::from_secs(30);
/// Events that are deleted in one step.
const STEP: usize = 100;

/// Deletes what is old or too much. Gives how many events.
pub(super) fn forget(
    connections: &Connections,
    retention: &Retention,
) -> Result<usize, StoreError> {
    let deadline = Instant::now() + MAX_MAINTENANCE;
    let due = connections.read(|connection| {
        let now = connection
            .query_row("SELECT service_time FROM state", [], |row| row.get(0))?;
        Ok(find_due(&read_spans(connection)?, now, retention))
    })?;

    let mut deleted = 0;
    for due in due {
        connections.maintain(deadline, |connection| {
            let step = delete_step(connection, &due)?;
            deleted += step;
            if step < STEP {
                recount(connection, &due)?;
                return Ok(Work::Done);
            }
            Ok(Work::More)
        })?;
        if Instant::now() > deadline {
            break;
        }
    }
    connections.maintain(deadline, forget_hosts)?;
    Ok(deleted)
}

/// The spans, the oldest first.
fn read_spans(connection: &Connection) -> rusqlite::Result<Vec<Begun>> {
    let columns = Class::ALL.map(event_spans::name).join(", ");
    let select = format!(
        "SELECT first_id, service_time, {columns} FROM event_spans ORDER BY first_id"
    );
    let mut select = connection.prepare(&select)?;
    let spans = select.query_map([], |row| {
        let mut counts = Counts::default();
        for (index, count) in counts.iter_mut().enumerate() {
            *count = row.get(index + 2)?;
        }
        Ok(Begun {
            first: row.get(0)?,
            at: row.get(1)?,
            counts,
        })
    })?;
    spans.collect()
}

/// The condition for the events of a class in a span, from ?1 on and before ?2.
fn condition(class: Class) -> String {
    let kinds = event_spans::kinds(class).map(|kind| kind.number().to_string());
    let kinds: Vec<String> = kinds.collect();
    format!("id >= ?1 AND id < ?2 AND +kind IN ({})", kinds.join(", "))
}

/// Deletes some events. Of a host that is there, the newest beginning or end stays.
fn delete_step(connection: &Connection, due: &Due) -> rusqlite::Result<usize> {
    let mut condition = condition(due.class);
    if due.class == Class::Life {
        condition.push_str(
            " AND NOT EXISTS (SELECT 1 FROM sightings \
             WHERE sightings.host = events.host AND newest = events.id)",
        );
    }
    let delete = format!(
        "DELETE FROM events WHERE id IN \
         (SELECT id FROM events WHERE {condition} LIMIT {STEP})"
    );
    let mut delete = connection.prepare_cached(&delete)?;
    delete.execute([due.first, due.end])
}

/// Counts what is left of a class in the span, and removes the span if it is empty.
fn recount(connection: &Connection, due: &Due) -> rusqlite::Result<()> {
    let (column, condition) = (event_spans::name(due.class), condition(due.class));
    let recount = format!(
        "UPDATE event_spans SET {column} = (SELECT count(*) FROM events \
         WHERE {condition}) WHERE first_id = ?1"
    );
    connection.execute(&recount, [due.first, due.end])?;

    let is_empty = Class::ALL.map(|class| format!("{} = 0", event_spans::name(class)));
    let delete = format!(
        "DELETE FROM event_spans WHERE first_id = ?1 AND {}",
        is_empty.join(" AND ")
    );
    connection.execute(&delete, [due.first])?;
    Ok(())
}

/// Forgets hosts that are gone and that no event tells of.
fn forget_hosts(connection: &Connection) -> rusqlite::Result<Work> {
    connection.execute(
        "DELETE FROM departed WHERE NOT EXISTS \
         (SELECT 1 FROM events WHERE events.host = departed.host)",
        [],
    )?;
    Ok(Work::Done)
}
