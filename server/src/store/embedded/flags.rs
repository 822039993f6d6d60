//! What admins have set on hosts, in SQLite, and the tombstones in which that of hosts
//! which are gone waits.

use std::sync::LazyLock;

use fleetbeat_protocol::Timestamp;
use rusqlite::types::ToSqlOutput;
use rusqlite::{Connection, OptionalExtension, Row, params_from_iter};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::row::{json, listed, optional, optional_ip};
use crate::store::column::FLAGS;
use crate::store::error::StoreError;
use crate::store::flags::{HostPatch, SetFlags};
use crate::store::identity::{Heir, Tombstone};

/// The columns that [`read`] reads and [`values`] writes.
static COLUMNS: LazyLock<String> = LazyLock::new(|| {
    let names = FLAGS.iter().map(|flag| flag.name);
    listed(names.chain(["changes"]).chain(ALSO_SET))
});
/// What admins set besides flags: a column of JSON for each.
pub(super) const ALSO_SET: [&str; 3] = ["tags", "state", "settings"];
/// The place of the first of [`ALSO_SET`] in a row.
const FIRST_ALSO_SET: usize = FLAGS.len() + 1;
/// How many columns there are.
const WIDTH: usize = FIRST_ALSO_SET + ALSO_SET.len();

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

/// Sets what the patches ask for on a host, at this time. Gives what was set before.
///
/// # Errors
/// The host would have too many tags, or the database cannot be written.
pub(super) fn change(
    connection: &Connection,
    host: i64,
    patches: &[HostPatch<'_>],
    at: Timestamp,
) -> Result<SetFlags, StoreError> {
    let number = next_change(connection)?;
    let before = of_host(connection, host)?;
    let mut flags = before.clone();
    flags.change_all(patches, at, number)?;
    put(connection, host, &flags)?;
    Ok(before)
}

/// The number of a change.
fn next_change(connection: &Connection) -> rusqlite::Result<i64> {
    let count = "UPDATE state SET flag_changes = flag_changes + 1 RETURNING flag_changes";
    connection.query_row(count, [], |row| row.get(0))
}

/// Keeps flags in a tombstone. An older tombstone of the same name goes. `heir` is the
/// host that has taken the agent's place.
pub(super) fn bury(
    connection: &Connection,
    name: &str,
    flags: &SetFlags,
    heir: Option<&Heir<i64>>,
) -> rusqlite::Result<()> {
    let service_time: i64 =
        connection.query_row("SELECT service_time FROM state", [], |row| row.get(0))?;
    let ip = heir.and_then(|heir| heir.ip).map(|ip| ip.to_string());
    let head: [ToSqlOutput<'_>; 4] = [
        name.into(),
        service_time.into(),
        optional(heir.map(|heir| heir.key)),
        optional(ip),
    ];
    let columns = format!("name, buried_at, heir, heir_ip, {}", *COLUMNS);
    replace(connection, "tombstones", &columns, head, flags)
}

/// A tombstone, if there is one of this name.
pub(super) fn tombstone(
    connection: &Connection,
    name: &str,
) -> rusqlite::Result<Option<Tombstone<i64>>> {
    let select = format!(
        "SELECT {}, heir, heir_ip FROM tombstones WHERE name = ?1",
        *COLUMNS
    );
    let tombstone = |row: &Row<'_>| {
        let (key, ip) = (row.get(WIDTH)?, optional_ip(row, WIDTH + 1)?);
        Ok(Tombstone {
            flags: read(row)?,
            heir: Option::map(key, |key| Heir { key, ip }),
        })
    };
    let mut select = connection.prepare_cached(&select)?;
    select.query_row([name], tombstone).optional()
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
    let places = (1..=N + WIDTH).map(|place| format!("?{place}"));
    let statement = format!(
        "INSERT OR REPLACE INTO {table} ({columns}) VALUES ({})",
        listed(places)
    );
    let mut values = flags.flags;
    let values = FLAGS.iter().map(|flag| *(flag.in_flags)(&mut values));
    let json = [
        json(&flags.flag_changes),
        json(&flags.tags),
        json_of_set(&flags.state),
        json(&flags.settings),
    ];
    let values: Vec<ToSqlOutput<'a>> = head
        .into_iter()
        .chain(values.map(Into::into))
        .chain(json.map(Into::into))
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
    set.flag_changes = serde_json::from_str(changes).unwrap_or_default();
    read_also_set(row, FIRST_ALSO_SET, &mut set)?;
    Ok(set)
}

/// Reads [`ALSO_SET`], which begins at `index`. Nothing is set where there is no row of
/// flags, and where somebody has edited the file.
pub(super) fn read_also_set(
    row: &Row<'_>,
    index: usize,
    set: &mut SetFlags,
) -> rusqlite::Result<()> {
    set.tags = read_json(row, index)?;
    set.state = read_json(row, index + 1)?;
    set.settings = read_json(row, index + 2)?;
    Ok(())
}

/// What [`read_json`] reads; short as long as nobody has set anything.
fn json_of_set<T: Default + PartialEq + Serialize>(value: &T) -> String {
    if *value == T::default() {
        return "{}".to_owned();
    }
    json(value)
}

/// What the column at `index` holds as JSON.
fn read_json<T: Default + DeserializeOwned>(
    row: &Row<'_>,
    index: usize,
) -> rusqlite::Result<T> {
    let text = row.get_ref(index)?.as_str_or_null()?;
    // Most hosts have nothing but flags.
    let text = text.filter(|text| *text != "{}");
    let value = text.and_then(|text| serde_json::from_str(text).ok());
    Ok(value.unwrap_or_default())
}
