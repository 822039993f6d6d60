//! Counters of an interface's bytes, and which of them count.
//!
//! Most of what a VPN host receives it receives twice: as packets of the tunnel, and out
//! of the tunnel. What the provider counts is on the wire. So hardware counts; loopback,
//! tunnels and the interfaces of containers never do; and what is made of hardware, such
//! as a bond or a VLAN, counts where a host tells of no hardware.

use std::sync::Arc;

use crate::series::Series;

/// Which way bytes flow, as the host sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// To the host.
    Received,
    /// From the host.
    Sent,
}

/// A counter of bytes: `interface_received_bytes_total{interface="eth0"}`, or the same
/// with `sent`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Counter {
    /// The interface's name; empty for a counter of all that counts.
    pub interface: Arc<str>,
    /// Which bytes are counted.
    pub direction: Direction,
}

/// What is behind an interface. Of one host, the first of these that there is counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Layer {
    /// The counter is the host's own sum of what counts.
    Total,
    /// Hardware, or what a virtual machine has in its place.
    Hardware,
    /// Made of hardware that may be counted, too: a bond, a bridge, a VLAN.
    Stacked,
}

/// How the names of interfaces begin that never count: what is in them is on the wire as
/// well, or never leaves the host. The name alone decides, so these are the names that the
/// kernel, VPN programs and container runtimes give on their own. No name of hardware begins
/// so: Linux calls that `eth`, `en`, `wl`, `ww`, `ib`, `sl`, `usb`, `venet`, `lan` or `wan`.
const INNER: [&str; 68] = [
    "amn",
    "awg",
    "br-",
    "cali",
    "cilium",
    "clash",
    "CloudflareWARP",
    "cni",
    "dae",
    "docker",
    "dummy",
    "edge",
    "erspan",
    "flannel",
    "fou",
    "genev",
    "gre",
    "ham0",
    "he-",
    "ifb",
    "incus",
    "ip6",
    "ip_vti",
    "ipip",
    "ipsec",
    "isatap",
    "kube-",
    "l2tp",
    "lxc",
    "lxd",
    "Meta",
    "nb-",
    "nebula",
    "nlmon",
    "nm-",
    "nordlynx",
    "nordtun",
    "openvpn",
    "outline",
    "ovpn",
    "podman",
    "ppp",
    "proton",
    "sing",
    "sit",
    "softether",
    "tailscale",
    "tap",
    "teql",
    "tinc",
    "tun",
    "utun",
    "vboxnet",
    "veth",
    "virbr",
    "vmnet",
    "vnet",
    "vpn",
    "vti",
    "vxlan",
    "warp",
    "weave",
    "wg",
    "wireguard",
    "wt",
    "xfrm",
    "xray",
    "zt",
];
/// The same for what is made of hardware.
const STACKED: [&str; 9] = [
    "bond", "br", "ipvlan", "macvlan", "macvtap", "ovs", "team", "vlan", "vmbr",
];

impl Counter {
    /// The counter that the series is; `None` for any other series, and for a counter with
    /// other labels.
    pub(crate) fn of(series: &Series) -> Option<Counter> {
        let Series::Counter(name) = series else {
            return None;
        };
        let (base, labels) = match name.split_once('{') {
            Some((base, labels)) => (base, labels),
            None => (&**name, r#"interface=""}"#),
        };
        let direction = match base {
            "interface_received_bytes_total" => Direction::Received,
            "interface_sent_bytes_total" => Direction::Sent,
            _ => return None,
        };
        let interface = labels.strip_prefix("interface=\"")?.strip_suffix("\"}")?;
        (!interface.contains('"')).then(|| Counter {
            interface: interface.into(),
            direction,
        })
    }

    /// What is behind the counter's interface; `None` if it never counts.
    pub(crate) fn layer(&self) -> Option<Layer> {
        let name = &*self.interface;
        let begins = |with: &&str| name.starts_with(*with);
        if name.is_empty() {
            Some(Layer::Total)
        } else if matches!(name, "lo" | "lo0") || INNER.iter().any(begins) {
            None
        } else if name.contains(['.', '@']) || STACKED.iter().any(begins) {
            Some(Layer::Stacked)
        } else {
            Some(Layer::Hardware)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counter(name: &str) -> Option<Counter> {
        Series::metric(name).as_ref().and_then(Counter::of)
    }

    #[test]
    fn a_counter_is_known_by_its_name_and_its_one_label() {
        for (name, interface, direction) in [
            (
                "interface_sent_bytes_total{interface=\"eth0\"}",
                "eth0",
                Direction::Sent,
            ),
            ("interface_received_bytes_total", "", Direction::Received),
        ] {
            let found = counter(name).unwrap();
            assert_eq!((&*found.interface, found.direction), (interface, direction));
        }
        for name in [
            "interface_dropped_bytes_total",
            "interface_sent_bytes_total{device=\"eth0\"}",
            "interface_sent_bytes_total{interface=\"eth0\",queue=\"1\"}",
            "interface_sent_bytes_total{interface=\"eth0\"",
            "sent_bytes_total",
        ] {
            assert_eq!(counter(name), None, "{name}");
        }
    }

    #[test]
    fn no_byte_is_counted_in_the_tunnel_and_on_the_wire() {
        let layer = |interface: &str| {
            let name = format!("interface_sent_bytes_total{{interface=\"{interface}\"}}");
            counter(&name).unwrap().layer()
        };
        for name in [
            "lo",
            "wg0",
            "awg1",
            "tun0",
            "docker0",
            "br-1a2b",
            "veth3@if2",
            "nebula1",
            "ovpn0",
            "vpn0",
            "outline0",
            "warp",
            "CloudflareWARP",
            "he-ipv6",
            "dae0",
            "ip_vti0",
            "kube-ipvs0",
            "lxcbr0",
            "tailscale0",
            "ztabcdefgh",
            "wt0",
            "proton0",
            "amn0",
            "genev_sys_6081",
        ] {
            assert_eq!(layer(name), None, "{name}");
        }
        for name in ["bond0", "br0", "eth0.100", "vlan7", "vmbr0"] {
            assert_eq!(layer(name), Some(Layer::Stacked), "{name}");
        }
        for name in [
            "eth0",
            "enp3s0f0np0",
            "ens18",
            "em1",
            "p1p1",
            "venet0",
            "wlan0",
            "wwan0",
            "ibp5s0",
            "usb0",
            "lan",
            "wan",
        ] {
            assert_eq!(layer(name), Some(Layer::Hardware), "{name}");
        }
        assert_eq!(layer(""), Some(Layer::Total));
    }
}
