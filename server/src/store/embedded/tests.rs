//! What only this backend promises: its files, and what it does with damaged ones.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::thread;
use std::time::Instant;

use fleetbeat_protocol::Timestamp;

use super::*;
use crate::store::conformance::{
    DELETE_AFTER_MINUTES, beat, follow_past_an_unknown_event, servers, spooled, sweep,
};
use crate::store::error::Setup;
use crate::store::event::{Cursor, EventKind, NewEvent, Who, facts};

#[test]
fn a_folder_has_one_server_but_commands_work_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let first = Embedded::open(folder.path()).unwrap();
    assert!(matches!(
        Embedded::open(folder.path()),
        Err(StoreError::Setup(Setup::Locked { .. }))
    ));
    assert!(
        Embedded::open_beside_server(folder.path(), IfMissing::Create)
            .unwrap()
            .users()
            .unwrap()
            .is_empty()
    );
    drop(first);
    Embedded::open(folder.path()).unwrap();
}

#[test]
fn a_link_in_the_folder_leads_to_nothing_that_is_made_or_given_away() {
    let (folder, elsewhere) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let target = elsewhere.path().join("target");
    std::os::unix::fs::symlink(&target, folder.path().join("lock")).unwrap();
    assert!(matches!(
        Embedded::open(folder.path()),
        Err(StoreError::Setup(Setup::Unusable { .. }))
    ));
    assert!(!target.exists());
}

#[test]
fn a_damaged_database_is_named_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("fleetbeat.db");
    let garbage = b"this is no database".repeat(500);
    fs::write(&file, &garbage).unwrap();
    let error = Embedded::open(folder.path()).err().unwrap().to_string();
    assert!(
        error.contains("fleetbeat.db is damaged") && error.contains(".recover"),
        "{error}"
    );
    assert_eq!(fs::read(&file).unwrap(), garbage);
}

#[test]
fn a_damaged_page_is_found_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let store = Embedded::open(folder.path()).unwrap();
    let beats: Vec<Beat> = (0..600)
        .map(|n| {
            beat(
                &format!("10.0.{}.{}", n / 200, n % 200),
                Timestamp::UNIX_EPOCH,
            )
        })
        .collect();
    store.record(&beats).unwrap();
    drop(store);
    let file = folder.path().join("fleetbeat.db");
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2 / 4096 * 4096;
    bytes[middle..middle + 4096].fill(0xab);
    fs::write(&file, &bytes).unwrap();
    assert!(matches!(
        Embedded::open(folder.path()),
        Err(StoreError::Setup(Setup::Damaged { .. }))
    ));
    assert_eq!(fs::read(&file).unwrap(), bytes);
}

#[test]
fn what_a_killed_server_left_beside_a_damaged_database_stays() {
    let folder = tempfile::tempdir().unwrap();
    let store = Embedded::open(folder.path()).unwrap();
    let beats: Vec<Beat> = (0..600)
        .map(|n| {
            beat(
                &format!("10.0.{}.{}", n / 200, n % 200),
                Timestamp::UNIX_EPOCH,
            )
        })
        .collect();
    store.record(&beats).unwrap();
    store.close();
    store
        .record(&[beat("10.0.9.1", Timestamp::UNIX_EPOCH)])
        .unwrap();
    // As a kill leaves them: the log beside the database, and nobody who closes it.
    let killed = tempfile::tempdir().unwrap();
    let names = ["fleetbeat.db", "fleetbeat.db-wal"];
    let bytes = names.map(|name| {
        let mut bytes = fs::read(folder.path().join(name)).unwrap();
        assert!(!bytes.is_empty(), "{name}");
        if name == "fleetbeat.db" {
            let middle = bytes.len() / 2 / 4096 * 4096;
            bytes[middle..middle + 4096].fill(0xab);
        }
        fs::write(killed.path().join(name), &bytes).unwrap();
        bytes
    });
    assert!(matches!(
        Embedded::open(killed.path()),
        Err(StoreError::Setup(Setup::Damaged { .. }))
    ));
    assert_eq!(
        names.map(|name| fs::read(killed.path().join(name)).unwrap()),
        bytes
    );
}

#[test]
fn a_commit_waits_for_the_disk_and_files_are_private() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let store = Embedded::open(folder.path()).unwrap();
    store
        .record(&[beat("10.0.0.1", Timestamp::UNIX_EPOCH)])
        .unwrap();
    let full = 2;
    let synchronous = store
        .connections
        .writer()
        .query_row("PRAGMA synchronous", [], |row| row.get::<_, i64>(0))
        .unwrap();
    assert_eq!(synchronous, full);
    backup(
        folder.path(),
        &folder.path().join("copy.db"),
        Extent::Database,
    )
    .unwrap();
    for name in ["fleetbeat.db", "fleetbeat.db-wal", "copy.db"] {
        let mode = fs::metadata(folder.path().join(name))
            .unwrap()
            .permissions()
            .mode()
            & 0o777;
        assert_eq!(mode, 0o600, "{name}");
    }
}

#[test]
fn a_damaged_row_does_not_hide_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let store = Embedded::open(folder.path()).unwrap();
    store
        .record(&[
            beat("10.0.0.1", Timestamp::UNIX_EPOCH),
            beat("10.0.0.2", Timestamp::UNIX_EPOCH),
        ])
        .unwrap();
    store
        .connections
        .writer()
        .execute(
            "UPDATE servers SET services = '[' WHERE ip = '10.0.0.1'",
            [],
        )
        .unwrap();
    assert_eq!(servers(&store).len(), 1);
}

#[test]
fn a_newer_schema_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    Embedded::open(folder.path())
        .unwrap()
        .connections
        .writer()
        .pragma_update(None, "user_version", 99)
        .unwrap();
    let Err(StoreError::Setup(Setup::Newer { found, known, .. })) =
        Embedded::open(folder.path())
    else {
        panic!("not refused");
    };
    assert_eq!((found, known), (99, i64::try_from(schema::NEWEST).unwrap()));
}

#[test]
fn what_an_older_version_has_kept_goes_with_its_host_and_when_it_is_old() {
    let folder = tempfile::tempdir().unwrap();
    let store = Embedded::open(folder.path()).unwrap();
    let select = "SELECT count(*) FROM history";
    let history = || -> i64 {
        let count = |connection: &rusqlite::Connection| {
            connection.query_row(select, [], |row| row.get(0))
        };
        store.connections.read(count).unwrap()
    };
    let fill = || {
        store
            .connections
            .writer()
            .execute(
                "INSERT INTO history SELECT id, column1, service_time, '{}' \
                 FROM (VALUES (1), (2), (3)), servers, state",
                [],
            )
            .unwrap();
    };
    let at = Timestamp::from_second(1_700_000_000).unwrap();
    store
        .record(&[spooled(
            "10.0.0.1",
            at - jiff::SignedDuration::from_mins(5),
            1.0,
        )])
        .unwrap();
    fill();
    sweep(&store, at, 1);
    assert_eq!(history(), 3, "the host is down");
    sweep(&store, at, DELETE_AFTER_MINUTES);
    assert_eq!(history(), 0, "the host is gone");

    store.record(&[beat("10.0.0.1", at)]).unwrap();
    fill();
    sweep(&store, at, DELETE_AFTER_MINUTES - 1);
    assert_eq!(history(), 3);
    sweep(&store, at, 1);
    assert_eq!((history(), servers(&store).len()), (0, 1));
}

#[test]
fn a_backup_is_whole_and_overwrites_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = Embedded::open(folder.path()).unwrap();
    store
        .record(&[beat("10.0.0.1", Timestamp::UNIX_EPOCH)])
        .unwrap();
    let copy = folder.path().join("copy");
    fs::create_dir(&copy).unwrap();
    let file = copy.join("fleetbeat.db");
    // What a backup that was killed has left.
    let part = copy.join("fleetbeat.db.part");
    fs::write(&part, "a part").unwrap();
    fs::set_permissions(&part, fs::Permissions::from_mode(0o666)).unwrap();

    let contents = backup(folder.path(), &file, Extent::Database)
        .unwrap()
        .to_string();
    let expected = "1 servers, 0 users, the last heartbeat at 1970-01-01T00:00:00Z";
    assert_eq!(contents, expected);
    assert_eq!(names_in(&copy), ["fleetbeat.db"]);
    let mode = fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(servers(&Embedded::open(&copy).unwrap()), servers(&store));

    let before = fs::read(&file).unwrap();
    let refused = backup(folder.path(), &file, Extent::Database)
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("fleetbeat.db: exists, and a backup goes to a new file"),
        "{refused}"
    );
    assert_eq!(fs::read(&file).unwrap(), before);
}

#[test]
fn a_backup_follows_no_link() {
    let folder = tempfile::tempdir().unwrap();
    let _store = Embedded::open(folder.path()).unwrap();
    let (file, other) = (folder.path().join("b.db"), folder.path().join("other"));
    fs::write(&other, "of somebody else").unwrap();
    let part = folder.path().join("b.db.part");

    std::os::unix::fs::symlink(&other, &part).unwrap();
    let failed = backup(folder.path(), &file, Extent::Database)
        .unwrap_err()
        .to_string();
    assert!(failed.contains("b.db.part"), "{failed}");
    fs::remove_file(&part).unwrap();
    fs::hard_link(&other, &part).unwrap();
    assert!(backup(folder.path(), &file, Extent::Database).is_err());
    assert_eq!(fs::read(&other).unwrap(), b"of somebody else");
    assert!(!file.exists());
}

#[test]
fn a_backup_that_fails_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = Embedded::open(folder.path()).unwrap();
    store
        .record(&[beat("10.0.0.1", Timestamp::UNIX_EPOCH)])
        .unwrap();
    let copy = folder.path().join("copy");
    fs::create_dir(&copy).unwrap();
    // A row that cannot be copied, as on a full disk, only when all is written.
    let writer = store.connections.writer();
    writer.execute_batch("DROP TABLE users").unwrap();
    drop(writer);

    let failed = backup(folder.path(), &copy.join("b.db"), Extent::Database)
        .unwrap_err()
        .to_string();
    assert!(failed.contains("copy/b.db: "), "{failed}");
    assert!(names_in(&copy).is_empty(), "{:?}", names_in(&copy));
    assert!(
        backup(
            folder.path(),
            &folder.path().join("nowhere/b.db"),
            Extent::Database
        )
        .is_err()
    );
}

#[test]
fn a_wrong_path_makes_no_database() {
    let folder = tempfile::tempdir().unwrap();
    let open = |path: &Path| {
        let opened = Embedded::open_beside_server(path, IfMissing::Fail);
        opened.err().map(|error| error.to_string()).unwrap()
    };
    for path in [folder.path().join("wrong"), folder.path().to_owned()] {
        let told = open(&path);
        let named = path.join("fleetbeat.db: there is no database");
        assert!(told.starts_with(named.to_str().unwrap()), "{told}");
    }
    assert!(names_in(folder.path()).is_empty());

    fs::write(folder.path().join("fleetbeat.db"), "").unwrap();
    assert!(open(folder.path()).contains("there is no database"));
    assert_eq!(names_in(folder.path()), ["fleetbeat.db"]);
    fs::write(folder.path().join("file"), "").unwrap();
    assert!(open(&folder.path().join("file")).contains("Not a directory"));
}

#[test]
fn a_command_changes_the_schema_only_where_no_server_runs() {
    let folder = tempfile::tempdir().unwrap();
    let server = Embedded::open(folder.path()).unwrap();
    let older = || {
        let connection = rusqlite::Connection::open(folder.path().join("fleetbeat.db"));
        let connection = connection.unwrap();
        let drops: String = connection
            .query_row(
                "SELECT group_concat('DROP TABLE ' || name || ';', '') FROM sqlite_schema
                 WHERE type = 'table' AND name NOT LIKE 'sqlite%'",
                [],
                |row| row.get(0),
            )
            .unwrap();
        connection.execute_batch(&drops).unwrap();
        connection.pragma_update(None, "user_version", 0).unwrap();
    };
    older();
    let open = || Embedded::open_beside_server(folder.path(), IfMissing::Fail);
    assert!(matches!(
        open(),
        Err(StoreError::Setup(Setup::Older { .. }))
    ));
    drop(server);
    assert!(open().unwrap().users().unwrap().is_empty());
}

/// The names of the files in a folder, but for the lock and SQLite's own.
fn names_in(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let is_ours = |name: &String| !name.ends_with("-wal") && !name.ends_with("-shm");
    let mut names: Vec<String> = names.filter(is_ours).collect();
    names.sort();
    names
}

/// Fills the history with heartbeats of hosts from 10.1.0.0 on, `each` of every host.
fn fill_history(store: &Embedded, hosts: u32, each: u32) {
    let beats: Vec<Beat> = (0..hosts)
        .map(|n| beat(&format!("10.1.{}.{}", n / 250, n % 250), Timestamp::now()))
        .collect();
    store.record(&beats).unwrap();
    store
        .connections
        .writer()
        .execute(
            "WITH RECURSIVE n(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM n WHERE n < ?1) \
             INSERT INTO history SELECT id, n, 0, printf('%.600c', 'x') FROM n, servers",
            [each],
        )
        .unwrap();
}

/// The time that each of some commits took, until `is_over`.
fn commit_times(store: &Embedded, is_over: impl Fn(usize) -> bool) -> Vec<Duration> {
    let mut times = Vec::new();
    while !is_over(times.len()) {
        let started = Instant::now();
        store.record(&[beat("10.1.0.1", Timestamp::now())]).unwrap();
        times.push(started.elapsed());
        thread::sleep(Duration::from_millis(5));
    }
    times.sort_unstable();
    times
}

fn p99(times: &[Duration]) -> Duration {
    times[times.len() * 99 / 100]
}

#[test]
fn heartbeats_go_between_the_slices_of_maintenance() {
    // A disk that other tests keep busy may hold up a try; a lock that is not handed over
    // holds up each of them.
    let is_handed_over = (0..3).any(|_| {
        let (found, limit) = commit_times_beside_a_deletion();
        found < limit
    });
    assert!(is_handed_over, "commits wait for the deletion");
}

/// The p99 of commits while history is deleted, and what it may be.
fn commit_times_beside_a_deletion() -> (Duration, Duration) {
    let folder = tempfile::tempdir().unwrap();
    let store = Embedded::open(folder.path()).unwrap();
    fill_history(&store, 500, 120);
    let count = || -> i64 {
        let count = |connection: &rusqlite::Connection| {
            connection.query_row("SELECT count(*) FROM history", [], |row| row.get(0))
        };
        store.connections.read(count).unwrap()
    };
    let usual = commit_times(&store, |commits| commits == 50);

    let meanwhile = thread::scope(|scope| {
        let sweep = scope.spawn(|| sweep(&store, Timestamp::now(), DELETE_AFTER_MINUTES));
        commit_times(&store, |commits| commits > 0 && sweep.is_finished())
    });
    println!(
        "{} commits: p99 {:?}, usual {:?}",
        meanwhile.len(),
        p99(&meanwhile),
        p99(&usual)
    );
    assert_eq!(count(), 0, "all of it is old");
    // The lock is handed over after each slice: no commit waits for many of them.
    let limit = p99(&usual) * 2 + Duration::from_millis(60);

    // What the deletion has written does not stay in the log.
    store.record(&[beat("10.1.0.1", Timestamp::now())]).unwrap();
    let log = fs::metadata(folder.path().join("fleetbeat.db-wal")).unwrap();
    assert!(log.len() <= 24 * 1024 * 1024, "{} bytes", log.len());
    (p99(&meanwhile), limit)
}

#[test]
fn history_of_an_older_version_is_moved_to_its_hosts() {
    let folder = tempfile::tempdir().unwrap();
    let store = Embedded::open(folder.path()).unwrap();
    store.record(&[beat("10.0.0.1", Timestamp::now())]).unwrap();
    store
        .connections
        .writer()
        .execute_batch(
            "INSERT INTO history_by_ip VALUES ('10.0.0.1', 1, '{}'), \
             ('10.0.0.1', 2, '{}'), ('10.0.0.9', 1, '{}')",
        )
        .unwrap();
    sweep(&store, Timestamp::now(), 1);
    let counts: (i64, i64) = store
        .connections
        .read(|connection| {
            connection.query_row(
                "SELECT (SELECT count(*) FROM history), \
                 (SELECT count(*) FROM history_by_ip)",
                [],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
        })
        .unwrap();
    assert_eq!(counts, (2, 0), "but for a host that is gone");
}

/// Every event, the oldest first: its number and kind.
fn events(store: &Embedded) -> Vec<(i64, &'static str)> {
    let query = EventQuery {
        after: Some(Cursor(0)),
        ..EventQuery::newest(1000)
    };
    let events = store.events(&query).unwrap().events;
    let shown = events.iter().map(|event| {
        let Cursor(id) = event.id;
        (id, event.event.kind.as_str())
    });
    shown.collect()
}

fn look(store: &Embedded, now: Timestamp) {
    let down_after = Duration::from_secs(240);
    store.watch(&WatchOrder { now, down_after }).unwrap();
}

#[test]
fn an_upgrade_tells_nothing_of_the_hosts_that_are_there() {
    let folder = tempfile::tempdir().unwrap();
    let at = Timestamp::UNIX_EPOCH;
    let before_events = 4;
    let older = schema::make_older(&folder.path().join("fleetbeat.db"), before_events);
    let insert = "INSERT INTO servers (ip, server_id, last_heartbeat, first_heartbeat, \
                  status, hostname, country_code, country, city, services, metrics) \
                  VALUES (?1, ?1, 0, 0, 'active', 'a', 'DE', 'Germany', 'Munich', '[]', '{}')";
    for ip in ["10.0.0.1", "10.0.0.2"] {
        older.execute(insert, [ip]).unwrap();
    }
    older.execute("UPDATE state SET next_host = 3", []).unwrap();
    drop(older);

    let store = Embedded::open(folder.path()).unwrap();
    look(&store, at);
    assert_eq!(events(&store), []);
    assert_eq!(
        sweep(&store, at + jiff::SignedDuration::from_mins(5), 1).down,
        2
    );
    store.record(&[beat("10.0.0.3", at)]).unwrap();
    look(&store, at);
    let kinds: Vec<&str> = events(&store).into_iter().map(|(_, kind)| kind).collect();
    assert_eq!(kinds, ["host.down", "host.down", "host.new"]);
}

#[test]
fn a_restored_database_has_its_events_and_numbers_on_behind_the_replaced_one() {
    let (folder, elsewhere) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = elsewhere.path().join("backup.db");
    let at = Timestamp::UNIX_EPOCH;
    let event = NewEvent::new(EventKind::ServerStarted, at, facts([]));
    let store = Embedded::open(folder.path()).unwrap();
    store.append(&[event.clone(), event.clone()]).unwrap();
    backup(folder.path(), &file, Extent::Database).unwrap();
    store
        .append(&[event.clone(), event.clone(), event.clone()])
        .unwrap();
    store.close();
    drop(store);

    drop(restore(folder.path(), &file, Extent::Database, at).unwrap());
    let store = Embedded::open(folder.path()).unwrap();
    store.append(&[event]).unwrap();
    let ids: Vec<i64> = events(&store).into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids, [1, 2, 6], "a reader that has read up to 5 goes on");
}

#[test]
fn a_reader_that_follows_passes_over_an_event_of_a_later_version() {
    let folder = tempfile::tempdir().unwrap();
    let store = Embedded::open(folder.path()).unwrap();
    follow_past_an_unknown_event(&store, |number| {
        let file = folder.path().join("fleetbeat.db");
        let connection = rusqlite::Connection::open(file).unwrap();
        let update = "UPDATE events SET kind = 9999 WHERE id = ?1";
        assert_eq!(connection.execute(update, [number]).unwrap(), 1);
    });
}

/// What docs/operating.md and packaging/server.toml tell operators to reckon with.
#[test]
fn an_event_takes_about_120_bytes_with_its_indexes() {
    const HOSTS: i64 = 100;
    const EVENTS: i64 = 20_000;
    let folder = tempfile::tempdir().unwrap();
    let store = Embedded::open(folder.path()).unwrap();
    let now = Timestamp::now();
    let beats = (0..HOSTS).map(|n| beat(&format!("10.0.0.{n}"), now));
    store.record(&beats.collect::<Vec<_>>()).unwrap();

    let bytes = || -> i64 {
        let bytes =
            "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size";
        let read = store
            .connections
            .read(|connection| connection.query_row(bytes, [], |row| row.get(0)));
        read.unwrap()
    };
    let bytes_of = |event: &NewEvent| {
        let before = bytes();
        let written = store.connections.write(|transaction| {
            for n in 0..EVENTS {
                events::write(transaction, Some(1 + n % HOSTS), event)?;
            }
            Ok(())
        });
        written.unwrap();
        (bytes() - before) / EVENTS
    };

    let stopped = facts([("service", "wg".into())]);
    let stopped = NewEvent::new(EventKind::ServiceInactive, now, stopped);
    let act = Act {
        who: Who::User("ann".to_owned()),
        address: "2001:db8::7".parse().ok(),
        at: now,
    };
    let set = [
        ("flag", "paid".into()),
        ("from", false.into()),
        ("to", true.into()),
    ];
    let set = act.event(EventKind::FlagChanged, facts(set));
    let each = [bytes_of(&stopped), bytes_of(&set)];
    assert!(
        each.iter().all(|bytes| (70..150).contains(bytes)),
        "{each:?}"
    );
    assert!((100..130).contains(&((each[0] + each[1]) / 2)), "{each:?}");
}
