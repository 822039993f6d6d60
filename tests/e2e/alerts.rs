//! Alert rules, mutes, alerts and the messages about them, over the real program.

use fleetbeat_tools::client::Answer;
use fleetbeat_tools::server::{Database, FleetbeatServer};
use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, params};
use serde_json::{Value, json};

fn on_both_backends(test: fn(&FleetbeatServer, &str)) {
    let server = FleetbeatServer::start();
    test(&server, &server.admin_token());

    let database = Database::new();
    let server = FleetbeatServer::start_on_mongodb(&database, &database.url, "", "");
    test(&server, &server.admin_token());
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// The names of the fields that an answer finds wrong.
fn wrong(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status, 422, "{answer:?}");
    let errors = answer.json()["errors"].as_array().unwrap().clone();
    errors.iter().map(|error| text(&error["field"])).collect()
}

/// The kinds of the events that a query finds, the oldest first.
fn kinds(server: &FleetbeatServer, token: &str, group: &str) -> Vec<String> {
    let target = format!("/events?kind={group}.*&after=0&limit=1000");
    let find = || {
        let events = server.api(token, "GET", &target, None).json();
        let events = events["events"].as_array().unwrap().clone();
        let kinds: Vec<String> =
            events.iter().map(|event| text(&event["kind"])).collect();
        kinds
    };
    // MongoDB numbers events within a second or two.
    let deleted = format!("{group}.deleted");
    fleetbeat_tools::wait::wait_for("the last event", || {
        Some(find()).filter(|kinds| kinds.last() == Some(&deleted))
    })
}

#[test]
fn rules_are_made_replaced_and_removed() {
    on_both_backends(|server, token| {
        let api = |method: &str, target: &str, body: Option<&Value>| {
            server.api(token, method, target, body)
        };
        assert_eq!(api("GET", "/alert-rules", None).json(), json!([]));
        let disk = json!({
            "name": "disk nearly full", "severity": "warning", "when": "metric",
            "metric": "disk_used_percent", "above": 90, "clear": 85, "for": "10m",
            "where": "country=DE  and paid", "channels": ["chn-0"],
        });
        let made = api("POST", "/alert-rules", Some(&disk));
        assert_eq!(made.status, 201, "{made:?}");
        let rule = made.json();
        let id = text(&rule["id"]);
        let target = format!("/alert-rules/{id}");
        assert_eq!(made.header("location"), Some(target.as_str()));
        assert_eq!(made.header("etag"), Some("\"1\""));
        assert_eq!(rule["where"], "country = DE and paid");
        assert_eq!(rule["group_wait"], "30s");
        assert_eq!(rule["warnings"][0]["field"], "channels[0]");
        assert_eq!(api("GET", &target, None).json(), rule);

        let down =
            json!({"name": "a host is down", "severity": "critical", "when": "down"});
        let down = api("POST", "/alert-rules", Some(&down)).json();
        let list = api("GET", "/alert-rules", None).json();
        assert_eq!(list, json!([down, rule]), "in the order of names");

        // Each change has another version, and only the one that is meant is changed.
        let put = |etag: &[(&str, &str)], severity: &str| {
            let mut disk = disk.clone();
            disk["severity"] = severity.into();
            let mut headers = vec![("Content-Type", "application/json")];
            let bearer = format!("Bearer {token}");
            headers.push(("Authorization", &bearer));
            headers.extend(etag);
            server.request("PUT", &target, &headers, disk.to_string().as_bytes())
        };
        let changed = put(&[("If-Match", "\"1\"")], "info");
        assert_eq!(changed.status, 200, "{changed:?}");
        assert_eq!(changed.header("etag"), Some("\"2\""));
        assert_eq!(changed.json()["created_at"], rule["created_at"]);
        assert_eq!(put(&[("If-Match", "\"1\"")], "critical").status, 412);
        assert_eq!(put(&[("If-Match", "W/\"2\"")], "critical").status, 412);
        let last = put(&[], "critical").json();
        assert_eq!(
            (&last["version"], &last["severity"]),
            (&json!(3), &json!("critical"))
        );

        assert_eq!(api("DELETE", &target, None).status, 204);
        assert_eq!(api("DELETE", &target, None).status, 404);
        assert_eq!(api("GET", &target, None).status, 404);
        assert_eq!(api("PUT", &target, Some(&disk)).status, 404);
        let told = kinds(server, token, "rule");
        let [created, changed] = ["rule.created", "rule.changed"];
        assert_eq!(told, [created, created, changed, changed, "rule.deleted"]);
    });
}

#[test]
fn a_rule_that_makes_no_sense_is_named_and_not_kept() {
    let server = FleetbeatServer::start();
    let token = server.admin_token();
    let post = |body: &Value| server.api(&token, "POST", "/alert-rules", Some(body));
    assert_eq!(wrong(&post(&json!({}))), ["name", "severity", "when"]);
    let mut rule = json!({"name": "x", "severity": "critical", "when": "down"});
    rule["where"] = "contry = DE".into();
    rule["for"] = "soon".into();
    rule["repeat"] = "1m".into();
    rule["above"] = 5.into();
    let mut fields = wrong(&post(&rule));
    fields.sort();
    assert_eq!(fields, ["above", "for", "repeat", "where"]);
    let list = server.api(&token, "GET", "/alert-rules", None).json();
    assert_eq!(list, json!([]));
}

#[test]
fn there_are_no_more_rules_than_there_may_be() {
    let server = FleetbeatServer::start();
    let token = server.admin_token();
    let rule = json!({"name": "x", "severity": "critical", "when": "down"});
    let post = || {
        server
            .api(&token, "POST", "/alert-rules", Some(&rule))
            .status
    };
    for _ in 0..200 {
        assert_eq!(post(), 201);
    }
    assert_eq!(post(), 409);
}

#[test]
fn mutes_are_made_and_ended() {
    on_both_backends(|server, token| {
        let api = |method: &str, target: &str, body: Option<&Value>| {
            server.api(token, method, target, body)
        };
        let end = |hours: i64| {
            (Timestamp::now() + SignedDuration::from_hours(hours)).to_string()
        };
        let weekly = json!({
            "where": "country = DE", "until": end(24 * 300), "rules": ["rul-0"],
            "reason": "backups",
            "weekly": {
                "days": ["sun", "mon"], "from": "22:00", "to": "06:00",
                "zone": "Europe/Berlin",
            },
        });
        let made = api("POST", "/mutes", Some(&weekly));
        assert_eq!(made.status, 201, "{made:?}");
        let later = made.json();
        assert_eq!(later["warnings"][0]["field"], "rules[0]");
        assert_eq!(later["weekly"]["days"], json!(["mon", "sun"]));
        let sooner = json!({"where": "all", "until": end(1)});
        let sooner = api("POST", "/mutes", Some(&sooner)).json();
        assert_eq!(api("GET", "/mutes", None).json(), json!([sooner, later]));

        let endless = json!({"where": "all", "until": end(24 * 91)});
        assert_eq!(wrong(&api("POST", "/mutes", Some(&endless))), ["until"]);
        let mut nowhere = weekly.clone();
        nowhere["weekly"]["zone"] = "Europe/Atlantis".into();
        assert_eq!(
            wrong(&api("POST", "/mutes", Some(&nowhere))),
            ["weekly.zone"]
        );

        let target = format!("/mutes/{}", text(&later["id"]));
        assert_eq!(api("DELETE", &target, None).status, 204);
        assert_eq!(api("DELETE", &target, None).status, 404);
        assert_eq!(api("GET", "/mutes", None).json(), json!([sooner]));
        let created = "mute.created";
        assert_eq!(
            kinds(server, token, "mute"),
            [created, created, "mute.deleted"]
        );
    });
}

#[test]
fn rules_and_mutes_survive_a_restart_and_a_backup() {
    let mut server = FleetbeatServer::start();
    let token = server.admin_token();
    let rule = json!({"name": "x", "severity": "critical", "when": "down"});
    let rule = server
        .api(&token, "POST", "/alert-rules", Some(&rule))
        .json();
    let file = server.data().with_file_name("backup.db");
    let path = file.to_str().unwrap();
    let saved = server.command(&["backup", path], "");
    assert!(saved.status.success(), "{saved:?}");
    let target = format!("/alert-rules/{}", text(&rule["id"]));
    assert_eq!(server.api(&token, "DELETE", &target, None).status, 204);
    server.stop();
    seed(&Connection::open(&file).unwrap());
    let restored = server.command(&["restore", path], "");
    assert!(restored.status.success(), "{restored:?}");
    server.restart();

    assert_eq!(server.api(&token, "GET", &target, None).json(), rule);
    // What waited in the backup has most likely been sent since.
    let list = server.api(&token, "GET", "/deliveries", None).json();
    let list = list["deliveries"].as_array().unwrap();
    assert!(!list.is_empty());
    for delivery in list {
        assert_eq!(delivery["state"], "dead", "{delivery}");
    }
    let error = "the database was restored from a backup";
    assert!(list.iter().any(|delivery| delivery["error"] == error));
}

/// Puts alerts and messages into a database: `alr-1` fires, `alr-2` is over; `dlv-1` about
/// the first is dead, `dlv-2` waits.
fn seed(database: &Connection) {
    for (id, state, opened, ended) in [
        ("alr-1", "firing", 2000, None),
        ("alr-2", "resolved", 1000, Some(1500)),
    ] {
        let body = json!({
            "id": id, "rule_name": "down", "note": "", "when": "down", "object": "",
            "course": {"turns": []}, "told": {}, "since": "1970-01-01T00:00:00Z",
        });
        let insert = "INSERT INTO alerts (id, rule, server_id, severity, state, \
            opened_at, ended_at, written, body) VALUES (?1, 'rul-1', 'srv-1', \
            'critical', ?2, ?3, ?4, 0, ?5)";
        let row = params![id, state, opened, ended, body.to_string()];
        database.execute(insert, row).unwrap();
    }
    for (number, state) in [(1, "dead"), (2, "waiting")] {
        let insert = "INSERT INTO deliveries (id, number, channel, alerts, folds, state, \
            created_at, next_at, tries, written, body) VALUES (?1, ?2, 'chn-1', \
            '[\"alr-1\"]', '[]', ?3, 3000, 3000, 1, 0, '{}')";
        let id = format!("dlv-{number}");
        database
            .execute(insert, params![id, number, state])
            .unwrap();
        let link = "INSERT INTO alert_deliveries VALUES ('alr-1', ?1)";
        database.execute(link, [&id]).unwrap();
    }
}

#[test]
fn alerts_are_listed_taken_on_and_given_back() {
    let mut server = FleetbeatServer::start();
    let token = server.admin_token();
    server.stop();
    seed(&Connection::open(server.data().join("fleetbeat.db")).unwrap());
    server.restart();
    let api = |method: &str, target: &str, body: Option<&Value>| {
        server.api(&token, method, target, body)
    };
    let ids = |query: &str| -> (Vec<String>, Value) {
        let answer = api("GET", &format!("/alerts{query}"), None).json();
        let alerts = answer["alerts"].as_array().unwrap().iter();
        let ids = alerts.map(|alert| text(&alert["id"])).collect();
        (ids, answer["next"].clone())
    };
    assert_eq!(ids("").0, ["alr-1", "alr-2"]);
    assert_eq!(ids("?state=firing,pending").0, ["alr-1"]);
    assert_eq!(ids("?state=resolved&ip=srv-1&rule=rul-1").0, ["alr-2"]);
    assert_eq!(ids("?severity=info").0, [""; 0]);
    assert_eq!(ids("?ip=192.0.2.77").0, [""; 0]);
    let (first, next) = ids("?limit=1");
    assert_eq!(first, ["alr-1"]);
    let after = format!("?limit=1&after={}", text(&next));
    assert_eq!(ids(&after), (vec!["alr-2".to_owned()], Value::Null));
    assert_eq!(wrong(&api("GET", "/alerts?state=open", None)), ["state"]);

    let shown = api("GET", "/alerts/alr-1", None).json();
    assert_eq!(shown["deliveries"].as_array().unwrap().len(), 2);
    assert_eq!(shown["ack"], Value::Null);
    assert!(shown.get("course").is_none() && shown.get("told").is_none());

    let note = json!({"note": "on my way"});
    let taken = api("POST", "/alerts/alr-1/ack", Some(&note));
    assert_eq!(taken.status, 200, "{taken:?}");
    assert_eq!(taken.json()["ack"]["note"], "on my way");
    assert_eq!(
        api("GET", "/alerts/alr-1", None).json()["ack"],
        taken.json()["ack"]
    );
    let listed = api("GET", "/alerts?limit=1", None).json();
    assert_eq!(listed["alerts"][0]["ack"], taken.json()["ack"]);
    assert_eq!(
        api("POST", "/alerts/alr-1/ack", None).json()["ack"]["note"],
        ""
    );
    assert_eq!(
        api("POST", "/alerts/alr-2/ack", None).status,
        409,
        "it is over"
    );
    assert_eq!(api("POST", "/alerts/alr-9/ack", None).status, 404);
    let wordy = json!({"note": "x".repeat(1001)});
    assert_eq!(
        wrong(&api("POST", "/alerts/alr-1/ack", Some(&wordy))),
        ["note"]
    );
    assert_eq!(api("DELETE", "/alerts/alr-1/ack", None).status, 204);
    assert_eq!(api("DELETE", "/alerts/alr-1/ack", None).status, 404);
    assert_eq!(api("GET", "/alerts/alr-1", None).json()["ack"], Value::Null);
}

#[test]
fn messages_that_were_given_up_are_tried_again_or_dismissed() {
    let mut server = FleetbeatServer::start();
    let token = server.admin_token();
    server.stop();
    let database = Connection::open(server.data().join("fleetbeat.db")).unwrap();
    seed(&database);
    drop(database);
    server.restart();
    let api = |method: &str, target: &str| server.api(&token, method, target, None);
    let ids = |query: &str| -> Vec<String> {
        let answer = api("GET", &format!("/deliveries{query}")).json();
        let deliveries = answer["deliveries"].as_array().unwrap().iter();
        deliveries.map(|delivery| text(&delivery["id"])).collect()
    };
    assert_eq!(ids(""), ["dlv-2", "dlv-1"]);
    assert_eq!(ids("?state=dead&channel=chn-1&alert=alr-1"), ["dlv-1"]);
    assert_eq!(ids("?alert=alr-2"), [""; 0]);

    assert_eq!(
        api("POST", "/deliveries/dlv-2/retry").status,
        409,
        "it waits"
    );
    assert_eq!(api("DELETE", "/deliveries/dlv-2").status, 409);
    assert_eq!(api("POST", "/deliveries/dlv-9/retry").status, 404);
    let asked = api("POST", "/deliveries/dlv-1/retry");
    assert_eq!(
        (asked.status, &asked.json()["state"]),
        (200, &json!("asked"))
    );
    assert_eq!(
        api("DELETE", "/deliveries/dlv-1").status,
        409,
        "somebody wants it"
    );
}
