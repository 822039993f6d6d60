//! Traffic of known days.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use fleetbeat_history::traffic::{DayTraffic, Flow, LOOK_BACK_DAYS, Traffic};
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
        Place::with(Options::default())
    }

    fn with(options: Options) -> Place {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("history.db");
        Place {
            store: FileStore::new(&file, options),
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
        Some(of.traffic?.sent?.bytes)
    }

    /// What was sent in all days.
    fn flow(&self, open: &[Sample]) -> Flow {
        self.traffic(open, (0, 60)).traffic.unwrap().sent.unwrap()
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
    Some(sent(pairs.map(flow).sum(), known_from))
}

/// Traffic of which only what was sent is known.
fn sent(bytes: u64, known_from: i64) -> Traffic {
    let flow = Flow {
        bytes,
        known_from,
        has_gap: false,
    };
    Traffic {
        received: None,
        sent: Some(flow),
    }
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
    let nothing = |known_from| Some(sent(0, known_from));
    assert_eq!(place.traffic(&[], (0, 30)).traffic, nothing(start() + 5));
    // It is where a later cycle begins, in which nothing has flowed yet.
    for first in [1, 31] {
        let known_from = Day::new(DAY + first).start();
        assert_eq!(place.traffic(&[], (first, 40)).traffic, nothing(known_from));
    }
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
    let Traffic { received, sent } = place.traffic(&[], (0, 9)).traffic.unwrap();
    let bytes = [sent, received].map(|flow| flow.unwrap().bytes);
    assert_eq!(bytes, [5000, 70]);
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
    for damage in ["x''", "x'01ff'", "7", "x'02'", "x'03'", "x'0101000100'"] {
        let id = (1_i64 << 32) + i64::from(DAY) + 1;
        let update = format!("UPDATE traffic SET sums = {damage} WHERE id = {id}");
        assert_eq!(connection.execute(&update, []).unwrap(), 1);
        let days = (Day::new(DAY), Day::new(DAY + 2));
        let of = host_traffic(&store, &host, &[], days);
        assert!(of.is_incomplete, "{damage}");
        // The counters of the days around it tell what flowed meanwhile.
        assert_eq!(of.traffic.unwrap().sent.unwrap().bytes, 200, "{damage}");
    }
}

/// A heartbeat whose number in its boot is known.
fn numbered(at: i64, boot: &str, number: u64, counters: &[(&str, u64)]) -> Sample {
    let identity = Identity::new(Some(boot), Some(number));
    let mut sample = Sample::new(at, identity, Arrival::Live);
    for (name, bytes) in counters {
        sample.set_metric(name, *bytes as f64);
    }
    sample
}

fn name(interface: &str) -> String {
    match interface {
        "" => "interface_sent_bytes_total".to_owned(),
        _ => format!("interface_sent_bytes_total{{interface=\"{interface}\"}}"),
    }
}

const BEFORE: u64 = 5_000_000_000_000;

#[test]
fn a_clock_that_is_set_right_adds_nothing() {
    for midnight in [0, DAY_SECONDS] {
        // The third heartbeat says that it was made before the second one.
        let seconds = [-7200, -7080, 60, -60, 180];
        let samples: Vec<Sample> = (1..)
            .zip(seconds)
            .map(|(number, second)| {
                let at = start() + DAY_SECONDS / 2 + midnight / 2 + second;
                numbered(at, "a", number, &[(SENT, BEFORE + 10 * number)])
            })
            .collect();
        let place = Place::new();
        assert_eq!(place.flow(&samples).bytes, 40);
        for sample in &samples {
            place.merge(std::slice::from_ref(sample));
        }
        assert_eq!(place.flow(&[]).bytes, 40);
    }
}

#[test]
fn machines_that_take_turns_have_the_bytes_of_each() {
    let sample = |minute: u64| {
        let boot = ["p", "q", "r"][usize::try_from(minute).unwrap() % 3];
        let bytes = BEFORE * (1 + minute % 3) + 10 * minute;
        let at = start() + 60 * i64::try_from(minute).unwrap();
        numbered(at, boot, minute, &[(SENT, bytes)])
    };
    // For three days.
    let samples: Vec<Sample> = (0..3 * 1440).map(sample).collect();
    let place = Place::new();
    let expected = 3 * 10 * (3 * 1440 - 3);
    assert_eq!(place.flow(&samples).bytes, expected);
    place.merge(&samples);
    assert_eq!(place.flow(&[]).bytes, expected);
}

/// A sample every half an hour from `from` to `to`, in hours since the first day began.
/// Each interface has sent as much as flowed on the wire since the first day: a byte a
/// second.
fn told(hours: (i64, i64), interfaces: &[&str]) -> Vec<Sample> {
    let names: Vec<String> = interfaces.iter().map(|of| name(of)).collect();
    let halves = 2 * hours.0..2 * hours.1;
    halves
        .map(|half| {
            let flowed = (1800 * half).unsigned_abs();
            let counters: Vec<(&str, u64)> = names
                .iter()
                .map(|name| (&**name, BEFORE + flowed))
                .collect();
            numbered(start() + 1800 * half, "a", half.unsigned_abs(), &counters)
        })
        .collect()
}

/// What was sent from the second day to the tenth one, whatever is merged, with its start
/// and whether a part is missing.
fn flow_from_second_day(samples: &[Sample]) -> (u64, i64, bool) {
    let place = Place::new();
    let days = (1, 9);
    let open = place.traffic(samples, days);
    place.merge(samples);
    assert_eq!(place.traffic(&[], days), open);
    let flow = open.traffic.unwrap().sent.unwrap();
    (flow.bytes, (flow.known_from - start()) / 3600, flow.has_gap)
}

#[test]
fn other_counters_may_take_the_place_of_those_before() {
    let half = 1800;
    let day = 24 * 3600;
    let told_by = |parts: &[((i64, i64), &[&str])]| -> Vec<Sample> {
        parts
            .iter()
            .flat_map(|(hours, of)| told(*hours, of))
            .collect()
    };
    let whole = 4 * day - half;
    // Before the cycle, another counter was told than in it.
    let samples = told_by(&[((0, 12), &[""]), ((12, 120), &["eth0"])]);
    assert_eq!(flow_from_second_day(&samples), (whole + half, 24, false));
    let samples = told_by(&[((0, 24), &[""]), ((24, 120), &["eth0"])]);
    assert_eq!(flow_from_second_day(&samples), (whole, 24, false));
    let samples = told_by(&[((0, 24), &[""]), ((30, 120), &["eth0"])]);
    assert_eq!(
        flow_from_second_day(&samples),
        (whole - 6 * 3600, 30, false)
    );

    // In the cycle, nobody tells what flowed in between.
    for hour in [48, 60] {
        for names in [
            ["", "eth0"],
            ["bond0", "eth0"],
            ["eth0", "bond0"],
            ["eth0", ""],
        ] {
            let samples =
                told_by(&[((0, hour), &names[..1]), ((hour, 120), &names[1..])]);
            let flow = flow_from_second_day(&samples);
            assert_eq!(flow, (whole, 24, true), "{names:?} at {hour}");
        }
        // The same with another name.
        let samples = told_by(&[((0, hour), &["eth0"]), ((hour, 120), &["ens3"])]);
        assert_eq!(flow_from_second_day(&samples), (whole, 24, true));
    }
    // Two that are told together leave nothing out.
    let both: &[&str] = &["bond0", "eth0"];
    let samples = told_by(&[((0, 50), &["bond0"]), ((50, 120), both)]);
    assert_eq!(flow_from_second_day(&samples), (whole + half, 24, false));
    let samples = told_by(&[((0, 48), both), ((48, 72), &["bond0"]), ((72, 120), both)]);
    assert_eq!(flow_from_second_day(&samples), (whole + half, 24, false));

    // A single heartbeat that says something else.
    let mut samples = told((0, 120), &["eth0"]);
    for second in [24 * 3600 - 5, 36 * 3600 + 60, 72 * 3600 - 5] {
        let stray = (name(""), 7);
        let at = start() + second;
        samples.push(counted(at, "a", &[(&stray.0, stray.1)]));
    }
    assert_eq!(flow_from_second_day(&samples), (whole + half, 24, false));
}

#[test]
fn an_interface_may_be_missing_for_days() {
    let samples: Vec<Sample> = [
        told((0, 6), &["eth0", "eth1"]),
        told((6, 60), &["eth1"]),
        told((60, 120), &["eth0", "eth1"]),
    ]
    .concat();
    let (eth0, eth1) = (119 * 3600 + 1800 - (5 * 3600 + 1800), 4 * 24 * 3600);
    assert_eq!(flow_from_second_day(&samples), (eth0 + eth1, 24, false));
}

#[test]
fn counters_have_their_place_whatever_else_a_host_tells() {
    let many = |at: i64, part: u64, interfaces: &[String]| {
        let names: Vec<String> = interfaces.iter().map(|of| name(of)).collect();
        let counters: Vec<(&str, u64)> = names.iter().map(|of| (&**of, part)).collect();
        let mut sample = numbered(at, "a", part, &counters);
        for number in 0..10 {
            sample.set_metric(&format!("metric_{number}"), 1.0);
            sample.set_service(&format!("service_{number}"), true);
        }
        sample
    };
    let named = |prefix: &str, from: u32, count: u32| -> Vec<String> {
        let names = from..from + count;
        names.map(|number| format!("{prefix}{number}")).collect()
    };
    // Containers that come and go all day, and 32 interfaces of hardware.
    let samples: Vec<Sample> = (0..200_u32)
        .map(|minute| {
            let at = start() + 60 * i64::from(minute);
            let names = [named("cali", minute, 12), named("eth", 0, 32)].concat();
            many(at, u64::from(minute), &names)
        })
        .collect();
    for max_series in [1, 24, 128] {
        let place = Place::with(Options {
            max_series,
            ..Options::default()
        });
        let before = place.flow(&samples);
        assert_eq!((before.bytes, before.has_gap), (32 * 199, false));
        for batch in samples.chunks(30) {
            let mut batch = batch.to_vec();
            for sample in &mut batch {
                sample.keep_series(max_series);
            }
            place.merge(&batch);
        }
        assert_eq!(place.flow(&[]), before);
    }

    // More than there is room for.
    let samples: Vec<Sample> = (0..10_u32)
        .map(|part| {
            let at = start() + 60 * i64::from(part);
            many(at, u64::from(part), &named("eth", 20 * part, 20))
        })
        .collect();
    let place = Place::new();
    let before = place.flow(&samples);
    assert!(before.has_gap);
    place.merge(&samples);
    assert_eq!(place.flow(&[]), before);
}

#[test]
fn days_of_the_first_version_are_read() {
    let place = Place::new();
    let day = |number: i64| start() + number * DAY_SECONDS;
    place.merge(&[counted(day(0), "a", &[(SENT, 100)])]);
    place.merge(&[counted(day(1), "b", &[(SENT, 7)])]);
    place.merge(&[counted(day(2), "b", &[(SENT, 1000)])]);
    assert_eq!(place.sent((0, 2)), Some(1000));

    // On the second day, the host was in the boot a until it had sent 150 bytes, and in
    // the boot b from 5 to 90 bytes.
    let boot = |of: &str| {
        let name = of.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        name.to_le_bytes()
    };
    let head = [1, 9, 60, 1, 1, 4, b'e', b't', b'h', b'0', 5];
    let first = [&[1][..], &boot("a"), &[120]].concat();
    // 90 is 30 below 120; 30 flowed in the boot a, and 90 in the boot b.
    let last = [&[1][..], &boot("b"), &[59, 120]].concat();
    let sums = [&head[..], &first, &last].concat();
    let decoded = DayTraffic::decode(&sums).unwrap();
    assert_eq!(DayTraffic::decode(&decoded.encode()), Ok(decoded));

    let file = place._folder.path().join("history.db");
    let connection = rusqlite::Connection::open(file).unwrap();
    let id = (1_i64 << 32) + i64::from(DAY) + 1;
    let update = "UPDATE traffic SET sums = ?1 WHERE id = ?2";
    connection
        .execute(update, rusqlite::params![sums, id])
        .unwrap();
    // 20 flowed before that day, 30 and 90 on it, and 910 behind it.
    assert_eq!(place.sent((0, 2)), Some(20 + 30 + 90 + 910));
    // A merge makes it anew from the chunk.
    place.merge(&[counted(day(1) + 1, "b", &[(SENT, 8)])]);
    assert_eq!(place.sent((0, 2)), Some(1000));
}

/// A heartbeat of a host about which much may be wrong.
#[derive(Debug, Clone)]
struct OddStep {
    after: i64,
    flows: u64,
    /// How far the clock is off from this heartbeat on, if that changes.
    skew: Option<i64>,
    boots: bool,
    /// Which interfaces are told from this heartbeat on, if that changes.
    shape: Option<Shape>,
    /// Another machine with the same name speaks in its stead.
    is_other: bool,
}

#[derive(Debug, Clone, Copy)]
enum Shape {
    Total,
    Hardware,
    Stacked,
    HardwareAndStacked,
    /// Hardware that gets another name.
    Renamed,
    /// Hardware among interfaces of containers, with other names at each heartbeat.
    Crowd,
    Nothing,
}

#[derive(Debug, Clone, Copy)]
struct Odds {
    skews: bool,
    boots: bool,
    shapes: bool,
    others: bool,
}

fn odd_step(odds: Odds) -> impl Strategy<Value = OddStep> {
    let after = prop_oneof![
        8 => 30..600_i64,
        4 => 3600..40_000_i64,
        1 => DAY_SECONDS..3 * DAY_SECONDS,
    ];
    let shape = prop::sample::select(vec![
        Shape::Total,
        Shape::Hardware,
        Shape::Stacked,
        Shape::HardwareAndStacked,
        Shape::Renamed,
        Shape::Crowd,
        Shape::Nothing,
    ]);
    let sometimes = |is_on: bool| prop::bool::weighted(if is_on { 0.1 } else { 0.0 });
    let skew = (sometimes(odds.skews), -240..240_i64);
    let shape = (sometimes(odds.shapes), shape);
    let other = sometimes(odds.others);
    (
        after,
        0..1_u64 << 30,
        skew,
        sometimes(odds.boots),
        shape,
        other,
    )
        .prop_map(|(after, flows, skew, boots, shape, is_other)| OddStep {
            after,
            flows,
            skew: skew.0.then_some(skew.1),
            boots,
            shape: shape.0.then_some(shape.1),
            is_other,
        })
}

/// The heartbeats of such a life, and what has flowed between the first and the last one
/// that tell a counter.
fn odd_life(steps: &[OddStep]) -> (Vec<Sample>, u64) {
    // Nobody knows which of a host's first heartbeats came first if the clock is set right
    // between them, so that is later.
    let quiet = OddStep {
        after: 600,
        flows: 0,
        skew: None,
        boots: false,
        shape: None,
        is_other: false,
    };
    let (mut samples, mut flowed, mut counted) = (Vec::new(), 0, 0);
    let (mut at, mut skew, mut boot, mut bytes) =
        (start() + DAY_SECONDS / 2, 0, 0, BEFORE);
    let (mut shape, mut renamed) = (Shape::Hardware, 0);
    // A single heartbeat of another kind tells nothing, so there are two at the end.
    let steps = [&quiet, &quiet].into_iter().chain(steps).chain([&quiet; 2]);
    for (seq, step) in (1_u64..).zip(steps) {
        // Boots that follow each other within minutes may look like turns.
        at += step.after + if step.boots { 600 } else { 0 };
        if step.boots {
            (boot, bytes) = (boot + 1, 0);
        }
        (bytes, flowed) = (bytes + step.flows, flowed + step.flows);
        skew = step.skew.unwrap_or(skew);
        if let Some(next) = step.shape {
            shape = next;
            renamed += u32::from(matches!(next, Shape::Renamed));
        }
        let (boot, bytes) = match step.is_other {
            true => ("other".to_owned(), 3 * BEFORE + flowed),
            false => (format!("boot {boot}"), bytes),
        };
        let hardware = format!("eth{renamed}");
        let mut names = match shape {
            Shape::Total => vec![name("")],
            Shape::Hardware | Shape::Renamed | Shape::Crowd => vec![name(&hardware)],
            Shape::Stacked => vec![name("bond0")],
            Shape::HardwareAndStacked => vec![name("bond0"), name(&hardware)],
            Shape::Nothing => vec![],
        };
        if matches!(shape, Shape::Crowd) {
            names.extend((0..20).map(|place| name(&format!("cali{}", seq * 20 + place))));
        }
        if !names.is_empty() {
            counted = flowed;
        }
        let counters: Vec<(&str, u64)> =
            names.iter().map(|name| (&**name, bytes)).collect();
        samples.push(numbered(at + skew, &boot, seq, &counters));
    }
    (samples, counted)
}

proptest! {
    #![proptest_config(config(150))]

    /// Whatever a host tells, the answer is the same before and after any merge.
    #[test]
    fn a_merge_changes_no_answer(
        steps in vec(
            odd_step(Odds { skews: true, boots: true, shapes: true, others: true }),
            1..60,
        ),
        days in (0..12_u32, 0..20_u32),
        max_series in prop::sample::select(vec![1, 3, 24]),
        seed in any::<u64>(),
    ) {
        let (mut samples, _) = odd_life(&steps);
        let days = (days.0, days.0 + days.1);
        let expected = Place::new().traffic(&samples, days);

        let mut rng = fastrand::Rng::with_seed(seed);
        let doubled = rng.usize(0..10);
        samples.extend(
            (0..doubled).map(|_| samples[rng.usize(..samples.len())].clone())
                .collect::<Vec<_>>(),
        );
        // The last heartbeats alone, or any, wait.
        if rng.bool() {
            rng.shuffle(&mut samples);
        }
        let place = Place::with(Options { max_series, ..Options::default() });
        while !samples.is_empty() {
            let count = rng.usize(1..=samples.len());
            let merged: Vec<Sample> = samples.drain(..count).collect();
            place.merge(&merged);
            let mut open = samples.clone();
            for sample in &mut open {
                sample.keep_series(max_series);
            }
            prop_assert_eq!(place.traffic(&open, days), expected);
            // What was merged may wait still.
            open.extend(merged);
            prop_assert_eq!(place.traffic(&open, days), expected);
        }
    }

    /// Clocks that are set right, and boots, leave nothing out and add nothing.
    #[test]
    fn clocks_and_boots_change_no_byte(
        steps in vec(
            odd_step(Odds { skews: true, boots: true, shapes: false, others: false }),
            1..60,
        ),
    ) {
        let (samples, flowed) = odd_life(&steps);
        let flow = Place::new().traffic(&samples, (0, 400)).traffic.unwrap().sent.unwrap();
        prop_assert_eq!((flow.bytes, flow.has_gap), (flowed, false));
    }

    /// Interfaces that come, go and get other names never add a byte, and what they leave
    /// out is told.
    #[test]
    fn other_interfaces_add_nothing(
        steps in vec(
            odd_step(Odds { skews: false, boots: false, shapes: true, others: false }),
            1..60,
        ),
    ) {
        let (samples, flowed) = odd_life(&steps);
        let flow = Place::new().traffic(&samples, (0, 400)).traffic.unwrap().sent.unwrap();
        prop_assert!(flow.bytes <= flowed, "{flow:?} of {flowed}");
        if !flow.has_gap {
            prop_assert_eq!(flow.bytes, flowed);
        }
    }
}
