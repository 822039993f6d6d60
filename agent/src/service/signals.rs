//! SIGTERM and SIGINT end the agent; SIGHUP reloads the configuration.
//!
//! The main thread waits for signals while the agent's loop runs in another thread.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

use fleetbeat_daemon::thread::spawn;

use crate::service::exit::AgentError;

/// How long the agent's thread may take to end. A call that waits longer for the server
/// ends with the process. No harm is done, because the server has either the whole
/// heartbeat or nothing.
const GRACE: Duration = Duration::from_millis(500);
/// How often the end of the thread is looked for.
const POLL_EVERY: Duration = Duration::from_millis(5);

/// Runs `work` in a thread of its own until it is done. On a signal, `stop` tells the
/// work to end, or `reload` to read the configuration again.
///
/// # Errors
/// Signals cannot be watched, a thread cannot be started, or the work has panicked.
pub(crate) fn run_until_stopped(
    work: impl FnOnce() + Send + 'static,
    stop: impl FnOnce(),
    reload: impl Fn(),
) -> Result<(), AgentError> {
    let failed = |doing| move |source: io::Error| AgentError::System { doing, source };
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])
        .map_err(failed("cannot watch for signals"))?;

    let end = EndOfWork(signals.handle());
    let worker = spawn("agent", move || {
        let _end = end;
        work();
    })
    .map_err(failed("cannot start a thread"))?;

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

    let deadline = Instant::now() + GRACE;
    while !worker.is_finished() {
        if Instant::now() >= deadline {
            return Ok(());
        }
        thread::sleep(POLL_EVERY);
    }
    worker.join().map_err(|_| AgentError::Panicked)
}

/// Ends the wait for signals when it is dropped: at the end of the work, or when the work
/// panics.
struct EndOfWork(Handle);

impl Drop for EndOfWork {
    fn drop(&mut self) {
        self.0.close();
    }
}
