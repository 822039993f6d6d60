//! What the engine sees of the world, each time it looks.

use std::time::Duration;

use fleetbeat_protocol::{Mute, Quiet, Rule, Server, Severity, Timestamp};
use fleetbeat_selector::Host;

use crate::alert::Acknowledgement;
use crate::saved::SavedDelivery;

/// A host of the fleet as it is shown, which selectors can ask.
pub trait FleetHost: Host {
    /// The host. Its state is the one in effect.
    fn server(&self) -> &Server;
}

/// What there is at one moment.
#[derive(Debug)]
pub struct Look<'a, H> {
    /// The time, by the wall clock.
    pub now: Timestamp,
    /// The time since the last look of this engine, by a clock that does not jump; zero
    /// for the first one.
    pub elapsed: Duration,
    /// After so long a silence a host is down.
    pub down_after: Duration,
    /// Whether hosts could be heard.
    pub hearing: Hearing,
    /// The whole fleet. A host that is not in it has been deleted: if the fleet is not
    /// known as it is now, there must be no look.
    pub hosts: &'a [H],
    /// The events of hosts behind [`EngineState::events_after`], in their order.
    ///
    /// [`EngineState::events_after`]: crate::EngineState::events_after
    pub events: &'a [HostEvent],
    /// The number of the last event that was looked through for `events`.
    pub events_through: i64,
    /// The rules, the switched-off ones among them.
    pub rules: &'a [StoredRule],
    /// The mutes. Those that are over do no harm.
    pub mutes: &'a [StoredMute],
    /// The channels, the switched-off ones among them.
    pub channels: &'a [ChannelPolicy],
    /// The acknowledgements, by the alert's id.
    pub acks: &'a [(String, Acknowledgement)],
    /// The deliveries that wait again because somebody wants a dead one to be tried.
    /// Those that the engine knows to wait do no harm.
    pub retried: &'a [SavedDelivery],
}

/// Whether the server could hear hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hearing {
    /// For a whole `down_after` at least.
    Well,
    /// The server has just started, or the database was away: a time of grace.
    Starting,
}

/// A rule with its id.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredRule {
    /// `rul-` and 16 hexadecimal digits.
    pub id: String,
    /// Grows with each change.
    pub version: i64,
    /// The rule.
    pub rule: Rule,
}

/// A mute with its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredMute {
    /// `mut-` and 16 hexadecimal digits.
    pub id: String,
    /// The mute.
    pub mute: Mute,
}

/// Of a channel, what decides whether it is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelPolicy {
    /// `chn-` and 16 hexadecimal digits.
    pub id: String,
    /// The channel's name.
    pub name: String,
    /// Whether it takes messages. What is for one that does not waits.
    pub enabled: bool,
    /// It is told of this and worse.
    pub min_severity: Severity,
    /// When it is told of what is critical alone.
    pub quiet: Option<Quiet>,
}

/// Something that happened to a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostEvent {
    /// The event's number.
    pub number: i64,
    /// What.
    pub kind: HostEventKind,
    /// The host's `server_id`.
    pub server_id: String,
    /// When.
    pub at: Timestamp,
}

/// What happened to a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostEventKind {
    /// `host.rebooted`
    Rebooted,
    /// `host.conflict`
    Conflict,
    /// `host.clock`, wrong from then on.
    ClockWrong,
    /// `host.clock`, right from then on.
    ClockRight,
}
