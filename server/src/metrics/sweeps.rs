//! The search for silent hosts.

use std::time::Duration;

use fleetbeat_protocol::Timestamp;
use prometheus::{Gauge, IntCounter, Registry};

use super::instruments::{counter, gauge};
use super::readings::seconds;

/// The sweeps of this instance.
pub(crate) struct Sweeps {
    last_success: Gauge,
    last_duration: Gauge,
    marked_down: IntCounter,
    deleted: IntCounter,
    held_back: Gauge,
}

/// What a sweep has done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SweepCounts {
    /// The hosts that are down now.
    pub(crate) marked_down: usize,
    /// The hosts that were deleted.
    pub(crate) deleted: usize,
    /// The hosts that wait for `prune`.
    pub(crate) held_back: usize,
}

impl Sweeps {
    pub(super) fn new(registry: &Registry) -> Sweeps {
        Sweeps {
            last_success: gauge(
                registry,
                "fleetbeat_sweep_last_success_timestamp_seconds",
                "When this instance has swept last; 0 if it has not.",
            ),
            last_duration: gauge(
                registry,
                "fleetbeat_sweep_last_duration_seconds",
                "How long the last sweep took.",
            ),
            marked_down: counter(
                registry,
                "fleetbeat_sweep_marked_down_total",
                "Hosts that a sweep has marked down.",
            ),
            deleted: counter(
                registry,
                "fleetbeat_sweep_deleted_total",
                "Hosts that a sweep has deleted.",
            ),
            held_back: gauge(
                registry,
                "fleetbeat_sweep_held_back",
                "Hosts that are due to be deleted and wait for prune.",
            ),
        }
    }

    /// A sweep ended at `now`.
    pub(crate) fn swept(&self, counts: SweepCounts, took: Duration, now: Timestamp) {
        self.last_success.set(seconds(now));
        self.last_duration.set(took.as_secs_f64());
        self.marked_down.inc_by(counts.marked_down as u64);
        self.deleted.inc_by(counts.deleted as u64);
        self.held_back.set(counts.held_back as f64);
    }
}
