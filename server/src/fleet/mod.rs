//! The fleet, read and judged: snapshots for `GET /servers`, and the sweep of silent hosts.

pub(crate) mod query;
pub(crate) mod snapshot;
pub(crate) mod sweep;
mod view;
mod views;
