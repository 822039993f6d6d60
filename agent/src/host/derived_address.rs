//! An address that is made of the host's id: `[host] ip = "derived"`.
//!
//! Hosts behind one address translation may have the same private address, and the server
//! sees one address of all of them. A unique local address of the id tells them apart, and
//! stays for as long as the id does. Nothing is ever sent there.

use std::net::{IpAddr, Ipv6Addr};

use fleetbeat_protocol::AgentId;

use crate::http::sha256;

/// The prefix of unique local addresses that their owners make up themselves.
const PREFIX: u8 = 0xFD;

/// The address of the host with this id. It does not lead back to the id, which is half a
/// secret.
pub(super) fn of(id: AgentId) -> IpAddr {
    let hash = sha256(format!("fleetbeat-agent address {}", id.expose()).as_bytes());
    let mut octets = [PREFIX; 16];
    for (octet, byte) in octets[1..].iter_mut().zip(hash) {
        *octet = byte;
    }
    Ipv6Addr::from(octets).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_id_has_an_address_of_its_own_that_stays() {
        let address = |bits| of(AgentId::from_bits(bits));
        assert_eq!(address(1), address(1));
        assert_ne!(address(1), address(2));
        let IpAddr::V6(ip) = address(1) else { panic!() };
        assert!(ip.is_unique_local(), "{ip}");
        // The hosts that have it must go on having it, whatever is changed here.
        assert_eq!(ip.to_string(), "fdff:b077:956:517e:978f:dd57:4ab2:9481");
    }
}
