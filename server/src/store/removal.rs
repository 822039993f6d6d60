//! Why a host's record is removed, and by whom.

use super::event::{Act, EventKind, NewEvent, facts};

/// The program that decides which record a heartbeat belongs to.
pub(super) const IDENTITY: &str = "identity";
/// The program that deletes hosts that have been silent for long.
pub(super) const SWEEP: &str = "sweep";

/// Why a record is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Removal {
    /// The host has been down for `sweep.delete_after`.
    Silent,
    /// The host was silent, and another host has its address.
    Replaced,
    /// The host has turned out to be another record's.
    Absorbed,
    /// Somebody has asked for it.
    Asked,
}

impl Removal {
    /// The word that an event has for it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Removal::Silent => "silent",
            Removal::Replaced => "replaced",
            Removal::Absorbed => "absorbed",
            Removal::Asked => "asked",
        }
    }

    /// What a word says.
    pub(super) fn from_name(name: &str) -> Option<Removal> {
        let all = [
            Removal::Silent,
            Removal::Replaced,
            Removal::Absorbed,
            Removal::Asked,
        ];
        all.into_iter().find(|removal| removal.as_str() == name)
    }

    /// The event that tells it.
    pub(super) fn event(self, act: &Act) -> NewEvent {
        let reason = self.as_str();
        act.event(EventKind::HostDeleted, facts([("reason", reason.into())]))
    }
}
