//! The watchdog: sees whether the threads that serve peers move, whether the listening
//! socket is there, and looks at the pulses of all jobs.
//!
//! A process that has gone deaf would go on and look alive from outside. The watchdog then
//! ends the process, and systemd starts it again. A server that is only busy moves, so the
//! watchdog asks for no answer: an answer would wait behind those of all others. While all
//! is well, the watchdog feeds systemd's own watchdog, which ends the process should this
//! one hang, too.

use std::io;
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use fleetbeat_daemon::service_manager::ServiceManager;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::http::Progress;
use crate::jobs::{DeadJob, Jobs, Pulses};
use crate::listen::Listen;

/// The time between two looks.
const INTERVAL: Duration = Duration::from_secs(5);
/// How long the watchdog waits for a connection.
const TIMEOUT: Duration = Duration::from_secs(1);
/// At so many looks in a row nothing may have moved: the machine may have been stopped
/// meanwhile, or the databases be slow.
const MAX_STILL: u32 = 6;

/// Why the server cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Death {
    /// Nobody listens at the server's address.
    #[error("the HTTP server is dead: nobody listens at {0}")]
    Deaf(String),
    /// The threads that serve peers stand still.
    #[error("the HTTP server is dead: it has stood still for {} s", .0.as_secs())]
    Still(Duration),
    /// A background thread does its work no more.
    #[error(transparent)]
    Job(#[from] DeadJob),
}

/// Starts watching over the listener at `address`, whose threads have come as far as
/// `progress` says, and over all jobs so far. `on_death` is called once, when the server
/// cannot go on.
///
/// # Errors
/// The system gives no further thread.
pub(crate) fn start(
    jobs: &mut Jobs,
    address: &Listen,
    progress: impl Fn() -> Progress + Send + 'static,
    on_death: impl FnOnce(Death) + Send + 'static,
) -> io::Result<()> {
    let mut watchdog = Watchdog::new(address, progress, jobs.pulses());
    let mut manager = ServiceManager::ready(Instant::now());

    jobs.start("watchdog", move |stop, pulse| {
        while stop.wait(INTERVAL) {
            match pulse.round(|| watchdog.look(Instant::now())) {
                Ok(Sign::Alive) => manager.alive(Instant::now()),
                Ok(Sign::Still) => {}
                Err(death) => return on_death(death),
            }
        }
    })
}

/// What the watchdog looks at, and what it has seen so far.
struct Watchdog<P> {
    address: Listen,
    progress: P,
    seen: Progress,
    /// The looks in a row at which nothing had moved.
    still: u32,
    pulses: Pulses,
}

/// What a look has found, if the server goes on.
#[derive(Debug, PartialEq, Eq)]
enum Sign {
    /// Everything moves.
    Alive,
    /// The threads that serve peers have not moved since the last look.
    Still,
}

impl<P: Fn() -> Progress> Watchdog<P> {
    fn new(address: &Listen, progress: P, pulses: Pulses) -> Watchdog<P> {
        Watchdog {
            address: address.reachable(),
            seen: progress(),
            progress,
            still: 0,
            pulses,
        }
    }

    /// Looks after everything at `now`.
    ///
    /// # Errors
    /// The server cannot go on.
    fn look(&mut self, now: Instant) -> Result<Sign, Death> {
        if let Some(dead) = self.pulses.find_dead(now) {
            return Err(dead.into());
        }
        if is_gone(&self.address) {
            return Err(Death::Deaf(self.address.to_string()));
        }

        let before = std::mem::replace(&mut self.seen, (self.progress)());
        if !self.seen.stands_still_since(before) {
            self.still = 0;
            return Ok(Sign::Alive);
        }

        self.still += 1;
        if self.still >= MAX_STILL {
            return Err(Death::Still(INTERVAL * self.still));
        }
        log::warn!("the HTTP server stands still");
        Ok(Sign::Still)
    }
}

/// Whether nobody listens at `address`. A listener that is too busy to be reached is there.
fn is_gone(address: &Listen) -> bool {
    let connected = match address {
        Listen::Tcp(address) => TcpStream::connect_timeout(address, TIMEOUT).map(drop),
        Listen::Unix(path) => connect_at_once(path),
    };
    connected.is_err_and(|error| {
        matches!(
            error.kind(),
            io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound
        )
    })
}

/// Connects to a Unix socket, unless its queue is full: a plain connection would wait, and
/// without a deadline.
fn connect_at_once(path: &Path) -> io::Result<()> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.connect(&SockAddr::unix(path)?)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::mpsc;

    use super::*;

    /// A listener, and the rounds that its poll loop has made.
    struct Server(TcpListener, Arc<AtomicU64>);

    impl Server {
        fn new() -> Server {
            Server(TcpListener::bind("127.0.0.1:0").unwrap(), Arc::default())
        }

        fn watchdog(&self, jobs: &Jobs) -> Watchdog<impl Fn() -> Progress + use<>> {
            let rounds = self.1.clone();
            let progress = move || Progress::of(rounds.load(Ordering::Relaxed), 0, false);
            let address = Listen::Tcp(self.0.local_addr().unwrap());
            Watchdog::new(&address, progress, jobs.pulses())
        }

        fn moves(&self) {
            self.1.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_server_may_stand_still_a_few_times_and_refuse_never() {
        let server = Server::new();
        let mut watchdog = server.watchdog(&Jobs::new(|_| {}));
        let now = Instant::now();
        for _ in 1..MAX_STILL {
            assert_eq!(watchdog.look(now).unwrap(), Sign::Still);
        }
        server.moves();
        assert_eq!(watchdog.look(now).unwrap(), Sign::Alive);
        for _ in 1..MAX_STILL {
            assert_eq!(watchdog.look(now).unwrap(), Sign::Still);
        }
        let death = watchdog.look(now).unwrap_err();
        assert!(matches!(death, Death::Still(_)), "{death}");

        server.moves();
        drop(server);
        let death = watchdog.look(now).unwrap_err();
        assert!(matches!(death, Death::Deaf(_)), "{death}");
    }

    #[test]
    fn a_unix_socket_whose_queue_is_full_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        socket.bind(&SockAddr::unix(&path).unwrap()).unwrap();
        socket.listen(0).unwrap();

        let address = Listen::Unix(path.clone());
        for _ in 0..3 {
            assert!(!is_gone(&address));
        }
        drop(socket);
        assert!(is_gone(&address), "refused");
        std::fs::remove_file(path).unwrap();
        assert!(is_gone(&address), "not found");
    }

    #[test]
    fn a_job_that_hangs_is_death_though_the_listener_moves() {
        let server = Server::new();
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

        let mut watchdog = server.watchdog(&jobs);
        server.moves();
        assert_eq!(watchdog.look(Instant::now()).unwrap(), Sign::Alive);
        server.moves();
        let later = Instant::now() + Duration::from_secs(3600);
        let death = watchdog.look(later).unwrap_err();
        assert!(death.to_string().contains("stuck hangs"), "{death}");
        jobs.stop();
    }
}
