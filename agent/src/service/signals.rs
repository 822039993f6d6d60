//! Ends the agent on SIGTERM and SIGINT, and lets it read its configuration again on
//! SIGHUP.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

use fleetbeat_daemon::thread::spawn;

use crate::service::exit::AgentError;

/// How long the agent's thread may take to end. A call that is still waiting for its
/// server then ends with the process: the server has the whole heartbeat or nothing of
/// it.
const GRACE: Duration = Duration::from_millis(500);
const POLL: Duration = Duration::from_millis(5);

/// Runs `work` in a thread of its own until it is done; on a signal, `stop` tells it to
/// end, or `reload` to read its configuration again.
pub(crate) fn run_until_stopped(
    work: impl FnOnce() + Send + 'static,
    stop: impl FnOnce(),
    reload: impl Fn(),
) -> Result<(), AgentError> {
    let failed = |doing| move |source: io::Error| AgentError::System { doing, source };
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])
        .map_err(failed("cannot watch for signals"))?;
    let ended = EndOfWork(signals.handle());
    let worker = spawn("agent", move || {
        let _ended = ended;
        work();
    });
    let worker = worker.map_err(failed("cannot start a thread"))?;

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
        thread::sleep(POLL);
    }
    worker.join().map_err(|_| AgentError::Panicked)
}

/// Dropped with the work, even by a panic, it wakes whoever waits for signals.
struct EndOfWork(Handle);

impl Drop for EndOfWork {
    fn drop(&mut self) {
        self.0.close();
    }
}
