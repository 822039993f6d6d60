//! Copies what has changed from MongoDB to Redis, many records at once.
//!
//! A thread that changes a record leaves the host's address in a queue. The refreshing
//! thread takes all addresses that have gathered, reads their records from MongoDB in one
//! query and writes them to Redis in one pipeline. While MongoDB or Redis is away
//! the addresses stay in the queue, so that a Redis that comes back with old copies gets
//! new copies.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use fleetbeat_daemon::lock::lock;
use fleetbeat_daemon::thread::spawn;

use super::databases::Databases;
use crate::store::error::StoreError;

/// How long changes gather. A reader of Redis sees them that much later, and the
/// databases are asked that much less often.
const GATHER: Duration = Duration::from_millis(100);
/// The wait before the next attempt when one of the databases is away.
const RETRY: Duration = Duration::from_secs(1);
/// Records copied at once.
const MAX_COPIED: usize = 500;

/// The refreshing thread and its queue.
pub(super) struct Refresh {
    queue: Arc<Queue>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// The addresses that the refreshing thread waits for.
#[derive(Default)]
struct Queue {
    changed_hosts: Mutex<ChangedHosts>,
    /// Wakes the thread: hosts have changed, or it is to stop.
    wake: Condvar,
}

/// The hosts whose copies in Redis are to be renewed.
#[derive(Default)]
struct ChangedHosts {
    /// At most as many as there are hosts.
    ips: BTreeSet<IpAddr>,
    stopping: bool,
}

impl Refresh {
    /// Starts the thread.
    pub(super) fn start(databases: Arc<Databases>) -> io::Result<Refresh> {
        let queue = Arc::new(Queue::default());
        let taken_from = queue.clone();
        let thread = spawn("refresh", move || taken_from.copy_all(&databases))?;
        Ok(Refresh {
            queue,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// These hosts have changed.
    pub(super) fn add(&self, ips: impl IntoIterator<Item = IpAddr>) {
        lock(&self.queue.changed_hosts).ips.extend(ips);
        self.queue.wake.notify_one();
    }

    /// Whether the thread has ended without being asked to.
    pub(super) fn has_ended(&self) -> bool {
        lock(&self.thread)
            .as_ref()
            .is_some_and(JoinHandle::is_finished)
    }

    /// Copies what is in the queue, if that can be done at once, and ends the thread.
    pub(super) fn stop(&self) {
        lock(&self.queue.changed_hosts).stopping = true;
        self.queue.wake.notify_one();
        let thread = lock(&self.thread).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

impl Queue {
    /// Copies until the queue is empty and the thread is to stop.
    fn copy_all(&self, databases: &Databases) {
        while self.wait_for_changes() {
            self.pause(GATHER);
            let (ips, is_last_attempt) = self.take();
            match copy(databases, &ips) {
                Ok(()) => {}
                Err(_) if is_last_attempt => return,
                Err(error) => {
                    // Records that were refused would be refused again, and hold up the
                    // others.
                    if matches!(error, StoreError::Unavailable(_)) {
                        lock(&self.changed_hosts).ips.extend(ips);
                    }
                    self.pause(RETRY);
                }
            }
        }
    }

    /// Waits until the queue has something; false if the thread is to stop instead.
    fn wait_for_changes(&self) -> bool {
        let idle = |hosts: &mut ChangedHosts| hosts.ips.is_empty() && !hosts.stopping;
        let hosts = self
            .wake
            .wait_while(lock(&self.changed_hosts), idle)
            .unwrap_or_else(PoisonError::into_inner);
        !hosts.ips.is_empty()
    }

    /// Takes as many hosts as are copied at once; and whether the thread is to stop.
    fn take(&self) -> (Vec<IpAddr>, bool) {
        let mut hosts = lock(&self.changed_hosts);
        let ips: Vec<IpAddr> = hosts.ips.iter().take(MAX_COPIED).copied().collect();
        for ip in &ips {
            hosts.ips.remove(ip);
        }
        (ips, hosts.stopping)
    }

    /// Waits for `time`, or not at all if the thread is to stop.
    fn pause(&self, time: Duration) {
        let going_on = |hosts: &mut ChangedHosts| !hosts.stopping;
        let hosts = lock(&self.changed_hosts);
        drop(self.wake.wait_timeout_while(hosts, time, going_on));
    }
}

/// Copies the records of these hosts, and removes the copies of those that are gone.
fn copy(databases: &Databases, ips: &[IpAddr]) -> Result<(), StoreError> {
    let Some(redis) = &databases.redis else {
        return Ok(());
    };
    let mut records = Vec::new();
    let mut gone = Vec::new();
    for (ip, record) in databases.read_servers(ips)? {
        match record {
            Some(record) => records.push(record),
            None => gone.push(ip),
        }
    }
    databases.keep_read_back(&records);
    redis.store(&records, &gone)
}
