//! The fleet in the store: each host's record, and the history of its heartbeats.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use fleetbeat_protocol::{FlagsPatch, Heartbeat, Server, Status, Timestamp};

use super::error::StoreError;

/// The hosts: a record for each, made by the first heartbeat, and the history of spooled
/// heartbeats.
pub(crate) trait ServerStore: Send + Sync {
    /// Stores the heartbeats in their order. Gives the hosts whose record the database
    /// refuses, however often it is asked; all other heartbeats are stored.
    ///
    /// # Errors
    /// The database cannot be written. Perhaps no heartbeat is stored, so that agents
    /// have to send all of them again.
    fn record(&self, beats: &[Beat]) -> Result<BTreeSet<IpAddr>, StoreError>;

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
    fn server(&self, ip: IpAddr) -> Result<Option<Server>, StoreError>;

    /// Sets the patch's flags and gives the host as it is now; `None` if it is not known.
    ///
    /// # Errors
    /// The database cannot be written; the flags may be set nevertheless.
    fn set_flags(
        &self,
        ip: IpAddr,
        patch: FlagsPatch,
    ) -> Result<Option<Server>, StoreError>;

    /// Marks the hosts down whose last heartbeat is before `down_before`. Deletes the
    /// hosts that are not static and whose last heartbeat is before `delete_before`, and
    /// all history before that.
    ///
    /// # Errors
    /// The database cannot be written; a part of the sweep may be done.
    fn sweep(
        &self,
        down_before: Timestamp,
        delete_before: Timestamp,
    ) -> Result<Swept, StoreError>;
}

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
    /// The time under which a spooled heartbeat goes into the history: the time of
    /// collection, by the host's clock. `None` for a live heartbeat.
    pub(crate) fn collected_at(&self) -> Option<Timestamp> {
        self.heartbeat
            .collected_at
            .filter(|_| self.supersedes != Supersedes::Always)
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
}

/// A new host's id: `srv-` and eight random hexadecimal digits. In a large fleet two
/// hosts may get the same id now and then; the database refuses the second one.
pub(super) fn new_server_id() -> String {
    format!("srv-{:08x}", getrandom::u32().unwrap_or_default())
}
