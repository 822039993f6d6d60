//! The sweep in MongoDB: hosts that are silent become down, hosts that stay down for long
//! are deleted, and so is old history.

use std::net::IpAddr;
use std::thread;
use std::time::{Duration, Instant};

use fleetbeat_protocol::{Status, Timestamp};
use jiff::SignedDuration;
use mongodb::bson::{Bson, Document, doc};

use super::connection::{Connection, MAX_ASKED};
use super::document::{Owned, count_up, date, owned_fields};
use super::error::MongoDbError;
use super::fleet;
use super::owners::{lay_to_rest, prepare_removal};
use super::pending;
use crate::store::column::FLAGS;
use crate::store::removal::Removal;
use crate::store::server::{
    Due, LIFE_OF_DEFAULTS, SweepOrder, Swept, TOMBSTONE_LIFE, as_millis,
};

/// Heartbeats of the history deleted at once.
const MAX_DELETED: i64 = 500;
/// The longest that a sweep deletes history; the next one goes on.
const MAX_MAINTENANCE: Duration = Duration::from_secs(30);
/// Clocks of instances may be so far apart. A last heartbeat that is farther in the future
/// was stored while a clock was wrong.
const MAX_CLOCK_OFFSET: SignedDuration = SignedDuration::from_secs(30);

/// Sweeps once.
pub(super) fn sweep(
    mongodb: &Connection,
    order: &SweepOrder,
) -> Result<Swept, MongoDbError> {
    let (service_time, may_delete_to) = serve(mongodb, order.served)?;
    correct_clocks(mongodb, order.now)?;
    let down = mark_down(mongodb, order, service_time)?;

    let due_before = service_time.saturating_sub(as_millis(order.delete_after));
    let mut swept = delete_hosts(mongodb, due_before, may_delete_to, service_time)?;
    if swept.deleted > 0 {
        fleet::note_removals(mongodb)?;
    }
    swept.down = down;
    if let Err(error) = forget_history(mongodb, order, due_before) {
        log::warn!("old history stays for now: {error}");
    }
    Ok(swept)
}

/// Lets the coming sweeps delete the hosts that are due now.
pub(super) fn prune(
    mongodb: &Connection,
    delete_after: Duration,
) -> Result<Due, MongoDbError> {
    let (service_time, _) = serve(mongodb, Duration::ZERO)?;
    let due_before = service_time.saturating_sub(as_millis(delete_after));
    let due = find(mongodb, &due_to_be_deleted(due_before))?.len();
    let all = count_hosts(mongodb)?;

    let state = mongodb.state();
    let allow = doc! {"$set": {"may_delete_to": due_before}};
    mongodb.run(async { state.update_one(service(), allow).await })?;
    Ok(Due { due, all })
}

/// The service time.
pub(super) fn service_time(mongodb: &Connection) -> Result<i64, MongoDbError> {
    let state = mongodb.state();
    let document = mongodb.run(async { state.find_one(service()).await })?;
    Ok(document
        .map(|document| read(&document, "time"))
        .unwrap_or(0))
}

/// Counts the service time on. Gives it, and down since when hosts may be deleted however
/// many they are.
fn serve(mongodb: &Connection, served: Duration) -> Result<(i64, i64), MongoDbError> {
    let state = mongodb.state();
    let count = doc! {
        "$inc": {"time": as_millis(served)},
        "$setOnInsert": {"may_delete_to": -1_i64},
    };
    let count = state.update_one(service(), count).upsert(true);
    mongodb.run(async { count.await })?;

    let document = mongodb.run(async { state.find_one(service()).await })?;
    let document = document.unwrap_or_default();
    Ok((read(&document, "time"), read(&document, "may_delete_to")))
}

fn service() -> Document {
    doc! {"_id": "service"}
}

fn read(document: &Document, name: &str) -> i64 {
    let long = document.get_i64(name);
    long.or_else(|_| document.get_i32(name).map(i64::from))
        .unwrap_or(-1)
}

/// A last heartbeat in the future was stored while a clock was ahead. It counts as of
/// now, or the host would be alive until then.
fn correct_clocks(mongodb: &Connection, now: Timestamp) -> Result<(), MongoDbError> {
    let limit = now.saturating_add(MAX_CLOCK_OFFSET).unwrap_or(now);
    let ahead = doc! {"last_heartbeat": {"$gt": date(limit)}};
    let mut correct = count_up();
    correct.insert("$set", doc! {"last_heartbeat": date(now)});
    update_each(mongodb, &ahead, &correct).map(|_| ())
}

/// Marks silent hosts down, and notes since when.
fn mark_down(
    mongodb: &Connection,
    order: &SweepOrder,
    service_time: i64,
) -> Result<usize, MongoDbError> {
    let is_down = Status::Down.as_str();
    // A version that does not note since when hosts are down leaves the note of the last
    // time with a host that is back.
    let outdated = doc! {"status": {"$ne": is_down}, "down_since": {"$exists": true}};
    let forget = doc! {"$unset": {"down_since": ""}};
    update_each(mongodb, &outdated, &forget)?;

    let silent = doc! {
        "last_heartbeat": {"$lt": date(order.down_before())},
        "status": {"$ne": is_down},
    };
    let mut mark = count_up();
    mark.insert("$set", doc! {"status": is_down, "down_since": service_time});
    let down = update_each(mongodb, &silent, &mark)?;

    let unnoted = doc! {
        "last_heartbeat": {"$lt": date(order.down_before())},
        "status": is_down,
        "down_since": {"$exists": false},
    };
    let note = doc! {"$set": {"down_since": service_time}};
    update_each(mongodb, &unnoted, &note)?;
    Ok(down)
}

fn due_to_be_deleted(due_before: i64) -> Document {
    doc! {
        "status": Status::Down.as_str(),
        "down_since": {"$lte": due_before},
        "static": {"$ne": true},
    }
}

/// Deletes the hosts that have been down since `due_before`, unless they are too many at
/// once. Their flags wait for their return.
fn delete_hosts(
    mongodb: &Connection,
    due_before: i64,
    may_delete_to: i64,
    service_time: i64,
) -> Result<Swept, MongoDbError> {
    let mut limit = due_before;
    let mut due = find(mongodb, &due_to_be_deleted(limit))?;
    if due.is_empty() {
        return Ok(Swept::default());
    }
    let allowed_limit = due_before.min(may_delete_to);
    let allowed = find(mongodb, &due_to_be_deleted(allowed_limit))?;
    let others = due.len().saturating_sub(allowed.len());
    let mut swept = Swept::default();
    if !SweepOrder::may_delete(others, count_hosts(mongodb)?) {
        swept.held_back = others;
        (due, limit) = (allowed, allowed_limit);
    }

    let servers = mongodb.servers();
    for owned in due {
        let known = &owned.known;
        if known.ip.is_none() || !lay_to_rest(mongodb, &owned, None, service_time)? {
            continue;
        }
        prepare_removal(mongodb, &known.key, Removal::Silent)?;

        let mut still_due = due_to_be_deleted(limit);
        still_due.extend(owned.unchanged());
        still_due.extend(pending::carries_none());
        let result = mongodb.run(async { servers.delete_one(still_due).await });
        swept.deleted += usize::try_from(result?.deleted_count).unwrap_or_default();
    }
    Ok(swept)
}

fn find(mongodb: &Connection, condition: &Document) -> Result<Vec<Owned>, MongoDbError> {
    let servers = mongodb.servers();
    let found = servers.find(condition.clone()).projection(owned_fields());
    mongodb.collect(found, |document| Some(Owned::from_document(document)))
}

fn count_hosts(mongodb: &Connection) -> Result<usize, MongoDbError> {
    let servers = mongodb.servers();
    let count = mongodb.run(async { servers.count_documents(doc! {}).await })?;
    Ok(usize::try_from(count).unwrap_or(usize::MAX))
}

/// Updates the hosts that `condition` selects, some at a time and each only while the
/// condition still holds; gives how many were changed.
fn update_each(
    mongodb: &Connection,
    condition: &Document,
    update: &Document,
) -> Result<usize, MongoDbError> {
    let servers = mongodb.servers();
    let found = servers.find(condition.clone()).projection(doc! {"ip": 1});
    let ips: Vec<IpAddr> =
        mongodb.collect(found, |document| document.get_str("ip").ok()?.parse().ok())?;

    let mut count = 0;
    for chunk in ips.chunks(MAX_ASKED) {
        let addresses: Vec<String> = chunk.iter().map(ToString::to_string).collect();
        let mut of_chunk = condition.clone();
        of_chunk.insert("ip", doc! {"$in": addresses});
        let update = servers.update_many(of_chunk, update.clone());
        let result = mongodb.run(async { update.await });
        count += result?.modified_count;
    }
    Ok(usize::try_from(count).unwrap_or(usize::MAX))
}

/// Deletes history that has been kept since `due_before`, and old tombstones. A heartbeat
/// that a version has stored which did not note the service time goes by its time of
/// collection.
fn forget_history(
    mongodb: &Connection,
    order: &SweepOrder,
    due_before: i64,
) -> Result<(), MongoDbError> {
    let deadline = Instant::now() + MAX_MAINTENANCE;
    let oldest = order.now.checked_sub(order.delete_after);
    let newest = order.now.saturating_add(SignedDuration::from_hours(24));
    let unnoted =
        |time: Document| doc! {"stored_at": {"$exists": false}, "collected_at": time};
    for old in [
        doc! {"stored_at": {"$lte": due_before}},
        unnoted(doc! {"$lt": date(oldest.unwrap_or(Timestamp::MIN))}),
        unnoted(doc! {"$gt": date(newest.unwrap_or(order.now))}),
    ] {
        delete_chunks(mongodb, &old, deadline)?;
    }

    let delete_after = as_millis(order.delete_after);
    let service_time = due_before.saturating_add(delete_after);
    let buried = |life| {
        let before = service_time.saturating_sub(as_millis(life));
        doc! {"buried_at": {"$lt": before}}
    };
    let mut defaults = buried(LIFE_OF_DEFAULTS);
    defaults.extend(
        FLAGS
            .iter()
            .map(|flag| (flag.name.to_owned(), flag.default().into())),
    );
    let none = [Bson::Null, doc! {}.into()];
    defaults.insert("tags", doc! {"$in": none.clone()});
    defaults.insert("settings", doc! {"$in": none});
    defaults.insert("state", Bson::Null);
    let tombstones = mongodb.tombstones();
    for old in [buried(TOMBSTONE_LIFE), defaults] {
        mongodb.run(async { tombstones.delete_many(old).await })?;
    }
    Ok(())
}

/// Deletes history, some at a time. Heartbeats have MongoDB for half of the time.
fn delete_chunks(
    mongodb: &Connection,
    old: &Document,
    deadline: Instant,
) -> Result<(), MongoDbError> {
    let history = mongodb.history();
    while Instant::now() < deadline {
        let started = Instant::now();
        let found = history.find(old.clone()).projection(doc! {"_id": 1});
        let found = found.limit(MAX_DELETED);
        let ids: Vec<Bson> =
            mongodb.collect(found, |document| document.get("_id").cloned())?;
        if ids.is_empty() {
            return Ok(());
        }
        mongodb.run(async { history.delete_many(doc! {"_id": {"$in": ids}}).await })?;
        thread::sleep(started.elapsed());
    }
    Ok(())
}
