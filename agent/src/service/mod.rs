//! The agent as a service: its user, signals and exit codes.

pub(crate) mod exit;
pub(crate) mod owner;
pub(crate) mod signals;
