//! A TCP proxy between the server and a database, which can fail as networks do.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How the proxy treats connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Mode {
    /// As if there were no proxy.
    Forward,
    /// Nobody listens, and every connection is reset.
    Refuse,
    /// Nothing arrives, in either direction, and nobody says so.
    Blackhole,
    /// Every reply takes two seconds more.
    Delay,
    /// Every connection breaks in the middle of a reply.
    Cut,
}

const DELAY: Duration = Duration::from_secs(2);
/// How often a thread looks whether the mode has changed.
const TICK: Duration = Duration::from_millis(20);

/// The proxy; dropping the value ends its threads.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

/// The parts of a [`Proxy`] that its threads need, too.
struct Shared {
    target: SocketAddr,
    mode: AtomicU8,
    round_trips: AtomicUsize,
    pumps: Mutex<Vec<JoinHandle<()>>>,
}

const STOPPED: u8 = u8::MAX;

impl Proxy {
    /// Starts a proxy before `target`.
    ///
    /// # Panics
    /// If there is no free port.
    pub fn start(target: SocketAddr) -> Proxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("a bound listener");
        let shared = Arc::new(Shared {
            target,
            mode: AtomicU8::new(Mode::Forward as u8),
            round_trips: AtomicUsize::new(0),
            pumps: Mutex::default(),
        });

        let theirs = shared.clone();
        let accepting = Some(thread::spawn(move || theirs.accept(address, listener)));
        Proxy {
            address,
            shared,
            accepting,
        }
    }

    /// The address that the proxy listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How often a request has been followed by a reply so far.
    pub fn round_trips(&self) -> usize {
        self.shared.round_trips.load(Ordering::Relaxed)
    }

    /// Changes the treatment of all connections, old and new.
    pub fn set(&self, mode: Mode) {
        self.shared.mode.store(mode as u8, Ordering::Relaxed);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.mode.store(STOPPED, Ordering::Relaxed);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
        for pump in self
            .shared
            .pumps
            .lock()
            .expect("no thread panics")
            .drain(..)
        {
            let _ = pump.join();
        }
    }
}

impl Shared {
    fn is(&self, mode: Mode) -> bool {
        self.mode.load(Ordering::Relaxed) == mode as u8
    }

    fn is_over(&self) -> bool {
        self.mode.load(Ordering::Relaxed) == STOPPED
    }

    fn accept(self: Arc<Self>, address: SocketAddr, listener: TcpListener) {
        let mut listener = Some(listener);
        while !self.is_over() {
            if self.is(Mode::Refuse) {
                listener = None;
            } else if listener.is_none() {
                listener = TcpListener::bind(address).ok();
            }

            let Some(open) = &listener else {
                thread::sleep(TICK);
                continue;
            };
            let _ = open.set_nonblocking(true);
            match open.accept() {
                Ok((client, _)) if !self.is(Mode::Blackhole) => self.connect(client),
                // Kept, and never answered.
                Ok((client, _)) => self.spawn(move |shared| {
                    while shared.is(Mode::Blackhole) {
                        thread::sleep(TICK);
                    }
                    drop(client);
                }),
                Err(_) => thread::sleep(TICK),
            }
        }
    }

    fn connect(self: &Arc<Self>, client: TcpStream) {
        let _ = client.set_nonblocking(false);
        let Ok(server) = TcpStream::connect(self.target) else {
            return;
        };

        for stream in [&client, &server] {
            let _ = stream.set_nodelay(true);
            let _ = stream.set_read_timeout(Some(TICK));
        }

        if let (Ok(client_again), Ok(server_again)) =
            (client.try_clone(), server.try_clone())
        {
            let asking = Arc::new(AtomicBool::new(false));
            let asked = asking.clone();
            self.spawn(move |shared| shared.pump(client, server, &asking, false));
            self.spawn(move |shared| {
                shared.pump(server_again, client_again, &asked, true);
            });
        }
    }

    fn spawn(self: &Arc<Self>, work: impl FnOnce(&Shared) + Send + 'static) {
        let shared = self.clone();
        let mut pumps = self.pumps.lock().expect("no thread panics");
        pumps.retain(|pump| !pump.is_finished());
        pumps.push(thread::spawn(move || work(&shared)));
    }

    /// Copies one direction of a connection; `asking` is whether the last bytes on the
    /// connection belonged to a request.
    fn pump(
        &self,
        mut from: TcpStream,
        mut to: TcpStream,
        asking: &AtomicBool,
        is_reply: bool,
    ) {
        let mut buffer = [0; 64 * 1024];
        while !self.is_over() && !self.is(Mode::Refuse) {
            let count = match from.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error)
                    if matches!(
                        error.kind(),
                        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::Interrupted
                    ) =>
                {
                    continue;
                }
                Err(_) => break,
            };

            if asking.swap(!is_reply, Ordering::Relaxed) && is_reply {
                self.round_trips.fetch_add(1, Ordering::Relaxed);
            }

            while self.is(Mode::Blackhole) {
                thread::sleep(TICK);
            }
            if is_reply && self.is(Mode::Delay) {
                thread::sleep(DELAY);
            }
            if is_reply && self.is(Mode::Cut) {
                let _ = to.write_all(&buffer[..count / 2]);
                break;
            }
            if to.write_all(&buffer[..count]).is_err() {
                break;
            }
        }

        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    }
}
