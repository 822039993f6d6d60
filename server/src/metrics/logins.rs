//! Logins by password.

use prometheus::{IntCounter, Registry};

use super::instruments::counters;

/// Logins by what became of them. Whether a refused login had a wrong name or a wrong
/// password is not told: who reads these numbers could find the users' names.
pub(crate) struct Logins {
    right: IntCounter,
    wrong: IntCounter,
    limited: IntCounter,
    busy: IntCounter,
}

impl Logins {
    pub(super) fn new(registry: &Registry) -> Logins {
        let counts = counters(
            registry,
            "fleetbeat_logins_total",
            "Logins by what became of them.",
            &["result"],
        );
        let count = |result| counts.with_label_values(&[result]);
        Logins {
            right: count("ok"),
            wrong: count("wrong"),
            limited: count("limited"),
            busy: count("busy"),
        }
    }

    /// A user has logged in.
    pub(crate) fn right(&self) {
        self.right.inc();
    }

    /// The name or the password was wrong.
    pub(crate) fn wrong(&self) {
        self.wrong.inc();
    }

    /// There were too many wrong ones before.
    pub(crate) fn limited(&self) {
        self.limited.inc();
    }

    /// Too many logins waited.
    pub(crate) fn busy(&self) {
        self.busy.inc();
    }
}
