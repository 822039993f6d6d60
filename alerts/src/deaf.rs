//! The alert that the server hears nobody. It is built in, because no rule of an admin
//! could be about the server itself.

use std::collections::BTreeMap;
use std::time::Duration;

use fleetbeat_protocol::{Severity, Timestamp};

use crate::alert::{Alert, AlertState, Course, DEAF_RULE, Subject};
use crate::book::Book;
use crate::fleet::Fleet;
use crate::ids::Chance;
use crate::look::{FleetHost, Hearing};
use crate::plan::AlertEventKind;
use crate::time::between;

/// After so long a silence of all hosts it is the server that does not hear.
const DEAF_AFTER: Duration = Duration::from_secs(180);
/// After so long a silence it may be so, and nobody is told yet that hosts are down.
const SUSPECT_AFTER: Duration = Duration::from_secs(60);

/// Begins and ends the alert.
pub(crate) fn judge<H: FleetHost>(
    fleet: &Fleet<'_, H>,
    book: &mut Book,
    chance: &mut Chance,
) {
    let is_silent = fleet.silence() >= DEAF_AFTER.min(fleet.look.down_after);
    match book.find(DEAF_RULE, "", "").map(|alert| alert.id.clone()) {
        Some(id) => go_on(fleet, book, &id, is_silent),
        None if is_silent && fleet.look.hearing == Hearing::Well => {
            let since = fleet.newest.unwrap_or(fleet.look.now);
            let alert = deaf(chance.id("alr"), since, fleet.look.now);
            let id = alert.id.clone();
            book.insert(alert);
            book.tell_event(&id, AlertEventKind::Fired, fleet.look.now);
        }
        None => {}
    }
}

/// It is over once somebody was heard and every host has had the time to be.
fn go_on<H: FleetHost>(fleet: &Fleet<'_, H>, book: &mut Book, id: &str, is_silent: bool) {
    let now = fleet.look.now;
    let Some(alert) = book.touch(id) else {
        return;
    };
    let is_heard = fleet.newest != Some(alert.since) && !is_silent;
    let course = &mut alert.course;
    if !is_heard {
        course.clears_from = None;
        return;
    }
    let from = *course.clears_from.get_or_insert(now);
    if between(from, now) >= fleet.look.down_after {
        book.end(id, None, now);
    }
}

/// Whether nobody has been heard for so long that it may be the server's fault.
pub(crate) fn is_suspected<H: FleetHost>(fleet: &Fleet<'_, H>) -> bool {
    fleet.silence() >= SUSPECT_AFTER.min(fleet.look.down_after)
}

fn deaf(id: String, since: Timestamp, now: Timestamp) -> Alert {
    Alert {
        id,
        rule: DEAF_RULE.to_owned(),
        rule_name: "the server hears no host".to_owned(),
        note: String::new(),
        severity: Severity::Critical,
        when: DEAF_RULE.to_owned(),
        subject: Subject::Server,
        object: String::new(),
        group: Vec::new(),
        state: AlertState::Firing,
        since,
        opened_at: now,
        fired_at: Some(now),
        ended_at: None,
        reason: None,
        value: None,
        limit: None,
        counted: None,
        stale: false,
        held_by: None,
        ack: None,
        flapping: false,
        told: BTreeMap::new(),
        course: Course::from(since),
    }
}
