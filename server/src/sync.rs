//! Locks whose holder may have panicked.

pub(crate) use fleetbeat_daemon::lock::lock as locked;
