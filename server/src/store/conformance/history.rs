//! Every heartbeat is kept, and shown once.

use fleetbeat_history::chart::{Chart, ChartQuery, Column, Wanted};
use fleetbeat_history::{Chunk, Day, Series};
use fleetbeat_protocol::{AgentId, Timestamp};
use jiff::SignedDuration;

use super::fixtures::{act, beat, ip, minutes, spooled};
use crate::store::{Beat, HostName, Store};

const HOST: &str = "10.0.0.1";

/// Not long ago: what is older than a year is deleted.
fn start() -> Timestamp {
    super::fixtures::now() - SignedDuration::from_hours(24)
}

/// A live heartbeat that is known again by its number.
fn live(host: &str, at: Timestamp, seq: u64, cpu: f64) -> Beat {
    let mut beat = beat(host, at);
    beat.heartbeat.boot_id = Some("boot".to_owned());
    beat.heartbeat.seq = Some(seq);
    beat.heartbeat.collected_at = Some(at);
    beat.heartbeat.load.cpu = Some(cpu);
    beat
}

/// The loads of the CPU in the two days from [`start`] on, each at its time.
fn chart(store: &dyn Store, host: &str, start: Timestamp) -> Option<Chart> {
    let from = start.as_second();
    let wanted = vec![Wanted::One(Series::Cpu), Wanted::Services];
    let query = ChartQuery::new(from, from + 2 * 86_400, wanted, 1000).unwrap();
    let history = store.history(&HostName::Ip(ip(host)), &query).unwrap();
    history.map(|history| history.chart.chart)
}

/// The minutes behind the start at which a chart has values, and the values.
fn cpu(store: &dyn Store, host: &str, start: Timestamp) -> Vec<(i64, f64)> {
    let Some(chart) = chart(store, host, start) else {
        return Vec::new();
    };
    let found = chart
        .series
        .iter()
        .find(|(series, _)| *series == Series::Cpu);
    let Some((_, Column::Numbers { avg, .. })) = found else {
        return Vec::new();
    };
    let points = chart.t.iter().zip(avg);
    let points = points.filter_map(|(t, avg)| Some((t - start.as_second(), (*avg)?)));
    points.map(|(t, avg)| (t / 60, avg)).collect()
}

/// Lets each host have its turn, `hours` behind the start. Gives how many heartbeats were
/// merged.
pub(super) fn merge_all(store: &dyn Store, start: Timestamp, hours: i64) -> u64 {
    let mut merged = 0;
    for hours in [hours, hours + 5] {
        let now = start + SignedDuration::from_hours(hours);
        let tended = store.tend_history(now).unwrap();
        let tended = tended.expect("nobody else tends");
        assert_eq!(tended.failure, None);
        // Before the first merge, the embedded store has no history.db.
        let is_empty = tended.size.is_none_or(|size| size.used == 0);
        assert!(tended.merged == 0 || !is_empty, "{tended:?}");
        merged += tended.merged;
    }
    merged
}

pub(super) fn every_heartbeat_is_shown_once_before_and_after_a_merge(store: &dyn Store) {
    let start = start();
    let at = |minute| start + minutes(minute);
    let beats =
        [0, 2, 4].map(|minute| live(HOST, at(minute), minute.cast_unsigned(), 10.0));
    store.record(&beats).unwrap();
    // Spooled heartbeats come late, twice, and one of them came live.
    let late = [1, 2, 3].map(|minute| {
        let mut beat = spooled(HOST, at(minute), 10.0);
        beat.heartbeat.boot_id = Some("boot".to_owned());
        beat.heartbeat.seq = Some(minute.cast_unsigned());
        beat
    });
    store.record(&late).unwrap();
    store.record(&late).unwrap();

    let expected: Vec<(i64, f64)> = (0..5).map(|minute| (minute, 10.0)).collect();
    assert_eq!(cpu(store, HOST, start), expected);
    assert_eq!(merge_all(store, start, 1), 9);
    assert_eq!(cpu(store, HOST, start), expected);

    // What comes behind a merge stands with what is merged.
    store.record(&[live(HOST, at(6), 6, 20.0)]).unwrap();
    let expected = [&expected[..], &[(6, 20.0)]].concat();
    assert_eq!(cpu(store, HOST, start), expected);
    assert_eq!(merge_all(store, start, 11), 1);
    assert_eq!(merge_all(store, start, 21), 0);
    assert_eq!(cpu(store, HOST, start), expected);
}

pub(super) fn a_day_is_over_at_midnight_in_utc(store: &dyn Store) {
    let start = start();
    let day = start.as_second().div_euclid(86_400) + 1;
    let midnight = Timestamp::from_second(day * 86_400).unwrap();
    let beats = [-1, 0, 1].map(|second| {
        let at = midnight + SignedDuration::from_secs(second);
        live(HOST, at, (second + 1).cast_unsigned(), 10.0)
    });
    store.record(&beats).unwrap();
    merge_all(store, start, 24);
    let chart = chart(store, HOST, start).unwrap();
    let times: Vec<i64> = chart.t.iter().map(|t| t - midnight.as_second()).collect();
    assert_eq!(times, [-1, 0, 1]);
}

pub(super) fn a_removed_host_takes_its_history_along(store: &dyn Store) {
    let start = start();
    let at = |minute| start + minutes(minute);
    let neighbour = "10.0.0.2";
    let beats = [HOST, neighbour].map(|host| live(host, at(0), 0, 10.0));
    store.record(&beats).unwrap();
    merge_all(store, start, 1);
    store.record(&[live(HOST, at(2), 1, 10.0)]).unwrap();

    let name = HostName::Ip(ip(HOST));
    store.remove_server(&name, &act()).unwrap().unwrap();
    assert!(chart(store, HOST, start).is_none(), "nobody knows the host");
    // Its address goes to a new host, which inherits nothing.
    store.record(&[live(HOST, at(4), 2, 30.0)]).unwrap();
    assert_eq!(cpu(store, HOST, start), [(4, 30.0)]);
    merge_all(store, start, 11);
    assert_eq!(cpu(store, HOST, start), [(4, 30.0)]);
    assert_eq!(cpu(store, neighbour, start), [(0, 10.0)]);
}

pub(super) fn a_host_that_moves_keeps_its_history(store: &dyn Store) {
    let start = start();
    let at = |minute| start + minutes(minute);
    let speak = |host, minute, boot: &str| {
        let mut beat = live(host, at(minute), minute.cast_unsigned(), 10.0);
        beat.heartbeat.agent_id = Some(AgentId::from_bits(7));
        beat.heartbeat.boot_id = Some(boot.to_owned());
        store.record(&[beat]).unwrap();
    };
    speak(HOST, 0, "a");
    merge_all(store, start, 1);
    // A host that has booted may have another address at once.
    speak("10.0.0.9", 10, "b");
    assert_eq!(cpu(store, "10.0.0.9", start), [(0, 10.0), (10, 10.0)]);
    assert!(chart(store, HOST, start).is_none());
}

pub(super) fn a_spool_of_days_is_kept_whole(store: &dyn Store) {
    let start = start();
    let beats: Vec<Beat> = (0..900)
        .map(|minute| spooled(HOST, start + minutes(minute), 10.0))
        .collect();
    for batch in beats.chunks(300) {
        store.record(batch).unwrap();
    }
    assert_eq!(cpu(store, HOST, start).len(), 900);
    merge_all(store, start, 15);
    assert_eq!(cpu(store, HOST, start).len(), 900);
}

/// Heartbeats of every second from [`start`] on that the store has.
fn count(store: &dyn Store, start: Timestamp, seconds: i64) -> usize {
    let days = [0, seconds].map(|second| Day::of(start.as_second() + second));
    let mut count = 0;
    let mut each = |chunk: &Chunk| count += chunk.len();
    let host = HostName::Ip(ip(HOST));
    let read = store.history_days(&host, (days[0], days[1]), &mut each);
    assert!(!read.unwrap().unwrap().is_incomplete);
    count
}

pub(super) fn a_spool_of_thousands_waits_whole(store: &dyn Store) {
    let start = start();
    let at = |second| start + SignedDuration::from_secs(second);
    let beats: Vec<Beat> = (0..8000).map(|n| spooled(HOST, at(n), 10.0)).collect();
    for batch in beats.chunks(500) {
        store.record(batch).unwrap();
    }
    assert_eq!(count(store, start, 8000), 8000);
}

pub(super) fn a_host_that_sends_each_second_loses_nothing(store: &dyn Store) {
    let start = start();
    for second in (0..4000).step_by(10) {
        let at = |n| start + SignedDuration::from_secs(second + n);
        let seq = |n: i64| (second + n).cast_unsigned();
        let beats: Vec<Beat> = (0..10).map(|n| live(HOST, at(n), seq(n), 10.0)).collect();
        store.record(&beats).unwrap();
        if second % 100 == 0 {
            let tended = store.tend_history(at(0)).unwrap().unwrap();
            assert_eq!((tended.dropped, tended.failure), (0, None));
        }
    }
    assert_eq!(count(store, start, 4000), 4000);
}
