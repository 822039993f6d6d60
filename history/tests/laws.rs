//! What is true of all chunks.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use fleetbeat_history::open_chunk;
use fleetbeat_history::{
    Arrival, Chunk, DAY_SECONDS, Day, Identity, MAX_SERIES, Sample, Series, StoredChunk,
    counted_at,
};
use proptest::collection::vec;
use proptest::prelude::*;

const DAY: u32 = 20_000;

/// Any number that a heartbeat may carry, and some that are hard.
fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => (-1000_i32..100_000).prop_map(|hundredths| f64::from(hundredths) / 100.0),
        2 => (0_u64..1 << 53).prop_map(|bytes| bytes as f64),
        1 => proptest::num::f64::NORMAL | proptest::num::f64::SUBNORMAL,
        1 => prop::sample::select(vec![
            0.0, -0.0, f64::MAX, f64::MIN, f64::MIN_POSITIVE, 1e13, 1e13 - 0.004, 9e16,
            -9e16, 9_223_372_036_854_775_807.0, -1.0, 0.005, 99.995, 1e300,
        ]),
    ]
}

/// Few names, so that samples share them, and some that anybody could make up.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => (0..64_u32).prop_map(|number| format!("metric_{number}")),
        1 => Just("interface_received_bytes_total{interface=\"eth0\"}".to_owned()),
        1 => Just("interface_sent_bytes_total".to_owned()),
        1 => "\\PC{0,64}",
    ]
}

fn identity() -> impl Strategy<Value = Identity> {
    let boot = prop::option::of(prop::sample::select(vec!["a", "b", "c"]));
    (boot, prop::option::of(0..40_u64)).prop_map(|(boot, seq)| Identity::new(boot, seq))
}

fn sample() -> impl Strategy<Value = Sample> {
    let second = prop_oneof![0..100_i64, 0..DAY_SECONDS];
    let arrival = prop::sample::select(vec![Arrival::Live, Arrival::Spooled]);
    let load = || prop::option::of(0.0..=100.0);
    (
        second,
        identity(),
        arrival,
        (load(), load(), load()),
        vec((name(), any::<bool>()), 0..4),
        vec((name(), number()), 0..8),
    )
        .prop_map(|(second, identity, arrival, loads, services, metrics)| {
            let mut sample =
                Sample::new(Day::new(DAY).start() + second, identity, arrival);
            sample.set_loads(loads.0, loads.1, loads.2);
            for (name, is_active) in services {
                sample.set_service(&name, is_active);
            }
            for (name, value) in metrics {
                sample.set_metric(&name, value);
            }
            sample
        })
}

fn merged(samples: &[Sample], max_series: usize) -> Chunk {
    Chunk::empty(Day::new(DAY)).merge(samples, max_series).chunk
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(cases)
    }
}

proptest! {
    #![proptest_config(config(512))]

    /// Any order, any duplication and any batches of samples are the same chunk, byte for
    /// byte, however many series are kept, and also if each batch was an open chunk and
    /// each merge was stored.
    #[test]
    fn the_same_samples_are_the_same_chunk(
        samples in vec(sample(), 1..40),
        seed in any::<u64>(),
        max_series in prop::sample::select(vec![0, 1, 5, 24, 64, MAX_SERIES]),
    ) {
        let expected = merged(&samples, max_series).encode();

        let mut rng = fastrand::Rng::with_seed(seed);
        let mut shuffled = samples.clone();
        for _ in 0..rng.usize(0..30) {
            shuffled.push(samples[rng.usize(..samples.len())].clone());
        }
        rng.shuffle(&mut shuffled);

        let mut stored = Chunk::empty(Day::new(DAY)).encode();
        while !shuffled.is_empty() {
            let count = rng.usize(1..=shuffled.len());
            let mut blob = Vec::new();
            for mut sample in shuffled.drain(..count) {
                // A caller may cut what a chunk would cut.
                if rng.bool() {
                    sample.keep_series(max_series);
                }
                blob = open_chunk::append(&blob, &sample).unwrap();
            }
            let open = open_chunk::read(&blob);
            prop_assert_eq!(open.damage, None);
            let chunk = StoredChunk::open(&stored).unwrap().decode().unwrap();
            stored = chunk.merge(&open.samples, max_series).chunk.encode();
        }
        prop_assert_eq!(stored, expected);
    }

    /// A chunk says what was put in: each value of each sample that has a key of its own.
    #[test]
    fn a_chunk_keeps_what_it_takes(samples in vec(sample(), 1..40)) {
        let chunk = merged(&samples, MAX_SERIES);
        let chunk = StoredChunk::open(&chunk.encode()).unwrap().decode().unwrap();
        for sample in &samples {
            let is_alone = samples.iter().filter(|other| same(other, sample)).count() == 1;
            if is_alone && chunk.series().len() < MAX_SERIES {
                let kept = chunk.samples().find(|kept| same(kept, sample));
                prop_assert_eq!(kept.as_ref(), Some(sample));
            }
        }
    }

    /// The open chunk gives back each sample as it was, in its order.
    #[test]
    fn an_open_chunk_keeps_what_it_takes(samples in vec(sample(), 0..40)) {
        let mut blob = Vec::new();
        for sample in &samples {
            blob = open_chunk::append(&blob, sample).unwrap();
        }
        let open = open_chunk::read(&blob);
        prop_assert_eq!(open.damage, None);
        prop_assert_eq!(open.samples, samples);
    }

    /// A number is kept to the nearest hundredth, and rounding it again changes nothing.
    #[test]
    fn a_metric_is_kept_to_its_hundredth(value in number()) {
        let mut sample = Sample::new(0, Identity::Unknown, Arrival::Live);
        sample.set_metric("x", value);
        let kept = sample.get(&Series::metric("x").unwrap()).unwrap();
        let bound = if value.abs() < 1e13 { 0.005_1 } else { 0.5 };
        prop_assert!((kept - value).abs() <= bound, "{value} is kept as {kept}");

        sample.set_metric("x", kept);
        let again = sample.get(&Series::metric("x").unwrap()).unwrap();
        prop_assert_eq!(again.to_bits(), kept.to_bits());
    }

    /// Of too many series the first ones are kept: loads, services and other metrics; and
    /// counters of bytes always.
    #[test]
    fn counters_of_bytes_are_always_kept(samples in vec(sample(), 1..30)) {
        let all = merged(&samples, MAX_SERIES);
        let few = merged(&samples, 5);
        let others = |chunk: &Chunk| -> Vec<Series> {
            let series = chunk.series().iter();
            let others = series.filter(|series| !matches!(series, Series::Counter(_)));
            others.cloned().collect()
        };
        let (all_others, few_others) = (others(&all), others(&few));
        prop_assert_eq!(&few_others, &all_others[..few_others.len()]);
        prop_assert!(few.series().len() >= all.series().len().min(5));
        for series in all.series() {
            if matches!(series, Series::Counter(_)) {
                prop_assert!(few.series().contains(series));
            }
        }
    }
}

/// Whether two samples have the same key.
fn same(one: &Sample, other: &Sample) -> bool {
    match (one.identity(), other.identity()) {
        (Identity::Numbered(..), _) | (_, Identity::Numbered(..)) => {
            one.identity() == other.identity()
        }
        _ => one.at() == other.at(),
    }
}

#[test]
fn what_is_no_number_is_missing() {
    let mut sample = Sample::new(0, Identity::Unknown, Arrival::Live);
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        sample.set_metric("x", value);
        sample.set_metric("interface_sent_bytes_total", value);
        sample.set_loads(Some(value), None, None);
    }
    sample.set_metric("uptime_seconds", 5.0);
    sample.set_metric("boot_time_seconds", 5.0);
    assert_eq!(sample.cells().len(), 0);
}

#[test]
fn a_clock_that_is_far_off_does_not_count() {
    let (live, spooled) = (Arrival::Live, Arrival::Spooled);
    let day = DAY_SECONDS;
    for (collected_at, arrival, counted) in [
        (None, live, 1_000_000),
        (Some(1_000_000 - 300), live, 1_000_000 - 300),
        (Some(1_000_000 + 300), live, 1_000_000 + 300),
        (Some(1_000_000 - 301), live, 1_000_000),
        (Some(1_000_000 + day), live, 1_000_000),
        (Some(1_000_000 - day), live, 1_000_000),
        (None, spooled, 1_000_000),
        (Some(1_000_000 - day), spooled, 1_000_000 - day),
        (Some(1_000_000 + 1), spooled, 1_000_000),
        (Some(i64::MIN), spooled, i64::MIN),
        (Some(i64::MIN), live, 1_000_000),
    ] {
        assert_eq!(counted_at(collected_at, 1_000_000, arrival), counted);
    }
    // What is before all days counts to the first one.
    let sample = Sample::new(i64::MIN, Identity::Unknown, spooled);
    assert_eq!((sample.day(), sample.at()), (Day::FIRST, 0));
}

#[test]
fn a_load_is_kept_to_its_tenth() {
    for (load, kept) in [(23.449, 23.4), (23.45, 23.5), (0.04, 0.0), (99.96, 100.0)] {
        let mut sample = Sample::new(0, Identity::Unknown, Arrival::Live);
        sample.set_loads(Some(load), None, None);
        assert_eq!(sample.get(&Series::Cpu), Some(kept));
    }
}

#[test]
fn missing_is_not_zero() {
    let day = Day::new(DAY);
    let mut samples: Vec<_> = (0..3)
        .map(|second| Sample::new(day.start() + second, Identity::Unknown, Arrival::Live))
        .collect();
    samples[0].set_loads(Some(0.0), None, None);
    samples[2].set_loads(None, Some(0.0), None);
    samples[1].set_service("wg", false);

    let chunk = merged(&samples, 24);
    let chunk = StoredChunk::open(&chunk.encode())
        .unwrap()
        .decode()
        .unwrap();
    assert_eq!(chunk.samples().collect::<Vec<_>>(), samples);
}

#[test]
fn a_full_open_chunk_is_told() {
    let mut blob = Vec::new();
    for at in 0..open_chunk::MAX_OPEN_SAMPLES {
        let at = i64::try_from(at).unwrap();
        let sample = Sample::new(at, Identity::Unknown, Arrival::Live);
        blob = open_chunk::append(&blob, &sample).unwrap();
    }
    let sample = Sample::new(0, Identity::Unknown, Arrival::Live);
    assert_eq!(open_chunk::append(&blob, &sample), Err(open_chunk::Full));
    let count = open_chunk::read(&blob).samples.len();
    assert_eq!(count, open_chunk::MAX_OPEN_SAMPLES);

    let mut blob = Vec::new();
    let grown = (0..100).try_for_each(|at| {
        let mut sample = Sample::new(at, Identity::Unknown, Arrival::Live);
        for number in 0..64 {
            sample.set_metric(&format!("{at}_{number:060}"), 1.0);
        }
        blob = open_chunk::append(&blob, &sample)?;
        Ok(())
    });
    assert_eq!(grown, Err(open_chunk::Full));
    assert!(blob.len() <= open_chunk::MAX_OPEN_BYTES);
}
