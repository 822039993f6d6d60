//! The sweep in SQLite. What it looks for is read without the writing connection; what
//! it changes, it changes in slices, so that heartbeats go between.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension, Params, params};

use super::connection::{Connections, Work};
use super::owners;
use super::row::parsed;
use crate::store::column::FLAGS;
use crate::store::error::StoreError;
use crate::store::event::Act;
use crate::store::removal::{Removal, SWEEP};
use crate::store::server::{
    Due, LIFE_OF_DEFAULTS, SweepOrder, Swept, TOMBSTONE_LIFE, as_millis,
};

/// The longest that a sweep deletes history, in all; the next one goes on.
const MAX_MAINTENANCE: Duration = Duration::from_secs(30);
/// Heartbeats of the history that are deleted or moved in one step.
const HISTORY_STEP: u32 = 50;

/// The hosts that are due to be deleted, if that long was allowed at ?1.
const DUE: &str = "SELECT servers.id FROM servers \
    LEFT JOIN flags ON flags.host = servers.id \
    WHERE status = 'down' AND down_since <= ?1 AND coalesce(static, 0) = 0";

/// Sweeps once. `marked_down` is told which hosts were.
pub(super) fn sweep(
    connections: &Connections,
    order: &SweepOrder,
    marked_down: impl Fn(&[IpAddr]),
) -> Result<Swept, StoreError> {
    let service_time = serve(connections, order.served)?;
    correct_clocks(connections, order)?;
    let down = mark_down(connections, order, service_time)?;
    marked_down(&down);

    let due_before = service_time.saturating_sub(as_millis(order.delete_after));
    let act = Act::program(SWEEP, order.now);
    let (deleted, held_back) = delete_hosts(connections, due_before, &act)?;
    forget(connections, service_time, due_before)?;
    Ok(Swept {
        down: down.len(),
        deleted,
        held_back,
    })
}

/// Lets the coming sweeps delete the hosts that are due now.
pub(super) fn prune(
    connections: &Connections,
    delete_after: Duration,
) -> Result<Due, StoreError> {
    connections.write(|transaction| {
        let service_time: i64 =
            transaction
                .query_row("SELECT service_time FROM state", [], |row| row.get(0))?;
        let due_before = service_time.saturating_sub(as_millis(delete_after));
        let due = ids(transaction, DUE, [due_before])?.len();
        let all = count_hosts(transaction)?;
        transaction.execute("UPDATE state SET may_delete_to = ?1", [due_before])?;
        Ok(Due { due, all })
    })
}

/// Counts the service time on, and gives it.
fn serve(connections: &Connections, served: Duration) -> Result<i64, StoreError> {
    connections.write(|transaction| {
        Ok(transaction.query_row(
            "UPDATE state SET service_time = service_time + ?1 RETURNING service_time",
            [as_millis(served)],
            |row| row.get(0),
        )?)
    })
}

/// A last heartbeat in the future was stored while the clock was ahead. It counts as of
/// now, or the host would be alive until then.
fn correct_clocks(
    connections: &Connections,
    order: &SweepOrder,
) -> Result<(), StoreError> {
    let now = order.now.as_millisecond();
    let ahead = connections.read(|connection| {
        let select = "SELECT id FROM servers WHERE last_heartbeat > ?1";
        ids(connection, select, [now])
    })?;

    let update = "UPDATE servers SET last_heartbeat = ?2 \
                  WHERE id = ?1 AND last_heartbeat > ?2";
    change_each(connections, ahead, |connection, id| {
        connection.prepare_cached(update)?.execute(params![id, now])
    })?;
    Ok(())
}

/// Marks silent hosts down, and notes since when. Gives their addresses.
fn mark_down(
    connections: &Connections,
    order: &SweepOrder,
    service_time: i64,
) -> Result<Vec<IpAddr>, StoreError> {
    let before = order.down_before().as_millisecond();
    let find = |condition: &str| {
        let select =
            format!("SELECT id FROM servers WHERE last_heartbeat < ?1 AND {condition}");
        connections.read(|connection| ids(connection, &select, [before]))
    };

    let silent = find("status <> 'down'")?;
    let update = "UPDATE servers SET status = 'down', down_since = ?3 \
                  WHERE id = ?1 AND last_heartbeat < ?2 AND status <> 'down' \
                  RETURNING ip";
    let mut down = Vec::new();
    change_each(connections, silent, |connection, id| {
        let values = params![id, before, service_time];
        let mut update = connection.prepare_cached(update)?;
        let ip = update.query_row(values, |row| parsed(row, 0, str::parse::<IpAddr>));
        let ip = ip.optional()?;
        down.extend(ip);
        Ok(usize::from(ip.is_some()))
    })?;

    // Down by an old heartbeat, or marked by a version that did not note it.
    let unnoted = find("down_since IS NULL")?;
    let note = "UPDATE servers SET down_since = ?3 WHERE id = ?1 \
                AND last_heartbeat < ?2 AND down_since IS NULL";
    change_each(connections, unnoted, |connection, id| {
        let values = params![id, before, service_time];
        connection.prepare_cached(note)?.execute(values)
    })?;
    Ok(down)
}

/// Deletes the hosts that have been down since `due_before`. Gives how many, and how many
/// are held back because they are too many at once.
fn delete_hosts(
    connections: &Connections,
    due_before: i64,
    act: &Act,
) -> Result<(usize, usize), StoreError> {
    let (mut due, allowed, all) = connections.read(|connection| {
        let due = ids(connection, DUE, [due_before])?;
        let may_delete_to: i64 =
            connection
                .query_row("SELECT may_delete_to FROM state", [], |row| row.get(0))?;
        let allowed = ids(connection, DUE, [due_before.min(may_delete_to)])?;
        Ok((due, allowed, count_hosts(connection)?))
    })?;

    let others = due.len() - allowed.len();
    let mut held_back = 0;
    if !SweepOrder::may_delete(others, all) {
        held_back = others;
        due = allowed;
    }
    let deleted = change_each(connections, due, |connection, id| {
        let is_due = format!("{DUE} AND servers.id = ?2");
        let mut statement = connection.prepare_cached(&is_due)?;
        if !statement.exists(params![due_before, id])? {
            return Ok(0);
        }
        owners::remove(connection, id, act, Removal::Silent).map(|()| 1)
    })?;
    Ok((deleted, held_back))
}

/// Deletes history that is older than `due_before` or whose host is gone, and tombstones
/// that have waited for long; moves history that is kept by address.
fn forget(
    connections: &Connections,
    service_time: i64,
    due_before: i64,
) -> Result<(), StoreError> {
    let deadline = Instant::now() + MAX_MAINTENANCE;
    connections.maintain(deadline, forget_gone)?;
    connections.maintain(deadline, |connection| forget_old(connection, due_before))?;
    connections.maintain(deadline, move_by_ip)?;

    let buried_before = |life| service_time.saturating_sub(as_millis(life));
    let defaults = FLAGS
        .iter()
        .map(|flag| format!("{} = {}", flag.name, i64::from(flag.default())));
    let are_defaults = defaults
        .chain(["tags", "state", "settings"].map(|name| format!("{name} = '{{}}'")));
    let are_defaults = are_defaults.collect::<Vec<_>>().join(" AND ");
    connections.maintain(deadline, |connection| {
        let delete = "DELETE FROM tombstones WHERE buried_at < ?1";
        connection.execute(delete, [buried_before(TOMBSTONE_LIFE)])?;
        let delete = format!("{delete} AND {are_defaults}");
        connection.execute(&delete, [buried_before(LIFE_OF_DEFAULTS)])?;
        let unknown = "DELETE FROM moves WHERE host NOT IN (SELECT id FROM servers)";
        connection.execute(unknown, [])?;
        Ok(Work::Done)
    })
}

/// Deletes a step's history of a host that is gone.
fn forget_gone(connection: &Connection) -> rusqlite::Result<Work> {
    let mut select = connection.prepare_cached("SELECT host FROM gone LIMIT 1")?;
    let host: Option<i64> = select.query_row([], |row| row.get(0)).optional()?;
    let Some(host) = host else {
        return Ok(Work::Done);
    };
    let deleted = delete_history(connection, host, i64::MAX)?;
    if deleted < HISTORY_STEP as usize {
        connection
            .prepare_cached("DELETE FROM gone WHERE host = ?1")?
            .execute([host])?;
    }
    Ok(Work::More)
}

/// Deletes a step's history from before `due_before`, of one host: its rows lie
/// together.
fn forget_old(connection: &Connection, due_before: i64) -> rusqlite::Result<Work> {
    let mut select = connection
        .prepare_cached("SELECT host FROM history WHERE stored_at <= ?1 LIMIT 1")?;
    let host: Option<i64> = select
        .query_row([due_before], |row| row.get(0))
        .optional()?;
    let Some(host) = host else {
        return Ok(Work::Done);
    };
    delete_history(connection, host, due_before)?;
    Ok(Work::More)
}

fn delete_history(
    connection: &Connection,
    host: i64,
    stored_to: i64,
) -> rusqlite::Result<usize> {
    let mut delete = connection.prepare_cached(
        "DELETE FROM history WHERE host = ?1 AND collected_at IN \
         (SELECT collected_at FROM history WHERE host = ?1 AND stored_at <= ?2 LIMIT ?3)",
    )?;
    delete.execute(params![host, stored_to, HISTORY_STEP])
}

/// Moves a step's history from where an older version has kept it, by address.
fn move_by_ip(connection: &Connection) -> rusqlite::Result<Work> {
    let step = "FROM history_by_ip ORDER BY ip, collected_at LIMIT ?1";
    let copy = format!(
        "INSERT OR IGNORE INTO history (host, collected_at, stored_at, heartbeat) \
         SELECT id, collected_at, service_time, heartbeat \
         FROM (SELECT ip, collected_at, heartbeat {step}) \
         JOIN servers USING (ip), state"
    );
    connection.prepare_cached(&copy)?.execute([HISTORY_STEP])?;
    let delete = format!(
        "DELETE FROM history_by_ip WHERE (ip, collected_at) IN \
         (SELECT ip, collected_at {step})"
    );
    let deleted = connection
        .prepare_cached(&delete)?
        .execute([HISTORY_STEP])?;
    Ok(if deleted == 0 { Work::Done } else { Work::More })
}

/// Changes each of the hosts, in slices. Gives how many were changed: since the hosts
/// were found, a heartbeat may have come.
fn change_each(
    connections: &Connections,
    hosts: Vec<i64>,
    mut change: impl FnMut(&Connection, i64) -> rusqlite::Result<usize>,
) -> Result<usize, StoreError> {
    if hosts.is_empty() {
        return Ok(0);
    }
    let mut changed = 0;
    let mut hosts = hosts.into_iter();
    // Hosts are marked and deleted however long that takes.
    let deadline = Instant::now() + Duration::from_secs(300);
    connections.maintain(deadline, |connection| {
        let Some(host) = hosts.next() else {
            return Ok(Work::Done);
        };
        changed += change(connection, host)?;
        Ok(Work::More)
    })?;
    Ok(changed)
}

fn ids(
    connection: &Connection,
    select: &str,
    values: impl Params,
) -> rusqlite::Result<Vec<i64>> {
    let mut statement = connection.prepare_cached(select)?;
    let rows = statement.query_map(values, |row| row.get(0))?;
    rows.collect()
}

fn count_hosts(connection: &Connection) -> rusqlite::Result<usize> {
    let count: i64 =
        connection.query_row("SELECT count(*) FROM servers", [], |row| row.get(0))?;
    Ok(usize::try_from(count).unwrap_or_default())
}
