//! What every backend must do with tags: those of admins and those of agents, which never
//! mix.

use std::thread;

use fleetbeat_protocol::{MAX_TAGS, Server, Tags, TagsPatch};
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::events::{all, query, watch};
use super::fixtures::{
    DELETE_AFTER_MINUTES, act, beat, ip, minutes, now, servers, spooled, sweep,
};
use super::identities::{Host, at, find, send};
use crate::store::{
    Act, Beat, Conflict, EventKind, HostName, HostPatch, Store, StoreError, Who,
};

fn tags(tags: &[(&str, &str)]) -> Tags {
    let tag = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    tags.iter().map(tag).collect()
}

fn patch(tags: &[(&str, Option<&str>)]) -> TagsPatch {
    let tags = tags.iter();
    let tag = |(key, value): &(&str, Option<&str>)| {
        ((*key).to_owned(), value.map(str::to_owned))
    };
    TagsPatch(tags.map(tag).collect())
}

fn set(store: &dyn Store, address: &str, tags: &[(&str, Option<&str>)]) -> Server {
    let host = ip(address).into();
    let server = store
        .set(&host, HostPatch::Tags(&patch(tags)), None, &act())
        .unwrap();
    server.unwrap()
}

fn tagged(mut beat: Beat, agent_tags: &[(&str, &str)]) -> Beat {
    beat.heartbeat.agent_tags = tags(agent_tags);
    beat
}

pub(super) fn a_patch_sets_and_removes_its_tags(store: &dyn Store) {
    let odd = "ü'\"\\$.\n";
    store.record(&[beat("2001:db8::1", now())]).unwrap();
    let host: HostName = ip("2001:db8::1").into();
    let set = |tags: &[(&str, Option<&str>)]| set(store, "2001:db8::1", tags).tags;

    let keys = [
        ("rack/a.b-c_1", Some("17")),
        ("env", Some(odd)),
        ("edge", Some("")),
    ];
    let all = tags(&[("rack/a.b-c_1", "17"), ("env", odd), ("edge", "")]);
    assert_eq!(set(&keys), all);
    assert_eq!(
        set(&[("env", Some("dev")), ("edge", None), ("none", None)]).len(),
        2
    );
    assert_eq!(set(&[]), tags(&[("rack/a.b-c_1", "17"), ("env", "dev")]));

    let expected = tags(&[("env", "dev"), ("rack", "x"), ("rack.a", "y")]);
    let dots = [
        ("rack/a.b-c_1", None),
        ("rack", Some("x")),
        ("rack.a", Some("y")),
    ];
    assert_eq!(set(&dots), expected);
    let shown = store.server(&host).unwrap().unwrap();
    assert_eq!((&shown.tags, &shown.agent_tags), (&expected, &Tags::new()));
    assert_eq!(servers(store)[0].tags, expected);
    let by_id = HostName::ServerId(shown.server_id);
    let set = store
        .set(&by_id, HostPatch::Tags(&patch(&[])), None, &act())
        .unwrap();
    assert_eq!(set.unwrap().tags, expected);

    let nobody: HostName = ip("10.0.0.1").into();
    let one = patch(&[("env", Some("x"))]);
    assert_eq!(
        store
            .set(&nobody, HostPatch::Tags(&one), None, &act())
            .unwrap(),
        None
    );
    assert_eq!(servers(store).len(), 1, "no server is made by a patch");
}

pub(super) fn a_host_takes_no_more_tags_than_it_may_have(store: &dyn Store) {
    store.record(&[beat("10.0.0.1", now())]).unwrap();
    let keys: Vec<String> = (0..MAX_TAGS).map(|n| format!("k{n}")).collect();
    let full: Vec<(&str, Option<&str>)> =
        keys.iter().map(|key| (key.as_str(), Some("v"))).collect();
    let before = set(store, "10.0.0.1", &full).tags;
    assert_eq!(before.len(), MAX_TAGS);

    let host = ip("10.0.0.1").into();
    let more = patch(&[("more", Some("")), ("k0", Some("changed"))]);
    let refused = store
        .set(&host, HostPatch::Tags(&more), None, &act())
        .unwrap_err();
    let conflict = Conflict::TooManyTags {
        count: MAX_TAGS + 1,
    };
    assert_eq!(refused, StoreError::Conflict(conflict));
    assert_eq!(store.server(&host).unwrap().unwrap().tags, before);
    let swapped = set(store, "10.0.0.1", &[("more", Some("")), ("k0", None)]).tags;
    assert_eq!(swapped.len(), MAX_TAGS);
}

pub(super) fn an_agents_tags_are_those_of_its_newest_heartbeat(store: &dyn Store) {
    let start = now() - minutes(10);
    let shown = || {
        let server = store.server(&ip("10.0.0.1").into()).unwrap().unwrap();
        (server.agent_tags, server.tags)
    };
    let first = tagged(beat("10.0.0.1", start), &[("rack/a.1", "17"), ("edge", "")]);
    store.record(&[first]).unwrap();
    assert_eq!(shown().0, tags(&[("rack/a.1", "17"), ("edge", "")]));

    set(store, "10.0.0.1", &[("edge", Some("mine"))]);
    let next = tagged(beat("10.0.0.1", start + minutes(2)), &[("edge", "theirs")]);
    store.record(&[next]).unwrap();
    let expected = (tags(&[("edge", "theirs")]), tags(&[("edge", "mine")]));
    assert_eq!(shown(), expected);
    assert_eq!(servers(store)[0].agent_tags, expected.0);

    let old = tagged(spooled("10.0.0.1", start, 1.0), &[("old", "")]);
    store.record(&[old]).unwrap();
    assert_eq!(shown(), expected);
    // The operator has removed the tags from the agent's configuration.
    store
        .record(&[beat("10.0.0.1", start + minutes(4))])
        .unwrap();
    assert_eq!(shown(), (Tags::new(), expected.1));
}

pub(super) fn tags_of_both_writers_race_without_loss(store: &dyn Store) {
    const ROUNDS: i64 = 150;
    let at = now();
    store.record(&[beat("10.0.0.1", at)]).unwrap();
    let host: HostName = ip("10.0.0.1").into();
    thread::scope(|scope| {
        scope.spawn(|| {
            for n in 1..=ROUNDS {
                let beat = beat("10.0.0.1", at + SignedDuration::from_millis(n));
                let beat = tagged(beat, &[("n", &n.to_string())]);
                store.record(&[beat]).unwrap();
            }
        });
        // Another admin, who sets another tag.
        scope.spawn(|| {
            for n in 1..=ROUNDS {
                let number = n.to_string();
                set(store, "10.0.0.1", &[("other", Some(&number))]);
            }
        });
        for n in 1..=ROUNDS {
            let number = n.to_string();
            let value = (n % 3 != 0).then_some(number.as_str());
            let shown = set(store, "10.0.0.1", &[("n", value)]).tags;
            assert_eq!(shown.get("n").map(String::as_str), value);
            let shown = store.server(&host).unwrap().unwrap().tags;
            assert_eq!(
                shown.get("n").map(String::as_str),
                value,
                "after {n} patches"
            );
        }
    });

    let server = store.server(&host).unwrap().unwrap();
    let last = ROUNDS.to_string();
    assert_eq!(server.agent_tags, tags(&[("n", &last)]));
    assert_eq!(server.tags, tags(&[("other", &last)]));
}

pub(super) fn the_tags_of_a_deleted_host_wait_for_its_return(store: &dyn Store) {
    let now = now();
    let host = Host::new(7, "a");
    store.record(&[beat("10.0.0.1", now)]).unwrap();
    send(
        store,
        tagged(host.beat("10.0.0.2", now), &[("theirs", "1")]),
    );
    set(store, "10.0.0.1", &[("env", Some("one"))]);
    set(
        store,
        "10.0.0.2",
        &[("a.b", Some("two")), ("gone", Some(""))],
    );
    set(store, "10.0.0.2", &[("gone", None)]);
    let later = now + minutes(10);
    assert_eq!(sweep(store, later, 1).down, 2);
    assert_eq!(sweep(store, later, DELETE_AFTER_MINUTES).deleted, 2);

    store.record(&[beat("10.0.0.1", later)]).unwrap();
    send(store, host.beat("10.0.0.9", later));
    let (first, second) = (at(store, "10.0.0.1"), at(store, "10.0.0.9"));
    assert_eq!(first.tags, tags(&[("env", "one")]));
    assert_eq!(second.tags, tags(&[("a.b", "two")]));
    assert_eq!(second.agent_tags, Tags::new(), "these are of its heartbeat");
}

pub(super) fn each_tag_that_was_set_last_on_either_record_of_a_host_counts(
    store: &dyn Store,
) {
    let start = now();
    let host = |boot| Host::new(1, boot);
    send(store, host("a").beat("10.0.0.1", start));
    let before = [
        ("both", Some("0")),
        ("old", Some("0")),
        ("removed", Some("0")),
    ];
    set(store, "10.0.0.1", &before);

    // The host has restarted elsewhere: nobody can tell it from a copy for a while.
    send(store, host("b").beat("10.0.0.2", start + minutes(1)));
    assert_eq!(at(store, "10.0.0.2").tags.len(), 3);
    set(store, "10.0.0.2", &[("both", Some("1")), ("removed", None)]);
    set(
        store,
        "10.0.0.1",
        &[("both", Some("2")), ("old", Some("2"))],
    );
    set(store, "10.0.0.2", &[("new", Some("3"))]);

    send(store, host("b").beat("10.0.0.2", start + minutes(5)));
    assert_eq!(find(store, "10.0.0.1"), None);
    let expected = tags(&[("both", "2"), ("old", "2"), ("new", "3")]);
    assert_eq!(at(store, "10.0.0.2").tags, expected);

    // And when the host moves, they move along.
    let moved = host("b").beat("10.0.0.3", start + minutes(30));
    send(store, moved);
    assert_eq!(at(store, "10.0.0.3").tags, expected);
}

pub(super) fn a_changed_tag_is_told_with_who_changed_it(store: &dyn Store) {
    let now = now();
    store.record(&[beat("10.0.0.1", now)]).unwrap();
    let host: HostName = ip("10.0.0.1").into();
    let act = Act {
        who: Who::User("ann".to_owned()),
        address: Some(ip("2001:db8::7")),
        at: now,
    };
    for tags in [
        &[("env", Some("prod")), ("none", None)][..],
        &[("env", Some("prod"))],
        &[("env", Some("")), ("rack.1", Some("a"))],
        &[("env", None)],
    ] {
        store
            .set(&host, HostPatch::Tags(&patch(tags)), None, &act)
            .unwrap()
            .unwrap();
    }
    // What agents say is not what anybody has done.
    let later = now + minutes(1);
    store
        .record(&[tagged(beat("10.0.0.1", later), &[("env", "x")])])
        .unwrap();
    watch(store, later);

    let mut events = all(store, &query(None, 100));
    events.retain(|event| event.event.kind == EventKind::TagChanged);
    let facts: Vec<Value> = events
        .iter()
        .map(|event| Value::Object(event.event.facts.clone()))
        .collect();
    assert_eq!(
        facts,
        [
            json!({"tag": "env", "from": null, "to": "prod"}),
            json!({"tag": "env", "from": "prod", "to": ""}),
            json!({"tag": "rack.1", "from": null, "to": "a"}),
            json!({"tag": "env", "from": "", "to": null}),
        ]
    );
    for event in &events {
        assert_eq!(event.event.act.as_ref(), Some(&act));
        assert_eq!(event.host.as_ref().unwrap().ip, Some(ip("10.0.0.1")));
    }
}
