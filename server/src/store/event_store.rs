//! The events in the store: how they are asked for, how hosts are watched, and how long
//! events are kept.

use std::collections::BTreeSet;
use std::time::Duration;

use fleetbeat_protocol::Timestamp;

use super::error::StoreError;
use super::event::{Class, Cursor, Event, EventKind, NewEvent, facts};
use super::life::{Life, LifeQuery};
use super::server::HostName;

/// Which events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EventQuery {
    /// Of these kinds.
    pub(crate) kinds: Vec<EventKind>,
    /// Of this host.
    pub(crate) host: Option<HostName>,
    /// Of one of these hosts; `None` for those of all hosts, and those of none.
    pub(crate) within: Option<KnownHosts>,
    /// That this user did, or that are about this user.
    pub(crate) user: Option<String>,
    /// Not before.
    pub(crate) since: Option<Timestamp>,
    /// Not after.
    pub(crate) until: Option<Timestamp>,
    /// Behind this place, the oldest first; without it the newest come first.
    pub(crate) after: Option<Cursor>,
    /// No more than this.
    pub(crate) limit: usize,
}

impl EventQuery {
    /// The newest events of all kinds, so many of them.
    pub(crate) fn newest(limit: usize) -> EventQuery {
        EventQuery {
            kinds: EventKind::ALL.to_vec(),
            host: None,
            within: None,
            user: None,
            since: None,
            until: None,
            after: None,
            limit,
        }
    }
}

/// Some of the hosts, as they were known at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KnownHosts {
    /// By their lasting names.
    pub(crate) server_ids: BTreeSet<String>,
    /// The newest event that there was before that moment. Later ones are not told: they
    /// may be of a host that was not known, and a reader who goes on behind them would
    /// miss them.
    pub(crate) up_to: Cursor,
}

impl EventQuery {
    /// Up to which event there is something to tell, if `newest` is the newest one.
    pub(super) fn last(&self, newest: Cursor) -> Cursor {
        let Some(within) = &self.within else {
            return newest;
        };
        // Another instance may have told more to the reader.
        let up_to = self
            .after
            .map_or(within.up_to, |after| after.max(within.up_to));
        newest.min(up_to)
    }
}

/// Some of the events that were asked for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct EventPage {
    /// The events, in the order that was asked for.
    pub(crate) events: Vec<Event>,
    /// Where to read on: behind it is everything that is not in the page and is newer
    /// than the page.
    pub(crate) cursor: Cursor,
    /// Whether there are more in this direction.
    pub(crate) more: bool,
}

/// How long events are kept, in service time, and how many of each class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Retention {
    /// What happened to hosts.
    pub(crate) keep: Duration,
    /// What people did.
    pub(crate) keep_audit: Duration,
    /// The events of each class but [`Class::Life`].
    pub(crate) max_rows: u64,
}

impl Retention {
    /// How long a class is kept.
    pub(super) fn keep_of(&self, class: Class) -> Duration {
        match class {
            Class::Life | Class::Host => self.keep,
            Class::Audit | Class::Login | Class::Refusal => self.keep_audit,
        }
    }

    /// How many of a class are kept; `None` for all.
    pub(super) fn max_rows_of(&self, class: Class) -> Option<u64> {
        (class != Class::Life).then_some(self.max_rows)
    }
}

/// What the watch is to look at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WatchOrder {
    /// The time of day.
    pub(crate) now: Timestamp,
    /// Silence after which a host is down: hosts that went down within this went down
    /// together.
    pub(crate) down_after: Duration,
}

/// What a round of the watch has found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Watched {
    /// The events that were written.
    pub(crate) events: usize,
    /// Whether the fleet went down or came back.
    pub(crate) mass: Option<Mass>,
}

/// A change of a whole fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mass {
    /// So many of so many hosts went down together.
    Down { down: i64, hosts: i64 },
    /// Of those, so many are still down.
    Recovered { down: i64, hosts: i64 },
}

/// Fewer hosts than this are never a mass.
const MIN_MASS: i64 = 10;
/// More than so many percent of the fleet are a mass.
const MASS_PERCENT: i64 = 30;
/// The mass is over when no more than so many percent of the fleet are still down.
const RECOVERED_PERCENT: i64 = 10;

impl Mass {
    /// Whether so many of so many hosts that went down together are a mass.
    pub(super) fn begins(down: i64, hosts: i64) -> Option<Mass> {
        let is_mass = down >= MIN_MASS && down * 100 > hosts * MASS_PERCENT;
        is_mass.then_some(Mass::Down { down, hosts })
    }

    /// Whether a mass is over of which so many hosts are still down.
    pub(super) fn ends(down: i64, hosts: i64) -> Option<Mass> {
        let is_over = down * 100 <= hosts * RECOVERED_PERCENT;
        is_over.then_some(Mass::Recovered { down, hosts })
    }

    /// The event that tells it.
    pub(super) fn event(self, at: Timestamp) -> NewEvent {
        let (kind, down, hosts) = match self {
            Mass::Down { down, hosts } => (EventKind::FleetMassDown, down, hosts),
            Mass::Recovered { down, hosts } => (EventKind::FleetRecovered, down, hosts),
        };
        let facts = facts([("down", down.into()), ("hosts", hosts.into())]);
        NewEvent::new(kind, at, facts)
    }
}

/// The events.
pub(crate) trait EventStore: Send + Sync {
    /// Writes events that are not about a host, in their order: all or none.
    ///
    /// # Errors
    /// The database cannot be written.
    fn append(&self, events: &[NewEvent]) -> Result<(), StoreError>;

    /// The events that `query` asks for.
    ///
    /// # Errors
    /// The database cannot be read.
    fn events(&self, query: &EventQuery) -> Result<EventPage, StoreError>;

    /// The newest event that a reader may see.
    ///
    /// # Errors
    /// The database cannot be read.
    fn newest_event(&self) -> Result<Cursor, StoreError>;

    /// When hosts went down and came up, by address; of a host that is not known nothing.
    ///
    /// # Errors
    /// The database cannot be read.
    fn lives(&self, query: &LifeQuery) -> Result<Vec<Life>, StoreError>;

    /// Compares the hosts with what the watch has seen last, and writes what has changed;
    /// heartbeats go between. One thread asks.
    ///
    /// # Errors
    /// The database cannot be written; what is missing is written the next time.
    fn watch(&self, order: &WatchOrder) -> Result<Watched, StoreError>;

    /// Gives numbers to the events that have none yet, so that readers see them: once a
    /// second. A backend that numbers events when it writes them has nothing to do.
    ///
    /// # Errors
    /// The database cannot be written; the events get their numbers the next time.
    fn number_events(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Deletes old events; heartbeats go between. Gives how many.
    ///
    /// # Errors
    /// The database cannot be written; a part may be done.
    fn forget_events(&self, retention: &Retention) -> Result<usize, StoreError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_hosts_that_were_known_earlier_no_later_event_is_told() {
        let last = |after: Option<i64>, up_to: i64| {
            let query = EventQuery {
                after: after.map(Cursor),
                within: Some(KnownHosts {
                    server_ids: BTreeSet::new(),
                    up_to: Cursor(up_to),
                }),
                ..EventQuery::newest(1)
            };
            query.last(Cursor(9)).0
        };
        assert_eq!([last(None, 7), last(None, 12)], [7, 9]);
        assert_eq!([last(Some(3), 7), last(Some(8), 7)], [7, 8]);
        assert_eq!(last(Some(10), 7), 9, "of another database");
        assert_eq!(EventQuery::newest(1).last(Cursor(9)), Cursor(9));
    }

    #[test]
    fn a_mass_is_ten_hosts_and_three_in_ten() {
        for (down, hosts, begins, ends) in [
            (9, 9, false, false),
            (10, 33, true, false),
            (10, 34, false, false),
            (3000, 10_000, false, false),
            (3001, 10_000, true, false),
            (1000, 10_000, false, true),
            (1, 12, false, true),
            (0, 0, false, true),
        ] {
            assert_eq!(
                Mass::begins(down, hosts).is_some(),
                begins,
                "{down} {hosts}"
            );
            assert_eq!(Mass::ends(down, hosts).is_some(), ends, "{down} {hosts}");
        }
    }
}
