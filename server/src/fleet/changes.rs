//! What has changed in the fleet since a client has asked last.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use std::sync::Arc;

use fleetbeat_protocol::Server;
use serde::{Serialize, Serializer};

use super::scope::HostScope;
use super::shown::{Shown, ShownFleet};

/// Of more hosts than this that are gone, those that went first are forgotten.
const MAX_GONE: usize = 10_000;
/// Of more records than this that are over, those that were over first are forgotten.
const MAX_FORMER: usize = 10_000;

/// When each host of a fleet has come or changed, and when others went: counted in the
/// fleets that this process has read.
#[derive(Debug, Clone)]
pub(super) struct Changes {
    /// The number of the present fleet.
    number: u64,
    /// For each host, in the fleet's order, the number of the fleet in which it was so
    /// first.
    changed: Vec<u64>,
    /// The hosts that are gone, and the number of the fleet in which they were missing
    /// first.
    gone: BTreeMap<IpAddr, u64>,
    /// Since this fleet all is known.
    known_since: u64,
    /// The records that are over, in their order: a host that was in a scope may be in it
    /// no longer.
    former: Vec<Former>,
    /// Since this fleet all of them are known.
    former_since: u64,
}

/// A record by which a host was in scopes or was not, and which is over: the host is gone,
/// or is to scopes as it was not before.
#[derive(Debug, Clone)]
struct Former {
    record: Arc<Server>,
    /// The number of the fleet in which it was over first.
    until: u64,
}

/// What has changed since a fleet.
#[derive(Debug, Serialize)]
pub(super) struct Changed<'a> {
    /// The hosts that have come or changed, sorted by address.
    #[serde(rename = "changed")]
    servers: Vec<&'a Shown>,
    /// The addresses at which there is no host any more, sorted.
    #[serde(rename = "removed")]
    gone: Vec<IpAddr>,
}

/// The answer to a client that asks for changes, with what the client asks with the next
/// time.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Told<'a> {
    Changed {
        #[serde(flatten)]
        changed: Changed<'a>,
        cursor: Cursor,
    },
    /// The client has to read the whole list, behind this answer. `reset` is true.
    Reset { reset: bool, cursor: Cursor },
}

/// Which fleet a client has seen last. A cursor of another process says nothing here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// A random number of the process.
    pub(super) process: u64,
    /// The number of the fleet.
    pub(super) fleet: u64,
}

impl Changes {
    /// Those of the first fleet.
    pub(super) fn of_first(fleet: &ShownFleet) -> Changes {
        Changes {
            number: 0,
            changed: vec![0; fleet.servers.len()],
            gone: BTreeMap::new(),
            known_since: 0,
            former: Vec::new(),
            former_since: 0,
        }
    }

    /// Those of `fleet`, the one after `before`, which these are of.
    pub(super) fn next(&self, before: &ShownFleet, fleet: &ShownFleet) -> Changes {
        let number = self.number + 1;
        let mut gone = self.gone.clone();
        let mut former = self.former.clone();
        let mut end = |record: &Shown| {
            let record = record.server().clone();
            former.push(Former {
                record,
                until: number,
            });
        };
        let mut changed = Vec::with_capacity(fleet.servers.len());

        let mut others = before.servers.iter().zip(&self.changed).peekable();
        for server in &fleet.servers {
            while let Some((left, _)) = others.next_if(|(other, _)| other.ip < server.ip)
            {
                gone.insert(left.ip, number);
                end(left);
            }
            let other = others.next_if(|(other, _)| other.ip == server.ip);
            changed.push(match other {
                Some((other, since)) if other.is_as(server) => *since,
                Some((other, _)) => {
                    if !HostScope::are_alike(other, server) {
                        end(other);
                    }
                    number
                }
                None => {
                    gone.remove(&server.ip);
                    number
                }
            });
        }
        for (left, _) in others {
            gone.insert(left.ip, number);
            end(left);
        }

        let known_since = forget_first(&mut gone).unwrap_or(self.known_since);
        let former_since = forget_former(&mut former).unwrap_or(self.former_since);
        Changes {
            number,
            changed,
            gone,
            known_since,
            former,
            former_since,
        }
    }

    /// The answer of `process` to a client with this cursor, who sees the hosts of the
    /// scope.
    pub(super) fn tell<'a>(
        &self,
        fleet: &'a ShownFleet,
        since: Option<Cursor>,
        process: u64,
        scope: Option<&HostScope>,
    ) -> Told<'a> {
        let since = since.filter(|cursor| cursor.process == process);
        let changed = since.and_then(|cursor| match scope {
            Some(scope) => self.since_within(fleet, cursor.fleet, scope),
            None => self.since(fleet, cursor.fleet),
        });
        let fleet = self.number;
        let cursor = Cursor { process, fleet };
        match changed {
            Some(changed) => Told::Changed { changed, cursor },
            None => Told::Reset {
                reset: true,
                cursor,
            },
        }
    }

    /// What has changed since the fleet of that number; `None` if that is not known.
    fn since<'a>(&self, fleet: &'a ShownFleet, number: u64) -> Option<Changed<'a>> {
        if !(self.known_since..=self.number).contains(&number) {
            return None;
        }
        let servers = fleet.servers.iter().zip(&self.changed);
        let servers = servers.filter(|(_, changed)| **changed > number);
        let gone = self.gone.iter().filter(|(_, gone)| **gone > number);
        Some(Changed {
            servers: servers.map(|(server, _)| server).collect(),
            gone: gone.map(|(ip, _)| *ip).collect(),
        })
    }
}

impl Changes {
    /// The same of the hosts of a scope. A host that comes into the scope has changed,
    /// and one that has left the scope is gone.
    fn since_within<'a>(
        &self,
        fleet: &'a ShownFleet,
        number: u64,
        scope: &HostScope,
    ) -> Option<Changed<'a>> {
        if !(self.former_since..=self.number).contains(&number) {
            return None;
        }
        let servers = fleet.servers.iter().zip(&self.changed);
        let servers = servers.filter(|(server, _)| scope.covers(server));
        let changed = servers.clone().filter(|(_, changed)| **changed > number);
        let changed = changed.map(|(server, _)| server).collect();

        let begin = self.former.partition_point(|former| former.until <= number);
        let former = self.former[begin..].iter().map(|former| &former.record);
        let former = former.filter(|record| scope.covers(record));
        let mut gone: BTreeSet<IpAddr> = former.map(|record| record.ip).collect();
        // Who is there still is not asked where nobody is gone, which is so nearly always.
        if !gone.is_empty() {
            for (server, _) in servers {
                gone.remove(&server.ip);
            }
        }
        Some(Changed {
            servers: changed,
            gone: gone.into_iter().collect(),
        })
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}", self.process, self.fleet)
    }
}

impl FromStr for Cursor {
    type Err = String;

    fn from_str(text: &str) -> Result<Cursor, String> {
        let parts = text.split_once('-').and_then(|(process, fleet)| {
            let process = u64::from_str_radix(process, 16).ok()?;
            let fleet = fleet.parse().ok()?;
            Some(Cursor { process, fleet })
        });
        let is_ours = |cursor: &Cursor| cursor.to_string() == text;
        parts
            .filter(is_ours)
            .ok_or_else(|| "is not a cursor: use the one of the last answer".to_owned())
    }
}

impl Serialize for Cursor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Forgets those that went first of too many, and gives since which fleet all is known
/// then.
fn forget_first(gone: &mut BTreeMap<IpAddr, u64>) -> Option<u64> {
    let too_many = gone
        .len()
        .checked_sub(MAX_GONE)
        .filter(|count| *count > 0)?;
    let mut numbers: Vec<u64> = gone.values().copied().collect();
    let (_, last_forgotten, _) = numbers.select_nth_unstable(too_many - 1);
    let last_forgotten = *last_forgotten;
    gone.retain(|_, number| *number > last_forgotten);
    Some(last_forgotten)
}

/// The same of records that are over.
fn forget_former(former: &mut Vec<Former>) -> Option<u64> {
    let too_many = former.len().checked_sub(MAX_FORMER);
    let last_forgotten = former.drain(..too_many?).next_back()?;
    Some(last_forgotten.until)
}

#[cfg(test)]
mod tests {
    use fleetbeat_protocol::Timestamp;

    use super::*;
    use crate::store::Fleet;

    /// A fleet of the hosts 10.0.0.N, each with a load.
    fn fleet(hosts: &[(u32, f64)]) -> ShownFleet {
        fleet_of(hosts, |(host, cpu), server| {
            server.ip = ip(*host);
            server.load.cpu = Some(*cpu);
        })
    }

    /// The hosts 10.0.0.N; those of `paid` have that flag.
    fn fleet_with_paid(hosts: &[u32], paid: &[u32]) -> ShownFleet {
        fleet_of(hosts, |host, server| {
            server.ip = ip(*host);
            server.flags.paid = paid.contains(host);
        })
    }

    /// A fleet of hosts as `make` changes them.
    fn fleet_of<T>(hosts: &[T], make: impl Fn(&T, &mut Server)) -> ShownFleet {
        let golden = include_str!("../../../protocol/golden/server.json");
        let golden: Server = serde_json::from_str(golden).unwrap();
        let server = |host: &T| {
            let mut server = golden.clone();
            make(host, &mut server);
            Arc::new(server)
        };
        let records = Fleet {
            servers: hosts.iter().map(server).collect(),
            revision: 0,
            stale: false,
        };
        ShownFleet::new(Arc::new(records), Timestamp::UNIX_EPOCH, None)
    }

    fn ip(host: u32) -> IpAddr {
        std::net::Ipv4Addr::from_bits(0x0A00_0000 + host).into()
    }

    /// The hosts that have changed since, and those that are gone.
    fn since(
        changes: &Changes,
        fleet: &ShownFleet,
        number: u64,
    ) -> Option<(Vec<IpAddr>, Vec<IpAddr>)> {
        let changed = changes.since(fleet, number)?;
        let servers = changed.servers.iter().map(|server| server.ip);
        Some((servers.collect(), changed.gone))
    }

    #[test]
    fn hosts_that_come_change_and_go_are_told_to_who_has_not_seen_it() {
        let fleets = [
            fleet(&[(1, 1.0), (2, 1.0), (4, 1.0)]),
            fleet(&[(1, 1.0), (2, 2.0), (3, 1.0)]),
            fleet(&[(1, 1.0), (3, 1.0), (4, 1.0)]),
            fleet(&[(1, 1.0), (3, 1.0), (4, 1.0)]),
            fleet(&[]),
        ];
        let mut all = vec![Changes::of_first(&fleets[0])];
        for pair in fleets.windows(2) {
            let next = all.last().unwrap().next(&pair[0], &pair[1]);
            all.push(next);
        }

        let told = |place: usize, number| {
            let (servers, gone) = since(&all[place], &fleets[place], number).unwrap();
            (servers, gone)
        };
        assert_eq!(told(0, 0), (vec![], vec![]));
        assert_eq!(told(1, 0), (vec![ip(2), ip(3)], vec![ip(4)]));
        assert_eq!(told(2, 1), (vec![ip(4)], vec![ip(2)]));
        assert_eq!(told(2, 0), (vec![ip(3), ip(4)], vec![ip(2)]), "4 is back");
        assert_eq!(told(3, 2), (vec![], vec![]));
        assert_eq!(told(4, 3), (vec![], vec![ip(1), ip(3), ip(4)]));
        assert!(
            since(&all[4], &fleets[4], 5).is_none(),
            "not of this process"
        );
    }

    #[test]
    fn a_client_that_follows_any_fleets_has_the_last_one() {
        let mut random = 0x2545_F491_4F6C_DD1D_u64;
        let mut next = move |below: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % below
        };
        let mut before = fleet(&[]);
        let mut changes = Changes::of_first(&before);
        // Clients that ask each time, each other time, and so on.
        let mut clients = vec![(BTreeMap::<IpAddr, Shown>::new(), 0_u64); 5];

        for round in 1..300_usize {
            let hosts = (0..20).filter_map(|host| match next(10) {
                0 => None,
                load => Some((host, (load / 8) as f64)),
            });
            let now = fleet(&hosts.collect::<Vec<_>>());
            changes = changes.next(&before, &now);

            for (place, (held, number)) in clients.iter_mut().enumerate() {
                if round % (place + 1) != 0 {
                    continue;
                }
                let changed = changes.since(&now, *number).unwrap();
                for server in changed.servers {
                    held.insert(server.ip, server.clone());
                }
                for ip in &changed.gone {
                    held.remove(ip);
                }
                *number = changes.number;
                let expected =
                    now.servers.iter().map(|server| (server.ip, server.clone()));
                assert!(held.clone().into_iter().eq(expected), "round {round}");
            }
            before = now;
        }
    }

    #[test]
    fn in_a_scope_hosts_that_enter_have_changed_and_those_that_leave_are_gone() {
        let fleets = [
            fleet_with_paid(&[1, 2, 3, 4], &[1, 2, 3]),
            fleet_with_paid(&[1, 2, 3, 4], &[1, 4]),
            fleet_with_paid(&[1, 4], &[1, 4]),
            fleet_with_paid(&[1, 2, 4], &[1, 2, 4]),
        ];
        let mut changes = Changes::of_first(&fleets[0]);
        let scope = HostScope::parse("paid").unwrap();
        let told = |changes: &Changes, place: usize, number| {
            let changed = changes
                .since_within(&fleets[place], number, &scope)
                .unwrap();
            let servers = changed.servers.iter().map(|server| server.ip);
            (servers.collect::<Vec<_>>(), changed.gone)
        };
        changes = changes.next(&fleets[0], &fleets[1]);
        assert_eq!(told(&changes, 1, 0), (vec![ip(4)], vec![ip(2), ip(3)]));
        assert_eq!(told(&changes, 1, 1), (vec![], vec![]));
        changes = changes.next(&fleets[1], &fleets[2]);
        assert_eq!(
            told(&changes, 2, 1),
            (vec![], vec![]),
            "what was outside is gone"
        );
        changes = changes.next(&fleets[2], &fleets[3]);
        assert_eq!(told(&changes, 3, 2), (vec![ip(2)], vec![]));
        assert_eq!(told(&changes, 3, 0), (vec![ip(2), ip(4)], vec![ip(3)]));
        assert!(changes.since_within(&fleets[3], 4, &scope).is_none());
    }

    #[test]
    fn a_client_with_a_scope_that_follows_any_fleets_has_the_hosts_of_the_scope() {
        let mut random = fastrand::Rng::with_seed(7);
        let scope = HostScope::parse("paid").unwrap();
        let mut before = fleet_with_paid(&[], &[]);
        let mut changes = Changes::of_first(&before);
        let mut clients = vec![(BTreeMap::<IpAddr, Shown>::new(), 0_u64); 5];

        for round in 1..300_usize {
            let mut some = |share: f64| -> Vec<u32> {
                (0..20).filter(|_| random.f64() < share).collect()
            };
            let now = fleet_with_paid(&some(0.9), &some(0.7));
            changes = changes.next(&before, &now);

            for (place, (held, number)) in clients.iter_mut().enumerate() {
                if round % (place + 1) != 0 {
                    continue;
                }
                let changed = changes.since_within(&now, *number, &scope).unwrap();
                for server in changed.servers {
                    held.insert(server.ip, server.clone());
                }
                for ip in &changed.gone {
                    held.remove(ip);
                }
                *number = changes.number;
                let expected = now.servers.iter().filter(|server| server.flags.paid);
                let expected = expected.map(|server| (server.ip, server.clone()));
                assert!(held.clone().into_iter().eq(expected), "round {round}");
            }
            before = now;
        }
    }

    #[test]
    fn of_too_many_records_that_are_over_the_first_are_forgotten() {
        let scope = HostScope::parse("paid").unwrap();
        let hosts: Vec<u32> = (0..12_000).collect();
        let fleets = [&hosts[..], &hosts[6000..], &[]];
        let fleets = fleets.map(|paid| fleet_with_paid(&hosts, paid));
        let mut changes = Changes::of_first(&fleets[0]);
        for pair in fleets.windows(2) {
            changes = changes.next(&pair[0], &pair[1]);
        }
        let gone = |number| {
            let changed = changes.since_within(&fleets[2], number, &scope)?;
            Some(changed.gone.len())
        };
        assert_eq!([gone(0), gone(1), gone(2)], [None, Some(6000), Some(0)]);
        assert!(since(&changes, &fleets[2], 0).is_some(), "without a scope");
    }

    #[test]
    fn a_cursor_of_another_process_and_one_that_is_too_old_are_answered_with_a_reset() {
        let fleets = [fleet(&[(1, 1.0), (2, 1.0)]), fleet(&[(1, 2.0)])];
        let changes = Changes::of_first(&fleets[0]).next(&fleets[0], &fleets[1]);
        let tell = |cursor: Option<&str>| {
            let cursor = cursor.map(|cursor| cursor.parse().unwrap());
            let told = changes.tell(&fleets[1], cursor, 0xAB, None);
            serde_json::to_value(told).unwrap()
        };

        let told = tell(Some("00000000000000ab-0"));
        assert_eq!(told["changed"][0]["ip"], "10.0.0.1");
        assert_eq!(told["removed"], serde_json::json!(["10.0.0.2"]));
        assert_eq!(told["cursor"], "00000000000000ab-1");
        assert!(told.get("reset").is_none());
        let reset = serde_json::json!({"reset": true, "cursor": "00000000000000ab-1"});
        for other in [None, Some("00000000000000ac-0"), Some("00000000000000ab-2")] {
            assert_eq!(tell(other), reset, "{other:?}");
        }
        for wrong in [
            "",
            "1",
            "ab-1",
            "00000000000000ab-",
            "00000000000000AB-1",
            "00000000000000ab-+1",
        ] {
            wrong.parse::<Cursor>().unwrap_err();
        }
    }

    #[test]
    fn of_too_many_hosts_that_are_gone_the_first_are_forgotten_and_a_reset_says_so() {
        let hosts: Vec<(u32, f64)> = (0..20_000).map(|host| (host, 1.0)).collect();
        let fleets =
            [&hosts[..], &hosts[8000..], &hosts[16000..], &hosts[16001..]].map(fleet);
        let mut changes = Changes::of_first(&fleets[0]);
        for pair in fleets[..3].windows(2) {
            changes = changes.next(&pair[0], &pair[1]);
        }
        assert!(since(&changes, &fleets[2], 0).is_none());
        assert_eq!(since(&changes, &fleets[2], 1).unwrap().1.len(), 8000);

        changes = changes.next(&fleets[2], &fleets[3]);
        assert!(
            since(&changes, &fleets[3], 0).is_none(),
            "nothing is remembered again"
        );
        assert_eq!(since(&changes, &fleets[3], 1).unwrap().1.len(), 8001);
    }

    #[test]
    fn as_many_hosts_that_are_gone_as_fit_are_all_told() {
        let hosts: Vec<(u32, f64)> = (0..20_000).map(|host| (host, 1.0)).collect();
        let before = fleet(&hosts);
        let gone_of = |gone: usize| {
            let now = fleet(&hosts[gone..]);
            let changes = Changes::of_first(&before).next(&before, &now);
            since(&changes, &now, 0).map(|(_, gone)| gone.len())
        };
        assert_eq!(gone_of(MAX_GONE), Some(MAX_GONE));
        assert_eq!(gone_of(MAX_GONE + 1), None);
    }
}
