//! Every heartbeat in MongoDB: how heartbeats wait, and how the instance with the watch's
//! lease merges them into chunks.
//!
//! ```text
//! open_chunks   {_id: server_id, samples: [...], due}      a document a host
//! history_days  {_id: "server_id:day", chunk, until}       a document a host and day
//! history_traffic {_id: "server_id:block", days, until}    a document a host and 32 days
//! group_samples {_id: second, samples}                     the fleet and its countries
//! gone_histories {_id: server_id, at, [heir]}              hosts that are gone
//! ```
//!
//! What is merged is written into the day first, and then taken out of the document of the
//! host by its value. A kill between the two changes nothing: the same heartbeats are
//! merged again, and are there once.

mod days;
mod groups;
mod open;
mod sums;
mod traffic;

use std::thread;
use std::time::{Duration, Instant};

use fleetbeat_daemon::clock;
use fleetbeat_history::chart::ChartQuery;
use fleetbeat_history::{
    Chunk, Day, HistoryError, Sample, Size, StoredChunk, chart_of, days_of,
};
use fleetbeat_protocol::Timestamp;
use jiff::SignedDuration;
use mongodb::bson::{Document, doc};

use super::connection::Connection;
use super::document::{date, named, read_server, text, time};
use super::error::MongoDbError;
use crate::store::history::{DaysRead, HistorySettings, HostHistory, Tended};
use crate::store::server::HostName;

pub(super) use self::days::make_indexes;
pub(super) use self::groups::{add as add_groups, charts as group_charts};
pub(super) use self::open::append;
pub(super) use self::sums::traffic;

/// The time after which a round comes to its end.
const MAX_ROUND: Duration = Duration::from_secs(1);
/// A removal that has not come about in this time never does.
const REMOVAL: SignedDuration = SignedDuration::from_hours(1);
/// What takes room.
const COLLECTIONS: [&str; 3] = ["history_days", "history_traffic", "open_chunks"];
/// Hosts that are gone, whose chunks are deleted at once.
const GONE: i64 = 20;

/// Notes that a host is about to be removed: its chunks go when it is gone.
pub(super) fn note_gone(
    mongodb: &Connection,
    server_id: &str,
) -> Result<(), MongoDbError> {
    note(mongodb, server_id, doc! {"at": date(clock::now())})
}

/// Notes that a host is about to be removed that has turned out to be `heir`, which gets
/// its chunks.
pub(super) fn note_heir(
    mongodb: &Connection,
    server_id: &str,
    heir: &str,
) -> Result<(), MongoDbError> {
    let set = doc! {"at": date(clock::now()), "heir": heir};
    note(mongodb, server_id, set)
}

fn note(
    mongodb: &Connection,
    server_id: &str,
    set: Document,
) -> Result<(), MongoDbError> {
    let (gone, host) = (mongodb.gone_histories(), doc! {"_id": server_id});
    let note = gone.update_one(host, doc! {"$set": set});
    match mongodb.run(async { note.upsert(true).await }) {
        // Another instance has noted the same at this moment.
        Err(error) if error.is_duplicate_key() => Ok(()),
        result => result.map(|_| ()),
    }
}

/// Does a round of what heartbeats do not wait for.
pub(super) fn tend(
    mongodb: &Connection,
    settings: &HistorySettings,
    now: Timestamp,
) -> Result<Tended, MongoDbError> {
    let deadline = Instant::now() + MAX_ROUND;
    let mut tended = Tended::default();
    remove_gone(mongodb, settings, now, &mut tended)?;
    groups::merge(mongodb, settings, &mut tended)?;
    while Instant::now() < deadline {
        let started = Instant::now();
        let due = open::find_due(mongodb, now)?;
        if due.is_empty() {
            break;
        }
        if !merge(mongodb, settings, &due, now, &mut tended)? {
            // One of them: the others need not wait for it.
            for host in due.chunks(1) {
                merge(mongodb, settings, host, now, &mut tended)?;
            }
        }
        // Heartbeats have MongoDB for half of the time.
        thread::sleep(started.elapsed().min(MAX_ROUND));
    }
    tended.size = size(mongodb).ok();
    Ok(tended)
}

/// How large history is.
fn size(mongodb: &Connection) -> Result<Size, MongoDbError> {
    let mut size = Size::default();
    for collection in COLLECTIONS {
        let (used, on_disk) = mongodb.collection_bytes(collection)?;
        size.used += used;
        size.on_disk += on_disk;
    }
    Ok(size)
}

/// The chart of a host; `None` if the host is not known.
pub(super) fn chart(
    mongodb: &Connection,
    host: &HostName,
    query: &ChartQuery,
) -> Result<Option<HostHistory>, MongoDbError> {
    let servers = mongodb.servers();
    let record = mongodb.run(async { servers.find_one(named(host)).await })?;
    let Some(record) = record.as_ref().and_then(read_server) else {
        return Ok(None);
    };
    let (ip, server_id) = (record.ip, record.server_id);

    let found = Found::read(mongodb, &server_id, query.days())?;
    let oldest = days::oldest(mongodb)?;
    let mut chart = chart_of(found.chunks, oldest, &found.waiting, query);
    chart.is_incomplete |= found.is_damaged;
    Ok(Some(HostHistory {
        ip,
        server_id,
        chart,
    }))
}

/// Gives each day of a host to `each`; `None` if the host is not known.
pub(super) fn days(
    mongodb: &Connection,
    host: &HostName,
    range: (Day, Day),
    each: &mut dyn FnMut(&Chunk),
) -> Result<Option<DaysRead>, MongoDbError> {
    let servers = mongodb.servers();
    let record = mongodb.run(async { servers.find_one(named(host)).await })?;
    let Some(record) = record.as_ref().and_then(read_server) else {
        return Ok(None);
    };
    let found = Found::read(mongodb, &record.server_id, range)?;
    let is_incomplete = days_of(found.chunks, &found.waiting, range, each);
    Ok(Some(DaysRead {
        is_incomplete: is_incomplete || found.is_damaged,
        troubles: Vec::new(),
    }))
}

/// What there is of some days of a host.
struct Found {
    /// `None` stands for a chunk that cannot be read.
    chunks: Vec<Option<StoredChunk>>,
    /// The samples that are not merged yet, of any day.
    waiting: Vec<Sample>,
    /// Whether some of them cannot be read.
    is_damaged: bool,
}

impl Found {
    fn read(
        mongodb: &Connection,
        server_id: &str,
        range: (Day, Day),
    ) -> Result<Found, MongoDbError> {
        // Before the days: what is merged in between is in both, and not in none.
        let waiting = open::find(mongodb, server_id)?;
        let mut read = Tended::default();
        let waiting = waiting.map(|host| host.samples(&mut read));
        Ok(Found {
            chunks: days::find(mongodb, server_id, range)?,
            waiting: waiting.unwrap_or_default(),
            is_damaged: read.damaged > 0,
        })
    }
}

/// Merges what waits of the hosts. False if MongoDB refuses a day, which is then tried
/// again at the next time of a host that is alone.
fn merge(
    mongodb: &Connection,
    settings: &HistorySettings,
    hosts: &[open::OpenHost],
    now: Timestamp,
    tended: &mut Tended,
) -> Result<bool, MongoDbError> {
    let samples = hosts.iter().map(|host| {
        let samples = host.samples(tended);
        (host.server_id.as_str(), samples)
    });
    let samples: Vec<(&str, Vec<Sample>)> = samples.collect();

    match days::merge(mongodb, settings, &samples, tended) {
        Ok(()) => {
            let count: usize = samples.iter().map(|(_, samples)| samples.len()).sum();
            tended.merged += count as u64;
            open::merged(mongodb, hosts, now)?;
            Ok(true)
        }
        Err(error) if !error.is_away() => {
            if let [host] = hosts {
                let reason = format!("host {}: {error}", host.server_id);
                tended.failure = Some(HistoryError::Unavailable(reason));
                open::put_off(mongodb, hosts, now)?;
            }
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// A host that is gone, or about to be.
struct Gone {
    server_id: String,
    at: Option<Timestamp>,
    heir: Option<String>,
}

impl Gone {
    fn from_document(document: &Document) -> Option<Gone> {
        Some(Gone {
            server_id: text(document, "_id")?.to_owned(),
            at: time(document, "at"),
            heir: text(document, "heir").map(str::to_owned),
        })
    }
}

/// Deletes the chunks of hosts that are gone, in the order in which they went. Another
/// host may get them first: then both were one.
fn remove_gone(
    mongodb: &Connection,
    settings: &HistorySettings,
    now: Timestamp,
    tended: &mut Tended,
) -> Result<(), MongoDbError> {
    let (gone, servers) = (mongodb.gone_histories(), mongodb.servers());
    let some = gone.find(doc! {}).sort(doc! {"at": 1}).limit(GONE);
    let long_ago = now.saturating_sub(REMOVAL).unwrap_or(now);
    for host in mongodb.collect(some, Gone::from_document)? {
        let of_host = doc! {"server_id": &host.server_id};
        let record = mongodb.run(async { servers.find_one(of_host).await })?;
        if record.is_none() {
            if let Some(heir) = &host.heir {
                hand_over(mongodb, settings, &host.server_id, heir, tended)?;
            }
            days::delete(mongodb, &host.server_id)?;
            traffic::delete(mongodb, &host.server_id)?;
            open::delete(mongodb, &host.server_id)?;
        } else if host.at.is_some_and(|at| at > long_ago) {
            // The record may be about to go.
            continue;
        }
        let done = doc! {"_id": &host.server_id};
        mongodb.run(async { gone.delete_one(done).await })?;
    }
    Ok(())
}

/// Merges what is kept of one host into what is kept of another one.
fn hand_over(
    mongodb: &Connection,
    settings: &HistorySettings,
    from: &str,
    to: &str,
    tended: &mut Tended,
) -> Result<(), MongoDbError> {
    for chunk in days::find(mongodb, from, (Day::FIRST, Day::LAST))? {
        // What cannot be read goes with its host.
        if let Some(Ok(chunk)) = chunk.map(StoredChunk::decode) {
            let samples: Vec<Sample> = chunk.samples().collect();
            days::merge(mongodb, settings, &[(to, samples)], tended)?;
        }
    }
    if let Some(waiting) = open::find(mongodb, from)? {
        let samples = waiting.samples(tended);
        days::merge(mongodb, settings, &[(to, samples)], tended)?;
    }
    Ok(())
}
