//! What happens to a heartbeat between being made and being accepted; never reads a clock.

use std::time::{Duration, Instant};

use crate::sender::Outcome;

/// How long after the beginning of a try that fails the next one follows, for an interval of [`USUAL_INTERVAL`];
/// shorter with a shorter interval, so that all tries still fall into it.
const DELAYS: [Duration; 3] = [Duration::from_secs(5), Duration::from_secs(15), Duration::from_secs(45)];
const USUAL_INTERVAL: Duration = Duration::from_secs(120);
/// A delay is up to this fraction longer, by chance: agents that failed together come back one by one.
const JITTER: f64 = 0.3;
/// Longest wait that a server may ask for, before jitter: it shall not silence its hosts by a slip.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(600);

/// The newest heartbeat on its way to the server, and perhaps an older one in a call that is not yet answered.
pub(crate) struct Delivery {
    interval: Duration,
    waiting: Option<Pending>,
    calling: Option<Pending>,
    /// The server asked for silence until then.
    silent_until: Option<Instant>,
    dropped: u64,
    health: Health,
}

struct Pending {
    body: Vec<u8>,
    failures: usize,
    /// When its next try begins, or began.
    at: Instant,
}

/// What the log knows of how it goes.
#[derive(Debug, PartialEq, Eq)]
enum Health {
    Untried,
    Good,
    Bad(String),
}

impl Delivery {
    pub(crate) fn new(interval: Duration) -> Delivery {
        let health = Health::Untried;
        Delivery { interval, waiting: None, calling: None, silent_until: None, dropped: 0, health }
    }

    /// Takes a new heartbeat. One that waits for its next try is older and gives way.
    pub(crate) fn offer(&mut self, body: Vec<u8>, now: Instant) {
        if self.waiting.replace(Pending { body, failures: 0, at: now }).is_some() {
            self.count_drop("the next one is due");
        }
    }

    /// When to begin the next call; `None` while there is nothing to send or a call is under way.
    pub(crate) fn due(&self) -> Option<Instant> {
        let waiting = self.waiting.as_ref().filter(|_| self.calling.is_none())?;
        Some(self.silent_until.map_or(waiting.at, |until| until.max(waiting.at)))
    }

    /// What to send in a call that begins `now`, if one is due; its outcome has to be settled.
    pub(crate) fn begin(&mut self, now: Instant) -> Option<Vec<u8>> {
        self.due().filter(|at| *at <= now)?;
        let pending = self.waiting.take()?;
        Some(self.calling.insert(Pending { at: now, ..pending }).body.clone())
    }

    /// The call ended with that outcome at `now`; `chance` is a number from 0 to just under 1.
    pub(crate) fn settle(&mut self, outcome: Outcome, now: Instant, chance: f64) {
        let Some(called) = self.calling.take() else { return };
        match outcome {
            Outcome::Accepted => {
                self.silent_until = None;
                self.report_good();
            }
            Outcome::Refused { reason } => self.count_drop(&reason),
            Outcome::Unauthorized { reason } => {
                self.report_bad(reason, log::Level::Error);
                self.try_again(called, now, None, chance);
            }
            Outcome::Failed { reason, retry_after } => {
                self.report_bad(reason, log::Level::Warn);
                self.try_again(called, now, retry_after, chance);
            }
        }
    }

    fn try_again(&mut self, called: Pending, now: Instant, retry_after: Option<Duration>, chance: f64) {
        let stretch = 1.0 + JITTER * chance;
        self.silent_until = retry_after.map(|wait| now + wait.min(MAX_RETRY_AFTER).mul_f64(stretch));
        if self.waiting.is_some() {
            return self.count_drop("the next one is due");
        }
        let Some(delay) = DELAYS.get(called.failures) else { return self.count_drop("no try succeeded") };
        let scale = self.interval.div_duration_f64(USUAL_INTERVAL).min(1.0);
        let at = called.at + delay.mul_f64(scale * stretch);
        self.waiting = Some(Pending { failures: called.failures + 1, at: at.max(now), ..called });
    }

    /// A heartbeat is lost.
    fn count_drop(&mut self, reason: &str) {
        self.dropped += 1;
        log::warn!("heartbeat dropped, {} since the start: {reason}", self.dropped);
    }

    fn report_good(&mut self) {
        match self.health {
            Health::Untried => log::info!("the server accepts heartbeats"),
            Health::Bad(_) => log::info!("the server accepts heartbeats again"),
            Health::Good => {}
        }
        self.health = Health::Good;
    }

    /// Once for each reason, not once for each try.
    fn report_bad(&mut self, reason: String, level: log::Level) {
        let bad = Health::Bad(reason);
        if let (true, Health::Bad(reason)) = (self.health != bad, &bad) {
            log::log!(level, "heartbeat not accepted: {reason}");
        }
        self.health = bad;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn failed(retry_after: Option<Duration>) -> Outcome {
        Outcome::Failed { reason: "down".to_owned(), retry_after }
    }

    /// Begins the next call when it is due; what is sent then.
    fn call(delivery: &mut Delivery) -> (Instant, Vec<u8>) {
        let at = delivery.due().unwrap();
        (at, delivery.begin(at).unwrap())
    }

    /// When each try begins, in seconds from the first, if each fails after `took`.
    fn tries(interval: Duration, took: Duration, chance: f64) -> Vec<f64> {
        let start = Instant::now();
        let mut delivery = Delivery::new(interval);
        delivery.offer(b"a".to_vec(), start);
        let mut tries = Vec::new();
        while delivery.due().is_some() {
            let (at, _) = call(&mut delivery);
            tries.push((at - start).as_secs_f64());
            delivery.settle(failed(None), at + took, chance);
        }
        tries
    }

    #[test]
    fn three_retries_fall_into_the_interval() {
        let none = Duration::ZERO;
        assert_eq!(tries(120 * SECOND, none, 0.0), [0.0, 5.0, 20.0, 65.0]);
        assert_eq!(tries(120 * SECOND, none, 0.5), [0.0, 5.75, 23.0, 74.75]);
        assert_eq!(tries(3600 * SECOND, none, 0.0), [0.0, 5.0, 20.0, 65.0]);
        assert_eq!(tries(12 * SECOND, none, 0.0), [0.0, 0.5, 2.0, 6.5]);
        // Each call without an answer, and the longest delays.
        assert_eq!(tries(120 * SECOND, 15 * SECOND, 1.0), [0.0, 15.0, 34.5, 93.0]);
    }

    #[test]
    fn a_heartbeat_made_during_a_call_waits_for_its_end() {
        let now = Instant::now();
        for (outcome, dropped) in
            [(Outcome::Accepted, 1), (failed(None), 2), (Outcome::Refused { reason: "bad".to_owned() }, 2)]
        {
            let mut delivery = Delivery::new(120 * SECOND);
            delivery.offer(b"a".to_vec(), now);
            call(&mut delivery);
            delivery.offer(b"b".to_vec(), now + SECOND);
            delivery.offer(b"c".to_vec(), now + 2 * SECOND);
            assert_eq!(delivery.due(), None);
            delivery.settle(outcome, now + 9 * SECOND, 0.0);
            assert!(delivery.due().unwrap() <= now + 9 * SECOND);
            assert_eq!((call(&mut delivery).1, delivery.dropped), (b"c".to_vec(), dropped));
        }
    }

    #[test]
    fn retry_after_is_obeyed_by_the_next_heartbeat_too() {
        let now = Instant::now();
        let mut delivery = Delivery::new(120 * SECOND);
        delivery.offer(b"a".to_vec(), now);
        call(&mut delivery);
        delivery.settle(failed(Some(200 * SECOND)), now, 0.0);
        assert_eq!(delivery.due(), Some(now + 200 * SECOND));
        delivery.offer(b"b".to_vec(), now + 120 * SECOND);
        assert_eq!(delivery.dropped, 1);
        assert_eq!(call(&mut delivery), (now + 200 * SECOND, b"b".to_vec()));
        delivery.settle(Outcome::Accepted, now + 200 * SECOND, 0.0);
        delivery.offer(b"c".to_vec(), now + 240 * SECOND);
        assert_eq!(call(&mut delivery), (now + 240 * SECOND, b"c".to_vec()));
    }

    #[test]
    fn retry_after_has_a_limit_and_never_shortens_a_delay() {
        let now = Instant::now();
        for (asked, waited) in [(0, 5), (3, 5), (30, 30), (u64::MAX, 600)] {
            let mut delivery = Delivery::new(120 * SECOND);
            delivery.offer(b"a".to_vec(), now);
            call(&mut delivery);
            delivery.settle(failed(Some(Duration::from_secs(asked))), now, 0.0);
            assert_eq!(delivery.due(), Some(now + waited * SECOND), "{asked}");
        }
    }

    #[test]
    fn a_refused_heartbeat_is_dropped_at_once_and_a_wrong_key_is_tried_on() {
        let now = Instant::now();
        let mut delivery = Delivery::new(120 * SECOND);
        delivery.offer(b"a".to_vec(), now);
        call(&mut delivery);
        delivery.settle(Outcome::Refused { reason: "bad".to_owned() }, now, 0.0);
        assert_eq!((delivery.due(), delivery.dropped), (None, 1));
        delivery.offer(b"b".to_vec(), now);
        call(&mut delivery);
        delivery.settle(Outcome::Unauthorized { reason: "key".to_owned() }, now, 0.0);
        assert_eq!(delivery.due(), Some(now + 5 * SECOND));
    }
}
