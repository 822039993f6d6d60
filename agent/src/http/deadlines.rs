//! Deadlines that hold. ureq hands the same time to each of several waits in a row, as for
//! the answer of a proxy to CONNECT, and for the parts of a TLS record. A peer that sends a
//! byte now and then would never be given up.

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

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpListener};
    use std::thread;
    use std::time::{Duration, Instant};

    use ureq::Proxy;

    use crate::config::{ServerSettings, ServerUrl};
    use crate::http::{CALL_TIMEOUT, Client};

    /// A server that answers with `beginning`, and then with a byte now and then.
    fn drip(beginning: &'static [u8]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                thread::spawn(move || {
                    let _ = stream.read(&mut [0; 4096]);
                    let mut is_taken = stream.write_all(beginning).is_ok();
                    while is_taken {
                        thread::sleep(Duration::from_millis(200));
                        is_taken = stream.write_all(b"x").is_ok();
                    }
                });
            }
        });
        address
    }

    fn took(server: &ServerSettings) -> Duration {
        let started = Instant::now();
        let answer = Client::new(server).post("heartbeat", b"{}");
        assert!(answer.is_err(), "{answer:?}");
        started.elapsed()
    }

    fn server(
        scheme: &str,
        address: SocketAddr,
        proxy: Option<SocketAddr>,
    ) -> ServerSettings {
        ServerSettings {
            url: ServerUrl {
                base: format!("{scheme}://{address}"),
                is_https: scheme == "https",
                host: address.ip().to_string(),
                port: address.port(),
            },
            ca: None,
            proxy: proxy.map(|proxy| Proxy::new(&format!("http://{proxy}")).unwrap()),
            key: None,
            key_source: None,
            key_file: None,
        }
    }

    #[test]
    fn a_peer_that_drips_is_given_up_in_time() {
        const RECORD: &[u8] = &[22, 3, 3, 0x3f, 0xff, 2, 0, 0x3f, 0xfb];
        let nobody = SocketAddr::from(([127, 0, 0, 1], 9));
        let proxy = drip(b"HTTP/1.1 200 OK\r\nX: ");
        let servers = [
            server("https", nobody, Some(proxy)),
            server("http", nobody, Some(proxy)),
            server("https", drip(RECORD), None),
            server("http", drip(b"HTTP/1.1 200 OK\r\nX: "), None),
        ];
        thread::scope(|scope| {
            let calls = servers
                .each_ref()
                .map(|server| scope.spawn(|| took(server)));
            for (index, call) in calls.into_iter().enumerate() {
                let took = call.join().unwrap();
                let limit = CALL_TIMEOUT + Duration::from_secs(3);
                assert!(took < limit, "{index}: {took:?}");
            }
        });
    }
}
