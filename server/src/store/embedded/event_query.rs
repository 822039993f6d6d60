//! How events are found in SQLite.
//!
//! A page is made of the numbers of its events, and the numbers come from an index in
//! their order: that of each kind, of each kind of the host, or of each kind of the user.
//! So a page costs what it shows, however many events there are. The exception is a query
//! for a host and a user at once, which looks through the host's events. Times are no
//! index: the spans say between which numbers the events of a time can be.

use std::collections::{BTreeSet, HashSet};

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
    // What is written from now on is read the next time: each source is read for itself.
    let newest = query.last(newest(connection)?);
    let mut found = match Selection::of(connection, query, newest)? {
        Some(selection) => selection.read(connection, query)?,
        None => Vec::new(),
    };

    let more = found.len() > query.limit;
    found.truncate(query.limit);
    let last = found.last().map(|(id, _)| *id);
    let first = found.first().map(|(id, _)| *id);
    let cursor = match (query.after, more) {
        (Some(_), true) => last,
        (Some(_), false) => last.max(Some(newest)),
        (None, _) => first.max(Some(newest)),
    };
    Ok(EventPage {
        events: found.into_iter().filter_map(|(_, event)| event).collect(),
        cursor: cursor.unwrap_or(newest),
        more,
    })
}

/// The number of the newest event, also if it has been deleted.
pub(super) fn newest(connection: &Connection) -> rusqlite::Result<Cursor> {
    let select = "SELECT seq FROM sqlite_sequence WHERE name = 'events'";
    let mut select = connection.prepare_cached(select)?;
    let newest = select.query_row([], |row| row.get(0)).optional()?;
    Ok(Cursor(newest.unwrap_or_default()))
}

/// Where the events can be that a query asks for.
struct Selection {
    /// Conditions of which one is to hold, each with the index that answers it: without
    /// statistics SQLite would take that of the kind alone.
    sources: Vec<String>,
    /// What has to hold besides.
    filter: String,
    /// Whether ?1 is a user.
    user: Option<String>,
    /// The hosts whose events count; `None` for all events that are found.
    within: Option<HashSet<i64>>,
}

impl Selection {
    /// `None` if there can be no such event.
    fn of(
        connection: &Connection,
        query: &EventQuery,
        newest: Cursor,
    ) -> rusqlite::Result<Option<Selection>> {
        let Some(range) = range(connection, query, newest)? else {
            return Ok(None);
        };
        let mut filter = range;
        let within = within(connection, query)?;
        let of_whom = if let Some(hosts) = hosts_of(connection, query, within.as_ref())? {
            if query.user.is_some() {
                filter.push_str(" AND (+user = ?1 OR +actor = ?1)");
            }
            let hosts = hosts.into_iter();
            hosts
                .map(|host| format!("INDEXED BY events_by_host WHERE host = {host} AND "))
                .collect()
        } else if query.user.is_some() {
            vec![
                "INDEXED BY events_by_user WHERE user = ?1 AND ".to_owned(),
                "INDEXED BY events_by_actor WHERE actor = ?1 AND ".to_owned(),
            ]
        } else {
            vec!["WHERE ".to_owned()]
        };
        let is_all = query.kinds.len() == EventKind::ALL.len()
            && query.host.is_none()
            && query.within.is_none()
            && query.user.is_none();
        let sources = if is_all {
            vec!["WHERE 1".to_owned()]
        } else {
            let kinds = query.kinds.iter().map(|kind| kind.number());
            kinds
                .flat_map(|kind| {
                    of_whom
                        .iter()
                        .map(move |whom| format!("{whom}kind = {kind}"))
                })
                .collect()
        };

        Ok((!sources.is_empty()).then(|| Selection {
            sources,
            filter,
            user: query.user.clone(),
            within,
        }))
    }

    /// What selects the numbers of the events of a source.
    fn ids(&self, source: &str, tail: &str) -> String {
        let filter = &self.filter;
        let shown = match self.within {
            Some(_) => "id, host",
            None => "id, NULL",
        };
        format!("SELECT {shown} FROM events {source} AND {filter} {tail}")
    }

    /// Whether an event of this host counts.
    fn takes(&self, host: Option<i64>) -> bool {
        let within = self.within.as_ref();
        within.is_none_or(|within| host.is_some_and(|host| within.contains(&host)))
    }

    /// One event more than the limit, if there are as many. An event of a kind that this
    /// version does not know counts, and is not shown.
    fn read(
        &self,
        connection: &Connection,
        query: &EventQuery,
    ) -> rusqlite::Result<Vec<(Cursor, Option<Event>)>> {
        let order = if query.after.is_some() { "ASC" } else { "DESC" };
        let most = query.limit + 1;
        let tail = format!("ORDER BY id {order} LIMIT {most}");
        // Of which hosts the events are is not asked in SQL: a scope may have many.
        let tail_of_ids = match self.within {
            Some(_) => format!("ORDER BY id {order}"),
            None => tail.clone(),
        };
        let values: Vec<&dyn ToSql> =
            self.user.iter().map(|user| user as &dyn ToSql).collect();

        let mut found = BTreeSet::new();
        for source in &self.sources {
            let mut statement = connection.prepare(&self.ids(source, &tail_of_ids))?;
            let used = &values[..statement.parameter_count()];
            let ids = statement.query_map(used, |row| Ok((row.get(0)?, row.get(1)?)))?;
            let ids = ids.filter_map(|found| match found {
                Ok((id, host)) => self.takes(host).then_some(Ok(id)),
                Err(error) => Some(Err(error)),
            });
            let ids: rusqlite::Result<BTreeSet<i64>> = ids.take(most).collect();
            found.append(&mut ids?);
            while found.len() > most {
                let _ = match query.after {
                    Some(_) => found.pop_last(),
                    None => found.pop_first(),
                };
            }
        }

        let ids: Vec<String> = found.iter().map(ToString::to_string).collect();
        let select = format!("{SHOW} WHERE events.id IN ({}) {tail}", ids.join(", "));
        let mut statement = connection.prepare(&select)?;
        let rows = statement
            .query_map([], |row| Ok((Cursor(row.get(0)?), event_from_row(row)?)))?;
        rows.collect()
    }
}

/// The condition for the numbers and times that are asked for; `None` if there are none.
fn range(
    connection: &Connection,
    query: &EventQuery,
    Cursor(newest): Cursor,
) -> rusqlite::Result<Option<String>> {
    let Cursor(after) = query.after.unwrap_or(Cursor(-1));
    let mut conditions = vec![format!("id > {after} AND id <= {newest}")];
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
        let select = "SELECT max(first_id) FROM event_spans WHERE min_at <= ?1";
        let last: Option<i64> =
            connection.query_row(select, [until], |row| row.get(0))?;
        let Some(last) = last else {
            return Ok(None);
        };
        let select = "SELECT min(first_id) FROM event_spans WHERE first_id > ?1";
        let end: Option<i64> = connection.query_row(select, [last], |row| row.get(0))?;
        let end = end.unwrap_or(i64::MAX);
        conditions.push(format!("id < {end} AND at <= {until}"));
    }
    Ok(Some(conditions.join(" AND ")))
}

/// The hosts of which alone events are asked for; `None` for all.
fn within(
    connection: &Connection,
    query: &EventQuery,
) -> rusqlite::Result<Option<HashSet<i64>>> {
    let Some(within) = &query.within else {
        return Ok(None);
    };
    let mut select = connection.prepare_cached("SELECT id, server_id FROM servers")?;
    let mut rows = select.query([])?;
    let mut hosts = HashSet::new();
    while let Some(row) = rows.next()? {
        if within.server_ids.contains(row.get_ref(1)?.as_str()?) {
            hosts.insert(row.get(0)?);
        }
    }
    Ok(Some(hosts))
}

/// The hosts whose events are looked at one host after the other: those of the name that
/// is asked for, or the few that there are; `None` for any hosts.
fn hosts_of(
    connection: &Connection,
    query: &EventQuery,
    within: Option<&HashSet<i64>>,
) -> rusqlite::Result<Option<Vec<i64>>> {
    if let Some(host) = &query.host {
        let is_within = |host: &i64| within.is_none_or(|within| within.contains(host));
        let hosts = hosts(connection, host)?.into_iter().filter(is_within);
        return Ok(Some(hosts.collect()));
    }
    let few = within.filter(|within| within.len() <= MAX_HOSTS);
    Ok(few.map(|few| few.iter().copied().collect()))
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::store::embedded::schema;

    #[test]
    fn each_source_is_a_range_of_an_index() {
        let mut connection = Connection::open_in_memory().unwrap();
        schema::migrate(&mut connection, Path::new("memory")).unwrap();
        connection
            .execute_batch(
                "INSERT INTO departed VALUES (7, 'srv-7', '10.0.0.1'); \
                 INSERT INTO event_spans (first_id, service_time, min_at, max_at) \
                 VALUES (1, 0, 1000, 2000)",
            )
            .unwrap();
        let query = |host: bool, user: bool, until: i64| EventQuery {
            kinds: EventKind::ALL.to_vec(),
            host: host.then(|| HostName::ServerId("srv-7".to_owned())),
            within: None,
            user: user.then(|| "ann".to_owned()),
            since: Some(Timestamp::UNIX_EPOCH),
            until: Timestamp::from_millisecond(until).ok(),
            after: None,
            limit: 10,
        };
        for (host, user) in [(true, false), (false, true)] {
            let query = query(host, user, 1500);
            let selection = Selection::of(&connection, &query, Cursor(9));
            let selection = selection.unwrap().unwrap();
            for source in &selection.sources {
                let ids = selection.ids(source, "ORDER BY id DESC LIMIT 11");
                let plan: String = connection
                    .prepare(&format!("EXPLAIN QUERY PLAN {ids}"))
                    .and_then(|mut plan| {
                        let _ = plan.raw_bind_parameter(1, "ann");
                        plan.raw_query().next()?.unwrap().get(3)
                    })
                    .unwrap();
                let is_range = plan.contains("=? AND kind=? AND rowid>? AND rowid<?)");
                assert!(is_range, "{source}: {plan}");
            }
        }
        let before_all = query(false, true, 999);
        let selection = Selection::of(&connection, &before_all, Cursor(9)).unwrap();
        assert!(selection.is_none());
    }
}
