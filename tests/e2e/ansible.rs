//! The Ansible role as an operator runs it: the example playbook over SSH, against
//! machines with a real systemd.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Instant;

use fleetbeat_tests::nspawn::{Kind, Machine};
use fleetbeat_tools::nginx::{Nginx, free_address};
use fleetbeat_tools::server::{AGENT_KEY, FleetbeatServer};
use fleetbeat_tools::stand_in::Authority;
use fleetbeat_tools::wait::wait_for;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::repository::{
    OLD_PACKAGES, OLD_VERSION, PACKAGES, Repository, VERSION, files,
    pretend_to_be_of_the_rpm_family, root, start_openvpn, succeed,
};

/// How many hosts there are: `make test-ansible-fleet` wants more than the test needs.
const HOSTS: &str = "FLEETBEAT_ANSIBLE_HOSTS";
/// One for each group of the example.
const USUAL_HOSTS: usize = 3;
/// Machines that boot at the same time.
const BOOTING: usize = 4;
/// Longest time of a program of Ansible's, in seconds.
const DEADLINE: &str = "1800";
/// The example's batches would take longer than the few hosts of the test need.
const AT_ONCE: [&str; 2] = ["--extra-vars", r#"{"fleetbeat_batches": ["100%"]}"#];
/// What the server accepts, too, while the key is changed.
const NEXT_KEY: &str = "the-next-key-of-the-tests";
const AGENT: &str = "fleetbeat-agent.service";
const SETTINGS: &str = "/etc/fleetbeat/agent.toml";
/// The groups of the example, and the places of their hosts.
const COUNTRIES: [(&str, &str, &str); USUAL_HOSTS] = [
    ("de", "DE", "Munich"),
    ("nl", "NL", "Amsterdam"),
    ("us", "US", "New York"),
];
/// The host with rpm and dnf, and the host with a running VPN.
const RPM_HOST: usize = 2;
const VPN_HOST: usize = 1;
/// The host with the key that hosts may share.
const SHARED_HOST: usize = 2;

/// A machine that an operator can log in to.
struct Host {
    machine: Machine,
    number: usize,
    port: u16,
}

impl Host {
    fn country(&self) -> (&'static str, &'static str, &'static str) {
        COUNTRIES[self.number % COUNTRIES.len()]
    }

    fn name(&self) -> String {
        format!("vpn-{}-{:02}", self.country().0, self.number)
    }

    fn ip(&self) -> String {
        format!("192.0.2.{}", self.number)
    }

    fn pid(&self) -> String {
        self.machine.show(AGENT, "MainPID")
    }

    fn settings(&self) -> String {
        self.machine.ask("cat", &[SETTINGS])
    }

    fn is_installed(&self) -> bool {
        self.machine.path("/usr/bin/fleetbeat-agent").exists()
    }

    fn version(&self) -> String {
        if self.number == RPM_HOST {
            return self.machine.ask(
                "rpm",
                &["--query", "--queryformat=%{VERSION}", "fleetbeat-agent"],
            );
        }
        let version = self.machine.ask(
            "dpkg-query",
            &["--show", "--showformat=${Version}", "fleetbeat-agent"],
        );
        version.trim_end_matches("-1").to_owned()
    }

    /// Prepares a host as operators have hosts before Ansible comes: sshd, a user who may
    /// do everything, name and package manager.
    fn prepare(&self, operator: &Path) {
        let machine = &self.machine;
        let key = operator.join(self.name());
        make_key(&key);
        machine.write(
            "/etc/ssh/ssh_host_ed25519_key",
            fs::read(&key).unwrap(),
            0o600,
        );

        let sshd = format!("Port {}\nListenAddress 127.0.0.1\n", self.port);
        machine.write("/etc/ssh/sshd_config.d/tests.conf", sshd, 0o644);
        machine.ask("useradd", &["--create-home", "deploy"]);
        let login = fs::read(operator.join("login.pub")).unwrap();
        machine.write("/home/deploy/.ssh/authorized_keys", login, 0o644);
        machine.write(
            "/etc/sudoers.d/deploy",
            "deploy ALL=(ALL) NOPASSWD: ALL\n",
            0o440,
        );
        machine.write(
            "/etc/hosts",
            format!("127.0.0.1 localhost {}\n", self.name()),
            0o644,
        );
        machine.ask("hostname", &[&self.name()]);
        machine.ask("rm", &["-f", "/etc/apt/sources.list"]);
        if self.number == RPM_HOST {
            pretend_to_be_of_the_rpm_family(machine);
            machine.ask("mkdir", &["-p", "/etc/yum.repos.d", "/etc/pki/rpm-gpg"]);
        }
        machine.ask("systemctl", &["start", "ssh"]);
    }

    /// As the inventory has it.
    fn variables(&self) -> Value {
        let mut variables = json!({
            "ansible_host": "127.0.0.1", "ansible_port": self.port, "fleetbeat_agent_ip": self.ip(),
        });
        if self.number == RPM_HOST {
            // The remaining files look like a Debian to Ansible.
            variables["fleetbeat_agent_package_manager"] = json!("dnf4");
        }
        variables
    }
}

/// A key without a passphrase, at `path` and `path.pub`.
fn make_key(path: &Path) {
    succeed(
        Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(path),
    );
}

/// Boots `count` hosts; `None` if the environment leaves the tests with machines out.
fn boot(count: usize, operator: &Path) -> Option<Vec<Host>> {
    let host = |machine, number| {
        let host = Host {
            machine,
            number,
            port: free_address().port(),
        };
        host.prepare(operator);
        host
    };

    let mut hosts = vec![host(Machine::boot(Kind::Host)?, 0)];
    for first in (1..count).step_by(BOOTING) {
        let another = &hosts[0].machine;
        let booted: Vec<Host> = thread::scope(|scope| {
            let numbers = first..count.min(first + BOOTING);
            let threads: Vec<_> = numbers
                .map(|number| scope.spawn(move || host(another.boot_another(), number)))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        hosts.extend(booted);
    }
    Some(hosts)
}

/// An operator's folder: a copy of the example with the operator's changes, and a key
/// that opens all hosts.
struct Operator {
    folder: TempDir,
    programs: PathBuf,
}

/// The result of a play for each of its hosts, and the whole output.
struct Play {
    told: String,
    recap: BTreeMap<String, BTreeMap<String, u32>>,
}

impl Operator {
    fn new() -> Operator {
        let script = root().join("scripts/tools.sh");
        let programs = succeed(Command::new(script).arg("ansible"));
        let folder = tempfile::tempdir().unwrap();
        let example = root().join("packaging/ansible");
        succeed(
            Command::new("cp")
                .arg("-r")
                .arg(example)
                .arg(folder.path().join("ansible")),
        );
        make_key(&folder.path().join("login"));
        fs::write(folder.path().join("password"), "password of the vault").unwrap();
        Operator {
            programs: PathBuf::from(programs.trim_end()),
            folder,
        }
    }

    /// Puts a file into the copy of the example.
    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.folder.path().join("ansible").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Changes the example as README says, for the given hosts, server and repository.
    fn configure(
        &self,
        hosts: &[Host],
        proxy: &TlsProxy,
        repository: &Repository,
        code: &str,
    ) {
        let folder = self.folder.path();
        let mut groups = json!({});
        for host in hosts {
            groups[host.country().0]["hosts"][host.name()] = host.variables();
        }
        self.write(
            "inventory.yml",
            json!({"vpn": {"children": groups}}).to_string(),
        );

        let known: Vec<String> = hosts.iter().map(|host| self.known_host(host)).collect();
        fs::write(folder.join("known_hosts"), known.concat()).unwrap();
        let key = fs::read(repository.folder.path().join("web/fleetbeat.asc")).unwrap();
        self.write("fleetbeat.asc", key);
        self.write("ca.pem", &proxy.authority);
        let ssh = format!(
            "-F none -o StrictHostKeyChecking=yes -o UserKnownHostsFile={}/known_hosts",
            folder.display()
        );
        let common = json!({
            "ansible_user": "deploy",
            "ansible_ssh_private_key_file": folder.join("login"),
            "ansible_ssh_common_args": ssh,
            "fleetbeat_agent_repository_url": repository.url,
            "fleetbeat_agent_url": proxy.url,
            "fleetbeat_agent_ca": "{{ lookup('file', 'ca.pem') }}",
        });

        // Read after fleetbeat.yml beside it.
        self.write("group_vars/all/site.yml", common.to_string());
        self.write(
            "group_vars/all/vault.yml",
            format!("vault_fleetbeat_agent_code: {code}\n"),
        );
        // One host has the key that hosts may share.
        let shared =
            format!("fleetbeat_agent_code: ''\nfleetbeat_agent_key: {AGENT_KEY}\n");
        self.write(
            &format!("host_vars/{}.yml", hosts[SHARED_HOST].name()),
            shared,
        );

        let vault = folder.join("ansible/group_vars/all/vault.yml");
        succeed(
            self.ansible("ansible-vault")
                .args(["encrypt", "--vault-password-file", "../password"])
                .arg(vault),
        );
    }

    fn known_host(&self, host: &Host) -> String {
        let key =
            fs::read_to_string(self.folder.path().join(host.name() + ".pub")).unwrap();
        format!("[127.0.0.1]:{} {key}", host.port)
    }

    /// A program of Ansible's, which writes to the operator's folder only.
    fn ansible(&self, program: &str) -> Command {
        let folder = self.folder.path();
        let mut command = Command::new("timeout");
        command
            .arg(DEADLINE)
            .arg(self.programs.join(program))
            .current_dir(folder.join("ansible"));
        command
            .env("ANSIBLE_HOME", folder)
            .env("ANSIBLE_SSH_CONTROL_PATH_DIR", folder.join("c"));
        command
            .env("LC_ALL", "C.UTF-8")
            .env("ANSIBLE_NOCOLOR", "1")
            .stdin(Stdio::null());
        command
    }

    /// Runs the playbook. The output goes to a file, because connections that stay open
    /// would hold a pipe.
    fn play(&self, what: &str, arguments: &[&[&str]]) -> Play {
        let started = Instant::now();
        let path = self.folder.path().join("log");
        let log = File::create(&path).unwrap();
        let mut command = self.ansible("ansible-playbook");
        command
            .args(["site.yml", "--vault-password-file", "../password"])
            .args(arguments.concat());
        command
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .status()
            .unwrap();
        let told = fs::read_to_string(path).unwrap();

        let recap = told
            .split_once("PLAY RECAP")
            .unwrap_or_else(|| panic!("{told}"))
            .1;
        let recap = recap.lines().filter_map(parse_recap).collect();
        eprintln!("{what}: {:.0?}", started.elapsed());
        Play { told, recap }
    }
}

/// `HOST : ok=9 changed=0 failed=0 …`
fn parse_recap(line: &str) -> Option<(String, BTreeMap<String, u32>)> {
    let (host, counts) = line.split_once(" : ")?;
    let counts = counts.split_whitespace().map(|count| {
        let (what, number) = count.split_once('=').unwrap();
        (what.to_owned(), number.parse().unwrap())
    });
    Some((host.trim_end().to_owned(), counts.collect()))
}

impl Play {
    #[track_caller]
    fn count(&self, host: &Host, what: &str) -> u32 {
        let counts = self
            .recap
            .get(&host.name())
            .unwrap_or_else(|| panic!("{}", self.told));
        counts[what]
    }

    /// Asserts that the play came to its end on the host; gives how much the play changed
    /// there.
    #[track_caller]
    fn changed(&self, host: &Host) -> u32 {
        let ill = ["failed", "unreachable"].map(|what| self.count(host, what));
        assert_eq!(ill, [0, 0], "{}: {}", host.name(), self.told);
        self.count(host, "changed")
    }
}

/// TLS before a server, with a certificate from an authority that nobody knows.
struct TlsProxy {
    url: String,
    authority: String,
    _folder: TempDir,
    _nginx: Nginx,
}

impl TlsProxy {
    fn start(server: &FleetbeatServer) -> TlsProxy {
        let authority = Authority::new();
        let certificate = authority.certify("127.0.0.1", 2020..2100);
        let folder = tempfile::tempdir().unwrap();
        let [chain, key] = ["chain.pem", "key.pem"].map(|name| folder.path().join(name));
        fs::write(&chain, certificate.pem).unwrap();
        fs::write(&key, certificate.key_pem).unwrap();
        let address = free_address();
        let site = format!(
            "server {{ listen {address} ssl; ssl_certificate {}; ssl_certificate_key {}; location / {{ proxy_pass http://{}; }} }}",
            chain.display(),
            key.display(),
            server.address()
        );
        let nginx = Nginx::start(&site, address);
        TlsProxy {
            url: format!("https://{address}"),
            authority: authority.pem(),
            _folder: folder,
            _nginx: nginx,
        }
    }
}

/// A host as the server has the host, once `is_right` says so.
fn wait_for_host(
    server: &FleetbeatServer,
    token: &str,
    host: &Host,
    is_right: impl Fn(&Value) -> bool,
) -> Value {
    wait_for(&format!("the heartbeat of {}", host.name()), || {
        server
            .servers(token)
            .into_iter()
            .find(|shown| shown["ip"] == host.ip() && is_right(shown))
    })
}

/// This version and an older version in one repository.
fn both_versions() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for packages in [&*OLD_PACKAGES, &*PACKAGES] {
        for path in [
            files(packages.path(), ".deb"),
            files(packages.path(), ".rpm"),
        ]
        .concat()
        {
            fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
        }
    }
    folder
}

#[test]
fn a_playbook_brings_up_a_fleet_and_changes_on_it_only_what_is_to_change() {
    let count = std::env::var(HOSTS).map_or(USUAL_HOSTS, |count| {
        count.parse().expect("a number of hosts")
    });
    assert!((USUAL_HOSTS..255).contains(&count), "{HOSTS}={count}");
    let operator = Operator::new();
    let started = Instant::now();
    let Some(hosts) = boot(count, operator.folder.path()) else {
        return;
    };
    eprintln!("{count} hosts booted: {:.0?}", started.elapsed());
    start_openvpn(&hosts[VPN_HOST].machine);
    let repository = Repository::start();
    repository.publish(both_versions().path(), true);
    let keys = format!("{AGENT_KEY},{NEXT_KEY}");
    let server = FleetbeatServer::start_with("", &[("AGENT_API_KEY", &keys)]);
    let proxy = TlsProxy::start(&server);
    let uses = count.to_string();
    let made = server.command(&["enroll-code", "--uses", &uses], "");
    let code = String::from_utf8(made.stdout).unwrap();
    operator.configure(&hosts, &proxy, &repository, code.trim_end());

    install(&operator, &hosts, &server);
    change(&operator, &hosts, &server);
    refuse(&operator, &hosts);
}

/// From nothing to a fleet that beats, and then the same again.
fn install(operator: &Operator, hosts: &[Host], server: &FleetbeatServer) {
    let batches = if hosts.len() > USUAL_HOSTS {
        &[]
    } else {
        &AT_ONCE[..]
    };

    let check = operator.play("check", &[batches, &["--check", "--diff"]]);
    for host in hosts {
        assert!(
            check.changed(host) > 0 && !host.is_installed(),
            "{}",
            check.told
        );
    }

    let old = [
        "--extra-vars",
        &format!("fleetbeat_agent_version={OLD_VERSION}"),
    ];
    let play = operator.play("install", &[batches, &old]);
    assert!(
        !play.told.contains(AGENT_KEY) && !play.told.contains("fbe_"),
        "{}",
        play.told
    );
    let token = server.admin_token();
    for host in hosts {
        assert!(play.changed(host) > 0);
        assert_eq!(host.version(), OLD_VERSION);
        let shown = wait_for_host(server, &token, host, |_| true);
        let (_, code, city) = host.country();
        assert_eq!(
            [&shown["countryCode"], &shown["city"]],
            [code, city],
            "{shown}"
        );
        let mut services = vec![json!({"name": "ov", "active": host.number == VPN_HOST})];
        services.extend((code == "US").then(|| json!({"name": "sq", "active": false})));
        assert_eq!(shown["services"], json!(services), "{shown}");
        let modes = ["agent.env", "agent.toml"].map(|file| {
            host.machine.ask(
                "stat",
                &["--format=%U %G %a", &format!("/etc/fleetbeat/{file}")],
            )
        });
        assert_eq!(modes, ["root fleetbeat-agent 640"; 2]);
        assert_eq!(
            host.machine.run("systemctl", &["is-enabled", AGENT]).stdout,
            b"enabled\n"
        );
    }

    let pids: Vec<String> = hosts.iter().map(Host::pid).collect();
    let again = operator.play("the same again", &[batches, &old]);
    for (host, pid) in hosts.iter().zip(pids) {
        assert_eq!(
            (again.changed(host), host.pid()),
            (0, pid),
            "{}",
            again.told
        );
    }
}

/// A city on one host, a newer version on the next, a key on the third.
fn change(operator: &Operator, hosts: &[Host], server: &FleetbeatServer) {
    let [moved, upgraded, rotated, ..] = hosts else {
        unreachable!()
    };
    operator.write(
        &format!("host_vars/{}.yml", moved.name()),
        "fleetbeat_agent_city: Köln \"am Rhein\"\n",
    );
    operator.write(
        &format!("host_vars/{}.yml", upgraded.name()),
        "fleetbeat_agent_version: latest\n",
    );

    let key = format!("fleetbeat_agent_code: ''\nfleetbeat_agent_key: {NEXT_KEY}\n");
    operator.write(&format!("host_vars/{}.yml", rotated.name()), key);
    let these = [moved, upgraded, rotated];
    let limit = ["--limit", &these.map(Host::name).join(",")];
    let (pids, before) = (these.map(Host::pid), moved.settings());
    let token = server.admin_token();
    let heard = wait_for_host(server, &token, rotated, |_| true)["last_heartbeat"].take();
    let check =
        operator.play("check", &[&["--check", "--diff", "--limit", &moved.name()]]);
    // The settings, and the reload.
    assert_eq!(check.changed(moved), 2, "{}", check.told);
    assert!(
        check.told.contains("+city = \"Köln \\\"am Rhein\\\"\"")
            && moved.settings() == before
    );

    let play = operator.play("three changes", &[&AT_ONCE, &limit]);
    assert_eq!(
        [
            play.changed(moved),
            play.changed(upgraded),
            play.changed(rotated)
        ],
        [2, 1, 2],
        "{}",
        play.told
    );
    assert_eq!(moved.pid(), pids[0], "it was only reloaded");
    assert_ne!(rotated.pid(), pids[2], "a new key needs a new process");
    assert_eq!(
        [moved.version(), upgraded.version()],
        [OLD_VERSION, VERSION]
    );

    // The journal may have the line a moment after systemd knows of the reload.
    wait_for("the reload in the journal", || {
        let journal = moved
            .machine
            .ask("journalctl", &["--unit", AGENT, "--output=cat"]);
        journal.contains("configuration reloaded").then_some(())
    });
    let file = rotated.machine.ask("cat", &["/etc/fleetbeat/agent.env"]);
    assert!(file.contains(NEXT_KEY));
    wait_for_host(server, &token, rotated, |shown| {
        shown["last_heartbeat"] != heard
    });
}

/// A configuration that the agent would refuse never takes the place of the old one, and
/// the play goes to no other host.
fn refuse(operator: &Operator, hosts: &[Host]) {
    let [host, spared, ..] = hosts else {
        unreachable!()
    };
    let (pid, before) = (host.pid(), host.settings());
    let wrong = "fleetbeat_agent_settings: {collectors: {cpu: {smooth: true}}}\n";
    operator.write(&format!("host_vars/{}.yml", host.name()), wrong);
    // Somebody's own file counts, too.
    host.machine.write(
        "/etc/fleetbeat/agent.d/own.toml",
        "[schedule]\nsample_evry = \"1s\"\n",
        0o644,
    );

    let limit = [host.name(), spared.name()].join(",");
    let play = operator.play("two mistakes", &[&["--limit", &limit]]);
    assert_eq!(play.count(host, "failed"), 1, "{}", play.told);
    for said in [
        "collectors.cpu.smooth",
        "agent.d/own.toml:2: schedule.sample_evry",
    ] {
        assert!(play.told.contains(said), "{said}: {}", play.told);
    }
    assert!(!play.recap.contains_key(&spared.name()), "{}", play.told);
    assert_eq!((host.pid(), host.settings()), (pid, before));
    assert_eq!(
        host.machine.ask(
            "find",
            &["/run", "-maxdepth", "1", "-name", "fleetbeat-agent.*"]
        ),
        ""
    );
}

#[test]
fn the_example_has_a_hundred_hosts_that_know_their_country() {
    let operator = Operator::new();
    let vault = "vault_fleetbeat_agent_key: a-key\n";
    operator.write("group_vars/all/vault.yml", vault);
    let listed = succeed(operator.ansible("ansible-inventory").arg("--list"));
    let hosts =
        serde_json::from_str::<Value>(&listed).unwrap()["_meta"]["hostvars"].take();
    let hosts = hosts.as_object().unwrap();
    assert_eq!(hosts.len(), 100);
    for (name, variables) in hosts {
        let code = variables["fleetbeat_agent_country_code"]
            .as_str()
            .unwrap()
            .to_lowercase();
        assert!(
            name.starts_with(&format!("vpn-{code}-")),
            "{name}: {variables}"
        );
    }
}
