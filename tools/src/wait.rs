//! Waiting for a condition, never for a time.

use std::thread;
use std::time::{Duration, Instant};

/// Nothing in the tests waits longer for anything.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Waits until `condition` gives something.
///
/// # Panics
/// After [`DEADLINE`].
pub fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(10));
    }
}
