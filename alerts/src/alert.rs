//! Alerts: what a rule has found wrong, from its beginning to its end.

use std::collections::BTreeMap;
use std::net::IpAddr;

use fleetbeat_protocol::{Severity, Timestamp};
use serde::{Deserialize, Serialize};

use crate::news::News;

/// The rule of the alert that says that the server hears nobody. No rule of an admin has
/// this id.
pub const DEAF_RULE: &str = "server_deaf";

/// One episode of a rule, a subject and an object, from its beginning to its end. It has
/// all that messages need, so that it can be told after its rule or its host is gone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// `alr-` and 16 hexadecimal digits.
    pub id: String,
    /// The rule's id.
    pub rule: String,
    /// The rule's name when it was looked at last.
    pub rule_name: String,
    /// The rule's note; empty for none.
    pub note: String,
    /// How bad it is.
    pub severity: Severity,
    /// The name of the rule's condition: `down`.
    pub when: String,
    /// Whom it is about.
    pub subject: Subject,
    /// What of the subject: a service's name, a metric's with its labels, or a load's
    /// name; else empty.
    pub object: String,
    /// What it is told together with: the values of the rule's `group_by`.
    pub group: Vec<(String, String)>,
    /// Where it stands.
    pub state: AlertState,
    /// Since when it is so, by the samples' time.
    pub since: Timestamp,
    /// When it was noticed.
    pub opened_at: Timestamp,
    /// When it began to fire; `None` for one that has not.
    pub fired_at: Option<Timestamp>,
    /// When it ended; `None` for one that is open.
    pub ended_at: Option<Timestamp>,
    /// Why it ended, where nothing recovered.
    pub reason: Option<EndReason>,
    /// The value, in the unit of what is measured.
    pub value: Option<f64>,
    /// The limit that the value has broken.
    pub limit: Option<f64>,
    /// Of a group: how many of how many hosts.
    pub counted: Option<Counted>,
    /// Whether nothing is known of it now: the host is down, or does not send it.
    pub stale: bool,
    /// Why nobody is told of it now, or not all who would be else.
    pub held_by: Option<HeldBy>,
    /// Who has taken it on.
    pub ack: Option<Acknowledgement>,
    /// Whether it goes to and fro, and is told when it stays.
    pub flapping: bool,
    /// What each channel has been told of it, by the channel's id.
    pub told: BTreeMap<String, Mark>,
    /// What only the engine reads.
    pub course: Course,
}

/// Where an alert stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AlertState {
    /// It is so, and not for long enough yet.
    Pending,
    /// It is so for long enough.
    Firing,
    /// It is over.
    Resolved,
}

impl AlertState {
    /// The state's name on the wire and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            AlertState::Pending => "pending",
            AlertState::Firing => "firing",
            AlertState::Resolved => "resolved",
        }
    }
}

/// Whom an alert is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// A host, as it was when it was seen last.
    Host(AlertHost),
    /// The hosts that have these values of a rule's `group_by` in common: names and
    /// values. No pair: the whole fleet.
    Group(Vec<(String, String)>),
    /// The server itself.
    Server,
}

/// The host that an alert is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertHost {
    /// The `server_id`.
    pub server_id: String,
    /// The host's address.
    pub ip: IpAddr,
    /// The host's name.
    pub hostname: String,
    /// ISO 3166 alpha-2, or empty.
    pub country_code: String,
    /// The city, or empty.
    pub city: String,
}

impl Subject {
    /// The host's `server_id`, if it is a host.
    pub fn server_id(&self) -> Option<&str> {
        match self {
            Subject::Host(host) => Some(&host.server_id),
            _ => None,
        }
    }
}

/// How many hosts of a group are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// So many are down.
    pub hosts: usize,
    /// Of so many.
    pub of: usize,
}

/// Why an alert has ended, where nothing recovered; or why it has ended for one channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// Its rule was deleted.
    RuleDeleted,
    /// Its rule was switched off.
    RuleDisabled,
    /// Its rule looks at something else now.
    RuleChanged,
    /// Its host was deleted.
    HostDeleted,
    /// Its rule does not mean the host any more.
    HostNotMeant,
    /// The host has not sent it for a day.
    NotMeasured,
    /// Its rule does not name the channel any more.
    ChannelRemoved,
}

impl EndReason {
    /// What people are told.
    pub fn as_str(self) -> &'static str {
        match self {
            EndReason::RuleDeleted => "the rule was deleted",
            EndReason::RuleDisabled => "the rule was switched off",
            EndReason::RuleChanged => "the rule was changed",
            EndReason::HostDeleted => "the host was deleted",
            EndReason::HostNotMeant => "the rule does not mean the host any more",
            EndReason::NotMeasured => "the host has not sent it for a day",
            EndReason::ChannelRemoved => "the rule does not name this channel any more",
        }
    }
}

/// Why nobody is told of an alert that fires.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeldBy {
    /// The mute of this id is in force.
    Mute(String),
    /// The host is under maintenance.
    Maintenance,
    /// Another alert says more, by its id: the host is down, many hosts are, or nobody is
    /// heard.
    Alert(String),
    /// Nobody has been heard for a minute, so that it may soon be known that the server
    /// hears nobody; or it has only just started.
    Silence,
}

/// Who has taken an alert on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledgement {
    /// The user's name.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// What the user has to say; empty for nothing.
    #[serde(default)]
    pub note: String,
}

/// What a channel has been told of an alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// How far it has been told.
    pub told: Told,
    /// When the last message about it was queued.
    pub at: Timestamp,
    /// Of a group: how many hosts were down when the last message was queued.
    #[serde(default)]
    pub counted: Option<usize>,
    /// Whether the channel knows that the alert flaps.
    #[serde(default)]
    pub flapping: bool,
    /// The last message that was queued while the alert fired, after the first one.
    #[serde(default)]
    pub reminder: Option<Reminder>,
}

impl Mark {
    /// A mark of a channel that has been told so much, at a time.
    pub(crate) fn new(told: Told, at: Timestamp) -> Mark {
        Mark {
            told,
            at,
            counted: None,
            flapping: false,
            reminder: None,
        }
    }
}

/// A message about an alert that the channel knows to fire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reminder {
    /// The delivery that carries it.
    pub delivery: DeliveryRef,
    /// `Repeat`, `Flapping` or `Settled`.
    pub news: News,
}

/// How far a channel has been told of an alert: see `pairing.rs`, which alone changes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Told {
    /// Nothing.
    Untold,
    /// The firing is queued, and nobody has tried to send it.
    Waiting {
        /// The delivery that carries the firing.
        firing: DeliveryRef,
    },
    /// The firing was sent, or has been tried to be: it may have arrived.
    Told {
        /// The delivery that carries the firing.
        firing: DeliveryRef,
    },
    /// The firing could not be sent.
    Dead {
        /// The delivery that carries the firing.
        firing: DeliveryRef,
    },
    /// The alert ended before anybody tried to send the firing, and one message about
    /// both is queued.
    Short {
        /// The delivery that carries it.
        message: DeliveryRef,
    },
    /// The recovery is queued, and nobody has tried to send it.
    Recovering {
        /// The delivery that carries the firing.
        firing: DeliveryRef,
        /// The delivery that carries the recovery.
        recovery: DeliveryRef,
    },
    /// There is nothing more to tell.
    Closed,
}

/// A delivery, by what it is known by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryRef {
    /// The delivery's id.
    pub id: String,
    /// Its number, which says whether one that is not there was ever written.
    pub number: i64,
}

/// How an alert came about, for its next steps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Course {
    /// From when `for` counts.
    pub counts_from: Timestamp,
    /// From when `clear_for` counts; `None` while nothing is right.
    pub clears_from: Option<Timestamp>,
    /// Since when nothing is known of it.
    pub stale_since: Option<Timestamp>,
    /// When it began or ceased to fire, in the last hour, and those before it of the same
    /// rule, subject and object.
    pub turns: Vec<Timestamp>,
    /// While it flaps: whether it is so now.
    pub is_on: bool,
    /// Of a group: whether its hosts are coming back.
    #[serde(default)]
    pub is_shrinking: bool,
}

impl Alert {
    /// Whether it is not over.
    pub fn is_open(&self) -> bool {
        self.state != AlertState::Resolved
    }

    /// Whether it is over without having fired: nobody needs to know of it, and the store
    /// may forget it.
    pub fn is_void(&self) -> bool {
        self.state == AlertState::Resolved && self.fired_at.is_none()
    }

    /// Whether its condition tells what is over at once, so that nothing recovers.
    pub fn is_instant(&self) -> bool {
        self.when == "reboot" || self.when == "conflict"
    }
}

/// The course of an alert that is so from a time on.
impl From<Timestamp> for Course {
    fn from(from: Timestamp) -> Course {
        Course {
            counts_from: from,
            clears_from: None,
            stale_since: None,
            turns: Vec::new(),
            is_on: true,
            is_shrinking: false,
        }
    }
}
