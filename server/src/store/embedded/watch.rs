//! The watch in SQLite. What it looks for is read without the writing connection. What
//! has changed is read again in the transaction that writes events and sightings, a slice
//! of hosts at a time, so that heartbeats go between and a kill leaves no half.

use std::thread;
use std::time::{Duration, Instant};

use fleetbeat_protocol::{Service, Status};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::connection::Connections;
use super::events;
use super::row::{parsed, timestamp};
use super::touched::ToSee;
use crate::store::error::StoreError;
use crate::store::event::Class;
use crate::store::event_store::{Mass, WatchOrder, Watched};
use crate::store::server::as_millis;
use crate::store::sighting::{Before, Sighting, boot_before, compare, settle};

/// Hosts that are looked at in one transaction.
const SLICE_HOSTS: usize = 500;
/// The shortest pause between two slices.
const MIN_PAUSE: Duration = Duration::from_millis(4);

/// The hosts that differ from what was seen. Services are compared as text, which may
/// differ and say the same.
const DIFFERS: &str = "SELECT servers.id FROM servers \
    LEFT JOIN sightings ON sightings.host = servers.id \
    WHERE (sightings.host IS NULL OR servers.status <> sightings.status \
    OR servers.boot_id IS NOT sightings.boot_id \
    OR (servers.clock_off IS NULL) <> (sightings.clock_off IS NULL) \
    OR servers.services <> sightings.services)";

const SEE: &str = "SELECT servers.status, servers.last_heartbeat, servers.boot_id, \
    servers.clock_off, servers.services, sightings.status, sightings.since, \
    sightings.boot_id, sightings.clock_off, sightings.services, sightings.boot_before \
    FROM servers LEFT JOIN sightings ON sightings.host = servers.id WHERE servers.id = ?1";

const KEEP: &str = "INSERT INTO sightings \
    (host, status, since, newest, boot_id, boot_before, clock_off, services) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (host) DO UPDATE SET \
    status = ?2, since = ?3, newest = coalesce(?4, newest), boot_id = ?5, \
    boot_before = ?6, clock_off = ?7, services = ?8";

/// Looks at the hosts once.
pub(super) fn watch(
    connections: &Connections,
    order: &WatchOrder,
    to_see: &ToSee,
) -> Result<Watched, StoreError> {
    let hosts = connections.read(|connection| differing(connection, to_see))?;
    let mut watched = Watched::default();

    let last = hosts.len().div_ceil(SLICE_HOSTS);
    for (number, slice) in (1..).zip(hosts.chunks(SLICE_HOSTS)) {
        let started = Instant::now();
        connections.write(|transaction| {
            for host in slice {
                watched.events += see(transaction, *host, order)?;
            }
            if number == last {
                watched.mass = tell_mass(transaction, order)?;
            }
            Ok(())
        })?;
        if number < last {
            thread::sleep(started.elapsed().max(MIN_PAUSE));
        }
    }

    if hosts.is_empty()
        && connections
            .read(|connection| mass(connection, order))?
            .is_some()
    {
        // Hosts were deleted, or a kill came before the last slice.
        watched.mass =
            connections.write(|transaction| Ok(tell_mass(transaction, order)?))?;
    }
    watched.events += usize::from(watched.mass.is_some());
    Ok(watched)
}

/// The numbers of the hosts that differ from what was seen of them.
fn differing(connection: &Connection, to_see: &ToSee) -> rusqlite::Result<Vec<i64>> {
    let ips = match to_see {
        ToSee::All => {
            let mut select = connection.prepare(DIFFERS)?;
            let hosts = select.query_map([], |row| row.get(0))?;
            return hosts.collect();
        }
        ToSee::At(ips) => ips,
    };
    let mut select =
        connection.prepare_cached(&format!("{DIFFERS} AND servers.ip = ?1"))?;
    let mut hosts = Vec::new();
    for ip in ips {
        let host: Option<i64> = select
            .query_row([ip.to_string()], |row| row.get(0))
            .optional()?;
        hosts.extend(host);
    }
    Ok(hosts)
}

/// Writes what has changed of a host, and what is seen of it now. Gives the number of
/// events.
fn see(
    connection: &Connection,
    host: i64,
    order: &WatchOrder,
) -> rusqlite::Result<usize> {
    let mut select = connection.prepare_cached(SEE)?;
    let seen = select.query_row([host], |row| {
        Ok((sighting_from_row(row)?, before_from_row(row)?))
    });
    // The host may have been deleted since it was found.
    let Some((now, before)) = seen.optional()? else {
        return Ok(0);
    };
    let before = before.as_ref();
    let now = settle(before, now);
    let told = compare(before, &now, order.now);

    let mut newest = None;
    for event in &told {
        let id = events::write(connection, Some(host), event)?;
        if event.kind.class() == Class::Life {
            newest = Some(id);
        }
    }
    let since = match before {
        Some(before) if before.sighting.status == now.status => before.since,
        _ => order.now,
    };
    connection.prepare_cached(KEEP)?.execute(params![
        host,
        now.status.as_str(),
        since.as_millisecond(),
        newest,
        now.boot_id,
        boot_before(before, &now),
        now.clock_off,
        serde_json::to_string(&now.services).unwrap_or_default(),
    ])?;
    Ok(told.len())
}

/// Whether a mass of hosts has gone down, or is back.
fn mass(connection: &Connection, order: &WatchOrder) -> rusqlite::Result<Option<Mass>> {
    let count = |select: &str, values: &[i64]| -> rusqlite::Result<i64> {
        let mut select = connection.prepare_cached(select)?;
        select.query_row(rusqlite::params_from_iter(values), |row| row.get(0))
    };
    let hosts = || count("SELECT count(*) FROM sightings", &[]);
    let begun: Option<i64> = connection
        .prepare_cached("SELECT first_event FROM mass_down")?
        .query_row([], |row| row.get(0))
        .optional()?;

    if let Some(first_event) = begun {
        let select =
            "SELECT count(*) FROM sightings WHERE status = 'down' AND newest >= ?1";
        return Ok(Mass::ends(count(select, &[first_event])?, hosts()?));
    }
    let now = order.now.as_millisecond();
    let since = now.saturating_sub(as_millis(order.down_after));
    let select = "SELECT count(*) FROM sightings \
                  WHERE status = 'down' AND since BETWEEN ?1 AND ?2 AND newest NOT NULL";
    let down = count(select, &[since, now])?;
    if Mass::begins(down, down).is_none() {
        return Ok(None);
    }
    Ok(Mass::begins(down, hosts()?))
}

/// Writes what [`mass`] finds.
fn tell_mass(
    connection: &Connection,
    order: &WatchOrder,
) -> rusqlite::Result<Option<Mass>> {
    let Some(mass) = mass(connection, order)? else {
        return Ok(None);
    };
    match mass {
        Mass::Down { .. } => {
            let now = order.now.as_millisecond();
            let since = now.saturating_sub(as_millis(order.down_after));
            let begin = "INSERT INTO mass_down SELECT min(newest) FROM sightings \
                         WHERE status = 'down' AND since BETWEEN ?1 AND ?2";
            connection.execute(begin, [since, now])?;
        }
        Mass::Recovered { .. } => {
            connection.execute("DELETE FROM mass_down", [])?;
        }
    }
    events::write(connection, None, &mass.event(order.now))?;
    Ok(Some(mass))
}

/// The host as it is now.
fn sighting_from_row(row: &Row<'_>) -> rusqlite::Result<Sighting> {
    Ok(Sighting {
        status: status(row, 0)?,
        last_heartbeat: timestamp(row, 1)?,
        boot_id: row.get(2)?,
        clock_off: row.get(3)?,
        services: services(row, 4)?,
    })
}

/// The host as it was seen; `None` if it was not.
fn before_from_row(row: &Row<'_>) -> rusqlite::Result<Option<Before>> {
    if row.get_ref(5)?.as_str_or_null()?.is_none() {
        return Ok(None);
    }
    Ok(Some(Before {
        sighting: Sighting {
            status: status(row, 5)?,
            last_heartbeat: timestamp(row, 6)?,
            boot_id: row.get(7)?,
            clock_off: row.get(8)?,
            services: services(row, 9)?,
        },
        boot_before: row.get(10)?,
        since: timestamp(row, 6)?,
    }))
}

fn status(row: &Row<'_>, index: usize) -> rusqlite::Result<Status> {
    let is_active = row.get_ref(index)?.as_str()? == Status::Active.as_str();
    Ok(if is_active {
        Status::Active
    } else {
        Status::Down
    })
}

/// A damaged text, which somebody has edited, counts as none.
fn services(row: &Row<'_>, index: usize) -> rusqlite::Result<Vec<Service>> {
    let parse =
        |text| Ok::<_, std::fmt::Error>(serde_json::from_str(text).unwrap_or_default());
    parsed(row, index, parse)
}
