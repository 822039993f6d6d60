//! How the holder of the lease takes the alerts over: see `mod.rs` for the rules.

use fleetbeat_protocol::Timestamp;
use mongodb::bson::doc;

use super::super::connection::Connection;
use super::super::document::{date, text};
use super::super::error::MongoDbError;
use super::super::pending;
use super::alert::{OPEN, alert_from_document};
use super::deliveries;
use super::holder::Holder;
use crate::store::alert_store::SavedAlerts;
use crate::store::error::StoreError;

/// Begins to look after the alerts, under the lease's epoch: gives what is open or has
/// ended lately.
pub(in crate::store::mongodb) fn take_over(
    holder: Holder<'_>,
    lately: Timestamp,
) -> Result<SavedAlerts, StoreError> {
    let Holder { mongodb, epoch, .. } = holder;
    let state = holder.put_up_fence()?;
    let loaded = state.get_i64("loaded").unwrap_or_default();

    delete_orphans(mongodb, loaded)?;
    let alerts = mongodb.alerts();
    let ended_lately = doc! {"ended_at": {"$gte": date(lately)}};
    let kept = [doc! {"state": {"$in": OPEN.to_vec()}}, ended_lately];
    // Nothing of an earlier holder than the last: it may have come since the orphans went.
    let of_last = doc! {
        "$or": kept.to_vec(),
        "epoch": {"$gte": loaded, "$lte": epoch},
    };
    let adopt = doc! {"$set": {"epoch": epoch}};
    mongodb.run(async { alerts.update_many(of_last, adopt).await })?;
    deliveries::adopt(holder, loaded)?;

    let mine = doc! {"$or": kept.to_vec(), "epoch": epoch};
    pending::deliver(mongodb, &alerts, mine.clone())?;
    let found = alerts.find(mine).sort(doc! {"_id": 1});
    let saved = SavedAlerts {
        alerts: mongodb.collect(found, alert_from_document)?,
        deliveries: deliveries::load(holder, lately)?,
        state: text(&state, "body").map(str::to_owned),
    };
    holder.set_state(doc! {"loaded": epoch})?;
    Ok(saved)
}

/// Deletes what former holders have added after they had lost the lease.
pub(super) fn delete_orphans(
    mongodb: &Connection,
    loaded: i64,
) -> Result<(), MongoDbError> {
    let alerts = mongodb.alerts();
    let orphans = doc! {"state": {"$in": OPEN.to_vec()}, "epoch": {"$lt": loaded}};
    mongodb.run(async { alerts.delete_many(orphans).await })?;
    deliveries::delete_orphans(mongodb, loaded)
}
