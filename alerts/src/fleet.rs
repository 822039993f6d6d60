//! The fleet of one look, and what is remembered of it from look to look.

use std::collections::HashMap;
use std::time::Duration;

use fleetbeat_protocol::{GroupLabel, Server, Status, Timestamp};
use fleetbeat_selector::Selector;

use crate::alert::{AlertHost, Subject};
use crate::look::{FleetHost, Look};
use crate::time::{after, before, between};

/// The wall clock has jumped if it went so much otherwise than the one that does not
/// jump.
const JUMP: Duration = Duration::from_secs(60);
/// A fleet of so many hosts is never silent, as long as the server hears.
const ENOUGH_HOSTS: usize = 3;

/// What is remembered of the fleet between two looks.
#[derive(Default)]
pub(crate) struct Memory {
    last_look: Option<Timestamp>,
    /// When the clock has jumped last.
    jumped_at: Option<Timestamp>,
    /// The newest heartbeat of each host that was looked at, by `server_id`.
    seen: HashMap<String, Timestamp>,
    /// Selectors by their text; `None` for what is not one.
    selectors: HashMap<String, Option<Selector>>,
}

impl Memory {
    /// Whether the clock has jumped since the last look.
    pub(crate) fn note_time(&mut self, now: Timestamp, elapsed: Duration) -> bool {
        let expected = self.last_look.map(|last| after(last, elapsed));
        self.last_look = Some(now);
        let is_jump = expected.is_some_and(|expected| {
            between(expected, now).max(between(now, expected)) > JUMP
        });
        if is_jump {
            self.jumped_at = Some(now);
        }
        is_jump
    }

    /// Has a selector ready.
    pub(crate) fn prepare<'a>(&mut self, texts: impl Iterator<Item = &'a str>) {
        for text in texts {
            if !self.selectors.contains_key(text) {
                let selector = Selector::parse(text).ok();
                self.selectors.insert(text.to_owned(), selector);
            }
        }
    }
}

/// The fleet of one look.
pub(crate) struct Fleet<'a, H> {
    pub(crate) look: &'a Look<'a, H>,
    memory: &'a Memory,
    /// The places of the hosts in the look, by `server_id`.
    places: HashMap<&'a str, usize>,
    /// The places of those that have been heard since the last look.
    pub(crate) fresh: Vec<usize>,
    /// When anybody was heard last.
    pub(crate) newest: Option<Timestamp>,
    /// Whether enough hosts were there then for a silence to mean something.
    has_enough: bool,
}

impl<'a, H: FleetHost> Fleet<'a, H> {
    /// The fleet of the look. The heartbeats in it count as seen from now on.
    pub(crate) fn new(look: &'a Look<'a, H>, memory: &'a mut Memory) -> Fleet<'a, H> {
        let mut fresh = Vec::new();
        let mut places = HashMap::with_capacity(look.hosts.len());
        for (place, host) in look.hosts.iter().enumerate() {
            let server = host.server();
            places.insert(server.server_id.as_str(), place);
            let is_seen = match memory.seen.get_mut(&server.server_id) {
                Some(seen) => {
                    std::mem::replace(seen, server.last_heartbeat)
                        == server.last_heartbeat
                }
                None => {
                    let id = server.server_id.clone();
                    memory.seen.insert(id, server.last_heartbeat);
                    false
                }
            };
            if !is_seen {
                fresh.push(place);
            }
        }
        if memory.seen.len() > look.hosts.len() {
            memory.seen.retain(|id, _| places.contains_key(id.as_str()));
        }

        let mut fleet = Fleet {
            look,
            memory,
            places,
            fresh,
            newest: None,
            has_enough: false,
        };
        fleet.find_newest();
        fleet
    }

    fn find_newest(&mut self) {
        let times = || self.look.hosts.iter().map(|host| self.heard(host.server()));
        let newest = times().max();
        let since = newest.map(|newest| {
            let down_after = self.look.down_after.as_secs().cast_signed();
            before(newest, down_after)
        });
        let count = times().filter(|heard| Some(*heard) >= since).count();
        (self.newest, self.has_enough) = (newest, count >= ENOUGH_HOSTS);
    }

    /// When the host was heard last, by a clock that is as the one of now.
    pub(crate) fn heard(&self, server: &Server) -> Timestamp {
        let heard = server.last_heartbeat;
        if heard > self.look.now {
            return self.memory.jumped_at.unwrap_or(self.look.now);
        }
        heard
    }

    /// The same for ages: what was before a jump of the clock counts from the jump.
    pub(crate) fn silent_since(&self, server: &Server) -> Timestamp {
        let heard = self.heard(server);
        self.memory.jumped_at.map_or(heard, |jump| heard.max(jump))
    }

    /// For how long nobody was heard, where that means something.
    pub(crate) fn silence(&self) -> Duration {
        let since = self.newest.filter(|_| self.has_enough);
        let since = since.map(|newest| {
            self.memory
                .jumped_at
                .map_or(newest, |jump| newest.max(jump))
        });
        since.map_or(Duration::ZERO, |since| between(since, self.look.now))
    }

    pub(crate) fn host(&self, server_id: &str) -> Option<&'a H> {
        let place = self.places.get(server_id)?;
        self.look.hosts.get(*place)
    }

    /// Whether the selector of this text means the host.
    pub(crate) fn means(&self, text: &str, host: &H) -> bool {
        if text == "all" {
            return true;
        }
        let selector = self.memory.selectors.get(text);
        let now_ms = self.look.now.as_millisecond();
        selector
            .and_then(Option::as_ref)
            .is_some_and(|selector| selector.selects(host, now_ms))
    }

    /// The hosts that are down.
    pub(crate) fn down(&self) -> impl Iterator<Item = &'a H> {
        let is_down = |host: &&H| host.server().status == Status::Down;
        self.look.hosts.iter().filter(is_down)
    }
}

/// The host as an alert has it.
pub(crate) fn subject(server: &Server) -> Subject {
    Subject::Host(AlertHost {
        server_id: server.server_id.clone(),
        ip: server.ip,
        hostname: server.hostname.clone(),
        country_code: server.country_code.clone(),
        city: server.city.clone(),
    })
}

/// The values that a host has for labels, with their names.
pub(crate) fn label_values(
    server: &Server,
    labels: &[GroupLabel],
) -> Vec<(String, String)> {
    let labels = labels.iter();
    labels
        .map(|label| (label.to_string(), label_value(server, label).to_owned()))
        .collect()
}

/// Whether a host has these values, given by the names of their labels.
pub(crate) fn has_labels(server: &Server, labels: &[(String, String)]) -> bool {
    labels.iter().all(|(name, value)| {
        let label = GroupLabel::try_from(name.clone());
        label.is_ok_and(|label| label_value(server, &label) == value)
    })
}

fn label_value<'a>(server: &'a Server, label: &GroupLabel) -> &'a str {
    match label {
        GroupLabel::Country => &server.country_code,
        GroupLabel::Region => server.region.as_deref().unwrap_or_default(),
        GroupLabel::City => &server.city,
        GroupLabel::Hostname => &server.hostname,
        GroupLabel::Tag(key) => {
            let tag = server.tags.get(key).or_else(|| server.agent_tags.get(key));
            tag.map_or("", String::as_str)
        }
    }
}
