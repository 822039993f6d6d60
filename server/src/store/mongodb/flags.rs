//! Flags in MongoDB: set together with the events that tell it.

use fleetbeat_daemon::clock;
use fleetbeat_protocol::FlagsPatch;
use mongodb::bson::{Bson, Document, doc};
use mongodb::options::ReturnDocument;

use super::connection::Connection;
use super::document::{carry, flags_to_bson, flags_update, named, read_set_flags, text};
use super::error::MongoDbError;
use super::pending::{self, Host};
use super::sequence;
use crate::store::column::flag_changes;
use crate::store::event::Act;
use crate::store::server::HostName;

/// So often in a row the flags are not set by others between reading and setting them.
const MAX_TRIES: usize = 16;

/// Sets the patch's flags and gives the record as it is then; `None` if it is not known.
pub(super) fn set(
    mongodb: &Connection,
    host: &HostName,
    patch: FlagsPatch,
    act: &Act,
) -> Result<Option<Document>, MongoDbError> {
    let servers = mongodb.servers();
    for _ in 0..MAX_TRIES {
        let found = mongodb.run(async { servers.find_one(named(host)).await })?;
        let Some(found) = found else {
            return Ok(None);
        };
        // A number that is taken now is higher than those of the flags that were read.
        let number = sequence::next(mongodb, clock::now())?;
        let mut update = flags_update(patch, number);
        carry(&mut update, events(&found, patch, act));
        let update = servers
            .find_one_and_update(as_read(&found), update)
            .return_document(ReturnDocument::After);
        let Some(record) = mongodb.run(async { update.await })? else {
            continue;
        };

        let of_host = doc! {"_id": record.get("_id").cloned()};
        if let Err(error) = pending::deliver(mongodb, &servers, of_host) {
            log::debug!("events of flags wait: {error}");
        }
        return Ok(Some(record));
    }
    Err(MongoDbError::refused("the flags change all the time"))
}

/// The events of the patch.
fn events(record: &Document, patch: FlagsPatch, act: &Act) -> Vec<Document> {
    let host = Host {
        server_id: text(record, "server_id").unwrap_or_default(),
        ip: text(record, "ip").unwrap_or_default().to_owned(),
        hostname: text(record, "hostname").unwrap_or_default(),
    };
    let changes = flag_changes(read_set_flags(record).flags, patch, act);
    changes
        .iter()
        .map(|event| pending::new_document(event, Some(&host)))
        .collect()
}

/// The query for the record as long as its flags are those that were read, and were set in
/// the same order.
fn as_read(record: &Document) -> Document {
    let mut query = doc! {"_id": record.get("_id").cloned()};
    for (name, _) in flags_to_bson(&read_set_flags(record)) {
        let value = record.get(&name).cloned();
        query.insert(
            name,
            value.unwrap_or_else(|| Bson::from(doc! {"$exists": false})),
        );
    }
    query
}
