//! The host's address, name, place and boot.

mod derived_address;
mod fit;
mod identity;
mod kernel;
mod own_address;

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use fleetbeat_collectors::Roots;
use fleetbeat_protocol::{AgentId, Heartbeat};

use crate::config::{HostIp, HostSettings, Way};
use crate::sampling::Readings;
pub(crate) use identity::{Identity, Kept, MACHINE_ID, peek};
use kernel::Kernel;
use own_address::OwnAddress;

/// The host as described by heartbeats.
pub(crate) struct Host {
    settings: HostSettings,
    roots: Roots,
    is_proxied: bool,
    identity: Keeping,
    address: OwnAddress,
    boot_id: Option<String>,
    seq: u64,
    /// What was left out of the last heartbeat: the log has it.
    left_out: Vec<String>,
}

/// Who keeps the host's identity.
pub(crate) enum Keeping {
    /// The service: what changes is written to the state folder.
    Service(Identity),
    /// A command that only looks, and what it has found.
    Looker(Option<Kept>),
}

impl Host {
    /// The host as `config` describes it.
    pub(crate) fn new(
        settings: HostSettings,
        roots: Roots,
        way: Way,
        identity: Keeping,
    ) -> Host {
        let boot_id = read_line(&roots.proc.join("sys/kernel/random/boot_id"));
        let kernel = Kernel {
            proc: roots.proc.clone(),
        };
        let (kept, is_upgraded) = match &identity {
            Keeping::Service(identity) => (Some(identity.kept()), identity.is_upgraded()),
            Keeping::Looker(kept) => (*kept, false),
        };
        let addresses = kept.map_or([None; 2], |kept| [kept.address, kept.former]);

        Host {
            settings,
            roots,
            is_proxied: way.is_proxied,
            identity,
            address: OwnAddress::new(way, kernel, addresses, is_upgraded),
            boot_id,
            seq: 0,
            left_out: Vec::new(),
        }
    }

    /// Describes the host by a new configuration. The heartbeats' numbers go on, and an
    /// address that was found stays.
    pub(crate) fn describe(&mut self, settings: HostSettings, roots: Roots, way: Way) {
        let kernel = Kernel {
            proc: roots.proc.clone(),
        };
        self.is_proxied = way.is_proxied;
        self.address.set_way(way, kernel);
        (self.settings, self.roots) = (settings, roots);
    }

    /// The next heartbeat, with `readings`, as the server takes it.
    pub(crate) fn heartbeat(&mut self, readings: Readings) -> Heartbeat {
        self.seq = (self.seq + 1).max(self.read_uptime_ms().unwrap_or(0));
        if self.settings.ip == HostIp::Auto {
            self.address.watch();
        }

        let mut heartbeat = Heartbeat {
            ip: self.address(),
            country_code: self.settings.country_code.clone(),
            country: self.settings.country.clone(),
            region: self.settings.region.clone(),
            city: self.settings.city.clone(),
            hostname: self.hostname(),
            services: readings.services,
            load: readings.load,
            metrics: readings.metrics,
            agent_tags: self.settings.tags.clone(),
            collected_at: Some(readings.collected_at),
            boot_id: self.boot_id.clone(),
            seq: Some(self.seq),
            agent_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            agent_id: self.agent_id(),
        };
        self.fit(&mut heartbeat);
        heartbeat
    }

    /// The address by which the server is to know the host. `None` leaves it to the
    /// server to take the address of the connection.
    pub(crate) fn address(&mut self) -> Option<IpAddr> {
        let address = match self.settings.ip {
            HostIp::Fixed(ip) => Some(ip),
            HostIp::Derived => self.agent_id().map(derived_address::of),
            HostIp::Auto => self.address.find(),
        };
        if let Keeping::Service(identity) = &mut self.identity {
            // An address that the operator has set is kept by the operator.
            let is_found = self.settings.ip == HostIp::Auto;
            let [address, former] =
                [address, self.address.former()].map(|ip| ip.filter(|_| is_found));
            identity.set_addresses(address, former);
            identity.save();
        }
        address
    }

    /// Whether a heartbeat without an address would be taken for another host's: the
    /// proxy's.
    pub(crate) fn needs_address(&self) -> bool {
        self.is_proxied
    }

    /// Takes the id of the host whose own key the agent has, if this host has none of its
    /// own that is kept.
    pub(crate) fn match_key(&mut self, owner: Option<AgentId>) {
        if let (Keeping::Service(identity), Some(owner)) = (&mut self.identity, owner) {
            identity.match_key(owner);
        }
    }

    pub(crate) fn agent_id(&self) -> Option<AgentId> {
        match &self.identity {
            Keeping::Service(identity) => Some(identity.kept().agent_id),
            Keeping::Looker(kept) => kept.map(|kept| kept.agent_id),
        }
    }

    /// Leaves out what the server would refuse, and says so once.
    fn fit(&mut self, heartbeat: &mut Heartbeat) {
        let left_out = fit::fit(heartbeat);
        for line in left_out.iter().filter(|line| !self.left_out.contains(line)) {
            log::warn!("left out of heartbeats, because the server refuses it: {line}");
        }
        self.left_out = left_out;
    }

    /// The least number for the next heartbeat. Numbers must grow over a boot, even
    /// across restarts of the agent. The time since the boot grows, too, and needs no
    /// file, unlike a counter.
    fn read_uptime_ms(&self) -> Option<u64> {
        parse_uptime_ms(&read_line(&self.roots.proc.join("uptime"))?)
    }

    pub(crate) fn hostname(&self) -> String {
        let found = || {
            read_line(&self.roots.proc.join("sys/kernel/hostname")).unwrap_or_default()
        };
        self.settings.hostname.clone().unwrap_or_else(found)
    }
}

/// Parses the first number of /proc/uptime, in seconds with hundredths.
fn parse_uptime_ms(text: &str) -> Option<u64> {
    let hundredths: u64 = text
        .split_whitespace()
        .next()?
        .replacen('.', "", 1)
        .parse()
        .ok()?;
    hundredths.checked_mul(10)
}

/// The trimmed text of a file; `None` if nothing is left. A host's name may be any bytes:
/// what is not UTF-8 of it becomes U+FFFD.
fn read_line(path: &Path) -> Option<String> {
    let bytes = fs::read(path).ok()?;
    Some(String::from_utf8_lossy(&bytes).trim().to_owned())
        .filter(|line| !line.is_empty())
}

#[cfg(test)]
mod tests {
    use fleetbeat_protocol::Timestamp;

    use super::*;

    #[test]
    fn the_uptime_is_in_hundredths_of_a_second() {
        assert_eq!(parse_uptime_ms("350735.47 234388.90"), Some(350_735_470));
        for bad in ["", "soon", "99999999999999999999.00 0"] {
            assert_eq!(parse_uptime_ms(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_name_that_is_not_utf8_is_sent_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hostname");
        fs::write(&path, b"caf\xe9\n").unwrap();
        assert_eq!(read_line(&path).as_deref(), Some("caf\u{fffd}"));
        fs::write(&path, b"\n").unwrap();
        assert_eq!(read_line(&path), None);
    }

    #[test]
    fn numbers_grow_over_a_boot_though_the_agent_restarts() {
        let proc = tempfile::tempdir().unwrap();
        let start = || {
            let roots = Roots {
                proc: proc.path().to_owned(),
                ..Roots::default()
            };
            let settings = HostSettings {
                ip: HostIp::Fixed([192, 0, 2, 1].into()),
                ..HostSettings::default()
            };
            let way = Way {
                next: "192.0.2.2".to_owned(),
                is_proxied: false,
                is_loopback: false,
            };
            Host::new(settings, roots, way, Keeping::Looker(None))
        };
        let readings = || Readings {
            load: Default::default(),
            services: Vec::new(),
            metrics: Default::default(),
            collected_at: Timestamp::MIN,
        };
        let mut host = start();
        let mut numbers = Vec::new();
        for (uptime, restarts) in [
            ("7.00", false),
            ("7.10", false),
            ("7.20", false),
            ("7.30", true),
            ("7.30", false),
            ("7.40", true),
        ] {
            fs::write(proc.path().join("uptime"), format!("{uptime} 1.00\n")).unwrap();
            if restarts {
                host = start();
            }
            numbers.push(host.heartbeat(readings()).seq.unwrap());
        }
        assert_eq!(numbers, [7000, 7100, 7200, 7300, 7301, 7400]);
    }
}
