//! The fleet as the API shows it: lists, single hosts, flags, the sweep.

use std::io::Read;
use std::time::{Duration, Instant};

use fleetbeat_tools::server::FleetbeatServer;
use fleetbeat_tools::wait::wait_for;
use serde_json::{Value, json};

fn heartbeat(ip: &str) -> Value {
    let mut body: Value = serde_json::from_str(include_str!(
        "../../protocol/golden/heartbeat-minimal.json"
    ))
    .unwrap();
    body["ip"] = ip.into();
    body
}

fn ips(answer: &fleetbeat_tools::client::Answer) -> Vec<String> {
    answer
        .json()
        .as_array()
        .unwrap()
        .iter()
        .map(|server| server["ip"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn lists_are_filtered_sorted_and_limited() {
    let server = FleetbeatServer::start();
    let token = server.admin_token();
    for ip in ["10.0.0.10", "10.0.0.9", "2001:db8::1"] {
        assert_eq!(server.heartbeat(&heartbeat(ip)).status, 200);
    }
    let disable = server.api(
        &token,
        "PATCH",
        "/server/10.0.0.9/config",
        Some(&json!({"enabled": false})),
    );
    assert_eq!(disable.status, 200);
    let get = |target: &str| server.api(&token, "GET", target, None);
    assert_eq!(ips(&get("/servers")), ["10.0.0.10", "2001:db8::1"]);
    assert_eq!(
        ips(&get("/servers?all_servers=true")),
        ["10.0.0.9", "10.0.0.10", "2001:db8::1"]
    );
    assert_eq!(ips(&get("/servers?sort=-ip&limit=1")), ["2001:db8::1"]);
    assert_eq!(
        ips(&get("/servers?country=germany&service=wg")),
        ["10.0.0.10", "2001:db8::1"]
    );
    assert!(
        ips(&get("/servers?service=ov")).is_empty(),
        "ov is there but not active"
    );

    let wrong = get("/servers?limit=many&colour=red");
    assert_eq!(wrong.status, 422);
    assert_eq!(wrong.json()["errors"].as_array().unwrap().len(), 2);
}

#[test]
fn the_list_has_an_entity_tag_and_is_compressed_for_those_who_take_it() {
    let server = FleetbeatServer::start();
    let token = format!("Bearer {}", server.admin_token());
    for n in 0..50 {
        server.heartbeat(&heartbeat(&format!("10.0.0.{n}")));
    }
    let get = |method: &str, headers: &[(&str, &str)]| {
        let mut all = vec![("Authorization", token.as_str())];
        all.extend(headers);
        server.request(method, "/servers", &all, b"")
    };
    let plain = get("GET", &[]);
    let gzip = get("GET", &[("Accept-Encoding", "br, gzip")]);
    assert_eq!(
        (
            plain.header("content-encoding"),
            gzip.header("content-encoding")
        ),
        (None, Some("gzip"))
    );
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(gzip.body.as_slice())
        .read_to_end(&mut unpacked)
        .unwrap();
    assert_eq!(unpacked, plain.body);
    assert!(gzip.body.len() * 4 < plain.body.len());
    assert_eq!(
        get("GET", &[("Accept-Encoding", "gzip;q=0")]).body,
        plain.body
    );

    let etag = plain.header("etag").unwrap().to_owned();
    assert_eq!(gzip.header("etag"), Some(etag.as_str()));
    for tags in [
        etag.clone(),
        etag.replace("W/", ""),
        format!("\"x\", {etag}"),
        "*".to_owned(),
    ] {
        let answer = get("GET", &[("If-None-Match", &tags)]);
        assert_eq!(
            (answer.status, answer.body.len(), answer.header("etag")),
            (304, 0, Some(etag.as_str())),
            "{tags}"
        );
    }
    assert_eq!(get("GET", &[("If-None-Match", "\"x\"")]).status, 200);

    server.heartbeat(&heartbeat("10.0.0.99"));
    let changed = wait_for("the next snapshot", || {
        let answer = get("GET", &[("If-None-Match", &etag)]);
        (answer.status == 200).then_some(answer)
    });
    assert_ne!(changed.header("etag"), Some(etag.as_str()));
}

#[test]
fn head_answers_as_get_does_but_for_the_body() {
    let server = FleetbeatServer::start();
    let token = server.admin_token();
    server.heartbeat(&heartbeat("10.0.0.1"));
    for target in [
        "/servers",
        "/server/10.0.0.1",
        "/me",
        "/healthz",
        "/readyz",
        "/",
        "/openapi.json",
    ] {
        let get = server.api(&token, "GET", target, None);
        let mut stream = fleetbeat_tools::client::connect(server.address()).unwrap();
        let headers = [("Authorization", format!("Bearer {token}"))];
        let headers = headers
            .each_ref()
            .map(|(name, value)| (*name, value.as_str()));
        let request = fleetbeat_tools::client::encode("HEAD", target, &headers, b"");
        std::io::Write::write_all(&mut stream, &request).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let length = format!("Content-Length: {}\r\n", get.body.len());
        assert!(
            answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains(&length),
            "{target}: {answer}"
        );
        assert!(
            answer.ends_with("\r\n\r\n"),
            "{target} has a body: {answer}"
        );
    }
}

#[test]
fn one_host_is_found_by_any_spelling_of_its_address() {
    let server = FleetbeatServer::start();
    let token = server.admin_token();
    server.heartbeat(&heartbeat("2001:db8::1"));
    server.heartbeat(&heartbeat("1.2.3.4"));
    for (target, ip) in [
        ("/server/1.2.3.4", "1.2.3.4"),
        ("/server/%3A%3Affff:1.2.3.4", "1.2.3.4"),
        ("/server/2001%3adb8%3a%3a1", "2001:db8::1"),
        ("/server/2001:0DB8:0::1", "2001:db8::1"),
    ] {
        let answer = server.api(&token, "GET", target, None);
        assert_eq!(
            (answer.status, &answer.json()["ip"]),
            (200, &json!(ip)),
            "{target}"
        );
    }

    for target in [
        "/server/1.2.3.5",
        "/server/nonsense",
        "/server/",
        "/server/1.2.3.4/",
        "/server/fe80::1%25eth0",
    ] {
        assert_eq!(
            server.api(&token, "GET", target, None).status,
            404,
            "{target}"
        );
    }
}

#[test]
fn a_patch_is_seen_by_every_reader_and_survives_heartbeats_and_restarts() {
    let mut server = FleetbeatServer::start();
    let token = server.admin_token();
    server.heartbeat(&heartbeat("2001:db8::1"));
    let target = "/server/2001%3Adb8%3A%3A1/config";
    let answer = server.api(
        &token,
        "PATCH",
        target,
        Some(&json!({"gaming": true, "static": true})),
    );
    assert_eq!(answer.status, 200);
    let flags = |server: &Value| {
        ["gaming", "streaming", "paid", "enabled", "static"]
            .map(|flag| server[flag] == true)
    };
    let expected = [true, false, false, true, true];
    assert_eq!(flags(&answer.json()), expected);
    wait_for("the list to show the flags", || {
        (flags(&server.servers(&token)[0]) == expected).then_some(())
    });
    server.heartbeat(&heartbeat("2001:db8::1"));
    server.stop();
    server.restart();
    assert_eq!(
        flags(
            &server
                .api(&token, "GET", "/server/2001:db8::1", None)
                .json()
        ),
        expected
    );

    for (body, field) in [
        (json!({"gaming": "yes"}), "gaming"),
        (json!({"gaming": null}), "gaming"),
        (json!({"enabled": 1}), "enabled"),
        (json!({"status": true}), "status"),
        (json!([true]), ""),
    ] {
        let answer = server.api(&token, "PATCH", target, Some(&body));
        assert_eq!(
            (answer.status, &answer.json()["errors"][0]["field"]),
            (422, &json!(field)),
            "{body}"
        );
    }
    assert_eq!(
        server
            .api(
                &token,
                "PATCH",
                "/server/9.9.9.9/config",
                Some(&json!({"gaming": true}))
            )
            .status,
        404
    );
    assert_eq!(
        flags(
            &server
                .api(&token, "GET", "/server/2001:db8::1", None)
                .json()
        ),
        expected
    );
}

#[test]
fn a_silent_host_goes_down_after_a_grace_and_comes_back() {
    let settings = "[sweep]\ninterval = \"1s\"\ndown_after = \"3s\"\n";
    let mut server = FleetbeatServer::start_with(settings, &[]);
    let token = server.admin_token();
    server.heartbeat(&heartbeat("10.0.0.1"));
    let status = |server: &FleetbeatServer| {
        server.servers(&token)[0]["status"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(status(&server), "active");
    wait_for("the host to go down", || {
        (status(&server) == "down").then_some(())
    });
    assert!(
        server
            .api(&token, "GET", "/servers", None)
            .json()
            .as_array()
            .unwrap()
            .is_empty()
    );
    server.heartbeat(&heartbeat("10.0.0.1"));
    wait_for("the host to come back", || {
        (status(&server) == "active").then_some(())
    });

    // While the server was away nobody could reach the server: the silence is not the
    // hosts'.
    server.stop();
    std::thread::sleep(Duration::from_secs(4));
    server.restart();
    let restarted = Instant::now();
    wait_for("the host to go down again", || {
        (status(&server) == "down").then_some(())
    });
    assert!(
        restarted.elapsed() > Duration::from_secs(2),
        "{:?} after the restart",
        restarted.elapsed()
    );
}

#[test]
fn a_host_that_moves_is_found_by_its_id_and_its_old_address_tells_where_it_is() {
    let server = FleetbeatServer::start();
    let token = server.admin_token();
    let beat = |ip: &str| {
        let mut body = heartbeat(ip);
        body["agent_id"] = "00c0ffee00112233445566778899aabb".into();
        body["boot_id"] = "one".into();
        let answer = server.heartbeat(&body);
        assert_eq!(answer.status, 200, "{ip}");
    };
    let get = |path: &str| server.api(&token, "GET", path, None);

    beat("10.0.0.1");
    let id = get("/server/10.0.0.1").json()["server_id"].clone();
    let by_id = format!("/server/{}", id.as_str().unwrap());
    let patch = json!({"paid": true});
    let config = format!("{by_id}/config");
    let answer = server.api(&token, "PATCH", &config, Some(&patch));
    assert_eq!((answer.status, &answer.json()["paid"]), (200, &true.into()));

    beat("2001:db8::2");
    let moved = get(&by_id).json();
    assert_eq!(
        (&moved["ip"], &moved["server_id"], &moved["paid"]),
        (&"2001:db8::2".into(), &id, &true.into())
    );
    assert_eq!(
        (&moved["observed_ip"], &moved["ip_confirmed"]),
        (&"127.0.0.1".into(), &false.into())
    );
    for path in ["/server/10.0.0.1", "/server/10.0.0.1/config"] {
        let method = if path.ends_with("config") {
            "PATCH"
        } else {
            "GET"
        };
        let body = (method == "PATCH").then_some(&patch);
        let answer = server.api(&token, method, path, body);
        assert_eq!(answer.status, 404, "{path}");
        assert_eq!(answer.json()["moved_to"], "2001:db8::2", "{path}");
    }
    for path in [
        "/server/10.0.0.9",
        "/server/srv-00000000",
        "/server/nonsense",
    ] {
        let answer = get(path);
        assert_eq!(
            (answer.status, answer.json().get("moved_to")),
            (404, None),
            "{path}"
        );
    }
    assert!(
        !server.log().contains("00112233445566778899aabb"),
        "an agent_id is half a secret"
    );
}

#[test]
fn many_hosts_are_deleted_when_the_operator_says_so_beside_the_server() {
    let settings =
        "[sweep]\ninterval = \"1s\"\ndown_after = \"1s\"\ndelete_after = \"60s\"\n";
    let mut server = FleetbeatServer::start_with(settings, &[]);
    let token = server.admin_token();
    for n in 1..=12 {
        server.heartbeat(&heartbeat(&format!("10.0.0.{n}")));
    }
    wait_for("the hosts to go down", || {
        let shown = server.servers(&token);
        let is_down = |host: &Value| host["status"] == "down";
        shown.iter().all(is_down).then_some(())
    });

    // A minute has been served, as the store counts it, and so the hosts are due.
    server.stop();
    rusqlite::Connection::open(server.data().join("fleetbeat.db"))
        .unwrap()
        .execute("UPDATE state SET service_time = service_time + 60000", [])
        .unwrap();
    server.restart();
    wait_for("a word of the hosts that are due", || {
        server
            .log()
            .contains("fleetbeat-server prune")
            .then_some(())
    });
    assert_eq!(server.servers(&token).len(), 12);

    let output = server.command(&["prune"], "");
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(told.contains("12 of 12 hosts"), "{told}");
    wait_for("the hosts to go", || {
        server.servers(&token).is_empty().then_some(())
    });
    let lines = server.log().matches("fleetbeat-server prune").count();
    assert_eq!(lines, 1, "{}", server.log());
}

#[test]
fn the_snapshot_is_made_once_a_second_however_many_ask() {
    let server = FleetbeatServer::start();
    let token = server.admin_token();
    let started = Instant::now();
    let (mut tags, mut asked) = (std::collections::BTreeSet::new(), 0);
    while started.elapsed() < Duration::from_millis(2500) {
        // Every list would differ from the one before.
        server.heartbeat(&heartbeat("10.0.0.1"));
        let answer = server.api(&token, "GET", "/servers", None);
        tags.insert(answer.header("etag").unwrap().to_owned());
        asked += 1;
    }

    let seconds = usize::try_from(started.elapsed().as_secs()).unwrap();
    assert!(
        (2..=seconds + 2).contains(&tags.len()),
        "{} lists for {asked} requests in {seconds} s",
        tags.len()
    );
}

#[test]
fn unknown_paths_and_methods_are_told_apart() {
    let server = FleetbeatServer::start();
    for (method, target, status, allow) in [
        ("GET", "/nothing", 404, None),
        ("POST", "/servers/1", 404, None),
        ("GET", "/heartbeat", 405, Some("POST")),
        ("DELETE", "/servers", 405, Some("GET, HEAD")),
        ("POST", "/", 405, Some("GET, HEAD")),
        ("PUT", "/server/1.2.3.4/config", 405, Some("PATCH")),
        ("OPTIONS", "/token", 405, Some("POST")),
        ("GET", "/../etc/passwd", 404, None),
        ("GET", "/%2e%2e/%2e%2e/etc/passwd", 404, None),
        ("GET", "/assets/", 404, None),
        ("GET", "//", 404, None),
        ("GET", "*", 400, None),
        ("GET", "/%ff", 400, None),
    ] {
        let answer = server.request(method, target, &[], b"");
        assert_eq!(
            (answer.status, answer.header("allow")),
            (status, allow),
            "{method} {target}"
        );
        assert_eq!(answer.json()["status"], status);
    }
}
