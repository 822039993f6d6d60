//! Logins: slow on purpose, so they have threads, a queue and limits of their own.
//!
//! A password check holds a core for a quarter of a second. Half the cores do nothing
//! else, a short queue waits for them, and a login that does not fit is told to come back:
//! heartbeats never wait behind a login.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fleetbeat_daemon::lock::lock;

use crate::http::{Exchange, Failure};
use crate::jobs::{Jobs, Pulse};

/// Logins that may wait for a slot.
const MAX_WAITING: usize = 16;
/// Logins of one user within [`WINDOW`].
const PER_USER: usize = 5;
/// Logins of one source within [`WINDOW`].
const PER_SOURCE: usize = 10;
/// The time over which logins are counted.
const WINDOW: Duration = Duration::from_secs(60);
/// Users and sources remembered at once; a flood of more finds every door shut for up to
/// a minute.
const MAX_REMEMBERED: usize = 20_000;

/// A login that waits for its slot.
struct WaitingLogin {
    exchange: Exchange,
    /// Checks the password and answers.
    work: Box<dyn FnOnce(Exchange) + Send>,
}

/// The slots: so many threads that check passwords, and the queue before them.
#[derive(Clone)]
pub(crate) struct Logins {
    queue: Arc<Queue>,
    limits: Arc<Mutex<Limits>>,
}

/// The queue before the slots.
struct Queue {
    /// `None` once the server stops.
    entrance: Mutex<Option<SyncSender<WaitingLogin>>>,
    exit: Mutex<Receiver<WaitingLogin>>,
}

impl Logins {
    /// Starts so many slots. When they stop, a login that is in a slot is answered, and a
    /// login that waits for a slot is told to come back.
    ///
    /// # Errors
    /// The system gives no further thread.
    pub(crate) fn start(jobs: &mut Jobs, slots: usize) -> io::Result<Logins> {
        let (entrance, exit) = mpsc::sync_channel(MAX_WAITING);
        let queue = Arc::new(Queue {
            entrance: Mutex::new(Some(entrance)),
            exit: Mutex::new(exit),
        });

        for n in 0..slots {
            let (closed, served) = (queue.clone(), queue.clone());
            jobs.start_at_queue(
                format!("login-{n}"),
                move || closed.close(),
                move |pulse| served.serve(pulse),
            )?;
        }

        Ok(Logins {
            queue,
            limits: Arc::default(),
        })
    }

    /// Counts a login.
    ///
    /// # Errors
    /// 429 for too many logins of one user or one source.
    pub(crate) fn admit(
        &self,
        username: &str,
        source: Option<IpAddr>,
        now: Instant,
    ) -> Result<(), Failure> {
        let mut limits = lock(&self.limits);
        limits.admit(username, source, now).map_err(|wait| {
            Failure::too_many(
                "too many logins: wait before the next one",
                wait.as_secs() + 1,
            )
        })
    }

    /// Runs `work` in a slot, or answers 429 if too many logins wait for one.
    pub(crate) fn queue(
        &self,
        exchange: Exchange,
        work: impl FnOnce(Exchange) + Send + 'static,
    ) {
        let work = Box::new(work);
        let refused = self.queue.push(WaitingLogin { exchange, work });
        if let Err(login) = refused {
            let failure = Failure::too_many("too many logins at once", 2);
            login.exchange.finish(Err(failure));
        }
    }
}

impl Queue {
    /// Gives the login back if the queue is full or closed.
    fn push(&self, login: WaitingLogin) -> Result<(), Box<WaitingLogin>> {
        let Some(entrance) = lock(&self.entrance).clone() else {
            return Err(Box::new(login));
        };
        entrance.try_send(login).map_err(|error| match error {
            TrySendError::Full(login) | TrySendError::Disconnected(login) => {
                Box::new(login)
            }
        })
    }

    fn close(&self) {
        lock(&self.entrance).take();
    }

    fn is_closed(&self) -> bool {
        lock(&self.entrance).is_none()
    }

    /// A slot's work: one login after the other, until the queue is closed and empty.
    fn serve(&self, pulse: &Pulse) {
        while let Ok(login) = self.next() {
            if self.is_closed() {
                let failure = Failure::overloaded("the server stops");
                login.exchange.finish(Err(failure));
                continue;
            }

            // A bug must not take the slot with it: the exchange answers 500 when it is
            // dropped.
            let work = || (login.work)(login.exchange);
            let _ = pulse.round(|| catch_unwind(AssertUnwindSafe(work)));
        }
    }

    fn next(&self) -> Result<WaitingLogin, mpsc::RecvError> {
        lock(&self.exit).recv()
    }
}

/// The logins of the last minute.
#[derive(Default)]
struct Limits {
    recent: HashMap<Subject, Vec<Instant>>,
}

/// Whose logins are counted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Subject {
    User(String),
    Source(IpAddr),
}

impl Limits {
    /// Counts a login at `now`, or gives the time until the next one is allowed. A source
    /// that is refused does not use up its victim's allowance.
    fn admit(
        &mut self,
        username: &str,
        source: Option<IpAddr>,
        now: Instant,
    ) -> Result<(), Duration> {
        if self.recent.len() >= MAX_REMEMBERED {
            self.forget_old(now);
            if self.recent.len() >= MAX_REMEMBERED {
                return Err(WINDOW);
            }
        }

        if let Some(source) = source {
            self.count(Subject::Source(network(source)), PER_SOURCE, now)?;
        }
        self.count(Subject::User(username.to_owned()), PER_USER, now)
    }

    fn forget_old(&mut self, now: Instant) {
        self.recent.retain(|_, times| {
            times
                .last()
                .is_some_and(|time| now.duration_since(*time) < WINDOW)
        });
    }

    fn count(
        &mut self,
        subject: Subject,
        limit: usize,
        now: Instant,
    ) -> Result<(), Duration> {
        let times = self.recent.entry(subject).or_default();
        times.retain(|time| now.duration_since(*time) < WINDOW);

        match times.first() {
            Some(oldest) if times.len() >= limit => {
                Err(WINDOW - now.duration_since(*oldest))
            }
            _ => {
                times.push(now);
                Ok(())
            }
        }
    }
}

/// One IPv6 customer has a whole /64 to log in from.
fn network(source: IpAddr) -> IpAddr {
    match source {
        IpAddr::V4(_) => source,
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_logins_a_minute_per_user_and_ten_per_source() {
        let start = Instant::now();
        let at = |secs| start + Duration::from_secs(secs);
        let ip = |text: &str| Some(text.parse().unwrap());
        let mut limits = Limits::default();
        for n in 0..5 {
            assert_eq!(
                limits.admit("eve", ip(&format!("10.0.0.{n}")), at(n)),
                Ok(())
            );
        }
        assert_eq!(
            limits.admit("eve", ip("10.0.0.9"), at(10)),
            Err(Duration::from_secs(50))
        );
        assert_eq!(
            limits.admit("eve", ip("10.0.0.9"), at(60)),
            Ok(()),
            "the first login is a minute old"
        );

        for n in 0..10 {
            assert_eq!(
                limits.admit(&format!("user{n}"), ip("2001:db8::1"), at(100)),
                Ok(())
            );
        }
        assert!(
            limits.admit("another", ip("2001:db8::2"), at(101)).is_err(),
            "the same /64"
        );
        assert_eq!(
            limits.admit("another", ip("2001:db8:0:1::2"), at(101)),
            Ok(())
        );
    }

    #[test]
    fn a_flood_of_names_is_bounded() {
        let now = Instant::now();
        let mut limits = Limits::default();
        let admitted = (0..2 * MAX_REMEMBERED)
            .filter(|n| limits.admit(&n.to_string(), None, now).is_ok())
            .count();
        assert_eq!(admitted, MAX_REMEMBERED);
        assert_eq!(limits.admit("late", None, now + WINDOW), Ok(()));
    }
}
