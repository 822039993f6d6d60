//! Addresses of hosts: one spelling each, because a host is known by its address.

use std::net::IpAddr;

/// The address that `text` spells, in canonical form: `::ffff:1.2.3.4` is 1.2.3.4. `None`
/// for anything else; an address with a zone (`fe80::1%eth0`) is refused, too.
pub fn parse_ip(text: &str) -> Option<IpAddr> {
    text.parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
}
