//! What every backend must do with alerts and what people set up for them.

use std::time::Duration;

use fleetbeat_protocol::Timestamp;
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::events::{all, query, watch};
use super::fixtures::{act, beat, ip, minutes, now, sweep};
use crate::store::{
    AlertQuery, AlertRow, AlertSlice, AlertState, Conflict, Event, EventKind, Expected,
    NewEvent, Object, ObjectChange, ObjectKind, Page, SavedAlerts, Store, StoreError,
    facts,
};

/// A time that every database keeps.
pub(super) fn start() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

/// Everything, from the beginning of time.
pub(super) fn load(store: &dyn Store) -> SavedAlerts {
    store.load_alerts(Timestamp::UNIX_EPOCH).unwrap().unwrap()
}

/// A firing alert that began `minute` minutes behind the start.
pub(super) fn alert(id: &str, minute: i64) -> AlertRow {
    AlertRow {
        id: id.to_owned(),
        rule: "rul-1".to_owned(),
        server_id: None,
        severity: "critical".to_owned(),
        state: AlertState::Firing,
        opened_at: start() + minutes(minute),
        ended_at: None,
        body: json!({"id": id, "what": "a \u{1b}[2J \u{fffd}"}).to_string(),
    }
}

/// The same alert, which is over.
pub(super) fn over(alert: &AlertRow) -> AlertRow {
    AlertRow {
        state: AlertState::Resolved,
        ended_at: Some(alert.opened_at + minutes(5)),
        ..alert.clone()
    }
}

pub(super) fn told(kind: EventKind, id: &str) -> NewEvent {
    NewEvent::new(kind, start(), facts([("alert", id.into())]))
}

pub(super) fn write(store: &dyn Store, alerts: &[AlertRow]) {
    let slice = AlertSlice {
        alerts,
        ..AlertSlice::default()
    };
    store.write_alerts(&slice).unwrap();
}

/// The events of these kinds, once they can be read.
pub(super) fn events_of(store: &dyn Store, kinds: &[EventKind]) -> Vec<Event> {
    watch(store, now());
    let mut events = all(store, &query(None, 1000));
    events.retain(|event| kinds.contains(&event.event.kind));
    events
}

fn conflict<T: std::fmt::Debug>(result: Result<T, StoreError>) -> Conflict {
    match result {
        Err(StoreError::Conflict(conflict)) => conflict,
        other => panic!("{other:?}"),
    }
}

fn put(
    store: &dyn Store,
    (kind, id, body): (ObjectKind, &str, &str),
    expected: Expected,
) -> Result<i64, StoreError> {
    let event = act().event(EventKind::RuleChanged, facts([("rule", id.into())]));
    store.put_alert_object(&ObjectChange {
        kind,
        id,
        body,
        expected,
        event: &event,
    })
}

pub(super) fn rules_and_mutes_are_kept_with_their_versions(store: &dyn Store) {
    use ObjectKind::{Ack, Channel, Mute, Rule};
    const NEW: Expected = Expected::Nothing { most: 2 };
    for kind in [Rule, Mute, Channel, Ack] {
        assert!(store.alert_objects(kind).unwrap().is_empty());
        assert_eq!(store.alert_object(kind, "2").unwrap(), None);
        assert_eq!(put(store, (kind, "2", "{}"), NEW), Ok(1));
    }
    let taken = put(store, (Rule, "2", "{\"n\": 1}"), NEW);
    assert_eq!(conflict(taken), Conflict::Taken("rule 2".to_owned()));
    put(store, (Rule, "1", "{\"n\": 0}"), NEW).unwrap();
    let many = put(store, (Rule, "3", "{}"), NEW);
    let (what, most) = ("rule", 2);
    assert_eq!(conflict(many), Conflict::TooMany { what, most });

    let version = |version| Expected::Version(version);
    assert_eq!(put(store, (Rule, "2", "{\"n\": 2}"), version(1)), Ok(2));
    assert_eq!(put(store, (Rule, "2", "{\"n\": 3}"), Expected::Any), Ok(3));
    for (id, expected) in [("2", version(2)), ("9", version(1)), ("9", Expected::Any)] {
        let changed = conflict(put(store, (Rule, id, "{}"), expected));
        assert_eq!(changed, Conflict::Changed(format!("rule {id}")));
    }
    let object = |id: &str, version, body: &str| Object {
        id: id.to_owned(),
        version,
        body: body.to_owned(),
    };
    let [one, two] = [object("1", 1, "{\"n\": 0}"), object("2", 3, "{\"n\": 3}")];
    assert_eq!(store.alert_objects(Rule).unwrap(), [one, two.clone()]);
    assert_eq!(store.alert_object(Rule, "2").unwrap(), Some(two));
    assert_eq!(store.alert_objects(Mute).unwrap(), [object("2", 1, "{}")]);

    let gone = act().event(EventKind::RuleDeleted, facts([("rule", "2".into())]));
    assert!(store.remove_alert_object(Rule, "2", &gone).unwrap());
    assert!(!store.remove_alert_object(Rule, "2", &gone).unwrap());
    assert_eq!(store.alert_object(Rule, "2").unwrap(), None);
    assert_eq!(put(store, (Rule, "2", "{}"), NEW), Ok(1));
    assert_eq!(store.alert_objects(Ack).unwrap().len(), 1);

    let kinds = [EventKind::RuleChanged, EventKind::RuleDeleted];
    let events = events_of(store, &kinds);
    let of = |event: &Event| event.event.facts["rule"].as_str().unwrap().to_owned();
    let told: Vec<String> = events.iter().map(of).collect();
    assert_eq!(told, ["2", "2", "2", "2", "1", "2", "2", "2", "2"]);
    assert_eq!(events[7].event.kind, EventKind::RuleDeleted);
    assert!(events.iter().all(|event| event.event.act.is_some()));
}

pub(super) fn of_many_who_change_a_rule_at_once_one_is_first(store: &dyn Store) {
    let rule = |body| (ObjectKind::Rule, "1", body);
    let new = Expected::Nothing { most: 1 };
    put(store, rule("{}"), new).unwrap();
    let change = || put(store, rule("{\"n\": 1}"), Expected::Version(1));
    let results = std::thread::scope(|scope| {
        let writers = [(); 8].map(|()| scope.spawn(change));
        writers.map(|writer| writer.join().unwrap())
    });
    let done = results.iter().filter(|result| **result == Ok(2));
    assert_eq!(done.count(), 1, "{results:?}");
    assert_eq!(events_of(store, &[EventKind::RuleChanged]).len(), 2);
}

pub(super) fn alerts_come_back_as_they_were_written(store: &dyn Store) {
    assert_eq!(load(store), SavedAlerts::default());
    store.record(&[beat("10.0.0.1", now())]).unwrap();
    let server = store.server(&ip("10.0.0.1").into()).unwrap().unwrap();
    let of_host = |id, minute| AlertRow {
        server_id: Some(server.server_id.clone()),
        ..alert(id, minute)
    };
    let pending = AlertRow {
        state: AlertState::Pending,
        ..of_host("alr-2", 1)
    };
    let unknown = AlertRow {
        server_id: Some("srv-gone".to_owned()),
        ..alert("alr-4", 3)
    };
    let alerts = [
        of_host("alr-1", 0),
        pending.clone(),
        alert("alr-3", 2),
        unknown,
    ];
    let firing = EventKind::AlertFiring;
    let events = [0, 2, 3].map(|n| (n, told(firing, &alerts[n].id)));
    let slice = AlertSlice {
        alerts: &alerts,
        events: &events,
        dropped: &[],
        state: Some("{\"cursor\": 7}"),
    };
    store.write_alerts(&slice).unwrap();
    let saved = load(store);
    assert_eq!(saved.alerts, alerts);
    assert_eq!(saved.state.as_deref(), Some("{\"cursor\": 7}"));
    assert_eq!(store.alert("alr-2").unwrap(), Some(pending));
    assert_eq!(store.alert("alr-9").unwrap(), None);

    // What was pending alone may go as if it had not been.
    let ended = over(&alerts[0]);
    let slice = AlertSlice {
        alerts: std::slice::from_ref(&ended),
        events: &[(0, told(EventKind::AlertResolved, "alr-1"))],
        dropped: &["alr-2".to_owned()],
        state: None,
    };
    store.write_alerts(&slice).unwrap();
    assert_eq!(store.alert("alr-1").unwrap(), Some(ended.clone()));
    assert_eq!(store.alert("alr-2").unwrap(), None);
    let late = ended.ended_at.unwrap() + SignedDuration::from_millis(1);
    let saved = store.load_alerts(late).unwrap().unwrap();
    assert_eq!(saved.alerts, alerts[2..]);
    assert_eq!(saved.state.as_deref(), Some("{\"cursor\": 7}"));
    assert_eq!(load(store).alerts.len(), 3);

    let events = events_of(store, &[firing, EventKind::AlertResolved]);
    let hosts: Vec<Option<&str>> = events
        .iter()
        .map(|event| {
            event
                .host
                .as_ref()
                .and_then(|host| host.server_id.as_deref())
        })
        .collect();
    assert_eq!(hosts[0], Some(server.server_id.as_str()), "{events:?}");
    assert_eq!((hosts[1], hosts[3]), (None, hosts[0]));
    assert_eq!(events[0].host.as_ref().unwrap().hostname, "host-10.0.0.1");
    assert_eq!(
        Value::Object(events[3].event.facts.clone()),
        json!({"alert": "alr-1"})
    );
}

pub(super) fn a_slice_of_hundreds_is_told_once(store: &dyn Store) {
    load(store);
    let name = |n: usize| format!("alr-{n:03}");
    let alerts: Vec<AlertRow> = (0..500).map(|n| alert(&name(n), 0)).collect();
    let firing = |n: usize| (n, told(EventKind::AlertFiring, &name(n)));
    let events: Vec<(usize, NewEvent)> = (0..500).map(firing).collect();
    let slice = AlertSlice {
        alerts: &alerts,
        events: &events,
        ..AlertSlice::default()
    };
    store.write_alerts(&slice).unwrap();
    assert_eq!(load(store).alerts, alerts);
    let told = events_of(store, &[EventKind::AlertFiring]);
    let ids: Vec<&str> = told
        .iter()
        .map(|event| event.event.facts["alert"].as_str().unwrap())
        .collect();
    assert_eq!(
        ids,
        alerts.iter().map(|alert| &alert.id).collect::<Vec<_>>()
    );
}

fn ids(page: &Page<AlertRow>) -> Vec<&str> {
    page.rows.iter().map(|alert| alert.id.as_str()).collect()
}

pub(super) fn alerts_are_listed_from_the_newest(store: &dyn Store) {
    use AlertState::{Firing, Pending, Resolved};
    load(store);
    let mut alerts = [("a", 0), ("b", 2), ("c", 1), ("d", 2), ("e", 0)]
        .map(|(id, minute)| alert(id, minute));
    alerts[0].state = Pending;
    alerts[1] = over(&alerts[1]);
    alerts[2].severity = "info".to_owned();
    alerts[3].rule = "rul-2".to_owned();
    alerts[4].server_id = Some("srv-1".to_owned());
    write(store, &alerts);

    let every = AlertQuery {
        limit: 10,
        ..AlertQuery::default()
    };
    let found = |query: &AlertQuery| {
        let page = store.alerts(query).unwrap();
        assert_eq!(page.next, None);
        ids(&page).concat()
    };
    assert_eq!(found(&every), "dbcea");
    let states = |states: &[AlertState]| AlertQuery {
        states: states.to_vec(),
        ..every.clone()
    };
    assert_eq!(found(&states(&[Firing, Pending])), "dcea");
    assert_eq!(found(&states(&[Pending])), "a");
    assert_eq!(found(&states(&[Resolved, Firing])), "dbce");
    let severities = AlertQuery {
        severities: vec!["info".to_owned(), "warning".to_owned()],
        ..every.clone()
    };
    assert_eq!(found(&severities), "c");
    let rule = AlertQuery {
        rule: Some("rul-2".to_owned()),
        ..every.clone()
    };
    assert_eq!(found(&rule), "d");
    let host = AlertQuery {
        server_id: Some("srv-1".to_owned()),
        states: vec![Firing],
        ..every.clone()
    };
    assert_eq!(found(&host), "e");

    for limit in 1..=5 {
        let mut query = AlertQuery {
            limit,
            ..every.clone()
        };
        let mut all = String::new();
        loop {
            let page = store.alerts(&query).unwrap();
            assert!(page.rows.len() <= limit);
            all.push_str(&ids(&page).concat());
            query.after = page.next;
            if query.after.is_none() {
                break;
            }
        }
        assert_eq!(all, "dbcea", "{limit}");
    }
}

pub(super) fn old_alerts_are_deleted_in_service_time(store: &dyn Store) {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    load(store);
    let ended = over(&alert("alr-1", 0));
    write(store, &[ended.clone(), alert("alr-2", 0)]);
    for id in ["alr-1", "alr-2"] {
        let new = Expected::Nothing { most: 9 };
        put(store, (ObjectKind::Ack, id, "{}"), new).unwrap();
    }
    sweep(store, now(), 23 * 60);
    assert_eq!(store.forget_alerts(DAY).unwrap(), 0);
    sweep(store, now(), 60);
    write(store, &[over(&alert("alr-3", 0))]);
    assert_eq!(store.forget_alerts(DAY).unwrap(), 1);
    let saved = load(store);
    let left: Vec<&str> = saved.alerts.iter().map(|alert| &*alert.id).collect();
    assert_eq!(left, ["alr-2", "alr-3"], "what is open stays");
    let acks = store.alert_objects(ObjectKind::Ack).unwrap();
    assert_eq!(acks.len(), 1);
    assert_eq!(acks[0].id, "alr-2");
}

pub(super) fn what_the_engine_remembers_can_be_read_by_others(store: &dyn Store) {
    assert_eq!(store.alert_state().unwrap(), None);
    load(store);
    assert_eq!(store.alert_state().unwrap(), None);
    for state in ["{\"n\": 1}", "{}"] {
        let slice = AlertSlice {
            state: Some(state),
            ..AlertSlice::default()
        };
        store.write_alerts(&slice).unwrap();
        assert_eq!(store.alert_state().unwrap().as_deref(), Some(state));
    }
    write(store, &[alert("alr-1", 0)]);
    assert_eq!(
        store.alert_state().unwrap().as_deref(),
        Some("{}"),
        "it stays"
    );
}
