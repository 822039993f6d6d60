//! Hosts that admins drain or set under maintenance, and hosts that drain themselves.

use std::thread;
use std::time::Duration;

use fleetbeat_tools::server::FleetbeatServer;
use fleetbeat_tools::wait::wait_for;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

const STATE: &str = "/server/1.2.3.4/state";

fn heartbeat(metrics: &Value) -> Value {
    let mut body: Value = serde_json::from_str(include_str!(
        "../../protocol/golden/heartbeat-minimal.json"
    ))
    .unwrap();
    body["metrics"] = metrics.clone();
    body
}

fn in_ms(milliseconds: i64) -> Timestamp {
    Timestamp::now() + SignedDuration::from_millis(milliseconds)
}

/// How many hosts the selector means.
fn count(server: &FleetbeatServer, token: &str, selector: &str) -> usize {
    let mut query = form_urlencoded::Serializer::new(String::new());
    let query = query.append_pair("select", selector).finish();
    let answer = server.api(token, "GET", &format!("/servers?{query}"), None);
    answer.json().as_array().unwrap().len()
}

#[test]
fn maintenance_ends_by_itself_everywhere_at_once() {
    let server = FleetbeatServer::start();
    let token = server.admin_token();
    assert_eq!(server.heartbeat(&heartbeat(&json!({}))).status, 200);
    let list = || {
        let answer = server.api(&token, "GET", "/servers", None);
        let etag = answer.header("etag").unwrap().to_owned();
        (answer.json()[0]["state"].clone(), etag)
    };
    assert_eq!(list().0["mode"], "normal");

    let until = in_ms(2500);
    let body =
        json!({"mode": "maintenance", "until": until.to_string(), "reason": "disk"});
    let set = server.api(&token, "PATCH", STATE, Some(&body));
    assert_eq!(set.status, 200);
    let state = set.json()["state"].clone();
    assert_eq!(
        (&state["mode"], &state["reason"]),
        (&json!("maintenance"), &json!("disk"))
    );
    let (_, etag) = wait_for("the list to show it", || {
        Some(list()).filter(|(shown, _)| *shown == state)
    });

    let cursor =
        server.api(&token, "GET", "/servers/changes", None).json()["cursor"].clone();

    // As long as it is in effect, the list is the same; and then at once another one.
    while Timestamp::now() < until - SignedDuration::from_millis(100) {
        assert_eq!(list(), (state.clone(), etag.clone()));
        assert_eq!(count(&server, &token, "maintenance"), 1);
        assert_eq!(count(&server, &token, "draining"), 0);
        thread::sleep(Duration::from_millis(40));
    }
    wait_for("its end", || (Timestamp::now() > until).then_some(()));
    assert_eq!(count(&server, &token, "maintenance"), 0);
    let (shown, new_etag) = list();
    assert_eq!(shown["mode"], "normal");
    assert_eq!(
        (&shown["until"], &shown["reason"]),
        (&Value::Null, &Value::Null)
    );
    assert_ne!(new_etag, etag);
    let one = server.api(&token, "GET", "/server/1.2.3.4", None).json();
    assert_eq!(one["state"], shown);
    let since = format!("/servers/changes?since={}", cursor.as_str().unwrap());
    let changed = server.api(&token, "GET", &since, None).json();
    assert_eq!(changed["changed"][0]["state"], shown, "{changed}");

    let events = server.api(&token, "GET", "/events?kind=state.changed", None);
    let events = events.json()["events"].clone();
    let told = json!({
        "from": "normal", "to": "maintenance", "until": state["until"], "reason": "disk",
    });
    assert_eq!(events.as_array().unwrap().len(), 1, "{events}");
    assert_eq!(events[0]["data"], told);
    let log = server.log();
    assert!(
        log.contains("has set the state of host 1.2.3.4: maintenance"),
        "{log}"
    );
}

#[test]
fn a_host_drains_itself_and_never_lifts_an_admins_drain() {
    let mut server = FleetbeatServer::start();
    let token = server.admin_token();
    let mode_after = |server: &FleetbeatServer, drain: f64| {
        let body = heartbeat(&json!({"drain": drain}));
        assert_eq!(server.heartbeat(&body).status, 200);
        let shown = server.api(&token, "GET", "/server/1.2.3.4", None).json();
        shown["state"]["mode"].as_str().unwrap().to_owned()
    };
    let set = |server: &FleetbeatServer, mode: &str| {
        let body = json!({"mode": mode});
        let answer = server.api(&token, "PATCH", STATE, Some(&body));
        answer.json()["state"]["mode"].as_str().unwrap().to_owned()
    };
    assert_eq!(mode_after(&server, 0.0), "normal");
    assert_eq!(mode_after(&server, 1.0), "drain");
    wait_for("the selector", || {
        (count(&server, &token, "draining") == 1).then_some(())
    });
    assert_eq!(mode_after(&server, 0.0), "normal");

    assert_eq!(set(&server, "drain"), "drain");
    assert_eq!(mode_after(&server, 0.0), "drain");
    server.stop();
    server.restart();
    assert_eq!(mode_after(&server, 1.0), "drain");
    assert_eq!(
        set(&server, "normal"),
        "drain",
        "the host still asks for it"
    );
    assert_eq!(mode_after(&server, 0.0), "normal");
    let told = server.api(&token, "GET", "/events?kind=state.changed", None);
    let told = told.json()["events"].as_array().unwrap().len();
    assert_eq!(told, 2, "what people have set, and no more");
}

#[test]
fn a_state_that_breaks_a_rule_is_named_and_nothing_is_stored() {
    let server = FleetbeatServer::start();
    let token = server.admin_token();
    assert_eq!(server.heartbeat(&heartbeat(&json!({}))).status, 200);
    let month_ms = 30 * 24 * 60 * 60 * 1000;
    let long = "x".repeat(254);
    for (body, field) in [
        (json!([]), ""),
        (json!({}), "mode"),
        (json!({"mode": "off"}), "mode"),
        (json!({"mode": "maintenance"}), "until"),
        (
            json!({"mode": "maintenance", "until": in_ms(-1000).to_string()}),
            "until",
        ),
        (
            json!({"mode": "drain", "until": in_ms(month_ms + 60_000).to_string()}),
            "until",
        ),
        (
            json!({"mode": "normal", "until": in_ms(1000).to_string()}),
            "until",
        ),
        (json!({"mode": "drain", "reason": long}), "reason"),
        (json!({"mode": "drain", "untill": null}), "untill"),
    ] {
        let answer = server.api(&token, "PATCH", STATE, Some(&body));
        let errors = &answer.json()["errors"];
        assert_eq!(
            (answer.status, &errors[0]["field"]),
            (422, &json!(field)),
            "{body}"
        );
    }
    let shown = server.api(&token, "GET", "/server/1.2.3.4", None).json();
    let expected =
        json!({"mode": "normal", "until": null, "reason": null, "since": null});
    assert_eq!(shown["state"], expected);

    let drain = json!({"mode": "drain"});
    let unknown = server.api(&token, "PATCH", "/server/1.2.3.5/state", Some(&drain));
    assert_eq!(unknown.status, 404);
}
