//! The host's own address, by which the server knows the host.
//!
//! The address is part of the host's identity, and an identity must not change with the
//! answer of a name server, with the route of the moment or with a link that is down for
//! a second. So an address that was found once is kept for as long as the host has it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use super::kernel::Kernel;
use crate::config::Way;
use crate::dns::{self, RESOLVE_TIMEOUT};
use crate::errand::Errand;
use crate::route;

/// How long a heartbeat waits for a lookup. With a silent name server the lookup takes
/// longer, and goes on in the lookup's thread.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(1);
/// For how many heartbeats in a row the kernel has to be without the address until
/// another one is chosen.
const MAX_LOST_INTERVALS: u32 = 3;
/// Addresses for examples, to which only the default route leads. Nothing is sent there.
const ELSEWHERE: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
];

/// Finds the host's own address and keeps it.
pub(crate) struct OwnAddress {
    search: Search,
    kept: Option<IpAddr>,
    /// The lost address of the other family, which is taken back when the host has it
    /// again: a family that is away for a while must not change who the host is.
    former: Option<IpAddr>,
    /// For how many heartbeats the kernel has been without the kept address.
    lost_for: u32,
    lookup: Option<Lookup>,
}

/// Where to look for an address.
#[derive(Debug, Clone)]
struct Search {
    way: Way,
    kernel: Kernel,
    /// The first address that the name leads to decides, as in earlier versions: a host
    /// that they have introduced to the server keeps its address.
    is_first_only: bool,
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
    errand: Errand<Option<IpAddr>>,
    deadline: Instant,
}

impl OwnAddress {
    /// `kept` is the address of an earlier run, and `former` the lost one of the other
    /// family.
    pub(super) fn new(
        way: Way,
        kernel: Kernel,
        [kept, former]: [Option<IpAddr>; 2],
        is_upgraded: bool,
    ) -> OwnAddress {
        let search = Search {
            way,
            kernel,
            is_first_only: is_upgraded,
        };
        OwnAddress {
            kept: kept.filter(|ip| search.may_keep(*ip)),
            former: former.filter(|ip| search.may_keep(*ip)),
            search,
            lost_for: 0,
            lookup: None,
        }
    }

    /// Heartbeats go another way from now on. The identity does not follow the way: the
    /// address stays, unless it means something near the old server alone.
    pub(super) fn set_way(&mut self, way: Way, kernel: Kernel) {
        let is_other = self.search.way != way;
        self.search.way = way;
        self.search.kernel = kernel;
        if is_other {
            self.lookup = None;
            for ip in [&mut self.kept, &mut self.former] {
                *ip = ip.filter(|ip| !is_private(*ip) && self.search.may_keep(*ip));
            }
        }
    }

    /// A heartbeat is made: looks whether the kernel still has the address.
    pub(super) fn watch(&mut self) {
        let is_back = |ip: &mut IpAddr| self.search.kernel.has(*ip) == Some(true);
        if let Some(ip) = self.former.take_if(is_back) {
            self.lookup = None;
            self.take(Some(ip));
            // The one in between was only a stand-in.
            self.former = None;
        }
        let is_lost = self.kept.is_some_and(|ip| {
            !ip.is_loopback() && self.search.kernel.has(ip) == Some(false)
        });
        match (is_lost, self.lost_for) {
            (true, lost_for) => {
                if let (0, Some(ip)) = (lost_for, self.kept) {
                    log::info!("this host is without its address {ip}, and waits for it");
                }
                self.lost_for = lost_for.saturating_add(1);
            }
            (false, _) => self.lost_for = 0,
        }
    }

    /// The address. An address that the host has lost stays until another address is
    /// found. `None` if the address is unknown, or of no use to the server.
    pub(super) fn find(&mut self) -> Option<IpAddr> {
        if self.kept.is_none() || self.lost_for >= MAX_LOST_INTERVALS {
            self.look_up();
        }
        self.kept
    }

    /// The lost address that is waited for.
    pub(super) fn former(&self) -> Option<IpAddr> {
        self.former
    }

    /// Starts a lookup unless a lookup is under way, and waits until the lookup's
    /// deadline.
    fn look_up(&mut self) {
        let (search, lost) = (self.search.clone(), self.kept);
        let start = || {
            let deadline = Instant::now() + LOOKUP_TIMEOUT;
            Lookup::start(deadline, move || search.choose(lost))
        };
        let Some(lookup) = self.lookup.take().or_else(start) else {
            return;
        };

        if lookup.errand.wait(lookup.deadline) {
            self.take(lookup.errand.join().flatten());
        } else {
            self.lookup = Some(lookup);
        }
    }

    fn take(&mut self, found: Option<IpAddr>) {
        let Some(ip) = found else { return };
        if let Some(old) = self.kept.filter(|old| *old != ip) {
            log::info!("this host's address is {ip} from now on, and not {old}");
            let former = self.former.or(Some(old));
            self.former = former.filter(|former| former.is_ipv4() != ip.is_ipv4());
        }
        self.kept = Some(ip);
        self.lost_for = 0;
    }
}

impl Lookup {
    /// `None` if the system gives no further thread.
    fn start(
        deadline: Instant,
        find: impl FnOnce() -> Option<IpAddr> + Send + 'static,
    ) -> Option<Lookup> {
        let errand = Errand::start("lookup", find).ok()?;
        Some(Lookup { errand, deadline })
    }
}

impl Search {
    /// The address to take, best one of the family of the address `lost`.
    fn choose(&self, lost: Option<IpAddr>) -> Option<IpAddr> {
        let deadline = Instant::now() + RESOLVE_TIMEOUT;
        let targets = dns::look_up(&self.way.next, deadline).ok()?;
        // The server's own machine may call itself by a loopback address.
        let is_here = targets.iter().all(IpAddr::is_loopback);

        let mut routes: Vec<_> = targets.into_iter().filter_map(Route::to).collect();
        if self.is_first_only && lost.is_none() {
            routes.truncate(1);
        } else {
            // The family does not depend on which addresses the name server tells first.
            let is_v4 = lost.is_none_or(|ip| ip.is_ipv4());
            routes.sort_by_key(|route| route.to.is_ipv4() != is_v4);
        }

        let own = routes.into_iter().find_map(|route| self.identity(route));
        own.or_else(|| self.choose_from_default_routes().filter(|_| is_here))
    }

    fn choose_from_default_routes(&self) -> Option<IpAddr> {
        ELSEWHERE
            .into_iter()
            .filter_map(Route::to)
            .find_map(|route| {
                let near = Route {
                    to: Ipv4Addr::LOCALHOST.into(),
                    ..route
                };
                self.identity(near)
            })
    }

    /// The address that packets come from, if it tells the host from all others. A host
    /// of another site may have the same private address; in such a case the server does
    /// better to take the address of the connection, unless that is a proxy's.
    fn identity(&self, route: Route) -> Option<IpAddr> {
        let from = match route.from {
            IpAddr::V4(ip) => ip.into(),
            IpAddr::V6(ip) => self.kernel.lasting(ip)?.into(),
        };
        let is_near = is_private(route.to) || route.to.is_loopback();
        let is_enough = !is_private(from) || is_near || self.way.is_proxied;
        (self.may_keep(from) && is_enough).then_some(from)
    }

    /// Whether an address can be one host's alone.
    fn may_keep(&self, ip: IpAddr) -> bool {
        if ip.is_loopback() {
            return self.way.is_loopback;
        }
        !is_everybodys(ip)
    }
}

impl Route {
    fn to(to: IpAddr) -> Option<Route> {
        let from = route::source_to(to)?;
        Some(Route {
            from,
            to: to.to_canonical(),
        })
    }
}

/// Whether other networks may have the same address for another host.
fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [first, second, ..] = ip.octets();
            // 100.64.0.0/10 is for the routers between providers and their customers.
            ip.is_private() || (first == 100 && second & 0xC0 == 64)
        }
        IpAddr::V6(ip) => ip.is_unique_local(),
    }
}

/// Whether many hosts have the address at once, even in one network.
fn is_everybodys(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [first, second, third, _] = ip.octets();
            first == 0
                || first >= 224
                || ip.is_loopback()
                || ip.is_link_local()
                // 464XLAT gives every host of an IPv6-only network an address of
                // 192.0.0.0/24, and tunnels of proxies take theirs of 198.18.0.0/15.
                || (first, second, third) == (192, 0, 0)
                || (first == 198 && second & 0xFE == 18)
        }
        IpAddr::V6(ip) => {
            let segments = ip.segments();
            ip.is_unspecified()
                || ip.is_loopback()
                || ip.is_multicast()
                || ip.is_unicast_link_local()
                // Site-local addresses, and those of translators.
                || segments[0] & 0xFFC0 == 0xFEC0
                || segments[..3] == [0x64, 0xFF9B, 1]
        }
    }
}

#[cfg(test)]
mod tests;
