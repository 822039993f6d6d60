//! What only this backend promises: its files, and what it does with damaged ones.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use fleetbeat_protocol::Timestamp;

use super::*;
use crate::store::conformance::{beat, servers, spooled};
use crate::store::error::Setup;

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
    let beats: Vec<Beat> = (0..200)
        .map(|n| beat(&format!("10.0.0.{n}"), Timestamp::UNIX_EPOCH))
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
    let beats: Vec<Beat> = (0..200)
        .map(|n| beat(&format!("10.0.0.{n}"), Timestamp::UNIX_EPOCH))
        .collect();
    store.record(&beats).unwrap();
    store.close();
    store
        .record(&[beat("10.0.1.1", Timestamp::UNIX_EPOCH)])
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
    store.backup(&folder.path().join("copy.db")).unwrap();
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
    assert!(matches!(
        Embedded::open(folder.path()),
        Err(StoreError::Setup(Setup::Newer {
            found: 99,
            known: 1,
            ..
        }))
    ));
}

#[test]
fn what_was_spooled_is_history_once_and_goes_with_its_host() {
    let folder = tempfile::tempdir().unwrap();
    let store = Embedded::open(folder.path()).unwrap();
    let history = || -> i64 {
        store
            .connections
            .read(|connection| {
                connection.query_row("SELECT count(*) FROM history", [], |row| row.get(0))
            })
            .unwrap()
    };
    let at = Timestamp::from_second(1_700_000_000).unwrap();
    let beats = [300, 200, 100]
        .map(|age| spooled("10.0.0.1", at - jiff::SignedDuration::from_secs(age), 1.0));
    store.record(&beats).unwrap();
    store.record(&beats).unwrap();
    assert_eq!(history(), 3);
    store
        .sweep(at, at - jiff::SignedDuration::from_secs(250))
        .unwrap();
    assert_eq!(history(), 2, "the oldest is older than what is kept");
    store.sweep(at, at).unwrap();
    assert_eq!(history(), 0, "the host is gone");
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
    fs::write(copy.join("fleetbeat.db.part"), "a part").unwrap();

    let contents = store.backup(&file).unwrap().to_string();
    let expected = "1 servers, 0 users, the last heartbeat at 1970-01-01T00:00:00Z";
    assert_eq!(contents, expected);
    assert_eq!(names_in(&copy), ["fleetbeat.db"]);
    assert_eq!(servers(&Embedded::open(&copy).unwrap()), servers(&store));

    let before = fs::read(&file).unwrap();
    let refused = store.backup(&file).unwrap_err().to_string();
    assert!(
        refused.contains("fleetbeat.db: entity already exists"),
        "{refused}"
    );
    assert_eq!(fs::read(&file).unwrap(), before);
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

    let failed = store.backup(&copy.join("b.db")).unwrap_err().to_string();
    assert!(failed.contains("copy/b.db: "), "{failed}");
    assert!(names_in(&copy).is_empty(), "{:?}", names_in(&copy));
    assert!(store.backup(&folder.path().join("nowhere/b.db")).is_err());
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
