//! `GET /metrics`: who may read it, that it tells what happens, and that no peer can make
//! it grow.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use fleetbeat_tools::client::{self, Answer, read_answer};
use fleetbeat_tools::nginx::{Nginx, free_address};
use fleetbeat_tools::proxy::{Mode, Proxy};
use fleetbeat_tools::redis_server::RedisServer;
use fleetbeat_tools::server::{AGENT_KEY, Database, FleetbeatServer};
use fleetbeat_tools::wait::wait_for;
use serde_json::{Value, json};

use crate::nginx::site_of;

const HEARTBEAT: &str = include_str!("../../protocol/golden/heartbeat-minimal.json");

/// A request as it stands, with these header lines.
fn raw(method: &str, target: &str, headers: &str) -> Vec<u8> {
    format!("{method} {target} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n")
        .into_bytes()
}

/// The answer to a GET with these header lines.
fn get(address: SocketAddr, target: &str, headers: &str) -> Answer {
    client::exchange(address, &raw("GET", target, headers)).unwrap()
}

/// What a program of the server's own machine reads, a sample a line.
pub(crate) fn metrics(server: &FleetbeatServer) -> String {
    let answer = get(server.address(), "/metrics", "Host: localhost\r\n");
    assert_eq!(answer.status, 200, "{answer:?}");
    String::from_utf8(answer.body).unwrap()
}

/// The samples by name and labels, as they are written.
pub(crate) fn samples(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let pairs = lines.map(|line| line.rsplit_once(' ').unwrap());
    pairs
        .map(|(series, value)| (series.to_owned(), value.parse().unwrap()))
        .collect()
}

fn heartbeat(ip: &str) -> Value {
    let mut body: Value = serde_json::from_str(HEARTBEAT).unwrap();
    body["ip"] = ip.into();
    body
}

#[test]
fn programs_of_this_machine_need_no_token_and_nobody_passes_for_one() {
    let server = FleetbeatServer::start();
    let status = |target: &str, headers: &str| {
        let answer = get(server.address(), target, headers);
        if answer.status == 401 {
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        }
        answer.status
    };
    let port = server.address().port();
    for host in ["localhost", "LOCALHOST:1", "127.0.0.1", "[::1]:80"] {
        assert_eq!(
            status("/metrics", &format!("Host: {host}\r\n")),
            200,
            "{host}"
        );
    }
    let own = format!("Host: 127.0.0.1:{port}\r\n");
    assert_eq!(status("/metrics", &own), 200);

    for host in ["fleet.example.com", "127.0.0.1.example.com", "10.0.0.1", ""] {
        assert_eq!(
            status("/metrics", &format!("Host: {host}\r\n")),
            401,
            "{host}"
        );
    }
    for field in [
        "X-Forwarded-For: 127.0.0.1",
        "X-Forwarded-For: ::1",
        "X-Forwarded-For: 203.0.113.7",
        "X-Forwarded-For:",
        "x-forwarded-for: localhost",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: localhost",
        "X-Real-IP: 127.0.0.1",
        "Forwarded: for=127.0.0.1",
        "Via: 1.1 proxy",
        "CF-Connecting-IP: 127.0.0.1",
        // Who sends a token is judged by the token.
        "Authorization: Bearer x.y.z",
        "Authorization: Basic YTpi",
        "Authorization:",
    ] {
        assert_eq!(
            status("/metrics", &format!("{own}{field}\r\n")),
            401,
            "{field}"
        );
    }
    let http_1_0 = b"GET /metrics HTTP/1.0\r\n\r\n";
    assert_eq!(
        client::exchange(server.address(), http_1_0).unwrap().status,
        401
    );

    for target in ["/servers", "/me", "/server/1.2.3.4", "/sd/prometheus"] {
        assert_eq!(status(target, &own), 401, "{target}");
    }
    assert_eq!(status("/metrics/", &own), 404);
    let post = client::exchange(server.address(), &raw("POST", "/metrics", &own));
    assert_eq!(post.unwrap().status, 405);
}

#[test]
fn every_user_reads_metrics_from_anywhere() {
    let server = FleetbeatServer::start();
    server.add_user("reader", "readonly", "password of reader");
    let token = server.token("reader", "password of reader");
    let authorization = format!("Bearer {token}");
    let headers = [
        ("Authorization", authorization.as_str()),
        ("X-Forwarded-For", "203.0.113.7"),
    ];
    let plain = server.request("GET", "/metrics", &headers, b"");
    assert_eq!(plain.status, 200);
    assert_eq!(
        plain.header("content-type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    assert_eq!(plain.header("cache-control"), Some("no-store"));
    assert!(plain.body.ends_with(b"\n"));

    let with_gzip = [headers[0], ("Accept-Encoding", "gzip")];
    let gzip = server.request("GET", "/metrics", &with_gzip, b"");
    assert_eq!(gzip.header("content-encoding"), Some("gzip"));
    let mut unpacked = String::new();
    flate2::read::GzDecoder::new(gzip.body.as_slice())
        .read_to_string(&mut unpacked)
        .unwrap();
    assert!(samples(&unpacked).len() >= samples_of(&plain).len());

    let own = format!("Host: x\r\nAuthorization: {authorization}\r\n");
    let mut stream = client::connect(server.address()).unwrap();
    stream.write_all(&raw("HEAD", "/metrics", &own)).unwrap();
    let mut head = String::new();
    stream.read_to_string(&mut head).unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.ends_with("\r\n\r\n"));
}

fn samples_of(answer: &Answer) -> BTreeMap<String, f64> {
    samples(std::str::from_utf8(&answer.body).unwrap())
}

#[test]
fn a_proxys_address_and_a_unix_socket_are_never_local() {
    let trusting = FleetbeatServer::start_with("trusted_proxies = [\"127.0.0.1\"]", &[]);
    for headers in [
        "Host: localhost\r\n",
        "Host: localhost\r\nX-Forwarded-For: 127.0.0.1\r\n",
        "Host: localhost\r\nX-Forwarded-For: 203.0.113.7\r\n",
    ] {
        let answer = get(trusting.address(), "/metrics", headers);
        assert_eq!(answer.status, 401, "{headers}");
    }

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("http.sock");
    let listen = format!("unix:{}", path.display());
    let _server = FleetbeatServer::start_with("", &[("FLEETBEAT_LISTEN", &listen)]);
    let mut stream = UnixStream::connect(&path).unwrap();
    stream
        .write_all(&raw("GET", "/metrics", "Host: localhost\r\n"))
        .unwrap();
    assert_eq!(read_answer(&mut stream).unwrap().status, 401);
}

#[test]
fn nobody_is_local_through_nginx() {
    let trusting =
        FleetbeatServer::start_with("trusted_proxies = [\"127.0.0.1\"]\n", &[]);
    let ours = free_address();
    let listen = ours.to_string();
    let site = site_of(&trusting, &["--plain", "--listen", &listen]);
    let nginx = Nginx::start(&site, ours);
    let target = "Host: localhost\r\n";
    assert_eq!(get(ours, "/metrics", target).status, 401);
    let token = trusting.admin_token();
    let with_token = format!("{target}Authorization: Bearer {token}\r\n");
    assert_eq!(get(ours, "/metrics", &with_token).status, 200);
    nginx.stop();

    // Before a server that does not know of its proxy, one line of the site is enough.
    let server = FleetbeatServer::start();
    let upstream = server.address();
    for line in [
        "proxy_set_header X-Forwarded-For $remote_addr;",
        "proxy_set_header X-Real-IP $remote_addr;",
        "proxy_set_header Host fleet.example.com;",
    ] {
        let address = free_address();
        let site = format!(
            "server {{ listen {address}; location / {{ proxy_pass http://{upstream}; {line} }} }}"
        );
        let nginx = Nginx::start(&site, address);
        assert_eq!(get(address, "/metrics", target).status, 401, "{line}");
        nginx.stop();
    }
}

#[test]
fn what_happens_is_counted() {
    let settings = "[sweep]\ninterval = \"1s\"\ndown_after = \"1s\"";
    let server = FleetbeatServer::start_with(settings, &[]);
    let token = server.admin_token();
    for ip in ["10.0.0.1", "10.0.0.2", "10.0.0.1"] {
        assert_eq!(server.heartbeat(&heartbeat(ip)).status, 200);
    }
    let mut spooled = heartbeat("10.0.0.1");
    spooled["collected_at"] = "2026-01-01T00:00:00Z".into();
    let batch = json!([spooled, {"ip": 1}, heartbeat("10.0.0.1")]).to_string();
    // The second is no heartbeat, and the third does not say when it was made.
    let answer = server.post_heartbeat("/heartbeats", batch.as_bytes());
    assert_eq!(answer.json()["accepted"], 1, "{answer:?}");

    assert_eq!(server.heartbeat(&json!({})).status, 422);
    assert_eq!(server.post_heartbeat("/heartbeat", b"{").status, 400);
    let key = [("X-API-Key", "another key than ours")];
    let refused = server.request("POST", "/heartbeat", &key, HEARTBEAT.as_bytes());
    assert_eq!(refused.status, 401);
    for _ in 0..6 {
        let body = b"username=admin&password=wrong+password";
        server.request("POST", "/token", &[], body);
    }
    let disable = json!({"enabled": false});
    server.api(&token, "PATCH", "/server/10.0.0.2/config", Some(&disable));
    server.api(&token, "GET", "/server/10.9.9.9", None);

    let found = samples(&metrics(&server));
    for (series, value) in [
        ("fleetbeat_heartbeats_total{result=\"stored\"}", 4.0),
        ("fleetbeat_heartbeats_total{result=\"invalid\"}", 4.0),
        ("fleetbeat_heartbeats_total{result=\"unauthorized\"}", 1.0),
        ("fleetbeat_heartbeats_total{result=\"overloaded\"}", 0.0),
        ("fleetbeat_heartbeats_total{result=\"failed\"}", 0.0),
        ("fleetbeat_commits_total{result=\"stored\"}", 4.0),
        ("fleetbeat_commits_total{result=\"failed\"}", 0.0),
        ("fleetbeat_commit_heartbeats_sum", 4.0),
        ("fleetbeat_commit_heartbeats_count", 4.0),
        ("fleetbeat_commit_duration_seconds_count", 4.0),
        ("fleetbeat_logins_total{result=\"ok\"}", 1.0),
        ("fleetbeat_logins_total{result=\"wrong\"}", 5.0),
        ("fleetbeat_logins_total{result=\"limited\"}", 1.0),
        ("fleetbeat_store_errors_total{operation=\"record\"}", 0.0),
        ("fleetbeat_store_up", 1.0),
        ("fleetbeat_ingest_queue_heartbeats", 0.0),
        ("fleetbeat_ingest_queue_bytes", 0.0),
    ] {
        assert_eq!(found.get(series), Some(&value), "{series}\n{found:#?}");
    }
    let request = |method: &str, route: &str, code: &str| {
        let labels = format!("{{code=\"{code}\",method=\"{method}\",route=\"{route}\"}}");
        found
            .get(&format!("fleetbeat_http_requests_total{labels}"))
            .copied()
    };
    assert_eq!(request("POST", "/heartbeat", "200"), Some(3.0));
    assert_eq!(request("POST", "/heartbeat", "422"), Some(1.0));
    assert_eq!(request("POST", "/heartbeats", "200"), Some(1.0));
    assert_eq!(request("POST", "/token", "429"), Some(1.0));
    assert_eq!(request("PATCH", "/server/{ip}/config", "200"), Some(1.0));
    assert_eq!(request("GET", "/server/{ip}", "404"), Some(1.0));
    let durations = "fleetbeat_http_request_duration_seconds_count";
    let series = format!("{durations}{{method=\"POST\",route=\"/heartbeat\"}}");
    assert_eq!(found.get(&series), Some(&6.0));

    assert!(found["fleetbeat_snapshot_age_seconds"] < 5.0);
    assert!(found["process_resident_memory_bytes"] > 1e6);
    assert!(
        !found.contains_key("fleetbeat_lease_held"),
        "there is nothing to share"
    );
    assert!(!found.contains_key("fleetbeat_cache_up"));

    wait_for("the sweep", || {
        let found = samples(&metrics(&server));
        let down = "fleetbeat_servers{enabled=\"true\",status=\"down\"}";
        let disabled = "fleetbeat_servers{enabled=\"false\",status=\"down\"}";
        let swept = found["fleetbeat_sweep_last_success_timestamp_seconds"];
        (found["fleetbeat_sweep_marked_down_total"] >= 2.0
            && swept > found["process_start_time_seconds"]
            && (found[down], found[disabled]) == (1.0, 1.0))
            .then_some(())
    });
}

#[test]
fn the_watch_tells_when_it_has_looked() {
    let server = FleetbeatServer::start();
    wait_for("the first look, after ten seconds", || {
        let found = samples(&metrics(&server));
        let looked = found["fleetbeat_watch_last_success_timestamp_seconds"];
        (looked > found["process_start_time_seconds"]).then_some(())
    });
}

#[test]
fn no_peer_can_make_a_series() {
    const MARK: &str = "hostile";
    let server = FleetbeatServer::start();
    let token = server.admin_token();
    let authorization = format!("Host: x\r\nAuthorization: Bearer {token}\r\n");
    let attack = |from: usize| {
        for n in from..from + 400 {
            let mark = format!("{MARK}{n}");
            let requests = [
                raw("GET", &format!("/{mark}"), "Host: x\r\n"),
                raw("GET", &format!("/server/{mark}"), &authorization),
                raw("GET", &format!("/servers?{mark}={n}"), &authorization),
                raw(
                    "GET",
                    &format!("/server/%0a{mark}%22%7d/config"),
                    "Host: x\r\n",
                ),
                raw(&mark.to_uppercase(), "/servers", "Host: x\r\n"),
                raw("DELETE", "/heartbeat", "Host: x\r\n"),
                raw("PUT", &format!("/metrics/{mark}"), "Host: x\r\n"),
                raw("GET", "/metrics", &format!("Host: {mark}\r\n")),
                raw("GET", &format!("/%ff{mark}"), "Host: x\r\n"),
                raw("GET", "/", &format!("Host: x\r\n{mark} : y\r\n")),
                format!("GET /{mark} HTTP/1.{n}\r\nHost: x\r\n\r\n").into_bytes(),
                raw("POST", "/token", "Host: x\r\nExpect: a\r\n"),
            ];
            for request in requests {
                let answer = client::exchange(server.address(), &request).unwrap();
                assert!((400..=505).contains(&answer.status), "{answer:?}");
            }
        }
    };

    metrics(&server);
    attack(0);
    let first = metrics(&server);
    attack(400);
    let second = metrics(&server);
    let names = |text: &str| samples(text).into_keys().collect::<BTreeSet<_>>();
    let (before, after) = (names(&first), names(&second));
    let new: Vec<_> = after.difference(&before).collect();
    assert!(new.is_empty(), "more requests, and more series: {new:?}");
    for text in [&first, &second] {
        assert!(!text.to_lowercase().contains(MARK), "{text}");
    }
    assert!(after.len() < 400, "{}", after.len());

    let counted = samples(&second);
    let unknown = counted.iter().filter(|(series, _)| {
        series.starts_with("fleetbeat_http_requests_total")
            && series.contains("route=\"unknown\"")
    });
    let sum: f64 = unknown.map(|(_, count)| count).sum();
    assert!(
        sum >= 800.0 * 8.0,
        "what is not a route is counted, too: {sum}"
    );
}

#[test]
fn a_full_disk_is_seen() {
    let server = FleetbeatServer::start_on_small_disk("1m");
    let beat = |n: usize| {
        let mut body = heartbeat(&format!("10.0.{}.{}", n / 250, n % 250 + 1));
        body["metrics"] = (0..60)
            .map(|m| (format!("metric {m} {}", "x".repeat(50)), Value::from(m)))
            .collect();
        server.heartbeat(&body).status
    };
    let stored = (0..2000).take_while(|n| beat(*n) == 200).count();
    assert_eq!(beat(1999), 500);

    let found = samples(&metrics(&server));
    assert_eq!(
        found["fleetbeat_heartbeats_total{result=\"stored\"}"],
        stored as f64
    );
    assert_eq!(found["fleetbeat_heartbeats_total{result=\"failed\"}"], 2.0);
    assert_eq!(found["fleetbeat_commits_total{result=\"failed\"}"], 2.0);
    assert_eq!(
        found["fleetbeat_store_errors_total{operation=\"record\"}"],
        2.0
    );
    assert_eq!(found["fleetbeat_store_up"], 1.0, "reading goes on");
    let request = "fleetbeat_http_requests_total{code=\"500\",method=\"POST\",route=\"/heartbeat\"}";
    assert_eq!(found[request], 2.0);

    let filler = server.data().join("filler");
    let outside = format!("/proc/{}/root{}", server.pid(), filler.display());
    fs::remove_file(PathBuf::from(outside)).unwrap();
}

#[test]
fn databases_that_go_away_are_seen_and_targets_are_kept() {
    let (database, mut redis) = (Database::new(), RedisServer::start());
    let host = database.url.split("://").nth(1).unwrap();
    let host = host.split('/').next().unwrap();
    let host = host.rsplit('@').next().unwrap();
    let proxy = Proxy::start(host.parse().unwrap());
    let url = database.url.replace(host, &proxy.address().to_string());
    let url = match url.split_once('?') {
        Some(_) => format!("{url}&directConnection=true"),
        None => format!("{}/?directConnection=true", url.trim_end_matches('/')),
    };
    // Time enough to go away and come back: nobody is called silent.
    let settings = "[sweep]\ninterval = \"1s\"\ndown_after = \"3s\"";
    let start =
        || FleetbeatServer::start_on_mongodb(&database, &url, &redis.url(), settings);
    let (first, second) = (start(), start());
    let token = first.admin_token();
    assert_eq!(first.heartbeat(&heartbeat("10.0.0.1")).status, 200);
    let read = |server| samples(&metrics(server));
    let targets = || first.api(&token, "GET", "/sd/prometheus", None);

    let shares = || {
        [&first, &second].map(|server| {
            let found = read(server);
            let swept = found["fleetbeat_sweep_last_success_timestamp_seconds"];
            (swept > 0.0, found["fleetbeat_lease_held"])
        })
    };
    wait_for("one of two to sweep", || {
        shares().contains(&(true, 1.0)).then_some(())
    });
    assert!(shares().contains(&(false, 0.0)), "the other one does not");
    let found = read(&first);
    assert_eq!(found["fleetbeat_cache_up"], 1.0);
    assert_eq!(found["fleetbeat_store_up"], 1.0);
    assert_eq!(targets().json()[0]["targets"], json!(["10.0.0.1:9100"]));

    redis.stop();
    wait_for("Redis to be missed", || {
        first.heartbeat(&heartbeat("10.0.0.1"));
        let found = read(&first);
        (found["fleetbeat_cache_up"] == 0.0
            && found["fleetbeat_cache_errors_total"] > 0.0)
            .then_some(())
    });

    proxy.set(Mode::Refuse);
    let refused = wait_for("MongoDB to be missed", || {
        let answer = targets();
        (answer.status == 503).then_some(answer)
    });
    assert!(refused.header("retry-after").is_some());
    assert!(
        refused.json()["detail"]
            .as_str()
            .unwrap()
            .contains("not known")
    );
    wait_for("the list to grow old", || {
        let found = read(&first);
        let failed = found["fleetbeat_store_errors_total{operation=\"ping\"}"];
        (found["fleetbeat_store_up"] == 0.0
            && failed > 0.0
            && found["fleetbeat_snapshot_age_seconds"] > 2.0)
            .then_some(())
    });
    assert_eq!(targets().status, 503, "and never an empty list");

    proxy.set(Mode::Forward);
    wait_for("MongoDB to be back", || {
        let found = read(&first);
        (found["fleetbeat_store_up"] == 1.0
            && found["fleetbeat_snapshot_age_seconds"] < 2.0)
            .then_some(())
    });
    let back = wait_for("the targets", || {
        let answer = targets();
        (answer.status == 200).then_some(answer)
    });
    assert_eq!(back.json().as_array().unwrap().len(), 1);
}

#[test]
fn targets_are_all_hosts_that_the_query_means() {
    let settings = "[sweep]\ninterval = \"1s\"\ndown_after = \"1s\"";
    let server = FleetbeatServer::start_with(settings, &[]);
    server.add_user("reader", "readonly", "password of reader");
    let token = server.token("reader", "password of reader");
    let get = |query: &str| {
        let target = format!("/sd/prometheus{query}");
        server.api(&token, "GET", &target, None)
    };
    let empty = get("?port=9100");
    assert_eq!(
        (empty.status, empty.json()),
        (200, json!([])),
        "a fleet of nobody"
    );
    assert_eq!(empty.header("content-type"), Some("application/json"));

    let mut austrian = heartbeat("2001:db8::7");
    austrian["hostname"] = "ü\"\\host".into();
    austrian["country"] = "Austria".into();
    austrian["countryCode"] = "AT".into();
    server.heartbeat(&heartbeat("10.0.0.1"));
    server.heartbeat(&austrian);
    let admin = server.admin_token();
    let disable = json!({"enabled": false});
    server.api(&admin, "PATCH", "/server/10.0.0.1/config", Some(&disable));

    // A second later both are down, and nobody is forgotten.
    let all = wait_for("both to be down", || {
        let list = get("?port=8080").json();
        let list = list.as_array().unwrap().clone();
        let is_down =
            |target: &Value| target["labels"]["__meta_fleetbeat_status"] == "down";
        (list.len() == 2 && list.iter().all(is_down)).then_some(list)
    });
    let addresses: Vec<_> = all.iter().map(|target| &target["targets"]).collect();
    assert_eq!(
        addresses,
        [&json!(["10.0.0.1:8080"]), &json!(["[2001:db8::7]:8080"])]
    );
    assert_eq!(all[0]["labels"]["__meta_fleetbeat_flag_enabled"], "false");
    assert_eq!(all[1]["labels"]["__meta_fleetbeat_hostname"], "ü\"\\host");
    assert!(
        all[1]["labels"]["__meta_fleetbeat_server_id"]
            .as_str()
            .unwrap()
            .starts_with("srv-")
    );

    let count = |query: &str| get(query).json().as_array().unwrap().len();
    assert_eq!(count(""), 2);
    assert_eq!(count("?country=at"), 1);
    assert_eq!(count("?country=Austria&port=1&service=wg"), 1);
    assert_eq!(count("?service=none"), 0);
    assert_eq!(count("?select=country+in+(AT,+DE)+and+status+=+down"), 2);
    assert_eq!(count("?select=ip+=+2001:DB8:0::7&country=at"), 1);
    assert_eq!(count("?select=not+enabled"), 1);
    for (query, field) in [
        ("?port=0", "port"),
        ("?port=65536", "port"),
        ("?port=x", "port"),
        ("?port=", "port"),
        ("?port=1&port=2", "port"),
        ("?country=", "country"),
        ("?service=", "service"),
        ("?select=", "select"),
        ("?select=gaming+paid", "select"),
        ("?selector=all", "selector"),
    ] {
        let answer = get(query);
        assert_eq!(answer.status, 422, "{query}");
        assert_eq!(answer.json()["errors"][0]["field"], field, "{query}");
    }
    let agent = [("X-API-Key", AGENT_KEY)];
    assert_eq!(
        server.request("GET", "/sd/prometheus", &agent, b"").status,
        401
    );
}
