//! The packages, from what is in them to what they do to a host, with the repositories that they come from.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

use tempfile::TempDir;

const NAMES: [&str; 2] = ["fleetbeat-agent", "fleetbeat-server"];
/// What an upgrade starts from.
const OLD_VERSION: &str = "0.0.1";
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The packages of this version.
static PACKAGES: LazyLock<TempDir> = LazyLock::new(|| package(VERSION));

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The machines that there are static binaries for: amd64, and arm64 where somebody has built those.
fn archs() -> Vec<&'static str> {
    let is_built =
        |arch: &&str| NAMES.iter().all(|name| root().join("target/static").join(arch).join(name).exists());
    assert!(is_built(&"amd64"), "no static binaries: run `make test-packages`, which builds them");
    ["amd64", "arm64"].into_iter().filter(is_built).collect()
}

/// Packages the static binaries under that version, as `make dist` does.
fn package(version: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let script = root().join("scripts/package.sh");
    let mut command = Command::new(script);
    command.env("DIST", folder.path()).env("VERSION", version).env("ARCHS", archs().join(" "));
    succeed(&mut command);
    folder
}

/// What a command prints, which has to succeed.
#[track_caller]
fn succeed(command: &mut Command) -> String {
    let (printed, output) = printed(command);
    assert!(output.status.success(), "{command:?}: {printed}");
    String::from_utf8(output.stdout).unwrap()
}

/// All that a command prints, on both streams, and how it ended.
#[track_caller]
fn printed(command: &mut Command) -> (String, Output) {
    let output = command.output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}: `make setup` installs it"));
    let all = [&*output.stdout, &*output.stderr].map(String::from_utf8_lossy).concat();
    (all, output)
}

/// The packages in a folder whose names end like that.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> = paths.filter(|path| path.to_string_lossy().ends_with(ending)).collect();
    paths.sort();
    paths
}

#[test]
fn lintian_and_rpmlint_find_no_error() {
    let debs = files(PACKAGES.path(), ".deb");
    assert_eq!(debs.len(), 2 * archs().len());
    let found = succeed(Command::new("lintian").args(["--fail-on", "error"]).args(debs));
    assert!(!found.contains("E: "), "{found}");
    let rpms = files(PACKAGES.path(), ".rpm");
    let config = root().join("packaging/rpmlint.toml");
    let found = succeed(Command::new("rpmlint").arg("--config").arg(config).args(rpms));
    assert!(
        found.contains(&format!("{} packages", 2 * archs().len())) && found.contains(" 0 errors"),
        "{found}"
    );
}

#[test]
fn packaging_the_same_twice_gives_the_same_bytes() {
    let again = package(VERSION);
    let [first, second] =
        [&PACKAGES, &again].map(|folder| fs::read_to_string(folder.path().join("SHA256SUMS")).unwrap());
    assert_eq!(first, second);
    assert_eq!(first.lines().count(), 6 * archs().len());
    succeed(Command::new("sha256sum").args(["--check", "--strict", "SHA256SUMS"]).current_dir(again.path()));
    let other = package(OLD_VERSION);
    assert!(files(other.path(), ".deb").iter().all(|path| path.to_string_lossy().contains(OLD_VERSION)));
}

#[test]
fn packages_hold_what_distributions_expect_with_secrets_closed() {
    for name in NAMES {
        let short = name.strip_prefix("fleetbeat-").unwrap();
        let group = if short == "agent" { "fleetbeat-agent" } else { "fleetbeat" };
        let expected = [
            format!("-rwxr-xr-x root root /usr/bin/{name}"),
            format!("-rw-r--r-- root root /usr/lib/systemd/system/{name}.service"),
            format!("-rw-r--r-- root root /usr/lib/sysusers.d/{name}.conf"),
            format!("-rw-r--r-- root root /usr/lib/tmpfiles.d/{name}.conf"),
            format!("-rw-r----- root {group} /etc/fleetbeat/{short}.toml"),
            format!("-rw-r----- root {group} /etc/fleetbeat/{short}.env"),
            format!("-rw-r--r-- root root /usr/share/man/man8/{name}.8.gz"),
            format!("-rw-r--r-- root root /usr/share/man/man5/{short}.toml.5.gz"),
            format!("-rw-r--r-- root root /usr/share/bash-completion/completions/{name}"),
            format!("-rw-r--r-- root root /usr/share/fish/vendor_completions.d/{name}.fish"),
            format!("-rw-r--r-- root root /usr/share/doc/{name}/changelog.gz"),
        ];
        let conffiles = format!("/etc/fleetbeat/{short}.env\n/etc/fleetbeat/{short}.toml\n");
        for arch in archs() {
            let deb = PACKAGES.path().join(format!("{name}_{VERSION}-1_{arch}.deb"));
            let listed = succeed(Command::new("dpkg-deb").arg("--contents").arg(&deb));
            let listed: Vec<String> = listed.lines().map(deb_line).collect();
            // nfpm writes the latter's owner as numbers only.
            let own = [
                format!("-rw-r--r-- root root /usr/share/doc/{name}/copyright"),
                format!("-rw-r--r-- 0 0 /usr/share/doc/{name}/changelog.Debian.gz"),
            ];
            for line in expected.iter().chain(&own) {
                assert!(listed.contains(line), "{line} is not in {listed:#?}");
            }
            let marked = succeed(Command::new("dpkg-deb").arg("--info").arg(&deb).arg("conffiles"));
            assert_eq!(marked, conffiles);

            let machine = if arch == "amd64" { "x86_64" } else { "aarch64" };
            let rpm = PACKAGES.path().join(format!("{name}-{VERSION}-1.{machine}.rpm"));
            let format = "[%{FILEMODES:perms} %{FILEUSERNAME} %{FILEGROUPNAME} %{FILENAMES}\\n]";
            let listed = succeed(Command::new("rpm").args(["-qp", "--queryformat", format]).arg(&rpm));
            for line in &expected {
                assert!(listed.lines().any(|listed| listed == line), "{line} is not in {listed}");
            }
            assert_eq!(succeed(Command::new("rpm").args(["-qp", "--configfiles"]).arg(&rpm)), conffiles);
        }
    }
}

/// A line of `dpkg-deb --contents` without size and time.
fn deb_line(line: &str) -> String {
    let mut fields = line.split_whitespace();
    let mode = fields.next().unwrap();
    let owner = fields.next().unwrap().replace('/', " ");
    format!("{mode} {owner} {}", fields.nth(3).unwrap().trim_start_matches('.'))
}

#[test]
fn the_packaged_binary_runs_on_the_machine_it_is_for() {
    for arch in archs() {
        let folder = tempfile::tempdir().unwrap();
        for name in NAMES {
            let deb = PACKAGES.path().join(format!("{name}_{VERSION}-1_{arch}.deb"));
            succeed(Command::new("dpkg-deb").arg("--extract").arg(deb).arg(folder.path()));
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
