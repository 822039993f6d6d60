//! The listening socket and the workers that answer what comes in.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use fleetbeat_daemon::thread::spawn;
use rustix::fs::Mode;

use super::exchange::{self, Handler};
use super::forwarded::TrustedProxies;
use super::framing::Framing;
use super::request::Request;
use super::slow_lane::SlowLane;
use crate::listen::Listen;

/// How long a stop waits for the slow lane.
const SLOW_LANE_STOP: Duration = Duration::from_secs(1);
/// A dead peer's connection is noticed within about twice this.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// A TCP peer that does not take its response is given up after this.
pub(super) const UNREAD_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;

/// The listening socket and its threads.
pub(crate) struct Listener {
    server: Arc<tiny_http::Server>,
    workers: Vec<JoinHandle<()>>,
    slow_lane: Arc<SlowLane>,
    address: Listen,
}

impl Listener {
    /// Listens and starts so many workers.
    ///
    /// # Errors
    /// The address cannot be had, or a thread cannot be started.
    pub(crate) fn start(
        listen: &Listen,
        trusted: TrustedProxies,
        workers: usize,
        handler: &Arc<Handler>,
    ) -> io::Result<Listener> {
        let (server, address) = bind(listen)?;
        let server = Arc::new(server);
        let trusted = Arc::new(trusted);
        let slow_lane = Arc::new(SlowLane::new(handler.clone()));

        let start_worker = |n| {
            let (server, trusted) = (server.clone(), trusted.clone());
            let (slow_lane, handler) = (slow_lane.clone(), handler.clone());
            spawn(format!("worker-{n}"), move || {
                run_worker(&server, &trusted, &slow_lane, &*handler);
            })
        };
        let workers = (0..workers).map(start_worker).collect::<io::Result<_>>()?;

        Ok(Listener {
            server,
            workers,
            slow_lane,
            address,
        })
    }

    /// The address, with the port that was taken.
    pub(crate) fn address(&self) -> &Listen {
        &self.address
    }

    /// Takes no more requests, waits until the workers have answered theirs, and closes
    /// the socket. A slow peer is waited for a second at most.
    pub(crate) fn stop(self) {
        for _ in &self.workers {
            self.server.unblock();
        }
        for worker in self.workers {
            let _ = worker.join();
        }

        self.slow_lane.drain(SLOW_LANE_STOP);
    }
}

/// Listens; gives the address that was taken, too.
fn bind(listen: &Listen) -> io::Result<(tiny_http::Server, Listen)> {
    let (server, address) = match listen {
        Listen::Tcp(address) => {
            let listener = bind_tcp(*address)?;
            let address = Listen::Tcp(listener.local_addr()?);
            (tiny_http::Server::from_listener(listener, None), address)
        }
        Listen::Unix(path) => {
            let listener = bind_unix(path)?;
            let address = listen.clone();
            (tiny_http::Server::from_listener(listener, None), address)
        }
    };
    Ok((server.map_err(io::Error::other)?, address))
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
    socket.set_reuse_address(true)?;

    // Accepted sockets inherit these options from their listener on Linux; tiny_http
    // lets nobody set them later.
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(
        &socket2::TcpKeepalive::new()
            .with_time(KEEPALIVE)
            .with_interval(KEEPALIVE / 3)
            .with_retries(3),
    )?;
    socket.set_tcp_user_timeout(Some(UNREAD_TIMEOUT))?;

    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Binds the path, over a socket that a killed predecessor left, and lets owner and group
/// in.
fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    if UnixStream::connect(path).is_ok() {
        return Err(io::Error::from(io::ErrorKind::AddrInUse));
    }

    let metadata = fs::symlink_metadata(path);
    if metadata.is_ok_and(|metadata| metadata.file_type().is_socket()) {
        fs::remove_file(path)?;
    }

    // Bound with its final mode: there is no moment in which others could connect.
    let before = rustix::process::umask(Mode::from_raw_mode(0o117));
    let listener = UnixListener::bind(path);
    rustix::process::umask(before);
    listener
}

/// Serves requests until the listener stops. `recv` fails when it is unblocked, and when
/// tiny_http's accept thread has died, which the watchdog notices.
fn run_worker(
    server: &tiny_http::Server,
    trusted: &TrustedProxies,
    slow_lane: &Arc<SlowLane>,
    handler: &Handler,
) {
    while let Ok(inner) = server.recv() {
        let request = Request::new(inner, trusted);
        // Reading the rest of a body, or throwing it away, may block on the peer.
        if request.framing() == Framing::Finished {
            exchange::serve(request, handler);
        } else {
            slow_lane.take(request);
        }
    }
}
