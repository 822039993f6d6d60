//! What every [`HistoryStore`] does. The tests of each backend call [`check`].

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use crate::chunk::Chunk;
use crate::day::Day;
use crate::kept::USUAL_SERIES;
use crate::sample::{Arrival, Identity, Sample};
use crate::store::{HistoryStore, Host, HostSamples};
use crate::traffic::LOOK_BACK_DAYS;

const HOST: &str = "srv-00000001";
const NEIGHBOUR: &str = "srv-00000002";
/// 2024-02-28, the day before a leap day.
const DAY: u32 = 19_781;

/// Runs every case on an empty store of its own, which `open` makes, with
/// [`USUAL_SERIES`] for each host.
///
/// # Panics
/// The store does not do what every store does.
pub fn check<S: HistoryStore>(mut open: impl FnMut() -> S) {
    let cases: [fn(&dyn HistoryStore); 9] = [
        an_empty_store_has_nothing,
        samples_are_kept_by_day,
        any_batches_are_the_same_chunks,
        a_merge_that_is_repeated_changes_nothing,
        hosts_do_not_see_each_other,
        a_deleted_host_takes_its_history_along,
        days_are_deleted_in_slices,
        any_name_is_a_host,
        traffic_comes_and_goes_with_its_day,
    ];
    for case in cases {
        let store = open();
        case(&store);
        assert_eq!(store.take_troubles(), []);
    }
}

/// Samples of three days, one every two minutes, from the last hours of the first one on.
fn three_days() -> Vec<Sample> {
    let start = Day::new(DAY).end() - 6 * 3600;
    let numbers = 0_u16..1000;
    let sample = |number: u16| {
        let identity = Identity::new(Some("boot"), Some(u64::from(number)));
        let at = start + 120 * i64::from(number);
        let mut sample = Sample::new(at, identity, Arrival::Live);
        sample.set_loads(Some(f64::from(number % 70)), None, Some(f64::from(number)));
        sample.set_service("wg", !number.is_multiple_of(7));
        sample.set_metric("clients", f64::from(number) / 8.0);
        sample
    };
    numbers.map(sample).collect()
}

fn of(host: &str, samples: impl IntoIterator<Item = Sample>) -> HostSamples {
    HostSamples {
        host: Host::new(host),
        samples: samples.into_iter().collect(),
    }
}

/// All chunks of a host.
fn chunks(store: &dyn HistoryStore, host: &str) -> Vec<Chunk> {
    let mut chunks = Vec::new();
    let host = Host::new(host);
    let read = store.read(&host, Day::FIRST, Day::LAST, &mut |chunk| {
        chunks.push(chunk.decode().unwrap());
    });
    read.unwrap();
    chunks
}

/// The chunks that the samples are without a store.
fn expected(samples: &[Sample]) -> Vec<Chunk> {
    let (first, last) = (samples.iter().map(Sample::day).min(), DAY + 2);
    let days = first.map_or(DAY, Day::number)..=last;
    let chunk = |day| {
        Chunk::empty(Day::new(day))
            .merge(samples, USUAL_SERIES)
            .chunk
    };
    days.map(chunk).collect()
}

fn an_empty_store_has_nothing(store: &dyn HistoryStore) {
    assert_eq!(chunks(store, HOST), []);
    assert_eq!(store.oldest_day().unwrap(), None);
    assert!(!store.delete_day(Day::new(DAY), 10).unwrap());
    store.delete_host(&Host::new(HOST)).unwrap();
    store.merge(&[of(HOST, [])]).unwrap();
    assert_eq!(chunks(store, HOST), []);
}

fn samples_are_kept_by_day(store: &dyn HistoryStore) {
    let samples = three_days();
    store.merge(&[of(HOST, samples.clone())]).unwrap();
    assert_eq!(chunks(store, HOST), expected(&samples));
    assert_eq!(store.oldest_day().unwrap(), Some(Day::new(DAY)));
    assert!(store.size().unwrap().used > 0);

    let leap_day = Day::new(DAY + 1);
    let mut days = Vec::new();
    let host = Host::new(HOST);
    let read = store.read(&host, leap_day, leap_day, &mut |chunk| {
        days.push((chunk.day(), chunk.len()));
    });
    read.unwrap();
    assert_eq!(days, [(leap_day, 720)]);
}

fn any_batches_are_the_same_chunks(store: &dyn HistoryStore) {
    let samples = three_days();
    let (odd, even): (Vec<_>, Vec<_>) = samples
        .iter()
        .cloned()
        .partition(|sample| sample.at() / 120 % 2 == 1);
    for late in odd.chunks(77).rev() {
        store.merge(&[of(HOST, late.to_vec())]).unwrap();
    }
    let batch = even.chunks(100).map(|part| of(HOST, part.to_vec()));
    store.merge(&batch.collect::<Vec<_>>()).unwrap();
    assert_eq!(chunks(store, HOST), expected(&samples));
}

fn a_merge_that_is_repeated_changes_nothing(store: &dyn HistoryStore) {
    let samples = three_days();
    for _ in 0..3 {
        store.merge(&[of(HOST, samples.clone())]).unwrap();
        store.merge(&[of(HOST, samples[500..].to_vec())]).unwrap();
        assert_eq!(chunks(store, HOST), expected(&samples));
    }
}

fn hosts_do_not_see_each_other(store: &dyn HistoryStore) {
    let samples = three_days();
    let parts = samples.split_at(400);
    let batch = [of(HOST, parts.0.to_vec()), of(NEIGHBOUR, parts.1.to_vec())];
    store.merge(&batch).unwrap();

    let count = |host| chunks(store, host).iter().map(Chunk::len).sum::<usize>();
    assert_eq!((count(HOST), count(NEIGHBOUR)), (400, 600));
    assert_eq!(count("srv-00000003"), 0);
}

fn a_deleted_host_takes_its_history_along(store: &dyn HistoryStore) {
    let samples = three_days();
    let hosts = [HOST, NEIGHBOUR].map(|host| of(host, samples.clone()));
    store.merge(&hosts).unwrap();

    // The host that came last may have the highest number: it must not be used again.
    store.delete_host(&Host::new(NEIGHBOUR)).unwrap();
    store.delete_host(&Host::new(NEIGHBOUR)).unwrap();
    let newcomer = of("srv-00000009", samples[..1].to_vec());
    store.merge(&[newcomer]).unwrap();
    assert_eq!(chunks(store, NEIGHBOUR), []);
    assert_eq!(chunks(store, "srv-00000009").len(), 1);
    assert_eq!(chunks(store, HOST), expected(&samples));

    store
        .merge(&[of(NEIGHBOUR, samples[990..].to_vec())])
        .unwrap();
    assert_eq!(chunks(store, NEIGHBOUR).len(), 1);
}

fn days_are_deleted_in_slices(store: &dyn HistoryStore) {
    let samples = three_days();
    let names: Vec<_> = (0..25).map(|number| format!("srv-{number:08}")).collect();
    let hosts = names.iter().map(|name| of(name, samples.clone()));
    store.merge(&hosts.collect::<Vec<_>>()).unwrap();

    let mut slices = 1;
    while store.delete_day(Day::new(DAY), 10).unwrap() {
        slices += 1;
        assert!(slices < 10, "there is always more to delete");
    }
    assert!(slices >= 3, "25 chunks went in {slices} slices of 10");
    assert_eq!(store.oldest_day().unwrap(), Some(Day::new(DAY + 1)));
    for name in &names {
        assert_eq!(chunks(store, name), expected(&samples)[1..]);
    }
}

fn any_name_is_a_host(store: &dyn HistoryStore) {
    let samples = three_days();
    let long = "x".repeat(300);
    let names = [
        "",
        "fleet",
        "country:DE",
        "$a.b",
        "Ünïcode\u{1f680}",
        "a\0b",
        &long,
    ];
    let hosts = names
        .iter()
        .zip(1..)
        .map(|(name, count)| of(name, samples[..count].to_vec()));
    store.merge(&hosts.collect::<Vec<_>>()).unwrap();
    for (name, count) in names.iter().zip(1..) {
        assert_eq!(chunks(store, name)[0].len(), count, "{name:?}");
    }
}

fn traffic_comes_and_goes_with_its_day(store: &dyn HistoryStore) {
    let counted = |(number, sample): (u32, Sample)| {
        let mut sample = sample;
        sample.set_metric("interface_sent_bytes_total", f64::from(number) * 100.0);
        sample
    };
    let samples: Vec<_> = (0..).zip(three_days()).map(counted).collect();
    for host in [HOST, NEIGHBOUR] {
        store.merge(&[of(host, samples.clone())]).unwrap();
    }
    let days = |host, first| {
        let mut days = Vec::new();
        let (host, first) = (Host::new(host), Day::new(first));
        let read = store.traffic(&host, first, Day::new(DAY + 9), &mut |day, traffic| {
            assert!(!traffic.is_empty());
            days.push((day.number() - DAY, traffic.samples()));
        });
        assert_eq!(read, Ok(0));
        days
    };
    let all = [(0, 180), (1, 720), (2, 100)];
    assert_eq!(days(HOST, DAY), all);
    // Every day before that is near: each may have the last reading of a counter.
    assert_eq!(days(HOST, DAY + 2), all);
    assert_eq!(days(HOST, DAY + LOOK_BACK_DAYS), all);
    assert_eq!(days(HOST, DAY + 1 + LOOK_BACK_DAYS), all[1..]);
    assert_eq!(days(HOST, DAY + 3 + LOOK_BACK_DAYS), []);

    store.delete_day(Day::new(DAY), 10).unwrap();
    assert_eq!(days(HOST, DAY), all[1..]);
    store.delete_host(&Host::new(HOST)).unwrap();
    assert_eq!(days(HOST, DAY), []);
    assert_eq!(days(NEIGHBOUR, DAY), all[1..]);
}
