//! The instance that looks after the alerts, and its place in `state`: see `mod.rs` for the
//! rules.

use mongodb::bson::{Document, doc};
use mongodb::options::ReturnDocument;

use super::super::connection::Connection;
use super::super::document::text;
use super::super::error::MongoDbError;
use crate::store::error::{Conflict, StoreError};

/// The document in `state`.
const ALERTS: &str = "alerts";

/// An instance that looks after the alerts, or believes so.
#[derive(Clone, Copy)]
pub(in crate::store::mongodb) struct Holder<'a> {
    pub(in crate::store::mongodb) mongodb: &'a Connection,
    /// Under which it has read everything.
    pub(in crate::store::mongodb) epoch: i64,
    /// The service time, which goes with all that is written.
    pub(in crate::store::mongodb) service_time: i64,
}

/// What the instance that looks after the alerts remembers.
pub(in crate::store::mongodb) fn state(
    mongodb: &Connection,
) -> Result<Option<String>, MongoDbError> {
    let state = mongodb.state();
    let found = mongodb.run(async { state.find_one(doc! {"_id": ALERTS}).await })?;
    Ok(found.and_then(|state| text(&state, "body").map(str::to_owned)))
}

/// Under which epoch everything was read last.
pub(super) fn loaded(mongodb: &Connection) -> Result<i64, MongoDbError> {
    let state = mongodb.state();
    let found = mongodb.run(async { state.find_one(doc! {"_id": ALERTS}).await })?;
    let loaded = found.and_then(|state| state.get_i64("loaded").ok());
    Ok(loaded.unwrap_or_default())
}

impl Holder<'_> {
    /// Keeps former holders out of the state, and gives it.
    pub(super) fn put_up_fence(self) -> Result<Document, StoreError> {
        let state = self.mongodb.state();
        let former = doc! {"_id": ALERTS, "epoch": {"$lte": self.epoch}};
        let fence = doc! {"$set": {"epoch": self.epoch}};
        let fence = state
            .find_one_and_update(former, fence)
            .return_document(ReturnDocument::After);
        if let Some(state) = self.mongodb.run(async { fence.await })? {
            return Ok(state);
        }
        let first = doc! {"_id": ALERTS, "epoch": self.epoch, "loaded": 0_i64};
        let insert = state.insert_one(&first);
        match self.mongodb.run(async { insert.await }) {
            Ok(_) => Ok(first),
            // A later holder's.
            Err(error) if error.is_duplicate_key() => Err(Conflict::LostAlerts.into()),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn set_state(self, fields: Document) -> Result<(), StoreError> {
        let state = self.mongodb.state();
        let mine = doc! {"_id": ALERTS, "epoch": self.epoch};
        let set = doc! {"$set": fields};
        let set = self
            .mongodb
            .run(async { state.update_one(mine, set).await })?;
        if set.matched_count == 0 {
            return Err(Conflict::LostAlerts.into());
        }
        Ok(())
    }

    /// Looks whether no other instance has taken the alerts over.
    pub(super) fn check(self) -> Result<(), StoreError> {
        let state = self.mongodb.state();
        let mine = doc! {"_id": ALERTS, "epoch": self.epoch};
        let found = self.mongodb.run(async { state.find_one(mine).await })?;
        match found {
            Some(_) => Ok(()),
            None => Err(Conflict::LostAlerts.into()),
        }
    }
}
