//! The sweep in MongoDB: hosts that are silent become down or are deleted, old history is
//! deleted.

use std::net::IpAddr;

use fleetbeat_protocol::{Status, Timestamp};
use mongodb::bson::{Bson, Document, doc};

use super::connection::Connection;
use super::databases::MAX_ASKED;
use super::document::date;
use super::error::MongoDbError;
use crate::store::server::Swept;

/// Heartbeats of the history deleted at once.
const MAX_DELETED: i64 = 2000;

/// Sweeps once. `changed` is told the hosts that may have changed, whatever the outcome.
pub(super) fn sweep(
    mongodb: &Connection,
    down_before: Timestamp,
    delete_before: Timestamp,
    changed: impl Fn(&[IpAddr]),
) -> Result<Swept, MongoDbError> {
    let servers = mongodb.servers();

    let old = doc! {
        "last_heartbeat": {"$lt": date(delete_before)},
        "static": {"$ne": true},
    };
    let deleted = change_each(mongodb, &old, &changed, |chunk| {
        let result = mongodb.run(async { servers.delete_many(chunk).await })?;
        Ok(result.deleted_count)
    })?;

    let silent = doc! {
        "last_heartbeat": {"$lt": date(down_before)},
        "status": {"$ne": Status::Down.as_str()},
    };
    let mark = doc! {
        "$set": {"status": Status::Down.as_str()},
        "$inc": {"rev": 1_i64},
    };
    let down = change_each(mongodb, &silent, &changed, |chunk| {
        let update = servers.update_many(chunk, mark.clone());
        let result = mongodb.run(async { update.await })?;
        Ok(result.modified_count)
    })?;

    if let Err(error) = forget_history(mongodb, delete_before) {
        log::warn!("old history stays for now: {error}");
    }
    Ok(Swept { down, deleted })
}

/// Applies `change` to the hosts that `condition` selects, some at a time and each only
/// while the condition still holds; gives how many were changed.
fn change_each(
    mongodb: &Connection,
    condition: &Document,
    changed: impl Fn(&[IpAddr]),
    change: impl Fn(Document) -> Result<u64, MongoDbError>,
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
        let result = change(of_chunk);
        changed(chunk);
        count += result?;
    }
    Ok(usize::try_from(count).unwrap_or(usize::MAX))
}

/// Deletes history from before `delete_before`, some at a time.
fn forget_history(
    mongodb: &Connection,
    delete_before: Timestamp,
) -> Result<(), MongoDbError> {
    let history = mongodb.history();
    loop {
        let old = history.find(doc! {"collected_at": {"$lt": date(delete_before)}});
        let found = old.projection(doc! {"_id": 1}).limit(MAX_DELETED);
        let ids: Vec<Bson> =
            mongodb.collect(found, |document| document.get("_id").cloned())?;
        if ids.is_empty() {
            return Ok(());
        }
        mongodb.run(async { history.delete_many(doc! {"_id": {"$in": ids}}).await })?;
    }
}
