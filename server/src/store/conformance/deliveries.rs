//! What every backend must do with messages on their way.

use std::time::Duration;

use serde_json::json;

use super::alerts::{alert, events_of, load, over, start, told, write};
use super::fixtures::{act, minutes, now, sweep};
use crate::store::{
    Conflict, Decision, DeliveryOutcome, DeliveryQuery, DeliveryRow, DeliveryState,
    EventKind, Store, StoreError, facts,
};

/// A message that waits, about these alerts.
pub(super) fn delivery(number: i64, alerts: &[&str]) -> DeliveryRow {
    DeliveryRow {
        id: format!("dlv-{number}"),
        number,
        channel: "chn-1".to_owned(),
        alerts: alerts.iter().map(|id| (*id).to_owned()).collect(),
        folds: Vec::new(),
        state: DeliveryState::Waiting,
        created_at: start(),
        asked_at: None,
        next_at: start() + minutes(1),
        settled_at: None,
        tries: 0,
        error: None,
        body: json!({"number": number}).to_string(),
        message: None,
    }
}

fn get(store: &dyn Store, number: i64) -> DeliveryRow {
    store.delivery(&format!("dlv-{number}")).unwrap().unwrap()
}

fn claim(store: &dyn Store, number: i64, message: &str) -> Option<String> {
    store
        .claim_delivery(&format!("dlv-{number}"), message)
        .unwrap()
}

fn settle(store: &dyn Store, number: i64, outcome: &DeliveryOutcome) {
    let id = format!("dlv-{number}");
    store.settle_delivery(&id, outcome, None).unwrap();
}

/// The numbers of the messages that are to be sent, once everything is loaded anew.
pub(super) fn waiting(store: &dyn Store) -> Vec<i64> {
    let deliveries = load(store).deliveries.into_iter();
    let waiting = deliveries.filter(|delivery| delivery.state == DeliveryState::Waiting);
    waiting.map(|delivery| delivery.number).collect()
}

/// Sends nothing of it, and gives it up.
fn give_up(store: &dyn Store, number: i64) {
    claim(store, number, "text").unwrap();
    let (at, error) = (start() + minutes(2), "status 404".to_owned());
    settle(store, number, &DeliveryOutcome::Dead { at, error });
}

pub(super) fn a_message_is_the_same_at_each_attempt(store: &dyn Store) {
    load(store);
    write(store, &[alert("alr-1", 0), alert("alr-2", 0)]);
    let first = delivery(1, &["alr-1", "alr-2"]);
    store.queue_delivery(&first).unwrap();
    store.queue_delivery(&delivery(2, &["alr-2"])).unwrap();
    assert_eq!(get(store, 1), first);

    assert_eq!(claim(store, 1, "text").as_deref(), Some("text"));
    assert_eq!(claim(store, 1, "text"), None, "it is being sent");
    assert_eq!(claim(store, 9, "text"), None, "it is not there");
    let sending = DeliveryRow {
        state: DeliveryState::Sending,
        tries: 1,
        message: Some("text".to_owned()),
        ..first
    };
    assert_eq!(get(store, 1), sending);

    let (next_at, error) = (start() + minutes(3), "timeout".to_owned());
    let again = DeliveryOutcome::Again {
        next_at,
        error: error.clone(),
    };
    settle(store, 1, &again);
    let waits = DeliveryRow {
        state: DeliveryState::Waiting,
        next_at,
        error: Some(error),
        ..sending
    };
    assert_eq!(get(store, 1), waits);
    assert_eq!(claim(store, 1, "another text").as_deref(), Some("text"));
    let at = start() + minutes(4);
    settle(store, 1, &DeliveryOutcome::Sent { at });
    let sent = DeliveryRow {
        state: DeliveryState::Sent,
        tries: 2,
        error: None,
        settled_at: Some(at),
        ..waits
    };
    assert_eq!(get(store, 1), sent);

    let without_text = DeliveryRow {
        message: None,
        ..sent.clone()
    };
    let second = delivery(2, &["alr-2"]);
    assert_eq!(load(store).deliveries, [without_text, second.clone()]);
    let later = start() + minutes(1);
    let saved = store.load_alerts(later).unwrap().unwrap();
    assert_eq!(
        saved.deliveries,
        [second],
        "what is settled is wanted of late alone"
    );
    let twice = store.settle_delivery("dlv-1", &again, None);
    assert!(matches!(twice, Err(StoreError::Conflict(_))), "{twice:?}");
    assert_eq!(get(store, 1), sent);
}

pub(super) fn what_was_being_sent_waits_again(store: &dyn Store) {
    load(store);
    for number in [2, 1, 3] {
        store.queue_delivery(&delivery(number, &[])).unwrap();
    }
    claim(store, 1, "text").unwrap();
    let saved = load(store);
    let again = &saved.deliveries[0];
    assert_eq!(waiting(store), [1, 2, 3]);
    assert_eq!((again.state, again.tries), (DeliveryState::Waiting, 1));
    assert_eq!(again.message.as_deref(), Some("text"));
    assert_eq!(get(store, 1), *again);
    assert_eq!(claim(store, 1, "another text").as_deref(), Some("text"));
}

pub(super) fn a_message_that_was_not_tried_can_be_changed(store: &dyn Store) {
    load(store);
    write(store, &[alert("alr-1", 0), alert("alr-2", 0)]);
    store
        .queue_delivery(&delivery(1, &["alr-1", "alr-2"]))
        .unwrap();
    let changed = DeliveryRow {
        next_at: start(),
        body: "{}".to_owned(),
        ..delivery(1, &["alr-2"])
    };
    assert!(store.change_delivery(&changed).unwrap());
    assert_eq!(get(store, 1), changed);
    let of = |alert: &str| {
        let query = DeliveryQuery {
            alert: Some(alert.to_owned()),
            limit: 9,
            ..DeliveryQuery::default()
        };
        store.deliveries(&query).unwrap().rows.len()
    };
    assert_eq!((of("alr-1"), of("alr-2")), (0, 1));

    claim(store, 1, "text").unwrap();
    assert!(!store.change_delivery(&delivery(1, &["alr-1"])).unwrap());
    let (next_at, error) = (start(), "timeout".to_owned());
    settle(store, 1, &DeliveryOutcome::Again { next_at, error });
    assert!(!store.change_delivery(&delivery(1, &[])).unwrap());
    assert_eq!(get(store, 1).alerts, ["alr-2"]);

    store.queue_delivery(&delivery(2, &["alr-1"])).unwrap();
    let dead = DeliveryRow {
        state: DeliveryState::Dead,
        error: Some("the channel is gone".to_owned()),
        settled_at: Some(start()),
        ..delivery(2, &[])
    };
    assert!(store.change_delivery(&dead).unwrap());
    assert_eq!(get(store, 2), dead);
    assert!(!store.change_delivery(&delivery(2, &[])).unwrap());
    assert!(!store.change_delivery(&delivery(9, &[])).unwrap());
    assert_eq!((of("alr-1"), of("alr-2"), waiting(store)), (0, 1, vec![1]));
}

pub(super) fn a_digest_takes_the_place_of_others(store: &dyn Store) {
    load(store);
    write(store, &[alert("alr-1", 0)]);
    for number in 1..=3 {
        store.queue_delivery(&delivery(number, &["alr-1"])).unwrap();
    }
    claim(store, 3, "text").unwrap();
    let digest = DeliveryRow {
        folds: ["dlv-1", "dlv-2", "dlv-3"].map(str::to_owned).to_vec(),
        ..delivery(4, &["alr-1"])
    };
    store.queue_delivery(&digest).unwrap();
    assert_eq!(get(store, 1).state, DeliveryState::Folded);
    assert_eq!(
        get(store, 3).state,
        DeliveryState::Sending,
        "it is on its way"
    );
    assert_eq!(claim(store, 2, "text"), None);
    assert_eq!(get(store, 2).state, DeliveryState::Folded);
    assert_eq!(waiting(store), [3, 4]);
    assert_eq!(get(store, 4), digest);
}

pub(super) fn a_message_that_was_given_up_is_tried_again_or_dismissed(store: &dyn Store) {
    load(store);
    for number in 1..=3 {
        store.queue_delivery(&delivery(number, &[])).unwrap();
    }
    claim(store, 1, "text").unwrap();
    let (at, error) = (start() + minutes(2), "status 404".to_owned());
    let dead = DeliveryOutcome::Dead { at, error };
    let event = told(EventKind::DeliveryDead, "alr-1");
    store.settle_delivery("dlv-1", &dead, Some(&event)).unwrap();
    give_up(store, 2);
    assert_eq!(get(store, 1).settled_at, Some(at));
    assert_eq!(get(store, 1).error.as_deref(), Some("status 404"));
    assert_eq!(waiting(store), [3], "what is dead is not sent by itself");

    let at = start() + minutes(60);
    let retry = Decision::Retry { at };
    let decide = |number: i64, decision| {
        let id = format!("dlv-{number}");
        let kind = match decision {
            Decision::Retry { .. } => EventKind::DeliveryRetried,
            Decision::Dismiss => EventKind::DeliveryDismissed,
        };
        let event = act().event(kind, facts([("delivery", id.as_str().into())]));
        store.decide_delivery(&id, decision, &event)
    };
    assert_eq!(decide(9, retry), Ok(None));
    let not_dead = decide(3, Decision::Dismiss);
    let (id, state) = ("dlv-3".to_owned(), "waiting");
    assert_eq!(not_dead, Err(Conflict::NotDead { id, state }.into()));

    let asked = decide(1, retry).unwrap().unwrap();
    assert_eq!(
        (asked.state, asked.asked_at),
        (DeliveryState::Asked, Some(at))
    );
    assert_eq!(asked, get(store, 1));
    let dismissed = decide(2, Decision::Dismiss).unwrap().unwrap();
    assert_eq!(dismissed.state, DeliveryState::Dismissed);
    assert_eq!(dismissed, get(store, 2));
    assert!(decide(2, retry).is_err());
    assert!(decide(1, retry).is_err());

    assert_eq!(waiting(store), [3], "somebody has to take it");
    let now = start() + minutes(61);
    let taken = store.take_asked_deliveries(now).unwrap();
    assert_eq!(taken, [get(store, 1)]);
    let taken = &taken[0];
    assert_eq!((taken.state, taken.next_at), (DeliveryState::Waiting, now));
    assert_eq!(taken.waits_since(), at, "patience begins anew");
    assert_eq!(store.take_asked_deliveries(now).unwrap(), []);
    assert_eq!(waiting(store), [1, 3]);
    assert_eq!(claim(store, 1, "another text").as_deref(), Some("text"));

    let kinds = [
        EventKind::DeliveryDead,
        EventKind::DeliveryRetried,
        EventKind::DeliveryDismissed,
    ];
    let events = events_of(store, &kinds);
    let told: Vec<EventKind> = events.iter().map(|event| event.event.kind).collect();
    assert_eq!(told, kinds);
}

pub(super) fn deliveries_are_listed_from_the_newest(store: &dyn Store) {
    load(store);
    write(store, &[alert("alr-1", 0), alert("alr-2", 0)]);
    for number in 1..=5 {
        let alert = if number % 2 == 0 { "alr-2" } else { "alr-1" };
        let delivery = DeliveryRow {
            channel: format!("chn-{}", number.min(2)),
            ..delivery(number, &[alert])
        };
        store.queue_delivery(&delivery).unwrap();
    }
    give_up(store, 4);
    let every = DeliveryQuery {
        limit: 9,
        ..DeliveryQuery::default()
    };
    let numbers = |query: &DeliveryQuery| -> Vec<i64> {
        let page = store.deliveries(query).unwrap();
        page.rows.iter().map(|delivery| delivery.number).collect()
    };
    assert_eq!(numbers(&every), [5, 4, 3, 2, 1]);
    let dead = DeliveryQuery {
        states: vec![DeliveryState::Dead, DeliveryState::Sent],
        ..every.clone()
    };
    assert_eq!(numbers(&dead), [4]);
    let channel = DeliveryQuery {
        channel: Some("chn-1".to_owned()),
        ..every.clone()
    };
    assert_eq!(numbers(&channel), [1]);
    let mut of_alert = DeliveryQuery {
        alert: Some("alr-1".to_owned()),
        limit: 2,
        ..every
    };
    let page = store.deliveries(&of_alert).unwrap();
    assert_eq!(numbers(&of_alert), [5, 3]);
    of_alert.after = page.next;
    assert_eq!(numbers(&of_alert), [1]);
    assert_eq!(store.deliveries(&of_alert).unwrap().next, None);
}

pub(super) fn messages_stay_as_long_as_their_alerts(store: &dyn Store) {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    load(store);
    let alerts = [over(&alert("alr-1", 0)), alert("alr-2", 0)];
    write(store, &alerts);
    // The last one still waits.
    for (number, about) in [
        (1, &["alr-1"][..]),
        (2, &["alr-1", "alr-2"]),
        (3, &[]),
        (4, &["alr-1"]),
    ] {
        store.queue_delivery(&delivery(number, about)).unwrap();
        if number < 4 {
            give_up(store, number);
        }
    }
    sweep(store, now(), 23 * 60);
    assert_eq!(store.forget_alerts(DAY).unwrap(), 0);
    sweep(store, now(), 60);
    assert_eq!(store.forget_alerts(DAY).unwrap(), 3);
    let left = |number: i64| store.delivery(&format!("dlv-{number}")).unwrap().is_some();
    assert_eq!([1, 2, 3, 4].map(left), [false, true, false, true]);
}

pub(super) fn messages_are_counted_by_state(store: &dyn Store) {
    load(store);
    let count = |state| store.count_deliveries(state).unwrap();
    assert_eq!(count(DeliveryState::Waiting), 0);
    for number in 1..=3 {
        store.queue_delivery(&delivery(number, &["alr-1"])).unwrap();
    }
    give_up(store, 2);
    let counts = [
        DeliveryState::Waiting,
        DeliveryState::Dead,
        DeliveryState::Sent,
    ];
    assert_eq!(counts.map(count), [2, 1, 0]);
}
