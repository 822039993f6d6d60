//! What the rules say of the fleet: alerts begin, go on and end.

use std::collections::HashMap;

use fleetbeat_protocol::{Condition, Rule, Status, Timestamp};

use crate::alert::{Alert, AlertState, EndReason, Subject};
use crate::book::Book;
use crate::episode::{self, Case, advance};
use crate::fleet::{Fleet, label_values, subject};
use crate::ids::{Chance, event_alert_id};
use crate::look::{FleetHost, Hearing, HostEvent, HostEventKind, StoredRule};
use crate::many_down;
use crate::measure::{Gauge, Reading, Verdict};
use crate::plan::AlertEventKind;
use crate::time::between;

/// What the host has not sent for so long is not waited for any more: a day.
const STALE_FOR_S: u64 = 86_400;

/// Judges the fleet, rule by rule.
pub(crate) struct Judge<'a, 'b, H> {
    pub(crate) fleet: &'a Fleet<'b, H>,
    pub(crate) book: &'a mut Book,
    pub(crate) chance: &'a mut Chance,
    /// The rules' versions that were judged last, by id.
    pub(crate) judged: &'a mut HashMap<String, i64>,
}

impl<H: FleetHost> Judge<'_, '_, H> {
    /// Judges the whole fleet.
    pub(crate) fn judge(&mut self) {
        let rules: Vec<&StoredRule> = self.fleet.look.rules.iter().collect();
        self.end_orphans(&rules);
        for stored in rules.into_iter().filter(|stored| stored.rule.enabled) {
            self.judge_rule(stored);
        }
        self.settle();
    }

    fn now(&self) -> Timestamp {
        self.fleet.look.now
    }

    fn judge_rule(&mut self, stored: &StoredRule) {
        let gauge = Gauge::new(&stored.rule.condition);
        match &stored.rule.condition {
            Condition::Down | Condition::Late { .. } => {
                self.judge_silence(stored, &gauge);
            }
            Condition::Service { .. }
            | Condition::Load { .. }
            | Condition::Metric { .. } => self.judge_samples(stored, &gauge),
            Condition::Reboot | Condition::Conflict | Condition::Clock => {
                self.judge_events(stored);
            }
            Condition::ManyDown { .. } => self.judge_groups(stored, &gauge),
        }
        self.judged.insert(stored.id.clone(), stored.version);
    }

    /// What heartbeats carry is looked at once for each heartbeat, and of all hosts if
    /// the rule is another one than at the last look.
    fn judge_samples(&mut self, stored: &StoredRule, gauge: &Gauge) {
        let fleet = self.fleet;
        let is_known = self.judged.get(&stored.id) == Some(&stored.version);
        let all: Vec<usize>;
        let places = if is_known {
            &fleet.fresh
        } else {
            all = (0..fleet.look.hosts.len()).collect();
            &all
        };

        let mut readings = Vec::new();
        for host in places
            .iter()
            .filter_map(|place| fleet.look.hosts.get(*place))
        {
            let server = host.server();
            if server.status == Status::Down || !fleet.means(&stored.rule.select, host) {
                continue;
            }
            gauge.read(host, &mut readings);
            for reading in &readings {
                let at = fleet.heard(server);
                self.take(stored, gauge, host, reading, at, true);
            }
            self.mark_missing(stored, &server.server_id, &readings);
        }
    }

    fn take(
        &mut self,
        stored: &StoredRule,
        gauge: &Gauge,
        host: &H,
        reading: &Reading,
        at: Timestamp,
        may_fire: bool,
    ) {
        let server = host.server();
        let case = Case {
            rule_id: &stored.id,
            rule: &stored.rule,
            limit: gauge.limit(),
            subject: &|| subject(server),
            subject_key: &server.server_id,
            group: &|| label_values(server, &stored.rule.group_by),
            since: self.fleet.heard(server),
            at,
            now: self.fleet.look.now,
            counted: None,
            may_fire,
        };
        advance(self.book, self.chance, &case, reading);
    }

    /// Of a host that is heard: marks what it does not send any more.
    fn mark_missing(&mut self, stored: &StoredRule, server_id: &str, all: &[Reading]) {
        let open = self.book.open_of(&stored.id, server_id);
        let is_missing = |alert: &&Alert| {
            let mut objects = all.iter().map(|reading| &reading.object);
            !objects.any(|object| *object == alert.object)
        };
        let alerts = open.iter().filter_map(|id| self.book.get(id));
        let missing: Vec<String> = alerts
            .filter(is_missing)
            .map(|alert| alert.id.clone())
            .collect();
        for id in missing {
            self.mark_stale(&id);
        }
    }

    fn mark_stale(&mut self, id: &str) {
        let now = self.now();
        if let Some(alert) = self.book.get(id).filter(|alert| !alert.stale)
            && alert.state == AlertState::Firing
        {
            self.book.change(id);
        }
        if let Some(alert) = self.book.touch(id) {
            alert.stale = true;
            alert.course.stale_since.get_or_insert(now);
        }
    }

    fn judge_silence(&mut self, stored: &StoredRule, gauge: &Gauge) {
        let fleet = self.fleet;
        let may_fire = fleet.look.hearing == Hearing::Well;
        let has_open = self.book.has_open(&stored.id);
        for host in fleet.look.hosts {
            let server = host.server();
            let heard = fleet.silent_since(server);
            let Some(reading) = gauge.silence(server, heard, fleet.look.now) else {
                continue;
            };
            let is_meant = reading.verdict == Verdict::Broken
                && fleet.means(&stored.rule.select, host);
            let is_open =
                || has_open && self.book.has_open_of(&stored.id, &server.server_id);
            if is_meant || is_open() {
                self.take(stored, gauge, host, &reading, fleet.look.now, may_fire);
            }
        }
    }

    fn judge_groups(&mut self, stored: &StoredRule, gauge: &Gauge) {
        let fleet = self.fleet;
        let may_fire = fleet.look.hearing == Hearing::Well;
        for group in many_down::read(fleet, self.book, stored) {
            let case = Case {
                rule_id: &stored.id,
                rule: &stored.rule,
                limit: gauge.limit(),
                subject: &|| Subject::Group(group.labels.clone()),
                subject_key: &group.key,
                group: &|| group.labels.clone(),
                since: group.since,
                at: fleet.look.now,
                now: fleet.look.now,
                counted: Some(group.counted),
                may_fire,
            };
            advance(self.book, self.chance, &case, &group.reading);
        }
    }

    fn judge_events(&mut self, stored: &StoredRule) {
        for event in self.fleet.look.events {
            let Some(host) = self.fleet.host(&event.server_id) else {
                continue;
            };
            if !self.fleet.means(&stored.rule.select, host) {
                continue;
            }
            match (&stored.rule.condition, event.kind) {
                (Condition::Reboot, HostEventKind::Rebooted)
                | (Condition::Conflict, HostEventKind::Conflict)
                | (Condition::Clock, HostEventKind::ClockWrong) => {
                    self.begin_by_event(stored, host, event);
                }
                (Condition::Clock, HostEventKind::ClockRight) => {
                    let open = self.book.open_of(&stored.id, &event.server_id).to_vec();
                    for id in open {
                        self.book.end(&id, None, self.now());
                    }
                }
                _ => {}
            }
        }
    }

    fn begin_by_event(&mut self, stored: &StoredRule, host: &H, event: &HostEvent) {
        let id = event_alert_id(&stored.id, event.number);
        let is_open = self.book.has_open_of(&stored.id, &event.server_id);
        if self.book.get(&id).is_some() || is_open {
            return;
        }
        let server = host.server();
        let alert = by_event(id.clone(), stored, event, subject(server), || {
            label_values(server, &stored.rule.group_by)
        });
        let is_instant = alert.is_instant();
        let now = self.now();
        self.book.insert(Alert {
            opened_at: now,
            fired_at: Some(now),
            ended_at: is_instant.then_some(now),
            ..alert
        });
        self.book.tell_event(&id, AlertEventKind::Fired, now);
    }

    /// Ends what no rule or no host stands for any more, and freezes what nothing can be
    /// known of.
    fn end_orphans(&mut self, rules: &[&StoredRule]) {
        let rules: HashMap<&str, (&Rule, Gauge)> = rules
            .iter()
            .map(|stored| {
                let rule = &stored.rule;
                (stored.id.as_str(), (rule, Gauge::new(&rule.condition)))
            })
            .collect();
        for id in self.book.ids() {
            let Some(alert) = self.book.get(&id).filter(|alert| alert.is_open()) else {
                continue;
            };
            if alert.subject == Subject::Server {
                continue;
            }
            let Some((rule, gauge)) = rules.get(alert.rule.as_str()) else {
                self.book.end(&id, Some(EndReason::RuleDeleted), self.now());
                continue;
            };
            match self.orphaned(alert, rule, gauge) {
                Some(reason) => self.book.end(&id, Some(reason), self.now()),
                None => self.follow_rule(&id, rule),
            }
        }
    }

    fn orphaned(&self, alert: &Alert, rule: &Rule, gauge: &Gauge) -> Option<EndReason> {
        if !rule.enabled {
            return Some(EndReason::RuleDisabled);
        }
        if !is_of(alert, rule, gauge) {
            return Some(EndReason::RuleChanged);
        }
        let server_id = alert.subject.server_id()?;
        let Some(host) = self.fleet.host(server_id) else {
            return Some(EndReason::HostDeleted);
        };

        // Of a host that is down nobody knows whether the rule means it.
        if rule.condition.is_of_samples() && host.server().status == Status::Down {
            return None;
        }
        if !self.fleet.means(&rule.select, host) {
            return Some(EndReason::HostNotMeant);
        }
        let stale_for = alert.course.stale_since;
        let stale_for = stale_for.map(|since| between(since, self.now()).as_secs());
        let is_given_up = stale_for.is_some_and(|seconds| seconds >= STALE_FOR_S);
        is_given_up.then_some(EndReason::NotMeasured)
    }

    fn follow_rule(&mut self, id: &str, rule: &Rule) {
        let Some(alert) = self.book.get(id) else {
            return;
        };
        // An alert about a load that was stored without its object gets it now.
        let load = match &rule.condition {
            Condition::Load { load, .. } => load.as_str(),
            _ => "",
        };
        let lacks_load = alert.object.is_empty() && !load.is_empty();
        let is_as_before = alert.severity == rule.severity
            && alert.rule_name == rule.name
            && alert.note == rule.note
            && !lacks_load;
        let host = alert.subject.server_id().and_then(|id| self.fleet.host(id));
        let is_down = host.is_some_and(|host| host.server().status == Status::Down);

        if !is_as_before && let Some(alert) = self.book.change(id) {
            alert.severity = rule.severity;
            alert.rule_name.clone_from(&rule.name);
            alert.note.clone_from(&rule.note);
            if lacks_load {
                load.clone_into(&mut alert.object);
            }
        }
        if is_down && rule.condition.is_of_samples() {
            self.mark_stale(id);
        }
    }

    fn settle(&mut self) {
        let flapping = self.book.all().filter(|alert| alert.flapping);
        let flapping: Vec<String> = flapping.map(|alert| alert.id.clone()).collect();
        for id in flapping {
            episode::settle(self.book, &id, self.now());
        }
    }
}

/// Whether the rule still looks at what the alert is about.
fn is_of(alert: &Alert, rule: &Rule, gauge: &Gauge) -> bool {
    if rule.condition.as_str() != alert.when {
        return false;
    }
    match &alert.subject {
        Subject::Group(labels) => {
            let names = labels.iter().map(|(name, _)| name.clone());
            names.eq(rule.group_by.iter().map(ToString::to_string))
        }
        // Before loads were objects, an alert about a load had none.
        _ if alert.when == "load" && alert.object.is_empty() => true,
        _ => gauge.looks_at(&alert.object),
    }
}

/// The alert that an event makes; instant ones are over at once.
fn by_event(
    id: String,
    stored: &StoredRule,
    event: &HostEvent,
    subject: Subject,
    group: impl FnOnce() -> Vec<(String, String)>,
) -> Alert {
    let rule = &stored.rule;
    let state = if rule.condition.is_instant() {
        AlertState::Resolved
    } else {
        AlertState::Firing
    };
    Alert {
        id,
        rule: stored.id.clone(),
        rule_name: rule.name.clone(),
        note: rule.note.clone(),
        severity: rule.severity,
        when: rule.condition.as_str().to_owned(),
        subject,
        object: String::new(),
        group: group(),
        state,
        since: event.at,
        opened_at: event.at,
        fired_at: None,
        ended_at: None,
        reason: None,
        value: None,
        limit: None,
        counted: None,
        stale: false,
        held_by: None,
        ack: None,
        flapping: false,
        told: std::collections::BTreeMap::new(),
        course: crate::alert::Course::from(event.at),
    }
}
