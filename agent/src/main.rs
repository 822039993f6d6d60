//! fleetbeat-agent: measures its host and sends a heartbeat to fleetbeat-server every two
//! minutes.
//!
//! The agent only ever pushes: the agent listens on nothing, and no answer of a server
//! can make the agent run anything.

mod agent;
mod cli;
mod commands;
mod config;
mod delivery;
mod dns;
mod doctor;
mod health;
mod host;
mod http;
mod jitter;
mod route;
mod sampling;
mod service;
mod state_folder;

use std::process::ExitCode;

/// The static agent's allocator.
///
/// The C library that zig links has an allocator with a heap for each processor. Memory
/// taken by one thread and given back by another thread is not used again there, so the
/// agent would grow with each short-lived thread.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    fleetbeat_daemon::exit::end(cli::parse().and_then(commands::run))
}
