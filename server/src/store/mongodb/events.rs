//! How events are found in MongoDB. Readers see the events up to the number that the
//! watch has published: see `numbering.rs`.

use std::net::IpAddr;

use fleetbeat_protocol::Timestamp;
use mongodb::bson::{Bson, Document, doc};

use super::connection::Connection;
use super::document::{date, named};
use super::error::MongoDbError;
use super::numbering;
use super::pending::{self, facts_from_bson};
use crate::store::event::{Act, Cursor, Event, EventHost, EventKind, NewEvent, Who};
use crate::store::event_store::{EventPage, EventQuery};
use crate::store::server::HostName;

/// Hosts that have had one address, the newest of them: events of more are not looked
/// for.
const MAX_HOSTS: i64 = 50;

/// Writes events that are not about a host. Written again, they are there once.
pub(super) fn append(
    mongodb: &Connection,
    events: &[NewEvent],
) -> Result<(), MongoDbError> {
    let ids = pending::ids_of(events);
    let documents: Vec<Document> = ids
        .iter()
        .zip(events)
        .map(|(id, event)| pending::to_document(id, &pending::new_id(), event, None))
        .collect();
    pending::insert_new(mongodb, &mongodb.events(), &documents)
}

/// The events that `query` asks for.
pub(super) fn find(
    mongodb: &Connection,
    query: &EventQuery,
) -> Result<EventPage, MongoDbError> {
    let newest = query.last(Cursor(numbering::published(mongodb)?));
    let mut found = match condition(mongodb, query, newest)? {
        Some(condition) => read(mongodb, query, condition)?,
        None => Vec::new(),
    };

    let more = found.len() > query.limit;
    found.truncate(query.limit);
    let last = found.last().map(|(id, _)| *id);
    let cursor = match query.after {
        Some(_) if more => last.unwrap_or(newest),
        _ => newest,
    };
    Ok(EventPage {
        events: found.into_iter().filter_map(|(_, event)| event).collect(),
        cursor,
        more,
    })
}

/// One event more than the limit, if there are as many. An event that this version does
/// not know counts, and is not shown.
fn read(
    mongodb: &Connection,
    query: &EventQuery,
    condition: Document,
) -> Result<Vec<(Cursor, Option<Event>)>, MongoDbError> {
    let collection = mongodb.events();
    let order = if query.after.is_some() { 1 } else { -1 };
    let limit = i64::try_from(query.limit + 1).unwrap_or(i64::MAX);
    let found = collection.find(condition).sort(doc! {"n": order});
    mongodb.collect(found.limit(limit), |document| {
        let id = Cursor(document.get_i64("n").ok()?);
        Some((id, event_from_document(document)))
    })
}

/// What selects the events; `None` if there can be none.
fn condition(
    mongodb: &Connection,
    query: &EventQuery,
    Cursor(newest): Cursor,
) -> Result<Option<Document>, MongoDbError> {
    let after = query.after.map_or(0, |Cursor(after)| after);
    let mut first = after.max(0).saturating_add(1);
    let mut last = newest;
    let mut at = Document::new();
    if let Some(since) = query.since {
        at.insert("$gte", date(since));
        let span = doc! {"max_at": {"$gte": date(since)}};
        match first_span(mongodb, span, 1)? {
            Some(span) => first = first.max(span),
            None => return Ok(None),
        }
    }
    if let Some(until) = query.until {
        at.insert("$lte", date(until));
        if let Some(end) = end_of(mongodb, until)? {
            last = last.min(end - 1);
        }
    }

    let mut condition = doc! {"n": {"$gte": first, "$lte": last}};
    if query.kinds.len() < EventKind::ALL.len() {
        let kinds: Vec<&str> = query.kinds.iter().map(|kind| kind.as_str()).collect();
        condition.insert("kind", doc! {"$in": kinds});
    }
    if !at.is_empty() {
        condition.insert("at", at);
    }
    if let Some(hosts) = hosts_of(mongodb, query)? {
        condition.insert("host", doc! {"$in": hosts});
    }
    if let Some(user) = &query.user {
        condition.insert("$or", [doc! {"user": user}, doc! {"actor": user}]);
    }
    Ok(Some(condition))
}

/// The first number behind the events of `until` and before.
fn end_of(mongodb: &Connection, until: Timestamp) -> Result<Option<i64>, MongoDbError> {
    let newest = first_span(mongodb, doc! {"min_at": {"$lte": date(until)}}, -1)?;
    let Some(newest) = newest else {
        return Ok(Some(0));
    };
    first_span(mongodb, doc! {"_id": {"$gt": newest}}, 1)
}

/// The number of the first of these spans, or of the last.
pub(super) fn first_span(
    mongodb: &Connection,
    condition: Document,
    order: i32,
) -> Result<Option<i64>, MongoDbError> {
    let spans = mongodb.event_spans();
    let found = spans.find_one(condition).sort(doc! {"_id": order});
    let found = mongodb.run(async { found.await })?;
    Ok(found.and_then(|span| span.get_i64("_id").ok()))
}

/// The ids of the hosts of which alone events are asked for; `None` for all.
fn hosts_of(
    mongodb: &Connection,
    query: &EventQuery,
) -> Result<Option<Vec<String>>, MongoDbError> {
    let within = query.within.as_ref().map(|within| &within.server_ids);
    let Some(host) = &query.host else {
        return Ok(within.map(|within| within.iter().cloned().collect()));
    };
    let mut hosts = hosts(mongodb, host)?;
    hosts.retain(|host| within.is_none_or(|within| within.contains(host)));
    Ok(Some(hosts))
}

/// The ids of the hosts that have this name or had it when they were deleted.
fn hosts(mongodb: &Connection, name: &HostName) -> Result<Vec<String>, MongoDbError> {
    let ip = match name {
        HostName::ServerId(id) => return Ok(vec![id.clone()]),
        HostName::Ip(ip) => ip.to_string(),
    };
    let servers = mongodb.servers();
    let present = servers.find(named(name)).projection(doc! {"server_id": 1});
    let text =
        |document: &Document, name: &str| document.get_str(name).ok().map(str::to_owned);
    let mut hosts = mongodb.collect(present, |server| text(server, "server_id"))?;

    let events = mongodb.events();
    let deleted = doc! {"kind": EventKind::HostDeleted.as_str(), "ip": ip};
    let deleted = events.find(deleted).sort(doc! {"n": -1}).limit(MAX_HOSTS);
    hosts.extend(mongodb.collect(deleted, |event| text(event, "host"))?);
    Ok(hosts)
}

/// An event; `None` if its kind is not known.
fn event_from_document(document: &Document) -> Option<Event> {
    let text = |name: &str| document.get_str(name).ok().map(str::to_owned);
    let ip = |name: &str| document.get_str(name).ok()?.parse::<IpAddr>().ok();
    let at = document.get_datetime("at").ok()?.timestamp_millis();
    let at = Timestamp::from_millisecond(at).ok()?;

    let who = text("actor").map(Who::User);
    let who = who.or_else(|| text("program").map(Who::Program));
    let act = who.map(|who| Act {
        who,
        address: ip("address"),
        at,
    });
    let host = text("host").map(|server_id| EventHost {
        server_id: Some(server_id),
        ip: ip("ip"),
        hostname: text("hostname").unwrap_or_default(),
    });
    let data = document.get("data").and_then(Bson::as_document);
    Some(Event {
        id: Cursor(document.get_i64("n").ok()?),
        host,
        event: NewEvent {
            kind: EventKind::from_name(document.get_str("kind").ok()?)?,
            at,
            act,
            user: text("user"),
            facts: data.map(facts_from_bson).unwrap_or_default(),
        },
    })
}
