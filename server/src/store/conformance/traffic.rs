//! The traffic of hosts is what their counters tell.

use fleetbeat_history::traffic::{Flow, Traffic};
use fleetbeat_history::{Day, HostTraffic};
use fleetbeat_protocol::{AgentId, Timestamp};
use jiff::SignedDuration;

use super::fixtures::{act, beat, ip, minutes, spooled};
use super::history::merge_all;
use crate::store::{Beat, HostName, Store, TrafficQuery};

const HOST: &str = "10.0.0.1";
const SENT: &str = "interface_sent_bytes_total{interface=\"eth0\"}";
const RECEIVED: &str = "interface_received_bytes_total{interface=\"eth0\"}";

/// The midnight of two days ago: what is older than a year is deleted.
fn midnight() -> Timestamp {
    let today = Day::of(super::fixtures::now().as_second());
    Timestamp::from_second(today.before(2).start()).unwrap()
}

/// A live heartbeat that says what it has sent since its boot, and received a tenth of.
fn counted(host: &str, at: Timestamp, boot: &str, sent: u64) -> Beat {
    with_counters(beat(host, at), at, boot, sent)
}

fn with_counters(mut beat: Beat, at: Timestamp, boot: &str, sent: u64) -> Beat {
    beat.heartbeat.collected_at = Some(at);
    beat.heartbeat.boot_id = Some(boot.to_owned());
    beat.heartbeat.seq = Some(at.as_second().unsigned_abs());
    for (name, bytes) in [(SENT, sent), (RECEIVED, sent / 10)] {
        beat.heartbeat.metrics.insert(name.to_owned(), bytes as f64);
    }
    beat
}

fn server_id(store: &dyn Store, host: &str) -> String {
    let server = store.server(&HostName::Ip(ip(host))).unwrap();
    server.unwrap().server_id
}

/// The traffic of a host in some days, counted from the one of the `start`.
fn traffic(
    store: &dyn Store,
    id: &str,
    start: Timestamp,
    days: (u32, u32),
) -> HostTraffic {
    let first = Day::of(start.as_second()).number();
    let query = TrafficQuery {
        server_id: id.to_owned(),
        days: (Day::new(first + days.0), Day::new(first + days.1)),
    };
    let found = store.traffic(&[query]).unwrap();
    assert_eq!(found.len(), 1);
    found[0]
}

/// What was sent in some days; `None` if nothing is known.
fn sent(store: &dyn Store, start: Timestamp, days: (u32, u32)) -> Option<u64> {
    let found = traffic(store, &server_id(store, HOST), start, days);
    assert!(!found.is_incomplete);
    found
        .traffic
        .and_then(|traffic| traffic.sent)
        .map(|sent| sent.bytes)
}

fn flow(bytes: u64, known_from: Timestamp) -> Flow {
    Flow {
        bytes,
        known_from: known_from.as_second(),
        has_gap: false,
    }
}

pub(super) fn traffic_is_the_same_before_and_after_a_merge(store: &dyn Store) {
    let start = midnight();
    let at = |minute| start + minutes(minute);
    store
        .record(&[
            counted(HOST, at(0), "a", 1000),
            counted(HOST, at(60), "a", 1500),
            counted(HOST, at(120), "b", 40),
        ])
        .unwrap();
    assert_eq!(sent(store, start, (0, 0)), Some(540));
    assert_eq!(merge_all(store, start, 3), 3);
    let id = server_id(store, HOST);
    let expected = HostTraffic {
        traffic: Some(Traffic {
            received: Some(flow(54, start)),
            sent: Some(flow(540, start)),
        }),
        is_incomplete: false,
    };
    assert_eq!(traffic(store, &id, start, (0, 0)), expected);

    // What waits behind the merge counts, and so does what comes late, and twice.
    store.record(&[counted(HOST, at(180), "b", 100)]).unwrap();
    assert_eq!(sent(store, start, (0, 0)), Some(600));
    let late = [(90, "a", 2000), (60, "a", 1500), (150, "b", 70)];
    let late = late.map(|(minute, boot, sent)| {
        let beat = spooled(HOST, at(minute), 10.0);
        with_counters(beat, at(minute), boot, sent)
    });
    store.record(&late).unwrap();
    store.record(&late).unwrap();
    assert_eq!(sent(store, start, (0, 0)), Some(1100));
    assert_eq!(merge_all(store, start, 13), 7);
    assert_eq!(sent(store, start, (0, 0)), Some(1100));
    assert_eq!(merge_all(store, start, 23), 0);
    assert_eq!(sent(store, start, (0, 0)), Some(1100));
}

pub(super) fn what_flows_over_midnight_is_counted_once(store: &dyn Store) {
    let start = midnight();
    let next = start + SignedDuration::from_hours(24);
    let beats = [
        counted(HOST, next - minutes(1), "a", 1000),
        counted(HOST, next + minutes(1), "a", 1300),
    ];
    // The later day is merged first.
    store.record(&beats[1..]).unwrap();
    merge_all(store, next, 1);
    assert_eq!(sent(store, start, (0, 1)), Some(0));
    let early = with_counters(
        spooled(HOST, next - minutes(1), 10.0),
        next - minutes(1),
        "a",
        1000,
    );
    store.record(&[early]).unwrap();
    for hours in [11, 21] {
        assert_eq!(sent(store, start, (0, 0)), Some(0));
        assert_eq!(sent(store, start, (1, 1)), Some(300));
        assert_eq!(sent(store, start, (0, 1)), Some(300));
        merge_all(store, next, hours);
    }
    // The cycle's start is known, because something was heard before it.
    let id = server_id(store, HOST);
    let later = traffic(store, &id, start, (1, 1)).traffic.unwrap();
    assert_eq!(later.sent, Some(flow(300, next)));
}

pub(super) fn every_day_before_counts_merged_or_not(store: &dyn Store) {
    let start = midnight();
    let next = start + SignedDuration::from_hours(24);
    let other = "interface_sent_bytes_total{interface=\"eth1\"}";
    let at = |minute: i64| start + minutes(minute);
    let mut beats = vec![
        counted(HOST, at(0), "a", 1000),
        // A day on which the command for eth0 failed, with more series than are kept.
        beat(HOST, at(24 * 60)),
        counted(HOST, at(48 * 60), "a", 1700),
    ];
    beats[1].heartbeat.collected_at = Some(next);
    beats[1].heartbeat.boot_id = Some("a".to_owned());
    beats[1].heartbeat.seq = Some(next.as_second().unsigned_abs());
    for beat in &mut beats {
        let metrics = &mut beat.heartbeat.metrics;
        metrics.insert(other.to_owned(), 50.0);
        for number in 0..15 {
            for way in ["received", "sent"] {
                let inner = format!(
                    "interface_{way}_bytes_total{{interface=\"cali{number:02}\"}}"
                );
                metrics.insert(inner, 1e9);
            }
        }
    }
    let id = server_id_of(store, &beats);
    let of_last_day = || traffic(store, &id, start, (2, 2));
    let before = of_last_day();
    let sent = before.traffic.and_then(|traffic| traffic.sent);
    assert_eq!(sent, Some(flow(700, next + SignedDuration::from_hours(24))));
    merge_all(store, start, 70);
    assert_eq!(of_last_day(), before);
}

/// The id of the host after these heartbeats.
fn server_id_of(store: &dyn Store, beats: &[Beat]) -> String {
    store.record(beats).unwrap();
    server_id(store, HOST)
}

pub(super) fn each_host_has_its_own_traffic(store: &dyn Store) {
    let start = midnight();
    let hosts: Vec<String> = (1..=3).map(|n| format!("10.0.1.{n}")).collect();
    for minute in [0_i64, 30] {
        let beats = hosts.iter().zip(1..).map(|(host, part)| {
            let sent = minute.unsigned_abs() * part;
            counted(host, start + minutes(minute), "a", sent)
        });
        store.record(&beats.collect::<Vec<_>>()).unwrap();
    }
    store.record(&[beat(HOST, start)]).unwrap();

    let first = Day::of(start.as_second());
    let ids = hosts.iter().map(|host| server_id(store, host));
    let ids = ids.chain(["srv-nobody0".to_owned(), server_id(store, HOST)]);
    let queries: Vec<TrafficQuery> = ids
        .map(|server_id| TrafficQuery {
            server_id,
            days: (first, first),
        })
        .collect();
    for hours in [1, 11] {
        let found = store.traffic(&queries).unwrap();
        let found = found.iter().map(|of| Some(of.traffic?.sent?.bytes));
        let expected = [Some(30), Some(60), Some(90), None, None];
        assert_eq!(found.collect::<Vec<_>>(), expected);
        merge_all(store, start, hours);
    }
    assert_eq!(store.traffic(&[]).unwrap(), []);
}

pub(super) fn traffic_goes_with_its_host_and_moves_with_it(store: &dyn Store) {
    let start = midnight();
    let at = |minute| start + minutes(minute);
    let speak = |host, minute, boot: &str, sent| {
        let mut beat = counted(host, at(minute), boot, sent);
        beat.heartbeat.agent_id = Some(AgentId::from_bits(7));
        store.record(&[beat]).unwrap();
    };
    speak(HOST, 0, "a", 0);
    speak(HOST, 10, "a", 500);
    merge_all(store, start, 1);
    let id = server_id(store, HOST);
    // A host that has booted may have another address at once.
    let moved = "10.0.0.9";
    speak(moved, 20, "b", 70);
    assert_eq!(server_id(store, moved), id);
    let of = |days| traffic(store, &id, start, days).traffic;
    let sent = of((0, 0)).and_then(|of| of.sent);
    assert_eq!(sent, Some(flow(570, start)));

    let name = HostName::Ip(ip(moved));
    store.remove_server(&name, &act()).unwrap().unwrap();
    merge_all(store, start, 11);
    assert_eq!(of((0, 0)), None);
}
