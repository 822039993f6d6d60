//! The steps of a connection: what the poll loop does once a socket is ready, or once a
//! worker has done its part.

use std::io::{self, Read, Write};
use std::time::Instant;

use rustix::event::epoll::EventFlags;

use super::body::{BodyReader, Pieces};
use super::chunked::ChunkedReader;
use super::connection::Connection;
use super::doors::Speaks;
use super::head::{Framing, Head, HeadReader};
use super::limits::{
    ANSWER_STEP_BYTES, ANSWER_TIME, DRAIN_BYTES, DRAIN_TIME, HANDSHAKE_TIME, HEAD_TIME,
    MAX_READS, SHORT_BODY_BYTES,
};
use super::outgoing::Outgoing;
use super::poll::{Phase, Poll, Sending, Waiting};
use super::queues::{Arrived, Task};
use super::unread::Held;
use crate::http::asked::Asked;
use crate::http::failure::Failure;
use crate::http::redirect;
use crate::http::request::{self, Body, Request};
use crate::http::response::{Extent, Response};

/// How a TLS handshake begins.
const HANDSHAKE_BYTE: u8 = 0x16;

/// The one path that is answered without TLS where TLS is spoken: for whoever asks whether
/// the server lives.
const HEALTH: &str = "/healthz";

impl Poll {
    pub(super) fn step(&mut self, waiting: Waiting) {
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
            Phase::Answer(sending) => self.go_on_sending(connection, sending, deadline),
            Phase::Drain(left) => self.drain(connection, left, deadline),
        }
    }

    /// Looks at the first byte of a connection that should be TLS: who speaks HTTP instead
    /// can be told so.
    pub(super) fn start(&mut self, connection: Connection) {
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
        while let Some(token) = self.crowd.pop_front() {
            // One that has been given up meanwhile leaves its turn to the next.
            if self.waiting.contains_key(&token) {
                return self.go_on(token);
            }
        }
    }

    pub(super) fn begin_head(&mut self, connection: Connection) {
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
        let asked = request::begin(&head, connection.ip(), &self.trusted);
        if let Some(response) = self.turn_to_https(&connection, &head, &asked.id) {
            let extent = Extent::of(head.method.as_str());
            return self.answer(connection, &asked, &response, extent);
        }

        let body = match head.framing {
            Framing::None => Body::Whole(Vec::new()),
            Framing::Length(length) if behind.len() >= length => {
                behind.truncate(length);
                Body::Whole(behind)
            }
            Framing::Length(_) | Framing::Chunked => Body::ToCome(behind),
        };

        let request = Request::new(head, asked, body);
        self.shared.arrivals.push(Arrived {
            connection,
            request,
        });
    }

    /// The response to a request that belongs on another connection: an encrypted one.
    fn turn_to_https(
        &self,
        connection: &Connection,
        head: &Head,
        request_id: &str,
    ) -> Option<Response> {
        match self.doors.speaks(connection.door)? {
            Speaks::Redirect(port) => Some(redirect::respond(head, *port, request_id)),
            // Who asks whether the server lives need not speak TLS.
            Speaks::Https(_) if !connection.is_encrypted() && head.target != HEALTH => {
                let failure = Failure::bad_request("this port speaks HTTPS");
                Some(failure.into_response(request_id))
            }
            Speaks::Http | Speaks::Https(_) => None,
        }
    }

    /// Does what workers have left to do. True if a stop is asked for.
    pub(super) fn take_tasks(&mut self) -> bool {
        let (tasks, stop_is_asked) = self.shared.tasks.take();
        for task in tasks {
            match task {
                Task::ReadBody { arrived, limit } => self.begin_body(*arrived, limit),
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
            Framing::Length(length) => Pieces::Length(Vec::new(), length),
            Framing::None | Framing::Chunked => {
                Pieces::Chunked(ChunkedReader::new(limit))
            }
        };

        let bodies = match limit <= SHORT_BODY_BYTES {
            true => &self.short_bodies,
            false => &self.bodies,
        };
        let now = Instant::now();
        let mut reader = Box::new(BodyReader {
            permit: bodies.permit(),
            started: now,
            heard: now,
            request,
            pieces,
        });

        if reader.request.waits_for_continue() && start.is_empty() {
            // A new connection takes this line at once.
            let _ = connection.write(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        match reader.pieces.take(&start) {
            Ok(None) => self.read_body(connection, reader),
            Ok(Some(body)) => self.finish_body(connection, *reader, body),
            Err(failure) => self.refuse_body(connection, *reader, failure),
        }
    }

    fn read_body(&mut self, mut connection: Connection, mut reader: Box<BodyReader>) {
        for _ in 0..MAX_READS {
            let read = connection.read(&mut self.buffer);
            let taken = match read {
                Ok(0) => Err(Failure::bad_request("the body breaks off")),
                Ok(count) => reader.pieces.take(&self.buffer[..count]),
                Err(error) if would_block(&error) => {
                    let deadline = reader.deadline();
                    let phase = Phase::Body(reader);
                    return self.wait(connection, EventFlags::IN, phase, deadline);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(None),
                Err(_) => return,
            };

            match taken {
                Ok(Some(body)) => return self.finish_body(connection, *reader, body),
                Ok(None) if reader.permit.grow_to(reader.pieces.memory()) => {}
                Ok(None) => return self.refuse_body(connection, *reader, no_room()),
                Err(failure) => return self.refuse_body(connection, *reader, failure),
            }
            reader.heard = Instant::now();
        }

        // Others have their turn. Without epoll, because TLS may hold bytes of which epoll
        // knows nothing.
        let deadline = reader.deadline();
        self.again.push(connection.token);
        self.keep(connection, Phase::Body(reader), deadline);
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
        let asked = Asked {
            began: connection.accepted,
            ..self.ask_nothing(connection.ip())
        };
        let response = failure.into_response(&asked.id);
        self.answer(connection, &asked, &response, Extent::Whole);
    }

    /// Answers a request whose body no worker gets to see.
    fn refuse_body(
        &mut self,
        connection: Connection,
        reader: BodyReader,
        failure: Failure,
    ) {
        let asked = reader.request.into_asked();
        let response = failure.into_response(&asked.id);
        self.answer(connection, &asked, &response, Extent::Whole);
    }

    fn answer(
        &mut self,
        connection: Connection,
        asked: &Asked,
        response: &Response,
        extent: Extent,
    ) {
        self.observer.tell(asked, response, extent);
        self.send(connection, response.encode(extent));
    }

    /// Sends a response, of which some may have been sent.
    fn send(&mut self, connection: Connection, outgoing: Outgoing) {
        let sending = Sending {
            seen: outgoing.sent(),
            outgoing,
            held: None,
        };
        self.go_on_sending(connection, sending, Instant::now() + ANSWER_TIME);
    }

    fn go_on_sending(
        &mut self,
        mut connection: Connection,
        mut sending: Sending,
        deadline: Instant,
    ) {
        match sending.outgoing.write_to(&mut connection) {
            Ok(()) => {
                connection.end_writing();
                let deadline = Instant::now() + DRAIN_TIME;
                self.drain(connection, DRAIN_BYTES, deadline);
            }
            Err(error) if would_block(&error) => {
                if sending.held.is_none() {
                    sending.held = Some(self.hold(&sending.outgoing));
                }
                let phase = Phase::Answer(sending);
                self.wait(connection, EventFlags::OUT, phase, deadline);
            }
            Err(_) => {}
        }
    }

    /// Counts what a response keeps in memory. Where that is too much, others that keep
    /// something go, the oldest first: a peer that takes its response is never old.
    fn hold(&mut self, outgoing: &Outgoing) -> Held {
        loop {
            if let Some(held) = self.unread.hold(outgoing) {
                return held;
            }
            let mut waiting = self.waiting.iter();
            let keeps = |waiting: &Waiting| matches!(&waiting.phase, Phase::Answer(_));
            let oldest = waiting.find(|(_, waiting)| keeps(waiting));
            match oldest.map(|(token, _)| *token) {
                Some(token) => self.reset(token),
                None => return self.unread.hold_beyond_limit(),
            }
        }
    }

    fn reset(&mut self, token: u64) {
        if let Some(waiting) = self.waiting.remove(&token) {
            waiting.connection.reset();
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

    /// Ends a connection whose time is over, or gives a response that goes on more time.
    pub(super) fn end_late(&mut self, waiting: Waiting) {
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
            Phase::Body(reader) => {
                let failure = Failure::too_slow("the body has not come in time");
                self.refuse_body(connection, *reader, failure);
            }
            Phase::Answer(mut sending)
                if sending.outgoing.sent() - sending.seen >= ANSWER_STEP_BYTES =>
            {
                sending.seen = sending.outgoing.sent();
                self.go_on_sending(connection, sending, Instant::now() + ANSWER_TIME);
            }
            Phase::Answer(_) => connection.reset(),
            Phase::Start | Phase::Handshake | Phase::Drain(_) => {}
        }
    }
}

fn would_block(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

fn no_room() -> Failure {
    Failure::overloaded("too many bodies are being read")
}
