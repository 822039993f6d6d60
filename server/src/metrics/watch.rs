//! The watch, which writes what has changed as events.

use fleetbeat_protocol::Timestamp;
use prometheus::{Gauge, IntCounter, Registry};

use super::instruments::{counter, gauge};
use super::readings::seconds;

/// The looks of this instance's watch.
pub(crate) struct Watch {
    last_success: Gauge,
    events: IntCounter,
}

impl Watch {
    pub(super) fn new(registry: &Registry) -> Watch {
        Watch {
            last_success: gauge(
                registry,
                "fleetbeat_watch_last_success_timestamp_seconds",
                "When the watch of this instance has looked last, or has found that another instance does; 0 if it has not.",
            ),
            events: counter(
                registry,
                "fleetbeat_watch_events_total",
                "Events about hosts that the watch has written.",
            ),
        }
    }

    /// A look at `now` has written so many events.
    pub(crate) fn looked(&self, events: usize, now: Timestamp) {
        self.last_success.set(seconds(now));
        self.events.inc_by(events as u64);
    }
}
