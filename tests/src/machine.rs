//! A machine of a test's own: a Debian tree that systemd-nspawn boots, with a real systemd as its first process.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::program::Running;
use crate::wait::{DEADLINE, wait_for};

/// Set to 1, it leaves out the tests that need a machine.
const SKIP: &str = "FLEETBEAT_SKIP_NSPAWN";

/// A booted machine on this host's network; dropping it pulls its plug. What it writes is gone then.
pub struct Machine {
    nspawn: Running,
    init: u32,
    folder: TempDir,
    _alone: File,
}

impl Machine {
    /// Boots one; `None` if the environment says that there shall be none.
    ///
    /// # Panics
    /// If it does not come up, or if this is no place for one.
    pub fn boot() -> Option<Machine> {
        if std::env::var_os(SKIP).is_some_and(|value| value == "1") {
            eprintln!("LEFT OUT because of {SKIP}=1: nothing is proven about systemd");
            return None;
        }
        let tree = tree();
        let alone = take_turn(&tree);
        let folder = tempfile::tempdir().expect("a temporary folder");
        let log = File::create(folder.path().join("log")).expect("a writable folder");
        let name = folder.path().file_name().expect("it has a name").to_string_lossy().replace('.', "");
        let mut command = Command::new("systemd-nspawn");
        command.args([
            "--quiet",
            "--boot",
            "--volatile=overlay",
            "--register=no",
            "--keep-unit",
            "--link-journal=no",
        ]);
        command.args(["--resolv-conf=off", "--timezone=off", "--machine", &name, "--directory"]).arg(tree);
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a file")).stderr(log);
        let nspawn = Running::spawn(&mut command);
        let mut machine = Machine { nspawn, init: 0, folder, _alone: alone };
        wait_for("the machine to boot", || {
            // Until the machine has a process of its own, this is a helper of systemd-nspawn's.
            machine.init = machine.find_init()?;
            let state = machine.run("systemctl", &["is-system-running"]);
            ["running\n", "degraded\n"].contains(&&*String::from_utf8_lossy(&state.stdout)).then_some(())
        });
        Some(machine)
    }

    /// Runs a program in it as root.
    ///
    /// # Panics
    /// If there is no nsenter.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.init.to_string(), "--all", program]).args(arguments);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").stdin(Stdio::null());
        command.output().expect("nsenter comes with util-linux")
    }

    /// What a program prints, which has to succeed.
    ///
    /// # Panics
    /// If it does not.
    pub fn ask(&self, program: &str, arguments: &[&str]) -> String {
        let output = self.run(program, arguments);
        assert!(output.status.success(), "{program} {arguments:?}: {output:?}\n{}", self.log());
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// A property of a unit.
    pub fn show(&self, unit: &str, property: &str) -> String {
        self.ask("systemctl", &["show", "--value", "--property", property, unit])
    }

    /// The path, from outside, of a file in it.
    pub fn path(&self, inside: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{inside}", self.init))
    }

    /// Writes a file, and its folder where there is none.
    ///
    /// # Panics
    /// If that fails.
    pub fn write(&self, inside: &str, content: impl AsRef<[u8]>, mode: u32) {
        let path = self.path(inside);
        fs::create_dir_all(path.parent().expect("an absolute path")).expect("root may do that");
        fs::write(&path, content).expect("root may do that");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("root may do that");
    }

    /// Ends everything in it. Killing systemd-nspawn alone would leave it running without an owner.
    fn pull_plug(&mut self) {
        // Until the machine has a process of its own, the child is a helper, and what it starts is not there yet.
        let deadline = Instant::now() + DEADLINE;
        while self.nspawn.is_running() && Instant::now() < deadline {
            if let Some(init) = self.nspawn_child() {
                let _ =
                    Command::new("kill").args(["-KILL", &init.to_string()]).stderr(Stdio::null()).status();
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// What it said on its console.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn find_init(&mut self) -> Option<u32> {
        assert!(self.nspawn.is_running(), "systemd-nspawn ended: {}", self.log());
        self.nspawn_child()
    }

    fn nspawn_child(&self) -> Option<u32> {
        let nspawn = self.nspawn.pid();
        let children = fs::read_to_string(format!("/proc/{nspawn}/task/{nspawn}/children")).ok()?;
        children.split_whitespace().next()?.parse().ok()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.pull_plug();
    }
}

/// Waits until no other test has a machine: without a systemd outside that keeps them apart, two of them would share
/// their control groups, and one would wait for the other's processes to end.
fn take_turn(tree: &Path) -> File {
    let lock = File::create(tree.with_extension("turn")).expect("the folder of the trees can be written");
    lock.lock().expect("a lock on a file");
    lock
}

/// The tree to boot.
fn tree() -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/tree.sh");
    let output = Command::new(script).output().expect("scripts/tree.sh can be run");
    assert!(
        output.status.success(),
        "no Debian tree to boot, so nothing can be tested under systemd ({SKIP}=1 leaves it out): {}",
        String::from_utf8_lossy(&output.stderr)
    );
    PathBuf::from(String::from_utf8_lossy(&output.stdout).trim_end())
}
