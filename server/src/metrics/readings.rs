//! What is read for each scrape.

use std::time::Duration;

use fleetbeat_protocol::{Status, Timestamp};
use prometheus::Registry;

use super::instruments::{counter, gauge, gauges};

/// The server's state at one moment, as far as it was to be had.
#[derive(Debug)]
pub(crate) struct Readings {
    /// The hosts of the fleet by status and flag; none while the fleet is not known.
    pub(crate) servers: Vec<ServerCount>,
    /// How long ago the fleet was last known; `None` before the first time.
    pub(crate) snapshot_age: Option<Duration>,
    /// Whether the store can be read.
    pub(crate) is_store_up: bool,
    /// The cache; `None` without one.
    pub(crate) cache: Option<CacheReading>,
    /// Whether this instance has the lease; `None` where there is nothing to share.
    pub(crate) holds_lease: Option<bool>,
    /// The heartbeats that wait for a commit.
    pub(crate) waiting_heartbeats: usize,
    /// The bytes that they had as JSON.
    pub(crate) waiting_bytes: usize,
}

/// How many hosts are alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ServerCount {
    /// Whether they are heard from.
    pub(crate) status: Status,
    /// Their flag `enabled`.
    pub(crate) enabled: bool,
    /// How many they are.
    pub(crate) count: usize,
}

/// The state of the cache.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CacheReading {
    /// Whether readers are served from it.
    pub(crate) is_up: bool,
    /// The calls that have failed so far.
    pub(crate) errors: u64,
}

impl Readings {
    /// Enters all that was read.
    pub(super) fn enter(&self, registry: &Registry) {
        self.enter_fleet(registry);
        self.enter_databases(registry);

        gauge(
            registry,
            "fleetbeat_ingest_queue_heartbeats",
            "Heartbeats that wait for a commit.",
        )
        .set(self.waiting_heartbeats as f64);
        gauge(
            registry,
            "fleetbeat_ingest_queue_bytes",
            "The bytes, as JSON, of the heartbeats that wait for a commit.",
        )
        .set(self.waiting_bytes as f64);
    }

    fn enter_fleet(&self, registry: &Registry) {
        let servers = gauges(
            registry,
            "fleetbeat_servers",
            "Hosts of the whole fleet, by status and by the flag enabled.",
            &["status", "enabled"],
        );
        for ServerCount {
            status,
            enabled,
            count,
        } in &self.servers
        {
            let enabled = if *enabled { "true" } else { "false" };
            let labels = [status.as_str(), enabled];
            servers.with_label_values(&labels).set(*count as f64);
        }

        if let Some(age) = self.snapshot_age {
            gauge(
                registry,
                "fleetbeat_snapshot_age_seconds",
                "How long ago the fleet, as lists show it, was last known to be so.",
            )
            .set(age.as_secs_f64());
        }
    }

    fn enter_databases(&self, registry: &Registry) {
        let as_number = |is_so| if is_so { 1.0 } else { 0.0 };
        gauge(
            registry,
            "fleetbeat_store_up",
            "1 if the database can be read, else 0.",
        )
        .set(as_number(self.is_store_up));

        if let Some(cache) = self.cache {
            gauge(
                registry,
                "fleetbeat_cache_up",
                "1 if Redis takes copies, 0 if it is away or read-only.",
            )
            .set(as_number(cache.is_up));
            counter(
                registry,
                "fleetbeat_cache_errors_total",
                "Writes to Redis that have failed.",
            )
            .inc_by(cache.errors);
        }
        if let Some(holds_lease) = self.holds_lease {
            gauge(
                registry,
                "fleetbeat_lease_held",
                "1 if this instance of several is the one that sweeps, else 0.",
            )
            .set(as_number(holds_lease));
        }
    }
}

#[cfg(test)]
impl Readings {
    /// With everything that there can be.
    pub(super) fn example() -> Readings {
        Readings {
            servers: vec![ServerCount {
                status: Status::Active,
                enabled: true,
                count: 3,
            }],
            snapshot_age: Some(Duration::from_millis(250)),
            is_store_up: true,
            cache: Some(CacheReading {
                is_up: false,
                errors: 2,
            }),
            holds_lease: Some(true),
            waiting_heartbeats: 1,
            waiting_bytes: 300,
        }
    }
}

/// A moment as Prometheus counts time.
pub(super) fn seconds(time: Timestamp) -> f64 {
    time.as_millisecond() as f64 / 1000.0
}
