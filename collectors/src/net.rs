//! `load.net`: an interface's traffic in both directions over the window, as a share of
//! its speed.
//!
//! The speed in /sys is believed of hardware only. A device of software has one too, but
//! a made-up one: a tun said 10 Mbit/s before Linux 6.2, and a veth says 10 Gbit/s. A
//! device of software over hardware (a bond, a VLAN, a bridge) has the hardware's speed.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use fleetbeat_settings::Table;

use crate::collector::{Collector, Roots, Sample};
use crate::error::Error;
use crate::read::{read_bytes, read_number};

/// Longest name of a network interface, in bytes (the kernel's IFNAMSIZ without its NUL).
const MAX_INTERFACE_BYTES: usize = 15;
/// Fastest interface that `speed_mbps` can name: 10 Tbit/s.
const MAX_SPEED_MBPS: u64 = 10_000_000;
/// What old drivers say for an unknown speed: -1 in 16 bits.
const UNKNOWN_SPEED_MBPS: u64 = 65_535;
/// Most devices on top of each other: a VLAN over a bridge over a bond over hardware.
const MAX_LAYERS: usize = 8;

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
fn parse_interface(name: &str) -> Result<Option<OsString>, String> {
    let is_name = (1..=MAX_INTERFACE_BYTES).contains(&name.len())
        && !name.contains(|c: char| c == '/' || c.is_whitespace() || c.is_control())
        && !matches!(name, "." | "..");
    match name {
        "auto" => Ok(None),
        _ if is_name => Ok(Some(name.into())),
        _ => Err("must be \"auto\" or an interface such as \"eth0\"".to_owned()),
    }
}

/// Reads an interface's counters at the beginning and at the end of the window.
struct Net {
    roots: Roots,
    /// `None`: the interface of the default route, looked up for each window because
    /// routes change.
    interface: Option<OsString>,
    /// `None`: the speed that the interface tells.
    speed_mbps: Option<u64>,
    /// `None` between two windows, and where the window's beginning failed.
    start: Option<Start>,
}

/// The interface and its counters at the beginning of the window.
struct Start {
    interface: OsString,
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
        let bytes = self.read_counters(&interface)?;
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
        let bytes = self.read_counters(&start.interface)?;
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
    fn read_default_interface(&self) -> Result<OsString, Error> {
        let routes = read_bytes(&self.roots.proc.join("net/route"))?;
        if let Some(interface) = parse_default_route(&routes) {
            return Ok(OsStr::from_bytes(interface).to_owned());
        }

        // Where IPv6 is off, the file does not exist.
        let routes =
            read_bytes(&self.roots.proc.join("net/ipv6_route")).unwrap_or_default();
        let unknown = "there is no default route: name the interface in [collectors.net]";
        parse_default_ipv6_route(&routes)
            .map(|interface| OsStr::from_bytes(interface).to_owned())
            .ok_or_else(|| Error::NeedsSetting(unknown.to_owned()))
    }

    /// The counters of received and sent bytes.
    fn read_counters(&self, interface: &OsStr) -> Result<[u64; 2], Error> {
        let statistics = self.path_of(interface).join("statistics");
        Ok([
            read_number(&statistics.join("rx_bytes"))?,
            read_number(&statistics.join("tx_bytes"))?,
        ])
    }

    /// The speed that the configuration says, or else the speed that the interface tells.
    fn read_speed_mbps(&self, interface: &OsStr) -> Result<u64, Error> {
        let told = || read_speed_mbps(&self.path_of(interface), MAX_LAYERS);
        self.speed_mbps.or_else(told).ok_or_else(|| {
            let interface = interface.display();
            Error::NeedsSetting(format!(
                "the speed of {interface} is unknown: set speed_mbps in [collectors.net]"
            ))
        })
    }

    fn path_of(&self, interface: &OsStr) -> PathBuf {
        self.roots.sys.join("class/net").join(interface)
    }
}

/// The speed of the device at `path` in /sys, as far as it is hardware's; `None` where
/// there is no such speed.
fn read_speed_mbps(path: &Path, layers: usize) -> Option<u64> {
    let told = || {
        read_number(&path.join("speed"))
            .ok()
            .filter(|mbps| (1..=MAX_SPEED_MBPS).contains(mbps))
            .filter(|mbps| *mbps != UNKNOWN_SPEED_MBPS)
    };
    let below = find_devices_below(path);
    if !is_of_software(path, &below) {
        return told();
    }

    let layers = layers.checked_sub(1)?;
    let speeds: Vec<u64> = below
        .iter()
        .filter_map(|device| read_speed_mbps(device, layers))
        .collect();
    // The kernel knows how a bond adds its links up. But it says of a bridge what the
    // fastest port says, which may be a container's veth.
    let own = told().filter(|mbps| *mbps <= speeds.iter().sum());
    own.or_else(|| speeds.iter().copied().max())
}

/// The devices that the device at `path` is made of.
fn find_devices_below(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b"lower_"))
        .map(|entry| entry.path())
        .collect()
}

/// Whether no hardware is behind the device at `path` in /sys but for the devices `below`.
fn is_of_software(path: &Path, below: &[PathBuf]) -> bool {
    let is_virtual = fs::canonicalize(path).is_ok_and(|path| {
        let folder = path.parent().unwrap_or(&path);
        folder.ends_with("devices/virtual/net")
    });
    let is_tun = path.join("tun_flags").exists();
    // One end of a veth names the other as its link, which no lower device is.
    let number = |name| read_number(&path.join(name)).ok();
    let has_link = number("ifindex") != number("iflink");
    is_virtual || is_tun || !below.is_empty() || has_link
}

/// The kernel's flag of a route that is usable.
const RTF_UP: u64 = 0x1;
/// The kernel's flag of a route that refuses whatever is sent.
const RTF_REJECT: u64 = 0x200;

/// The interface of the preferred default route in the text of /proc/net/route. The name
/// of an interface may be any bytes.
fn parse_default_route(text: &[u8]) -> Option<&[u8]> {
    preferred(text.split(|byte| *byte == b'\n').filter_map(|line| {
        let fields = split_fields(line);
        let [
            interface,
            b"00000000",
            _gateway,
            flags,
            _refs,
            _uses,
            metric,
            b"00000000",
            ..,
        ] = fields[..]
        else {
            return None;
        };
        Some((interface, flags, parse_number(metric, 10)?))
    }))
}

/// The interface of the preferred default route in the text of `/proc/net/ipv6_route`.
fn parse_default_ipv6_route(text: &[u8]) -> Option<&[u8]> {
    preferred(text.split(|byte| *byte == b'\n').filter_map(|line| {
        let fields = split_fields(line);
        let [
            to,
            b"00",
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
        let is_default = to.iter().all(|digit| *digit == b'0');
        Some((interface, flags, parse_number(metric, 16)?)).filter(|_| is_default)
    }))
}

fn split_fields(line: &[u8]) -> Vec<&[u8]> {
    line.split(u8::is_ascii_whitespace)
        .filter(|field| !field.is_empty())
        .collect()
}

fn parse_number(digits: &[u8], radix: u32) -> Option<u64> {
    u64::from_str_radix(str::from_utf8(digits).ok()?, radix).ok()
}

/// The usable route of the lowest metric, out of (interface, flags, metric).
fn preferred<'a>(
    routes: impl Iterator<Item = (&'a [u8], &'a [u8], u64)>,
) -> Option<&'a [u8]> {
    let is_usable = |(_, flags, _): &(&[u8], &[u8], u64)| {
        parse_number(flags, 16)
            .is_some_and(|flags| flags & (RTF_UP | RTF_REJECT) == RTF_UP)
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
        assert_eq!(
            parse_default_route(text.concat().as_bytes()),
            Some(&b"eth0"[..])
        );
        for none in ["", HEADER, "eth0\t00000000\t01", &text[5]] {
            assert_eq!(parse_default_route(none.as_bytes()), None, "{none:?}");
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
            parse_default_ipv6_route((local.clone() + &refuses + &usable).as_bytes()),
            Some(&b"eth0"[..])
        );
        assert_eq!(
            parse_default_ipv6_route((local + &refuses).as_bytes()),
            None
        );
        assert_eq!(parse_default_ipv6_route(b""), None);
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
            assert_eq!(parse_interface(name), Ok(Some(name.into())));
        }
        for bad in ["", ".", "..", "../x", "eth 0", "eth0\n", "sixteen-bytes-xx"] {
            assert!(parse_interface(bad).is_err(), "{bad:?}");
        }
    }

    /// A /sys of which each line is a file and its text, or a link and, behind an arrow,
    /// where it leads.
    fn sys(lines: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for line in lines.lines() {
            let (path, what) = line.trim().split_once(' ').unwrap();
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            match what.strip_prefix("-> ") {
                Some(to) => std::os::unix::fs::symlink(to, path).unwrap(),
                None => fs::write(path, format!("{what}\n")).unwrap(),
            }
        }
        root
    }

    #[test]
    fn a_speed_is_believed_of_hardware() {
        let root = sys("devices/pci0/net/eth0/speed 1000
             devices/pci0/net/eth0/ifindex 2
             devices/pci0/net/eth0/iflink 2
             class/net/eth0 -> ../../devices/pci0/net/eth0
             devices/pci0/net/eth1/speed 2500
             class/net/eth1 -> ../../devices/pci0/net/eth1
             devices/pci0/net/old/speed 65535
             class/net/old -> ../../devices/pci0/net/old
             devices/virtual/net/veth/speed 10000
             class/net/veth -> ../../devices/virtual/net/veth
             class/net/tun0/speed 10
             class/net/tun0/tun_flags 0x1001
             class/net/inside/speed 10000
             class/net/inside/ifindex 5
             class/net/inside/iflink 6
             devices/virtual/net/bond0/speed 3500
             devices/virtual/net/bond0/lower_eth0 -> ../../../pci0/net/eth0
             devices/virtual/net/bond0/lower_eth1 -> ../../../pci0/net/eth1
             class/net/bond0 -> ../../devices/virtual/net/bond0
             devices/virtual/net/br0/speed 10000
             devices/virtual/net/br0/lower_bond0 -> ../bond0
             devices/virtual/net/br0/lower_veth -> ../veth
             class/net/br0 -> ../../devices/virtual/net/br0
             devices/virtual/net/br0.7/speed 10000
             devices/virtual/net/br0.7/ifindex 9
             devices/virtual/net/br0.7/iflink 8
             devices/virtual/net/br0.7/lower_br0 -> ../br0
             class/net/br0.7 -> ../../devices/virtual/net/br0.7
             devices/virtual/net/br1/speed 10000
             devices/virtual/net/br1/lower_veth -> ../veth
             class/net/br1 -> ../../devices/virtual/net/br1
             devices/virtual/net/loop/lower_loop -> ../loop
             class/net/loop -> ../../devices/virtual/net/loop");
        for (interface, mbps) in [
            ("eth0", Some(1000)),
            ("old", None),
            ("veth", None),
            ("tun0", None),
            ("inside", None),
            ("bond0", Some(3500)),
            ("br0", Some(3500)),
            ("br0.7", Some(3500)),
            ("br1", None),
            ("loop", None),
            ("nowhere", None),
        ] {
            let path = root.path().join("class/net").join(interface);
            assert_eq!(read_speed_mbps(&path, MAX_LAYERS), mbps, "{interface}");
        }
    }
}
