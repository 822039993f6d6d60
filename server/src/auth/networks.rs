//! Networks: whose logins and refusals are counted together.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Mutex;

use fleetbeat_daemon::lock::lock;

use crate::usernames::fold_username;

/// Pairs of a user and a network remembered at once: ten users, each from a thousand
/// networks.
const MAX_KNOWN: usize = 10_000;

/// A network of an IPv4 address, or of so many bits of an IPv6 address; `None` where
/// nobody knows the address, such as behind a Unix socket whose peer says nothing.
pub(crate) type Network = Option<(IpAddr, u8)>;

/// The network that counts as one source: an IPv4 address, or the /64 that one IPv6
/// customer has at least.
pub(crate) fn network(source: Option<IpAddr>) -> Network {
    match source? {
        IpAddr::V4(ip) => Some((ip.into(), 32)),
        IpAddr::V6(ip) => Some(ipv6_network(ip, 64)),
    }
}

/// A network as people write it: an address, or an address and bits.
pub(crate) fn show_network((ip, bits): (IpAddr, u8)) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("{ip}/{bits}"),
    }
}

/// The networks of an IPv6 address that a single customer may have, too.
pub(super) fn wider_networks(source: Option<IpAddr>) -> Vec<(IpAddr, u8)> {
    match source {
        Some(IpAddr::V6(ip)) => vec![ipv6_network(ip, 56), ipv6_network(ip, 48)],
        _ => Vec::new(),
    }
}

/// The widest network that a single customer may have: an IPv4 address, or an IPv6 /48.
pub(super) fn widest_network(source: Option<IpAddr>) -> Network {
    let wider = wider_networks(source).pop();
    wider.or_else(|| network(source))
}

fn ipv6_network(ip: Ipv6Addr, bits: u8) -> (IpAddr, u8) {
    let mask = u128::MAX << (128 - u32::from(bits));
    (Ipv6Addr::from_bits(ip.to_bits() & mask).into(), bits)
}

/// The networks from which users have logged in, or have used a token. Only what a right
/// password has made gets in here, so strangers cannot push anybody out.
#[derive(Default)]
pub(crate) struct KnownNetworks(Mutex<Known>);

/// The pairs, and the order in which they were seen last.
#[derive(Default)]
struct Known {
    hasher: RandomState,
    /// Counts what was noted.
    count: u64,
    seen: HashMap<Pair, u64>,
    by_age: BTreeMap<u64, Pair>,
}

/// A user's name as a hash, and a network.
type Pair = (u64, Network);

impl KnownNetworks {
    /// Remembers that the user is at `source`.
    pub(super) fn note(&self, username: &str, source: Option<IpAddr>) {
        let mut known = lock(&self.0);
        let name = known.hasher.hash_one(fold_username(username));
        let pair = (name, network(source));

        known.count += 1;
        let count = known.count;
        if let Some(before) = known.seen.insert(pair, count) {
            known.by_age.remove(&before);
        }
        known.by_age.insert(count, pair);

        if known.seen.len() > MAX_KNOWN
            && let Some((_, oldest)) = known.by_age.pop_first()
        {
            known.seen.remove(&oldest);
        }
    }

    /// Whether the user has been at `source`'s network.
    pub(super) fn contains(&self, username: &str, source: Option<IpAddr>) -> bool {
        let known = lock(&self.0);
        let name = known.hasher.hash_one(fold_username(username));
        known.seen.contains_key(&(name, network(source)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_customer_has_one_network_and_two_wider_ones() {
        let ip = |text: &str| -> Option<IpAddr> { Some(text.parse().unwrap()) };
        let show = |(ip, bits): (IpAddr, u8)| format!("{ip}/{bits}");
        let source = ip("2001:db8:1:2345::9");
        assert_eq!(network(source).map(show).unwrap(), "2001:db8:1:2345::/64");
        let wider: Vec<String> = wider_networks(source).into_iter().map(show).collect();
        assert_eq!(wider, ["2001:db8:1:2300::/56", "2001:db8:1::/48"]);

        assert_eq!(network(ip("192.0.2.7")).map(show).unwrap(), "192.0.2.7/32");
        assert!(wider_networks(ip("192.0.2.7")).is_empty() && network(None).is_none());
    }

    #[test]
    fn the_network_that_was_seen_longest_ago_is_forgotten_first() {
        let known = KnownNetworks::default();
        let source =
            |n: usize| Some(IpAddr::from(u32::try_from(n).unwrap().to_be_bytes()));
        for n in 0..MAX_KNOWN {
            known.note("ann", source(n));
        }
        known.note("ann", source(0));
        known.note("ann", source(MAX_KNOWN));
        assert!(known.contains("ann", source(0)) && !known.contains("ann", source(1)));
        assert!(known.contains("ann", source(2)) && !known.contains("bob", source(2)));
    }
}
