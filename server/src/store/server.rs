//! The fleet in the store: each host's record, and how heartbeats come into it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use fleetbeat_protocol::{DELETED, FlagsPatch, Heartbeat, Server, Status, Timestamp};
use jiff::SignedDuration;

use super::bulk::Bulk;
use super::error::StoreError;
use super::event::Act;
use super::flags::{HostPatch, Judge};
use super::key::AgentKey;

/// The hosts: a record for each, made by the first heartbeat, and the history of spooled
/// heartbeats.
pub(crate) trait ServerStore: Send + Sync {
    /// Stores the heartbeats in their order, but for those that are denied and those that
    /// the database refuses.
    ///
    /// # Errors
    /// The database cannot be written. Perhaps no heartbeat is stored, so that agents
    /// have to send all of them again.
    fn record(&self, beats: &[Beat]) -> Result<Recorded, StoreError>;

    /// Every host; the very fleet `known` if nothing has changed since. One thread asks,
    /// at most once a second.
    ///
    /// # Errors
    /// The database cannot be read, and the backend has no copy of the fleet.
    fn fleet(&self, known: Option<&Arc<Fleet>>) -> Result<Arc<Fleet>, StoreError>;

    /// One host; `None` if it is not known.
    ///
    /// # Errors
    /// The database cannot be read.
    fn server(&self, host: &HostName) -> Result<Option<Server>, StoreError>;

    /// The address of the host that had the address `ip` before; `None` if there is no
    /// such host.
    ///
    /// # Errors
    /// The database cannot be read.
    fn moved_to(&self, ip: IpAddr) -> Result<Option<IpAddr>, StoreError>;

    /// Sets what an admin asks for and gives the host as it is now; `None` if it is not
    /// known, or `judge` says that the admin does not see it. A state is as it was set, whether or not it is in effect. An event tells of
    /// each flag, tag and setting that has another value then, and of another state than
    /// the one in effect.
    ///
    /// # Errors
    /// The host would have too many tags, or `judge` says that it would leave the admin's
    /// sight, and then nothing is changed. The database cannot be written; what is asked
    /// for may be set nevertheless.
    fn set(
        &self,
        host: &HostName,
        patch: HostPatch<'_>,
        judge: Judge<'_>,
        act: &Act,
    ) -> Result<Option<Server>, StoreError>;

    /// Sets on many hosts, by `server_id`, what an admin asks for. Gives on how many it is
    /// set now; the others are gone, may not be changed any more, or would have too many
    /// tags, and nothing is changed on them. One event tells it, if there is any such host.
    ///
    /// The embedded store changes all of the hosts or none. MongoDB changes each host as a
    /// whole, and a kill may leave some as they were.
    ///
    /// # Errors
    /// The database cannot be written; what is asked for may be set nevertheless.
    fn set_many(&self, hosts: &[String], bulk: &Bulk<'_>) -> Result<usize, StoreError>;

    /// Removes a host for good, with its history and with the flags that would wait for
    /// its return, and gives it as it was; `None` if it is not known. A host with an
    /// `agent_id` is refused from now on, until a code enrols it or somebody readmits it.
    ///
    /// # Errors
    /// The database cannot be written; the host may be removed nevertheless.
    fn remove_server(
        &self,
        host: &HostName,
        act: &Act,
    ) -> Result<Option<RemovedServer>, StoreError>;

    /// Marks silent hosts down. Deletes hosts that have been down for long and are not
    /// static, and history that is as old; heartbeats go between.
    ///
    /// # Errors
    /// The database cannot be written; a part of the sweep may be done.
    fn sweep(&self, order: &SweepOrder) -> Result<Swept, StoreError>;

    /// Lets the coming sweeps delete all hosts that are due now, however many they are.
    ///
    /// # Errors
    /// The database cannot be written.
    fn prune(&self, delete_after: Duration) -> Result<Due, StoreError>;
}

/// How a path names a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HostName {
    /// By the address, which may change.
    Ip(IpAddr),
    /// By the `server_id`, which stays.
    ServerId(String),
}

impl From<IpAddr> for HostName {
    fn from(ip: IpAddr) -> HostName {
        HostName::Ip(ip)
    }
}

/// What a sweep is to do.
///
/// Deletion does not look at the time of day, which jumps, nor at heartbeats in an old
/// backup. It counts in service time: the time for which servers ran and could hear, as
/// the store keeps it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SweepOrder {
    /// The time of day. A last heartbeat later than this counts as of now.
    pub(crate) now: Timestamp,
    /// The service time since the last sweep.
    pub(crate) served: Duration,
    /// A host is down whose last heartbeat is older.
    pub(crate) down_after: Duration,
    /// The service time after which a host that stayed down is deleted, and history.
    pub(crate) delete_after: Duration,
}

impl SweepOrder {
    /// A host is down whose last heartbeat was before this.
    pub(super) fn down_before(&self) -> Timestamp {
        let before = self.now.checked_sub(self.down_after);
        before.unwrap_or(Timestamp::MIN)
    }

    /// Whether a sweep may delete `due` of `all` hosts without a word of the operator.
    /// More than a tenth of a fleet does not disappear at once by itself: most likely
    /// the hosts are there, and cannot reach this server.
    pub(super) fn may_delete(due: usize, all: usize) -> bool {
        due <= MAX_DELETED_HOSTS || due <= all / MAX_DELETED_SHARE
    }
}

/// A duration as the stores keep it.
pub(super) fn as_millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// So many hosts may be deleted by any sweep.
const MAX_DELETED_HOSTS: usize = 10;
/// More only if they are at most one in so many.
const MAX_DELETED_SHARE: usize = 10;
/// The service time for which flags wait for the return of a host: 400 days.
pub(super) const TOMBSTONE_LIFE: Duration = Duration::from_secs(400 * 24 * 60 * 60);
/// The same for flags that are all as on a new host: 30 days. They only tell a host that
/// returns from one that was never there.
pub(super) const LIFE_OF_DEFAULTS: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The hosts that are due to be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Due {
    /// The hosts that have been down for long.
    pub(crate) due: usize,
    /// All hosts.
    pub(crate) all: usize,
}

/// A host's clock that is no farther ahead is right.
const MAX_AHEAD: SignedDuration = SignedDuration::from_secs(20);
/// A host's clock that is no farther behind is right: its heartbeat may have been on its
/// way for so long.
const MAX_BEHIND: SignedDuration = SignedDuration::from_mins(9);

/// A heartbeat that passed every rule, with the server's decisions about the heartbeat.
#[derive(Debug, Clone)]
pub(crate) struct Beat {
    /// The host's address.
    pub(crate) ip: IpAddr,
    /// The heartbeat as the agent sent it.
    pub(crate) heartbeat: Heartbeat,
    /// The record's time of the last heartbeat: the server's clock for a live heartbeat,
    /// the time of collection for a spooled heartbeat.
    pub(crate) at: Timestamp,
    /// The record's status. A spooled heartbeat may be too old to make the host active.
    pub(crate) status: Status,
    /// Whether the heartbeat replaces the host's record.
    pub(crate) supersedes: Supersedes,
    /// The address that the connection came from, if the connection tells one.
    pub(crate) observed_ip: Option<IpAddr>,
    /// A record whose last heartbeat was before this is silent: its address may go to
    /// another host.
    pub(crate) silent_before: Timestamp,
    /// With which key the heartbeat has come.
    pub(crate) speaker: Speaker,
    /// What the operator has decided.
    pub(crate) rules: HostRules,
    /// What the flags of a new record begin with.
    pub(crate) new_flags: FlagsPatch,
}

/// With which key a heartbeat has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Speaker {
    /// With a key that hosts share.
    Shared {
        /// Whether the agent that the heartbeat names has a key of its own.
        has_key: bool,
    },
    /// With the own key of the agent that the heartbeat names.
    Own {
        /// Whether the host may take the place of a silent host with a key, at the
        /// address that it speaks from.
        reinstall: bool,
    },
    /// With a key that hosts share, though the host was removed.
    Removed,
}

impl Speaker {
    /// Whether the key is the host's own.
    pub(super) fn has_own_key(self) -> bool {
        matches!(self, Speaker::Own { .. })
    }
}

/// What the operator has decided about all hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HostRules {
    /// Whether a record follows its host to another address.
    pub(crate) follow_moves: bool,
    /// What becomes of a host with the shared key that is not known.
    pub(crate) unknown: UnknownHosts,
}

/// What becomes of a host with the shared key that is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UnknownHosts {
    /// It gets a record.
    Welcome,
    /// It has to be enrolled by a code.
    NeedCode,
}

/// Why a heartbeat is not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub(crate) enum Denial {
    /// The shared key has named a host that has a key of its own.
    #[error(
        "the host with this agent_id has a key of its own, or had one that was revoked: \
         no other key speaks for it"
    )]
    HostHasKey,
    /// The shared key has named the address of a host that has a key of its own.
    #[error(
        "the host at this address has a key of its own, or had one that was revoked: no \
         other key speaks for it"
    )]
    AddressHasKey,
    /// A host's own key has named the address of another host.
    #[error(
        "the address is another host's: its record goes when an admin removes it, or when \
         it is silent and this host speaks from the address"
    )]
    OtherHost,
    /// A host with its own key has another address, and moves are not followed.
    #[error("the host has another address than before, and agents.follow_moves is off")]
    Move,
    /// The host is not known, and unknown hosts need a code.
    #[error(
        "this server takes new hosts by a code alone: fleetbeat-agent enroll --code CODE"
    )]
    UnknownHost,
    /// Somebody has removed the host.
    #[error(
        "the host with this agent_id was removed from this server: a code enrols it \
         again (fleetbeat-agent enroll --code CODE), or a superadmin readmits it (POST \
         /agent-keys/{{agent_id}}/readmit)"
    )]
    Removed,
}

impl Denial {
    /// The word that an event or a program has for it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Denial::HostHasKey => "host_has_key",
            Denial::AddressHasKey => "address_has_key",
            Denial::OtherHost => "other_host",
            Denial::Move => "move",
            Denial::UnknownHost => "unknown_host",
            Denial::Removed => DELETED,
        }
    }
}

/// What has become of heartbeats that were to be stored.
#[derive(Debug, Default)]
pub(crate) struct Recorded {
    /// The hosts whose record the database refuses, however often it is asked.
    pub(crate) refused: BTreeSet<IpAddr>,
    /// The places, among the heartbeats, of those that were denied.
    pub(crate) denied: Vec<(usize, Denial)>,
}

/// A host that was removed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RemovedServer {
    /// The host as it was.
    pub(crate) server: Server,
    /// The key or the mark by which the host is refused from now on; `None` for a host
    /// without an `agent_id`, which nobody can tell from the hosts that may come.
    pub(crate) refused: Option<AgentKey>,
}

/// When a heartbeat replaces the host's record. The identity and the flags stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Supersedes {
    /// Always: the heartbeat has just arrived.
    Always,
    /// Only a record whose last heartbeat is older. The heartbeat was spooled, and goes
    /// into the history in any case.
    IfNewer,
    /// Only where the host has no record yet. The heartbeat was spooled by a host whose
    /// clock is ahead, so nobody can tell whether the heartbeat is newer than the record.
    /// The heartbeat goes into the history in any case.
    IfUnknown,
}

impl Beat {
    /// By how many seconds the host's clock is wrong; `None` if it is right, or nobody can
    /// tell. A heartbeat may be on its way for some time, so a clock that is behind is
    /// noticed late.
    pub(crate) fn clock_off(&self) -> Option<i64> {
        let collected_at = self.heartbeat.collected_at?;
        if self.supersedes != Supersedes::Always {
            return None;
        }
        let offset = collected_at.duration_since(self.at);
        let is_right = (-MAX_BEHIND..=MAX_AHEAD).contains(&offset);
        (!is_right).then_some(offset.as_secs())
    }
}

/// Every host at one moment.
#[derive(Debug)]
pub(crate) struct Fleet {
    /// Sorted by address.
    pub(crate) servers: Vec<Arc<Server>>,
    /// Differs from the revisions of all other fleets of this process.
    pub(crate) revision: u64,
    /// Whether the database could not be asked, so that the fleet may be out of date.
    pub(crate) stale: bool,
}

/// How many hosts a sweep changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Swept {
    /// The hosts that were marked down.
    pub(crate) down: usize,
    /// The hosts that were deleted.
    pub(crate) deleted: usize,
    /// The hosts that are due and were not deleted, because they are too many.
    pub(crate) held_back: usize,
}

/// A new host's id: `srv-` and eight random hexadecimal digits. In a large fleet two
/// hosts may get the same id now and then; the database refuses the second one.
pub(super) fn new_server_id() -> String {
    format!("srv-{:08x}", getrandom::u32().unwrap_or_default())
}
