//! History: what becomes of heartbeats that are kept.

use prometheus::{Gauge, IntCounter, Registry};

use super::instruments::{counter, gauge};

/// History, as this instance keeps it.
pub(crate) struct History {
    merged: IntCounter,
    dropped: IntCounter,
    cut: IntCounter,
    damaged: IntCounter,
    set_aside: IntCounter,
    failures: IntCounter,
    is_up: Gauge,
    used: Gauge,
    on_disk: Gauge,
}

/// What was done in a round.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct HistoryCounts {
    /// Heartbeats that were merged.
    pub(crate) merged: u64,
    /// Heartbeats for which there was no room.
    pub(crate) dropped: u64,
    /// Samples and series of a day that were left out because there are too many.
    pub(crate) cut: u64,
    /// Chunks that were damaged.
    pub(crate) damaged: u64,
    /// Files that were moved aside because they were damaged.
    pub(crate) set_aside: u64,
    /// Whether history can be written.
    pub(crate) is_up: bool,
    /// The bytes that are used, and those that are taken of the disk, if that is known.
    pub(crate) size: Option<(u64, u64)>,
}

impl History {
    pub(super) fn new(registry: &Registry) -> History {
        let count = |name, help| counter(registry, name, help);
        let show = |name, help| gauge(registry, name, help);
        let is_up = show(
            "fleetbeat_history_up",
            "0 if history could not be written the last time, else 1.",
        );
        // An instance that another one spares the work has no trouble, either.
        is_up.set(1.0);
        History {
            merged: count(
                "fleetbeat_history_merged_heartbeats_total",
                "Heartbeats that were merged into history.",
            ),
            dropped: count(
                "fleetbeat_history_dropped_heartbeats_total",
                "Heartbeats that history has no room for, because it cannot be written for long.",
            ),
            cut: count(
                "fleetbeat_history_cut_total",
                "Series and heartbeats of a host and day that history leaves out, because there are too many.",
            ),
            damaged: count(
                "fleetbeat_history_damaged_chunks_total",
                "Chunks of history that were damaged.",
            ),
            set_aside: count(
                "fleetbeat_history_set_aside_total",
                "Files of history that were damaged and moved aside.",
            ),
            failures: count(
                "fleetbeat_history_failures_total",
                "Rounds in which history could not be written.",
            ),
            is_up,
            used: show(
                "fleetbeat_history_bytes",
                "The bytes that history uses, which history.max_size limits.",
            ),
            on_disk: show(
                "fleetbeat_history_file_bytes",
                "The bytes that history takes of the disk, with what it uses again.",
            ),
        }
    }

    /// A round is over.
    pub(crate) fn tended(&self, counts: HistoryCounts) {
        self.merged.inc_by(counts.merged);
        self.dropped.inc_by(counts.dropped);
        self.cut.inc_by(counts.cut);
        self.damaged.inc_by(counts.damaged);
        self.set_aside.inc_by(counts.set_aside);
        self.failures.inc_by(u64::from(!counts.is_up));
        self.is_up.set(f64::from(u8::from(counts.is_up)));
        if let Some((used, on_disk)) = counts.size {
            self.used.set(used as f64);
            self.on_disk.set(on_disk as f64);
        }
    }
}
