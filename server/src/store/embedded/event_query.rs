//! How events are found in SQLite.
//!
//! A page is made of the numbers of its events, and the numbers come from an index in
//! their order: that of the host, of the user, or of each kind. So a page costs what it
//! shows, however many events there are. Times are no index: the spans say between which
//! numbers the events of a time can be.

use fleetbeat_protocol::Timestamp;
use rusqlite::types::ToSql;
use rusqlite::{Connection, OptionalExtension, Row};

use super::row::{optional_ip, timestamp};
use crate::store::event::{
    Act, Cursor, Event, EventHost, EventKind, Facts, NewEvent, Who,
};
use crate::store::event_store::{EventPage, EventQuery};
use crate::store::server::HostName;

/// Hosts that have had one address, the newest of them: events of more are not looked
/// for.
const MAX_HOSTS: usize = 50;

const SHOW: &str = "SELECT events.id, at, kind, events.host, events.ip, hostname, user, \
    actor, program, address, data, \
    coalesce((SELECT server_id FROM servers WHERE id = events.host), \
    (SELECT server_id FROM departed WHERE departed.host = events.host)) FROM events";

/// The events that `query` asks for.
pub(super) fn find(
    connection: &Connection,
    query: &EventQuery,
) -> rusqlite::Result<EventPage> {
    // Read before the events: what is written in between is read the next time, or is in
    // the page.
    let newest = newest(connection)?;
    let mut events = match Selection::of(connection, query)? {
        Some(selection) => selection.read(connection, query)?,
        None => Vec::new(),
    };

    let more = events.len() > query.limit;
    events.truncate(query.limit);
    let last = events.last().map(|event| event.id);
    let first = events.first().map(|event| event.id);
    let cursor = match (query.after, more) {
        (Some(_), true) => last,
        (Some(_), false) => last.max(Some(newest)),
        (None, _) => first.max(Some(newest)),
    };
    Ok(EventPage {
        events,
        cursor: cursor.unwrap_or(newest),
        more,
    })
}

/// The number of the newest event, also if it has been deleted.
fn newest(connection: &Connection) -> rusqlite::Result<Cursor> {
    let select = "SELECT seq FROM sqlite_sequence WHERE name = 'events'";
    let mut select = connection.prepare_cached(select)?;
    let newest = select.query_row([], |row| row.get(0)).optional()?;
    Ok(Cursor(newest.unwrap_or_default()))
}

/// Where the events can be that a query asks for.
struct Selection {
    /// Conditions that an index answers, of which one is to hold.
    sources: Vec<String>,
    /// What has to hold besides.
    filter: String,
    /// Whether ?1 is a user.
    user: Option<String>,
}

impl Selection {
    /// `None` if there can be no such event.
    fn of(
        connection: &Connection,
        query: &EventQuery,
    ) -> rusqlite::Result<Option<Selection>> {
        let Some(range) = range(connection, query)? else {
            return Ok(None);
        };
        let kinds: Vec<i64> = query.kinds.iter().map(|kind| kind.number()).collect();
        let mut filter = range;
        let sources = if let Some(host) = &query.host {
            let hosts = hosts(connection, host)?;
            filter.push_str(&format!(" AND +kind IN ({})", listed(&kinds)));
            if query.user.is_some() {
                filter.push_str(" AND (+user = ?1 OR +actor = ?1)");
            }
            hosts.iter().map(|host| format!("host = {host}")).collect()
        } else if query.user.is_some() {
            filter.push_str(&format!(" AND +kind IN ({})", listed(&kinds)));
            vec!["user = ?1".to_owned(), "actor = ?1".to_owned()]
        } else if kinds.len() == EventKind::ALL.len() {
            vec!["1".to_owned()]
        } else {
            kinds.iter().map(|kind| format!("kind = {kind}")).collect()
        };

        Ok((!sources.is_empty()).then(|| Selection {
            sources,
            filter,
            user: query.user.clone(),
        }))
    }

    /// One event more than the limit, if there are as many.
    fn read(
        &self,
        connection: &Connection,
        query: &EventQuery,
    ) -> rusqlite::Result<Vec<Event>> {
        let order = if query.after.is_some() { "ASC" } else { "DESC" };
        let tail = format!("ORDER BY id {order} LIMIT {}", query.limit + 1);
        let sources = self.sources.iter().map(|source| {
            let filter = &self.filter;
            format!(
                "SELECT id FROM (SELECT id FROM events WHERE {source} AND {filter} {tail})"
            )
        });
        let ids = sources.collect::<Vec<String>>().join(" UNION ");
        let select = format!("{SHOW} WHERE events.id IN ({ids}) {tail}");

        let mut statement = connection.prepare(&select)?;
        let values: Vec<&dyn ToSql> =
            self.user.iter().map(|user| user as &dyn ToSql).collect();
        let rows = statement.query_map(values.as_slice(), event_from_row)?;
        // An event of a kind that this version does not know is not shown.
        rows.filter_map(Result::transpose).collect()
    }
}

/// The condition for the numbers and times that are asked for; `None` if there are none.
fn range(
    connection: &Connection,
    query: &EventQuery,
) -> rusqlite::Result<Option<String>> {
    let mut conditions = vec![format!(
        "id > {}",
        query.after.map_or(-1, |Cursor(after)| after)
    )];
    if let Some(since) = query.since.map(Timestamp::as_millisecond) {
        let select = "SELECT min(first_id) FROM event_spans WHERE max_at >= ?1";
        let first: Option<i64> =
            connection.query_row(select, [since], |row| row.get(0))?;
        let Some(first) = first else {
            return Ok(None);
        };
        conditions.push(format!("id >= {first} AND at >= {since}"));
    }
    if let Some(until) = query.until.map(Timestamp::as_millisecond) {
        let select = "SELECT min(first_id) FROM event_spans WHERE first_id > \
                      (SELECT max(first_id) FROM event_spans WHERE min_at <= ?1)";
        let end: Option<i64> = connection.query_row(select, [until], |row| row.get(0))?;
        let end = end.unwrap_or(i64::MAX);
        conditions.push(format!("id < {end} AND at <= {until}"));
    }
    Ok(Some(conditions.join(" AND ")))
}

/// The numbers of the hosts that have this name or had it last.
fn hosts(connection: &Connection, name: &HostName) -> rusqlite::Result<Vec<i64>> {
    let (column, name) = match name {
        HostName::Ip(ip) => ("ip", ip.to_string()),
        HostName::ServerId(id) => ("server_id", id.clone()),
    };
    let select = format!(
        "SELECT id FROM servers WHERE {column} = ?1 UNION \
         SELECT host FROM departed WHERE {column} = ?1 ORDER BY 1 DESC LIMIT {MAX_HOSTS}"
    );
    let mut select = connection.prepare_cached(&select)?;
    let hosts = select.query_map([name], |row| row.get(0))?;
    hosts.collect()
}

fn listed(numbers: &[i64]) -> String {
    let numbers: Vec<String> = numbers.iter().map(ToString::to_string).collect();
    numbers.join(", ")
}

/// An event; `None` if its kind is not known.
fn event_from_row(row: &Row<'_>) -> rusqlite::Result<Option<Event>> {
    let Some(kind) = EventKind::from_number(row.get(2)?) else {
        return Ok(None);
    };
    let at = timestamp(row, 1)?;
    let host: Option<i64> = row.get(3)?;
    let host = host.map(|_| {
        Ok::<EventHost, rusqlite::Error>(EventHost {
            server_id: row.get(11)?,
            ip: optional_ip(row, 4)?,
            hostname: row.get::<_, Option<String>>(5)?.unwrap_or_default(),
        })
    });

    let user = row.get::<_, Option<String>>(7)?.map(Who::User);
    let program =
        || Ok::<_, rusqlite::Error>(row.get::<_, Option<String>>(8)?.map(Who::Program));
    let who = match user {
        Some(user) => Some(user),
        None => program()?,
    };
    let address = optional_ip(row, 9)?;
    let data: Option<String> = row.get(10)?;
    let facts = data.and_then(|data| serde_json::from_str::<Facts>(&data).ok());
    Ok(Some(Event {
        id: Cursor(row.get(0)?),
        host: host.transpose()?,
        event: NewEvent {
            kind,
            at,
            act: who.map(|who| Act { who, address, at }),
            user: row.get(6)?,
            facts: facts.unwrap_or_default(),
        },
    }))
}
