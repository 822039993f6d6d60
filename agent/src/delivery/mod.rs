//! The way of a heartbeat from the sampler to the server.
//!
//! A heartbeat goes into the spool and is sent at once. If the call fails, three more
//! tries follow within the interval. After the last try, or when a newer heartbeat is
//! there, the heartbeat stays in the spool. Once the server has accepted a newer
//! heartbeat, the spool follows in batches, the oldest heartbeats first.
//!
//! [`Delivery`] is a state machine: it never reads a clock and never makes a call. The
//! agent's loop asks when the next call is due, has a [`Request`] sent in another thread,
//! and settles the request with the call's [`Outcome`].

mod answer;
mod report;
mod request;
mod sender;
pub(crate) mod spool;
mod stamp;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use log::Level;

pub(crate) use answer::{Outcome, find_problem, printable, show_problem};
pub(crate) use request::{Request, RequestKind};
pub(crate) use sender::Sender;

use report::DeliveryLog;
use spool::Spool;

/// Time from the beginning of a failed try to the next try, at an interval of
/// [`USUAL_INTERVAL`]. With a shorter interval the delays are shorter in proportion, so
/// that all tries still fall into the interval.
const RETRY_DELAYS: [Duration; 3] = [
    Duration::from_secs(5),
    Duration::from_secs(15),
    Duration::from_secs(45),
];
const USUAL_INTERVAL: Duration = Duration::from_secs(120);
/// Each delay is longer by a random fraction, at most by this one, so that agents that
/// failed together come back one by one.
const MAX_JITTER: f64 = 0.3;
/// Longest wait that a server may ask for, before jitter: a slip of an operator must not
/// silence the fleet.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(600);

/// The spool keeps the heartbeats of a day.
const SPOOLED_TIME: Duration = Duration::from_secs(24 * 3600);
/// Shortest time between two batches. The usual time is a random part of the interval. So
/// a fleet sends about as many batches as heartbeats, however long the outage was.
const MIN_BATCH_PAUSE: Duration = Duration::from_secs(1);
/// Most heartbeats in a batch. The server takes more, but not from a whole fleet at once.
const MAX_BATCH_COUNT: usize = 100;
/// Longest batch: a line of 100 kbit/s carries such a batch before the call times out,
/// and little memory is enough for it.
const MAX_BATCH_BYTES: usize = 128 * 1024;

/// The newest heartbeat on its way to the server, and the older heartbeats in the spool.
pub(crate) struct Delivery {
    interval: Duration,
    spool: Spool,
    /// The newest heartbeat, while it waits for a try.
    newest: Option<NewestHeartbeat>,
    /// The heartbeats in the call under way.
    in_flight: Option<InFlight>,
    /// When the next batch is due; `None` until the server accepts heartbeats.
    next_batch_at: Option<Instant>,
    /// Most heartbeats in the next batch: halved when a batch is not accepted.
    max_batch_count: usize,
    /// The server has asked for silence until then.
    silent_until: Option<Instant>,
    log: DeliveryLog,
}

/// A heartbeat that is sent alone, and not in a batch.
struct NewestHeartbeat {
    body: Vec<u8>,
    /// The number in the spool; `None` without a working spool.
    spool_number: Option<u64>,
    failed_tries: usize,
    /// When the next try begins, or the last try began.
    try_at: Instant,
}

/// The heartbeats in the call under way.
enum InFlight {
    Newest(NewestHeartbeat),
    Batch(SentBatch),
}

/// A batch under way: the first heartbeats in the spool.
struct SentBatch {
    count: usize,
    /// The number of the last heartbeat in the batch.
    last_number: u64,
}

/// Whether heartbeats still go to the same server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Destination {
    Same,
    /// Another server, from which nothing was heard yet.
    Other,
}

impl Delivery {
    pub(crate) fn new(interval: Duration, spool: Spool) -> Delivery {
        Delivery {
            interval,
            spool,
            newest: None,
            in_flight: None,
            next_batch_at: None,
            max_batch_count: MAX_BATCH_COUNT,
            silent_until: None,
            log: DeliveryLog::default(),
        }
    }

    /// Follows a change of the configuration. For another server, the old server's wish
    /// for silence is forgotten, and the log begins afresh.
    pub(crate) fn reconfigure(&mut self, interval: Duration, destination: Destination) {
        self.interval = interval;
        if destination == Destination::Other {
            self.silent_until = None;
            self.log.server_changed();
        }
    }

    /// Where heartbeats wait.
    pub(crate) fn spool(&mut self) -> &mut Spool {
        &mut self.spool
    }

    /// Takes a new heartbeat. An older heartbeat waiting for a try gives way.
    pub(crate) fn offer(&mut self, body: Vec<u8>, now: Instant) {
        let spool_number = self.keep(&body);
        let older = self.newest.replace(NewestHeartbeat {
            body,
            spool_number,
            failed_tries: 0,
            try_at: now,
        });
        if let Some(older) = older {
            self.leave_in_spool(&older, "the next one is due");
        }
    }

    /// Puts a heartbeat into the spool. Gives the heartbeat's number in the spool, or
    /// `None` if the spool does not work.
    pub(crate) fn keep(&mut self, body: &[u8]) -> Option<u64> {
        let max_count = SPOOLED_TIME.as_nanos() / self.interval.as_nanos().max(1);
        let max_count = usize::try_from(max_count).unwrap_or(usize::MAX);
        self.spool.append(body, max_count)
    }

    /// When to begin the next call; `None` while there is nothing to send, or a call is
    /// under way.
    pub(crate) fn due(&self) -> Option<Instant> {
        if self.in_flight.is_some() {
            return None;
        }
        let newest_at = self.newest.as_ref().map(|heartbeat| heartbeat.try_at);
        let at = newest_at.or(self.next_batch_at)?;
        Some(self.silent_until.map_or(at, |until| until.max(at)))
    }

    /// The request of a call that begins `now`, if a call is due.
    pub(crate) fn begin(&mut self, now: Instant) -> Option<Request> {
        self.due().filter(|at| *at <= now)?;
        match self.newest.take() {
            Some(heartbeat) => Some(self.begin_newest(heartbeat, now)),
            None => self.begin_batch(),
        }
    }

    /// Only a first try asks for a sync. When the heartbeat is tried again, the spool has
    /// been synced with the heartbeat in it.
    fn begin_newest(&mut self, heartbeat: NewestHeartbeat, now: Instant) -> Request {
        let is_first_try = heartbeat.failed_tries == 0;
        let body = heartbeat.body.clone();
        self.in_flight = Some(InFlight::Newest(NewestHeartbeat {
            try_at: now,
            ..heartbeat
        }));

        Request {
            kind: RequestKind::Newest,
            body,
            unsynced: is_first_try.then(|| self.spool.unsynced()).flatten(),
        }
    }

    fn begin_batch(&mut self) -> Option<Request> {
        self.next_batch_at = None;
        let batch = self.spool.batch(self.max_batch_count, MAX_BATCH_BYTES)?;
        self.in_flight = Some(InFlight::Batch(SentBatch {
            count: batch.count,
            last_number: batch.last_number,
        }));

        Some(Request {
            kind: RequestKind::Batch,
            body: batch.body,
            unsynced: None,
        })
    }

    /// The call under way has ended with `outcome` at `now`. `chance` is a number from 0
    /// to just under 1.
    pub(crate) fn settle(&mut self, outcome: Outcome, now: Instant, chance: f64) {
        self.silent_until = outcome.retry_after().map(|wait| {
            now + wait.min(MAX_RETRY_AFTER).mul_f64(1.0 + MAX_JITTER * chance)
        });
        match self.in_flight.take() {
            Some(InFlight::Newest(heartbeat)) => {
                self.settle_newest(heartbeat, outcome, now, chance);
            }
            Some(InFlight::Batch(batch)) => {
                self.settle_batch(&batch, outcome, now, chance);
            }
            None => {}
        }
    }

    fn settle_newest(
        &mut self,
        heartbeat: NewestHeartbeat,
        outcome: Outcome,
        now: Instant,
        chance: f64,
    ) {
        let (reason, level) = match outcome {
            Outcome::Accepted { .. } | Outcome::PartlyAccepted { .. } => {
                self.remove_from_spool(&heartbeat);
                self.log.newest_accepted();
                return self.plan_batch(now, chance);
            }
            Outcome::Refused { reason } => {
                self.remove_from_spool(&heartbeat);
                return self.log.dropped(1, &reason);
            }
            Outcome::Unauthorized { reason } => (reason, Level::Error),
            Outcome::Failed { reason, .. } => (reason, Level::Warn),
        };

        self.log.not_accepted(RequestKind::Newest, &reason, level);
        self.try_again(heartbeat, now, chance);
    }

    fn try_again(&mut self, heartbeat: NewestHeartbeat, now: Instant, chance: f64) {
        // The spool waits until the server has accepted something.
        self.next_batch_at = None;
        if self.newest.is_some() {
            return self.leave_in_spool(&heartbeat, "the next one is due");
        }
        let Some(delay) = RETRY_DELAYS.get(heartbeat.failed_tries) else {
            return self.leave_in_spool(&heartbeat, "no try succeeded");
        };

        let scale = self.interval.div_duration_f64(USUAL_INTERVAL).min(1.0);
        let delay = delay.mul_f64(scale * (1.0 + MAX_JITTER * chance));
        self.newest = Some(NewestHeartbeat {
            failed_tries: heartbeat.failed_tries + 1,
            try_at: (heartbeat.try_at + delay).max(now),
            ..heartbeat
        });
    }

    fn settle_batch(
        &mut self,
        batch: &SentBatch,
        outcome: Outcome,
        now: Instant,
        chance: f64,
    ) {
        match outcome {
            Outcome::Accepted { .. } => self.batch_accepted(batch, 0),
            Outcome::PartlyAccepted { rejected, reason } => {
                self.log.dropped(rejected, &reason);
                self.batch_accepted(batch, rejected);
            }
            // Half of the batch may be accepted by itself.
            Outcome::Refused { .. } if batch.count > 1 => {
                self.max_batch_count = batch.count / 2;
            }
            Outcome::Refused { reason } => {
                self.spool.remove_through(batch.last_number);
                self.log.dropped(batch.count, &reason);
            }
            Outcome::Unauthorized { reason } => {
                let kind = RequestKind::Batch;
                return self.log.not_accepted(kind, &reason, Level::Error);
            }
            // On a slow line a shorter batch may get through, after the next heartbeat
            // that the server accepts.
            Outcome::Failed { reason, .. } => {
                self.max_batch_count = (batch.count / 2).max(1);
                let kind = RequestKind::Batch;
                return self.log.not_accepted(kind, &reason, Level::Warn);
            }
        }

        self.plan_batch(now, chance);
    }

    /// The server has the batch, except for `rejected` heartbeats with errors.
    fn batch_accepted(&mut self, batch: &SentBatch, rejected: usize) {
        self.spool.remove_through(batch.last_number);
        self.max_batch_count = (self.max_batch_count * 2).min(MAX_BATCH_COUNT);
        self.log
            .batch_accepted(batch.count.saturating_sub(rejected));
    }

    /// Plans the next batch, because the server accepts heartbeats.
    fn plan_batch(&mut self, now: Instant, chance: f64) {
        let is_newest_in_spool = self
            .newest
            .as_ref()
            .is_some_and(|heartbeat| heartbeat.spool_number.is_some());
        if self.spool.len() > usize::from(is_newest_in_spool) {
            let pause = self.interval.mul_f64(chance).max(MIN_BATCH_PAUSE);
            self.next_batch_at = self.next_batch_at.or(Some(now + pause));
        } else {
            self.log.spool_is_empty();
        }
    }

    /// Gives up sending the heartbeat alone. Without a spool the heartbeat is lost.
    fn leave_in_spool(&mut self, heartbeat: &NewestHeartbeat, reason: &str) {
        match heartbeat.spool_number {
            Some(_) => self.log.kept_in_spool(reason),
            None => self.log.dropped(1, reason),
        }
    }

    /// The server has the heartbeat, or will never accept it.
    fn remove_from_spool(&mut self, heartbeat: &NewestHeartbeat) {
        if let Some(number) = heartbeat.spool_number {
            self.spool.remove(number);
        }
    }
}
