//! /etc/hosts and /etc/resolv.conf: what a host says about names itself.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};
use std::path::{Path, PathBuf};
use std::time::Duration;

const NAME_SERVER_PORT: u16 = 53;
/// Most name servers that are asked, as in the C library.
const MAX_NAME_SERVERS: usize = 3;

/// Where the files are; other places are for tests.
#[derive(Debug, Clone)]
pub(super) struct Files {
    pub(super) hosts: PathBuf,
    pub(super) resolv_conf: PathBuf,
}

impl Default for Files {
    fn default() -> Files {
        Files {
            hosts: "/etc/hosts".into(),
            resolv_conf: "/etc/resolv.conf".into(),
        }
    }
}

impl Files {
    /// The addresses of `name` in the hosts file.
    pub(super) fn find_host(&self, name: &str) -> Vec<IpAddr> {
        let bytes = fs::read(&self.hosts).unwrap_or_default();
        parse_hosts(&String::from_utf8_lossy(&bytes), name)
    }

    /// The name servers and how to ask them. The file is read at each lookup, because it
    /// changes with the network.
    pub(super) fn name_servers(&self) -> NameServers {
        let bytes = fs::read(&self.resolv_conf).unwrap_or_default();
        NameServers::parse(&String::from_utf8_lossy(&bytes))
    }
}

fn parse_hosts(text: &str, name: &str) -> Vec<IpAddr> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let mut found = Vec::new();
    for line in text.lines() {
        let mut words = without_comment(line, &['#']).split_whitespace();
        let Some(Ok(address)) = words.next().map(str::parse::<IpAddr>) else {
            continue;
        };
        if words.any(|word| word.eq_ignore_ascii_case(name)) && !found.contains(&address)
        {
            found.push(address);
        }
    }
    found
}

/// What resolv.conf says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NameServers {
    /// In the order in which they are asked.
    pub(super) addresses: Vec<SocketAddr>,
    /// The domains in which a short name is looked for.
    pub(super) search: Vec<String>,
    /// A name with at least as many dots is tried as it is first.
    pub(super) min_dots: usize,
    /// How long to wait for a server's answer.
    pub(super) timeout: Duration,
    /// How often all servers are asked.
    pub(super) rounds: u32,
}

impl Default for NameServers {
    fn default() -> NameServers {
        NameServers {
            addresses: Vec::new(),
            search: Vec::new(),
            min_dots: 1,
            timeout: Duration::from_secs(5),
            rounds: 2,
        }
    }
}

impl NameServers {
    fn parse(text: &str) -> NameServers {
        let mut servers = NameServers::default();
        for line in text.lines() {
            let mut words = without_comment(line, &['#', ';']).split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    servers
                        .addresses
                        .extend(words.next().and_then(parse_server));
                }
                Some("search" | "domain") => {
                    servers.search = words.map(str::to_owned).collect();
                }
                Some("options") => words.for_each(|word| servers.set_option(word)),
                _ => {}
            }
        }

        servers.addresses.truncate(MAX_NAME_SERVERS);
        if servers.addresses.is_empty() {
            let here = (Ipv4Addr::LOCALHOST, NAME_SERVER_PORT);
            servers.addresses.push(here.into());
        }
        servers
    }

    /// Follows an option such as `ndots:2`, within the C library's limits.
    fn set_option(&mut self, word: &str) {
        let Some((name, Ok(value))) = word
            .split_once(':')
            .map(|(name, value)| (name, value.parse::<u8>()))
        else {
            return;
        };
        match name {
            "ndots" => self.min_dots = value.min(15).into(),
            "timeout" => self.timeout = Duration::from_secs(value.clamp(1, 30).into()),
            "attempts" => self.rounds = value.clamp(1, 5).into(),
            _ => {}
        }
    }

    /// The names to ask for, in order, when `name` is looked up.
    pub(super) fn candidates(&self, name: &str) -> Vec<String> {
        let mut names = vec![name.to_owned()];
        if name.ends_with('.') {
            return names;
        }
        let dots = name.matches('.').count();
        let longer = self
            .search
            .iter()
            .filter(|domain| *domain != ".")
            .map(|domain| format!("{name}.{}", domain.trim_start_matches('.')));
        if dots >= self.min_dots {
            names.extend(longer);
        } else {
            names.splice(0..0, longer);
        }
        names
    }
}

/// A name server's address, perhaps with a zone: `fe80::1%eth0`.
fn parse_server(text: &str) -> Option<SocketAddr> {
    let Some((address, zone)) = text.split_once('%') else {
        let address: IpAddr = text.parse().ok()?;
        return Some((address, NAME_SERVER_PORT).into());
    };
    let index = zone.parse().ok().or_else(|| read_interface_index(zone))?;
    let address = address.parse().ok()?;
    Some(SocketAddrV6::new(address, NAME_SERVER_PORT, 0, index).into())
}

fn read_interface_index(name: &str) -> Option<u32> {
    if name.contains('/') {
        return None;
    }
    let path = Path::new("/sys/class/net").join(name).join("ifindex");
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn without_comment<'a>(line: &'a str, marks: &[char]) -> &'a str {
    line.split(marks).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_file_names_addresses() {
        let text = "127.0.0.1 localhost\n::1 localhost ip6-localhost\n\
                    # 9.9.9.9 fleet.test\n10.9.0.2\tfleet.test  fleet # here\r\n\
                    2001:db8::2 Fleet.Test\n10.9.0.2 fleet.test\nnonsense fleet.test\n";
        let find = |name| {
            parse_hosts(text, name)
                .iter()
                .map(IpAddr::to_string)
                .collect::<Vec<_>>()
        };
        assert_eq!(find("localhost"), ["127.0.0.1", "::1"]);
        assert_eq!(find("fleet.test"), ["10.9.0.2", "2001:db8::2"]);
        assert_eq!(find("FLEET."), ["10.9.0.2"]);
        assert_eq!(find("test"), [""; 0]);
    }

    #[test]
    fn resolv_conf_names_servers_in_order() {
        let servers = NameServers::parse(
            "; made by hand\nnameserver 10.0.0.1 # first\nnameserver 2001:db8::1\n\
             nameserver fe80::1%3\nnameserver 10.0.0.4\nnameserver nonsense\n\
             search a.test b.test\noptions ndots:2 timeout:1 attempts:9 rotate edns0\n",
        );
        let shown: Vec<_> = servers.addresses.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["10.0.0.1:53", "[2001:db8::1]:53", "[fe80::1%3]:53"]);
        assert_eq!(
            (servers.timeout, servers.rounds),
            (Duration::from_secs(1), 5)
        );
        assert_eq!(servers.candidates("h"), ["h.a.test", "h.b.test", "h"]);
        assert_eq!(
            servers.candidates("a.b.c"),
            ["a.b.c", "a.b.c.a.test", "a.b.c.b.test"]
        );
        assert_eq!(servers.candidates("h."), ["h."]);

        let usual = NameServers::parse("search .\noptions ndots:x\n");
        let here: SocketAddr = "127.0.0.1:53".parse().unwrap();
        assert_eq!(usual.addresses, [here]);
        assert_eq!(usual.candidates("a"), ["a"]);
        assert_eq!((usual.timeout, usual.rounds), (Duration::from_secs(5), 2));
    }
}
