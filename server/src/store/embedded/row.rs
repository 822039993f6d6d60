//! Values of a row that SQLite has no type for, and the texts that statements are made of.

use std::net::IpAddr;

use fleetbeat_protocol::{AgentId, Timestamp};
use rusqlite::Row;
use rusqlite::types::{Null, ToSqlOutput, Type};
use serde::Serialize;

/// The text at `index` through a parser.
pub(super) fn parsed<'a, T, E>(
    row: &'a Row<'_>,
    index: usize,
    parse: impl FnOnce(&'a str) -> Result<T, E>,
) -> rusqlite::Result<T>
where
    E: std::error::Error + Send + Sync + 'static,
{
    let text = row.get_ref(index)?.as_str()?;
    parse(text).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(index, Type::Text, Box::new(error))
    })
}

/// The time at `index`, in milliseconds since 1970.
pub(super) fn timestamp(row: &Row<'_>, index: usize) -> rusqlite::Result<Timestamp> {
    let millisecond = row.get(index)?;
    Timestamp::from_millisecond(millisecond).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(index, Type::Integer, error.into())
    })
}

/// The time at `index`, or nothing.
pub(super) fn optional_timestamp(
    row: &Row<'_>,
    index: usize,
) -> rusqlite::Result<Option<Timestamp>> {
    let millisecond: Option<i64> = row.get(index)?;
    Ok(millisecond.and_then(|at| Timestamp::from_millisecond(at).ok()))
}

/// The address at `index`, or nothing.
pub(super) fn optional_ip(
    row: &Row<'_>,
    index: usize,
) -> rusqlite::Result<Option<IpAddr>> {
    let text = row.get_ref(index)?.as_str_or_null()?;
    Ok(text.and_then(|text| text.parse().ok()))
}

/// The agent's id at `index`, or nothing.
pub(super) fn optional_agent_id(
    row: &Row<'_>,
    index: usize,
) -> rusqlite::Result<Option<AgentId>> {
    let text = row.get_ref(index)?.as_str_or_null()?;
    Ok(text.and_then(AgentId::parse))
}

/// A value, or NULL.
pub(super) fn optional<'a>(value: Option<impl Into<ToSqlOutput<'a>>>) -> ToSqlOutput<'a> {
    value.map_or(Null.into(), Into::into)
}

/// A value as the API has it.
pub(super) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("what is kept is plain JSON")
}

/// The items with commas between.
pub(super) fn listed<T: Into<String>>(items: impl Iterator<Item = T>) -> String {
    items.map(Into::into).collect::<Vec<String>>().join(", ")
}
