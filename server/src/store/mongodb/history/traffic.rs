//! The traffic of hosts: a document for a host and 32 days, so that a cycle of a large
//! fleet is some documents a host, and no look at chunks.
//!
//! ```text
//! history_traffic {_id: "server_id:block", days: {"7": {n, sums}}, until}
//! ```
//!
//! A day's traffic is written behind its chunk, each time that the day is merged. An
//! instance that lost the lease meanwhile may come late: traffic of fewer samples takes no
//! place of traffic of more.

use std::collections::BTreeMap;
use std::time::Duration;

use fleetbeat_history::Day;
use fleetbeat_history::traffic::{DayTraffic, LOOK_BACK_DAYS};
use fleetbeat_protocol::Timestamp;
use mongodb::IndexModel;
use mongodb::bson::{Bson, Document, doc};
use mongodb::options::IndexOptions;

use super::open::binary;
use crate::store::history::TrafficQuery;
use crate::store::mongodb::connection::Connection;
use crate::store::mongodb::document::date;
use crate::store::mongodb::error::MongoDbError;

/// Days of a document.
const BLOCK: u32 = 32;
/// Another instance may make the same document at the same moment.
const MAX_TRIES: usize = 2;

/// The days of a host whose traffic can be read, and how many cannot.
#[derive(Default)]
pub(super) struct Found {
    pub(super) days: BTreeMap<Day, DayTraffic>,
    pub(super) unread: usize,
}

/// Makes the index by which MongoDB deletes what is old.
pub(super) fn make_index(mongodb: &Connection) -> Result<(), MongoDbError> {
    let at_once = IndexOptions::builder().expire_after(Duration::ZERO).build();
    let old = IndexModel::builder().keys(doc! {"until": 1});
    let old = old.options(at_once).build();
    mongodb.run(async { mongodb.history_traffic().create_index(old).await })?;
    Ok(())
}

/// Writes the traffic of days, each of a host by its `server_id`.
pub(super) fn put(
    mongodb: &Connection,
    keep: Duration,
    days: &[(&str, Day, DayTraffic)],
) -> Result<(), MongoDbError> {
    let updates = days.iter().filter(|(.., traffic)| !traffic.is_empty());
    let updates = updates.map(|(host, day, traffic)| update(host, *day, traffic, keep));
    let mut updates: Vec<Document> = updates.collect();
    for _ in 0..MAX_TRIES {
        if updates.is_empty() {
            return Ok(());
        }
        let updated = mongodb.update_others("history_traffic", updates.clone())?;
        let mut refused = updated.refused.iter();
        if let Some(refused) = refused.find(|of| !of.is_duplicate_key) {
            return Err(MongoDbError::refused(refused.reason.clone()));
        }
        // A duplicate key: the document was made at this moment, or has the traffic of
        // more samples.
        let again = updated.refused.iter();
        updates = again
            .filter_map(|of| updates.get(of.index).cloned())
            .collect();
    }
    Ok(())
}

fn update(host: &str, day: Day, traffic: &DayTraffic, keep: Duration) -> Document {
    let samples = i64::try_from(traffic.samples()).unwrap_or(i64::MAX);
    let place = format!("days.{}", day.number() % BLOCK);
    let id = id(host, block(day));
    let last = Day::new(block(day) * BLOCK + BLOCK - 1);
    let day = doc! {"n": samples, "sums": binary(traffic.encode())};
    doc! {
        "q": {
            "_id": id,
            format!("{place}.n"): {"$not": {"$gt": samples}},
        },
        "u": {"$set": {place: day, "until": until(last, keep)}},
        "upsert": true,
    }
}

/// When a day is deleted.
pub(super) fn until(day: Day, keep: Duration) -> Bson {
    let keep = i64::try_from(keep.as_secs()).unwrap_or(i64::MAX);
    let until = Timestamp::from_second(day.end().saturating_add(keep));
    date(until.unwrap_or(Timestamp::MAX))
}

fn block(day: Day) -> u32 {
    day.number() / BLOCK
}

/// The documents of a host stand together, in the order of the days.
fn id(host: &str, block: u32) -> String {
    format!("{host}:{block:010}")
}

/// What there is of the hosts' days, and of those before them that are near.
pub(super) fn find(
    mongodb: &Connection,
    hosts: &[TrafficQuery],
) -> Result<BTreeMap<String, Found>, MongoDbError> {
    let mut ids = Vec::new();
    for query in hosts {
        let (first, last) = query.days;
        let blocks = block(first.before(LOOK_BACK_DAYS))..=block(last);
        ids.extend(blocks.map(|block| id(&query.server_id, block)));
    }
    let blocks = mongodb.history_traffic();
    let blocks = blocks.find(doc! {"_id": {"$in": ids}});
    let blocks = mongodb.collect(blocks, |block| {
        let (host, number) = block.get_str("_id").ok()?.rsplit_once(':')?;
        let first = Day::new(number.parse::<u32>().ok()?.saturating_mul(BLOCK));
        Some((host.to_owned(), read_block(block, first)))
    })?;

    let mut found: BTreeMap<String, Found> = BTreeMap::new();
    for (host, block) in blocks {
        let of_host = found.entry(host).or_default();
        of_host.days.extend(block.days);
        of_host.unread += block.unread;
    }
    for query in hosts {
        if let Some(found) = found.get_mut(&query.server_id) {
            found.cut(query.days);
        }
    }
    Ok(found)
}

fn read_block(block: &Document, first: Day) -> Found {
    let mut found = Found::default();
    for (place, day) in block.get_document("days").into_iter().flatten() {
        let place = place.parse().ok().filter(|place: &u32| *place < BLOCK);
        let sums = day.as_document().and_then(|day| day.get("sums"));
        let traffic = match sums {
            Some(Bson::Binary(sums)) => DayTraffic::decode(&sums.bytes).ok(),
            _ => None,
        };
        match place.zip(traffic) {
            Some((place, traffic)) => {
                found.days.insert(Day::new(first.number() + place), traffic);
            }
            None => found.unread += 1,
        }
    }
    found
}

impl Found {
    /// Leaves the days from the first to the last, and those before that are near.
    fn cut(&mut self, (first, last): (Day, Day)) {
        let from = first.before(LOOK_BACK_DAYS);
        self.days.retain(|day, _| (from..=last).contains(day));
    }
}

/// Deletes the traffic of a host.
pub(super) fn delete(mongodb: &Connection, server_id: &str) -> Result<(), MongoDbError> {
    let traffic = mongodb.history_traffic();
    // The sign behind the colon comes next.
    let of_host = doc! {"$gte": format!("{server_id}:"), "$lt": format!("{server_id};")};
    let of_host: Document = doc! {"_id": of_host};
    mongodb.run(async { traffic.delete_many(of_host).await })?;
    Ok(())
}
