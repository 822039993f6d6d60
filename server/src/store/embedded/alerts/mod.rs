//! The alerts in SQLite. One process has the folder, so nobody else looks after them.

mod condition;
mod deliveries;
mod objects;
mod retention;

use fleetbeat_protocol::Timestamp;
use rusqlite::{
    Connection, OptionalExtension, Row, Transaction, params, params_from_iter,
};

use self::condition::Condition;
pub(super) use self::deliveries::{
    change, claim, count_deliveries, decide, delivery, find_deliveries, give_up_all,
    has_asked, queue, settle, take_asked,
};
pub(super) use self::objects::{object, objects, put_object, remove_object};
pub(super) use self::retention::forget;
use super::events;
use super::row::{optional_timestamp, timestamp};
use crate::store::alert_store::{
    AlertQuery, AlertRow, AlertSlice, AlertState, Page, SavedAlerts,
};
use crate::store::error::StoreError;

const ALERT: &str = "id, rule, server_id, severity, state, opened_at, ended_at, body";
const PUT_ALERT: &str = "INSERT OR REPLACE INTO alerts \
    (id, rule, server_id, severity, state, opened_at, ended_at, body, written) \
    SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, service_time FROM state";
const HOST: &str = "SELECT id FROM servers WHERE server_id = ?1 \
    UNION ALL SELECT host FROM departed WHERE server_id = ?1 LIMIT 1";

/// What is open or has ended lately.
pub(super) fn load(
    transaction: &Transaction<'_>,
    lately: Timestamp,
) -> Result<SavedAlerts, StoreError> {
    let select = format!(
        "SELECT {ALERT} FROM alerts WHERE ended_at IS NULL OR ended_at >= ?1 ORDER BY id"
    );
    let mut select = transaction.prepare(&select)?;
    let alerts = select.query_map([lately.as_millisecond()], alert_from_row)?;
    let alerts: Vec<AlertRow> = alerts.collect::<rusqlite::Result<_>>()?;
    Ok(SavedAlerts {
        alerts,
        deliveries: deliveries::load(transaction, lately)?,
        state: state(transaction)?,
    })
}

/// What whoever looks after the alerts remembers.
pub(super) fn state(connection: &Connection) -> rusqlite::Result<Option<String>> {
    let mut select = connection.prepare_cached("SELECT body FROM alert_state")?;
    select.query_row([], |row| row.get(0)).optional()
}

/// Writes alerts with their events.
pub(super) fn write(
    transaction: &Transaction<'_>,
    slice: &AlertSlice<'_>,
) -> Result<(), StoreError> {
    for alert in slice.alerts {
        put(transaction, alert)?;
    }
    for id in slice.dropped {
        let delete = "DELETE FROM alerts WHERE id = ?1";
        transaction.prepare_cached(delete)?.execute([id])?;
    }
    for (place, event) in slice.events {
        let alert = slice.alerts.get(*place);
        let server_id = alert.and_then(|alert| alert.server_id.as_ref());
        let host = match server_id {
            Some(server_id) => host(transaction, server_id)?,
            None => None,
        };
        events::write(transaction, host, event)?;
    }
    if let Some(state) = slice.state {
        transaction
            .prepare_cached("INSERT OR REPLACE INTO alert_state VALUES (1, ?1)")?
            .execute([state])?;
    }
    Ok(())
}

fn put(connection: &Connection, alert: &AlertRow) -> rusqlite::Result<()> {
    connection.prepare_cached(PUT_ALERT)?.execute(params![
        alert.id,
        alert.rule,
        alert.server_id,
        alert.severity,
        alert.state.as_str(),
        alert.opened_at.as_millisecond(),
        alert.ended_at.map(Timestamp::as_millisecond),
        alert.body,
    ])?;
    Ok(())
}

/// The number of the host that is called so, or was.
fn host(connection: &Connection, server_id: &str) -> rusqlite::Result<Option<i64>> {
    let mut select = connection.prepare_cached(HOST)?;
    select.query_row([server_id], |row| row.get(0)).optional()
}

/// One alert.
pub(super) fn alert(
    connection: &Connection,
    id: &str,
) -> rusqlite::Result<Option<AlertRow>> {
    let select = format!("SELECT {ALERT} FROM alerts WHERE id = ?1");
    let mut select = connection.prepare_cached(&select)?;
    select.query_row([id], alert_from_row).optional()
}

/// Some alerts.
pub(super) fn find(
    connection: &Connection,
    query: &AlertQuery,
) -> rusqlite::Result<Page<AlertRow>> {
    let mut condition = Condition::default();
    condition.is_one_of("state", query.states.iter().map(|state| state.as_str()));
    if !query.states.is_empty() && !query.states.contains(&AlertState::Resolved) {
        // So that SQLite looks at the open ones alone.
        condition.is("ended_at IS NULL");
    }
    condition.is_one_of("severity", query.severities.iter().map(String::as_str));
    condition.is_one_of("rule", query.rule.as_deref());
    condition.is_one_of("server_id", query.server_id.as_deref());
    condition.is_behind("opened_at", query.after.as_ref());

    let select = format!(
        "SELECT {ALERT} FROM alerts {} ORDER BY opened_at DESC, id DESC LIMIT {}",
        condition.text(),
        query.limit + 1
    );
    let mut select = connection.prepare_cached(&select)?;
    let rows = select.query_map(params_from_iter(condition.values), alert_from_row)?;
    let rows: Vec<AlertRow> = rows.collect::<rusqlite::Result<_>>()?;
    Ok(Page::new(rows, query.limit, AlertRow::place))
}

fn alert_from_row(row: &Row<'_>) -> rusqlite::Result<AlertRow> {
    let state = AlertState::from_word(row.get_ref(4)?.as_str()?);
    Ok(AlertRow {
        id: row.get(0)?,
        rule: row.get(1)?,
        server_id: row.get(2)?,
        severity: row.get(3)?,
        // What somebody has edited is at least not hidden.
        state: state.unwrap_or(AlertState::Firing),
        opened_at: timestamp(row, 5)?,
        ended_at: optional_timestamp(row, 6)?,
        body: row.get(7)?,
    })
}
