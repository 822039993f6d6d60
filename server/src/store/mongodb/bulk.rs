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
    let mut told = Told::new();
    let mut matched = 0;
    for _ in 0..MAX_TRIES {
        let found = servers.find(doc! {"server_id": {"$in": hosts}});
        let found = mongodb.collect(found, |record| Some(record.clone()))?;
        // A number that is taken now is higher than those of the flags that were read.
        let number = sequence::next(mongodb, clock::now())?;
        let wanted = plan(&found, bulk, number)?;
        if wanted.is_empty() {
            matched = 0;
            break;
        }

        let event = told.event(bulk, wanted.len());
        let (updated, refused) = write(mongodb, &wanted, &event)?;
        told.carry(&wanted, updated);
        matched = updated;
        if updated + refused >= wanted.len() {
            break;
        }
    }
    told.deliver(mongodb, bulk, matched);
    Ok(matched)
}

/// The one event of all rounds.
struct Told {
    id: String,
    /// The documents that may carry it.
    carriers: Vec<Bson>,
    /// Whether a document carries it.
    is_carried: bool,
    /// The hosts that it tells of in the documents of the first round.
    hosts: Option<usize>,
}

impl Told {
    fn new() -> Told {
        Told {
            id: pending::new_id(),
            carriers: Vec::new(),
            is_carried: false,
            hosts: None,
        }
    }

    /// The event of so many hosts.
    fn event(&self, bulk: &Bulk<'_>, hosts: usize) -> Document {
        pending::to_document(&self.id, &self.id, &bulk.event(hosts), None)
    }

    /// Notes that it was written to these documents, of which so many were there.
    fn carry(&mut self, wanted: &[(&Document, Document)], updated: usize) {
        let ids = wanted
            .iter()
            .filter_map(|(record, _)| record.get("_id").cloned());
        self.carriers.extend(ids);
        self.is_carried |= updated > 0;
        self.hosts.get_or_insert(wanted.len());
    }

    /// Inserts the event, now that it is known how many hosts it is about, and clears it
    /// from all records that carry it. The watch may have delivered it between two rounds;
    /// then the number is put right. What fails here is done by the watch, with the number
    /// of a round.
    fn deliver(&self, mongodb: &Connection, bulk: &Bulk<'_>, hosts: usize) {
        if !self.is_carried {
            return;
        }
        let event = self.event(bulk, hosts);
        let carriers = self.carriers.clone();
        let mut result =
            pending::deliver_one(mongodb, &mongodb.servers(), carriers, &event);
        if result.is_ok() && self.hosts != Some(hosts) {
            result = pending::correct(mongodb, &event);
        }
        if let Err(error) = result {
            log::debug!("the event of a bulk waits: {}", StoreError::from(error));
        }
    }
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
