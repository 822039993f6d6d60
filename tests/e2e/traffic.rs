//! `GET /traffic`: what hosts used of their billing cycles, on both backends.

use fleetbeat_protocol::Timestamp;
use fleetbeat_tools::client::Answer;
use fleetbeat_tools::redis_server::RedisServer;
use fleetbeat_tools::server::{Database, FleetbeatServer};
use fleetbeat_tools::wait::wait_for;
use jiff::SignedDuration;
use jiff::civil::Date;
use jiff::tz::Offset;
use serde_json::{Value, json};

const HOST: &str = "1.2.3.4";
const SENT: &str = "interface_sent_bytes_total{interface=\"eth0\"}";
const RECEIVED: &str = "interface_received_bytes_total{interface=\"eth0\"}";
const IN_TUNNEL: &str = "interface_sent_bytes_total{interface=\"wg0\"}";

/// A heartbeat that was made at `at`, so many bytes behind the boot.
fn made(at: Timestamp, boot: &str, sent: u64) -> Value {
    let golden = include_str!("../../protocol/golden/heartbeat-minimal.json");
    let mut body: Value = serde_json::from_str(golden).unwrap();
    body["hostname"] = "=1+1".into();
    body["collected_at"] = at.to_string().into();
    body["boot_id"] = boot.into();
    body["seq"] = at.as_second().into();
    body["metrics"] = json!({SENT: sent, RECEIVED: sent / 10, IN_TUNNEL: sent});
    body
}

/// The midnight of two days ago, at which the cycle begins.
fn start() -> Timestamp {
    let days = SignedDuration::from_hours(48);
    let midnight = date(Timestamp::now() - days).at(0, 0, 0, 0);
    Offset::UTC.to_timestamp(midnight).unwrap()
}

fn date(at: Timestamp) -> Date {
    Offset::UTC.to_datetime(at).date()
}

fn ask(server: &FleetbeatServer, token: &str, target: &str, accept: &str) -> Answer {
    let authorization = format!("Bearer {token}");
    let headers = [("Authorization", &*authorization), ("Accept", accept)];
    server.request("GET", target, &headers, b"")
}

/// The first host of the answer.
fn first(server: &FleetbeatServer, token: &str, query: &str) -> Value {
    let answer = ask(server, token, &format!("/traffic{query}"), "*/*");
    assert_eq!(answer.status, 200, "{query}: {}", answer.json());
    answer.json()["servers"][0].clone()
}

/// Sends what a host has counted around the start of its cycle: the first heartbeat comes
/// last, and all come twice.
fn populate(server: &FleetbeatServer, token: &str, start: Timestamp) {
    let at = |hours: i64| start + SignedDuration::from_hours(hours);
    let beats = [
        made(at(2), "b", 300),
        made(at(1), "a", 1500),
        made(at(-1), "a", 1000),
    ];
    let spool = Value::from(beats.to_vec()).to_string();
    for _ in 0..2 {
        let answer = server.post_heartbeat("/heartbeats", spool.as_bytes());
        assert_eq!(answer.json()["accepted"], 3, "{}", answer.json());
    }
    let day = date(start).day();
    set_billing(server, token, &json!({"day": day, "quota_bytes": 700}));
}

fn set_billing(server: &FleetbeatServer, token: &str, billing: &Value) {
    let path = format!("/server/{HOST}/settings");
    let body = json!({"billing": billing});
    let answer = server.api(token, "PATCH", &path, Some(&body));
    assert_eq!(answer.status, 200, "{}", answer.json());
}

fn tells_what_was_used(server: &FleetbeatServer) {
    let token = server.admin_token();
    let start = start();
    populate(server, &token, start);
    let told = wait_for("the settings to count", || {
        let told = first(server, &token, "");
        (told["quota_bytes"] == 700 && told["from"] == start.to_string()).then_some(told)
    });
    assert_eq!(
        (&told["ip"], &told["hostname"]),
        (&json!(HOST), &json!("=1+1"))
    );
    assert_eq!(
        (&told["tx_bytes"], &told["rx_bytes"]),
        (&json!(800), &json!(80))
    );
    assert_eq!(
        (&told["used_bytes"], &told["count"]),
        (&json!(880), &json!("sum"))
    );
    assert_eq!(told["over_quota"], true);
    assert_eq!(
        (&told["known_from"], &told["complete"]),
        (&told["from"], &json!(true))
    );
    let forecast = told["forecast_bytes"].as_u64().unwrap();
    assert!((880 * 8..=880 * 16).contains(&forecast), "{told}");
    assert_eq!(
        (&told["expires_on"], &told["days_left"]),
        (&Value::Null, &Value::Null)
    );

    let day = date(start).day();
    let tomorrow = date(Timestamp::now() + SignedDuration::from_hours(24));
    let billing = json!({"day": day, "count": "received", "quota_bytes": 80,
        "expires_on": tomorrow.to_string()});
    set_billing(server, &token, &billing);
    let told = wait_for("what counts to have changed", || {
        let told = first(server, &token, "");
        (told["count"] == "received").then_some(told)
    });
    assert_eq!(
        (&told["used_bytes"], &told["over_quota"]),
        (&json!(80), &json!(false))
    );
    assert!([json!(0), json!(1)].contains(&told["days_left"]), "{told}");

    // The cycle before is known from its last hour on, and over.
    let month = date(start).first_of_month().yesterday().unwrap();
    let query = format!("?month={:04}-{:02}", month.year(), month.month());
    let before = first(server, &token, &query);
    assert_eq!(before["to"], told["from"], "{before}");
    assert_eq!(
        (&before["used_bytes"], &before["complete"]),
        (&json!(0), &json!(false))
    );
    assert_eq!(before["forecast_bytes"], Value::Null);
}

#[test]
fn traffic_is_what_counters_tell_on_both_backends() {
    let mut server = FleetbeatServer::start();
    tells_what_was_used(&server);
    let token = server.admin_token();
    let before = first(&server, &token, "");
    server.stop();
    server.restart();
    let token = server.admin_token();
    let mut after = first(&server, &token, "");
    after["forecast_bytes"] = before["forecast_bytes"].clone();
    assert_eq!(after, before);

    let (database, redis) = (Database::new(), RedisServer::start());
    tells_what_was_used(&FleetbeatServer::start_on_mongodb(
        &database,
        &database.url,
        &redis.url(),
        "",
    ));
}

#[test]
fn traffic_is_selected_sorted_and_written_as_csv() {
    let server = FleetbeatServer::start();
    let token = server.admin_token();
    populate(&server, &token, start());
    let mut other = made(Timestamp::now(), "x", 5);
    (other["ip"], other["hostname"]) = (json!("1.2.3.5"), json!("vpn-2"));
    assert_eq!(server.heartbeat(&other).status, 200);

    let names = |query: &str| -> Vec<String> {
        let answer = ask(&server, &token, &format!("/traffic{query}"), "*/*").json();
        let servers = answer["servers"].as_array().unwrap().iter();
        servers
            .map(|server| server["hostname"].as_str().unwrap().to_owned())
            .collect()
    };
    wait_for("both hosts", || (names("").len() == 2).then_some(()));
    assert_eq!(names("?sort=used"), ["vpn-2", "=1+1"]);
    assert_eq!(names("?sort=-used"), ["=1+1", "vpn-2"]);
    assert_eq!(names("?select=hostname+~+vpn*"), ["vpn-2"]);

    let json = ask(&server, &token, "/traffic", "text/csv, application/json");
    assert_eq!(json.header("content-type"), Some("application/json"));
    for (target, accept) in [("/traffic", "text/csv"), ("/traffic?format=csv", "*/*")] {
        let csv = ask(&server, &token, target, accept);
        assert_eq!(csv.header("content-type"), Some("text/csv; charset=utf-8"));
        let body = String::from_utf8(csv.body.clone()).unwrap();
        let lines: Vec<&str> = body.lines().collect();
        assert_eq!(lines.len(), 3, "{body}");
        assert!(lines[0].starts_with("ip,server_id,hostname,from,to,rx_bytes"));
        assert!(lines[1].starts_with("1.2.3.4,srv-"), "{body}");
        assert!(lines[1].contains(",'=1+1,"), "no text is a formula: {body}");
    }

    for (query, field) in [
        ("month=2026-13", "month"),
        ("month=9000-01", "month"),
        ("sort=cpu", "sort"),
        ("format=xml", "format"),
        ("select=(", "select"),
        ("days=3", "days"),
    ] {
        let answer = ask(&server, &token, &format!("/traffic?{query}"), "*/*");
        assert_eq!(answer.status, 422, "{query}");
        assert_eq!(answer.json()["errors"][0]["field"], field, "{query}");
    }
}
