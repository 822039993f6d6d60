//! Chunks: a document for each host and day, which MongoDB deletes when it is old.

use std::collections::BTreeMap;
use std::time::Duration;

use fleetbeat_history::traffic::DayTraffic;
use fleetbeat_history::{Chunk, ChunkError, Cut, Day, Sample, StoredChunk, Trouble};
use mongodb::IndexModel;
use mongodb::bson::{Bson, Document, doc};
use mongodb::options::IndexOptions;

use super::open::binary;
use super::traffic::{make_index, put as put_traffic, until};
use crate::store::history::{HistorySettings, Tended};
use crate::store::mongodb::connection::Connection;
use crate::store::mongodb::error::MongoDbError;

/// So often in a row no other instance merges the same day.
const MAX_TRIES: usize = 8;

/// Makes the indexes. Several instances may do so at once.
pub(in crate::store::mongodb) fn make_indexes(
    mongodb: &Connection,
) -> Result<(), MongoDbError> {
    let at_once = IndexOptions::builder().expire_after(Duration::ZERO).build();
    let old = IndexModel::builder().keys(doc! {"until": 1});
    let old = old.options(at_once).build();
    let due = IndexModel::builder().keys(doc! {"due": 1}).build();
    mongodb.run(async {
        mongodb.history_days().create_index(old).await?;
        mongodb.open_chunks().create_index(due).await
    })?;
    make_index(mongodb)
}

/// The samples of a host and day that are to be merged.
struct Due<'a> {
    server_id: &'a str,
    day: Day,
    samples: Vec<&'a Sample>,
}

/// Merges the samples of hosts, each by its `server_id`, into their days. What another
/// instance writes meanwhile is read again.
pub(super) fn merge(
    mongodb: &Connection,
    settings: &HistorySettings,
    hosts: &[(&str, Vec<Sample>)],
    tended: &mut Tended,
) -> Result<(), MongoDbError> {
    let mut days: BTreeMap<String, Due<'_>> = BTreeMap::new();
    for (server_id, samples) in hosts {
        let server_id: &str = server_id;
        for sample in samples {
            let day = sample.day();
            let due = days.entry(id(server_id, day)).or_insert_with(|| Due {
                server_id,
                day,
                samples: Vec::new(),
            });
            due.samples.push(sample);
        }
    }

    let mut told = Some(tended);
    for _ in 0..MAX_TRIES {
        let mut found = Tended::default();
        let Plan { updates, traffic } = plan(mongodb, settings, &days, &mut found)?;
        // Each try finds the same again.
        if let Some(tended) = told.take() {
            tended.cut = add(tended.cut, found.cut);
            tended.troubles.extend(found.troubles);
        }
        if updates.is_empty() {
            return put_traffic(mongodb, settings.keep, &traffic);
        }
        let updated = mongodb.update_others("history_days", updates)?;
        let mut refused = updated.refused.into_iter();
        // A duplicate key: another instance has made the day at the same moment.
        if let Some(refused) = refused.find(|of| !of.is_duplicate_key) {
            return Err(MongoDbError::refused(refused.reason));
        }
    }
    Err(MongoDbError::refused("days change all the time"))
}

/// What is to be written.
#[derive(Default)]
struct Plan<'a> {
    /// The updates after which all samples are in their days, and none if they are.
    updates: Vec<Document>,
    /// The traffic of the days with all samples.
    traffic: Vec<(&'a str, Day, DayTraffic)>,
}

/// What is to be written. What is left out, and what is damaged, is noted in `found`.
fn plan<'a>(
    mongodb: &Connection,
    settings: &HistorySettings,
    days: &BTreeMap<String, Due<'a>>,
    found: &mut Tended,
) -> Result<Plan<'a>, MongoDbError> {
    let ids: Vec<&str> = days.keys().map(String::as_str).collect();
    let mut stored = read_days(mongodb, &ids)?;
    let mut plan = Plan::default();
    for (id, due) in days {
        let before = stored.remove(id);
        let chunk = match before.as_ref().map(|before| read(before, due.day)) {
            None => Chunk::empty(due.day),
            Some(Ok(chunk)) => chunk,
            Some(Err(ChunkError::Version(_))) => {
                found.cut.samples_of_later_versions += due.samples.len();
                continue;
            }
            Some(Err(error)) => {
                let (host, day) = (due.server_id.to_owned(), due.day);
                found.troubles.push(Trouble::Chunk { host, day, error });
                Chunk::empty(due.day)
            }
        };

        let merged = chunk.merge(due.samples.iter().copied(), settings.max_series);
        found.cut.series += merged.cut_series;
        found.cut.samples += merged.cut_samples;
        let traffic = DayTraffic::of(&merged.chunk);
        plan.traffic.push((due.server_id, due.day, traffic));
        if merged.chunk != chunk {
            let until = until(due.day, settings.keep);
            let merged = binary(merged.chunk.encode());
            plan.updates.push(update(id, before, merged, until));
        }
    }
    Ok(plan)
}

/// The update that puts `after` in the place of `before`, if that is still there.
fn update(id: &str, before: Option<Bson>, after: Bson, until: Bson) -> Document {
    let set = doc! {"chunk": after, "until": until};
    match before {
        Some(before) => doc! {
            "q": {"_id": id, "chunk": before},
            "u": {"$set": set},
        },
        None => doc! {
            "q": {"_id": id},
            "u": {"$setOnInsert": set},
            "upsert": true,
        },
    }
}

/// The chunks of these documents, as they are stored.
fn read_days(
    mongodb: &Connection,
    ids: &[&str],
) -> Result<BTreeMap<String, Bson>, MongoDbError> {
    let days = mongodb.history_days();
    let found = days.find(doc! {"_id": {"$in": ids}});
    let found = mongodb.collect(found, |found| {
        let id = found.get_str("_id").ok()?.to_owned();
        Some((id, found.get("chunk").cloned().unwrap_or(Bson::Null)))
    })?;
    Ok(found.into_iter().collect())
}

fn add(one: Cut, other: Cut) -> Cut {
    Cut {
        series: one.series + other.series,
        samples: one.samples + other.samples,
        samples_of_later_versions: one.samples_of_later_versions
            + other.samples_of_later_versions,
    }
}

fn read(value: &Bson, day: Day) -> Result<Chunk, ChunkError> {
    let bytes = match value {
        Bson::Binary(binary) => binary.bytes.as_slice(),
        _ => &[],
    };
    let chunk = StoredChunk::open(bytes)?.decode()?;
    if chunk.day() == day {
        Ok(chunk)
    } else {
        // Somebody has edited the document: the day's samples replace it.
        Ok(Chunk::empty(day))
    }
}

/// The chunks of a host from one day to another, the earliest first; `None` stands for one
/// that cannot be read.
pub(super) fn find(
    mongodb: &Connection,
    server_id: &str,
    (first, last): (Day, Day),
) -> Result<Vec<Option<StoredChunk>>, MongoDbError> {
    let days = mongodb.history_days();
    let range = doc! {"$gte": id(server_id, first), "$lte": id(server_id, last)};
    let found = days.find(doc! {"_id": range}).sort(doc! {"_id": 1});
    mongodb.collect(found, |found| Some(chunk_from_document(found, server_id)))
}

fn chunk_from_document(found: &Document, server_id: &str) -> Option<StoredChunk> {
    let Bson::Binary(chunk) = found.get("chunk")? else {
        return None;
    };
    let chunk = StoredChunk::open(&chunk.bytes).ok()?;
    let is_of_day = found.get_str("_id").ok()? == id(server_id, chunk.day());
    is_of_day.then_some(chunk)
}

/// The earliest day of which something is kept.
pub(super) fn oldest(mongodb: &Connection) -> Result<Option<Day>, MongoDbError> {
    let days = mongodb.history_days();
    let oldest = days.find_one(doc! {}).sort(doc! {"until": 1});
    let oldest = mongodb.run(async { oldest.await })?;
    let id = oldest
        .as_ref()
        .and_then(|oldest| oldest.get_str("_id").ok());
    let day = id.and_then(|id| id.rsplit_once(':')?.1.parse().ok());
    Ok(day.map(Day::new))
}

/// The documents of a host stand together, in the order of the days.
fn id(server_id: &str, day: Day) -> String {
    format!("{server_id}:{:010}", day.number())
}

/// Deletes all days of a host.
pub(super) fn delete(mongodb: &Connection, server_id: &str) -> Result<(), MongoDbError> {
    let days = mongodb.history_days();
    // The sign behind the colon comes next.
    let of_host = doc! {"$gte": format!("{server_id}:"), "$lt": format!("{server_id};")};
    let of_host: Document = doc! {"_id": of_host};
    mongodb.run(async { days.delete_many(of_host).await })?;
    Ok(())
}
