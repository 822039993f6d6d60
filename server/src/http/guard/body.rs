//! A request's body, while it comes.

use std::time::Instant;

use super::budget::Permit;
use super::chunked::ChunkedReader;
use super::limits::{BODY_STEP_BYTES, BODY_TIME, BODY_TIME_PER_STEP};
use crate::http::failure::Failure;
use crate::http::request::Request;

/// A body that is being read.
pub(super) struct BodyReader {
    pub(super) request: Request,
    pub(super) pieces: Pieces,
    pub(super) permit: Permit,
    pub(super) started: Instant,
    /// When something has come last.
    pub(super) heard: Instant,
}

/// What has come of a body.
pub(super) enum Pieces {
    /// Of a body of so many bytes.
    Length(Vec<u8>, usize),
    Chunked(ChunkedReader),
}

impl Pieces {
    /// Takes what has come. Gives the body, once it is whole.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<Option<Vec<u8>>, Failure> {
        match self {
            Pieces::Length(body, length) => {
                let missing = *length - body.len();
                body.extend_from_slice(&bytes[..bytes.len().min(missing)]);
                Ok((body.len() == *length).then(|| std::mem::take(body)))
            }
            Pieces::Chunked(reader) => reader.take(bytes),
        }
    }

    /// The length of the body, as far as that is known.
    fn length(&self) -> usize {
        match self {
            Pieces::Length(_, length) => *length,
            Pieces::Chunked(reader) => reader.received(),
        }
    }

    /// The memory that the body takes: what a peer promises takes none.
    pub(super) fn memory(&self) -> usize {
        match self {
            Pieces::Length(body, _) => body.capacity(),
            Pieces::Chunked(reader) => reader.memory(),
        }
    }
}

impl BodyReader {
    /// How long the peer has for what is known of the body.
    pub(super) fn deadline(&self) -> Instant {
        let steps = u32::try_from(self.pieces.length() / BODY_STEP_BYTES);
        self.started + BODY_TIME + BODY_TIME_PER_STEP * steps.unwrap_or(u32::MAX)
    }
}
