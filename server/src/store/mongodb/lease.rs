//! The leases: on sweeping and on the watch, so that a single instance of several does
//! each. A lease is a document in MongoDB with a time at which the lease ends, even if the
//! holder has died.
//!
//! The lease on sweeping is the one that the first version had, so that instances of both
//! versions can work together. The lease on the watch goes by the database's clock alone,
//! and counts an epoch: whatever a holder writes names its epoch, so that a holder that
//! was held up and has lost the lease writes nothing more.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fleetbeat_daemon::clock;
use fleetbeat_daemon::lock::lock;
use jiff::SignedDuration;
use mongodb::bson::{Document, doc};
use mongodb::options::ReturnDocument;

use super::connection::Connection;
use super::document::date;
use super::error::MongoDbError;

/// How much longer than two sweeps the lease lasts.
const MARGIN: Duration = Duration::from_secs(5);

/// The name of the lease on the watch.
pub(super) const WATCH: &str = "watch";
/// How long the lease on the watch lasts.
const WATCH_LIFE: SignedDuration = SignedDuration::from_secs(30);
/// The time after which it is renewed.
const RENEW_AFTER: Duration = Duration::from_secs(10);

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
        SweepLease {
            holder: new_holder(),
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

fn new_holder() -> String {
    let random = getrandom::u64().unwrap_or_else(|_| u64::from(std::process::id()));
    format!("{random:016x}")
}

/// This instance's part in the lease on the watch.
pub(super) struct WatchLease {
    /// A name for this part that no other has.
    holder: String,
    /// The lease, and when it is to be renewed; `None` while another instance has it.
    held: Mutex<Option<(Held, Instant)>>,
}

/// A lease that this instance has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Held {
    holder: String,
    /// Counts how often the lease has been taken.
    pub(super) epoch: i64,
}

impl Held {
    /// Selects the lease's document as long as the lease is held.
    pub(super) fn condition(&self) -> Document {
        doc! {"_id": WATCH, "holder": &self.holder, "epoch": self.epoch}
    }
}

impl WatchLease {
    pub(super) fn new() -> WatchLease {
        WatchLease {
            holder: new_holder(),
            held: Mutex::default(),
        }
    }

    /// The lease, taken or renewed if that is due; `None` while another instance has it.
    pub(super) fn hold(
        &self,
        mongodb: &Connection,
    ) -> Result<Option<Held>, MongoDbError> {
        let mut place = lock(&self.held);
        let now = Instant::now();
        if let Some((held, renew_at)) = &*place {
            if now < *renew_at {
                return Ok(Some(held.clone()));
            }
            let held = held.clone();
            // Whatever becomes of the renewal: without it the lease is not held.
            *place = None;
            if renew(mongodb, &held)? {
                *place = Some((held.clone(), now + RENEW_AFTER));
                return Ok(Some(held));
            }
            return Ok(None);
        }

        let held = take(mongodb, &self.holder)?;
        *place = held.clone().map(|held| (held, now + RENEW_AFTER));
        Ok(held)
    }

    /// Takes the lease anew the next time, under another epoch: what was asked for under
    /// this one may still be done.
    pub(super) fn doubt(&self) {
        *lock(&self.held) = None;
    }

    /// Gives the lease back, so that another instance need not wait for its end.
    pub(super) fn release(&self, mongodb: &Connection) {
        let Some((held, _)) = lock(&self.held).take() else {
            return;
        };
        let leases = mongodb.leases();
        let end =
            doc! {"$set": {"until": date(fleetbeat_protocol::Timestamp::UNIX_EPOCH)}};
        let released =
            mongodb.run(async { leases.update_one(held.condition(), end).await });
        if let Err(error) = released {
            log::warn!("the watch's lease stays until it ends: {error}");
        }
    }
}

/// Renews the lease; false if another instance has it.
fn renew(mongodb: &Connection, held: &Held) -> Result<bool, MongoDbError> {
    let now = mongodb.clock()?;
    let until = now.saturating_add(WATCH_LIFE).unwrap_or(now);
    let leases = mongodb.leases();
    let renew = doc! {"$set": {"until": date(until)}};
    let renewed =
        mongodb.run(async { leases.update_one(held.condition(), renew).await })?;
    Ok(renewed.matched_count > 0)
}

/// Takes the lease under another epoch, if nobody else has it.
fn take(mongodb: &Connection, holder: &str) -> Result<Option<Held>, MongoDbError> {
    // The clock has gone on when the update comes, so no lease is taken too early.
    let now = mongodb.clock()?;
    let until = now.saturating_add(WATCH_LIFE).unwrap_or(now);
    let free_or_held = doc! {
        "_id": WATCH,
        "$or": [{"until": {"$lt": date(now)}}, {"holder": holder}],
    };
    let take = doc! {
        "$set": {"holder": holder, "until": date(until)},
        "$inc": {"epoch": 1_i64},
    };
    let leases = mongodb.leases();
    let take = leases
        .find_one_and_update(free_or_held, take)
        .return_document(ReturnDocument::After);
    let held = |epoch| Held {
        holder: holder.to_owned(),
        epoch,
    };
    if let Some(lease) = mongodb.run(async { take.await })? {
        return Ok(lease.get_i64("epoch").ok().map(held));
    }

    // Not by an upsert: FerretDB's error for a document that is there already says nothing
    // of a duplicate key then.
    let first =
        doc! {"_id": WATCH, "holder": holder, "until": date(until), "epoch": 1_i64};
    match mongodb.run(async { leases.insert_one(first).await }) {
        Ok(_) => Ok(Some(held(1))),
        // Another instance's lease.
        Err(error) if error.is_duplicate_key() => Ok(None),
        Err(error) => Err(error),
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
