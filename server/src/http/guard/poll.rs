//! The poll loop: the one thread that waits for peers.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use socket2::Socket;

use super::body::BodyReader;
use super::budget::Budget;
use super::connection::Connection;
use super::doors::{Door, Doors, Knock, Speaks};
use super::head::HeadReader;
use super::limits::{
    BODY_SILENCE, MAX_ANSWER_BYTES, MAX_BODY_BYTES, MAX_CONNECTIONS,
    MAX_SHORT_BODY_BYTES, STOP_TIME,
};
use super::outgoing::Outgoing;
use super::queues::{Arrivals, Tasks};
use super::seats::{self, NoSeat, Seat, Seats};
use super::tls::Handshakes;
use super::unread::{Held, Unread};
use crate::http::asked::{Asked, Observer};
use crate::http::failure::Failure;
use crate::http::forwarded::TrustedProxies;
use crate::http::response::Extent;

/// Deadlines are looked at this often.
const TICK: Duration = Duration::from_millis(100);
/// The most that is read at once.
const READ_BYTES: usize = 16 * 1024;
/// Accepted connections before others have their turn.
const TURNS: usize = 32;
/// The events that one look at epoll gives.
const EVENTS: usize = 256;

/// The names of what is not a connection, in epoll. Doors have the names from [`DOOR`] on.
const WAKE: u64 = u64::MAX;
const DOOR: u64 = u64::MAX - 16;

/// What the poll loop shares with the rest of the server.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    /// Where requests go.
    pub(crate) arrivals: Arc<Arrivals>,
    /// Where tasks come from.
    pub(crate) tasks: Arc<Tasks>,
    /// The rounds that the loop has made.
    rounds: Arc<AtomicU64>,
}

/// How far the threads that serve peers have come, for whoever watches over them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Progress {
    /// The rounds of the poll loop.
    rounds: u64,
    /// The requests that workers have taken.
    taken: u64,
    /// Whether a request waits for a worker.
    somebody_waits: bool,
}

impl Progress {
    /// What a look would have found.
    #[cfg(test)]
    pub(crate) fn of(rounds: u64, taken: u64, somebody_waits: bool) -> Progress {
        Progress {
            rounds,
            taken,
            somebody_waits,
        }
    }

    /// Whether nothing has moved since `before` that should have.
    pub(crate) fn stands_still_since(self, before: Progress) -> bool {
        let waits = self.somebody_waits && before.somebody_waits;
        self.rounds == before.rounds || (waits && self.taken == before.taken)
    }
}

impl Shared {
    /// Empty queues.
    ///
    /// # Errors
    /// The system gives no further descriptor.
    pub(crate) fn new() -> io::Result<Shared> {
        Ok(Shared {
            arrivals: Arc::default(),
            tasks: Arc::new(Tasks::new()?),
            rounds: Arc::default(),
        })
    }

    /// How far the threads have come. The poll loop is asked for a further round, which
    /// the next look sees.
    pub(crate) fn look(&self) -> Progress {
        let rounds = self.rounds.load(Ordering::Relaxed);
        self.tasks.wake_up();
        let (taken, somebody_waits) = self.arrivals.taken();
        Progress {
            rounds,
            taken,
            somebody_waits,
        }
    }
}

/// The poll loop's state.
pub(crate) struct Poll {
    pub(super) epoll: OwnedFd,
    pub(super) doors: Doors,
    /// The threads for TLS, if a door speaks it.
    pub(super) handshakes: Option<Handshakes>,
    /// Connections that go on with their handshakes once fewer are computed.
    pub(super) crowd: VecDeque<u64>,
    pub(super) shared: Shared,
    pub(super) trusted: Arc<TrustedProxies>,
    /// Is told of the answers that no worker gives.
    pub(super) observer: Observer,
    pub(super) seats: Seats,
    pub(super) bodies: Budget,
    pub(super) short_bodies: Budget,
    pub(super) unread: Unread,
    /// The connections that wait for their peer, the oldest first.
    pub(super) waiting: BTreeMap<u64, Waiting>,
    /// Those of them that go on after the others have had their turn.
    pub(super) again: Vec<u64>,
    next_token: u64,
    pub(super) buffer: Vec<u8>,
}

/// A connection that waits for its peer.
pub(super) struct Waiting {
    pub(super) connection: Connection,
    pub(super) phase: Phase,
    pub(super) deadline: Instant,
}

/// What a connection waits for.
pub(super) enum Phase {
    /// The first byte, where TLS is spoken.
    Start,
    /// More of the handshake, or that fewer handshakes are computed.
    Handshake,
    /// The head.
    Head(HeadReader),
    /// The body.
    Body(Box<BodyReader>),
    /// That the peer takes its response.
    Answer(Sending),
    /// That the peer closes the connection; so many bytes may still come.
    Drain(usize),
}

/// A response on its way to a peer that does not take it at once.
pub(super) struct Sending {
    pub(super) outgoing: Outgoing,
    /// What had been sent when the deadline was set.
    pub(super) seen: usize,
    /// Counts the response, once it waits.
    pub(super) held: Option<Held>,
}

impl Poll {
    /// A loop for the connections of these doors, of which at least one is needed.
    ///
    /// # Errors
    /// The system gives no further descriptor, or no further thread.
    pub(crate) fn new(
        doors: Vec<Door>,
        shared: Shared,
        trusted: Arc<TrustedProxies>,
        observer: Observer,
    ) -> io::Result<Poll> {
        let has_tls = doors
            .iter()
            .any(|door| matches!(door.speaks, Speaks::Https(_)));
        let handshakes = has_tls
            .then(|| Handshakes::start(cores(), &shared.tasks))
            .transpose()?;

        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let wake = EventData::new_u64(WAKE);
        epoll::add(&epoll, &shared.tasks.wake, wake, EventFlags::IN)?;

        Ok(Poll {
            doors: Doors::open(doors, &epoll, DOOR)?,
            epoll,
            handshakes,
            crowd: VecDeque::new(),
            shared,
            trusted,
            observer,
            seats: Seats::new(MAX_CONNECTIONS),
            bodies: Budget::new(MAX_BODY_BYTES),
            short_bodies: Budget::new(MAX_SHORT_BODY_BYTES),
            unread: Unread::new(MAX_ANSWER_BYTES),
            waiting: BTreeMap::new(),
            again: Vec::new(),
            next_token: 0,
            buffer: vec![0; READ_BYTES],
        })
    }

    /// Serves peers until a stop is asked for and what has come in is answered.
    ///
    /// # Errors
    /// epoll does not work.
    pub(crate) fn run(mut self) -> io::Result<()> {
        let mut events = Vec::with_capacity(EVENTS);
        let mut next_tick = Instant::now();
        let mut stops_by = None;

        loop {
            let is_idle = self.waiting.is_empty() && !self.doors.are_paused();
            let timeout = match self.again.is_empty() {
                true => (!is_idle || stops_by.is_some()).then(tick),
                false => Some(Timespec::default()),
            };
            events.clear();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), timeout.as_ref())
            {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            self.shared.rounds.fetch_add(1, Ordering::Relaxed);

            for event in &events {
                match event.data.u64() {
                    WAKE => {
                        if self.take_tasks() && stops_by.is_none() {
                            stops_by = Some(Instant::now() + STOP_TIME);
                            self.close_door();
                        }
                    }
                    name @ DOOR.. => self.accept(name - DOOR),
                    token => self.go_on(token),
                }
            }
            for token in std::mem::take(&mut self.again) {
                self.go_on(token);
            }

            let now = Instant::now();
            if now >= next_tick {
                next_tick = now + TICK;
                self.tick(now);
            }
            if stops_by.is_some_and(|time| now >= time || self.is_done()) {
                self.shared.tasks.close();
                return Ok(());
            }
        }
    }

    /// Whether all that has come in is answered.
    fn is_done(&self) -> bool {
        let drained = |waiting: &&Waiting| matches!(waiting.phase, Phase::Drain(_));
        self.seats.taken() == self.waiting.values().filter(drained).count()
    }

    /// Accepts no more, and gives up connections on which nothing has been asked.
    fn close_door(&mut self) {
        self.doors.close();
        self.waiting.retain(|_, waiting| {
            !matches!(
                waiting.phase,
                Phase::Start | Phase::Handshake | Phase::Head(_)
            )
        });
    }

    /// Accepts connections at the door of this number.
    fn accept(&mut self, door: u64) {
        let door = usize::try_from(door).unwrap_or(usize::MAX);
        for _ in 0..TURNS {
            match self.doors.accept(door) {
                Knock::Let(socket, ip) => self.welcome(socket, ip, door),
                Knock::Nobody => return,
                // Who has nothing to say makes room.
                Knock::NoDescriptor(error) => {
                    if self.evict(|_| true).is_none() {
                        return self.doors.pause(error, &self.epoll);
                    }
                }
            }
        }
    }

    /// Gives a new connection a seat, or turns it away.
    fn welcome(&mut self, socket: Socket, ip: Option<IpAddr>, door: usize) {
        let Some(seat) = self.find_seat(ip) else {
            return self.turn_away(&socket, ip);
        };

        self.next_token += 1;
        let connection = Connection::new(socket, ip, seat, door, self.next_token);
        if matches!(self.doors.speaks(door), Some(Speaks::Https(_))) {
            self.start(connection);
        } else {
            self.begin_head(connection);
        }
    }

    /// Answers a connection that gets no seat, as far as its socket takes the answer at
    /// once.
    fn turn_away(&self, mut socket: &Socket, ip: Option<IpAddr>) {
        let failure = Failure::overloaded("too many connections");
        let asked = self.ask_nothing(ip);
        let response = failure.into_response(&asked.id);
        self.observer.tell(&asked, &response, Extent::Whole);
        let _ = response.encode(Extent::Whole).write_to(&mut socket);
        let _ = socket.shutdown(std::net::Shutdown::Write);
    }

    /// The request of a peer that has not said what it wants.
    pub(super) fn ask_nothing(&self, ip: Option<IpAddr>) -> Asked {
        Asked::now(self.trusted.find_peer(ip, std::iter::empty()))
    }

    /// A seat: a free one, or that of the oldest connection without a whole head.
    fn find_seat(&mut self, ip: Option<IpAddr>) -> Option<Seat> {
        // A proxy's connections carry the requests of many.
        let counted = ip.filter(|ip| !self.trusted.contains(*ip));
        match self.seats.take(counted) {
            Ok(seat) => Some(seat),
            Err(NoSeat::Full) => {
                drop(self.evict(|_| true)?);
                self.seats.take(counted).ok()
            }
            // Among its own, a newcomer goes before who has nothing to say.
            Err(NoSeat::ShareTaken) => {
                let network = counted.map(seats::network);
                self.evict(|connection| connection.network() == network)
                    .map(Connection::into_seat)
            }
        }
    }

    /// Takes the oldest of these connections that has not sent a whole head, or has its
    /// response; else the oldest that is silent within its body.
    fn evict(&mut self, is_meant: impl Fn(&Connection) -> bool) -> Option<Connection> {
        let now = Instant::now();
        let is_idle = |phase: &Phase| {
            matches!(
                phase,
                Phase::Start | Phase::Handshake | Phase::Head(_) | Phase::Drain(_)
            )
        };
        let is_silent = |phase: &Phase| match phase {
            Phase::Body(reader) => now.duration_since(reader.heard) >= BODY_SILENCE,
            _ => false,
        };

        let find = |is_done: &dyn Fn(&Phase) -> bool| {
            let mut waiting = self.waiting.iter();
            let found = waiting.find(|(_, waiting)| {
                is_done(&waiting.phase) && is_meant(&waiting.connection)
            });
            found.map(|(token, _)| *token)
        };
        let token = find(&is_idle).or_else(|| find(&is_silent))?;
        self.waiting
            .remove(&token)
            .map(|evicted| evicted.connection)
    }

    /// Goes on with a connection whose socket is ready.
    pub(super) fn go_on(&mut self, token: u64) {
        if let Some(waiting) = self.waiting.remove(&token) {
            self.step(waiting);
        }
    }

    /// Keeps the connection until its socket is ready.
    pub(super) fn wait(
        &mut self,
        mut connection: Connection,
        flags: EventFlags,
        phase: Phase,
        deadline: Instant,
    ) {
        let token = connection.token;
        let (data, flags) = (EventData::new_u64(token), flags | EventFlags::ONESHOT);
        let watched = if connection.is_registered {
            epoll::modify(&self.epoll, &connection, data, flags)
        } else {
            epoll::add(&self.epoll, &connection, data, flags)
        };
        if let Err(error) = watched {
            return log::error!("a connection cannot be watched: {error}");
        }

        connection.is_registered = true;
        self.keep(connection, phase, deadline);
    }

    pub(super) fn keep(
        &mut self,
        connection: Connection,
        phase: Phase,
        deadline: Instant,
    ) {
        let token = connection.token;
        let waiting = Waiting {
            connection,
            phase,
            deadline,
        };
        self.waiting.insert(token, waiting);
    }

    /// Looks at all deadlines.
    fn tick(&mut self, now: Instant) {
        self.doors.reopen(now, &self.epoll);

        let late = self.waiting.iter();
        let late = late.filter(|(_, waiting)| waiting.deadline <= now);
        let late: Vec<u64> = late.map(|(token, _)| *token).collect();
        for token in late {
            if let Some(waiting) = self.waiting.remove(&token) {
                self.end_late(waiting);
            }
        }
    }
}

fn tick() -> Timespec {
    Timespec {
        tv_sec: 0,
        tv_nsec: i64::try_from(TICK.as_nanos()).unwrap_or(0),
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
