//! An upgrade reaches a fleet's programs one after the other, so each program has to
//! understand the released ones.
//!
//! `protocol/golden/released/` has a folder for each release: the agent's bodies, the
//! server's answers, a database. `FLEETBEAT_FREEZE=1 cargo test --test e2e
//! compatibility::` writes the folder of this version.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::Duration;

use fleetbeat_tools::client::Answer;
use fleetbeat_tools::redis_server::RedisServer;
use fleetbeat_tools::server::{Database, FleetbeatServer};
use fleetbeat_tools::wait::wait_for;
use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::agent::{self, Agent, FAST, OK, answer};

/// The value 1 writes the folder of this version, which must not exist.
const FREEZE: &str = "FLEETBEAT_FREEZE";
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The answers in a release's folder, named by their causes.
const ANSWERS: [&str; 8] = [
    "accepted",
    "batch",
    "400-no-json",
    "401-wrong-key",
    "413-too-long",
    "422-broken-rule",
    "500-no-storage",
    "503-overloaded",
];
/// The headers of an answer that an agent acts on, or that name the body's format.
const HEADERS: [&str; 3] = ["content-type", "retry-after", "www-authenticate"];
const SERVER_FIELDS: [&str; 9] = [
    "ip",
    "hostname",
    "countryCode",
    "country",
    "region",
    "city",
    "services",
    "load",
    "metrics",
];

/// Where they are frozen.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../protocol/golden/released")
}

/// The files of each release.
pub(crate) fn files() -> Vec<String> {
    let answers = ANSWERS.iter().map(|name| format!("answer-{name}.txt"));
    let others = [
        "heartbeat.json",
        "batch.json",
        "database.sql",
        "servers.json",
    ];
    others
        .into_iter()
        .map(str::to_owned)
        .chain(answers)
        .collect()
}

/// A release and its folder.
struct Release {
    version: String,
    folder: PathBuf,
}

impl Release {
    fn read(&self, name: &str) -> String {
        let path = self.folder.join(name);
        fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    fn json(&self, name: &str) -> Value {
        serde_json::from_str(&self.read(name)).unwrap()
    }

    fn answer(&self, name: &str) -> Frozen {
        Frozen::parse(&self.read(&format!("answer-{name}.txt")))
    }
}

static RELEASES: LazyLock<Vec<Release>> = LazyLock::new(|| {
    if std::env::var_os(FREEZE).is_some_and(|value| value == "1") {
        freeze(&folder().join(VERSION));
    }
    let entries = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap());
    let release = |entry: fs::DirEntry| Release {
        version: entry.file_name().into_string().unwrap(),
        folder: entry.path(),
    };
    let releases: Vec<Release> = entries.map(release).collect();
    assert!(
        releases.iter().any(|release| release.version == VERSION),
        "{FREEZE}=1 freezes {VERSION}"
    );
    releases
});

/// What the programs of today say.
static SAID: LazyLock<Said> = LazyLock::new(Said::by_an_agent);
static ANSWERED: LazyLock<BTreeMap<&str, Frozen>> = LazyLock::new(answers_of_a_server);

fn freeze(folder: &Path) {
    let made = fs::create_dir(folder);
    made.unwrap_or_else(|error| {
        panic!(
            "{}: {error}: what is out never changes; remove what is not",
            folder.display()
        )
    });

    let write = |name: &str, text: &str| {
        fs::write(folder.join(name), text.trim_end().to_owned() + "\n").unwrap();
    };
    write("heartbeat.json", &SAID.heartbeat);
    write("batch.json", &SAID.batch);
    for (name, answer) in &*ANSWERED {
        write(&format!("answer-{name}.txt"), &answer.text());
    }
    let mut server = FleetbeatServer::start();
    let token = server.admin_token();
    server.post_heartbeat("/heartbeats", SAID.batch.as_bytes());
    server.post_heartbeat("/heartbeat", SAID.heartbeat.as_bytes());
    server.add_user("ann", "readonly", "password of ann");
    let patch = json!({"paid": true, "static": true});
    server.api(
        &token,
        "PATCH",
        &format!("/server/{}/config", ip(&SAID.heartbeat)),
        Some(&patch),
    );

    let shown = wait_for("the flags", || {
        let shown = server.servers(&token);
        (shown[0]["paid"] == true).then_some(shown)
    });
    write("servers.json", &Value::from(shown).to_string());
    server.stop();
    write(
        "database.sql",
        &dump(&Connection::open(server.data().join("fleetbeat.db")).unwrap()),
    );
}

fn ip(heartbeat: &str) -> String {
    serde_json::from_str::<Value>(heartbeat).unwrap()["ip"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// What an agent with every collector sends.
struct Said {
    heartbeat: String,
    batch: String,
}

impl Said {
    fn by_an_agent() -> Said {
        let is_back = Arc::new(AtomicBool::new(false));
        let back = Arc::clone(&is_back);
        let server = agent::ScriptedServer::start_seeing(move |_, request| {
            let is_batch = request.line.starts_with("POST /heartbeats ");
            match (back.load(Ordering::Relaxed), is_batch) {
                (false, _) => answer(500, "", ""),
                (true, false) => answer(200, "", OK),
                (true, true) => {
                    answer(200, "", r#"{"status":"ok","accepted":1,"rejected":[]}"#)
                }
            }
        });

        let folder = tempfile::tempdir().unwrap();
        agent::write_settings(&folder, &server.url(), &every_collector(&folder));
        let _agent = Agent::start_in(folder);
        let mut heartbeat = String::new();
        let mut numbers = BTreeSet::new();
        loop {
            let request = server.next();
            if request.line.starts_with("POST /heartbeats ") {
                return Said {
                    heartbeat,
                    batch: request.body,
                };
            }
            heartbeat = request.body;
            let is_new = numbers.insert(
                serde_json::from_str::<Value>(&heartbeat).unwrap()["seq"]
                    .as_u64()
                    .unwrap(),
            );
            // The first heartbeats lack the figures that take two readings.
            is_back.fetch_or(is_new && numbers.len() > 3, Ordering::Relaxed);
        }
    }
}

/// Settings with every collector on this machine, under another name and boot.
fn every_collector(folder: &TempDir) -> String {
    let path = |name: &str| folder.path().join(name);
    fs::create_dir_all(path("proc/sys/kernel/random")).unwrap();
    fs::write(
        path("proc/sys/kernel/random/boot_id"),
        "5f0c1d9e-6f37-4a7e-9a53-0d8a6f0f1c22\n",
    )
    .unwrap();

    for name in [
        "stat", "meminfo", "uptime", "loadavg", "net", "self", "mounts",
    ] {
        symlink(Path::new("/proc").join(name), path("proc").join(name)).unwrap();
    }
    fs::create_dir(path("metrics")).unwrap();
    fs::write(path("metrics/backup.prom"), "backup_age_seconds 3600\n").unwrap();
    // [collectors.ram] is in FAST; agent/tests/collectors.rs looks for every collector.
    format!(
        "{FAST}[collectors.cpu]\n[collectors.net]\ninterface = \"lo\"\nspeed_mbps = 1000\n\
         [collectors.services]\nunits = [ {{name = \"wg\", unit = \"wg-quick@wg0\"}}, \
         {{name = \"ov\", unit = \"openvpn-server@server\"}} ]\n[collectors.uptime]\n\
         [collectors.disk]\nmounts = [\"/\"]\n[collectors.textfile]\nfolder = {:?}\n\
         [collectors.exec]\ncommands = [ {{name = \"queue\", run = [\"/bin/echo\", \"jobs 3\"]}} ]\n\
         [host]\nip = \"192.0.2.7\"\nhostname = \"vpn-de-01\"\ncountry_code = \"DE\"\ncountry = \"Germany\"\n\
         region = \"Bavaria\"\ncity = \"Munich\"\n[paths]\nproc = {:?}\n",
        path("metrics"),
        path("proc"),
    )
}

/// An answer as far as it matters to an agent.
struct Frozen {
    status: u16,
    headers: BTreeMap<String, String>,
    body: String,
}

impl Frozen {
    fn of(answer: &Answer) -> Frozen {
        let mut headers = answer.headers.clone();
        headers.retain(|name, _| HEADERS.contains(&name.as_str()));
        Frozen {
            status: answer.status,
            headers,
            body: String::from_utf8(answer.body.clone()).unwrap(),
        }
    }

    fn text(&self) -> String {
        format!(
            "HTTP/1.1 {}\n{}\n{}",
            self.status,
            self.head("\n"),
            self.body
        )
    }

    fn head(&self, line_end: &str) -> String {
        self.headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}{line_end}"))
            .collect()
    }

    fn parse(text: &str) -> Frozen {
        let (head, body) = text.trim_end().split_once("\n\n").unwrap();
        let (first, headers) = head.split_once('\n').unwrap();
        let headers = headers.lines().map(|line| line.split_once(": ").unwrap());
        Frozen {
            status: first.strip_prefix("HTTP/1.1 ").unwrap().parse().unwrap(),
            headers: headers
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            body: body.to_owned(),
        }
    }

    /// As it went over the wire.
    fn bytes(&self) -> Vec<u8> {
        answer(self.status, &self.head("\r\n"), &self.body)
    }
}

/// What a server says to agents, from good to overloaded.
fn answers_of_a_server() -> BTreeMap<&'static str, Frozen> {
    let server = FleetbeatServer::start();
    let good = include_str!("../../protocol/golden/heartbeat-full.json");
    let bad = good.replace("23.5", "101");
    let wrong_key = [("X-API-Key", "wrong"), ("Content-Type", "application/json")];
    let post = |target, body: &str| server.post_heartbeat(target, body.as_bytes());
    let mut answers = vec![
        post("/heartbeat", good),
        post("/heartbeats", &format!("[{good},{bad}]")),
        post("/heartbeat", "no JSON"),
        server.request("POST", "/heartbeat", &wrong_key, good.as_bytes()),
        post("/heartbeat", &" ".repeat(65 * 1024)),
        post("/heartbeat", &bad),
    ];
    // Somebody else writes, and does not end.
    let database = Connection::open(server.data().join("fleetbeat.db")).unwrap();
    database.execute_batch("BEGIN IMMEDIATE").unwrap();
    answers.push(post("/heartbeat", good));
    answers.push(overload(&server, good));
    ANSWERS
        .into_iter()
        .zip(answers.iter().map(Frozen::of))
        .collect()
}

/// Sends more at once than may wait for a commit, until that is said.
fn overload(server: &FleetbeatServer, heartbeat: &str) -> Answer {
    let batch = format!("[{}]", vec![heartbeat; 500].join(","));
    let send = || server.post_heartbeat("/heartbeats", batch.as_bytes());
    wait_for("an overloaded server", || {
        thread::scope(|scope| {
            let senders: Vec<_> = (0..40).map(|_| scope.spawn(send)).collect();
            let answers = senders.into_iter().map(|sender| sender.join().unwrap());
            answers.fold(None, |found, answer| {
                found.or((answer.status == 503).then_some(answer))
            })
        })
    })
}

/// The schema, and a statement for each row.
fn dump(database: &Connection) -> String {
    let texts = |query: &str| -> Vec<String> {
        let mut statement = database.prepare(query).unwrap();
        statement
            .query_map([], |row| row.get(0))
            .unwrap()
            .map(Result::unwrap)
            .collect()
    };

    let version: i64 = database
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .unwrap();
    let mut statements = schema(database);
    for table in
        texts("SELECT name FROM sqlite_schema WHERE type = 'table' AND sql IS NOT NULL")
    {
        let columns = texts(&format!("SELECT name FROM pragma_table_info('{table}')"));
        let quoted: Vec<String> = columns
            .iter()
            .map(|column| format!("quote(\"{column}\")"))
            .collect();
        let values = quoted.join(" || ', ' || ");
        statements.extend(texts(&format!(
            "SELECT 'INSERT INTO {table} VALUES (' || {values} || ')' FROM {table}"
        )));
    }
    statements.push(format!("PRAGMA user_version = {version}"));
    statements.join(";\n") + ";"
}

fn schema(database: &Connection) -> Vec<String> {
    let mut statement = database
        .prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY type DESC, name")
        .unwrap();
    statement
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect()
}

/// Waits until history.db beside the database has what is to be kept of some host, and
/// nothing is left that an older version has kept.
fn await_history(database: &Path) {
    let former = "SELECT (SELECT count(*) FROM history) \
                  + (SELECT count(*) FROM history_by_ip)";
    let count = |file: &Path, select: &str| -> Option<i64> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
        let database = Connection::open_with_flags(file, flags).ok()?;
        database.query_row(select, [], |row| row.get(0)).ok()
    };
    let history = database.with_file_name("history.db");
    wait_for("the former history in history.db", || {
        let is_there = count(database, former) == Some(0)
            && count(&history, "SELECT count(*) FROM hosts") > Some(0);
        is_there.then_some(())
    });
}

/// Hosts whose heartbeats wait to be merged into history.
fn count_open_chunks(database: &Connection) -> i64 {
    let select = "SELECT count(*) FROM servers WHERE length(open_chunk) > 0";
    database.query_row(select, [], |row| row.get(0)).unwrap()
}

/// The fields of a JSON value and their types. Figures that are measured may be null.
fn shape(value: &Value) -> BTreeSet<(String, &'static str)> {
    fn walk(path: String, value: &Value, found: &mut BTreeSet<(String, &'static str)>) {
        let kind = match value {
            Value::Object(members) => {
                for (name, value) in members {
                    walk(format!("{path}.{name}"), value, found);
                }
                "object"
            }
            Value::Array(elements) => {
                for element in elements {
                    walk(format!("{path}[]"), element, found);
                }
                "array"
            }
            Value::String(_) => "text",
            Value::Bool(_) => "boolean",
            Value::Number(_) | Value::Null => "number or null",
        };
        found.insert((path, kind));
    }

    let mut found = BTreeSet::new();
    walk(String::new(), value, &mut found);
    found
}

#[track_caller]
fn assert_holds(today: &str, released: &str, what: &str) {
    let [today, released] =
        [today, released].map(|text| shape(&serde_json::from_str(text).unwrap()));
    let lost: Vec<_> = released.difference(&today).collect();
    assert!(lost.is_empty(), "{what} does not have {lost:?} any more");
}

#[test]
fn an_agent_says_all_that_released_ones_said() {
    for release in &*RELEASES {
        assert_holds(
            &SAID.heartbeat,
            &release.read("heartbeat.json"),
            "a heartbeat",
        );
        assert_holds(&SAID.batch, &release.read("batch.json"), "a batch");
    }
}

#[test]
fn a_server_answers_as_released_ones_did() {
    for release in &*RELEASES {
        for name in ANSWERS {
            let (today, released) = (&ANSWERED[name], release.answer(name));
            assert_eq!(
                (today.status, &today.headers),
                (released.status, &released.headers),
                "{name}"
            );
            assert_holds(&today.body, &released.body, name);
        }
    }
}

#[test]
fn what_released_agents_sent_is_stored_as_sent_on_both_backends() {
    for release in &*RELEASES {
        let embedded = FleetbeatServer::start();
        replay(&embedded, release);
        let database = Connection::open(embedded.data().join("fleetbeat.db")).unwrap();
        assert_eq!(count_open_chunks(&database), 1);
        let (database, redis) = (Database::new(), RedisServer::start());
        replay(
            &FleetbeatServer::start_on_mongodb(
                &database,
                &database.url,
                &redis.url(),
                "",
            ),
            release,
        );
    }
}

/// Sends the release's bodies in the order of an agent whose first server was away.
fn replay(server: &FleetbeatServer, release: &Release) {
    let token = server.admin_token();
    let batch = release.json("batch.json");
    let elements = batch.as_array().unwrap();
    let answer = server.post_heartbeat(
        "/heartbeats",
        release.read("batch.json").trim_end().as_bytes(),
    );
    let expected = json!({"status": "ok", "accepted": elements.len(), "rejected": []});
    assert_eq!((answer.status, answer.json()), (200, expected));
    assert_shows(server, &token, elements.last().unwrap());
    let answer = server.post_heartbeat(
        "/heartbeat",
        release.read("heartbeat.json").trim_end().as_bytes(),
    );
    assert_eq!(answer.status, 200, "{}: {answer:?}", release.version);
    assert_shows(server, &token, &release.json("heartbeat.json"));
}

/// Whether the host is shown with each field as it was sent.
fn assert_shows(server: &FleetbeatServer, token: &str, sent: &Value) {
    let shown = server
        .api(
            token,
            "GET",
            &format!("/server/{}", sent["ip"].as_str().unwrap()),
            None,
        )
        .json();
    for field in SERVER_FIELDS {
        assert!(!sent[field].is_null(), "{field} is not in {sent}");
        assert_eq!(shown[field], sent[field], "{field}");
    }
}

/// An agent that hears `first` as the answer to its first heartbeat, and whose other
/// heartbeats are accepted.
fn agent_that_hears(first: Vec<u8>) -> (agent::ScriptedServer, Agent) {
    let server = agent::ScriptedServer::start(move |n| {
        if n == 0 {
            first.clone()
        } else {
            answer(200, "", OK)
        }
    });
    let agent = Agent::start(&server.url(), FAST);
    (server, agent)
}

#[test]
fn an_agent_understands_what_released_servers_answered() {
    for release in &*RELEASES {
        let accepted = release.answer("accepted").bytes();
        let (_server, agent) = agent_that_hears(accepted.clone());
        agent.wait_for_log("the server accepts heartbeats");
        wait_for_empty_spool(&agent);
        for name in ["400-no-json", "413-too-long", "422-broken-rule"] {
            let (_server, agent) = agent_that_hears(release.answer(name).bytes());
            agent.wait_for_log(&format!(
                "heartbeat dropped, 1 since the start: answer {}",
                &name[..3]
            ));
            agent.wait_for_log("the server accepts heartbeats");
        }
        for name in ["401-wrong-key", "500-no-storage"] {
            let (server, agent) = agent_that_hears(release.answer(name).bytes());
            assert_eq!(
                server.next().body,
                server.next().body,
                "{name}: it is tried again"
            );
            agent.wait_for_log(&name[..3]);
            agent.wait_for_log("the server accepts heartbeats again");
        }
        let overloaded = release.answer("503-overloaded");
        let pause = overloaded.headers["retry-after"].parse().unwrap();
        let (server, _agent) = agent_that_hears(overloaded.bytes());
        let (first, second) = (server.next().at, server.next().at);
        assert!(
            second - first >= Duration::from_secs(pause),
            "{:?}",
            second - first
        );
    }
}

#[test]
fn of_a_batch_only_what_a_released_server_rejected_is_dropped() {
    for release in &*RELEASES {
        let (accepted, batch) =
            (release.answer("accepted").bytes(), release.answer("batch"));
        let rejected =
            serde_json::from_str::<Value>(&batch.body).unwrap()["rejected"].clone();
        assert_eq!(rejected.as_array().unwrap().len(), 1);
        let error = &rejected[0]["errors"][0];
        let reason = format!(
            "{} {}",
            error["field"].as_str().unwrap(),
            error["message"].as_str().unwrap()
        );
        let batch = batch.bytes();
        let is_back = Arc::new(AtomicBool::new(false));
        let back = Arc::clone(&is_back);
        let server = agent::ScriptedServer::start_seeing(move |_, request| {
            match (
                back.load(Ordering::Relaxed),
                request.line.starts_with("POST /heartbeats "),
            ) {
                (false, _) => answer(500, "", ""),
                (true, true) => batch.clone(),
                (true, false) => accepted.clone(),
            }
        });
        let agent = Agent::start(&server.url(), FAST);
        agent.wait_for_log("a heartbeat stays in the spool");
        is_back.store(true, Ordering::Relaxed);
        agent.wait_for_log(&format!("heartbeat dropped, 1 since the start: {reason}"));
        wait_for_empty_spool(&agent);
    }
}

fn wait_for_empty_spool(agent: &Agent) {
    let spool = agent.settings.path().join("spool");
    wait_for("an empty spool", || {
        (fs::metadata(&spool).ok()?.len() == 0).then_some(())
    });
}

/// Today's value without the members that a released one did not have: types gain
/// members, and lose or change none.
fn members_of(today: &Value, released: &Value) -> Value {
    match (today, released) {
        (Value::Object(today), Value::Object(released)) => released
            .iter()
            .filter_map(|(name, of)| {
                Some((name.clone(), members_of(today.get(name)?, of)))
            })
            .collect(),
        (Value::Array(today), Value::Array(released))
            if today.len() == released.len() =>
        {
            let pairs = today.iter().zip(released);
            pairs.map(|(today, of)| members_of(today, of)).collect()
        }
        _ => today.clone(),
    }
}

#[test]
fn a_database_of_a_release_opens_with_all_that_is_in_it() {
    let mut fresh = FleetbeatServer::start();
    fresh.stop();
    let expected = schema(&Connection::open(fresh.data().join("fleetbeat.db")).unwrap());
    for release in &*RELEASES {
        let mut server = FleetbeatServer::start();
        server.stop();
        let file = server.data().join("fleetbeat.db");
        fs::remove_file(&file).unwrap();
        Connection::open(&file)
            .unwrap()
            .execute_batch(&release.read("database.sql"))
            .unwrap();
        server.restart();
        let token = server.admin_token();
        let released = release.json("servers.json");
        let today = members_of(&Value::from(server.servers(&token)), &released);
        assert_eq!(today, released, "{}", release.version);
        server.token("ann", "password of ann");
        let heartbeat = release.read("heartbeat.json");
        assert_eq!(
            server
                .post_heartbeat("/heartbeat", heartbeat.trim_end().as_bytes())
                .status,
            200
        );
        let kept = server
            .api(&token, "GET", &format!("/server/{}", ip(&heartbeat)), None)
            .json();
        assert_eq!(
            (&kept["paid"], &kept["static"]),
            (&json!(true), &json!(true)),
            "{kept}"
        );
        await_history(&file);
        server.stop();
        let database = Connection::open(&file).unwrap();
        assert_eq!(
            schema(&database),
            expected,
            "{}: it is migrated",
            release.version
        );
    }
}
