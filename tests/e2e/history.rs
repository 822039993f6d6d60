//! `GET /server/{ip}/history` and `/uptime`: what hosts have measured and were, on both
//! backends.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use fleetbeat_protocol::Timestamp;
use fleetbeat_tools::redis_server::RedisServer;
use fleetbeat_tools::server::{Database, FleetbeatServer};
use fleetbeat_tools::wait::wait_for;
use serde_json::{Value, json};

use crate::metrics::{metrics, samples};

const HOST: &str = "1.2.3.4";

/// A heartbeat that was made at `at`.
fn made(at: Timestamp, seq: u64, cpu: f64) -> Value {
    let golden = include_str!("../../protocol/golden/heartbeat-minimal.json");
    let mut body: Value = serde_json::from_str(golden).unwrap();
    body["collected_at"] = at.to_string().into();
    body["boot_id"] = "boot".into();
    body["seq"] = seq.into();
    body["load"] = json!({"cpu": cpu, "ram": 50, "net": null});
    body["metrics"] = json!({"clients": seq});
    body
}

fn seconds(at: Timestamp) -> i64 {
    at.as_second()
}

/// An hour of heartbeats, one every two minutes: the first half has been spooled, and comes
/// twice. Gives the times.
fn populate(server: &FleetbeatServer) -> Vec<Timestamp> {
    let now = Timestamp::now();
    let times = (0..30).map(|n| now - jiff::SignedDuration::from_mins(2 * (29 - n)));
    let times: Vec<Timestamp> = times.collect();
    let beats = (0..).zip(&times);
    let beats: Vec<Value> = beats.map(|(n, at)| made(*at, n, 10.0)).collect();

    let spool = Value::from(beats[..28].to_vec()).to_string();
    for _ in 0..2 {
        let answer = server.post_heartbeat("/heartbeats", spool.as_bytes());
        assert_eq!(answer.json()["accepted"], 28, "{}", answer.json());
    }
    // The last ones come as they are made, as far as the clock allows.
    for beat in &beats[28..] {
        assert_eq!(server.heartbeat(beat).status, 200);
    }
    times
}

fn ask(server: &FleetbeatServer, token: &str, query: &str) -> Value {
    let path = format!("/server/{HOST}/history{query}");
    let answer = server.api(token, "GET", &path, None);
    assert_eq!(answer.status, 200, "{query}: {}", answer.json());
    answer.json()
}

fn tells_every_heartbeat_once(server: &FleetbeatServer) {
    let token = server.admin_token();
    let times = populate(server);
    let chart = ask(server, &token, "?series=cpu,net,services,metrics");
    let told: Vec<i64> = serde_json::from_value(chart["t"].clone()).unwrap();
    let sent: Vec<i64> = times.iter().map(|at| seconds(*at)).collect();
    assert_eq!(told, sent);
    assert_eq!(
        (&chart["ip"], &chart["step_s"]),
        (&json!(HOST), &json!(120))
    );

    let series = &chart["series"];
    assert_eq!(series["cpu"]["avg"], json!(vec![10.0; 30]));
    assert_eq!(series["net"], Value::Null, "nothing was measured");
    assert_eq!(series["services.wg"]["up"][0], 1.0);
    assert_eq!(series["metrics.clients"]["max"][29], 29.0);
    assert_eq!(chart["not_reached"].as_array().unwrap().len(), 1, "{chart}");
    assert_eq!(chart["more"], false);
    // Nothing is older than the first heartbeat.
    let kept_from: Timestamp = chart["kept_from"].as_str().unwrap().parse().unwrap();
    assert!(kept_from <= times[0]);

    // Fewer points have means.
    let from = times[0];
    let coarse = ask(server, &token, &format!("?from={from}&points=5"));
    let t = coarse["t"].as_array().unwrap();
    assert!((1..=5).contains(&t.len()), "{coarse}");
    assert_eq!(
        coarse["series"]["ram"]["min"].as_array().unwrap().len(),
        t.len()
    );

    // Nobody was there, and the answer says so.
    let empty = ask(
        server,
        &token,
        "?from=2020-01-01T00:00:00Z&to=2020-01-02T00:00:00Z",
    );
    assert_eq!((&empty["t"], &empty["series"]), (&json!([]), &json!({})));
    assert!(empty["kept_from"].is_string());
}

#[test]
fn a_chart_tells_every_heartbeat_once_on_both_backends() {
    tells_every_heartbeat_once(&FleetbeatServer::start());
    let (database, redis) = (Database::new(), RedisServer::start());
    tells_every_heartbeat_once(&FleetbeatServer::start_on_mongodb(
        &database,
        &database.url,
        &redis.url(),
        "",
    ));
}

/// The seconds of an answer about uptime: up, not reached, down, unknown.
fn seconds_of(uptime: &Value) -> [i64; 4] {
    ["up_s", "not_reached_s", "down_s", "unknown_s"]
        .map(|name| uptime[name].as_i64().unwrap_or_default())
}

fn tells_since_when_a_host_is_known(server: &FleetbeatServer) {
    let token = server.admin_token();
    populate(server);
    let ask = |path: &str| {
        let answer = server.api(&token, "GET", path, None);
        assert_eq!(answer.status, 200, "{path}: {}", answer.json());
        answer.json()
    };
    let path = format!("/server/{HOST}/uptime?days=2");
    let told = wait_for("the host to be told of", || {
        let told = ask(&path);
        (told["status"].as_array().unwrap().len() > 1).then_some(told)
    });

    // The host was heard for the first time just now, whatever it had spooled.
    assert_eq!(told["status"][0]["status"], "unknown", "{told}");
    assert_eq!(told["status"][1]["status"], "active", "{told}");
    let [up, not_reached, down, unknown] = seconds_of(&told);
    assert!((1..=60).contains(&(up + not_reached)), "{told}");
    assert_eq!((down, &told["uptime"]), (0, &json!(1.0)), "{told}");
    assert!(unknown >= 86_000, "{told}");
    assert_eq!(told["not_reached"].as_array().unwrap().len(), 1, "{told}");
    assert_eq!(told["incomplete"], false);

    let days = told["days"].as_array().unwrap();
    assert!((2..=3).contains(&days.len()), "midnight may pass: {told}");
    let mut sum = [0; 4];
    for day in days {
        let of_day = seconds_of(day);
        sum.iter_mut()
            .zip(of_day)
            .for_each(|(sum, one)| *sum += one);
    }
    assert_eq!(sum, seconds_of(&told));
    assert_eq!(days[0]["uptime"], Value::Null, "nothing is known: {told}");

    let all = ask("/servers/uptime");
    let hosts = all["servers"].as_array().unwrap();
    assert_eq!((hosts.len(), &hosts[0]["ip"]), (1, &json!(HOST)));
    assert!(seconds_of(&hosts[0])[0] >= 1, "{all}");

    let chart = ask(&format!("/server/{HOST}/history"));
    let last = chart["status"].as_array().unwrap().last().unwrap();
    assert_eq!(last["status"], "active", "{chart}");
}

#[test]
fn uptime_comes_from_events_on_both_backends() {
    tells_since_when_a_host_is_known(&FleetbeatServer::start());
    let (database, redis) = (Database::new(), RedisServer::start());
    tells_since_when_a_host_is_known(&FleetbeatServer::start_on_mongodb(
        &database,
        &database.url,
        &redis.url(),
        "",
    ));
}

#[test]
fn what_makes_no_sense_is_named_and_what_is_unknown_is_404() {
    let server = FleetbeatServer::start();
    let token = server.admin_token();
    populate(&server);
    for (query, field) in [
        ("from=yesterday", "from"),
        ("to=2020-01-01T00:00:00Z&from=2020-01-02T00:00:00Z", "to"),
        ("series=disk", "series"),
        ("points=1001", "points"),
        ("step=60", "step"),
    ] {
        let path = format!("/server/{HOST}/history?{query}");
        let answer = server.api(&token, "GET", &path, None);
        let told = answer.json();
        assert_eq!(answer.status, 422, "{query}: {told}");
        assert_eq!(told["errors"][0]["field"], field, "{told}");
    }
    for path in ["/server/1.2.3.4/uptime", "/servers/uptime"] {
        let answer = server.api(&token, "GET", &format!("{path}?days=401"), None);
        assert_eq!(answer.status, 422);
        assert_eq!(answer.json()["errors"][0]["field"], "days");
    }
    for path in ["/server/10.9.9.9/history", "/server/10.9.9.9/uptime"] {
        assert_eq!(server.api(&token, "GET", path, None).status, 404);
    }
}

#[test]
fn a_chart_is_compressed_and_asked_for_again_costs_nothing() {
    let server = FleetbeatServer::start();
    let token = server.admin_token();
    let times = populate(&server);
    let (from, to) = (times[0], times[29]);
    let path = format!("/server/{HOST}/history?from={from}&to={to}");
    let bearer = format!("Bearer {token}");
    let ask = |headers: &[(&str, &str)]| {
        let headers = [&[("Authorization", bearer.as_str())], headers].concat();
        server.request("GET", &path, &headers, b"")
    };

    let first = ask(&[("Accept-Encoding", "gzip")]);
    assert_eq!(first.header("content-encoding"), Some("gzip"));
    let etag = first.header("etag").unwrap().to_owned();
    assert_eq!(ask(&[("If-None-Match", &etag)]).status, 304);
    assert_eq!(ask(&[("If-None-Match", "W/\"another\"")]).status, 200);
}

#[test]
fn a_removed_host_takes_its_history_along_and_a_restart_changes_nothing() {
    let mut server = FleetbeatServer::start();
    populate(&server);
    server.stop();
    server.restart();
    let token = server.admin_token();
    assert_eq!(ask(&server, &token, "")["t"].as_array().unwrap().len(), 30);

    let path = format!("/server/{HOST}");
    assert_eq!(server.api(&token, "DELETE", &path, None).status, 204);
    let beat = made(Timestamp::now(), 1000, 20.0);
    assert_eq!(server.heartbeat(&beat).status, 200);
    let chart = ask(&server, &token, "");
    assert_eq!(chart["t"].as_array().unwrap().len(), 1, "{chart}");
}

#[test]
fn a_file_that_cannot_be_used_is_told_once_and_stops_no_heartbeat() {
    let server = FleetbeatServer::start();
    let token = server.admin_token();
    let path = server.data().join("history.db");
    fs::create_dir(&path).unwrap();
    let is_up = |expected: f64| {
        let samples = samples(&metrics(&server));
        (samples["fleetbeat_history_up"] == expected).then_some(samples)
    };
    let found = wait_for("history to be away", || is_up(0.0));
    assert!(found["fleetbeat_history_failures_total"] >= 1.0);
    populate(&server);
    // The chart has what waits, and says that there may be more.
    let chart = ask(&server, &token, "");
    assert_eq!(chart["t"].as_array().unwrap().len(), 30);
    assert_eq!(chart["incomplete"], true);

    fs::remove_dir(&path).unwrap();
    wait_for("history to be back", || is_up(1.0));
    let log = server.log();
    assert_eq!(log.matches("wait in the records of their hosts").count(), 1);
    assert!(log.contains("history can be written again"), "{log}");
    let chart = ask(&server, &token, "");
    assert_eq!(chart["t"].as_array().unwrap().len(), 30);
    assert_eq!(chart["incomplete"], false);
}

/// What a command has printed; it has not failed.
fn printed(server: &FleetbeatServer, arguments: &[&str]) -> String {
    let output = server.command(arguments, "");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {told}");
    String::from_utf8(output.stdout).unwrap()
}

fn exports_every_heartbeat(server: &FleetbeatServer) {
    let times = populate(server);
    let all = printed(server, &["history", "export", "--ip", HOST, "--csv"]);
    let lines: Vec<&str> = all.lines().collect();
    assert_eq!(lines.len(), 31, "{all}");
    assert_eq!(
        lines[0],
        "time,arrival,cpu,ram,services.ov,services.wg,metrics.clients"
    );
    let second = |at: Timestamp| Timestamp::from_second(at.as_second()).unwrap();
    assert_eq!(
        lines[1],
        format!("{},spooled,10,50,0,1,0", second(times[0]))
    );
    assert_eq!(
        lines[30],
        format!("{},live,10,50,0,1,29", second(times[29]))
    );

    let (from, to) = (times[5].to_string(), times[7].to_string());
    let some = ["history", "export", "--csv", "--ip", HOST, "--from"];
    let some = [&some[..], &[from.as_str(), "--to", to.as_str()]].concat();
    assert_eq!(printed(server, &some).lines().count(), 3);

    let unknown = server.command(&["history", "export", "--csv", "--ip", "10.9.9.9"], "");
    assert_eq!(unknown.status.code(), Some(1));
    let told = String::from_utf8_lossy(&unknown.stderr);
    assert!(told.contains("there is no host \"10.9.9.9\""), "{told}");
}

#[test]
fn an_export_of_what_is_damaged_fails_and_says_where_it_is() {
    let server = FleetbeatServer::start();
    populate(&server);
    let history = server.data().join("history.db");
    fs::write(&history, "this is no database ".repeat(500)).unwrap();
    let export = ["history", "export", "--csv", "--ip", HOST];
    let output = server.command(&export, "");
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("is damaged, and is missing"), "{told}");
    assert!(told.contains("history.db.broken-"), "{told}");
    // What waits with the host was printed all the same.
    let lines = String::from_utf8_lossy(&output.stdout).lines().count();
    assert_eq!(lines, 31);
}

#[test]
fn a_host_is_exported_with_every_heartbeat_on_both_backends() {
    exports_every_heartbeat(&FleetbeatServer::start());
    let (database, redis) = (Database::new(), RedisServer::start());
    exports_every_heartbeat(&FleetbeatServer::start_on_mongodb(
        &database,
        &database.url,
        &redis.url(),
        "",
    ));
}

/// So many spooled heartbeats that history.db gets some of them at once.
fn spool_for_days(server: &FleetbeatServer) {
    let now = Timestamp::now();
    let beats = (0..2000_u16).map(|n| {
        let at = now - jiff::SignedDuration::from_mins(2 * i64::from(2000 - n));
        made(at, n.into(), f64::from(n % 100))
    });
    for batch in beats.collect::<Vec<_>>().chunks(100) {
        let body = Value::from(batch.to_vec()).to_string();
        let answer = server.post_heartbeat("/heartbeats", body.as_bytes());
        assert_eq!(answer.json()["accepted"], 100, "{}", answer.json());
    }
    wait_for("history.db to have some of them", || {
        let merged =
            samples(&metrics(server))["fleetbeat_history_merged_heartbeats_total"];
        (merged > 0.0).then_some(())
    });
}

#[test]
fn a_backup_with_history_brings_every_heartbeat_back() {
    let mut server = FleetbeatServer::start();
    spool_for_days(&server);
    let export = ["history", "export", "--csv", "--ip", HOST];
    let before = printed(&server, &export);
    assert_eq!(before.lines().count(), 2001);

    let folder = tempfile::tempdir().unwrap();
    let backup = folder.path().join("backup.db");
    let backup = backup.to_str().unwrap();
    let said = printed(&server, &["backup", backup, "--with-history"]);
    assert!(said.contains("the history of 1 hosts from "), "{said}");
    let copy = format!("{backup}.history");
    let again = server.command(&["backup", backup, "--with-history"], "");
    assert!(!again.status.success(), "a backup goes to a new file");

    // The machine is gone.
    server.stop();
    for name in [
        "fleetbeat.db",
        "history.db",
        "history.db-wal",
        "history.db-shm",
    ] {
        let _ = fs::remove_file(server.data().join(name));
    }
    let restore = ["restore", backup, "--with-history"];
    let good = fs::read(&copy).unwrap();
    fs::write(&copy, &good[..good.len() / 2]).unwrap();
    let refused = server.command(&restore, "");
    let told = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && told.contains(&copy), "{told}");
    assert!(
        !server.data().join("fleetbeat.db").exists(),
        "nothing is done"
    );
    fs::write(&copy, &good).unwrap();

    let said = printed(&server, &restore);
    assert!(said.contains("restored: the history of 1 hosts"), "{said}");
    server.restart();
    assert_eq!(printed(&server, &export), before);

    // What is replaced stays.
    server.stop();
    let said = printed(&server, &restore);
    assert!(said.contains("history.db.replaced-"), "{said}");
}

/// The active hosts at the last point of a chart.
fn last_active(chart: &Value) -> Option<f64> {
    chart["series"]["active"]["avg"]
        .as_array()?
        .last()?
        .as_f64()
}

/// The last mean of a series.
fn last_of(chart: &Value, series: &str) -> Option<f64> {
    chart["series"][series]["avg"].as_array()?.last()?.as_f64()
}

/// Waits until the fleet was noted with both its hosts: each minute has one sample, so the
/// first one may be older than the hosts.
fn wait_for_two(ask: &dyn Fn(&str) -> Value) -> Value {
    let deadline = Instant::now() + Duration::from_secs(90);
    loop {
        let fleet = ask("");
        if last_active(&fleet) == Some(2.0) {
            return fleet;
        }
        assert!(Instant::now() < deadline, "{fleet}");
        thread::sleep(Duration::from_millis(500));
    }
}

fn tells_how_the_fleet_is(server: &FleetbeatServer) {
    let token = server.admin_token();
    let mut other = made(Timestamp::now(), 1, 30.0);
    other["ip"] = json!("1.2.3.5");
    other["countryCode"] = json!("JP");
    for beat in [&made(Timestamp::now(), 1, 10.0), &other] {
        assert_eq!(server.heartbeat(beat).status, 200);
    }
    let ask = |query: &str| {
        let answer = server.api(&token, "GET", &format!("/fleet/history{query}"), None);
        assert_eq!(answer.status, 200, "{query}: {}", answer.json());
        answer.json()
    };
    let fleet = wait_for_two(&ask);
    assert_eq!(last_of(&fleet, "down"), Some(0.0), "{fleet}");
    assert_eq!(last_of(&fleet, "cpu"), Some(20.0), "{fleet}");
    assert_eq!(
        fleet["series"]["clients"],
        Value::Null,
        "no host tells of any"
    );

    let countries = ask("?group=country&series=active,cpu");
    for (code, cpu) in [("DE", 10.0), ("JP", 30.0)] {
        let country = &countries["countries"][code];
        assert_eq!(last_active(country), Some(1.0), "{countries}");
        assert_eq!(last_of(country, "cpu"), Some(cpu), "{countries}");
    }

    for (query, field) in [
        ("group=city", "group"),
        ("series=services", "series"),
        ("group=country&from=2020-01-01T00:00:00Z", "to"),
    ] {
        let path = format!("/fleet/history?{query}");
        let answer = server.api(&token, "GET", &path, None);
        assert_eq!(answer.status, 422, "{query}");
        assert_eq!(answer.json()["errors"][0]["field"], field);
    }
    // Neither is a host.
    for name in ["fleet", "country%3ADE"] {
        let path = format!("/server/{name}/history");
        assert_eq!(server.api(&token, "GET", &path, None).status, 404);
    }
    assert_eq!(server.servers(&token).len(), 2);
}

#[test]
fn the_fleet_has_a_history_of_its_own_on_both_backends() {
    let mut server = FleetbeatServer::start();
    tells_how_the_fleet_is(&server);
    server.stop();
    server.restart();
    let token = server.admin_token();
    let chart = server.api(&token, "GET", "/fleet/history", None).json();
    assert_eq!(last_active(&chart), Some(2.0), "{chart}");

    let (database, redis) = (Database::new(), RedisServer::start());
    tells_how_the_fleet_is(&FleetbeatServer::start_on_mongodb(
        &database,
        &database.url,
        &redis.url(),
        "",
    ));
}
