//! `load.net`: an interface's traffic in both directions over the window, as a share of
//! its speed.

use std::path::PathBuf;
use std::time::Instant;

use fleetbeat_settings::Table;

use crate::collector::{Collector, Roots, Sample};
use crate::error::Error;
use crate::read::{read_number, read_text};

/// Longest name of a network interface, in bytes (the kernel's IFNAMSIZ without its NUL).
const MAX_INTERFACE_BYTES: usize = 15;
/// Fastest interface that `speed_mbps` can name: 10 Tbit/s.
const MAX_SPEED_MBPS: u64 = 10_000_000;

pub(crate) fn build(
    options: &mut Table<'_>,
    roots: &Roots,
) -> Option<Box<dyn Collector>> {
    let interface = options
        .parsed("interface", parse_interface)
        .unwrap_or_default();
    let speed_mbps = options.integer("speed_mbps", 1..=MAX_SPEED_MBPS);
    Some(Box::new(Net {
        roots: roots.clone(),
        interface,
        speed_mbps,
        start: None,
    }))
}

/// The interface's name, `None` for `auto`. A name becomes part of a path in /sys, so
/// that a slash must not be in it.
fn parse_interface(name: &str) -> Result<Option<String>, String> {
    let is_name = (1..=MAX_INTERFACE_BYTES).contains(&name.len())
        && !name.contains(|c: char| c == '/' || c.is_whitespace() || c.is_control())
        && !matches!(name, "." | "..");
    match name {
        "auto" => Ok(None),
        _ if is_name => Ok(Some(name.to_owned())),
        _ => Err("must be \"auto\" or an interface such as \"eth0\"".to_owned()),
    }
}

/// Reads an interface's counters at the beginning and at the end of the window.
struct Net {
    roots: Roots,
    /// `None`: the interface of the default route, looked up for each window because
    /// routes change.
    interface: Option<String>,
    /// `None`: the speed that the interface tells.
    speed_mbps: Option<u64>,
    /// `None` between two windows, and where the window's beginning failed.
    start: Option<Start>,
}

/// The interface and its counters at the beginning of the window.
struct Start {
    interface: String,
    /// Received and sent.
    bytes: [u64; 2],
    at: Instant,
}

impl Collector for Net {
    fn open(&mut self, now: Instant) -> Result<(), Error> {
        let interface = match &self.interface {
            Some(name) => name.clone(),
            None => self.read_default_interface()?,
        };
        let bytes = self.read_bytes(&interface)?;
        self.start = Some(Start {
            interface,
            bytes,
            at: now,
        });
        Ok(())
    }

    fn collect(&mut self, now: Instant) -> Result<Option<Sample>, Error> {
        let Some(start) = self.start.take() else {
            return Ok(None);
        };
        let speed_mbps = self.read_speed_mbps(&start.interface)?;
        let bytes = self.read_bytes(&start.interface)?;
        let took_s = now.duration_since(start.at).as_secs_f64();

        // Each counter is compared by itself, because in the sum of both a counter that
        // jumped back could hide behind the other.
        let [received, sent] =
            [0, 1].map(|which| bytes[which].checked_sub(start.bytes[which]));
        let (Some(received), Some(sent), true) = (received, sent, took_s > 0.0) else {
            return Ok(None);
        };

        let mbps = (received as f64 + sent as f64) * 8.0 / took_s / 1e6;
        Ok(Some(Sample::Net(
            (100.0 * mbps / speed_mbps as f64).min(100.0),
        )))
    }
}

impl Net {
    /// The interface of the default route; IPv4's counts first.
    fn read_default_interface(&self) -> Result<String, Error> {
        let routes = read_text(&self.roots.proc.join("net/route"))?;
        if let Some(interface) = parse_default_route(&routes) {
            return Ok(interface.to_owned());
        }

        // Where IPv6 is off, the file does not exist.
        let routes =
            read_text(&self.roots.proc.join("net/ipv6_route")).unwrap_or_default();
        let unknown = "there is no default route: name the interface in [collectors.net]";
        parse_default_ipv6_route(&routes)
            .map(str::to_owned)
            .ok_or_else(|| Error::Unknown(unknown.to_owned()))
    }

    /// The counters of received and sent bytes.
    fn read_bytes(&self, interface: &str) -> Result<[u64; 2], Error> {
        let statistics = self.path_of(interface).join("statistics");
        Ok([
            read_number(&statistics.join("rx_bytes"))?,
            read_number(&statistics.join("tx_bytes"))?,
        ])
    }

    /// The speed that the configuration says, or else the speed that the interface tells.
    /// Virtual interfaces tell -1, or the read fails.
    fn read_speed_mbps(&self, interface: &str) -> Result<u64, Error> {
        let told = || read_number(&self.path_of(interface).join("speed")).ok();
        let unknown = || {
            Error::Unknown(format!(
                "the speed of {interface} is unknown: set speed_mbps in [collectors.net]"
            ))
        };

        self.speed_mbps
            .or_else(told)
            .filter(|mbps| (1..=MAX_SPEED_MBPS).contains(mbps))
            .ok_or_else(unknown)
    }

    fn path_of(&self, interface: &str) -> PathBuf {
        self.roots.sys.join("class/net").join(interface)
    }
}

/// The kernel's flag of a route that is usable.
const RTF_UP: u64 = 0x1;
/// The kernel's flag of a route that refuses whatever is sent.
const RTF_REJECT: u64 = 0x200;

/// The interface of the preferred default route in the text of /proc/net/route.
fn parse_default_route(text: &str) -> Option<&str> {
    preferred(text.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [
            interface,
            "00000000",
            _gateway,
            flags,
            _refs,
            _uses,
            metric,
            "00000000",
            ..,
        ] = fields[..]
        else {
            return None;
        };
        Some((interface, flags, metric.parse().ok()?))
    }))
}

/// The interface of the preferred default route in the text of `/proc/net/ipv6_route`.
fn parse_default_ipv6_route(text: &str) -> Option<&str> {
    preferred(text.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [
            to,
            "00",
            _from,
            _from_bits,
            _gateway,
            metric,
            _refs,
            _uses,
            flags,
            interface,
        ] = fields[..]
        else {
            return None;
        };
        let is_default = to.bytes().all(|digit| digit == b'0');
        Some((interface, flags, u64::from_str_radix(metric, 16).ok()?))
            .filter(|_| is_default)
    }))
}

/// The usable route of the lowest metric, out of (interface, flags, metric).
fn preferred<'a>(
    routes: impl Iterator<Item = (&'a str, &'a str, u64)>,
) -> Option<&'a str> {
    let is_usable = |(_, flags, _): &(&str, &str, u64)| {
        u64::from_str_radix(flags, 16)
            .is_ok_and(|flags| flags & (RTF_UP | RTF_REJECT) == RTF_UP)
    };
    routes
        .filter(is_usable)
        .min_by_key(|(_, _, metric)| *metric)
        .map(|(interface, ..)| interface)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";

    #[test]
    fn the_default_route_of_the_lowest_metric_wins() {
        let route = |name: &str, to: &str, flags: &str, metric: u32, mask: &str| {
            format!("{name}\t{to}\t0102A8C0\t{flags}\t0\t0\t{metric}\t{mask}\t0\t0\t0\n")
        };
        let text = [
            HEADER.to_owned(),
            route("down0", "00000000", "0002", 0, "00000000"),
            route("wg0", "00000000", "0001", 0, "00000080"),
            route("eth1", "00000000", "0003", 200, "00000000"),
            route("eth0", "00000000", "0003", 100, "00000000"),
            route("lan0", "0002A8C0", "0001", 0, "00FFFFFF"),
        ];
        assert_eq!(parse_default_route(&text.concat()), Some("eth0"));
        for none in ["", HEADER, "eth0\t00000000\t01", &text[5]] {
            assert_eq!(parse_default_route(none), None, "{none:?}");
        }
    }

    #[test]
    fn an_ipv6_default_route_that_refuses_is_none() {
        let zero = "0".repeat(32);
        let refuses = format!(
            "{zero} 00 {zero} 00 {zero} ffffffff 00000001 00000000 00200200 lo\n"
        );
        let usable = format!(
            "{zero} 00 {zero} 00 fe800000000000000000000000000001 00000400 1 0 00450003 eth0\n"
        );
        let local = format!(
            "fe80{} 40 {zero} 00 {zero} 00000100 1 0 00000001 eth9\n",
            "0".repeat(28)
        );
        assert_eq!(
            parse_default_ipv6_route(&(local.clone() + &refuses + &usable)),
            Some("eth0")
        );
        assert_eq!(parse_default_ipv6_route(&(local + &refuses)), None);
        assert_eq!(parse_default_ipv6_route(""), None);
    }

    #[test]
    fn an_interface_is_no_path() {
        assert_eq!(parse_interface("auto"), Ok(None));
        for name in [
            "eth0",
            "wg-quick0",
            "br0.100",
            "enp0s31f6",
            "fifteen-bytes-x",
        ] {
            assert_eq!(parse_interface(name), Ok(Some(name.to_owned())));
        }
        for bad in ["", ".", "..", "../x", "eth 0", "eth0\n", "sixteen-bytes-xx"] {
            assert!(parse_interface(bad).is_err(), "{bad:?}");
        }
    }
}
