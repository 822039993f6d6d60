//! What happens to a heartbeat between being made and being accepted; never reads a clock.

use std::time::{Duration, Instant};

use crate::sender::Outcome;

/// How long after a failure the next try follows, for an interval of [`USUAL_INTERVAL`]; shorter with a
/// shorter interval, so that all tries still fall into it.
const DELAYS: [Duration; 3] = [Duration::from_secs(5), Duration::from_secs(15), Duration::from_secs(45)];
const USUAL_INTERVAL: Duration = Duration::from_secs(120);
/// A delay is up to this fraction longer, by chance: agents that failed together come back one by one.
const JITTER: f64 = 0.3;
/// Longest wait that a server may ask for: it shall not silence its hosts by a slip.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(600);

/// The newest heartbeat on its way to the server.
pub(crate) struct Delivery {
    interval: Duration,
    pending: Option<Pending>,
    /// The server asked for silence until then.
    silent_until: Option<Instant>,
    dropped: u64,
    health: Health,
}

struct Pending {
    body: Vec<u8>,
    failures: usize,
    due: Instant,
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
        Delivery { interval, pending: None, silent_until: None, dropped: 0, health: Health::Untried }
    }

    /// Takes a new heartbeat. One that is still on its way is older and gives way.
    pub(crate) fn offer(&mut self, body: Vec<u8>, now: Instant) {
        if self.pending.is_some() {
            self.drop_pending("the next one is due");
        }
        let due = self.silent_until.map_or(now, |until| until.max(now));
        self.pending = Some(Pending { body, failures: 0, due });
    }

    /// When to send, and what.
    pub(crate) fn due(&self) -> Option<(Instant, &[u8])> {
        self.pending.as_ref().map(|pending| (pending.due, pending.body.as_slice()))
    }

    /// The pending heartbeat was sent, with that outcome at `now`; `chance` is a number from 0 to just under 1.
    pub(crate) fn settle(&mut self, outcome: Outcome, now: Instant, chance: f64) {
        match outcome {
            Outcome::Accepted => {
                self.pending = None;
                self.silent_until = None;
                self.report_good();
            }
            Outcome::Refused { reason } => self.drop_pending(&reason),
            Outcome::Unauthorized { reason } => {
                self.report_bad(reason, log::Level::Error);
                self.try_again(now, None, chance);
            }
            Outcome::Failed { reason, retry_after } => {
                self.report_bad(reason, log::Level::Warn);
                self.try_again(now, retry_after, chance);
            }
        }
    }

    fn try_again(&mut self, now: Instant, retry_after: Option<Duration>, chance: f64) {
        let stretch = 1.0 + JITTER * chance;
        let asked = retry_after.map(|wait| wait.min(MAX_RETRY_AFTER).mul_f64(stretch));
        self.silent_until = asked.map(|wait| now + wait);
        let Some(pending) = &mut self.pending else { return };
        let Some(delay) = DELAYS.get(pending.failures) else { return self.drop_pending("no try succeeded") };
        let scale = self.interval.div_duration_f64(USUAL_INTERVAL).min(1.0);
        pending.failures += 1;
        pending.due = now + delay.mul_f64(scale * stretch).max(asked.unwrap_or_default());
    }

    /// Where a heartbeat is lost.
    fn drop_pending(&mut self, reason: &str) {
        self.pending = None;
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

    /// The delays after each failure until the heartbeat is dropped.
    fn delays(interval: Duration, chance: f64) -> Vec<f64> {
        let mut now = Instant::now();
        let mut delivery = Delivery::new(interval);
        delivery.offer(b"a".to_vec(), now);
        let mut delays = Vec::new();
        loop {
            delivery.settle(failed(None), now, chance);
            let Some((due, _)) = delivery.due() else { return delays };
            delays.push((due - now).as_secs_f64());
            now = due;
        }
    }

    #[test]
    fn three_retries_fall_into_the_interval() {
        assert_eq!(delays(120 * SECOND, 0.0), [5.0, 15.0, 45.0]);
        assert_eq!(delays(120 * SECOND, 0.5), [5.75, 17.25, 51.75]);
        assert_eq!(delays(3600 * SECOND, 0.0), [5.0, 15.0, 45.0]);
        assert_eq!(delays(12 * SECOND, 0.0), [0.5, 1.5, 4.5]);
    }

    #[test]
    fn retry_after_is_obeyed_by_the_next_heartbeat_too() {
        let now = Instant::now();
        let mut delivery = Delivery::new(120 * SECOND);
        delivery.offer(b"a".to_vec(), now);
        delivery.settle(failed(Some(200 * SECOND)), now, 0.0);
        assert_eq!(delivery.due(), Some((now + 200 * SECOND, b"a".as_slice())));
        delivery.offer(b"b".to_vec(), now + 120 * SECOND);
        assert_eq!(delivery.due(), Some((now + 200 * SECOND, b"b".as_slice())));
        assert_eq!(delivery.dropped, 1);
        delivery.settle(Outcome::Accepted, now + 200 * SECOND, 0.0);
        delivery.offer(b"c".to_vec(), now + 240 * SECOND);
        assert_eq!(delivery.due(), Some((now + 240 * SECOND, b"c".as_slice())));
    }

    #[test]
    fn retry_after_has_a_limit_and_never_shortens_a_delay() {
        let now = Instant::now();
        for (asked, waited) in [(0, 5), (3, 5), (30, 30), (u64::MAX, 600)] {
            let mut delivery = Delivery::new(120 * SECOND);
            delivery.offer(b"a".to_vec(), now);
            delivery.settle(failed(Some(Duration::from_secs(asked))), now, 0.0);
            assert_eq!(delivery.due().unwrap().0, now + waited * SECOND, "{asked}");
        }
    }

    #[test]
    fn a_refused_heartbeat_is_dropped_at_once_and_a_wrong_key_is_tried_on() {
        let now = Instant::now();
        let mut delivery = Delivery::new(120 * SECOND);
        delivery.offer(b"a".to_vec(), now);
        delivery.settle(Outcome::Refused { reason: "bad".to_owned() }, now, 0.0);
        assert_eq!((delivery.due(), delivery.dropped), (None, 1));
        delivery.offer(b"b".to_vec(), now);
        delivery.settle(Outcome::Unauthorized { reason: "key".to_owned() }, now, 0.0);
        assert_eq!(delivery.due().unwrap().0, now + 5 * SECOND);
    }
}
