//! `POST /heartbeat` and `/heartbeats`: each rule at its limit and just over it, over a
//! real socket.

use fleetbeat_protocol::Timestamp;
use fleetbeat_tools::client;
use fleetbeat_tools::server::{AGENT_KEY, FleetbeatServer};
use serde_json::{Value, json};

const MINIMAL: &str = include_str!("../../protocol/golden/heartbeat-minimal.json");

fn minimal() -> Value {
    serde_json::from_str(MINIMAL).unwrap()
}

/// The fields that a 422 names.
fn fields(answer: &client::Answer) -> Vec<String> {
    let errors = answer.json()["errors"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    errors
        .iter()
        .map(|error| error["field"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn both_golden_bodies_are_stored_and_shown() {
    let server = FleetbeatServer::start();
    let token = server.admin_token();
    for body in [
        include_str!("../../protocol/golden/heartbeat-full.json"),
        &minimal().to_string(),
    ] {
        let answer = server.post_heartbeat("/heartbeat", body.as_bytes());
        assert_eq!(
            (answer.status, answer.json()),
            (200, json!({"status": "ok"}))
        );
    }

    let servers = server.servers(&token);
    assert_eq!(
        servers
            .iter()
            .map(|server| &server["ip"])
            .collect::<Vec<_>>(),
        ["1.2.3.4", "2001:db8::7"]
    );

    let full: Value =
        serde_json::from_str(include_str!("../../protocol/golden/heartbeat-full.json"))
            .unwrap();
    for field in [
        "hostname",
        "countryCode",
        "country",
        "region",
        "city",
        "services",
        "load",
        "metrics",
    ] {
        assert_eq!(servers[1][field], full[field], "{field}");
    }
    let golden: Value =
        serde_json::from_str(include_str!("../../protocol/golden/server.json")).unwrap();
    let names = |value: &Value| {
        value
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&servers[0]), names(&golden));
}

#[test]
fn what_breaks_a_rule_gets_its_status_and_stores_nothing() {
    let server = FleetbeatServer::start();
    let token = server.admin_token();
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let with = |field: &str, value: &str| {
        let mut text = minimal().to_string();
        text.truncate(text.len() - 1);
        format!("{text},\"{field}\":{value}}}").into_bytes()
    };
    let replaced = |from: &str, to: &str| {
        let text = minimal().to_string();
        assert!(text.contains(from), "{from}");
        text.replace(from, to).into_bytes()
    };
    let mut invalid_utf8 = minimal().to_string().into_bytes();
    let city = invalid_utf8.iter().position(|byte| *byte == b'M').unwrap();
    invalid_utf8[city] = 0xff;
    let mut too_long = minimal().to_string().into_bytes();
    too_long.resize(64 * 1024 + 1, b' ');

    let cases: Vec<(&str, Vec<u8>, u16, &[&str])> = vec![
        ("no body", Vec::new(), 400, &[]),
        ("not JSON", b"ip=1.2.3.4".to_vec(), 400, &[]),
        ("cut off", b"{\"ip\": \"1.2.3.4\"".to_vec(), 400, &[]),
        ("two values", replaced("}", "}}"), 400, &[]),
        ("10,000 levels", deep(10_000).into_bytes(), 400, &[]),
        (
            "10,000 levels in an unknown field",
            with("x", &deep(10_000)),
            400,
            &[],
        ),
        ("invalid UTF-8", invalid_utf8, 400, &[]),
        ("a raw NUL", replaced("Munich", "Mu\0nich"), 400, &[]),
        ("NaN", replaced("23.5", "NaN"), 400, &[]),
        ("Infinity", replaced("23.5", "-Infinity"), 400, &[]),
        ("1e999", replaced("23.5", "1e999"), 422, &["load.cpu"]),
        (
            "a number as a string",
            replaced("23.5", "\"23.5\""),
            422,
            &["load.cpu"],
        ),
        ("over 100", replaced("23.5", "100.01"), 422, &["load.cpu"]),
        ("below 0", replaced("12.8", "-0.01"), 422, &["load.net"]),
        ("an array", b"[]".to_vec(), 422, &[""]),
        ("null", b"null".to_vec(), 422, &[""]),
        (
            "a duplicate key",
            with("hostname", "\"other\""),
            422,
            &["hostname"],
        ),
        (
            "an escaped NUL",
            replaced("\"wg\"", "\"w\\u0000g\""),
            422,
            &["services[0].name"],
        ),
        (
            "an address with a zone",
            replaced("1.2.3.4", "fe80::1%eth0"),
            422,
            &["ip"],
        ),
        (
            "an address with a port",
            replaced("1.2.3.4", "1.2.3.4:80"),
            422,
            &["ip"],
        ),
        ("64 KiB and a byte", too_long, 413, &[]),
    ];
    for (name, body, status, named) in cases {
        let answer = server.post_heartbeat("/heartbeat", &body);
        assert_eq!(
            answer.status,
            status,
            "{name}: {:?}",
            String::from_utf8_lossy(&answer.body)
        );
        assert_eq!(
            answer.header("content-type"),
            Some("application/problem+json"),
            "{name}"
        );
        assert_eq!(fields(&answer), named, "{name}");
        let problem = answer.json();
        assert_eq!(
            (
                problem["status"].as_u64(),
                problem["request_id"].as_str().map(str::len)
            ),
            (Some(status.into()), Some(16))
        );
        assert!(server.servers(&token).is_empty(), "{name} was stored");
    }
}

#[test]
fn limits_are_inclusive() {
    let server = FleetbeatServer::start();
    let mut at_the_limit = minimal().to_string().into_bytes();
    at_the_limit.resize(64 * 1024, b' ');
    assert_eq!(
        server.post_heartbeat("/heartbeat", &at_the_limit).status,
        200,
        "64 KiB"
    );

    let mut body = minimal();
    body["services"] = (0..64)
        .map(|n| json!({"name": format!("{n:0>64}"), "active": true}))
        .collect();
    body["metrics"] =
        Value::Object((0..64).map(|n| (format!("{n:ü>64}"), json!(n))).collect());
    body["load"] = json!({"cpu": 0, "ram": 100, "net": null});
    body["hostname"] = "ü".repeat(253).into();
    assert_eq!(server.heartbeat(&body).status, 200);
    body["hostname"] = "ü".repeat(254).into();
    body["metrics"]["one more"] = json!(1);
    let answer = server.heartbeat(&body);
    assert_eq!(
        (answer.status, fields(&answer)),
        (422, vec!["hostname".to_owned(), "metrics".to_owned()])
    );
}

#[test]
fn the_key_is_looked_at_before_the_body() {
    let server = FleetbeatServer::start();
    for headers in [
        &[][..],
        &[("X-API-Key", "wrong")],
        &[("X-API-Key", "")],
        &[("X-API-Key", AGENT_KEY), ("X-API-Key", AGENT_KEY)],
    ] {
        for body in [&b"not JSON"[..], &vec![b' '; 70_000]] {
            let answer = server.request("POST", "/heartbeat", headers, body);
            assert_eq!(answer.status, 401, "{headers:?}");
        }
    }
}

#[test]
fn a_mapped_address_is_the_ipv4_address_and_a_missing_one_is_the_peers() {
    let server = FleetbeatServer::start_with("trusted_proxies = [\"127.0.0.0/8\"]", &[]);
    let token = server.admin_token();
    let mut body = minimal();
    body["ip"] = "::ffff:1.2.3.4".into();
    assert_eq!(server.heartbeat(&body).status, 200);
    body.as_object_mut().unwrap().remove("ip");
    let headers = [
        ("X-API-Key", AGENT_KEY),
        ("X-Forwarded-For", "9.9.9.9, 2001:DB8::5, 127.0.0.7"),
    ];
    assert_eq!(
        server
            .request("POST", "/heartbeat", &headers, body.to_string().as_bytes())
            .status,
        200
    );

    let ips: Vec<_> = server
        .servers(&token)
        .into_iter()
        .map(|server| server["ip"].clone())
        .collect();
    assert_eq!(
        ips,
        ["1.2.3.4", "2001:db8::5"],
        "the first from the right that is no trusted proxy"
    );
}

#[test]
fn a_forwarded_address_is_believed_from_trusted_proxies_only() {
    let server = FleetbeatServer::start();
    let mut body = minimal();
    body.as_object_mut().unwrap().remove("ip");
    let headers = [("X-API-Key", AGENT_KEY), ("X-Forwarded-For", "9.9.9.9")];
    let answer =
        server.request("POST", "/heartbeat", &headers, body.to_string().as_bytes());
    assert_eq!(answer.status, 422);
    let error = &answer.json()["errors"][0];
    let message = error["message"].as_str().unwrap();
    assert_eq!(error["field"], "ip");
    assert!(
        message.contains("127.0.0.1") && message.contains("trusted_proxies"),
        "{message}"
    );
    assert!(server.servers(&server.admin_token()).is_empty());
}

#[test]
fn a_trusted_proxy_tells_an_address_in_any_spelling_and_never_its_own() {
    let server = FleetbeatServer::start_with("trusted_proxies = [\"127.0.0.1\"]\n", &[]);
    let mut body = minimal();
    body.as_object_mut().unwrap().remove("ip");
    let send = |forwarded: Option<&str>| {
        let mut headers = vec![("X-API-Key", AGENT_KEY)];
        headers.extend(forwarded.map(|from| ("X-Forwarded-For", from)));
        server.request("POST", "/heartbeat", &headers, body.to_string().as_bytes())
    };
    for told in ["198.51.100.3:51234", "[2001:db8::3]", "[2001:db8::4]:443"] {
        assert_eq!(send(Some(told)).status, 200, "{told}");
    }
    for untold in [Some("unknown"), None] {
        let answer = send(untold);
        let errors = &answer.json()["errors"];
        assert_eq!((answer.status, &errors[0]["field"]), (422, &"ip".into()));
    }

    let servers = server.servers(&server.admin_token());
    let ips: Vec<_> = servers.iter().map(|server| &server["ip"]).collect();
    assert_eq!(ips, ["198.51.100.3", "2001:db8::3", "2001:db8::4"]);
}

#[test]
fn an_address_of_nobody_is_refused_and_a_loopback_address_only_from_elsewhere() {
    let server = FleetbeatServer::start_with("trusted_proxies = [\"127.0.0.1\"]", &[]);
    let send = |ip: &str, forwarded: Option<&str>| {
        let mut body = minimal();
        body["ip"] = ip.into();
        let mut headers = vec![("X-API-Key", AGENT_KEY)];
        headers.extend(forwarded.map(|from| ("X-Forwarded-For", from)));
        server.request("POST", "/heartbeat", &headers, body.to_string().as_bytes())
    };
    for ip in [
        "0.0.0.0",
        "::",
        "255.255.255.255",
        "224.0.0.1",
        "ff02::1",
        "::ffff:0.0.0.0",
    ] {
        let answer = send(ip, None);
        assert_eq!(answer.status, 422, "{ip}");
        assert_eq!(answer.json()["errors"][0]["field"], "ip", "{ip}");
    }
    assert_eq!(send("127.0.0.1", Some("198.51.100.7")).status, 422);
    // An agent on the server's own machine, as in a demo, also behind a proxy there.
    assert_eq!(send("127.0.0.1", None).status, 200);
    assert_eq!(send("::1", Some("127.0.0.1")).status, 200);
}

#[test]
fn a_batch_counts_by_its_own_times() {
    let server = FleetbeatServer::start();
    let token = server.admin_token();
    let element = |ip: &str, cpu: i32, at: &str| {
        let mut body = minimal();
        body["ip"] = ip.into();
        body["load"]["cpu"] = cpu.into();
        body["collected_at"] = at.into();
        body
    };

    let an_hour_ahead = Timestamp::now() + jiff::SignedDuration::from_hours(1);
    let an_hour_ahead = an_hour_ahead.to_string();
    let batch = json!([
        element("10.0.0.1", 2, "2026-01-01T00:02:00Z"),
        element("10.0.0.1", 4, "2026-01-01T01:04:00+01:00"),
        element("10.0.0.1", 101, "2026-01-01T00:06:00Z"),
        element("10.0.0.1", 1, "2026-01-01T00:00:00Z"),
        element("10.0.0.2", 7, &an_hour_ahead),
        minimal(),
        7,
        element("10.0.0.3", 7, "2099-01-01T00:00:00Z"),
        element("10.0.0.3", 7, "0000-01-01T00:00:00+23:59"),
    ]);
    for _ in 0..2 {
        let answer = server.post_heartbeat("/heartbeats", batch.to_string().as_bytes());
        assert_eq!(answer.status, 200);
        let answer = answer.json();
        assert_eq!(answer["accepted"], 4);
        let rejected = answer["rejected"].as_array().unwrap();
        let named: Vec<_> = rejected
            .iter()
            .map(|one| (&one["index"], &one["errors"][0]["field"]))
            .collect();
        assert_eq!(
            named,
            [
                (&json!(2), &json!("load.cpu")),
                (&json!(5), &json!("collected_at")),
                (&json!(6), &json!("")),
                (&json!(7), &json!("collected_at")),
                (&json!(8), &json!("collected_at"))
            ]
        );
        let servers = server.servers(&token);
        assert_eq!(servers.len(), 2);
        assert_eq!(servers[0]["load"]["cpu"], 4.0, "the newest");
        assert_eq!(
            (&servers[0]["last_heartbeat"], &servers[0]["status"]),
            (&json!("2026-01-01T00:04:00Z"), &json!("down"))
        );
        let ahead: Timestamp = servers[1]["last_heartbeat"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap();
        assert!(
            ahead <= Timestamp::now(),
            "never later than the server's clock"
        );
        assert_eq!(servers[1]["status"], "active");
    }
    assert_eq!(
        server
            .heartbeat(&element("10.0.0.1", 9, "2020-01-01T00:00:00Z"))
            .status,
        200
    );

    let live = fleetbeat_tools::wait::wait_for("the snapshot", || {
        let first = server.servers(&token)[0].clone();
        (first["load"]["cpu"] == 9.0).then_some(first)
    });
    assert_eq!(
        live["status"], "active",
        "a live heartbeat counts from now, whatever its collected_at"
    );
    // A host whose clock is wrong is alive all the same; what it keeps is not believed.
    for absurd in ["2099-01-01T00:00:00Z", "1970-01-01T00:00:00Z"] {
        let answer = server.heartbeat(&element("10.0.0.1", 9, absurd));
        assert_eq!(answer.status, 200, "{absurd}");
        let batch = Value::from(vec![element("10.0.0.1", 9, absurd)]);
        let answer = server.post_heartbeat("/heartbeats", batch.to_string().as_bytes());
        let rejected = &answer.json()["rejected"][0]["errors"][0];
        assert_eq!(rejected["field"], "collected_at", "{absurd}");
    }
}

#[test]
fn a_batch_has_at_most_500_elements_and_1_mib() {
    let server = FleetbeatServer::start();
    let mut element = minimal();
    element["collected_at"] = "2026-01-01T00:00:00Z".into();
    let batch = |count: usize| {
        Value::from(vec![element.clone(); count])
            .to_string()
            .into_bytes()
    };

    let answer = server.post_heartbeat("/heartbeats", &batch(500));
    assert_eq!(
        (answer.status, &answer.json()["accepted"]),
        (200, &json!(500))
    );
    assert_eq!(
        server.post_heartbeat("/heartbeats", &batch(501)).status,
        413
    );

    let mut body = batch(1);
    body.resize(1024 * 1024, b' ');
    assert_eq!(server.post_heartbeat("/heartbeats", &body).status, 200);
    body.push(b' ');
    assert_eq!(server.post_heartbeat("/heartbeats", &body).status, 413);
    for (body, status) in [(&b"{}"[..], 422), (b"[", 400), (b"", 400), (b"null", 422)] {
        assert_eq!(
            server.post_heartbeat("/heartbeats", body).status,
            status,
            "{body:?}"
        );
    }
    assert_eq!(
        server.post_heartbeat("/heartbeats", b"[]").json(),
        json!({"status": "ok", "accepted": 0, "rejected": []})
    );
}

#[test]
fn a_body_that_only_looks_wrong_is_told_what_is_wrong() {
    let server = FleetbeatServer::start();
    let with_mark = [b"\xef\xbb\xbf", MINIMAL.as_bytes()].concat();
    for (target, headers, body, status, named) in [
        (
            "/heartbeat",
            &[("Content-Encoding", "gzip")][..],
            MINIMAL.as_bytes(),
            415,
            "Content-Encoding",
        ),
        (
            "/heartbeats",
            &[("Content-Encoding", "identity, br")],
            b"[]",
            415,
            "Content-Encoding",
        ),
        (
            "/heartbeat",
            &[("Content-Encoding", "identity")],
            MINIMAL.as_bytes(),
            200,
            "",
        ),
        (
            "/heartbeat",
            &[],
            with_mark.as_slice(),
            400,
            "byte order mark",
        ),
        (
            "/heartbeat/",
            &[],
            MINIMAL.as_bytes(),
            404,
            "slash at its end",
        ),
        (
            "/nowhere/",
            &[],
            MINIMAL.as_bytes(),
            404,
            "nothing at this path",
        ),
    ] {
        let headers = [&[("X-API-Key", AGENT_KEY)], headers].concat();
        let answer = server.request("POST", target, &headers, body);
        assert_eq!(answer.status, status, "{target} {headers:?}");
        if status != 200 {
            let detail = answer.json()["detail"].as_str().unwrap().to_owned();
            assert!(detail.contains(named), "{detail}");
            assert!(answer.body.len() < 1000);
        }
    }
}

#[test]
fn many_errors_are_told_up_to_a_number_and_once() {
    let server = FleetbeatServer::start();
    server.post_heartbeat("/heartbeat", MINIMAL.as_bytes());
    let unknown: serde_json::Map<String, Value> = (0..800)
        .map(|n| (format!("flag {n}"), Value::from(n)))
        .collect();
    let token = server.admin_token();
    let patch = Value::Object(unknown);
    let answer = server.api(&token, "PATCH", "/server/1.2.3.4/config", Some(&patch));
    assert_eq!(answer.status, 422);
    let problem = answer.json();
    assert_eq!(problem["errors"].as_array().unwrap().len(), 32);
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.ends_with("(and 799 more)"), "{detail}");
    assert!(answer.body.len() < 8 * 1024, "{}", answer.body.len());
}
