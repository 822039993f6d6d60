//! The access log: off unless it is asked for, a line for each request, and nothing in it
//! that a peer has made up.

use std::io::{Read, Write};

use fleetbeat_tools::client::{self, encode, read_answer};
use fleetbeat_tools::server::{AGENT_KEY, FleetbeatServer};
use fleetbeat_tools::wait::wait_for;
use serde_json::{Value, json};

const HEARTBEAT: &str = include_str!("../../protocol/golden/heartbeat-minimal.json");
const ACCESS: &str = "trusted_proxies = [\"127.0.0.1\"]\n[log]\naccess = true";

/// The lines of the access log, from the word `access` on.
fn lines(server: &FleetbeatServer) -> Vec<String> {
    let log = server.log();
    let lines = log
        .lines()
        .filter_map(|line| line.split_once(" INFO  access "));
    lines.map(|(_, rest)| rest.to_owned()).collect()
}

/// A field's value in a line.
fn field<'a>(line: &'a str, name: &str) -> &'a str {
    let mut fields = line.split(' ').filter_map(|field| field.split_once('='));
    let field = fields.find(|(found, _)| *found == name);
    field.unwrap_or_else(|| panic!("{name} is not in {line}")).1
}

/// The head and the body of an answer, which may have none for all that its head says.
fn ask(server: &FleetbeatServer, request: &[u8]) -> (String, Vec<u8>) {
    let mut stream = client::connect(server.address()).unwrap();
    stream.write_all(request).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer
        .windows(4)
        .position(|part| part == b"\r\n\r\n")
        .unwrap();
    let body = answer.split_off(end + 4);
    (String::from_utf8(answer).unwrap(), body)
}

#[test]
fn it_is_off_unless_it_is_asked_for() {
    for settings in ["", "[log]\naccess = false"] {
        let server = FleetbeatServer::start_with(settings, &[]);
        let token = server.admin_token();
        assert_eq!(server.heartbeat(&json!({})).status, 422);
        server.servers(&token);
        assert!(!server.log().contains("access "), "{}", server.log());
    }
}

#[test]
fn each_request_has_its_line() {
    let server = FleetbeatServer::start_with(ACCESS, &[]);
    let token = server.admin_token();
    let authorization = format!("Bearer {token}");
    let from = ("X-Forwarded-For", "2001:DB8::9");
    let user = ("Authorization", authorization.as_str());
    let body = HEARTBEAT.as_bytes();
    for (method, target, headers, sent, expected) in [
        (
            "POST",
            "/heartbeat",
            vec![("X-API-Key", AGENT_KEY), from],
            body,
            ("key=\"", "POST", "/heartbeat", "200"),
        ),
        (
            "GET",
            "/servers?country=de&secret=S3cret",
            vec![user, from],
            b"",
            ("user=\"admin\"", "GET", "/servers", "422"),
        ),
        (
            "HEAD",
            "/server/1.2.3.4",
            vec![user, from],
            b"",
            ("user=\"admin\"", "HEAD", "/server/1.2.3.4", "200"),
        ),
        (
            "GET",
            "/server/srv-nobody",
            vec![user, from],
            b"",
            ("user=\"admin\"", "GET", "/server/{ip}", "404"),
        ),
        (
            "GET",
            "/",
            vec![from],
            b"",
            ("user=-", "GET", "/{file}", "200"),
        ),
        (
            "GET",
            "/servers",
            vec![from],
            b"",
            ("user=-", "GET", "/servers", "401"),
        ),
        (
            "PUT",
            "/servers",
            vec![from],
            b"",
            ("user=-", "PUT", "-", "405"),
        ),
        (
            "BREW",
            "/coffee",
            vec![from],
            b"",
            ("user=-", "-", "-", "404"),
        ),
    ] {
        let (answer, body) = ask(&server, &encode(method, target, &headers, sent));
        let line = lines(&server).pop().unwrap();
        let (who, method, path, status) = expected;
        assert!(
            line.starts_with(&format!("peer=2001:db8::9 {who}")),
            "{line}"
        );
        assert_eq!(field(&line, "method"), method, "{line}");
        assert_eq!(field(&line, "path"), path, "{line}");
        assert_eq!(field(&line, "status"), status, "{line}");
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
        assert_eq!(field(&line, "bytes"), body.len().to_string(), "{line}");
        assert!(
            field(&line, "ms").parse::<f64>().unwrap() < 20_000.0,
            "{line}"
        );
        let id = field(&line, "request");
        assert!(id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit()));
        if answer.contains("problem+json") && !body.is_empty() {
            let problem: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(problem["request_id"], id, "{line}");
        }
    }
}

#[test]
fn what_no_handler_sees_has_a_line_too() {
    let server = FleetbeatServer::start_with("[log]\naccess = true", &[]);
    for (request, status) in [
        (&b"GET / HTTP/3.0\r\n\r\n"[..], "505"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: \xff\r\n\r\n", "400"),
        (b"\x16\x03\x01\r\n\r\n", "400"),
        (b"GET /%ff HTTP/1.1\r\nHost: x\r\n\r\n", "400"),
    ] {
        let mut stream = client::connect(server.address()).unwrap();
        stream.write_all(request).unwrap();
        let answer = read_answer(&mut stream).unwrap();
        let line = lines(&server).pop().unwrap();
        assert_eq!(field(&line, "status"), status, "{line}");
        assert!(line.starts_with("peer=127.0.0.1 user=- "), "{line}");
        assert_eq!(field(&line, "path"), "-", "{line}");
        assert_eq!(answer.json()["request_id"], field(&line, "request"));
    }

    // A body that breaks off, after the key was checked.
    let head = format!(
        "POST /heartbeat HTTP/1.1\r\nHost: x\r\nX-API-Key: {AGENT_KEY}\r\nContent-Length: 9\r\n\r\n{{"
    );
    let mut stream = client::connect(server.address()).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let line = wait_for("the line", || {
        let line = lines(&server).pop()?;
        line.contains("path=/heartbeat").then_some(line)
    });
    assert_eq!(field(&line, "status"), "400", "{line}");
    assert!(line.contains(" key=\""), "{line}");
}

#[test]
fn nobody_writes_a_line_and_no_secret_is_in_one() {
    const FORGED: &str = "access peer=192.0.2.66 user=\"admin\" method=GET";
    let server = FleetbeatServer::start_with(ACCESS, &[]);
    // No command takes such a name, but another program may have stored it.
    let name = "ann\nFORGED \u{2028}\u{1b}[31m";
    server.add_user("ann", "readonly", "S3cretPassword");
    rusqlite::Connection::open(server.data().join("fleetbeat.db"))
        .and_then(|database| {
            let rename = "UPDATE users SET username = ?1 WHERE username = 'ann'";
            database.execute(rename, [name])
        })
        .unwrap();
    let token = server.token(name, "S3cretPassword");
    let authorization = format!("Bearer {token}");
    let before = lines(&server).len();

    let encoded: String = FORGED.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let targets = [
        format!("/x%0A{encoded}"),
        format!("/servers%0d%0a{encoded}"),
        format!("/server/1.2.3.4%0a{encoded}"),
        format!("/server/%1b%5B31m{encoded}/config"),
        format!("/servers?token={token}&key={AGENT_KEY}"),
        format!("/server/{AGENT_KEY}"),
        format!("/{token}"),
        format!("/{AGENT_KEY}"),
        "/server/%E2%80%A8%0b".to_owned(),
        format!("http://{AGENT_KEY}@x/servers"),
    ];
    let mut sent = 0;
    for target in &targets {
        for method in ["GET", "PATCH", AGENT_KEY, "access"] {
            let forwarded = format!("{FORGED}, 192.0.2.1");
            let headers = [
                ("Authorization", authorization.as_str()),
                ("X-Forwarded-For", forwarded.as_str()),
                ("User-Agent", FORGED),
                ("Referer", FORGED),
            ];
            server.request(method, target, &headers, b"");
            sent += 1;
        }
    }
    let body = format!("username=admin%0A{encoded}&password=S3cretPassword");
    server.request(
        "POST",
        "/token",
        &[("X-Forwarded-For", "x")],
        body.as_bytes(),
    );
    sent += 1;

    let log = server.log();
    assert_eq!(lines(&server).len() - before, sent, "{log}");
    for line in log.lines() {
        assert!(
            !line.starts_with("access ") && !line.starts_with("FORGED"),
            "{line}"
        );
        assert!(!line.contains("peer=192.0.2.66"), "{line}");
    }
    for part in [
        AGENT_KEY,
        &token,
        "S3cretPassword",
        "\u{1b}",
        "\u{2028}",
        "\r",
    ] {
        assert!(!log.contains(part), "{part:?} in {log}");
    }
    assert!(
        log.contains(r#" user="ann\nFORGED \u{2028}\u{1b}[31m" "#),
        "{log}"
    );
}
