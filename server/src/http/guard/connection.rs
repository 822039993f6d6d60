//! One connection: its socket, and its seat among all connections.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use socket2::Socket;

use super::seats::Seat;

/// Where a connection comes from: what the socket tells, and nothing that the peer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Origin {
    /// The peer's address; `None` for a Unix socket.
    pub(crate) ip: Option<IpAddr>,
    /// Whether the connection is encrypted.
    pub(crate) is_tls: bool,
}

/// A connection. Dropped, the connection is closed.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: Socket,
    origin: Origin,
    /// Names the connection among those that the poll loop waits for.
    pub(super) token: u64,
    /// Whether the poll loop's epoll knows the socket.
    pub(super) is_registered: bool,
    _seat: Seat,
}

impl Connection {
    /// A connection whose socket does not block.
    pub(super) fn new(
        socket: Socket,
        ip: Option<IpAddr>,
        seat: Seat,
        token: u64,
    ) -> Connection {
        Connection {
            socket,
            origin: Origin { ip, is_tls: false },
            token,
            is_registered: false,
            _seat: seat,
        }
    }

    /// Where the connection comes from.
    pub(crate) fn origin(&self) -> Origin {
        self.origin
    }

    /// Tells the peer that nothing more will be sent.
    pub(crate) fn end_writing(&self) {
        let _ = self.socket.shutdown(Shutdown::Write);
    }

    /// Closes the connection so that the peer sees an error, and the system keeps nothing
    /// of what has not been sent.
    pub(super) fn reset(self) {
        let _ = self.socket.set_linger(Some(Duration::ZERO));
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Read for Connection {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.read(buffer)
    }
}

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}
