//! How an event is written in SQLite: in the transaction of what it tells.

use std::net::IpAddr;

use rusqlite::{Connection, OptionalExtension, params};

use crate::store::event::{NewEvent, Who};
use crate::store::event_spans::{self, SPAN_MS};

const INSERT: &str = "INSERT INTO events \
    (at, kind, host, ip, hostname, user, actor, program, address, data) \
    SELECT ?1, ?2, ?3, \
    (SELECT ip FROM servers WHERE id = ?3), (SELECT hostname FROM servers WHERE id = ?3), \
    ?4, ?5, ?6, ?7, ?8";
const NEWEST_SPAN: &str = "SELECT first_id, event_spans.service_time, state.service_time \
    FROM event_spans, state ORDER BY first_id DESC LIMIT 1";

/// Writes an event about the host with this number, which has a record. Gives the
/// event's number.
pub(super) fn write(
    connection: &Connection,
    host: Option<i64>,
    event: &NewEvent,
) -> rusqlite::Result<i64> {
    let (actor, program) = match event.act.as_ref().map(|act| &act.who) {
        Some(Who::User(name) | Who::ApiToken { user: name, .. }) => (Some(name), None),
        Some(Who::Program(name)) => (None, Some(name)),
        None => (None, None),
    };
    let address = event.act.as_ref().and_then(|act| act.address);
    let data = (!event.facts.is_empty())
        .then(|| serde_json::to_string(&event.facts).unwrap_or_default());

    connection.prepare_cached(INSERT)?.execute(params![
        event.at.as_millisecond(),
        event.kind.number(),
        host,
        event.user,
        actor,
        program,
        address.map(|ip: IpAddr| ip.to_string()),
        data,
    ])?;
    let id = connection.last_insert_rowid();
    count(connection, id, event)?;
    Ok(id)
}

/// Counts the event in the newest span, or begins another one.
fn count(connection: &Connection, id: i64, event: &NewEvent) -> rusqlite::Result<()> {
    let at = event.at.as_millisecond();
    let mut newest = connection.prepare_cached(NEWEST_SPAN)?;
    let newest = newest.query_row([], |row| {
        let [first_id, begun, now] = [row.get(0)?, row.get(1)?, row.get(2)?];
        Ok((first_id, now - begun < SPAN_MS))
    });
    let first_id = match newest.optional()? {
        Some((first_id, true)) => first_id,
        _ => {
            connection.execute(
                "INSERT INTO event_spans (first_id, service_time, min_at, max_at) \
                 SELECT ?1, service_time, ?2, ?2 FROM state",
                [id, at],
            )?;
            id
        }
    };

    let column = event_spans::name(event.kind.class());
    let count = format!(
        "UPDATE event_spans SET min_at = min(min_at, ?2), max_at = max(max_at, ?2), \
         {column} = {column} + 1 WHERE first_id = ?1"
    );
    connection.prepare_cached(&count)?.execute([first_id, at])?;
    Ok(())
}
