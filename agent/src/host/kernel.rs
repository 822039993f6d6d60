//! The host's addresses, as the kernel lists them. They are read and never tried by
//! binding: with `ip_nonlocal_bind`, every address can be bound.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use crate::route;

/// Flags of an IPv6 address that is of no use as a lasting address: temporary, failed,
/// deprecated or tentative.
const PASSING: u8 = 0x01 | 0x08 | 0x20 | 0x40;
/// The scope of addresses that are meant for more than one link.
const GLOBAL: u8 = 0;

/// The kernel's lists of addresses.
#[derive(Debug, Clone)]
pub(super) struct Kernel {
    /// The proc file system.
    pub(super) proc: PathBuf,
}

/// An IPv6 address of this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    address: Ipv6Addr,
    interface: u32,
    is_global: bool,
    is_passing: bool,
}

impl Kernel {
    /// Whether the address is this host's; `None` if the kernel does not tell.
    pub(super) fn has(&self, ip: IpAddr) -> Option<bool> {
        match ip {
            IpAddr::V4(ip) => self.has_v4(ip).ok(),
            IpAddr::V6(ip) => {
                let entries = self.read_v6().ok()?;
                Some(entries.iter().any(|entry| entry.address == ip))
            }
        }
    }

    /// A packet to one's own address stays at it. That is the quick question; the answer
    /// differs for a second address of a network, which only the table knows. The table
    /// also has all routes, and on a router that is a lot to read.
    fn has_v4(&self, ip: Ipv4Addr) -> io::Result<bool> {
        if route::source_to(ip.into()) == Some(ip.into()) {
            return Ok(true);
        }
        let table = File::open(self.proc.join("net/fib_trie"))?;
        is_local_in(BufReader::new(table), ip)
    }

    /// The lasting address of the interface with the address `from`: `from` itself, or a
    /// neighbour if `from` will pass. `None` if all of them will.
    pub(super) fn lasting(&self, from: Ipv6Addr) -> Option<Ipv6Addr> {
        match self.read_v6() {
            Ok(entries) => find_lasting(&entries, from),
            // Where the kernel does not tell, the address is as good as any.
            Err(_) => Some(from),
        }
    }

    fn read_v6(&self) -> io::Result<Vec<Entry>> {
        let text = fs::read_to_string(self.proc.join("net/if_inet6"))?;
        Ok(text.lines().filter_map(parse_entry).collect())
    }
}

/// Whether `ip` is a local address in the text of `fib_trie`: a line with the address,
/// and a line below it that says so.
fn is_local_in(table: impl BufRead, ip: Ipv4Addr) -> io::Result<bool> {
    let wanted = format!("|-- {ip}");
    let mut is_below = false;
    for line in table.lines() {
        let line = line?;
        let line = line.trim();
        if line.starts_with("|--") || line.starts_with("+--") {
            is_below = line == wanted;
        } else if is_below && line.starts_with("/32 host LOCAL") {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A line of `if_inet6`: the address, and in hexadecimal digits the interface's number, the
/// length of the prefix, the scope and the flags; then the interface's name.
fn parse_entry(line: &str) -> Option<Entry> {
    let mut words = line.split_whitespace();
    let address = u128::from_str_radix(words.next()?, 16).ok()?;
    let interface = u32::from_str_radix(words.next()?, 16).ok()?;
    let _prefix = words.next()?;
    let scope = u8::from_str_radix(words.next()?, 16).ok()?;
    // The kernel has more flags than it shows here, and may show more one day.
    let flags = u32::from_str_radix(words.next()?, 16).ok()?;
    Some(Entry {
        address: address.into(),
        interface,
        is_global: scope == GLOBAL,
        is_passing: flags & u32::from(PASSING) != 0,
    })
}

fn find_lasting(entries: &[Entry], from: Ipv6Addr) -> Option<Ipv6Addr> {
    let Some(used) = entries.iter().find(|entry| entry.address == from) else {
        return Some(from);
    };
    if !used.is_passing {
        return Some(from);
    }

    let network = |address: Ipv6Addr| address.to_bits() >> 64;
    let lasting = |entry: &&Entry| {
        entry.interface == used.interface
            && entry.is_global
            && !entry.is_passing
            && entry.address.is_unique_local() == from.is_unique_local()
    };
    let mut found: Vec<_> = entries.iter().filter(lasting).collect();
    found.sort_by_key(|entry| (network(entry.address) != network(from), entry.address));
    found.first().map(|entry| entry.address)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIB_TRIE: &str = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        \
        /0 universe UNICAST\n     |-- 10.9.0.0\n        /24 link UNICAST\nLocal:\n  \
        +-- 0.0.0.0/0 2 0 2\n     |-- 10.9.0.1\n        /32 host LOCAL\n     \
        |-- 10.9.0.11\n        /32 link UNICAST\n        /32 host LOCAL\n     \
        |-- 10.9.0.255\n        /32 link BROADCAST\n";

    #[test]
    fn the_table_of_routes_knows_the_hosts_own_addresses() {
        for (ip, is_local) in [
            ("10.9.0.1", true),
            ("10.9.0.11", true),
            ("10.9.0.255", false),
            ("10.9.0.0", false),
            ("10.9.0.2", false),
        ] {
            let told = is_local_in(FIB_TRIE.as_bytes(), ip.parse().unwrap());
            assert_eq!(told.unwrap(), is_local, "{ip}");
        }
    }

    #[test]
    fn a_passing_address_gives_way_to_a_lasting_one_of_its_interface() {
        let proc = tempfile::tempdir().unwrap();
        fs::create_dir(proc.path().join("net")).unwrap();
        let lines = [
            "20010db8000900000000000000000001 02 40 00 80       d0",
            "20010db80009000000000000000000f1 02 40 00 01       d0",
            "20010db80009000000000000000000f2 02 40 00 21       d0",
            "20010db8000800000000000000000001 02 40 00 80       d0",
            "20010db80007000000000000000000f1 03 40 00 01       d1",
            "20010db8000700000000000000000001 03 40 00 40       d1",
            "20010db8000700000000000000000002 03 40 00 a0       d1",
            "fe800000000000000000000000000001 03 40 20 80       d1",
            "fd000000000000000000000000000001 03 40 00 80       d1",
        ];
        fs::write(proc.path().join("net/if_inet6"), lines.join("\n")).unwrap();
        let kernel = Kernel {
            proc: proc.path().to_owned(),
        };

        for (from, lasting) in [
            ("2001:db8:9::1", Some("2001:db8:9::1")),
            ("2001:db8:9::f1", Some("2001:db8:9::1")),
            ("2001:db8:9::f2", Some("2001:db8:9::1")),
            ("2001:db8:7::f1", None),
            ("fd00::1", Some("fd00::1")),
            ("2001:db8:ffff::1", Some("2001:db8:ffff::1")),
        ] {
            let told = kernel.lasting(from.parse().unwrap());
            assert_eq!(told, lasting.map(|ip| ip.parse().unwrap()), "{from}");
        }
        let has = |ip: &str| kernel.has(ip.parse().unwrap());
        assert_eq!(has("2001:db8:7::2"), Some(true));
        assert_eq!(has("2001:db8:7::3"), Some(false));
        assert_eq!(has("203.0.113.5"), None, "there is no table");
    }
}
