//! What hosts were, and when, as answers show it.

use fleetbeat_history::chart::TimeRange;
use fleetbeat_protocol::{Status, Timestamp};
use serde::Serialize;

use crate::fleet::uptime::Phase;

/// What a host was for some time.
#[derive(Debug, Serialize)]
pub(super) struct ShownPhase {
    from: Timestamp,
    to: Timestamp,
    status: &'static str,
}

impl ShownPhase {
    pub(super) fn of(phase: &Phase) -> ShownPhase {
        ShownPhase {
            from: time(phase.from),
            to: time(phase.to),
            status: phase.status.map_or("unknown", Status::as_str),
        }
    }
}

/// A range of time.
#[derive(Debug, Serialize)]
pub(super) struct ShownRange {
    from: Timestamp,
    to: Timestamp,
}

impl ShownRange {
    pub(super) fn of(range: &TimeRange) -> ShownRange {
        ShownRange {
            from: time(range.from),
            to: time(range.to),
        }
    }
}

/// A time in seconds since 1970, or the last one that there is.
pub(super) fn time(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX)
}
