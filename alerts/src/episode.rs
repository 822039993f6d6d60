//! The course of an alert: from a reading to the next state.
//!
//! `for` and `clear_for` are lengths between readings' times. Of what heartbeats carry,
//! that is the heartbeats' time: without a new heartbeat nothing goes on.

use std::time::Duration;

use fleetbeat_protocol::{Rule, Timestamp};

use crate::alert::{Alert, AlertState, Counted, Course, Subject};
use crate::book::Book;
use crate::ids::Chance;
use crate::measure::{Reading, Verdict};
use crate::plan::AlertEventKind;
use crate::time::{before, between};

/// So many turns within [`FLAP_WITHIN_S`] are flapping.
const FLAP_TURNS: usize = 6;
const FLAP_WITHIN_S: i64 = 3600;
/// What flaps has settled after so long without a turn.
const SETTLED_AFTER: Duration = Duration::from_secs(30 * 60);
/// An alert that does not fire is written once it has been there for so long: what is
/// over sooner costs the store nothing.
const PENDING_KEPT: Duration = Duration::from_secs(120);

/// What a reading is about, and when.
pub(crate) struct Case<'a> {
    pub(crate) rule_id: &'a str,
    pub(crate) rule: &'a Rule,
    pub(crate) limit: Option<f64>,
    pub(crate) subject: &'a dyn Fn() -> Subject,
    pub(crate) subject_key: &'a str,
    pub(crate) group: &'a dyn Fn() -> Vec<(String, String)>,
    /// Since when it would be so.
    pub(crate) since: Timestamp,
    /// The time of the reading, by which `for` counts.
    pub(crate) at: Timestamp,
    pub(crate) now: Timestamp,
    pub(crate) counted: Option<Counted>,
    /// Whether something may begin to fire.
    pub(crate) may_fire: bool,
}

/// Takes a reading into account.
pub(crate) fn advance(
    book: &mut Book,
    chance: &mut Chance,
    case: &Case<'_>,
    reading: &Reading,
) {
    let open = book.find(case.rule_id, case.subject_key, &reading.object);
    match open.map(|alert| (alert.id.clone(), alert.state)) {
        None if reading.verdict == Verdict::Broken && case.may_fire => {
            let alert = begin(book, chance, case, reading);
            let id = alert.id.clone();
            book.insert(alert);
            if case.rule.for_.is_zero() {
                fire(book, &id, case.now);
            } else {
                book.keep_back(&id);
            }
        }
        None => {}
        Some((id, AlertState::Pending)) => go_on_pending(book, case, reading, &id),
        Some((id, _)) => go_on_firing(book, case, reading, &id),
    }
}

fn begin(
    book: &mut Book,
    chance: &mut Chance,
    case: &Case<'_>,
    reading: &Reading,
) -> Alert {
    let object = &reading.object;
    Alert {
        id: chance.id("alr"),
        rule: case.rule_id.to_owned(),
        rule_name: case.rule.name.clone(),
        note: case.rule.note.clone(),
        severity: case.rule.severity,
        when: case.rule.condition.as_str().to_owned(),
        subject: (case.subject)(),
        object: object.clone(),
        group: (case.group)(),
        state: AlertState::Pending,
        since: case.since,
        opened_at: case.now,
        fired_at: None,
        ended_at: None,
        reason: None,
        value: reading.value,
        limit: case.limit,
        counted: case.counted,
        stale: false,
        held_by: None,
        ack: None,
        flapping: false,
        told: std::collections::BTreeMap::new(),
        course: Course {
            counts_from: case.at,
            clears_from: None,
            stale_since: None,
            turns: book.take_turns(case.rule_id, case.subject_key, object, case.now),
            is_on: true,
            is_shrinking: false,
        },
    }
}

fn go_on_pending(book: &mut Book, case: &Case<'_>, reading: &Reading, id: &str) {
    if reading.verdict != Verdict::Broken {
        return book.end(id, None, case.now);
    }
    let Some(alert) = book.touch(id) else {
        return;
    };
    see(alert, case, reading);

    let lasted = between(alert.course.counts_from, case.at);
    let is_due = lasted >= case.rule.for_ && case.may_fire;
    let is_old = between(alert.opened_at, case.now) >= PENDING_KEPT;
    if is_due {
        fire(book, id, case.now);
    } else if is_old {
        book.write_once(id);
    }
}

fn go_on_firing(book: &mut Book, case: &Case<'_>, reading: &Reading, id: &str) {
    let Some(alert) = book.touch(id) else {
        return;
    };
    see(alert, case, reading);
    let course = &mut alert.course;
    match reading.verdict {
        Verdict::Broken => {
            course.clears_from = None;
            if !course.is_on {
                course.is_on = true;
                turn(book, id, case.now);
            }
        }
        Verdict::Between => course.clears_from = None,
        Verdict::Kept if course.is_on => {
            let from = *course.clears_from.get_or_insert(case.at);
            if between(from, case.at) >= case.rule.clear_for {
                course.is_on = false;
                course.clears_from = None;
                turn(book, id, case.now);
                end_unless_flapping(book, id, case.now);
            }
        }
        Verdict::Kept => {}
    }
}

/// Notes the value. That alone is not worth a write.
fn see(alert: &mut Alert, case: &Case<'_>, reading: &Reading) {
    if reading.verdict == Verdict::Broken || alert.course.is_on {
        if let Some((before, now)) = alert.counted.zip(case.counted)
            && before.hosts != now.hosts
        {
            alert.course.is_shrinking = now.hosts < before.hosts;
        }
        alert.value = reading.value;
        alert.counted = case.counted;
    }
    alert.limit = case.limit;
    alert.stale = false;
    alert.course.stale_since = None;
}

fn fire(book: &mut Book, id: &str, now: Timestamp) {
    if let Some(alert) = book.change(id) {
        alert.state = AlertState::Firing;
        alert.fired_at = Some(now);
    }
    book.tell_event(id, AlertEventKind::Fired, now);
    turn(book, id, now);
}

/// Notes that the alert has begun or ceased to be so; many of these are flapping.
fn turn(book: &mut Book, id: &str, now: Timestamp) {
    let Some(alert) = book.change(id) else {
        return;
    };
    let turns = &mut alert.course.turns;
    turns.push(now);
    turns.retain(|turn| *turn > before(now, FLAP_WITHIN_S));

    if turns.len() >= FLAP_TURNS && !alert.flapping {
        alert.flapping = true;
        book.tell_event(id, AlertEventKind::Flapping, now);
    }
}

fn end_unless_flapping(book: &mut Book, id: &str, now: Timestamp) {
    if book.get(id).is_some_and(|alert| !alert.flapping) {
        book.end(id, None, now);
    }
}

/// Ends the flapping of what has stayed for long enough as it is.
pub(crate) fn settle(book: &mut Book, id: &str, now: Timestamp) {
    let Some(alert) = book.get(id).filter(|alert| alert.flapping) else {
        return;
    };
    let last = alert.course.turns.last().copied().unwrap_or(now);
    if between(last, now) < SETTLED_AFTER || alert.stale {
        return;
    }

    let is_on = alert.course.is_on;
    if let Some(alert) = book.change(id) {
        alert.flapping = false;
        alert.course.turns.clear();
    }
    if is_on {
        book.tell_event(id, AlertEventKind::Settled, now);
    } else {
        book.end(id, None, now);
    }
}

/// Begins the counts of `for` and `clear_for` anew: the clock has jumped.
pub(crate) fn count_anew(book: &mut Book, now: Timestamp) {
    for id in book.ids() {
        if let Some(alert) = book.touch(&id) {
            alert.course.counts_from = now;
            alert.course.clears_from = None;
        }
    }
}
