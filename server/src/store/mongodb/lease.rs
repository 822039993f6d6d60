//! The lease on sweeping, so that a single instance of several sweeps. The lease is a
//! document in MongoDB with a time at which the lease ends, even if the holder has died.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fleetbeat_daemon::clock;
use mongodb::bson::doc;

use super::connection::Connection;
use super::document::date;
use super::error::MongoDbError;

/// How much longer than two sweeps the lease lasts.
const MARGIN: Duration = Duration::from_secs(5);

/// This instance's part in the lease on sweeping.
pub(super) struct SweepLease {
    /// A name for this process that no other process has.
    holder: String,
    /// Long enough that the holder renews the lease with every sweep.
    life: Duration,
    /// Whether the lease was this instance's when it was last asked for.
    is_held: AtomicBool,
}

impl SweepLease {
    /// The lease of an instance that sweeps each `sweep_interval`.
    pub(super) fn new(sweep_interval: Duration) -> SweepLease {
        let random = getrandom::u64().unwrap_or_else(|_| u64::from(std::process::id()));
        SweepLease {
            holder: format!("{random:016x}"),
            life: sweep_interval * 2 + MARGIN,
            is_held: AtomicBool::new(false),
        }
    }

    /// Whether the lease was this instance's when it was last asked for.
    pub(super) fn is_held(&self) -> bool {
        self.is_held.load(Ordering::Relaxed)
    }

    /// Takes or renews the lease; false while another instance has it.
    pub(super) fn acquire(&self, mongodb: &Connection) -> Result<bool, MongoDbError> {
        let acquired = self.try_acquire(mongodb);
        let is_held = matches!(acquired, Ok(true));
        self.is_held.store(is_held, Ordering::Relaxed);
        acquired
    }

    fn try_acquire(&self, mongodb: &Connection) -> Result<bool, MongoDbError> {
        let now = clock::now();
        let until = now.saturating_add(self.life).unwrap_or(now);
        let free_or_held = doc! {
            "_id": "sweep",
            "$or": [{"until": {"$lt": date(now)}}, {"holder": &self.holder}],
        };
        let take = doc! {"$set": {"holder": &self.holder, "until": date(until)}};

        let leases = mongodb.leases();
        let taken = mongodb
            .run(async { leases.update_one(free_or_held, take).upsert(true).await });
        match taken {
            Ok(_) => Ok(true),
            // Another instance's lease does not match, and cannot be inserted a second
            // time.
            Err(error) if error.is_duplicate_key() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Gives the lease back, so that another instance need not wait for its end.
    pub(super) fn release(&self, mongodb: &Connection) {
        let leases = mongodb.leases();
        let held = doc! {"_id": "sweep", "holder": &self.holder};
        if let Err(error) = mongodb.run(async { leases.delete_one(held).await }) {
            log::warn!("the sweep's lease stays until it ends: {error}");
        }
    }
}

/// Writes beside the leases, and waits for the majority: the leases' collection is the one
/// that other programs have no business with.
pub(super) fn try_write(mongodb: &Connection) -> Result<(), MongoDbError> {
    let leases = mongodb.leases();
    let here = doc! {"_id": "readiness"};
    let write = doc! {"$set": {"until": date(clock::now())}};
    let written =
        mongodb.run(async { leases.update_one(here, write).upsert(true).await });
    match written {
        // Another instance has just inserted the document, so writing works.
        Err(error) if error.is_duplicate_key() => Ok(()),
        result => result.map(|_| ()),
    }
}
