//! Networks as people write them.

use fleetbeat_protocol::FieldError;
use ipnet::{IpNet, Ipv4Net};

/// The networks in the field `networks` of a body, and what is wrong with the others.
pub(crate) fn parse_networks(texts: &[String]) -> (Vec<IpNet>, Vec<FieldError>) {
    let (mut networks, mut errors) = (Vec::new(), Vec::new());
    for (index, text) in texts.iter().enumerate() {
        match parse_network(text) {
            Ok(network) => networks.push(network),
            Err(message) => {
                errors.push(FieldError::new(format!("networks[{index}]"), message));
            }
        }
    }
    (networks, errors)
}

/// An address, or a network such as 10.0.0.0/8.
///
/// # Errors
/// What the text must be.
pub(crate) fn parse_network(text: &str) -> Result<IpNet, String> {
    let address = fleetbeat_protocol::parse_ip(text).map(IpNet::from);
    address
        .or_else(|| text.parse().ok())
        .map(without_mapping)
        .ok_or_else(|| "must be an address or a network such as 10.0.0.0/8".to_owned())
}

/// The IPv4 network that a network of IPv4-mapped addresses means; another one as it is.
/// Connections over IPv4 have IPv4 addresses, whatever the socket is.
fn without_mapping(network: IpNet) -> IpNet {
    let IpNet::V6(mapped) = network else {
        return network;
    };
    let prefix = mapped.prefix_len().checked_sub(128 - 32);
    let network = mapped.addr().to_ipv4_mapped().zip(prefix);
    network
        .and_then(|(address, prefix)| Ipv4Net::new(address, prefix).ok())
        .map_or(IpNet::V6(mapped), IpNet::V4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapped_network_is_the_ipv4_network_that_it_means() {
        for (text, network) in [
            ("::ffff:127.0.0.0/104", "127.0.0.0/8"),
            ("::ffff:10.1.2.3", "10.1.2.3/32"),
            ("::ffff:10.1.2.3/128", "10.1.2.3/32"),
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("::/0", "::/0"),
            ("fd00::/8", "fd00::/8"),
        ] {
            assert_eq!(parse_network(text), Ok(network.parse().unwrap()), "{text}");
        }
        assert!(parse_network("10.0.0.0/33").is_err());
    }
}
