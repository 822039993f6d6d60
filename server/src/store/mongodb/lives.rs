//! How the lives of hosts are found in MongoDB, up to the number that the watch has
//! published.

use std::collections::BTreeMap;

use fleetbeat_protocol::Timestamp;
use mongodb::bson::{Bson, Document, doc};

use super::connection::Connection;
use super::document::{date, named, text, time};
use super::error::MongoDbError;
use super::events::first_span;
use super::numbering;
use super::pending::facts_from_bson;
use crate::store::event::EventKind;
use crate::store::life::{Life, LifeQuery, Turn};

/// The lives that `query` asks for, by address; none if the host is not known.
pub(super) fn find(
    mongodb: &Connection,
    query: &LifeQuery,
) -> Result<Vec<Life>, MongoDbError> {
    let servers = mongodb.servers();
    let condition = query.host.as_ref().map(named).unwrap_or_default();
    let hosts = servers.find(condition);
    let hosts = hosts.projection(doc! {"ip": 1, "server_id": 1});
    let mut lives = mongodb.collect(hosts, |server| {
        Some(Life {
            ip: text(server, "ip")?.parse().ok()?,
            server_id: text(server, "server_id")?.to_owned(),
            turns: Vec::new(),
        })
    })?;
    lives.sort_by_key(|life| life.ip);
    if lives.is_empty() {
        return Ok(lives);
    }

    let whose = match (&query.host, &lives[..]) {
        (Some(_), [life]) => Bson::from(life.server_id.as_str()),
        _ => Bson::from(doc! {"$exists": true}),
    };
    let mut turns = turns(mongodb, &whose, query.from)?;
    for life in &mut lives {
        life.turns = turns.remove(&life.server_id).unwrap_or_default();
    }
    Ok(lives)
}

/// The turns of each host: those from `from` on, and the last one before.
fn turns(
    mongodb: &Connection,
    whose: &Bson,
    from: Timestamp,
) -> Result<BTreeMap<String, Vec<Turn>>, MongoDbError> {
    let newest = numbering::published(mongodb)?;
    let span = doc! {"max_at": {"$gte": date(from)}};
    let first = first_span(mongodb, span, 1)?.unwrap_or(newest + 1);

    let mut turns: BTreeMap<String, Vec<Turn>> = BTreeMap::new();
    let before = doc! {"$gte": 1, "$lt": first};
    for (host, turn) in find_turns(mongodb, whose, before)? {
        // Of those before, the last one counts.
        turns.insert(host, vec![turn]);
    }
    let since = doc! {"$gte": first, "$lte": newest};
    for (host, turn) in find_turns(mongodb, whose, since)? {
        turns.entry(host).or_default().push(turn);
    }
    Ok(turns)
}

fn find_turns(
    mongodb: &Connection,
    whose: &Bson,
    numbers: Document,
) -> Result<Vec<(String, Turn)>, MongoDbError> {
    let kinds = Turn::KINDS.map(EventKind::as_str).to_vec();
    let condition = doc! {"n": numbers, "kind": {"$in": kinds}, "host": whose};
    let events = mongodb.events();
    let found = events.find(condition).sort(doc! {"n": 1});
    let shown = doc! {"host": 1, "kind": 1, "at": 1, "data": 1};
    mongodb.collect(found.projection(shown), |event| {
        let host = text(event, "host")?.to_owned();
        Some((host, turn_from_document(event)?))
    })
}

fn turn_from_document(event: &Document) -> Option<Turn> {
    let kind = EventKind::from_name(text(event, "kind")?)?;
    let data = event.get("data").and_then(Bson::as_document);
    let facts = data.map(facts_from_bson).unwrap_or_default();
    Turn::told_by(kind, time(event, "at")?, &facts)
}
