//! The host's own address, as seen by the server.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, ToSocketAddrs, UdpSocket};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fleetbeat_daemon::thread::spawn;

/// How long a heartbeat waits for a lookup. With a silent name server the lookup takes
/// far longer, and goes on in the lookup's thread.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(1);

/// Finds the host's own address and keeps the address for as long as the host has it.
///
/// The address is the host's identity. A server's name may lead to several machines, and
/// the routes to two machines may begin at different addresses, but the identity must not
/// change.
pub(crate) struct OwnAddress {
    /// Name and port of the packets' destination.
    target: (String, u16),
    route: Option<Route>,
    lookup: Option<Lookup>,
}

/// The two addresses of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Route {
    from: IpAddr,
    to: IpAddr,
}

/// A thread that asks the name server. The thread cannot be stopped, so at the agent's
/// end it may end with the process.
struct Lookup {
    thread: JoinHandle<()>,
    found: Receiver<Option<Route>>,
    deadline: Instant,
}

impl OwnAddress {
    pub(crate) fn new(target: (String, u16)) -> OwnAddress {
        OwnAddress {
            target,
            route: None,
            lookup: None,
        }
    }

    /// Packets go to `target` from now on. With the same target as before, the address
    /// stays.
    pub(crate) fn set_target(&mut self, target: (String, u16)) {
        if self.target != target {
            *self = OwnAddress::new(target);
        }
    }

    /// The address. An address that the host has lost stays until another address is
    /// found. `None` if the address is unknown, or of no use to the server.
    pub(crate) fn find(&mut self) -> Option<IpAddr> {
        if !self.route.is_some_and(|route| is_of_this_host(route.from)) {
            self.look_up();
        }
        self.route.and_then(Route::identity)
    }

    /// Starts a lookup unless a lookup is under way, and waits until the lookup's
    /// deadline.
    fn look_up(&mut self) {
        let target = self.target.clone();
        let start = || {
            Lookup::start(Instant::now() + LOOKUP_TIMEOUT, move || find_route(&target))
        };
        let Some(lookup) = self.lookup.take().or_else(start) else {
            return;
        };

        let wait = lookup.deadline.saturating_duration_since(Instant::now());
        match lookup.found.recv_timeout(wait) {
            Err(RecvTimeoutError::Timeout) => self.lookup = Some(lookup),
            found => {
                let _ = lookup.thread.join();
                self.route = found.ok().flatten().or(self.route);
            }
        }
    }
}

impl Lookup {
    /// `None` if the system gives no further thread.
    fn start(
        deadline: Instant,
        find: impl FnOnce() -> Option<Route> + Send + 'static,
    ) -> Option<Lookup> {
        let (tell, found) = mpsc::channel();
        let ask = move || {
            let _ = tell.send(find());
        };
        let thread = spawn("lookup", ask).ok()?;
        Some(Lookup {
            thread,
            found,
            deadline,
        })
    }
}

impl Route {
    /// The address that packets come from, unless a router replaces the address on the
    /// way. A host of another site may have the same private address. In such a case the
    /// server does better to take the address of the connection.
    fn identity(self) -> Option<IpAddr> {
        (!is_local(self.from) || is_local(self.to)).then_some(self.from)
    }
}

/// The route to the first of the target's addresses that has a route. Connecting a UDP
/// socket only asks the kernel: nothing is sent.
fn find_route((host, port): &(String, u16)) -> Option<Route> {
    let mut addresses = (host.as_str(), *port).to_socket_addrs().ok()?;
    addresses.find_map(|address| {
        let any: IpAddr = if address.is_ipv4() {
            Ipv4Addr::UNSPECIFIED.into()
        } else {
            Ipv6Addr::UNSPECIFIED.into()
        };

        let socket = UdpSocket::bind((any, 0)).ok()?;
        socket.connect(address).ok()?;
        let from = socket.local_addr().ok()?.ip().to_canonical();
        Some(Route {
            from,
            to: address.ip().to_canonical(),
        })
    })
}

/// Whether the host has the address now.
fn is_of_this_host(ip: IpAddr) -> bool {
    UdpSocket::bind((ip, 0)).is_ok()
}

/// Whether other networks may have the same address for another host.
fn is_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [first, second, ..] = ip.octets();
            // 100.64.0.0/10 is for the routers between providers and their customers.
            ip.is_private() || ip.is_link_local() || (first == 100 && second & 0xC0 == 64)
        }
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(from: &str, to: &str) -> Route {
        Route {
            from: from.parse().unwrap(),
            to: to.parse().unwrap(),
        }
    }

    #[test]
    fn packets_to_loopback_leave_from_loopback() {
        for target in ["127.0.0.1", "127.0.0.9"] {
            assert_eq!(
                find_route(&(target.to_owned(), 9)),
                Some(route("127.0.0.1", target))
            );
        }
        assert_eq!(find_route(&("no such host".to_owned(), 9)), None);
    }

    #[test]
    fn an_address_that_others_may_have_is_left_out() {
        for (from, to, is_told) in [
            ("203.0.113.5", "198.51.100.7", true),
            ("10.0.0.4", "10.9.0.1", true),
            ("10.0.0.4", "192.168.0.1", true),
            ("10.0.0.4", "198.51.100.7", false),
            ("100.64.0.1", "198.51.100.7", false),
            ("100.127.9.9", "198.51.100.7", false),
            ("100.128.0.1", "198.51.100.7", true),
            ("169.254.3.4", "198.51.100.7", false),
            ("2001:db8::5", "2001:db8:1::1", true),
            ("fd00::5", "fd01::1", true),
            ("fd00::5", "2001:db8::1", false),
            ("fe80::5", "2001:db8::1", false),
            ("127.0.0.1", "127.0.0.9", true),
        ] {
            assert_eq!(
                route(from, to).identity().is_some(),
                is_told,
                "{from} to {to}"
            );
        }
    }

    #[test]
    fn an_address_stays_while_the_host_has_it() {
        let mut own = OwnAddress::new(("127.0.0.1".to_owned(), 9));
        own.route = Some(route("127.0.0.2", "127.0.0.1"));
        assert_eq!(own.find(), Some([127, 0, 0, 2].into()));
        own.route = Some(route("203.0.113.5", "127.0.0.1"));
        assert_eq!(own.find(), Some([127, 0, 0, 1].into()));
    }

    #[test]
    fn a_silent_name_server_holds_up_nothing() {
        let (answer, asked) = mpsc::channel();
        let mut own = OwnAddress::new(("no such host".to_owned(), 9));
        own.lookup = Lookup::start(Instant::now(), move || asked.recv().unwrap());
        assert_eq!(own.find(), None);
        // An address that the host has lost stays until there is another one.
        own.route = Some(route("203.0.113.5", "198.51.100.7"));
        assert_eq!(own.find(), Some([203, 0, 113, 5].into()));

        answer.send(Some(route("127.0.0.3", "127.0.0.1"))).unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while own.find() != Some([127, 0, 0, 3].into()) {
            assert!(
                own.lookup.is_some() && Instant::now() < deadline,
                "the answer is lost"
            );
            std::thread::yield_now();
        }
        assert!(own.lookup.is_none());
    }
}
