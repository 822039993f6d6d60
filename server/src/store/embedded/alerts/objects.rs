//! Rules, mutes, channels and acknowledgements in SQLite.

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::super::events;
use crate::store::alert_store::{Expected, Object, ObjectChange, ObjectKind};
use crate::store::error::{Conflict, StoreError};
use crate::store::event::NewEvent;

/// Every object of a kind.
pub(in crate::store::embedded) fn objects(
    connection: &Connection,
    kind: ObjectKind,
) -> rusqlite::Result<Vec<Object>> {
    let mut select = connection.prepare_cached(
        "SELECT id, version, body FROM alert_objects WHERE kind = ?1 ORDER BY id",
    )?;
    select
        .query_map([kind.as_str()], object_from_row)?
        .collect()
}

/// One object.
pub(in crate::store::embedded) fn object(
    connection: &Connection,
    kind: ObjectKind,
    id: &str,
) -> rusqlite::Result<Option<Object>> {
    let mut select = connection.prepare_cached(
        "SELECT id, version, body FROM alert_objects WHERE kind = ?1 AND id = ?2",
    )?;
    select
        .query_row([kind.as_str(), id], object_from_row)
        .optional()
}

/// Makes or replaces an object.
pub(in crate::store::embedded) fn put_object(
    transaction: &Transaction<'_>,
    change: &ObjectChange<'_>,
) -> Result<i64, StoreError> {
    let (kind, id) = (change.kind, change.id);
    let found = object(transaction, kind, id)?.map(|object| object.version);
    let what = || format!("{} {id}", kind.as_str());
    match (change.expected, found) {
        (Expected::Nothing { .. }, Some(_)) => {
            return Err(Conflict::Taken(what()).into());
        }
        (Expected::Nothing { most }, None) => check_count(transaction, kind, most)?,
        (Expected::Version(version), found) if found != Some(version) => {
            return Err(Conflict::Changed(what()).into());
        }
        (Expected::Any, None) => return Err(Conflict::Changed(what()).into()),
        _ => {}
    }

    let version = found.unwrap_or_default() + 1;
    transaction.execute(
        "INSERT OR REPLACE INTO alert_objects (kind, id, version, body) \
         VALUES (?1, ?2, ?3, ?4)",
        params![kind.as_str(), id, version, change.body],
    )?;
    events::write(transaction, None, change.event)?;
    Ok(version)
}

fn check_count(
    connection: &Connection,
    kind: ObjectKind,
    most: usize,
) -> Result<(), StoreError> {
    let count: i64 = connection.query_row(
        "SELECT count(*) FROM alert_objects WHERE kind = ?1",
        [kind.as_str()],
        |row| row.get(0),
    )?;
    if usize::try_from(count).is_ok_and(|count| count < most) {
        return Ok(());
    }
    let what = kind.as_str();
    Err(Conflict::TooMany { what, most }.into())
}

/// Removes an object; false if it is not there.
pub(in crate::store::embedded) fn remove_object(
    transaction: &Transaction<'_>,
    kind: ObjectKind,
    id: &str,
    event: &NewEvent,
) -> Result<bool, StoreError> {
    let removed = transaction.execute(
        "DELETE FROM alert_objects WHERE kind = ?1 AND id = ?2",
        [kind.as_str(), id],
    )?;
    if removed > 0 {
        events::write(transaction, None, event)?;
    }
    Ok(removed > 0)
}

fn object_from_row(row: &Row<'_>) -> rusqlite::Result<Object> {
    Ok(Object {
        id: row.get(0)?,
        version: row.get(1)?,
        body: row.get(2)?,
    })
}
