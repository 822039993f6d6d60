//! Processes that look after the alerts and are killed at each of their writes, and those
//! that are held up and go on after another one has taken over.

use super::alerts::{alert, events_of, load, start, told};
use super::deliveries::delivery;
use super::kills::{Folder, Mortal};
use crate::store::fuse::Last;
use crate::store::{
    AlertSlice, DeliveryOutcome, DeliveryRow, DeliveryState, EventKind, Store, StoreError,
};

const TOLD: [EventKind; 2] = [EventKind::AlertFiring, EventKind::ChannelBack];

/// What a process does that finds an alert: it writes the alert, queues a message, folds
/// the message into a digest and sends that. It goes on wherever another one has stopped.
/// `sent` counts the messages that go out.
fn look_after(store: &dyn Store, sent: &mut usize) -> Result<(), StoreError> {
    let saved = store
        .load_alerts(start())?
        .expect("no other holds the lease");
    let firing = [alert("alr-1", 0)];
    let event = [(0, told(EventKind::AlertFiring, "alr-1"))];
    if saved.state.is_none() {
        // The alert comes before what is remembered of it.
        let is_new = saved.alerts.is_empty();
        let slice = AlertSlice {
            alerts: if is_new { &firing } else { &[] },
            events: if is_new { &event } else { &[] },
            dropped: &[],
            state: Some("1"),
        };
        store.write_alerts(&slice)?;
    }

    let state = |id: &str| {
        let mut all = saved.deliveries.iter();
        all.find(|delivery| delivery.id == id)
            .map(|found| found.state)
    };
    if state("dlv-1").is_none() {
        store.queue_delivery(&delivery(1, &["alr-1"]))?;
    }
    if state("dlv-2").is_none() {
        let digest = DeliveryRow {
            folds: vec!["dlv-1".to_owned()],
            ..delivery(2, &["alr-1"])
        };
        store.queue_delivery(&digest)?;
    } else if state("dlv-2") != Some(DeliveryState::Waiting) {
        return Ok(());
    }

    if store.claim_delivery("dlv-2", "text")?.is_some() {
        *sent += 1;
        let outcome = DeliveryOutcome::Sent { at: start() };
        let event = told(EventKind::ChannelBack, "alr-1");
        store.settle_delivery("dlv-2", &outcome, Some(&event))?;
    }
    Ok(())
}

/// Kills a process at the write behind `writes` others, and lets another one go on. Gives
/// how many writes there were.
fn live(backend: &dyn Mortal, writes: usize, last: Last) -> usize {
    let instance = backend.instance();
    let before = instance.fuse().used();
    instance.fuse().set(writes, last);
    let mut sent = 0;
    let is_done = look_after(&*instance, &mut sent).is_ok();
    let used = instance.fuse().used() - before;
    let sent_by_first = sent;
    drop(instance);

    let next = backend.instance();
    let store = &*next;
    look_after(store, &mut sent).unwrap();
    let when = format!("killed at {writes}, {last:?}");
    assert!(sent >= 1, "{when}");
    assert!(sent == 1 || sent_by_first == 1, "{when}");
    assert!(!is_done || sent == 1, "{when}");
    let saved = load(store);
    assert_eq!(saved.alerts, [alert("alr-1", 0)], "{when}");
    assert_eq!(saved.state.as_deref(), Some("1"), "{when}");
    let states = saved.deliveries.iter().map(|delivery| delivery.state);
    let states: Vec<DeliveryState> = states.collect();
    assert_eq!(
        states,
        [DeliveryState::Folded, DeliveryState::Sent],
        "{when}"
    );
    let events = events_of(store, &TOLD);
    let kinds: Vec<EventKind> = events.iter().map(|event| event.event.kind).collect();
    assert_eq!(kinds, TOLD, "{when}");
    used
}

fn kill_at_each_write<B: Mortal>(fresh: impl Fn() -> B) {
    let writes = live(&fresh(), usize::MAX, Last::Undone);
    assert!(writes >= 5, "{writes}");
    for write in 0..writes {
        for last in [Last::Undone, Last::Done] {
            live(&fresh(), write, last);
        }
    }
}

#[test]
fn an_embedded_store_that_is_killed_at_any_write_sends_all_and_tells_once() {
    kill_at_each_write(|| Folder(tempfile::tempdir().unwrap()));
}

#[cfg(feature = "mongodb")]
mod on_mongodb {
    use super::super::alerts::{over, write};
    use super::super::deliveries::waiting;
    use super::super::fixtures::{act, now};
    use super::super::mongodb_databases::FreshMongoDb;
    use super::*;
    use crate::store::mongodb::MongoDb;
    use crate::store::{
        AlertQuery, AlertStore, Conflict, Decision, EventStore, WatchOrder, facts,
    };

    #[test]
    fn an_instance_on_mongodb_that_is_killed_at_any_write_sends_all_and_tells_once() {
        kill_at_each_write(|| FreshMongoDb::open(""));
    }

    #[test]
    fn an_instance_without_the_lease_does_not_look_after_alerts() {
        let opened = FreshMongoDb::open("");
        let (one, two) = (&opened.store, opened.another());
        assert!(one.load_alerts(start()).unwrap().is_some());
        assert!(two.load_alerts(start()).unwrap().is_none());
        let written = two.queue_delivery(&delivery(1, &[]));
        assert_eq!(written, Err(Conflict::LostAlerts.into()));
        assert_eq!(two.delivery("dlv-1").unwrap(), None);
        // The watch has renewed the lease under the same epoch, or under another one.
        one.watch(&WatchOrder {
            now: now(),
            down_after: std::time::Duration::from_secs(240),
        })
        .unwrap();
        one.queue_delivery(&delivery(1, &[])).unwrap();
        one.end_leases();
        assert!(two.load_alerts(start()).unwrap().is_some());
        assert_eq!(two.delivery("dlv-1").unwrap(), Some(delivery(1, &[])));
    }

    /// What an instance tries that has lost the lease and does not know it.
    type Try = fn(&MongoDb) -> Result<(), StoreError>;

    #[test]
    fn an_instance_that_was_held_up_changes_nothing_and_loses_nothing() {
        let tries: [(&str, Try); 7] = [
            ("changes an alert", |former| {
                let alerts = [over(&alert("alr-1", 0))];
                former.write_alerts(&AlertSlice {
                    alerts: &alerts,
                    events: &[(0, told(EventKind::AlertResolved, "alr-1"))],
                    dropped: &["alr-2".to_owned()],
                    state: Some("former"),
                })
            }),
            ("adds an alert", |former| {
                former.write_alerts(&AlertSlice {
                    alerts: &[alert("alr-9", 0)],
                    events: &[(0, told(EventKind::AlertFiring, "alr-9"))],
                    dropped: &[],
                    state: Some("former"),
                })
            }),
            ("adds a message that folds others", |former| {
                let digest = DeliveryRow {
                    folds: vec!["dlv-1".to_owned()],
                    ..delivery(9, &["alr-1"])
                };
                former.queue_delivery(&digest)
            }),
            ("changes a message", |former| {
                former.change_delivery(&delivery(1, &["alr-2"])).map(drop)
            }),
            ("begins to send", |former| {
                former.claim_delivery("dlv-1", "former").map(drop)
            }),
            ("has sent", |former| {
                let sent = DeliveryOutcome::Sent { at: start() };
                former.settle_delivery("dlv-2", &sent, None)
            }),
            ("takes what somebody has asked for", |former| {
                former.take_asked_deliveries(start()).map(drop)
            }),
        ];
        for (what, attempt) in tries {
            let opened = FreshMongoDb::open("");
            let (former, next) = (&opened.store, opened.another());
            prepare(former);
            next.end_leases();
            let mine = load(&next);
            assert_eq!((mine.alerts.len(), mine.deliveries.len()), (2, 3), "{what}");

            let lost = attempt(former);
            assert_eq!(lost, Err(Conflict::LostAlerts.into()), "{what}");
            next.forget_alerts(std::time::Duration::MAX).unwrap();
            let every = AlertQuery {
                limit: 9,
                ..AlertQuery::default()
            };
            assert_eq!(next.alerts(&every).unwrap().rows.len(), 2, "{what}");
            // Whoever takes what somebody has asked for: it is sent.
            next.take_asked_deliveries(start()).unwrap();
            let again = load(&next);
            assert_eq!((&again.alerts, &again.state), (&mine.alerts, &mine.state));
            let [first, second, _] = &mine.deliveries[..] else {
                panic!("{mine:?}");
            };
            assert_eq!(&again.deliveries[..2], [first.clone(), second.clone()]);
            assert_eq!(waiting(&next), [1, 2, 3], "{what}");
            let told =
                events_of(&next, &[EventKind::AlertFiring, EventKind::AlertResolved]);
            assert!(told.is_empty(), "{what}: {told:?}");
        }
    }

    /// Two alerts, a message that waits, one that is being sent, and one that was given up
    /// and that somebody wants to be sent.
    fn prepare(store: &MongoDb) {
        load(store);
        write(store, &[alert("alr-1", 0), alert("alr-2", 0)]);
        for number in 1..=3 {
            store.queue_delivery(&delivery(number, &["alr-1"])).unwrap();
        }
        store.claim_delivery("dlv-3", "text").unwrap();
        let (at, error) = (start(), "status 404".to_owned());
        let dead = DeliveryOutcome::Dead { at, error };
        store.settle_delivery("dlv-3", &dead, None).unwrap();
        let event = act().event(EventKind::DeliveryRetried, facts([]));
        let retry = Decision::Retry { at };
        store.decide_delivery("dlv-3", retry, &event).unwrap();
        store.claim_delivery("dlv-2", "text").unwrap();
    }

    #[test]
    fn what_an_instance_leaves_that_was_held_up_and_killed_goes_with_the_next_one() {
        let opened = FreshMongoDb::open("");
        let (former, next) = (opened.another(), &opened.store);
        load(&former);
        next.end_leases();
        load(next);
        // The former one writes an alert and a message, and is killed before it looks
        // whether it still has the lease.
        let slice = AlertSlice {
            alerts: &[alert("alr-9", 0)],
            ..AlertSlice::default()
        };
        former.fuse().set(1, Last::Undone);
        former.write_alerts(&slice).unwrap_err();
        assert!(next.alert("alr-9").unwrap().is_some());
        assert!(load(next).alerts.is_empty());
        next.end_leases();
        assert!(load(next).alerts.is_empty());
        assert_eq!(next.alert("alr-9").unwrap(), None);
    }
}
