//! Flags and tags in MongoDB: set together with the events that tell it.

use fleetbeat_daemon::clock;
use fleetbeat_protocol::{FlagsPatch, TagsPatch};
use mongodb::bson::{Bson, Document, doc};
use mongodb::options::ReturnDocument;

use super::connection::Connection;
use super::document::{
    carry, flags_to_bson, flags_update, named, read_set_flags, tags_update, text,
};
use super::error::MongoDbError;
use super::pending::{self, Host};
use super::sequence;
use crate::store::column::flag_changes;
use crate::store::error::StoreError;
use crate::store::event::{Act, NewEvent};
use crate::store::server::HostName;
use crate::store::tags::tag_changes;

/// So often in a row the flags are not set by others between reading and setting them.
const MAX_TRIES: usize = 16;

/// What an admin asks for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Patch<'a> {
    Flags(FlagsPatch),
    Tags(&'a TagsPatch),
}

/// Sets the patch's flags or tags and gives the record as it is then; `None` if it is not
/// known.
pub(super) fn set(
    mongodb: &Connection,
    host: &HostName,
    patch: Patch<'_>,
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
        let mut update = patch.update(&found, number)?;
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

impl Patch<'_> {
    /// The update of the record, which was read. `number` orders the change among all
    /// changes of flags and tags.
    ///
    /// # Errors
    /// The host would have too many tags.
    fn update(self, record: &Document, number: i64) -> Result<Document, MongoDbError> {
        match self {
            Patch::Flags(patch) => Ok(flags_update(patch, number)),
            Patch::Tags(patch) => {
                let mut tags = read_set_flags(record).tags;
                let result = tags.change(patch, number).map_err(StoreError::from);
                result.map_err(MongoDbError::Store)?;
                Ok(tags_update(&tags))
            }
        }
    }

    /// What the patch changes in the record, as events.
    fn events(self, record: &Document, act: &Act) -> Vec<NewEvent> {
        let before = read_set_flags(record);
        match self {
            Patch::Flags(patch) => flag_changes(before.flags, patch, act),
            Patch::Tags(patch) => tag_changes(&before.tags.shown(), patch, act),
        }
    }
}

/// The events of the patch.
fn events(record: &Document, patch: Patch<'_>, act: &Act) -> Vec<Document> {
    let host = Host {
        server_id: text(record, "server_id").unwrap_or_default(),
        ip: text(record, "ip").unwrap_or_default().to_owned(),
        hostname: text(record, "hostname").unwrap_or_default(),
    };
    let events = patch.events(record, act);
    events
        .iter()
        .map(|event| pending::new_document(event, Some(&host)))
        .collect()
}

/// The query for the record as long as its flags and tags are those that were read, and
/// were set in the same order.
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
