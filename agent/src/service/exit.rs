//! The errors that end the agent, and the exit codes.

use std::io;
use std::path::PathBuf;

use fleetbeat_daemon::exit::{self, Fatal};

use crate::config::ConfigError;

/// An error that ends the agent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AgentError {
    #[error("fleetbeat-agent: {0}; see fleetbeat-agent --help")]
    Usage(String),
    /// All problems of the configuration, a line for each.
    #[error("{0}")]
    Config(ConfigError),
    #[error("fleetbeat-agent: {doing}")]
    System {
        doing: &'static str,
        source: io::Error,
    },
    #[error("fleetbeat-agent: {0:?} is in use: is another fleetbeat-agent running?")]
    SpoolInUse(PathBuf),
    #[error("fleetbeat-agent: the heartbeat was not accepted: {0}")]
    NotAccepted(String),
    /// The number of failed steps of `doctor`, which has printed every step.
    #[error("fleetbeat-agent: {0} of the checks failed")]
    Unwell(usize),
    #[error("fleetbeat-agent: this host is not enrolled: {0}")]
    NotEnrolled(String),
    /// A file of an enrolment: what is done so far is done, and the same call goes on.
    #[error("fleetbeat-agent: {path:?}")]
    File { path: PathBuf, source: io::Error },
    #[error("fleetbeat-agent is not healthy: {0}")]
    NotHealthy(String),
}

impl Fatal for AgentError {
    fn exit_code(&self) -> u8 {
        match self {
            AgentError::Usage(_) => exit::USAGE,
            AgentError::Config(error) if !error.is_temporary => exit::CONFIG,
            _ => exit::FAILURE,
        }
    }
}

#[cfg(test)]
mod tests {
    use fleetbeat_settings::Problems;

    use super::*;

    #[test]
    fn a_wrong_command_line_and_a_wrong_configuration_have_codes_of_their_own() {
        let config = |is_temporary| {
            AgentError::Config(ConfigError {
                problems: Problems::default(),
                is_temporary,
            })
        };
        let usage = AgentError::Usage("unknown command \"start\"".to_owned());
        for (error, code) in [
            (usage, 64),
            (config(false), 78),
            (config(true), 1),
            (AgentError::NotAccepted(String::new()), 1),
        ] {
            assert_eq!(error.exit_code(), code, "{error}");
        }
    }
}
