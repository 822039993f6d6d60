//! fleetbeat-agent: measures its host and sends a heartbeat to fleetbeat-server every two
//! minutes.
//!
//! The agent only ever pushes: the agent listens on nothing, and no answer of a server
//! can make the agent run anything.

mod agent;
mod call;
mod cli;
mod commands;
mod config;
mod delivery;
mod dns;
mod doctor;
mod enrollment;
mod errand;
mod health;
mod host;
mod http;
mod jitter;
mod route;
mod sampling;
mod service;
mod state_folder;

use std::panic;
use std::process::{self, ExitCode};

/// The static agent's allocator.
///
/// The C library that zig links has an allocator with a heap for each processor. Memory
/// taken by one thread and given back by another thread is not used again there, so the
/// agent would grow with each short-lived thread.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

/// Every panic ends the agent, in whichever thread and however the program was built: in
/// the small static binary nothing unwinds, and what is shipped has to be what is tested.
/// The service manager starts the agent again.
fn end_on_panic() {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        usual(panic);
        process::abort();
    }));
}

fn main() -> ExitCode {
    end_on_panic();
    fleetbeat_daemon::exit::end(cli::parse().and_then(commands::run))
}

#[cfg(test)]
mod tests {
    use std::env;
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;
    use std::thread;

    use super::end_on_panic;

    /// Makes this test binary the process that panics.
    const VARIABLE: &str = "FLEETBEAT_PANIC_TEST";

    #[test]
    fn a_panic_in_any_thread_ends_the_process() {
        if env::var_os(VARIABLE).is_some() {
            end_on_panic();
            let _ = thread::spawn(|| panic!("on purpose")).join();
            return;
        }

        let output = Command::new(env::current_exe().unwrap())
            .args(["--exact", "tests::a_panic_in_any_thread_ends_the_process"])
            .args(["--nocapture", "--test-threads=1"])
            .env(VARIABLE, "1")
            .output()
            .unwrap();
        const SIGABRT: i32 = 6;
        assert_eq!(output.status.signal(), Some(SIGABRT), "{output:?}");
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(told.contains("on purpose"), "{told}");
    }
}
