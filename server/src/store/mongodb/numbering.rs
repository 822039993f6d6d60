//! How events get their numbers: from the one instance that holds the watch's lease.
//!
//! Events are inserted by any instance, without a number. The holder numbers them in
//! rounds and publishes up to which number they are complete; readers see no further. So
//! the number is a cursor that passes over nothing.
//!
//! A holder may be held up at any place, lose its lease and go on later. Four rules make
//! that harmless:
//!
//! 1. Before it numbers an event, a holder claims the event with its epoch. A claim of a
//!    lower epoch does not replace one of a higher.
//! 2. Numbers are reserved in the lease's document, under the holder's epoch, after the
//!    events have been claimed. So whoever has lost the lease reserves nothing.
//! 3. A number is written only on an event with the writer's own claim.
//! 4. A new holder first claims all events that have no number, then publishes all
//!    numbers that have been reserved: nobody else can write one of them any more.

use mongodb::bson::{Bson, Document, doc};
use mongodb::options::ReturnDocument;

use super::connection::Connection;
use super::error::MongoDbError;
use super::lease::{Held, WATCH};
use super::pending::UNNUMBERED;
use crate::store::event::EventKind;
use crate::store::event_spans::{self, SPAN_MS};

/// Events that are numbered at once.
const MAX_NUMBERED: i64 = 500;

/// What a holder remembers of its numbering.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Numbering {
    /// The epoch under which everything has been claimed.
    claimed: Option<i64>,
    /// The newest span, and the service time when it began.
    span: Option<(i64, i64)>,
}

/// The number up to which readers see events.
pub(super) fn published(mongodb: &Connection) -> Result<i64, MongoDbError> {
    let leases = mongodb.leases();
    let lease = doc! {"_id": WATCH};
    let lease = mongodb.run(async { leases.find_one(lease).await })?;
    Ok(lease.map_or(0, |lease| read(&lease, "published")))
}

fn read(document: &Document, name: &str) -> i64 {
    let long = document.get_i64(name);
    long.or_else(|_| document.get_i32(name).map(i64::from))
        .unwrap_or_default()
}

impl Numbering {
    /// Numbers the events that have none. `service_time` is the store's.
    ///
    /// # Errors
    /// MongoDB did not do it, or the lease is lost. The holder has to take it again,
    /// because what it has asked for may still be done.
    pub(super) fn number(
        &mut self,
        mongodb: &Connection,
        held: &Held,
        service_time: i64,
    ) -> Result<(), MongoDbError> {
        if self.claimed != Some(held.epoch) {
            claim(mongodb, held.epoch, doc! {})?;
            raise(mongodb, held)?;
            let lease = find_lease(mongodb, held)?;
            publish(mongodb, held, read(&lease, "reserved"))?;
            *self = Numbering {
                claimed: Some(held.epoch),
                span: None,
            };
        }
        while self.number_some(mongodb, held, service_time)? {}
        Ok(())
    }

    /// Numbers some events; false if there are no more.
    fn number_some(
        &mut self,
        mongodb: &Connection,
        held: &Held,
        service_time: i64,
    ) -> Result<bool, MongoDbError> {
        let events = mongodb.events();
        let unnumbered = events
            .find(doc! {"n": UNNUMBERED})
            .projection(doc! {"_id": 1, "at": 1, "kind": 1})
            .sort(doc! {"o": 1, "_id": 1})
            .limit(MAX_NUMBERED);
        let found = mongodb.collect(unnumbered, |event| Some(event.clone()))?;
        if found.is_empty() {
            return Ok(false);
        }
        let ids: Vec<Bson> = found
            .iter()
            .filter_map(|event| event.get("_id").cloned())
            .collect();
        claim(mongodb, held.epoch, doc! {"_id": {"$in": ids.clone()}})?;

        let count = i64::try_from(ids.len()).unwrap_or_default();
        let reserved = reserve(mongodb, held, count)?;
        let first = reserved - count + 1;
        self.count(mongodb, first, service_time, &found)?;

        let updates = (first..).zip(ids).map(|(number, id)| {
            doc! {
                "q": {"_id": id, "n": UNNUMBERED, "epoch": held.epoch},
                "u": {"$set": {"n": number}},
            }
        });
        let updated = mongodb.update_others("events", updates.collect())?;
        let is_complete = i64::try_from(updated.matched).ok() == Some(count);
        if !is_complete || !updated.refused.is_empty() {
            return Err(lost());
        }
        publish(mongodb, held, reserved)?;
        Ok(count == MAX_NUMBERED)
    }

    /// Counts the events in the newest span, or begins another one: before they get their
    /// numbers, so that no event is outside of its span.
    fn count(
        &mut self,
        mongodb: &Connection,
        first: i64,
        service_time: i64,
        events: &[Document],
    ) -> Result<(), MongoDbError> {
        let spans = mongodb.event_spans();
        if self.span.is_none() {
            let newest = spans.find_one(doc! {}).sort(doc! {"_id": -1});
            let newest = mongodb.run(async { newest.await })?;
            self.span = newest.map(|span| (read(&span, "_id"), read(&span, "began")));
        }
        let span = self
            .span
            .filter(|(_, began)| service_time - began < SPAN_MS);
        let span = span.unwrap_or((first, service_time));

        let mut counts = Document::new();
        for event in events {
            let kind = event.get_str("kind").ok().and_then(EventKind::from_name);
            let Some(kind) = kind else {
                continue;
            };
            let name = event_spans::name(kind.class());
            let count = read(&counts, name) + 1;
            counts.insert(name, count);
        }
        let times = || {
            events
                .iter()
                .filter_map(|event| event.get_datetime("at").ok())
        };
        let mut update = doc! {
            "$set": {"began": span.1},
            "$min": {"min_at": times().min().copied()},
            "$max": {"max_at": times().max().copied()},
        };
        if !counts.is_empty() {
            update.insert("$inc", counts);
        }
        let update = spans.update_one(doc! {"_id": span.0}, update).upsert(true);
        mongodb.run(async { update.await })?;
        self.span = Some(span);
        Ok(())
    }
}

/// Claims the events without a number that `condition` selects.
fn claim(
    mongodb: &Connection,
    epoch: i64,
    condition: Document,
) -> Result<(), MongoDbError> {
    let events = mongodb.events();
    let mut unclaimed = doc! {"n": UNNUMBERED, "epoch": {"$not": {"$gte": epoch}}};
    unclaimed.extend(condition);
    let claim = doc! {"$set": {"epoch": epoch}};
    mongodb.run(async { events.update_many(unclaimed, claim).await })?;
    Ok(())
}

/// Reserves all numbers that events have: a restored dump is not of one moment.
fn raise(mongodb: &Connection, held: &Held) -> Result<(), MongoDbError> {
    let events = mongodb.events();
    let newest = events.find_one(doc! {}).sort(doc! {"n": -1});
    let newest = mongodb.run(async { newest.await })?;
    let newest = newest.map_or(UNNUMBERED, |event| read(&event, "n"));
    let leases = mongodb.leases();
    let raise = doc! {"$max": {"reserved": newest}};
    mongodb.run(async { leases.update_one(held.condition(), raise).await })?;
    Ok(())
}

fn find_lease(mongodb: &Connection, held: &Held) -> Result<Document, MongoDbError> {
    let leases = mongodb.leases();
    let lease = mongodb.run(async { leases.find_one(held.condition()).await })?;
    lease.ok_or_else(lost)
}

/// Reserves so many numbers. Gives the last.
fn reserve(mongodb: &Connection, held: &Held, count: i64) -> Result<i64, MongoDbError> {
    let leases = mongodb.leases();
    let reserve = leases
        .find_one_and_update(held.condition(), doc! {"$inc": {"reserved": count}})
        .return_document(ReturnDocument::After);
    let lease = mongodb.run(async { reserve.await })?.ok_or_else(lost)?;
    Ok(read(&lease, "reserved"))
}

/// Lets readers see the events up to this number.
fn publish(mongodb: &Connection, held: &Held, number: i64) -> Result<(), MongoDbError> {
    let leases = mongodb.leases();
    let publish = doc! {"$set": {"published": number}};
    let published =
        mongodb.run(async { leases.update_one(held.condition(), publish).await })?;
    if published.matched_count == 0 {
        return Err(lost());
    }
    Ok(())
}

fn lost() -> MongoDbError {
    MongoDbError::refused("another instance holds the watch's lease")
}
