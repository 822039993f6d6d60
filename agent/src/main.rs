//! fleetbeat-agent: measures its host and sends a heartbeat to fleetbeat-server every two
//! minutes.
//!
//! It only ever pushes: it listens on nothing, and nothing that the server says can make
//! it run anything.

mod agent;
mod cli;
mod commands;
mod config;
mod delivery;
mod doctor;
mod health;
mod host;
mod http;
mod jitter;
mod logging;
mod notify;
mod sampling;
mod service;

use std::process::ExitCode;

/// The C library that zig links into the static agent has an allocator with a heap for
/// each processor: what one thread takes and another one gives back is not found again,
/// and the agent would grow with each of its short-lived threads.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    match cli::parse().and_then(commands::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{}", service::exit::explain(&failure));
            failure.exit_code()
        }
    }
}
