//! What has happened: who sees which events, and that each is there once.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use fleetbeat_tools::server::{ADMIN_PASSWORD, AGENT_KEY, FleetbeatServer, SECRET_KEY};
use fleetbeat_tools::wait::wait_for;
use serde_json::{Value, json};

fn heartbeat(ip: &str, hostname: &str, runs: bool) -> Value {
    let mut body: Value = serde_json::from_str(include_str!(
        "../../protocol/golden/heartbeat-minimal.json"
    ))
    .unwrap();
    body["ip"] = ip.into();
    body["hostname"] = hostname.into();
    body["services"] = json!([{"name": "wg", "active": runs}]);
    body
}

fn events(server: &FleetbeatServer, token: &str, query: &str) -> Vec<Value> {
    let answer = server.api(token, "GET", &format!("/events?{query}"), None);
    assert_eq!(answer.status, 200, "{query}: {:?}", answer.json());
    answer.json()["events"].as_array().unwrap().clone()
}

/// Every event, the oldest first.
fn all(server: &FleetbeatServer, token: &str) -> Vec<Value> {
    let mut all = Vec::new();
    let mut after = "0".to_owned();
    loop {
        let target = format!("/events?after={after}&limit=7");
        let page = server.api(token, "GET", &target, None).json();
        all.extend(page["events"].as_array().unwrap().clone());
        page["cursor"].as_str().unwrap().clone_into(&mut after);
        if page["more"] == false {
            return all;
        }
    }
}

fn kinds(events: &[Value]) -> Vec<&str> {
    let kinds = events.iter().map(|event| event["kind"].as_str().unwrap());
    kinds.collect()
}

#[test]
fn events_are_told_to_those_who_may_see_them() {
    const TYPED: &str = "my-password-in-the-wrong-field";
    const HOSTNAME: &str = "<img src=x onerror=alert(1)>\u{1b}[2J";
    let mut server = FleetbeatServer::start();
    server.add_user("reader", "readonly", "password of reader");
    let root = server.admin_token();
    let reader = server.token("reader", "password of reader");
    assert_eq!(
        server
            .heartbeat(&heartbeat("10.0.0.1", HOSTNAME, true))
            .status,
        200
    );
    let patch = json!({"paid": true});
    let set = server.api(&root, "PATCH", "/server/10.0.0.1/config", Some(&patch));
    assert_eq!(set.status, 200);
    for (user, password) in [("reader", "wrong secret"), (TYPED, "wrong secret")] {
        let body = format!("username={user}&password={password}");
        let form = [("Content-Type", "application/x-www-form-urlencoded")];
        assert_eq!(
            server
                .request("POST", "/token", &form, body.as_bytes())
                .status,
            401
        );
    }
    wait_for("the host to be told", || {
        let told = events(&server, &reader, "kind=host.new");
        (!told.is_empty()).then_some(())
    });
    server.stop();
    server.restart();

    let seen_by_root = all(&server, &root);
    let kinds_of_root = kinds(&seen_by_root);
    for kind in [
        "user.created",
        "login.ok",
        "login.failed",
        "host.new",
        "flag.changed",
        "server.started",
        "server.stopped",
    ] {
        assert!(kinds_of_root.contains(&kind), "{kind} in {kinds_of_root:?}");
    }
    let seen_by_reader = all(&server, &reader);
    let hidden = |kind: &&str| kind.starts_with("user.") || kind.starts_with("login.");
    let visible: Vec<&str> = kinds_of_root
        .iter()
        .filter(|kind| !hidden(kind))
        .copied()
        .collect();
    assert_eq!(kinds(&seen_by_reader), visible);
    assert_eq!(events(&server, &reader, "kind=login.*"), [Value::Null; 0]);
    assert_eq!(events(&server, &reader, "user=reader"), [Value::Null; 0]);

    let flag = &events(&server, &root, "kind=flag.*")[0];
    assert_eq!(
        flag["data"],
        json!({"flag": "paid", "from": false, "to": true})
    );
    let by = json!({"user": "admin", "address": "127.0.0.1"});
    assert_eq!((&flag["actor"], &flag["ip"]), (&by, &json!("10.0.0.1")));
    assert_eq!(flag["hostname"], HOSTNAME, "as text");
    let to_reader = &events(&server, &reader, "ip=10.0.0.1&kind=flag.changed")[0];
    assert_eq!(to_reader["actor"], json!({"user": "admin"}));
    let id = flag["server_id"].as_str().unwrap();
    let of_host = events(&server, &root, &format!("ip={id}"));
    assert_eq!(kinds(&of_host), ["host.new", "flag.changed"]);
    let of_reader = events(&server, &root, "user=reader");
    assert_eq!(
        kinds(&of_reader),
        ["login.failed", "login.ok", "user.created"]
    );
    assert_eq!(
        of_reader[0]["data"],
        json!({"count": 1, "network": "127.0.0.1", "reason": "password"})
    );
    assert!(
        of_reader[2]["actor"]["program"]
            .as_str()
            .unwrap()
            .contains("command line")
    );

    let text = serde_json::to_string(&seen_by_root).unwrap();
    let secrets = [
        ADMIN_PASSWORD,
        AGENT_KEY,
        SECRET_KEY,
        TYPED,
        "password of reader",
        "wrong secret",
        "$2b$",
        root.as_str(),
    ];
    for secret in secrets {
        assert!(!text.contains(secret), "{secret}");
    }
}

#[test]
fn a_list_of_events_is_told_as_other_lists_are() {
    let server = FleetbeatServer::start();
    let root = server.admin_token();
    let get = |target: &str| server.api(&root, "GET", target, None);
    for (query, name) in [
        ("kind=host.nothing", "kind"),
        ("ip=somewhere", "ip"),
        ("user=", "user"),
        ("since=now", "since"),
        ("until=2026", "until"),
        ("after=-1", "after"),
        ("after=999999999999", "after"),
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("page=2", "page"),
    ] {
        let answer = get(&format!("/events?{query}"));
        assert_eq!(answer.status, 422, "{query}");
        assert_eq!(answer.json()["errors"][0]["field"], name, "{query}");
    }

    let bearer = format!("Bearer {root}");
    let plain = get("/events?kind=server.*");
    let etag = plain.header("etag").unwrap().to_owned();
    let ask = |headers: &[(&str, &str)]| {
        let headers = [&[("Authorization", bearer.as_str())], headers].concat();
        server.request("GET", "/events?kind=server.*", &headers, b"")
    };
    assert_eq!(ask(&[("If-None-Match", &etag)]).status, 304);
    let gzip = ask(&[("Accept-Encoding", "gzip")]);
    assert_eq!(gzip.header("content-encoding"), Some("gzip"));
    assert_eq!(gzip.header("etag"), Some(etag.as_str()));
}

#[test]
fn a_server_that_is_killed_again_and_again_tells_each_transition_once() {
    const HOSTS: usize = 20;
    let mut server = FleetbeatServer::start_with(
        "[sweep]\ninterval = \"1s\"\ndown_after = \"2s\"\n",
        &[],
    );
    let token = server.admin_token();
    let beat = |server: &FleetbeatServer, round: usize| {
        for n in (0..HOSTS).filter(|n| (n + round).is_multiple_of(2)) {
            let (ip, name) = (format!("10.0.0.{n}"), format!("host-{n}"));
            server.heartbeat(&heartbeat(&ip, &name, !(n + round).is_multiple_of(4)));
        }
    };
    for round in 0..5 {
        // Long enough for the watch to look, and a kill anywhere in its work.
        let until = Duration::from_millis(10_200 + fastrand::u64(0..900));
        let started = Instant::now();
        while started.elapsed() < until {
            beat(&server, round);
        }
        server.kill();
        server.restart();
    }
    // Until the watch has told of every status.
    let deadline = Instant::now() + Duration::from_secs(60);
    let lives = loop {
        beat(&server, 1);
        let lives = kinds_of_hosts(&server, &token);
        let is_told = |shown: &Value| {
            let told = lives.get(shown["ip"].as_str().unwrap());
            let last = told.and_then(|told| told.iter().rfind(|kind| is_life(kind)));
            last.is_some_and(|last| (last == "host.down") == (shown["status"] == "down"))
        };
        if lives.len() == HOSTS && server.servers(&token).iter().all(is_told) {
            break lives;
        }
        assert!(Instant::now() < deadline, "{lives:?}");
    };

    for told in lives.values() {
        let of = |names: [&str; 2]| -> Vec<&str> {
            let told = told.iter().map(String::as_str);
            told.filter(|kind| names.contains(kind)).collect()
        };
        assert_eq!(of(["host.new", ""]), ["host.new"], "{told:?}");
        let life = of(["host.down", "host.up"]);
        let expected = ["host.down", "host.up"].into_iter().cycle();
        assert!(
            life.iter().copied().eq(expected.take(life.len())),
            "{told:?}"
        );
        let services = of(["service.inactive", "service.active"]);
        let takes_turns = services.windows(2).all(|pair| pair[0] != pair[1]);
        assert!(takes_turns, "{told:?}");
    }
}

/// Whether an event tells that a host is there, or whether it is heard.
fn is_life(kind: &str) -> bool {
    ["host.new", "host.down", "host.up"].contains(&kind)
}

/// The kinds of each host's events, the earliest first.
fn kinds_of_hosts(
    server: &FleetbeatServer,
    token: &str,
) -> BTreeMap<String, Vec<String>> {
    let mut lives: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for event in all(server, token) {
        if let Some(ip) = event["ip"].as_str() {
            let kind = event["kind"].as_str().unwrap().to_owned();
            lives.entry(ip.to_owned()).or_default().push(kind);
        }
    }
    lives
}
