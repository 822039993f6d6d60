//! What the file store does when its file is not as it should be.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, thread};

use fleetbeat_history::chart::{ChartQuery, Wanted};
use fleetbeat_history::{
    Arrival, Day, FileStore, HistoryError, HistoryStore, Host, HostSamples, Identity,
    Options, Sample, Series, Trouble, check_file, host_chart,
};
use tempfile::TempDir;

const DAY: u32 = 20_000;
const HOST: &str = "srv-00000001";
/// Makes this test binary the process with less rights or less room.
const FOLDER_VARIABLE: &str = "FLEETBEAT_HISTORY_TEST_FOLDER";

struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Place {
        let folder = tempfile::tempdir().unwrap();
        Place { folder }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("history.db")
    }

    fn store(&self) -> FileStore {
        FileStore::new(&self.file(), Options::default())
    }

    /// The damaged files that were moved aside.
    fn broken(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.folder.path()).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        let is_broken = |path: &PathBuf| {
            let name = path.file_name().unwrap().to_string_lossy();
            name.contains(".broken-") && !name.ends_with("-wal")
        };
        let mut broken: Vec<_> = paths.filter(is_broken).collect();
        broken.sort();
        broken
    }
}

fn sample(day: u32, second: i64) -> Sample {
    let identity = Identity::new(Some("boot"), Some(second.unsigned_abs()));
    let mut sample = Sample::new(Day::new(day).start() + second, identity, Arrival::Live);
    sample.set_loads(Some((second % 100) as f64), None, None);
    let mixed = (second + 1).wrapping_mul(0x1e37_79b9_7f4a_7c15);
    let noise = (mixed ^ (mixed >> 29)).wrapping_mul(0x1f58_476d_1ce4_e5b9) >> 44;
    sample.set_metric("noise", noise as f64);
    sample
}

fn batch(host: &str, day: u32, beats: i64) -> [HostSamples; 1] {
    let samples = (0..beats).map(|beat| sample(day, 120 * beat));
    [HostSamples {
        host: Host::new(host),
        samples: samples.collect(),
    }]
}

/// How many samples of a host are read.
fn count(store: &FileStore, host: &str) -> Result<usize, HistoryError> {
    let mut count = 0;
    let host = Host::new(host);
    store.read(&host, Day::FIRST, Day::LAST, &mut |chunk| {
        count += chunk.len();
    })?;
    Ok(count)
}

#[test]
fn a_file_that_is_no_database_is_moved_aside() {
    let place = Place::new();
    for (damage, number) in [("not a database".repeat(500), 1), ("x".repeat(9000), 2)] {
        fs::write(place.file(), &damage).unwrap();
        let store = place.store();
        store.merge(&batch(HOST, DAY, 5)).unwrap();
        assert_eq!(count(&store, HOST), Ok(5));

        let broken = place.broken();
        assert_eq!(broken.len(), number);
        assert_eq!(fs::read_to_string(&broken[number - 1]).unwrap(), damage);
        let troubles = store.take_troubles();
        let [Trouble::SetAside { to, reason }] = &troubles[..] else {
            panic!("{troubles:?}")
        };
        assert_eq!(Path::new(to), broken[number - 1]);
        assert!(reason.contains("not a database"), "{reason}");
        assert_eq!(store.take_troubles(), []);
    }
}

#[test]
fn a_reader_moves_a_damaged_file_aside_too() {
    let place = Place::new();
    fs::write(place.file(), "not a database".repeat(500)).unwrap();
    let store = place.store();
    let read = || store.read(&Host::new(HOST), Day::FIRST, Day::LAST, &mut |_| ());
    assert_eq!((read(), read()), (Ok(1), Ok(0)));
    assert_eq!(store.oldest_day(), Ok(None));
    assert_eq!(place.broken().len(), 1);
    assert_eq!(store.take_troubles().len(), 1);
}

/// A chart of `open` and the first day of the file: how many points it has, and whether it
/// is incomplete.
fn points(store: &FileStore, open: &[Sample]) -> (usize, bool) {
    let start = Day::new(DAY).start();
    let wanted = vec![Wanted::One(Series::Cpu)];
    let query = ChartQuery::new(start - 1, start + 86_400, wanted, 1000).unwrap();
    let chart = host_chart(store, &Host::new(HOST), open, &query);
    assert_eq!(chart.kept_from.is_none(), chart.is_incomplete);
    (chart.chart.t.len(), chart.is_incomplete)
}

#[test]
fn a_chart_has_what_waits_where_the_file_cannot_be_read() {
    let place = Place::new();
    let open = [sample(DAY, 120), sample(DAY, 240)];
    let store = place.store();
    assert_eq!(points(&store, &open), (2, false));

    fs::create_dir(place.file()).unwrap();
    assert_eq!(points(&store, &open), (2, true));
    fs::remove_dir(place.file()).unwrap();
    store.merge(&batch(HOST, DAY, 5)).unwrap();
    assert_eq!(points(&store, &open), (5, false));
}

#[test]
fn a_chart_tells_that_a_day_is_damaged() {
    let place = Place::new();
    place.store().merge(&batch(HOST, DAY, 5)).unwrap();
    let file = rusqlite::Connection::open(place.file()).unwrap();
    let damage = "UPDATE growing SET chunk = x'01ff'";
    assert_eq!(file.execute(damage, []).unwrap(), 1);
    drop(file);

    let (host, last) = (Host::new(HOST), Day::new(DAY));
    let unread = place
        .store()
        .read(&host, last, last, &mut |_| panic!("a chunk"));
    assert_eq!(unread, Ok(1));
}

/// Every page of the file is damaged once, while the store has the file open and while it
/// has not. The store goes on each time.
#[test]
fn any_damaged_page_is_got_over() {
    let place = Place::new();
    let filled = place.store();
    for day in 0..20 {
        for host in 0..5 {
            filled
                .merge(&batch(&format!("srv-{host}"), DAY + day, 200))
                .unwrap();
        }
    }
    drop(filled);
    let good = fs::read(place.file()).unwrap();
    assert!(good.len() > 10 * 4096);

    let (mut set_aside, mut pages) = (0, 0);
    for page in (0..good.len()).step_by(4096) {
        for fill in [0, 0xff, 0x55] {
            let mut damaged = good.clone();
            damaged[page..page + 4096].fill(fill);
            fs::write(place.file(), &damaged).unwrap();
            let store = place.store();
            let read: Result<usize, _> = (0..5)
                .map(|host| count(&store, &format!("srv-{host}")))
                .sum();
            read.unwrap();
            store.delete_day(Day::new(DAY), 100).unwrap();
            store.delete_host(&Host::new("srv-1")).unwrap();
            store.size().unwrap();
            store.merge(&batch(HOST, DAY + 5, 5)).unwrap();
            assert_eq!(count(&store, HOST), Ok(5));

            pages += 1;
            let is_set_aside =
                |trouble: &Trouble| matches!(trouble, Trouble::SetAside { .. });
            let troubles = store.take_troubles();
            set_aside += usize::from(troubles.iter().any(is_set_aside));
            assert!(place.broken().len() <= 2, "damaged files fill the disk");
        }
    }
    assert!(
        set_aside * 2 > pages,
        "{set_aside} of {pages} damages were found"
    );
}

#[test]
fn a_damaged_chunk_is_left_out_and_replaced() {
    let place = Place::new();
    let store = place.store();
    store.merge(&batch(HOST, DAY, 30)).unwrap();
    store.merge(&batch(HOST, DAY + 1, 30)).unwrap();
    let damage = rusqlite::Connection::open(place.file()).unwrap();
    let statement =
        "UPDATE growing SET chunk = substr(chunk, 1, 40) || x'00' WHERE id < ?1";
    let id = i64::from(DAY + 1) << 32;
    assert_eq!(damage.execute(statement, [id]).unwrap(), 1);

    assert_eq!(count(&store, HOST), Ok(30));
    let is_chunk = |trouble: &Trouble| {
        let day = Day::new(DAY);
        matches!(trouble, Trouble::Chunk { host, day: of, .. } if host == HOST && *of == day)
    };
    let troubles = store.take_troubles();
    assert!(
        troubles.len() == 1 && is_chunk(&troubles[0]),
        "{troubles:?}"
    );

    store.merge(&batch(HOST, DAY, 10)).unwrap();
    let troubles = store.take_troubles();
    assert!(
        troubles.len() == 1 && is_chunk(&troubles[0]),
        "{troubles:?}"
    );
    assert_eq!(count(&store, HOST), Ok(40));
    assert_eq!(place.broken(), [] as [PathBuf; 0]);
}

#[test]
fn a_chunk_in_anothers_place_is_left_out() {
    let place = Place::new();
    let store = place.store();
    store.merge(&batch(HOST, DAY, 30)).unwrap();
    let other = rusqlite::Connection::open(place.file()).unwrap();
    let copy = "INSERT INTO chunks SELECT id + (1 << 32), chunk FROM growing";
    assert_eq!(other.execute(copy, []).unwrap(), 1);
    assert_eq!(count(&store, HOST), Ok(30));
    assert_eq!(store.take_troubles().len(), 1);
}

/// A row that stands in both tables stops no merge.
#[test]
fn a_chunk_that_is_there_twice_is_got_over() {
    let place = Place::new();
    let store = place.store();
    store.merge(&batch(HOST, DAY, 30)).unwrap();
    let other = rusqlite::Connection::open(place.file()).unwrap();
    let copy = "INSERT INTO chunks SELECT id, chunk FROM growing";
    assert_eq!(other.execute(copy, []).unwrap(), 1);
    for day in DAY + 1..DAY + 5 {
        store.merge(&batch(HOST, day, 10)).unwrap();
    }
    assert_eq!(count(&store, HOST), Ok(70));
}

#[test]
fn a_chunk_of_a_later_version_stays() {
    let place = Place::new();
    let store = place.store();
    store.merge(&batch(HOST, DAY, 30)).unwrap();
    let later = rusqlite::Connection::open(place.file()).unwrap();
    let chunk = b"\x02from the future".as_slice();
    later
        .execute("UPDATE growing SET chunk = ?1", [chunk])
        .unwrap();

    let cut = store.merge(&batch(HOST, DAY, 10)).unwrap();
    assert_eq!(cut.samples_of_later_versions, 10);
    let kept: Vec<u8> = later
        .query_row("SELECT chunk FROM growing", [], |row| row.get(0))
        .unwrap();
    assert_eq!(kept, chunk);
}

#[test]
fn a_file_of_a_later_version_stays() {
    let place = Place::new();
    place.store().merge(&batch(HOST, DAY, 30)).unwrap();
    let later = rusqlite::Connection::open(place.file()).unwrap();
    later.pragma_update(None, "user_version", 4).unwrap();
    drop(later);

    let store = place.store();
    let expected = HistoryError::Version { found: 4, known: 3 };
    assert_eq!(store.merge(&batch(HOST, DAY, 30)), Err(expected.clone()));
    assert_eq!(count(&store, HOST), Err(expected));
    assert_eq!(store.take_troubles(), []);
    assert_eq!(place.broken(), [] as [PathBuf; 0]);
}

#[test]
fn a_file_that_vanishes_is_made_anew() {
    let place = Place::new();
    let store = place.store();
    assert_eq!(count(&store, HOST), Ok(0));
    assert!(!place.file().exists(), "reading makes no file");
    store.merge(&batch(HOST, DAY, 30)).unwrap();
    let mode = fs::metadata(place.file()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    for _ in 0..2 {
        fs::remove_file(place.file()).unwrap();
        assert_eq!(count(&store, HOST), Ok(0));
        store.merge(&batch(HOST, DAY, 7)).unwrap();
        assert!(place.file().exists());
        assert_eq!(count(&store, HOST), Ok(7));
        assert_eq!(count(&place.store(), HOST), Ok(7));
    }
    assert_eq!(store.take_troubles(), []);
}

/// A file that another one takes the place of, as a restored backup does.
#[test]
fn a_file_that_is_replaced_is_opened() {
    let (place, other) = (Place::new(), Place::new());
    other.store().merge(&batch(HOST, DAY, 7)).unwrap();
    let store = place.store();
    store.merge(&batch(HOST, DAY, 30)).unwrap();

    fs::rename(other.file(), place.file()).unwrap();
    assert_eq!(count(&store, HOST), Ok(7));
    store.merge(&batch(HOST, DAY, 8)).unwrap();
    assert_eq!(count(&store, HOST), Ok(8));
    assert_eq!(store.take_troubles(), []);
}

#[test]
fn a_full_store_says_so_and_takes_again_what_has_room() {
    let place = Place::new();
    let options = Options {
        max_bytes: 400_000,
        ..Options::default()
    };
    let store = FileStore::new(&place.file(), options);
    let full = (0..1000).find_map(|day| store.merge(&batch(HOST, DAY + day, 720)).err());
    assert!(matches!(full, Some(HistoryError::Full(_))), "{full:?}");
    let size = store.size().unwrap();
    assert!(size.used <= 400_000 && size.used > 350_000, "{size:?}");

    // What was kept is still there, and the oldest day makes room.
    let kept = count(&store, HOST).unwrap();
    assert!(kept > 720 * 10);
    let oldest = store.oldest_day().unwrap().unwrap();
    assert_eq!(oldest, Day::new(DAY));
    for day in [oldest, oldest.next()] {
        store.delete_day(day, 1000).unwrap();
    }
    assert!(store.size().unwrap().used < size.used);
    store.merge(&batch(HOST, DAY + 2000, 720)).unwrap();
    assert_eq!(store.take_troubles(), []);
}

#[test]
fn a_folder_that_is_not_there_is_told() {
    let place = Place::new();
    let file = place.folder.path().join("missing/history.db");
    let store = FileStore::new(&file, Options::default());
    let merged = store.merge(&batch(HOST, DAY, 1));
    assert!(
        matches!(merged, Err(HistoryError::Unavailable(_))),
        "{merged:?}"
    );
    assert_eq!(count(&store, HOST), Ok(0));

    fs::create_dir(file.parent().unwrap()).unwrap();
    store.merge(&batch(HOST, DAY, 1)).unwrap();
    assert_eq!(count(&store, HOST), Ok(1));
}

#[test]
fn a_folder_in_the_files_place_is_told() {
    let place = Place::new();
    fs::create_dir(place.file()).unwrap();
    let store = place.store();
    let merged = store.merge(&batch(HOST, DAY, 1));
    assert!(
        matches!(merged, Err(HistoryError::Unavailable(_))),
        "{merged:?}"
    );
    assert!(count(&store, HOST).is_err());
    assert!(place.file().is_dir());
}

/// As a user who may not write: root may write everything.
#[test]
fn a_file_that_may_not_be_written_is_told() {
    if let Some(folder) = env::var_os(FOLDER_VARIABLE) {
        let file = Path::new(&folder).join("history.db");
        let store = FileStore::new(&file, Options::default());
        let merged = store.merge(&batch(HOST, DAY, 40));
        assert!(
            matches!(merged, Err(HistoryError::Unavailable(_))),
            "{merged:?}"
        );
        // Reading may work or not; it does no harm.
        let _ = count(&store, HOST);
        assert_eq!(store.take_troubles(), []);
        return;
    }

    let place = Place::new();
    place.store().merge(&batch(HOST, DAY, 30)).unwrap();
    let folder = place.folder.path();
    fs::set_permissions(place.file(), Permissions::from_mode(0o444)).unwrap();
    fs::set_permissions(folder, Permissions::from_mode(0o555)).unwrap();

    let programs = tempfile::tempdir().unwrap();
    fs::set_permissions(programs.path(), Permissions::from_mode(0o755)).unwrap();
    let program = programs.path().join("test");
    // By another process: this one may start others while it has the program open for
    // writing, and what is open for writing cannot be started.
    let copied = Command::new("cp")
        .arg(env::current_exe().unwrap())
        .arg(&program)
        .status();
    assert!(copied.unwrap().success());
    let mut child = Command::new(&program);
    child
        .args(["--exact", "a_file_that_may_not_be_written_is_told"])
        .env(FOLDER_VARIABLE, folder)
        .current_dir("/");
    if rustix::process::geteuid().is_root() {
        child.uid(65_534).gid(65_534);
    }
    let output = child.output().unwrap();
    fs::set_permissions(folder, Permissions::from_mode(0o755)).unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(count(&place.store(), HOST), Ok(30));
}

#[test]
fn a_link_to_a_volume_that_is_not_there_is_no_empty_history() {
    let place = Place::new();
    std::os::unix::fs::symlink("/no-such-volume/history.db", place.file()).unwrap();
    let store = place.store();
    for _ in 0..2 {
        let merged = store.merge(&batch(HOST, DAY, 1));
        assert!(
            matches!(merged, Err(HistoryError::Unavailable(_))),
            "{merged:?}"
        );
        let mut none = |_| panic!("there is nothing");
        let read = store.read(&Host::new(HOST), Day::new(DAY), Day::new(DAY), &mut none);
        assert!(
            matches!(read, Err(HistoryError::Unavailable(_))),
            "{read:?}"
        );
    }
}

/// As a process that may write files of 256 kB at most: writing fails in the middle.
#[test]
fn a_full_disk_is_told() {
    if let Some(folder) = env::var_os(FOLDER_VARIABLE) {
        let file = Path::new(&folder).join("history.db");
        let store = FileStore::new(&file, Options::default());
        let failed =
            (0..1000).find_map(|day| store.merge(&batch(HOST, DAY + day, 720)).err());
        assert!(failed.is_some());
        let kept = count(&store, HOST).unwrap();
        assert!(kept > 720 && kept.is_multiple_of(720), "{kept}");
        assert_eq!(store.take_troubles(), []);
        fs::write(Path::new(&folder).join("kept"), kept.to_string()).unwrap();
        return;
    }

    let place = Place::new();
    let script = "trap '' XFSZ; ulimit -f 256; exec \"$0\" --exact a_full_disk_is_told";
    let output = Command::new("bash")
        .args(["-c", script])
        .arg(env::current_exe().unwrap())
        .env(FOLDER_VARIABLE, place.folder.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");

    // With room again, all that was kept is there.
    let kept = fs::read_to_string(place.folder.path().join("kept")).unwrap();
    let store = place.store();
    assert_eq!(count(&store, HOST), Ok(kept.parse().unwrap()));
    store.merge(&batch(HOST, DAY + 5000, 720)).unwrap();
    assert_eq!(store.take_troubles(), []);
}

#[test]
fn readers_and_a_writer_do_not_disturb_each_other() {
    let place = Place::new();
    let store = place.store();
    store.merge(&batch(HOST, DAY, 30)).unwrap();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..200 {
                    assert!(count(&store, HOST).unwrap() >= 30);
                }
            });
        }
        for host in 0..4 {
            let store = &store;
            scope.spawn(move || {
                for day in 0..20 {
                    store
                        .merge(&batch(&format!("srv-{host}"), DAY + day, 20))
                        .unwrap();
                }
            });
        }
    });
    for host in 0..4 {
        assert_eq!(count(&store, &format!("srv-{host}")), Ok(400));
    }
}

/// The same where the file is damaged in between: it is moved aside once, and nothing of
/// the new file is lost.
#[test]
fn many_who_find_the_damage_move_the_file_aside_once() {
    let place = Place::new();
    fs::write(place.file(), "not a database".repeat(500)).unwrap();
    let store = place.store();
    thread::scope(|scope| {
        for host in 0..8 {
            let store = &store;
            scope.spawn(move || {
                count(store, HOST).unwrap();
                store
                    .merge(&batch(&format!("srv-{host}"), DAY, 20))
                    .unwrap();
            });
        }
    });
    assert_eq!(place.broken().len(), 1);
    for host in 0..8 {
        assert_eq!(count(&store, &format!("srv-{host}")), Ok(20));
    }
}

#[test]
fn a_file_of_the_first_version_gets_its_traffic_with_the_next_merge_of_each_day() {
    let place = Place::new();
    place.store().merge(&batch(HOST, DAY, 30)).unwrap();
    let first = rusqlite::Connection::open(place.file()).unwrap();
    let drop_later = "DROP TABLE traffic; DROP TABLE waiting";
    first.execute_batch(drop_later).unwrap();
    first.pragma_update(None, "user_version", 1).unwrap();
    drop(first);

    let store = place.store();
    assert_eq!(count(&store, HOST), Ok(30));
    store.merge(&batch(HOST, DAY, 31)).unwrap();
    assert_eq!(count(&store, HOST), Ok(31));
    let mut days = 0;
    let (host, day) = (Host::new(HOST), Day::new(DAY));
    let unread = store.traffic(&host, day, day, &mut |_, _| days += 1);
    assert_eq!((unread, days), (Ok(0), 0), "the host has sent no counters");
    assert_eq!(store.take_troubles(), []);
}

#[test]
fn samples_that_wait_are_merged_after_an_hour_and_survive_until_then() {
    let place = Place::new();
    let sample = |minute: i64| {
        let at = Day::new(DAY).start() + 60 * minute;
        let mut sample = Sample::new(at, Identity::Unknown, Arrival::Live);
        sample.set_metric("active", minute as f64);
        sample
    };
    let groups = |minute| {
        let hosts = [Host::fleet(), Host::country("DE"), Host::country("germany")];
        hosts.map(|host| HostSamples {
            host,
            samples: vec![sample(minute)],
        })
    };
    let kept = |store: &FileStore| {
        let waiting = store.waiting().unwrap();
        let merged = count(store, "country:DE").unwrap();
        let waiting = waiting.get(&Host::country("DE")).map_or(0, Vec::len);
        (merged, waiting)
    };
    let store = place.store();
    assert_eq!(kept(&store), (0, 0));
    for minute in 0..60 {
        store.let_wait(&groups(minute)).unwrap();
        store.let_wait(&groups(minute)).unwrap();
    }
    assert_eq!(kept(&store), (0, 60));
    drop(store);
    // Another start, and the hour is over.
    let store = place.store();
    assert_eq!(kept(&store), (0, 60));
    store.let_wait(&groups(60)).unwrap();
    assert_eq!(kept(&store), (61, 0));
    store.let_wait(&groups(61)).unwrap();
    assert_eq!(kept(&store), (61, 1));
    let countries = store.countries().unwrap();
    let names: Vec<&str> = countries.iter().filter_map(Host::as_country).collect();
    assert_eq!(names, ["DE", "other"]);

    // Groups are no hosts of which a copy tells.
    store.merge(&batch(HOST, DAY, 3)).unwrap();
    drop(store);
    assert_eq!(check_file(&place.file()).unwrap().hosts, 1);
}
