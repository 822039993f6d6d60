//! What admins set on many hosts at once, in MongoDB.
//!
//! A chunk is one command with an update for each host. An update finds its host as long as
//! what admins have set on it is what was read; a further round reads again. MongoDB
//! changes one document at a time, so each document carries the chunk's one event: whichever
//! documents a kill has let through, the event is delivered, and once, because it has the
//! same `_id` in all of them.

use fleetbeat_daemon::clock;
use mongodb::bson::{Bson, Document, doc, serialize_to_vec};

use super::connection::Connection;
use super::document::{carry, read_server, read_set_flags};
use super::error::MongoDbError;
use super::flags::{as_read, set_all};
use super::{pending, sequence};
use crate::store::bulk::Bulk;
use crate::store::error::StoreError;

/// So often in a row a chunk is read and written, because others set something meanwhile.
const MAX_TRIES: usize = 16;
/// The bytes of updates in one command: MongoDB takes 16 MiB, and hosts may have 20 KiB of
/// tags and settings.
const MAX_COMMAND_BYTES: usize = 4 * 1024 * 1024;

/// Sets it on these hosts, by `server_id`, and gives on how many.
pub(super) fn set(
    mongodb: &Connection,
    hosts: &[String],
    bulk: &Bulk<'_>,
) -> Result<usize, MongoDbError> {
    let servers = mongodb.servers();
    // All rounds have one event.
    let id = pending::new_id();
    let mut matched = 0;
    for _ in 0..MAX_TRIES {
        let found = servers.find(doc! {"server_id": {"$in": hosts}});
        let found = mongodb.collect(found, |record| Some(record.clone()))?;
        // A number that is taken now is higher than those of the flags that were read.
        let number = sequence::next(mongodb, clock::now())?;
        let wanted = plan(&found, bulk, number)?;
        if wanted.is_empty() {
            return Ok(0);
        }

        let event = bulk.event(wanted.len());
        let event = pending::to_document(&id, &id, &event, None);
        let (updated, refused) = write(mongodb, &wanted, &event)?;
        deliver(mongodb, &wanted, &event);
        matched = updated;
        if updated + refused >= wanted.len() {
            break;
        }
    }
    Ok(matched)
}

/// The records that may be changed, each with the fields to set.
fn plan<'a>(
    found: &'a [Document],
    bulk: &Bulk<'_>,
    number: i64,
) -> Result<Vec<(&'a Document, Document)>, MongoDbError> {
    let mut wanted = Vec::new();
    for record in found {
        let server = read_server(record);
        if !server.is_some_and(|server| bulk.may_change(&server)) {
            continue;
        }
        let mut after = read_set_flags(record);
        match after.change_all(bulk.patches, bulk.act.at, number) {
            Ok(()) => wanted.push((record, set_all(bulk.patches, &after, number))),
            Err(error) => log::debug!("a host of a bulk is left out: {error}"),
        }
    }
    Ok(wanted)
}

/// Writes the updates. Gives how many have found their host, and how many were refused.
fn write(
    mongodb: &Connection,
    wanted: &[(&Document, Document)],
    event: &Document,
) -> Result<(usize, usize), MongoDbError> {
    let (mut matched, mut refused) = (0, 0);
    for updates in commands(wanted, event)? {
        let updated = mongodb.update_others("servers", updates)?;
        matched += updated.matched;
        refused += updated.refused.len();
        if let Some(first) = updated.refused.first() {
            log::warn!("MongoDB refuses hosts of a bulk: {}", first.reason);
        }
    }
    Ok((matched, refused))
}

/// The updates of each command: nearly always there is one.
fn commands(
    wanted: &[(&Document, Document)],
    event: &Document,
) -> Result<Vec<Vec<Document>>, MongoDbError> {
    let mut commands = vec![Vec::new()];
    let mut bytes = 0;
    for (record, set) in wanted {
        let mut update = set.clone();
        carry(&mut update, vec![event.clone()]);
        let update = doc! {"q": as_read(record), "u": update};
        let size = serialize_to_vec(&update);
        let size = size.map_err(|error| MongoDbError::refused(error.to_string()))?;
        bytes += size.len();
        if bytes > MAX_COMMAND_BYTES {
            bytes = size.len();
            commands.push(Vec::new());
        }
        commands.last_mut().expect("not empty").push(update);
    }
    Ok(commands)
}

/// Inserts the event, and clears it from all records that carry it. What fails here is done
/// by the watch.
fn deliver(mongodb: &Connection, wanted: &[(&Document, Document)], event: &Document) {
    let carriers: Vec<Bson> = wanted
        .iter()
        .filter_map(|(record, _)| record.get("_id").cloned())
        .collect();
    let result = pending::deliver_one(mongodb, &mongodb.servers(), carriers, event);
    if let Err(error) = result {
        log::debug!("the event of a bulk waits: {}", StoreError::from(error));
    }
}
