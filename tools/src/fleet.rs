//! A simulated fleet: the load of its hosts moves, hosts fall silent and return, and
//! services fail.
//!
//! The n-th heartbeat of a host depends on the seed, the host and n alone, so a run can
//! be repeated whatever its timing.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;

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
struct Chances {
    falls_silent: f64,
    returns: f64,
    service_fails: f64,
    service_recovers: f64,
}

/// Something is always wrong somewhere.
const USUAL: Chances = Chances {
    falls_silent: 0.01,
    returns: 0.2,
    service_fails: 0.01,
    service_recovers: 0.3,
};
/// Nothing happens by itself.
const CALM: Chances = Chances {
    falls_silent: 0.0,
    service_fails: 0.0,
    ..USUAL
};

/// Share of hosts that cannot measure their network load.
const NET_UNKNOWN: f64 = 0.05;

/// The hosts.
pub struct Fleet {
    hosts: Vec<Host>,
    chances: Chances,
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
            chances: USUAL,
        }
    }

    /// The same hosts, of which none falls silent and no service fails.
    pub fn calm(seed: u64, count: u32) -> Fleet {
        Fleet {
            chances: CALM,
            ..Fleet::new(seed, count)
        }
    }

    /// Puts hosts into a country, by which they are named, too.
    pub fn settle(&mut self, hosts: Range<usize>, code: &str) {
        for index in hosts {
            let heartbeat = &mut self.hosts[index].heartbeat;
            code.clone_into(&mut heartbeat.country_code);
            code.clone_into(&mut heartbeat.country);
            heartbeat.hostname = format!("vpn-{}-{:05}", code.to_lowercase(), index + 1);
        }
    }

    /// The body of the host's next heartbeat; `None` while the host is silent.
    pub fn next(&mut self, host: usize) -> Option<Vec<u8>> {
        let host = &mut self.hosts[host];
        host.step(&self.chances);
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

    fn step(&mut self, chances: &Chances) {
        let first = self.heartbeat.seq == Some(0);
        self.heartbeat.seq = self.heartbeat.seq.map(|seq| seq + 1);

        let chance = self.rng.f64();
        self.silent = !first
            && if self.silent {
                chance >= chances.returns
            } else {
                chance < chances.falls_silent
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
                chance >= chances.service_fails
            } else {
                chance < chances.service_recovers
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

    #[test]
    fn a_calm_fleet_is_there_and_well_where_it_was_put() {
        let mut fleet = Fleet::calm(1, 20);
        fleet.settle(5..20, "IS");
        for host in 5..20 {
            for _ in 0..100 {
                let body = String::from_utf8(fleet.next(host).unwrap()).unwrap();
                assert!(!body.contains("false"), "{body}");
                assert!(
                    body.contains("\"IS\"") && body.contains("vpn-is-"),
                    "{body}"
                );
            }
        }
    }
}
