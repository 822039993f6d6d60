//! Values of a row that SQLite has no type for.

use fleetbeat_protocol::Timestamp;
use rusqlite::Row;
use rusqlite::types::Type;

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
