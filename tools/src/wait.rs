//! Waiting for a condition, never for a time.

use std::thread;
use std::time::{Duration, Instant};

/// Nothing in the tests waits longer for anything, but for what the server does in times
/// of its own.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Waits until `condition` gives something.
///
/// # Panics
/// After [`DEADLINE`].
pub fn wait_for<T>(what: &str, condition: impl FnMut() -> Option<T>) -> T {
    within(DEADLINE, Duration::from_millis(10), what, condition)
}

/// Waits until `condition` gives something, and asks each `poll`.
///
/// # Panics
/// After `limit`.
pub fn within<T>(
    limit: Duration,
    poll: Duration,
    what: &str,
    mut condition: impl FnMut() -> Option<T>,
) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        thread::sleep(poll);
    }
}
