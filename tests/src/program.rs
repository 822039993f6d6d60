//! Finds the binaries under test.

use std::path::PathBuf;
use std::process::Command;

/// A command for one of this workspace's binaries, from the same build as the caller, without any of
/// Fleetbeat's own environment variables.
///
/// # Panics
/// If it has not been built: `cargo test` alone builds no other package's binaries, `make test` does.
pub fn program(name: &str) -> Command {
    let path = program_path(name);
    let mut command = Command::new(path);
    for variable in ["AGENT_API_KEY", "SECRET_KEY", "MONGODB_URL", "REDIS_URL", "FLEETBEAT_ADMIN_PASSWORD"] {
        command.env_remove(variable).env_remove(format!("{variable}_FILE"));
    }
    command.env_remove("FLEETBEAT_LISTEN").env_remove("NOTIFY_SOCKET");
    command
}

/// Where the binary `name` lies: beside the running program, or one folder up from a test.
///
/// # Panics
/// As [`program`].
pub fn program_path(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("the running program has a path");
    let folders = own.ancestors().skip(1).take(2);
    folders
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
        .unwrap_or_else(|| panic!("{name} is not built: run `make build` first, or `make test`"))
}
