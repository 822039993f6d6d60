//! What whoever begins with the server meets: what `check-config` says about the service,
//! what root does by hand, and the commands with something missing.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use fleetbeat_tests::nspawn::{Kind, Machine};
use fleetbeat_tools::nginx::free_address;
use fleetbeat_tools::process::{install, program, program_path};
use fleetbeat_tools::server::FleetbeatServer;
use fleetbeat_tools::stand_in::Authority;
use fleetbeat_tools::wait::wait_for;
use tempfile::TempDir;

use crate::start::refuse;

/// A user who owns nothing.
const NOBODY: u32 = 65534;
const UNIT: &str = "fleetbeat-server.service";

/// What a program has printed, and whether it was content.
fn told(output: &Output) -> (bool, String) {
    let text = [&output.stdout[..], &output.stderr].concat();
    let text = String::from_utf8(text).unwrap();
    (output.status.success(), text)
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// A configuration whose storage folder belongs to another user; `None` where the tests
/// that need root are left out.
struct OtherUsers {
    folder: TempDir,
}

impl OtherUsers {
    fn new(settings: &str) -> Option<OtherUsers> {
        let folder = tempfile::tempdir().unwrap();
        set_mode(folder.path(), 0o755);
        let data = folder.path().join("data");
        fs::create_dir(&data).unwrap();
        if let Err(error) = chown(&data, Some(NOBODY), Some(NOBODY)) {
            let is_left_out = std::env::var_os("FLEETBEAT_SKIP_NSPAWN").is_some();
            assert!(is_left_out, "root is needed: {error}");
            eprintln!("LEFT OUT: nothing is proven about files of other users");
            return None;
        }

        set_mode(&data, 0o700);
        let text = format!("{settings}\n[storage]\npath = {data:?}\n");
        fs::write(folder.path().join("server.toml"), text).unwrap();
        fs::create_dir(folder.path().join("server.d")).unwrap();
        Some(OtherUsers { folder })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn config(&self) -> PathBuf {
        self.path("server.toml")
    }

    fn check(&self) -> (bool, String) {
        let mut command = program("fleetbeat-server");
        command.arg("-c").arg(self.config()).arg("check-config");
        told(&command.output().unwrap())
    }
}

#[test]
fn root_checks_what_the_services_user_may_read() {
    let Some(files) = OtherUsers::new("listen = \"127.0.0.1:8080\"") else {
        return;
    };
    let (is_valid, text) = files.check();
    assert!(is_valid && text.contains("asked as:    user "), "{text}");

    for (name, content) in [
        ("server.d/10-site.toml", "workers = 5\n"),
        ("data/secret_key", "0123456789abcdef0123456789abcdef\n"),
        ("data/agent_api_key", "0123456789abcdef\n"),
        ("data/fleetbeat.db", ""),
        ("data/lock", ""),
    ] {
        let file = files.path(name);
        fs::write(&file, content).unwrap();
        set_mode(&file, 0o600);
        let (is_valid, text) = files.check();
        assert!(
            !is_valid && text.contains(&*file.to_string_lossy()),
            "{text}"
        );
        assert!(text.contains("`chown "), "no hint: {text}");

        chown(&file, Some(NOBODY), Some(NOBODY)).unwrap();
        let (is_valid, text) = files.check();
        assert!(is_valid, "{name}: {text}");
    }
}

#[test]
fn root_checks_the_certificates_key_as_the_services_user() {
    let Some(files) = OtherUsers::new("listen = \"127.0.0.1:8443\"") else {
        return;
    };
    let [certificate, key] = ["cert.pem", "key.pem"].map(|name| files.path(name));
    let authority = Authority::new();
    let certified = authority.certify("fleet.example.com", 2020..2100);
    fs::write(&certificate, &certified.pem).unwrap();
    fs::write(&key, &certified.key_pem).unwrap();
    set_mode(&key, 0o600);
    let tls = format!("[tls]\ncertificate = {certificate:?}\nkey = {key:?}\n");
    fs::write(files.path("server.d/tls.toml"), tls).unwrap();

    let (is_valid, text) = files.check();
    assert!(
        !is_valid && text.contains("key.pem cannot be read"),
        "{text}"
    );
    assert!(text.contains("chmod 640 FILE"), "{text}");
    chown(&key, Some(0), Some(NOBODY)).unwrap();
    set_mode(&key, 0o640);
    let (is_valid, text) = files.check();
    assert!(
        is_valid && text.contains("https://127.0.0.1:8443"),
        "{text}"
    );
}

#[test]
fn root_does_not_serve_from_another_users_folder() {
    let Some(files) = OtherUsers::new("listen = \"127.0.0.1:0\"") else {
        return;
    };
    let refused = refuse(&files.config(), &[]);
    assert_eq!(refused.status.code(), Some(78));
    let (_, text) = told(&refused);
    assert!(text.contains("systemctl start fleetbeat-server"), "{text}");
    assert!(!text.contains("password"), "{text}");
    assert_eq!(fs::read_dir(files.path("data")).unwrap().count(), 0);
}

#[test]
fn who_may_not_read_the_configuration_is_told_who_may() {
    let Some(files) = OtherUsers::new("") else {
        return;
    };
    set_mode(&files.path("server.d"), 0o700);
    // The program may lie where nobody else can get.
    let own = files.path("fleetbeat-server");
    let built = program_path("fleetbeat-server");
    fs::hard_link(&built, &own).unwrap_or_else(|_| install(&built, &own));

    for (words, advice) in [
        (&["user", "list"][..], "; call this with sudo"),
        (&["backup", "/tmp/b"], "; call this with sudo"),
        (&["check-config"], "; call this with sudo"),
        (&["health"], "; call this with sudo"),
        (&["run"], "`sudo fleetbeat-server check-config` says"),
    ] {
        let mut command = Command::new(&own);
        command.arg("-c").arg(files.config()).args(words);
        command.uid(NOBODY).gid(NOBODY).current_dir("/");
        let (is_done, text) = told(&command.output().unwrap());
        assert!(!is_done && text.contains("server.d"), "{words:?}: {text}");
        assert!(text.contains(advice), "{words:?}: {text}");
    }
}

#[test]
fn an_address_that_cannot_be_had_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let config = folder.path().join("server.toml");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let no_folder = format!("unix:{}/none/http.sock", folder.path().display());
    for listen in [taken.local_addr().unwrap().to_string(), no_folder] {
        let text = format!("listen = {listen:?}\n[storage]\npath = {data:?}\n");
        fs::write(&config, text).unwrap();
        let (is_done, text) = told(&refuse(&config, &[]));
        assert!(!is_done && text.contains("cannot listen on"), "{text}");
        assert!(!text.contains("password") && !data.exists(), "{text}");
    }
}

#[test]
fn the_log_says_what_a_reload_leaves_and_which_key_and_password_count() {
    let mut server = FleetbeatServer::start();
    let log = server.log();
    let key = "the agents' key is from AGENT_API_KEY of the environment";
    assert!(
        log.contains(key) && !log.contains("does not count"),
        "{log}"
    );
    assert!(!log.contains("FLEETBEAT_ADMIN_PASSWORD"), "{log}");

    server.signal("HUP");
    wait_for("the word about a reload", || {
        let told = "only the certificate is read again; restart the server";
        server.log().contains(told).then_some(())
    });

    server.stop();
    let own = server.data().join("agent_api_key");
    fs::write(&own, "another key of the tests\n").unwrap();
    server.restart();
    let log = server.log();
    assert!(
        log.contains(&format!("{key}, and {} does not", own.display())),
        "{log}"
    );
    assert!(log.contains("it changes no password"), "{log}");
}

#[test]
fn a_server_that_others_reach_without_tls_is_told_of() {
    let address = format!("0.0.0.0:{}", free_address().port());
    let settings = "exposed = true";
    let server = FleetbeatServer::start_with(settings, &[("FLEETBEAT_LISTEN", &address)]);
    let warning = "without [tls] keys and passwords cross the network as they are";
    assert!(server.log().contains(warning), "{}", server.log());

    let check = |more: &str| {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("server.toml");
        let text = format!("listen = {address:?}\nexposed = true\n{more}");
        fs::write(&config, text).unwrap();
        let mut command = program("fleetbeat-server");
        told(
            &command
                .arg("-c")
                .arg(config)
                .arg("check-config")
                .output()
                .unwrap(),
        )
        .1
    };
    assert!(check("").contains(warning));
    assert!(!check("trusted_proxies = [\"10.0.0.1\"]\n").contains(warning));
}

#[test]
fn commands_with_something_missing_say_what() {
    let server = FleetbeatServer::start();
    let backup = server.data().join("there.db");
    fs::write(&backup, "").unwrap();
    let backup = backup.to_str().unwrap();
    for (words, expected) in [
        (&["backup"][..], "`backup` needs FILE"),
        (&["restore"], "`restore` needs FILE"),
        (&["user", "passwd"], "`user passwd` needs NAME"),
        (
            &["user"],
            "`user` needs add, passwd, list, reset-totp, scope or remove",
        ),
        (
            &["backup", backup],
            "there.db: exists, and a backup goes to a new file",
        ),
    ] {
        let (is_done, text) = told(&server.command(words, ""));
        assert!(!is_done && text.contains(expected), "{words:?}: {text}");
    }

    // A session of its own has no terminal.
    let mut command = Command::new("setsid");
    command
        .arg("--wait")
        .arg(program_path("fleetbeat-server"))
        .arg("-c")
        .arg(server.config())
        .args(["user", "add", "ann", "--role", "admin"])
        .stdin(Stdio::from(File::open("/dev/null").unwrap()));
    let (is_done, text) = told(&command.output().unwrap());
    assert!(!is_done && text.contains("with --password-stdin"), "{text}");
}

fn packaging() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging")
}

/// A machine with the server installed as the package does it, and not started yet.
fn machine_with_server() -> Option<Machine> {
    let machine = Machine::boot(Kind::Bare)?;
    let built = fs::read(program_path("fleetbeat-server")).unwrap();
    machine.write("/usr/bin/fleetbeat-server", built, 0o755);
    for (packaged, inside) in [
        (UNIT, "/usr/lib/systemd/system/fleetbeat-server.service"),
        ("server.toml", "/etc/fleetbeat/server.toml"),
        (
            "fleetbeat-server.sysusers",
            "/usr/lib/sysusers.d/fleetbeat-server.conf",
        ),
        (
            "fleetbeat-server.tmpfiles",
            "/usr/lib/tmpfiles.d/fleetbeat-server.conf",
        ),
    ] {
        let content = fs::read(packaging().join(packaged)).unwrap();
        machine.write(inside, content, 0o644);
    }
    machine.ask("systemd-sysusers", &[]);
    let tmpfiles = "/usr/lib/tmpfiles.d/fleetbeat-server.conf";
    machine.ask("systemd-tmpfiles", &["--create", tmpfiles]);
    machine.ask("systemctl", &["daemon-reload"]);
    Some(machine)
}

#[test]
fn on_a_host_with_the_package_the_first_steps_go_well_or_say_why() {
    let Some(machine) = machine_with_server() else {
        return;
    };
    let call = |words: &[&str]| told(&machine.run("fleetbeat-server", words));
    let check = || call(&["check-config"]);
    let (is_valid, text) = check();
    assert!(
        is_valid && text.contains("asked as:    user fleetbeat"),
        "{text}"
    );
    assert!(!text.contains("warning"), "{text}");

    // By hand, before the service was ever started.
    let (is_done, text) = call(&[]);
    assert!(!is_done && text.contains("systemctl start"), "{text}");

    let drop_in = "/etc/fleetbeat/server.d/10-site.toml";
    machine.write(drop_in, "[sweep]\ndown_after = \"5m\"\n", 0o600);
    let (is_valid, text) = check();
    assert!(
        !is_valid && text.contains("chown root:fleetbeat FILE"),
        "{text}"
    );
    assert_ne!(
        machine.run("systemctl", &["start", UNIT]).status.code(),
        Some(0)
    );
    machine.ask("chmod", &["644", drop_in]);
    machine.write(
        "/etc/fleetbeat/server.env",
        "AGENT_API_KEY=0123456789abcdef\n",
        0o600,
    );
    let (is_valid, text) = check();
    let key = "agents' key: AGENT_API_KEY of /etc/fleetbeat/server.env";
    assert!(is_valid && text.contains(key), "{text}");
    assert!(text.contains(drop_in), "{text}");

    machine.ask("systemctl", &["reset-failed", UNIT]);
    machine.ask("systemctl", &["start", UNIT]);
    machine.ask("systemctl", &["reload", UNIT]);
    wait_for("the word about a reload", || {
        let journal = machine.ask("journalctl", &["--unit", UNIT, "--output=cat"]);
        journal.contains("restart the server").then_some(())
    });

    let elsewhere = "/etc/fleetbeat/server.d/15-data.toml";
    machine.write(elsewhere, "[storage]\npath = \"/srv/data\"\n", 0o644);
    machine.ask("mkdir", &["-p", "/srv/data"]);
    let (is_valid, text) = check();
    let closed = "/srv/data is not for the user fleetbeat";
    assert!(!is_valid && text.contains(closed), "{text}");
    machine.ask("rm", &[elsewhere]);

    // A low port, which the unit's drop-in allows.
    let settings = "listen = \"0.0.0.0:443\"\nexposed = true\n";
    machine.write("/etc/fleetbeat/server.d/20-port.toml", settings, 0o644);
    assert!(check().1.contains("port 443 needs the capability"));
    assert!(
        !machine
            .run("systemctl", &["restart", UNIT])
            .status
            .success()
    );
    let journal = machine.ask("journalctl", &["--unit", UNIT, "--output=cat"]);
    assert!(journal.contains("CAP_NET_BIND_SERVICE"), "{journal}");
    let power = "[Service]\nAmbientCapabilities=CAP_NET_BIND_SERVICE\n\
                 CapabilityBoundingSet=CAP_NET_BIND_SERVICE\n";
    let drop_in = "/etc/systemd/system/fleetbeat-server.service.d/port.conf";
    machine.write(drop_in, power, 0o644);
    machine.ask("systemctl", &["daemon-reload"]);
    machine.ask("systemctl", &["restart", UNIT]);
    assert!(!check().1.contains("port 443 needs"));
}
