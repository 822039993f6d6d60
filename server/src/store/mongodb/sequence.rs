//! Numbers that only go up, for what has to be ordered across instances: when an admin has
//! set a flag, and when a key has changed.
//!
//! The instances' clocks differ, and a clock may be set back, so a time of day orders
//! nothing that two instances do. The last number is kept in MongoDB instead.

use fleetbeat_protocol::Timestamp;
use mongodb::bson::doc;
use mongodb::options::ReturnDocument;

use super::connection::Connection;
use super::error::MongoDbError;

/// The next number, which no call has given and no later call gives: at least `now` in
/// milliseconds since 1970, because earlier versions took the time of day.
pub(super) fn next(mongodb: &Connection, now: Timestamp) -> Result<i64, MongoDbError> {
    let state = mongodb.state();
    let last = doc! {"_id": "sequence"};
    let catch_up = doc! {"$max": {"last": now.as_millisecond()}};
    let catch_up = state.update_one(last.clone(), catch_up).upsert(true);
    match mongodb.run_for_heartbeats(async { catch_up.await }) {
        // Another instance has just made the document.
        Err(error) if error.is_duplicate_key() => {}
        result => drop(result?),
    }

    let count = state.find_one_and_update(last, doc! {"$inc": {"last": 1_i64}});
    let count = count.return_document(ReturnDocument::After);
    let counted = mongodb.run_for_heartbeats(async { count.await })?;
    counted
        .and_then(|counted| counted.get_i64("last").ok())
        .ok_or_else(|| MongoDbError::refused("the sequence in `state` is not a number"))
}
