//! The packages under test, the signed repositories of packages, and hosts prepared for
//! both.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

use fleetbeat_tests::nspawn::Machine;
use fleetbeat_tools::nginx::{Nginx, free_address};
use fleetbeat_tools::stand_in::Authority;
use tempfile::TempDir;

pub(crate) const NAMES: [&str; 2] = ["fleetbeat-agent", "fleetbeat-server"];
/// The machines that there are packages for.
pub(crate) const ARCHS: [&str; 2] = ["amd64", "arm64"];
/// What an upgrade starts from.
pub(crate) const OLD_VERSION: &str = "0.0.1";
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The packages of this version, and the packages of an older version.
pub(crate) static PACKAGES: LazyLock<TempDir> =
    LazyLock::new(|| package(VERSION, &root().join("packaging")));
pub(crate) static OLD_PACKAGES: LazyLock<TempDir> =
    LazyLock::new(|| package(OLD_VERSION, old_settings().path()));

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The settings that an older version may have installed: not the same text as today.
fn old_settings() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["agent.toml", "agent.env", "server.toml", "server.env"] {
        let text = fs::read_to_string(root().join("packaging").join(name)).unwrap();
        fs::write(
            folder.path().join(name),
            text + "# What else is there is in the manual.\n",
        )
        .unwrap();
    }
    folder
}

/// Packages the static binaries, which `make test-packages` builds, as `make dist` does.
pub(crate) fn package(version: &str, settings: &Path) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let script = root().join("scripts/package.sh");
    let mut command = Command::new(script);
    command
        .env("DIST", folder.path())
        .env("VERSION", version)
        .env("ARCHS", ARCHS.join(" "));
    command.env("SETTINGS", settings);
    succeed(&mut command);
    folder
}

/// The output of a command, which has to succeed.
#[track_caller]
pub(crate) fn succeed(command: &mut Command) -> String {
    let (printed, output) = printed(command);
    assert!(output.status.success(), "{command:?}: {printed}");
    String::from_utf8(output.stdout).unwrap()
}

/// The output of a command on both streams, and its end.
#[track_caller]
pub(crate) fn printed(command: &mut Command) -> (String, Output) {
    let output = command.output();
    let output = output
        .unwrap_or_else(|error| panic!("{command:?}: {error}: `make setup` installs it"));
    let all = [&*output.stdout, &*output.stderr]
        .map(String::from_utf8_lossy)
        .concat();
    (all, output)
}

/// The packages in a folder, by the end of their names.
pub(crate) fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let paths = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> = paths
        .filter(|path| path.to_string_lossy().ends_with(ending))
        .collect();
    paths.sort();
    paths
}

/// The signed repositories on a web server of their own.
pub(crate) struct Repository {
    pub(crate) folder: TempDir,
    pub(crate) url: String,
    _nginx: Nginx,
}

impl Repository {
    /// An empty repository with a key to sign with.
    pub(crate) fn start() -> Repository {
        let folder = tempfile::tempdir().unwrap();
        let address = free_address();
        let root = folder.path().join("web");
        let site = format!("server {{ listen {address}; root {}; }}", root.display());
        let home = folder.path().join("gnupg");
        succeed(
            Command::new("install")
                .args(["--directory", "--mode=700"])
                .arg(&home),
        );

        let gpg = || {
            let mut command = Command::new("gpg");
            command
                .env("GNUPGHOME", &home)
                .args(["--batch", "--passphrase", ""]);
            command
        };
        succeed(gpg().args([
            "--quick-generate-key",
            "Fleetbeat tests",
            "rsa3072",
            "sign",
            "7d",
        ]));

        let key = succeed(gpg().args(["--armor", "--export-secret-keys"]));
        fs::write(folder.path().join("key.asc"), key).unwrap();
        // Its agent would outlive the test.
        succeed(
            Command::new("gpgconf")
                .env("GNUPGHOME", &home)
                .args(["--kill", "all"]),
        );
        Repository {
            url: format!("http://{address}"),
            _nginx: Nginx::start(&site, address),
            folder,
        }
    }

    /// Puts packages into the repository, in place of the old ones. Packages that the
    /// repository's own key does not sign are signed with a throw-away key, and lie in
    /// another place.
    pub(crate) fn publish(&self, packages: &Path, is_own_key: bool) {
        let mut command = Command::new(root().join("scripts/repository.sh"));
        let place = if is_own_key { "web" } else { "web/stranger" };
        command
            .env("DIST", packages)
            .env("REPOSITORY", self.folder.path().join(place));
        let url = self.url.clone() + if is_own_key { "" } else { "/stranger" };
        command
            .env("FLEETBEAT_REPOSITORY_URL", url)
            .env_remove("FLEETBEAT_SIGNING_KEY");
        if is_own_key {
            command.env("FLEETBEAT_SIGNING_KEY", self.folder.path().join("key.asc"));
        }
        succeed(&mut command);
    }

    /// Lets a machine know of it, and of no other.
    pub(crate) fn add_to(&self, machine: &Machine) {
        machine.ask("rm", &["-f", "/etc/apt/sources.list"]);
        let sources = "/etc/apt/sources.list.d/fleetbeat.sources";
        machine.ask(
            "curl",
            &["-fsSo", sources, &format!("{}/fleetbeat.sources", self.url)],
        );
        machine.ask("apt-get", &["update"]);
    }
}

/// Installs, upgrades, removes or purges with apt, which may ask nothing: for a file that
/// somebody has edited, apt takes its own default answer.
pub(crate) fn apt(machine: &Machine, arguments: &[&str]) -> String {
    let environment = [
        "DEBIAN_FRONTEND=noninteractive",
        "apt-get",
        "--yes",
        "--option=Dpkg::Options::=--force-confdef",
    ];
    machine.ask("env", &[&environment, arguments].concat())
}

/// A real service for the agent to watch: Debian's `OpenVPN`, which touches no network
/// but loopback.
pub(crate) fn start_openvpn(machine: &Machine) {
    let authority = Authority::new();
    let certificate = authority.certify("vpn.example.com", 2020..2100);
    machine.write("/etc/openvpn/server/ca.pem", authority.pem(), 0o644);
    machine.write("/etc/openvpn/server/cert.pem", &certificate.pem, 0o644);
    machine.write("/etc/openvpn/server/key.pem", &certificate.key_pem, 0o600);
    let port = free_address().port();
    let config = format!(
        "dev null\nproto udp\nlocal 127.0.0.1\nport {port}\ntls-server\ndh none\nca ca.pem\ncert cert.pem\nkey key.pem\n"
    );
    machine.write("/etc/openvpn/server/server.conf", config, 0o600);
    machine.ask("systemctl", &["start", "openvpn-server@server"]);
}

/// Lets a Debian's rpm believe in a machine of its own family, with systemd and a shell.
pub(crate) fn pretend_to_be_of_the_rpm_family(machine: &Machine) {
    let spec = "Name: systemd\nVersion: 1\nRelease: 1\nSummary: What is there\nLicense: MIT\nBuildArch: noarch\n\
                Provides: /bin/sh\nProvides: dbus\n%description\nWhat is there.\n%files\n";
    machine.write("/var/tmp/stand-in/systemd.spec", spec, 0o644);
    let folder = "_topdir /var/tmp/stand-in";
    machine.ask(
        "rpmbuild",
        &[
            "-bb",
            "--quiet",
            "--define",
            folder,
            "/var/tmp/stand-in/systemd.spec",
        ],
    );

    let package = "/var/tmp/stand-in/RPMS/noarch/systemd-1-1.noarch.rpm";
    machine.ask("rpm", &["--force-debian", "--install", package]);
}

#[test]
fn a_signing_key_that_is_nowhere_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("gnupg");
    fs::create_dir(&home).unwrap();
    fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(folder.path().join("some.deb"), "").unwrap();
    fs::write(folder.path().join("empty.asc"), "").unwrap();
    for (key, expected) in [
        (
            "nokey".into(),
            "nokey is neither a secret key in your keyring nor a file",
        ),
        (
            folder.path().join("empty.asc"),
            "empty.asc holds no secret key",
        ),
    ] {
        let output = Command::new(root().join("scripts/repository.sh"))
            .env("FLEETBEAT_SIGNING_KEY", &key)
            .env("GNUPGHOME", &home)
            .env("DIST", folder.path())
            .env("REPOSITORY", folder.path().join("repository"))
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && told.contains(expected),
            "{told}"
        );
    }
}
