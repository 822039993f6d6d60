//! A simulated fleet: the load of its hosts moves, hosts fall silent and return, and
//! services fail.
//!
//! The n-th heartbeat of a host depends on the seed, the host and n alone, so a run can
//! be repeated whatever its timing.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use fastrand::Rng;
use fleetbeat_protocol::{Heartbeat, Load, Service};

const CITIES: [(&str, &str, &str); 24] = [
    ("DE", "Germany", "Munich"),
    ("DE", "Germany", "Frankfurt"),
    ("NL", "Netherlands", "Amsterdam"),
    ("FR", "France", "Paris"),
    ("GB", "United Kingdom", "London"),
    ("CH", "Switzerland", "Zürich"),
    ("AT", "Austria", "Vienna"),
    ("SE", "Sweden", "Stockholm"),
    ("FI", "Finland", "Helsinki"),
    ("PL", "Poland", "Warsaw"),
    ("ES", "Spain", "Madrid"),
    ("IT", "Italy", "Milan"),
    ("RO", "Romania", "Bucharest"),
    ("TR", "Türkiye", "Istanbul"),
    ("US", "United States", "New York"),
    ("US", "United States", "Dallas"),
    ("US", "United States", "Los Angeles"),
    ("CA", "Canada", "Toronto"),
    ("BR", "Brazil", "São Paulo"),
    ("JP", "Japan", "Tokyo"),
    ("SG", "Singapore", "Singapore"),
    ("IN", "India", "Mumbai"),
    ("AU", "Australia", "Sydney"),
    ("ZA", "South Africa", "Johannesburg"),
];

const SERVICES: [&str; 4] = ["wg", "ov", "sq", "vr"];

/// Chances for each heartbeat.
const FALLS_SILENT: f64 = 0.01;
const RETURNS: f64 = 0.2;
const SERVICE_FAILS: f64 = 0.01;
const SERVICE_RECOVERS: f64 = 0.3;
/// Share of hosts that cannot measure their network load.
const NET_UNKNOWN: f64 = 0.05;

/// The hosts.
pub struct Fleet {
    hosts: Vec<Host>,
}

/// A simulated host: the state of its random numbers, and its last heartbeat.
struct Host {
    rng: Rng,
    heartbeat: Heartbeat,
    silent: bool,
}

impl Fleet {
    /// `count` hosts, the same for the same seed.
    pub fn new(seed: u64, count: u32) -> Fleet {
        Fleet {
            hosts: (0..count).map(|index| Host::new(seed, index)).collect(),
        }
    }

    /// The body of the host's next heartbeat; `None` while the host is silent.
    pub fn next(&mut self, host: usize) -> Option<Vec<u8>> {
        let host = &mut self.hosts[host];
        host.step();
        (!host.silent).then(|| {
            serde_json::to_vec(&host.heartbeat).expect("a heartbeat is plain JSON")
        })
    }
}

impl Host {
    fn new(seed: u64, index: u32) -> Host {
        // An odd factor spreads neighbouring hosts over the generator's whole state
        // space.
        let mut rng = Rng::with_seed(
            seed ^ u64::from(index + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15),
        );
        let (code, country, city) = CITIES[rng.usize(..CITIES.len())];
        let services = &SERVICES[..rng.usize(1..=SERVICES.len())];
        let net = (rng.f64() > NET_UNKNOWN).then(|| rng.f64() * 60.0);

        let heartbeat = Heartbeat {
            ip: Some(address(index)),
            country_code: code.to_owned(),
            country: country.to_owned(),
            region: None,
            city: city.to_owned(),
            hostname: format!("vpn-{}-{:05}", code.to_lowercase(), index + 1),
            services: services
                .iter()
                .map(|name| Service {
                    name: (*name).to_owned(),
                    active: true,
                })
                .collect(),
            load: Load {
                cpu: Some(rng.f64() * 70.0),
                ram: Some(20.0 + rng.f64() * 60.0),
                net,
            },
            metrics: BTreeMap::new(),
            agent_tags: BTreeMap::new(),
            collected_at: None,
            boot_id: None,
            seq: Some(0),
            agent_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            agent_id: None,
        };

        Host {
            rng,
            heartbeat,
            silent: false,
        }
    }

    fn step(&mut self) {
        let first = self.heartbeat.seq == Some(0);
        self.heartbeat.seq = self.heartbeat.seq.map(|seq| seq + 1);

        let chance = self.rng.f64();
        self.silent = !first
            && if self.silent {
                chance >= RETURNS
            } else {
                chance < FALLS_SILENT
            };

        let Load { cpu, ram, net } = &mut self.heartbeat.load;
        for (load, swing) in [(cpu, 16.0), (ram, 4.0), (net, 20.0)] {
            let step = (self.rng.f64() - 0.5) * swing;
            // Agents send two decimals.
            *load = load
                .map(|load| ((load + step).clamp(0.0, 100.0) * 100.0).round() / 100.0);
        }

        for service in &mut self.heartbeat.services {
            let chance = self.rng.f64();
            service.active = if service.active {
                chance >= SERVICE_FAILS
            } else {
                chance < SERVICE_RECOVERS
            };
        }
    }
}

/// Every simulated host lives in 10.0.0.0/8.
fn address(index: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from_bits((10 << 24) + index + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_whatever_the_order() {
        let bodies = |order: &[usize]| {
            let mut fleet = Fleet::new(7, 3);
            let mut bodies: Vec<_> = order
                .iter()
                .map(|host| (*host, fleet.next(*host)))
                .collect();
            bodies.sort();
            bodies
        };
        assert_eq!(bodies(&[0, 1, 2, 0, 1, 2]), bodies(&[2, 2, 1, 0, 1, 0]));
        assert_ne!(Fleet::new(7, 1).next(0), Fleet::new(8, 1).next(0));
    }

    #[test]
    fn hosts_fall_silent_and_return_and_services_fail() {
        let mut fleet = Fleet::new(1, 50);
        let (mut silent, mut returned, mut failed) = (0, 0, 0);

        for host in 0..50 {
            let mut was_silent = false;
            for n in 0..200 {
                let body = fleet.next(host);
                assert!(n > 0 || body.is_some(), "every host shows up once");
                silent += usize::from(body.is_none());
                returned += usize::from(was_silent && body.is_some());
                failed +=
                    usize::from(body.as_ref().is_some_and(|body| {
                        String::from_utf8_lossy(body).contains("false")
                    }));
                was_silent = body.is_none();
                if let Some(body) = body {
                    Heartbeat::from_json(&serde_json::from_slice(&body).unwrap())
                        .unwrap();
                }
            }
        }

        assert!(
            silent > 100 && returned > 20 && failed > 100,
            "{silent} {returned} {failed}"
        );
    }
}
