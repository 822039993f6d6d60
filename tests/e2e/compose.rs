//! The compose files as far as a test goes without Docker: their content, and the nginx
//! of one file before two instances. `images.rs` runs the images and tests their content.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use fleetbeat_tools::client;
use fleetbeat_tools::nginx::{Nginx, free_address};
use fleetbeat_tools::redis_server::RedisServer;
use fleetbeat_tools::server::{
    ADMIN_PASSWORD, AGENT_KEY, Database, FleetbeatServer, run,
};
use fleetbeat_tools::wait::wait_for;
use serde_json::{Value, json};

const HEARTBEAT: &str = include_str!("../../protocol/golden/heartbeat-minimal.json");

fn packaging() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging")
}

/// Two instances on one MongoDB and one Redis, behind the nginx of compose.yaml.
pub(crate) struct TwoInstances {
    pub(crate) first: FleetbeatServer,
    pub(crate) second: FleetbeatServer,
    pub(crate) nginx: Nginx,
    /// Where nginx listens.
    pub(crate) address: SocketAddr,
    _databases: (Database, RedisServer),
}

impl TwoInstances {
    pub(crate) fn start() -> TwoInstances {
        let (database, redis) = (Database::new(), RedisServer::start());
        let settings = "trusted_proxies = [\"127.0.0.1\"]\n";
        let start = || {
            FleetbeatServer::start_on_mongodb(
                &database,
                &database.url,
                &redis.url(),
                settings,
            )
        };
        let (first, second) = (start(), start());

        let address = free_address();
        let site = fs::read_to_string(packaging().join("compose/nginx.conf")).unwrap();
        let site = site
            .replace("server-1:8080", &first.address().to_string())
            .replace("server-2:8080", &second.address().to_string())
            .replace("listen 8080;", &format!("listen {address};"));
        TwoInstances {
            nginx: Nginx::start(&site, address),
            first,
            second,
            address,
            _databases: (database, redis),
        }
    }
}

#[test]
fn two_instances_behind_its_nginx_serve_as_one_and_go_on_when_one_is_killed() {
    let mut instances = TwoInstances::start();
    let address = instances.address;
    let request = |method: &str, target: &str, headers: &[(&str, &str)], body: &str| {
        client::request(address, method, target, headers, body.as_bytes()).unwrap()
    };
    let login = format!(
        "username=admin&password={}",
        ADMIN_PASSWORD.replace(' ', "+")
    );
    let token = request("POST", "/token", &[], &login).json()["access_token"]
        .as_str()
        .unwrap()
        .to_owned();
    let bearer = format!("Bearer {token}");
    let without_ip = HEARTBEAT.replace("\"ip\": \"1.2.3.4\", ", "");
    // nginx says loopback, whatever the client claims, and loopback is nobody's address.
    let forged = [("X-API-Key", AGENT_KEY), ("X-Forwarded-For", "9.9.9.9")];
    assert_eq!(
        request("POST", "/heartbeat", &forged, &without_ip).status,
        422
    );
    assert_eq!(
        request("POST", "/heartbeat", &forged, HEARTBEAT).status,
        200
    );
    let list = || {
        let answer = request(
            "GET",
            "/servers",
            &[("Authorization", &bearer), ("Connection", "close")],
            "",
        );
        assert_eq!(answer.status, 200);
        answer
            .json()
            .as_array()
            .unwrap()
            .iter()
            .map(|server| server["ip"].clone())
            .collect::<Vec<_>>()
    };
    wait_for("the host", || (list() == ["1.2.3.4"]).then_some(()));
    let too_long = " ".repeat(1024 * 1024 + 1);
    assert_eq!(
        request(
            "POST",
            "/heartbeats",
            &[("X-API-Key", AGENT_KEY)],
            &too_long
        )
        .status,
        413
    );

    instances.first.kill();
    for _ in 0..10 {
        assert_eq!(
            request("POST", "/heartbeat", &[("X-API-Key", AGENT_KEY)], HEARTBEAT).status,
            200
        );
    }
    assert_eq!(list(), ["1.2.3.4"]);
    instances.nginx.stop();
}

/// A compose file as Docker Compose reads it.
fn read_compose(name: &str) -> Value {
    let script = packaging().join("../scripts/tools.sh");
    let tool = Command::new(script).arg("compose").output().unwrap();
    assert!(tool.status.success(), "{tool:?}");
    let programs = String::from_utf8(tool.stdout).unwrap();

    // The paths in the file count from its folder. The file's secrets do not matter here.
    let output = Command::new(Path::new(programs.trim_end()).join("cmd"))
        .args(["--no-interpolation", "--format", "json", name])
        .current_dir(packaging())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{name}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn compose_understands_its_files_and_finds_what_they_name() {
    for name in ["compose.yaml", "compose.embedded.yaml"] {
        let model = read_compose(name);
        let services = model["services"].as_object().unwrap();
        let mut servers = 0;
        for (service, settings) in services {
            let mounts = settings["volumes"].as_array().into_iter().flatten();
            for source in mounts
                .filter(|mount| mount["type"] == "bind")
                .map(|mount| &mount["source"])
            {
                assert!(
                    Path::new(source.as_str().unwrap()).is_file(),
                    "{name}: {service}: {source}"
                );
            }
            if settings["image"] == "fleetbeat-server" {
                servers += 1;
                assert_eq!(settings["pull_policy"], "never", "{name}: {service}");
            }
            // The databases' images start as root and give it up themselves.
            if !["mongo", "redis"].contains(&service.as_str()) {
                assert_eq!(settings["read_only"], true, "{name}: {service}");
                assert_eq!(settings["cap_drop"], json!(["ALL"]), "{name}: {service}");
                assert_eq!(
                    settings["security_opt"],
                    json!(["no-new-privileges:true"]),
                    "{name}: {service}"
                );
            }
            for port in settings["ports"].as_array().into_iter().flatten() {
                assert_eq!(
                    port["host_ip"], "127.0.0.1",
                    "{name}: {service} is no network's"
                );
            }
        }
        assert!(servers > 0, "{name}");
    }

    let nginx = &read_compose("compose.yaml")["services"]["nginx"];
    let site = fs::read_to_string(packaging().join("compose/nginx.conf")).unwrap();
    assert!(
        site.contains(&format!("listen {};", nginx["ports"][0]["target"])),
        "{site}"
    );

    for server in ["server-1", "server-2"] {
        assert!(
            site.contains(&format!("server {server}:8080 max_fails=0;")),
            "{site}"
        );
        assert_eq!(nginx["depends_on"][server]["condition"], "service_healthy");
    }
}

#[test]
fn the_configurations_of_containers_are_fine() {
    for file in [
        "compose/server.toml",
        "compose/embedded.toml",
        "container/server.toml",
    ] {
        let output = run(&packaging().join(file), &["check-config"], "");
        let told = String::from_utf8(output.stderr).unwrap();
        // The files only lack the secrets, which come from the environment.
        let is_secret =
            |line: &str| line.contains("AGENT_API_KEY") || line.contains("SECRET_KEY");
        // The image alone does not know who can reach its port.
        let is_exposed = |line: &str| {
            file == "container/server.toml" && line.contains("without [tls]")
        };
        let is_expected = |line: &str| is_secret(line) || is_exposed(line);
        assert!(told.lines().all(is_expected), "{file}: {told}");
        let is_embedded = !fs::read_to_string(packaging().join(file))
            .unwrap()
            .contains("mongodb");
        assert_eq!(output.status.success(), is_embedded, "{file}: {told}");
    }
}
