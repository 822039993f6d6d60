//! The transactions that store heartbeats.

use std::time::Duration;

use prometheus::{Histogram, IntCounter, Registry};

use super::instruments::{SECONDS, counters, histogram};

/// The upper bounds for the heartbeats of one commit.
const SIZES: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// Commits of heartbeats: how many, how large, how long.
pub(crate) struct Commits {
    stored: IntCounter,
    failed: IntCounter,
    duration: Histogram,
    heartbeats: Histogram,
}

impl Commits {
    pub(super) fn new(registry: &Registry) -> Commits {
        let counts = counters(
            registry,
            "fleetbeat_commits_total",
            "Transactions with heartbeats, by what became of them.",
            &["result"],
        );
        Commits {
            stored: counts.with_label_values(&["stored"]),
            failed: counts.with_label_values(&["failed"]),
            duration: histogram(
                registry,
                "fleetbeat_commit_duration_seconds",
                "The time that the store took for a transaction with heartbeats.",
                &SECONDS,
            ),
            heartbeats: histogram(
                registry,
                "fleetbeat_commit_heartbeats",
                "The heartbeats in one transaction.",
                &SIZES,
            ),
        }
    }

    /// A commit of so many heartbeats is on the disk.
    pub(crate) fn stored(&self, heartbeats: usize, took: Duration) {
        self.stored.inc();
        self.note(heartbeats, took);
    }

    /// The store did not take a commit of so many heartbeats.
    pub(crate) fn failed(&self, heartbeats: usize, took: Duration) {
        self.failed.inc();
        self.note(heartbeats, took);
    }

    fn note(&self, heartbeats: usize, took: Duration) {
        self.duration.observe(took.as_secs_f64());
        self.heartbeats.observe(heartbeats as f64);
    }
}
