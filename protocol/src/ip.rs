//! Addresses of hosts: one spelling each, because a host is known by its address.

use std::net::IpAddr;

/// The address that `text` spells, in canonical form: `::ffff:1.2.3.4` is 1.2.3.4. `None`
/// for anything else; an address with a zone (`fe80::1%eth0`) is refused, too.
pub fn parse_ip(text: &str) -> Option<IpAddr> {
    text.parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
}

/// Whether no single host can have the address: it is unspecified, a group's or a
/// network's broadcast. Such an address identifies nobody.
#[must_use]
pub fn is_nobodys(ip: IpAddr) -> bool {
    let is_broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    ip.is_unspecified() || ip.is_multicast() || is_broadcast
}

/// Whether many hosts have the address at once, each in its own network: loopback and
/// link-local addresses. Seen as the source of a connection, such an address does not
/// tell one host from another.
#[must_use]
pub fn is_everybodys(ip: IpAddr) -> bool {
    let is_link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    ip.is_loopback() || is_link_local
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_nobody_or_everybody_is_known_as_such() {
        for (text, nobodys, everybodys) in [
            ("192.0.2.1", false, false),
            ("10.0.0.1", false, false),
            ("100.64.0.1", false, false),
            ("2001:db8::1", false, false),
            ("0.0.0.0", true, false),
            ("::", true, false),
            ("255.255.255.255", true, false),
            ("224.0.0.1", true, false),
            ("239.255.255.250", true, false),
            ("ff02::1", true, false),
            ("::ffff:224.0.0.1", true, false),
            ("127.0.0.1", false, true),
            ("127.0.1.1", false, true),
            ("::1", false, true),
            ("::ffff:127.0.0.1", false, true),
            ("169.254.1.1", false, true),
            ("fe80::1", false, true),
        ] {
            let ip = parse_ip(text).unwrap();
            assert_eq!(
                (is_nobodys(ip), is_everybodys(ip)),
                (nobodys, everybodys),
                "{text}"
            );
        }
    }
}
