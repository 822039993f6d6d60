//! The two versions of the benchmark: the one that measures, and the one in the tests.

use std::time::Duration;

/// How long a measurement takes, and how large the measured fleets are.
pub(super) struct Scale {
    /// Whether the figures mean something, so that limits on them are held.
    pub(super) is_full: bool,
    pub(super) seconds: u64,
    pub(super) fleets: &'static [u32],
    /// Of the agent: the number of heartbeats of four samples each, and the number of
    /// heartbeats to see whether the agent grows.
    pub(super) agent_heartbeats: (u32, u32),
    /// How long agents are watched side by side.
    pub(super) side_by_side: Duration,
}

/// The version whose figures go into the README.
pub(super) const FULL: Scale = Scale {
    is_full: true,
    seconds: 10,
    fleets: &[1, 1_000, 10_000],
    agent_heartbeats: (50, 1000),
    side_by_side: Duration::from_secs(180),
};
/// The small version in `make test`.
pub(super) const QUICK: Scale = Scale {
    is_full: false,
    seconds: 1,
    fleets: &[1, 500],
    agent_heartbeats: (3, 20),
    side_by_side: Duration::ZERO,
};
