//! How many connections there may be, in all and from one network.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex};

use fleetbeat_daemon::lock::lock;

/// The most connections of one network while more than half of all seats are taken.
const MAX_PER_NETWORK: usize = 64;

/// The seats for connections.
#[derive(Debug, Clone)]
pub(crate) struct Seats {
    capacity: usize,
    taken: Arc<Mutex<Taken>>,
}

/// The seats that are taken.
#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_network: HashMap<IpAddr, usize>,
}

/// The seat of one connection, until it is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    taken: Arc<Mutex<Taken>>,
    network: Option<IpAddr>,
}

/// Why there is no seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoSeat {
    /// All seats are taken.
    Full,
    /// The network has its share, and seats are scarce.
    ShareTaken,
}

impl Seats {
    /// So many seats.
    pub(crate) fn new(capacity: usize) -> Seats {
        Seats {
            capacity,
            taken: Arc::default(),
        }
    }

    /// A seat for a connection from `ip`; `None` for a connection whose network is not
    /// counted, because the connection carries the requests of many.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn take(&self, ip: Option<IpAddr>) -> Result<Seat, NoSeat> {
        let network = ip.map(network);
        let mut taken = lock(&self.taken);
        if taken.all >= self.capacity {
            return Err(NoSeat::Full);
        }

        if let Some(network) = network {
            let is_scarce = taken.all > self.capacity / 2;
            let own = taken.by_network.entry(network).or_default();
            if is_scarce && *own >= MAX_PER_NETWORK {
                return Err(NoSeat::ShareTaken);
            }
            *own += 1;
        }

        taken.all += 1;
        Ok(Seat {
            taken: self.taken.clone(),
            network,
        })
    }

    /// The seats that are taken.
    pub(crate) fn taken(&self) -> usize {
        lock(&self.taken).all
    }
}

impl Seat {
    /// The network that the seat counts for, if it counts for one.
    pub(crate) fn network(&self) -> Option<IpAddr> {
        self.network
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = lock(&self.taken);
        taken.all -= 1;

        if let Some(network) = self.network
            && let Some(own) = taken.by_network.get_mut(&network)
        {
            *own -= 1;
            if *own == 0 {
                taken.by_network.remove(&network);
            }
        }
    }
}

/// Who is counted together: one IPv4 address, or the /64 that one IPv6 host has.
pub(crate) fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => {
            let prefix = ip.to_bits() >> 64 << 64;
            Ipv6Addr::from_bits(prefix).into()
        }
        ip @ IpAddr::V4(_) => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn a_network_has_a_share_once_seats_are_scarce() {
        let seats = Seats::new(200);
        let greedy: Vec<Seat> = (0..101)
            .map(|host| seats.take(ip(&format!("2001:db8::{host:x}"))).unwrap())
            .collect();
        let refused = seats.take(ip("2001:db8::ffff")).unwrap_err();
        assert_eq!(refused, NoSeat::ShareTaken);
        let other = seats.take(ip("2001:db8:0:1::1")).unwrap();
        let proxy = seats.take(None).unwrap();

        drop((greedy, other));
        assert_eq!(seats.taken(), 1);
        seats.take(ip("2001:db8::ffff")).unwrap();
        drop(proxy);
        assert_eq!(lock(&seats.taken).by_network.len(), 0);
    }

    #[test]
    fn there_are_so_many_seats_and_no_more() {
        let seats = Seats::new(2);
        let first = seats.take(None).unwrap();
        let _second = seats.take(ip("192.0.2.1")).unwrap();
        assert_eq!(seats.take(ip("192.0.2.2")).unwrap_err(), NoSeat::Full);
        drop(first);
        seats.take(ip("::ffff:192.0.2.1")).unwrap();
    }
}
