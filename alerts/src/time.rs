//! Arithmetic with times that never fails.

use std::time::Duration;

use fleetbeat_protocol::Timestamp;

/// The time so many seconds before.
pub(crate) fn before(time: Timestamp, seconds: i64) -> Timestamp {
    let span = Duration::from_secs(seconds.unsigned_abs());
    time.saturating_sub(span).unwrap_or(Timestamp::MIN)
}

/// The time so much later.
pub(crate) fn after(time: Timestamp, span: Duration) -> Timestamp {
    time.saturating_add(span).unwrap_or(Timestamp::MAX)
}

/// How much later `to` is than `from`; zero if it is not later.
pub(crate) fn between(from: Timestamp, to: Timestamp) -> Duration {
    let span = to.duration_since(from);
    Duration::try_from(span).unwrap_or_default()
}
