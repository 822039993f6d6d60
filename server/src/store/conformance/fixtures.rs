//! Heartbeats, and what else tests of the store begin with.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

pub(super) use fleetbeat_daemon::clock::now;
use fleetbeat_protocol::{
    FlagsPatch, Heartbeat, Load, Server, Service, Status, Timestamp,
};
use jiff::SignedDuration;

use crate::store::{
    Act, Beat, HostRules, Speaker, Store, Supersedes, SweepOrder, Swept, UnknownHosts,
};

pub(super) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A live heartbeat of `host` at `at`.
pub(crate) fn beat(host: &str, at: Timestamp) -> Beat {
    let heartbeat = Heartbeat {
        ip: Some(ip(host)),
        country_code: "DE".to_owned(),
        country: "Germany".to_owned(),
        region: None,
        city: "Munich".to_owned(),
        hostname: format!("host-{host}"),
        services: vec![Service {
            name: "wg".to_owned(),
            active: true,
        }],
        load: Load {
            cpu: Some(12.5),
            ram: Some(50.0),
            net: None,
        },
        metrics: BTreeMap::new(),
        agent_tags: BTreeMap::new(),
        collected_at: None,
        boot_id: None,
        seq: None,
        agent_version: None,
        agent_id: None,
    };
    Beat {
        ip: ip(host),
        heartbeat,
        at,
        status: Status::Active,
        supersedes: Supersedes::Always,
        observed_ip: None,
        silent_before: at - minutes(4),
        speaker: Speaker::Shared { has_key: false },
        rules: HostRules {
            follow_moves: true,
            unknown: UnknownHosts::Welcome,
        },
        new_flags: FlagsPatch::default(),
    }
}

/// A heartbeat of `host` that was spooled at `at`.
pub(crate) fn spooled(host: &str, at: Timestamp, cpu: f64) -> Beat {
    let mut beat = Beat {
        supersedes: Supersedes::IfNewer,
        ..beat(host, at)
    };
    beat.heartbeat.load.cpu = Some(cpu);
    beat.heartbeat.collected_at = Some(at);
    beat
}

/// Every host.
pub(crate) fn servers(store: &dyn Store) -> Vec<Arc<Server>> {
    store.fleet(None).unwrap().servers.clone()
}

/// What a test does to flags and users.
pub(crate) fn act() -> Act {
    Act::program("test", now())
}

pub(super) fn minutes(count: i64) -> SignedDuration {
    SignedDuration::from_mins(count)
}

/// What [`sweep`] deletes after.
pub(crate) const DELETE_AFTER_MINUTES: u64 = 60;

/// Sweeps at `now`, when servers have run for `served_minutes` since the last sweep.
pub(crate) fn sweep(store: &dyn Store, now: Timestamp, served_minutes: u64) -> Swept {
    let order = SweepOrder {
        now,
        served: Duration::from_secs(served_minutes * 60),
        down_after: Duration::from_secs(4 * 60),
        delete_after: Duration::from_secs(DELETE_AFTER_MINUTES * 60),
    };
    store.sweep(&order).unwrap()
}
