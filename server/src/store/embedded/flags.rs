//! Hosts' flags in SQLite, and the tombstones in which the flags of hosts that are gone
//! wait.

use std::sync::LazyLock;

use fleetbeat_protocol::FlagsPatch;
use rusqlite::types::ToSqlOutput;
use rusqlite::{Connection, OptionalExtension, Row, params_from_iter};

use super::servers::{json, listed};
use crate::store::column::FLAGS;
use crate::store::flags::SetFlags;

/// The columns that [`read`] reads and [`values`] writes.
static COLUMNS: LazyLock<String> = LazyLock::new(|| {
    let names = FLAGS.iter().map(|flag| flag.name);
    listed(names.chain(["changes"]))
});

/// The flags of a host. A host without a row has the defaults.
pub(super) fn of_host(connection: &Connection, host: i64) -> rusqlite::Result<SetFlags> {
    let select = format!("SELECT {} FROM flags WHERE host = ?1", *COLUMNS);
    let mut select = connection.prepare_cached(&select)?;
    let flags = select.query_row([host], read).optional()?;
    Ok(flags.unwrap_or_default())
}

/// Gives a host these flags.
pub(super) fn put(
    connection: &Connection,
    host: i64,
    flags: &SetFlags,
) -> rusqlite::Result<()> {
    let columns = format!("host, {}", *COLUMNS);
    replace(connection, "flags", &columns, [host.into()], flags)
}

/// Sets the patch's flags of a host.
pub(super) fn change(
    connection: &Connection,
    host: i64,
    patch: &FlagsPatch,
) -> rusqlite::Result<()> {
    let count = "UPDATE state SET flag_changes = flag_changes + 1 RETURNING flag_changes";
    let number = connection.query_row(count, [], |row| row.get(0))?;
    let mut flags = of_host(connection, host)?;
    flags.change(patch, number);
    put(connection, host, &flags)
}

/// Keeps flags in a tombstone, if they differ from the defaults. An older tombstone of
/// the same name goes. `heir` is the host that has taken the agent's place.
pub(super) fn bury(
    connection: &Connection,
    name: &str,
    flags: &SetFlags,
    heir: Option<i64>,
) -> rusqlite::Result<()> {
    if flags.flags == SetFlags::default().flags {
        return raise(connection, name);
    }
    let service_time: i64 =
        connection.query_row("SELECT service_time FROM state", [], |row| row.get(0))?;
    let head: [ToSqlOutput<'_>; 3] = [
        name.into(),
        service_time.into(),
        heir.map_or(rusqlite::types::Null.into(), Into::into),
    ];
    let columns = format!("name, buried_at, heir, {}", *COLUMNS);
    replace(connection, "tombstones", &columns, head, flags)
}

/// The flags in a tombstone, if there is one.
pub(super) fn in_tombstone(
    connection: &Connection,
    name: &str,
) -> rusqlite::Result<Option<SetFlags>> {
    let select = format!("SELECT {} FROM tombstones WHERE name = ?1", *COLUMNS);
    let mut select = connection.prepare_cached(&select)?;
    select.query_row([name], read).optional()
}

/// Removes a tombstone, whose host is back.
pub(super) fn raise(connection: &Connection, name: &str) -> rusqlite::Result<()> {
    let mut delete =
        connection.prepare_cached("DELETE FROM tombstones WHERE name = ?1")?;
    delete.execute([name]).map(|_| ())
}

/// Writes a row: the values of `head`, and then the flags.
fn replace<'a, const N: usize>(
    connection: &Connection,
    table: &str,
    columns: &str,
    head: [ToSqlOutput<'a>; N],
    flags: &SetFlags,
) -> rusqlite::Result<()> {
    let places = (1..=N + FLAGS.len() + 1).map(|place| format!("?{place}"));
    let statement = format!(
        "INSERT OR REPLACE INTO {table} ({columns}) VALUES ({})",
        listed(places)
    );
    let mut values = flags.flags;
    let values = FLAGS.iter().map(|flag| *(flag.in_flags)(&mut values));
    let values: Vec<ToSqlOutput<'a>> = head
        .into_iter()
        .chain(values.map(Into::into))
        .chain([json(&flags.changes).into()])
        .collect();
    let mut statement = connection.prepare_cached(&statement)?;
    statement.execute(params_from_iter(values)).map(|_| ())
}

fn read(row: &Row<'_>) -> rusqlite::Result<SetFlags> {
    let mut set = SetFlags::default();
    for (index, flag) in FLAGS.iter().enumerate() {
        *(flag.in_flags)(&mut set.flags) = row.get(index)?;
    }
    // Somebody may have edited the file: then the flags are as they are.
    let changes = row.get_ref(FLAGS.len())?.as_str()?;
    set.changes = serde_json::from_str(changes).unwrap_or_default();
    Ok(set)
}
