//! Heartbeats, and what else tests of the store begin with.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

pub(super) use fleetbeat_daemon::clock::now;
use fleetbeat_protocol::{Heartbeat, Load, Server, Service, Status, Timestamp};
use jiff::SignedDuration;

use crate::store::{Beat, Store, Supersedes};

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

pub(super) fn minutes(count: i64) -> SignedDuration {
    SignedDuration::from_mins(count)
}
