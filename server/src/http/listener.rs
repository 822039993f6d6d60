//! The listening socket, the poll loop behind it, and the workers that answer what comes
//! in.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use fleetbeat_daemon::thread::spawn;
use rustix::fs::Mode;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::exchange::{self, Handler};
use super::forwarded::TrustedProxies;
use super::guard::doors::{Door, Speaks};
use super::guard::poll::{Poll, Progress, Shared};
use super::guard::tls::Certificate;
use crate::listen::Listen;

/// A dead peer's connection is noticed within about twice this.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// The system gives up a closed connection whose peer takes nothing after this.
const UNREAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;

/// How connections are encrypted.
pub(crate) struct Encryption {
    /// The certificate of new connections.
    pub(crate) certificate: Certificate,
    /// Where HTTP is spoken only to say that HTTPS is.
    pub(crate) redirect: Option<SocketAddr>,
}

/// The listening socket and its threads.
pub(crate) struct Listener {
    shared: Shared,
    poll: JoinHandle<()>,
    workers: Vec<JoinHandle<()>>,
    address: Listen,
    /// The file of a Unix socket.
    socket_file: Option<SocketFile>,
    is_encrypted: bool,
    is_deaf: Arc<AtomicBool>,
}

/// The file of a Unix socket: its path, and what tells it from the file of a successor.
struct SocketFile {
    path: PathBuf,
    device_and_inode: (u64, u64),
}

impl Listener {
    /// Listens and starts so many workers.
    ///
    /// # Errors
    /// An address cannot be had, or a thread cannot be started.
    pub(crate) fn start(
        listen: &Listen,
        encryption: Option<Encryption>,
        trusted: TrustedProxies,
        workers: usize,
        handler: &Arc<Handler>,
    ) -> io::Result<Listener> {
        allow_descriptors();
        let is_encrypted = encryption.is_some();
        let (doors, address) = open_doors(listen, encryption)?;
        let socket_file = SocketFile::of(&address)?;
        let shared = Shared::new()?;
        let poll = Poll::new(doors, shared.clone(), Arc::new(trusted))?;

        let start_worker = |n| {
            let (shared, handler) = (shared.clone(), handler.clone());
            spawn(format!("worker-{n}"), move || {
                while let Some(arrived) = shared.arrivals.next() {
                    exchange::serve(arrived, &shared.tasks, &*handler);
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
            socket_file,
            is_encrypted,
            is_deaf,
        })
    }

    /// The address, with the port that was taken.
    pub(crate) fn address(&self) -> &Listen {
        &self.address
    }

    /// The address for people, with what is spoken there.
    pub(crate) fn url(&self) -> String {
        let url = self.address.to_string();
        match self.is_encrypted {
            true => url.replacen("http:", "https:", 1),
            false => url,
        }
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
        if let Some(file) = &self.socket_file {
            file.remove();
        }
        self.shared.tasks.ask_to_stop();
        let _ = self.poll.join();

        self.shared.arrivals.close();
        for worker in self.workers {
            let _ = worker.join();
        }
    }
}

impl SocketFile {
    /// The file of the socket that listens at `address`, if it has one.
    fn of(address: &Listen) -> io::Result<Option<SocketFile>> {
        let Listen::Unix(path) = address else {
            return Ok(None);
        };
        let metadata = fs::symlink_metadata(path)?;
        Ok(Some(SocketFile {
            path: path.clone(),
            device_and_inode: (metadata.dev(), metadata.ino()),
        }))
    }

    /// Removes the file, unless another file has its place.
    fn remove(&self) {
        let is_ours = fs::symlink_metadata(&self.path).is_ok_and(|metadata| {
            (metadata.dev(), metadata.ino()) == self.device_and_inode
        });
        if is_ours {
            let _ = fs::remove_file(&self.path);
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

/// Listens everywhere; gives the main address that was taken, too.
fn open_doors(
    listen: &Listen,
    encryption: Option<Encryption>,
) -> io::Result<(Vec<Door>, Listen)> {
    let (socket, address) = bind(listen)?;
    let Some(encryption) = encryption else {
        let speaks = Speaks::Http;
        return Ok((vec![Door { socket, speaks }], address));
    };

    let speaks = Speaks::Https(encryption.certificate);
    let mut doors = vec![Door { socket, speaks }];
    if let (Some(redirect), Listen::Tcp(https)) = (encryption.redirect, &address) {
        let socket = bind_tcp(redirect).map_err(|error| {
            let message = format!("{redirect} for tls.redirect_listen: {error}");
            io::Error::new(error.kind(), message)
        })?;
        doors.push(Door {
            socket: socket.into(),
            speaks: Speaks::Redirect(https.port()),
        });
    }
    Ok((doors, address))
}

/// Listens; gives the address that was taken, too.
fn bind(listen: &Listen) -> io::Result<(OwnedFd, Listen)> {
    match listen {
        Listen::Tcp(address) => {
            let socket = bind_tcp(*address)?;
            let address = socket.local_addr()?.as_socket().unwrap_or(*address);
            Ok((socket.into(), Listen::Tcp(address)))
        }
        Listen::Unix(path) => {
            let listener = bind_unix(path)?;
            listener.set_nonblocking(true)?;
            Ok((listener.into(), listen.clone()))
        }
    }
}

fn bind_tcp(address: SocketAddr) -> io::Result<socket2::Socket> {
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;

    // Accepted sockets inherit these options from their listener on Linux, which saves a
    // call for each connection.
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
    Ok(socket)
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
