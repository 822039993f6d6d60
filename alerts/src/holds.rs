//! Why nobody is told of an alert that fires: mutes, maintenance, and alerts that say
//! more. An alert says more to those channels only that know of it.

use std::collections::HashMap;

use fleetbeat_protocol::{Mode, Rule};

use crate::alert::{Alert, AlertState, DEAF_RULE, HeldBy, Subject};
use crate::audience::Audience;
use crate::book::{Book, lingers};
use crate::deaf;
use crate::fleet::{Fleet, has_labels};
use crate::look::{FleetHost, Hearing, StoredMute};
use crate::many_down::Together;
use crate::window;

/// What holds alerts back at one look.
pub(crate) struct Holds<'a, H> {
    fleet: &'a Fleet<'a, H>,
    audience: &'a Audience<'a>,
    /// The mutes that are in force.
    mutes: Vec<&'a StoredMute>,
    /// The alert that nobody is heard.
    deaf: Option<String>,
    /// The groups of which many hosts are down, or were a moment ago.
    masses: Vec<Mass<'a>>,
    /// The alerts of hosts that are down, by `server_id`.
    down: HashMap<String, Vec<Down<'a>>>,
}

/// A group of which many hosts are down.
struct Mass<'a> {
    alert: String,
    labels: Vec<(String, String)>,
    rule: &'a Rule,
    /// The hosts that it speaks for.
    together: Together,
    /// The channels that know of it.
    channels: Vec<&'a str>,
}

/// The alert of a host that is down.
struct Down<'a> {
    alert: String,
    /// The channels that know of it.
    channels: Vec<&'a str>,
}

impl<'a, H: FleetHost> Holds<'a, H> {
    /// What holds alerts back now.
    pub(crate) fn new(
        fleet: &'a Fleet<'a, H>,
        book: &Book,
        audience: &'a Audience<'a>,
    ) -> Holds<'a, H> {
        let now = fleet.look.now;
        let in_force = |stored: &&StoredMute| window::is_muted(&stored.mute, now);
        let mut holds = Holds {
            fleet,
            audience,
            mutes: fleet.look.mutes.iter().filter(in_force).collect(),
            deaf: book.find(DEAF_RULE, "", "").map(|alert| alert.id.clone()),
            masses: Vec::new(),
            down: HashMap::new(),
        };

        let masses = book.all().filter_map(|alert| holds.mass(alert));
        holds.masses = masses.collect();
        let mut down: HashMap<String, Vec<Down<'a>>> = HashMap::new();
        for alert in book.all() {
            if let Some((server_id, found)) = holds.down(alert) {
                down.entry(server_id.to_owned()).or_default().push(found);
            }
        }
        holds.down = down;
        holds
    }

    fn mass(&self, alert: &Alert) -> Option<Mass<'a>> {
        let is_there =
            alert.state == AlertState::Firing || lingers(alert, self.fleet.look.now);
        let Subject::Group(labels) = &alert.subject else {
            return None;
        };
        let rule = self.audience.rule(&alert.rule)?;
        let is_told = is_there && self.mute(alert).is_none();
        is_told.then(|| Mass {
            alert: alert.id.clone(),
            labels: labels.clone(),
            rule,
            together: Together::with(
                &rule.condition,
                alert.opened_at,
                self.fleet.look.down_after,
            ),
            channels: self.audience.knowing(alert),
        })
    }

    fn down<'b>(&self, alert: &'b Alert) -> Option<(&'b str, Down<'a>)> {
        let is_down = alert.when == "down" && alert.state == AlertState::Firing;
        let server_id = alert.subject.server_id().filter(|_| is_down)?;
        let is_told = self.mute(alert).is_none();
        let down = Down {
            alert: alert.id.clone(),
            channels: self.audience.knowing(alert),
        };
        is_told.then_some((server_id, down))
    }

    /// Why no channel is to be told that the alert fires; `None` if some may be.
    pub(crate) fn held_by(&self, alert: &Alert) -> Option<HeldBy> {
        if let Some(mute) = self.mute(alert) {
            return Some(HeldBy::Mute(mute));
        }
        let host = alert.subject.server_id();
        let host = host.and_then(|server_id| self.fleet.host(server_id));
        if host.is_some_and(|h| h.server().state.mode == Mode::Maintenance) {
            return Some(HeldBy::Maintenance);
        }
        if alert.rule == DEAF_RULE {
            return None;
        }
        if let Some(deaf) = &self.deaf {
            return Some(HeldBy::Alert(deaf.clone()));
        }
        self.is_uncertain(alert).then_some(HeldBy::Silence)
    }

    /// The alert that says more to the channel.
    pub(crate) fn held_for(&self, alert: &Alert, channel: &str) -> Option<HeldBy> {
        let mass = self.mass_of(alert, channel).map(|mass| &mass.alert);
        let more = mass.or_else(|| self.down_of(alert, channel));
        more.cloned().map(HeldBy::Alert)
    }

    /// Whether the recovery waits for the end of its group's.
    pub(crate) fn holds_recovery(&self, alert: &Alert, channel: &str) -> bool {
        self.mass_of(alert, channel).is_some()
    }

    /// Whether it may soon turn out that it is the server that does not hear.
    fn is_uncertain(&self, alert: &Alert) -> bool {
        let is_starting = self.fleet.look.hearing == Hearing::Starting;
        let is_of_silence = matches!(alert.when.as_str(), "down" | "late" | "many_down");
        is_starting && !alert.is_instant()
            || is_of_silence && deaf::is_suspected(self.fleet)
    }

    fn mass_of(&self, alert: &Alert, channel: &str) -> Option<&Mass<'a>> {
        if self.masses.is_empty() || !matches!(alert.when.as_str(), "down" | "late") {
            return None;
        }
        let host = self.fleet.host(alert.subject.server_id()?)?;
        let mut masses = self.masses.iter();
        masses.find(|mass| {
            mass.channels.contains(&channel)
                && mass.together.has(alert.since)
                && has_labels(host.server(), &mass.labels)
                && self.fleet.means(&mass.rule.select, host)
        })
    }

    /// The alert that the host is down, if this is another one.
    fn down_of(&self, alert: &Alert, channel: &str) -> Option<&String> {
        if alert.when == "down" {
            return None;
        }
        let mut down = self.down.get(alert.subject.server_id()?)?.iter();
        let down = down.find(|down| down.channels.contains(&channel))?;
        Some(&down.alert)
    }

    /// The id of the mute that is in force for the alert.
    fn mute(&self, alert: &Alert) -> Option<String> {
        let mut mutes = self.mutes.iter();
        let mute = mutes.find(|stored| {
            let rules = &stored.mute.rules;
            let is_meant = rules.is_empty() || rules.contains(&alert.rule);
            is_meant && self.covers(stored, alert)
        });
        mute.map(|stored| stored.id.clone())
    }

    /// Whether the mute means the alert's host: of a group, all that are down and that
    /// the alert's rule means.
    fn covers(&self, stored: &StoredMute, alert: &Alert) -> bool {
        let select = &stored.mute.select;
        match &alert.subject {
            Subject::Host(host) => {
                let host = self.fleet.host(&host.server_id);
                host.is_some_and(|host| self.fleet.means(select, host))
            }
            Subject::Group(labels) => {
                let rule = self.audience.rule(&alert.rule);
                let is_member = |host: &&H| {
                    has_labels(host.server(), labels)
                        && rule.is_none_or(|rule| self.fleet.means(&rule.select, host))
                };
                let mut down = self.fleet.down().filter(is_member).peekable();
                down.peek().is_some() && down.all(|host| self.fleet.means(select, host))
            }
            Subject::Server => select == "all" && stored.mute.rules.is_empty(),
        }
    }
}

/// The selectors that a look's rules and mutes have.
pub(crate) fn selectors<'a>(
    rules: impl Iterator<Item = &'a Rule>,
    mutes: &'a [StoredMute],
) -> impl Iterator<Item = &'a str> {
    let mutes = mutes.iter().map(|stored| stored.mute.select.as_str());
    rules.map(|rule| rule.select.as_str()).chain(mutes)
}
