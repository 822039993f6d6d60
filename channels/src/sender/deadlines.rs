//! A deadline that holds. ureq hands the same time to each of several waits in a row, as
//! for the parts of a TLS record. A peer that sends a byte now and then would never be
//! given up. The agent's HTTP has the same.

use std::time::Instant;

use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, NextTimeout, Transport,
};
use ureq::{Error, Timeout};

/// Puts [`Punctual`] around each connection.
#[derive(Debug)]
pub(super) struct Deadlines;

impl<In: Transport> Connector<In> for Deadlines {
    type Out = Punctual<In>;

    fn connect(
        &self,
        _: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Punctual<In>>, Error> {
        Ok(chained.map(|inner| Punctual {
            inner,
            connected_by: None,
            ended_by: None,
        }))
    }
}

/// A connection on which the earliest deadline that was ever named holds: one for the
/// connection with its handshakes, and one for all the rest.
#[derive(Debug)]
pub(super) struct Punctual<T> {
    inner: T,
    connected_by: Option<Instant>,
    ended_by: Option<Instant>,
}

impl<T: Transport> Punctual<T> {
    /// The time that is left of `timeout`.
    ///
    /// # Errors
    /// There is none left.
    fn limit(&mut self, mut timeout: NextTimeout) -> Result<NextTimeout, Error> {
        let now = Instant::now();
        let deadline = match timeout.reason {
            Timeout::Connect => &mut self.connected_by,
            _ => &mut self.ended_by,
        };
        let named = now.checked_add(*timeout.after);
        *deadline = [*deadline, named].into_iter().flatten().min();
        if let Some(deadline) = *deadline {
            let left = deadline.saturating_duration_since(now);
            if left.is_zero() {
                return Err(Error::Timeout(timeout.reason));
            }
            timeout.after = left.into();
        }
        Ok(timeout)
    }
}

impl<T: Transport> Transport for Punctual<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(
        &mut self,
        amount: usize,
        timeout: NextTimeout,
    ) -> Result<(), Error> {
        let timeout = self.limit(timeout)?;
        self.inner.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let timeout = self.limit(timeout)?;
        self.inner.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }

    fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }
}
