//! Threads with a name, an owner and an end.

use std::io;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

/// Starts a thread that is called `name` in panics and in /proc.
///
/// # Errors
/// The system gives no further thread.
pub fn spawn<T: Send + 'static>(
    name: impl Into<String>,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    // The standard library's part, which is long, is built once and not for each `work`.
    let work: Box<dyn FnOnce() -> T + Send> = Box::new(work);
    Builder::new().name(name.into()).spawn(work)
}

/// A thread that works until its owner stops it.
///
/// ```
/// use std::time::Duration;
/// use fleetbeat_daemon::thread::Worker;
///
/// let worker = Worker::start("sweep", |stop| {
///     while stop.wait(Duration::from_secs(60)) {
///         // The work of each minute.
///     }
/// })?;
/// worker.stop();
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Worker {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

/// What a [`Worker`]'s thread hears of its owner's wish to stop it.
pub struct Stop(Receiver<()>);

impl Worker {
    /// Starts `work` in a thread called `name`.
    ///
    /// # Errors
    /// The system gives no further thread.
    pub fn start(
        name: impl Into<String>,
        work: impl FnOnce(&Stop) + Send + 'static,
    ) -> io::Result<Worker> {
        let (stop, stopped) = mpsc::channel();
        let thread = spawn(name, move || work(&Stop(stopped)))?;
        Ok(Worker { stop, thread })
    }

    /// Whether the thread has ended, by itself or by a panic.
    pub fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// Tells the thread to stop and waits until it has.
    pub fn stop(self) {
        drop(self.stop);
        let _ = self.thread.join();
    }
}

impl Stop {
    /// Waits for `time`, or until the thread is to stop. True if it is to go on.
    pub fn wait(&self, time: Duration) -> bool {
        self.0.recv_timeout(time) == Err(RecvTimeoutError::Timeout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_works_until_it_is_stopped() {
        let (tell, told) = mpsc::channel();
        let worker = Worker::start("test", move |stop| {
            while stop.wait(Duration::from_millis(1)) {
                let name = std::thread::current().name().map(str::to_owned);
                let _ = tell.send(name);
            }
        })
        .unwrap();
        assert_eq!(told.recv().unwrap().as_deref(), Some("test"));
        assert!(!worker.has_ended());
        worker.stop();
        assert!(told.iter().last().is_none_or(|name| name.is_some()));
    }

    #[test]
    fn a_worker_that_panics_is_joined_all_the_same() {
        let worker = Worker::start("panics", |_| panic!("on purpose")).unwrap();
        while !worker.has_ended() {
            std::thread::yield_now();
        }
        worker.stop();
    }
}
