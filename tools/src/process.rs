//! Programs and their processes: how the binaries of this build are found and started,
//! and what /proc says about a running process.

use std::fs;
use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use crate::wait::wait_for;

/// The clock tick of /proc/PID/stat: USER_HZ is 100 on every Linux that runs Fleetbeat.
const TICK: Duration = Duration::from_millis(10);

/// A command for a binary of this workspace, from the same build as the caller, without
/// any of Fleetbeat's own environment variables.
///
/// # Panics
/// If the binary is not built: `cargo test` alone builds no other package's binaries,
/// `make test` does.
pub fn program(name: &str) -> Command {
    let path = program_path(name);
    let mut command = Command::new(path);
    for variable in [
        "AGENT_API_KEY",
        "SECRET_KEY",
        "SECRET_KEY_PREVIOUS",
        "MONGODB_URL",
        "REDIS_URL",
        "FLEETBEAT_ADMIN_PASSWORD",
        "SMTP_PASSWORD",
    ] {
        command
            .env_remove(variable)
            .env_remove(format!("{variable}_FILE"));
    }

    command
        .env_remove("FLEETBEAT_LISTEN")
        .env_remove("NOTIFY_SOCKET");
    command
}

/// Where the binary `name` lies: beside the running program, or one folder up from a
/// test. `FLEETBEAT_AGENT` names another agent, such as the static one that is shipped.
///
/// # Panics
/// As [`program`].
pub fn program_path(name: &str) -> PathBuf {
    if name == "fleetbeat-agent"
        && let Some(path) = std::env::var_os("FLEETBEAT_AGENT")
    {
        return path.into();
    }
    let own = std::env::current_exe().expect("the running program has a path");
    let folders = own.ancestors().skip(1).take(2);
    folders
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
        .unwrap_or_else(|| {
            panic!("{name} is not built: run `make build` first, or `make test`")
        })
}

/// Copies `from` to `to` as a program that can be started at once.
///
/// Another process writes it. If this process did, a child that another thread starts in
/// that moment would have the file open for writing until the child has become its own
/// program, and Linux does not start a file that is open for writing (ETXTBSY).
///
/// # Panics
/// If the copy cannot be written.
pub fn install(from: &Path, to: &Path) {
    let status = Command::new("install")
        .args(["-m", "755"])
        .args([from, to])
        .status()
        .expect("install can be started");
    assert!(status.success(), "install {}", to.display());
}

/// A running program. Dropping the value kills the program, so that a failing test leaves
/// nothing behind.
pub struct Running(Child);

impl Running {
    /// Starts the program.
    ///
    /// # Panics
    /// If the program cannot be started.
    pub fn spawn(command: &mut Command) -> Running {
        Running(
            command
                .spawn()
                .unwrap_or_else(|error| panic!("{command:?}: {error}")),
        )
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// The child process itself, for its pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.0
    }

    /// Whether the program still runs.
    pub fn is_running(&mut self) -> bool {
        self.0.try_wait().is_ok_and(|status| status.is_none())
    }

    /// Waits until the program ends by itself.
    ///
    /// # Panics
    /// If the program does not end in time.
    pub fn wait(&mut self) -> ExitStatus {
        wait_for("the process to end", || self.0.try_wait().expect("a child"))
    }

    /// Sends a signal such as `TERM`.
    ///
    /// # Panics
    /// If the program has ended.
    pub fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &pid])
            .status();
        assert!(
            sent.is_ok_and(|status| status.success()),
            "kill -{name} {pid}"
        );
    }

    /// Lets the program stand still until `signal("CONT")`. A busy machine tells its threads
    /// one by one, some time after the signal was sent.
    ///
    /// # Panics
    /// If a thread does not stop in time.
    pub fn freeze(&self) {
        self.signal("STOP");
        let tasks = format!("/proc/{}/task", self.pid());
        let stopped = |task: io::Result<fs::DirEntry>| -> io::Result<bool> {
            let stat = fs::read_to_string(task?.path().join("stat"))?;
            // The state follows the name, which may hold spaces and parentheses itself.
            Ok(stat
                .rsplit_once(") ")
                .is_some_and(|(_, state)| state.starts_with('T')))
        };
        wait_for("all threads to stand still", || {
            let mut tasks = fs::read_dir(&tasks).ok()?;
            tasks
                .all(|task| stopped(task).unwrap_or(false))
                .then_some(())
        });
    }

    /// Asks the program to stop and waits for the end.
    ///
    /// # Panics
    /// If the program does not end in time.
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.wait()
    }

    /// Kills the program without warning.
    pub fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// User and system time so far, children not included.
///
/// # Panics
/// If the process is gone.
pub fn cpu_time(pid: u32) -> Duration {
    ticks(pid, 11..=12)
}

/// User and system time so far, including the children that have ended.
///
/// # Panics
/// If the process is gone.
pub fn cpu_time_with_children(pid: u32) -> Duration {
    ticks(pid, 11..=14)
}

fn ticks(pid: u32, fields: RangeInclusive<usize>) -> Duration {
    let stat = stat(pid).expect("the process runs");
    let ticks: u32 = stat[fields]
        .iter()
        .map(|field| field.parse::<u32>().expect("a number"))
        .sum();
    TICK * ticks
}

/// The running processes of a process group. Zombies have ended and do not count.
///
/// # Panics
/// If /proc cannot be read.
pub fn of_group(group: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").expect("/proc is mounted");
    let pids =
        processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let is_member =
        |fields: Vec<String>| fields[0] != "Z" && fields[2] == group.to_string();
    pids.filter(|pid| stat(*pid).is_some_and(is_member))
        .collect()
}

/// The fields of /proc/PID/stat from the third, the state, on.
fn stat(pid: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold spaces; the fields count from the closing
    // parenthesis.
    Some(
        stat[stat.rfind(')')? + 1..]
            .split_whitespace()
            .map(str::to_owned)
            .collect(),
    )
}

/// What the process has open: files by their paths, others as `socket:[7]`.
///
/// # Panics
/// If the process is gone.
pub fn open_files(pid: u32) -> Vec<PathBuf> {
    let open = fs::read_dir(format!("/proc/{pid}/fd")).expect("the process runs");
    // What is closed meanwhile is not open.
    open.flatten()
        .filter_map(|open| fs::read_link(open.path()).ok())
        .collect()
}

/// Bytes that the process has written to disks so far.
///
/// # Panics
/// If the process is gone.
pub fn written_bytes(pid: u32) -> u64 {
    let io = fs::read_to_string(format!("/proc/{pid}/io"))
        .expect("the process runs, and is ours");
    let line = io
        .lines()
        .find_map(|line| line.strip_prefix("write_bytes: "))
        .expect("Linux counts them");
    line.parse().expect("a number")
}

/// A number from /proc/PID/status, such as `VmRSS` (in KiB) or `Threads`.
///
/// # Panics
/// If the process is gone or has no such number.
pub fn status(pid: u32, name: &str) -> u64 {
    let status =
        fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let value = line
        .and_then(|value| value.split_whitespace().next())
        .and_then(|value| value.parse().ok());
    value.unwrap_or_else(|| panic!("/proc/{pid}/status has no number {name}"))
}
