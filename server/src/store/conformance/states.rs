//! What every backend must do with the state that admins set on a host.

use std::thread;

use fleetbeat_protocol::{HostState, Mode, Server, StatePatch, Timestamp};
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::events::{all, query, watch};
use super::fixtures::{
    DELETE_AFTER_MINUTES, act, beat, ip, minutes, now, servers, sweep,
};
use super::identities::{Host, at, find, send};
use crate::store::{Act, EventKind, HostName, HostPatch, Store, Who};

fn patch(mode: Mode, until: Option<Timestamp>, reason: Option<&str>) -> StatePatch {
    StatePatch {
        mode,
        until,
        reason: reason.map(str::to_owned),
    }
}

fn set(store: &dyn Store, address: &str, patch: &StatePatch) -> Server {
    let host = ip(address).into();
    store
        .set(&host, HostPatch::State(patch), None, &act())
        .unwrap()
        .unwrap()
}

pub(super) fn a_state_is_set_as_a_whole_and_stays_as_it_was_set(store: &dyn Store) {
    let now = now();
    store.record(&[beat("10.0.0.1", now)]).unwrap();
    let host: HostName = ip("10.0.0.1").into();
    let shown = || store.server(&host).unwrap().unwrap().state;
    assert_eq!(shown(), HostState::default());

    let odd = "ü'\"\\$.";
    let until = now + SignedDuration::from_millis(7);
    for (mode, until, reason) in [
        (Mode::Maintenance, Some(until), Some(odd)),
        (Mode::Drain, None, None),
        (Mode::Normal, None, Some("done")),
    ] {
        let server = set(store, "10.0.0.1", &patch(mode, until, reason));
        let state = server.state;
        assert!(state.since.is_some(), "{mode:?}");
        let expected = HostState {
            mode,
            until,
            reason: reason.map(str::to_owned),
            since: state.since,
        };
        assert_eq!(state, expected);
        assert_eq!(shown(), expected);
        assert_eq!(servers(store)[0].state, expected);
        // Also what is over by now: whoever shows it looks at the clock.
        store.record(&[beat("10.0.0.1", now + minutes(2))]).unwrap();
        assert_eq!(shown(), expected);
    }

    let by_id = HostName::ServerId(servers(store)[0].server_id.clone());
    let drain = patch(Mode::Drain, None, None);
    let server = store
        .set(&by_id, HostPatch::State(&drain), None, &act())
        .unwrap()
        .unwrap();
    assert_eq!(server.state.mode, Mode::Drain);
    let nobody: HostName = ip("10.0.0.2").into();
    assert_eq!(
        store
            .set(&nobody, HostPatch::State(&drain), None, &act())
            .unwrap(),
        None
    );
    assert_eq!(servers(store).len(), 1, "no server is made by a patch");
}

pub(super) fn a_state_and_heartbeats_race_without_loss(store: &dyn Store) {
    const ROUNDS: i64 = 100;
    let at = now();
    store.record(&[beat("10.0.0.1", at)]).unwrap();
    let host: HostName = ip("10.0.0.1").into();
    thread::scope(|scope| {
        scope.spawn(|| {
            for n in 1..=ROUNDS {
                let beat = beat("10.0.0.1", at + SignedDuration::from_millis(n));
                store.record(&[beat]).unwrap();
            }
        });
        // Another admin, who sets something else.
        scope.spawn(|| {
            for n in 1..=ROUNDS {
                let key = Some((n % 2).to_string());
                let tags = [("key".to_owned(), key)];
                let tags = fleetbeat_protocol::TagsPatch(tags.into());
                store
                    .set(&host, HostPatch::Tags(&tags), None, &act())
                    .unwrap();
            }
        });
        for n in 1..=ROUNDS {
            let (mode, reason) = (Mode::Drain, n.to_string());
            let state = set(store, "10.0.0.1", &patch(mode, None, Some(&reason))).state;
            assert_eq!(state.reason.as_ref(), Some(&reason));
            let shown = store.server(&host).unwrap().unwrap().state;
            assert_eq!(shown.reason, Some(reason), "after {n} patches");
        }
    });
    let server = store.server(&host).unwrap().unwrap();
    assert_eq!(server.state.reason, Some(ROUNDS.to_string()));
    assert_eq!(server.tags["key"], (ROUNDS % 2).to_string());
}

pub(super) fn the_state_of_a_deleted_host_waits_for_its_return(store: &dyn Store) {
    let now = now();
    let host = Host::new(7, "a");
    store.record(&[beat("10.0.0.1", now)]).unwrap();
    send(store, host.beat("10.0.0.2", now));
    let until = Some(now + minutes(60 * 24));
    let first = set(store, "10.0.0.1", &patch(Mode::Drain, None, Some("a"))).state;
    let second = set(store, "10.0.0.2", &patch(Mode::Maintenance, until, None)).state;
    let later = now + minutes(10);
    assert_eq!(sweep(store, later, 1).down, 2);
    assert_eq!(sweep(store, later, DELETE_AFTER_MINUTES).deleted, 2);

    store.record(&[beat("10.0.0.1", later)]).unwrap();
    send(store, host.beat("10.0.0.9", later));
    assert_eq!(at(store, "10.0.0.1").state, first);
    assert_eq!(at(store, "10.0.0.9").state, second);
}

pub(super) fn the_state_that_was_set_last_on_either_record_of_a_host_counts(
    store: &dyn Store,
) {
    for (number, is_last_on_first) in [(1, true), (2, false)] {
        let start = now();
        let host = |boot| Host::new(number, boot);
        let [first, second, third] =
            [1, 2, 3].map(|last| format!("10.0.{number}.{last}"));
        send(store, host("a").beat(&first, start));
        set(store, &first, &patch(Mode::Drain, None, Some("before")));

        // The host has restarted elsewhere: nobody can tell it from a copy for a while.
        send(store, host("b").beat(&second, start + minutes(1)));
        assert_eq!(at(store, &second).state.mode, Mode::Drain);
        let mut order = [(&second, "second"), (&first, "first")];
        if !is_last_on_first {
            order.reverse();
        }
        for (address, reason) in order {
            set(store, address, &patch(Mode::Drain, None, Some(reason)));
        }

        send(store, host("b").beat(&second, start + minutes(5)));
        assert_eq!(find(store, &first), None);
        let reason = Some(order[1].1.to_owned());
        assert_eq!(at(store, &second).state.reason, reason);

        // And when the host moves, it moves along.
        send(store, host("b").beat(&third, start + minutes(30)));
        assert_eq!(at(store, &third).state.reason, reason);
    }
}

pub(super) fn a_state_that_changes_is_told_with_who_has_set_it(store: &dyn Store) {
    let now = now();
    store.record(&[beat("10.0.0.1", now)]).unwrap();
    let host: HostName = ip("10.0.0.1").into();
    let act_at = |minute: i64| Act {
        who: Who::User("ann".to_owned()),
        address: Some(ip("2001:db8::7")),
        at: now + minutes(minute),
    };
    let until = Some(now + minutes(10));
    let drain = patch(Mode::Drain, None, Some("kernel"));
    for (minute, patch) in [
        (0, patch(Mode::Normal, None, None)),
        (1, drain.clone()),
        (2, drain),
        (3, patch(Mode::Maintenance, until, None)),
        // It is over by itself, so that this changes nothing.
        (11, patch(Mode::Normal, None, None)),
        (12, patch(Mode::Drain, None, None)),
    ] {
        let set = store
            .set(&host, HostPatch::State(&patch), None, &act_at(minute))
            .unwrap();
        set.unwrap();
    }

    watch(store, now + minutes(13));
    let mut events = all(store, &query(None, 100));
    events.retain(|event| event.event.kind == EventKind::StateChanged);
    let facts: Vec<Value> = events
        .iter()
        .map(|event| Value::Object(event.event.facts.clone()))
        .collect();
    let until = until.map(|until| until.to_string());
    assert_eq!(
        facts,
        [
            json!({"from": "normal", "to": "drain", "until": null, "reason": "kernel"}),
            json!({"from": "drain", "to": "maintenance", "until": until, "reason": null}),
            json!({"from": "normal", "to": "drain", "until": null, "reason": null}),
        ]
    );
    let minutes = [1, 3, 12];
    for (event, minute) in events.iter().zip(minutes) {
        assert_eq!(event.event.act.as_ref(), Some(&act_at(minute)));
        assert_eq!(event.host.as_ref().unwrap().ip, Some(ip("10.0.0.1")));
    }
}
