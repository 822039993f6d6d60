//! The container images: their content, and their work as an operator runs them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use fleetbeat_tests::container::Engine;
use fleetbeat_tools::client::{self, Answer};
use fleetbeat_tools::nginx::free_address;
use fleetbeat_tools::server::{ADMIN_PASSWORD, AGENT_KEY};
use fleetbeat_tools::wait::wait_for;
use serde_json::{Value, json};

const HEARTBEAT: &[u8] = include_bytes!("../../protocol/golden/heartbeat-minimal.json");
/// Whom a container runs as.
const USER: u32 = 65532;
/// How long a stop may take.
const MAX_STOP: Duration = Duration::from_secs(5);

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .unwrap()
}

fn static_binary(arch: &str, name: &str) -> PathBuf {
    root().join("target/static").join(arch).join(name)
}

/// Each package for each machine.
fn images() -> impl Iterator<Item = (&'static str, &'static str)> {
    let names = |arch| ["fleetbeat-agent", "fleetbeat-server"].map(|name| (name, arch));
    ["amd64", "arm64"].into_iter().flat_map(names)
}

fn own_arch() -> &'static str {
    if cfg!(target_arch = "aarch64") {
        "arm64"
    } else {
        "amd64"
    }
}

/// Where an image's program keeps its state.
fn state_of(name: &str) -> &'static str {
    if name == "fleetbeat-server" {
        "/var/lib/fleetbeat"
    } else {
        "/var/lib/fleetbeat-agent"
    }
}

#[test]
fn an_image_holds_a_binary_and_its_configuration_and_belongs_to_nobody() {
    let Some(engine) = Engine::new() else { return };
    for (name, arch) in images() {
        engine.build_image(name, arch);
        let image = format!("{name}:{}-{arch}", env!("CARGO_PKG_VERSION"));
        let about = engine.inspect("image", &image);
        assert_eq!(about["Architecture"], arch);
        assert_configured(name, &about);
        assert_holds_its_files_alone(name, arch, &engine.root_of(&image));
    }
}

fn assert_configured(name: &str, about: &Value) {
    let (config, program, state) =
        (&about["Config"], format!("/usr/bin/{name}"), state_of(name));
    let port = if name == "fleetbeat-server" {
        json!({ "8080/tcp": {} })
    } else {
        Value::Null
    };

    for (key, value) in [
        ("User", json!(format!("{USER}:{USER}"))),
        ("Entrypoint", json!([program])),
        ("Cmd", Value::Null),
        ("WorkingDir", json!(state)),
        ("Volumes", json!({ state: {} })),
        ("StopSignal", json!("SIGTERM")),
        ("ExposedPorts", port),
    ] {
        assert_eq!(config[key], value, "{name}: {key}");
    }
    assert_eq!(
        about["Healthcheck"]["Test"],
        json!(["CMD", program, "health"])
    );

    let label =
        |name: &str| config["Labels"][format!("org.opencontainers.image.{name}")].clone();
    assert_eq!(label("version"), env!("CARGO_PKG_VERSION"));
    assert_eq!(label("licenses"), env!("CARGO_PKG_LICENSE"));
    assert_eq!(label("source"), env!("CARGO_PKG_REPOSITORY"));
}

fn assert_holds_its_files_alone(name: &str, arch: &str, root: &Path) {
    let (program, state, tree) = (format!("/usr/bin/{name}"), state_of(name), tree(root));
    let file = format!(
        "/etc/fleetbeat/{}.toml",
        name.strip_prefix("fleetbeat-").unwrap()
    );
    let files: Vec<&String> = tree
        .iter()
        .filter(|(_, entry)| !entry.is_dir())
        .map(|(path, _)| path)
        .collect();
    let licences = format!("/usr/share/doc/{name}/THIRD-PARTY");
    assert_eq!(files, [&file, &program, &licences], "{name}");
    assert_eq!(
        tree[&program].len(),
        fs::metadata(static_binary(arch, name)).unwrap().len()
    );
    assert_eq!(tree[state].uid(), USER, "{name} owns its state");
    // The rest is everybody's to read and nobody's to change.
    for path in ["/etc", "/usr/bin", &file, &program] {
        assert_eq!(
            (tree[path].uid(), tree[path].mode() & 0o026),
            (0, 4),
            "{name}: {path}"
        );
    }
}

/// All files in a folder, by path.
fn tree(top: &Path) -> BTreeMap<String, fs::Metadata> {
    let mut found = BTreeMap::new();
    let mut folders = vec![top.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let metadata = entry.metadata().unwrap();
            if metadata.is_dir() {
                folders.push(entry.path());
            }
            let path = entry
                .path()
                .strip_prefix(top)
                .unwrap()
                .display()
                .to_string();
            found.insert(format!("/{path}"), metadata);
        }
    }
    found
}

/// A server in a container, on its embedded store in the volume `data`.
struct ServerContainer<'a> {
    engine: &'a Engine,
    address: SocketAddr,
}

impl ServerContainer<'_> {
    fn start<'a>(engine: &'a Engine) -> ServerContainer<'a> {
        let address = free_address();
        let listen = format!("FLEETBEAT_LISTEN={address}");
        let password = format!("FLEETBEAT_ADMIN_PASSWORD={ADMIN_PASSWORD}");
        let key = format!("AGENT_API_KEY={AGENT_KEY}");
        let environment = ["--env", &listen, "--env", &password, "--env", &key];
        let volume = ["--volume", "data:/var/lib/fleetbeat"];
        engine.start(
            "server",
            &[environment.as_slice(), &volume].concat(),
            "fleetbeat-server",
        );
        wait_for("the server to listen", || {
            engine.pid("server");
            engine.log("server").contains("listening on").then_some(())
        });
        assert_eq!(
            engine.health("server"),
            (true, format!("http://{address} is healthy"))
        );
        ServerContainer { engine, address }
    }

    fn request(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        client::request(self.address, method, target, headers, body).unwrap_or_else(
            |error| panic!("{method} {target}: {error}\n{}", self.engine.log("server")),
        )
    }

    fn servers(&self) -> Vec<Value> {
        let login = json!({"username": "admin", "password": ADMIN_PASSWORD}).to_string();
        let json = [("Content-Type", "application/json")];
        let token = self
            .request("POST", "/token", &json, login.as_bytes())
            .json()["access_token"]
            .take();
        let bearer = format!("Bearer {}", token.as_str().unwrap());
        let answer = self.request(
            "GET",
            "/servers?all_servers=true",
            &[("Authorization", &bearer)],
            b"",
        );
        answer.json().as_array().unwrap().clone()
    }
}

/// A container's first process may do nothing, and write to nothing but its volume.
#[track_caller]
fn assert_powerless(engine: &Engine, name: &str, volume: &str) {
    let pid = engine.pid(name);
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let value = |key: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(key))
            .unwrap()
            .trim()
    };

    let user = USER.to_string();
    assert_eq!(
        value("Uid:").split_whitespace().collect::<Vec<_>>(),
        [&user; 4]
    );
    assert_eq!(
        value("Gid:").split_whitespace().collect::<Vec<_>>(),
        [&user; 4]
    );

    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
        assert_eq!(value(set), "0000000000000000", "{set}");
    }
    assert_eq!(value("NoNewPrivs:"), "1");
    let mounts = fs::read_to_string(format!("/proc/{pid}/mounts")).unwrap();
    let options = |point: &str| {
        let line = mounts
            .lines()
            .find(|line| line.split(' ').nth(1) == Some(point));
        line.unwrap_or_else(|| panic!("{point} is no mount: {mounts}"))
            .split(' ')
            .nth(3)
            .unwrap()
    };
    assert!(
        options("/").starts_with("ro,") && options(volume).starts_with("rw,"),
        "{mounts}"
    );
}

/// A container ends in time after a request to stop.
#[track_caller]
fn assert_stops(engine: &Engine, name: &str) {
    let asked = Instant::now();
    engine.podman(&["stop", "--time", "20", name]);
    assert!(asked.elapsed() < MAX_STOP, "{:?}", asked.elapsed());
    assert_eq!(
        engine.inspect("container", name)["State"]["ExitCode"],
        0,
        "{}",
        engine.log(name)
    );
}

fn signal(pid: u32, name: &str) {
    assert!(
        Command::new("kill")
            .args([&format!("-{name}"), &pid.to_string()])
            .status()
            .unwrap()
            .success()
    );
}

#[test]
fn the_server_needs_nothing_but_its_volume_where_its_data_outlive_the_container() {
    let Some(engine) = Engine::new() else { return };
    engine.build_image("fleetbeat-server", own_arch());
    let server = ServerContainer::start(&engine);
    assert_powerless(&engine, "server", "/var/lib/fleetbeat");
    let heartbeat =
        server.request("POST", "/heartbeat", &[("X-API-Key", AGENT_KEY)], HEARTBEAT);
    assert_eq!(heartbeat.status, 200);
    wait_for("the host", || (server.servers().len() == 1).then_some(()));
    // The commands work beside it, without a /tmp.
    assert_eq!(
        engine.podman(&["exec", "server", "fleetbeat-server", "user", "list"]),
        "admin\tsuperadmin"
    );
    engine.podman(&[
        "exec",
        "server",
        "fleetbeat-server",
        "backup",
        "/var/lib/fleetbeat/copy.db",
    ]);
    assert!(
        engine
            .volume("data")
            .join("copy.db")
            .metadata()
            .unwrap()
            .len()
            > 0
    );

    let address = server.address;
    let pid = engine.pid("server");
    signal(pid, "STOP");
    let (is_healthy, told) = engine.health("server");
    assert!(
        !is_healthy && told.ends_with("is not healthy: no answer within 4 s"),
        "{told}"
    );
    signal(pid, "CONT");
    wait_for("the server to be healthy again", || {
        engine.health("server").0.then_some(())
    });
    assert_stops(&engine, "server");
    // Nobody is there any more, says the same check in a container without a server.
    let listen = format!("FLEETBEAT_LISTEN={address}");
    let run = [
        "run",
        "--rm",
        "--ulimit",
        "host",
        "--env",
        &listen,
        "fleetbeat-server",
        "health",
    ];
    let alone = engine.try_podman(&run);
    assert_eq!(alone.status.code(), Some(1), "{alone:?}");
    assert!(
        String::from_utf8_lossy(&alone.stderr).contains("Connection refused"),
        "{alone:?}"
    );

    engine.podman(&["rm", "server"]);
    let server = ServerContainer::start(&engine);
    let ips: Vec<Value> = server
        .servers()
        .iter()
        .map(|server| server["ip"].clone())
        .collect();
    assert_eq!(ips, ["1.2.3.4"]);
}

#[test]
fn the_agent_tells_the_host_from_inside_of_a_container() {
    let Some(engine) = Engine::new() else { return };
    for name in ["fleetbeat-server", "fleetbeat-agent"] {
        engine.build_image(name, own_arch());
    }
    let server = ServerContainer::start(&engine);
    let settings = tempfile::tempdir().unwrap();
    let text = format!(
        "[server]\nurl = \"http://{}\"\n[schedule]\nsample_every = \"500ms\"\nsamples_per_heartbeat = 2\n\
         [collectors.net]\ninterface = \"lo\"\nspeed_mbps = 1000\n",
        server.address
    );
    fs::write(settings.path().join("site.toml"), text).unwrap();
    let settings = format!("{}:/etc/fleetbeat/agent.d:ro", settings.path().display());
    let key = format!("AGENT_API_KEY={AGENT_KEY}");
    let state = "agent:/var/lib/fleetbeat-agent";
    let options = [
        "--volume",
        "/:/host:ro,rslave",
        "--volume",
        &settings,
        "--volume",
        state,
        "--env",
        &key,
    ];
    engine.start("agent", &options, "fleetbeat-agent");
    assert_powerless(&engine, "agent", "/var/lib/fleetbeat-agent");

    let host = wait_for("the host with all that is measured", || {
        let host = server.servers().first().cloned()?;
        let has_all = ["cpu", "ram", "net"]
            .iter()
            .all(|load| host["load"][load].is_number());
        has_all.then_some(host)
    });
    let proc = |path: &str| fs::read_to_string(Path::new("/proc").join(path)).unwrap();
    assert_eq!(host["hostname"], proc("sys/kernel/hostname").trim());
    let stat = proc("stat");
    let boot_time = stat
        .lines()
        .find_map(|line| line.strip_prefix("btime "))
        .unwrap();
    assert_eq!(
        host["metrics"]["boot_time_seconds"]
            .to_string()
            .trim_end_matches(".0"),
        boot_time
    );
    let metrics = host["metrics"].as_object().unwrap();
    let disks: Vec<&String> = metrics
        .keys()
        .filter(|name| name.starts_with("disk_used_percent"))
        .collect();
    assert!(
        disks
            .iter()
            .any(|name| *name == "disk_used_percent{mount=\"/host\"}"),
        "{disks:?}"
    );
    assert!(
        disks.iter().all(|name| name.contains("\"/host")),
        "the host's disks, none of the image's: {disks:?}"
    );

    let (is_healthy, told) = engine.health("agent");
    assert!(
        is_healthy && told.starts_with("fleetbeat-agent is healthy"),
        "{told}"
    );
    // A loop that hangs leaves its spool unchanged; the test makes the spool old faster
    // than time does.
    let pid = engine.pid("agent");
    signal(pid, "STOP");
    let spool = engine.volume("agent").join("spool");
    let old = SystemTime::now() - Duration::from_secs(3600);
    File::options()
        .write(true)
        .open(&spool)
        .unwrap()
        .set_modified(old)
        .unwrap();
    let (is_healthy, told) = engine.health("agent");
    assert!(
        !is_healthy
            && told.contains("not healthy: its last sign of life")
            && told.contains("more than 12s"),
        "{told}"
    );
    signal(pid, "CONT");
    wait_for("the agent to be healthy again", || {
        engine.health("agent").0.then_some(())
    });
    assert_stops(&engine, "agent");
}
