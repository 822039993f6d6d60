//! Who is at the other end: the peer of the connection, or the client of a proxy.

use std::net::IpAddr;

use ipnet::IpNet;

/// Who is at the other end of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    /// A TCP peer that speaks for itself alone: no `X-Forwarded-For` was sent.
    Direct(IpAddr),
    /// A request that came through a proxy, or says so: over a Unix socket, or with
    /// `X-Forwarded-For`.
    Proxied {
        /// The client's address as far as trusted proxies tell it; `None` behind a Unix
        /// socket whose peer says nothing.
        client: Option<IpAddr>,
    },
}

impl Peer {
    /// The address that the request came from, as far as it can be believed.
    pub(crate) fn ip(self) -> Option<IpAddr> {
        match self {
            Peer::Direct(ip) => Some(ip),
            Peer::Proxied { client } => client,
        }
    }
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
    /// have let it in.
    pub(super) fn find_peer<'a>(
        &self,
        connected: Option<IpAddr>,
        forwarded: impl Iterator<Item = &'a str>,
    ) -> Peer {
        let connected = connected.map(|ip| ip.to_canonical());
        let hops: Vec<&str> = forwarded.flat_map(|value| value.split(',')).collect();
        if let (Some(ip), []) = (connected, hops.as_slice()) {
            return Peer::Direct(ip);
        }

        let mut client = connected;
        for hop in hops.into_iter().rev() {
            let is_trusted = client.is_none_or(|ip| self.contains(ip));
            match fleetbeat_protocol::parse_ip(hop.trim()) {
                Some(ip) if is_trusted => client = Some(ip),
                _ => break,
            }
        }

        Peer::Proxied { client }
    }

    /// Whether the address is a trusted proxy's.
    pub(super) fn contains(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.0.iter().any(|network| network.contains(&ip))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_who_the_last_trusted_proxy_says_it_is() {
        let direct = |ip: &str| Peer::Direct(ip.parse().unwrap());
        let proxied = |ip: &str| Peer::Proxied {
            client: Some(ip.parse().unwrap()),
        };
        let unknown = Peer::Proxied { client: None };
        let trusts_loopback = ["127.0.0.1/32", "10.0.0.0/8"];

        for (connected, forwarded, trusted, expected) in [
            // No header: TCP peers are direct, whether or not they are trusted.
            (Some("127.0.0.1"), &[][..], &[][..], direct("127.0.0.1")),
            (
                Some("127.0.0.1"),
                &[],
                &trusts_loopback,
                direct("127.0.0.1"),
            ),
            (Some("::ffff:9.9.9.9"), &[], &[], direct("9.9.9.9")),
            (None, &[], &[], unknown),
            // A header from a peer that is not trusted tells nothing about the client.
            (
                Some("9.9.9.9"),
                &["1.2.3.4"],
                &trusts_loopback,
                proxied("9.9.9.9"),
            ),
            (Some("127.0.0.1"), &["1.2.3.4"], &[], proxied("127.0.0.1")),
            // A header from a trusted proxy does, up to the first hop that is not trusted.
            (
                Some("127.0.0.1"),
                &["1.2.3.4"],
                &trusts_loopback,
                proxied("1.2.3.4"),
            ),
            (
                Some("127.0.0.1"),
                &["6.6.6.6, 1.2.3.4", "10.1.1.1"],
                &trusts_loopback,
                proxied("1.2.3.4"),
            ),
            (
                Some("127.0.0.1"),
                &["10.0.0.1"],
                &trusts_loopback,
                proxied("10.0.0.1"),
            ),
            // What is not an address ends the chain.
            (
                Some("127.0.0.1"),
                &[""],
                &trusts_loopback,
                proxied("127.0.0.1"),
            ),
            (
                Some("127.0.0.1"),
                &["1.2.3.4, unknown, 10.1.1.1"],
                &trusts_loopback,
                proxied("10.1.1.1"),
            ),
            // A Unix socket's peer is trusted.
            (None, &["1.2.3.4"], &[], proxied("1.2.3.4")),
            (None, &["6.6.6.6, 1.2.3.4"], &[], proxied("1.2.3.4")),
            (None, &["nobody"], &[], unknown),
        ] {
            let proxies = trusted.iter().map(|network| network.parse().unwrap());
            let proxies = TrustedProxies::new(proxies.collect());
            let connected = connected.map(|ip: &str| ip.parse().unwrap());
            let peer = proxies.find_peer(connected, forwarded.iter().copied());
            assert_eq!(peer, expected, "{connected:?} {forwarded:?} {trusted:?}");
        }
    }
}
