//! Which addresses channels may use. A channel's settings come from a person with a
//! browser, and the server stands in a network that this person may not see: without the
//! guard a webhook could talk to the database beside the server or to the cloud's
//! metadata service.
//!
//! What counts is the address that is connected to, not how it was spelled: `127.1`,
//! `0x7f.1` and a name that leads to `127.0.0.1` are all the same address once they are
//! looked up.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::url::Url;

/// IPv4 that is not the public internet, with the length of the prefix.
const INTERNAL_V4: [(Ipv4Addr, u8); 17] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    // Azure's services for virtual machines, in the middle of public addresses.
    (Ipv4Addr::new(168, 63, 129, 16), 32),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
    (Ipv4Addr::new(255, 255, 255, 255), 32),
];

/// Parts of `2000::/3` that are not the public internet, or that carry an IPv4 address
/// which may not be public (Teredo in `2001::/23`, 6to4).
const INTERNAL_V6: [(Ipv6Addr, u8); 4] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

/// Where a network without IPv4 finds the IPv4 internet.
const NAT64: (Ipv6Addr, u8) = (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);

/// Decides which addresses channels may use: public ones, and those that the operator
/// allows.
#[derive(Debug, Clone, Default)]
pub struct Guard {
    allowed: Vec<IpNet>,
}

impl Guard {
    /// A guard that also lets through what `allow_private` names. Only there, http
    /// without TLS is allowed, too.
    pub fn new(allow_private: Vec<IpNet>) -> Guard {
        Guard {
            allowed: allow_private,
        }
    }

    /// Whether channels may connect to `address`.
    pub(crate) fn allows(&self, address: IpAddr, is_https: bool) -> bool {
        let address = address.to_canonical();
        let is_allowed = self.allowed.iter().any(|net| net.contains(&address));
        is_allowed || (is_https && is_public(address))
    }

    /// What is wrong with a URL that somebody wants to set, as far as that can be said
    /// without a look-up. Each connection is checked again.
    ///
    /// # Errors
    /// A sentence without its subject, for the field's error.
    pub(crate) fn check_url(&self, url: &Url) -> Result<(), &'static str> {
        if !url.is_https && self.allowed.is_empty() {
            return Err("must begin with https://: http is only for addresses that \
                        allow_private in the server's settings names");
        }

        let name = url.host.trim_end_matches('.').to_ascii_lowercase();
        let is_local = name == "localhost" || name.ends_with(".localhost");
        let address = url
            .address()
            .or(is_local.then_some(Ipv4Addr::LOCALHOST.into()));
        match address {
            Some(address) if !self.allows(address, url.is_https) => Err(
                "must not lead to an internal address: allow_private in the server's \
                 settings names the exceptions",
            ),
            _ => Ok(()),
        }
    }
}

/// Whether `address` is public. What is not known to be public is not.
fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => !INTERNAL_V4.iter().any(|net| is_in_v4(address, *net)),
        IpAddr::V6(address) if is_in_v6(address, NAT64) => {
            let [.., a, b, c, d] = address.octets();
            is_public(Ipv4Addr::new(a, b, c, d).into())
        }
        IpAddr::V6(address) => {
            let [first, .., fifth, sixth, _, _] = address.segments();
            // An interface id of ISATAP, which carries an IPv4 address.
            let is_isatap = fifth & 0xfdff == 0 && sixth == 0x5efe;
            let is_unicast = first & 0xe000 == 0x2000;
            let is_internal = INTERNAL_V6.iter().any(|net| is_in_v6(address, *net));
            is_unicast && !is_isatap && !is_internal
        }
    }
}

fn is_in_v4(address: Ipv4Addr, (net, bits): (Ipv4Addr, u8)) -> bool {
    let shift = 32 - u32::from(bits);
    address.to_bits() >> shift == net.to_bits() >> shift
}

fn is_in_v6(address: Ipv6Addr, (net, bits): (Ipv6Addr, u8)) -> bool {
    let shift = 128 - u32::from(bits);
    address.to_bits() >> shift == net.to_bits() >> shift
}

#[cfg(test)]
mod tests {
    use super::{Guard, is_public};
    use crate::url::Url;

    const INTERNAL: [&str; 41] = [
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "100.64.0.1",
        "100.100.100.200",
        "127.0.0.1",
        "127.255.255.254",
        "168.63.129.16",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.192",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.1.1",
        "198.19.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:a9fe:a9fe",
        "::ffff:0:127.0.0.1",
        "64:ff9b::127.0.0.1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::8.8.8.8",
        "100::1",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
        "2001:db8::1",
        "2002:7f00:1::1",
        "2606:4700::5efe:127.0.0.1",
        "2606:4700:0:0:200:5efe:7f00:1",
        "3fff::1",
        "5f00::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
    ];

    #[test]
    fn internal_addresses_are_not_public() {
        for text in INTERNAL.into_iter().chain(["fec0::1", "ff02::1"]) {
            assert!(!is_public(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn public_addresses_are() {
        let public = [
            "1.1.1.1",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.255.255",
            "172.32.0.1",
            "192.0.1.1",
            "223.255.255.255",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
            "2606:4700:4700::1111",
            "2a00:1450:4001::8a",
            "2001:4860:4860::8888",
        ];
        for text in public {
            assert!(is_public(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn the_operator_allows_private_nets_and_http_there_only() {
        let guard = Guard::new(vec!["192.168.1.0/24".parse().unwrap()]);
        let allows = |text: &str, is_https| guard.allows(text.parse().unwrap(), is_https);
        assert!(allows("192.168.1.7", true) && allows("192.168.1.7", false));
        assert!(allows("::ffff:192.168.1.7", true));
        assert!(!allows("192.168.2.7", true));
        assert!(allows("1.1.1.1", true) && !allows("1.1.1.1", false));
    }

    #[test]
    fn urls_to_internal_addresses_cannot_be_set() {
        let refused = [
            "http://ntfy.sh",
            "https://127.0.0.1",
            "https://127.0.0.1:8443/x",
            "https://[::1]/",
            "https://[::ffff:169.254.169.254]/",
            "https://localhost",
            "https://LOCALHOST./",
            "https://db.localhost/",
        ];
        for text in refused {
            let url = Url::parse(text).unwrap();
            assert!(Guard::default().check_url(&url).is_err(), "{text}");
        }
        let url = Url::parse("https://ntfy.sh").unwrap();
        assert_eq!(Guard::default().check_url(&url), Ok(()));
    }
}
