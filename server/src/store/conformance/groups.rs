//! The fleet and its countries are hosts of their own in history, and nowhere else.

use fleetbeat_history::chart::{ChartQuery, Column, Wanted};
use fleetbeat_history::{Arrival, Host, HostSamples, Identity, Sample, Series};
use fleetbeat_protocol::Timestamp;
use jiff::SignedDuration;

use super::fixtures::{minutes, now, servers};
use super::history::merge_all;
use crate::store::{Groups, HostName, Store};

fn start() -> Timestamp {
    now() - SignedDuration::from_hours(6)
}

/// Keeps a sample of each group: `active` hosts, and half of them in Germany.
fn add(store: &dyn Store, at: Timestamp, active: f64) {
    let sample = |host: Host, active: f64| {
        let at = at.as_second();
        let mut sample = Sample::new(at, Identity::Unknown, Arrival::Live);
        sample.set_metric("active", active);
        HostSamples {
            host,
            samples: vec![sample],
        }
    };
    let groups = [
        sample(Host::fleet(), active),
        sample(Host::country("DE"), active / 2.0),
        sample(Host::country("xx"), active / 2.0),
    ];
    store.add_groups(&groups).unwrap();
}

/// The name of each group, and its active hosts by the minute behind the start.
type Told = Vec<(String, Vec<(i64, f64)>)>;

fn told(store: &dyn Store, groups: Groups, start: Timestamp) -> Told {
    let from = start.as_second();
    let wanted = vec![Wanted::One(Series::metric("active").unwrap())];
    let query = ChartQuery::new(from, from + 6 * 3600, wanted, 1000).unwrap();
    let charts = store.group_history(groups, &query).unwrap();
    let told = charts.iter().map(|group| {
        assert!(!group.chart.is_incomplete);
        let chart = &group.chart.chart;
        let Some((_, Column::Numbers { avg, .. })) = chart.series.first() else {
            return (group.host.to_string(), Vec::new());
        };
        let points = chart.t.iter().zip(avg);
        let points = points.filter_map(|(t, avg)| Some(((t - from) / 60, (*avg)?)));
        (group.host.to_string(), points.collect())
    });
    told.collect()
}

pub(super) fn samples_of_groups_are_kept_before_and_after_a_merge(store: &dyn Store) {
    let start = start();
    assert_eq!(
        told(store, Groups::Fleet, start),
        [("fleet".to_owned(), vec![])]
    );
    assert_eq!(told(store, Groups::Countries, start), []);

    // More than an hour: some are merged, and some wait.
    for minute in 0..90 {
        add(store, start + minutes(minute), minute as f64);
        if minute % 30 == 0 {
            // The same again, and the care of history between.
            add(store, start + minutes(minute), minute as f64);
            store.tend_history(start + minutes(minute)).unwrap();
        }
    }
    let expected = |part: f64| -> Vec<(i64, f64)> {
        (0..90)
            .map(|minute| (minute, minute as f64 * part))
            .collect()
    };
    let of = |name: &str, part| (name.to_owned(), expected(part));
    for hours in [2, 12] {
        assert_eq!(told(store, Groups::Fleet, start), [of("fleet", 1.0)]);
        let countries = [of("country:DE", 0.5), of("country:other", 0.5)];
        assert_eq!(told(store, Groups::Countries, start), countries);
        merge_all(store, start, hours);
    }
}

pub(super) fn groups_are_in_no_list_of_hosts(store: &dyn Store) {
    let start = start();
    add(store, start, 3.0);
    add(store, start + minutes(70), 3.0);
    store.tend_history(start + minutes(70)).unwrap();
    assert!(servers(store).is_empty());
    let wanted = vec![Wanted::Metrics];
    let second = start.as_second();
    let query = ChartQuery::new(second, second + 60, wanted, 10).unwrap();
    for name in ["fleet", "country:DE"] {
        let host = HostName::ServerId(name.to_owned());
        assert_eq!(store.history(&host, &query).unwrap(), None);
        assert_eq!(store.server(&host).unwrap(), None);
    }
}
