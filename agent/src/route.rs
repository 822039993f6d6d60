//! What the kernel says about the way to an address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

/// Any port: no packet is sent there.
const DISCARD_PORT: u16 = 9;

/// The address that packets to `to` leave from; `None` if there is no way there.
/// Connecting a UDP socket only asks the kernel: nothing is sent.
pub(crate) fn source_to(to: IpAddr) -> Option<IpAddr> {
    let any: IpAddr = if to.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect((to, DISCARD_PORT)).ok()?;
    Some(socket.local_addr().ok()?.ip().to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_to_loopback_leave_from_loopback() {
        for to in ["127.0.0.1", "127.0.0.9"] {
            let from = source_to(to.parse().unwrap());
            assert_eq!(from, Some(Ipv4Addr::LOCALHOST.into()), "{to}");
        }
    }
}
