//! The heartbeats of each host that are not in a chunk yet.

use std::collections::BTreeMap;

use fleetbeat_history::Sample;
use fleetbeat_history::open_chunk::{self, OpenSamples};
use fleetbeat_protocol::Timestamp;
use jiff::SignedDuration;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Bson, Document, doc};

use crate::store::history::{Tended, sample_of_beat};
use crate::store::mongodb::connection::Connection;
use crate::store::mongodb::document::date;
use crate::store::mongodb::error::MongoDbError;
use crate::store::mongodb::sender::{Sender, sender};
use crate::store::server::Beat;

/// The time between two merges of a host.
const PERIOD: SignedDuration = SignedDuration::from_hours(4);
/// Elements of a host that may wait; the oldest give way. Each has at most
/// [`MAX_ELEMENT`] bytes, and MongoDB takes documents of 16 MiB.
const MAX_OPEN: i32 = 1500;
/// Largest element, in bytes. It has one live heartbeat, of which a usual one has 200
/// bytes, or some of a spool's, which share their names.
const MAX_ELEMENT: usize = 10 << 10;
/// So many heartbeats of a host at once are a spool: they are merged soon.
const MANY: usize = 20;
/// The numbers of heartbeats that are multiples of this one let their host be merged soon,
/// so that a host with a heartbeat every second does not reach [`MAX_OPEN`] in
/// [`PERIOD`]. A usual host has 120 heartbeats in that time.
const SOON: u64 = 1000;
/// Hosts that are merged at once.
const BATCH: i64 = 32;

/// A host with what waits.
pub(super) struct OpenHost {
    pub(super) server_id: String,
    samples: Vec<Bson>,
}

impl OpenHost {
    fn from_document(document: &Document) -> Option<OpenHost> {
        Some(OpenHost {
            server_id: document.get_str("_id").ok()?.to_owned(),
            samples: document.get_array("samples").ok()?.clone(),
        })
    }

    /// The samples, and into `tended` those that cannot be read.
    pub(super) fn samples(&self, tended: &mut Tended) -> Vec<Sample> {
        self.read(open_chunk::read, tended)
    }

    fn read(
        &self,
        read: impl Fn(&[u8]) -> OpenSamples,
        tended: &mut Tended,
    ) -> Vec<Sample> {
        let mut samples = Vec::with_capacity(self.samples.len());
        for value in &self.samples {
            let bytes = match value {
                Bson::Binary(binary) => binary.bytes.as_slice(),
                _ => &[],
            };
            let OpenSamples {
                samples: found,
                damage,
            } = read(bytes);
            tended.damaged += u64::from(damage.is_some() || found.is_empty());
            samples.extend(found);
        }
        samples
    }
}

/// Lets the heartbeats wait that belong to known hosts, by `server_id`.
pub(in crate::store::mongodb) fn append(
    mongodb: &Connection,
    beats: &[Beat],
    hosts: &BTreeMap<Sender, String>,
    max_series: usize,
) -> Result<(), MongoDbError> {
    let mut arrived: BTreeMap<&str, Arrived> = BTreeMap::new();
    for beat in beats {
        if let Some(host) = hosts.get(&sender(beat)) {
            arrived.entry(host).or_default().add(beat, max_series);
        }
    }
    if arrived.is_empty() {
        return Ok(());
    }

    let updates = arrived.iter().map(|(host, arrived)| arrived.update(host));
    let mut updates: Vec<Document> = updates.collect();
    for _ in 0..2 {
        let updated = mongodb.update_for_heartbeats("open_chunks", updates.clone())?;
        let Some(refused) = updated.refused.first() else {
            return Ok(());
        };
        // Two instances have made the document at once: one has not appended.
        if !refused.is_duplicate_key {
            return Err(MongoDbError::refused(refused.reason.clone()));
        }
        let again = updated.refused.iter();
        updates = again
            .filter_map(|of| updates.get(of.index).cloned())
            .collect();
    }
    Err(MongoDbError::refused(
        "a host's document is made all the time",
    ))
}

/// What a batch has of a host.
#[derive(Default)]
struct Arrived {
    elements: Vec<Vec<u8>>,
    count: usize,
    /// When the host is merged at the latest; `None`: at its usual time.
    due: Option<Timestamp>,
    at: Timestamp,
}

impl Arrived {
    fn add(&mut self, beat: &Beat, max_series: usize) {
        let mut sample = sample_of_beat(beat);
        sample.keep_series(max_series);
        let last = self.elements.last_mut();
        let longer = last.and_then(|last| Some((with(last, &sample)?, last)));
        match longer {
            Some((longer, last)) => *last = longer,
            // Only a host with some dozen series whose names are of the longest has no room.
            None => self.elements.extend(with(&[], &sample)),
        }

        self.at = beat.at;
        self.count += 1;
        let is_many = self.count == MANY;
        let is_counted = beat.heartbeat.seq.is_some_and(|seq| seq % SOON == SOON - 1);
        if is_many || is_counted {
            self.due = Some(beat.at);
        }
    }

    fn update(&self, host: &str) -> Document {
        let elements = self.elements.iter().cloned().map(binary);
        let elements: Vec<Bson> = elements.collect();
        let mut update = doc! {
            "$push": {"samples": {"$each": elements, "$slice": -MAX_OPEN}},
        };
        match self.due {
            Some(due) => update.insert("$min", doc! {"due": date(due)}),
            None => update.insert("$setOnInsert", doc! {"due": first_due(self.at)}),
        };
        doc! {"q": {"_id": host}, "u": update, "upsert": true}
    }
}

/// An element with one more sample; `None` without room.
fn with(element: &[u8], sample: &Sample) -> Option<Vec<u8>> {
    let longer = open_chunk::append(element, sample).ok()?;
    (longer.len() <= MAX_ELEMENT).then_some(longer)
}

/// When a new host is merged first: at a random time, so that the hosts of a fleet do not
/// come all at once.
fn first_due(at: Timestamp) -> Bson {
    let random = getrandom::u32().unwrap_or_default();
    let within = i64::from(random) % PERIOD.as_secs();
    let due = at.saturating_add(SignedDuration::from_secs(within));
    date(due.unwrap_or(at))
}

pub(super) fn binary(bytes: Vec<u8>) -> Bson {
    let subtype = BinarySubtype::Generic;
    Bson::Binary(Binary { subtype, bytes })
}

/// What waits of a host; `None` for nothing.
pub(super) fn find(
    mongodb: &Connection,
    server_id: &str,
) -> Result<Option<OpenHost>, MongoDbError> {
    let (open, of_host) = (mongodb.open_chunks(), doc! {"_id": server_id});
    let found = mongodb.run(async { open.find_one(of_host).await })?;
    Ok(found.as_ref().and_then(OpenHost::from_document))
}

/// What waits of hosts, by `server_id`: the samples with their counters alone, and whether
/// some of them cannot be read.
pub(super) fn find_counters(
    mongodb: &Connection,
    hosts: &[&str],
) -> Result<BTreeMap<String, (Vec<Sample>, bool)>, MongoDbError> {
    let open = mongodb.open_chunks();
    let open = open.find(doc! {"_id": {"$in": hosts}});
    let found = mongodb.collect(open, |document| {
        let host = OpenHost::from_document(document)?;
        let mut tended = Tended::default();
        let samples = host.read(open_chunk::read_counters, &mut tended);
        Some((host.server_id, (samples, tended.damaged > 0)))
    })?;
    Ok(found.into_iter().collect())
}

/// Hosts whose heartbeats are to be merged.
pub(super) fn find_due(
    mongodb: &Connection,
    now: Timestamp,
) -> Result<Vec<OpenHost>, MongoDbError> {
    let open = mongodb.open_chunks();
    let due = open
        .find(doc! {"due": {"$lte": date(now)}})
        .sort(doc! {"due": 1});
    mongodb.collect(due.limit(BATCH), OpenHost::from_document)
}

/// Takes what is merged out of the hosts' documents. A document without heartbeats goes,
/// because its host is gone or silent.
pub(super) fn merged(
    mongodb: &Connection,
    hosts: &[OpenHost],
    now: Timestamp,
) -> Result<(), MongoDbError> {
    let (empty, full): (Vec<&OpenHost>, Vec<&OpenHost>) =
        hosts.iter().partition(|host| host.samples.is_empty());
    if !empty.is_empty() {
        let open = mongodb.open_chunks();
        let ids: Vec<&str> = empty.iter().map(|host| host.server_id.as_str()).collect();
        let still_empty = doc! {"_id": {"$in": ids}, "samples": []};
        mongodb.run(async { open.delete_many(still_empty).await })?;
    }

    let take_out = |host: &&OpenHost| {
        let pull = doc! {"samples": {"$in": host.samples.clone()}};
        let update = doc! {"$pull": pull, "$set": {"due": later(now)}};
        doc! {"q": {"_id": &host.server_id}, "u": update}
    };
    update(mongodb, full.iter().map(take_out).collect())
}

/// Tries the hosts again at their next time.
pub(super) fn put_off(
    mongodb: &Connection,
    hosts: &[OpenHost],
    now: Timestamp,
) -> Result<(), MongoDbError> {
    let put_off = |host: &OpenHost| {
        let update = doc! {"$set": {"due": later(now)}};
        doc! {"q": {"_id": &host.server_id}, "u": update}
    };
    update(mongodb, hosts.iter().map(put_off).collect())
}

fn update(mongodb: &Connection, updates: Vec<Document>) -> Result<(), MongoDbError> {
    if updates.is_empty() {
        return Ok(());
    }
    mongodb
        .update_others("open_chunks", updates)?
        .none_refused()
}

fn later(now: Timestamp) -> Bson {
    date(now.saturating_add(PERIOD).unwrap_or(now))
}

/// Deletes what waits of a host that is gone.
pub(super) fn delete(mongodb: &Connection, server_id: &str) -> Result<(), MongoDbError> {
    let (open, of_host) = (mongodb.open_chunks(), doc! {"_id": server_id});
    mongodb.run(async { open.delete_one(of_host).await })?;
    Ok(())
}
