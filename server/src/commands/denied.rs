//! What to do where the system has denied something: which user has to be asked.

use std::path::Path;

use fleetbeat_daemon::exit::explain;
use rustix::process::geteuid;

use crate::accounts::{self, Account};
use crate::cli::Command;
use crate::error::ServerError;

/// The system's word in an error's text.
const DENIED: &str = "permission denied";

/// The error, and what helps if the caller was denied something.
pub(super) fn advise(error: ServerError, caller: Caller) -> ServerError {
    if geteuid().is_root() {
        return error;
    }
    let advice = match caller {
        Caller::Server => {
            "`sudo fleetbeat-server check-config` says what the service's user may not read"
        }
        Caller::Administrator => "call this with sudo",
    };
    add(error, advice.to_owned())
}

/// Who has called a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Caller {
    /// Whoever starts the server.
    Server,
    /// A person.
    Administrator,
}

impl Caller {
    /// Who calls `command`.
    pub(super) fn of(command: &Command) -> Caller {
        match command {
            Command::Run => Caller::Server,
            _ => Caller::Administrator,
        }
    }
}

/// The error, and what helps if the service's user was denied something.
pub(super) fn advise_service(error: ServerError, user: &Account) -> ServerError {
    let group = accounts::show_group(Path::new("/"), user.gid);
    let advice = format!(
        "the service's user {} must be able to read this: `chown root:{group} FILE` and \
         `chmod 640 FILE`, and the folders above must let that user in",
        user.name
    );
    add(error, advice)
}

fn add(error: ServerError, advice: String) -> ServerError {
    if !explain(&error).to_lowercase().contains(DENIED) {
        return error;
    }
    let error = Box::new(error);
    ServerError::Denied { error, advice }
}
