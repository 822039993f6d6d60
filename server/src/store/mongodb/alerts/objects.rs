//! Rules, mutes, channels and acknowledgements in MongoDB.

use mongodb::bson::{Document, doc};
use mongodb::options::ReturnDocument;

use super::super::connection::Connection;
use super::super::document::{carry, text};
use super::super::error::MongoDbError;
use super::super::pending;
use crate::store::alert_store::{Expected, Object, ObjectChange, ObjectKind};
use crate::store::error::{Conflict, StoreError};
use crate::store::event::NewEvent;

/// Every object of a kind.
pub(in crate::store::mongodb) fn objects(
    mongodb: &Connection,
    kind: ObjectKind,
) -> Result<Vec<Object>, MongoDbError> {
    let objects = mongodb.alert_objects();
    let found = objects.find(present(kind)).sort(doc! {"_id": 1});
    mongodb.collect(found, object_from_document)
}

/// One object.
pub(in crate::store::mongodb) fn object(
    mongodb: &Connection,
    kind: ObjectKind,
    id: &str,
) -> Result<Option<Object>, MongoDbError> {
    let objects = mongodb.alert_objects();
    let this = this(kind, id);
    let found = mongodb.run(async { objects.find_one(this).await })?;
    Ok(found.as_ref().and_then(object_from_document))
}

/// Makes or replaces an object.
pub(in crate::store::mongodb) fn put_object(
    mongodb: &Connection,
    change: &ObjectChange<'_>,
) -> Result<i64, StoreError> {
    let (kind, id) = (change.kind, change.id);
    let version = match change.expected {
        Expected::Nothing { most } => {
            insert(mongodb, change, most)?;
            1
        }
        Expected::Version(version) => {
            let mut as_read = this(kind, id);
            as_read.insert("version", version);
            replace(mongodb, change, as_read)?
        }
        Expected::Any => replace(mongodb, change, this(kind, id))?,
    };
    let here = doc! {"_id": name(kind, id)};
    if let Err(error) = pending::deliver(mongodb, &mongodb.alert_objects(), here) {
        log::debug!("events of a {} wait: {error}", kind.as_str());
    }
    Ok(version)
}

fn insert(
    mongodb: &Connection,
    change: &ObjectChange<'_>,
    most: usize,
) -> Result<(), StoreError> {
    let (kind, id) = (change.kind, change.id);
    let objects = mongodb.alert_objects();
    let count = objects.count_documents(present(kind));
    let count = mongodb.run(async { count.await })?;
    if usize::try_from(count).map_or(true, |count| count >= most) {
        let what = kind.as_str();
        return Err(Conflict::TooMany { what, most }.into());
    }

    let document = doc! {
        "_id": name(kind, id),
        "kind": kind.as_str(),
        "id": id,
        "version": 1_i64,
        "body": change.body,
        "pending": [pending::new_document(change.event, None)],
    };
    let insert = || mongodb.run(async { objects.insert_one(document.clone()).await });
    let inserted = match insert() {
        // One that was removed and is not gone yet.
        Err(error) if error.is_duplicate_key() => {
            let here = doc! {"_id": name(kind, id)};
            pending::finish_removals(mongodb, &objects, here)?;
            insert()
        }
        result => result,
    };
    match inserted {
        Err(error) if error.is_duplicate_key() => {
            Err(Conflict::Taken(what(kind, id)).into())
        }
        result => Ok(result.map(drop)?),
    }
}

fn replace(
    mongodb: &Connection,
    change: &ObjectChange<'_>,
    as_read: Document,
) -> Result<i64, StoreError> {
    let mut update = doc! {"$set": {"body": change.body}, "$inc": {"version": 1_i64}};
    carry(&mut update, vec![pending::new_document(change.event, None)]);
    let objects = mongodb.alert_objects();
    let update = objects.find_one_and_update(as_read, update);
    let update = update.return_document(ReturnDocument::After);
    let replaced = mongodb.run(async { update.await })?;
    let version = replaced.and_then(|object| object.get_i64("version").ok());
    let changed = || Conflict::Changed(what(change.kind, change.id));
    Ok(version.ok_or_else(changed)?)
}

/// Removes an object; false if it is not there. First it is marked as removed, together
/// with the event.
pub(in crate::store::mongodb) fn remove_object(
    mongodb: &Connection,
    kind: ObjectKind,
    id: &str,
    event: &NewEvent,
) -> Result<bool, StoreError> {
    let objects = mongodb.alert_objects();
    let mark = pending::mark_removed(event.at, pending::new_document(event, None));
    let present = this(kind, id);
    let marked = mongodb.run(async { objects.update_one(present, mark).await })?;
    if marked.matched_count == 0 {
        return Ok(false);
    }
    let here = doc! {"_id": name(kind, id)};
    if let Err(error) = pending::finish_removals(mongodb, &objects, here) {
        log::debug!("the rest of a removed {} stays: {error}", kind.as_str());
    }
    Ok(true)
}

fn name(kind: ObjectKind, id: &str) -> String {
    format!("{}:{id}", kind.as_str())
}

fn what(kind: ObjectKind, id: &str) -> String {
    format!("{} {id}", kind.as_str())
}

/// Selects the object unless it is marked as removed.
fn this(kind: ObjectKind, id: &str) -> Document {
    let mut this = pending::not_removed();
    this.insert("_id", name(kind, id));
    this
}

/// Selects the objects of a kind.
fn present(kind: ObjectKind) -> Document {
    let mut present = pending::not_removed();
    present.insert("kind", kind.as_str());
    present
}

fn object_from_document(document: &Document) -> Option<Object> {
    Some(Object {
        id: text(document, "id")?.to_owned(),
        version: document.get_i64("version").ok()?,
        body: text(document, "body")?.to_owned(),
    })
}
