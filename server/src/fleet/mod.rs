//! The fleet, read and judged: snapshots for `GET /servers`, the sweep of silent hosts,
//! the watch, which tells what has changed, and the care of history.

pub(crate) mod changes;
pub(crate) mod groups;
pub(crate) mod history;
pub(crate) mod load;
pub(crate) mod query;
pub(crate) mod scope;
pub(crate) mod selection;
pub(crate) mod shown;
mod site;
pub(crate) mod snapshot;
pub(crate) mod sweep;
pub(crate) mod traffic;
pub(crate) mod traffic_reports;
pub(crate) mod uptime;
pub(crate) mod view;
mod views;
pub(crate) mod watch;
