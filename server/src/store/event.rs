//! Events: what has happened to hosts, and what people and programs have done.
//!
//! An event is written once and never changed. The store gives each event a number, which
//! grows with every event; the number, and not the time, is the order of events, because
//! a clock may jump back. A reader that remembers the last number reads on from there,
//! and misses nothing.

use std::fmt;
use std::net::IpAddr;

use fleetbeat_protocol::Timestamp;
use serde_json::{Map, Value};

/// What happened, in members that the event's kind knows.
pub(crate) type Facts = Map<String, Value>;

/// What is kept together, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Class {
    /// Beginnings and ends: when a host was there. Not counted, and the newest of each
    /// host stays as long as the host.
    Life,
    /// What else happens to hosts and to the fleet.
    Host,
    /// What people and programs have done.
    Audit,
    /// Logins: a class of its own, so that programs that log in all day push out nothing
    /// else.
    Login,
    /// Refused logins: a class of its own, so that strangers cannot push out anything.
    Refusal,
}

impl Class {
    /// Every class.
    pub(crate) const ALL: [Class; 5] = [
        Class::Life,
        Class::Host,
        Class::Audit,
        Class::Login,
        Class::Refusal,
    ];
}

/// Who may see an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Audience {
    /// Every user.
    Users,
    /// Superadmins alone.
    Superadmins,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $number:literal $name:literal $class:ident $audience:ident;)+) => {
        /// What kind of event it is. The list is closed: what is not in it is not
        /// written.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub(crate) enum EventKind {
            $($(#[$doc])* $kind = $number,)+
        }

        impl EventKind {
            /// Every kind.
            pub(crate) const ALL: &[EventKind] = &[$(EventKind::$kind),+];

            /// The name on the wire.
            pub(crate) fn as_str(self) -> &'static str {
                match self { $(EventKind::$kind => $name),+ }
            }

            /// What the kind is kept with.
            pub(crate) fn class(self) -> Class {
                match self { $(EventKind::$kind => Class::$class),+ }
            }

            /// Who may see it.
            pub(crate) fn audience(self) -> Audience {
                match self { $(EventKind::$kind => Audience::$audience),+ }
            }
        }
    };
}

kinds! {
    // In SQLite a kind is its number, which is never given to another kind.
    /// A host has sent its first heartbeat.
    HostNew = 1 "host.new" Life Users;
    /// A host has been silent for long.
    HostDown = 2 "host.down" Life Users;
    /// A host that was down is heard again.
    HostUp = 3 "host.up" Life Users;
    /// A host's record was removed.
    HostDeleted = 4 "host.deleted" Life Users;
    /// A host has booted.
    HostRebooted = 5 "host.rebooted" Host Users;
    /// A host has another address.
    HostMoved = 6 "host.moved" Host Users;
    /// A host has another agent than before.
    HostReinstalled = 7 "host.reinstalled" Host Users;
    /// Two hosts say that they are one, or that they have one address.
    HostConflict = 8 "host.conflict" Host Users;
    /// A host's clock is wrong, or right again.
    HostClock = 9 "host.clock" Host Users;
    /// A service does not run any more.
    ServiceInactive = 10 "service.inactive" Host Users;
    /// A service runs again.
    ServiceActive = 11 "service.active" Host Users;
    /// Many hosts of the fleet went down together.
    FleetMassDown = 12 "fleet.mass_down" Host Users;
    /// Most of those hosts are back.
    FleetRecovered = 13 "fleet.recovered" Host Users;
    /// A flag of a host was set to another value.
    FlagChanged = 14 "flag.changed" Audit Users;
    /// A user was added.
    UserCreated = 15 "user.created" Audit Superadmins;
    /// A user was removed.
    UserDeleted = 16 "user.deleted" Audit Superadmins;
    /// A user has another password.
    UserPassword = 17 "user.password" Audit Superadmins;
    /// A user has logged in.
    LoginOk = 18 "login.ok" Login Superadmins;
    /// Logins with a wrong password, of one minute.
    LoginFailed = 19 "login.failed" Refusal Superadmins;
    /// A server has started.
    ServerStarted = 20 "server.started" Audit Users;
    /// A server was stopped.
    ServerStopped = 21 "server.stopped" Audit Users;
    /// The database could not be reached from then on.
    StoreAway = 22 "store.away" Audit Users;
    /// The database can be reached again.
    StoreBack = 23 "store.back" Audit Users;
    /// A user has another role.
    UserChanged = 40 "user.changed" Audit Superadmins;
    /// A user has logged out everywhere.
    UserLoggedOut = 41 "user.logged_out" Audit Superadmins;
    /// A user's second factor has changed, or a recovery code was used.
    UserTotp = 42 "user.totp" Audit Superadmins;
    /// A user that was not added or changed, because a rule was broken, of one minute.
    UserRefused = 43 "user.refused" Refusal Superadmins;
    /// An API token was made.
    TokenCreated = 44 "token.created" Audit Superadmins;
    /// An API token was revoked.
    TokenRevoked = 45 "token.revoked" Audit Superadmins;
    /// Requests with an API token that were refused, of one minute.
    TokenRefused = 46 "token.refused" Refusal Superadmins;
    /// A user has another scope.
    UserScope = 47 "user.scope" Audit Superadmins;
    /// A host has got a key of its own.
    KeyEnrolled = 60 "key.enrolled" Audit Superadmins;
    /// A host has replaced its key.
    KeyRotated = 61 "key.rotated" Audit Superadmins;
    /// A host was asked to replace its key.
    KeyRotationAsked = 62 "key.rotation_asked" Audit Superadmins;
    /// A host's key was ended.
    KeyRevoked = 63 "key.revoked" Audit Superadmins;
    /// A code that enrols hosts was made.
    CodeCreated = 64 "code.created" Audit Superadmins;
    /// A code was removed.
    CodeDeleted = 65 "code.deleted" Audit Superadmins;
    /// Enrolments that were refused, of one minute.
    CodeRefused = 66 "code.refused" Refusal Superadmins;
    /// A host that was removed may come back.
    HostReadmitted = 67 "host.readmitted" Audit Users;
    /// A tag of a host was set to another value, or removed.
    TagChanged = 70 "tag.changed" Audit Users;
    /// Somebody has set another state of a host. That a state is over is not told.
    StateChanged = 71 "state.changed" Audit Users;
    /// A setting of a host has another value, or was removed.
    SettingsChanged = 72 "settings.changed" Audit Users;
    /// Somebody has set something on many hosts at once. The hosts have no events of their
    /// own about it.
    BulkChanged = 73 "bulk.changed" Audit Users;
    /// An alert fires.
    AlertFiring = 80 "alert.firing" Host Users;
    /// An alert that fired is over.
    AlertResolved = 81 "alert.resolved" Host Users;
    /// Somebody takes care of an alert.
    AlertAcknowledged = 82 "alert.acknowledged" Audit Users;
    /// Nobody takes care of an alert any more.
    AlertUnacknowledged = 83 "alert.unacknowledged" Audit Users;
    /// An alert goes to and fro, and is not told until it stays.
    AlertFlapping = 84 "alert.flapping" Host Users;
    /// An alert that went to and fro stays as it is.
    AlertSettled = 85 "alert.settled" Host Users;
    /// An alert rule was made.
    RuleCreated = 86 "rule.created" Audit Users;
    /// An alert rule was changed.
    RuleChanged = 87 "rule.changed" Audit Users;
    /// An alert rule was removed.
    RuleDeleted = 88 "rule.deleted" Audit Users;
    /// A mute was made.
    MuteCreated = 89 "mute.created" Audit Users;
    /// A mute's time is over.
    MuteEnded = 90 "mute.ended" Audit Users;
    /// Somebody has ended a mute.
    MuteDeleted = 91 "mute.deleted" Audit Users;
    /// A channel was made.
    ChannelCreated = 92 "channel.created" Audit Users;
    /// A channel was changed.
    ChannelChanged = 93 "channel.changed" Audit Users;
    /// A channel was removed.
    ChannelDeleted = 94 "channel.deleted" Audit Users;
    /// Nothing can be sent through a channel.
    ChannelFailing = 95 "channel.failing" Host Users;
    /// Messages go through the channel again.
    ChannelBack = 96 "channel.back" Host Users;
    /// A message was given up.
    DeliveryDead = 97 "delivery.dead" Host Users;
    /// Somebody lets a message that was given up be sent again.
    DeliveryRetried = 98 "delivery.retried" Audit Users;
    /// Somebody has dismissed a message that was given up.
    DeliveryDismissed = 99 "delivery.dismissed" Audit Users;
}

impl EventKind {
    /// The kind's number in SQLite.
    pub(super) fn number(self) -> i64 {
        self as i64
    }

    /// The kind with this number; `None` for one that this version does not know.
    pub(super) fn from_number(number: i64) -> Option<EventKind> {
        let mut all = EventKind::ALL.iter().copied();
        all.find(|kind| kind.number() == number)
    }

    /// The kind with this name.
    pub(super) fn from_name(name: &str) -> Option<EventKind> {
        let mut all = EventKind::ALL.iter().copied();
        all.find(|kind| kind.as_str() == name)
    }
}

/// Who does something, from where, and when: an event tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Act {
    /// The user or program.
    pub(crate) who: Who,
    /// The address that the request comes from, as far as that can be believed.
    pub(crate) address: Option<IpAddr>,
    /// When.
    pub(crate) at: Timestamp,
}

/// A user or a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Who {
    /// A user of dashboard and API, by name.
    User(String),
    /// A program with an API token: the user who has made the token, and its id.
    ApiToken { user: String, id: String },
    /// A part of the server, or a command.
    Program(String),
}

/// For the log: `user "ann" at 192.0.2.7`.
impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.who {
            Who::User(name) => write!(f, "user {name:?}")?,
            Who::ApiToken { user, id } => write!(f, "user {user:?} (API token {id})")?,
            Who::Program(name) => f.write_str(name)?,
        }
        match self.address {
            Some(ip) => write!(f, " at {ip}"),
            None => Ok(()),
        }
    }
}

impl Act {
    /// What a program does of its own accord.
    pub(crate) fn program(name: impl Into<String>, at: Timestamp) -> Act {
        Act {
            who: Who::Program(name.into()),
            address: None,
            at,
        }
    }

    /// The name of the user or program.
    pub(crate) fn name(&self) -> &str {
        match &self.who {
            Who::User(name) | Who::Program(name) => name,
            Who::ApiToken { user, .. } => user,
        }
    }

    /// An event of this act, with its time. Which API token was used is among the facts.
    pub(crate) fn event(&self, kind: EventKind, mut facts: Facts) -> NewEvent {
        if let Who::ApiToken { id, .. } = &self.who {
            facts.insert("token".to_owned(), id.as_str().into());
        }
        NewEvent {
            act: Some(self.clone()),
            ..NewEvent::new(kind, self.at, facts)
        }
    }
}

/// An event that is to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewEvent {
    /// The kind.
    pub(crate) kind: EventKind,
    /// When it happened, by the server's clock.
    pub(crate) at: Timestamp,
    /// Who did it; `None` where nobody did.
    pub(crate) act: Option<Act>,
    /// The user whom it is about.
    pub(crate) user: Option<String>,
    /// What else there is to tell.
    pub(crate) facts: Facts,
}

impl NewEvent {
    /// An event that nobody did and that is about no user.
    pub(crate) fn new(kind: EventKind, at: Timestamp, facts: Facts) -> NewEvent {
        NewEvent {
            kind,
            at,
            act: None,
            user: None,
            facts,
        }
    }

    /// The same event about a user.
    pub(crate) fn about(self, user: &str) -> NewEvent {
        NewEvent {
            user: Some(user.to_owned()),
            ..self
        }
    }
}

/// The facts of these members.
pub(crate) fn facts<const N: usize>(members: [(&str, Value); N]) -> Facts {
    let members = members.into_iter();
    members
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// An event as it was written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Event {
    /// The number, which is the order of events and the cursor.
    pub(crate) id: Cursor,
    /// What is told.
    pub(crate) event: NewEvent,
    /// The host that it is about.
    pub(crate) host: Option<EventHost>,
}

/// The host that an event is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EventHost {
    /// The `server_id`; `None` if nobody knows it any more.
    pub(crate) server_id: Option<String>,
    /// The address at that time.
    pub(crate) ip: Option<IpAddr>,
    /// The host's name at that time.
    pub(crate) hostname: String,
}

/// A place in the row of all events: that of the event with this number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cursor(pub(crate) i64);

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn numbers_and_names_belong_to_one_kind_each() {
        let kinds = EventKind::ALL;
        let numbers: BTreeSet<i64> = kinds.iter().map(|kind| kind.number()).collect();
        let names: BTreeSet<&str> = kinds.iter().map(|kind| kind.as_str()).collect();
        assert_eq!((numbers.len(), names.len()), (kinds.len(), kinds.len()));
        for kind in kinds {
            assert_eq!(EventKind::from_number(kind.number()), Some(*kind));
            assert_eq!(EventKind::from_name(kind.as_str()), Some(*kind));
        }
    }

    #[test]
    fn what_is_about_users_is_for_superadmins() {
        for kind in EventKind::ALL {
            let (group, _) = kind.as_str().split_once('.').unwrap();
            let is_secret = ["user", "login", "token", "key", "code"].contains(&group);
            let is_hidden = kind.audience() == Audience::Superadmins;
            assert_eq!(is_secret, is_hidden, "{kind:?}");
        }
    }
}
