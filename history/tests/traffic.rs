//! Traffic of known days.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use fleetbeat_history::traffic::{LOOK_BACK_DAYS, Traffic};
use fleetbeat_history::{
    Arrival, DAY_SECONDS, Day, FileStore, HistoryStore, Host, HostSamples, HostTraffic,
    Identity, Options, Sample, host_traffic, open_chunk,
};
use proptest::collection::vec;
use proptest::prelude::*;

const DAY: u32 = 20_000;
const HOST: &str = "srv-00000001";
const SENT: &str = "interface_sent_bytes_total{interface=\"eth0\"}";
const RECEIVED: &str = "interface_received_bytes_total{interface=\"eth0\"}";

fn start() -> i64 {
    Day::new(DAY).start()
}

/// A store in a folder that vanishes with it.
struct Place {
    store: FileStore,
    _folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("history.db");
        Place {
            store: FileStore::new(&file, Options::default()),
            _folder: folder,
        }
    }

    fn merge(&self, samples: &[Sample]) {
        let batch = HostSamples {
            host: Host::new(HOST),
            samples: samples.to_vec(),
        };
        self.store.merge(&[batch]).unwrap();
    }

    /// The traffic of so many days behind the first one.
    fn traffic(&self, open: &[Sample], days: (u32, u32)) -> HostTraffic {
        let days = (Day::new(DAY + days.0), Day::new(DAY + days.1));
        host_traffic(&self.store, &Host::new(HOST), open, days)
    }

    fn sent(&self, days: (u32, u32)) -> Option<u64> {
        let of = self.traffic(&[], days);
        assert!(!of.is_incomplete);
        of.traffic.and_then(|traffic| traffic.sent)
    }
}

/// What a host's counters say at one time.
fn counted(at: i64, boot: &str, counters: &[(&str, u64)]) -> Sample {
    let mut sample = Sample::new(at, Identity::new(Some(boot), None), Arrival::Live);
    for (name, bytes) in counters {
        sample.set_metric(name, *bytes as f64);
    }
    sample
}

/// A reading of a counter, as the expectation is reckoned with.
#[derive(Debug, Clone, Copy)]
struct Read {
    at: i64,
    boot: usize,
    bytes: u64,
}

/// A heartbeat of a generated life.
#[derive(Debug, Clone)]
struct Step {
    /// Seconds since the heartbeat before: minutes, hours, or a week of silence.
    after: i64,
    flows: u64,
    /// What happens before the heartbeat.
    happens: Happens,
    is_spooled: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Happens {
    Nothing,
    Boot,
    /// The counter begins anew in the same boot.
    Reset,
    /// The heartbeat does not have the counter.
    NoCounter,
}

fn step() -> impl Strategy<Value = Step> {
    let after = prop_oneof![
        8 => 30..600_i64,
        2 => 3600..40_000_i64,
        1 => DAY_SECONDS..9 * DAY_SECONDS,
    ];
    let flows = prop_oneof![0..1_u64 << 40, 0..1000_u64];
    let happens = prop_oneof![
        6 => Just(Happens::Nothing),
        1 => Just(Happens::Boot),
        1 => Just(Happens::Reset),
        1 => Just(Happens::NoCounter),
    ];
    (after, flows, happens, any::<bool>()).prop_map(
        |(after, flows, happens, is_spooled)| Step {
            after,
            flows,
            happens,
            is_spooled,
        },
    )
}

/// The heartbeats of a life, and the readings in them.
fn live(steps: &[Step]) -> (Vec<Sample>, Vec<Read>) {
    let (mut samples, mut reads) = (Vec::new(), Vec::new());
    let (mut at, mut boot, mut seq, mut bytes) = (start(), 0, 0, 0);
    for step in steps {
        at += step.after;
        match step.happens {
            Happens::Boot => (boot, seq, bytes) = (boot + 1, 0, 0),
            Happens::Reset => bytes = 0,
            Happens::Nothing | Happens::NoCounter => {}
        }
        bytes += step.flows;
        seq += 1;

        let identity = Identity::new(Some(&format!("boot {boot}")), Some(seq));
        let arrival = if step.is_spooled {
            Arrival::Spooled
        } else {
            Arrival::Live
        };
        let mut sample = Sample::new(at, identity, arrival);
        sample.set_loads(Some(10.0), None, None);
        if step.happens != Happens::NoCounter {
            sample.set_metric(SENT, bytes as f64);
            reads.push(Read { at, boot, bytes });
        }
        samples.push(sample);
    }
    (samples, reads)
}

/// What the readings in the days tell that was sent.
fn expected(reads: &[Read], (first, last): (u32, u32)) -> Option<Traffic> {
    let (from, to) = (Day::new(DAY + first).start(), Day::new(DAY + last).end());
    let long_ago = from - i64::from(LOOK_BACK_DAYS) * DAY_SECONDS;
    let reads = reads
        .iter()
        .filter(|read| (long_ago..to).contains(&read.at));
    let reads: Vec<&Read> = reads.collect();
    let known_from = reads.first()?.at.max(from);
    let flow = |pair: &[&Read]| {
        let (before, read) = (pair[0], pair[1]);
        let is_same = before.boot == read.boot && read.bytes >= before.bytes;
        read.bytes - if is_same { before.bytes } else { 0 }
    };
    let pairs = reads.windows(2).filter(|pair| pair[1].at >= from);
    Some(Traffic {
        received: None,
        sent: Some(pairs.map(flow).sum()),
        known_from,
    })
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(cases)
    }
}

proptest! {
    #![proptest_config(config(200))]

    /// Any interleaving of reboots, counters that begin anew, late and doubled batches is
    /// the same sum, whatever of it waits to be merged.
    #[test]
    fn traffic_is_what_the_counters_tell_in_whatever_order_they_come(
        steps in vec(step(), 1..40),
        days in (0..12_u32, 0..20_u32),
        seed in any::<u64>(),
    ) {
        let (samples, reads) = live(&steps);
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut shuffled = samples.clone();
        let doubled = rng.usize(0..20);
        shuffled.extend((0..doubled).map(|_| samples[rng.usize(..samples.len())].clone()));
        rng.shuffle(&mut shuffled);
        let waiting = rng.usize(..=shuffled.len());
        let mut open = shuffled.split_off(shuffled.len() - waiting);
        // Some wait that are merged already.
        open.extend(shuffled.iter().take(rng.usize(0..4)).cloned());

        let place = Place::new();
        while !shuffled.is_empty() {
            let batch: Vec<_> = shuffled.drain(..rng.usize(1..=shuffled.len())).collect();
            place.merge(&batch);
        }
        let days = (days.0, days.0 + days.1);
        let expected = HostTraffic { traffic: expected(&reads, days), is_incomplete: false };
        prop_assert_eq!(place.traffic(&open, days), expected);

        // A blob of what waits has the same counters, and what waits is merged in the end.
        let blob = open.iter().fold(Vec::new(), |blob, sample| {
            open_chunk::append(&blob, sample).unwrap()
        });
        let read = open_chunk::read_counters(&blob).samples;
        prop_assert_eq!(place.traffic(&read, days), expected);
        place.merge(&open);
        prop_assert_eq!(place.traffic(&[], days), expected);
    }

    /// Cycles that follow each other leave nothing out and count nothing twice.
    #[test]
    fn cycles_add_up(steps in vec(step(), 1..40), cut in 1..40_u32) {
        let place = Place::new();
        let (samples, _) = live(&steps);
        place.merge(&samples);
        let end = 400;
        let whole = place.sent((0, end)).unwrap_or(0);
        let parts = [(0, cut - 1), (cut, end)].map(|days| place.sent(days).unwrap_or(0));
        // Only what is before a silence that is longer than the look back is forgotten.
        prop_assert_eq!(parts[0] + parts[1], whole);
    }
}

#[test]
fn the_first_reading_of_all_counts_for_nothing() {
    let place = Place::new();
    place.merge(&[counted(start() + 5, "a", &[(SENT, 1 << 50)])]);
    let traffic = Traffic {
        received: None,
        sent: Some(0),
        known_from: start() + 5,
    };
    assert_eq!(place.traffic(&[], (0, 30)).traffic, Some(traffic));
    // It is where a later cycle begins, in which nothing has flowed yet.
    let later = Traffic {
        known_from: Day::new(DAY + 1).start(),
        ..traffic
    };
    assert_eq!(place.traffic(&[], (1, 30)).traffic, Some(later));
    assert_eq!(
        place.traffic(&[], (31, 40)).traffic,
        Some(Traffic {
            known_from: Day::new(DAY + 31).start(),
            ..traffic
        })
    );
    assert_eq!(place.traffic(&[], (32, 40)).traffic, None);
    assert_eq!(Place::new().traffic(&[], (0, 30)), HostTraffic::default());
}

#[test]
fn what_flows_over_midnight_is_of_the_later_day() {
    let place = Place::new();
    let midnight = start() + DAY_SECONDS;
    let before = counted(midnight - 60, "a", &[(SENT, 1000)]);
    let after = counted(midnight + 60, "a", &[(SENT, 1500)]);
    // The later day is merged first.
    place.merge(&[after]);
    place.merge(&[before]);
    assert_eq!(place.sent((0, 0)), Some(0));
    assert_eq!(place.sent((1, 1)), Some(500));
    assert_eq!(place.sent((0, 1)), Some(500));
}

#[test]
fn a_host_that_boots_while_nobody_hears_it_has_what_it_sent_since() {
    let place = Place::new();
    let at = |day: i64| start() + day * DAY_SECONDS;
    place.merge(&[
        counted(at(0), "a", &[(SENT, 1000), (RECEIVED, 10)]),
        counted(at(4), "b", &[(SENT, 5000), (RECEIVED, 70)]),
    ]);
    let traffic = place.traffic(&[], (0, 9)).traffic.unwrap();
    assert_eq!((traffic.sent, traffic.received), (Some(5000), Some(70)));
    assert_eq!(place.sent((1, 3)), Some(0), "nothing was heard");
}

#[test]
fn tunnels_and_what_is_made_of_hardware_are_not_counted_twice() {
    let name = |interface: &str| {
        format!("interface_sent_bytes_total{{interface=\"{interface}\"}}")
    };
    let sent = |interfaces: &[(&str, u64)]| {
        let place = Place::new();
        let names: Vec<(String, u64)> = interfaces
            .iter()
            .map(|(of, bytes)| (name(of), *bytes))
            .collect();
        let of = |part: u64| -> Vec<(&str, u64)> {
            names
                .iter()
                .map(|(name, bytes)| (&**name, bytes * part))
                .collect()
        };
        place.merge(&[
            counted(start(), "a", &of(1)),
            counted(start() + 60, "a", &of(2)),
        ]);
        place.sent((0, 0))
    };
    let one = [
        ("eth0", 1),
        ("eth1", 10),
        ("bond0", 11),
        ("wg0", 100),
        ("lo", 1000),
    ];
    assert_eq!(sent(&one), Some(11));
    assert_eq!(sent(&[("bond0", 11), ("wg0", 100)]), Some(11));
    assert_eq!(sent(&[("", 7), ("eth0", 100)]), Some(7));
    assert_eq!(sent(&[("wg0", 100), ("tun0", 3)]), None);
}

#[test]
fn counters_of_any_size_are_added_up() {
    let place = Place::new();
    let at = |second: i64| start() + second;
    let mut below = counted(at(0), "a", &[]);
    below.set_metric(SENT, -5.0);
    let mut huge = counted(at(3), "a", &[]);
    huge.set_metric(SENT, 1e300);
    place.merge(&[
        below,
        counted(at(1), "a", &[(SENT, 1 << 52)]),
        // A counter of 32 bits has begun anew.
        counted(at(2), "a", &[(SENT, 3)]),
    ]);
    assert_eq!(place.sent((0, 0)), Some((1 << 52) + 3));
    place.merge(&[huge]);
    assert_eq!(place.sent((0, 0)), Some(u64::MAX));
}

#[test]
fn damaged_traffic_is_told_and_the_rest_counts() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("history.db");
    let store = FileStore::new(&file, Options::default());
    let host = Host::new(HOST);
    let samples = [0_i64, 1, 2].map(|day| {
        let bytes = 100 * (day.unsigned_abs() + 1);
        counted(start() + day * DAY_SECONDS, "a", &[(SENT, bytes)])
    });
    let batch = HostSamples {
        host: host.clone(),
        samples: samples.to_vec(),
    };
    store.merge(&[batch]).unwrap();

    let connection = rusqlite::Connection::open(&file).unwrap();
    for damage in ["x''", "x'01ff'", "7", "x'02'", "x'0101000100'"] {
        let id = (1_i64 << 32) + i64::from(DAY) + 1;
        let update = format!("UPDATE traffic SET sums = {damage} WHERE id = {id}");
        assert_eq!(connection.execute(&update, []).unwrap(), 1);
        let days = (Day::new(DAY), Day::new(DAY + 2));
        let of = host_traffic(&store, &host, &[], days);
        assert!(of.is_incomplete, "{damage}");
        // The counters of the days around it tell what flowed meanwhile.
        assert_eq!(of.traffic.unwrap().sent, Some(200), "{damage}");
    }
}
