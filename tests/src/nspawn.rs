//! A test's own machine: a Debian tree that systemd-nspawn boots, with a real systemd as
//! its first process.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use fleetbeat_tools::process::Running;
use fleetbeat_tools::wait::{DEADLINE, wait_for};

/// The value 1 leaves out the tests that need a machine or containers, and so root.
pub(crate) const SKIP: &str = "FLEETBEAT_SKIP_NSPAWN";

/// The packages in a machine; `scripts/tree.sh` has the names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Debian with systemd.
    Bare,
    /// The usual packages of an operator's host besides: curl, nginx, `OpenVPN`, dnf.
    Host,
}

/// Whether the environment says so.
pub(crate) fn is_left_out() -> bool {
    std::env::var_os(SKIP).is_some_and(|value| value == "1")
}

/// A booted machine on this host's network. Dropping the value pulls the machine's plug,
/// and everything written in the machine is gone.
pub struct Machine {
    nspawn: Running,
    init: u32,
    folder: TempDir,
    groups: Vec<PathBuf>,
    kind: Kind,
    turn: Arc<File>,
}

impl Machine {
    /// Boots a machine, once no other test has a machine; `None` if the environment
    /// leaves the tests with machines out.
    ///
    /// # Panics
    /// If the machine does not come up, or if nothing can be booted here.
    pub fn boot(kind: Kind) -> Option<Machine> {
        if is_left_out() {
            eprintln!("LEFT OUT because of {SKIP}=1: nothing is proven about systemd");
            return None;
        }
        let tree = tree(kind);
        let turn = Arc::new(take_turn(&tree));
        Some(Machine::start(&tree, kind, turn))
    }

    /// Boots another machine of the same kind.
    ///
    /// # Panics
    /// If the machine does not come up.
    pub fn boot_another(&self) -> Machine {
        Machine::start(&tree(self.kind), self.kind, self.turn.clone())
    }

    fn start(tree: &Path, kind: Kind, turn: Arc<File>) -> Machine {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let log = File::create(folder.path().join("log")).expect("a writable folder");
        let name = folder
            .path()
            .file_name()
            .expect("it has a name")
            .to_string_lossy()
            .replace('.', "");

        let groups = make_groups(&name);

        let mut command = nspawn(&groups, &name, tree);
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log);

        let nspawn = Running::spawn(&mut command);

        let mut machine = Machine {
            nspawn,
            init: 0,
            folder,
            groups,
            kind,
            turn,
        };

        wait_for("the machine to boot", || {
            // Until the machine has a process of its own, the child is a helper of
            // systemd-nspawn.
            machine.init = machine.find_init()?;
            let state = machine.run("systemctl", &["is-system-running"]);
            ["running\n", "degraded\n"]
                .contains(&&*String::from_utf8_lossy(&state.stdout))
                .then_some(())
        });
        machine
    }

    /// Runs a program in the machine as root.
    ///
    /// # Panics
    /// If nsenter is not installed.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &self.init.to_string(), "--all", program])
            .args(arguments);
        command
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .stdin(Stdio::null());
        command.output().expect("nsenter comes with util-linux")
    }

    /// The output of a program, which has to succeed.
    ///
    /// # Panics
    /// If the program fails.
    pub fn ask(&self, program: &str, arguments: &[&str]) -> String {
        let output = self.run(program, arguments);
        assert!(
            output.status.success(),
            "{program} {arguments:?}: {output:?}\n{}",
            self.log()
        );
        String::from_utf8_lossy(&output.stdout)
            .trim_end()
            .to_owned()
    }

    /// A property of a unit.
    pub fn show(&self, unit: &str, property: &str) -> String {
        self.ask(
            "systemctl",
            &["show", "--value", "--property", property, unit],
        )
    }

    /// The path, from outside, of a file in the machine.
    pub fn path(&self, inside: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{inside}", self.init))
    }

    /// Writes a file, and makes its folder if necessary.
    ///
    /// # Panics
    /// If the file cannot be written.
    pub fn write(&self, inside: &str, content: impl AsRef<[u8]>, mode: u32) {
        let path = self.path(inside);
        fs::create_dir_all(path.parent().expect("an absolute path"))
            .expect("root may do that");
        fs::write(&path, content).expect("root may do that");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))
            .expect("root may do that");
    }

    /// Ends everything in the machine. If systemd-nspawn alone were killed, the machine
    /// would run on without an owner.
    fn pull_plug(&mut self) {
        // Until the machine has a process of its own, the child is a helper that has not
        // started the machine yet.
        let deadline = Instant::now() + DEADLINE;
        while self.nspawn.is_running() && Instant::now() < deadline {
            if let Some(init) = self.nspawn_child() {
                let _ = Command::new("kill")
                    .args(["-KILL", &init.to_string()])
                    .stderr(Stdio::null())
                    .status();
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// The output on the machine's console.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn find_init(&mut self) -> Option<u32> {
        assert!(
            self.nspawn.is_running(),
            "systemd-nspawn ended: {}",
            self.log()
        );
        self.nspawn_child()
    }

    fn nspawn_child(&self) -> Option<u32> {
        let nspawn = self.nspawn.pid();
        let children =
            fs::read_to_string(format!("/proc/{nspawn}/task/{nspawn}/children")).ok()?;
        children.split_whitespace().next()?.parse().ok()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.pull_plug();
        for group in &self.groups {
            remove_group(group);
        }
    }
}

/// Boots `tree` by systemd-nspawn, in control groups of its own.
fn nspawn(groups: &[PathBuf], name: &str, tree: &Path) -> Command {
    let mut command = Command::new("sh");
    // The shell enters the machine's control groups first: $0 is their number.
    command.args(["-c", r#"n=$0; while [ "$n" -gt 0 ]; do echo 0 >"$1/cgroup.procs" || exit; shift; n=$((n - 1)); done; exec systemd-nspawn "$@""#]);
    command.arg(groups.len().to_string()).args(groups);
    command.args([
        "--quiet",
        "--boot",
        "--volatile=overlay",
        "--register=no",
        "--keep-unit",
        "--link-journal=no",
    ]);

    command
        .args([
            "--resolv-conf=off",
            "--timezone=off",
            "--machine",
            name,
            "--directory",
        ])
        .arg(tree);
    command
}

/// The machine's own control groups, below the group of this process, one in each
/// hierarchy that systemd uses. No systemd outside keeps machines apart (there may be
/// none): in a common group, a machine would wait for the end of another machine's
/// processes.
fn make_groups(name: &str) -> Vec<PathBuf> {
    let own = fs::read_to_string("/proc/self/cgroup").expect("/proc is mounted");
    let hierarchies = own.lines().filter_map(|line| {
        let (roots, path) = if let Some(path) = line.strip_prefix("0::") {
            (["/sys/fs/cgroup/unified", "/sys/fs/cgroup"], path)
        } else {
            (
                ["/sys/fs/cgroup/systemd", ""],
                line.split_once(":name=systemd:")?.1,
            )
        };

        let root = roots
            .into_iter()
            .find(|root| Path::new(root).join("cgroup.procs").exists())?;
        Some(
            Path::new(root)
                .join(path.trim_start_matches('/'))
                .join(name),
        )
    });

    let groups: Vec<PathBuf> = hierarchies.collect();
    for group in &groups {
        fs::create_dir(group)
            .unwrap_or_else(|error| panic!("{}: {error}", group.display()));
    }
    groups
}

/// Removes a control group and the groups inside, whose processes have ended. A group
/// that cannot be removed stays.
fn remove_group(group: &Path) {
    let within = fs::read_dir(group).into_iter().flatten().flatten();
    for entry in within.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
    {
        remove_group(&entry.path());
    }
    let _ = fs::remove_dir(group);
}

/// Waits until no other test has a machine: several machines at once would slow each
/// other down beyond the deadlines of the tests.
fn take_turn(tree: &Path) -> File {
    let lock = File::create(tree.with_file_name("turn"))
        .expect("the folder of the trees can be written");
    lock.lock().expect("a lock on a file");
    lock
}

/// The tree to boot.
fn tree(kind: Kind) -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/tree.sh");
    let kind = if kind == Kind::Host { "hosts" } else { "bare" };
    let output = Command::new(script)
        .args(["bookworm", kind])
        .output()
        .expect("scripts/tree.sh can be run");
    assert!(
        output.status.success(),
        "no Debian tree to boot, so nothing can be tested under systemd ({SKIP}=1 leaves it out): {}",
        String::from_utf8_lossy(&output.stderr)
    );
    PathBuf::from(String::from_utf8_lossy(&output.stdout).trim_end())
}
