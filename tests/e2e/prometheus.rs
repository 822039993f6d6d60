//! A real Prometheus with the configuration of docs/operating.md, and what docs/ has for
//! it: alerts and a dashboard.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use fleetbeat_tools::client;
use fleetbeat_tools::nginx::free_address;
use fleetbeat_tools::process::Running;
use fleetbeat_tools::redis_server::RedisServer;
use fleetbeat_tools::server::{Database, FleetbeatServer};
use fleetbeat_tools::wait::wait_for;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::metrics::{metrics, samples};

const HEARTBEAT: &str = include_str!("../../protocol/golden/heartbeat-minimal.json");

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A program of Prometheus.
fn program(name: &str) -> Command {
    let script = repository().join("scripts/tools.sh");
    let tool = Command::new(script).arg("prometheus").output().unwrap();
    assert!(tool.status.success(), "{tool:?}");
    let folder = String::from_utf8(tool.stdout).unwrap();
    Command::new(Path::new(folder.trim_end()).join(name))
}

/// Runs promtool with `input`, and gives what it says if it finds nothing wrong.
fn promtool(arguments: &[&str], input: &str) -> String {
    let mut command = program("promtool");
    command.args(arguments).current_dir(repository());
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let wrong = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {told}{wrong}");
    format!("{told}{wrong}")
}

/// A Prometheus that runs in a folder of its own.
struct Prometheus {
    _process: Running,
    folder: TempDir,
    address: SocketAddr,
}

impl Prometheus {
    /// Starts a Prometheus with this prometheus.yml. `FOLDER` in it is its folder, where
    /// a file `token` has the token.
    fn start(config: &str, token: &str) -> Prometheus {
        let folder = tempfile::tempdir().unwrap();
        let config = config.replace("FOLDER", folder.path().to_str().unwrap());
        let file = folder.path().join("prometheus.yml");
        fs::write(&file, config).unwrap();
        fs::write(folder.path().join("token"), token).unwrap();
        promtool(&["check", "config", file.to_str().unwrap()], "");

        let address = free_address();
        let mut command = program("prometheus");
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.path().join("data").display()
            ))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stderr(fs::File::create(folder.path().join("log")).unwrap());
        let prometheus = Prometheus {
            _process: Running::spawn(&mut command),
            folder,
            address,
        };
        wait_for("Prometheus", || prometheus.try_get("/-/ready"));
        prometheus
    }

    /// The body of an answer 200. By HTTP/1.0, where no answer is chunked.
    fn try_get(&self, target: &str) -> Option<Vec<u8>> {
        let mut stream = client::connect(self.address).ok()?;
        let request = format!("GET {target} HTTP/1.0\r\nHost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok()?;
        let end = answer.windows(4).position(|part| part == b"\r\n\r\n")?;
        let body = answer.split_off(end + 4);
        answer.starts_with(b"HTTP/1.0 200 ").then_some(body)
    }

    /// The `data` of an answer of the API.
    fn api(&self, target: &str) -> Value {
        let target = format!("/api/v1/{target}");
        let body = self.try_get(&target);
        let body = body.unwrap_or_else(|| panic!("{target}: {}", self.log()));
        let answer: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(answer["status"], "success", "{target}: {answer}");
        answer["data"].clone()
    }

    /// The result of a query.
    fn query(&self, expression: &str) -> Vec<Value> {
        let encoded: String = expression
            .bytes()
            .map(|byte| format!("%{byte:02X}"))
            .collect();
        let data = self.api(&format!("query?query={encoded}"));
        data["result"].as_array().unwrap().clone()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

/// The prometheus.yml of docs/operating.md for a server at `address`.
fn documented(address: SocketAddr) -> String {
    let docs = include_str!("../../docs/operating.md");
    let (_, text) = docs.split_once("```yaml\n").unwrap();
    let (config, _) = text.split_once("```").unwrap();
    let rules = "/usr/share/doc/fleetbeat-server/docs/prometheus-rules.yml";
    let own_rules = repository().join("docs/prometheus-rules.yml");

    let mut replaced = config.to_owned();
    for (documented, here) in [
        (rules, own_rules.to_str().unwrap()),
        ("/etc/prometheus/fleetbeat-token", "FOLDER/token"),
        ("scheme: https", "scheme: http"),
        ("https://fleet.example.com/", &format!("http://{address}/")),
        ("fleet.example.com", &address.to_string()),
    ] {
        assert!(
            replaced.contains(documented),
            "{documented} is not in\n{config}"
        );
        replaced = replaced.replace(documented, here);
    }
    format!("global: {{scrape_interval: 1s, scrape_timeout: 1s}}\n{replaced}").replace(
        "http_sd_configs:\n      - url",
        "http_sd_configs:\n      - refresh_interval: 1s\n        url",
    )
}

/// A server on each backend, with what makes every metric appear: these are the metrics'
/// names.
fn exposed() -> (BTreeSet<String>, Vec<String>) {
    let (database, redis) = (Database::new(), RedisServer::start());
    let production =
        FleetbeatServer::start_on_mongodb(&database, &database.url, &redis.url(), "");
    let embedded = FleetbeatServer::start();
    let texts: Vec<String> = [&production, &embedded]
        .into_iter()
        .map(|server| {
            server.post_heartbeat("/heartbeat", HEARTBEAT.as_bytes());
            // The second scrape also tells of the first.
            metrics(server);
            metrics(server)
        })
        .collect();

    let series = texts.iter().flat_map(|text| samples(text).into_keys());
    let names = series.map(|series| series.split('{').next().unwrap().to_owned());
    (names.collect(), texts)
}

/// The names of metrics in an expression of Prometheus.
fn names_in(expression: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let words = expression.split(|c| !is_part(c));
    let is_name = |word: &&str| {
        ["fleetbeat_", "process_"]
            .iter()
            .any(|start| word.starts_with(start))
    };
    words.filter(is_name).map(str::to_owned).collect()
}

/// All expressions of the dashboard, and the queries of its variables.
fn dashboard_expressions(dashboard: &Value) -> Vec<String> {
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels
        .filter_map(|panel| panel["targets"].as_array())
        .flatten();
    targets
        .map(|target| target["expr"].as_str().unwrap().to_owned())
        .collect()
}

fn dashboard() -> Value {
    let text = fs::read_to_string(repository().join("docs/grafana.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn promtool_finds_nothing_wrong_in_metrics_and_alerts() {
    let (names, texts) = exposed();
    for text in &texts {
        let told = promtool(&["check", "metrics"], text);
        assert_eq!(told, "", "what promtool's linter says");
    }

    let told = promtool(&["check", "rules", "docs/prometheus-rules.yml"], "");
    assert!(told.contains("15 rules found"), "{told}");
    promtool(
        &["test", "rules", "tests/e2e/prometheus-rules.test.yml"],
        "",
    );

    let rules = include_str!("../../docs/prometheus-rules.yml");
    let alerts = rules.lines().filter_map(|line| line.split_once("alert: "));
    let played = include_str!("prometheus-rules.test.yml");
    for (_, alert) in alerts {
        let fires = format!("alertname: {alert}\n        exp_alerts:");
        assert!(played.contains(&fires), "{alert} never fires in the test");
    }

    let without_comments: Vec<&str> = rules
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .collect();
    let used = names_in(&without_comments.join("\n"));
    assert!(used.len() >= 8, "{used:?}");
    let missing: Vec<_> = used.difference(&names).collect();
    assert!(missing.is_empty(), "no server has {missing:?}");
}

#[test]
fn the_dashboard_is_sound_and_shows_what_there_is() {
    let dashboard = dashboard();
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let kinds: Vec<_> = variables
        .iter()
        .map(|one| (&one["name"], &one["type"]))
        .collect();
    assert_eq!(kinds[0], (&json!("datasource"), &json!("datasource")));
    let source = json!({"type": "prometheus", "uid": "${datasource}"});
    for variable in &variables[1..] {
        assert_eq!(variable["datasource"], source, "{variable}");
    }

    let (mut ids, mut places) = (BTreeSet::new(), BTreeSet::new());
    for panel in dashboard["panels"].as_array().unwrap() {
        let place = &panel["gridPos"];
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|name| place[name].as_u64().unwrap());
        assert!(x + w <= 24 && w > 0 && h > 0, "{panel}");
        for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(places.insert(cell), "panels overlap at {cell:?}: {panel}");
        }
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
        if panel["type"] == "row" {
            continue;
        }
        assert!(!panel["title"].as_str().unwrap().is_empty());
        assert!(
            !panel["description"].as_str().unwrap().is_empty(),
            "{panel}"
        );
        assert_eq!(panel["datasource"], source, "{panel}");
        for target in panel["targets"].as_array().unwrap() {
            assert_eq!(target["datasource"], source, "{target}");
        }
    }

    let expressions = dashboard_expressions(&dashboard);
    let used: BTreeSet<String> = expressions
        .iter()
        .flat_map(|expression| names_in(expression))
        .collect();
    let (names, _) = exposed();
    let missing: Vec<_> = used.difference(&names).collect();
    assert!(missing.is_empty(), "no server has {missing:?}");
    let is_shown = |name: &&String| {
        let stem = name.trim_end_matches("_bucket").trim_end_matches("_sum");
        let stem = stem.trim_end_matches("_count");
        // Limits, and an address space that says little.
        let is_left_out = ["process_max_fds", "process_virtual_memory_bytes"];
        is_left_out.contains(&stem) || used.iter().any(|used| used.starts_with(stem))
    };
    let forgotten: Vec<_> = names.iter().filter(|name| !is_shown(name)).collect();
    assert!(forgotten.is_empty(), "no panel shows {forgotten:?}");
}

#[test]
fn a_prometheus_as_documented_scrapes_the_server_and_finds_the_hosts() {
    let mut server = FleetbeatServer::start();
    server.add_user("prometheus", "readonly", "password of prometheus");
    let token = server.token("prometheus", "password of prometheus");
    let beat = |server: &FleetbeatServer, ip: &str| {
        let mut body: Value = serde_json::from_str(HEARTBEAT).unwrap();
        body["ip"] = ip.into();
        assert_eq!(server.heartbeat(&body).status, 200);
    };
    for ip in ["127.0.0.2", "127.0.0.3", "2001:db8::1"] {
        beat(&server, ip);
    }
    let admin = server.admin_token();
    let disable = json!({"enabled": false});
    server.api(&admin, "PATCH", "/server/127.0.0.3/config", Some(&disable));

    let prometheus = Prometheus::start(&documented(server.address()), &token);
    let up = wait_for("a scrape", || {
        let up = prometheus.query("up{job=\"fleetbeat\"}");
        up.first().filter(|up| up["value"][1] == "1").cloned()
    });
    assert_eq!(up["metric"]["instance"], server.address().to_string());

    let hosts = || {
        let targets = prometheus.api("targets?state=active");
        let targets = targets["activeTargets"].as_array().unwrap().clone();
        let mut hosts: Vec<_> = targets
            .iter()
            .filter(|target| target["labels"]["job"] == "node")
            .map(|target| target["labels"].clone())
            .collect();
        hosts.sort_by_key(|labels| labels["instance"].to_string());
        hosts
    };
    let found = wait_for("the hosts", || {
        Some(hosts()).filter(|hosts| hosts.len() == 2)
    });
    assert_eq!(found[0]["instance"], "127.0.0.2:9100");
    assert_eq!(found[0]["hostname"], "vpn-de-01");
    assert_eq!(found[0]["country"], "DE");
    assert_eq!(found[1]["instance"], "[2001:db8::1]:9100");

    // Every query of the dashboard has an answer, but for what only several instances have.
    assert_eq!(server.request("GET", "/nowhere", &[], b"").status, 404);
    let expressions = dashboard_expressions(&dashboard());
    let is_answered = |expression: &&String| {
        let expression = expression
            .replace("$job", "fleetbeat")
            .replace("$instance", ".*")
            .replace("$__rate_interval", "1m");
        !prometheus.query(&expression).is_empty()
    };
    wait_for("answers for the dashboard", || {
        let unanswered = expressions.iter().filter(|one| !is_answered(one));
        let names: BTreeSet<String> = unanswered.flat_map(|one| names_in(one)).collect();
        let of_several = ["cache_errors_total", "cache_up", "lease_held"];
        let of_several = of_several.map(|name| format!("fleetbeat_{name}"));
        (names == BTreeSet::from(of_several)).then_some(())
    });
    let rules = prometheus.api("rules");
    assert_eq!(rules["groups"][0]["rules"].as_array().unwrap().len(), 15);

    // A server that is away costs Prometheus no target.
    server.kill();
    wait_for("the loss to be seen", || {
        let up = prometheus.query("up{job=\"fleetbeat\"}");
        up.first().filter(|up| up["value"][1] == "0").cloned()
    });
    wait_for("a failed discovery", || {
        prometheus
            .log()
            .contains("Unable to refresh target groups")
            .then_some(())
    });
    assert_eq!(hosts().len(), 2);
    server.restart();
    beat(&server, "127.0.0.4");
    wait_for("the new host", || {
        Some(hosts()).filter(|hosts| hosts.len() == 3)
    });
}
