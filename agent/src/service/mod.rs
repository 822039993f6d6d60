//! What makes the agent a service: it listens to signals and ends with a code.

pub(crate) mod exit;
pub(crate) mod signals;
