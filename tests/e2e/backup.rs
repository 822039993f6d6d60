//! From a backup to a fleet as it was, on both backends, with the commands of
//! docs/operating.md.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use fleetbeat_tools::client;
use fleetbeat_tools::process::program;
use fleetbeat_tools::redis_server::RedisServer;
use fleetbeat_tools::server::{AGENT_KEY, Database, FleetbeatServer};
use fleetbeat_tools::wait::wait_for;
use mongodb::bson::{Document, doc};
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::start::refuse;

/// The last acknowledged number of each host.
type Acknowledged = Mutex<BTreeMap<String, u32>>;

fn heartbeat(ip: &str, n: u32) -> String {
    let mut body: Value = serde_json::from_str(include_str!(
        "../../protocol/golden/heartbeat-minimal.json"
    ))
    .unwrap();
    body["ip"] = ip.into();
    body["metrics"] = json!({"n": n});
    body.to_string()
}

/// Numbered heartbeats of one host, each sent when the last is answered.
fn beat_until(
    is_over: &AtomicBool,
    address: SocketAddr,
    ip: &str,
    acknowledged: &Acknowledged,
) {
    for n in 1.. {
        if is_over.load(Ordering::Relaxed) {
            return;
        }
        let headers = [("X-API-Key", AGENT_KEY)];
        let answer = client::request(
            address,
            "POST",
            "/heartbeat",
            &headers,
            heartbeat(ip, n).as_bytes(),
        );
        assert_eq!(answer.unwrap().status, 200, "a backup is in nobody's way");
        acknowledged.lock().unwrap().insert(ip.to_owned(), n);
    }
}

/// Runs `act` while four hosts beat, the first of them at both addresses; gives the
/// heartbeats that were acknowledged before `act` began.
fn under_load(addresses: [SocketAddr; 2], act: impl FnOnce()) -> BTreeMap<String, u32> {
    let (is_over, acknowledged) = (AtomicBool::new(false), Acknowledged::default());
    let hosts: Vec<String> = (1..=4).map(|n| format!("10.0.0.{n}")).collect();
    thread::scope(|scope| {
        for (n, ip) in hosts.iter().enumerate() {
            let (is_over, acknowledged) = (&is_over, &acknowledged);
            scope.spawn(move || beat_until(is_over, addresses[n % 2], ip, acknowledged));
        }
        let all = || {
            acknowledged
                .lock()
                .unwrap()
                .values()
                .filter(|n| **n >= 5)
                .count()
                == hosts.len()
        };
        wait_for("a fleet that beats", || all().then_some(()));
        let before = acknowledged.lock().unwrap().clone();
        act();
        is_over.store(true, Ordering::Relaxed);
        before
    })
}

/// Whether each host's record is at least as new as its last acknowledged heartbeat.
fn assert_complete(shown: &[Value], acknowledged: &BTreeMap<String, u32>) {
    assert_eq!(shown.len(), acknowledged.len());
    for host in shown {
        let (ip, n) = (
            host["ip"].as_str().unwrap(),
            host["metrics"]["n"].as_f64().unwrap(),
        );
        assert!(
            n >= f64::from(acknowledged[ip]),
            "{ip}: {} was acknowledged, {n} is there",
            acknowledged[ip]
        );
    }
}

fn succeed(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn set_flags(server: &FleetbeatServer, token: &str, ip: &str, flags: &Value) {
    assert_eq!(
        server
            .api(token, "PATCH", &format!("/server/{ip}/config"), Some(flags))
            .status,
        200
    );
}

/// What a restore has left beside the database, logs aside.
fn left_behind(server: &FleetbeatServer) -> Vec<String> {
    let names = fs::read_dir(server.data())
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    let names = names.map(|name| name.into_string().unwrap());
    let is_of_restore =
        |name: &String| name.starts_with("restoring") || name.contains(".replaced-");
    names
        .filter(|name| is_of_restore(name) && !name.ends_with("-wal"))
        .collect()
}

#[test]
fn an_embedded_server_that_has_lost_its_database_is_restored_as_it_was_at_the_backup() {
    let mut server = FleetbeatServer::start();
    let token = server.admin_token();
    server.add_user("ann", "readonly", "password of ann");
    server.heartbeat(&serde_json::from_str(&heartbeat("10.0.0.1", 0)).unwrap());
    set_flags(
        &server,
        &token,
        "10.0.0.1",
        &json!({"paid": true, "static": true}),
    );
    let folder = tempfile::tempdir().unwrap();
    let backup = folder.path().join("backup.db");
    let acknowledged = under_load([server.address(); 2], || {
        succeed(&server.command(&["backup", backup.to_str().unwrap()], ""));
    });
    set_flags(&server, &token, "10.0.0.1", &json!({"paid": false}));
    server.add_user("late", "admin", "password of late");

    server.stop();
    let file = server.data().join("fleetbeat.db");
    let garbage = b"this is no database".repeat(1000);
    fs::write(&file, &garbage).unwrap();
    let refused = refuse(&server.config(), &[]);
    let refusal = told(&refused);
    assert!(
        !refused.status.success() && refusal.contains(file.to_str().unwrap()),
        "{refusal}"
    );
    assert!(
        refusal.contains("fleetbeat-server restore FILE"),
        "{refusal}"
    );

    let said = succeed(&server.command(&["restore", backup.to_str().unwrap()], ""));
    assert!(
        said.starts_with("restored: 4 servers, 2 users, the last heartbeat at "),
        "{said}"
    );
    let [replaced] = &left_behind(&server)[..] else {
        panic!("{:?}", left_behind(&server))
    };
    assert!(
        replaced.starts_with("fleetbeat.db.replaced-") && said.contains(replaced),
        "{said}"
    );
    assert_eq!(fs::read(server.data().join(replaced)).unwrap(), garbage);
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );

    server.restart();
    let shown = server.servers(&token);
    assert_complete(&shown, &acknowledged);
    assert_eq!(
        (&shown[0]["paid"], &shown[0]["static"]),
        (&json!(true), &json!(true)),
        "{}",
        shown[0]
    );
    server.token("ann", "password of ann");
    let users = succeed(&server.command(&["user", "list"], ""));
    assert_eq!(users, "admin\tsuperadmin\nann\treadonly\n");
    let next = serde_json::from_str(&heartbeat("10.0.0.1", 1_000_000)).unwrap();
    assert_eq!(server.heartbeat(&next).status, 200);
    wait_for("heartbeats to go on", || {
        (server.servers(&token)[0]["metrics"]["n"] == 1_000_000.0).then_some(())
    });
}

#[test]
fn a_restore_can_be_undone_with_what_it_has_replaced() {
    let mut server = FleetbeatServer::start();
    let token = server.admin_token();
    let backup = server.data().join("backup.db");
    let beat = |server: &FleetbeatServer, ip| {
        server.heartbeat(&serde_json::from_str(&heartbeat(ip, 1)).unwrap())
    };
    assert_eq!(beat(&server, "10.0.0.1").status, 200);
    succeed(&server.command(&["backup", backup.to_str().unwrap()], ""));
    assert_eq!(beat(&server, "10.0.0.2").status, 200);
    // After a kill, acknowledged heartbeats may be in the log beside the database only.
    server.kill();
    assert!(
        fs::metadata(server.data().join("fleetbeat.db-wal"))
            .unwrap()
            .len()
            > 0
    );
    succeed(&server.command(&["restore", backup.to_str().unwrap()], ""));
    server.restart();
    assert_eq!(server.servers(&token).len(), 1);
    server.stop();
    let replaced = server.data().join(&left_behind(&server)[0]);
    fs::remove_file(server.data().join("fleetbeat.db")).unwrap();
    succeed(&server.command(&["restore", replaced.to_str().unwrap()], ""));
    server.restart();
    assert_eq!(server.servers(&token).len(), 2);
}

#[test]
fn what_is_no_backup_is_named_and_changes_nothing() {
    let mut server = FleetbeatServer::start();
    server.heartbeat(&serde_json::from_str(&heartbeat("10.0.0.1", 1)).unwrap());
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let good = path("good.db");
    succeed(&server.command(&["backup", good.to_str().unwrap()], ""));

    let running = server.command(&["restore", good.to_str().unwrap()], "");
    assert!(
        !running.status.success()
            && told(&running).contains("in use by another fleetbeat-server")
    );
    server.stop();

    fs::write(path("garbage"), b"this is no database".repeat(1000)).unwrap();
    fs::write(path("empty"), b"").unwrap();
    let bytes = fs::read(&good).unwrap();
    fs::write(path("half"), &bytes[..bytes.len() / 2 / 4096 * 4096]).unwrap();
    fs::write(path("start"), &bytes[..100]).unwrap();
    write_database(
        &path("other"),
        "CREATE TABLE servers (name TEXT); PRAGMA user_version = 1",
    );
    fs::copy(&good, path("newer")).unwrap();
    write_database(&path("newer"), "PRAGMA user_version = 99");
    write_database(
        &path("namesake"),
        "CREATE TABLE servers (a); CREATE TABLE history (a); CREATE TABLE users (a)",
    );
    fs::create_dir(path("folder")).unwrap();
    let made = Command::new("mkfifo").arg(path("pipe")).status().unwrap();
    assert!(made.success());
    let database = server.data().join("fleetbeat.db");
    let before = fs::read(&database).unwrap();
    for (name, reason) in [
        ("missing", "No such file"),
        ("folder", "it is not a file"),
        ("pipe", "it is not a file"),
        ("namesake", "it is no database of fleetbeat-server's"),
        ("garbage", "it is no database"),
        ("empty", "it is no database of fleetbeat-server's"),
        ("half", "it is damaged"),
        ("start", "it is "),
        ("other", "it is no database of fleetbeat-server's"),
        ("newer", "newer fleetbeat-server (schema 99"),
    ] {
        let file = path(name);
        let output = server.command(&["restore", file.to_str().unwrap()], "");
        let said = told(&output);
        assert_eq!(output.status.code(), Some(1), "{name}: {said}");
        assert!(
            said.contains(file.to_str().unwrap()) && said.contains(reason),
            "{name}: {said}"
        );
        assert_eq!(said.lines().count(), 1, "{said}");
        assert_eq!(
            (fs::read(&database).unwrap() == before, left_behind(&server)),
            (true, vec![]),
            "{name}"
        );
    }
    server.restart();
    assert_eq!(server.servers(&server.admin_token()).len(), 1);
}

fn write_database(file: &Path, sql: &str) {
    Connection::open(file).unwrap().execute_batch(sql).unwrap();
}

#[test]
fn for_mongodb_both_commands_name_its_own_tools() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("server.toml");
    fs::write(&config, "[storage]\nbackend = \"mongodb\"\n").unwrap();
    for (command, tool) in [("backup", "mongodump"), ("restore", "mongorestore")] {
        let output = program("fleetbeat-server")
            .arg("-c")
            .arg(&config)
            .args([command, "/b"])
            .output()
            .unwrap();
        assert!(
            !output.status.success() && told(&output).contains(tool),
            "{}",
            told(&output)
        );
    }
}

/// The documents of each collection, as mongodump writes a database, in the same order.
/// Indexes are left out, as with `mongorestore --noIndexRestore`: the server has to make
/// the indexes.
struct Dump(Vec<(String, Vec<Document>)>);

impl Dump {
    fn of(database: &Database) -> Dump {
        let database = database.connect();
        let read = |name: String| {
            let documents = database
                .collection::<Document>(&name)
                .find(doc! {})
                .run()
                .unwrap();
            (name, documents.map(Result::unwrap).collect())
        };
        Dump(
            database
                .list_collection_names()
                .run()
                .unwrap()
                .into_iter()
                .map(read)
                .collect(),
        )
    }

    /// Into a database that is gone.
    fn restore(self, database: &Database) {
        let database = database.connect();
        database.drop().run().unwrap();
        for (name, documents) in self
            .0
            .into_iter()
            .filter(|(_, documents)| !documents.is_empty())
        {
            database
                .collection::<Document>(&name)
                .insert_many(documents)
                .run()
                .unwrap();
        }
    }
}

/// The host's flag as Redis has it.
fn copied_flag(redis: &RedisServer, ip: &str, flag: &str) -> Option<bool> {
    let copy: Option<String> = redis::cmd("GET")
        .arg(format!("server:{ip}"))
        .query(&mut redis.connect())
        .unwrap();
    serde_json::from_str::<Value>(&copy?).unwrap()[flag].as_bool()
}

#[test]
fn a_restored_mongodb_is_the_truth_though_redis_remembers_newer_flags() {
    let (database, redis) = (Database::new(), RedisServer::start());
    let start =
        || FleetbeatServer::start_on_mongodb(&database, &database.url, &redis.url(), "");
    let mut servers = [start(), start()];
    let token = servers[0].admin_token();
    servers[0].add_user("ann", "readonly", "password of ann");
    let hosts: Vec<String> = (1..=4).map(|n| format!("10.0.0.{n}")).collect();
    let beat = |server: &FleetbeatServer, ip: &str| {
        assert_eq!(
            server
                .heartbeat(&serde_json::from_str(&heartbeat(ip, 0)).unwrap())
                .status,
            200
        );
    };
    for ip in &hosts {
        beat(&servers[0], ip);
        set_flags(&servers[0], &token, ip, &json!({"paid": true}));
    }
    let mut dump = None;
    let acknowledged = under_load([servers[0].address(), servers[1].address()], || {
        let (servers, token) = (&servers, &token);
        thread::scope(|scope| {
            let toggle = move |n: u32| {
                set_flags(
                    &servers[1],
                    token,
                    "10.0.0.1",
                    &json!({"gaming": n.is_multiple_of(2)}),
                );
            };
            scope.spawn(move || (0..20).for_each(toggle));
            dump = Some(Dump::of(&database));
        });
    });
    for ip in &hosts {
        set_flags(&servers[1], &token, ip, &json!({"paid": false}));
        wait_for("Redis to know", || {
            (copied_flag(&redis, ip, "paid") == Some(false)).then_some(())
        });
    }
    servers[0].add_user("late", "admin", "password of late");
    for server in &mut servers {
        server.stop();
    }

    dump.unwrap().restore(&database);
    for server in &mut servers {
        server.restart();
    }
    assert_shows_paid(&servers, &token, &hosts);
    assert_complete(&servers[0].servers(&token), &acknowledged);
    servers[1].token("ann", "password of ann");
    let users = succeed(&servers[0].command(&["user", "list"], ""));
    assert_eq!(users, "admin\tsuperadmin\nann\treadonly\n");
    let indexes = database
        .connect()
        .collection::<Document>("servers")
        .list_index_names()
        .run()
        .unwrap();
    assert!(
        ["ip_1", "server_id_1"]
            .iter()
            .all(|name| indexes.contains(&(*name).to_owned())),
        "{indexes:?}"
    );

    // The next heartbeats make new copies, which must win against the copies from before.
    for ip in &hosts {
        beat(&servers[0], ip);
        wait_for("a copy of what was restored", || {
            (copied_flag(&redis, ip, "paid")?).then_some(())
        });
    }
    wait_for("the heartbeats on the other instance", || {
        servers[1]
            .servers(&token)
            .iter()
            .all(|host| host["metrics"]["n"] == 0.0)
            .then_some(())
    });
    assert_shows_paid(&servers, &token, &hosts);
}

fn assert_shows_paid(servers: &[FleetbeatServer; 2], token: &str, hosts: &[String]) {
    for server in servers {
        for ip in hosts {
            let host = server
                .api(token, "GET", &format!("/server/{ip}"), None)
                .json();
            assert_eq!(host["paid"], true, "{host}");
        }
        let shown = server.servers(token);
        assert_eq!(
            shown.iter().filter(|host| host["paid"] == true).count(),
            hosts.len(),
            "{shown:?}"
        );
    }
}
