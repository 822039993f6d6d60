//! The alerts in the store: what people set up for them, the alerts themselves, and the
//! messages on their way.
//!
//! The store knows nothing of what a rule means or a message says: it keeps both as JSON,
//! beside what lists are made by. One process at a time looks after the alerts. It has
//! everything open in memory ([`AlertStore::load_alerts`]) and writes what changes: first
//! the alerts with their events, then each delivery. A delivery that is written is sent,
//! however the process ends; an alert that names a delivery which was not written has told
//! nothing yet. After an error of any of these calls the process does not know what is
//! written, and loads everything again.

use std::time::Duration;

use fleetbeat_protocol::Timestamp;

use super::error::StoreError;
use super::event::NewEvent;

/// What people set up for alerts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ObjectKind {
    /// What makes an alert.
    Rule,
    /// When alerts are silent.
    Mute,
    /// Where messages go.
    Channel,
    /// That somebody takes care of an alert; its id is the alert's.
    Ack,
}

impl ObjectKind {
    /// The word in the database and for people.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            ObjectKind::Rule => "rule",
            ObjectKind::Mute => "mute",
            ObjectKind::Channel => "channel",
            ObjectKind::Ack => "acknowledgement",
        }
    }
}

/// A rule, mute, channel or acknowledgement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Object {
    /// The id, which others of the same kind do not have.
    pub(crate) id: String,
    /// Counts the changes, from 1.
    pub(crate) version: i64,
    /// What it is, as JSON.
    pub(crate) body: String,
}

/// What must be there before a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expected {
    /// Nothing of this id, and fewer of the kind than this.
    Nothing { most: usize },
    /// This version.
    Version(i64),
    /// Any version.
    Any,
}

/// An object that is made or replaced, with the event that tells it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ObjectChange<'a> {
    /// The kind.
    pub(crate) kind: ObjectKind,
    /// The id.
    pub(crate) id: &'a str,
    /// What the object is from now on, as JSON.
    pub(crate) body: &'a str,
    /// What must be there.
    pub(crate) expected: Expected,
    /// What tells of it.
    pub(crate) event: &'a NewEvent,
}

/// How far an alert is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AlertState {
    /// Its condition holds, and not for long enough.
    Pending,
    /// It fires.
    Firing,
    /// It is over.
    Resolved,
}

impl AlertState {
    /// Every state.
    pub(crate) const ALL: [AlertState; 3] = [
        AlertState::Pending,
        AlertState::Firing,
        AlertState::Resolved,
    ];

    /// The word in the database and on the wire.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            AlertState::Pending => "pending",
            AlertState::Firing => "firing",
            AlertState::Resolved => "resolved",
        }
    }

    /// The state of this word.
    pub(crate) fn from_word(word: &str) -> Option<AlertState> {
        AlertState::ALL
            .into_iter()
            .find(|state| state.as_str() == word)
    }
}

/// An alert: an episode of one rule, from its beginning to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AlertRow {
    /// The id, which no other alert has.
    pub(crate) id: String,
    /// The id of the rule.
    pub(crate) rule: String,
    /// The host; `None` for an alert of a group or of the server.
    pub(crate) server_id: Option<String>,
    /// The severity's name.
    pub(crate) severity: String,
    /// How far it is.
    pub(crate) state: AlertState,
    /// When its condition was seen first.
    pub(crate) opened_at: Timestamp,
    /// When it was over.
    pub(crate) ended_at: Option<Timestamp>,
    /// The whole alert, as JSON.
    pub(crate) body: String,
}

/// Alerts that have changed, at most some hundreds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct AlertSlice<'a> {
    /// The alerts as they are now.
    pub(crate) alerts: &'a [AlertRow],
    /// What tells of them: each event with the place of its alert.
    pub(crate) events: &'a [(usize, NewEvent)],
    /// Alerts that were pending, ended so and are forgotten, by id: nobody knows of them.
    pub(crate) dropped: &'a [String],
    /// What the engine remembers besides alerts, as JSON, if that has changed.
    pub(crate) state: Option<&'a str>,
}

/// How far a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DeliveryState {
    /// It is to be sent.
    Waiting,
    /// It is being sent.
    Sending,
    /// It has arrived.
    Sent,
    /// It was given up.
    Dead,
    /// It was given up, and somebody has asked for another attempt.
    Asked,
    /// It was given up, and nobody wants it any more.
    Dismissed,
    /// What it says is in another message, which took its place.
    Folded,
}

impl DeliveryState {
    /// Every state.
    pub(crate) const ALL: [DeliveryState; 7] = [
        DeliveryState::Waiting,
        DeliveryState::Sending,
        DeliveryState::Sent,
        DeliveryState::Dead,
        DeliveryState::Asked,
        DeliveryState::Dismissed,
        DeliveryState::Folded,
    ];

    /// The states in which nothing more happens, unless somebody asks for it.
    pub(super) const SETTLED: [DeliveryState; 4] = [
        DeliveryState::Sent,
        DeliveryState::Dead,
        DeliveryState::Dismissed,
        DeliveryState::Folded,
    ];

    /// The word in the database and on the wire.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            DeliveryState::Waiting => "waiting",
            DeliveryState::Sending => "sending",
            DeliveryState::Sent => "sent",
            DeliveryState::Dead => "dead",
            DeliveryState::Asked => "asked",
            DeliveryState::Dismissed => "dismissed",
            DeliveryState::Folded => "folded",
        }
    }

    /// The state of this word.
    pub(crate) fn from_word(word: &str) -> Option<DeliveryState> {
        DeliveryState::ALL
            .into_iter()
            .find(|state| state.as_str() == word)
    }
}

/// A message on its way to one channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeliveryRow {
    /// The id, which goes with the message, so that a receiver knows a repetition.
    pub(crate) id: String,
    /// The order in which messages of a channel go.
    pub(crate) number: i64,
    /// The id of the channel.
    pub(crate) channel: String,
    /// The ids of the alerts that it tells of.
    pub(crate) alerts: Vec<String>,
    /// The ids of the deliveries in whose place it is.
    pub(crate) folds: Vec<String>,
    /// How far it is.
    pub(crate) state: DeliveryState,
    /// When it was made.
    pub(crate) created_at: Timestamp,
    /// When somebody has asked for another attempt last: patience begins anew then.
    pub(crate) asked_at: Option<Timestamp>,
    /// Not to be sent before.
    pub(crate) next_at: Timestamp,
    /// When it was sent or given up.
    pub(crate) settled_at: Option<Timestamp>,
    /// How often it was tried.
    pub(crate) tries: u32,
    /// Why the last attempt has failed.
    pub(crate) error: Option<String>,
    /// What it is to say, as JSON.
    pub(crate) body: String,
    /// The message as it is sent, once it was tried.
    pub(crate) message: Option<String>,
}

/// What has become of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DeliveryOutcome {
    /// The message has arrived.
    Sent { at: Timestamp },
    /// It is to be tried again.
    Again { next_at: Timestamp, error: String },
    /// It is given up.
    Dead { at: Timestamp, error: String },
}

/// What the process that looks after the alerts begins with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SavedAlerts {
    /// The alerts that are open or have ended lately.
    pub(crate) alerts: Vec<AlertRow>,
    /// The messages that are to be sent, and those that were made lately, in their order.
    /// One that was being sent when the process ended waits again, and may arrive twice.
    /// What is not to be sent has no [`DeliveryRow::message`].
    pub(crate) deliveries: Vec<DeliveryRow>,
    /// What the engine has remembered.
    pub(crate) state: Option<String>,
}

/// A place in a list that goes from the newest to the oldest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// The number by which the list is sorted.
    pub(crate) number: i64,
    /// The id, which sorts what has one number.
    pub(crate) id: String,
}

/// Which alerts, the newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct AlertQuery {
    /// In one of these states; empty for all.
    pub(crate) states: Vec<AlertState>,
    /// Of one of these severities; empty for all.
    pub(crate) severities: Vec<String>,
    /// Of this rule.
    pub(crate) rule: Option<String>,
    /// Of this host.
    pub(crate) server_id: Option<String>,
    /// Behind this place.
    pub(crate) after: Option<Place>,
    /// No more than this.
    pub(crate) limit: usize,
}

/// Which messages, the newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct DeliveryQuery {
    /// In one of these states; empty for all.
    pub(crate) states: Vec<DeliveryState>,
    /// Of this channel.
    pub(crate) channel: Option<String>,
    /// That tell of this alert.
    pub(crate) alert: Option<String>,
    /// Behind this place.
    pub(crate) after: Option<Place>,
    /// No more than this.
    pub(crate) limit: usize,
}

/// Some of what was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Page<T> {
    /// In the order of the list.
    pub(crate) rows: Vec<T>,
    /// Where to go on; `None` at the end.
    pub(crate) next: Option<Place>,
}

impl<T> Page<T> {
    /// A page of `rows`, of which one more than `limit` was looked for.
    pub(super) fn new(
        mut rows: Vec<T>,
        limit: usize,
        place: impl FnOnce(&T) -> Place,
    ) -> Page<T> {
        let has_more = rows.len() > limit;
        rows.truncate(limit);
        let last = rows.last().filter(|_| has_more);
        Page {
            next: last.map(place),
            rows,
        }
    }
}

impl AlertRow {
    /// Where it is in lists.
    pub(super) fn place(&self) -> Place {
        Place {
            number: self.opened_at.as_millisecond(),
            id: self.id.clone(),
        }
    }
}

impl DeliveryRow {
    /// When patience with it began.
    pub(crate) fn waits_since(&self) -> Timestamp {
        self.asked_at.unwrap_or(self.created_at)
    }

    /// Where it is in lists.
    pub(super) fn place(&self) -> Place {
        Place {
            number: self.number,
            id: self.id.clone(),
        }
    }
}

/// The alerts.
pub(crate) trait AlertStore: Send + Sync {
    /// Every object of a kind, in the order of ids.
    ///
    /// # Errors
    /// The database cannot be read.
    fn alert_objects(&self, kind: ObjectKind) -> Result<Vec<Object>, StoreError>;

    /// One object; `None` if it is not there.
    ///
    /// # Errors
    /// The database cannot be read.
    fn alert_object(
        &self,
        kind: ObjectKind,
        id: &str,
    ) -> Result<Option<Object>, StoreError>;

    /// Makes or replaces an object, and gives its version.
    ///
    /// # Errors
    /// What is there is not what was expected, or the database cannot be written.
    fn put_alert_object(&self, change: &ObjectChange<'_>) -> Result<i64, StoreError>;

    /// Removes an object, with the event that tells it; false if it is not there.
    ///
    /// # Errors
    /// The database cannot be written.
    fn remove_alert_object(
        &self,
        kind: ObjectKind,
        id: &str,
        event: &NewEvent,
    ) -> Result<bool, StoreError>;

    /// Begins to look after the alerts: gives those that are open or have ended since
    /// `lately`, and the messages that are to be sent or were made since then. From then
    /// on no process that did so before writes anything more. `None` while another instance
    /// looks after them.
    ///
    /// # Errors
    /// The database cannot be read or written.
    fn load_alerts(&self, lately: Timestamp) -> Result<Option<SavedAlerts>, StoreError>;

    /// What the process that looks after the alerts remembers, for those that do not;
    /// `None` if it has remembered nothing yet.
    ///
    /// # Errors
    /// The database cannot be read.
    fn alert_state(&self) -> Result<Option<String>, StoreError>;

    /// Writes alerts that have changed, with their events, and then what the engine
    /// remembers: of several slices, the last one has it.
    ///
    /// # Errors
    /// The database cannot be written, or another instance looks after the alerts now;
    /// a part may be written.
    fn write_alerts(&self, slice: &AlertSlice<'_>) -> Result<(), StoreError>;

    /// Adds a message that is to be sent. Those that it folds are not sent any more.
    ///
    /// # Errors
    /// As [`AlertStore::write_alerts`].
    fn queue_delivery(&self, delivery: &DeliveryRow) -> Result<(), StoreError>;

    /// Replaces a message that was not tried yet: its body, its alerts, when it goes, and
    /// how far it is, with the error of one that is given up. False if it was tried.
    ///
    /// # Errors
    /// As [`AlertStore::write_alerts`].
    fn change_delivery(&self, delivery: &DeliveryRow) -> Result<bool, StoreError>;

    /// Begins an attempt to send a message that waits, and gives what is to be sent:
    /// `message` at the first attempt, and the same at each attempt that follows. `None`
    /// if the message does not wait.
    ///
    /// # Errors
    /// As [`AlertStore::write_alerts`].
    fn claim_delivery(
        &self,
        id: &str,
        message: &str,
    ) -> Result<Option<String>, StoreError>;

    /// Ends an attempt, with the event that tells of it, if there is one.
    ///
    /// # Errors
    /// As [`AlertStore::write_alerts`]; nobody has begun the attempt.
    fn settle_delivery(
        &self,
        id: &str,
        outcome: &DeliveryOutcome,
        event: Option<&NewEvent>,
    ) -> Result<(), StoreError>;

    /// Takes the messages for which somebody has asked for another attempt: they wait from
    /// now on.
    ///
    /// # Errors
    /// As [`AlertStore::write_alerts`].
    fn take_asked_deliveries(
        &self,
        now: Timestamp,
    ) -> Result<Vec<DeliveryRow>, StoreError>;

    /// Some alerts.
    ///
    /// # Errors
    /// The database cannot be read.
    fn alerts(&self, query: &AlertQuery) -> Result<Page<AlertRow>, StoreError>;

    /// One alert; `None` if it is not known.
    ///
    /// # Errors
    /// The database cannot be read.
    fn alert(&self, id: &str) -> Result<Option<AlertRow>, StoreError>;

    /// Some messages.
    ///
    /// # Errors
    /// The database cannot be read.
    fn deliveries(&self, query: &DeliveryQuery) -> Result<Page<DeliveryRow>, StoreError>;

    /// How many messages are in this state.
    ///
    /// # Errors
    /// The database cannot be read.
    fn count_deliveries(&self, state: DeliveryState) -> Result<u64, StoreError>;

    /// One message; `None` if it is not known.
    ///
    /// # Errors
    /// The database cannot be read.
    fn delivery(&self, id: &str) -> Result<Option<DeliveryRow>, StoreError>;

    /// Asks for another attempt to send a message that was given up, or dismisses it, and
    /// tells it with `event`. Gives the message as it is then; `None` if it is not known.
    ///
    /// # Errors
    /// The message was not given up, or the database cannot be written.
    fn decide_delivery(
        &self,
        id: &str,
        decision: Decision,
        event: &NewEvent,
    ) -> Result<Option<DeliveryRow>, StoreError>;

    /// Deletes alerts that were over for `keep` of service time, and messages that were
    /// settled for as long and whose alerts are gone. Gives how many of both.
    ///
    /// # Errors
    /// The database cannot be written; a part may be done.
    fn forget_alerts(&self, keep: Duration) -> Result<usize, StoreError>;
}

/// What somebody decides about a message that was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    /// It is tried again.
    Retry { at: Timestamp },
    /// Nobody wants it any more.
    Dismiss,
}

impl Decision {
    /// The message's state from then on.
    pub(super) fn state(self) -> DeliveryState {
        match self {
            Decision::Retry { .. } => DeliveryState::Asked,
            Decision::Dismiss => DeliveryState::Dismissed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_has_a_word_of_its_own() {
        for state in AlertState::ALL {
            assert_eq!(AlertState::from_word(state.as_str()), Some(state));
        }
        for state in DeliveryState::ALL {
            assert_eq!(DeliveryState::from_word(state.as_str()), Some(state));
        }
        assert_eq!(DeliveryState::from_word("firing"), None);
    }

    #[test]
    fn a_page_goes_on_where_it_ends_if_there_is_more() {
        let place = |number: &i64| Place {
            number: *number,
            id: String::new(),
        };
        let page = Page::new(vec![3, 2, 1], 2, place);
        assert_eq!((page.rows, page.next.unwrap().number), (vec![3, 2], 2));
        let last = Page::new(vec![2, 1], 2, place);
        assert_eq!((last.rows, last.next), (vec![2, 1], None));
    }
}
