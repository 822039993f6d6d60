//! A circuit breaker for one class of operations.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use fleetbeat_daemon::lock::lock;

/// So many operations in a row that get no answer in time open the breaker. A single one
/// tells nothing: the operation may be large, or its connection broken.
const MAX_UNANSWERED: u32 = 3;
/// How long an open breaker lets nothing through. Then a single operation tries.
const PAUSE: Duration = Duration::from_secs(1);

/// Fails operations at once while others of their class get no answer: each would hold a
/// thread until its deadline.
#[derive(Default)]
pub(super) struct Breaker(Mutex<State>);

/// What the last operations have told.
#[derive(Default)]
struct State {
    /// Operations in a row without an answer.
    unanswered: u32,
    /// When an operation may try.
    opens_at: Option<Instant>,
}

impl Breaker {
    /// Whether an operation may begin.
    pub(super) fn lets_through(&self, now: Instant) -> bool {
        let mut state = lock(&self.0);
        match state.opens_at {
            Some(opens_at) if now < opens_at => false,
            Some(_) => {
                // This operation tries; the others wait for what it tells.
                state.opens_at = Some(now + PAUSE);
                true
            }
            None => true,
        }
    }

    /// Notes whether an operation got no answer.
    pub(super) fn note(&self, is_unanswered: bool, now: Instant) {
        let mut state = lock(&self.0);
        if !is_unanswered {
            *state = State::default();
            return;
        }
        state.unanswered = state.unanswered.saturating_add(1);
        if state.unanswered >= MAX_UNANSWERED {
            state.opens_at = Some(now + PAUSE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_without_an_answer_in_a_row_open_the_breaker_and_one_tries_it() {
        let (breaker, start) = (Breaker::default(), Instant::now());
        let at = |millis| start + Duration::from_millis(millis);
        for _ in 0..5 {
            for is_unanswered in [true, true, false] {
                assert!(breaker.lets_through(at(0)), "never three in a row");
                breaker.note(is_unanswered, at(0));
            }
        }

        for _ in 0..3 {
            assert!(breaker.lets_through(at(0)));
            breaker.note(true, at(0));
        }
        let lets_through: Vec<u64> = (0..30)
            .map(|n| n * 100)
            .filter(|millis| breaker.lets_through(at(*millis)))
            .collect();
        assert_eq!(lets_through, [1000, 2000], "one at a time");
        breaker.note(false, at(2100));
        assert!((0..5).all(|_| breaker.lets_through(at(2100))));
    }
}
