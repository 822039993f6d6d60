//! How events are asked for, followed and kept.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fleetbeat_protocol::{FlagsPatch, Timestamp};

use super::events::{all, booted, kinds, query, watch};
use super::fixtures::{act, beat, ip, minutes, now, sweep};
use crate::store::{
    Act, Beat, Cursor, Event, EventKind, EventPage, EventQuery, HostPatch, KnownHosts,
    NewEvent, Retention, Store, Who, facts,
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const DAY_MINUTES: u64 = 24 * 60;

/// An event of the test's own, with a number.
fn numbered(number: usize, at: Timestamp) -> NewEvent {
    NewEvent::new(EventKind::StoreAway, at, facts([("n", number.into())]))
}

fn number(event: &Event) -> u64 {
    event.event.facts["n"].as_u64().unwrap()
}

pub(super) fn pages_follow_each_other_whatever_the_clock_says(store: &dyn Store) {
    let now = now();
    // A clock that jumps back by an hour after each event, and ahead again.
    let at = |n: usize| now - minutes(if n.is_multiple_of(2) { 60 } else { 0 });
    for n in 0..10 {
        store.append(&[numbered(n, at(n))]).unwrap();
    }
    store
        .append(&[NewEvent::new(EventKind::StoreBack, now, facts([]))])
        .unwrap();
    watch(store, now);
    let all: Vec<&str> = kinds(store);
    assert_eq!(all.len(), 11);

    let away = |after, limit| EventQuery {
        kinds: vec![EventKind::StoreAway],
        ..query(after, limit)
    };
    let numbers =
        |page: &EventPage| -> Vec<u64> { page.events.iter().map(number).collect() };
    let newest = store.events(&away(None, 3)).unwrap();
    assert_eq!((numbers(&newest), newest.more), (vec![9, 8, 7], true));
    let all = store.events(&away(None, 10)).unwrap();
    assert_eq!((all.events.len(), all.more), (10, false));
    assert_eq!(
        newest.cursor, all.cursor,
        "the cursor is behind all that there is"
    );
    let none = store.events(&away(Some(newest.cursor), 3)).unwrap();
    assert_eq!((numbers(&none), none.more), (vec![], false));
    assert_eq!(none.cursor, newest.cursor);

    let first = store.events(&away(Some(Cursor(0)), 4)).unwrap();
    assert_eq!((numbers(&first), first.more), (vec![0, 1, 2, 3], true));
    let second = store.events(&away(Some(first.cursor), 6)).unwrap();
    assert_eq!((numbers(&second), second.more), ((4..10).collect(), false));
    assert!(second.cursor >= newest.cursor);
    let ids: BTreeSet<Cursor> = all.events.iter().map(|event| event.id).collect();
    assert_eq!(ids.len(), 10);

    let within = |since: Option<i64>, until: Option<i64>| {
        let time = |ago: Option<i64>| ago.map(|ago| now - minutes(ago));
        let query = EventQuery {
            since: time(since),
            until: time(until),
            ..away(None, 100)
        };
        numbers(&store.events(&query).unwrap())
    };
    assert_eq!(within(Some(30), None), [9, 7, 5, 3, 1]);
    assert_eq!(within(None, Some(30)), [8, 6, 4, 2, 0]);
    assert_eq!(within(Some(60), Some(60)), [8, 6, 4, 2, 0]);
    assert_eq!(within(Some(30), Some(30)), [0; 0]);
    assert_eq!(within(Some(-1), None), [0; 0]);
    assert_eq!(within(None, Some(61)), [0; 0]);

    let ahead = away(Some(Cursor(i64::MAX)), 3);
    assert!(store.events(&ahead).unwrap().cursor < Cursor(i64::MAX));
}

/// The events whose host is one of these.
fn of_hosts(events: &[Event], server_ids: &BTreeSet<String>) -> Vec<Event> {
    let is_of = |event: &&Event| {
        let host = event.host.as_ref();
        let id = host.and_then(|host| host.server_id.as_ref());
        id.is_some_and(|id| server_ids.contains(id))
    };
    events.iter().filter(is_of).cloned().collect()
}

pub(super) fn events_of_some_hosts_are_followed_without_those_of_others(
    store: &dyn Store,
) {
    const HOSTS: usize = 120;
    let name = |n: usize| format!("10.0.0.{n}");
    let beats: Vec<Beat> = (0..HOSTS).map(|n| beat(&name(n), now())).collect();
    store.record(&beats).unwrap();
    store.append(&[numbered(0, now())]).unwrap();
    watch(store, now());
    let ann = Act {
        who: Who::User("ann".to_owned()),
        ..act()
    };
    let paid = FlagsPatch {
        paid: Some(true),
        ..FlagsPatch::default()
    };
    for n in 0..HOSTS {
        let host = ip(&name(n)).into();
        store
            .set(&host, HostPatch::Flags(paid), None, &ann)
            .unwrap();
    }
    watch(store, now());
    let events = all(store, &query(None, 1000));
    let newest = store.newest_event().unwrap();
    assert_eq!(events.last().unwrap().id, newest);

    // Many hosts and few, which a backend may look for in another way.
    for step in [2, 10] {
        let server_id = |n: usize| {
            let server = store.server(&ip(&name(n)).into()).unwrap();
            server.unwrap().server_id
        };
        let server_ids: BTreeSet<String> =
            (0..HOSTS).step_by(step).map(server_id).collect();
        let expected = of_hosts(&events, &server_ids);
        assert_eq!(expected.len(), 2 * HOSTS / step);
        let within = |up_to, after, limit| EventQuery {
            within: Some(KnownHosts {
                server_ids: server_ids.clone(),
                up_to,
            }),
            ..query(after, limit)
        };

        for limit in [1, 7, 1000] {
            let followed = all(store, &within(newest, None, limit));
            assert_eq!(followed, expected, "{step} {limit}");
        }
        let page = store.events(&within(newest, None, 3)).unwrap();
        let mut last = expected[expected.len() - 3..].to_vec();
        last.reverse();
        assert_eq!((page.events, page.more, page.cursor), (last, true, newest));

        let of_kind = EventQuery {
            kinds: vec![EventKind::FlagChanged],
            ..within(newest, None, 1000)
        };
        assert_eq!(all(store, &of_kind).len(), HOSTS / step);
        let by_whom = |user: &str| EventQuery {
            user: Some(user.to_owned()),
            ..within(newest, None, 1000)
        };
        assert_eq!(all(store, &by_whom("ann")).len(), HOSTS / step);
        assert_eq!(all(store, &by_whom("nobody")).len(), 0);
        for (n, count) in [(0, 2), (step, 2), (1, 0)] {
            let of_host = EventQuery {
                host: Some(ip(&name(n)).into()),
                ..within(newest, None, 1000)
            };
            assert_eq!(all(store, &of_host).len(), count, "{step} {n}");
        }

        // What is known up to an event tells no later one, and passes over none.
        let known = expected[3].id;
        let page = store.events(&within(known, Some(Cursor(0)), 100)).unwrap();
        assert_eq!((&page.events[..], page.cursor), (&expected[..4], known));
        let ahead = store.events(&within(known, Some(newest), 100)).unwrap();
        assert_eq!((ahead.events.len(), ahead.cursor), (0, newest));
        let rest = within(newest, Some(page.cursor), 1000);
        assert_eq!(store.events(&rest).unwrap().events, expected[4..]);
    }
}

/// Reads on over an event of a kind that only a later version knows, which
/// `make_unknown` makes of the event with a number.
pub(crate) fn follow_past_an_unknown_event(
    store: &dyn Store,
    make_unknown: impl FnOnce(i64),
) {
    for n in 0..5 {
        store.append(&[numbered(n, now())]).unwrap();
    }
    watch(store, now());
    let Cursor(second) = all(store, &query(None, 100))[1].id;
    make_unknown(second);
    for limit in 1..6 {
        let events = all(store, &query(None, limit));
        let numbers: Vec<u64> = events.iter().map(number).collect();
        assert_eq!(numbers, [0, 2, 3, 4], "{limit}");
    }
    let newest = store.events(&query(None, 3)).unwrap();
    assert_eq!((newest.events.len(), newest.more), (3, true));
}

pub(super) fn a_reader_that_follows_misses_nothing_of_eight_writers(store: &dyn Store) {
    const WRITERS: usize = 8;
    const EACH: usize = 40;
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                scope.spawn(move || {
                    for n in 0..EACH {
                        let event = numbered(writer * EACH + n, now());
                        let both = [event.clone(), event];
                        store.append(&both[..1 + n % 2]).unwrap();
                    }
                })
            })
            .collect();
        let watching = scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                watch(store, now());
                thread::sleep(Duration::from_millis(5));
            }
        });

        let expected = WRITERS * EACH / 2 * 3;
        let deadline = Instant::now() + Duration::from_secs(120);
        let mut seen = Vec::new();
        let mut after = Cursor(0);
        while seen.len() < expected {
            let left = Instant::now() < deadline;
            assert!(left, "{} of {expected} events", seen.len());
            let page = store.events(&query(Some(after), 7)).unwrap();
            seen.extend(page.events.iter().map(|event| (event.id, number(event))));
            after = page.cursor;
        }
        for writer in writers {
            writer.join().unwrap();
        }
        is_over.store(true, Ordering::Relaxed);
        watching.join().unwrap();
        let page = store.events(&query(Some(after), 7)).unwrap();
        assert_eq!(page.events.len(), 0, "and nothing twice");

        let in_order = seen.windows(2).all(|pair| pair[0].0 < pair[1].0);
        assert!(in_order, "{seen:?}");
        for writer in 0..WRITERS {
            let own = writer * EACH..(writer + 1) * EACH;
            let told = seen
                .iter()
                .map(|(_, number)| usize::try_from(*number).unwrap());
            let told: Vec<usize> = told.filter(|number| own.contains(number)).collect();
            let twice = |n: usize| std::iter::repeat_n(n, 1 + (n - own.start) % 2);
            let expected: Vec<usize> = own.clone().flat_map(twice).collect();
            assert_eq!(told, expected, "a writer's events in its order");
        }
    });
}

pub(super) fn old_events_are_deleted_in_service_time(store: &dyn Store) {
    let now = now();
    let retention = Retention {
        keep: 10 * DAY,
        keep_audit: 20 * DAY,
        max_rows: 1000,
    };
    store
        .record(&[booted("10.0.0.1", now, "a", &[("wg", true)])])
        .unwrap();
    watch(store, now);
    store
        .record(&[booted("10.0.0.1", now, "b", &[("wg", false)])])
        .unwrap();
    watch(store, now);
    store.append(&[numbered(1, now)]).unwrap();
    watch(store, now);
    let first = [
        "host.new",
        "host.rebooted",
        "service.inactive",
        "store.away",
    ];
    assert_eq!(kinds(store), first);
    // The clock is no reason.
    sweep(store, now, 9 * DAY_MINUTES);
    store
        .append(&[numbered(2, now + minutes(60 * 24 * 3650))])
        .unwrap();
    watch(store, now);
    assert_eq!(store.forget_events(&retention).unwrap(), 0);

    sweep(store, now, DAY_MINUTES + 60);
    store.append(&[numbered(3, now)]).unwrap();
    watch(store, now);
    sweep(store, now, 10 * DAY_MINUTES);
    store.append(&[numbered(4, now)]).unwrap();
    watch(store, now);
    // The newest of the host stays, and what people did stays longer.
    let cursor = store.events(&query(None, 1)).unwrap().cursor;
    assert_eq!(
        store.forget_events(&retention).unwrap(),
        2,
        "{:?}",
        kinds(store)
    );
    let away = "store.away";
    let rest = ["host.new", away, away, away, away];
    assert_eq!(kinds(store), rest);
    assert_eq!(store.forget_events(&retention).unwrap(), 0);
    assert_eq!(store.events(&query(None, 1)).unwrap().cursor, cursor);

    // Without the host there is nothing to stay for.
    sweep(store, now + minutes(10), 1);
    watch(store, now + minutes(10));
    sweep(store, now + minutes(10), 30 * DAY_MINUTES);
    watch(store, now + minutes(10));
    store.append(&[numbered(5, now)]).unwrap();
    watch(store, now);
    sweep(store, now, 30 * DAY_MINUTES);
    store.append(&[numbered(6, now)]).unwrap();
    watch(store, now);
    store.forget_events(&retention).unwrap();
    let rest = ["host.deleted", away, away];
    assert_eq!(
        kinds(store),
        rest,
        "what was there until now was not old before"
    );
}

pub(super) fn too_many_events_of_a_class_push_out_no_other(store: &dyn Store) {
    let now = now();
    let retention = Retention {
        keep: 10 * DAY,
        keep_audit: 10 * DAY,
        max_rows: 1000,
    };
    store.record(&[beat("10.0.0.1", now)]).unwrap();
    watch(store, now);
    store.append(&[numbered(0, now)]).unwrap();
    for round in 0..3 {
        let facts = facts([("round", round.into())]);
        let refused = NewEvent::new(EventKind::LoginFailed, now, facts);
        store.append(&vec![refused; 600]).unwrap();
        watch(store, now);
        sweep(store, now, 61);
    }
    store.append(&[numbered(1, now)]).unwrap();
    watch(store, now);
    assert_eq!(store.forget_events(&retention).unwrap(), 1200);
    let kinds = kinds(store);
    assert_eq!(kinds.len(), 603);
    assert_eq!((kinds[0], kinds[1]), ("host.new", "store.away"));
    assert_eq!(store.forget_events(&retention).unwrap(), 0);
}
