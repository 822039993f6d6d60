//! `health`: asks the running server for a sign of life.

use std::ffi::OsString;
use std::path::Path;

use crate::config;
use crate::error::ServerError;
use crate::watchdog;

/// Asks the server where the configuration says that it listens, and prints that it is
/// healthy.
///
/// # Errors
/// The server is not healthy, or nobody can tell where it listens.
pub(super) fn ask(
    file: Option<&Path>,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<(), ServerError> {
    let (listen, protocol) =
        config::find_listen(file, variable).map_err(ServerError::Unhealthy)?;
    let url = listen.url(protocol);

    watchdog::ask_once(&listen).map_err(|error| {
        ServerError::Unhealthy(format!("{url} is not healthy: {error}"))
    })?;

    println!("{url} is healthy");
    Ok(())
}
