//! What became of heartbeats.

use prometheus::{IntCounter, Registry};

use super::instruments::counters;

/// Heartbeats by what became of them. A batch that is refused as a whole counts once,
/// because nobody has looked into it.
pub(crate) struct Heartbeats {
    stored: IntCounter,
    invalid: IntCounter,
    unauthorized: IntCounter,
    overloaded: IntCounter,
    failed: IntCounter,
}

impl Heartbeats {
    pub(super) fn new(registry: &Registry) -> Heartbeats {
        let counts = counters(
            registry,
            "fleetbeat_heartbeats_total",
            "Heartbeats by what became of them.",
            &["result"],
        );
        let count = |result| counts.with_label_values(&[result]);
        Heartbeats {
            stored: count("stored"),
            invalid: count("invalid"),
            unauthorized: count("unauthorized"),
            overloaded: count("overloaded"),
            failed: count("failed"),
        }
    }

    /// So many were stored.
    pub(crate) fn stored(&self, count: usize) {
        self.stored.inc_by(count as u64);
    }

    /// So many break a rule.
    pub(crate) fn invalid(&self, count: usize) {
        self.invalid.inc_by(count as u64);
    }

    /// So many found the server with too much to do.
    pub(crate) fn overloaded(&self, count: usize) {
        self.overloaded.inc_by(count as u64);
    }

    /// So many were sound, and the store did not take them.
    pub(crate) fn failed(&self, count: usize) {
        self.failed.inc_by(count as u64);
    }

    /// A request was refused with this status before its heartbeats were looked at or
    /// stored. A request that waits for its body is not refused.
    pub(crate) fn refused(&self, status: u16) {
        match status {
            100 => {}
            401 | 403 => self.unauthorized.inc(),
            500.. => self.failed.inc(),
            _ => self.invalid.inc(),
        }
    }
}
