//! What `/readyz` remembers between two questions.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use fleetbeat_daemon::lock::lock;

use crate::recurring::Recurring;

/// After a commit of heartbeats has failed, nothing else is written for this long just to
/// see whether that can be done: a small write may go where heartbeats do not.
const FAILING: Duration = Duration::from_secs(10);
/// The time between two attempts to write.
const ATTEMPT_EVERY: Duration = Duration::from_secs(1);

/// Why the server was not ready, and when it has tried to write.
#[derive(Default)]
pub(crate) struct Readiness {
    trouble: Mutex<Recurring>,
    last_attempt: Mutex<Option<Instant>>,
}

impl Readiness {
    /// Says in the log, if that is news, that the server is not ready for this reason, or
    /// that it is.
    pub(super) fn tell(&self, reason: Option<&str>) {
        let (mut trouble, now) = (lock(&self.trouble), Instant::now());
        match reason {
            Some(reason) => {
                let due = trouble.again(reason, now);
                if let Some(tally) = due {
                    log::warn!("not ready: {reason}{tally}");
                }
            }
            None => {
                if trouble.well(now).is_some() {
                    log::info!("ready again");
                }
            }
        }
    }

    /// Whether something may be written now to see whether that can be done, after
    /// heartbeats could not be at `failed`. The attempt then counts: however many ask,
    /// there is one each second.
    pub(super) fn may_try(&self, failed: Instant, now: Instant) -> bool {
        let mut last = lock(&self.last_attempt);
        let is_due = now.duration_since(failed) >= FAILING
            && last.is_none_or(|last| now.duration_since(last) >= ATTEMPT_EVERY);
        if is_due {
            *last = Some(now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writing_is_tried_once_a_second_and_not_while_commits_fail() {
        let (readiness, start) = (Readiness::default(), Instant::now());
        let may_try = |millis| {
            let now = start + Duration::from_millis(millis);
            readiness.may_try(start, now)
        };
        let tried: Vec<u64> = (0..130)
            .map(|n| n * 100)
            .filter(|at| may_try(*at))
            .collect();
        assert_eq!(tried, [10_000, 11_000, 12_000]);
    }
}
