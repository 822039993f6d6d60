//! Where the server listens.

use std::fmt;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

/// Where the server listens, as `listen` in server.toml says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Listen {
    /// A TCP address; port 0 takes a free one.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

/// What is spoken with clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http,
    Https,
}

/// As in server.toml.
impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listen::Tcp(address) => write!(f, "{address}"),
            Listen::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Listen {
    /// `127.0.0.1:8080`, or `unix:/path/of/the/socket`.
    ///
    /// # Errors
    /// What the text must be, as the rest of a sentence about it.
    pub(crate) fn parse(text: &str) -> Result<Listen, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.starts_with('/') {
                Ok(Listen::Unix(path.into()))
            } else {
                Err("must have an absolute path after unix:".to_owned())
            };
        }

        text.parse().map(Listen::Tcp).map_err(|_| {
            "must be an address with a port, such as \"127.0.0.1:8080\", or \"unix:\" \
             and a path"
                .to_owned()
        })
    }

    /// The address with what is spoken there, for people.
    pub(crate) fn url(&self, protocol: Protocol) -> String {
        let scheme = match (self, protocol) {
            (Listen::Unix(_), _) => "",
            (_, Protocol::Http) => "http://",
            (_, Protocol::Https) => "https://",
        };
        format!("{scheme}{self}")
    }

    /// Refuses what a network could reach: only this machine may.
    ///
    /// # Errors
    /// Why the address is refused, as the rest of a sentence about it.
    pub(crate) fn check_private(&self) -> Result<(), String> {
        match self {
            Listen::Tcp(address) if !address.ip().to_canonical().is_loopback() => Err(
                "is not a loopback address, so that others can reach it: say \
                 `exposed = true` if they are meant to, and see [tls]"
                    .to_owned(),
            ),
            _ => Ok(()),
        }
    }

    /// An address where a client on this machine reaches the server: a server that listens
    /// on every address listens on loopback, too.
    pub(crate) fn reachable(&self) -> Listen {
        let Listen::Tcp(address) = self else {
            return self.clone();
        };

        let ip = match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        Listen::Tcp(SocketAddr::new(ip, address.port()))
    }
}

/// The first port that everybody may listen on: the kernel keeps those below it for the
/// privileged.
pub(crate) fn first_free_port() -> u16 {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    text.ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_this_machine_alone_can_reach_is_private() {
        for text in [
            "127.0.0.1:0",
            "[::1]:80",
            "[::ffff:127.0.0.1]:80",
            "unix:/s",
        ] {
            Listen::parse(text).unwrap().check_private().unwrap();
        }
        for text in ["0.0.0.0:80", "[::]:80", "10.0.0.1:80"] {
            Listen::parse(text).unwrap().check_private().unwrap_err();
        }
        for text in ["here", "127.0.0.1", "unix:socket", ""] {
            Listen::parse(text).unwrap_err();
        }
    }

    #[test]
    fn an_address_is_shown_with_what_is_spoken_there() {
        for (listens, protocol, shown) in [
            ("0.0.0.0:80", Protocol::Http, "http://0.0.0.0:80"),
            ("[::1]:443", Protocol::Https, "https://[::1]:443"),
            ("unix:/s", Protocol::Http, "unix:/s"),
        ] {
            assert_eq!(Listen::parse(listens).unwrap().url(protocol), shown);
        }
    }

    #[test]
    fn a_server_on_every_address_is_reached_over_loopback() {
        for (listens, reached) in [
            ("0.0.0.0:80", "127.0.0.1:80"),
            ("[::]:80", "[::1]:80"),
            ("10.0.0.1:80", "10.0.0.1:80"),
            ("unix:/s", "unix:/s"),
        ] {
            let reachable = Listen::parse(listens).unwrap().reachable();
            assert_eq!(reachable, Listen::parse(reached).unwrap());
        }
    }
}
