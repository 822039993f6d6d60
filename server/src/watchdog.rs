//! The watchdog: asks the server for a sign of life through its own listener, and looks
//! at the pulses of all jobs.
//!
//! A process that has gone deaf would go on and look alive from outside. The watchdog then
//! ends the process, and systemd starts it again. While all is well, the watchdog feeds systemd's own watchdog, which ends the
//! process should this one hang, too.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use fleetbeat_daemon::service_manager::ServiceManager;
use fleetbeat_daemon::thread::spawn;

use crate::jobs::{DeadJob, Jobs, Pulses};
use crate::listen::Listen;

/// The time between two looks.
const INTERVAL: Duration = Duration::from_secs(5);
/// How long the watchdog waits for an answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long [`ask_once`] waits for an answer. Shorter than [`TIMEOUT`], so that its own
/// sentence is told and not that of a socket.
const TIMEOUT_ONCE: Duration = Duration::from_secs(4);
/// So many answers in a row may be missing: a server can be this busy and not be dead. A
/// server that refuses a connection is dead at once.
const MAX_SILENT: u32 = 6;

/// Why the server cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Death {
    /// The listener answers no more.
    #[error("the HTTP server is dead: {0}")]
    Deaf(String),
    /// A background thread does its work no more.
    #[error(transparent)]
    Job(#[from] DeadJob),
}

/// Starts watching over the listener at `address` and all jobs so far. `on_death` is
/// called once, when the server cannot go on.
///
/// # Errors
/// The system gives no further thread.
pub(crate) fn start(
    jobs: &mut Jobs,
    address: &Listen,
    on_death: impl FnOnce(Death) + Send + 'static,
) -> io::Result<()> {
    let mut watchdog = Watchdog {
        address: address.reachable(),
        pulses: jobs.pulses(),
        silent: 0,
    };
    let mut manager = ServiceManager::ready(Instant::now());

    jobs.start("watchdog", move |stop, pulse| {
        while stop.wait(INTERVAL) {
            match pulse.round(|| watchdog.look(Instant::now())) {
                Ok(Sign::Alive) => manager.alive(Instant::now()),
                Ok(Sign::Silent) => {}
                Err(death) => return on_death(death),
            }
        }
    })
}

/// What the watchdog looks at, and what it has seen so far.
struct Watchdog {
    address: Listen,
    pulses: Pulses,
    /// The answers that were missing in a row.
    silent: u32,
}

/// What a look has found, if the server goes on.
#[derive(Debug, PartialEq, Eq)]
enum Sign {
    /// The listener answers, and no job hangs.
    Alive,
    /// The listener has not answered this time.
    Silent,
}

impl Watchdog {
    /// Looks after everything at `now`.
    ///
    /// # Errors
    /// The server cannot go on.
    fn look(&mut self, now: Instant) -> Result<Sign, Death> {
        if let Some(dead) = self.pulses.find_dead(now) {
            return Err(dead.into());
        }

        let Err(error) = ask(&self.address) else {
            self.silent = 0;
            return Ok(Sign::Alive);
        };
        self.silent += 1;
        log::warn!("no sign of life through our own listener: {error}");

        let is_refused = error.kind() == io::ErrorKind::ConnectionRefused;
        if is_refused || self.silent >= MAX_SILENT {
            return Err(Death::Deaf(error.to_string()));
        }
        Ok(Sign::Silent)
    }
}

/// Asks the server at `address` once, from another process.
///
/// # Errors
/// There is no good answer, or none in time.
pub(crate) fn ask_once(address: &Listen) -> io::Result<()> {
    let (tell, told) = mpsc::channel();
    let address = address.reachable();
    // Connecting to a Unix socket knows no deadline. So a thread does it, which may end
    // with the process.
    spawn("ask", move || drop(tell.send(ask(&address))))?;

    told.recv_timeout(TIMEOUT_ONCE).unwrap_or_else(|_| {
        let message = format!("no answer within {} s", TIMEOUT_ONCE.as_secs());
        Err(io::Error::new(io::ErrorKind::TimedOut, message))
    })
}

fn ask(address: &Listen) -> io::Result<()> {
    match address {
        Listen::Tcp(address) => {
            let stream = TcpStream::connect_timeout(address, TIMEOUT)?;
            stream.set_read_timeout(Some(TIMEOUT))?;
            stream.set_write_timeout(Some(TIMEOUT))?;
            ask_for_health(stream)
        }
        Listen::Unix(path) => {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(TIMEOUT))?;
            stream.set_write_timeout(Some(TIMEOUT))?;
            ask_for_health(stream)
        }
    }
}

fn ask_for_health(mut stream: impl Read + Write) -> io::Result<()> {
    stream.write_all(b"GET /healthz HTTP/1.0\r\n\r\n")?;
    let mut status = [0; 12];
    stream.read_exact(&mut status)?;

    if &status == b"HTTP/1.1 200" {
        Ok(())
    } else {
        Err(io::Error::other("an answer that is not 200"))
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread::{self, JoinHandle};

    use super::*;

    fn watchdog(jobs: &Jobs, listener: &TcpListener) -> Watchdog {
        Watchdog {
            address: Listen::Tcp(listener.local_addr().unwrap()),
            pulses: jobs.pulses(),
            silent: 0,
        }
    }

    /// Answers one question with `status`. The thread has a copy of the listener, which
    /// listens until the thread has ended.
    fn answer(listener: &TcpListener, status: &'static str) -> JoinHandle<()> {
        let listener = listener.try_clone().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(status.as_bytes());
        })
    }

    #[test]
    fn a_listener_may_be_silent_a_few_times_and_refuse_never() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut watchdog = watchdog(&Jobs::new(|_| {}), &listener);
        let now = Instant::now();
        for _ in 1..MAX_SILENT {
            let answered =
                answer(&listener, "HTTP/1.1 500 Internal Server Error\r\n\r\n");
            assert_eq!(watchdog.look(now).unwrap(), Sign::Silent);
            answered.join().unwrap();
        }
        let answered = answer(&listener, "HTTP/1.1 200 OK\r\n\r\n");
        assert_eq!(watchdog.look(now).unwrap(), Sign::Alive);
        answered.join().unwrap();
        assert_eq!(watchdog.silent, 0);

        drop(listener);
        let death = watchdog.look(now).unwrap_err();
        assert!(matches!(death, Death::Deaf(_)), "{death}");
    }

    #[test]
    fn a_job_that_hangs_is_death_though_the_listener_answers() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (queue, work) = mpsc::channel::<()>();
        let (begun, has_begun) = mpsc::channel();
        let mut jobs = Jobs::new(|_| {});
        jobs.start_at_queue(
            "stuck",
            || drop(queue),
            move |pulse| {
                pulse.round(|| {
                    begun.send(()).unwrap();
                    let _ = work.recv();
                });
            },
        )
        .unwrap();
        has_begun.recv().unwrap();

        let mut watchdog = watchdog(&jobs, &listener);
        let _answered = answer(&listener, "HTTP/1.1 200 OK\r\n\r\n");
        assert_eq!(watchdog.look(Instant::now()).unwrap(), Sign::Alive);
        let later = Instant::now() + Duration::from_secs(3600);
        let death = watchdog.look(later).unwrap_err();
        assert!(death.to_string().contains("stuck hangs"), "{death}");
        jobs.stop();
    }
}
