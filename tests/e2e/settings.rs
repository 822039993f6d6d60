//! Settings that admins make on a host, from where they are set to where they are read.

use fleetbeat_tools::server::FleetbeatServer;
use fleetbeat_tools::wait::wait_for;
use serde_json::{Value, json};

const SETTINGS: &str = "/server/1.2.3.4/settings";

fn heartbeat() -> Value {
    let mut body: Value = serde_json::from_str(include_str!(
        "../../protocol/golden/heartbeat-minimal.json"
    ))
    .unwrap();
    body["agent_version"] = json!("1.2.0");
    body
}

#[test]
fn settings_are_set_and_removed_and_admins_know_best_where_a_host_is() {
    let mut server = FleetbeatServer::start();
    let token = server.admin_token();
    assert_eq!(server.heartbeat(&heartbeat()).status, 200);
    let set = |server: &FleetbeatServer, body: &Value| {
        let answer = server.api(&token, "PATCH", SETTINGS, Some(body));
        assert_eq!(answer.status, 200, "{}", answer.json());
        answer.json()
    };
    let full = json!({
        "max_sessions": 250, "bandwidth_mbps": 1000, "capacity": 2.5, "admin_weight": 0,
        "attributes": ["port=51820"],
        "geo": {"country_code": "AT", "country": "Austria", "city": "Wien",
            "latitude": 48.2, "longitude": 16.37},
        "billing": {"day": 31, "quota_bytes": 9_007_199_254_740_991_u64,
            "count": "max", "expires_on": "2028-02-29"},
    });
    assert_eq!(set(&server, &full)["settings"], full);
    let patch = json!({"capacity": null, "billing": null, "max_sessions": 300});
    let mut expected = full.clone();
    expected["max_sessions"] = json!(300);
    for name in ["capacity", "billing"] {
        expected.as_object_mut().unwrap().remove(name);
    }
    assert_eq!(set(&server, &patch)["settings"], expected);

    let shown = wait_for("the list to show them", || {
        let shown = server.servers(&token)[0].clone();
        (shown["settings"] == expected).then_some(shown)
    });
    assert_eq!(
        [&shown["countryCode"], &shown["country"], &shown["city"]],
        ["AT", "Austria", "Wien"]
    );
    assert_eq!(shown["agent_version"], "1.2.0");
    for (query, count) in [
        ("country=at", 1),
        ("country=de", 0),
        ("select=city+%3D+wien+and+agent_version+%3E%3D+1.2", 1),
    ] {
        let answer = server.api(&token, "GET", &format!("/servers?{query}"), None);
        assert_eq!(answer.json().as_array().unwrap().len(), count, "{query}");
    }

    // Neither a heartbeat nor a restart touches them; without geo, the agent's word counts.
    assert_eq!(server.heartbeat(&heartbeat()).status, 200);
    server.stop();
    server.restart();
    let shown = server.api(&token, "GET", "/server/1.2.3.4", None).json();
    assert_eq!(shown["settings"], expected);
    assert_eq!(set(&server, &json!({"geo": null}))["countryCode"], "DE");

    let events = server.api(&token, "GET", "/events?kind=settings.changed", None);
    let told = events.json()["events"].as_array().unwrap().len();
    assert_eq!(told, 7 + 3 + 1, "{}", events.json());
    let log = server.log();
    assert!(
        log.contains("has set the settings of host 1.2.3.4: geo"),
        "{log}"
    );
}

#[test]
fn settings_that_break_a_rule_are_named_and_nothing_is_stored() {
    let server = FleetbeatServer::start();
    let token = server.admin_token();
    assert_eq!(server.heartbeat(&heartbeat()).status, 200);
    for (body, field) in [
        (json!([]), ""),
        (json!({"max_session": 1}), "max_session"),
        (json!({"max_sessions": 0}), "max_sessions"),
        (
            json!({"capacity": 1, "bandwidth_mbps": "1000"}),
            "bandwidth_mbps",
        ),
        (json!({"capacity": 0}), "capacity"),
        (json!({"admin_weight": 1001}), "admin_weight"),
        (json!({"attributes": vec!["a"; 17]}), "attributes"),
        (json!({"attributes": ["a", 1]}), "attributes[1]"),
        (
            json!({"geo": {"country_code": "Austria"}}),
            "geo.country_code",
        ),
        (json!({"geo": {"latitude": 1}}), "geo.longitude"),
        (json!({"billing": {"day": 32}}), "billing.day"),
        (
            json!({"billing": {"expires_on": "soon"}}),
            "billing.expires_on",
        ),
    ] {
        let answer = server.api(&token, "PATCH", SETTINGS, Some(&body));
        let errors = &answer.json()["errors"];
        assert_eq!(
            (answer.status, &errors[0]["field"]),
            (422, &json!(field)),
            "{body}"
        );
    }
    let shown = server.api(&token, "GET", "/server/1.2.3.4", None).json();
    assert_eq!(shown["settings"], json!({}));
    let unknown = server.api(
        &token,
        "PATCH",
        "/server/1.2.3.5/settings",
        Some(&json!({})),
    );
    assert_eq!(unknown.status, 404);
}
