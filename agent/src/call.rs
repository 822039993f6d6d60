//! The call under way, and the calls that have not come back.
//!
//! A call ends in time by its own deadlines. If one does not, whatever the reason, it must
//! not silence the agent: the loop gives it up, and goes on with the next one.

use std::time::{Duration, Instant};

use crate::http::CALL_TIMEOUT;

/// How long a call is waited for.
const PATIENCE: Duration = Duration::from_secs(CALL_TIMEOUT.as_secs() + 10);
/// Most calls that are left behind. Each has a thread.
const MAX_LEFT_BEHIND: u32 = 4;

/// What the loop knows of its calls.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    /// The number of the last call.
    number: u64,
    /// When the call under way is given up; `None` without a call.
    give_up_at: Option<Instant>,
    left_behind: u32,
}

impl Calls {
    /// A call begins. Gives its number; `None` if too many have not come back.
    pub(crate) fn begin(&mut self, now: Instant) -> Option<u64> {
        if self.left_behind >= MAX_LEFT_BEHIND {
            return None;
        }
        self.number += 1;
        self.give_up_at = Some(now + PATIENCE);
        Some(self.number)
    }

    /// The call `number` has ended. True if its outcome counts.
    pub(crate) fn end(&mut self, number: u64) -> bool {
        let counts = number == self.number && self.give_up_at.take().is_some();
        if !counts {
            self.left_behind = self.left_behind.saturating_sub(1);
        }
        counts
    }

    /// True if the call under way is to be given up.
    pub(crate) fn is_given_up(&mut self, now: Instant) -> bool {
        let is_late = self.give_up_at.take_if(|at| *at <= now).is_some();
        self.left_behind += u32::from(is_late);
        is_late
    }

    /// When [`Calls::is_given_up`] may become true.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.give_up_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_does_not_come_back_is_given_up_and_its_outcome_passed_over() {
        let (mut calls, start) = (Calls::default(), Instant::now());
        let first = calls.begin(start).unwrap();
        assert!(!calls.is_given_up(start + CALL_TIMEOUT));
        assert!(calls.is_given_up(calls.due().unwrap()));
        assert!(calls.due().is_none() && !calls.is_given_up(start + 2 * PATIENCE));

        let second = calls.begin(start).unwrap();
        assert!(!calls.end(first) && calls.due().is_some());
        assert!(calls.end(second) && calls.due().is_none());

        for _ in 0..MAX_LEFT_BEHIND {
            calls.begin(start).unwrap();
            assert!(calls.is_given_up(start + PATIENCE));
        }
        assert_eq!(calls.begin(start), None);
        assert!(!calls.end(second + 1));
        assert!(calls.begin(start).is_some());
    }
}
