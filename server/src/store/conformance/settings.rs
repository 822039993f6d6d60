//! What every backend must do with the settings that admins make on a host.

use fleetbeat_protocol::{
    Billing, Counted, Geo, HostState, Server, Settings, SettingsPatch,
};
use serde_json::{Value, json};

use super::events::{all, query, watch};
use super::fixtures::{
    DELETE_AFTER_MINUTES, act, beat, ip, minutes, now, servers, sweep,
};
use super::identities::{Host, at, find, send};
use crate::store::{Act, EventKind, HostName, HostPatch, Store, Who};

fn set(
    store: &dyn Store,
    address: &str,
    names: &[&'static str],
    values: Settings,
) -> Server {
    let names = names.to_vec();
    let patch = SettingsPatch { values, names };
    let host = ip(address).into();
    store
        .set(&host, HostPatch::Settings(&patch), None, &act())
        .unwrap()
        .unwrap()
}

fn sessions(max_sessions: u32) -> Settings {
    Settings {
        max_sessions: Some(max_sessions),
        ..Settings::default()
    }
}

fn weight(admin_weight: u16) -> Settings {
    Settings {
        admin_weight: Some(admin_weight),
        ..Settings::default()
    }
}

fn full() -> Settings {
    Settings {
        max_sessions: Some(100_000_000),
        bandwidth_mbps: Some(1),
        capacity: Some(2.5),
        admin_weight: Some(0),
        attributes: Some(vec!["port=51820".to_owned(), "ü'\"\\$.".to_owned()]),
        geo: Some(Box::new(Geo {
            country_code: Some("AT".to_owned()),
            country: Some("Österreich".to_owned()),
            city: Some("Wien".to_owned()),
            latitude: Some(48.0),
            longitude: Some(-16.25),
        })),
        billing: Some(Box::new(Billing {
            day: Some(31),
            quota_bytes: Some(1 << 53),
            count: Some(Counted::Received),
            expires_on: Some("2028-02-29".parse().unwrap()),
        })),
    }
}

const NAMES: [&str; 7] = [
    "max_sessions",
    "bandwidth_mbps",
    "capacity",
    "admin_weight",
    "attributes",
    "geo",
    "billing",
];

pub(super) fn a_patch_sets_and_removes_its_settings(store: &dyn Store) {
    let now = now();
    store.record(&[beat("10.0.0.1", now)]).unwrap();
    let host: HostName = ip("10.0.0.1").into();
    let shown = || store.server(&host).unwrap().unwrap().settings;
    assert_eq!(shown(), Settings::default());

    assert_eq!(set(store, "10.0.0.1", &NAMES, full()).settings, full());
    // Neither a heartbeat nor what else is set on the host touches them.
    store.record(&[beat("10.0.0.1", now + minutes(2))]).unwrap();
    store
        .set(
            &host,
            HostPatch::Flags(fleetbeat_protocol::FlagsPatch::default()),
            None,
            &act(),
        )
        .unwrap();
    assert_eq!(shown(), full());
    assert_eq!(servers(store)[0].settings, full());

    let names = ["capacity", "geo", "max_sessions", "attributes"];
    let values = Settings {
        geo: Some(Box::default()),
        attributes: Some(Vec::new()),
        ..sessions(7)
    };
    let expected = Settings {
        capacity: None,
        geo: Some(Box::default()),
        attributes: Some(Vec::new()),
        max_sessions: Some(7),
        ..full()
    };
    assert_eq!(set(store, "10.0.0.1", &names, values).settings, expected);
    assert_eq!(shown(), expected);
    let none = set(store, "10.0.0.1", &NAMES, Settings::default());
    assert_eq!(none.settings, Settings::default());
    assert_eq!(none.state, HostState::default());

    let nobody: HostName = ip("10.0.0.2").into();
    let patch = SettingsPatch::default();
    assert_eq!(
        store
            .set(&nobody, HostPatch::Settings(&patch), None, &act())
            .unwrap(),
        None
    );
    assert_eq!(servers(store).len(), 1, "no server is made by a patch");
}

pub(super) fn the_settings_of_a_deleted_host_wait_for_its_return(store: &dyn Store) {
    let now = now();
    let host = Host::new(7, "a");
    store.record(&[beat("10.0.0.1", now)]).unwrap();
    send(store, host.beat("10.0.0.2", now));
    set(store, "10.0.0.1", &NAMES, full());
    set(store, "10.0.0.2", &["admin_weight"], weight(50));
    let later = now + minutes(10);
    assert_eq!(sweep(store, later, 1).down, 2);
    assert_eq!(sweep(store, later, DELETE_AFTER_MINUTES).deleted, 2);

    store.record(&[beat("10.0.0.1", later)]).unwrap();
    send(store, host.beat("10.0.0.9", later));
    assert_eq!(at(store, "10.0.0.1").settings, full());
    assert_eq!(at(store, "10.0.0.9").settings, weight(50));
}

pub(super) fn each_setting_that_was_set_last_on_either_record_of_a_host_counts(
    store: &dyn Store,
) {
    let start = now();
    let host = |boot| Host::new(1, boot);
    send(store, host("a").beat("10.0.0.1", start));
    set(store, "10.0.0.1", &NAMES, full());

    // The host has restarted elsewhere: nobody can tell it from a copy for a while.
    send(store, host("b").beat("10.0.0.2", start + minutes(1)));
    assert_eq!(at(store, "10.0.0.2").settings, full());
    let removed = Settings::default();
    set(
        store,
        "10.0.0.2",
        &["geo", "billing", "attributes", "bandwidth_mbps"],
        removed,
    );
    set(store, "10.0.0.2", &["max_sessions"], sessions(2));
    set(store, "10.0.0.1", &["max_sessions"], sessions(1));
    set(store, "10.0.0.2", &["admin_weight"], weight(2));

    send(store, host("b").beat("10.0.0.2", start + minutes(5)));
    assert_eq!(find(store, "10.0.0.1"), None);
    let expected = Settings {
        capacity: full().capacity,
        admin_weight: Some(2),
        ..sessions(1)
    };
    assert_eq!(at(store, "10.0.0.2").settings, expected);

    // And when the host moves, they move along.
    send(store, host("b").beat("10.0.0.3", start + minutes(30)));
    assert_eq!(at(store, "10.0.0.3").settings, expected);
}

pub(super) fn a_changed_setting_is_told_with_who_changed_it(store: &dyn Store) {
    let now = now();
    store.record(&[beat("10.0.0.1", now)]).unwrap();
    let host: HostName = ip("10.0.0.1").into();
    let act = Act {
        who: Who::User("ann".to_owned()),
        address: Some(ip("2001:db8::7")),
        at: now,
    };
    let city = Settings {
        geo: Some(Box::new(Geo {
            city: Some("Wien".to_owned()),
            ..Geo::default()
        })),
        ..Settings::default()
    };
    for (names, values) in [
        (&["max_sessions", "capacity"][..], sessions(5)),
        (&["max_sessions"], sessions(5)),
        (&["max_sessions", "geo"], city),
    ] {
        let names = names.to_vec();
        let patch = SettingsPatch { values, names };
        store
            .set(&host, HostPatch::Settings(&patch), None, &act)
            .unwrap()
            .unwrap();
    }

    watch(store, now + minutes(1));
    let mut events = all(store, &query(None, 100));
    events.retain(|event| event.event.kind == EventKind::SettingsChanged);
    let facts: Vec<Value> = events
        .iter()
        .map(|event| Value::Object(event.event.facts.clone()))
        .collect();
    assert_eq!(
        facts,
        [
            json!({"setting": "max_sessions", "from": null, "to": 5}),
            json!({"setting": "max_sessions", "from": 5, "to": null}),
            json!({"setting": "geo", "from": null, "to": {"city": "Wien"}}),
        ]
    );
    for event in &events {
        assert_eq!(event.event.act.as_ref(), Some(&act));
        assert_eq!(event.host.as_ref().unwrap().ip, Some(ip("10.0.0.1")));
    }
}
