//! The watch, which writes what has changed as events.

use fleetbeat_protocol::Timestamp;
use prometheus::{Gauge, Registry};

use super::instruments::gauge;
use super::readings::seconds;

/// The looks of this instance's watch.
pub(crate) struct Watch {
    last_success: Gauge,
}

impl Watch {
    pub(super) fn new(registry: &Registry) -> Watch {
        Watch {
            last_success: gauge(
                registry,
                "fleetbeat_watch_last_success_timestamp_seconds",
                "When the watch of this instance has looked last, or has found that another instance does; 0 if it has not.",
            ),
        }
    }

    /// A look ended at `now`.
    pub(crate) fn looked(&self, now: Timestamp) {
        self.last_success.set(seconds(now));
    }
}
