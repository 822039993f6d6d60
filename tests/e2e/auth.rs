//! Logins and their limits, what the log says of them, and the end of tokens.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use fleetbeat_tools::client;
use fleetbeat_tools::server::{ADMIN_PASSWORD, FleetbeatServer};
use fleetbeat_tools::wait::wait_for;
use serde_json::json;

const HEARTBEAT: &str = include_str!("../../protocol/golden/heartbeat-minimal.json");

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

/// Rounds in which two times are compared. Each has another network, because one network
/// has few wrong passwords.
const ROUNDS: u32 = 40;

#[test]
fn an_unknown_user_takes_as_long_as_a_wrong_password_within_a_twentieth() {
    let server = FleetbeatServer::start_with("trusted_proxies = [\"127.0.0.1\"]", &[]);
    let time = |user: &str, round: u32| {
        let started = Instant::now();
        let source = format!("10.0.0.{round}");
        assert_eq!(log_in_from(&server, user, "wrong password", &source), 401);
        started.elapsed().as_secs_f64()
    };

    // The shortest time of each is what it costs; the rest is what else the machine does.
    let (mut known, mut unknown) = (f64::MAX, f64::MAX);
    for round in 0..ROUNDS {
        known = known.min(time("admin", round));
        unknown = unknown.min(time(&format!("nobody{round}"), round));
        if round >= 5 && (0.95..1.05).contains(&(known / unknown)) {
            return;
        }
    }
    panic!("a wrong password takes {known} s, an unknown user {unknown} s");
}

/// Wrong logins at once.
const FLOOD: u32 = 64;
/// How long a round of the flood lasts.
const FLOOD_TIME: Duration = Duration::from_secs(3);

/// Logs in wrongly, from a network of its own, as often as it can until the time is over.
fn flood(address: SocketAddr, n: u32, until: Instant) -> Vec<u16> {
    let mut statuses = Vec::new();
    while Instant::now() < until {
        statuses.push(log_in_wrongly(address, n));
    }
    statuses
}

fn log_in_wrongly(address: SocketAddr, n: u32) -> u16 {
    let body = format!("username=user{n}&password=wrong+password");
    let source = format!("10.0.1.{n}");
    let headers = [("X-Forwarded-For", source.as_str())];
    let answer = client::request(address, "POST", "/token", &headers, body.as_bytes());
    answer.unwrap().status
}

/// What of a hundred heartbeats takes longest but for one, while the flood lasts, and what
/// the flood was answered.
fn heartbeats_in_a_flood(server: &FleetbeatServer) -> (Duration, Vec<u16>) {
    let until = Instant::now() + FLOOD_TIME;
    let address = server.address();
    thread::scope(|scope| {
        let flood: Vec<_> = (0..FLOOD)
            .map(|n| scope.spawn(move || flood(address, n, until)))
            .collect();
        let mut times = Vec::new();
        while Instant::now() < until {
            let started = Instant::now();
            let answer = server.post_heartbeat("/heartbeat", HEARTBEAT.as_bytes());
            assert_eq!(answer.status, 200);
            times.push(started.elapsed());
        }
        let statuses = flood.into_iter().flat_map(|login| login.join().unwrap());
        let statuses = statuses.collect();
        times.sort_unstable();
        (times[times.len() * 99 / 100], statuses)
    })
}

#[test]
fn a_login_flood_does_not_delay_heartbeats() {
    const LIMIT: Duration = Duration::from_millis(100);
    let server = FleetbeatServer::start_with("trusted_proxies = [\"127.0.0.1\"]", &[]);
    // Other programs of the machine take time, too: a round without them is looked for.
    let mut rounds = Vec::new();
    for _ in 0..5 {
        let (p99, statuses) = heartbeats_in_a_flood(&server);
        let is_answered = |status: &u16| matches!(status, 401 | 429);
        assert!(statuses.iter().all(is_answered), "{statuses:?}");
        let count = |wanted| statuses.iter().filter(|status| **status == wanted).count();
        assert!(count(429) > 64, "more than the queue holds");
        assert!(count(401) >= 4, "the queue is worked off");
        rounds.push(p99);
        if p99 < LIMIT {
            return;
        }
    }
    panic!("p99 of heartbeats in each round: {rounds:?}");
}

#[test]
fn tokens_end_with_a_changed_password_or_a_removed_user() {
    let server = FleetbeatServer::start();
    server.add_user("ann", "admin", "first password");
    let status = |token: &str| server.api(token, "GET", "/me", None).status;
    let first = server.token("ann", "first password");
    assert_eq!(
        server.api(&first, "GET", "/me", None).json(),
        json!({"username": "ann", "role": "admin", "totp": false, "scope": null})
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
