//! What makes the agent a service: signals end it, and its exit code says why it ended.

pub(crate) mod exit;
pub(crate) mod signals;
