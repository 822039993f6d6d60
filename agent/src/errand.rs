//! Threads with a result that is waited for only for a while.

use std::io;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Instant;

use fleetbeat_daemon::thread::spawn;

/// A thread with a result. The thread cannot be stopped, so at the agent's end it may end
/// with the process.
pub(crate) struct Errand<T> {
    thread: JoinHandle<T>,
    /// Nothing is ever sent: the other end is dropped when the work has ended.
    ended: Receiver<()>,
}

impl<T: Send + 'static> Errand<T> {
    /// Starts `work` in a thread called `name`.
    ///
    /// # Errors
    /// The system gives no further thread.
    pub(crate) fn start(
        name: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<Errand<T>> {
        let (end, ended) = mpsc::channel();
        let thread = spawn(name, move || {
            let result = work();
            drop(end);
            result
        })?;
        Ok(Errand { thread, ended })
    }

    /// Waits for the end of the work, until `deadline` at most. True if the work has
    /// ended.
    pub(crate) fn wait(&self, deadline: Instant) -> bool {
        let left = deadline.saturating_duration_since(Instant::now());
        self.ended.recv_timeout(left) != Err(RecvTimeoutError::Timeout)
    }

    /// Waits for the end of the thread, and gives the result; `None` after a panic.
    pub(crate) fn join(self) -> Option<T> {
        self.thread.join().ok()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_errand_is_waited_for_only_for_a_while() {
        let (go_on, told) = mpsc::channel::<()>();
        let errand = Errand::start("test", move || told.recv().is_err()).unwrap();
        assert!(!errand.wait(Instant::now() + Duration::from_millis(20)));
        drop(go_on);
        assert!(errand.wait(Instant::now() + Duration::from_secs(10)));
        assert_eq!(errand.join(), Some(true));
    }

    #[test]
    fn an_errand_that_panics_has_ended_without_a_result() {
        let errand = Errand::start("test", || panic!("on purpose")).unwrap();
        assert!(errand.wait(Instant::now() + Duration::from_secs(10)));
        assert_eq!(errand.join(), None::<()>);
    }
}
