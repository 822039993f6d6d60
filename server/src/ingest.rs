//! Heartbeats on their way into the store: many share one commit, each is answered after
//! its own is safe.
//!
//! Handlers push and go on; one thread takes whatever has gathered, stores it in one
//! transaction, and answers. Nothing is answered 200 before its commit, and a full queue
//! answers 503 at once.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::http::Failure;
use crate::http::{Exchange, Response};
use crate::store::{Beat, ServerStore};
use crate::sync::locked;

/// A commit takes no more heartbeats than this, but for a spooled batch, which stays
/// whole.
const MAX_COMMIT: usize = 256;
/// Heartbeats that may wait: some seconds' worth.
const MAX_WAITING: usize = 8192;
/// The bytes that these had as JSON.
const MAX_WAITING_BYTES: usize = 32 * 1024 * 1024;

/// How long a request may wait for its commit to begin. Together with the store's own
/// deadlines that is below the 3 s in which an agent gets its answer.
const MAX_WAIT: Duration = Duration::from_millis(700);

/// The queue and the thread behind it.
pub(crate) struct Ingest {
    queue: Arc<Queue>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    /// The heartbeats in `jobs`, and their bytes.
    waiting: usize,
    waiting_bytes: usize,
    /// When a commit failed last.
    last_failure: Option<Instant>,
    stopping: bool,
}

/// One request's heartbeats and the answer they get once they are stored.
struct Job {
    arrived: Instant,
    beats: Vec<Beat>,
    bytes: usize,
    exchange: Exchange,
    answer: Response,
}

impl Ingest {
    /// `gather` is how long the first heartbeat of a commit waits for others: a commit
    /// costs the same for one as for many.
    pub(crate) fn start(
        store: Arc<dyn ServerStore>,
        gather: Duration,
    ) -> io::Result<Ingest> {
        let queue = Arc::new(Queue {
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let theirs = queue.clone();
        let thread =
            thread::Builder::new()
                .name("ingest".to_owned())
                .spawn(move || {
                    while let Some(jobs) = theirs.next_commit(gather) {
                        theirs.commit(&*store, jobs);
                    }
                })?;
        Ok(Ingest {
            queue,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Stores `beats`, which came as `bytes` of JSON, and then sends `answer`; refuses if
    /// too many are waiting.
    pub(crate) fn push(
        &self,
        beats: Vec<Beat>,
        bytes: usize,
        exchange: Exchange,
        answer: Response,
    ) {
        let mut state = self.queue.lock();
        let is_full = state.waiting + beats.len() > MAX_WAITING
            || state.waiting_bytes + bytes > MAX_WAITING_BYTES;
        if state.stopping || is_full {
            drop(state);
            return exchange
                .finish(Err(Failure::overloaded("too many heartbeats are waiting")));
        }
        state.waiting += beats.len();
        state.waiting_bytes += bytes;
        state.jobs.push_back(Job {
            arrived: Instant::now(),
            beats,
            bytes,
            exchange,
            answer,
        });
        let wake = state.jobs.len() == 1 || state.waiting >= MAX_COMMIT;
        drop(state);
        if wake {
            self.queue.changed.notify_one();
        }
    }

    /// When heartbeats could not be stored last: the hosts that sent them are not silent.
    pub(crate) fn last_failure(&self) -> Option<Instant> {
        self.queue.lock().last_failure
    }

    /// Stores and answers what is waiting, then ends the thread.
    pub(crate) fn stop(&self) {
        self.queue.lock().stopping = true;
        self.queue.changed.notify_one();
        if let Some(thread) = locked(&self.thread).take() {
            let _ = thread.join();
        }
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }

    /// The next jobs to store together; `None` when the queue has stopped and is empty.
    fn next_commit(&self, gather: Duration) -> Option<Vec<Job>> {
        let mut state = self.lock();
        while state.jobs.is_empty() {
            if state.stopping {
                return None;
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let deadline = Instant::now() + gather;
        while state.waiting < MAX_COMMIT && !state.stopping {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        let mut taken = 0;
        let mut jobs = Vec::new();
        while taken < MAX_COMMIT
            && let Some(job) = state.jobs.pop_front()
        {
            taken += job.beats.len();
            state.waiting_bytes -= job.bytes;
            jobs.push(job);
        }
        state.waiting -= taken;
        Some(jobs)
    }

    fn commit(&self, store: &dyn ServerStore, jobs: Vec<Job>) {
        // Who has waited this long would not be answered in time any more.
        let (mut jobs, late): (Vec<Job>, Vec<Job>) = jobs
            .into_iter()
            .partition(|job| job.arrived.elapsed() < MAX_WAIT);
        for job in late {
            job.exchange
                .finish(Err(Failure::overloaded("the storage is slow")));
        }
        let counts: Vec<usize> = jobs.iter().map(|job| job.beats.len()).collect();
        let beats: Vec<Beat> = jobs
            .iter_mut()
            .flat_map(|job| job.beats.drain(..))
            .collect();
        if beats.is_empty() {
            return;
        }
        // A bug in the store must not end this thread: the jobs answer 500 when they are
        // dropped.
        let stored = catch_unwind(AssertUnwindSafe(|| store.record(&beats)));
        match stored {
            Ok(Ok(refused)) => {
                let mut beats = beats.iter();
                for (job, count) in jobs.into_iter().zip(counts) {
                    let is_refused = beats
                        .by_ref()
                        .take(count)
                        .filter(|beat| refused.contains(&beat.ip))
                        .count()
                        > 0;
                    if is_refused {
                        job.exchange.finish(Err(Failure::storage_away()));
                    } else {
                        job.exchange.answer(&job.answer);
                    }
                }
            }
            Ok(Err(error)) => {
                // Whoever waits behind these would wait as long and fail, too: an agent
                // is told soon.
                jobs.extend(self.give_up_waiting());
                log::error!("{} requests could not be stored: {error}", jobs.len());
                for job in jobs {
                    job.exchange.finish(Err(Failure::storage_away()));
                }
            }
            Err(_) => drop(self.give_up_waiting()),
        }
    }

    /// Notes a failure and takes what is waiting.
    fn give_up_waiting(&self) -> VecDeque<Job> {
        let mut state = self.lock();
        state.last_failure = Some(Instant::now());
        (state.waiting, state.waiting_bytes) = (0, 0);
        std::mem::take(&mut state.jobs)
    }
}
