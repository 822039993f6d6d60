//! What the server counts of its own work, and how a Prometheus reads it.
//!
//! Each subject has a file, which names its metrics and says in words of the server what
//! is counted. Whoever does the work counts it here, by an atomic or two and without a
//! lock. What can be read at any moment, such as the length of a queue, is not kept: it
//! is read for each scrape ([`Readings`]).
//!
//! No label may take a value that a peer has chosen: the number of time series is bounded
//! by the routes, the statuses and the subjects below.

mod alerts;
mod commits;
mod heartbeats;
mod history;
mod instruments;
mod logins;
mod process;
mod readings;
mod requests;
mod store_errors;
mod sweeps;
mod watch;

use fleetbeat_protocol::Timestamp;
use prometheus::{Registry, TextEncoder};

pub(crate) use self::alerts::{AlertCounts, Alerts, Delivered};
pub(crate) use self::commits::Commits;
pub(crate) use self::heartbeats::Heartbeats;
pub(crate) use self::history::{History, HistoryCounts};
pub(crate) use self::logins::Logins;
pub(crate) use self::readings::{CacheReading, Readings, ServerCount};
pub(crate) use self::requests::Requests;
pub(crate) use self::store_errors::StoreErrors;
pub(crate) use self::sweeps::{SweepCounts, Sweeps};
pub(crate) use self::watch::Watch;
use crate::http::RouteName;

/// The media type of what [`Metrics::render`] gives.
pub(crate) const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All that is counted, by subject. Many threads count at once.
pub(crate) struct Metrics {
    registry: Registry,
    /// When the process has started.
    started: Timestamp,
    /// Requests and their answers.
    pub(crate) requests: Requests,
    /// What became of heartbeats.
    pub(crate) heartbeats: Heartbeats,
    /// The transactions that store heartbeats.
    pub(crate) commits: Commits,
    /// Calls of the store that have failed.
    pub(crate) store_errors: StoreErrors,
    /// The search for silent hosts.
    pub(crate) sweeps: Sweeps,
    /// The watch, which writes events.
    pub(crate) watch: Watch,
    /// Alerts, and the messages about them.
    pub(crate) alerts: Alerts,
    /// History.
    pub(crate) history: History,
    /// Logins by password.
    pub(crate) logins: Logins,
}

impl Metrics {
    /// Nothing has been counted yet, in a process that has `started` now. `routes` are all
    /// routes, each at the place of its number.
    pub(crate) fn new(routes: &[RouteName], started: Timestamp) -> Metrics {
        let registry = Registry::new();
        instruments::gauges(
            &registry,
            "fleetbeat_build_info",
            "1, with the version of fleetbeat-server as a label.",
            &["version"],
        )
        .with_label_values(&[env!("CARGO_PKG_VERSION")])
        .set(1.0);

        Metrics {
            started,
            requests: Requests::new(&registry, routes),
            heartbeats: Heartbeats::new(&registry),
            commits: Commits::new(&registry),
            store_errors: StoreErrors::new(&registry),
            sweeps: Sweeps::new(&registry),
            watch: Watch::new(&registry),
            alerts: Alerts::new(&registry),
            history: History::new(&registry),
            logins: Logins::new(&registry),
            registry,
        }
    }

    /// All that was counted and `readings`, as [`TEXT_FORMAT`].
    pub(crate) fn render(&self, readings: &Readings) -> String {
        // Of this scrape alone, so that two scrapes at once do not mix.
        let read = Registry::new();
        readings.enter(&read);
        process::enter(&read, self.started);

        let mut families = self.registry.gather();
        families.extend(read.gather());
        TextEncoder::new()
            .encode_to_string(&families)
            .expect("every family has a name and samples, memory takes all")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_name_is_there_once_and_tells_its_type_and_unit() {
        let metrics = Metrics::new(&[], Timestamp::UNIX_EPOCH);
        let text = metrics.render(&Readings::example());

        let mut names = BTreeSet::new();
        for line in text.lines() {
            let Some((name, kind)) = line
                .strip_prefix("# TYPE ")
                .and_then(|it| it.split_once(' '))
            else {
                continue;
            };
            assert!(names.insert(name.to_owned()), "{name} is there twice");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            let is_ours = name.starts_with("fleetbeat_") || name.starts_with("process_");
            assert!(is_ours, "{name}");
            assert!(text.contains(&format!("# HELP {name} ")), "{name}");
        }
        for name in [
            "fleetbeat_alerts",
            "fleetbeat_build_info",
            "fleetbeat_cache_errors_total",
            "fleetbeat_history_bytes",
            "fleetbeat_lease_held",
            "fleetbeat_servers",
            "fleetbeat_sweep_last_success_timestamp_seconds",
            "fleetbeat_watch_last_success_timestamp_seconds",
            "process_cpu_seconds_total",
            "process_resident_memory_bytes",
        ] {
            assert!(names.contains(name), "{name} is missing in\n{text}");
        }
    }
}
