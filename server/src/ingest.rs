//! Heartbeats on the way into the store: many share one commit, and each is answered when
//! its commit is on the disk.
//!
//! Handlers push and go on. One thread takes all heartbeats that have gathered, stores
//! them in one transaction, and answers. Nothing is answered 200 before its commit, and a full queue
//! answers 503 at once.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use fleetbeat_daemon::lock::lock;

use crate::http::{Exchange, Failure, Response};
use crate::jobs::Jobs;
use crate::metrics::Metrics;
use crate::recurring::{Recurring, Tally};
use crate::store::{Beat, ServerStore};

/// A commit takes no more heartbeats than this, but for a spooled batch, which stays
/// whole.
const MAX_COMMIT: usize = 256;
/// Heartbeats that may wait: some seconds' worth.
const MAX_WAITING: usize = 8192;
/// The bytes that the waiting heartbeats had as JSON.
const MAX_WAITING_BYTES: usize = 32 * 1024 * 1024;
/// How long a request may wait for its commit to begin. Together with the store's own
/// deadlines that is below the 3 s in which an agent gets its answer.
const MAX_WAIT: Duration = Duration::from_millis(700);

/// Where handlers leave heartbeats.
#[derive(Clone)]
pub(crate) struct Ingest {
    queue: Arc<Queue>,
}

/// The queue between handlers and the ingest thread.
struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
    metrics: Arc<Metrics>,
}

/// The heartbeats that wait for a commit, and the last failed commit.
#[derive(Default)]
struct Waiting {
    submissions: VecDeque<Submission>,
    /// The heartbeats in `submissions`.
    beats: usize,
    /// The bytes of `submissions` as JSON.
    bytes: usize,
    /// When a commit failed last.
    last_failed_commit: Option<Instant>,
    /// Why the last commit failed; `None` if it has not.
    failure: Option<Failed>,
    /// Commits that fail, for the log.
    trouble: Recurring,
    is_closed: bool,
}

/// A commit that failed.
#[derive(Debug, Clone)]
pub(crate) struct Failed {
    /// When.
    pub(crate) at: Instant,
    /// In the store's words.
    pub(crate) reason: String,
}

/// How much waits for a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct QueueLength {
    /// The heartbeats.
    pub(crate) heartbeats: usize,
    /// The bytes that they had as JSON.
    pub(crate) bytes: usize,
}

/// One request's heartbeats, and the response for when the heartbeats are stored.
struct Submission {
    arrived: Instant,
    beats: Vec<Beat>,
    bytes: usize,
    exchange: Exchange,
    response: Response,
}

impl Ingest {
    /// Starts the thread. `gather` is how long the first heartbeat of a commit waits for
    /// others: a commit costs the same for one heartbeat as for many. A stop stores and
    /// answers all that are waiting.
    ///
    /// # Errors
    /// The system gives no further thread.
    pub(crate) fn start(
        jobs: &mut Jobs,
        store: Arc<dyn ServerStore>,
        gather: Duration,
        metrics: Arc<Metrics>,
    ) -> io::Result<Ingest> {
        let queue = Arc::new(Queue {
            waiting: Mutex::default(),
            changed: Condvar::new(),
            metrics,
        });
        let (closed, served) = (queue.clone(), queue.clone());

        jobs.start_at_queue(
            "ingest",
            move || closed.close(),
            move |pulse| {
                while let Some(submissions) = served.next_commit(gather) {
                    pulse.round(|| served.commit(&*store, submissions));
                }
            },
        )?;

        Ok(Ingest { queue })
    }

    /// Stores `beats`, which came as `bytes` of JSON, and then sends `response`; answers
    /// 503 if too many heartbeats are waiting.
    pub(crate) fn push(
        &self,
        beats: Vec<Beat>,
        bytes: usize,
        exchange: Exchange,
        response: Response,
    ) {
        let mut waiting = self.queue.lock();
        let is_full = waiting.beats + beats.len() > MAX_WAITING
            || waiting.bytes + bytes > MAX_WAITING_BYTES;
        if waiting.is_closed || is_full {
            drop(waiting);
            self.queue.metrics.heartbeats.overloaded(beats.len());
            let failure = Failure::overloaded("too many heartbeats are waiting");
            return exchange.finish(Err(failure));
        }

        waiting.beats += beats.len();
        waiting.bytes += bytes;
        waiting.submissions.push_back(Submission {
            arrived: Instant::now(),
            beats,
            bytes,
            exchange,
            response,
        });

        let is_due = waiting.submissions.len() == 1 || waiting.beats >= MAX_COMMIT;
        drop(waiting);
        if is_due {
            self.queue.changed.notify_one();
        }
    }

    /// How much waits for a commit.
    pub(crate) fn waiting(&self) -> QueueLength {
        let waiting = self.queue.lock();
        QueueLength {
            heartbeats: waiting.beats,
            bytes: waiting.bytes,
        }
    }

    /// Why heartbeats cannot be stored at present; `None` if the last commit was good.
    pub(crate) fn failure(&self) -> Option<Failed> {
        self.queue.lock().failure.clone()
    }

    /// Something else could be written: heartbeats can be stored again, as far as anybody
    /// can tell before the next commit.
    pub(crate) fn recovered(&self) {
        self.queue.succeeded();
    }

    /// When heartbeats could not be stored last: their hosts are not silent.
    pub(crate) fn last_failed_commit(&self) -> Option<Instant> {
        self.queue.lock().last_failed_commit
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        lock(&self.waiting)
    }

    fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_one();
    }

    /// The submissions of the next commit; `None` when the queue is closed and empty.
    fn next_commit(&self, gather: Duration) -> Option<Vec<Submission>> {
        let mut waiting = self.lock();
        while waiting.submissions.is_empty() {
            if waiting.is_closed {
                return None;
            }
            waiting = self
                .changed
                .wait(waiting)
                .unwrap_or_else(PoisonError::into_inner);
        }

        let deadline = Instant::now() + gather;
        while waiting.beats < MAX_COMMIT && !waiting.is_closed {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.changed.wait_timeout(waiting, left);
            waiting = waited.unwrap_or_else(PoisonError::into_inner).0;
        }

        Some(waiting.take_commit())
    }

    /// Stores the heartbeats in one transaction and answers their requests.
    fn commit(&self, store: &dyn ServerStore, submissions: Vec<Submission>) {
        // A request that has waited this long would not be answered in time any more.
        let (mut submissions, late): (Vec<Submission>, Vec<Submission>) = submissions
            .into_iter()
            .partition(|submission| submission.arrived.elapsed() < MAX_WAIT);
        self.metrics.heartbeats.overloaded(count_beats(&late));
        fail(late, || Failure::overloaded("the storage is slow"));

        let counts: Vec<usize> = submissions.iter().map(|one| one.beats.len()).collect();
        let beats: Vec<Beat> = submissions
            .iter_mut()
            .flat_map(|submission| submission.beats.drain(..))
            .collect();
        if beats.is_empty() {
            return;
        }

        // A bug in the store must not end this thread: requests are answered 500 when
        // their submissions are dropped.
        let began = Instant::now();
        let stored = catch_unwind(AssertUnwindSafe(|| store.record(&beats)));
        let took = began.elapsed();
        match stored {
            Ok(Ok(refused)) => {
                self.metrics.commits.stored(beats.len(), took);
                self.succeeded();
                self.answer(submissions, &counts, &beats, &refused);
            }
            Ok(Err(error)) => {
                // Requests further back would wait as long and fail, too. An
                // agent is told soon.
                let behind = self.give_up(&error.to_string(), submissions.len());
                self.note_failed_commit(beats.len(), &behind, took);
                submissions.extend(behind);
                fail(submissions, Failure::storage_away);
            }
            Err(_) => {
                let behind = self.give_up("the store panicked", submissions.len());
                self.note_failed_commit(beats.len(), &behind, took);
            }
        }
    }

    /// Counts a commit of so many heartbeats that failed, and those that waited behind.
    fn note_failed_commit(
        &self,
        beats: usize,
        behind: &VecDeque<Submission>,
        took: Duration,
    ) {
        self.metrics.commits.failed(beats, took);
        self.metrics.heartbeats.failed(beats + count_beats(behind));
    }

    /// Answers requests whose heartbeats have been stored, but for hosts that the database
    /// has `refused`. `counts` says how many of the `beats` are each request's.
    fn answer(
        &self,
        submissions: Vec<Submission>,
        counts: &[usize],
        beats: &[Beat],
        refused: &BTreeSet<IpAddr>,
    ) {
        let heartbeats = &self.metrics.heartbeats;
        let mut rest = beats;
        for (submission, count) in submissions.into_iter().zip(counts) {
            let (own, behind) = rest.split_at(*count);
            rest = behind;

            if own.iter().any(|beat| refused.contains(&beat.ip)) {
                heartbeats.failed(*count);
                submission.exchange.finish(Err(Failure::storage_away()));
            } else {
                heartbeats.stored(*count);
                submission.exchange.answer(&submission.response);
            }
        }
    }

    /// Notes a commit that failed with so many requests, and takes all requests that are
    /// waiting. A line in the log for each failed commit would fill the same full disk.
    fn give_up(&self, reason: &str, failed: usize) -> VecDeque<Submission> {
        let now = Instant::now();
        let mut waiting = self.lock();
        waiting.last_failed_commit = Some(now);
        waiting.failure = Some(Failed {
            at: now,
            reason: reason.to_owned(),
        });
        (waiting.beats, waiting.bytes) = (0, 0);
        let submissions = std::mem::take(&mut waiting.submissions);

        let requests = u64::try_from(failed + submissions.len()).unwrap_or(u64::MAX);
        let due = waiting.trouble.again_for_many(requests, reason, now);
        drop(waiting);
        if let Some(Tally { times, lasts }) = due {
            let secs = lasts.as_secs();
            log::error!(
                "heartbeats cannot be stored: {reason} ({times} requests in {secs} s)"
            );
        }
        submissions
    }

    /// Notes a good commit.
    fn succeeded(&self) {
        let mut waiting = self.lock();
        waiting.failure = None;
        let over = waiting.trouble.well(Instant::now());
        drop(waiting);
        if let Some(Tally { times, lasts }) = over {
            let secs = lasts.as_secs();
            log::info!(
                "heartbeats are stored again: {times} requests failed within {secs} s"
            );
        }
    }
}

impl Waiting {
    /// Takes as many submissions as fit into one commit.
    fn take_commit(&mut self) -> Vec<Submission> {
        let mut beats = 0;
        let mut taken = Vec::new();
        while beats < MAX_COMMIT
            && let Some(submission) = self.submissions.pop_front()
        {
            beats += submission.beats.len();
            self.bytes -= submission.bytes;
            taken.push(submission);
        }

        self.beats -= beats;
        taken
    }
}

/// The heartbeats in these submissions.
fn count_beats<'a>(submissions: impl IntoIterator<Item = &'a Submission>) -> usize {
    let submissions = submissions.into_iter();
    submissions.map(|submission| submission.beats.len()).sum()
}

fn fail(submissions: Vec<Submission>, failure: impl Fn() -> Failure) {
    for submission in submissions {
        submission.exchange.finish(Err(failure()));
    }
}
