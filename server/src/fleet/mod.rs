//! The fleet, read and judged: what `GET /servers` answers, and which hosts are silent.

pub(crate) mod query;
pub(crate) mod snapshot;
pub(crate) mod sweep;
