//! The production backend: two databases, several instances, and all failures between
//! them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fleetbeat_tools::proxy::{Mode, Proxy};
use fleetbeat_tools::redis_server::RedisServer;
use fleetbeat_tools::server::{AGENT_KEY, Database, FleetbeatServer};
use fleetbeat_tools::wait::wait_for;
use fleetbeat_tools::{client, process};
use mongodb::bson::{Document, doc};
use serde_json::{Value, json};

const FLAGS: [&str; 5] = ["gaming", "streaming", "paid", "enabled", "static"];

fn heartbeat(ip: &str) -> Value {
    let mut body: Value = serde_json::from_str(include_str!(
        "../../protocol/golden/heartbeat-minimal.json"
    ))
    .unwrap();
    body["ip"] = ip.into();
    body
}

fn flags(record: &Value) -> [bool; 5] {
    FLAGS.map(|flag| record[flag] == true)
}

fn document(database: &Database, ip: &str) -> Document {
    database
        .connect()
        .collection::<Document>("servers")
        .find_one(doc! {"ip": ip})
        .run()
        .unwrap()
        .unwrap()
}

/// Where a database with a URL such as `mongodb://127.0.0.1:27017` listens.
pub(crate) fn address(url: &str) -> SocketAddr {
    let host = url.split("://").nth(1).unwrap().split('/').next().unwrap();
    host.rsplit('@')
        .next()
        .unwrap()
        .parse()
        .expect("the tests' databases have addresses, not names")
}

#[test]
fn records_are_kept_as_the_contract_says() {
    let (database, redis) = (Database::new(), RedisServer::start());
    let server =
        FleetbeatServer::start_on_mongodb(&database, &database.url, &redis.url(), "");
    let token = server.admin_token();
    assert_eq!(server.heartbeat(&heartbeat("2001:db8::1")).status, 200);
    server.api(
        &token,
        "PATCH",
        "/server/2001:db8::1/config",
        Some(&json!({"paid": true})),
    );
    let stored = document(&database, "2001:db8::1");
    assert!(stored.get_str("server_id").unwrap().starts_with("srv-"));
    assert!(
        stored.get_datetime("last_heartbeat").is_ok()
            && stored.get_datetime("first_heartbeat").is_ok()
    );
    assert_eq!(
        (stored.get_str("status"), stored.get_bool("paid"))
            .0
            .unwrap(),
        "active"
    );
    assert!(stored.get_bool("paid").unwrap() && !stored.get_bool("static").unwrap());
    assert_eq!(
        stored.get_document("load").unwrap().get_f64("cpu").unwrap(),
        23.5
    );
    let user = database
        .connect()
        .collection::<Document>("users")
        .find_one(doc! {"username": "admin"})
        .run();
    assert!(
        user.unwrap()
            .unwrap()
            .get_str("hashed_password")
            .unwrap()
            .starts_with("$2b$12$")
    );

    let mut connection = redis.connect();
    let copy = wait_for("the copy", || {
        redis::cmd("GET")
            .arg("server:2001:db8::1")
            .query::<Option<String>>(&mut connection)
            .unwrap()
    });
    let copy: Value = serde_json::from_str(&copy).unwrap();
    let shown = server
        .api(&token, "GET", "/server/2001:db8::1", None)
        .json();
    // What follows from a record is worked out when it is shown.
    let follows = ["load_percent", "load_reason", "weight", "geo"];
    for (name, value) in shown.as_object().unwrap() {
        let stored = copy.get(name);
        match follows.contains(&name.as_str()) {
            true => assert_eq!(stored, None, "{name}"),
            false => assert_eq!(stored, Some(value), "{name}"),
        }
    }
    assert!(shown.get("_id").is_none() && shown.get("rev").is_none());
    let ttl: i64 = redis::cmd("TTL")
        .arg("server:2001:db8::1")
        .query(&mut connection)
        .unwrap();
    assert!((500..=600).contains(&ttl), "{ttl}");
}

#[test]
fn no_flag_is_lost_or_resurrected_whatever_happens_meanwhile() {
    const PATCHES: usize = 2_500;
    const HEARTBEATS: usize = 7_500;
    let hosts: Vec<String> = (1..=4).map(|n| format!("10.0.0.{n}")).collect();
    let (database, mut redis) = (Database::new(), RedisServer::start());
    let start =
        || FleetbeatServer::start_on_mongodb(&database, &database.url, &redis.url(), "");
    let (first, mut second) = (start(), start());
    let addresses = [first.address(), second.address()];
    let token = first.admin_token();
    for host in &hosts {
        assert_eq!(first.heartbeat(&heartbeat(host)).status, 200);
    }
    let beats = AtomicUsize::new(0);
    let patches = AtomicUsize::new(0);
    let patched = AtomicBool::new(false);
    let acknowledged: Vec<[bool; 5]> = thread::scope(|scope| {
        for n in 0..24 {
            let (hosts, beats, patched) = (&hosts, &beats, &patched);
            scope.spawn(move || {
                let bodies: Vec<String> = hosts
                    .iter()
                    .map(|host| heartbeat(host).to_string())
                    .collect();
                for turn in n.. {
                    if patched.load(Ordering::Relaxed)
                        && beats.load(Ordering::Relaxed) >= HEARTBEATS
                    {
                        return;
                    }
                    let headers = [("X-API-Key", AGENT_KEY)];
                    let body = bodies[turn % bodies.len()].as_bytes();
                    let answer = client::request(
                        addresses[turn / 2 % 2],
                        "POST",
                        "/heartbeat",
                        &headers,
                        body,
                    );
                    if answer.is_ok_and(|answer| answer.status == 200) {
                        beats.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        let patching: Vec<_> = hosts
            .iter()
            .enumerate()
            .map(|(n, host)| {
                let (patches, token) = (&patches, &token);
                scope.spawn(move || {
                    patch_until_acknowledged(
                        host,
                        n,
                        PATCHES / 4,
                        addresses,
                        token,
                        patches,
                    )
                })
            })
            .collect();
        let reached = |share: usize| {
            let at = PATCHES * share / 100;
            wait_for_long("the patches", || {
                (patches.load(Ordering::Relaxed) >= at).then_some(())
            });
        };
        // Redis goes away, and comes back with its old content.
        reached(20);
        redis.freeze();
        reached(35);
        redis.thaw();
        // An instance killed between its two databases, again and again.
        for share in [45, 50, 55, 60] {
            reached(share);
            second.kill();
            second.restart();
        }
        // Redis away, and back empty.
        reached(70);
        redis.stop();
        reached(80);
        redis.restart();
        let acknowledged = patching
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect();
        patched.store(true, Ordering::Relaxed);
        acknowledged
    });
    assert!(beats.load(Ordering::Relaxed) + patches.load(Ordering::Relaxed) >= 10_000);

    // Within one heartbeat every reader sees it.
    for host in &hosts {
        assert_eq!(first.heartbeat(&heartbeat(host)).status, 200);
    }
    let mut connection = redis.connect();
    for (host, expected) in hosts.iter().zip(&acknowledged) {
        let stored = document(&database, host);
        assert_eq!(
            FLAGS.map(|flag| stored.get_bool(flag).unwrap()),
            *expected,
            "{host} in MongoDB"
        );
        wait_for("Redis to have it", || {
            let copy: Option<String> = redis::cmd("GET")
                .arg(format!("server:{host}"))
                .query(&mut connection)
                .unwrap();
            let copy: Value = serde_json::from_str(&copy?).unwrap();
            (flags(&copy) == *expected).then_some(())
        });
        for server in [&first, &second] {
            wait_for("both instances to show it", || {
                let shown = server
                    .servers(&token)
                    .into_iter()
                    .find(|server| server["ip"] == **host)?;
                (flags(&shown) == *expected).then_some(())
            });
        }
    }
}

/// As [`wait_for`], for what takes a while on a busy machine.
fn wait_for_long<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(180);
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Sets one flag after another, each until an instance has said yes; gives the flags as
/// acknowledged last.
fn patch_until_acknowledged(
    host: &str,
    seed: usize,
    count: usize,
    addresses: [SocketAddr; 2],
    token: &str,
    patches: &AtomicUsize,
) -> [bool; 5] {
    let mut expected = [false, false, false, true, false];
    let bearer = format!("Bearer {token}");
    let mut random = fastrand::Rng::with_seed(seed as u64);
    for _ in 0..count {
        let (flag, value) = (random.usize(..FLAGS.len()), random.bool());
        let body = json!({FLAGS[flag]: value}).to_string();
        loop {
            let target = format!("/server/{host}/config");
            let headers = [("Authorization", bearer.as_str())];
            let answer = client::request(
                addresses[random.usize(..2)],
                "PATCH",
                &target,
                &headers,
                body.as_bytes(),
            );
            let Ok(answer) = answer else { continue };
            if answer.status == 200 {
                expected[flag] = value;
                assert_eq!(flags(&answer.json()), expected, "{host}: the answer");
                break;
            }
        }
        patches.fetch_add(1, Ordering::Relaxed);
    }
    expected
}

#[test]
fn mongodb_may_go_away_in_every_way_and_come_back() {
    let (database, redis) = (Database::new(), RedisServer::start());
    let proxy = Proxy::start(address(&database.url));
    let url = format!("mongodb://{}/?directConnection=true", proxy.address());
    let server = FleetbeatServer::start_on_mongodb(&database, &url, &redis.url(), "");
    let token = server.admin_token();
    let next = AtomicUsize::new(0);
    let acknowledged = Mutex::new(Vec::new());
    let beat = |server: &FleetbeatServer| {
        let n = next.fetch_add(1, Ordering::Relaxed);
        let ip = format!("10.{}.{}.1", n / 250, n % 250);
        let started = Instant::now();
        let status = server.heartbeat(&heartbeat(&ip)).status;
        assert!(
            started.elapsed() < Duration::from_secs(3),
            "a heartbeat took {:?}",
            started.elapsed()
        );
        if status == 200 {
            acknowledged.lock().unwrap().push(ip);
        }
        status
    };
    assert_eq!(beat(&server), 200);
    wait_for("the list", || {
        (server.servers(&token).len() == 1).then_some(())
    });
    for mode in [Mode::Refuse, Mode::Blackhole, Mode::Delay, Mode::Cut] {
        let left_over = || {
            (
                process::status(server.pid(), "Threads"),
                process::open_files(server.pid()).len(),
            )
        };
        let before = left_over();
        let known = server.servers(&token).len();
        proxy.set(mode);
        thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    assert!(matches!(beat(&server), 200 | 500 | 503), "{mode:?}");
                });
            }
        });
        // Slow is not away: an answer in time is a good one.
        if mode != Mode::Delay {
            wait_for("a heartbeat to be refused", || {
                (beat(&server) == 500).then_some(())
            });
            let listed = server.api(&token, "GET", "/servers?all_servers=true", None);
            assert_eq!(listed.status, 200, "{mode:?}: reading goes on");
            assert!(listed.json().as_array().unwrap().len() >= known, "{mode:?}");
            wait_for("the list to be marked", || {
                let listed = server.api(&token, "GET", "/servers?all_servers=true", None);
                (listed.header("x-fleetbeat-stale") == Some("true")
                    && listed.header("warning").is_some())
                .then_some(())
            });
            assert_eq!(
                server.api(&token, "GET", "/me", None).status,
                200,
                "{mode:?}: a user seen before may read"
            );
            assert_eq!(server.request("GET", "/readyz", &[], b"").status, 503);
            let patch = server.api(
                &token,
                "PATCH",
                "/server/10.0.0.1/config",
                Some(&json!({"paid": true})),
            );
            assert_eq!(patch.status, 500, "{mode:?}: nobody may write");
        }
        proxy.set(Mode::Forward);
        wait_for("a heartbeat to be stored again", || {
            (beat(&server) == 200).then_some(())
        });
        wait_for("the list to be fresh", || {
            let listed = server.api(&token, "GET", "/servers?all_servers=true", None);
            let shown = listed.json().as_array().unwrap().len();
            (listed.header("x-fleetbeat-stale").is_none()
                && shown >= acknowledged.lock().unwrap().len())
            .then_some(())
        });
        assert_eq!(server.request("GET", "/readyz", &[], b"").status, 200);
        wait_for("threads and sockets to be gone", || {
            let after = left_over();
            // A pool may keep a connection or two more than before.
            (after.0 <= before.0 + 4 && after.1 <= before.1 + 8).then_some(())
        });
    }

    for ip in acknowledged.into_inner().unwrap() {
        document(&database, &ip);
    }
}

#[test]
fn a_blackholed_mongodb_neither_piles_up_threads_nor_memory() {
    let (database, redis) = (Database::new(), RedisServer::start());
    let proxy = Proxy::start(address(&database.url));
    let url = format!("mongodb://{}/?directConnection=true", proxy.address());
    let server = FleetbeatServer::start_on_mongodb(&database, &url, &redis.url(), "");
    let measure = || {
        (
            process::status(server.pid(), "Threads"),
            process::status(server.pid(), "VmRSS"),
        )
    };

    let flood = |seconds: u64| {
        let until = Instant::now() + Duration::from_secs(seconds);
        let body = heartbeat("10.0.0.1").to_string();
        let request = client::encode(
            "POST",
            "/heartbeat",
            &[("X-API-Key", AGENT_KEY)],
            body.as_bytes(),
        );
        fleetbeat_tools::load::run(server.address(), 32, Some(200.0), || {
            (Instant::now() < until).then(|| request.clone())
        })
    };
    flood(2);
    let (threads, memory) = measure();
    proxy.set(Mode::Blackhole);
    let report = flood(10);
    let (threads_after, memory_after) = measure();
    assert!(
        report
            .statuses
            .keys()
            .all(|status| matches!(status, 200 | 500 | 503)),
        "{:?}",
        report.statuses
    );
    assert!(
        report.percentile(100) < Duration::from_secs(3),
        "{:?}",
        report.percentile(100)
    );
    assert!(
        threads_after <= threads + 40,
        "{threads} threads, then {threads_after}"
    );
    assert!(
        memory_after < memory + 20 * 1024,
        "{memory} KiB, then {memory_after}"
    );
    proxy.set(Mode::Forward);
    wait_for("MongoDB to be found again", || {
        (server.heartbeat(&heartbeat("10.0.0.1")).status == 200).then_some(())
    });
}

#[test]
fn redis_may_go_away_in_every_way_and_nobody_notices() {
    let (database, redis) = (Database::new(), RedisServer::start());
    let proxy = Proxy::start(SocketAddr::from(([127, 0, 0, 1], redis.port())));
    let server = FleetbeatServer::start_on_mongodb(
        &database,
        &database.url,
        &format!("redis://{}", proxy.address()),
        "",
    );
    let token = server.admin_token();
    let mut expected = 0;
    for mode in [
        Mode::Refuse,
        Mode::Blackhole,
        Mode::Delay,
        Mode::Cut,
        Mode::Forward,
    ] {
        proxy.set(mode);
        for _ in 0..5 {
            expected += 1;
            let started = Instant::now();
            assert_eq!(
                server
                    .heartbeat(&heartbeat(&format!("10.0.0.{expected}")))
                    .status,
                200,
                "{mode:?}"
            );
            assert!(
                started.elapsed() < Duration::from_secs(2),
                "{mode:?}: {:?}",
                started.elapsed()
            );
        }
        let ip = format!("/server/10.0.0.{expected}/config");
        assert_eq!(
            server
                .api(&token, "PATCH", &ip, Some(&json!({"gaming": true})))
                .status,
            200,
            "{mode:?}"
        );
        wait_for("the list to be right", || {
            let shown = server.servers(&token);
            (shown.len() == expected
                && shown
                    .iter()
                    .filter(|server| server["gaming"] == true)
                    .count()
                    == expected / 5)
                .then_some(())
        });
        let word = if mode == Mode::Forward {
            "ok"
        } else {
            "unreachable"
        };
        wait_for("readyz to tell", || {
            let ready = server.request("GET", "/readyz", &[], b"");
            assert_eq!(ready.status, 200, "{mode:?}");
            (ready.json()["cache"]["status"] == word).then_some(())
        });
    }

    let mut connection = redis.connect();
    wait_for("every copy to be there", || {
        let copies: usize = (1..=expected)
            .map(|n| {
                redis::cmd("EXISTS")
                    .arg(format!("server:10.0.0.{n}"))
                    .query::<usize>(&mut connection)
                    .unwrap()
            })
            .sum();
        (copies == expected).then_some(())
    });

    let away = server.log().matches("Redis is away").count();
    assert!(
        (1..=8).contains(&away),
        "said {away} times, once for each outage or so:\n{}",
        server.log()
    );
}

#[test]
fn acknowledged_heartbeats_survive_the_killing_of_an_instance() {
    let (database, redis) = (Database::new(), RedisServer::start());
    let mut server =
        FleetbeatServer::start_on_mongodb(&database, &database.url, &redis.url(), "");
    let acknowledged: Mutex<BTreeMap<String, f64>> = Mutex::default();
    for round in 0..5 {
        let address = server.address();
        thread::scope(|scope| {
            for sender in 0..8 {
                let acknowledged = &acknowledged;
                scope.spawn(move || {
                    let ip = format!("10.{round}.0.{sender}");
                    let mut body = heartbeat(&ip);
                    for n in 1.. {
                        body["metrics"] = json!({"n": n});
                        let headers = [("X-API-Key", AGENT_KEY)];
                        let answer = client::request(
                            address,
                            "POST",
                            "/heartbeat",
                            &headers,
                            body.to_string().as_bytes(),
                        );
                        // A 503 is a server that is about to be gone, and acknowledges
                        // nothing.
                        if answer.is_err() {
                            return;
                        }
                        if answer.is_ok_and(|answer| answer.status != 200) {
                            continue;
                        }
                        acknowledged
                            .lock()
                            .unwrap()
                            .insert(ip.clone(), f64::from(n));
                    }
                });
            }
            wait_for("acknowledgements", || {
                (acknowledged.lock().unwrap().len() == 8 * (round + 1)).then_some(())
            });
            server.kill();
        });
        server.restart();
    }

    for (ip, n) in acknowledged.into_inner().unwrap() {
        let stored = document(&database, &ip)
            .get_document("metrics")
            .unwrap()
            .get_f64("n")
            .unwrap();
        assert!(
            stored >= n,
            "{ip}: {n} was acknowledged, {stored} is stored"
        );
    }
}

#[test]
fn of_two_instances_one_sweeps_and_the_other_takes_over() {
    let (database, redis) = (Database::new(), RedisServer::start());
    let settings = "[sweep]\ninterval = \"1s\"\ndown_after = \"3s\"\n";
    let start = || {
        FleetbeatServer::start_on_mongodb(
            &database,
            &database.url,
            &redis.url(),
            settings,
        )
    };
    let (first, second) = (start(), start());
    let token = second.admin_token();
    let swept = |server: &FleetbeatServer| -> usize {
        let log = server.log();
        let counts = log.lines().filter_map(|line| {
            line.split_once("sweep: ")?
                .1
                .split(' ')
                .next()?
                .parse::<usize>()
                .ok()
        });
        counts.sum()
    };
    let all = |server: &FleetbeatServer, status: &str| {
        wait_for(status, || {
            let shown = server.servers(&token);
            (shown
                .iter()
                .filter(|server| server["status"] == status)
                .count()
                == 20)
                .then_some(())
        });
    };
    for n in 1..=20 {
        let server = if n % 2 == 0 { &first } else { &second };
        assert_eq!(
            server.heartbeat(&heartbeat(&format!("10.0.0.{n}"))).status,
            200
        );
    }
    all(&first, "down");
    all(&second, "down");
    assert_eq!(
        swept(&first) + swept(&second),
        20,
        "each once:\n{}\n{}",
        first.log(),
        second.log()
    );

    // The instance that swept is killed.
    let (mut holder, other) = if swept(&first) > 0 {
        (first, second)
    } else {
        (second, first)
    };
    holder.kill();
    for n in 1..=20 {
        assert_eq!(
            other.heartbeat(&heartbeat(&format!("10.0.0.{n}"))).status,
            200
        );
    }
    all(&other, "active");
    all(&other, "down");
    assert_eq!(swept(&other), 20);
}

#[test]
fn a_change_on_one_instance_is_seen_on_the_other_within_two_seconds() {
    let database = Database::new();
    let start = || FleetbeatServer::start_on_mongodb(&database, &database.url, "", "");
    let (first, second) = (start(), start());
    let token = first.admin_token();
    first.heartbeat(&heartbeat("10.0.0.1"));
    wait_for("the host on the other instance", || {
        second.servers(&token).first().map(|_| ())
    });
    let seen_soon = |what: &str, is_seen: &dyn Fn(&[Value]) -> bool| {
        let changed = Instant::now();
        wait_for(what, || is_seen(&second.servers(&token)).then_some(()));
        let took = changed.elapsed();
        assert!(took < Duration::from_secs(2), "{what}: {took:?}");
    };

    for round in 0..6 {
        let value = round % 2 == 0;
        let patch = json!({"gaming": value});
        let target = "/server/10.0.0.1/config";
        assert_eq!(first.api(&token, "PATCH", target, Some(&patch)).status, 200);
        seen_soon("the flag", &|servers| servers[0]["gaming"] == value);
    }
    first.heartbeat(&heartbeat("10.0.0.2"));
    seen_soon("the new host", &|servers| servers.len() == 2);
    let removed = first.api(&token, "DELETE", "/server/10.0.0.1", None);
    assert_eq!(removed.status, 204);
    seen_soon("the removal", &|servers| servers.len() == 1);
}

#[test]
fn a_redis_that_takes_no_writes_is_not_relied_on() {
    let (database, redis) = (Database::new(), RedisServer::start());
    let start =
        || FleetbeatServer::start_on_mongodb(&database, &database.url, &redis.url(), "");
    let (first, second) = (start(), start());
    let token = first.admin_token();
    first.heartbeat(&heartbeat("10.0.0.1"));
    wait_for("the host on the other instance", || {
        second.servers(&token).first().map(|_| ())
    });

    let mut value = false;
    let mut change_is_seen_with = |words: &[&str]| {
        value = !value;
        let patch = json!({"gaming": value});
        let target = "/server/10.0.0.1/config";
        assert_eq!(first.api(&token, "PATCH", target, Some(&patch)).status, 200);
        let changed = Instant::now();
        for server in [&first, &second] {
            wait_for("the change to be seen", || {
                (server.servers(&token)[0]["gaming"] == value).then_some(())
            });
        }
        let seen = changed.elapsed();
        assert!(seen < Duration::from_secs(5), "{words:?}: {seen:?}");
        for server in [&first, &second] {
            wait_for("readyz to tell", || {
                let _ = server.servers(&token);
                let ready = server.request("GET", "/readyz", &[], b"");
                assert_eq!(ready.status, 200);
                let shown = ready.json()["cache"]["status"].clone();
                words.iter().any(|word| shown == *word).then_some(())
            });
        }
    };

    let mut connection = redis.connect();
    let mut command = |words: &[&str]| {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]).exec(&mut connection).unwrap();
    };
    change_is_seen_with(&["ok"]);
    // Demoted: it answers with what it has, and takes no writes.
    command(&["REPLICAOF", "127.0.0.1", "1"]);
    change_is_seen_with(&["read-only"]);
    command(&["REPLICAOF", "NO", "ONE"]);
    change_is_seen_with(&["ok"]);
    // Full: Redis may close connections, too.
    command(&["CONFIG", "SET", "maxmemory", "1"]);
    change_is_seen_with(&["read-only", "unreachable"]);
    command(&["CONFIG", "SET", "maxmemory", "0"]);
    change_is_seen_with(&["ok"]);

    let told = second.log().matches("Redis takes no writes").count();
    assert!((1..=4).contains(&told), "{told} times\n{}", second.log());
}

#[test]
fn damaged_records_are_shown_as_far_as_they_can_be_read() {
    let (database, redis) = (Database::new(), RedisServer::start());
    let collection = database.connect().collection::<Document>("servers");
    let damaged = [
        doc! {"ip": "10.0.0.1", "server_id": 7, "hostname": ["x"], "load": "high", "services": [1, {"name": "wg"}], "metrics": 3},
        doc! {"ip": "10.0.0.2", "server_id": "srv-1", "status": 9, "last_heartbeat": "yesterday", "gaming": "yes"},
        doc! {"ip": "10.0.0.4", "server_id": 8, "rev": null},
        doc! {"ip": "10.0.0.5", "rev": 7.0, "gaming": true},
        doc! {"ip": "10.0.0.6"},
        doc! {"ip": 5, "server_id": "srv-2"},
        doc! {"ip": 6},
        doc! {"server_id": "srv-3"},
        doc! {"server_id": "srv-4"},
    ];
    // As another program might write them, before any index is there.
    collection.insert_many(damaged).run().unwrap();
    let server =
        FleetbeatServer::start_on_mongodb(&database, &database.url, &redis.url(), "");
    let token = server.admin_token();
    server.heartbeat(&heartbeat("10.0.0.3"));
    let shown = wait_for("the list", || {
        Some(server.servers(&token)).filter(|shown| shown.len() == 6)
    });
    assert_eq!(
        shown[0]["services"],
        json!([{"name": "wg", "active": false}])
    );
    assert_eq!(
        (&shown[1]["status"], &shown[1]["gaming"]),
        (&json!("down"), &json!(false))
    );
    assert!(
        server.log().contains("without an address"),
        "{}",
        server.log()
    );
    thread::scope(|scope| {
        for n in 1..=6 {
            let server = &server;
            let beat =
                move || server.heartbeat(&heartbeat(&format!("10.0.0.{n}"))).status;
            scope.spawn(move || assert_eq!(beat(), 200, "a heartbeat mends 10.0.0.{n}"));
        }
    });
    assert!(document(&database, "10.0.0.4").get_i64("rev").unwrap() > 0);
    assert!(document(&database, "10.0.0.5").get_bool("gaming").unwrap());
    wait_for("the mended record", || {
        (server.servers(&token)[0]["hostname"] == "vpn-de-01").then_some(())
    });
}

#[test]
fn settings_that_can_never_work_are_named_without_their_passwords() {
    let database = Database::new();
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("server.toml");
    std::fs::write(
        &config,
        "listen = \"127.0.0.1:0\"\n[storage]\nbackend = \"mongodb\"\n",
    )
    .unwrap();

    let keys = [
        ("AGENT_API_KEY", "key"),
        ("SECRET_KEY", "a secret key of at least 32 bytes!"),
    ];
    let refuse = |environment: &[(&str, &str)]| {
        let mut command = process::program("fleetbeat-server");
        command
            .args(["-c".as_ref(), config.as_os_str()])
            .envs(environment.iter().copied());
        let output = command.output().unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };

    let redis_with_password = RedisServer::start();
    redis::cmd("CONFIG")
        .arg(&["SET", "requirepass", "hunter2"])
        .exec(&mut redis_with_password.connect())
        .unwrap();
    let wrong_login = redis_with_password
        .url()
        .replace("redis://", "redis://:hunter3@");
    for (mongodb, redis, named) in [
        ("http://user:hunter3@127.0.0.1", "", "mongodb.url"),
        ("mongodb://user:hunter3@127.0.0.1:port", "", "mongodb.url"),
        (
            database.url.as_str(),
            "http://:hunter3@127.0.0.1",
            "redis.url",
        ),
        (database.url.as_str(), wrong_login.as_str(), "redis.url"),
    ] {
        let mut environment = keys.to_vec();
        environment.push(("MONGODB_URL", mongodb));
        environment.extend((!redis.is_empty()).then_some(("REDIS_URL", redis)));
        let (code, told) = refuse(&environment);
        assert_eq!(code, Some(78), "{mongodb} {redis}: {told}");
        assert!(
            told.lines().last().unwrap().contains(named) && !told.contains("hunter3"),
            "{told}"
        );
    }

    let (code, told) = refuse(&[("MONGODB_URL", &database.url)]);
    assert_eq!(code, Some(78));
    assert!(
        told.contains("AGENT_API_KEY") && told.contains("SECRET_KEY"),
        "{told}"
    );
}
