//! Finds the binaries under test.

use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};

use crate::wait::wait_for;

/// A command for one of this workspace's binaries, from the same build as the caller,
/// without any of Fleetbeat's own environment variables.
///
/// # Panics
/// If it has not been built: `cargo test` alone builds no other package's binaries, `make
/// test` does.
pub fn program(name: &str) -> Command {
    let path = program_path(name);
    let mut command = Command::new(path);
    for variable in [
        "AGENT_API_KEY",
        "SECRET_KEY",
        "MONGODB_URL",
        "REDIS_URL",
        "FLEETBEAT_ADMIN_PASSWORD",
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
/// test.
///
/// # Panics
/// As [`program`].
pub fn program_path(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("the running program has a path");
    let folders = own.ancestors().skip(1).take(2);
    folders
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
        .unwrap_or_else(|| {
            panic!("{name} is not built: run `make build` first, or `make test`")
        })
}

/// A running program; dropping it kills it, so that a test that fails leaves nothing
/// behind.
pub struct Running(Child);

impl Running {
    /// Starts it.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn spawn(command: &mut Command) -> Running {
        Running(
            command
                .spawn()
                .unwrap_or_else(|error| panic!("{command:?}: {error}")),
        )
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// The child itself, for its pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.0
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        self.0.try_wait().is_ok_and(|status| status.is_none())
    }

    /// Waits until it has ended by itself.
    ///
    /// # Panics
    /// If it does not end in time.
    pub fn wait(&mut self) -> ExitStatus {
        wait_for("the process to end", || self.0.try_wait().expect("a child"))
    }

    /// Sends a signal such as `TERM`.
    ///
    /// # Panics
    /// If it is gone.
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

    /// Asks it to stop and waits until it has.
    ///
    /// # Panics
    /// If it does not end in time.
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.wait()
    }

    /// Kills it without warning.
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
