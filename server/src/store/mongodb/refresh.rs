//! Copies what has changed from MongoDB to Redis, many records at once.
//!
//! Whoever changes a record leaves its address here. One thread takes all that have
//! gathered, reads them from MongoDB in one query and writes them to Redis in one
//! pipeline. What fails stays and is tried again, so a Redis that comes back with old
//! copies gets new ones.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::Shared;
use crate::store::error::StoreError;
use crate::sync::locked;

/// How long changes gather: a reader elsewhere sees them that much later, and the
/// databases are asked that much less often.
const GATHER: Duration = Duration::from_millis(100);
/// Before the next attempt when one of them is away.
const RETRY: Duration = Duration::from_secs(1);
/// Records copied at once.
const MAX_COPIED: usize = 500;

pub(super) struct Refresh {
    queue: Arc<Queue>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// At most as many as there are hosts.
    waiting: BTreeSet<IpAddr>,
    stopping: bool,
}

impl Refresh {
    pub(super) fn start(shared: Arc<Shared>) -> io::Result<Refresh> {
        let queue = Arc::new(Queue::default());
        let theirs = queue.clone();
        let thread = thread::Builder::new()
            .name("refresh".to_owned())
            .spawn(move || theirs.copy_all(&shared))?;
        Ok(Refresh {
            queue,
            thread: Mutex::new(Some(thread)),
        })
    }

    pub(super) fn add(&self, ips: impl IntoIterator<Item = IpAddr>) {
        locked(&self.queue.state).waiting.extend(ips);
        self.queue.changed.notify_one();
    }

    /// Copies what is waiting, if it can be done at once, and ends the thread.
    pub(super) fn stop(&self) {
        locked(&self.queue.state).stopping = true;
        self.queue.changed.notify_one();
        if let Some(thread) = locked(&self.thread).take() {
            let _ = thread.join();
        }
    }
}

impl Queue {
    fn copy_all(&self, shared: &Shared) {
        loop {
            let state = locked(&self.state);
            let idle = |state: &mut State| state.waiting.is_empty() && !state.stopping;
            let state = self
                .changed
                .wait_while(state, idle)
                .unwrap_or_else(PoisonError::into_inner);
            if state.waiting.is_empty() {
                return;
            }
            drop(state);
            self.pause(GATHER);
            let mut state = locked(&self.state);
            let stopping = state.stopping;
            let waiting: Vec<IpAddr> =
                state.waiting.iter().take(MAX_COPIED).copied().collect();
            for ip in &waiting {
                state.waiting.remove(ip);
            }
            drop(state);
            match copy(shared, &waiting) {
                Ok(()) => {}
                Err(_) if stopping => return,
                Err(error) => {
                    // Refused ones would be refused again, and hold up the others.
                    if matches!(error, StoreError::Unavailable(_)) {
                        locked(&self.state).waiting.extend(waiting);
                    }
                    self.pause(RETRY);
                }
            }
        }
    }

    /// Waits, but not for a stop.
    fn pause(&self, time: Duration) {
        let going_on = |state: &mut State| !state.stopping;
        drop(
            self.changed
                .wait_timeout_while(locked(&self.state), time, going_on),
        );
    }
}

fn copy(shared: &Shared, ips: &[IpAddr]) -> Result<(), StoreError> {
    let Some(cache) = &shared.cache else {
        return Ok(());
    };
    let mut records = Vec::new();
    let mut gone = Vec::new();
    for (ip, record) in shared.read(ips)? {
        match record {
            Some(record) => records.push(record),
            None => gone.push(ip),
        }
    }
    cache.store(&records, &gone)
}
