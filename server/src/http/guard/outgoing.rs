//! A response as bytes on their way to the peer.

use std::io::{self, Write};
use std::sync::Arc;

/// Bodies up to this length are copied behind their head and sent in one write.
const SMALL_BODY_BYTES: usize = 16 * 1024;

/// The bytes of a response's body; views of the fleet are shared between many.
#[derive(Debug, Clone)]
pub(crate) enum Body {
    /// Bytes that are part of the program.
    Static(&'static [u8]),
    /// Bytes for this response alone.
    Owned(Vec<u8>),
    /// Bytes that other responses have, too.
    Shared(Arc<Vec<u8>>),
}

impl Body {
    /// The bytes.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        match self {
            Body::Static(bytes) => bytes,
            Body::Owned(bytes) => bytes,
            Body::Shared(bytes) => bytes,
        }
    }
}

/// A response on its way: what has been sent, and what has not.
#[derive(Debug)]
pub(crate) struct Outgoing {
    /// The head, and a small body behind it.
    first: Vec<u8>,
    /// A body that is too long to be copied.
    body: Option<Body>,
    /// The bytes that the socket has taken.
    sent: usize,
}

impl Outgoing {
    /// `head` and the body behind it, if the client gets a body.
    pub(crate) fn new(mut head: Vec<u8>, body: Option<Body>) -> Outgoing {
        let body = body.filter(|body| {
            let is_long = body.as_bytes().len() > SMALL_BODY_BYTES;
            if !is_long {
                head.extend_from_slice(body.as_bytes());
            }
            is_long
        });

        Outgoing {
            first: head,
            body,
            sent: 0,
        }
    }

    /// The bytes that the socket has taken.
    pub(crate) fn sent(&self) -> usize {
        self.sent
    }

    /// The bytes that this response alone keeps in memory until they are sent.
    pub(crate) fn unshared_bytes(&self) -> usize {
        let own = match &self.body {
            Some(Body::Owned(bytes)) => bytes.len(),
            _ => 0,
        };
        self.first.len() + own
    }

    /// The bytes that this response keeps in memory together with others.
    pub(crate) fn shared(&self) -> Option<&Arc<Vec<u8>>> {
        match &self.body {
            Some(Body::Shared(bytes)) => Some(bytes),
            _ => None,
        }
    }

    /// Writes what the peer takes.
    ///
    /// # Errors
    /// `WouldBlock` if the peer takes no more at the moment; others if the peer has gone.
    pub(crate) fn write_to(&mut self, writer: &mut impl Write) -> io::Result<()> {
        loop {
            let rest = self.rest();
            if rest.is_empty() {
                return writer.flush();
            }

            match writer.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// What is sent next.
    fn rest(&self) -> &[u8] {
        match self.first.get(self.sent..) {
            Some(rest) if !rest.is_empty() => rest,
            _ => {
                let body = self.body.as_ref().map_or(&[][..], Body::as_bytes);
                body.get(self.sent - self.first.len()..).unwrap_or_default()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes three bytes, then blocks once.
    struct Slow(Vec<u8>, bool);

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.1 = !self.1;
            if !self.1 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let count = bytes.len().min(4999);
            self.0.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_peer_that_takes_little_gets_all_in_the_end() {
        let long = Arc::new((0..=255).cycle().take(50_000).collect::<Vec<u8>>());
        for body in [
            None,
            Some(Body::Static(b"short")),
            Some(Body::Owned(long.to_vec())),
            Some(Body::Shared(long.clone())),
        ] {
            let expected = body.as_ref().map_or(&[][..], Body::as_bytes);
            let expected = [b"head", expected].concat();
            let mut outgoing = Outgoing::new(b"head".to_vec(), body);
            let mut peer = Slow(Vec::new(), false);
            while let Err(error) = outgoing.write_to(&mut peer) {
                assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
            }
            assert_eq!(peer.0, expected);
            assert_eq!(outgoing.sent(), expected.len());
        }
    }

    #[test]
    fn a_shared_body_is_not_its_response_s_own() {
        let long = vec![0; SMALL_BODY_BYTES + 1];
        let shared =
            Outgoing::new(vec![0; 9], Some(Body::Shared(Arc::new(long.clone()))));
        assert_eq!(shared.unshared_bytes(), 9);
        assert_eq!(shared.shared().map(|bytes| bytes.len()), Some(long.len()));
        let owned = Outgoing::new(vec![0; 9], Some(Body::Owned(long)));
        assert_eq!(owned.unshared_bytes(), 9 + SMALL_BODY_BYTES + 1);
    }
}
