//! How old alerts and their messages are deleted from SQLite: in slices, so that
//! heartbeats go between.

use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::super::connection::{Connections, Work};
use super::deliveries;
use crate::store::alert_store::{DeliveryState, ObjectKind};
use crate::store::error::StoreError;
use crate::store::server::as_millis;

/// The longest that alerts are deleted at once; the next time goes on.
const MAX_MAINTENANCE: Duration = Duration::from_secs(30);
/// Rows that are deleted in one step.
const STEP: usize = 50;

/// Deletes alerts that are over for `keep`, and messages whose alerts are gone. Gives how
/// many of both.
pub(in crate::store::embedded) fn forget(
    connections: &Connections,
    keep: Duration,
) -> Result<usize, StoreError> {
    let deadline = Instant::now() + MAX_MAINTENANCE;
    let now: i64 = connections.read(|connection| {
        connection.query_row("SELECT service_time FROM state", [], |row| row.get(0))
    })?;
    let before = now.saturating_sub(as_millis(keep));
    let mut deleted = 0;
    for step in [forget_alerts, forget_deliveries] {
        connections.maintain(deadline, |connection| {
            let gone = step(connection, before)?;
            deleted += gone;
            Ok(if gone < STEP { Work::Done } else { Work::More })
        })?;
    }
    Ok(deleted)
}

fn forget_alerts(connection: &Connection, before: i64) -> rusqlite::Result<usize> {
    let select = format!(
        "SELECT id FROM alerts WHERE state = 'resolved' AND written <= ?1 LIMIT {STEP}"
    );
    let ids = ids(connection, &select, before)?;
    for id in &ids {
        connection
            .prepare_cached("DELETE FROM alerts WHERE id = ?1")?
            .execute([id])?;
        connection
            .prepare_cached("DELETE FROM alert_objects WHERE kind = ?1 AND id = ?2")?
            .execute([ObjectKind::Ack.as_str(), id])?;
    }
    Ok(ids.len())
}

fn forget_deliveries(connection: &Connection, before: i64) -> rusqlite::Result<usize> {
    let settled = DeliveryState::SETTLED.map(|state| format!("'{}'", state.as_str()));
    let select = format!(
        "SELECT id FROM deliveries WHERE state IN ({}) AND written <= ?1 AND NOT EXISTS \
         (SELECT 1 FROM alert_deliveries JOIN alerts ON alerts.id = alert \
         WHERE delivery = deliveries.id) LIMIT {STEP}",
        settled.join(", ")
    );
    let ids = ids(connection, &select, before)?;
    for id in &ids {
        deliveries::unlink(connection, id)?;
        connection
            .prepare_cached("DELETE FROM deliveries WHERE id = ?1")?
            .execute([id])?;
    }
    Ok(ids.len())
}

fn ids(
    connection: &Connection,
    select: &str,
    before: i64,
) -> rusqlite::Result<Vec<String>> {
    let mut select = connection.prepare_cached(select)?;
    select.query_map([before], |row| row.get(0))?.collect()
}
