//! API tokens: what programs may do in a user's name, and when that ends.

use std::time::{Duration, Instant};

use fleetbeat_tools::client::Answer;
use fleetbeat_tools::server::{Database, FleetbeatServer};
use fleetbeat_tools::wait::wait_for;
use serde_json::{Value, json};

const PASSWORD: &str = "first password";
const LIMIT: Duration = Duration::from_secs(2);

fn make(server: &FleetbeatServer, login: &str, body: &Value) -> Answer {
    server.api(login, "POST", "/tokens", Some(body))
}

fn wanted(scopes: &[&str]) -> Value {
    json!({"name": "Grafana", "scopes": scopes, "expires_in": "90d"})
}

/// A new API token and its id.
fn token(server: &FleetbeatServer, login: &str, scopes: &[&str]) -> (String, String) {
    let made = make(server, login, &wanted(scopes));
    assert_eq!(made.status, 201, "{made:?}");
    let text = |name: &str| made.json()[name].as_str().unwrap().to_owned();
    (text("token"), text("id"))
}

#[test]
fn a_token_is_shown_once_and_kept_as_a_hash() {
    let server = FleetbeatServer::start();
    let root = server.admin_token();
    let made = make(&server, &root, &wanted(&["servers:read", "sd:read"]));
    assert_eq!(made.status, 201, "{made:?}");
    let mut shown = made.json();
    let text = shown["token"].as_str().unwrap().to_owned();
    let (prefix, rest) = text.split_once('_').unwrap();
    let (id, secret) = rest.split_once('_').unwrap();
    assert_eq!((prefix, id), ("fbt", shown["id"].as_str().unwrap()));
    assert_eq!(
        made.header("location"),
        Some(format!("/tokens/{id}").as_str())
    );
    assert_eq!(made.header("cache-control"), Some("no-store"));

    shown.as_object_mut().unwrap().remove("token");
    let listed = server.api(&root, "GET", "/tokens", None);
    assert_eq!(listed.json(), json!([shown]));
    assert_eq!(shown["last_used_on"], Value::Null);
    assert_eq!(server.api(&text, "GET", "/servers", None).status, 200);
    let used = server.api(&root, "GET", "/tokens", None).json();
    let day = used[0]["last_used_on"].as_str().unwrap();
    assert!(day.ends_with("T00:00:00Z"), "{day}");

    for file in std::fs::read_dir(server.data()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        let has = |text: &str| {
            bytes
                .windows(text.len())
                .any(|part| part == text.as_bytes())
        };
        assert!(!has(secret) && !has(&secret[..20]));
    }
    assert!(!server.log().contains(&secret[..20]), "{}", server.log());
}

#[test]
fn what_breaks_a_rule_is_named() {
    let server = FleetbeatServer::start();
    server.add_user("reader", "readonly", PASSWORD);
    let reader = server.token("reader", PASSWORD);
    let with = |name: &str, value: Value| {
        let mut body = wanted(&["servers:read"]);
        body[name] = value;
        body
    };
    for (body, field) in [
        (with("expires_in", json!("401d")), "expires_in"),
        (with("expires_in", json!("59s")), "expires_in"),
        (with("expires_in", json!("soon")), "expires_in"),
        (with("expires_in", json!(90)), "expires_in"),
        (with("scopes", json!(["users:write"])), "scopes[0]"),
        (with("scopes", json!(["flags:write"])), "scopes"),
        (with("networks", json!(["192.0.2.0/33"])), "networks[0]"),
        (with("name", json!("")), "name"),
    ] {
        let answer = make(&server, &reader, &body);
        assert_eq!(answer.status, 422, "{body}: {answer:?}");
        assert_eq!(answer.json()["errors"][0]["field"], field, "{body}");
    }
    for (name, value) in [("expires_in", "400d"), ("expires_in", "1m")] {
        assert_eq!(
            make(&server, &reader, &with(name, json!(value))).status,
            201
        );
    }
}

#[test]
fn a_token_does_no_more_than_its_scopes_and_its_maker() {
    let mut server =
        FleetbeatServer::start_with("trusted_proxies = [\"127.0.0.1\"]", &[]);
    server.add_user("ann", "admin", PASSWORD);
    let (root, ann) = (server.admin_token(), server.token("ann", PASSWORD));
    let body = include_str!("../../protocol/golden/heartbeat-minimal.json");
    server.post_heartbeat("/heartbeat", body.as_bytes());
    let (writer, id) = token(&server, &ann, &["flags:write"]);
    let set = |token: &str, paid: bool| {
        let body = json!({"paid": paid});
        server.api(token, "PATCH", "/server/1.2.3.4/config", Some(&body))
    };
    assert_eq!(set(&writer, true).status, 200);
    let refused = server.api(&writer, "GET", "/servers", None);
    assert_eq!(refused.status, 403);
    let challenge = refused.header("www-authenticate").unwrap();
    assert!(challenge.contains("scope=\"servers:read\""), "{challenge}");
    let answer = server.api(&writer, "GET", "/me", None);
    assert_eq!(answer.status, 403, "never for accounts: {answer:?}");

    // The maker's role is the ceiling, at each moment.
    let role = |role: &str| {
        let body = json!({"role": role});
        let answer = server.api(&root, "PATCH", "/users/ann", Some(&body));
        assert_eq!(answer.status, 200, "{answer:?}");
    };
    role("readonly");
    assert_eq!(set(&writer, false).status, 403);
    role("admin");
    assert_eq!(set(&writer, false).status, 200);

    // From its networks alone.
    let mut here = wanted(&["servers:read"]);
    here["networks"] = json!(["192.0.2.0/24", "2001:db8::/32"]);
    let made = make(&server, &root, &here).json();
    let bearer = format!("Bearer {}", made["token"].as_str().unwrap());
    for (source, status) in [
        ("192.0.2.7", 200),
        ("2001:db8::7", 200),
        ("198.51.100.7", 403),
        ("not an address", 403),
    ] {
        let headers = [
            ("Authorization", bearer.as_str()),
            ("X-Forwarded-For", source),
        ];
        let answer = server.request("GET", "/servers", &headers, b"");
        assert_eq!(answer.status, status, "{source}: {answer:?}");
    }

    let flag = server
        .api(&root, "GET", "/events?kind=flag.changed&limit=1", None)
        .json();
    let event = &flag["events"][0];
    assert_eq!(
        (&event["actor"]["user"], &event["data"]["token"]),
        (&json!("ann"), &json!(id))
    );
    server.stop();
    server.restart();
    let root = server.admin_token();
    let told = server
        .api(&root, "GET", "/events?kind=token.refused", None)
        .json();
    let mut reasons: Vec<String> = told["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| format!("{} of {}", event["data"]["reason"], event["user"]))
        .collect();
    reasons.sort();
    reasons.dedup();
    let expected = ["\"network\" of \"admin\"", "\"scope\" of \"ann\""];
    assert_eq!(reasons, expected, "{told}");
}

#[test]
fn a_user_sees_and_revokes_the_own_tokens_and_a_superadmin_all() {
    let server = FleetbeatServer::start();
    for name in ["ann", "bob"] {
        server.add_user(name, "readonly", PASSWORD);
    }
    let root = server.admin_token();
    let [ann, bob] = ["ann", "bob"].map(|name| server.token(name, PASSWORD));
    let (_, of_ann) = token(&server, &ann, &["servers:read"]);
    let (in_use, of_bob) = token(&server, &bob, &["servers:read"]);
    let ids = |login: &str| -> Vec<Value> {
        let listed = server.api(login, "GET", "/tokens", None).json();
        let listed = listed.as_array().unwrap().clone();
        listed
            .into_iter()
            .map(|token| token["id"].clone())
            .collect()
    };
    assert_eq!(ids(&ann), [json!(of_ann)]);
    assert_eq!(ids(&root), [json!(of_ann), json!(of_bob)]);
    let revoke = |login: &str, id: &str| {
        server
            .api(login, "DELETE", &format!("/tokens/{id}"), None)
            .status
    };
    assert_eq!(
        revoke(&ann, &of_bob),
        404,
        "not to be told from one that is not there"
    );
    assert_eq!(server.api(&in_use, "GET", "/servers", None).status, 200);
    assert_eq!(revoke(&root, &of_bob), 204);
    assert_eq!(
        server.api(&in_use, "GET", "/servers", None).status,
        401,
        "at once"
    );
    assert_eq!((revoke(&ann, &of_ann), revoke(&ann, &of_ann)), (204, 404));
}

#[test]
fn a_token_ends_with_its_maker_and_no_later_user_of_the_name_has_it() {
    let server = FleetbeatServer::start();
    server.add_user("ann", "admin", PASSWORD);
    let ann = server.token("ann", PASSWORD);
    let (program, _) = token(&server, &ann, &["servers:read"]);
    let status = || server.api(&program, "GET", "/servers", None).status;
    assert_eq!(status(), 200);

    // By another process, which the server learns of within two seconds.
    assert!(
        server
            .command(&["user", "remove", "ann"], "")
            .status
            .success()
    );
    let removed = Instant::now();
    wait_for("the token to end", || (status() == 401).then_some(()));
    assert!(removed.elapsed() < LIMIT, "{:?}", removed.elapsed());
    server.add_user("ann", "admin", PASSWORD);
    let ann = server.token("ann", PASSWORD);
    assert_eq!(server.api(&ann, "GET", "/tokens", None).json(), json!([]));
    assert_eq!(status(), 401);
}

#[test]
fn a_token_is_made_and_revoked_for_all_instances() {
    let database = Database::new();
    let redis = std::env::var("REDIS_URL").unwrap();
    let start =
        || FleetbeatServer::start_on_mongodb(&database, &database.url, &redis, "");
    let (one, other) = (start(), start());
    let root = one.admin_token();
    assert_eq!(other.api(&root, "GET", "/me", None).status, 200);

    let (program, id) = token(&one, &root, &["servers:read"]);
    let at =
        |server: &FleetbeatServer| server.api(&program, "GET", "/servers", None).status;
    let made = Instant::now();
    wait_for("the other instance to know it", || {
        (at(&other) == 200).then_some(())
    });
    assert!(made.elapsed() < LIMIT, "{:?}", made.elapsed());
    assert_eq!(at(&one), 200);

    let path = format!("/tokens/{id}");
    assert_eq!(one.api(&root, "DELETE", &path, None).status, 204);
    let revoked = Instant::now();
    wait_for("the other instance to refuse it", || {
        (at(&other) == 401).then_some(())
    });
    assert!(revoked.elapsed() < LIMIT, "{:?}", revoked.elapsed());
    assert_eq!(at(&one), 401);

    // A login that is made on one instance is good on the other at once.
    one.add_user("ann", "readonly", PASSWORD);
    let old = other.token("ann", PASSWORD);
    assert_eq!(other.api(&old, "GET", "/me", None).status, 200);
    let body = json!({"current_password": PASSWORD, "new_password": "second password"});
    let changed = one.api(&old, "POST", "/me/password", Some(&body));
    assert_eq!(changed.status, 200, "{changed:?}");
    let new = changed.json()["access_token"].as_str().unwrap().to_owned();
    let asked = Instant::now();
    wait_for("the other instance to know the new login", || {
        (other.api(&new, "GET", "/me", None).status == 200).then_some(())
    });
    assert!(
        asked.elapsed() < Duration::from_secs(1),
        "{:?}",
        asked.elapsed()
    );
    wait_for("the old login to end there", || {
        (other.api(&old, "GET", "/me", None).status == 401).then_some(())
    });
    assert!(asked.elapsed() < LIMIT, "{:?}", asked.elapsed());
}
