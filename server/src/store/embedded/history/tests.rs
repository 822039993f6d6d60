use std::fs;
use std::net::IpAddr;
use std::path::Path;

use fleetbeat_history::chart::Wanted;
use fleetbeat_history::{Sample, Series};
use fleetbeat_protocol::Timestamp;
use jiff::SignedDuration;
use tempfile::TempDir;

use super::*;
use crate::store::conformance::{act, beat, servers, spooled};
use crate::store::embedded::Embedded;
use crate::store::fuse::Last;
use crate::store::history::HistoryStore;
use crate::store::server::{Beat, HostName, ServerStore};

const HOST: &str = "10.0.0.1";
/// The time in which each host has its turn.
const TURN: SignedDuration = SignedDuration::from_hours(4);

/// A morning in UTC: no turn of all hosts passes midnight.
fn start() -> Timestamp {
    Timestamp::from_second(1_779_948_000).unwrap()
}

fn after(seconds: i64) -> Timestamp {
    start() + SignedDuration::from_secs(seconds)
}

fn open_with(folder: &Path, settings: HistorySettings) -> Embedded {
    let store = Embedded::open(folder).unwrap();
    store.with_history(folder, &settings).unwrap()
}

fn open(folder: &Path) -> Embedded {
    open_with(folder, HistorySettings::default())
}

fn fresh() -> (TempDir, Embedded) {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    (folder, store)
}

/// Lets each host have its turn. Gives what the last round has done, and the troubles of
/// both.
fn merge_all(store: &Embedded) -> Tended {
    let mut tend = [start(), start() + TURN].map(|now| {
        let tended = store.tend_history(now).unwrap();
        tended.expect("there is history")
    });
    let [first, last] = &mut tend;
    last.troubles
        .splice(0..0, std::mem::take(&mut first.troubles));
    std::mem::take(last)
}

/// A heartbeat that was made, and came, so many seconds after the start.
fn live(host: &str, seconds: i64, seq: u64) -> Beat {
    let mut beat = beat(host, after(seconds));
    beat.heartbeat.boot_id = Some("boot".to_owned());
    beat.heartbeat.seq = Some(seq);
    beat.heartbeat.collected_at = Some(after(seconds));
    beat
}

fn server_id(store: &Embedded, host: &str) -> String {
    let ip: IpAddr = host.parse().unwrap();
    let server = store.server(&HostName::Ip(ip)).unwrap();
    server.unwrap().server_id
}

/// What history.db has of a host, by the host's `server_id`.
fn kept(folder: &Path, server_id: &str) -> Vec<Sample> {
    let path = folder.join(folder::HISTORY);
    let store = FileStore::new(&path, Options::default());
    let mut samples = Vec::new();
    let host = fleetbeat_history::Host::new(server_id);
    store
        .read(&host, Day::FIRST, Day::LAST, &mut |chunk| {
            samples.extend(chunk.decode().unwrap().samples());
        })
        .unwrap();
    samples
}

fn times(samples: &[Sample]) -> Vec<i64> {
    let start = start().as_second();
    samples.iter().map(|sample| sample.at() - start).collect()
}

fn count(store: &Embedded, select: &str) -> i64 {
    let count = store
        .connections
        .read(|connection| connection.query_row(select, [], |row| row.get(0)));
    count.unwrap()
}

fn count_open(store: &Embedded) -> i64 {
    let select = "SELECT count(*) FROM servers WHERE open_chunk NOT NULL";
    count(store, select)
}

#[test]
fn every_heartbeat_is_kept_once_live_or_spooled() {
    let (folder, store) = fresh();
    let beats = [live(HOST, 0, 0), live(HOST, 120, 1), live(HOST, 240, 2)];
    store.record(&beats).unwrap();
    // Spooled, sent twice, and one of them is a live one whose answer was lost.
    let late = [60, 120, 180].map(|at| {
        let mut beat = spooled(HOST, after(at), 1.0);
        if at == 120 {
            beat.heartbeat.boot_id = Some("boot".to_owned());
            beat.heartbeat.seq = Some(1);
        }
        beat
    });
    store.record(&late).unwrap();
    store.record(&late).unwrap();
    assert_eq!(count_open(&store), 1);

    let tended = merge_all(&store);
    assert_eq!(
        (tended.merged, tended.dropped, tended.failure),
        (9, 0, None)
    );
    assert!(tended.size.unwrap().used > 0);
    assert_eq!(count_open(&store), 0);
    let samples = kept(folder.path(), &server_id(&store, HOST));
    assert_eq!(times(&samples), [0, 60, 120, 180, 240]);
    let wg = Series::service("wg").unwrap();
    assert!(samples.iter().all(|sample| sample.get(&wg) == Some(1.0)));
    assert_eq!(samples[0].get(&Series::Net), None, "it was not measured");

    // Nothing waits, and nothing is done.
    assert_eq!(merge_all(&store).merged, 0);
}

#[test]
fn what_a_list_shows_has_no_history() {
    let (_folder, store) = fresh();
    let before = {
        store.record(&[live(HOST, 0, 0)]).unwrap();
        serde_json::to_string(&*servers(&store)[0]).unwrap().len()
    };
    for n in 1..200 {
        store.record(&[live(HOST, n, n.cast_unsigned())]).unwrap();
    }
    let now = serde_json::to_string(&*servers(&store)[0]).unwrap().len();
    assert!(now <= before + 8, "{now} bytes, and {before} before");
}

#[test]
fn a_heartbeat_that_comes_during_a_merge_stays() {
    let (folder, store) = fresh();
    store
        .record(&[live(HOST, 0, 0), live(HOST, 120, 1)])
        .unwrap();
    // The merge is done, and the record is not told of it.
    store.tend_history(start()).unwrap();
    store.fuse().set(0, Last::Undone);
    assert!(store.tend_history(start() + TURN).is_err());
    let id = server_id(&store, HOST);
    assert_eq!(times(&kept(folder.path(), &id)), [0, 120]);
    drop(store);

    let store = open(folder.path());
    assert_eq!(count_open(&store), 1);
    store.record(&[live(HOST, 240, 2)]).unwrap();
    merge_all(&store);
    assert_eq!(times(&kept(folder.path(), &id)), [0, 120, 240]);
    assert_eq!(count_open(&store), 0);
}

#[test]
fn a_kill_at_any_write_of_a_merge_changes_nothing() {
    let whole: Vec<i64> = (0..50).map(|n| n * 120).collect();
    for last in [Last::Undone, Last::Done] {
        for writes in 0..20 {
            let (folder, store) = fresh();
            let hosts = ["10.0.0.1", "10.0.0.2", "10.0.0.3"];
            for (seq, at) in (0..).zip(&whole) {
                let beats = hosts.map(|host| live(host, *at, seq));
                store.record(&beats).unwrap();
            }
            let gone = server_id(&store, hosts[2]);
            merge_all(&store);
            let name = HostName::ServerId(gone.clone());
            store.remove_server(&name, &act()).unwrap();

            store.record(&[live(hosts[0], 6000, 50)]).unwrap();
            store.fuse().set(writes, last);
            let _ = store.tend_history(start());
            let _ = store.tend_history(start() + TURN);
            drop(store);

            let store = open(folder.path());
            merge_all(&store);
            let with_last = [&whole[..], &[6000]].concat();
            for (host, wanted) in [(hosts[0], &with_last), (hosts[1], &whole)] {
                let samples = kept(folder.path(), &server_id(&store, host));
                assert_eq!(&times(&samples), wanted, "{host}, {writes} writes");
            }
            assert!(kept(folder.path(), &gone).is_empty(), "{writes} writes");
            assert_eq!(count_open(&store), 0);
        }
    }
}

#[test]
fn no_heartbeat_waits_for_a_file_that_cannot_be_used() {
    let (folder, store) = fresh();
    let path = folder.path().join(folder::HISTORY);
    fs::create_dir(&path).unwrap();
    for n in 0..10 {
        store
            .record(&[live(HOST, n * 120, n.cast_unsigned())])
            .unwrap();
        let tended = merge_all(&store);
        assert!(tended.failure.is_some());
        assert_eq!(tended.merged, 0);
    }
    fs::remove_dir(&path).unwrap();

    // The hosts whose turn it was have it now.
    let tended = store.tend_history(start() + TURN).unwrap().unwrap();
    assert_eq!((tended.merged, tended.failure), (10, None));
    let samples = kept(folder.path(), &server_id(&store, HOST));
    assert_eq!(samples.len(), 10);
}

#[test]
fn a_chart_has_what_waits_while_the_file_cannot_be_used() {
    let (folder, store) = fresh();
    store
        .record(&[live(HOST, 0, 0), live(HOST, 120, 1)])
        .unwrap();
    let from = start().as_second();
    let wanted = vec![Wanted::One(Series::Cpu)];
    let query = ChartQuery::new(from, from + 3600, wanted, 300).unwrap();
    let look = || {
        let host = HostName::ServerId(server_id(&store, HOST));
        let chart = store.history(&host, &query).unwrap().unwrap().chart;
        (chart.chart.t.len(), chart.is_incomplete)
    };
    assert_eq!(look(), (2, false));
    let path = folder.path().join(folder::HISTORY);
    fs::create_dir(&path).unwrap();
    assert_eq!(look(), (2, true));

    // Damaged: moved aside by the first who reads it.
    fs::remove_dir(&path).unwrap();
    fs::write(&path, b"this is no database".repeat(500)).unwrap();
    assert_eq!(look(), (2, true));
    assert_eq!(look(), (2, false));
}

#[test]
fn a_damaged_file_is_moved_aside_and_told() {
    let (folder, store) = fresh();
    let path = folder.path().join(folder::HISTORY);
    fs::write(&path, b"this is no database".repeat(500)).unwrap();
    store.record(&[live(HOST, 0, 0)]).unwrap();
    let tended = merge_all(&store);
    assert_eq!((tended.failure, tended.merged), (None, 1));
    assert!(
        matches!(
            &tended.troubles[..],
            [fleetbeat_history::Trouble::SetAside { .. }]
        ),
        "{:?}",
        tended.troubles
    );
    assert_eq!(kept(folder.path(), &server_id(&store, HOST)).len(), 1);
}

#[test]
fn a_missing_file_is_made_anew() {
    let (folder, store) = fresh();
    store.record(&[live(HOST, 0, 0)]).unwrap();
    merge_all(&store);
    for name in ["history.db", "history.db-wal", "history.db-shm"] {
        let _ = fs::remove_file(folder.path().join(name));
    }
    store.record(&[live(HOST, 120, 1)]).unwrap();
    assert_eq!(merge_all(&store).failure, None);
    let samples = kept(folder.path(), &server_id(&store, HOST));
    assert_eq!(times(&samples), [120]);
}

#[test]
fn a_long_spool_is_merged_soon_and_whole() {
    let (folder, store) = fresh();
    // As many as 4 MiB may have, before the first round.
    let spool: Vec<Beat> = (0..20_000)
        .map(|n| spooled(HOST, after(n * 60), 1.0))
        .collect();
    for batch in spool.chunks(500) {
        store.record(batch).unwrap();
    }
    let select = "SELECT count(*) FROM full_chunks";
    assert!(count(&store, select) > 0);
    let largest = "SELECT max(length(open_chunk)) FROM servers";
    assert!(
        count(&store, largest) < 9000,
        "each heartbeat writes all of it"
    );

    let mut merged = 0;
    for _ in 0..60 {
        // The clock stands still: it is no host's turn.
        let tended = store.tend_history(start()).unwrap().unwrap();
        assert_eq!(tended.dropped, 0);
        merged += tended.merged;
    }
    assert_eq!(count(&store, select), 0);
    assert!((17_000..20_000).contains(&merged), "{merged}");
    merge_all(&store);
    let samples = kept(folder.path(), &server_id(&store, HOST));
    assert_eq!(samples.len(), 20_000);
}

#[test]
fn what_has_no_room_for_weeks_is_counted_and_the_host_is_heard() {
    let (folder, store) = fresh();
    fs::create_dir(folder.path().join(folder::HISTORY)).unwrap();
    let tended = store.tend_history(start()).unwrap().unwrap();
    assert!(tended.failure.is_some(), "it is known to be away");
    let spool: Vec<Beat> = (0..60_000)
        .map(|n| spooled(HOST, after(n * 60), 1.0))
        .collect();
    for batch in spool.chunks(500) {
        store.record(batch).unwrap();
    }
    let tended = store.tend_history(start()).unwrap().unwrap();
    let dropped = tended.dropped;
    assert!((1..60_000).contains(&dropped), "{dropped}");
    assert!(tended.failure.is_some());
    assert_eq!(servers(&store)[0].last_heartbeat, after(59_999 * 60));

    // Everything else is there as soon as there is room.
    fs::remove_dir(folder.path().join(folder::HISTORY)).unwrap();
    for _ in 0..20 {
        store.tend_history(start()).unwrap();
    }
    merge_all(&store);
    let samples = kept(folder.path(), &server_id(&store, HOST));
    assert_eq!(samples.len() as u64, 60_000 - dropped);
}

#[test]
fn a_host_that_is_removed_takes_its_history_along() {
    let (folder, store) = fresh();
    store
        .record(&[live(HOST, 0, 0), live("10.0.0.2", 0, 0)])
        .unwrap();
    merge_all(&store);
    let id = server_id(&store, HOST);
    store.record(&[live(HOST, 120, 1)]).unwrap();
    store
        .remove_server(&HostName::ServerId(id.clone()), &act())
        .unwrap();
    assert_eq!(kept(folder.path(), &id).len(), 1);
    // A start goes on with what the last one has left.
    drop(store);
    let store = open(folder.path());
    store.tend_history(start()).unwrap();
    assert_eq!(kept(folder.path(), &id), []);
    assert_eq!(count(&store, "SELECT count(*) FROM gone_histories"), 0);
    // The same address, and another host.
    store.record(&[live(HOST, 240, 2)]).unwrap();
    merge_all(&store);
    let new = server_id(&store, HOST);
    assert_ne!(new, id);
    assert_eq!(times(&kept(folder.path(), &new)), [240]);
    assert_eq!(kept(folder.path(), &server_id(&store, "10.0.0.2")).len(), 1);
}

#[test]
fn two_records_of_one_host_become_one_history() {
    let (folder, store) = fresh();
    let (old, new) = ("10.0.0.1", "10.0.0.2");
    store.record(&[live(old, 0, 0), live(new, 120, 1)]).unwrap();
    merge_all(&store);
    store
        .record(&[live(old, 240, 2), live(new, 360, 3)])
        .unwrap();
    // Together they do not fit into one open chunk.
    for host in [old, new] {
        let more: Vec<Beat> = (0..2000)
            .map(|n| spooled(host, after(1000 + n), 1.0))
            .collect();
        store.record(&more).unwrap();
    }
    let (old_id, new_id) = (server_id(&store, old), server_id(&store, new));
    store
        .connections
        .write(|transaction| {
            super::super::open_chunks::hand_over(transaction, 1, 2)?;
            transaction.execute("DELETE FROM servers WHERE id = 1", [])?;
            Ok(())
        })
        .unwrap();
    merge_all(&store);
    let samples = kept(folder.path(), &new_id);
    assert_eq!(times(&samples)[..4], [0, 120, 240, 360]);
    assert_eq!(samples.len(), 4 + 2000);
    assert_eq!(kept(folder.path(), &old_id), []);
}

#[test]
fn what_an_older_version_has_kept_is_converted_once() {
    let (folder, store) = fresh();
    store.record(&[live(HOST, 6000, 0)]).unwrap();
    let heartbeats = (0..450).map(|n| {
        let beat = spooled(HOST, after(n * 10), 3.0);
        let json = serde_json::to_string(&beat.heartbeat).unwrap();
        (after(n * 10).as_millisecond(), json)
    });
    for (collected_at, json) in heartbeats.collect::<Vec<_>>() {
        store
            .connections
            .writer()
            .execute(
                "INSERT INTO history VALUES (1, ?1, 0, ?2)",
                rusqlite::params![collected_at, json],
            )
            .unwrap();
    }
    // A kill behind the first rows changes nothing.
    store.fuse().set(0, Last::Undone);
    assert!(store.tend_history(start()).is_err());
    drop(store);

    let store = open(folder.path());
    store.tend_history(start()).unwrap();
    assert_eq!(count(&store, "SELECT count(*) FROM history"), 0);
    let samples = kept(folder.path(), &server_id(&store, HOST));
    assert_eq!(samples.len(), 450);
    assert_eq!(samples[7].get(&Series::Cpu), Some(3.0));
}

#[test]
fn both_limits_delete_the_oldest_day_first() {
    let folder = tempfile::tempdir().unwrap();
    let settings = HistorySettings {
        keep: Duration::from_secs(3 * 86_400),
        max_bytes: Some(16 << 20),
        ..HistorySettings::default()
    };
    let store = open_with(folder.path(), settings);
    let days: Vec<Beat> = (0..10)
        .map(|day| spooled(HOST, after(day * 86_400), 1.0))
        .collect();
    store.record(&days).unwrap();
    merge_all(&store);
    let id = server_id(&store, HOST);
    assert_eq!(kept(folder.path(), &id).len(), 10, "no day is over");
    // The clock jumps ahead: that deletes next to nothing.
    for _ in 0..5 {
        store.tend_history(after(900 * 86_400)).unwrap();
    }
    assert_eq!(kept(folder.path(), &id).len(), 10);
    store
        .connections
        .writer()
        .execute("UPDATE state SET service_time = 9 * 86400000", [])
        .unwrap();
    store.tend_history(after(9 * 86_400)).unwrap();
    let samples = kept(folder.path(), &id);
    assert_eq!(times(&samples), [6, 7, 8, 9].map(|day| day * 86_400));
}

#[test]
fn without_history_nothing_is_kept_and_what_was_kept_stays() {
    let (folder, store) = fresh();
    store.record(&[live(HOST, 0, 0)]).unwrap();
    drop(store);
    let off = HistorySettings {
        is_enabled: false,
        ..HistorySettings::default()
    };
    let store = open_with(folder.path(), off);
    store.record(&[live(HOST, 120, 1)]).unwrap();
    store.record(&[spooled(HOST, after(60), 1.0)]).unwrap();
    merge_all(&store);
    let samples = kept(folder.path(), &server_id(&store, HOST));
    assert_eq!(times(&samples), [0]);
    assert_eq!(count_open(&store), 0);
}

#[test]
fn the_room_is_that_of_the_first_start() {
    let (folder, store) = fresh();
    let noted = count(&store, "SELECT history_room FROM state");
    assert!(noted > 0);
    store
        .connections
        .writer()
        .execute("UPDATE state SET history_room = 12345678", [])
        .unwrap();
    drop(store);
    let store = open(folder.path());
    let history = store.history.as_ref().unwrap();
    assert_eq!(history.limits.max_bytes, 12_345_678);
}
