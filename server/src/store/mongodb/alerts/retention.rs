//! How old alerts and their messages are deleted from MongoDB, some at a time.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use mongodb::bson::{Bson, doc};

use super::super::connection::Connection;
use super::super::document::text;
use super::super::error::MongoDbError;
use super::super::pending;
use super::deliveries::texts;
use super::{holder, takeover};
use crate::store::alert_store::{AlertState, DeliveryState, ObjectKind};
use crate::store::server::as_millis;

/// The longest that alerts are deleted at once; the next time goes on.
const MAX_MAINTENANCE: Duration = Duration::from_secs(30);
/// Documents that are looked at in one step.
const STEP: i64 = 500;

/// Deletes alerts that are over for `keep`, and messages whose alerts are gone. Gives how
/// many of both.
pub(in crate::store::mongodb) fn forget(
    mongodb: &Connection,
    service_time: i64,
    keep: Duration,
) -> Result<usize, MongoDbError> {
    let deadline = Instant::now() + MAX_MAINTENANCE;
    let before = service_time.saturating_sub(as_millis(keep));
    takeover::delete_orphans(mongodb, holder::loaded(mongodb)?)?;
    let alerts = forget_alerts(mongodb, before, deadline)?;
    let deliveries = forget_deliveries(mongodb, before, deadline)?;
    Ok(alerts + deliveries)
}

fn forget_alerts(
    mongodb: &Connection,
    before: i64,
    deadline: Instant,
) -> Result<usize, MongoDbError> {
    let (alerts, objects) = (mongodb.alerts(), mongodb.alert_objects());
    let mut deleted = 0;
    while Instant::now() < deadline {
        let started = Instant::now();
        let mut old = doc! {
            "state": AlertState::Resolved.as_str(), "written": {"$lte": before},
        };
        old.extend(pending::carries_none());
        let old = alerts.find(old).projection(doc! {"_id": 1}).limit(STEP);
        let ids: Vec<String> =
            mongodb.collect(old, |alert| text(alert, "_id").map(str::to_owned))?;
        if ids.is_empty() {
            break;
        }
        deleted += ids.len();

        let ack = ObjectKind::Ack.as_str();
        let acks: Vec<String> = ids.iter().map(|id| format!("{ack}:{id}")).collect();
        let acks = doc! {"_id": {"$in": acks}};
        mongodb.run(async { objects.delete_many(acks).await })?;
        let old = doc! {"_id": {"$in": ids}};
        mongodb.run(async { alerts.delete_many(old).await })?;
        thread::sleep(started.elapsed());
    }
    Ok(deleted)
}

fn forget_deliveries(
    mongodb: &Connection,
    before: i64,
    deadline: Instant,
) -> Result<usize, MongoDbError> {
    let deliveries = mongodb.deliveries();
    let settled = DeliveryState::SETTLED.map(DeliveryState::as_str);
    let (mut deleted, mut last) = (0, String::new());
    while Instant::now() < deadline {
        let started = Instant::now();
        let mut old = doc! {
            "_id": {"$gt": &last},
            "state": {"$in": settled.to_vec()},
            "written": {"$lte": before},
        };
        old.extend(pending::carries_none());
        let old = deliveries.find(old).projection(doc! {"alerts": 1});
        let old = old.sort(doc! {"_id": 1}).limit(STEP);
        let found: Vec<(String, Vec<String>)> = mongodb.collect(old, |delivery| {
            Some((text(delivery, "_id")?.to_owned(), texts(delivery, "alerts")))
        })?;
        let Some((newest, _)) = found.last() else {
            break;
        };
        last.clone_from(newest);

        let present = present(mongodb, found.iter().flat_map(|(_, alerts)| alerts))?;
        let is_needed = |alerts: &[String]| alerts.iter().any(|id| present.contains(id));
        let old = found.into_iter().filter(|(_, alerts)| !is_needed(alerts));
        let ids: Vec<String> = old.map(|(id, _)| id).collect();
        deleted += ids.len();
        let old = doc! {"_id": {"$in": ids}};
        mongodb.run(async { deliveries.delete_many(old).await })?;
        thread::sleep(started.elapsed());
    }
    Ok(deleted)
}

/// Which of these alerts are there.
fn present<'a>(
    mongodb: &Connection,
    ids: impl Iterator<Item = &'a String>,
) -> Result<BTreeSet<String>, MongoDbError> {
    let ids: BTreeSet<&String> = ids.collect();
    let ids: Vec<Bson> = ids.into_iter().map(Bson::from).collect();
    let alerts = mongodb.alerts();
    let mut present = BTreeSet::new();
    for chunk in ids.chunks(500) {
        let found = alerts.find(doc! {"_id": {"$in": chunk.to_vec()}});
        let found = found.projection(doc! {"_id": 1});
        present.extend(
            mongodb.collect(found, |alert| text(alert, "_id").map(str::to_owned))?,
        );
    }
    Ok(present)
}
