//! `packaging/compose.yaml` as far as it goes without Docker: its nginx before two instances.

use std::fs;
use std::path::Path;

use fleetbeat_tests::client;
use fleetbeat_tests::nginx::{Nginx, free_address};
use fleetbeat_tests::redis_server::RedisServer;
use fleetbeat_tests::server::{ADMIN_PASSWORD, AGENT_KEY, Database, Server, run};
use fleetbeat_tests::wait::wait_for;

const HEARTBEAT: &str = include_str!("../../protocol/golden/heartbeat-minimal.json");

fn packaging() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging")
}

#[test]
fn two_instances_behind_its_nginx_serve_as_one_and_go_on_when_one_is_killed() {
    let (database, redis) = (Database::new(), RedisServer::start());
    let settings = "trusted_proxies = [\"127.0.0.1\"]\n";
    let start = || Server::start_on_mongodb(&database, &database.url, &redis.url(), settings);
    let (mut first, second) = (start(), start());

    let free = free_address();
    let site = fs::read_to_string(packaging().join("compose/nginx.conf")).unwrap();
    let site = site
        .replace("server-1:8080", &first.address().to_string())
        .replace("server-2:8080", &second.address().to_string())
        .replace("listen 80;", &format!("listen {free};"));
    let nginx = Nginx::start(&site, free);
    let request = |method: &str, target: &str, headers: &[(&str, &str)], body: &str| {
        client::request(free, method, target, headers, body.as_bytes()).unwrap()
    };
    let login = format!("username=admin&password={}", ADMIN_PASSWORD.replace(' ', "+"));
    let token = request("POST", "/token", &[], &login).json()["access_token"].as_str().unwrap().to_owned();
    let bearer = format!("Bearer {token}");
    let without_ip = HEARTBEAT.replace("\"ip\": \"1.2.3.4\", ", "");
    let forged = [("X-API-Key", AGENT_KEY), ("X-Forwarded-For", "9.9.9.9")];
    assert_eq!(request("POST", "/heartbeat", &forged, &without_ip).status, 200);
    let list = || {
        let answer = request("GET", "/servers", &[("Authorization", &bearer), ("Connection", "close")], "");
        assert_eq!(answer.status, 200);
        answer.json().as_array().unwrap().iter().map(|server| server["ip"].clone()).collect::<Vec<_>>()
    };
    wait_for("the host", || (list() == ["127.0.0.1"]).then_some(()));
    let too_long = " ".repeat(1024 * 1024 + 1);
    assert_eq!(request("POST", "/heartbeats", &[("X-API-Key", AGENT_KEY)], &too_long).status, 413);

    first.kill();
    for _ in 0..10 {
        assert_eq!(request("POST", "/heartbeat", &[("X-API-Key", AGENT_KEY)], HEARTBEAT).status, 200);
    }
    wait_for("both hosts", || (list().len() == 2).then_some(()));
    nginx.stop();
}

#[test]
fn its_configuration_is_fine_and_its_files_are_there() {
    // It only lacks the secrets, which compose puts into the environment.
    let output = run(&packaging().join("compose/server.toml"), &["check-config"], "");
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.lines().all(|line| line.contains("AGENT_API_KEY") || line.contains("SECRET_KEY")), "{told}");
    let compose = fs::read_to_string(packaging().join("compose.yaml")).unwrap();
    for file in ["Dockerfile", "compose/nginx.conf"] {
        assert!(compose.contains(file) && packaging().join(file).is_file(), "{file}");
    }
}
