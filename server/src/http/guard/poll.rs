//! The poll loop: the one thread that waits for peers.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use socket2::Socket;

use super::budget::{Budget, Permit};
use super::chunked::ChunkedReader;
use super::connection::Connection;
use super::doors::{Door, Doors, Speaks};
use super::head::{Framing, Head, HeadReader};
use super::outgoing::Outgoing;
use super::queues::{Arrivals, Arrived, Task, Tasks};
use super::seats::{self, NoSeat, Seat, Seats};
use super::tls::Handshakes;
use crate::http::failure::Failure;
use crate::http::forwarded::TrustedProxies;
use crate::http::redirect;
use crate::http::request::{Body, Request, new_id};
use crate::http::response::Response;

/// The most connections at once.
const MAX_CONNECTIONS: usize = 4096;
/// How long a head may take.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// How long a body may take, besides [`BODY_TIME_PER_STEP`].
const BODY_TIME: Duration = Duration::from_secs(10);
/// How long each [`BODY_STEP_BYTES`] of a body may take besides.
const BODY_TIME_PER_STEP: Duration = Duration::from_secs(1);
const BODY_STEP_BYTES: usize = 64 * 1024;
/// All bodies together that do not come with their heads.
const MAX_BODY_BYTES: usize = 64 * 1024 * 1024;
/// A peer takes its response at 16 KiB a second, looked at after so long.
const ANSWER_TIME: Duration = Duration::from_secs(10);
const ANSWER_STEP_BYTES: usize = 160 * 1024;
/// All responses together that are not shared and that peers have not taken.
const MAX_ANSWER_BYTES: usize = 256 * 1024 * 1024;
/// What a peer still sends after its response is thrown away, up to so many bytes and for
/// so long.
const DRAIN_BYTES: usize = 64 * 1024;
const DRAIN_TIME: Duration = Duration::from_secs(2);
/// How long a stop waits for requests that have not come whole.
const STOP_TIME: Duration = Duration::from_secs(1);

/// Deadlines are looked at this often.
const TICK: Duration = Duration::from_millis(100);
/// The most that is read at once.
const READ_BYTES: usize = 16 * 1024;
/// Reads of one body, and accepted connections, before others have their turn.
const TURNS: usize = 32;
/// The events that one look at epoll gives.
const EVENTS: usize = 256;

/// How long a TLS handshake may take.
const HANDSHAKE_TIME: Duration = Duration::from_secs(5);
/// How a TLS handshake begins.
const HANDSHAKE_BYTE: u8 = 0x16;

/// The one path that is answered without TLS where TLS is spoken: for the watchdog, and
/// for whoever else asks whether the server lives.
const HEALTH: &str = "/healthz";

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
        })
    }
}

/// The poll loop's state.
pub(crate) struct Poll {
    epoll: OwnedFd,
    doors: Doors,
    /// The threads for TLS, if a door speaks it.
    handshakes: Option<Handshakes>,
    /// Connections that go on with their handshakes once fewer are computed.
    crowd: VecDeque<u64>,
    shared: Shared,
    trusted: Arc<TrustedProxies>,
    seats: Seats,
    bodies: Budget,
    answers: Budget,
    /// The connections that wait for their peer, the oldest first.
    waiting: BTreeMap<u64, Waiting>,
    next_token: u64,
    buffer: Vec<u8>,
}

/// A connection that waits for its peer.
struct Waiting {
    connection: Connection,
    phase: Phase,
    deadline: Instant,
}

/// What a connection waits for.
enum Phase {
    /// The first byte, where TLS is spoken.
    Start,
    /// More of the handshake, or that fewer handshakes are computed.
    Handshake,
    /// The head.
    Head(HeadReader),
    /// The body.
    Body(Box<BodyReader>),
    /// That the peer takes its response.
    Answer {
        outgoing: Outgoing,
        /// What had been sent at the last look.
        seen: usize,
        _permit: Permit,
    },
    /// That the peer closes the connection; so many bytes may still come.
    Drain(usize),
}

/// A body that is being read.
struct BodyReader {
    request: Request,
    pieces: Pieces,
    permit: Permit,
    started: Instant,
}

/// What has come of a body.
enum Pieces {
    /// Of a body of so many bytes.
    Length(Vec<u8>, usize),
    Chunked(ChunkedReader),
}

impl Pieces {
    /// Takes what has come. Gives the body, once it is whole.
    fn take(&mut self, bytes: &[u8]) -> Result<Option<Vec<u8>>, Failure> {
        match self {
            Pieces::Length(body, length) => {
                let missing = *length - body.len();
                body.extend_from_slice(&bytes[..bytes.len().min(missing)]);
                Ok((body.len() == *length).then(|| std::mem::take(body)))
            }
            Pieces::Chunked(reader) => reader.take(bytes),
        }
    }

    /// The bytes that the body takes in memory, as far as that is known.
    fn bytes(&self) -> usize {
        match self {
            Pieces::Length(_, length) => *length,
            Pieces::Chunked(reader) => reader.received(),
        }
    }
}

impl BodyReader {
    /// How long the peer has for what is known of the body.
    fn deadline(&self) -> Instant {
        let steps = u32::try_from(self.pieces.bytes() / BODY_STEP_BYTES);
        self.started + BODY_TIME + BODY_TIME_PER_STEP * steps.unwrap_or(u32::MAX)
    }
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
            seats: Seats::new(MAX_CONNECTIONS),
            bodies: Budget::new(MAX_BODY_BYTES),
            answers: Budget::new(MAX_ANSWER_BYTES),
            waiting: BTreeMap::new(),
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
            let timeout = (!is_idle || stops_by.is_some()).then(tick);
            events.clear();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), timeout.as_ref())
            {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }

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
            match self.doors.accept(door, &self.epoll) {
                Some((socket, ip)) => self.welcome(socket, ip, door),
                None => return,
            }
        }
    }

    /// Gives a new connection a seat, or turns it away.
    fn welcome(&mut self, socket: Socket, ip: Option<IpAddr>, door: usize) {
        let Some(seat) = self.find_seat(ip) else {
            return turn_away(&socket);
        };

        self.next_token += 1;
        let connection = Connection::new(socket, ip, seat, door, self.next_token);
        if matches!(self.doors.speaks(door), Some(Speaks::Https(_))) {
            self.start(connection);
        } else {
            self.begin_head(connection);
        }
    }

    /// Looks at the first byte of a connection that should be TLS: who speaks HTTP instead
    /// can be told so.
    fn start(&mut self, connection: Connection) {
        match connection.first_byte() {
            Ok(Some(HANDSHAKE_BYTE)) => {
                let Some(Speaks::Https(certificate)) = self.doors.speaks(connection.door)
                else {
                    return;
                };
                match certificate.session() {
                    Ok(session) => self.shake_hands(connection.encrypt(session)),
                    Err(error) => log::error!("a TLS connection cannot begin: {error}"),
                }
            }
            Ok(Some(_)) => self.begin_head(connection),
            Err(error) if would_block(&error) => {
                let deadline = connection.accepted + HANDSHAKE_TIME;
                self.wait(connection, EventFlags::IN, Phase::Start, deadline);
            }
            Ok(None) | Err(_) => {}
        }
    }

    /// Has the handshake computed, as far as what the peer has sent allows.
    fn shake_hands(&mut self, connection: Connection) {
        let Some(handshakes) = &self.handshakes else {
            return;
        };
        if let Err(connection) = handshakes.push(connection) {
            self.crowd.push_back(connection.token);
            let deadline = connection.accepted + HANDSHAKE_TIME;
            self.keep(connection, Phase::Handshake, deadline);
        }
    }

    /// A handshake has been computed, so that one of those that wait can be.
    fn after_handshake(&mut self) {
        if let Some(token) = self.crowd.pop_front() {
            self.go_on(token);
        }
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
    /// response.
    fn evict(&mut self, is_meant: impl Fn(&Connection) -> bool) -> Option<Connection> {
        let is_idle = |waiting: &Waiting| {
            matches!(
                waiting.phase,
                Phase::Start | Phase::Handshake | Phase::Head(_) | Phase::Drain(_)
            ) && is_meant(&waiting.connection)
        };
        let mut waiting = self.waiting.iter();
        let (token, _) = waiting.find(|(_, waiting)| is_idle(waiting))?;
        let token = *token;
        self.waiting
            .remove(&token)
            .map(|evicted| evicted.connection)
    }

    /// Goes on with a connection whose socket is ready.
    fn go_on(&mut self, token: u64) {
        if let Some(waiting) = self.waiting.remove(&token) {
            self.step(waiting);
        }
    }

    fn step(&mut self, waiting: Waiting) {
        let Waiting {
            connection,
            phase,
            deadline,
        } = waiting;
        match phase {
            Phase::Start => self.start(connection),
            Phase::Handshake => self.shake_hands(connection),
            Phase::Head(reader) => self.read_head(connection, reader, deadline),
            Phase::Body(reader) => self.read_body(connection, reader),
            Phase::Answer {
                outgoing,
                seen,
                _permit,
            } => self.go_on_sending(connection, outgoing, seen, _permit, deadline),
            Phase::Drain(left) => self.drain(connection, left, deadline),
        }
    }

    /// Keeps the connection until its socket is ready.
    fn wait(
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

    fn keep(&mut self, connection: Connection, phase: Phase, deadline: Instant) {
        let token = connection.token;
        let waiting = Waiting {
            connection,
            phase,
            deadline,
        };
        self.waiting.insert(token, waiting);
    }

    fn begin_head(&mut self, connection: Connection) {
        let deadline = Instant::now() + HEAD_TIME;
        self.read_head(connection, HeadReader::default(), deadline);
    }

    fn read_head(
        &mut self,
        mut connection: Connection,
        mut reader: HeadReader,
        deadline: Instant,
    ) {
        loop {
            let read = connection.read(&mut self.buffer);
            match read {
                Ok(0) if reader.is_empty() => return,
                Ok(0) => {
                    let failure = Failure::bad_request("the head breaks off");
                    return self.refuse(connection, failure);
                }
                Ok(count) => match reader.take(&self.buffer[..count]) {
                    Ok(None) => {}
                    Ok(Some((head, behind))) => {
                        return self.dispatch(connection, head, behind);
                    }
                    Err(failure) => return self.refuse(connection, failure),
                },
                Err(error) if would_block(&error) => {
                    let phase = Phase::Head(reader);
                    return self.wait(connection, EventFlags::IN, phase, deadline);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }

    /// Gives a request to the workers. A body that has come with its head goes along.
    fn dispatch(&mut self, connection: Connection, head: Head, mut behind: Vec<u8>) {
        if let Some(response) = self.turn_to_https(&connection, &head) {
            return self.send(connection, response.into_outgoing());
        }

        let body = match head.framing {
            Framing::None => Body::Whole(Vec::new()),
            Framing::Length(length) if behind.len() >= length => {
                behind.truncate(length);
                Body::Whole(behind)
            }
            Framing::Length(_) | Framing::Chunked => Body::ToCome(behind),
        };

        let request = Request::new(head, body, connection.origin(), &self.trusted);
        self.shared.arrivals.push(Arrived {
            connection,
            request,
        });
    }

    /// The response to a request that belongs on another connection: an encrypted one.
    fn turn_to_https(&self, connection: &Connection, head: &Head) -> Option<Response> {
        match self.doors.speaks(connection.door)? {
            Speaks::Redirect(port) => Some(redirect::respond(head, *port)),
            // Who asks whether the server lives need not speak TLS.
            Speaks::Https(_) if !connection.origin().is_tls && head.target != HEALTH => {
                let failure = Failure::bad_request("this port speaks HTTPS");
                Some(failure.into_response(&new_id()))
            }
            Speaks::Http | Speaks::Https(_) => None,
        }
    }

    /// Does what workers have left to do. True if a stop is asked for.
    fn take_tasks(&mut self) -> bool {
        let (tasks, stop_is_asked) = self.shared.tasks.take();
        for task in tasks {
            match task {
                Task::ReadBody { arrived, limit } => self.begin_body(arrived, limit),
                Task::Send(connection, outgoing) => self.send(connection, outgoing),
                Task::ShakeOn(connection) => {
                    let deadline = connection.accepted + HANDSHAKE_TIME;
                    let flags = match connection.wants_write() {
                        true => EventFlags::OUT,
                        false => EventFlags::IN,
                    };
                    self.wait(connection, flags, Phase::Handshake, deadline);
                    self.after_handshake();
                }
                Task::Shaken(connection) => {
                    self.begin_head(connection);
                    self.after_handshake();
                }
                Task::Close(connection) => {
                    let deadline = Instant::now() + DRAIN_TIME;
                    self.drain(connection, DRAIN_BYTES, deadline);
                }
            }
        }
        stop_is_asked
    }

    /// Begins to read a body, of which some may have come with the head.
    fn begin_body(&mut self, arrived: Arrived, limit: usize) {
        let Arrived {
            mut connection,
            mut request,
        } = arrived;
        let start = request.take_body_start();
        let pieces = match request.framing() {
            Framing::Length(length) => Pieces::Length(Vec::with_capacity(length), length),
            Framing::None | Framing::Chunked => {
                Pieces::Chunked(ChunkedReader::new(limit))
            }
        };

        let mut reader = Box::new(BodyReader {
            permit: self.bodies.permit(),
            started: Instant::now(),
            request,
            pieces,
        });
        if !reader.permit.grow_to(reader.pieces.bytes()) {
            return self.refuse(connection, no_room());
        }

        if reader.request.waits_for_continue() && start.is_empty() {
            // A new connection takes this line at once.
            let _ = connection.write(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        match reader.pieces.take(&start) {
            Ok(None) => self.read_body(connection, reader),
            Ok(Some(body)) => self.finish_body(connection, *reader, body),
            Err(failure) => self.refuse(connection, failure),
        }
    }

    fn read_body(&mut self, mut connection: Connection, mut reader: Box<BodyReader>) {
        for _ in 0..TURNS {
            let read = connection.read(&mut self.buffer);
            let taken = match read {
                Ok(0) => Err(Failure::bad_request("the body breaks off")),
                Ok(count) => reader.pieces.take(&self.buffer[..count]),
                Err(error) if would_block(&error) => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(None),
                Err(_) => return,
            };

            match taken {
                Ok(Some(body)) => return self.finish_body(connection, *reader, body),
                Ok(None) if reader.permit.grow_to(reader.pieces.bytes()) => {}
                Ok(None) => return self.refuse(connection, no_room()),
                Err(failure) => return self.refuse(connection, failure),
            }
        }

        let deadline = reader.deadline();
        self.wait(connection, EventFlags::IN, Phase::Body(reader), deadline);
    }

    /// Gives a request to the workers again, now with its body.
    fn finish_body(&self, connection: Connection, reader: BodyReader, body: Vec<u8>) {
        let mut request = reader.request;
        request.complete(body, reader.permit);
        self.shared.arrivals.push(Arrived {
            connection,
            request,
        });
    }

    /// Answers a request that no worker gets to see.
    fn refuse(&mut self, connection: Connection, failure: Failure) {
        let response = failure.into_response(&new_id());
        self.send(connection, response.into_outgoing());
    }

    fn send(&mut self, connection: Connection, outgoing: Outgoing) {
        let mut permit = self.answers.permit();
        if !permit.grow_to(outgoing.unshared_bytes()) {
            return connection.reset();
        }
        let (seen, deadline) = (outgoing.sent(), Instant::now() + ANSWER_TIME);
        self.go_on_sending(connection, outgoing, seen, permit, deadline);
    }

    fn go_on_sending(
        &mut self,
        mut connection: Connection,
        mut outgoing: Outgoing,
        seen: usize,
        permit: Permit,
        deadline: Instant,
    ) {
        match outgoing.write_to(&mut connection) {
            Ok(()) => {
                connection.end_writing();
                let deadline = Instant::now() + DRAIN_TIME;
                self.drain(connection, DRAIN_BYTES, deadline);
            }
            Err(error) if would_block(&error) => {
                let phase = Phase::Answer {
                    outgoing,
                    seen,
                    _permit: permit,
                };
                self.wait(connection, EventFlags::OUT, phase, deadline);
            }
            Err(_) => {}
        }
    }

    /// Throws away what the peer still sends, so that it reads its response and not a
    /// reset, and closes the connection once the peer has.
    fn drain(&mut self, mut connection: Connection, mut left: usize, deadline: Instant) {
        loop {
            let read = connection.discard(&mut self.buffer);
            match read {
                Ok(0) => return,
                Ok(count) if count < left => left -= count,
                Ok(_) => return,
                Err(error) if would_block(&error) => {
                    let phase = Phase::Drain(left);
                    return self.wait(connection, EventFlags::IN, phase, deadline);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
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

    /// Ends a connection whose time is over, or gives a response that goes on more time.
    fn end_late(&mut self, waiting: Waiting) {
        let Waiting {
            connection, phase, ..
        } = waiting;
        match phase {
            Phase::Head(_) => {
                self.refuse(
                    connection,
                    Failure::too_slow("the head has not come in time"),
                );
            }
            Phase::Body(_) => {
                self.refuse(
                    connection,
                    Failure::too_slow("the body has not come in time"),
                );
            }
            Phase::Answer {
                outgoing,
                seen,
                _permit,
            } if outgoing.sent() - seen >= ANSWER_STEP_BYTES => {
                let (seen, deadline) = (outgoing.sent(), Instant::now() + ANSWER_TIME);
                self.go_on_sending(connection, outgoing, seen, _permit, deadline);
            }
            Phase::Answer { .. } => connection.reset(),
            Phase::Start | Phase::Handshake | Phase::Drain(_) => {}
        }
    }
}

fn tick() -> Timespec {
    Timespec {
        tv_sec: 0,
        tv_nsec: i64::try_from(TICK.as_nanos()).unwrap_or(0),
    }
}

fn would_block(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

fn no_room() -> Failure {
    Failure::overloaded("too many bodies are being read")
}

/// Answers a connection that gets no seat, as far as its socket takes the answer at once.
fn turn_away(mut socket: &Socket) {
    let failure = Failure::overloaded("too many connections");
    let mut outgoing = failure.into_response(&new_id()).into_outgoing();
    let _ = outgoing.write_to(&mut socket);
    let _ = socket.shutdown(std::net::Shutdown::Write);
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
