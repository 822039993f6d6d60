//! The agent as a service: signals and exit codes.

pub(crate) mod exit;
pub(crate) mod signals;
