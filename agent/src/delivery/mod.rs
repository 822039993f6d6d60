//! What happens to a heartbeat between being made and being accepted; never reads a
//! clock.
//!
//! A heartbeat goes into the spool and is tried at once, and again within the interval.
//! When its tries are over, or a newer one is there, it stays in the spool. Once the
//! server has accepted a newer one, the spool follows in batches, the oldest first.

pub(crate) mod sender;
pub(crate) mod spool;

use std::fs::File;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sender::Outcome;
use spool::Spool;

/// How long after the beginning of a try that fails the next one follows, for an interval
/// of [`USUAL_INTERVAL`]; shorter with a shorter interval, so that all tries still fall
/// into it.
const DELAYS: [Duration; 3] = [
    Duration::from_secs(5),
    Duration::from_secs(15),
    Duration::from_secs(45),
];
const USUAL_INTERVAL: Duration = Duration::from_secs(120);
/// A delay is up to this fraction longer, by chance: agents that failed together come
/// back one by one.
const JITTER: f64 = 0.3;
/// Longest wait that a server may ask for, before jitter: it shall not silence its hosts
/// by a slip.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(600);

/// The spool keeps the heartbeats of this time.
const SPOOLED_TIME: Duration = Duration::from_secs(24 * 3600);
/// Shortest time between two batches. The usual one is a random part of the interval, at
/// most all of it: however much the agents of a fleet have kept, their batches are about
/// as many requests as their heartbeats.
const MIN_BATCH_PAUSE: Duration = Duration::from_secs(1);
/// Most heartbeats in a batch. The server takes more, but not from a whole fleet at once.
const MAX_BATCH: usize = 100;
/// Longest batch: a line of 100 kbit/s has it through before the call is given up, and it
/// fits into little memory.
const MAX_BATCH_BYTES: usize = 128 * 1024;

/// The newest heartbeat on its way to the server, and those in the spool.
pub(crate) struct Delivery {
    interval: Duration,
    spool: Spool,
    waiting: Option<Pending>,
    calling: Option<Called>,
    /// When the next batch is due; `None` until the server accepts heartbeats.
    batch_at: Option<Instant>,
    /// Most heartbeats in the next batch: halved when one is not accepted.
    batch_most: usize,
    /// The server asked for silence until then.
    silent_until: Option<Instant>,
    dropped: u64,
    /// Accepted from the spool since it held nothing.
    replayed: usize,
    /// Whether the log knows that heartbeats stay in the spool.
    is_keeping: bool,
    newest: Health,
    spooled: Health,
}

struct Pending {
    body: Vec<u8>,
    /// Its number in the spool, if it is there.
    spooled: Option<u64>,
    failures: usize,
    /// When its next try begins, or began.
    at: Instant,
}

/// What the call under way is about.
enum Called {
    Newest(Pending),
    Batch { count: usize, through: u64 },
}

/// What to send.
pub(crate) struct Request {
    pub(crate) body: Vec<u8>,
    pub(crate) kind: Kind,
    /// What to sync if this is not accepted: then the heartbeat may have to outlive a
    /// power cut.
    pub(crate) unsynced: Option<Arc<File>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One heartbeat.
    Newest,
    /// An array of older ones.
    Batch,
}

impl Delivery {
    pub(crate) fn new(interval: Duration, spool: Spool) -> Delivery {
        Delivery {
            interval,
            spool,
            waiting: None,
            calling: None,
            batch_at: None,
            batch_most: MAX_BATCH,
            silent_until: None,
            dropped: 0,
            replayed: 0,
            is_keeping: false,
            newest: Health::new("heartbeat"),
            spooled: Health::new("spooled heartbeat"),
        }
    }

    /// The configuration has changed. What another server has said is none of this one's
    /// words.
    pub(crate) fn change(&mut self, interval: Duration, is_other_server: bool) {
        self.interval = interval;
        if is_other_server {
            self.silent_until = None;
            (self.newest.state, self.spooled.state) = (State::Untried, State::Untried);
        }
    }

    /// Where heartbeats wait.
    pub(crate) fn spool(&mut self) -> &mut Spool {
        &mut self.spool
    }

    /// Takes a new heartbeat. One that waits for its next try is older and gives way.
    pub(crate) fn offer(&mut self, body: Vec<u8>, now: Instant) {
        let spooled = self.keep(&body);
        if let Some(older) = self.waiting.replace(Pending {
            body,
            spooled,
            failures: 0,
            at: now,
        }) {
            self.leave(&older, "the next one is due");
        }
    }

    /// Puts a heartbeat into the spool, where it has that number then.
    pub(crate) fn keep(&mut self, body: &[u8]) -> Option<u64> {
        let most = SPOOLED_TIME.as_nanos() / self.interval.as_nanos().max(1);
        self.spool
            .append(body, usize::try_from(most).unwrap_or(usize::MAX))
    }

    /// When to begin the next call; `None` while there is nothing to send or a call is
    /// under way.
    pub(crate) fn due(&self) -> Option<Instant> {
        if self.calling.is_some() {
            return None;
        }
        let at = self
            .waiting
            .as_ref()
            .map(|waiting| waiting.at)
            .or(self.batch_at)?;
        Some(self.silent_until.map_or(at, |until| until.max(at)))
    }

    /// What to send in a call that begins `now`, if one is due; its outcome has to be
    /// settled.
    pub(crate) fn begin(&mut self, now: Instant) -> Option<Request> {
        self.due().filter(|at| *at <= now)?;
        if let Some(pending) = self.waiting.take() {
            let unsynced = if pending.failures == 0 {
                self.spool.file()
            } else {
                None
            };
            let body = pending.body.clone();
            self.calling = Some(Called::Newest(Pending { at: now, ..pending }));
            return Some(Request {
                body,
                kind: Kind::Newest,
                unsynced,
            });
        }
        self.batch_at = None;
        let batch = self.spool.batch(self.batch_most, MAX_BATCH_BYTES)?;
        self.calling = Some(Called::Batch {
            count: batch.count,
            through: batch.through,
        });
        Some(Request {
            body: batch.body,
            kind: Kind::Batch,
            unsynced: None,
        })
    }

    /// The call ended with that outcome at `now`; `chance` is a number from 0 to just
    /// under 1.
    pub(crate) fn settle(&mut self, outcome: Outcome, now: Instant, chance: f64) {
        self.silent_until = match &outcome {
            Outcome::Failed { retry_after, .. } => retry_after.map(|wait| {
                now + wait.min(MAX_RETRY_AFTER).mul_f64(1.0 + JITTER * chance)
            }),
            _ => None,
        };
        match self.calling.take() {
            Some(Called::Newest(called)) => {
                self.settle_newest(called, outcome, now, chance)
            }
            Some(Called::Batch { count, through }) => {
                self.settle_batch(count, through, outcome, now, chance);
            }
            None => {}
        }
    }

    fn settle_newest(
        &mut self,
        called: Pending,
        outcome: Outcome,
        now: Instant,
        chance: f64,
    ) {
        match outcome {
            Outcome::Accepted | Outcome::PartlyAccepted { .. } => {
                self.forget(&called);
                self.newest.report_good();
                self.is_keeping = false;
                self.plan_batch(now, chance);
            }
            Outcome::Refused { reason } => {
                self.forget(&called);
                self.count_drop(1, &reason);
            }
            Outcome::Unauthorized { reason } => {
                self.newest.report_bad(reason, log::Level::Error);
                self.try_again(called, now, chance);
            }
            Outcome::Failed { reason, .. } => {
                self.newest.report_bad(reason, log::Level::Warn);
                self.try_again(called, now, chance);
            }
        }
    }

    fn try_again(&mut self, called: Pending, now: Instant, chance: f64) {
        // The spool waits until the server has accepted something.
        self.batch_at = None;
        if self.waiting.is_some() {
            return self.leave(&called, "the next one is due");
        }
        let Some(delay) = DELAYS.get(called.failures) else {
            return self.leave(&called, "no try succeeded");
        };
        let scale = self.interval.div_duration_f64(USUAL_INTERVAL).min(1.0);
        let at = called.at + delay.mul_f64(scale * (1.0 + JITTER * chance));
        self.waiting = Some(Pending {
            failures: called.failures + 1,
            at: at.max(now),
            ..called
        });
    }

    fn settle_batch(
        &mut self,
        count: usize,
        through: u64,
        outcome: Outcome,
        now: Instant,
        chance: f64,
    ) {
        let rejected = match outcome {
            Outcome::Accepted => 0,
            Outcome::PartlyAccepted { rejected, reason } => {
                self.count_drop(rejected, &reason);
                rejected
            }
            // Some of them may be taken by themselves.
            Outcome::Refused { .. } if count > 1 => {
                self.batch_most = count / 2;
                return self.plan_batch(now, chance);
            }
            Outcome::Refused { reason } => {
                self.spool.remove_through(through);
                self.count_drop(count, &reason);
                return self.plan_batch(now, chance);
            }
            Outcome::Unauthorized { reason } => {
                return self.spooled.report_bad(reason, log::Level::Error);
            }
            // On a slow line a shorter one may get through. It follows the next heartbeat
            // that is accepted.
            Outcome::Failed { reason, .. } => {
                self.batch_most = (count / 2).max(1);
                return self.spooled.report_bad(reason, log::Level::Warn);
            }
        };
        self.spool.remove_through(through);
        self.spooled.state = State::Good;
        self.batch_most = (self.batch_most * 2).min(MAX_BATCH);
        self.replayed += count.saturating_sub(rejected);
        self.plan_batch(now, chance);
    }

    /// The server accepts heartbeats: what is in the spool may follow.
    fn plan_batch(&mut self, now: Instant, chance: f64) {
        let is_newest_in_spool = self
            .waiting
            .as_ref()
            .is_some_and(|waiting| waiting.spooled.is_some());
        if self.spool.len() > usize::from(is_newest_in_spool) {
            let pause = self.interval.mul_f64(chance).max(MIN_BATCH_PAUSE);
            self.batch_at = self.batch_at.or(Some(now + pause));
        } else if self.replayed > 0 {
            log::info!(
                "{} heartbeats of the spool are delivered, it is empty",
                self.replayed
            );
            self.replayed = 0;
        }
    }

    /// The heartbeat is not sent by itself any more.
    fn leave(&mut self, pending: &Pending, reason: &str) {
        if pending.spooled.is_none() {
            self.count_drop(1, reason);
        } else if !std::mem::replace(&mut self.is_keeping, true) {
            log::info!(
                "a heartbeat stays in the spool: {reason}; the next ones do so, too, until one is accepted"
            );
        }
    }

    fn forget(&mut self, pending: &Pending) {
        if let Some(number) = pending.spooled {
            self.spool.remove(number);
        }
    }

    /// Heartbeats are lost.
    fn count_drop(&mut self, count: usize, reason: &str) {
        self.dropped += count as u64;
        let what = if count == 1 {
            "heartbeat".to_owned()
        } else {
            format!("{count} heartbeats")
        };
        log::warn!("{what} dropped, {} since the start: {reason}", self.dropped);
    }
}

/// What the log knows of how it goes.
struct Health {
    what: &'static str,
    state: State,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Untried,
    Good,
    Bad(String),
}

impl Health {
    fn new(what: &'static str) -> Health {
        Health {
            what,
            state: State::Untried,
        }
    }

    fn report_good(&mut self) {
        match self.state {
            State::Untried => log::info!("the server accepts {}s", self.what),
            State::Bad(_) => log::info!("the server accepts {}s again", self.what),
            State::Good => {}
        }
        self.state = State::Good;
    }

    /// Once for each reason, not once for each try.
    fn report_bad(&mut self, reason: String, level: log::Level) {
        let bad = State::Bad(reason);
        if let (true, State::Bad(reason)) = (self.state != bad, &bad) {
            log::log!(level, "{} not accepted: {reason}", self.what);
        }
        self.state = bad;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use tempfile::TempDir;

    const SECOND: Duration = Duration::from_secs(1);
    const INTERVAL: Duration = Duration::from_secs(120);

    fn failed(retry_after: Option<Duration>) -> Outcome {
        Outcome::Failed {
            reason: "down".to_owned(),
            retry_after,
        }
    }

    fn refused() -> Outcome {
        Outcome::Refused {
            reason: "bad".to_owned(),
        }
    }

    /// A delivery whose spool is in that folder, or which has none.
    fn delivery(folder: Option<&TempDir>) -> Delivery {
        let folder = folder.map_or(Path::new("/nowhere"), TempDir::path);
        Delivery::new(INTERVAL, Spool::open(folder).unwrap())
    }

    fn with_spool() -> (TempDir, Delivery) {
        let folder = tempfile::tempdir().unwrap();
        let delivery = delivery(Some(&folder));
        (folder, delivery)
    }

    fn offer(delivery: &mut Delivery, n: usize, now: Instant) {
        delivery.offer(n.to_string().into_bytes(), now);
    }

    /// Begins the next call when it is due; what is sent then.
    fn call(delivery: &mut Delivery) -> (Instant, String) {
        let at = delivery.due().unwrap();
        (
            at,
            String::from_utf8(delivery.begin(at).unwrap().body).unwrap(),
        )
    }

    /// Fails until all tries are over; when each began, in seconds from the first, if
    /// each fails after `took`.
    fn fail(delivery: &mut Delivery, took: Duration, chance: f64) -> Vec<f64> {
        let start = delivery.due().unwrap();
        let mut tries = Vec::new();
        while delivery.due().is_some() {
            let (at, _) = call(delivery);
            tries.push((at - start).as_secs_f64());
            delivery.settle(failed(None), at + took, chance);
        }
        tries
    }

    /// Has `count` heartbeats fail, from 0 on; then the next one is accepted.
    fn outage(
        delivery: &mut Delivery,
        count: usize,
        start: Instant,
        chance: f64,
    ) -> Instant {
        for n in 0..count {
            offer(delivery, n, start);
            fail(delivery, Duration::ZERO, 0.0);
        }
        offer(delivery, count, start);
        let (at, body) = call(delivery);
        assert_eq!(body, count.to_string(), "the newest goes first");
        delivery.settle(Outcome::Accepted, at, chance);
        at
    }

    #[test]
    fn three_retries_fall_into_the_interval() {
        let tries = |interval, took, chance| {
            let mut delivery = delivery(None);
            delivery.change(interval, false);
            offer(&mut delivery, 1, Instant::now());
            fail(&mut delivery, took, chance)
        };
        let none = Duration::ZERO;
        assert_eq!(tries(120 * SECOND, none, 0.0), [0.0, 5.0, 20.0, 65.0]);
        assert_eq!(tries(120 * SECOND, none, 0.5), [0.0, 5.75, 23.0, 74.75]);
        assert_eq!(tries(3600 * SECOND, none, 0.0), [0.0, 5.0, 20.0, 65.0]);
        assert_eq!(tries(12 * SECOND, none, 0.0), [0.0, 0.5, 2.0, 6.5]);
        // Each call without an answer, and the longest delays.
        assert_eq!(
            tries(120 * SECOND, 15 * SECOND, 1.0),
            [0.0, 15.0, 34.5, 93.0]
        );
    }

    #[test]
    fn a_heartbeat_made_during_a_call_waits_for_its_end() {
        let now = Instant::now();
        for (outcome, dropped, spooled) in [
            (Outcome::Accepted, 0, 2),
            (failed(None), 0, 3),
            (refused(), 1, 2),
        ] {
            for has_spool in [true, false] {
                let folder = tempfile::tempdir().unwrap();
                let mut delivery = delivery(has_spool.then_some(&folder));
                offer(&mut delivery, 1, now);
                call(&mut delivery);
                offer(&mut delivery, 2, now + SECOND);
                offer(&mut delivery, 3, now + 2 * SECOND);
                assert_eq!(delivery.due(), None);
                let outcome = match &outcome {
                    Outcome::Accepted => Outcome::Accepted,
                    Outcome::Refused { .. } => refused(),
                    _ => failed(None),
                };
                delivery.settle(outcome, now + 9 * SECOND, 0.0);
                assert!(delivery.due().unwrap() <= now + 9 * SECOND);
                assert_eq!(call(&mut delivery).1, "3");
                // Without a spool, what gave way is lost.
                let expected = if has_spool {
                    (dropped, spooled)
                } else {
                    (spooled as u64 - 1 + dropped, 0)
                };
                assert_eq!((delivery.dropped, delivery.spool.len()), expected);
            }
        }
    }

    #[test]
    fn the_spool_follows_the_newest_heartbeat_after_a_part_of_the_interval() {
        for (chance, pause) in [(0.0, 1.0), (0.25, 30.0), (0.999, 119.88)] {
            let (_folder, mut delivery) = with_spool();
            let accepted_at = outage(&mut delivery, 3, Instant::now(), chance);
            let (at, batch) = call(&mut delivery);
            assert_eq!((at - accepted_at).as_secs_f64(), pause);
            assert_eq!(batch, "[0,1,2]");
            delivery.settle(Outcome::Accepted, at, 0.0);
            assert_eq!(
                (delivery.due(), delivery.spool.len(), delivery.dropped),
                (None, 0, 0)
            );
        }
    }

    #[test]
    fn batches_are_bounded_and_at_least_a_second_apart() {
        let (_folder, mut delivery) = with_spool();
        let mut last = outage(&mut delivery, 250, Instant::now(), 0.0);
        let mut counts = Vec::new();
        while delivery.due().is_some() {
            let (at, batch) = call(&mut delivery);
            assert!(at - last >= SECOND);
            last = at;
            counts.push(batch.split(',').count());
            delivery.settle(Outcome::Accepted, at, 0.0);
        }
        assert_eq!(counts, [100, 100, 50]);
    }

    #[test]
    fn a_new_heartbeat_goes_before_the_spool_and_is_not_in_a_batch() {
        let (_folder, mut delivery) = with_spool();
        let now = outage(&mut delivery, 2, Instant::now(), 0.5);
        offer(&mut delivery, 7, now + SECOND);
        assert_eq!(call(&mut delivery).1, "7");
        offer(&mut delivery, 8, now + 2 * SECOND);
        delivery.settle(Outcome::Accepted, now + 2 * SECOND, 0.5);
        assert_eq!(call(&mut delivery).1, "8");
        delivery.settle(Outcome::Accepted, now + 3 * SECOND, 0.9);
        assert_eq!(call(&mut delivery), (now + 60 * SECOND, "[0,1]".to_owned()));
        offer(&mut delivery, 9, now + 61 * SECOND);
        delivery.settle(Outcome::Accepted, now + 61 * SECOND, 0.0);
        assert_eq!(call(&mut delivery).1, "9");
        delivery.settle(Outcome::Accepted, now + 61 * SECOND, 0.0);
        assert_eq!((delivery.due(), delivery.spool.len()), (None, 0));
    }

    #[test]
    fn a_server_that_fails_again_gets_the_newest_heartbeat_first_again() {
        for outcome in [
            failed(None),
            Outcome::Unauthorized {
                reason: "key".to_owned(),
            },
        ] {
            let (_folder, mut delivery) = with_spool();
            let now = outage(&mut delivery, 4, Instant::now(), 0.0);
            assert_eq!(call(&mut delivery).1, "[0,1,2,3]");
            delivery.settle(outcome, now + SECOND, 0.0);
            assert_eq!((delivery.due(), delivery.spool.len()), (None, 4));
            offer(&mut delivery, 9, now + INTERVAL);
            assert_eq!(call(&mut delivery).1, "9");
            delivery.settle(Outcome::Accepted, now + INTERVAL, 0.0);
            assert!(call(&mut delivery).1.starts_with("[0,1"));
        }
    }

    #[test]
    fn a_batch_that_fails_is_followed_by_shorter_ones() {
        let (_folder, mut delivery) = with_spool();
        outage(&mut delivery, 100, Instant::now(), 0.0);
        let mut counts = Vec::new();
        for outcome in [
            failed(None),
            failed(None),
            Outcome::Accepted,
            Outcome::Accepted,
        ] {
            let (at, batch) = call(&mut delivery);
            counts.push(batch.split(',').count());
            delivery.settle(outcome, at, 0.0);
            offer(&mut delivery, 500, at);
            call(&mut delivery);
            delivery.settle(Outcome::Accepted, at, 0.0);
        }
        assert_eq!(counts, [100, 50, 25, 50]);
    }

    #[test]
    fn a_refused_batch_is_halved_until_what_is_bad_is_alone() {
        let (_folder, mut delivery) = with_spool();
        outage(&mut delivery, 8, Instant::now(), 0.0);
        let mut accepted = Vec::new();
        while delivery.due().is_some() {
            let (at, batch) = call(&mut delivery);
            let batch: Vec<u32> = serde_json::from_str(&batch).unwrap();
            if batch.contains(&5) {
                delivery.settle(refused(), at, 0.0);
            } else {
                accepted.extend(batch);
                delivery.settle(Outcome::Accepted, at, 0.0);
            }
        }
        assert_eq!((accepted, delivery.dropped), (vec![0, 1, 2, 3, 4, 6, 7], 1));
    }

    #[test]
    fn what_a_batchs_answer_rejects_is_dropped_and_counted() {
        let (_folder, mut delivery) = with_spool();
        let now = outage(&mut delivery, 5, Instant::now(), 0.0);
        call(&mut delivery);
        delivery.settle(
            Outcome::PartlyAccepted {
                rejected: 2,
                reason: "bad".to_owned(),
            },
            now,
            0.0,
        );
        assert_eq!(
            (delivery.dropped, delivery.spool.len(), delivery.due()),
            (2, 0, None)
        );
    }

    #[test]
    fn a_restart_goes_on_with_what_is_in_the_spool() {
        let (folder, mut delivery) = with_spool();
        let now = Instant::now();
        offer(&mut delivery, 0, now);
        call(&mut delivery);
        offer(&mut delivery, 1, now);
        drop(delivery);
        let mut delivery = self::delivery(Some(&folder));
        assert_eq!(delivery.due(), None, "nothing goes before the newest");
        offer(&mut delivery, 2, now);
        assert_eq!(call(&mut delivery).1, "2");
        delivery.settle(Outcome::Accepted, now, 0.0);
        assert_eq!(call(&mut delivery).1, "[0,1]");
    }

    #[test]
    fn the_spool_keeps_a_days_heartbeats() {
        let (_folder, mut delivery) = with_spool();
        let now = Instant::now();
        for n in 0..1000 {
            offer(&mut delivery, n, now);
        }
        assert_eq!(delivery.spool.len(), 720);
    }

    #[test]
    fn only_the_first_try_asks_for_a_sync() {
        let (_folder, mut delivery) = with_spool();
        let now = Instant::now();
        offer(&mut delivery, 1, now);
        assert!(delivery.begin(now).unwrap().unsynced.is_some());
        delivery.settle(failed(None), now, 0.0);
        assert!(delivery.begin(now + 5 * SECOND).unwrap().unsynced.is_none());
    }

    #[test]
    fn retry_after_is_obeyed_by_the_next_heartbeat_and_the_spool_too() {
        let now = Instant::now();
        let (_folder, mut delivery) = with_spool();
        offer(&mut delivery, 1, now);
        call(&mut delivery);
        delivery.settle(failed(Some(200 * SECOND)), now, 0.0);
        assert_eq!(delivery.due(), Some(now + 200 * SECOND));
        offer(&mut delivery, 2, now + 120 * SECOND);
        assert_eq!(call(&mut delivery), (now + 200 * SECOND, "2".to_owned()));
        delivery.settle(Outcome::Accepted, now + 200 * SECOND, 0.0);
        assert_eq!(call(&mut delivery), (now + 201 * SECOND, "[1]".to_owned()));
        delivery.settle(failed(Some(100 * SECOND)), now + 201 * SECOND, 0.0);
        offer(&mut delivery, 3, now + 240 * SECOND);
        assert_eq!(call(&mut delivery), (now + 301 * SECOND, "3".to_owned()));
        delivery.settle(Outcome::Accepted, now + 301 * SECOND, 0.0);
        assert_eq!(call(&mut delivery), (now + 302 * SECOND, "[1]".to_owned()));
        delivery.settle(failed(Some(100 * SECOND)), now + 302 * SECOND, 0.0);
        delivery.change(INTERVAL, true);
        offer(&mut delivery, 4, now + 310 * SECOND);
        assert_eq!(
            call(&mut delivery),
            (now + 310 * SECOND, "4".to_owned()),
            "another server did not say so"
        );
    }

    #[test]
    fn retry_after_has_a_limit_and_never_shortens_a_delay() {
        let now = Instant::now();
        for (asked, waited) in [(0, 5), (3, 5), (30, 30), (u64::MAX, 600)] {
            let mut delivery = delivery(None);
            offer(&mut delivery, 1, now);
            call(&mut delivery);
            delivery.settle(failed(Some(Duration::from_secs(asked))), now, 0.0);
            assert_eq!(delivery.due(), Some(now + waited * SECOND), "{asked}");
        }
    }

    #[test]
    fn a_refused_heartbeat_is_dropped_at_once_and_a_wrong_key_is_tried_on() {
        let now = Instant::now();
        let (_folder, mut delivery) = with_spool();
        offer(&mut delivery, 1, now);
        call(&mut delivery);
        delivery.settle(refused(), now, 0.0);
        assert_eq!(
            (delivery.due(), delivery.dropped, delivery.spool.len()),
            (None, 1, 0)
        );
        offer(&mut delivery, 2, now);
        call(&mut delivery);
        delivery.settle(
            Outcome::Unauthorized {
                reason: "key".to_owned(),
            },
            now,
            0.0,
        );
        assert_eq!(delivery.due(), Some(now + 5 * SECOND));
    }
}
