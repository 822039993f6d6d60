//! The second factor: set up, asked for, each code once, and required by role.

use fleetbeat_tools::client::Answer;
use fleetbeat_tools::server::FleetbeatServer;
use serde_json::{Value, json};

use crate::codes::code;

const PASSWORD: &str = "first password";
const BEHIND_A_PROXY: &str = "trusted_proxies = [\"127.0.0.1\"]";

fn log_in(server: &FleetbeatServer, password: &str, code: Option<&str>) -> Answer {
    log_in_from(server, "192.0.2.1", password, code)
}

fn log_in_from(
    server: &FleetbeatServer,
    source: &str,
    password: &str,
    code: Option<&str>,
) -> Answer {
    let body = json!({"username": "Ann", "password": password, "code": code});
    let mut body = body.as_object().unwrap().clone();
    body.retain(|_, value| !value.is_null());
    let headers = [
        ("Content-Type", "application/json"),
        ("X-Forwarded-For", source),
    ];
    let body = Value::Object(body).to_string();
    server.request("POST", "/token", &headers, body.as_bytes())
}

fn text(answer: &Answer, name: &str) -> String {
    answer.json()[name]
        .as_str()
        .unwrap_or_else(|| panic!("{answer:?}"))
        .to_owned()
}

/// Sets a second factor up, which uses the code before the present one. Gives the secret,
/// and the answer of the confirmation.
fn set_up(server: &FleetbeatServer, login: &str) -> (String, Value) {
    let body = json!({"password": PASSWORD});
    let setup = server.api(login, "POST", "/me/totp", Some(&body));
    let secret = text(&setup, "secret");
    assert!(text(&setup, "uri").contains(&secret));
    let body = json!({"code": code(&secret, -1)});
    let confirmed = server.api(login, "POST", "/me/totp/confirm", Some(&body));
    assert_eq!(confirmed.status, 200, "{confirmed:?}");
    (secret, confirmed.json())
}

#[test]
fn a_login_needs_a_code_and_each_code_counts_once() {
    let mut server = FleetbeatServer::start_with(BEHIND_A_PROXY, &[]);
    server.add_user("ann", "superadmin", PASSWORD);
    let before = text(&log_in(&server, PASSWORD, None), "access_token");
    let body = json!({"password": "a wrong guess"});
    assert_eq!(
        server.api(&before, "POST", "/me/totp", Some(&body)).status,
        403
    );
    let confirm = |code: &str| {
        let body = json!({"code": code});
        server
            .api(&before, "POST", "/me/totp/confirm", Some(&body))
            .status
    };
    assert_eq!(confirm("123456"), 409, "nothing waits for its first code");
    let body = json!({"password": PASSWORD});
    let setup = server.api(&before, "POST", "/me/totp", Some(&body));
    assert_eq!(confirm("12345"), 403);
    let unconfirmed = log_in(&server, PASSWORD, None);
    assert_eq!(
        unconfirmed.status, 200,
        "a secret without a first code does not count"
    );

    let secret = text(&setup, "secret");
    let body = json!({"code": code(&secret, -1)});
    let confirmed = server.api(&before, "POST", "/me/totp/confirm", Some(&body));
    let now = text(&confirmed, "access_token");
    let me = |token: &str| server.api(token, "GET", "/me", None);
    assert_eq!(me(&before).status, 401, "the logins until now have ended");
    assert_eq!(me(&now).json()["totp"], true);

    let asked = log_in(&server, PASSWORD, None);
    assert_eq!(
        (asked.status, text(&asked, "totp")),
        (401, "required".to_owned())
    );
    let wrong = log_in(&server, "a wrong guess", None);
    assert_eq!((wrong.status, wrong.json().get("totp")), (401, None));
    let spelled = format!("{} {}", &code(&secret, 0)[..3], &code(&secret, 0)[3..]);
    assert_eq!(log_in(&server, PASSWORD, Some(&spelled)).status, 200);

    // With both secrets there, nobody is told which of them was wrong.
    let used = log_in(&server, PASSWORD, Some(&code(&secret, 0)));
    let earlier = log_in(&server, PASSWORD, Some(&code(&secret, -1)));
    let typo = log_in_from(&server, "192.0.2.2", PASSWORD, Some("000000"));
    let wrong = log_in_from(
        &server,
        "192.0.2.2",
        "a wrong guess",
        Some(&code(&secret, 1)),
    );
    for answer in [&used, &earlier, &typo, &wrong] {
        let told = answer.json();
        let told = (
            answer.status,
            told["detail"].clone(),
            told.get("totp").cloned(),
        );
        let detail = used.json()["detail"].clone();
        assert_eq!(told, (401, detail, None));
    }
    let next = log_in_from(&server, "192.0.2.2", PASSWORD, Some(&code(&secret, 1)));
    assert_eq!(next.status, 200, "a code that was not taken is not used");

    server.stop();
    server.restart();
    let root = server.admin_token();
    let of_kind = |kind: &str| {
        let target = format!("/events?user=ann&kind={kind}");
        let events = server.api(&root, "GET", &target, None).json();
        events["events"].as_array().unwrap().clone()
    };
    let mut reasons: Vec<(String, u64)> = of_kind("login.failed")
        .iter()
        .map(|event| {
            let data = &event["data"];
            (data["reason"].to_string(), data["count"].as_u64().unwrap())
        })
        .collect();
    reasons.sort();
    let count = |reason: &str| -> u64 {
        let of = reasons.iter().filter(|(name, _)| name == reason);
        of.map(|(_, count)| count).sum()
    };
    let counts = ["\"code\"", "\"used code\"", "\"password\""].map(count);
    assert_eq!(counts, [2, 2, 3], "{reasons:?}");
    let by: Vec<Value> = of_kind("login.ok")
        .iter()
        .map(|event| event["data"]["by"].clone())
        .collect();
    assert!(by.contains(&json!("password and code")), "{by:?}");
}

#[test]
fn a_recovery_code_stands_in_for_a_code_once_and_a_new_secret_needs_one() {
    let server = FleetbeatServer::start_with(BEHIND_A_PROXY, &[]);
    server.add_user("ann", "admin", PASSWORD);
    let login = text(&log_in(&server, PASSWORD, None), "access_token");
    let (first, confirmed) = set_up(&server, &login);
    let codes = confirmed["recovery_codes"].as_array().unwrap();
    let codes: Vec<&str> = codes.iter().map(|code| code.as_str().unwrap()).collect();
    assert_eq!(codes.len(), 10);
    assert_eq!(log_in(&server, PASSWORD, Some(codes[3])).status, 200);
    assert_eq!(
        log_in(&server, PASSWORD, Some(codes[3])).status,
        401,
        "once"
    );
    let upper = codes[4].to_uppercase();
    let login = text(&log_in(&server, PASSWORD, Some(&upper)), "access_token");

    // For another app: the password alone is not enough.
    let begin = |code: Option<&str>| {
        let body = match code {
            Some(code) => json!({"password": PASSWORD, "code": code}),
            None => json!({"password": PASSWORD}),
        };
        server.api(&login, "POST", "/me/totp", Some(&body))
    };
    let asked = begin(None);
    assert_eq!(
        (asked.status, text(&asked, "totp")),
        (403, "required".to_owned())
    );
    assert_eq!(begin(Some("000000")).status, 403);
    let setup = begin(Some(codes[5]));
    let second = text(&setup, "secret");
    assert_ne!(first, second);
    let still = log_in(&server, PASSWORD, Some(&code(&first, 0)));
    assert_eq!(
        still.status, 200,
        "the first one counts until the second is confirmed"
    );
    let body = json!({"code": code(&second, -1)});
    let confirmed = server.api(&login, "POST", "/me/totp/confirm", Some(&body));
    assert_eq!(confirmed.status, 200, "{confirmed:?}");
    assert_eq!(
        log_in(&server, PASSWORD, Some(codes[6])).status,
        401,
        "of the first"
    );
    assert_eq!(
        log_in(&server, PASSWORD, Some(&code(&second, 0))).status,
        200
    );

    // Who has lost everything asks the operator.
    let reset = server.command(&["user", "reset-totp", "ANN"], "");
    assert!(reset.status.success(), "{reset:?}");
    assert_eq!(log_in(&server, PASSWORD, None).status, 200);
}

#[test]
fn a_role_that_needs_a_second_factor_does_nothing_before_it_has_one() {
    let settings = format!("{BEHIND_A_PROXY}\n[auth]\nrequire_totp = [\"superadmin\"]\n");
    let server = FleetbeatServer::start_with(&settings, &[]);
    server.add_user("ann", "superadmin", PASSWORD);
    server.add_user("reader", "readonly", PASSWORD);
    let reader = server.token("reader", PASSWORD);
    assert_eq!(server.api(&reader, "GET", "/servers", None).status, 200);

    let login = text(&log_in(&server, PASSWORD, None), "access_token");
    assert_eq!(server.api(&login, "GET", "/me", None).status, 200);
    for (method, target) in [("GET", "/servers"), ("GET", "/users"), ("GET", "/tokens")] {
        let answer = server.api(&login, method, target, None);
        assert_eq!(
            (answer.status, text(&answer, "totp")),
            (403, "setup".to_owned())
        );
    }
    let (_, confirmed) = set_up(&server, &login);
    let login = confirmed["access_token"].as_str().unwrap();
    assert_eq!(server.api(login, "GET", "/users", None).status, 200);
}

#[test]
fn codes_are_guessed_no_faster_than_passwords() {
    let server = FleetbeatServer::start_with(BEHIND_A_PROXY, &[]);
    server.add_user("ann", "admin", PASSWORD);
    let home = "192.0.2.99";
    let login = text(&log_in_from(&server, home, PASSWORD, None), "access_token");
    let (secret, _) = set_up(&server, &login);
    let guess =
        |source: &str| log_in_from(&server, source, PASSWORD, Some("000000")).status;
    let from_one: Vec<u16> = (0..6).map(|_| guess("192.0.2.1")).collect();
    assert_eq!(from_one, [401, 401, 401, 401, 401, 429]);
    // From many networks: ten in all.
    let from_many: Vec<u16> =
        (2..10).map(|n| guess(&format!("198.51.100.{n}"))).collect();
    assert_eq!(from_many, [401, 401, 401, 401, 401, 429, 429, 429]);
    let at_home = log_in_from(&server, home, PASSWORD, Some(&code(&secret, 0)));
    assert_eq!(
        at_home.status, 200,
        "nobody is locked out where they have been"
    );
}
