//! What admins set on many hosts at once.
//!
//! The hosts are set in chunks: a chunk is one commit, as far as the database can, and one
//! event that is not about a host. The event tells how many hosts the chunk had, so that a
//! thousand hosts that are drained are a few events and not a thousand.

use fleetbeat_protocol::{Server, Timestamp};

use super::error::Conflict;
use super::event::{Act, EventKind, Facts, NewEvent};
use super::flags::{HostPatch, Judge, SetFlags, Verdict};

/// What is set on each host of a chunk.
pub(crate) struct Bulk<'a> {
    /// What is set.
    pub(crate) patches: &'a [HostPatch<'a>],
    /// Which hosts may be changed. One that may not is left as it is.
    pub(crate) judge: Judge<'a>,
    /// Who sets it.
    pub(crate) act: &'a Act,
    /// What the event tells besides the number of hosts.
    pub(crate) facts: Facts,
}

impl Bulk<'_> {
    /// Whether the host may be changed.
    pub(super) fn may_change(&self, server: &Server) -> bool {
        let judge = self.judge;
        judge.is_none_or(|judge| judge(server) == Verdict::Allowed)
    }

    /// The event of a chunk in which so many hosts are set.
    pub(super) fn event(&self, hosts: usize) -> NewEvent {
        let mut facts = self.facts.clone();
        facts.insert("hosts".to_owned(), hosts.into());
        self.act.event(EventKind::BulkChanged, facts)
    }
}

impl SetFlags {
    /// Makes all of the changes, which have one number.
    ///
    /// # Errors
    /// The host would have too many tags. Nothing is changed then.
    pub(super) fn change_all(
        &mut self,
        patches: &[HostPatch<'_>],
        at: Timestamp,
        number: i64,
    ) -> Result<(), Conflict> {
        let mut changed = self.clone();
        for patch in patches {
            changed.change(*patch, at, number)?;
        }
        *self = changed;
        Ok(())
    }
}
