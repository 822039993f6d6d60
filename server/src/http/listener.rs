//! The listening socket, the poll loop behind it, and the workers that answer what comes
//! in.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use fleetbeat_daemon::thread::spawn;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::exchange::{self, Service};
use super::forwarded::TrustedProxies;
use super::guard::poll::{Poll, Progress, Shared};
use super::guard::tls::Certificate;
use super::sockets::{SocketFile, Sockets};
use crate::listen::{Listen, Protocol};

/// The listening socket and its threads.
pub(crate) struct Listener {
    shared: Shared,
    poll: JoinHandle<()>,
    workers: Vec<JoinHandle<()>>,
    address: Listen,
    protocol: Protocol,
    file: Option<SocketFile>,
    is_deaf: Arc<AtomicBool>,
}

impl Listener {
    /// Listens at the sockets and starts so many workers for the service. Connections are
    /// encrypted if there is a certificate.
    ///
    /// # Errors
    /// An address cannot be had, or a thread cannot be started.
    pub(crate) fn start(
        sockets: Sockets,
        certificate: Option<Certificate>,
        trusted: TrustedProxies,
        workers: usize,
        service: &Service,
    ) -> io::Result<Listener> {
        allow_descriptors();
        let protocol = match certificate {
            Some(_) => Protocol::Https,
            None => Protocol::Http,
        };
        let address = sockets.address().clone();
        let (doors, file) = sockets.open(certificate)?;
        let shared = Shared::new()?;
        let observer = service.observer().clone();
        let poll = Poll::new(doors, shared.clone(), Arc::new(trusted), observer)?;

        let start_worker = |n| {
            let (shared, service) = (shared.clone(), service.clone());
            spawn(format!("worker-{n}"), move || {
                while let Some(arrived) = shared.arrivals.next() {
                    exchange::serve(arrived, &shared.tasks, &service);
                }
            })
        };
        let workers = (0..workers).map(start_worker).collect::<io::Result<_>>()?;

        let is_deaf = Arc::new(AtomicBool::new(false));
        let poll = start_polling(poll, Deaf(is_deaf.clone()))?;
        Ok(Listener {
            shared,
            poll,
            workers,
            address,
            protocol,
            file,
            is_deaf,
        })
    }

    /// The address, with the port that was taken.
    pub(crate) fn address(&self) -> &Listen {
        &self.address
    }

    /// The address for people, with what is spoken there.
    pub(crate) fn url(&self) -> String {
        self.address.url(self.protocol)
    }

    /// Names the thread that serves peers, once it has ended.
    pub(crate) fn ended_thread(&self) -> impl Fn() -> Option<&'static str> + use<> {
        let is_deaf = self.is_deaf.clone();
        move || is_deaf.load(Ordering::Relaxed).then_some("poll")
    }

    /// Tells how far the threads that serve peers have come.
    pub(crate) fn progress(&self) -> impl Fn() -> Progress + use<> {
        let shared = self.shared.clone();
        move || shared.look()
    }

    /// Accepts no more, answers what has come in, and closes the socket. A slow peer is
    /// waited for a second at most.
    pub(crate) fn stop(self) {
        // First: a successor may bind the path as soon as nobody listens.
        drop(self.file);
        self.shared.tasks.ask_to_stop();
        let _ = self.poll.join();

        self.shared.arrivals.close();
        for worker in self.workers {
            let _ = worker.join();
        }
    }
}

/// Tells, when it is dropped, that the poll loop has ended: however it has.
struct Deaf(Arc<AtomicBool>);

impl Drop for Deaf {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn start_polling(poll: Poll, deaf: Deaf) -> io::Result<JoinHandle<()>> {
    spawn("poll", move || {
        let _deaf = deaf;
        if let Err(error) = poll.run() {
            log::error!("connections cannot be watched: {error}");
        }
    })
}

/// As many descriptors as the system's administrator allows: each connection takes one.
fn allow_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }

    let allowed = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, allowed) {
        log::warn!("the limit of open files cannot be raised: {error}");
    }
}
