//! A login by the word of a proxy: whose word is taken, for what, and what nobody can
//! pretend.

use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;

use fleetbeat_tools::client::{self, Answer, encode, read_answer};
use fleetbeat_tools::nginx::{Nginx, free_address};
use fleetbeat_tools::process::program;
use fleetbeat_tools::server::{ADMIN_PASSWORD, FleetbeatServer};
use serde_json::{Value, json};

const OWN: (&str, &str) = ("Origin", "https://fleetbeat");
const JSON: (&str, &str) = ("Content-Type", "application/json");
const GRANT: &[u8] = b"{\"grant\": \"proxy\"}";

fn settings(trusted: &str, groups: bool) -> String {
    let groups = match groups {
        true => {
            "groups_header = \"Remote-Groups\"\n\
             map = { ops = \"admin\", staff = \"readonly\", root = \"superadmin\" }\n"
        }
        false => "",
    };
    format!("[auth.proxy]\nheader = \"Remote-User\"\ntrusted = {trusted}\n{groups}")
}

fn log_in(server: &FleetbeatServer, headers: &[(&str, &str)]) -> Answer {
    let headers = [&[OWN, JSON], headers].concat();
    server.request("POST", "/token", &headers, GRANT)
}

fn me(server: &FleetbeatServer, login: &Answer) -> Value {
    assert_eq!(login.status, 200, "{login:?}");
    let token = login.json()["access_token"].as_str().unwrap().to_owned();
    server.api(&token, "GET", "/me", None).json()
}

/// Why logins were refused, as the events say after a restart.
fn reasons(server: &mut FleetbeatServer) -> Vec<String> {
    server.stop();
    server.restart();
    let root = server.admin_token();
    let events = server
        .api(&root, "GET", "/events?kind=login.failed", None)
        .json();
    let events = events["events"].as_array().unwrap().clone();
    let reason = |event: Value| event["data"]["reason"].as_str().unwrap().to_owned();
    let mut reasons: Vec<String> = events.into_iter().map(reason).collect();
    reasons.sort();
    reasons.dedup();
    reasons
}

#[test]
fn the_header_is_read_at_one_route_from_a_page_of_this_site() {
    let mut server =
        FleetbeatServer::start_with(&settings("[\"127.0.0.1\"]", false), &[]);
    server.add_user("ann", "readonly", "first password");
    let ann = ("Remote-User", "ANN");
    let told = "users are logged in by the word of a proxy: header Remote-User of \
                127.0.0.1/32";
    assert!(server.log().contains(told), "{}", server.log());
    let login = log_in(&server, &[ann]);
    let expected =
        json!({"username": "ann", "role": "readonly", "totp": false, "scope": null});
    assert_eq!(me(&server, &login), expected);

    // No other request carries an identity.
    for (method, target) in [("GET", "/servers"), ("GET", "/me"), ("POST", "/users")] {
        let answer = server.request(method, target, &[OWN, JSON, ann], b"{}");
        assert_eq!(answer.status, 401, "{method} {target}: {answer:?}");
    }
    let post = |headers: &[(&str, &str)], body: &[u8]| {
        server.request("POST", "/token", headers, body).status
    };
    let form = ("Content-Type", "application/x-www-form-urlencoded");
    assert_eq!(post(&[OWN, form, ann], b"grant=proxy"), 422);
    assert_eq!(
        post(&[OWN, ann], GRANT),
        422,
        "no form, and not called JSON"
    );
    assert_eq!(post(&[JSON, ann], GRANT), 403, "of no page");
    for origin in [
        "https://evil.example",
        "null",
        "https://fleetbeat:8443",
        "fleetbeat",
    ] {
        assert_eq!(
            post(&[("Origin", origin), JSON, ann], GRANT),
            403,
            "{origin}"
        );
    }
    assert_eq!(post(&[OWN, JSON, ann], b"{\"grant\": \"root\"}"), 422);

    assert_eq!(log_in(&server, &[]).status, 401, "nobody is logged in");
    assert_eq!(log_in(&server, &[("Remote-User", "")]).status, 401);
    assert_eq!(
        log_in(&server, &[ann, ("Remote-User", "admin")]).status,
        403,
        "two"
    );
    let unknown = log_in(&server, &[("Remote-User", "bob")]);
    assert_eq!(unknown.status, 403, "{unknown:?}");
    server.token("admin", ADMIN_PASSWORD);

    let told = reasons(&mut server);
    assert_eq!(told, ["foreign origin", "several users", "unknown user"]);
}

#[test]
fn a_strangers_header_is_worth_nothing() {
    for (settings, detail) in [
        (settings("[\"192.0.2.1\"]", false), "auth.proxy.trusted"),
        (settings("\"unix\"", false), "auth.proxy.trusted"),
        (
            format!(
                "trusted_proxies = [\"127.0.0.1\"]\n{}",
                settings("[\"192.0.2.1\"]", false)
            ),
            "auth.proxy.trusted",
        ),
        (String::new(), "auth.proxy"),
    ] {
        let mut server = FleetbeatServer::start_with(&settings, &[]);
        // Whatever is said of the client: the connection counts.
        let forwarded = ("X-Forwarded-For", "192.0.2.1");
        let answer = log_in(&server, &[("Remote-User", "admin"), forwarded]);
        assert_eq!(answer.status, 403, "{settings}: {answer:?}");
        let told = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(told.contains(detail), "{told}");
        if !settings.is_empty() {
            let line = "refused 127.0.0.1: login by a proxy that is not in \
                        auth.proxy.trusted";
            assert!(server.log().contains(line), "{}", server.log());
            assert_eq!(reasons(&mut server), ["untrusted proxy"]);
        }
    }
}

#[test]
fn a_unix_peer_is_trusted_only_where_that_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let log_in = |name: &str, trusted: &str| {
        let socket = folder.path().join(name);
        let listen = format!("unix:{}", socket.display());
        let environment = [("FLEETBEAT_LISTEN", listen.as_str())];
        let server = FleetbeatServer::start_with(&settings(trusted, false), &environment);
        let mut stream = UnixStream::connect(&socket).unwrap();
        let headers = [OWN, JSON, ("Remote-User", "admin")];
        stream
            .write_all(&encode("POST", "/token", &headers, GRANT))
            .unwrap();
        let answer = read_answer(&mut stream).unwrap();
        drop(server);
        answer.status
    };
    assert_eq!(
        log_in("a", "[\"127.0.0.0/8\", \"::/1\", \"0.0.0.0/1\"]"),
        403
    );
    assert_eq!(log_in("b", "\"unix\""), 200);
}

#[test]
fn groups_give_roles_at_each_login() {
    let mut server = FleetbeatServer::start_with(
        &format!(
            "{}[auth]\nrequire_totp = [\"readonly\"]\n",
            settings("[\"127.0.0.1\"]", true)
        ),
        &[],
    );
    let with = |server: &FleetbeatServer, user: &str, groups: &str| {
        log_in(server, &[("Remote-User", user), ("Remote-Groups", groups)])
    };
    let new = with(&server, "Jim@example.com", "x,staff");
    let expected = json!({"username": "Jim@example.com", "role": "readonly", "totp": false, "scope": null});
    assert_eq!(me(&server, &new), expected, "made at the first login");
    let token = new.json()["access_token"].as_str().unwrap().to_owned();
    let servers = server.api(&token, "GET", "/servers", None);
    assert_eq!(
        servers.status, 200,
        "the proxy sees to the second factor: {servers:?}"
    );
    let raised = with(&server, "jim@example.com", "staff|root");
    assert_eq!(me(&server, &raised)["role"], "superadmin");
    let old = new.json()["access_token"].as_str().unwrap().to_owned();
    assert_eq!(
        server.api(&old, "GET", "/me", None).status,
        401,
        "another role"
    );

    assert_eq!(with(&server, "jim@example.com", "").status, 403);
    assert_eq!(
        log_in(&server, &[("Remote-User", "jim@example.com")]).status,
        403
    );
    assert_eq!(
        with(&server, "a b", "staff").status,
        403,
        "no name of a user"
    );
    // Whoever is made this way has no password.
    for password in ["", "*", "password of jim"] {
        let body = json!({"username": "jim@example.com", "password": password});
        let answer =
            server.request("POST", "/token", &[JSON], body.to_string().as_bytes());
        assert_eq!(answer.status, 401, "{password:?}");
    }
    assert_eq!(
        me(&server, &with(&server, "jim@example.com", "ops"))["role"],
        "admin"
    );
    let last = with(&server, "admin", "staff");
    assert_eq!(last.status, 409, "the last superadmin stays one: {last:?}");
    let told = reasons(&mut server);
    assert_eq!(told, ["no role", "password", "unusable name"]);
}

#[test]
fn a_user_whom_the_proxy_adds_sees_no_more_than_the_setting_says() {
    let settings = settings("\"127.0.0.1\"", true);
    let settings = format!("{settings}scope = \"tag.customer = new\"\n");
    let server = FleetbeatServer::start_with(&settings, &[]);
    let log_in = |groups: &str| {
        let login = log_in(
            &server,
            &[("Remote-User", "jim"), ("Remote-Groups", groups)],
        );
        me(&server, &login)["scope"].clone()
    };
    let root = server.admin_token();
    assert_eq!(log_in("ops"), "tag.customer = new");

    // What a superadmin has set stays; who was removed comes back as somebody new.
    let body = json!({"scope": "tag.customer = acme"});
    let answer = server.api(&root, "PATCH", "/users/jim", Some(&body));
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(log_in("staff"), "tag.customer = acme");
    for (groups, expected) in [
        ("staff", json!("tag.customer = new")),
        ("root", Value::Null),
    ] {
        let answer = server.api(&root, "DELETE", "/users/jim", None);
        assert_eq!(answer.status, 204, "{answer:?}");
        assert_eq!(log_in(groups), expected);
    }
}

/// The site of `proxy-config nginx`, before the server, at `address`.
fn site(server: &FleetbeatServer, address: SocketAddr, sso: Option<&str>) -> String {
    let mut command = program("fleetbeat-server");
    command.arg("-c").arg(server.config());
    command.args(["proxy-config", "nginx", "--domain", "localhost", "--plain"]);
    command.args(["--listen", &address.to_string()]);
    command.args(sso.map(|url| ["--sso", url]).into_iter().flatten());
    command.env("FLEETBEAT_LISTEN", server.address().to_string());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn nginx_asks_who_is_logged_in_and_lets_nobody_pretend() {
    let server = FleetbeatServer::start_with(
        &format!(
            "trusted_proxies = [\"127.0.0.1\"]\n{}",
            settings("[\"127.0.0.1\"]", true)
        ),
        &[],
    );
    let (address, plain, stub) = (free_address(), free_address(), free_address());
    // In place of a portal: who has this cookie is logged in there.
    let portal = format!(
        "server {{ listen {stub}; location / {{\n\
         if ($cookie_portal = \"jim\") {{ add_header Remote-User jim; \
         add_header Remote-Groups \"staff,ops\"; return 200; }}\n\
         return 401; }} }}\n"
    );
    let url = format!("http://{stub}/verify");
    let with_sso = site(&server, address, Some(&url));
    let nginx = Nginx::start(&format!("{portal}{with_sso}"), address);
    let origin = format!("http://{address}");
    let host = address.to_string();
    let pretended = [("Remote-User", "admin"), ("Remote-Groups", "root")];
    let send = |to: SocketAddr, headers: &[(&str, &str)], body: &[u8]| {
        let own = [("Origin", origin.as_str()), JSON];
        let headers = [&own, headers].concat();
        // The client of the tests has a Host of its own.
        let bytes = encode("POST", "/token", &headers, body);
        let text = String::from_utf8(bytes).unwrap();
        let text = text.replace("Host: fleetbeat", &format!("Host: {host}"));
        client::exchange(to, text.as_bytes()).unwrap()
    };

    let login = send(address, &[("Cookie", "portal=jim")], GRANT);
    let expected =
        json!({"username": "jim", "role": "admin", "totp": false, "scope": null});
    assert_eq!(me(&server, &login), expected);
    let login = send(
        address,
        &[("Cookie", "portal=jim"), pretended[0], pretended[1]],
        GRANT,
    );
    assert_eq!(
        me(&server, &login)["username"],
        "jim",
        "whatever the client says"
    );
    let nobody = send(address, &pretended, GRANT);
    assert_eq!(nobody.status, 401, "{nobody:?}");
    let body = json!({"username": "admin", "password": ADMIN_PASSWORD}).to_string();
    let by_password = send(address, &pretended, body.as_bytes());
    assert_eq!(
        me(&server, &by_password)["username"],
        "admin",
        "a password still does"
    );
    nginx.stop();

    // Without --sso, nobody says who is logged in.
    let nginx = Nginx::start(&site(&server, plain, None), plain);
    let login = send(
        plain,
        &[("Cookie", "portal=jim"), pretended[0], pretended[1]],
        GRANT,
    );
    assert!(matches!(login.status, 401 | 403), "{login:?}");
    nginx.stop();
}
