//! fleetbeat-agent: measures its host and sends a heartbeat to fleetbeat-server every two minutes.
//!
//! It only ever pushes: it listens on nothing, and nothing that the server says can make it run anything.

mod address;
mod agent;
mod cli;
mod command;
mod config;
mod delivery;
mod failure;
mod host;
mod logging;
mod random;
mod sampler;
mod schedule;
mod sender;
mod signal;
mod spool;

use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::parse().and_then(command::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{}", failure::explain(&failure));
            failure.exit_code()
        }
    }
}
