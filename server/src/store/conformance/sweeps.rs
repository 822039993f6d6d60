//! What every backend must do with silent hosts.

use std::time::Duration;

use fleetbeat_protocol::{AgentId, FlagsPatch, Status, Timestamp};

use super::fixtures::{
    DELETE_AFTER_MINUTES, act, beat, ip, minutes, now, servers, sweep,
};
use crate::store::server::{Due, Swept};
use crate::store::{Beat, HostPatch, Store};

const PAID: FlagsPatch = FlagsPatch {
    paid: Some(true),
    gaming: None,
    streaming: None,
    enabled: Some(false),
    is_static: None,
};

/// The addresses and statuses that are shown.
fn shown(store: &dyn Store) -> Vec<(String, Status)> {
    servers(store)
        .into_iter()
        .map(|server| (server.ip.to_string(), server.status))
        .collect()
}

/// Heartbeats of hosts from 10.0.0.1 on.
fn beats(count: u32, at: Timestamp) -> Vec<Beat> {
    (1..=count)
        .map(|n| beat(&format!("10.0.{}.{}", n / 200, n % 200), at))
        .collect()
}

pub(super) fn a_sweep_marks_and_deletes(store: &dyn Store) {
    let now = now();
    let hosts = [
        ("10.0.0.1", 0),
        ("10.0.0.2", 5),
        ("10.0.0.3", 61),
        ("10.0.0.4", 61),
    ];
    let beats: Vec<Beat> = hosts
        .iter()
        .map(|(host, age)| beat(host, now - minutes(*age)))
        .collect();
    store.record(&beats).unwrap();
    let is_static = FlagsPatch {
        is_static: Some(true),
        ..FlagsPatch::default()
    };
    store
        .set(
            &ip("10.0.0.4").into(),
            HostPatch::Flags(is_static),
            None,
            &act(),
        )
        .unwrap();

    let marked = sweep(store, now, 1);
    assert_eq!((marked.down, marked.deleted), (3, 0));
    assert_eq!(sweep(store, now, 0), Swept::default(), "each happens once");
    store.record(&[beat("10.0.0.2", now)]).unwrap();
    let name = ip("10.0.0.2").into();
    let back = store.server(&name).unwrap().unwrap();
    assert_eq!(back.status, Status::Active, "and back");

    let early = sweep(store, now, DELETE_AFTER_MINUTES - 1);
    assert_eq!((early.down, early.deleted), (0, 0), "a minute is missing");
    let due = sweep(store, now, 1);
    assert_eq!((due.down, due.deleted), (0, 1));
    let expected = [
        ("10.0.0.1", Status::Active),
        ("10.0.0.2", Status::Active),
        ("10.0.0.4", Status::Down),
    ];
    assert_eq!(
        shown(store),
        expected.map(|(ip, status)| (ip.to_owned(), status))
    );
}

pub(super) fn what_a_clock_has_aged_is_not_deleted(store: &dyn Store) {
    let now = now();
    store.record(&beats(2, now - minutes(10))).unwrap();
    assert_eq!(sweep(store, now, 1).down, 2);
    // The clock jumps a month ahead and back, or the server was off, or an old backup
    // was restored: in service time, nothing has passed.
    let month = minutes(31 * 24 * 60);
    for clock in [now + month, now - month, now + month * 12] {
        assert_eq!(sweep(store, clock, 1).deleted, 0, "{clock}");
    }
    assert_eq!(servers(store).len(), 2);
}

pub(super) fn a_heartbeat_of_the_future_counts_as_of_now(store: &dyn Store) {
    let now = now();
    store
        .record(&[beat("10.0.0.1", now + minutes(24 * 60))])
        .unwrap();
    assert_eq!(sweep(store, now, 1).down, 0);
    assert!(
        store
            .server(&ip("10.0.0.1").into())
            .unwrap()
            .unwrap()
            .last_heartbeat
            <= now
    );
    assert_eq!(sweep(store, now + minutes(5), 5).down, 1);
    // And it is deleted like any other.
    let later = sweep(store, now + minutes(65), DELETE_AFTER_MINUTES);
    assert_eq!(later.deleted, 1);
}

pub(super) fn many_hosts_are_deleted_only_with_a_word_of_the_operator(store: &dyn Store) {
    let now = now();
    let later = now + minutes(10);
    store.record(&beats(30, now)).unwrap();
    sweep(store, now, 1);
    let beating = |at| store.record(&beats(30, at).split_off(19)).unwrap();
    beating(later);
    assert_eq!(sweep(store, later, 1).down, 19);

    let due = sweep(store, later, DELETE_AFTER_MINUTES);
    assert_eq!((due.deleted, due.held_back), (0, 19), "and waits");
    let again = sweep(store, later, 1);
    assert_eq!(
        (again.deleted, again.held_back),
        (0, 19),
        "and goes on waiting"
    );

    let delete_after = Duration::from_secs(DELETE_AFTER_MINUTES * 60);
    let told = store.prune(delete_after).unwrap();
    assert_eq!(told, Due { due: 19, all: 30 });
    // What becomes due afterwards was not meant.
    let done = sweep(store, later + minutes(10), 1);
    assert_eq!((done.deleted, done.held_back, done.down), (19, 0, 11));
    let rest = sweep(store, later + minutes(10), DELETE_AFTER_MINUTES);
    assert_eq!((rest.deleted, rest.held_back), (0, 11));

    // Ten hosts need no word.
    store
        .record(&beats(30, later + minutes(10)).split_off(29))
        .unwrap();
    let ten = sweep(store, later + minutes(10), 1);
    assert_eq!((ten.deleted, ten.held_back), (10, 0));
}

pub(super) fn the_flags_of_a_deleted_host_wait_for_its_return(store: &dyn Store) {
    let now = now();
    let with_id = |host: &str, at| {
        let mut beat = beat(host, at);
        beat.heartbeat.agent_id = Some(AgentId::from_bits(7));
        beat
    };
    store
        .record(&[
            beat("10.0.0.1", now),
            with_id("10.0.0.2", now),
            beat("10.0.0.3", now),
        ])
        .unwrap();
    for host in ["10.0.0.1", "10.0.0.2"] {
        store
            .set(&ip(host).into(), HostPatch::Flags(PAID), None, &act())
            .unwrap();
    }
    let later = now + minutes(10);
    assert_eq!(sweep(store, later, 1).down, 3);
    assert_eq!(sweep(store, later, DELETE_AFTER_MINUTES).deleted, 3);
    assert_eq!(shown(store), []);

    // The host without an agent_id returns at its address, the other one anywhere.
    store
        .record(&[
            beat("10.0.0.1", later),
            with_id("10.0.0.9", later),
            beat("10.0.0.2", later),
            beat("10.0.0.3", later),
        ])
        .unwrap();
    let flags = |host: &str| store.server(&ip(host).into()).unwrap().unwrap().flags;
    for (host, is_paid) in [
        ("10.0.0.1", true),
        ("10.0.0.9", true),
        ("10.0.0.2", false),
        ("10.0.0.3", false),
    ] {
        let flags = flags(host);
        assert_eq!((flags.paid, !flags.enabled), (is_paid, is_paid), "{host}");
    }

    // They are the host's again: what is set now is what waits the next time.
    let default = FlagsPatch {
        paid: Some(false),
        enabled: Some(true),
        ..FlagsPatch::default()
    };
    store
        .set(
            &ip("10.0.0.1").into(),
            HostPatch::Flags(default),
            None,
            &act(),
        )
        .unwrap();
    let latest = later + minutes(10);
    sweep(store, latest, 1);
    sweep(store, latest, DELETE_AFTER_MINUTES);
    store.record(&[beat("10.0.0.1", latest)]).unwrap();
    assert!(!flags("10.0.0.1").paid, "no old tombstone is left");
}
