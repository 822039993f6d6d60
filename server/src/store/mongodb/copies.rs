//! Copies what has changed from this instance's copy of the fleet to Redis.
//!
//! Every instance copies every change that it sees. So a copy that a slower instance has
//! made of an older record is made again, by that instance itself, with its next look.
//! What Redis has not taken waits: a Redis that comes back with old copies gets new ones.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fleetbeat_daemon::lock::lock;
use fleetbeat_daemon::thread::Worker;

use super::databases::Databases;
use super::fleet::FleetCopy;
use super::redis::RedisCopies;
use crate::store::error::StoreError;

/// A reader of Redis sees a change so much later.
const COPY_EVERY: Duration = Duration::from_secs(1);
/// Hosts copied at once.
const MAX_COPIED: usize = 500;

/// Starts the thread.
///
/// # Errors
/// The system gives no further thread.
pub(super) fn start(
    databases: Arc<Databases>,
    fleet: Arc<Mutex<FleetCopy>>,
) -> io::Result<Worker> {
    Worker::start("copies", move |stop| {
        let Some(redis) = &databases.redis else {
            return;
        };
        while stop.wait(COPY_EVERY) {
            // Redis tells itself that it is away, and so does MongoDB.
            if let Err(error) = copy(&databases, redis, &fleet) {
                log::debug!("copies wait: {error}");
            }
        }
    })
}

/// Copies what has changed, until Redis takes no more. Redis is asked without the fleet
/// being held, so that no list waits for Redis.
fn copy(
    databases: &Databases,
    redis: &RedisCopies,
    fleet: &Mutex<FleetCopy>,
) -> Result<(), StoreError> {
    lock(fleet).update_if_older(&databases.mongodb, COPY_EVERY)?;
    loop {
        let hosts = lock(fleet).take_uncopied(MAX_COPIED);
        let stored = redis.store(&hosts);
        if stored.is_err() {
            lock(fleet).put_back(hosts.iter().map(|(ip, _)| *ip));
        }
        stored?;
        if hosts.len() < MAX_COPIED {
            return Ok(());
        }
    }
}
