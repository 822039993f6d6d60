//! The listening sockets.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{SocketAddrAny, SocketFlags, acceptfrom_with};
use socket2::Socket;

use super::tls::Certificate;
use crate::recurring::Recurring;

/// How long no connection is accepted after the system had no descriptor left.
const PAUSE: Duration = Duration::from_millis(50);

/// A listening socket, and what its connections are for.
#[derive(Debug)]
pub(crate) struct Door {
    /// The socket, which does not block.
    pub(crate) socket: OwnedFd,
    /// What is spoken behind the door.
    pub(crate) speaks: Speaks,
}

/// What is spoken on a connection.
#[derive(Debug, Clone)]
pub(crate) enum Speaks {
    /// HTTP.
    Http,
    /// HTTP over TLS.
    Https(Certificate),
    /// HTTP, only to say that HTTPS is spoken, and on which port.
    Redirect(u16),
}

/// All doors of a server.
#[derive(Debug)]
pub(super) struct Doors {
    doors: Vec<Door>,
    /// The first door's name in epoll; the next doors have the names behind it.
    first_name: u64,
    /// When the doors are opened again, after the system had no descriptor left.
    opens_at: Option<Instant>,
    trouble: Recurring,
}

/// What is found at a door.
pub(super) enum Knock {
    /// A connection, with its peer's address.
    Let(Socket, Option<IpAddr>),
    /// Nobody.
    Nobody,
    /// Somebody, for whom the system has no descriptor.
    NoDescriptor(Errno),
}

impl Doors {
    /// Opens the doors: epoll tells of a connection under `first_name` plus the door's
    /// number.
    pub(super) fn open(
        doors: Vec<Door>,
        epoll: &OwnedFd,
        first_name: u64,
    ) -> rustix::io::Result<Doors> {
        let names = (first_name..).map(EventData::new_u64);
        for (door, name) in doors.iter().zip(names) {
            epoll::add(epoll, &door.socket, name, EventFlags::IN)?;
        }

        Ok(Doors {
            doors,
            first_name,
            opens_at: None,
            trouble: Recurring::default(),
        })
    }

    /// What is spoken behind the door of this number.
    pub(super) fn speaks(&self, door: usize) -> Option<&Speaks> {
        self.doors.get(door).map(|door| &door.speaks)
    }

    /// Whether the doors wait until they are opened again.
    pub(super) fn are_paused(&self) -> bool {
        self.opens_at.is_some()
    }

    /// Who is next at the door of this number.
    pub(super) fn accept(&mut self, door: usize) -> Knock {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let Some(Door { socket, .. }) = self.doors.get(door) else {
            return Knock::Nobody;
        };
        loop {
            let error = match acceptfrom_with(socket, flags) {
                Ok((socket, address)) => {
                    if let Some(tally) = self.trouble.well(Instant::now()) {
                        log::info!("connections are accepted again{tally}");
                    }
                    return Knock::Let(Socket::from(socket), address.and_then(ip));
                }
                Err(error) => error,
            };

            match error {
                Errno::AGAIN => return Knock::Nobody,
                Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM => {
                    return Knock::NoDescriptor(error);
                }
                // The peer has gone before it was accepted.
                _ => {}
            }
        }
    }

    /// Opens the doors again, if it is time.
    pub(super) fn reopen(&mut self, now: Instant, epoll: &OwnedFd) {
        if self.opens_at.is_some_and(|time| now >= time) {
            self.opens_at = None;
            self.watch(EventFlags::IN, epoll);
        }
    }

    /// Closes all doors for good.
    pub(super) fn close(&mut self) {
        self.doors.clear();
        self.opens_at = None;
    }

    /// Accepts nobody for a moment: the system had no descriptor, because of `error`.
    pub(super) fn pause(&mut self, error: Errno, epoll: &OwnedFd) {
        let now = Instant::now();
        if let Some(tally) = self.trouble.again(&error.to_string(), now) {
            log::error!("no connection can be accepted: {error}; see LimitNOFILE{tally}");
        }
        self.opens_at = Some(now + PAUSE);
        self.watch(EventFlags::empty(), epoll);
    }

    fn watch(&self, flags: EventFlags, epoll: &OwnedFd) {
        let names = (self.first_name..).map(EventData::new_u64);
        for (door, name) in self.doors.iter().zip(names) {
            let _ = epoll::modify(epoll, &door.socket, name, flags);
        }
    }
}

/// The peer's address; `None` for a Unix socket.
fn ip(address: SocketAddrAny) -> Option<IpAddr> {
    let address = SocketAddr::try_from(address).ok()?;
    Some(address.ip().to_canonical())
}
