//! fleetbeat-xtask: does a task of the repository.

mod cli;
mod commands;

use std::process::ExitCode;

use fleetbeat_xtask::error::XtaskError;

/// The command line makes no sense: `EX_USAGE` of sysexits.h, as both programs have it.
const USAGE: u8 = 64;

fn main() -> ExitCode {
    match cli::parse(std::env::args_os().skip(1)).and_then(commands::run) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("fleetbeat-xtask: {error}");
            match error {
                XtaskError::Usage(_) => ExitCode::from(USAGE),
                _ => ExitCode::FAILURE,
            }
        }
    }
}
