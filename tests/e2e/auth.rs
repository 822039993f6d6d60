//! Who may do which request: every route and every identity, tokens, logins and their
//! limits.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fleetbeat_protocol::Timestamp;
use fleetbeat_tools::client;
use fleetbeat_tools::server::{ADMIN_PASSWORD, AGENT_KEY, FleetbeatServer, SECRET_KEY};
use fleetbeat_tools::wait::wait_for;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

/// A token signed with `key`, saying `claims` under `algorithm`.
fn forge(key: &str, algorithm: &str, claims: &Value) -> String {
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!(
        "{}.{}",
        encode(&json!({"alg": algorithm, "typ": "JWT"})),
        encode(claims)
    );
    let signature = Hmac::<Sha256>::new_from_slice(key.as_bytes())
        .unwrap()
        .chain_update(&message)
        .finalize();
    format!(
        "{message}.{}",
        URL_SAFE_NO_PAD.encode(signature.into_bytes())
    )
}

fn claims_of(token: &str) -> Value {
    serde_json::from_slice(
        &URL_SAFE_NO_PAD
            .decode(token.split('.').nth(1).unwrap())
            .unwrap(),
    )
    .unwrap()
}

/// Every route with a body that the route takes, and its status for: nobody, an agent,
/// readonly, admin, superadmin.
const ROUTES: [(&str, &str, &str, [u16; 5]); 22] = [
    ("POST", "/heartbeat", "heartbeat", [401, 200, 401, 401, 401]),
    ("POST", "/heartbeats", "[]", [401, 200, 401, 401, 401]),
    ("POST", "/token", "username=x", [422, 422, 422, 422, 422]),
    ("GET", "/servers", "", [401, 401, 200, 200, 200]),
    ("GET", "/server/{ip}", "", [401, 401, 200, 200, 200]),
    (
        "PATCH",
        "/server/{ip}/config",
        "{\"gaming\": true}",
        [401, 401, 403, 200, 200],
    ),
    ("GET", "/me", "", [401, 401, 200, 200, 200]),
    ("GET", "/healthz", "", [200, 200, 200, 200, 200]),
    ("GET", "/readyz", "", [200, 200, 200, 200, 200]),
    ("GET", "/openapi.json", "", [200, 200, 200, 200, 200]),
    ("GET", "/", "", [200, 200, 200, 200, 200]),
    ("GET", "/licenses.md", "", [200, 200, 200, 200, 200]),
    ("GET", "/events", "", [401, 401, 200, 200, 200]),
    ("GET", "/sd/prometheus", "", [401, 401, 200, 200, 200]),
    // `metrics.rs` has the programs of the server's own machine.
    ("GET", "/metrics", "", [401, 401, 200, 200, 200]),
    ("POST", "/enroll", "{}", [422, 422, 422, 422, 422]),
    ("GET", "/enrollment-codes", "", [401, 401, 403, 403, 200]),
    ("POST", "/enrollment-codes", "{}", [401, 401, 403, 403, 201]),
    (
        "DELETE",
        "/enrollment-codes/{id}",
        "",
        [401, 401, 403, 403, 404],
    ),
    ("GET", "/agent-keys", "", [401, 401, 403, 403, 200]),
    (
        "DELETE",
        "/agent-keys/{agent_id}",
        "",
        [401, 401, 403, 403, 404],
    ),
    (
        "POST",
        "/agent-keys/{agent_id}/rotate",
        "",
        [401, 401, 403, 403, 404],
    ),
];

/// The route's path with a name in each place.
fn target(path: &str) -> String {
    path.replace("{ip}", "1.2.3.4")
        .replace("{agent_id}", "00c0ffee")
        .replace("{id}", "0badc0de")
}

const HEARTBEAT: &str = include_str!("../../protocol/golden/heartbeat-minimal.json");

fn call(
    server: &FleetbeatServer,
    route: &(&str, &str, &str, [u16; 5]),
    headers: &[(&str, &str)],
) -> u16 {
    let (method, path, body, _) = route;
    let body = if *body == "heartbeat" {
        HEARTBEAT
    } else {
        body
    };
    server
        .request(method, &target(path), headers, body.as_bytes())
        .status
}

#[test]
fn every_route_admits_exactly_its_identities() {
    let server = FleetbeatServer::start();
    server.add_user("reader", "readonly", "password of reader");
    server.add_user("setter", "admin", "password of setter");
    server.post_heartbeat("/heartbeat", HEARTBEAT.as_bytes());
    let bearer = |token: String| format!("Bearer {token}");
    let [reader, setter, root] = [
        bearer(server.token("reader", "password of reader")),
        bearer(server.token("setter", "password of setter")),
        bearer(server.admin_token()),
    ];
    let identities: [&[(&str, &str)]; 5] = [
        &[],
        &[("X-API-Key", AGENT_KEY)],
        &[("Authorization", &reader)],
        &[("Authorization", &setter)],
        &[("Authorization", &root)],
    ];
    for route in &ROUTES {
        for (headers, expected) in identities.iter().zip(route.3) {
            assert_eq!(
                call(&server, route, headers),
                expected,
                "{} {} {headers:?}",
                route.0,
                route.1
            );
        }
    }

    let claims = claims_of(&root);
    let now = Timestamp::now().as_second();
    let with = |change: &[(&str, Value)]| {
        let mut changed = claims.clone();
        for (name, value) in change {
            changed[*name] = value.clone();
        }
        changed
    };
    assert_eq!(
        claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(),
        30 * 86_400
    );
    let genuine = bearer(forge(SECRET_KEY, "HS256", &claims));
    assert_eq!(
        call(&server, &ROUTES[3], &[("Authorization", &genuine)]),
        200,
        "the forger knows how"
    );
    let without_exp = json!({"sub": "admin", "ver": claims["ver"]});
    let bad = [
        (
            "expired",
            forge(SECRET_KEY, "HS256", &with(&[("exp", json!(now - 60))])),
        ),
        (
            "of another key",
            forge(
                "another key that is long enough, 32 bytes",
                "HS256",
                &claims,
            ),
        ),
        ("of another algorithm", forge(SECRET_KEY, "HS512", &claims)),
        ("of no algorithm", forge(SECRET_KEY, "none", &claims)),
        ("without an end", forge(SECRET_KEY, "HS256", &without_exp)),
        (
            "of an unknown user",
            forge(SECRET_KEY, "HS256", &with(&[("sub", json!("nobody"))])),
        ),
        (
            "of an old version",
            forge(SECRET_KEY, "HS256", &with(&[("ver", json!("0"))])),
        ),
        ("garbage", "x.y.z".to_owned()),
    ];
    for (name, token) in bad {
        let authorization = bearer(token);
        for route in ROUTES
            .iter()
            .filter(|route| route.3[0] == 401 && route.3[4] == 200)
        {
            let answer = server.request(
                route.0,
                &target(route.1),
                &[("Authorization", &authorization)],
                b"",
            );
            assert_eq!(
                answer.status, 401,
                "a token {name}: {} {}",
                route.0, route.1
            );
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        }
    }
    let basic = format!("Basic {}", &root[7..]);
    assert_eq!(call(&server, &ROUTES[3], &[("Authorization", &basic)]), 401);
}

#[test]
fn the_openapi_document_names_exactly_the_routes() {
    let server = FleetbeatServer::start();
    let document = server.request("GET", "/openapi.json", &[], b"").json();
    assert_eq!(document["openapi"], "3.1.0");
    let mut described: Vec<String> = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let operation = operation.as_object().unwrap();
            assert!(
                operation.contains_key("summary") && operation.contains_key("responses"),
                "{method} {path}"
            );
            described.push(format!("{} {path}", method.to_uppercase()));
        }
    }

    let assets = ["/", "/licenses.md"];
    let mut routes: Vec<String> = ROUTES
        .iter()
        .filter(|route| !assets.contains(&route.1))
        .map(|route| format!("{} {}", route.0, route.1))
        .collect();
    described.sort();
    routes.sort();
    assert_eq!(described, routes);
}

#[test]
fn a_login_takes_a_form_or_json_and_nothing_else() {
    let server = FleetbeatServer::start();
    let post = |content_type: &str, body: &str| {
        server.request(
            "POST",
            "/token",
            &[("Content-Type", content_type)],
            body.as_bytes(),
        )
    };

    let form = "application/x-www-form-urlencoded";
    let good = post(
        form,
        "grant_type=password&username=admin&password=password+of+the+tests",
    );
    assert_eq!(
        (good.status, &good.json()["token_type"]),
        (200, &json!("bearer"))
    );
    assert_eq!(good.header("cache-control"), Some("no-store"));
    let json = json!({"username": "admin", "password": ADMIN_PASSWORD}).to_string();
    assert_eq!(post("application/json; charset=utf-8", &json).status, 200);
    for (content_type, body, status) in [
        (form, "username=admin&password=wrong+password", 401),
        (form, "username=nobody&password=wrong+password", 401),
        (form, "username=admin", 422),
        (form, "username=admin&username=eve&password=x", 422),
        (
            "application/json",
            "{\"username\": \"admin\", \"password\": 1}",
            422,
        ),
        ("application/json", "username=admin", 400),
        ("text/plain", "username=admin&password=x", 415),
        (
            form,
            &format!("username=admin&password={}", "x".repeat(1001)),
            413,
        ),
    ] {
        let answer = post(content_type, body);
        assert_eq!(answer.status, status, "{content_type} {body}");
    }
}

/// A server behind a trusted proxy, and a login that the proxy says is from `source`.
fn log_in_from(
    server: &FleetbeatServer,
    user: &str,
    password: &str,
    source: &str,
) -> u16 {
    let body = format!("username={user}&password={}", password.replace(' ', "+"));
    let headers = [("X-Forwarded-For", source)];
    let answer = server.request("POST", "/token", &headers, body.as_bytes());
    if answer.status == 429 {
        let wait = answer.header("retry-after").unwrap().parse::<u64>();
        assert!(
            (1..=60).contains(&wait.unwrap()),
            "{:?}",
            answer.header("retry-after")
        );
    }
    answer.status
}

#[test]
fn wrong_passwords_are_limited_where_they_come_from_and_nobody_is_locked_out() {
    let server = FleetbeatServer::start_with("trusted_proxies = [\"127.0.0.1\"]", &[]);
    let wrong =
        |user: &str, source: &str| log_in_from(&server, user, "wrong password", source);
    let right = |source: &str| log_in_from(&server, "admin", ADMIN_PASSWORD, source);

    for _ in 0..7 {
        assert_eq!(right("10.0.0.9"), 200, "right passwords do not count");
    }
    for _ in 0..5 {
        assert_eq!(wrong("admin", "10.0.0.1"), 401);
    }
    assert_eq!(wrong("admin", "10.0.0.1"), 429);
    assert_eq!(right("10.0.0.1"), 429, "not to be told from a guess");
    assert_eq!(wrong("another", "10.0.0.1"), 401, "another user may");

    // The name is tried from many networks at once.
    for n in 0..20 {
        assert_eq!(wrong("admin", &format!("2001:db8:{n}::1")), 401);
    }
    assert_eq!(
        wrong("admin", "198.51.100.1"),
        401,
        "a stranger has one try"
    );
    assert_eq!(wrong("admin", "198.51.100.1"), 429, "and no second");
    assert_eq!(right("198.51.100.2"), 200, "a right one is enough");
    for _ in 0..2 {
        assert_eq!(
            wrong("admin", "10.0.0.9"),
            401,
            "here admin has been before"
        );
    }
    assert_eq!(right("10.0.0.9"), 200);
}

#[test]
fn the_log_tells_of_refusals_once_for_each_source() {
    let server = FleetbeatServer::start_with("trusted_proxies = [\"127.0.0.1\"]", &[]);
    let lines = |part: &str| server.log().matches(part).count();
    for _ in 0..3 {
        let wrong = "wrong password\u{1b}";
        assert_eq!(log_in_from(&server, "admin", wrong, "192.0.2.1"), 401);
        assert_eq!(
            log_in_from(&server, "S3cretPw typed here", wrong, "192.0.2.2"),
            401
        );
        let headers = [
            ("X-API-Key", "the old key of ours"),
            ("X-Forwarded-For", "192.0.2.3"),
        ];
        assert_eq!(
            server.request("POST", "/heartbeat", &headers, b"{}").status,
            401
        );
        let headers = [("X-Forwarded-For", "192.0.2.4")];
        assert_eq!(
            server
                .request("POST", "/heartbeats", &headers, b"[]")
                .status,
            401
        );
    }

    for part in [
        "WARN  refused 192.0.2.1: wrong password, user \"admin\"\n",
        "WARN  refused 192.0.2.2: wrong password, and no such user\n",
        "WARN  refused 192.0.2.3: wrong agent key\n",
        "WARN  refused 192.0.2.4: no agent key\n",
    ] {
        assert_eq!(lines(part), 1, "{part}{}", server.log());
    }
    for secret in ["S3cretPw", "old key", "wrong password\u{1b}"] {
        assert_eq!(lines(secret), 0, "{}", server.log());
    }
}

#[test]
fn a_proxy_that_is_not_trusted_is_told_of() {
    let server = FleetbeatServer::start();
    let headers = [("X-Forwarded-For", "192.0.2.1")];
    for _ in 0..3 {
        assert_eq!(server.request("GET", "/healthz", &headers, b"").status, 200);
    }
    assert_eq!(server.request("GET", "/healthz", &[], b"").status, 200);

    let told =
        "refused 127.0.0.1: X-Forwarded-For of a peer that is not in trusted_proxies";
    assert_eq!(server.log().matches(told).count(), 1, "{}", server.log());
}

#[test]
fn every_change_is_in_the_log_with_user_and_address() {
    let server = FleetbeatServer::start_with("trusted_proxies = [\"127.0.0.1\"]", &[]);
    server.post_heartbeat("/heartbeat", HEARTBEAT.as_bytes());
    assert_eq!(
        log_in_from(&server, "admin", ADMIN_PASSWORD, "192.0.2.9"),
        200
    );
    let authorization = format!("Bearer {}", server.admin_token());
    let headers = [
        ("Authorization", authorization.as_str()),
        ("X-Forwarded-For", "192.0.2.1"),
    ];
    let body = br#"{"enabled": false, "paid": true}"#;
    let answer = server.request("PATCH", "/server/1.2.3.4/config", &headers, body);
    assert_eq!(answer.status, 200);

    let log = server.log();
    assert!(
        log.contains("user \"admin\" has logged in from 192.0.2.9\n"),
        "{log}"
    );
    let change = "user \"admin\" at 192.0.2.1 has set the flags of host 1.2.3.4: \
                  paid = true, enabled = false\n";
    assert!(log.contains(change), "{log}");
}

#[test]
fn an_unknown_user_takes_as_long_as_a_wrong_password() {
    let server = FleetbeatServer::start();
    let time = |user: &str| {
        let started = Instant::now();
        let body = format!("username={user}&password=wrong+password");
        assert_eq!(
            server
                .request("POST", "/token", &[], body.as_bytes())
                .status,
            401
        );
        started.elapsed()
    };

    let known = (0..4).map(|_| time("admin")).min().unwrap();
    let unknown = (0..4).map(|n| time(&format!("nobody{n}"))).min().unwrap();
    let ratio = known.as_secs_f64() / unknown.as_secs_f64();
    assert!((0.5..2.0).contains(&ratio), "{known:?} against {unknown:?}");
}

#[test]
fn a_login_flood_does_not_delay_heartbeats() {
    let server = FleetbeatServer::start_with("trusted_proxies = [\"127.0.0.1\"]", &[]);
    let address: SocketAddr = server.address();
    thread::scope(|scope| {
        let flood: Vec<_> = (0..60)
            .map(|n| {
                scope.spawn(move || {
                    let body = format!("username=user{n}&password=wrong+password");
                    let source = format!("10.0.1.{n}");
                    client::request(
                        address,
                        "POST",
                        "/token",
                        &[("X-Forwarded-For", &source)],
                        body.as_bytes(),
                    )
                    .unwrap()
                    .status
                })
            })
            .collect();
        let mut slowest = Duration::ZERO;
        for _ in 0..20 {
            let started = Instant::now();
            assert_eq!(
                server
                    .post_heartbeat("/heartbeat", HEARTBEAT.as_bytes())
                    .status,
                200
            );
            slowest = slowest.max(started.elapsed());
        }
        let statuses: Vec<u16> = flood
            .into_iter()
            .map(|login| login.join().unwrap())
            .collect();
        assert!(
            statuses.iter().all(|status| matches!(status, 401 | 429)),
            "{statuses:?}"
        );
        assert!(statuses.contains(&429), "more than the queue holds");
        assert!(
            statuses.iter().filter(|status| **status == 401).count() >= 16,
            "the queue is worked off"
        );
        assert!(
            slowest < Duration::from_secs(2),
            "a heartbeat took {slowest:?}"
        );
    });
}

#[test]
fn tokens_end_with_a_changed_password_or_a_removed_user() {
    let server = FleetbeatServer::start();
    server.add_user("ann", "admin", "first password");
    let status = |token: &str| server.api(token, "GET", "/me", None).status;
    let first = server.token("ann", "first password");
    assert_eq!(
        server.api(&first, "GET", "/me", None).json(),
        json!({"username": "ann", "role": "admin"})
    );
    let output = server.command(
        &["user", "passwd", "ann", "--password-stdin"],
        "second password\n",
    );
    assert!(output.status.success(), "{output:?}");
    let changed = Instant::now();
    wait_for("the old token to end", || {
        (status(&first) == 401).then_some(())
    });
    assert!(
        changed.elapsed() < Duration::from_secs(2),
        "{:?}",
        changed.elapsed()
    );

    let second = server.token("ann", "second password");
    assert_eq!(status(&second), 200);
    assert!(
        server
            .command(&["user", "remove", "ann"], "")
            .status
            .success()
    );
    let removed = Instant::now();
    wait_for("the removed user's token to end", || {
        (status(&second) == 401).then_some(())
    });
    assert!(
        removed.elapsed() < Duration::from_secs(2),
        "{:?}",
        removed.elapsed()
    );
    server.add_user("ann", "admin", "second password");
    thread::sleep(Duration::from_millis(1100));
    assert_eq!(
        status(&second),
        401,
        "another user of the same name is another user"
    );
}
