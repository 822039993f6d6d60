//! Calls of the store that have failed.

use prometheus::{IntCounterVec, Registry};

use super::instruments::counters;

/// Failed calls of the store, by the operation. A call that asks for what cannot be, such
/// as a user name that is taken, is not among them.
#[derive(Clone)]
pub(crate) struct StoreErrors(IntCounterVec);

impl StoreErrors {
    pub(super) fn new(registry: &Registry) -> StoreErrors {
        StoreErrors(counters(
            registry,
            "fleetbeat_store_errors_total",
            "Calls of the store that have failed, by operation.",
            &["operation"],
        ))
    }

    /// Shows these operations from now on, also those that have never failed.
    pub(crate) fn show(&self, operations: &[&str]) {
        for operation in operations {
            self.0.with_label_values(&[operation]);
        }
    }

    /// A call of this operation has failed.
    pub(crate) fn count(&self, operation: &str) {
        self.0.with_label_values(&[operation]).inc();
    }
}
