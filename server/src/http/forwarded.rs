//! Who is at the other end: the peer of the connection, or the client of a proxy.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

/// Who is at the other end of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Peer {
    /// The other end of the connection; `None` for a Unix socket.
    connected: Option<IpAddr>,
    /// The client's address, as far as it can be believed.
    client: Option<IpAddr>,
    /// What `X-Forwarded-For` was worth.
    forwarding: Forwarding,
}

/// What `X-Forwarded-For` was worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Forwarding {
    /// The peer speaks for itself alone: it sent none, and is not a proxy.
    None,
    /// The peer is a trusted proxy, which speaks for its client.
    Believed,
    /// A stranger sent one.
    Ignored,
}

impl Peer {
    /// The address that the request came from, as far as it can be believed: never a
    /// trusted proxy's, and `None` where a proxy does not tell its client's.
    pub(crate) fn ip(self) -> Option<IpAddr> {
        self.client
    }

    /// The address at the other end of the connection, whoever it speaks for; `None` for a
    /// Unix socket.
    pub(crate) fn connected(self) -> Option<IpAddr> {
        self.connected
    }

    /// Whether the connection comes from a program of this very machine, which is not known
    /// to be a proxy and does not say that it forwards. Never true of a Unix socket, where
    /// the proxy is.
    pub(super) fn is_direct_loopback(self) -> bool {
        let is_loopback = self.client.is_some_and(|ip| ip.is_loopback());
        is_loopback && self.forwarding == Forwarding::None
    }

    /// Whether an `X-Forwarded-For` came from a peer that is not a trusted proxy.
    pub(crate) fn forwards_untrusted(self) -> bool {
        self.forwarding == Forwarding::Ignored
    }
}

/// The fields by which one proxy or another says that a request is somebody else's.
pub(super) const FORWARDING_FIELDS: [&str; 10] = [
    "Forwarded",
    "Via",
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Port",
    "X-Forwarded-Proto",
    "X-Forwarded-Server",
    "X-Original-Forwarded-For",
    "X-Real-IP",
    "CF-Connecting-IP",
];

/// Whether `host`, the value of the field `Host`, names this machine as its own programs
/// do. A proxy mostly hands on the name that its client has used, and so does a browser
/// that was made to believe that the name is here.
pub(super) fn names_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'));
    let ip = fleetbeat_protocol::parse_ip(bare.unwrap_or(name));
    name.eq_ignore_ascii_case("localhost") || ip.is_some_and(|ip| ip.is_loopback())
}

/// The proxies whose `X-Forwarded-For` is believed.
#[derive(Debug, Default)]
pub(crate) struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// The proxies in these networks.
    pub(crate) fn new(networks: Vec<IpNet>) -> TrustedProxies {
        TrustedProxies(networks)
    }

    /// The peer of a request whose connection comes from `connected`, which is `None` for
    /// a Unix socket, and which has these values of `X-Forwarded-For`.
    ///
    /// The client is, from the right, the first address in the chain that is not a trusted
    /// proxy. The peer of a Unix socket is always trusted, because the file's permissions
    /// have let it in. A trusted proxy that tells no address leaves the client unknown:
    /// the proxy's own address must not stand for all its clients.
    pub(super) fn find_peer<'a>(
        &self,
        connected: Option<IpAddr>,
        forwarded: impl DoubleEndedIterator<Item = &'a str>,
    ) -> Peer {
        let is_trusted = connected.is_none_or(|ip| self.contains(ip));
        let mut hops = forwarded.rev().flat_map(|value| value.rsplit(','));
        if !is_trusted {
            let forwarding = match hops.next() {
                Some(_) => Forwarding::Ignored,
                None => Forwarding::None,
            };
            return Peer {
                connected,
                client: connected,
                forwarding,
            };
        }

        let mut client = None;
        for hop in hops {
            client = parse_hop(hop);
            if client.is_none_or(|ip| !self.contains(ip)) {
                break;
            }
        }
        Peer {
            connected,
            client,
            forwarding: Forwarding::Believed,
        }
    }

    /// Whether the address is a trusted proxy's.
    pub(super) fn contains(&self, ip: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&ip))
    }
}

/// The address of one hop, which some proxies write in brackets, in quotes or with a port.
fn parse_hop(hop: &str) -> Option<IpAddr> {
    let hop = hop.trim().trim_matches('"');
    let without_port = || hop.parse().map(|address: SocketAddr| address.ip()).ok();
    let bare = hop
        .strip_prefix('[')
        .and_then(|hop| hop.strip_suffix(']'))
        .unwrap_or(hop);

    let ip = fleetbeat_protocol::parse_ip(bare).or_else(without_port);
    ip.map(|ip| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The client that is believed, and what the header was worth.
    fn find(
        connected: Option<&str>,
        forwarded: &[&str],
        trusted: &[&str],
    ) -> (Option<String>, Forwarding) {
        let proxies = trusted.iter().map(|network| network.parse().unwrap());
        let connected = connected.map(|ip| ip.parse().unwrap());
        let proxies = TrustedProxies::new(proxies.collect());
        let peer = proxies.find_peer(connected, forwarded.iter().copied());
        (peer.ip().map(|ip| ip.to_string()), peer.forwarding)
    }

    const PROXIES: [&str; 2] = ["127.0.0.1/32", "10.0.0.0/8"];

    #[test]
    fn a_client_is_who_the_last_trusted_proxy_says_it_is() {
        for (connected, forwarded, client) in [
            (Some("127.0.0.1"), &["1.2.3.4"][..], Some("1.2.3.4")),
            (
                Some("127.0.0.1"),
                &["6.6.6.6, 1.2.3.4", "10.1.1.1"],
                Some("1.2.3.4"),
            ),
            (
                Some("127.0.0.1"),
                &["6.6.6.6", "1.2.3.4,10.1.1.1"],
                Some("1.2.3.4"),
            ),
            (Some("127.0.0.1"), &["10.0.0.1"], Some("10.0.0.1")),
            // Ports, brackets and quotes are not part of the address.
            (
                Some("127.0.0.1"),
                &["198.51.100.3:51234"],
                Some("198.51.100.3"),
            ),
            (Some("127.0.0.1"), &["[2001:db8::3]"], Some("2001:db8::3")),
            (
                Some("127.0.0.1"),
                &["[2001:db8::3]:443"],
                Some("2001:db8::3"),
            ),
            (
                Some("127.0.0.1"),
                &["\"[2001:db8::3]:443\""],
                Some("2001:db8::3"),
            ),
            (Some("127.0.0.1"), &["::ffff:1.2.3.4"], Some("1.2.3.4")),
            // What is not an address tells nothing, and ends the chain.
            (Some("127.0.0.1"), &[][..], None),
            (Some("127.0.0.1"), &[""], None),
            (Some("127.0.0.1"), &["unknown"], None),
            (Some("127.0.0.1"), &["_hidden:80"], None),
            (Some("127.0.0.1"), &["1.2.3.4, unknown, 10.1.1.1"], None),
            // A Unix socket's peer is trusted.
            (None, &[], None),
            (None, &["1.2.3.4"], Some("1.2.3.4")),
            (None, &["6.6.6.6, 1.2.3.4"], Some("1.2.3.4")),
            (None, &["nobody"], None),
        ] {
            let expected = (client.map(str::to_owned), Forwarding::Believed);
            let found = find(connected, forwarded, &PROXIES);
            assert_eq!(found, expected, "{connected:?} {forwarded:?}");
        }
    }

    #[test]
    fn loopback_is_direct_only_where_nothing_tells_of_a_proxy() {
        let is_direct =
            |connected: Option<&str>, forwarded: &[&str], trusted: &[&str]| {
                let proxies = trusted.iter().map(|network| network.parse().unwrap());
                let proxies = TrustedProxies::new(proxies.collect());
                let connected = connected.map(|ip| ip.parse().unwrap());
                let peer = proxies.find_peer(connected, forwarded.iter().copied());
                peer.is_direct_loopback()
            };
        for connected in ["127.0.0.1", "127.9.9.9", "::1"] {
            assert!(
                is_direct(Some(connected), &[], &["10.0.0.0/8"]),
                "{connected}"
            );
            for forwarded in ["127.0.0.1", "::1", "1.2.3.4", "", "nobody"] {
                assert!(
                    !is_direct(Some(connected), &[forwarded], &[]),
                    "{forwarded}"
                );
            }
        }
        assert!(!is_direct(Some("9.9.9.9"), &[], &[]));
        assert!(!is_direct(None, &[], &[]), "a Unix socket");
        assert!(!is_direct(None, &["127.0.0.1"], &[]));
        assert!(
            !is_direct(Some("127.0.0.1"), &[], &PROXIES),
            "a proxy's address"
        );
        assert!(!is_direct(Some("127.0.0.1"), &["127.0.0.1"], &PROXIES));
    }

    #[test]
    fn a_host_is_this_machine_only_by_its_own_names() {
        for host in [
            "localhost",
            "LOCALHOST:8080",
            "127.0.0.1",
            "127.0.0.1:8080",
            "127.1.2.3:1",
            "[::1]",
            "[::1]:8080",
            "[::ffff:127.0.0.1]:80",
        ] {
            assert!(names_loopback(host), "{host}");
        }
        for host in [
            "",
            ":",
            "fleet.example.com",
            "localhost.example.com:80",
            "127.0.0.1.example.com",
            "127.0.0.1:80:80",
            "10.0.0.1",
            "[2001:db8::1]:80",
            "0.0.0.0",
            "127.0.0.1@x",
        ] {
            assert!(!names_loopback(host), "{host}");
        }
    }

    #[test]
    fn a_stranger_speaks_for_itself_alone() {
        for (connected, forwarded, forwarding) in [
            ("9.9.9.9", &[][..], Forwarding::None),
            ("9.9.9.9", &["1.2.3.4"], Forwarding::Ignored),
            ("9.9.9.9", &[""], Forwarding::Ignored),
        ] {
            let found = find(Some(connected), forwarded, &PROXIES);
            assert_eq!(found, (Some(connected.to_owned()), forwarding));
        }
        let found = find(Some("127.0.0.1"), &[], &[]);
        assert_eq!(found, (Some("127.0.0.1".to_owned()), Forwarding::None));
    }
}
