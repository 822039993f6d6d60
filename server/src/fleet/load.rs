//! How much a host has to do, and how many of the next clients it is to get.
//!
//! Giving every client the least loaded host sends most of them to one host, which is full
//! then. So a client draws a host, and the host's weight is its share of the draws.

use std::ops::Bound;
use std::time::Duration;

use fleetbeat_protocol::{LoadReason, Mode, Offer, Server, Status};

/// Loads are rounded up to multiples of this, in percent. Coarse, so that lists change
/// less.
const STEP: f64 = 5.0;
/// From this share of what it can do, a host gets no further clients.
const FULL: f64 = 0.95;
/// What a host of which nothing is known is taken for.
const UNKNOWN: f64 = 0.5;
/// The weight of a host of usual size that has nothing to do.
const WEIGHT: f64 = 1000.0;
/// The weight that admins give a usual host.
const USUAL_ADMIN_WEIGHT: f64 = 100.0;
/// As many sessions, or Mbit/s, are a capacity of 1.
const PER_CAPACITY: f64 = 100.0;
/// The RAM in use, in percent, that is no load yet, and how much more of it is all.
const RAM_AT_EASE: f64 = 80.0;
const RAM_LEFT: f64 = 20.0;

/// So long after it has come back, a host gets as many clients as ever.
const RAMP: Duration = Duration::from_secs(5 * 60);
/// The ramp rises once in so long.
pub(super) const RAMP_STEP: Duration = Duration::from_secs(30);
/// The steps of the ramp.
const RAMP_STEPS: i64 = (RAMP.as_secs() / RAMP_STEP.as_secs()).cast_signed();

/// The metrics that are looked at.
const CLIENTS: &str = "vpn_clients";
const CLIENTS_LIMIT: &str = "vpn_clients_limit";
const NETWORK: &str = "network_utilization_percent";
const CONNTRACK: &str = "conntrack_entries";
const CONNTRACK_LIMIT: &str = "conntrack_entries_limit";

/// A place on the ramp of a host that has come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ramp(i64);

impl Ramp {
    /// All of the way up.
    pub(super) const TOP: Ramp = Ramp(RAMP_STEPS);

    /// The place at `now_s` of a host that came back at `back_s`, in seconds since 1970.
    /// All hosts rise at the same moments: the multiples of [`RAMP_STEP`].
    pub(super) fn new(back_s: i64, now_s: i64) -> Ramp {
        let step_s = RAMP_STEP.as_secs().cast_signed();
        let risen = now_s.div_euclid(step_s) - back_s.div_euclid(step_s);
        // The clock may have been set back.
        if back_s > now_s {
            return Ramp::TOP;
        }
        Ramp(risen.saturating_add(1).min(RAMP_STEPS))
    }

    #[allow(clippy::cast_precision_loss, reason = "a few steps")]
    fn share(self) -> f64 {
        self.0 as f64 / RAMP_STEPS as f64
    }
}

/// The load and the weight of a host, whose state is the one in effect.
pub(super) fn offer(server: &Server, ramp: Ramp) -> Offer {
    let most = utilizations(server)
        .into_iter()
        .filter_map(|(reason, used)| Some((reason, used?.clamp(0.0, 1.0))))
        .fold(None, |most: Option<(LoadReason, f64)>, next| match most {
            Some(most) if most.1 >= next.1 => Some(most),
            _ => Some(next),
        });
    Offer {
        load_percent: most.map(|(_, used)| rounded(used)),
        load_reason: most.map(|(reason, _)| reason),
        weight: weight(server, most.map_or(UNKNOWN, |(_, used)| used), ramp),
    }
}

/// How many clients the host has; `None` if it does not tell.
pub(crate) fn clients(server: &Server) -> Option<f64> {
    let all: Vec<f64> = series(server, CLIENTS).map(|(_, count)| count).collect();
    (!all.is_empty()).then(|| all.iter().sum())
}

/// What is used of all that the host has, as shares; `None` for what is not known.
fn utilizations(server: &Server) -> [(LoadReason, Option<f64>); 5] {
    let percent = |percent: Option<f64>| percent.map(|percent| percent / 100.0);
    let metric = |name: &str| server.metrics.get(name).copied();
    // load.net adds up both directions, and is 100 % at half of what a port can do.
    let network = metric(NETWORK).or(server.load.net);
    let entries = metric(CONNTRACK);
    let conntrack = entries.and_then(|entries| share(entries, metric(CONNTRACK_LIMIT)?));
    let ram = server.load.ram.map(|ram| (ram - RAM_AT_EASE) / RAM_LEFT);
    [
        (LoadReason::Cpu, percent(server.load.cpu)),
        (LoadReason::Network, percent(network)),
        (LoadReason::Clients, share_of_clients(server)),
        (LoadReason::Conntrack, conntrack),
        (LoadReason::Ram, ram),
    ]
}

/// All clients against what admins have set, or else those of the fullest service against
/// its own limit.
fn share_of_clients(server: &Server) -> Option<f64> {
    if let Some(limit) = server.settings.max_sessions {
        return share(clients(server)?, f64::from(limit));
    }
    let limits = series(server, CLIENTS_LIMIT);
    let shares = limits.filter_map(|(labels, limit)| {
        let count = server.metrics.get(&format!("{CLIENTS}{labels}"))?;
        share(*count, limit)
    });
    shares.max_by(f64::total_cmp)
}

fn share(used: f64, limit: f64) -> Option<f64> {
    (limit > 0.0).then(|| used / limit)
}

/// The series of a metric: labels, in their braces, and values.
fn series<'a>(server: &'a Server, name: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
    // Names are sorted, so that all series of a metric are behind its name.
    let from_here = (Bound::Included(name), Bound::Unbounded);
    let from_here = server.metrics.range::<str, _>(from_here);
    let named = from_here.map_while(move |(key, value)| {
        let labels = key.strip_prefix(name)?;
        Some((labels, *value))
    });
    named.filter(|(labels, _)| labels.is_empty() || labels.starts_with('{'))
}

/// A share as a load in percent.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "from 0 to 100"
)]
fn rounded(used: f64) -> u8 {
    // What is a multiple but for the last digits stays the same.
    let steps = (used * 100.0 / STEP - 1e-9).ceil();
    (steps.max(0.0) * STEP) as u8
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "settings have limits"
)]
fn weight(server: &Server, used: f64, ramp: Ramp) -> u32 {
    let settings = &server.settings;
    let admin_weight = settings.admin_weight.map_or(USUAL_ADMIN_WEIGHT, f64::from);
    let takes_clients = server.status == Status::Active
        && server.state.mode == Mode::Normal
        && used < FULL
        && admin_weight > 0.0;
    if !takes_clients {
        return 0;
    }

    let per_limit =
        |limit: Option<u32>| limit.map(|limit| f64::from(limit) / PER_CAPACITY);
    let capacity = settings
        .capacity
        .or(per_limit(settings.max_sessions))
        .or(per_limit(settings.bandwidth_mbps))
        .unwrap_or(1.0);
    let free = (1.0 - used).powi(2);
    let weight =
        WEIGHT * capacity * (admin_weight / USUAL_ADMIN_WEIGHT) * free * ramp.share();
    weight.round().clamp(1.0, f64::from(u32::MAX)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A host that has nothing to do but what `change` says.
    fn server(change: impl FnOnce(&mut Server)) -> Server {
        let golden = include_str!("../../../protocol/golden/server.json");
        let mut server: Server = serde_json::from_str(golden).unwrap();
        server.load = fleetbeat_protocol::Load::default();
        server.metrics.clear();
        server.state = fleetbeat_protocol::HostState::default();
        server.settings = fleetbeat_protocol::Settings::default();
        change(&mut server);
        server
    }

    fn metrics(server: &mut Server, metrics: &[(&str, f64)]) {
        for (name, value) in metrics {
            server.metrics.insert((*name).to_owned(), *value);
        }
    }

    #[test]
    fn the_load_is_the_most_of_all_that_is_known() {
        use LoadReason::{Clients, Conntrack, Cpu, Network, Ram};
        type Case<'a> = (&'a str, fn(&mut Server), Option<u8>, Option<LoadReason>);
        let cases: &[Case<'_>] = &[
            ("nothing", |_| {}, None, None),
            ("no load", |s| s.load.cpu = Some(0.0), Some(0), Some(Cpu)),
            ("cpu", |s| s.load.cpu = Some(0.1), Some(5), Some(Cpu)),
            ("a step", |s| s.load.cpu = Some(35.0), Some(35), Some(Cpu)),
            ("above it", |s| s.load.cpu = Some(35.1), Some(40), Some(Cpu)),
            ("all", |s| s.load.cpu = Some(100.0), Some(100), Some(Cpu)),
            (
                "load.net",
                |s| (s.load.cpu, s.load.net) = (Some(20.0), Some(50.0)),
                Some(50),
                Some(Network),
            ),
            (
                "the network's own metric counts",
                |s| {
                    s.load.net = Some(100.0);
                    metrics(s, &[(NETWORK, 30.0)]);
                },
                Some(30),
                Some(Network),
            ),
            (
                "ram at ease",
                |s| s.load.ram = Some(80.0),
                Some(0),
                Some(Ram),
            ),
            ("ram", |s| s.load.ram = Some(95.0), Some(75), Some(Ram)),
            (
                "conntrack",
                |s| metrics(s, &[(CONNTRACK, 90.0), (CONNTRACK_LIMIT, 100.0)]),
                Some(90),
                Some(Conntrack),
            ),
            (
                "conntrack without a limit",
                |s| metrics(s, &[(CONNTRACK, 90.0), (CONNTRACK_LIMIT, 0.0)]),
                None,
                None,
            ),
            (
                "clients without a limit",
                |s| metrics(s, &[(CLIENTS, 90.0)]),
                None,
                None,
            ),
            (
                "clients of all services",
                |s| {
                    s.settings.max_sessions = Some(100);
                    metrics(
                        s,
                        &[
                            ("vpn_clients{service=\"ov\"}", 20.0),
                            ("vpn_clients{service=\"wg\"}", 40.0),
                            ("vpn_clients_limit{service=\"wg\"}", 41.0),
                            ("vpn_clients2", 1000.0),
                        ],
                    );
                },
                Some(60),
                Some(Clients),
            ),
            (
                "the fullest service",
                |s| {
                    metrics(
                        s,
                        &[
                            ("vpn_clients{service=\"ov\"}", 20.0),
                            ("vpn_clients_limit{service=\"ov\"}", 25.0),
                            ("vpn_clients{service=\"wg\"}", 40.0),
                            ("vpn_clients_limit{service=\"wg\"}", 400.0),
                        ],
                    );
                },
                Some(80),
                Some(Clients),
            ),
            (
                "more than all",
                |s| {
                    s.settings.max_sessions = Some(1);
                    metrics(s, &[(CLIENTS, 2.0)]);
                },
                Some(100),
                Some(Clients),
            ),
            (
                "less than nothing",
                |s| metrics(s, &[(NETWORK, -5.0)]),
                Some(0),
                Some(Network),
            ),
        ];
        for (name, change, load, reason) in cases {
            let offer = offer(&server(change), Ramp::TOP);
            assert_eq!(
                (offer.load_percent, offer.load_reason),
                (*load, *reason),
                "{name}"
            );
        }
    }

    #[test]
    fn the_weight_is_what_is_free_squared() {
        type Case<'a> = (&'a str, fn(&mut Server), u32);
        let cases: &[Case<'_>] = &[
            ("nothing is known: as if half", |_| {}, 250),
            ("idle", |s| s.load.cpu = Some(0.0), 1000),
            ("a fifth", |s| s.load.cpu = Some(20.0), 640),
            ("nearly full", |s| s.load.cpu = Some(94.9), 3),
            ("full", |s| s.load.cpu = Some(95.0), 0),
            (
                "capacity",
                |s| {
                    s.load.cpu = Some(50.0);
                    s.settings.capacity = Some(2.5);
                    s.settings.max_sessions = Some(1000);
                },
                625,
            ),
            (
                "sessions",
                |s| {
                    s.load.cpu = Some(50.0);
                    s.settings.max_sessions = Some(250);
                    s.settings.bandwidth_mbps = Some(10_000);
                },
                625,
            ),
            (
                "bandwidth",
                |s| {
                    s.load.cpu = Some(50.0);
                    s.settings.bandwidth_mbps = Some(250);
                },
                625,
            ),
            (
                "admins give more",
                |s| {
                    s.load.cpu = Some(50.0);
                    s.settings.admin_weight = Some(1000);
                },
                2500,
            ),
            (
                "admins give little",
                |s| {
                    s.load.cpu = Some(90.0);
                    s.settings.admin_weight = Some(1);
                },
                1,
            ),
            (
                "admins give nothing",
                |s| {
                    s.load.cpu = Some(0.0);
                    s.settings.admin_weight = Some(0);
                },
                0,
            ),
            (
                "drained",
                |s| {
                    s.load.cpu = Some(0.0);
                    s.state.mode = Mode::Drain;
                },
                0,
            ),
            (
                "under maintenance",
                |s| {
                    s.load.cpu = Some(0.0);
                    s.state.mode = Mode::Maintenance;
                },
                0,
            ),
            (
                "down",
                |s| {
                    s.load.cpu = Some(0.0);
                    s.status = Status::Down;
                },
                0,
            ),
            (
                "the largest",
                |s| {
                    s.load.cpu = Some(0.0);
                    s.settings.capacity = Some(10_000.0);
                    s.settings.admin_weight = Some(1000);
                },
                100_000_000,
            ),
        ];
        for (name, change, weight) in cases {
            assert_eq!(offer(&server(change), Ramp::TOP).weight, *weight, "{name}");
        }
    }

    #[test]
    fn a_host_that_has_come_back_gets_more_and_more() {
        let idle = server(|s| s.load.cpu = Some(0.0));
        let weight = |back_s, now_s| offer(&idle, Ramp::new(back_s, now_s)).weight;
        assert_eq!(weight(0, 0), 100);
        assert_eq!(weight(0, 29), 100);
        assert_eq!(weight(0, 30), 200);
        assert_eq!(weight(29, 30), 200, "all hosts rise at the same moments");
        assert_eq!(weight(29, 59), 200);
        assert_eq!(weight(0, 269), 900);
        assert_eq!(weight(0, 270), 1000);
        assert_eq!(weight(0, i64::MAX), 1000);
        assert_eq!(weight(1, 0), 1000, "the clock was set back");
        let full = server(|s| s.load.cpu = Some(100.0));
        assert_eq!(offer(&full, Ramp::new(0, 0)).weight, 0);
        let busy = server(|s| s.load.cpu = Some(94.0));
        assert_eq!(offer(&busy, Ramp::new(0, 0)).weight, 1);
    }

    #[test]
    fn clients_are_those_of_all_services() {
        let mut host = server(|_| {});
        assert_eq!(clients(&host), None);
        metrics(
            &mut host,
            &[
                ("vpn_client", 1.0),
                ("vpn_clients", 2.0),
                ("vpn_clients_limit", 100.0),
                ("vpn_clients{service=\"wg\"}", 3.0),
            ],
        );
        assert_eq!(clients(&host), Some(5.0));
    }
}
