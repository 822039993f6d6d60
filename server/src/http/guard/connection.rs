//! One connection: its socket, and its seat among all connections.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::net::RecvFlags;
use rustls::{ServerConnection, StreamOwned};
use socket2::Socket;

use super::seats::Seat;

/// A connection. Dropped, the connection is closed.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: Stream,
    ip: Option<IpAddr>,
    /// Which door the connection came through.
    pub(super) door: usize,
    /// Names the connection among those that the poll loop waits for.
    pub(super) token: u64,
    /// Whether the poll loop's epoll knows the socket.
    pub(super) is_registered: bool,
    /// When the connection was accepted.
    pub(super) accepted: Instant,
    seat: Seat,
}

/// What bytes go through.
#[derive(Debug)]
enum Stream {
    Plain(Socket),
    Tls(Box<StreamOwned<ServerConnection, Socket>>),
}

impl Connection {
    /// A connection whose socket does not block, and which is not encrypted.
    pub(super) fn new(
        socket: Socket,
        ip: Option<IpAddr>,
        seat: Seat,
        door: usize,
        token: u64,
    ) -> Connection {
        Connection {
            stream: Stream::Plain(socket),
            ip,
            door,
            token,
            is_registered: false,
            accepted: Instant::now(),
            seat,
        }
    }

    /// The peer's address, as the socket tells it; `None` for a Unix socket.
    pub(super) fn ip(&self) -> Option<IpAddr> {
        self.ip
    }

    /// Whether the connection is encrypted.
    pub(super) fn is_encrypted(&self) -> bool {
        matches!(self.stream, Stream::Tls(_))
    }

    /// The network that the connection counts for, if it counts for one.
    pub(super) fn network(&self) -> Option<IpAddr> {
        self.seat.network()
    }

    /// Closes the connection and keeps its seat.
    pub(super) fn into_seat(self) -> Seat {
        self.seat
    }

    /// The first byte that the peer has sent, which stays to be read; `None` if the peer
    /// has gone.
    ///
    /// # Errors
    /// `WouldBlock` if nothing has come.
    pub(super) fn first_byte(&self) -> io::Result<Option<u8>> {
        let mut byte = [0];
        let count = rustix::net::recv(self, &mut byte, RecvFlags::PEEK)?;
        Ok((count.0 > 0).then_some(byte[0]))
    }

    /// Encrypts the connection by `session`, whose handshake has not begun.
    pub(super) fn encrypt(mut self, session: ServerConnection) -> Connection {
        if let Stream::Plain(socket) = self.stream {
            self.stream = Stream::Tls(Box::new(StreamOwned::new(session, socket)));
        }
        self
    }

    /// Goes on with the handshake.
    ///
    /// # Errors
    /// `WouldBlock` if the peer has to send more first; others if there will be no
    /// handshake.
    pub(super) fn shake_hands(&mut self) -> io::Result<()> {
        let Stream::Tls(stream) = &mut self.stream else {
            return Ok(());
        };
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(())
    }

    /// Whether TLS has something to send that the socket has not taken.
    pub(super) fn wants_write(&self) -> bool {
        match &self.stream {
            Stream::Plain(_) => false,
            Stream::Tls(stream) => stream.conn.wants_write(),
        }
    }

    /// Tells the peer that nothing more will be sent.
    pub(crate) fn end_writing(&mut self) {
        if let Stream::Tls(stream) = &mut self.stream {
            stream.conn.send_close_notify();
            let _ = stream.flush();
        }
        let _ = self.socket().shutdown(Shutdown::Write);
    }

    /// Reads what the peer sends, to throw it away: it is not even decrypted.
    pub(super) fn discard(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket().read(buffer)
    }

    /// Closes the connection so that the peer sees an error, and the system keeps nothing
    /// of what has not been sent.
    pub(super) fn reset(self) {
        let _ = self.socket().set_linger(Some(Duration::ZERO));
    }

    fn socket(&self) -> &Socket {
        match &self.stream {
            Stream::Plain(socket) => socket,
            Stream::Tls(stream) => &stream.sock,
        }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket().as_fd()
    }
}

impl Read for Connection {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.stream {
            Stream::Plain(socket) => socket.read(buffer),
            Stream::Tls(stream) => match stream.read(buffer) {
                // The peer has gone without TLS's goodbye.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
                read => read,
            },
        }
    }
}

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.stream {
            Stream::Plain(socket) => socket.write(bytes),
            Stream::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.stream {
            Stream::Plain(socket) => socket.flush(),
            Stream::Tls(stream) => stream.flush(),
        }
    }
}
