//! The packages, from their content to their effects on a host, and the repositories of
//! packages.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use fleetbeat_tests::nspawn::{Kind, Machine};
use fleetbeat_tools::nginx::free_address;
use fleetbeat_tools::server::{AGENT_KEY, FleetbeatServer};
use fleetbeat_tools::stand_in::Authority;
use fleetbeat_tools::wait::wait_for;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::repository::{
    ARCHS, NAMES, OLD_PACKAGES, OLD_VERSION, PACKAGES, Repository, VERSION, apt, files,
    package, pretend_to_be_of_the_rpm_family, root, start_openvpn, succeed,
};

/// The name that agents and browsers use.
const DOMAIN: &str = "fleet.example.com";
const AGENT: &str = "fleetbeat-agent.service";
const SERVER: &str = "fleetbeat-server.service";

#[test]
fn lintian_and_rpmlint_find_no_error() {
    let debs = files(PACKAGES.path(), ".deb");
    assert_eq!(debs.len(), 2 * ARCHS.len());
    let found = succeed(
        Command::new("lintian")
            .args(["--fail-on", "error"])
            .args(debs),
    );
    assert!(!found.contains("E: "), "{found}");
    let rpms = files(PACKAGES.path(), ".rpm");
    let config = root().join("packaging/rpmlint.toml");
    let found = succeed(
        Command::new("rpmlint")
            .arg("--config")
            .arg(config)
            .args(rpms),
    );
    assert!(
        found.contains(&format!("{} packages", 2 * ARCHS.len()))
            && found.contains(" 0 errors"),
        "{found}"
    );
}

#[test]
fn packaging_the_same_twice_gives_the_same_bytes() {
    let again = package(VERSION, &root().join("packaging"));
    let [first, second] = [&PACKAGES, &again]
        .map(|folder| fs::read_to_string(folder.path().join("SHA256SUMS")).unwrap());
    assert_eq!(first, second);
    assert_eq!(first.lines().count(), 6 * ARCHS.len());
    succeed(
        Command::new("sha256sum")
            .args(["--check", "--strict", "SHA256SUMS"])
            .current_dir(again.path()),
    );
    assert!(
        files(OLD_PACKAGES.path(), ".deb")
            .iter()
            .all(|path| path.to_string_lossy().contains(OLD_VERSION))
    );
}

#[test]
fn packages_hold_what_distributions_expect_with_secrets_closed() {
    for name in NAMES {
        let short = name.strip_prefix("fleetbeat-").unwrap();
        let group = if short == "agent" {
            "fleetbeat-agent"
        } else {
            "fleetbeat"
        };
        let documents = match short {
            "agent" => "capacity.md containers.md operating.md",
            _ => {
                "capacity.md containers.md grafana.json operating.md prometheus-rules.yml"
            }
        };
        let documents = documents.split(' ').map(|document| {
            format!("-rw-r--r-- root root /usr/share/doc/{name}/docs/{document}")
        });
        let mut expected = vec![
            format!("-rwxr-xr-x root root /usr/bin/{name}"),
            format!("-rw-r--r-- root root /usr/lib/systemd/system/{name}.service"),
            format!("-rw-r--r-- root root /usr/lib/sysusers.d/{name}.conf"),
            format!("-rw-r--r-- root root /usr/lib/tmpfiles.d/{name}.conf"),
            format!("-rw-r----- root {group} /etc/fleetbeat/{short}.toml"),
            format!("-rw-r----- root {group} /etc/fleetbeat/{short}.env"),
            format!("-rw-r--r-- root root /usr/share/man/man8/{name}.8.gz"),
            format!("-rw-r--r-- root root /usr/share/man/man5/{short}.toml.5.gz"),
            format!("-rw-r--r-- root root /usr/share/bash-completion/completions/{name}"),
            format!(
                "-rw-r--r-- root root /usr/share/fish/vendor_completions.d/{name}.fish"
            ),
            format!("-rw-r--r-- root root /usr/share/doc/{name}/changelog.gz"),
        ];
        expected.extend(documents);
        let conffiles =
            format!("/etc/fleetbeat/{short}.env\n/etc/fleetbeat/{short}.toml\n");
        for arch in ARCHS {
            let deb = PACKAGES
                .path()
                .join(format!("{name}_{VERSION}-1_{arch}.deb"));
            let listed = succeed(Command::new("dpkg-deb").arg("--contents").arg(&deb));
            let listed: Vec<String> = listed.lines().map(deb_line).collect();
            // nfpm writes the latter's owner as numbers only.
            let own = [
                format!("-rw-r--r-- root root /usr/share/doc/{name}/copyright"),
                format!("-rw-r--r-- 0 0 /usr/share/doc/{name}/changelog.Debian.gz"),
                format!("-rw-r--r-- root root /usr/share/doc/{name}/THIRD-PARTY.gz"),
            ];
            for line in expected.iter().chain(&own) {
                assert!(listed.contains(line), "{line} is not in {listed:#?}");
            }
            let marked = succeed(
                Command::new("dpkg-deb")
                    .arg("--info")
                    .arg(&deb)
                    .arg("conffiles"),
            );
            assert_eq!(marked, conffiles);

            let machine = if arch == "amd64" { "x86_64" } else { "aarch64" };
            let rpm = PACKAGES
                .path()
                .join(format!("{name}-{VERSION}-1.{machine}.rpm"));
            let format =
                "[%{FILEMODES:perms} %{FILEUSERNAME} %{FILEGROUPNAME} %{FILENAMES}\\n]";
            let listed = succeed(
                Command::new("rpm")
                    .args(["-qp", "--queryformat", format])
                    .arg(&rpm),
            );
            for line in &expected {
                assert!(
                    listed.lines().any(|listed| listed == line),
                    "{line} is not in {listed}"
                );
            }
            let third_party =
                format!("-rw-r--r-- root root /usr/share/licenses/{name}/THIRD-PARTY.gz");
            assert!(
                listed.lines().any(|listed| listed == third_party),
                "{listed}"
            );
            assert_eq!(
                succeed(Command::new("rpm").args(["-qp", "--configfiles"]).arg(&rpm)),
                conffiles
            );
        }
    }
}

/// A line of `dpkg-deb --contents` without size and time.
fn deb_line(line: &str) -> String {
    let mut fields = line.split_whitespace();
    let mode = fields.next().unwrap();
    let owner = fields.next().unwrap().replace('/', " ");
    format!(
        "{mode} {owner} {}",
        fields.nth(3).unwrap().trim_start_matches('.')
    )
}

#[test]
fn packages_name_what_others_wrote_and_no_place_of_the_machine_that_built_them() {
    let holds = |name: &str, parts: &[&str]| {
        let deb = PACKAGES
            .path()
            .join(format!("{name}_{VERSION}-1_amd64.deb"));
        let folder = tempfile::tempdir().unwrap();
        succeed(
            Command::new("dpkg-deb")
                .arg("--extract")
                .arg(&deb)
                .arg(folder.path()),
        );
        let doc = folder.path().join("usr/share/doc").join(name);
        let text = succeed(Command::new("zcat").arg(doc.join("THIRD-PARTY.gz")));
        for part in parts {
            let start = text
                .find(&format!("\n{part} "))
                .unwrap_or_else(|| panic!("{part} is not in it"));
            let end = text[start..].find("======").unwrap_or(text.len() - start);
            assert!(
                text[start..start + end].contains("WITHOUT WARRANT"),
                "{part} has no licence"
            );
        }
        let binary = fs::read(folder.path().join("usr/bin").join(name)).unwrap();
        let here = root().canonicalize().unwrap();
        for place in [here.to_str().unwrap(), "/registry/src/", "/rustlib/src/"] {
            let is_in_it = binary
                .windows(place.len())
                .any(|bytes| bytes == place.as_bytes());
            assert!(!is_in_it, "{name} names {place}");
        }
    };
    holds("fleetbeat-agent", &["serde", "ureq"]);
    holds("fleetbeat-server", &["rusqlite", "tiny_http", "Vue"]);
}

#[test]
fn the_packaged_binary_runs_on_the_machine_it_is_for() {
    for arch in ARCHS {
        let folder = tempfile::tempdir().unwrap();
        for name in NAMES {
            let deb = PACKAGES
                .path()
                .join(format!("{name}_{VERSION}-1_{arch}.deb"));
            succeed(
                Command::new("dpkg-deb")
                    .arg("--extract")
                    .arg(deb)
                    .arg(folder.path()),
            );
            let binary = folder.path().join("usr/bin").join(name);
            let mut command = match arch {
                "arm64" => Command::new("qemu-aarch64"),
                _ => Command::new("env"),
            };
            let version = succeed(command.arg(binary).arg("--version"));
            assert_eq!(version.trim_end(), format!("{name} {VERSION}"));
        }
    }
}

fn edit(machine: &Machine, file: &str, script: &str) {
    let before = machine.ask("cat", &[file]);
    machine.ask("sed", &["-i", script, file]);
    assert_ne!(
        machine.ask("cat", &[file]),
        before,
        "{script} changes nothing in {file}"
    );
}

#[test]
fn apt_refuses_a_repository_with_a_strangers_signature() {
    let Some(machine) = Machine::boot(Kind::Host) else {
        return;
    };
    let repository = Repository::start();
    repository.publish(PACKAGES.path(), true);
    repository.publish(PACKAGES.path(), false);
    machine.ask("rm", &["-f", "/etc/apt/sources.list"]);
    let sources =
        fs::read_to_string(repository.folder.path().join("web/fleetbeat.sources"))
            .unwrap();
    let strange = sources.replace("/apt\n", "/stranger/apt\n");
    assert_ne!(strange, sources);
    machine.write("/etc/apt/sources.list.d/fleetbeat.sources", strange, 0o644);
    let update = machine.run("apt-get", &["update"]);
    let told = String::from_utf8_lossy(&update.stderr);
    assert!(
        !update.status.success() && told.contains("NO_PUBKEY"),
        "{update:?}"
    );
    assert!(
        !machine
            .run("apt-get", &["--yes", "install", "fleetbeat-agent"])
            .status
            .success()
    );

    // The right repository, and then a repository in which somebody has exchanged a
    // package.
    repository.add_to(&machine);
    let pool = repository.folder.path().join("web/apt/pool");
    for deb in files(&pool, ".deb") {
        let mut bytes = fs::read(&deb).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&deb, bytes).unwrap();
    }

    let install = machine.run("apt-get", &["--yes", "install", "fleetbeat-agent"]);
    let told = String::from_utf8_lossy(&install.stderr);
    assert!(
        !install.status.success() && told.contains("Hash Sum mismatch"),
        "{install:?}"
    );
}

/// A server that was installed from the repository, behind Debian's nginx with TLS.
struct Fleet {
    machine: Machine,
    authority: Authority,
    ca_file: PathBuf,
    _folder: TempDir,
    port: u16,
    token: String,
}

impl Fleet {
    fn install(machine: Machine, repository: &Repository) -> Fleet {
        repository.add_to(&machine);
        let told = apt(&machine, &["install", "fleetbeat-server"]);
        assert!(told.contains("journalctl -u fleetbeat-server"), "{told}");
        assert_eq!(machine.show(SERVER, "ActiveState"), "inactive");
        // Other sections have an interval, too.
        let script = "/^\\[sweep]/,/^\\[geo]/ { s/^# interval = .*/interval = \"1s\"/; \
                      s/^# down_after = .*/down_after = \"5s\"/ }";
        edit(&machine, "/etc/fleetbeat/server.toml", script);
        machine.ask("systemctl", &["enable", "--now", SERVER]);
        let socket =
            machine.ask("stat", &["--format=%U %G %a", "/run/fleetbeat/http.sock"]);
        assert_eq!(socket, "fleetbeat fleetbeat 660");
        assert_eq!(machine.show(SERVER, "LimitNOFILE"), "65536");
        let journal = machine.ask("journalctl", &["--unit", SERVER, "--output=cat"]);
        let password = journal
            .lines()
            .find_map(|line| line.strip_prefix("created user admin with password "));
        let password = password.unwrap_or_else(|| panic!("{journal}")).to_owned();

        let authority = Authority::new();
        let port = free_address().port();
        put_nginx_before(&machine, &authority, port);
        let folder = tempfile::tempdir().unwrap();
        let ca_file = folder.path().join("ca.pem");
        fs::write(&ca_file, authority.pem()).unwrap();
        let mut fleet = Fleet {
            machine,
            authority,
            ca_file,
            _folder: folder,
            port,
            token: String::new(),
        };
        let form = json!({"username": "admin", "password": password}).to_string();
        let answer = fleet.curl(
            "/token",
            &[
                "--header",
                "Content-Type: application/json",
                "--data",
                &form,
            ],
        );
        answer["access_token"]
            .as_str()
            .unwrap_or_else(|| panic!("{answer}"))
            .clone_into(&mut fleet.token);
        fleet
    }

    fn url(&self) -> String {
        format!("https://{DOMAIN}:{}", self.port)
    }

    /// A request through nginx.
    fn curl(&self, target: &str, arguments: &[&str]) -> Value {
        let mut command = Command::new("curl");
        command
            .args(["--silent", "--show-error", "--max-time", "10", "--cacert"])
            .arg(&self.ca_file);
        command.args(["--resolve", &format!("{DOMAIN}:{}:127.0.0.1", self.port)]);
        let answer = succeed(command.args(arguments).arg(self.url() + target));
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer}"))
    }

    /// A host, as `GET /servers` shows it.
    fn host(&self, ip: &str) -> Option<Value> {
        let authorization = format!("Authorization: Bearer {}", self.token);
        let answer =
            self.curl("/servers?all_servers=true", &["--header", &authorization]);
        answer
            .as_array()
            .unwrap()
            .iter()
            .find(|host| host["ip"] == ip)
            .cloned()
    }
}

/// The site that `proxy-config` prints, in Debian's nginx as Debian runs nginx.
fn put_nginx_before(machine: &Machine, authority: &Authority, port: u16) {
    let certificate = authority.certify(DOMAIN, 2020..2100);
    machine.write("/etc/nginx/fleet.pem", &certificate.pem, 0o644);
    machine.write("/etc/nginx/fleet.key", &certificate.key_pem, 0o600);
    let address = format!("127.0.0.1:{port}");
    let arguments = [
        "proxy-config",
        "nginx",
        "--domain",
        DOMAIN,
        "--listen",
        &address,
    ];
    let files = [
        "--certificate",
        "/etc/nginx/fleet.pem",
        "--key",
        "/etc/nginx/fleet.key",
    ];
    let site = machine.ask("fleetbeat-server", &[&arguments[..], &files].concat());
    machine.write("/etc/nginx/conf.d/fleetbeat.conf", site, 0o644);
    machine.ask(
        "usermod",
        &["--append", "--groups", "fleetbeat", "www-data"],
    );
    machine.ask("nginx", &["-t"]);
    machine.ask("systemctl", &["restart", "nginx"]);
}

/// Installs the agent for a fleet as README says, with the address by which the fleet is
/// to know the host.
fn install_agent(machine: &Machine, fleet: &Fleet, ip: &str) {
    let told = apt(machine, &["install", "fleetbeat-agent"]);
    assert!(
        told.contains("systemctl enable --now fleetbeat-agent"),
        "{told}"
    );
    assert_eq!(machine.show(AGENT, "ActiveState"), "inactive");
    assert_eq!(
        machine.run("systemctl", &["is-enabled", AGENT]).stdout,
        b"disabled\n"
    );

    machine.write(
        "/etc/hosts",
        format!("127.0.0.1 localhost {DOMAIN}\n"),
        0o644,
    );
    machine.write("/etc/fleetbeat/ca.pem", fleet.authority.pem(), 0o644);
    for script in [
        "s|^# ca_file|ca_file|".to_owned(),
        format!("s|^# ip = .*|ip = \"{ip}\"|"),
        "s|^# sample_every = .*|sample_every = \"1s\"|".to_owned(),
        "s|^# samples_per_heartbeat = .*|samples_per_heartbeat = 1|".to_owned(),
        "s|^# speed_mbps = .*|speed_mbps = 1000|".to_owned(),
        "s|^# \\[collectors.services\\]|[collectors.services]|; s|^# units|units|"
            .to_owned(),
    ] {
        edit(machine, "/etc/fleetbeat/agent.toml", &script);
    }
    let code = fleet.machine.ask("fleetbeat-server", &["enroll-code"]);
    let enroll = ["enroll", "--server", &fleet.url(), "--code", &code];
    machine.ask("fleetbeat-agent", &enroll);
    for (path, expected) in [
        ("/etc/fleetbeat/agent.env", "root fleetbeat-agent 640"),
        (
            "/etc/fleetbeat/agent.d/90-enrolled.toml",
            "root fleetbeat-agent 640",
        ),
        (
            "/var/lib/fleetbeat-agent/key",
            "fleetbeat-agent fleetbeat-agent 600",
        ),
    ] {
        let found = machine.ask("stat", &["--format=%U %G %a", path]);
        assert_eq!(found, expected, "{path}");
    }
    let as_user = [
        "--reuid=fleetbeat-agent",
        "--regid=fleetbeat-agent",
        "--clear-groups",
    ];
    let told = machine.ask(
        "setpriv",
        &[as_user.as_slice(), &["fleetbeat-agent", "doctor"]].concat(),
    );
    assert!(told.contains("the server knows it"), "{told}");
    machine.ask("systemctl", &["enable", "--now", AGENT]);
}

/// Whether the agent reports the host's `OpenVPN` as running.
fn vpn_is_active(host: &Value) -> bool {
    let services = host["services"].as_array().unwrap();
    services
        .iter()
        .find(|service| service["name"] == "ov")
        .unwrap()["active"]
        == true
}

#[test]
fn from_the_repository_to_a_fleet_that_is_watched_and_upgraded() {
    let Some(machine) = Machine::boot(Kind::Host) else {
        return;
    };
    let host = machine.boot_another();
    let repository = Repository::start();
    repository.publish(OLD_PACKAGES.path(), true);
    let fleet = Fleet::install(machine, &repository);

    repository.add_to(&host);
    start_openvpn(&host);
    install_agent(&host, &fleet, "192.0.2.1");
    let shown = wait_for("the heartbeat", || fleet.host("192.0.2.1"));
    assert!(
        shown["status"] == "active" && vpn_is_active(&shown),
        "{shown}"
    );
    let pid = host.show(AGENT, "MainPID");
    assert_eq!(
        host.ask("stat", &["--format=%U", &format!("/proc/{pid}")]),
        "fleetbeat-agent"
    );
    host.ask("systemctl", &["stop", "openvpn-server@server"]);
    wait_for("the VPN to be shown as inactive", || {
        (!vpn_is_active(&fleet.host("192.0.2.1").unwrap())).then_some(())
    });

    repository.publish(PACKAGES.path(), true);
    for (machine, unit, settings) in [
        (&host, AGENT, "/etc/fleetbeat/agent.toml"),
        (&fleet.machine, SERVER, "/etc/fleetbeat/server.toml"),
    ] {
        upgrade(machine, unit, settings);
    }
    let after = wait_for("a heartbeat from the new agent", || {
        fleet
            .host("192.0.2.1")
            .filter(|host| host["agent_version"] != OLD_VERSION)
    });
    assert_eq!(after["status"], "active", "{after}");

    drop(host);
    wait_for("the host to be down", || {
        (fleet.host("192.0.2.1").unwrap()["status"] == "down").then_some(())
    });
}

/// Upgrades all packages, under a running service, and beside a file that somebody has
/// edited.
fn upgrade(machine: &Machine, unit: &str, settings: &str) {
    let edited = machine.ask("cat", &[settings]);
    let pid = machine.show(unit, "MainPID");
    machine.ask("apt-get", &["update"]);
    let told = apt(machine, &["upgrade"]);
    assert!(
        told.contains(&format!("({VERSION}-1) over ({OLD_VERSION}-1)")),
        "{told}"
    );
    assert!(!told.contains("is installed, and not started"), "{told}");
    assert_eq!(machine.ask("cat", &[settings]), edited);
    // The new version's own file lies beside the edited one.
    assert!(
        !machine
            .ask("cat", &[&format!("{settings}.dpkg-dist")])
            .contains("in the manual")
    );
    assert_eq!(machine.show(unit, "ActiveState"), "active");
    assert_ne!(machine.show(unit, "MainPID"), pid);
}

#[test]
fn removing_stops_and_purging_leaves_nothing() {
    let Some(machine) = Machine::boot(Kind::Host) else {
        return;
    };
    let repository = Repository::start();
    repository.publish(OLD_PACKAGES.path(), true);
    let fleet = Fleet::install(machine, &repository);
    install_agent(&fleet.machine, &fleet, "192.0.2.2");
    wait_for("the heartbeat", || fleet.host("192.0.2.2"));
    let machine = &fleet.machine;
    let as_user = [
        "--reuid=fleetbeat",
        "--regid=fleetbeat",
        "--clear-groups",
        "fleetbeat-server",
    ];
    let users = machine.ask("setpriv", &[&as_user[..], &["user", "list"]].concat());
    assert!(users.contains("admin"), "{users}");
    machine.ask(
        "setpriv",
        &[&as_user[..], &["backup", "/var/lib/fleetbeat/backup.db"]].concat(),
    );
    restore_as_root(machine);
    wait_for("the restored host", || fleet.host("192.0.2.2"));

    // What does not run is left alone by an upgrade.
    machine.ask("systemctl", &["stop", AGENT]);
    repository.publish(PACKAGES.path(), true);
    machine.ask("apt-get", &["update"]);
    apt(machine, &["upgrade"]);
    assert_eq!(machine.show(AGENT, "ActiveState"), "inactive");
    machine.ask("systemctl", &["start", AGENT]);

    apt(machine, &["remove", "fleetbeat-agent", "fleetbeat-server"]);
    for unit in [AGENT, SERVER] {
        assert_eq!(machine.show(unit, "ActiveState"), "inactive");
        assert_eq!(machine.show(unit, "LoadState"), "not-found");
    }
    assert!(
        machine
            .run("test", &["-e", "/var/lib/fleetbeat/fleetbeat.db"])
            .status
            .success()
    );
    // The host is as before, and the package says how to go on.
    assert!(
        apt(machine, &["install", "fleetbeat-agent"])
            .contains("is installed, and not started")
    );
    assert!(
        machine
            .ask("cat", &["/etc/fleetbeat/agent.toml"])
            .contains("192.0.2.2")
    );

    // Files of others would stay, and the folder with them.
    machine.ask(
        "rm",
        &["/etc/fleetbeat/ca.pem", "/etc/nginx/conf.d/fleetbeat.conf"],
    );
    apt(machine, &["purge", "fleetbeat-agent", "fleetbeat-server"]);
    let left = machine.ask(
        "find",
        &[
            "/etc",
            "/usr",
            "/var/lib",
            "/run",
            "-xdev",
            "-name",
            "*fleetbeat*",
        ],
    );
    let left: Vec<&str> = left
        .lines()
        .filter(|path| !is_outside_the_package(path))
        .collect();
    assert_eq!(left, Vec::<&str>::new());
    for database in ["passwd", "group"] {
        let entries = machine.ask("getent", &[database]);
        assert!(!entries.contains("fleetbeat"), "{entries}");
    }
    let known = machine.run("dpkg-query", &["--list", "fleetbeat*"]);
    assert!(
        !String::from_utf8_lossy(&known.stdout)
            .lines()
            .any(|line| line.starts_with("rc")),
        "{known:?}"
    );
}

/// A server that has lost all but its keys gets its database back, as docs/operating.md
/// says, by root.
fn restore_as_root(machine: &Machine) {
    machine.ask("fleetbeat-server", &["backup", "/var/backups/fleet.db"]);
    assert_eq!(
        machine.ask("stat", &["--format=%U %a", "/var/backups/fleet.db"]),
        "root 600"
    );
    assert!(
        !machine
            .run("fleetbeat-server", &["restore", "/var/backups/fleet.db"])
            .status
            .success()
    );
    machine.ask("systemctl", &["stop", SERVER]);
    machine.ask(
        "sh",
        &[
            "-c",
            "rm /var/lib/fleetbeat/lock /var/lib/fleetbeat/fleetbeat.db*",
        ],
    );

    let told = machine.ask("fleetbeat-server", &["restore", "/var/backups/fleet.db"]);
    assert!(told.starts_with("restored: 1 servers, 1 users"), "{told}");
    let files = ["/var/lib/fleetbeat/fleetbeat.db", "/var/lib/fleetbeat/lock"];
    let owners = machine.ask("stat", &[&["--format=%U %G"], &files[..]].concat());
    assert_eq!(owners, "fleetbeat fleetbeat\nfleetbeat fleetbeat");
    machine.ask("systemctl", &["start", SERVER]);
}

/// What belongs to apt or systemd.
fn is_outside_the_package(path: &str) -> bool {
    ["/etc/apt/", "/var/lib/apt/", "/run/systemd/"]
        .iter()
        .any(|folder| path.starts_with(folder))
}

/// The output of dnf, which has to succeed.
fn dnf(machine: &Machine, arguments: &[&str]) -> String {
    machine.ask("dnf", &[&["--assumeyes", "--refresh"], arguments].concat())
}

#[test]
fn dnf_installs_upgrades_and_removes_what_its_repository_has_signed() {
    let Some(machine) = Machine::boot(Kind::Host) else {
        return;
    };
    let server = FleetbeatServer::start();
    let repository = Repository::start();
    repository.publish(OLD_PACKAGES.path(), true);
    pretend_to_be_of_the_rpm_family(&machine);
    let repo = "/etc/yum.repos.d/fleetbeat.repo";
    machine.ask(
        "curl",
        &[
            "-fsS",
            "--create-dirs",
            "-o",
            repo,
            &format!("{}/fleetbeat.repo", repository.url),
        ],
    );
    let told = dnf(
        &machine,
        &["install", "fleetbeat-agent", "fleetbeat-server"],
    );
    assert!(
        told.contains("systemctl enable --now fleetbeat-agent"),
        "{told}"
    );
    for unit in [AGENT, SERVER] {
        assert_eq!(machine.show(unit, "ActiveState"), "inactive");
    }
    let secret = machine.ask("stat", &["--format=%U %G %a", "/etc/fleetbeat/agent.env"]);
    assert_eq!(secret, "root fleetbeat-agent 640");

    let script = format!("s|^url = .*|url = \"http://{}\"|", server.address());
    edit(&machine, "/etc/fleetbeat/agent.toml", &script);
    edit(
        &machine,
        "/etc/fleetbeat/agent.env",
        &format!("s|^#AGENT_API_KEY=.*|AGENT_API_KEY={AGENT_KEY}|"),
    );
    machine.ask("systemctl", &["enable", "--now", AGENT]);
    let pid = machine.show(AGENT, "MainPID");
    assert_eq!(
        machine.ask("stat", &["--format=%U", &format!("/proc/{pid}")]),
        "fleetbeat-agent"
    );
    let token = server.admin_token();
    wait_for("the heartbeat", || {
        (server.servers(&token).len() == 1).then_some(())
    });

    repository.publish(PACKAGES.path(), true);
    let edited = machine.ask("cat", &["/etc/fleetbeat/agent.toml"]);
    dnf(&machine, &["upgrade"]);
    assert!(
        machine
            .ask("rpm", &["--query", "fleetbeat-agent"])
            .contains(VERSION)
    );
    assert_eq!(machine.ask("cat", &["/etc/fleetbeat/agent.toml"]), edited);
    assert!(
        !machine
            .ask("cat", &["/etc/fleetbeat/agent.toml.rpmnew"])
            .contains("in the manual")
    );
    assert_eq!(machine.show(AGENT, "ActiveState"), "active");
    assert_eq!(
        machine.run("systemctl", &["is-enabled", AGENT]).stdout,
        b"enabled\n"
    );
    assert_ne!(machine.show(AGENT, "MainPID"), pid);
    assert_eq!(machine.show(SERVER, "ActiveState"), "inactive");
    machine.ask("systemctl", &["start", SERVER]);
    let socket = machine.ask("stat", &["--format=%U %G %a", "/run/fleetbeat/http.sock"]);
    assert_eq!(socket, "fleetbeat fleetbeat 660");

    dnf(&machine, &["remove", "fleetbeat-agent", "fleetbeat-server"]);
    for unit in [AGENT, SERVER] {
        assert_eq!(machine.show(unit, "ActiveState"), "inactive");
        assert_eq!(machine.show(unit, "LoadState"), "not-found");
    }
    assert_eq!(
        machine.ask("cat", &["/etc/fleetbeat/agent.toml.rpmsave"]),
        edited
    );
    dnf_refuses_what_is_not_signed(&machine, &repository);
}

/// Somebody has exchanged the packages and the index: neither has its signature then.
fn dnf_refuses_what_is_not_signed(machine: &Machine, repository: &Repository) {
    let served = repository.folder.path().join("web/rpm");
    for path in files(PACKAGES.path(), ".rpm") {
        fs::copy(&path, served.join(path.file_name().unwrap())).unwrap();
    }
    succeed(Command::new("createrepo_c").arg("--quiet").arg(&served));
    let refused = |arguments: &[&str]| {
        machine.ask("dnf", &["clean", "all"]);
        let output = machine.run(
            "dnf",
            &[&["--assumeyes"], arguments, &["install", "fleetbeat-agent"]].concat(),
        );
        assert!(!output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };

    let told = refused(&[]);
    assert!(
        told.contains("repomd.xml GPG signature verification error"),
        "{told}"
    );

    let told = refused(&["--setopt=fleetbeat.repo_gpgcheck=0"]);
    assert!(told.contains("is not signed"), "{told}");
}
