//! The watch: asks the server for a sign of life through its own listener.
//!
//! tiny_http's accept thread ends in silence when file descriptors run out, and the
//! process would go on deaf. The watch then ends it, and systemd starts it again; while
//! all is well it feeds systemd's own watchdog.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::http::Listen;

const EVERY: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(5);
/// For one question alone. Shorter than the above, so that it is this which is told.
const PATIENCE: Duration = Duration::from_secs(4);
/// A server this busy is not dead yet; one that cannot be connected to is, at once.
const MAX_SILENT: u32 = 6;

/// The watching thread.
pub(crate) struct Watch {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Watch {
    /// Starts watching `address`; `dead` is called once, with the reason, when it answers
    /// no more.
    pub(crate) fn start(
        address: Listen,
        dead: impl FnOnce(String) + Send + 'static,
    ) -> io::Result<Watch> {
        let (stop, stopped) = mpsc::channel();
        let thread =
            thread::Builder::new()
                .name("watch".to_owned())
                .spawn(move || {
                    let mut silent = 0;
                    while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(EVERY)
                    {
                        match ask(&address) {
                            Ok(()) => {
                                silent = 0;
                                let _ = sd_notify::notify(&[
                                    sd_notify::NotifyState::Watchdog,
                                ]);
                            }
                            Err(error) => {
                                silent += 1;
                                log::warn!(
                                    "no sign of life through our own listener: {error}"
                                );
                                if silent >= MAX_SILENT
                                    || error.kind() == io::ErrorKind::ConnectionRefused
                                {
                                    return dead(error.to_string());
                                }
                            }
                        }
                    }
                })?;
        Ok(Watch { stop, thread })
    }

    pub(crate) fn stop(self) {
        drop(self.stop);
        let _ = self.thread.join();
    }
}

/// Asks the server at `address` once, from another process.
///
/// # Errors
/// There is no good answer, or none in time.
pub(crate) fn ask_once(address: &Listen) -> io::Result<()> {
    let (tell, told) = mpsc::channel();
    let asked = address.clone();
    // Connecting to a Unix socket knows no deadline, so it has a thread, which may end
    // with the process.
    thread::Builder::new()
        .name("ask".to_owned())
        .spawn(move || drop(tell.send(ask(&asked))))?;
    told.recv_timeout(PATIENCE).unwrap_or_else(|_| {
        let message = format!("no answer within {} s", PATIENCE.as_secs());
        Err(io::Error::new(io::ErrorKind::TimedOut, message))
    })
}

fn ask(address: &Listen) -> io::Result<()> {
    match address {
        Listen::Tcp(address) => {
            let stream = TcpStream::connect_timeout(&reachable(*address), TIMEOUT)?;
            stream.set_read_timeout(Some(TIMEOUT))?;
            stream.set_write_timeout(Some(TIMEOUT))?;
            healthy(stream)
        }
        Listen::Unix(path) => {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(TIMEOUT))?;
            stream.set_write_timeout(Some(TIMEOUT))?;
            healthy(stream)
        }
    }
}

fn healthy(mut stream: impl Read + Write) -> io::Result<()> {
    stream.write_all(b"GET /healthz HTTP/1.0\r\n\r\n")?;
    let mut status = [0; 12];
    stream.read_exact(&mut status)?;
    if &status == b"HTTP/1.1 200" {
        Ok(())
    } else {
        Err(io::Error::other("an answer that is not 200"))
    }
}

/// Whoever listens on every address listens on loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}
