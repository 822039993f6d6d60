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
//! Among hosts that share a key no rule ever refuses a heartbeat. An agent that has a record
//! speaks in no record of another agent: where the address that it names is taken, its
//! heartbeats stay in its own record, which asks for the address (`wanted_ip`). Only hosts
//! without an `agent_id`, and agents of which nothing is known, speak in the record at
//! their address, whosever it is, and may take turns there.
//!
//! The record of a host that has a key of its own is written and moved by that key alone:
//! the shared key is refused there. A heartbeat with an own key is its host's, whatever
//! the boot, so it makes no record besides the one of its agent. It takes nothing of
//! another host, unless nobody has claimed the record with an `agent_id` and the
//! connection comes from the very address; so a stolen key reaches its own host alone.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Mutex;

use fleetbeat_daemon::lock::lock;
use fleetbeat_protocol::{AgentId, Timestamp};
use jiff::SignedDuration;

use super::event::{EventKind, NewEvent, facts};
use super::flags::SetFlags;
use super::key::Mark;
use super::server::{Beat, Denial, Speaker, Supersedes, UnknownHosts};

/// A host that has moved stays where it is for so long, so that a link that flaps does
/// not make the record flap.
const MOVE_PAUSE: SignedDuration = SignedDuration::from_mins(10);
/// Two hosts that answer to one name within this are two hosts, and not one that was
/// installed again or has booted.
const ALTERNATION: SignedDuration = SignedDuration::from_mins(30);
/// A conflict that has been told is told again only after this.
const TOLD_FOR: SignedDuration = SignedDuration::from_hours(24);
/// A host that was installed again is told as such again only after this.
const REINSTALLED_FOR: SignedDuration = SignedDuration::from_mins(10);
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
    /// The time of the first heartbeat.
    pub(super) first_heartbeat: Timestamp,
    /// The time of the last heartbeat.
    pub(super) last_heartbeat: Timestamp,
    /// Since when only hosts without an `agent_id` speak in the record, though it belongs
    /// to an agent.
    pub(super) guest_since: Option<Timestamp>,
    /// Whether the record is marked down.
    pub(super) is_down: bool,
    /// When the record got its address from a move.
    pub(super) moved_at: Option<Timestamp>,
    /// The address that the host names while another host's record still has it.
    pub(super) wanted_ip: Option<IpAddr>,
    /// The agent that the record's host claims to be, while that agent's record is in use
    /// elsewhere.
    pub(super) clone_of: Option<AgentId>,
    /// Whether only the host's own key may write the record.
    pub(super) is_keyed: bool,
}

/// Flags that wait for the return of their host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tombstone<K> {
    pub(super) flags: SetFlags,
    /// The record that another agent has taken, while the flags stayed the record's.
    pub(super) heir: Option<Heir<K>>,
}

/// A record that another agent has taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Heir<K> {
    pub(super) key: K,
    /// Where the record was then; `None` in what an earlier version has written.
    pub(super) ip: Option<IpAddr>,
}

/// What the store knows of a heartbeat's address and agent.
pub(super) struct Found<'a, K> {
    /// The record at the heartbeat's address.
    pub(super) at_ip: Option<&'a Known<K>>,
    /// The record of the heartbeat's agent, perhaps the same.
    pub(super) own: Option<&'a Known<K>>,
    /// The newest record at another address whose host claims to be the agent's.
    pub(super) clone: Option<&'a Known<K>>,
    /// The flags that wait for the agent's return.
    pub(super) tombstone: Option<&'a Tombstone<K>>,
    /// What is known of the agent, if it has no record.
    pub(super) mark: Option<Mark>,
}

/// The next step for a heartbeat.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step<'a, K> {
    /// Store the heartbeat in this record.
    Store {
        record: &'a Known<K>,
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
    /// Give the record to the heartbeat's agent and boot, and lay the flags to rest that
    /// are not its own.
    Take {
        record: &'a Known<K>,
        /// The flags that waited for the agent. `None`: nothing is known of the agent, so
        /// the host is taken for the record's, installed again: the record keeps its
        /// flags.
        waiting: Option<&'a SetFlags>,
    },
    /// Remove the record, and lay its flags to rest.
    Remove(&'a Known<K>),
    /// Remove the `clone`, whose host has turned out to be the record's. Of each flag the
    /// later change counts.
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
    /// Store the heartbeat nowhere.
    Refuse {
        /// The record that it is about.
        record: Option<&'a Known<K>>,
        denial: Denial,
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

    /// Whether the host claims to be that of another record, which belongs to the agent.
    pub(super) fn is_clone_of(&self, id: AgentId) -> bool {
        self.agent_id.is_none() && self.clone_of == Some(id)
    }

    /// Whether this record and `original`, which it is a clone of, may be one host's: the
    /// original's host was not heard since the clone is there.
    pub(super) fn may_be(&self, original: &Known<K>) -> bool {
        original.last_heartbeat < self.first_heartbeat
    }

    /// Whether the record is that of a host without an `agent_id`, which whoever has the
    /// host's address may be.
    fn is_nobodys(&self) -> bool {
        self.agent_id.is_none() && self.clone_of.is_none() && !self.is_keyed
    }

    /// Whether the record has moved so lately that it stays where it is.
    fn has_to_pause(&self, beat: &Beat) -> bool {
        let moved_lately = |at: Timestamp| beat.at.duration_since(at).abs() < MOVE_PAUSE;
        self.ip.is_some() && self.moved_at.is_some_and(moved_lately)
    }

    /// Whether the host that speaks as this record's agent from another address is the
    /// record's, and not a copy.
    fn may_move(&self, beat: &Beat) -> bool {
        let is_left = |since: Timestamp| since < beat.silent_before;
        self.ip.is_none()
            || self.is_same_boot(beat)
            || self.is_silent(beat)
            || self.guest_since.is_some_and(is_left)
    }
}

impl<'a, K: PartialEq> Found<'a, K> {
    /// The record of a host that claims to be the agent's, here or elsewhere.
    fn any_clone(&self, id: AgentId) -> Option<&'a Known<K>> {
        let here = self.at_ip.filter(|record| record.is_clone_of(id));
        here.or(self.clone)
    }

    /// The record that the agent's host has left again before anybody knew whose it was:
    /// the host has booted with another address, and once more with a third one, or with
    /// the first.
    fn left_clone(&self, beat: &Beat, id: AgentId) -> Option<&'a Known<K>> {
        let (own, clone) = (self.own?, self.clone?);
        let is_at_clone = self.at_ip.is_some_and(|record| record.is_clone_of(id));
        let is_left = !is_at_clone && !own.is_same_boot(beat) && clone.may_be(own);
        is_left.then_some(clone)
    }

    /// The agent's flags that wait for its return, unless the record here has them still,
    /// because its host has only taken the agent's place.
    fn waiting(&self) -> Option<&'a SetFlags> {
        let is_heir = |heir: &Heir<K>| {
            let same = |record: &&Known<K>| {
                heir.key == record.key && (heir.ip.is_none() || heir.ip == record.ip)
            };
            self.at_ip.as_ref().is_some_and(same)
        };
        let elsewhere =
            |tombstone: &&Tombstone<K>| !tombstone.heir.as_ref().is_some_and(is_heir);
        self.tombstone
            .filter(elsewhere)
            .map(|tombstone| &tombstone.flags)
    }
}

/// The next step for `beat`.
pub(super) fn decide<'a, K: PartialEq>(beat: &Beat, found: &Found<'a, K>) -> Step<'a, K> {
    if found.mark == Some(Mark::Removed) {
        return refuse(None, Denial::Removed);
    }
    let has_key = match (beat.speaker, beat.heartbeat.agent_id) {
        (Speaker::Removed, _) => return refuse(None, Denial::Removed),
        (Speaker::Own { reinstall }, Some(id)) => {
            return decide_own(beat, id, reinstall, found);
        }
        (Speaker::Shared { has_key }, _) => has_key,
        // A heartbeat with an own key has its agent's id.
        (Speaker::Own { .. }, None) => true,
    };
    if let Some(denied) = deny_shared(has_key, found) {
        return denied;
    }
    match decide_shared(beat, found) {
        Step::Insert { clone_of, .. }
            if beat.rules.unknown == UnknownHosts::NeedCode
                && found.tombstone.is_none()
                && found.mark.is_none() =>
        {
            // A host that has booted with another address is known.
            clone_of.map_or_else(
                || refuse(None, Denial::UnknownHost),
                |own| wait_for(beat, own),
            )
        }
        step => step,
    }
}

/// Why the shared key may not store a heartbeat here: the host that it names, or the one
/// whose address it names, has a key of its own.
fn deny_shared<'a, K: PartialEq>(
    has_key: bool,
    found: &Found<'a, K>,
) -> Option<Step<'a, K>> {
    let keyed = |record: &&Known<K>| record.is_keyed;
    if has_key || found.own.is_some_and(|own| own.is_keyed) {
        return Some(refuse(found.own.or(found.at_ip), Denial::HostHasKey));
    }
    let at_ip = found.at_ip.filter(keyed)?;
    Some(refuse(Some(at_ip), Denial::AddressHasKey))
}

/// The next step for a heartbeat with the own key of the agent `id`.
fn decide_own<'a, K: PartialEq>(
    beat: &Beat,
    id: AgentId,
    reinstall: bool,
    found: &Found<'a, K>,
) -> Step<'a, K> {
    if beat.supersedes != Supersedes::Always {
        return match (found.own.or(found.any_clone(id)), found.at_ip) {
            (Some(own), _) => store(own),
            (None, None) => insert(Some(id)),
            (None, Some(other)) => refuse(Some(other), Denial::OtherHost),
        };
    }
    if let Some(own) = found.own {
        return match (found.left_clone(beat, id), found.at_ip) {
            (Some(clone), _) => Step::Absorb { record: own, clone },
            (None, Some(record)) if record.key == own.key => store(own),
            (None, other) => place_own(beat, id, own, other),
        };
    }

    let waiting = found.waiting();
    if let Some(record) = found.any_clone(id) {
        return Step::Take { record, waiting };
    }
    let is_from_there = beat.observed_ip == Some(beat.ip);
    match found.at_ip {
        None => insert(Some(id)),
        Some(record) if is_from_there && record.is_nobodys() => {
            Step::Take { record, waiting }
        }
        Some(other)
            if is_from_there
                && other.is_silent(beat)
                && (reinstall || !other.is_keyed) =>
        {
            Step::Remove(other)
        }
        Some(other) => refuse(Some(other), Denial::OtherHost),
    }
}

/// The next step for a live heartbeat with the own key of the agent `id`, whose record
/// `own` has another address than the heartbeat.
fn place_own<'a, K>(
    beat: &Beat,
    id: AgentId,
    own: &'a Known<K>,
    other: Option<&'a Known<K>>,
) -> Step<'a, K> {
    if let Some(clone) = other.filter(|other| other.is_clone_of(id)) {
        return Step::Absorb { record: own, clone };
    }
    if own.ip.is_some() && !beat.rules.follow_moves {
        return refuse(Some(own), Denial::Move);
    }
    if !own.may_move(beat) || own.has_to_pause(beat) {
        return wait_for(beat, own);
    }

    let is_from_there = beat.observed_ip == Some(beat.ip);
    match other {
        None => Step::Move(own),
        Some(other) if is_from_there && !other.is_keyed && other.is_silent(beat) => {
            Step::Remove(other)
        }
        // Each of the two hosts has asked for the other one's address.
        Some(other) if own.ip.is_some() && other.wanted_ip == own.ip => {
            Step::Exchange { record: own, other }
        }
        Some(_) => wait_for(beat, own),
    }
}

/// The next step for a heartbeat with the shared key, where no host has a key of its own.
fn decide_shared<'a, K: PartialEq>(beat: &Beat, found: &Found<'a, K>) -> Step<'a, K> {
    let Some(id) = beat.heartbeat.agent_id else {
        return found.at_ip.map_or(insert(None), store);
    };
    if beat.supersedes != Supersedes::Always {
        return decide_spooled(beat, id, found);
    }

    if let Some(own) = found.own {
        return match (found.left_clone(beat, id), found.at_ip) {
            (Some(clone), _) => Step::Absorb { record: own, clone },
            (None, Some(record)) if record.key == own.key => store(own),
            (None, other) => place(beat, id, own, other),
        };
    }
    let waiting = found.waiting();
    match (found.any_clone(id).or(found.at_ip), waiting) {
        // The host of this record is gone, and this is another host.
        (Some(record), Some(_)) if record.is_silent(beat) && !record.is_clone_of(id) => {
            Step::Remove(record)
        }
        (Some(record), waiting) => Step::Take { record, waiting },
        (None, _) => insert(Some(id)),
    }
}

/// The next step for a spooled heartbeat of the agent `id`. Only a live heartbeat tells
/// the address that a host has now, so a spooled one moves nothing.
fn decide_spooled<'a, K: PartialEq>(
    beat: &Beat,
    id: AgentId,
    found: &Found<'a, K>,
) -> Step<'a, K> {
    let clone = found.any_clone(id);
    let is_clones = clone.is_some_and(|clone| clone.is_same_boot(beat));
    let own = found.own.filter(|_| !is_clones);
    match own.or(clone).or(found.at_ip) {
        Some(record) => store(record),
        None => insert(Some(id)),
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
    let wait = wait_for(beat, own);
    if !own.may_move(beat) {
        // The host has booted with another address, or this is a copy of the host.
        return match other {
            None => Step::Insert {
                agent_id: None,
                clone_of: Some(own),
            },
            Some(clone) if clone.is_clone_of(id) => store(clone),
            Some(other) if other.is_silent(beat) => Step::Remove(other),
            Some(_) => wait,
        };
    }

    let stays = own.ip.is_some() && !beat.rules.follow_moves;
    match other {
        Some(clone) if clone.is_clone_of(id) => Step::Absorb { record: own, clone },
        _ if stays || own.has_to_pause(beat) => wait,
        None => Step::Move(own),
        Some(other) if other.is_silent(beat) => Step::Remove(other),
        // The other host is not there any more, by its own word.
        Some(other) if other.wanted_ip.is_some() && own.ip.is_some() => {
            Step::Exchange { record: own, other }
        }
        Some(_) => wait,
    }
}

/// Store the heartbeat in the agent's own record, which asks for the address that the
/// heartbeat names.
fn wait_for<'a, K>(beat: &Beat, own: &'a Known<K>) -> Step<'a, K> {
    Step::Store {
        record: own,
        wanted_ip: Some(beat.ip),
    }
}

fn refuse<K>(record: Option<&Known<K>>, denial: Denial) -> Step<'_, K> {
    Step::Refuse { record, denial }
}

fn store<K>(record: &Known<K>) -> Step<'_, K> {
    Step::Store {
        record,
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
    /// A host that had no record any more has another host's address and record.
    Returned { ip: IpAddr, agent_id: AgentId },
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
    /// A heartbeat that names the host at `place` was not stored.
    Denied {
        place: IpAddr,
        named: IpAddr,
        denial: Denial,
    },
}

impl Finding {
    /// The event that tells it; `None` where the removal of a record does.
    pub(super) fn event(&self, at: Timestamp) -> Option<NewEvent> {
        let (kind, facts) = match self {
            Finding::Reinstalled { .. } => (EventKind::HostReinstalled, facts([])),
            Finding::Returned { .. } => (
                EventKind::HostReinstalled,
                facts([("returned", true.into())]),
            ),
            Finding::Moved { from, to, .. } => {
                let from = from.map(|from| from.to_string());
                let facts = facts([("from", from.into()), ("to", to.to_string().into())]);
                (EventKind::HostMoved, facts)
            }
            Finding::Clone { .. } => {
                (EventKind::HostConflict, facts([("kind", "clone".into())]))
            }
            Finding::Shared { ip } => {
                let ip = ip.to_string();
                let facts = facts([("kind", "nat".into()), ("address", ip.into())]);
                (EventKind::HostConflict, facts)
            }
            Finding::Denied { named, denial, .. } => {
                let facts = facts([
                    ("kind", "key".into()),
                    ("reason", denial.as_str().into()),
                    ("address", named.to_string().into()),
                ]);
                (EventKind::HostConflict, facts)
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
            Finding::Returned { ip, agent_id } => log::info!(
                "the agent {agent_id} is back, in another host's place at {ip}, with the \
                 flags that it had before"
            ),
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
            Finding::Denied {
                place,
                named,
                denial,
            } => log::warn!(
                "a heartbeat that names {named} is refused, because of the host at \
                 {place}: {denial}"
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
    /// When the host was told as installed again.
    reinstalled_at: Option<Timestamp>,
}

/// A host that asks for an address that another living host has.
struct Wait {
    wanted_ip: IpAddr,
    since: Timestamp,
    last: Timestamp,
    /// When the conflict was told.
    told_at: Option<Timestamp>,
}

/// Remembers which hosts were seen in turns, so that each conflict is told once.
#[derive(Default)]
pub(super) struct Conflicts {
    changes: Mutex<HashMap<IpAddr, Change>>,
    waits: Mutex<HashMap<AgentId, Wait>>,
    /// When a denial was told last, by the record's address.
    denials: Mutex<HashMap<(IpAddr, Denial), Timestamp>>,
}

impl Conflicts {
    /// What the log is to be told about a live heartbeat whose agent takes `record`.
    /// `waiting` are the flags that it brings along.
    pub(super) fn look_at_taken<K>(
        &self,
        record: &Known<K>,
        beat: &Beat,
        waiting: Option<&SetFlags>,
    ) -> Option<Finding> {
        match self.look_at(record, beat, None) {
            Some(Finding::Reinstalled { ip, agent_id }) if waiting.is_some() => {
                Some(Finding::Returned { ip, agent_id })
            }
            event => event,
        }
    }

    /// What the log is to be told about a live heartbeat that is stored in `record`.
    /// `wanted_ip` is the address that the host asks for and cannot have yet.
    pub(super) fn look_at<K>(
        &self,
        record: &Known<K>,
        beat: &Beat,
        wanted_ip: Option<IpAddr>,
    ) -> Option<Finding> {
        let agent_id = beat.heartbeat.agent_id;
        if let (Some(id), Some(ip)) = (agent_id, wanted_ip)
            && self.waits_in_vain(id, ip, beat.at)
        {
            return Some(Finding::Shared { ip });
        }
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

        // The record's own address: a host that waits for another one takes turns there.
        let (ip, place) = (beat.ip, record.ip.unwrap_or(beat.ip));
        if self.alternates(place, before.clone(), &now, beat.at)? {
            return Some(match agent_id {
                Some(agent_id) if before.agent_id == Some(agent_id) => {
                    Finding::Clone { ip, agent_id }
                }
                _ => Finding::Shared { ip },
            });
        }
        let agent_id = agent_id.filter(|_| is_other_agent)?;
        self.is_reinstalled_anew(place, beat.at)
            .then_some(Finding::Reinstalled { ip, agent_id })
    }

    /// Whether the host whose change has been noted is to be told as installed again: an
    /// agent that cannot keep its id has another one at each start.
    fn is_reinstalled_anew(&self, ip: IpAddr, at: Timestamp) -> bool {
        let mut changes = lock(&self.changes);
        let Some(change) = changes.get_mut(&ip) else {
            return true;
        };
        let is_told = |told: Timestamp| at.duration_since(told).abs() < REINSTALLED_FOR;
        if change.reinstalled_at.is_some_and(is_told) {
            return false;
        }
        change.reinstalled_at = Some(at);
        true
    }

    /// What the log is to be told about a heartbeat that is refused because of `record`.
    pub(super) fn look_at_denied<K>(
        &self,
        record: Option<&Known<K>>,
        beat: &Beat,
        denial: Denial,
    ) -> Option<Finding> {
        let place = record?.ip.unwrap_or(beat.ip);
        let mut denials = lock(&self.denials);
        let is_recent = |at: &Timestamp| beat.at.duration_since(*at) < TOLD_FOR;
        if denials.len() >= MAX_REMEMBERED {
            denials.retain(|_, at| is_recent(at));
        }
        let key = (place, denial);
        if denials.get(&key).is_some_and(is_recent) || denials.len() >= MAX_REMEMBERED {
            return None;
        }
        denials.insert(key, beat.at);
        let named = beat.ip;
        Some(Finding::Denied {
            place,
            named,
            denial,
        })
    }

    /// Forgets what was told about these heartbeats and about the records at `places`,
    /// because it could not be stored.
    pub(super) fn forget(
        &self,
        beats: &[Beat],
        places: impl IntoIterator<Item = IpAddr>,
    ) {
        let mut changes = lock(&self.changes);
        for ip in beats.iter().map(|beat| beat.ip).chain(places) {
            changes.remove(&ip);
        }
        drop(changes);

        let is_of_beats = |at: &Timestamp| beats.iter().any(|beat| beat.at == *at);
        lock(&self.denials).retain(|_, at| !is_of_beats(at));

        let mut waits = lock(&self.waits);
        for beat in beats {
            let id = beat.heartbeat.agent_id;
            if let Some(wait) = id.and_then(|id| waits.get_mut(&id)) {
                wait.told_at = wait.told_at.filter(|told_at| *told_at != beat.at);
            }
        }
    }

    /// Notes that the host cannot have the address; true once, when it has asked for longer
    /// than any exchange of addresses takes.
    fn waits_in_vain(&self, id: AgentId, wanted_ip: IpAddr, at: Timestamp) -> bool {
        let mut waits = lock(&self.waits);
        let goes_on = |wait: &Wait| at.duration_since(wait.last) < ALTERNATION;
        if waits.len() >= MAX_REMEMBERED {
            waits.retain(|_, wait| goes_on(wait));
        }
        let before = waits.remove(&id);
        let same = before.filter(|wait| wait.wanted_ip == wanted_ip && goes_on(wait));
        let mut wait = same.unwrap_or(Wait {
            wanted_ip,
            since: at,
            last: at,
            told_at: None,
        });
        let is_due =
            wait.told_at.is_none() && at.duration_since(wait.since) >= ALTERNATION;
        wait.last = at;
        wait.told_at = wait.told_at.or(is_due.then_some(at));
        if waits.len() < MAX_REMEMBERED {
            waits.insert(id, wait);
        }
        is_due
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
        let reinstalled_at = last.and_then(|change| change.reinstalled_at);
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
                reinstalled_at,
            },
        );
        (!is_told).then_some(alternates)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::conformance::beat;
    use crate::store::server::HostRules;

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
                .map(|record| conflicts.look_at(record, &beat, None));
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
                first_heartbeat: beat.at,
                last_heartbeat: beat.at,
                guest_since: None,
                is_down: false,
                moved_at: None,
                wanted_ip: None,
                clone_of: None,
                is_keyed: false,
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
            // A host that has another agent with each heartbeat.
            (
                (0..13)
                    .map(|n: i64| (n, Some(n.unsigned_abs().into()), "a"))
                    .collect(),
                [&["", "reinstalled"][..], &[""; 9], &["reinstalled", ""]].concat(),
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

    /// A record that was heard at `minute`.
    fn known(key: i64, agent: u128, boot: &str, ip: &str, minute: i64) -> Known<i64> {
        let at = Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minute);
        Known {
            key,
            ip: Some(ip.parse().unwrap()),
            agent_id: Some(AgentId::from_bits(agent)),
            boot_id: Some(boot.to_owned()),
            first_heartbeat: at,
            last_heartbeat: at,
            guest_since: None,
            is_down: false,
            moved_at: None,
            wanted_ip: None,
            clone_of: None,
            is_keyed: false,
        }
    }

    /// A record of a host that claims to be the agent's.
    fn clone(key: i64, agent: u128, boot: &str, ip: &str, minute: i64) -> Known<i64> {
        Known {
            agent_id: None,
            clone_of: Some(AgentId::from_bits(agent)),
            ..known(key, agent, boot, ip, minute)
        }
    }

    fn live(agent: u128, boot: &str, ip: &str, minute: i64) -> Beat {
        let at = Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minute);
        let mut beat = beat(ip, at);
        beat.heartbeat.agent_id = Some(AgentId::from_bits(agent));
        beat.heartbeat.boot_id = Some(boot.to_owned());
        beat
    }

    /// The step in a few words: what is done to which records.
    fn step_of(beat: &Beat, found: &Found<'_, i64>) -> String {
        match decide(beat, found) {
            Step::Store { record, wanted_ip } => {
                let waits = if wanted_ip.is_some() { ", waits" } else { "" };
                format!("store {}{waits}", record.key)
            }
            Step::Insert { agent_id, clone_of } => match clone_of {
                Some(original) => format!("insert a clone of {}", original.key),
                None if agent_id.is_some() => "insert".to_owned(),
                None => "insert without an agent".to_owned(),
            },
            Step::Take { record, waiting } => {
                let flags = if waiting.is_some() { ", own flags" } else { "" };
                format!("take {}{flags}", record.key)
            }
            Step::Remove(record) => format!("remove {}", record.key),
            Step::Absorb { record, clone } => {
                format!("absorb {} into {}", clone.key, record.key)
            }
            Step::Move(record) => format!("move {}", record.key),
            Step::Exchange { record, other } => {
                format!("exchange {} and {}", record.key, other.key)
            }
            Step::Refuse { denial, .. } => format!("refuse: {}", denial.as_str()),
        }
    }

    /// The heartbeat with the own key of its agent.
    fn with_own_key(beat: Beat) -> Beat {
        Beat {
            speaker: Speaker::Own { reinstall: false },
            ..beat
        }
    }

    fn keyed(record: Known<i64>) -> Known<i64> {
        Known {
            is_keyed: true,
            ..record
        }
    }

    /// The next step for a heartbeat, where these are the record at its address and the
    /// record of its agent.
    fn step_with(
        beat: &Beat,
        at_ip: Option<&Known<i64>>,
        own: Option<&Known<i64>>,
    ) -> String {
        let found = Found {
            at_ip,
            own,
            clone: None,
            tombstone: None,
            mark: None,
        };
        step_of(beat, &found)
    }

    const HERE: &str = "10.0.0.1";
    const THERE: &str = "10.0.0.2";

    #[test]
    fn the_shared_key_reaches_no_record_of_a_host_with_a_key() {
        let own = keyed(known(1, 1, "a", HERE, 10));
        let other = known(2, 2, "a", THERE, 10);
        let without_id = |ip| {
            let mut beat = live(1, "a", ip, 11);
            beat.heartbeat.agent_id = None;
            beat
        };
        let spooled = |beat| Beat {
            supersedes: Supersedes::IfNewer,
            ..beat
        };
        let knowing = |beat| Beat {
            speaker: Speaker::Shared { has_key: true },
            ..beat
        };
        for (beat, at_ip, of_agent, expected) in [
            // With its id, from anywhere.
            (
                live(1, "a", HERE, 11),
                Some(&own),
                Some(&own),
                "refuse: host_has_key",
            ),
            (
                live(1, "b", THERE, 11),
                None,
                Some(&own),
                "refuse: host_has_key",
            ),
            (
                live(1, "b", THERE, 99),
                Some(&other),
                Some(&own),
                "refuse: host_has_key",
            ),
            (
                knowing(live(1, "a", HERE, 11)),
                None,
                None,
                "refuse: host_has_key",
            ),
            // At its address, also when it is silent.
            (
                live(3, "a", HERE, 11),
                Some(&own),
                None,
                "refuse: address_has_key",
            ),
            (
                live(3, "a", HERE, 99),
                Some(&own),
                None,
                "refuse: address_has_key",
            ),
            (
                live(2, "a", HERE, 99),
                Some(&own),
                Some(&other),
                "refuse: address_has_key",
            ),
            (
                without_id(HERE),
                Some(&own),
                None,
                "refuse: address_has_key",
            ),
            (
                spooled(live(3, "a", HERE, 9)),
                Some(&own),
                None,
                "refuse: address_has_key",
            ),
            // Elsewhere the shared key does as ever.
            (
                live(2, "a", THERE, 11),
                Some(&other),
                Some(&other),
                "store 2",
            ),
        ] {
            assert_eq!(step_with(&beat, at_ip, of_agent), expected, "{beat:?}");
        }
    }

    #[test]
    fn an_own_key_takes_nothing_of_another_host() {
        let another = known(2, 2, "a", THERE, 10);
        let keyed_other = keyed(another.clone());
        let nobodys = Known {
            agent_id: None,
            ..another.clone()
        };
        let clone = clone(3, 1, "b", THERE, 10);
        let own = keyed(known(1, 1, "a", HERE, 10));
        let lost = Known {
            ip: None,
            ..own.clone()
        };
        let from_there = |beat: Beat| Beat {
            observed_ip: Some(beat.ip),
            ..beat
        };
        let live = |minute| with_own_key(live(1, "a", THERE, minute));
        let seen = |minute| from_there(live(minute));
        for (beat, at_ip, of_agent, expected) in [
            // A host that has no record yet.
            (live(11), None, None, "insert"),
            (live(11), Some(&nobodys), None, "refuse: other_host"),
            (seen(11), Some(&nobodys), None, "take 2"),
            (live(99), Some(&another), None, "refuse: other_host"),
            (seen(11), Some(&another), None, "refuse: other_host"),
            (seen(99), Some(&another), None, "remove 2"),
            (seen(99), Some(&keyed_other), None, "refuse: other_host"),
            (live(11), Some(&clone), None, "take 3"),
            // A host that has a record elsewhere.
            (live(11), None, Some(&own), "move 1"),
            (live(11), Some(&another), Some(&own), "store 1, waits"),
            (live(99), Some(&another), Some(&own), "store 1, waits"),
            (seen(99), Some(&another), Some(&own), "remove 2"),
            (seen(99), Some(&keyed_other), Some(&own), "store 1, waits"),
            (seen(11), Some(&nobodys), Some(&own), "store 1, waits"),
            (live(11), Some(&clone), Some(&own), "absorb 3 into 1"),
            (live(11), Some(&keyed_other), Some(&lost), "store 1, waits"),
            // The same record, keyless until now.
            (
                live(11),
                Some(&known(1, 1, "z", THERE, 10)),
                None,
                "store 1",
            ),
        ] {
            let of_agent = of_agent.or(at_ip.filter(|record| record.key == 1));
            assert_eq!(step_with(&beat, at_ip, of_agent), expected, "{beat:?}");
        }

        // A code has said that it is installed again there.
        let reinstalled = Beat {
            speaker: Speaker::Own { reinstall: true },
            ..seen(99)
        };
        assert_eq!(
            step_with(&reinstalled, Some(&keyed_other), None),
            "remove 2"
        );
        let alive = Beat {
            at: seen(11).at,
            silent_before: seen(11).silent_before,
            ..reinstalled
        };
        assert_eq!(
            step_with(&alive, Some(&keyed_other), None),
            "refuse: other_host"
        );
    }

    #[test]
    fn two_hosts_with_keys_exchange_addresses_when_each_has_asked() {
        let own = keyed(known(1, 1, "a", HERE, 10));
        let asks = |ip: &str| Known {
            wanted_ip: Some(ip.parse().unwrap()),
            ..keyed(known(2, 2, "a", THERE, 10))
        };
        let beat = with_own_key(live(1, "a", THERE, 11));
        let step = |other: Known<i64>| step_with(&beat, Some(&other), Some(&own));
        assert_eq!(step(asks(HERE)), "exchange 1 and 2");
        assert_eq!(step(asks("10.0.0.9")), "store 1, waits");
    }

    #[test]
    fn an_own_key_makes_no_second_record() {
        let own = keyed(known(1, 1, "a", HERE, 10));
        let booted = with_own_key(live(1, "b", THERE, 11));
        // For the shared key this would be a copy.
        assert_eq!(step_with(&booted, None, Some(&own)), "store 1, waits");
        let spooled = Beat {
            supersedes: Supersedes::IfNewer,
            ..booted
        };
        assert_eq!(step_with(&spooled, None, Some(&own)), "store 1");
        assert_eq!(step_with(&spooled, None, None), "insert");
        let other = known(2, 2, "a", THERE, 10);
        let refused = step_with(&spooled, Some(&other), None);
        assert_eq!(refused, "refuse: other_host");
    }

    #[test]
    fn an_operator_may_forbid_moves_and_unknown_hosts() {
        let own = known(1, 1, "a", HERE, 10);
        let keyed = keyed(own.clone());
        let ruled = |beat: Beat, follow_moves, unknown| Beat {
            rules: HostRules {
                follow_moves,
                unknown,
            },
            ..beat
        };
        let fixed = |beat| ruled(beat, false, UnknownHosts::Welcome);
        let moved = live(1, "a", THERE, 11);
        let step = |beat: &Beat, own| step_with(beat, None, own);
        assert_eq!(step(&moved, Some(&own)), "move 1");
        assert_eq!(step(&fixed(moved.clone()), Some(&own)), "store 1, waits");
        let with_key = with_own_key(moved.clone());
        assert_eq!(step(&with_key, Some(&keyed)), "move 1");
        assert_eq!(step(&fixed(with_key.clone()), Some(&keyed)), "refuse: move");

        let closed = |beat| ruled(beat, true, UnknownHosts::NeedCode);
        let stranger = live(9, "a", THERE, 11);
        assert_eq!(step(&stranger, None), "insert");
        let refused = "refuse: unknown_host";
        assert_eq!(step(&closed(stranger.clone()), None), refused);
        let mut without_id = stranger.clone();
        without_id.heartbeat.agent_id = None;
        assert_eq!(step(&closed(without_id), None), refused);
        // Known hosts go on: at their address, and after a boot elsewhere.
        let booted = closed(live(1, "b", THERE, 11));
        assert_eq!(step(&booted, Some(&own)), "store 1, waits");
        assert_eq!(step(&closed(moved), Some(&own)), "move 1");
        let again = closed(live(9, "a", HERE, 11));
        assert_eq!(step_with(&again, Some(&own), None), "take 1");
        // So does a host whose flags wait, and one with a key.
        let tombstone = Tombstone {
            flags: SetFlags::default(),
            heir: None,
        };
        let returns = Found {
            at_ip: None,
            own: None,
            clone: None,
            tombstone: Some(&tombstone),
            mark: None,
        };
        assert_eq!(step_of(&closed(stranger.clone()), &returns), "insert");
        assert_eq!(step(&closed(with_own_key(stranger)), None), "insert");
    }

    #[test]
    fn a_denial_is_told_once_a_day() {
        let conflicts = Conflicts::default();
        let record = keyed(known(1, 1, "a", HERE, 0));
        let mut told = Vec::new();
        for minute in 0..2000 {
            let beat = live(2, "b", HERE, minute);
            let denial = Denial::AddressHasKey;
            let finding = conflicts.look_at_denied(Some(&record), &beat, denial);
            told.extend(finding.map(|_| minute));
        }
        assert_eq!(told, [0, 1440]);
    }

    #[test]
    fn an_agent_with_a_record_speaks_in_no_other_agents_record() {
        let (here, there) = ("10.0.0.1", "10.0.0.2");
        let own = |boot| known(1, 1, boot, here, 10);
        let other = || known(2, 2, "a", there, 10);
        let wants = |record: Known<i64>| Known {
            wanted_ip: Some(here.parse().unwrap()),
            ..record
        };
        let guest = |record: Known<i64>| Known {
            guest_since: Some(Timestamp::UNIX_EPOCH + SignedDuration::from_mins(5)),
            ..record
        };
        for (beat, own, at_ip, expected) in [
            // The other one is alive, whatever boots.
            (
                live(1, "a", there, 11),
                own("a"),
                Some(other()),
                "store 1, waits",
            ),
            (
                live(1, "b", there, 11),
                own("a"),
                Some(other()),
                "store 1, waits",
            ),
            // It is not there any more, by its own word or by its silence.
            (
                live(1, "b", there, 11),
                own("b"),
                Some(wants(other())),
                "exchange 1 and 2",
            ),
            (live(1, "b", there, 15), own("b"), Some(other()), "remove 2"),
            (
                live(1, "b", there, 11),
                own("a"),
                Some(wants(other())),
                "store 1, waits",
            ),
            // Nobody is there.
            (live(1, "a", there, 11), own("a"), None, "move 1"),
            (
                live(1, "b", there, 11),
                own("a"),
                None,
                "insert a clone of 1",
            ),
            (live(1, "b", there, 15), own("a"), None, "move 1"),
            (live(1, "b", there, 11), guest(own("a")), None, "move 1"),
            // The record of a restarted host or of a copy.
            (
                live(1, "b", there, 11),
                own("a"),
                Some(clone(3, 1, "b", there, 11)),
                "store 3",
            ),
            (
                live(1, "b", there, 15),
                own("a"),
                Some(clone(3, 1, "b", there, 11)),
                "absorb 3 into 1",
            ),
        ] {
            let found = Found {
                at_ip: at_ip.as_ref(),
                own: Some(&own),
                clone: None,
                tombstone: None,
                mark: None,
            };
            assert_eq!(step_of(&beat, &found), expected, "{own:?} {at_ip:?}");
        }
    }

    #[test]
    fn a_record_that_its_host_has_left_before_it_was_known_is_found() {
        let own = known(1, 1, "a", "10.0.0.1", 10);
        let left = clone(3, 1, "b", "10.0.0.3", 11);
        let copy = clone(3, 1, "b", "10.0.0.3", 9);
        for (beat, clone, expected) in [
            (live(1, "c", "10.0.0.1", 12), &left, "absorb 3 into 1"),
            (live(1, "c", "10.0.0.2", 12), &left, "absorb 3 into 1"),
            (live(1, "b", "10.0.0.2", 12), &left, "absorb 3 into 1"),
            // The original was heard since: there are two hosts.
            (live(1, "c", "10.0.0.1", 12), &copy, "store 1"),
            (live(1, "c", "10.0.0.2", 12), &copy, "insert a clone of 1"),
            // It is the original that speaks.
            (live(1, "a", "10.0.0.1", 12), &left, "store 1"),
        ] {
            let found = Found {
                at_ip: Some(&own).filter(|own| own.ip == Some(beat.ip)),
                own: Some(&own),
                clone: Some(clone),
                tombstone: None,
                mark: None,
            };
            assert_eq!(step_of(&beat, &found), expected, "{beat:?}");
        }
    }

    #[test]
    fn a_host_that_returns_brings_its_own_flags() {
        let here = "10.0.0.3";
        let other = known(3, 3, "a", here, 10);
        let tombstone = |heir| Tombstone {
            flags: SetFlags::default(),
            heir,
        };
        let heir = |key, ip: &str| {
            let ip = Some(ip.parse().unwrap());
            Some(tombstone(Some(Heir { key, ip })))
        };
        let clone = clone(5, 1, "b", "10.0.0.5", 10);
        for (minute, tombstone, clone, expected) in [
            (11, None, None, "take 3"),
            (15, None, None, "take 3"),
            (11, Some(tombstone(None)), None, "take 3, own flags"),
            (15, Some(tombstone(None)), None, "remove 3"),
            // The host here has taken its place, and its flags.
            (11, heir(3, here), None, "take 3"),
            // That was another record, or the record has moved since.
            (11, heir(4, here), None, "take 3, own flags"),
            (11, heir(3, "10.0.0.9"), None, "take 3, own flags"),
            // Its record is gone, but one that it has got since is there.
            (11, None, Some(&clone), "take 5"),
            (15, Some(tombstone(None)), Some(&clone), "take 5, own flags"),
        ] {
            let found = Found {
                at_ip: Some(&other),
                own: None,
                clone,
                tombstone: tombstone.as_ref(),
                mark: None,
            };
            let beat = live(1, "b", here, minute);
            assert_eq!(step_of(&beat, &found), expected, "{minute} {tombstone:?}");
        }
    }

    #[test]
    fn a_host_that_waits_for_an_address_is_told_once() {
        let conflicts = Conflicts::default();
        let mut record = known(1, 1, "a", "10.0.0.1", 0);
        let wanted: IpAddr = "10.0.0.2".parse().unwrap();
        let mut told = Vec::new();
        for minute in 1..121 {
            let beat = live(1, "b", "10.0.0.2", minute);
            let event = conflicts.look_at(&record, &beat, Some(wanted));
            told.extend(event.map(|event| (minute, event)));
            record.boot_id.clone_from(&beat.heartbeat.boot_id);
        }
        assert_eq!(told, [(31, Finding::Shared { ip: wanted })]);

        // A copy of the host, and the host, in one record.
        let mut told = Vec::new();
        for minute in 1..121 {
            let (boot, wanted) = [("a", None), ("c", Some(wanted))][minute % 2];
            let ip = wanted.map_or("10.0.0.1".to_owned(), |ip| ip.to_string());
            let beat = live(1, boot, &ip, i64::try_from(minute).unwrap());
            told.extend(conflicts.look_at(&record, &beat, wanted));
            record.boot_id.clone_from(&beat.heartbeat.boot_id);
        }
        assert!(matches!(told[..], [Finding::Clone { .. }]), "{told:?}");
    }
}
