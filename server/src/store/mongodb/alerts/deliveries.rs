//! Messages on their way, in MongoDB.

use fleetbeat_protocol::Timestamp;
use mongodb::bson::{Bson, Document, doc};
use mongodb::options::ReturnDocument;

use super::super::connection::Connection;
use super::super::document::{carry, date, text, time};
use super::super::error::MongoDbError;
use super::super::pending;
use super::condition::{is_behind, is_one_of};
use super::holder::Holder;
use crate::store::alert_store::{
    Decision, DeliveryOutcome, DeliveryQuery, DeliveryRow, DeliveryState, Page,
};
use crate::store::error::{Conflict, StoreError};
use crate::store::event::NewEvent;

const WAITING: &str = DeliveryState::Waiting.as_str();
const SENDING: &str = DeliveryState::Sending.as_str();
const ASKED: &str = DeliveryState::Asked.as_str();
const DEAD: &str = DeliveryState::Dead.as_str();

/// The field of a digest that does not stand in for all others yet.
const FOLDING: &str = "folding";

/// Deletes the messages that former holders have added after they had lost the lease. One
/// that was dead, and that somebody wants to be sent, is none of these.
pub(super) fn delete_orphans(
    mongodb: &Connection,
    loaded: i64,
) -> Result<(), MongoDbError> {
    let deliveries = mongodb.deliveries();
    let orphans = doc! {
        "state": {"$in": [WAITING, SENDING]},
        "epoch": {"$lt": loaded},
        "asked_at": Bson::Null,
    };
    mongodb.run(async { deliveries.delete_many(orphans).await })?;
    Ok(())
}

/// Makes the messages that are to be sent the new holder's. None is being sent now, and
/// what was to be folded is.
pub(super) fn adopt(holder: Holder<'_>, loaded: i64) -> Result<(), MongoDbError> {
    let Holder { mongodb, epoch, .. } = holder;
    let deliveries = mongodb.deliveries();
    let folding = doc! {FOLDING: true, "epoch": {"$gte": loaded, "$lte": epoch}};
    let folding = deliveries.find(folding).projection(doc! {"folds": 1});
    let folding = mongodb.collect(folding, |delivery| {
        Some((text(delivery, "_id")?.to_owned(), texts(delivery, "folds")))
    })?;
    for (digest, folds) in folding {
        fold(holder, &digest, &folds)?;
    }

    let of_last = doc! {
        "state": {"$in": [WAITING, SENDING]},
        "epoch": {"$lte": epoch},
        "$or": [{"epoch": {"$gte": loaded}}, {"asked_at": {"$ne": Bson::Null}}],
    };
    let adopt = doc! {"$set": {"epoch": epoch, "state": WAITING}};
    mongodb.run(async { deliveries.update_many(of_last, adopt).await })?;
    Ok(())
}

/// The messages that are to be sent or were made lately, in their order.
pub(super) fn load(
    holder: Holder<'_>,
    lately: Timestamp,
) -> Result<Vec<DeliveryRow>, MongoDbError> {
    let deliveries = holder.mongodb.deliveries();
    let waiting = deliveries.find(doc! {"state": WAITING, "epoch": holder.epoch});
    let mut found = holder.mongodb.collect(waiting, delivery_from_document)?;

    // What is settled is many, and nobody needs its text.
    let others = doc! {
        "created_at": {"$gte": date(lately)}, "state": {"$nin": [WAITING, SENDING]},
    };
    let others = deliveries.find(others).projection(doc! {"message": 0});
    found.extend(holder.mongodb.collect(others, delivery_from_document)?);
    found.sort_by(|one, other| {
        let place = |delivery: &DeliveryRow| (delivery.number, delivery.id.clone());
        place(one).cmp(&place(other))
    });
    Ok(found)
}

/// Folds these messages into a digest, and notes that this is done.
fn fold(holder: Holder<'_>, digest: &str, ids: &[String]) -> Result<(), MongoDbError> {
    let deliveries = holder.mongodb.deliveries();
    let epoch = doc! {"$lte": holder.epoch};
    let folded = doc! {
        "_id": {"$in": ids.to_vec()}, "state": WAITING, "epoch": epoch.clone(),
    };
    let set = doc! {
        "state": DeliveryState::Folded.as_str(), "written": holder.service_time,
    };
    let set = doc! {"$set": set};
    holder
        .mongodb
        .run(async { deliveries.update_many(folded, set).await })?;
    let digest = doc! {"_id": digest, "epoch": epoch};
    let done = doc! {"$unset": {FOLDING: ""}};
    holder
        .mongodb
        .run(async { deliveries.update_one(digest, done).await })?;
    Ok(())
}

impl Holder<'_> {
    /// Adds a message. Those that it folds are not sent any more.
    pub(in crate::store::mongodb) fn queue(
        self,
        delivery: &DeliveryRow,
    ) -> Result<(), StoreError> {
        let deliveries = self.mongodb.deliveries();
        let mut document = delivery_to_document(delivery);
        document.insert("epoch", self.epoch);
        document.insert("written", self.service_time);
        if !delivery.folds.is_empty() {
            document.insert(FOLDING, true);
        }
        self.mongodb
            .run(async { deliveries.insert_one(document).await })?;
        let checked = self.check();
        if checked.is_err() {
            // The next holder would delete it, unless it has taken it over.
            let orphan = doc! {"_id": &delivery.id, "epoch": self.epoch};
            let _ = self
                .mongodb
                .run(async { deliveries.delete_one(orphan).await });
        }
        checked?;
        if !delivery.folds.is_empty() {
            fold(self, &delivery.id, &delivery.folds)?;
        }
        Ok(())
    }

    /// Replaces a message that was not tried yet.
    pub(in crate::store::mongodb) fn change(
        self,
        delivery: &DeliveryRow,
    ) -> Result<bool, StoreError> {
        let untried = doc! {
            "_id": &delivery.id, "state": WAITING, "tries": 0_i64, "epoch": self.epoch,
        };
        let set = doc! {
            "alerts": &delivery.alerts,
            "state": delivery.state.as_str(),
            "next_at": date(delivery.next_at),
            "settled_at": delivery.settled_at.map(date),
            "error": &delivery.error,
            "body": &delivery.body,
            "written": self.service_time,
        };
        let set = doc! {"$set": set};
        let deliveries = self.mongodb.deliveries();
        let updated = self
            .mongodb
            .run(async { deliveries.update_one(untried, set).await })?;
        if updated.matched_count == 0 {
            self.check()?;
        }
        Ok(updated.matched_count > 0)
    }

    /// Begins an attempt, and gives what is to be sent.
    pub(in crate::store::mongodb) fn claim(
        self,
        id: &str,
        message: &str,
    ) -> Result<Option<String>, StoreError> {
        let is_told = Bson::from(doc! {"$ne": Bson::Null});
        for (before, set) in [
            (Bson::Null, doc! {"state": SENDING, "message": message}),
            (is_told, doc! {"state": SENDING}),
        ] {
            let waits = doc! {
                "_id": id, "state": WAITING, "epoch": self.epoch, "message": before,
            };
            let claim = doc! {"$set": set, "$inc": {"tries": 1_i64}};
            let deliveries = self.mongodb.deliveries();
            let claim = deliveries
                .find_one_and_update(waits, claim)
                .return_document(ReturnDocument::After);
            let claimed = self.mongodb.run(async { claim.await })?;
            if let Some(claimed) = claimed {
                return Ok(text(&claimed, "message").map(str::to_owned));
            }
        }
        self.check()?;
        Ok(None)
    }

    /// Ends an attempt.
    pub(in crate::store::mongodb) fn settle(
        self,
        id: &str,
        outcome: &DeliveryOutcome,
        event: Option<&NewEvent>,
    ) -> Result<(), StoreError> {
        let mut set = match outcome {
            DeliveryOutcome::Sent { at } => doc! {
                "state": DeliveryState::Sent.as_str(),
                "settled_at": date(*at),
                "error": Bson::Null,
            },
            DeliveryOutcome::Again { next_at, error } => doc! {
                "state": WAITING, "next_at": date(*next_at), "error": error,
            },
            DeliveryOutcome::Dead { at, error } => doc! {
                "state": DEAD, "settled_at": date(*at), "error": error,
            },
        };
        set.insert("written", self.service_time);
        let mut update = doc! {"$set": set};
        let events = event.map(|event| pending::new_document(event, None));
        carry(&mut update, events.into_iter().collect());

        let deliveries = self.mongodb.deliveries();
        let sending = doc! {"_id": id, "state": SENDING, "epoch": self.epoch};
        let updated = self
            .mongodb
            .run(async { deliveries.update_one(sending, update).await })?;
        if updated.matched_count == 0 {
            self.check()?;
            return Err(Conflict::Changed(format!("delivery {id}")).into());
        }
        if event.is_some() {
            deliver(self.mongodb, id);
        }
        Ok(())
    }

    /// Takes the messages for which somebody has asked for another attempt.
    pub(in crate::store::mongodb) fn take_asked(
        self,
        now: Timestamp,
    ) -> Result<Vec<DeliveryRow>, StoreError> {
        let deliveries = self.mongodb.deliveries();
        let asked = deliveries.find(doc! {"state": ASKED});
        let asked = asked.projection(doc! {"_id": 1}).sort(doc! {"number": 1});
        let ids = self
            .mongodb
            .collect(asked, |delivery| delivery.get("_id").cloned())?;
        let mut taken = Vec::new();
        for id in ids {
            let asked = doc! {"_id": id, "state": ASKED};
            let set = doc! {"state": WAITING, "next_at": date(now), "epoch": self.epoch};
            let take = deliveries
                .find_one_and_update(asked, doc! {"$set": set})
                .return_document(ReturnDocument::After);
            let found = self.mongodb.run(async { take.await })?;
            taken.extend(found.as_ref().and_then(delivery_from_document));
        }
        if !taken.is_empty() {
            self.check()?;
        }
        Ok(taken)
    }
}

/// Asks for another attempt, or dismisses the message.
pub(in crate::store::mongodb) fn decide(
    mongodb: &Connection,
    id: &str,
    decision: Decision,
    event: &NewEvent,
) -> Result<Option<DeliveryRow>, StoreError> {
    let mut set = doc! {"state": decision.state().as_str()};
    if let Decision::Retry { at } = decision {
        set.insert("asked_at", date(at));
    }
    let mut update = doc! {"$set": set};
    carry(&mut update, vec![pending::new_document(event, None)]);
    let deliveries = mongodb.deliveries();
    let decide = deliveries
        .find_one_and_update(doc! {"_id": id, "state": DEAD}, update)
        .return_document(ReturnDocument::After);
    if let Some(decided) = mongodb.run(async { decide.await })? {
        deliver(mongodb, id);
        return Ok(delivery_from_document(&decided));
    }
    match delivery(mongodb, id)? {
        None => Ok(None),
        Some(found) => {
            let (id, state) = (id.to_owned(), found.state.as_str());
            Err(Conflict::NotDead { id, state }.into())
        }
    }
}

/// Delivers the events that a message carries. What fails here the watch does.
fn deliver(mongodb: &Connection, id: &str) {
    let this = doc! {"_id": id};
    if let Err(error) = pending::deliver(mongodb, &mongodb.deliveries(), this) {
        log::debug!("events of a delivery wait: {error}");
    }
}

/// One message.
pub(in crate::store::mongodb) fn delivery(
    mongodb: &Connection,
    id: &str,
) -> Result<Option<DeliveryRow>, MongoDbError> {
    let deliveries = mongodb.deliveries();
    let found = mongodb.run(async { deliveries.find_one(doc! {"_id": id}).await })?;
    Ok(found.as_ref().and_then(delivery_from_document))
}

/// How many messages are in this state.
pub(in crate::store::mongodb) fn count_deliveries(
    mongodb: &Connection,
    state: DeliveryState,
) -> Result<u64, MongoDbError> {
    let deliveries = mongodb.deliveries();
    let alike = doc! {"state": state.as_str()};
    mongodb.run(async { deliveries.count_documents(alike).await })
}

/// Some messages.
pub(in crate::store::mongodb) fn find_deliveries(
    mongodb: &Connection,
    query: &DeliveryQuery,
) -> Result<Page<DeliveryRow>, MongoDbError> {
    let mut condition = Document::new();
    let states = query.states.iter().map(|state| state.as_str());
    is_one_of(&mut condition, "state", states);
    is_one_of(&mut condition, "channel", query.channel.as_deref());
    is_one_of(&mut condition, "alerts", query.alert.as_deref());
    if let Some(after) = &query.after {
        is_behind(&mut condition, "number", after.number.into(), &after.id);
    }

    let deliveries = mongodb.deliveries();
    let found = deliveries.find(condition);
    let found = found.sort(doc! {"number": -1, "_id": -1});
    let limit = i64::try_from(query.limit + 1).unwrap_or(i64::MAX);
    let rows = mongodb.collect(found.limit(limit), delivery_from_document)?;
    Ok(Page::new(rows, query.limit, DeliveryRow::place))
}

fn delivery_to_document(delivery: &DeliveryRow) -> Document {
    doc! {
        "_id": &delivery.id,
        "number": delivery.number,
        "channel": &delivery.channel,
        "alerts": &delivery.alerts,
        "folds": &delivery.folds,
        "state": delivery.state.as_str(),
        "created_at": date(delivery.created_at),
        "asked_at": delivery.asked_at.map(date),
        "next_at": date(delivery.next_at),
        "settled_at": delivery.settled_at.map(date),
        "tries": i64::from(delivery.tries),
        "error": &delivery.error,
        "body": &delivery.body,
        "message": &delivery.message,
    }
}

fn delivery_from_document(document: &Document) -> Option<DeliveryRow> {
    let owned = |name| text(document, name).map(str::to_owned);
    let tries = document.get_i64("tries").ok();
    Some(DeliveryRow {
        id: owned("_id")?,
        number: document.get_i64("number").ok()?,
        channel: owned("channel")?,
        alerts: texts(document, "alerts"),
        folds: texts(document, "folds"),
        state: state(document),
        created_at: time(document, "created_at")?,
        asked_at: time(document, "asked_at"),
        next_at: time(document, "next_at")?,
        settled_at: time(document, "settled_at"),
        tries: tries
            .and_then(|tries| tries.try_into().ok())
            .unwrap_or_default(),
        error: owned("error"),
        body: owned("body")?,
        message: owned("message"),
    })
}

/// A state that somebody has edited counts as dead: nothing is sent of it.
fn state(document: &Document) -> DeliveryState {
    let state = text(document, "state").and_then(DeliveryState::from_word);
    state.unwrap_or(DeliveryState::Dead)
}

pub(super) fn texts(document: &Document, name: &str) -> Vec<String> {
    let texts = document.get_array(name).map(Vec::as_slice);
    let texts = texts.unwrap_or_default().iter();
    texts.filter_map(Bson::as_str).map(str::to_owned).collect()
}
