//! What every backend must do with heartbeats, flags and sweeps.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use fleetbeat_protocol::{Flags, FlagsPatch, Service, Status};
use jiff::SignedDuration;

use super::fixtures::{
    DELETE_AFTER_MINUTES, act, beat, ip, minutes, now, servers, spooled, sweep,
};
use crate::store::{Beat, HostPatch, Store, Supersedes};

pub(super) fn a_first_heartbeat_makes_a_server(store: &dyn Store) {
    let at = now();
    let beat = beat("10.0.0.1", at);
    store.record(std::slice::from_ref(&beat)).unwrap();
    let server = store.server(&ip("10.0.0.1").into()).unwrap().unwrap();
    let id = server
        .server_id
        .strip_prefix("srv-")
        .expect("an id has a prefix");
    assert!(
        id.len() == 8
            && id
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')),
        "{id}"
    );
    assert_eq!(
        (server.first_heartbeat, server.last_heartbeat, server.status),
        (at, at, Status::Active)
    );
    assert_eq!(
        (&server.services, server.load),
        (&beat.heartbeat.services, beat.heartbeat.load)
    );
    assert_eq!(
        server.flags,
        Flags {
            enabled: true,
            gaming: false,
            streaming: false,
            paid: false,
            is_static: false
        }
    );
    assert_eq!(servers(store), [Arc::new(server)]);
    assert_eq!(store.server(&ip("10.0.0.2").into()).unwrap(), None);
}

pub(super) fn a_later_heartbeat_keeps_identity_and_flags(store: &dyn Store) {
    let at = now();
    store.record(&[beat("10.0.0.1", at)]).unwrap();
    let patch = FlagsPatch {
        gaming: Some(true),
        is_static: Some(true),
        ..FlagsPatch::default()
    };
    let before = store
        .set(
            &ip("10.0.0.1").into(),
            HostPatch::Flags(patch),
            None,
            &act(),
        )
        .unwrap()
        .unwrap();
    let mut later = beat("10.0.0.1", at + minutes(2));
    later.heartbeat.hostname = "renamed".to_owned();
    later.heartbeat.services.clear();
    store.record(&[later]).unwrap();
    let after = store.server(&ip("10.0.0.1").into()).unwrap().unwrap();
    assert_eq!(
        (&after.server_id, after.first_heartbeat, after.flags),
        (&before.server_id, at, before.flags)
    );
    assert_eq!(
        (after.hostname.as_str(), after.last_heartbeat),
        ("renamed", at + minutes(2))
    );
    assert!(after.services.is_empty());
}

pub(super) fn a_spooled_heartbeat_counts_only_if_newer(store: &dyn Store) {
    let at = now() - minutes(60);
    store.record(&[beat("10.0.0.1", at)]).unwrap();
    store
        .record(&[
            spooled("10.0.0.1", at - minutes(2), 1.0),
            spooled("10.0.0.1", at, 2.0),
        ])
        .unwrap();
    let server = store.server(&ip("10.0.0.1").into()).unwrap().unwrap();
    assert_eq!(
        (server.load.cpu, server.last_heartbeat),
        (Some(12.5), at),
        "neither is newer"
    );
    store
        .record(&[
            spooled("10.0.0.1", at + minutes(4), 4.0),
            spooled("10.0.0.1", at + minutes(2), 3.0),
        ])
        .unwrap();
    let server = store.server(&ip("10.0.0.1").into()).unwrap().unwrap();
    assert_eq!(
        (server.load.cpu, server.last_heartbeat),
        (Some(4.0), at + minutes(4)),
        "the newest of the batch"
    );
    store
        .record(&[Beat {
            status: Status::Down,
            ..spooled("10.0.0.2", at, 5.0)
        }])
        .unwrap();
    assert_eq!(
        store
            .server(&ip("10.0.0.2").into())
            .unwrap()
            .unwrap()
            .status,
        Status::Down
    );
}

pub(super) fn a_host_whose_clock_is_ahead_changes_no_newer_state(store: &dyn Store) {
    let at = now();
    let ahead = |host: &str, minute: i64, cpu: f64| {
        let mut beat = Beat {
            supersedes: Supersedes::IfUnknown,
            ..spooled(host, at, cpu)
        };
        beat.heartbeat.collected_at = Some(at + minutes(minute));
        beat
    };
    store.record(&[beat("10.0.0.1", at - minutes(1))]).unwrap();
    let before = servers(store);
    for _ in 0..2 {
        store
            .record(&[ahead("10.0.0.1", 5, 1.0), ahead("10.0.0.1", 6, 2.0)])
            .unwrap();
        assert_eq!(servers(store), before);
    }
    store.record(&[ahead("10.0.0.2", 5, 3.0)]).unwrap();
    assert_eq!(
        store
            .server(&ip("10.0.0.2").into())
            .unwrap()
            .unwrap()
            .last_heartbeat,
        at,
        "of an unknown host it is all there is"
    );
}

pub(super) fn sending_a_batch_twice_changes_nothing(store: &dyn Store) {
    let at = now();
    let batch: Vec<Beat> = (0..10)
        .map(|n| spooled("10.0.0.1", at - minutes(n), 1.0))
        .collect();
    store.record(&batch).unwrap();
    let once = servers(store);
    store.record(&batch).unwrap();
    assert_eq!(servers(store), once);
}

pub(super) fn addresses_of_both_families_are_sorted(store: &dyn Store) {
    let sorted = [
        "2.0.0.1",
        "10.0.0.1",
        "10.0.0.2",
        "10.0.0.10",
        "2001:db8::1",
        "2001:db8::10",
    ];
    let at = now();
    let beats: Vec<Beat> = sorted.iter().rev().map(|host| beat(host, at)).collect();
    store.record(&beats).unwrap();
    let ips: Vec<String> = servers(store)
        .iter()
        .map(|server| server.ip.to_string())
        .collect();
    assert_eq!(ips, sorted);
}

pub(super) fn a_patch_sets_only_its_flags(store: &dyn Store) {
    store.record(&[beat("2001:db8::1", now())]).unwrap();
    let set = |patch| {
        store
            .set(
                &ip("2001:db8::1").into(),
                HostPatch::Flags(patch),
                None,
                &act(),
            )
            .unwrap()
            .unwrap()
            .flags
    };
    let streaming = FlagsPatch {
        streaming: Some(true),
        ..FlagsPatch::default()
    };
    assert_eq!(
        set(streaming),
        Flags {
            streaming: true,
            ..Flags::default()
        }
    );
    let disabled = FlagsPatch {
        enabled: Some(false),
        paid: Some(true),
        ..FlagsPatch::default()
    };
    assert_eq!(
        set(disabled),
        Flags {
            streaming: true,
            enabled: false,
            paid: true,
            ..Flags::default()
        }
    );
    let expected = set(FlagsPatch::default());
    assert_eq!(
        store
            .server(&ip("2001:db8::1").into())
            .unwrap()
            .unwrap()
            .flags,
        expected
    );
    assert_eq!(
        store
            .set(
                &ip("10.0.0.1").into(),
                HostPatch::Flags(streaming),
                None,
                &act()
            )
            .unwrap(),
        None,
        "no server is made by a patch"
    );
    assert_eq!(servers(store).len(), 1);
}

pub(super) fn names_come_back_as_sent(store: &dyn Store) {
    let odd = "$a.b \u{1F980}'\"\\\n%_";
    let mut beat = beat("10.0.0.1", now());
    beat.heartbeat.hostname = odd.to_owned();
    beat.heartbeat.region = Some(odd.to_owned());
    beat.heartbeat.services = vec![Service {
        name: odd.to_owned(),
        active: false,
    }];
    beat.heartbeat.metrics =
        BTreeMap::from([(odd.to_owned(), 0.1), ("large".to_owned(), 1e300)]);
    store.record(std::slice::from_ref(&beat)).unwrap();
    let server = store.server(&ip("10.0.0.1").into()).unwrap().unwrap();
    assert_eq!(
        (server.hostname.as_str(), server.region.as_deref()),
        (odd, Some(odd))
    );
    assert_eq!(
        (server.services, server.metrics),
        (beat.heartbeat.services, beat.heartbeat.metrics)
    );
}

pub(super) fn the_revision_moves_with_what_is_shown(store: &dyn Store) {
    let mut known = store.fleet(None).unwrap();
    let mut moved = |store: &dyn Store| {
        let fleet = store.fleet(Some(&known)).unwrap();
        let is_new = !Arc::ptr_eq(&fleet, &known);
        assert!(!fleet.stale && is_new == (fleet.revision != known.revision));
        known = fleet;
        is_new
    };
    // Readers may see a change a moment later, but not two seconds.
    let deadline = Duration::from_secs(2);
    let mut moves = |store: &dyn Store, why: &str| {
        let started = Instant::now();
        while !moved(store) {
            assert!(started.elapsed() < deadline, "{why}");
            thread::sleep(Duration::from_millis(10));
        }
    };
    store
        .record(&[beat("10.0.0.1", now() - minutes(10))])
        .unwrap();
    moves(store, "a heartbeat");
    store
        .set(
            &ip("10.0.0.1").into(),
            HostPatch::Flags(FlagsPatch {
                paid: Some(true),
                ..FlagsPatch::default()
            }),
            None,
            &act(),
        )
        .unwrap();
    moves(store, "a patch");
    sweep(store, now(), 0);
    moves(store, "a sweep that marks");
    sweep(store, now(), DELETE_AFTER_MINUTES);
    moves(store, "a sweep that deletes");
    sweep(store, now(), 1);
    let before = store.fleet(None).unwrap();
    assert!(
        Arc::ptr_eq(&store.fleet(Some(&before)).unwrap(), &before),
        "nothing"
    );
}

pub(super) fn flags_and_heartbeats_race_without_loss(store: &dyn Store) {
    const ROUNDS: i64 = 300;
    let at = now();
    store.record(&[beat("10.0.0.1", at)]).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            for n in 1..=ROUNDS {
                store
                    .record(&[beat("10.0.0.1", at + SignedDuration::from_millis(n))])
                    .unwrap();
            }
        });
        for n in 1..=ROUNDS {
            let patch = FlagsPatch {
                gaming: Some(n % 2 == 0),
                paid: Some(n % 3 == 0),
                ..FlagsPatch::default()
            };
            let flags = store
                .set(
                    &ip("10.0.0.1").into(),
                    HostPatch::Flags(patch),
                    None,
                    &act(),
                )
                .unwrap()
                .unwrap()
                .flags;
            assert_eq!((flags.gaming, flags.paid), (n % 2 == 0, n % 3 == 0));
            let flags = store.server(&ip("10.0.0.1").into()).unwrap().unwrap().flags;
            assert_eq!(
                (flags.gaming, flags.paid),
                (n % 2 == 0, n % 3 == 0),
                "after {n} patches"
            );
        }
    });
    let server = store.server(&ip("10.0.0.1").into()).unwrap().unwrap();
    assert_eq!(
        server.last_heartbeat,
        at + SignedDuration::from_millis(ROUNDS)
    );
    assert_eq!((server.flags.gaming, server.flags.paid), (true, true));
}

pub(super) fn a_host_is_up_since_it_was_down_last(store: &dyn Store) {
    let start = now();
    let at = |minute: i64| start + minutes(minute);
    let up_since = || {
        store
            .server(&ip("10.0.0.1").into())
            .unwrap()
            .unwrap()
            .up_since
    };
    store.record(&[beat("10.0.0.1", at(0))]).unwrap();
    assert_eq!(up_since(), Some(at(0)));
    store.record(&[beat("10.0.0.1", at(2))]).unwrap();
    assert_eq!(up_since(), Some(at(0)));

    assert_eq!(sweep(store, at(10), 1).down, 1);
    // The host was not up by this.
    let mut old = spooled("10.0.0.1", at(3), 1.0);
    old.status = Status::Down;
    store.record(&[old]).unwrap();
    assert_eq!(up_since(), Some(at(0)));
    store.record(&[beat("10.0.0.1", at(11))]).unwrap();
    store.record(&[beat("10.0.0.1", at(13))]).unwrap();
    assert_eq!(up_since(), Some(at(11)));
    assert_eq!(servers(store)[0].up_since, Some(at(11)));
}
