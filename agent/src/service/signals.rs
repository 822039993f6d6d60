//! SIGTERM and SIGINT end the agent; SIGHUP reloads the configuration.
//!
//! The main thread waits for signals while the agent's loop runs in another thread.

use std::io;
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use fleetbeat_daemon::thread::spawn;

use crate::service::exit::AgentError;

/// How long the agent's thread may take to put its samples into the spool: as long as a
/// collector that hangs holds it up.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long the agent's thread may take to end after that. A call that waits longer for
/// the server ends with the process. No harm is done, because the server has either the
/// whole heartbeat or nothing.
const GRACE: Duration = Duration::from_millis(500);
/// How often the end of the thread is looked for.
const POLL_EVERY: Duration = Duration::from_millis(5);

/// Takes the signals over from the system, which would end the process. They wait until
/// somebody asks for them.
///
/// # Errors
/// Signals cannot be watched.
pub(crate) fn watch() -> Result<Signals, AgentError> {
    let doing = "cannot watch for signals";
    Signals::new([SIGTERM, SIGINT, SIGHUP])
        .map_err(|source| AgentError::System { doing, source })
}

/// Runs `work` in a thread of its own until a signal ends it. On a signal, `stop` tells
/// the work to end, or `reload` to read the configuration again. The other end of
/// `settled` is dropped when the work has kept what there is to keep.
///
/// # Errors
/// A thread cannot be started.
pub(crate) fn run_until_stopped(
    mut signals: Signals,
    settled: &Receiver<()>,
    work: impl FnOnce() + Send + 'static,
    stop: impl FnOnce(),
    reload: impl Fn(),
) -> Result<(), AgentError> {
    let failed = |source: io::Error| AgentError::System {
        doing: "cannot start a thread",
        source,
    };
    let worker = spawn("agent", work).map_err(failed)?;

    let is_end = |signal: &i32| {
        if *signal == SIGHUP {
            reload();
        }
        *signal != SIGHUP
    };
    if signals.forever().find(is_end).is_some() {
        log::info!("stopping on a signal");
        stop();
    }

    let _ = settled.recv_timeout(PATIENCE);
    let deadline = Instant::now() + GRACE;
    while !worker.is_finished() && Instant::now() < deadline {
        thread::sleep(POLL_EVERY);
    }
    Ok(())
}
