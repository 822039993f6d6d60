//! Charts and traffic of known days.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use fleetbeat_history::chart::{Chart, ChartQuery, Column, TimeRange, Wanted};
use fleetbeat_history::{
    Arrival, DAY_SECONDS, Day, FileStore, HistoryStore, Host, HostChart, HostSamples,
    Identity, Options, Sample, Series, host_chart,
};
use proptest::collection::vec;
use proptest::prelude::*;

const DAY: u32 = 20_000;
const HOST: &str = "srv-00000001";

fn start() -> i64 {
    Day::new(DAY).start()
}

fn live(at: i64, cpu: f64) -> Sample {
    let mut sample = Sample::new(at, Identity::Unknown, Arrival::Live);
    sample.set_loads(Some(cpu), None, None);
    sample
}

fn spooled(at: i64) -> Sample {
    Sample::new(at, Identity::Unknown, Arrival::Spooled)
}

fn query(from: i64, to: i64, series: &str, points: usize) -> ChartQuery {
    let wanted = series.split(',').map(|name| Wanted::parse(name).unwrap());
    ChartQuery::new(from, to, wanted.collect(), points).unwrap()
}

/// The chart of samples of which the first `stored` are stored, and the others open.
fn chart_of(samples: &[Sample], stored: usize, query: &ChartQuery) -> HostChart {
    let folder = tempfile::tempdir().unwrap();
    let store = FileStore::new(&folder.path().join("history.db"), Options::default());
    let host = Host::new(HOST);
    let batch = HostSamples {
        host: host.clone(),
        samples: samples[..stored].to_vec(),
    };
    store.merge(&[batch]).unwrap();
    let open = &samples[stored..];
    let chart = host_chart(&store, &host, open, query);

    // A store of another kind gives its chunks, and gets the same chart.
    let (first, last) = query.days();
    let mut chunks = Vec::new();
    store
        .read(&host, first, last, &mut |chunk| chunks.push(Some(chunk)))
        .unwrap();
    let oldest = store.oldest_day().unwrap();
    let of_chunks = fleetbeat_history::chart_of(chunks, oldest, open, query);
    assert_eq!(of_chunks, chart);
    chart
}

fn numbers(chart: &Chart, place: usize) -> [Vec<Option<f64>>; 3] {
    match &chart.series[place].1 {
        Column::Numbers { avg, min, max } => [avg.clone(), min.clone(), max.clone()],
        Column::States { .. } => panic!("{chart:?}"),
    }
}

#[test]
fn few_samples_are_points_and_a_gap_ends_the_line() {
    let at = |beat: i64| start() + 120 * beat;
    let samples = [0, 1, 2, 3, 4, 50, 51].map(|beat| live(at(beat), beat as f64));
    let query = query(start(), start() + DAY_SECONDS, "cpu", 300);
    let HostChart {
        chart,
        kept_from,
        is_incomplete,
    } = chart_of(&samples, 7, &query);
    assert!(!is_incomplete);

    assert_eq!(kept_from, None);
    assert_eq!(chart.step_s, 120);
    assert_eq!(chart.t, [0, 1, 2, 3, 4, 5, 50, 51].map(at));
    let expected = [0.0, 1.0, 2.0, 3.0, 4.0, f64::NAN, 50.0, 51.0];
    let expected = expected.map(|value| Some(value).filter(|value| !value.is_nan()));
    for column in numbers(&chart, 0) {
        assert_eq!(column, expected);
    }
}

#[test]
fn many_samples_are_means_and_extremes_of_steps() {
    let samples = (0..720).map(|beat| live(start() + 120 * beat, (beat % 10) as f64));
    let samples: Vec<_> = samples.collect();
    for stored in [0, 1, 400, 720] {
        let query = query(start(), start() + DAY_SECONDS, "cpu,ram", 100);
        let chart = chart_of(&samples, stored, &query).chart;
        assert_eq!((chart.step_s, chart.t.len()), (900, 96));
        assert_eq!(chart.t[1] - chart.t[0], 900);
        assert_eq!(
            chart.series.len(),
            1,
            "a host without a series has no column"
        );

        let [avg, min, max] = numbers(&chart, 0);
        // The first step has the beats 0 to 7.
        assert_eq!([avg[0], min[0], max[0]], [3.5, 0.0, 7.0].map(Some));
        assert_eq!(max[1], Some(9.0));
    }
}

#[test]
fn a_service_is_up_for_a_share_of_its_samples() {
    let sample = |beat: i64| {
        let mut sample = live(start() + 120 * beat, 1.0);
        if beat < 600 {
            sample.set_service("wg", beat % 5 != 0);
        }
        sample
    };
    let samples: Vec<_> = (0..720).map(sample).collect();
    let query = query(start(), start() + DAY_SECONDS, "services", 24);
    let chart = chart_of(&samples, 500, &query).chart;
    let (series, column) = &chart.series[0];
    assert_eq!(series.to_string(), "services.wg");
    let Column::States { up } = column else {
        panic!("{column:?}")
    };
    assert_eq!(up.len(), 24);
    assert_eq!(up[..20], [Some(0.8); 20]);
    assert_eq!(up[20..], [None; 4], "missing is not down");
}

#[test]
fn only_the_range_counts() {
    let samples = (0..720).map(|beat| live(start() + 120 * beat, beat as f64 / 10.0));
    let samples: Vec<_> = samples.collect();
    let from = start() + 1200;
    let query = query(from, from + 600, "cpu", 300);
    let chart = chart_of(&samples, 720, &query).chart;
    assert_eq!(chart.t, [0, 1, 2, 3, 4].map(|beat| from + 120 * beat));
    assert_eq!(numbers(&chart, 0)[0][0], Some(1.0));
}

#[test]
fn what_was_deleted_or_never_stored_is_said() {
    let samples: Vec<_> = (0..10)
        .map(|beat| live(start() + 120 * beat, 1.0))
        .collect();
    let query = query(start() - 30 * DAY_SECONDS, start() + 9000, "cpu", 300);
    let of = |stored| chart_of(&samples, stored, &query);
    assert_eq!(of(10).kept_from, Some(start()));
    assert_eq!(of(10).chart.t.len(), 10);

    let nothing = chart_of(&[], 0, &query);
    assert_eq!(nothing.kept_from, Some(start() + 9000));
    assert_eq!(nothing.chart.t, []);
    assert_eq!(nothing.chart.step_s, 0);
}

#[test]
fn spooled_samples_tell_when_the_host_was_not_reached() {
    let at = |beat: i64| start() + 120 * beat;
    let mut samples: Vec<_> = (0..40).map(|beat| live(at(beat), 1.0)).collect();
    for beat in [10, 11, 12, 20, 30, 31] {
        samples[usize::try_from(beat).unwrap()] = spooled(at(beat));
    }
    // Behind 31 the host was down for long.
    samples.drain(32..38);
    samples.push(spooled(at(40)));

    let range = |from, to| TimeRange {
        from: at(from),
        to: at(to),
    };
    let expected = [range(10, 13), range(20, 21), range(30, 31), range(40, 40)];
    for points in [300, 10] {
        let query = query(start(), start() + DAY_SECONDS, "cpu", points);
        let chart = chart_of(&samples, 20, &query).chart;
        assert_eq!(chart.not_reached, expected);
    }
}

#[test]
fn huge_numbers_have_a_mean() {
    let sample = |second: i64| {
        let mut sample = Sample::new(start() + second, Identity::Unknown, Arrival::Live);
        sample.set_metric("huge", f64::MAX);
        sample
    };
    let samples: Vec<_> = (0..10).map(sample).collect();
    let query = query(start(), start() + 10, "metrics", 1);
    let chart = chart_of(&samples, 10, &query).chart;
    assert_eq!(chart.t, [start()]);
    assert_eq!(numbers(&chart, 0).concat(), [Some(f64::MAX); 3]);
}

#[test]
fn the_first_series_are_shown_of_too_many() {
    let sample = |second: i64| {
        let mut sample = live(start() + second, 1.0);
        for name in 0..20 {
            sample.set_metric(&format!("m{second}.{name:02}"), 1.0);
        }
        sample
    };
    let samples: Vec<_> = (0..3).rev().map(sample).collect();
    for points in [1, 2, 300] {
        let query = query(start(), start() + 3, "metrics,cpu", points);
        let folder = tempfile::tempdir().unwrap();
        let options = Options {
            max_series: 100,
            ..Options::default()
        };
        let store = FileStore::new(&folder.path().join("history.db"), options);
        let chart = host_chart(&store, &Host::new(HOST), &samples, &query).chart;
        assert!(chart.has_left_out);
        assert_eq!(chart.series.len(), 32);
        assert_eq!(chart.series[0].0, Series::Cpu);
        assert_eq!(chart.series[31].0.to_string(), "metrics.m1.10");
    }
}

#[test]
fn wrong_queries_name_their_field() {
    let cpu = || vec![Wanted::parse("cpu").unwrap()];
    let field = |from, to, wanted, points| {
        ChartQuery::new(from, to, wanted, points)
            .unwrap_err()
            .field()
    };
    assert_eq!(field(10, 10, cpu(), 1), "to");
    assert_eq!(field(i64::MIN, i64::MAX, cpu(), 1), "to");
    assert_eq!(field(-5, 5, cpu(), 1), "to");
    assert_eq!(field(0, 11 * 366 * DAY_SECONDS, cpu(), 1), "to");
    assert_eq!(field(0, 1, cpu(), 0), "points");
    assert_eq!(field(0, 1, cpu(), 1001), "points");
    assert_eq!(field(0, 1, Vec::new(), 1), "series");
    assert_eq!(field(0, 1, vec![cpu()[0].clone(); 33], 1), "series");
    for wrong in [
        "",
        "load",
        "Cpu",
        "cpu ",
        "metric.x",
        "metrics.uptime_seconds",
    ] {
        assert_eq!(Wanted::parse(wrong), None, "{wrong:?}");
    }
    for right in ["cpu", "services.a,b", "metrics.load1", "metrics.a{b=\"c\"}"] {
        let wanted = Wanted::parse(right);
        let Some(Wanted::One(series)) = wanted else {
            panic!("{right}: {wanted:?}")
        };
        assert_eq!(series.to_string(), right);
    }
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(cases)
    }
}

proptest! {
    #![proptest_config(config(100))]

    /// A chart never has more points than it may, its times ascend, its values are between
    /// the smallest and the largest of all, and it does not depend on what is stored yet.
    #[test]
    fn a_chart_keeps_to_its_limits(
        times in vec(0..3 * DAY_SECONDS, 1..300),
        range in (0..3 * DAY_SECONDS, 1..3 * DAY_SECONDS),
        points in 1..200_usize,
        stored in any::<prop::sample::Index>(),
    ) {
        let samples: Vec<_> = times
            .iter()
            .map(|at| live(start() + at, (at % 97) as f64))
            .collect();
        let (from, length) = (start() + range.0, range.1);
        let query = query(from, from + length, "cpu", points);
        let chart = chart_of(&samples, stored.index(times.len() + 1), &query).chart;

        prop_assert!(chart.t.len() <= points);
        prop_assert!(chart.t.is_sorted_by(|time, next| time < next));
        let is_in_range = |at: &i64| (range.0..range.0 + length).contains(at);
        let has_samples = times.iter().any(is_in_range);
        prop_assert_eq!(chart.series.is_empty(), !has_samples);
        if has_samples {
            let [avg, min, max] = numbers(&chart, 0);
            let values = || times.iter().filter(|at| is_in_range(at)).map(|at| at % 97);
            let of = |column: &[Option<f64>], pick: fn(f64, f64) -> f64| {
                column.iter().copied().flatten().reduce(pick)
            };
            prop_assert_eq!(of(&min, f64::min), values().min().map(|value| value as f64));
            prop_assert_eq!(of(&max, f64::max), values().max().map(|value| value as f64));
            for ((avg, min), max) in avg.iter().zip(&min).zip(&max) {
                prop_assert!(min <= avg && avg <= max);
            }
        }
        let all_open = chart_of(&samples, 0, &query).chart;
        prop_assert_eq!(chart, all_open);
    }
}
