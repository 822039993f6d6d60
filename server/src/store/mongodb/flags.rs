//! What admins set, in MongoDB: written together with the events that tell it.

use fleetbeat_daemon::clock;
use mongodb::bson::{Bson, Document, doc};
use mongodb::options::ReturnDocument;

use super::connection::Connection;
use super::document::{
    carry, count_up, flags_update, named, read_server, read_set_flags, set_fields,
    settings_update, state_update, tags_update, text,
};
use super::error::MongoDbError;
use super::pending::{self, Host};
use super::sequence;
use crate::store::error::Conflict;
use crate::store::event::Act;
use crate::store::flags::{HostPatch, Judge, SetFlags, Verdict};
use crate::store::server::HostName;

/// So often in a row the flags are not set by others between reading and setting them.
const MAX_TRIES: usize = 16;

/// Sets what the patch asks for and gives the record as it is then; `None` if it is not
/// known, or is not seen by the judge. The update finds the record as long as the judge
/// would say the same of it.
pub(super) fn set(
    mongodb: &Connection,
    host: &HostName,
    patch: HostPatch<'_>,
    judge: Judge<'_>,
    act: &Act,
) -> Result<Option<Document>, MongoDbError> {
    let servers = mongodb.servers();
    for _ in 0..MAX_TRIES {
        let found = mongodb.run(async { servers.find_one(named(host)).await })?;
        let Some(found) = found else {
            return Ok(None);
        };
        match verdict(&found, judge) {
            Verdict::Allowed => {}
            Verdict::Leaves => {
                return Err(MongoDbError::Store(Conflict::LeavesScope.into()));
            }
            Verdict::Unseen => return Ok(None),
        }
        // A number that is taken now is higher than those of the flags that were read.
        let number = sequence::next(mongodb, clock::now())?;
        let before = read_set_flags(&found);
        let mut after = before.clone();
        let changed = after.change(patch, act.at, number);
        changed.map_err(|conflict| MongoDbError::Store(conflict.into()))?;

        let mut update = update(patch, &after, number);
        carry(&mut update, events(&found, &before, patch, act));
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

/// What the judge says of the record.
fn verdict(record: &Document, judge: Judge<'_>) -> Verdict {
    let Some(judge) = judge else {
        return Verdict::Allowed;
    };
    let record = read_server(record);
    record.map_or(Verdict::Unseen, |record| judge(&record))
}

/// The update of the record to what is set `after` the patch. `number` orders the change
/// among all changes of flags and tags.
fn update(patch: HostPatch<'_>, after: &SetFlags, number: i64) -> Document {
    match patch {
        HostPatch::Flags(patch) => flags_update(patch, number),
        HostPatch::Tags(_) => tags_update(&after.tags),
        HostPatch::State(_) => state_update(&after.state),
        HostPatch::Settings(_) => settings_update(&after.settings),
    }
}

/// The one update of the record to what is set `after` all of the patches.
pub(super) fn set_all(
    patches: &[HostPatch<'_>],
    after: &SetFlags,
    number: i64,
) -> Document {
    let mut fields = Document::new();
    for patch in patches {
        if let Ok(set) = update(*patch, after, number).get_document("$set") {
            fields.extend(set.clone());
        }
    }
    let mut all = count_up();
    if !fields.is_empty() {
        all.insert("$set", fields);
    }
    all
}

/// The events of the patch.
fn events(
    record: &Document,
    before: &SetFlags,
    patch: HostPatch<'_>,
    act: &Act,
) -> Vec<Document> {
    let host = Host {
        server_id: text(record, "server_id").unwrap_or_default(),
        ip: text(record, "ip").unwrap_or_default().to_owned(),
        hostname: text(record, "hostname").unwrap_or_default(),
    };
    let events = before.changes(patch, act);
    events
        .iter()
        .map(|event| pending::new_document(event, Some(&host)))
        .collect()
}

/// The query for the record as long as what admins have set is what was read, and was set
/// in the same order, and it is the record of the same host at the same address: scopes ask
/// about nothing else. A heartbeat that changes none of these is in nobody's way.
pub(super) fn as_read(record: &Document) -> Document {
    let mut query = doc! {"_id": record.get("_id").cloned()};
    for name in set_fields().chain(["ip", "server_id"]) {
        let value = record.get(name).cloned();
        query.insert(
            name,
            value.unwrap_or_else(|| Bson::from(doc! {"$exists": false})),
        );
    }
    query
}
