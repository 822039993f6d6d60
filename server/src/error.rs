//! Why the program ends other than by request, and its exit code then.

use std::io;

use fleetbeat_daemon::exit::{self, Fatal};
use fleetbeat_settings::Problems;

use crate::commands::alerts::AlertsError;
use crate::commands::user::UserError;
use crate::http::CertificateError;
use crate::secret_rules::UnusablePassword;
use crate::store::StoreError;
use crate::watchdog::Death;

/// What ended the program.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServerError {
    /// The command line makes no sense.
    #[error("fleetbeat-server: {0}")]
    Usage(String),
    /// The configuration is wrong; one line for each problem.
    #[error("fleetbeat-server")]
    Config(#[from] Problems),
    /// The store cannot be opened, or has not done what a command asked for.
    #[error("fleetbeat-server")]
    Store(#[from] StoreError),
    /// A user command has not done what was asked.
    #[error("fleetbeat-server")]
    User(#[from] UserError),
    /// A command about alerts has not done what was asked.
    #[error("fleetbeat-server")]
    Alerts(#[from] AlertsError),
    /// The running server has given no sign of life, or nobody knows where it listens.
    #[error("fleetbeat-server: {0}")]
    Unhealthy(String),
    /// A key cannot be used; the sentence names the file or the setting.
    #[error("fleetbeat-server: {0}")]
    Key(String),
    /// The first user's password cannot be used.
    #[error("fleetbeat-server")]
    Password(#[from] UnusablePassword),
    /// The certificate for TLS cannot be used.
    #[error("fleetbeat-server: tls")]
    Certificate(#[from] CertificateError),
    /// The address cannot be had.
    #[error("fleetbeat-server: cannot listen on {address}")]
    Listen { address: String, source: io::Error },
    /// The server must not run as root here; the sentence says what to do.
    #[error("fleetbeat-server: {0}")]
    Root(String),
    /// The system has denied something, and what helps.
    #[error("{}{}{advice}", exit::explain(&**error), separator(error))]
    Denied {
        error: Box<ServerError>,
        advice: String,
    },
    /// The host that was named is not in the store.
    #[error("fleetbeat-server: there is no host {0:?}")]
    UnknownHost(String),
    /// What was printed is not all, and where the damaged file is.
    #[error("fleetbeat-server: a part of what is kept is damaged, and is missing{0}")]
    DamagedHistory(String),
    /// The command makes no sense with this configuration; the sentence says why.
    #[error("fleetbeat-server: {0}")]
    Needless(String),
    /// The system gives no thread, or what else a server needs to start.
    #[error("fleetbeat-server: cannot start")]
    Start(#[source] io::Error),
    /// Standard output takes nothing.
    #[error("fleetbeat-server: cannot write to standard output")]
    Output(#[source] io::Error),
    /// The system gives no random numbers.
    #[error("fleetbeat-server: no random numbers")]
    Random(#[from] getrandom::Error),
    /// The server ran, and could not go on.
    #[error("fleetbeat-server")]
    Dead(#[from] Death),
}

impl Fatal for ServerError {
    fn exit_code(&self) -> u8 {
        match self {
            ServerError::Usage(_) => exit::USAGE,
            ServerError::Config(_) | ServerError::Root(_) => exit::CONFIG,
            ServerError::Certificate(CertificateError::Wrong { .. }) => exit::CONFIG,
            ServerError::Denied { error, .. } => error.exit_code(),
            ServerError::Store(error) if error.is_configuration() => exit::CONFIG,
            _ => exit::FAILURE,
        }
    }
}

/// What stands between an error and what helps: a list of problems ends with its line.
fn separator(error: &ServerError) -> &'static str {
    match error {
        ServerError::Config(problems) if problems.count() > 1 => "\n",
        _ => "; ",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_is_one_line_that_names_the_program() {
        let taken = io::Error::from(io::ErrorKind::AddrInUse);
        let listen = ServerError::Listen {
            address: "http://127.0.0.1:80".to_owned(),
            source: taken,
        };
        assert_eq!(
            exit::explain(&listen),
            "fleetbeat-server: cannot listen on http://127.0.0.1:80: address in use"
        );
        let deaf = ServerError::from(Death::Deaf("127.0.0.1:1".to_owned()));
        assert_eq!(
            exit::explain(&deaf),
            "fleetbeat-server: the HTTP server is dead: nobody listens at 127.0.0.1:1"
        );
        assert_eq!(deaf.exit_code(), exit::FAILURE);
    }
}
