//! What every backend must do with events.

use std::time::Duration;

use fleetbeat_protocol::{AgentId, FlagsPatch, Role, Service, Timestamp};
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::fixtures::{DELETE_AFTER_MINUTES, beat, ip, minutes, now, spooled, sweep};
use crate::store::{
    Act, Beat, Cursor, Event, EventKind, EventPage, EventQuery, HostName, HostPatch,
    Mass, ScopeChange, Store, User, UserChange, WatchOrder, Watched, Who,
};

/// Every event, behind `after`.
pub(super) fn query(after: Option<Cursor>, limit: usize) -> EventQuery {
    EventQuery {
        after,
        ..EventQuery::newest(limit)
    }
}

pub(super) fn watch(store: &dyn Store, now: Timestamp) -> Watched {
    let down_after = Duration::from_secs(4 * 60);
    store.watch(&WatchOrder { now, down_after }).unwrap()
}

/// Every event that a query of this kind finds, the oldest first.
pub(super) fn all(store: &dyn Store, query: &EventQuery) -> Vec<Event> {
    let mut query = EventQuery {
        after: Some(Cursor(0)),
        ..query.clone()
    };
    let mut events = Vec::new();
    loop {
        let page: EventPage = store.events(&query).unwrap();
        events.extend(page.events);
        assert!(Some(page.cursor) >= query.after, "a cursor goes forward");
        query.after = Some(page.cursor);
        if !page.more {
            return events;
        }
    }
}

fn kinds_of(events: &[Event]) -> Vec<&'static str> {
    events
        .iter()
        .map(|event| event.event.kind.as_str())
        .collect()
}

/// The kinds of all events.
pub(super) fn kinds(store: &dyn Store) -> Vec<&'static str> {
    kinds_of(&all(store, &query(None, 100)))
}

/// The kinds of the events that the watch tells at `now`.
fn told(store: &dyn Store, now: Timestamp) -> Vec<&'static str> {
    let before = kinds(store).len();
    watch(store, now);
    kinds(store).split_off(before)
}

fn data(event: &Event) -> Value {
    Value::Object(event.event.facts.clone())
}

pub(super) fn booted(
    host: &str,
    at: Timestamp,
    boot: &str,
    services: &[(&str, bool)],
) -> Beat {
    let mut beat = beat(host, at);
    beat.heartbeat.agent_id = Some(AgentId::from_bits(7));
    beat.heartbeat.boot_id = Some(boot.to_owned());
    let services = services.iter().map(|(name, active)| Service {
        name: (*name).to_owned(),
        active: *active,
    });
    beat.heartbeat.services = services.collect();
    beat
}

pub(super) fn what_happens_to_a_host_is_told_once(store: &dyn Store) {
    let start = now() - minutes(60);
    let at = |count| start + minutes(count);
    let speaking =
        |minute, boot, services| booted("10.0.0.1", at(minute), boot, services);
    let beats = |beat: Beat| {
        store.record(&[beat]).unwrap();
    };
    let all_well: &[(&str, bool)] = &[("wg", true), ("xray", true)];
    assert_eq!(told(store, start), [""; 0]);

    beats(speaking(0, "a", all_well));
    assert_eq!(told(store, at(0)), ["host.new"]);
    beats(speaking(2, "a", &[("xray", true), ("wg", true)]));
    assert_eq!(told(store, at(2)), [""; 0], "the order says nothing");
    beats(speaking(4, "a", &[("wg", false), ("xray", true)]));
    assert_eq!(told(store, at(4)), ["service.inactive"]);
    assert_eq!(sweep(store, at(10), 1).down, 1);
    assert_eq!(told(store, at(10)), ["host.down"]);
    assert_eq!(told(store, at(11)), [""; 0]);
    beats(speaking(12, "b", all_well));
    assert_eq!(
        told(store, at(12)),
        ["host.up", "host.rebooted", "service.active"]
    );

    // Seconds by which the clock is ahead: wrong, right, wrong by too little, wrong.
    for (minute, ahead_s, expected) in [
        (14, 60, &["host.clock"][..]),
        (16, 0, &["host.clock"]),
        (17, 25, &[]),
        (18, 90, &["host.clock"]),
    ] {
        let mut ahead = speaking(minute, "b", all_well);
        let collected_at = at(minute) + SignedDuration::from_secs(ahead_s);
        ahead.heartbeat.collected_at = Some(collected_at);
        beats(ahead);
        assert_eq!(told(store, at(minute)), expected, "{ahead_s}");
    }

    // What was spooled while the host was down makes it neither new nor up.
    beats(spooled("10.0.0.2", at(1), 1.0));
    assert_eq!(told(store, at(18)), ["host.new"]);

    let events = all(store, &query(None, 100));
    let down = &events[2];
    assert_eq!(down.event.at, at(10));
    assert_eq!(data(down), json!({"last_heartbeat": at(4).to_string()}));
    assert_eq!(data(&events[3]), json!({"down_s": 120}));
    assert_eq!(data(&events[1]), json!({"service": "wg"}));
    assert_eq!(data(&events[6]), json!({"offset_s": 60}));
    assert_eq!(data(&events[7]), json!({"offset_s": 0}));
    let host = down.host.as_ref().unwrap();
    assert_eq!(host.ip, Some(ip("10.0.0.1")));
    assert_eq!(host.hostname, "host-10.0.0.1");
    let shown = store.server(&ip("10.0.0.1").into()).unwrap().unwrap();
    assert_eq!(host.server_id.as_deref(), Some(shown.server_id.as_str()));
}

pub(super) fn what_people_do_is_told_with_who_did_it(store: &dyn Store) {
    let now = now();
    store.record(&[beat("10.0.0.1", now)]).unwrap();
    let act = Act {
        who: Who::User("ann".to_owned()),
        address: Some(ip("2001:db8::7")),
        at: now,
    };
    let patch = FlagsPatch {
        paid: Some(true),
        enabled: Some(true),
        ..FlagsPatch::default()
    };
    for _ in 0..2 {
        store
            .set(&ip("10.0.0.1").into(), HostPatch::Flags(patch), None, &act)
            .unwrap();
    }
    assert_eq!(
        store
            .set(&ip("10.9.9.9").into(), HostPatch::Flags(patch), None, &act)
            .unwrap(),
        None
    );

    let user = |name: &str, role| User {
        hashed_password: "SECRETHASH".to_owned(),
        token_version: "SECRETVERSION".to_owned(),
        ..super::users::user(name, role)
    };
    let password = UserChange::Account {
        role: None,
        hashed_password: Some("SECRETHASH2".to_owned()),
        scope: ScopeChange::Keep,
        token_version: "SECRETVERSION2".to_owned(),
    };
    let program = Act::program("command line", now);
    store
        .add_user(&user("eve", Role::Superadmin), &program)
        .unwrap();
    store.add_user(&user("bob", Role::Admin), &program).unwrap();
    store
        .add_user(&user("bob", Role::Admin), &program)
        .unwrap_err();
    store.change_user("bob", &password, &act).unwrap();
    store.change_user("nobody", &password, &act).unwrap_err();
    store.remove_user("bob", &act).unwrap();
    store.remove_user("bob", &act).unwrap_err();
    store.remove_user("eve", &act).unwrap_err();
    watch(store, now);

    let mut events = all(store, &query(None, 100));
    events.retain(|event| event.event.kind != EventKind::HostNew);
    assert_eq!(
        kinds_of(&events),
        [
            "flag.changed",
            "user.created",
            "user.created",
            "user.password",
            "user.deleted"
        ]
    );
    let flag = &events[0];
    let expected = json!({"flag": "paid", "from": false, "to": true});
    assert_eq!(data(flag), expected);
    assert_eq!(flag.event.act.as_ref(), Some(&act));
    assert_eq!(flag.host.as_ref().unwrap().ip, Some(ip("10.0.0.1")));
    let created = &events[2];
    assert_eq!(data(created), json!({"role": "admin"}));
    assert_eq!(created.event.user.as_deref(), Some("bob"));
    assert_eq!(created.event.act.as_ref(), Some(&program));
    assert!(created.host.is_none());
    assert!(!format!("{events:?}").contains("SECRET"));

    let of = |user: &str| {
        let user = Some(user.to_owned());
        kinds_of(&all(
            store,
            &EventQuery {
                user,
                ..query(None, 2)
            },
        ))
    };
    assert_eq!(of("bob"), ["user.created", "user.password", "user.deleted"]);
    assert_eq!(of("ann"), ["flag.changed", "user.password", "user.deleted"]);
    assert_eq!(of("nobody"), [""; 0]);
}

pub(super) fn what_is_found_out_about_identities_is_told(store: &dyn Store) {
    let start = now() - minutes(60);
    let at = |count| start + minutes(count);
    let of_agent = |host: &str, agent: u128, boot: &str, minute: i64| {
        let mut beat = booted(host, at(minute), boot, &[]);
        beat.heartbeat.agent_id = Some(AgentId::from_bits(agent));
        beat
    };
    store.record(&[of_agent("10.0.0.1", 1, "a", 0)]).unwrap();
    assert_eq!(told(store, at(0)), ["host.new"]);
    store.record(&[of_agent("10.0.0.2", 1, "a", 2)]).unwrap();
    watch(store, at(2));
    store.record(&[of_agent("10.0.0.2", 2, "b", 40)]).unwrap();
    watch(store, at(40));
    // A copy of the second host, while it beats.
    store.record(&[of_agent("10.0.0.3", 2, "c", 41)]).unwrap();
    watch(store, at(41));

    let all = all(store, &query(None, 100));
    let found: Vec<(&str, Value)> = all
        .iter()
        .map(|event| (event.event.kind.as_str(), data(event)))
        .filter(|(kind, _)| *kind != "host.new" && *kind != "host.rebooted")
        .collect();
    assert_eq!(
        found,
        [
            ("host.moved", json!({"from": "10.0.0.1", "to": "10.0.0.2"})),
            ("host.reinstalled", json!({})),
            ("host.conflict", json!({"kind": "clone"})),
        ]
    );
    let text = format!("{all:?}");
    assert!(!text.contains(&AgentId::from_bits(2).expose()), "{text}");
    let host = |name: HostName| EventQuery {
        host: Some(name),
        ..query(None, 100)
    };
    let of_host = self::all(store, &host(ip("10.0.0.2").into()));
    assert_eq!(
        kinds_of(&of_host),
        [
            "host.new",
            "host.moved",
            "host.reinstalled",
            "host.rebooted"
        ],
        "also what it had been told at its address before"
    );
    let ips = of_host.iter().map(|event| event.host.as_ref().unwrap().ip);
    let ips: Vec<String> = ips.flatten().map(|ip| ip.to_string()).collect();
    assert_eq!(ips, ["10.0.0.1", "10.0.0.2", "10.0.0.2", "10.0.0.2"]);
}

pub(super) fn a_deleted_host_is_told_and_found(store: &dyn Store) {
    let now = now();
    store
        .record(&[beat("10.0.0.1", now), beat("10.0.0.2", now)])
        .unwrap();
    let shown = store.server(&ip("10.0.0.1").into()).unwrap().unwrap();
    let later = now + minutes(10);
    watch(store, now);
    sweep(store, later, 1);
    watch(store, later);
    sweep(store, later, DELETE_AFTER_MINUTES);
    watch(store, later);
    watch(store, later);
    let names = [ip("10.0.0.1").into(), HostName::ServerId(shown.server_id)];
    for name in names {
        let host = Some(name);
        let events = all(
            store,
            &EventQuery {
                host: host.clone(),
                ..query(None, 100)
            },
        );
        assert_eq!(kinds_of(&events), ["host.new", "host.down", "host.deleted"]);
        let deleted = &events[2];
        assert_eq!(data(deleted), json!({"reason": "silent"}));
        let by = deleted.event.act.as_ref().map(|act| &act.who);
        assert_eq!(by, Some(&Who::Program("sweep".to_owned())), "{host:?}");
        assert_eq!(deleted.host.as_ref().unwrap().hostname, "host-10.0.0.1");
    }
    let unknown = EventQuery {
        host: Some(HostName::ServerId("srv-none".to_owned())),
        ..query(None, 100)
    };
    assert_eq!(all(store, &unknown), []);

    store.record(&[beat("10.0.0.1", later)]).unwrap();
    assert_eq!(told(store, later), ["host.new"], "it is another one");
}

pub(super) fn a_host_that_somebody_removes_leaves_nothing(store: &dyn Store) {
    let start = now() - minutes(60);
    let at = |count| start + minutes(count);
    let speak = |minute| {
        let beat = booted("10.0.0.1", at(minute), "a", &[]);
        store
            .record(&[beat, super::fixtures::beat("10.0.0.2", at(minute))])
            .unwrap();
    };
    speak(0);
    assert_eq!(told(store, at(0)), ["host.new", "host.new"]);
    let act = Act {
        who: Who::User("ann".to_owned()),
        address: Some(ip("2001:db8::7")),
        at: at(1),
    };
    let disable = FlagsPatch {
        enabled: Some(false),
        ..FlagsPatch::default()
    };
    // Flags wait for both, and go with them.
    for host in ["10.0.0.1", "10.0.0.2"] {
        let host = ip(host).into();
        store
            .set(&host, HostPatch::Flags(disable), None, &act)
            .unwrap();
        let shown = store.server(&host).unwrap().unwrap();
        let name = HostName::ServerId(shown.server_id.clone());
        let removed = store.remove_server(&name, &act).unwrap();
        assert_eq!(removed.unwrap().server.server_id, shown.server_id);
        assert_eq!(store.remove_server(&host, &act).unwrap(), None);
        assert_eq!(store.server(&host).unwrap(), None);
        assert_eq!(store.moved_to(shown.ip).unwrap(), None);
    }
    assert_eq!(store.fleet(None).unwrap().servers.len(), 0);
    watch(store, at(2));
    let deleted = EventQuery {
        kinds: vec![EventKind::HostDeleted],
        ..query(None, 100)
    };
    let deleted = all(store, &deleted);
    assert_eq!(deleted.len(), 2, "{deleted:?}");
    for event in &deleted {
        assert_eq!(data(event), json!({"reason": "asked"}));
        assert_eq!(event.event.act.as_ref(), Some(&act));
    }

    // The host with an id waits for being readmitted.
    speak(3);
    assert_eq!(told(store, at(3)), ["host.new"]);
    let keys = store.keys().unwrap();
    let [mark] = keys.as_slice() else {
        panic!("{keys:?}");
    };
    store.readmit(mark.key.agent_id, &act).unwrap().unwrap();
    speak(4);
    watch(store, at(4));
    let all = kinds(store);
    assert_eq!(all[all.len() - 2..], ["host.readmitted", "host.new"]);
    for host in ["10.0.0.1", "10.0.0.2"] {
        let shown = store.server(&ip(host).into()).unwrap().unwrap();
        assert!(
            shown.flags.enabled,
            "{host} is as a host that was never there"
        );
    }
}

pub(super) fn many_hosts_that_go_down_together_are_one_mass(store: &dyn Store) {
    let start = now() - minutes(60);
    let at = |count| start + minutes(count);
    let beats = |hosts: std::ops::Range<u32>, minute| -> Vec<Beat> {
        hosts
            .map(|n| beat(&format!("10.0.0.{n}"), at(minute)))
            .collect()
    };
    let mass = |minute| {
        sweep(store, at(minute), 1);
        watch(store, at(minute)).mass
    };
    store.record(&beats(0..40, 0)).unwrap();
    assert_eq!(mass(0), None);

    // Twelve of forty are not more than three in ten; another is.
    store.record(&beats(12..40, 5)).unwrap();
    assert_eq!(mass(6), None);
    store.record(&beats(13..40, 8)).unwrap();
    assert_eq!(mass(9), None, "the thirteenth is not silent yet");
    assert_eq!(
        mass(10),
        Some(Mass::Down {
            down: 13,
            hosts: 40
        })
    );
    assert_eq!(mass(11), None, "told once");
    store.record(&beats(5..40, 12)).unwrap();
    assert_eq!(mass(12), None, "five are too many");
    store.record(&beats(4..40, 13)).unwrap();
    assert_eq!(mass(13), Some(Mass::Recovered { down: 4, hosts: 40 }));

    let kinds = kinds(store);
    let count = |kind| kinds.iter().filter(|told| **told == kind).count();
    let counts = ["host.new", "host.down", "host.up", "fleet.mass_down"].map(count);
    assert_eq!(counts, [40, 13, 9, 1]);
    assert_eq!(kinds.last(), Some(&"fleet.recovered"));
}
