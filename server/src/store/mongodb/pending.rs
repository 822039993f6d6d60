//! Events on their way into MongoDB.
//!
//! MongoDB changes one document at a time. So a change carries its events in the same
//! document, under `pending`, each with an `_id` that was made with the change. Afterwards
//! whoever comes along inserts the events into their collection, where a second insert of
//! one `_id` changes nothing, and clears them. A kill between two of these steps repeats
//! the step and loses nothing.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use fleetbeat_daemon::clock;
use fleetbeat_protocol::Timestamp;
use jiff::SignedDuration;
use mongodb::Collection;
use mongodb::bson::{Bson, Document, doc};
use serde_json::Value;

use super::connection::{Connection, MAX_ASKED};
use super::document::{carry, date};
use super::error::MongoDbError;
use crate::store::event::{Facts, NewEvent, Who};

/// The number of an event that has none yet.
pub(super) const UNNUMBERED: i64 = 0;

/// The field that marks a document as removed: since when.
pub(super) const REMOVED: &str = "removed_at";
/// The time that a removal takes at most.
const REMOVAL_TIME: SignedDuration = SignedDuration::from_mins(1);

/// The host that an event is about.
#[derive(Debug, Clone)]
pub(super) struct Host<'a> {
    pub(super) server_id: &'a str,
    pub(super) ip: String,
    pub(super) hostname: &'a str,
}

/// What tells this process from others.
static PROCESS: LazyLock<u64> =
    LazyLock::new(|| getrandom::u64().unwrap_or_else(|_| u64::from(std::process::id())));

/// A name for an event that no other has. Of one process the names grow, so that its
/// events stay in their order.
pub(super) fn new_id() -> String {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let now = u64::try_from(clock::now().as_millisecond()).unwrap_or_default() << 16;
    let grow = |last: u64| Some(now.max(last + 1));
    let last = LAST.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grow);
    let id = now.max(last.unwrap_or_default() + 1);
    format!("{id:016x}-{:016x}", *PROCESS)
}

/// An event as it is kept. `id` is its name, `order` tells its place among events that
/// are numbered together.
pub(super) fn to_document(
    id: &str,
    order: &str,
    event: &NewEvent,
    host: Option<&Host<'_>>,
) -> Document {
    let mut document = doc! {
        "_id": id,
        "n": UNNUMBERED,
        "o": order,
        "at": date(event.at),
        "kind": event.kind.as_str(),
    };
    if let Some(host) = host {
        document.insert("host", host.server_id);
        document.insert("ip", &host.ip);
        document.insert("hostname", host.hostname);
    }
    if let Some(user) = &event.user {
        document.insert("user", user);
    }
    if let Some(act) = &event.act {
        match &act.who {
            Who::User(name) | Who::ApiToken { user: name, .. } => {
                document.insert("actor", name)
            }
            Who::Program(name) => document.insert("program", name),
        };
        if let Some(address) = act.address {
            document.insert("address", address.to_string());
        }
    }
    if !event.facts.is_empty() {
        document.insert("data", facts_to_bson(&event.facts));
    }
    document
}

/// An event with a new name.
pub(super) fn new_document(event: &NewEvent, host: Option<&Host<'_>>) -> Document {
    let id = new_id();
    to_document(&id, &id, event, host)
}

/// The condition for documents that carry events.
pub(super) fn carries() -> Document {
    doc! {"pending.0": {"$exists": true}}
}

/// The condition for documents that carry no events.
pub(super) fn carries_none() -> Document {
    doc! {"pending.0": {"$exists": false}}
}

/// Inserts the events that the documents carry which `condition` selects, and clears
/// them.
pub(super) fn deliver(
    mongodb: &Connection,
    collection: &Collection<Document>,
    condition: Document,
) -> Result<(), MongoDbError> {
    let mut carriers = carries();
    carriers.extend(condition);
    let found = collection.find(carriers).projection(doc! {"pending": 1});
    let found: Vec<(Bson, Vec<Document>)> = mongodb.collect(found, |document| {
        let pending = document.get_array("pending").ok()?.iter();
        let pending = pending.filter_map(Bson::as_document).cloned().collect();
        Some((document.get("_id")?.clone(), pending))
    })?;

    // A whole fleet may carry events.
    for part in found.chunks(MAX_ASKED) {
        let events = part.iter().flat_map(|(_, events)| events).cloned();
        let events: Vec<Document> = events.collect();
        insert_new(mongodb, &mongodb.events(), &events)?;

        let clears = part.iter().map(|(carrier, events)| {
            let ids = events.iter().filter_map(|event| event.get("_id").cloned());
            let ids: Vec<Bson> = ids.collect();
            doc! {
                "q": {"_id": carrier.clone()},
                "u": {"$pull": {"pending": {"_id": {"$in": ids}}}},
            }
        });
        let cleared = mongodb.update_others(collection.name(), clears.collect())?;
        cleared.none_refused()?;
    }
    Ok(())
}

/// [`deliver`] for one event that all of these documents may carry, by their `_id`.
pub(super) fn deliver_one(
    mongodb: &Connection,
    collection: &Collection<Document>,
    carriers: Vec<Bson>,
    event: &Document,
) -> Result<(), MongoDbError> {
    let id = event.get("_id").cloned();
    let of_event = doc! {"_id": {"$in": carriers}, "pending._id": id.clone()};
    let is_carried = collection.find_one(of_event.clone());
    let is_carried = is_carried.projection(doc! {"_id": 1});
    if mongodb.run(async { is_carried.await })?.is_none() {
        return Ok(());
    }
    insert_new(mongodb, &mongodb.events(), std::slice::from_ref(event))?;
    let clear = doc! {"$pull": {"pending": {"_id": id}}};
    mongodb.run(async { collection.update_many(of_event, clear).await })?;
    Ok(())
}

/// Gives an event that was delivered the facts that it has now.
pub(super) fn correct(
    mongodb: &Connection,
    event: &Document,
) -> Result<(), MongoDbError> {
    let delivered = doc! {"_id": event.get("_id").cloned()};
    let facts = doc! {"$set": {"data": event.get("data").cloned()}};
    let events = mongodb.events();
    mongodb.run(async { events.update_one(delivered, facts).await })?;
    Ok(())
}

/// The condition for documents that are not marked as removed.
pub(super) fn not_removed() -> Document {
    doc! {REMOVED: {"$exists": false}}
}

/// The update that marks a document as removed at this time, together with the event that
/// tells it: a document that is deleted can carry none.
pub(super) fn mark_removed(at: Timestamp, event: Document) -> Document {
    let mut mark = doc! {"$set": {REMOVED: date(at)}};
    carry(&mut mark, vec![event]);
    mark
}

/// The condition for documents whose removal has been broken off.
pub(super) fn removed_long_before(now: Timestamp) -> Document {
    let old = now.checked_sub(REMOVAL_TIME).unwrap_or(Timestamp::MIN);
    doc! {REMOVED: {"$lt": date(old)}}
}

/// Deletes the marked documents that `condition` selects, once their events are
/// delivered.
pub(super) fn finish_removals(
    mongodb: &Connection,
    collection: &Collection<Document>,
    condition: Document,
) -> Result<(), MongoDbError> {
    let mut marked = doc! {REMOVED: {"$exists": true}};
    marked.extend(condition);
    deliver(mongodb, collection, marked.clone())?;
    // Another event may have come since.
    marked.extend(carries_none());
    mongodb.run(async { collection.delete_many(marked).await })?;
    Ok(())
}

/// Inserts documents. What is there already stays.
pub(super) fn insert_new(
    mongodb: &Connection,
    collection: &Collection<Document>,
    documents: &[Document],
) -> Result<(), MongoDbError> {
    if documents.is_empty() {
        return Ok(());
    }
    let inserted =
        mongodb.run(async { collection.insert_many(documents).ordered(false).await });
    match inserted {
        Err(error) if error.is_duplicate_key() => Ok(()),
        result => result.map(|_| ()),
    }
}

/// Names for events that are written for themselves. The same event of a process has the
/// same name when it is written again, because nobody knew whether it had been.
pub(super) fn ids_of(events: &[NewEvent]) -> Vec<String> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut name = |event: &NewEvent| {
        let said = format!("{} {event:?}", *PROCESS);
        let times = seen.entry(said.clone()).or_default();
        *times += 1;
        let hash = hash(said.as_bytes());
        format!("{:012x}-{hash}-{times}", event.at.as_millisecond())
    };
    events.iter().map(&mut name).collect()
}

fn hash(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    let digest = Sha256::digest(bytes);
    digest[..16]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn facts_to_bson(facts: &Facts) -> Document {
    let facts = facts.iter();
    facts
        .map(|(name, value)| (name.clone(), value_to_bson(value)))
        .collect()
}

fn value_to_bson(value: &Value) -> Bson {
    match value {
        Value::Null => Bson::Null,
        Value::Bool(value) => (*value).into(),
        Value::Number(number) => match number.as_i64() {
            Some(number) => number.into(),
            None => number.as_f64().into(),
        },
        Value::String(text) => text.into(),
        Value::Array(values) => values.iter().map(value_to_bson).collect(),
        Value::Object(facts) => facts_to_bson(facts).into(),
    }
}

/// The facts as they were written.
pub(super) fn facts_from_bson(document: &Document) -> Facts {
    let members = document.iter();
    members
        .map(|(name, value)| (name.clone(), value_from_bson(value)))
        .collect()
}

fn value_from_bson(value: &Bson) -> Value {
    match value {
        Bson::Boolean(value) => (*value).into(),
        Bson::Int32(number) => (*number).into(),
        Bson::Int64(number) => (*number).into(),
        Bson::Double(number) => (*number).into(),
        Bson::String(text) => text.as_str().into(),
        Bson::Array(values) => values.iter().map(value_from_bson).collect(),
        Bson::Document(document) => facts_from_bson(document).into(),
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::event::{EventKind, facts};

    #[test]
    fn names_grow_and_are_the_same_for_what_is_written_again() {
        let names: Vec<String> = (0..1000).map(|_| new_id()).collect();
        assert!(names.is_sorted_by(|a, b| a < b));

        let event = |n: i64| {
            let at = Timestamp::UNIX_EPOCH;
            NewEvent::new(EventKind::StoreAway, at, facts([("n", n.into())]))
        };
        let first = ids_of(&[event(1), event(1), event(2)]);
        let again = ids_of(&[event(1), event(1), event(2), event(3), event(2)]);
        assert_eq!(first, again[..3]);
        let all: std::collections::BTreeSet<&String> = again.iter().collect();
        assert_eq!(all.len(), 5);
    }

    #[test]
    fn facts_come_back_as_they_were() {
        let all = facts([
            ("n", 7.into()),
            ("x", 1.5.into()),
            ("yes", true.into()),
            ("text", "a\u{1b}[2J".into()),
            ("none", Value::Null),
        ]);
        assert_eq!(facts_from_bson(&facts_to_bson(&all)), all);
    }
}
