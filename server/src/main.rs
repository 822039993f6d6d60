//! fleetbeat-server: takes heartbeats, keeps the fleet's state, serves the API and the
//! dashboard.

mod access_log;
mod accounts;
mod alert_settings;
mod alerting;
mod api;
mod auth;
mod auth_settings;
mod bootstrap;
mod certificates;
mod chronicle;
mod cli;
mod commands;
mod config;
mod error;
mod fleet;
mod generated_key;
mod http;
mod ingest;
mod jobs;
mod listen;
mod metrics;
mod network;
mod ownership;
mod parameters;
mod places;
mod recurring;
mod secret_keys;
mod secret_rules;
mod serve;
mod store;
mod usernames;
mod watchdog;

use std::process::ExitCode;

use error::ServerError;
use fleetbeat_daemon::exit;

/// The allocator of the C library that zig links grows with each thread that ends, and a
/// thread ends after each burst of connections.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    let typed = cli::parse(std::env::args_os().skip(1)).map_err(ServerError::Usage);
    exit::end(typed.and_then(commands::run))
}
