//! fleetbeat-agent: measures its host and sends a heartbeat to fleetbeat-server every two
//! minutes.
//!
//! The agent only ever pushes: it listens on nothing, and nothing that a server answers
//! can make it run anything.

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
mod sampling;
mod service;

use std::process::ExitCode;

/// The static agent's allocator.
///
/// The C library that zig links into it has an allocator with a heap for each processor.
/// Memory that one thread takes and another one gives back is not used again there, so
/// the agent would grow with each of its short-lived threads.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    fleetbeat_daemon::exit::end(cli::parse().and_then(commands::run))
}
