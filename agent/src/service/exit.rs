//! Why the agent ends other than by request, and its exit code then.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use fleetbeat_settings::Problems;

/// Exit code for a command line that makes no sense.
const EXIT_USAGE: u8 = 2;
/// Exit code for a configuration that makes no sense: `EX_CONFIG` of sysexits.h.
const EXIT_CONFIG: u8 = 78;

/// What ended the agent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("fleetbeat-agent: {0}; see fleetbeat-agent --help")]
    Usage(String),
    /// One line for each problem.
    #[error("{0}")]
    Config(Problems),
    #[error("fleetbeat-agent: {doing}")]
    System {
        doing: &'static str,
        source: io::Error,
    },
    #[error("fleetbeat-agent: {0:?} is in use: is another fleetbeat-agent running?")]
    SpoolInUse(PathBuf),
    #[error("fleetbeat-agent: the heartbeat was not accepted: {0}")]
    NotAccepted(String),
    /// The checks themselves have been printed.
    #[error("fleetbeat-agent: {0} of the checks failed")]
    Unwell(usize),
    #[error("fleetbeat-agent is not healthy: {0}")]
    NotHealthy(String),
    #[error("fleetbeat-agent: the agent's thread panicked")]
    Panicked,
}

impl Failure {
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Failure::Usage(_) => ExitCode::from(EXIT_USAGE),
            Failure::Config(_) => ExitCode::from(EXIT_CONFIG),
            _ => ExitCode::FAILURE,
        }
    }
}

/// The error and what caused it, in one line.
pub(crate) fn explain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
