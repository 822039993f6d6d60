//! Tags of admins and of agents, from where they are set to where they are read.

use fleetbeat_tools::server::FleetbeatServer;
use fleetbeat_tools::wait::wait_for;
use serde_json::{Value, json};

use crate::agent::{Agent, FAST};

fn heartbeat(tags: &Value) -> Value {
    let mut body: Value = serde_json::from_str(include_str!(
        "../../protocol/golden/heartbeat-minimal.json"
    ))
    .unwrap();
    body["tags"] = tags.clone();
    body
}

#[test]
fn tags_of_both_sources_are_shown_and_selected_and_stay_apart() {
    let mut server = FleetbeatServer::start();
    let token = server.admin_token();
    let sent = heartbeat(&json!({"tier": "silver", "edge": "", "rack/a.1": "17"}));
    assert_eq!(server.heartbeat(&sent).status, 200);
    let patch = |body: &Value| {
        let target = "/server/1.2.3.4/tags";
        server.api(&token, "PATCH", target, Some(body))
    };
    assert_eq!(patch(&json!({"tier": "gold", "old": "x"})).status, 200);
    let answer = patch(&json!({"env": "prod", "old": null}));
    assert_eq!(answer.status, 200);
    let expected = json!({"tier": "gold", "env": "prod"});
    assert_eq!(answer.json()["tags"], expected);

    wait_for("the list to show them", || {
        (server.servers(&token)[0]["tags"] == expected).then_some(())
    });
    for (selector, is_meant) in [
        ("tag.tier = gold", true),
        ("tag.tier = silver", false),
        ("tag.env in (dev, PROD) and tag.edge", true),
        ("tag.rack/a.1 >= 17", true),
        ("tag.old", false),
        ("tag.none != x", true),
    ] {
        let mut query = form_urlencoded::Serializer::new(String::new());
        let query = query.append_pair("select", selector).finish();
        let answer = server.api(&token, "GET", &format!("/servers?{query}"), None);
        let count = answer.json().as_array().unwrap().len();
        assert_eq!(count, usize::from(is_meant), "{selector}");
    }

    // Neither a heartbeat nor a restart touches what admins have set.
    assert_eq!(
        server
            .heartbeat(&heartbeat(&json!({"tier": "bronze"})))
            .status,
        200
    );
    server.stop();
    server.restart();
    let shown = server.api(&token, "GET", "/server/1.2.3.4", None).json();
    assert_eq!(shown["tags"], expected);
    assert_eq!(shown["agent_tags"], json!({"tier": "bronze"}));

    let events = server.api(&token, "GET", "/events?kind=tag.changed&ip=1.2.3.4", None);
    let told = events.json()["events"].as_array().unwrap().len();
    assert_eq!(told, 4, "{}", events.json());
    assert!(
        server.log().contains("env = \"prod\", old removed"),
        "{}",
        server.log()
    );
}

#[test]
fn tags_that_break_a_rule_are_named_and_nothing_is_stored() {
    let server = FleetbeatServer::start();
    let token = server.admin_token();
    assert_eq!(server.heartbeat(&heartbeat(&Value::Null)).status, 200);
    let many = |count: usize| {
        let tags = (0..count).map(|n| (format!("k{n}"), json!("")));
        Value::Object(tags.collect())
    };
    let long = "x".repeat(64);
    for (tags, field) in [
        (json!({"Env": "prod"}), "Env"),
        (json!({"": "prod"}), ""),
        (json!({"env": 1}), "env"),
        (json!({"env": long}), "env"),
        (json!({long.as_str(): "a"}), long.as_str()),
        (json!(["env"]), ""),
        (many(33), ""),
    ] {
        let answer = server.api(&token, "PATCH", "/server/1.2.3.4/tags", Some(&tags));
        let errors = &answer.json()["errors"];
        assert_eq!(
            (answer.status, &errors[0]["field"]),
            (422, &json!(field)),
            "{tags}"
        );

        let sent = server.heartbeat(&heartbeat(&tags));
        let errors = &sent.json()["errors"];
        let named = errors[0]["field"].as_str().unwrap();
        assert!(
            sent.status == 422 && named.starts_with("tags"),
            "{tags}: {errors}"
        );
    }

    let patch =
        |tags: &Value| server.api(&token, "PATCH", "/server/1.2.3.4/tags", Some(tags));
    assert_eq!(patch(&many(32)).status, 200);
    let refused = patch(&json!({"more": ""}));
    assert_eq!(refused.status, 409);
    let detail = refused.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("33 tags"), "{detail}");
    let shown = server.api(&token, "GET", "/server/1.2.3.4", None).json();
    assert_eq!(
        (&shown["tags"], &shown["agent_tags"]),
        (&many(32), &json!({}))
    );

    let unknown = server.api(&token, "PATCH", "/server/1.2.3.5/tags", Some(&json!({})));
    assert_eq!(unknown.status, 404);
}

#[test]
fn an_agent_sends_the_tags_of_its_configuration() {
    let server = FleetbeatServer::start();
    let token = server.admin_token();
    let settings = format!(
        "{FAST}[host]\nip = \"10.1.1.1\"\ntags = [\"edge\", \"env=prod\", \"a.b=x=y\"]\n"
    );
    let url = format!("http://{}", server.address());
    let agent = Agent::start(&url, &settings);
    let shown = wait_for("the host", || server.servers(&token).pop());
    let expected = json!({"edge": "", "env": "prod", "a.b": "x=y"});
    assert_eq!(shown["agent_tags"], expected);
    assert_eq!(shown["tags"], json!({}));
    drop(agent);
}
