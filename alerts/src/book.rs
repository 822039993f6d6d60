//! The alerts that the engine has in its hands: open ones, and those that channels have
//! still to be told the end of.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use fleetbeat_protocol::Timestamp;

use crate::alert::{Alert, AlertState, EndReason, Subject, Told};
use crate::plan::{AlertEvent, AlertEventKind};
use crate::time::{before, between};

/// For how long turns count, in seconds.
const TURNS_S: i64 = 3600;
/// When a group has recovered, its last hosts have so long to be heard again.
const LINGER: Duration = Duration::from_secs(180);

/// Alerts, found by id and by what they are about, with what has changed of them.
#[derive(Default)]
pub(crate) struct Book {
    alerts: BTreeMap<String, Alert>,
    /// The open ones: by rule, then by subject.
    open: HashMap<String, HashMap<String, Vec<String>>>,
    /// When alerts that are over began and ended in the last hour.
    turns: HashMap<Key, Vec<Timestamp>>,
    changed: BTreeSet<String>,
    /// Those that do not fire and that the store does not have.
    unwritten: BTreeSet<String>,
    events: Vec<(String, AlertEventKind, Timestamp)>,
}

/// What an alert is about: rule, subject and object.
type Key = (String, String, String);

/// The subject as the book finds it.
pub(crate) fn subject_key(subject: &Subject) -> String {
    match subject {
        Subject::Host(host) => host.server_id.clone(),
        Subject::Group(labels) => {
            let pairs = labels.iter().map(|(name, value)| format!("{name}={value}"));
            pairs.collect::<Vec<_>>().join("\0")
        }
        Subject::Server => String::new(),
    }
}

impl Book {
    /// The book of the alerts that were saved.
    pub(crate) fn load(alerts: Vec<Alert>) -> Book {
        let mut book = Book::default();
        for alert in alerts {
            book.keep_turns(&alert);
            book.insert(alert);
        }
        book.changed.clear();
        book
    }

    /// Takes a new alert in.
    pub(crate) fn insert(&mut self, alert: Alert) {
        self.changed.insert(alert.id.clone());
        if alert.is_open() {
            let of_rule = self.open.entry(alert.rule.clone()).or_default();
            let of_subject = of_rule.entry(subject_key(&alert.subject)).or_default();
            of_subject.push(alert.id.clone());
        }
        self.alerts.insert(alert.id.clone(), alert);
    }

    pub(crate) fn get(&self, id: &str) -> Option<&Alert> {
        self.alerts.get(id)
    }

    /// The alert, to be changed and written.
    pub(crate) fn change(&mut self, id: &str) -> Option<&mut Alert> {
        let alert = self.alerts.get_mut(id)?;
        if !self.changed.contains(id) {
            self.changed.insert(id.to_owned());
            self.unwritten.remove(id);
        }
        Some(alert)
    }

    /// Keeps a new alert from being written before it changes.
    pub(crate) fn keep_back(&mut self, id: &str) {
        self.changed.remove(id);
        self.unwritten.insert(id.to_owned());
    }

    /// Has an alert written that was kept back.
    pub(crate) fn write_once(&mut self, id: &str) {
        if self.unwritten.remove(id) {
            self.changed.insert(id.to_owned());
        }
    }

    /// The alert, for changes that are written with the next one: a value, for example.
    pub(crate) fn touch(&mut self, id: &str) -> Option<&mut Alert> {
        self.alerts.get_mut(id)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Alert> {
        self.alerts.values()
    }

    /// The ids of all alerts.
    pub(crate) fn ids(&self) -> Vec<String> {
        self.alerts.keys().cloned().collect()
    }

    /// The ids of the open alerts of a rule.
    pub(crate) fn open_of_rule(&self, rule: &str) -> Vec<String> {
        let subjects = self.open.get(rule).into_iter().flat_map(HashMap::values);
        let mut ids: Vec<String> = subjects.flatten().cloned().collect();
        ids.sort_unstable();
        ids
    }

    /// Whether a rule has open alerts.
    pub(crate) fn has_open(&self, rule: &str) -> bool {
        let subjects = self.open.get(rule);
        subjects.is_some_and(|subjects| !subjects.is_empty())
    }

    /// Whether a rule has open alerts about a subject.
    pub(crate) fn has_open_of(&self, rule: &str, subject: &str) -> bool {
        !self.open_of(rule, subject).is_empty()
    }

    /// The ids of the open alerts of a rule about a subject.
    pub(crate) fn open_of(&self, rule: &str, subject: &str) -> &[String] {
        let subjects = self.open.get(rule);
        let ids = subjects.and_then(|subjects| subjects.get(subject));
        ids.map_or(&[], Vec::as_slice)
    }

    /// The open alert about this object.
    pub(crate) fn find(&self, rule: &str, subject: &str, object: &str) -> Option<&Alert> {
        let ids = self.open_of(rule, subject).iter();
        let mut alerts = ids.filter_map(|id| self.alerts.get(id));
        alerts.find(|alert| alert.object == object)
    }

    /// Ends an alert. One that has not fired is over in silence.
    pub(crate) fn end(&mut self, id: &str, reason: Option<EndReason>, now: Timestamp) {
        let is_unwritten = self.unwritten.contains(id);
        let Some(alert) = self.change(id) else {
            return;
        };
        let was_firing = alert.state == AlertState::Firing;
        alert.state = AlertState::Resolved;
        alert.ended_at = Some(now);
        alert.reason = reason;
        alert.flapping = false;
        alert.stale = false;
        alert.held_by = None;

        let ended = alert.clone();
        self.keep_turns(&ended);
        self.leave_index(&ended);
        if was_firing {
            self.tell_event(id, AlertEventKind::Resolved, now);
        }
        if is_unwritten {
            self.changed.remove(id);
            self.alerts.remove(id);
        }
    }

    fn leave_index(&mut self, alert: &Alert) {
        let Some(subjects) = self.open.get_mut(&alert.rule) else {
            return;
        };
        let subject = subject_key(&alert.subject);
        if let Some(ids) = subjects.get_mut(&subject) {
            ids.retain(|id| *id != alert.id);
            if ids.is_empty() {
                subjects.remove(&subject);
            }
        }
    }

    /// Notes an event of an alert.
    pub(crate) fn tell_event(&mut self, id: &str, kind: AlertEventKind, at: Timestamp) {
        self.events.push((id.to_owned(), kind, at));
    }

    fn keep_turns(&mut self, alert: &Alert) {
        if !alert.is_open() && !alert.course.turns.is_empty() {
            let subject = subject_key(&alert.subject);
            let key = (alert.rule.clone(), subject, alert.object.clone());
            let turns = self.turns.entry(key).or_default();
            turns.extend(&alert.course.turns);
            turns.sort_unstable();
            turns.dedup();
        }
    }

    /// The turns of the last hour of earlier alerts about the same, for a new one.
    pub(crate) fn take_turns(
        &mut self,
        rule: &str,
        subject: &str,
        object: &str,
        now: Timestamp,
    ) -> Vec<Timestamp> {
        let key = (rule.to_owned(), subject.to_owned(), object.to_owned());
        let mut turns = self.turns.remove(&key).unwrap_or_default();
        turns.retain(|turn| *turn > before(now, TURNS_S));
        turns
    }

    /// The changed alerts with their events, for a plan.
    pub(crate) fn take_changes(&mut self) -> (Vec<Alert>, Vec<AlertEvent>) {
        let changed = std::mem::take(&mut self.changed);
        let ids: Vec<String> = changed.into_iter().collect();
        let events = std::mem::take(&mut self.events).into_iter();
        let events = events.filter_map(|(id, kind, at)| {
            let alert = ids.binary_search(&id).ok()?;
            Some(AlertEvent { alert, kind, at })
        });
        let events = events.collect();

        let alerts = ids.iter().filter_map(|id| self.alerts.get(id));
        (alerts.cloned().collect(), events)
    }

    /// Lets go of what is over and told, once it is written; and of turns that are old.
    pub(crate) fn forget(&mut self, now: Timestamp, ended_after: Timestamp) {
        let changed = &self.changed;
        self.alerts.retain(|id, alert| {
            let is_old = alert.ended_at.is_some_and(|at| at < ended_after);
            let is_needed = alert.is_open() || lingers(alert, now);
            is_needed || changed.contains(id) || !(is_old || is_told(alert))
        });
        let hour = before(now, TURNS_S);
        self.turns
            .retain(|_, turns| turns.last().is_some_and(|last| *last > hour));
    }
}

/// Whether nothing can become of an alert that is over. A dead delivery may be tried
/// again.
fn is_told(alert: &Alert) -> bool {
    alert.told.values().all(|mark| mark.told == Told::Closed)
}

/// Whether the group of an alert has only just recovered: its hosts are still coming
/// back.
pub(crate) fn lingers(alert: &Alert, now: Timestamp) -> bool {
    let is_recovered =
        alert.when == "many_down" && alert.fired_at.is_some() && alert.reason.is_none();
    let ended = alert.ended_at.filter(|_| is_recovered);
    ended.is_some_and(|ended| between(ended, now) < LINGER)
}
