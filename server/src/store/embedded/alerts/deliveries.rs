//! Messages on their way, in SQLite.

use fleetbeat_protocol::Timestamp;
use rusqlite::{
    Connection, OptionalExtension, Row, Transaction, params, params_from_iter,
};

use super::super::events;
use super::super::row::{json, optional_timestamp, timestamp};
use super::condition::Condition;
use crate::store::alert_store::{
    Decision, DeliveryOutcome, DeliveryQuery, DeliveryRow, DeliveryState, Page,
};
use crate::store::error::{Conflict, StoreError};
use crate::store::event::NewEvent;

const DELIVERY: &str = "id, number, channel, alerts, folds, state, created_at, asked_at, \
    next_at, settled_at, tries, error, body, message";
const SET_STATE: &str = "UPDATE deliveries SET state = ?2, \
    written = (SELECT service_time FROM state) WHERE id = ?1 AND state = ?3";

/// Adds a message. Those that it folds are not sent any more.
pub(in crate::store::embedded) fn queue(
    transaction: &Transaction<'_>,
    delivery: &DeliveryRow,
) -> Result<(), StoreError> {
    let millis = |at: Option<Timestamp>| at.map(Timestamp::as_millisecond);
    let insert = format!(
        "INSERT INTO deliveries ({DELIVERY}, written) SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, \
         ?8, ?9, ?10, ?11, ?12, ?13, ?14, service_time FROM state"
    );
    transaction.prepare_cached(&insert)?.execute(params![
        delivery.id,
        delivery.number,
        delivery.channel,
        json(&delivery.alerts),
        json(&delivery.folds),
        delivery.state.as_str(),
        delivery.created_at.as_millisecond(),
        millis(delivery.asked_at),
        delivery.next_at.as_millisecond(),
        millis(delivery.settled_at),
        delivery.tries,
        delivery.error,
        delivery.body,
        delivery.message,
    ])?;
    link(transaction, delivery)?;
    for id in &delivery.folds {
        let (folded, waiting) = (DeliveryState::Folded, DeliveryState::Waiting);
        transaction.prepare_cached(SET_STATE)?.execute(params![
            id,
            folded.as_str(),
            waiting.as_str()
        ])?;
    }
    Ok(())
}

/// Notes of which alerts the message tells.
fn link(connection: &Connection, delivery: &DeliveryRow) -> rusqlite::Result<()> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO alert_deliveries (alert, delivery) VALUES (?1, ?2) \
         ON CONFLICT DO NOTHING",
    )?;
    for alert in &delivery.alerts {
        insert.execute([alert, &delivery.id])?;
    }
    Ok(())
}

pub(super) fn unlink(connection: &Connection, id: &str) -> rusqlite::Result<()> {
    connection
        .prepare_cached("DELETE FROM alert_deliveries WHERE delivery = ?1")?
        .execute([id])?;
    Ok(())
}

/// Replaces a message that was not tried yet.
pub(in crate::store::embedded) fn change(
    transaction: &Transaction<'_>,
    delivery: &DeliveryRow,
) -> Result<bool, StoreError> {
    let changed = transaction
        .prepare_cached(
            "UPDATE deliveries SET alerts = ?2, state = ?3, next_at = ?4, \
             settled_at = ?5, error = ?6, body = ?7, \
             written = (SELECT service_time FROM state) \
             WHERE id = ?1 AND state = 'waiting' AND tries = 0",
        )?
        .execute(params![
            delivery.id,
            json(&delivery.alerts),
            delivery.state.as_str(),
            delivery.next_at.as_millisecond(),
            delivery.settled_at.map(Timestamp::as_millisecond),
            delivery.error,
            delivery.body,
        ])?;
    if changed == 0 {
        return Ok(false);
    }
    unlink(transaction, &delivery.id)?;
    link(transaction, delivery)?;
    Ok(true)
}

/// Begins an attempt, and gives what is to be sent.
pub(in crate::store::embedded) fn claim(
    transaction: &Transaction<'_>,
    id: &str,
    message: &str,
) -> Result<Option<String>, StoreError> {
    let mut update = transaction.prepare_cached(
        "UPDATE deliveries SET state = 'sending', tries = tries + 1, \
         message = coalesce(message, ?2) WHERE id = ?1 AND state = 'waiting' \
         RETURNING message",
    )?;
    let claimed = update.query_row([id, message], |row| row.get(0));
    Ok(claimed.optional()?)
}

/// Ends an attempt.
pub(in crate::store::embedded) fn settle(
    transaction: &Transaction<'_>,
    id: &str,
    outcome: &DeliveryOutcome,
    event: Option<&NewEvent>,
) -> Result<(), StoreError> {
    let (state, next_at, settled_at, error) = match outcome {
        DeliveryOutcome::Sent { at } => (DeliveryState::Sent, None, Some(at), None),
        DeliveryOutcome::Again { next_at, error } => {
            (DeliveryState::Waiting, Some(next_at), None, Some(error))
        }
        DeliveryOutcome::Dead { at, error } => {
            (DeliveryState::Dead, None, Some(at), Some(error))
        }
    };
    let millis = |at: Option<&Timestamp>| at.map(|at| at.as_millisecond());
    let settled = transaction
        .prepare_cached(
            "UPDATE deliveries SET state = ?2, next_at = coalesce(?3, next_at), \
             settled_at = ?4, error = ?5, written = (SELECT service_time FROM state) \
             WHERE id = ?1 AND state = 'sending'",
        )?
        .execute(params![
            id,
            state.as_str(),
            millis(next_at),
            millis(settled_at),
            error,
        ])?;
    if settled == 0 {
        return Err(Conflict::Changed(format!("delivery {id}")).into());
    }
    if let Some(event) = event {
        events::write(transaction, None, event)?;
    }
    Ok(())
}

/// The messages that are to be sent or were made lately. None is being sent now.
pub(super) fn load(
    connection: &Connection,
    lately: Timestamp,
) -> rusqlite::Result<Vec<DeliveryRow>> {
    connection.execute(
        "UPDATE deliveries SET state = 'waiting' WHERE state = 'sending'",
        [],
    )?;
    // What is settled is many, and nobody needs its text.
    let columns = DELIVERY.replace("message", "iif(state = 'waiting', message, NULL)");
    let select = format!(
        "SELECT {columns} FROM deliveries WHERE state = 'waiting' OR created_at >= ?1 \
         ORDER BY number, id"
    );
    let mut select = connection.prepare(&select)?;
    let rows = select.query_map([lately.as_millisecond()], delivery_from_row)?;
    rows.collect()
}

/// Takes the messages for which somebody has asked for another attempt.
pub(in crate::store::embedded) fn take_asked(
    transaction: &Transaction<'_>,
    now: Timestamp,
) -> Result<Vec<DeliveryRow>, StoreError> {
    let update = format!(
        "UPDATE deliveries SET state = 'waiting', next_at = ?1 WHERE state = 'asked' \
         RETURNING {DELIVERY}"
    );
    let mut update = transaction.prepare_cached(&update)?;
    let taken = update.query_map([now.as_millisecond()], delivery_from_row)?;
    let mut taken: Vec<DeliveryRow> = taken.collect::<rusqlite::Result<_>>()?;
    taken.sort_by_key(|delivery| delivery.number);
    Ok(taken)
}

/// Whether somebody has asked for another attempt.
pub(in crate::store::embedded) fn has_asked(
    connection: &Connection,
) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("SELECT 1 FROM deliveries WHERE state = 'asked'")?
        .exists([])
}

/// Asks for another attempt, or dismisses the message.
pub(in crate::store::embedded) fn decide(
    transaction: &Transaction<'_>,
    id: &str,
    decision: Decision,
    event: &NewEvent,
) -> Result<Option<DeliveryRow>, StoreError> {
    let Some(mut found) = delivery(transaction, id)? else {
        return Ok(None);
    };
    if found.state != DeliveryState::Dead {
        let (id, state) = (id.to_owned(), found.state.as_str());
        return Err(Conflict::NotDead { id, state }.into());
    }
    found.state = decision.state();
    if let Decision::Retry { at } = decision {
        found.asked_at = Some(at);
    }
    transaction.execute(
        "UPDATE deliveries SET state = ?2, asked_at = ?3, \
         written = (SELECT service_time FROM state) WHERE id = ?1",
        params![
            id,
            found.state.as_str(),
            found.asked_at.map(Timestamp::as_millisecond)
        ],
    )?;
    events::write(transaction, None, event)?;
    Ok(Some(found))
}

/// Gives up every message that is to be sent.
pub(in crate::store::embedded) fn give_up_all(
    connection: &Connection,
    now: Timestamp,
    error: &str,
) -> rusqlite::Result<usize> {
    connection.execute(
        "UPDATE deliveries SET state = 'dead', settled_at = ?1, error = ?2, \
         written = (SELECT service_time FROM state) \
         WHERE state IN ('waiting', 'sending', 'asked')",
        params![now.as_millisecond(), error],
    )
}

/// One message.
pub(in crate::store::embedded) fn delivery(
    connection: &Connection,
    id: &str,
) -> rusqlite::Result<Option<DeliveryRow>> {
    let select = format!("SELECT {DELIVERY} FROM deliveries WHERE id = ?1");
    let mut select = connection.prepare_cached(&select)?;
    select.query_row([id], delivery_from_row).optional()
}

/// How many messages are in this state.
pub(in crate::store::embedded) fn count_deliveries(
    connection: &Connection,
    state: DeliveryState,
) -> rusqlite::Result<u64> {
    let count = "SELECT count(*) FROM deliveries WHERE state = ?1";
    let mut count = connection.prepare_cached(count)?;
    let count = count.query_row([state.as_str()], |row| row.get::<_, i64>(0))?;
    Ok(count.unsigned_abs())
}

/// Some messages.
pub(in crate::store::embedded) fn find_deliveries(
    connection: &Connection,
    query: &DeliveryQuery,
) -> rusqlite::Result<Page<DeliveryRow>> {
    let mut condition = Condition::default();
    condition.is_one_of("state", query.states.iter().map(|state| state.as_str()));
    condition.is_one_of("channel", query.channel.as_deref());
    if let Some(alert) = &query.alert {
        condition.values.push(alert.clone().into());
        let place = condition.values.len();
        condition.is(&format!(
            "id IN (SELECT delivery FROM alert_deliveries WHERE alert = ?{place})"
        ));
    }
    condition.is_behind("number", query.after.as_ref());

    let select = format!(
        "SELECT {DELIVERY} FROM deliveries {} ORDER BY number DESC, id DESC LIMIT {}",
        condition.text(),
        query.limit + 1
    );
    let mut select = connection.prepare_cached(&select)?;
    let values = params_from_iter(condition.values);
    let rows = select.query_map(values, delivery_from_row)?;
    let rows: Vec<DeliveryRow> = rows.collect::<rusqlite::Result<_>>()?;
    Ok(Page::new(rows, query.limit, DeliveryRow::place))
}

fn delivery_from_row(row: &Row<'_>) -> rusqlite::Result<DeliveryRow> {
    Ok(DeliveryRow {
        id: row.get(0)?,
        number: row.get(1)?,
        channel: row.get(2)?,
        alerts: ids(row, 3)?,
        folds: ids(row, 4)?,
        state: state(row, 5)?,
        created_at: timestamp(row, 6)?,
        asked_at: optional_timestamp(row, 7)?,
        next_at: timestamp(row, 8)?,
        settled_at: optional_timestamp(row, 9)?,
        tries: row.get(10)?,
        error: row.get(11)?,
        body: row.get(12)?,
        message: row.get(13)?,
    })
}

/// A damaged list, which somebody has edited, counts as empty.
fn ids(row: &Row<'_>, index: usize) -> rusqlite::Result<Vec<String>> {
    let text = row.get_ref(index)?.as_str()?;
    Ok(serde_json::from_str(text).unwrap_or_default())
}

/// A state that somebody has edited counts as dead: nothing is sent of it.
fn state(row: &Row<'_>, index: usize) -> rusqlite::Result<DeliveryState> {
    let word = row.get_ref(index)?.as_str()?;
    Ok(DeliveryState::from_word(word).unwrap_or(DeliveryState::Dead))
}
