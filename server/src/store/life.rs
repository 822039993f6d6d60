//! Lives: when hosts went down and came up, as their events tell it.

use std::net::IpAddr;

use fleetbeat_protocol::{Status, Timestamp};

use super::event::{EventKind, Facts};
use super::server::HostName;

/// Whose turns, and from when on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LifeQuery {
    /// Of this host; `None` for every host.
    pub(crate) host: Option<HostName>,
    /// Not those before, but for the last of them.
    pub(crate) from: Timestamp,
}

/// What is kept of the life of a host that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Life {
    /// The host's address.
    pub(crate) ip: IpAddr,
    /// The host's lasting name.
    pub(crate) server_id: String,
    /// The turns, in the order of the events that tell them. Before the first one nobody
    /// knows what the host was.
    pub(crate) turns: Vec<Turn>,
}

/// A host became active, or went down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Turn {
    /// Since when.
    pub(crate) at: Timestamp,
    /// What the host is since then.
    pub(crate) status: Status,
}

impl Turn {
    /// The kinds of events that tell turns.
    pub(super) const KINDS: [EventKind; 3] =
        [EventKind::HostNew, EventKind::HostDown, EventKind::HostUp];

    /// The turn that an event at `at` tells; `None` if its kind is not one of
    /// [`Turn::KINDS`]. A host counts as down since its last heartbeat, although that was
    /// told later.
    pub(super) fn told_by(kind: EventKind, at: Timestamp, facts: &Facts) -> Option<Turn> {
        let turn = |at, status| Some(Turn { at, status });
        match kind {
            EventKind::HostNew | EventKind::HostUp => turn(at, Status::Active),
            EventKind::HostDown => {
                let last = facts.get("last_heartbeat").and_then(|last| last.as_str());
                let last = last.and_then(|last| last.parse::<Timestamp>().ok());
                turn(last.map_or(at, |last| last.min(at)), Status::Down)
            }
            _ => None,
        }
    }
}
