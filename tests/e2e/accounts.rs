//! Users: managed by superadmins, and each by the own account.

use std::thread;
use std::time::{Duration, Instant};

use fleetbeat_tools::client::Answer;
use fleetbeat_tools::server::{ADMIN_PASSWORD, FleetbeatServer};
use fleetbeat_tools::wait::wait_for;
use serde_json::{Value, json};

const PASSWORD: &str = "first password";

/// The fields that a 422 names.
fn fields(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status, 422, "{answer:?}");
    let errors = answer.json()["errors"].as_array().unwrap().clone();
    let fields = errors.iter().map(|error| error["field"].as_str().unwrap());
    fields.map(str::to_owned).collect()
}

/// The events of a kind, the newest first.
fn events(server: &FleetbeatServer, token: &str, kind: &str) -> Vec<Value> {
    let answer = server.api(token, "GET", &format!("/events?kind={kind}"), None);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["events"].as_array().unwrap().clone()
}

#[test]
fn a_superadmin_adds_changes_and_removes_users() {
    let server = FleetbeatServer::start();
    let root = server.admin_token();
    let call = |method: &str, target: &str, body: Option<Value>| {
        server.api(&root, method, target, body.as_ref())
    };
    let new =
        |name: &str| json!({"username": name, "role": "admin", "password": PASSWORD});

    let added = call("POST", "/users", Some(new("J\u{f6}rg@example.com")));
    let shown = json!({"username": "J\u{f6}rg@example.com", "role": "admin", "totp": false, "scope": null});
    assert_eq!((added.status, added.json()), (201, shown.clone()));
    let location = added.header("location").unwrap().to_owned();
    assert_eq!(location, "/users/J%C3%B6rg%40example%2Ecom");
    let admin =
        json!({"username": "admin", "role": "superadmin", "totp": false, "scope": null});
    assert_eq!(call("GET", "/users", None).json(), json!([shown, admin]));

    // A name in another case and another Unicode form is the same name.
    for spelling in ["j\u{f6}rg@EXAMPLE.com", "JO\u{308}RG@example.com"] {
        let taken = call("POST", "/users", Some(new(spelling)));
        assert_eq!(taken.status, 409, "{taken:?}");
        let detail = taken.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("J\u{f6}rg@example.com"), "{detail}");
        let token = server.token(spelling, PASSWORD);
        let me = server.api(&token, "GET", "/me", None).json();
        assert_eq!(me["username"], "J\u{f6}rg@example.com");
    }

    let token = server.token("jörg@example.com", PASSWORD);
    let patch = json!({"role": "readonly"});
    let changed = call(
        "PATCH",
        "/users/jo%CC%88rg%40example.com",
        Some(patch.clone()),
    );
    assert_eq!(changed.json()["role"], "readonly", "{changed:?}");
    let used = server.api(&token, "GET", "/me", None);
    assert_eq!(used.status, 401, "a login ends with a change of role");
    let same = call("PATCH", &location, Some(patch));
    assert_eq!(same.status, 200);
    let patch = json!({"password": "second password"});
    assert_eq!(call("PATCH", &location, Some(patch)).status, 200);
    server.token("Jörg@example.com", "second password");

    let token = server.token("Jörg@example.com", "second password");
    assert_eq!(call("DELETE", &location, None).status, 204);
    assert_eq!(
        server.api(&token, "GET", "/me", None).status,
        401,
        "at once"
    );
    for (method, body) in [("DELETE", None), ("PATCH", Some(json!({})))] {
        assert_eq!(call(method, &location, body).status, 404);
    }

    let told: Vec<Value> = events(&server, &root, "user.*")
        .into_iter()
        .rev()
        .map(|event| json!([event["kind"], event["user"], event["actor"]["user"]]))
        .collect();
    let of = |kind: &str| json!([kind, "J\u{f6}rg@example.com", "admin"]);
    assert_eq!(
        told[1..],
        [
            of("user.created"),
            of("user.changed"),
            of("user.password"),
            of("user.deleted")
        ]
    );
}

#[test]
fn what_breaks_a_rule_is_named_and_changes_nothing() {
    let server = FleetbeatServer::start();
    let root = server.admin_token();
    let add = |body: Value| server.api(&root, "POST", "/users", Some(&body));
    for (body, named) in [
        (json!({}), &["username", "role"][..]),
        (json!({"username": "ann", "role": "admin"}), &["password"]),
        (
            json!({"username": "a b", "role": "admin", "password": PASSWORD}),
            &["username"],
        ),
        (
            json!({"username": "x".repeat(65), "role": "admin", "password": PASSWORD}),
            &["username"],
        ),
        (
            json!({"username": "ann", "role": "admin", "password": "x".repeat(72)}),
            &["password"],
        ),
        (
            json!({"username": "ann", "role": "admin", "password": "x".repeat(7)}),
            &["password"],
        ),
        (
            json!({"username": "ann", "role": "root", "password": PASSWORD, "x": 1}),
            &["x", "role"],
        ),
    ] {
        assert_eq!(fields(&add(body.clone())), named, "{body}");
    }
    let most = json!({"username": "ann", "role": "admin", "password": "x".repeat(71)});
    assert_eq!(add(most).status, 201, "one byte less is a password");
    let patch = json!({"role": "superadmin", "password": "x".repeat(72)});
    let refused = server.api(&root, "PATCH", "/users/ann", Some(&patch));
    assert_eq!(fields(&refused), ["password"]);
    let users = server.api(&root, "GET", "/users", None).json();
    assert_eq!(
        users[1]["role"], "admin",
        "nothing of the patch was done: {users}"
    );
    assert_eq!(
        add(json!({"username": "ANN", "role": "admin", "password": PASSWORD})).status,
        409
    );

    for body in ["{", "[]", "{\"username\": \"a\", \"username\": \"b\"}"] {
        let headers = [("Authorization", format!("Bearer {root}"))];
        let headers = headers
            .each_ref()
            .map(|(name, value)| (*name, value.as_str()));
        let answer = server.request("POST", "/users", &headers, body.as_bytes());
        assert!(matches!(answer.status, 400 | 422), "{body}: {answer:?}");
    }

    // What was refused is told once its minute is over; a stop tells it at once.
    let mut server = server;
    server.stop();
    server.restart();
    let told = events(&server, &server.admin_token(), "user.refused");
    let mut told: Vec<(String, u64)> = told
        .iter()
        .map(|event| {
            let reason = event["data"]["reason"].as_str().unwrap();
            let count = event["data"]["count"].as_u64().unwrap();
            (format!("{reason}: {}", event["user"]), count)
        })
        .collect();
    told.sort();
    let expected = [
        ("name taken: \"ann\"", 1),
        ("password: \"ann\"", 1),
        // The name of somebody who is not a user is in no event.
        ("password: null", 2),
    ];
    let sum = |reason: &str| -> u64 {
        let of = told.iter().filter(|(name, _)| name == reason);
        of.map(|(_, count)| count).sum()
    };
    for (reason, count) in expected {
        assert_eq!(sum(reason), count, "{told:?}");
    }
}

#[test]
fn the_last_superadmin_stays_one() {
    let server = FleetbeatServer::start();
    server.add_user("ann", "admin", PASSWORD);
    let root = server.admin_token();
    let demote = json!({"role": "admin"});
    let demoted = server.api(&root, "PATCH", "/users/admin", Some(&demote));
    assert_eq!(demoted.status, 409, "{demoted:?}");
    assert_eq!(
        server.api(&root, "DELETE", "/users/ADMIN", None).status,
        409
    );

    let promote = json!({"role": "superadmin"});
    let promoted = server.api(&root, "PATCH", "/users/ann", Some(&promote));
    assert_eq!(promoted.status, 200);
    let demoted = server.api(&root, "PATCH", "/users/admin", Some(&demote));
    assert_eq!(demoted.status, 200, "now there is another one");
    let ann = server.token("ann", PASSWORD);
    assert_eq!(server.api(&ann, "DELETE", "/users/ann", None).status, 409);
}

/// The logins of one user that wait while others are in slots.
const WAITING: usize = 4;

#[test]
fn what_waits_for_a_slot_is_not_done_for_a_login_that_has_ended() {
    let server = FleetbeatServer::start();
    let root = server.admin_token();
    server.add_user("eve", "superadmin", PASSWORD);
    let eve = server.token("eve", PASSWORD);
    // Half the cores have a slot each.
    let cores = thread::available_parallelism().unwrap().get();
    let at_once = (cores / 2).max(1) + WAITING;
    thread::scope(|scope| {
        let (server, eve) = (&server, &eve);
        let doors: Vec<_> = (0..at_once)
            .map(|n| {
                let body = json!({
                    "username": format!("door{n}"),
                    "role": "superadmin",
                    "password": PASSWORD,
                });
                scope.spawn(move || server.api(eve, "POST", "/users", Some(&body)))
            })
            .collect();
        // A slot works on the first one.
        wait_for("a login to be in a slot", || {
            let users = server.api(&root, "GET", "/users", None).json();
            (users.as_array().unwrap().len() > 2).then_some(())
        });
        let removed = server.api(&root, "DELETE", "/users/eve", None);
        assert_eq!(removed.status, 204);
        let statuses = doors.into_iter().map(|door| door.join().unwrap().status);
        let statuses: Vec<u16> = statuses.collect();
        assert!(statuses.contains(&401), "{statuses:?}");
    });
}

#[test]
fn an_operators_reset_is_not_undone_by_whoever_knows_the_old_password() {
    const OPERATORS: &str = "the operator's password";
    let server = FleetbeatServer::start();
    server.add_user("ann", "readonly", PASSWORD);
    let thief = server.token("ann", PASSWORD);
    let body = json!({"current_password": PASSWORD, "new_password": "a thief's one"});
    thread::scope(|scope| {
        let change = || {
            server
                .api(&thief, "POST", "/me/password", Some(&body))
                .status
        };
        let change = scope.spawn(change);
        let reset = ["user", "passwd", "ann", "--password-stdin"];
        let output = server.command(&reset, OPERATORS);
        assert!(output.status.success(), "{output:?}");
        let status = change.join().unwrap();
        assert!([200, 401, 409].contains(&status), "{status}");
    });
    // Whichever was first: the reset counts.
    server.token("ann", OPERATORS);
}

#[test]
fn a_user_changes_the_own_password_and_logs_out_everywhere() {
    let server = FleetbeatServer::start();
    server.add_user("ann", "readonly", PASSWORD);
    let [here, elsewhere] = [(); 2].map(|()| server.token("ann", PASSWORD));
    let change = |token: &str, current: &str, new: &str| {
        let body = json!({"current_password": current, "new_password": new});
        server.api(token, "POST", "/me/password", Some(&body))
    };
    let status = |token: &str| server.api(token, "GET", "/me", None).status;

    assert_eq!(
        change(&here, "a wrong guess", "second password").status,
        403
    );
    assert_eq!(
        fields(&change(&here, PASSWORD, &"x".repeat(72))),
        ["new_password"]
    );
    assert_eq!(
        (status(&here), status(&elsewhere)),
        (200, 200),
        "nothing has changed"
    );
    let changed = change(&here, PASSWORD, "second password");
    assert_eq!(changed.status, 200, "{changed:?}");
    let new = changed.json()["access_token"].as_str().unwrap().to_owned();
    assert_eq!(
        (status(&new), status(&here), status(&elsewhere)),
        (200, 401, 401)
    );

    let another = server.token("ann", "second password");
    let out = server.api(&another, "POST", "/me/logout-all", None);
    assert_eq!((out.status, out.header("content-length")), (204, None));
    assert_eq!((status(&another), status(&new)), (401, 401));
    server.token("ann", "second password");
}

#[test]
fn a_wrong_current_password_counts_as_a_wrong_login() {
    let server = FleetbeatServer::start_with("trusted_proxies = [\"127.0.0.1\"]", &[]);
    server.add_user("ann", "readonly", PASSWORD);
    let bearer = format!("Bearer {}", server.token("ann", PASSWORD));
    let body = json!({"current_password": "a wrong guess", "new_password": PASSWORD});
    let change = |source: &str| {
        let headers = [
            ("Authorization", bearer.as_str()),
            ("X-Forwarded-For", source),
        ];
        let body = body.to_string();
        server
            .request("POST", "/me/password", &headers, body.as_bytes())
            .status
    };
    let tried: Vec<u16> = (0..6).map(|_| change("192.0.2.1")).collect();
    assert_eq!(tried, [403, 403, 403, 403, 403, 429]);
    assert_eq!(
        change("192.0.2.2"),
        403,
        "and nobody is locked out elsewhere"
    );
}

#[test]
fn a_host_is_removed_for_good_and_its_admin_is_told_that_it_comes_back() {
    let server = FleetbeatServer::start();
    let root = server.admin_token();
    let body: Value = serde_json::from_str(include_str!(
        "../../protocol/golden/heartbeat-minimal.json"
    ))
    .unwrap();
    server.heartbeat(&body);
    let disable = json!({"enabled": false});
    let target = "/server/1.2.3.4";
    let config = "/server/1.2.3.4/config";
    assert_eq!(
        server.api(&root, "PATCH", config, Some(&disable)).status,
        200
    );

    let removed = server.api(&root, "DELETE", target, None);
    assert_eq!((removed.status, removed.body.len()), (204, 0));
    assert_eq!(
        removed.header("content-length"),
        None,
        "RFC 9110, section 8.6"
    );
    assert_eq!(removed.header("x-fleetbeat-returns"), Some("true"));
    let warning = removed.header("warning").unwrap();
    assert!(warning.contains("comes back"), "{warning}");
    assert_eq!(server.api(&root, "GET", target, None).status, 404);
    assert_eq!(server.api(&root, "DELETE", target, None).status, 404);
    let started = Instant::now();
    wait_for("the list", || {
        server.servers(&root).is_empty().then_some(())
    });
    assert!(started.elapsed() < Duration::from_secs(3));

    server.heartbeat(&body);
    let back = server.api(&root, "GET", target, None).json();
    assert_eq!(back["enabled"], true, "as a host that was never there");
    let deleted = &events(&server, &root, "host.deleted")[0];
    assert_eq!(deleted["data"], json!({"reason": "asked"}));
    assert_eq!(deleted["actor"]["user"], "admin");
}

#[test]
fn names_that_an_earlier_version_has_stored_go_on_working() {
    let mut server = FleetbeatServer::start();
    server.add_user("Ann", "admin", PASSWORD);
    server.stop();
    // What the schema before had, with two spellings of one name.
    let database =
        rusqlite::Connection::open(server.data().join("fleetbeat.db")).unwrap();
    database
        .execute_batch(
            "DROP TABLE alert_deliveries; DROP TABLE deliveries; DROP TABLE alert_state;
             DROP TABLE alerts; DROP TABLE alert_objects;
             DROP TABLE full_chunks; DROP TABLE gone_histories;
             ALTER TABLE servers DROP COLUMN open_chunk;
             ALTER TABLE state DROP COLUMN history_room;
             ALTER TABLE state DROP COLUMN history_day;
             ALTER TABLE state DROP COLUMN history_day_at;
             DROP TABLE agent_keys; DROP TABLE enrollment_codes;
             ALTER TABLE servers DROP COLUMN keyed;
             ALTER TABLE servers DROP COLUMN agent_tags;
             ALTER TABLE flags DROP COLUMN tags;
             ALTER TABLE tombstones DROP COLUMN tags;
             ALTER TABLE servers DROP COLUMN up_since;
             ALTER TABLE servers DROP COLUMN agent_version;
             ALTER TABLE flags DROP COLUMN settings;
             ALTER TABLE tombstones DROP COLUMN settings;
             ALTER TABLE flags DROP COLUMN state;
             ALTER TABLE tombstones DROP COLUMN state;
             DROP TABLE api_tokens; DROP INDEX users_by_key;
             ALTER TABLE users DROP COLUMN user_id;
             ALTER TABLE users DROP COLUMN name_key;
             ALTER TABLE users DROP COLUMN totp_secret;
             ALTER TABLE users DROP COLUMN totp_pending;
             ALTER TABLE users DROP COLUMN totp_step;
             ALTER TABLE users DROP COLUMN recovery_codes;
             ALTER TABLE users DROP COLUMN scope;
             INSERT INTO users SELECT 'ann', 'readonly', hashed_password, 'other'
                 FROM users WHERE username = 'Ann';
             PRAGMA user_version = 5;",
        )
        .unwrap();
    drop(database);
    server.restart();

    let role = |name: &str| {
        let token = server.token(name, PASSWORD);
        let me = server.api(&token, "GET", "/me", None).json();
        (me["username"].clone(), me["role"].clone())
    };
    assert_eq!(role("Ann"), (json!("Ann"), json!("admin")));
    assert_eq!(role("ann"), (json!("ann"), json!("readonly")));
    assert_eq!(role("ANN"), (json!("Ann"), json!("admin")), "the older one");
    let root = server.token("ADMIN", ADMIN_PASSWORD);
    let new = json!({"username": "aNN", "role": "admin", "password": PASSWORD});
    assert_eq!(server.api(&root, "POST", "/users", Some(&new)).status, 409);
    assert_eq!(server.api(&root, "DELETE", "/users/ann", None).status, 204);
    assert_eq!(role("ann"), (json!("Ann"), json!("admin")));
}
