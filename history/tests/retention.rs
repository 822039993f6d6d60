//! What is kept, and what goes first.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use fleetbeat_history::retention::{Limits, trim};
use fleetbeat_history::{
    Arrival, Day, FileStore, HistoryStore, Host, HostSamples, Identity, Options, Sample,
};

const DAY: u32 = 20_000;

/// A day of some hosts, with numbers that do not compress.
fn day(number: u32, hosts: usize) -> Vec<HostSamples> {
    let mut rng = fastrand::Rng::with_seed(u64::from(number));
    let mut samples = || {
        let sample = |beat: i64| {
            let at = Day::new(number).start() + 120 * beat;
            let mut sample = Sample::new(at, Identity::Unknown, Arrival::Live);
            sample.set_metric("noise", f64::from(rng.u32(..)));
            sample
        };
        (0..720).map(sample).collect()
    };
    let host = |number| HostSamples {
        host: Host::new(format!("srv-{number:08}")),
        samples: samples(),
    };
    (0..hosts).map(host).collect()
}

/// Trims until nothing is left to trim, and gives how often something was.
fn trim_all(store: &FileStore, limits: Limits, today: u32) -> usize {
    let mut slices = 0;
    while trim(store, limits, Day::new(today), 2).unwrap() {
        slices += 1;
        assert!(slices < 1000, "there is always more to delete");
    }
    slices
}

#[test]
fn old_days_go_in_slices() {
    let folder = tempfile::tempdir().unwrap();
    let store = FileStore::new(&folder.path().join("history.db"), Options::default());
    for number in DAY..DAY + 10 {
        store.merge(&day(number, 5)).unwrap();
    }
    let limits = Limits {
        keep_days: 3,
        max_bytes: u64::MAX,
    };
    let today = DAY + 9;
    assert!(trim_all(&store, limits, today) >= 6 * 3);
    assert_eq!(store.oldest_day(), Ok(Some(Day::new(today - 3))));
    assert_eq!(trim_all(&store, limits, today), 0);

    // A clock that is behind deletes nothing; nor does anything delete the present day.
    assert_eq!(trim_all(&store, limits, 5), 0);
    let nothing = Limits {
        keep_days: 0,
        max_bytes: 0,
    };
    trim_all(&store, nothing, today);
    assert_eq!(store.oldest_day(), Ok(Some(Day::new(today))));
}

/// A store that is trimmed before each merge is never full.
#[test]
fn the_oldest_day_makes_room() {
    let folder = tempfile::tempdir().unwrap();
    let max_bytes = 1_000_000;
    let options = Options {
        max_bytes,
        ..Options::default()
    };
    let store = FileStore::new(&folder.path().join("history.db"), options);
    let limits = Limits {
        keep_days: 365,
        max_bytes,
    };
    for number in DAY..DAY + 100 {
        trim_all(&store, limits, number);
        store.merge(&day(number, 5)).unwrap();
    }
    let oldest = store.oldest_day().unwrap().unwrap();
    assert!(
        (DAY + 10..DAY + 95).contains(&oldest.number()),
        "{oldest:?}"
    );
    let size = store.size().unwrap();
    assert!(
        size.used > max_bytes / 2 && size.used <= max_bytes,
        "{size:?}"
    );
}

#[test]
fn days_that_fit_are_told_for_hosts() {
    let limits = Limits {
        keep_days: 365,
        max_bytes: 4 << 30,
    };
    assert_eq!(limits.days_that_fit(10), 366);
    assert_eq!(limits.days_that_fit(0), 366);
    assert!((30..50).contains(&limits.days_that_fit(10_000)));
    assert_eq!(limits.days_that_fit(u64::MAX), 0);
}
