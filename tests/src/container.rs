//! Images and containers of a test's own: Debian's buildah and podman, with a storage in
//! a temporary folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::nspawn::{SKIP, is_left_out};

/// The settings of podman and buildah in place of this host's. With these settings
/// containers touch nothing else on the host, and work where the first process is not
/// systemd and where nobody may raise limits.
const CONTAINERS_CONF: &str = r#"
[containers]
cgroups = "disabled"
default_ulimits = []
log_driver = "k8s-file"
netns = "host"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
lock_type = "file"
runtime = "crun"
tmp_dir = "FOLDER/tmp"
"#;
const STORAGE_CONF: &str = r#"
[storage]
driver = "vfs"
graphroot = "FOLDER/storage"
runroot = "FOLDER/run"
"#;
/// crun refuses to run beside control groups of both versions at once, so crun is shown
/// only the groups of version 2.
const ONE_VERSION: &str = r#"[ ! -d /sys/fs/cgroup/unified ] || mount --bind /sys/fs/cgroup/unified /sys/fs/cgroup && exec "$@""#;

/// A shell's exit code for a missing program.
const NOT_FOUND: i32 = 127;

/// A container engine; dropping the value ends the containers and removes everything
/// stored.
pub struct Engine(TempDir);

impl Engine {
    /// An engine without images; `None` if the environment leaves the container tests
    /// out.
    ///
    /// # Panics
    /// If there is no temporary folder.
    pub fn new() -> Option<Engine> {
        if is_left_out() {
            eprintln!("LEFT OUT because of {SKIP}=1: nothing is proven about containers");
            return None;
        }
        let folder = tempfile::tempdir().expect("a temporary folder");
        for (name, text) in [
            ("containers.conf", CONTAINERS_CONF),
            ("storage.conf", STORAGE_CONF),
        ] {
            let text = text.replace("FOLDER", folder.path().to_str().expect("UTF-8"));
            fs::write(folder.path().join(name), text).expect("a writable folder");
        }
        Some(Engine(folder))
    }

    /// Builds a package's image for a machine as an operator does.
    ///
    /// # Panics
    /// If the build fails.
    pub fn build_image(&self, package: &str, arch: &str) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/images.sh");
        let mut command = self.command(script.to_str().expect("UTF-8"));
        command.arg(arch).env("PACKAGES", package);
        command
            .env("BUILDER", "buildah")
            .env("BUILDAH_ISOLATION", "chroot");
        succeed(&mut command);
    }

    /// The output of podman, which has to succeed.
    ///
    /// # Panics
    /// If podman fails.
    pub fn podman(&self, arguments: &[&str]) -> String {
        let printed = succeed(self.command("podman").args(arguments));
        printed.trim_end().to_owned()
    }

    /// Runs podman, which may fail.
    ///
    /// # Panics
    /// If podman is not installed.
    pub fn try_podman(&self, arguments: &[&str]) -> Output {
        output(self.command("podman").args(arguments))
    }

    /// Everything about an image or a container.
    ///
    /// # Panics
    /// If there is no image or container of that name.
    pub fn inspect(&self, kind: &str, name: &str) -> Value {
        let printed = self.podman(&[kind, "inspect", name]);
        let mut list: Value = serde_json::from_str(&printed).expect("JSON");
        list[0].take()
    }

    /// The root folder of an image.
    ///
    /// # Panics
    /// If there is no image of that name.
    pub fn root_of(&self, image: &str) -> PathBuf {
        self.podman(&["image", "mount", image]).into()
    }

    /// The folder of a volume.
    ///
    /// # Panics
    /// If there is no volume of that name.
    pub fn volume(&self, name: &str) -> PathBuf {
        self.podman(&["volume", "inspect", "--format", "{{.Mountpoint}}", name])
            .into()
    }

    /// Starts a container as the documentation says: without privileges, and with a
    /// volume as the only writable place.
    ///
    /// # Panics
    /// If the container does not start.
    pub fn start(&self, name: &str, options: &[&str], image: &str) {
        let usual = [
            "run",
            "--detach",
            "--name",
            name,
            "--ulimit",
            "host",
            "--network",
            "host",
            "--read-only",
        ];
        let usual = [
            &usual[..],
            &["--read-only-tmpfs=false", "--cap-drop", "all"],
        ]
        .concat();
        let usual = [&usual[..], &["--security-opt", "no-new-privileges"]].concat();
        self.podman(&[&usual[..], options, &[image]].concat());
    }

    /// The process id of a container's first process, as seen from outside.
    ///
    /// # Panics
    /// If the container does not run.
    pub fn pid(&self, name: &str) -> u32 {
        let pid = self.inspect("container", name)["State"]["Pid"]
            .as_u64()
            .and_then(|pid| pid.try_into().ok());
        pid.filter(|pid| *pid > 0)
            .unwrap_or_else(|| panic!("{name} does not run: {}", self.log(name)))
    }

    /// The log of a container.
    pub fn log(&self, name: &str) -> String {
        let output = self.try_podman(&["logs", name]);
        [output.stdout, output.stderr]
            .map(|text| String::from_utf8_lossy(&text).into_owned())
            .concat()
    }

    /// Whether a container's health check succeeds, and its output.
    ///
    /// # Panics
    /// If the container has no health check.
    pub fn health(&self, name: &str) -> (bool, String) {
        let is_healthy = self
            .try_podman(&["healthcheck", "run", name])
            .status
            .success();
        let state = self.inspect("container", name)["State"].take();
        let log = state["Health"]["Log"]
            .as_array()
            .expect("it has been checked");
        let told = log
            .last()
            .and_then(|last| last["Output"].as_str())
            .expect("the last check's word");
        (is_healthy, told.to_owned())
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("unshare");
        command.args([
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            ONE_VERSION,
            "sh",
            program,
        ]);

        command.env("CONTAINERS_CONF", self.0.path().join("containers.conf"));
        command.env(
            "CONTAINERS_STORAGE_CONF",
            self.0.path().join("storage.conf"),
        );
        command.stdin(Stdio::null());
        command
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self
            .command("podman")
            .args(["rm", "--all", "--force", "--time", "0"])
            .output();
    }
}

fn succeed(command: &mut Command) -> String {
    let output = output(command);
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn output(command: &mut Command) -> Output {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}: root needs util-linux"));
    let is_there = output.status.code() != Some(NOT_FOUND);
    assert!(
        is_there,
        "{command:?}: podman, buildah or crun is missing: `make setup` installs them"
    );
    output
}
