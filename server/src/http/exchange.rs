//! One request and its response: the way through a handler, and the end of a connection.

use std::io::{self, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::failure::Failure;
use super::framing::Framing;
use super::request::Request;
use super::response::{Extent, Response};

/// What is left of a refused body is read and thrown away up to this length before the
/// response goes out, so that a peer which is still sending reads the response instead of
/// a reset connection.
const DRAINED_FIRST_BYTES: usize = 2 * 1024 * 1024;
/// A longer body is answered first and drained then, if no more than this was promised.
const DRAINED_AT_ALL_BYTES: usize = 8 * 1024 * 1024;

/// Answers a request; called from many threads at once.
pub(crate) type Handler = dyn Fn(&mut Request) -> Result<Reply, Failure> + Send + Sync;

/// What a handler returns.
pub(crate) enum Reply {
    /// A response now.
    Now(Response),
    /// Work that will answer later, from another thread.
    Later(Box<dyn FnOnce(Exchange) + Send>),
}

/// The right and the duty to answer one request. Dropped without an answer, the exchange
/// answers 500.
pub(crate) struct Exchange {
    /// `None` once the request is answered.
    request: Option<Request>,
}

impl Exchange {
    fn new(request: Request) -> Exchange {
        Exchange {
            request: Some(request),
        }
    }

    /// Sends the response. A peer that has gone is not an error of ours.
    pub(crate) fn answer(mut self, response: &Response) {
        if let Some(request) = self.request.take() {
            send(request, response);
        }
    }

    /// Sends what `result` says; a failure is logged if the server is its cause.
    pub(crate) fn finish(self, result: Result<Response, Failure>) {
        let id = self.request.as_ref().map_or("", Request::id);
        let response = result.unwrap_or_else(|failure| failure.into_response(id));
        self.answer(&response);
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if let Some(request) = self.request.take() {
            let failure = Failure::internal("a handler ended without an answer");
            let response = failure.into_response(request.id());
            send(request, &response);
        }
    }
}

/// Gives the request to the handler and sees that it is answered.
pub(super) fn serve(mut request: Request, handler: &Handler) {
    let reply = match request.take_broken() {
        Some(failure) => Err(failure),
        None => catch_unwind(AssertUnwindSafe(|| handler(&mut request)))
            .unwrap_or_else(|_| Err(Failure::internal("the handler panicked"))),
    };

    let exchange = Exchange::new(request);
    match reply {
        Ok(Reply::Now(response)) => exchange.answer(&response),
        Ok(Reply::Later(work)) => work(exchange),
        Err(failure) => exchange.finish(Err(failure)),
    }
}

/// Writes the response and disposes of what is left of the request.
fn send(mut request: Request, response: &Response) {
    let extent = match request.method() {
        "HEAD" => Extent::HeadOnly,
        _ => Extent::Whole,
    };

    // A peer that asks for a "100 Continue" sends its body only after that: the response
    // goes first.
    let waits = request.waits_for_continue();
    let is_drained = match request.framing() {
        Framing::Finished => true,
        Framing::Length(length) if waits || length > DRAINED_FIRST_BYTES => false,
        Framing::Chunked if waits => false,
        Framing::Length(_) | Framing::Chunked => {
            discard(request.unread_body(), DRAINED_FIRST_BYTES)
        }
    };

    if is_drained {
        let _ = response.write_to(&mut request.into_writer(), extent);
    } else {
        answer_and_drain(request, response, extent);
    }
}

/// For a request whose body is still to come, or is too long to be drained first.
fn answer_and_drain(request: Request, response: &Response, extent: Extent) {
    let is_short = match request.framing() {
        Framing::Length(length) => length <= DRAINED_AT_ALL_BYTES,
        Framing::Finished | Framing::Chunked => true,
    };

    let mut stream = request.into_stream();
    let _ = response.write_to(&mut stream, extent);

    if !is_short || !discard(&mut stream, DRAINED_AT_ALL_BYTES) {
        log::warn!("abandoned a connection because its request's body is too long");
        // The reader of a promised length must not be dropped, nor read up to an early
        // end: it would allocate what is left of the length. And the rest of the body
        // would be taken for a request. So the reader stays for good, and with it one of
        // tiny_http's threads.
        std::mem::forget(stream);
    }
}

/// Reads and throws away up to `most` bytes; false if there are more.
fn discard(reader: &mut (impl Read + ?Sized), most: usize) -> bool {
    let mut buffer = [0; 16 * 1024];
    let mut left = most;

    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return true,
            Ok(count) if count <= left => left -= count,
            Ok(_) => return false,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // The peer is gone, or its chunks make no sense: tiny_http ends the
            // connection.
            Err(_) => return true,
        }
    }
}
