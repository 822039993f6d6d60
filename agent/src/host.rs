//! Who the host is: its address, name, place and boot.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, ToSocketAddrs, UdpSocket};
use std::path::Path;
use std::time::SystemTime;

use fleetbeat_collectors::Roots;
use fleetbeat_protocol::{Heartbeat, Timestamp};

use crate::config::{HostSettings, ServerUrl};
use crate::sampler::Readings;

/// The host as its heartbeats describe it.
pub(crate) struct Host {
    settings: HostSettings,
    roots: Roots,
    /// Host and port of the server, which decide by which address this host is seen.
    server: (String, u16),
    /// The address found last.
    found_ip: Option<IpAddr>,
    boot_id: Option<String>,
    seq: u64,
}

impl Host {
    pub(crate) fn new(settings: HostSettings, roots: Roots, server: &ServerUrl) -> Host {
        let boot_id = read_line(&roots.proc.join("sys/kernel/random/boot_id"));
        // Numbers must grow over a boot, whatever becomes of this process. The seconds since the boot do that
        // without any file of ours, because no two heartbeats a second are sent for long.
        let uptime = read_line(&roots.proc.join("uptime"));
        let seq = uptime.and_then(|text| text.split('.').next()?.parse().ok()).unwrap_or(0);
        let server = (server.host.clone(), server.port);
        Host { settings, roots, server, found_ip: None, boot_id, seq }
    }

    /// The heartbeat that says `readings`.
    pub(crate) fn heartbeat(&mut self, readings: Readings) -> Heartbeat {
        self.seq += 1;
        Heartbeat {
            ip: self.ip(),
            country_code: self.settings.country_code.clone(),
            country: self.settings.country.clone(),
            region: self.settings.region.clone(),
            city: self.settings.city.clone(),
            hostname: self.hostname(),
            services: readings.services,
            load: readings.load,
            metrics: Default::default(),
            collected_at: Some(readings.collected_at),
            boot_id: self.boot_id.clone(),
            seq: Some(self.seq),
            agent_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        }
    }

    /// As configured, or else found anew each time, because addresses change. Where none is found, the last one
    /// stays; where there never was one, the server takes the address it sees.
    fn ip(&mut self) -> Option<IpAddr> {
        if self.settings.ip.is_some() {
            return self.settings.ip;
        }
        self.found_ip = source_address(&self.server).or(self.found_ip);
        self.found_ip
    }

    fn hostname(&self) -> String {
        let found = || read_line(&self.roots.proc.join("sys/kernel/hostname")).unwrap_or_default();
        self.settings.hostname.clone().unwrap_or_else(found)
    }
}

/// The address from which packets to `server` would leave. Connecting a UDP socket only asks the kernel for the
/// route: nothing is sent.
fn source_address(server: &(String, u16)) -> Option<IpAddr> {
    let (host, port) = server;
    let mut addresses = (host.as_str(), *port).to_socket_addrs().ok()?;
    addresses.find_map(|address| {
        let any = if address.is_ipv4() {
            IpAddr::from(Ipv4Addr::UNSPECIFIED)
        } else {
            Ipv6Addr::UNSPECIFIED.into()
        };
        let socket = UdpSocket::bind((any, 0)).ok()?;
        socket.connect(address).ok()?;
        Some(socket.local_addr().ok()?.ip().to_canonical())
    })
}

/// The host's clock, in whole milliseconds.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let since_ms = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_millisecond(since_ms).unwrap_or(Timestamp::MAX)
}

fn read_line(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    Some(text.trim().to_owned()).filter(|line| !line.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_to_loopback_leave_from_loopback() {
        for (host, address) in [("127.0.0.1", "127.0.0.1"), ("127.0.0.9", "127.0.0.1")] {
            assert_eq!(source_address(&(host.to_owned(), 9)).unwrap().to_string(), address);
        }
        assert_eq!(source_address(&("no such host".to_owned(), 9)), None);
    }
}
