//! Whose heartbeat it is: which record a heartbeat belongs to, whatever its address.
//!
//! A host is known by the `agent_id` that its agent has given itself, and by its address
//! where there is no id. Both backends read the record at the heartbeat's address and the
//! record of the heartbeat's `agent_id`, and ask [`decide`] what to do. [`decide`] gives
//! one step. After a step that only prepares (a record is moved, or makes room), the
//! backend reads again and asks again, until the step is to store the heartbeat. So each
//! step is a small change of one or two records, and a backend that is interrupted
//! between two steps goes on at the host's next heartbeat.
//!
//! No rule ever refuses a heartbeat: where two hosts claim one address, they take turns
//! in one record, as hosts without an `agent_id` always did.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Mutex;

use fleetbeat_daemon::lock::lock;
use fleetbeat_protocol::{AgentId, Timestamp};
use jiff::SignedDuration;

use super::event::{EventKind, NewEvent, facts};
use super::server::{Beat, Supersedes};

/// A host that has moved stays where it is for so long, so that a link that flaps does
/// not make the record flap.
const MOVE_PAUSE: SignedDuration = SignedDuration::from_mins(10);
/// Two hosts that answer to one name within this are two hosts, and not one that was
/// installed again or has booted.
const ALTERNATION: SignedDuration = SignedDuration::from_mins(30);
/// A conflict that has been told is told again only after this.
const TOLD_FOR: SignedDuration = SignedDuration::from_hours(24);
/// Addresses that are remembered with their last change of host.
const MAX_REMEMBERED: usize = 4096;

/// What a record says about whose it is. `K` is the backend's key of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known<K> {
    /// The record's key, which stays when the address changes.
    pub(super) key: K,
    /// The record's address; `None` while the record changes places with another one.
    pub(super) ip: Option<IpAddr>,
    /// The agent that the record belongs to.
    pub(super) agent_id: Option<AgentId>,
    /// The boot of the last live heartbeat.
    pub(super) boot_id: Option<String>,
    /// The time of the last heartbeat.
    pub(super) last_heartbeat: Timestamp,
    /// Whether the record is marked down.
    pub(super) is_down: bool,
    /// When the record got its address from a move.
    pub(super) moved_at: Option<Timestamp>,
    /// The address that the host names while another host's record still has it.
    pub(super) wanted_ip: Option<IpAddr>,
    /// The agent that the record's host claims to be, while that agent's record is in use
    /// elsewhere.
    pub(super) clone_of: Option<AgentId>,
}

/// The next step for a heartbeat.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step<'a, K> {
    /// Store the heartbeat in this record.
    Store {
        record: &'a Known<K>,
        /// The agent that the record belongs to from now on; `None`: as before.
        taken_by: Option<AgentId>,
        /// The address that the host asks for and cannot have yet.
        wanted_ip: Option<IpAddr>,
    },
    /// Make a record at the heartbeat's address.
    Insert {
        agent_id: Option<AgentId>,
        /// The record whose flags the new one begins with, because the host claims to be
        /// that record's: a restarted host with a new address, or a clone.
        clone_of: Option<&'a Known<K>>,
    },
    /// Remove the record, and keep its flags in a tombstone.
    Remove(&'a Known<K>),
    /// Remove the `clone`, whose host has turned out to be the record's. Flags that an
    /// admin has set on the clone are the record's from now on.
    Absorb {
        record: &'a Known<K>,
        clone: &'a Known<K>,
    },
    /// Give the record the heartbeat's address, which is free.
    Move(&'a Known<K>),
    /// Let the two records change places.
    Exchange {
        record: &'a Known<K>,
        other: &'a Known<K>,
    },
}

impl<K> Known<K> {
    /// Whether the host has been silent for `down_after` when the heartbeat comes.
    fn is_silent(&self, beat: &Beat) -> bool {
        self.is_down || self.last_heartbeat < beat.silent_before
    }

    /// Whether the record is that of the same boot of the same host.
    fn is_same_boot(&self, beat: &Beat) -> bool {
        self.boot_id.is_some() && self.boot_id == beat.heartbeat.boot_id
    }

    fn is_clone_of(&self, id: AgentId) -> bool {
        self.agent_id.is_none() && self.clone_of == Some(id)
    }
}

/// The next step for `beat`. `at_ip` is the record at the heartbeat's address, `of_agent`
/// that of its agent; the two may be one record. `is_remembered` says whether flags of
/// the agent wait for its return in a tombstone that was not made when the record at the
/// address took the agent's place.
pub(super) fn decide<'a, K: PartialEq>(
    beat: &Beat,
    at_ip: Option<&'a Known<K>>,
    of_agent: Option<&'a Known<K>>,
    is_remembered: bool,
) -> Step<'a, K> {
    let Some(id) = beat.heartbeat.agent_id else {
        return match at_ip {
            Some(record) => store(record),
            None => insert(None),
        };
    };
    let is_live = beat.supersedes == Supersedes::Always;

    match (of_agent, at_ip) {
        (Some(own), Some(record)) if own.key == record.key => store(own),
        (Some(_), Some(clone))
            if !is_live && clone.is_clone_of(id) && clone.is_same_boot(beat) =>
        {
            store(clone)
        }
        // Only a live heartbeat tells the address that the host has now.
        (Some(own), _) if !is_live => store(own),
        (Some(own), other) => place(beat, id, own, other),
        (None, Some(record)) if !is_live => store(record),
        (None, Some(record)) if is_remembered && record.is_silent(beat) => {
            Step::Remove(record)
        }
        (None, Some(record)) => Step::Store {
            record,
            taken_by: Some(id),
            wanted_ip: None,
        },
        (None, None) => insert(Some(id)),
    }
}

/// The next step for a live heartbeat of the agent `id`, whose record `own` has another
/// address than the heartbeat. `other` has the heartbeat's address.
fn place<'a, K>(
    beat: &Beat,
    id: AgentId,
    own: &'a Known<K>,
    other: Option<&'a Known<K>>,
) -> Step<'a, K> {
    let may_move = own.ip.is_none() || own.is_same_boot(beat) || own.is_silent(beat);
    if !may_move {
        return match other {
            // Somebody else's, who is gone.
            Some(other) if other.is_silent(beat) && !other.is_clone_of(id) => {
                Step::Remove(other)
            }
            Some(other) => store(other),
            None => Step::Insert {
                agent_id: None,
                clone_of: Some(own),
            },
        };
    }

    let wait = Step::Store {
        record: own,
        taken_by: None,
        wanted_ip: Some(beat.ip),
    };
    let moved_lately = |at: Timestamp| beat.at.duration_since(at).abs() < MOVE_PAUSE;
    if own.ip.is_some() && own.moved_at.is_some_and(moved_lately) {
        return wait;
    }
    match other {
        None => Step::Move(own),
        Some(clone) if clone.is_clone_of(id) => Step::Absorb { record: own, clone },
        Some(other) if other.is_silent(beat) => Step::Remove(other),
        // The other host is not there any more, by its own word.
        Some(other) if other.wanted_ip.is_some() && own.ip.is_some() => {
            Step::Exchange { record: own, other }
        }
        Some(_) => wait,
    }
}

fn store<K>(record: &Known<K>) -> Step<'_, K> {
    Step::Store {
        record,
        taken_by: None,
        wanted_ip: None,
    }
}

fn insert<'a, K>(agent_id: Option<AgentId>) -> Step<'a, K> {
    Step::Insert {
        agent_id,
        clone_of: None,
    }
}

/// The name of the tombstone in which an agent's flags wait for its return.
pub(super) fn tombstone_of_agent(id: AgentId) -> String {
    format!("agent:{}", id.expose())
}

/// The name of the tombstone of a host without an `agent_id`.
pub(super) fn tombstone_of_ip(ip: IpAddr) -> String {
    format!("ip:{ip}")
}

/// What is found out about identities: told in the log and, but for what the removal of
/// a record tells itself, as an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Finding {
    /// The host of a record has another agent than before.
    Reinstalled { ip: IpAddr, agent_id: AgentId },
    /// A host has another address.
    Moved {
        server_id: String,
        from: Option<IpAddr>,
        to: IpAddr,
    },
    /// A record has made room for a host that has its address now.
    Replaced { server_id: String, ip: IpAddr },
    /// Two hosts say that they are one.
    Clone { ip: IpAddr, agent_id: AgentId },
    /// Two hosts say that they have one address.
    Shared { ip: IpAddr },
}

impl Finding {
    /// The event that tells it; `None` where the removal of a record does.
    pub(super) fn event(&self, at: Timestamp) -> Option<NewEvent> {
        let (kind, facts) = match self {
            Finding::Reinstalled { .. } => (EventKind::HostReinstalled, facts([])),
            Finding::Moved { from, to, .. } => {
                let from = from.map(|from| from.to_string());
                let facts = facts([("from", from.into()), ("to", to.to_string().into())]);
                (EventKind::HostMoved, facts)
            }
            Finding::Clone { .. } => {
                (EventKind::HostConflict, facts([("kind", "clone".into())]))
            }
            Finding::Shared { .. } => {
                (EventKind::HostConflict, facts([("kind", "nat".into())]))
            }
            Finding::Replaced { .. } => return None,
        };
        Some(NewEvent::new(kind, at, facts))
    }

    /// Writes the line.
    pub(super) fn log(&self) {
        match self {
            Finding::Reinstalled { ip, agent_id } => {
                log::info!("host {ip} has the new agent {agent_id}, and keeps its flags");
            }
            Finding::Moved {
                server_id,
                from: Some(from),
                to,
            } => log::info!("host {server_id} has moved from {from} to {to}"),
            Finding::Moved { server_id, to, .. } => {
                log::info!("host {server_id} has moved to {to}");
            }
            Finding::Replaced { server_id, ip } => log::info!(
                "host {server_id} was silent, and another host has its address {ip} now: \
                 its record is removed, its flags are kept for its return"
            ),
            Finding::Clone { ip, agent_id } => log::warn!(
                "the agent {agent_id} speaks from {ip}, too, while its record is in use: \
                 a copied host, whose agent's state should be removed, or a host that has \
                 booted with another address and gets its record back in some minutes"
            ),
            Finding::Shared { ip } => log::warn!(
                "two hosts take turns as {ip}: give each an address of its own with \
                 [host] ip"
            ),
        }
    }
}

/// What tells apart two hosts that take turns in one record.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Face {
    agent_id: Option<AgentId>,
    boot_id: Option<String>,
}

/// The last change of a record's host.
struct Change {
    before: Face,
    at: Timestamp,
    /// Until when a conflict about the address has been told.
    told_until: Option<Timestamp>,
}

/// Remembers which hosts were seen in turns, so that each conflict is told once.
#[derive(Default)]
pub(super) struct Conflicts {
    changes: Mutex<HashMap<IpAddr, Change>>,
}

impl Conflicts {
    /// What the log is to be told about a live heartbeat that is stored in `record`.
    pub(super) fn look_at<K>(&self, record: &Known<K>, beat: &Beat) -> Option<Finding> {
        let agent_id = beat.heartbeat.agent_id;
        let before = Face {
            agent_id: record.agent_id.or(record.clone_of),
            boot_id: record.boot_id.clone(),
        };
        let now = Face {
            agent_id,
            boot_id: beat.heartbeat.boot_id.clone(),
        };
        let is_other_boot = before.boot_id.is_some() && before.boot_id != now.boot_id;
        let is_other_agent = before.agent_id.is_some() && before.agent_id != agent_id;
        if !is_other_boot && !is_other_agent {
            return None;
        }

        let ip = beat.ip;
        if self.alternates(ip, before.clone(), &now, beat.at)? {
            return Some(match agent_id {
                Some(agent_id) if before.agent_id == Some(agent_id) => {
                    Finding::Clone { ip, agent_id }
                }
                _ => Finding::Shared { ip },
            });
        }
        let reinstalled = agent_id.filter(|_| is_other_agent);
        reinstalled.map(|agent_id| Finding::Reinstalled { ip, agent_id })
    }

    /// Forgets what was told about these addresses, because it could not be stored.
    pub(super) fn forget(&self, ips: impl IntoIterator<Item = IpAddr>) {
        let mut changes = lock(&self.changes);
        for ip in ips {
            changes.remove(&ip);
        }
    }

    /// Notes the change; whether it is one back to the host before. `None` while a
    /// conflict about the address has been told already.
    fn alternates(
        &self,
        ip: IpAddr,
        before: Face,
        now: &Face,
        at: Timestamp,
    ) -> Option<bool> {
        let mut changes = lock(&self.changes);
        let is_recent = |change: &Change| at.duration_since(change.at) < ALTERNATION;
        if changes.len() >= MAX_REMEMBERED {
            changes.retain(|_, change| is_recent(change));
        }
        if changes.len() >= MAX_REMEMBERED {
            return None;
        }

        let last = changes.get(&ip).filter(|change| is_recent(change));
        let told_until = last.and_then(|change| change.told_until);
        let is_told = told_until.is_some_and(|until| at < until);
        let alternates = last.is_some_and(|change| change.before == *now);

        let told_until = match told_until {
            Some(until) if is_told => Some(until),
            _ if alternates => Some(at.saturating_add(TOLD_FOR).unwrap_or(at)),
            _ => None,
        };
        changes.insert(
            ip,
            Change {
                before,
                at,
                told_until,
            },
        );
        (!is_told).then_some(alternates)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::conformance::beat;

    /// Heartbeats of hosts that take turns, by minute, agent and boot; gives the findings.
    fn watch(turns: &[(i64, Option<u128>, &str)]) -> Vec<&'static str> {
        let conflicts = Conflicts::default();
        let start = Timestamp::UNIX_EPOCH;
        let mut record: Option<Known<i64>> = None;
        let mut told = Vec::new();
        for (minute, agent, boot) in turns {
            let mut beat = beat("10.0.0.1", start + SignedDuration::from_mins(*minute));
            beat.heartbeat.agent_id = agent.map(AgentId::from_bits);
            beat.heartbeat.boot_id = Some((*boot).to_owned());
            let event = record
                .as_ref()
                .map(|record| conflicts.look_at(record, &beat));
            told.push(match event.flatten() {
                None => "",
                Some(Finding::Reinstalled { .. }) => "reinstalled",
                Some(Finding::Clone { .. }) => "clone",
                Some(Finding::Shared { .. }) => "shared",
                Some(event) => panic!("{event:?}"),
            });
            record = Some(Known {
                key: 1,
                ip: Some(beat.ip),
                agent_id: beat.heartbeat.agent_id,
                boot_id: beat.heartbeat.boot_id.clone(),
                last_heartbeat: beat.at,
                is_down: false,
                moved_at: None,
                wanted_ip: None,
                clone_of: None,
            });
        }
        told
    }

    #[test]
    fn each_conflict_is_told_once_and_a_boot_is_none() {
        let (one, two) = (Some(1), Some(2));
        for (turns, expected) in [
            // A host that boots, and boots again.
            (
                vec![(0, one, "a"), (2, one, "b"), (9, one, "c")],
                vec!["", "", ""],
            ),
            // A host that is installed again.
            (
                vec![(0, one, "a"), (2, two, "b"), (4, two, "b")],
                vec!["", "reinstalled", ""],
            ),
            // An upgrade from an agent without an id.
            (vec![(0, None, "a"), (2, one, "a")], vec!["", ""]),
            // Two hosts behind one translator.
            (
                vec![
                    (0, one, "a"),
                    (1, two, "b"),
                    (2, one, "a"),
                    (3, two, "b"),
                    (4, one, "a"),
                    (25, two, "b"),
                ],
                vec!["", "reinstalled", "shared", "", "", ""],
            ),
            (
                vec![
                    (0, None, "a"),
                    (1, None, "b"),
                    (2, None, "a"),
                    (3, None, "b"),
                ],
                vec!["", "", "shared", ""],
            ),
            // Two copies of one machine behind one translator.
            (
                vec![(0, one, "a"), (1, one, "b"), (2, one, "a"), (3, one, "b")],
                vec!["", "", "clone", ""],
            ),
            // A machine that is rolled back to an older image, much later.
            (
                vec![(0, one, "a"), (1, two, "b"), (60, one, "a")],
                vec!["", "reinstalled", "reinstalled"],
            ),
        ] {
            assert_eq!(watch(&turns), expected, "{turns:?}");
        }
    }
}
