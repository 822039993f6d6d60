//! The alerts in MongoDB.
//!
//! ```text
//! alert_objects {_id: "kind:id", kind, id, version, body}     by any instance
//! alerts        {_id, epoch, state, ..., body}                by the holder of the lease
//! deliveries    {_id, epoch, number, state, ..., body}        by the holder of the lease
//! state         {_id: "alerts", epoch, loaded, body}          by the holder of the lease
//! ```
//!
//! Who holds the watch's lease looks after the alerts, and whatever it writes has its
//! epoch. A holder may be held up at any place, lose the lease and go on later. Four rules
//! make that harmless:
//!
//! 1. A new holder first writes its epoch into `state`, then gives it to all that is open,
//!    and reads what has it. Nothing of a higher epoch is ever changed by a lower one.
//! 2. What a former holder changes, it finds by its own epoch. So it changes nothing that
//!    the new holder has read.
//! 3. What a former holder adds meanwhile, nobody reads: it has an epoch below `loaded`,
//!    under which the last holder had read all that it goes by. The next one deletes it.
//! 4. After each addition a holder looks whether `state` still has its epoch, before it
//!    goes by what it has added.

mod alert;
mod condition;
mod deliveries;
mod holder;
mod objects;
mod retention;
mod takeover;
mod write;

use fleetbeat_protocol::Timestamp;
use mongodb::IndexModel;
use mongodb::bson::{Document, doc};

pub(super) use self::alert::{alert, find};
pub(super) use self::deliveries::{count_deliveries, decide, delivery, find_deliveries};
pub(super) use self::holder::{Holder, state};
pub(super) use self::objects::{object, objects, put_object, remove_object};
pub(super) use self::retention::forget;
pub(super) use self::takeover::take_over;
use super::connection::Connection;
use super::error::MongoDbError;
use super::pending;

/// Makes the indexes.
pub(super) fn make_indexes(mongodb: &Connection) -> Result<(), MongoDbError> {
    let index = |keys: Document| IndexModel::builder().keys(keys).build();
    let newest = |field: &str| index(doc! {field: 1, "opened_at": -1, "_id": -1});
    let alerts = [
        index(doc! {"opened_at": -1, "_id": -1}),
        newest("state"),
        newest("rule"),
        newest("server_id"),
        index(doc! {"ended_at": 1}),
        index(doc! {"state": 1, "written": 1}),
    ];
    let newest = |field: &str| index(doc! {field: 1, "number": -1, "_id": -1});
    let deliveries = [
        index(doc! {"number": -1, "_id": -1}),
        newest("state"),
        newest("channel"),
        newest("alerts"),
        index(doc! {"created_at": 1}),
    ];
    mongodb.run(async {
        mongodb.alerts().create_indexes(alerts).await?;
        mongodb.deliveries().create_indexes(deliveries).await
    })?;
    Ok(())
}

/// Delivers the events that a killed instance has left, and removes what it has marked.
pub(super) fn finish_left(
    mongodb: &Connection,
    now: Timestamp,
) -> Result<(), MongoDbError> {
    let objects = mongodb.alert_objects();
    pending::deliver(mongodb, &objects, doc! {})?;
    pending::deliver(mongodb, &mongodb.deliveries(), doc! {})?;
    pending::finish_removals(mongodb, &objects, pending::removed_long_before(now))
}
