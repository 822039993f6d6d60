//! Logins: slow on purpose, so they have threads, a queue and limits of their own.
//!
//! A password check holds a core for a quarter of a second. Half the cores do nothing
//! else, a short queue waits for them, and what does not fit is told to come back:
//! heartbeats never wait behind a login.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::http::Exchange;
use crate::http::Failure;
use crate::sync::locked;

/// Logins that may wait for a slot.
const QUEUE: usize = 16;
const PER_USER: usize = 5;
const PER_SOURCE: usize = 10;
const WINDOW: Duration = Duration::from_secs(60);
/// Users and sources remembered at once; a flood of more finds every door shut for up to
/// a minute.
const MAX_REMEMBERED: usize = 20_000;

/// A login that waits for its slot: the request, and what answers it.
type Job = (Exchange, Box<dyn FnOnce(Exchange) + Send>);

/// The slots.
pub(crate) struct Logins {
    /// `None` once the server stops.
    queue: Mutex<Option<SyncSender<Job>>>,
    stopping: Arc<AtomicBool>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    limits: Mutex<Limits>,
}

impl Logins {
    /// Starts `slots` threads.
    pub(crate) fn start(slots: usize) -> io::Result<Logins> {
        let (queue, jobs) = mpsc::sync_channel(QUEUE);
        let jobs = Arc::new(Mutex::new(jobs));
        let stopping = Arc::new(AtomicBool::new(false));
        let threads = (0..slots)
            .map(|n| {
                let (jobs, stopping) = (jobs.clone(), stopping.clone());
                thread::Builder::new()
                    .name(format!("login-{n}"))
                    .spawn(move || run(&jobs, &stopping))
            })
            .collect::<io::Result<_>>()?;
        Ok(Logins {
            queue: Mutex::new(Some(queue)),
            stopping,
            threads: Mutex::new(threads),
            limits: Mutex::default(),
        })
    }

    /// Ends the threads: what is in a slot is answered, what waits for one is told to
    /// come back.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        locked(&self.queue).take();
        for thread in locked(&self.threads).drain(..) {
            let _ = thread.join();
        }
    }

    /// Counts a login; too many of one user or one source are refused.
    pub(crate) fn admit(
        &self,
        username: &str,
        source: Option<IpAddr>,
        now: Instant,
    ) -> Result<(), Failure> {
        let mut limits = locked(&self.limits);
        limits.admit(username, source, now).map_err(|wait| {
            Failure::too_many(
                "too many logins: wait before the next one",
                wait.as_secs() + 1,
            )
        })
    }

    /// Runs `work` in a slot; refuses if the queue is full.
    pub(crate) fn queue(
        &self,
        exchange: Exchange,
        work: impl FnOnce(Exchange) + Send + 'static,
    ) {
        let queue = locked(&self.queue).clone();
        let job: Job = (exchange, Box::new(work));
        let refused = match queue {
            Some(queue) => queue.try_send(job).err().map(|error| match error {
                TrySendError::Full(job) | TrySendError::Disconnected(job) => job,
            }),
            None => Some(job),
        };
        if let Some((exchange, _)) = refused {
            exchange.finish(Err(Failure::too_many("too many logins at once", 2)));
        }
    }
}

fn run(jobs: &Mutex<Receiver<Job>>, stopping: &AtomicBool) {
    loop {
        let next = locked(jobs).recv();
        let Ok((exchange, work)) = next else { return };
        if stopping.load(Ordering::Relaxed) {
            exchange.finish(Err(Failure::overloaded("the server stops")));
            continue;
        }
        // A bug must not take the slot with it: the exchange answers 500 when it is
        // dropped.
        let _ = catch_unwind(AssertUnwindSafe(|| work(exchange)));
    }
}

/// The logins of the last minute.
#[derive(Default)]
struct Limits {
    recent: HashMap<Key, Vec<Instant>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
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
            self.recent.retain(|_, times| {
                times
                    .last()
                    .is_some_and(|time| now.duration_since(*time) < WINDOW)
            });
            if self.recent.len() >= MAX_REMEMBERED {
                return Err(WINDOW);
            }
        }
        if let Some(source) = source {
            self.count(Key::Source(network(source)), PER_SOURCE, now)?;
        }
        self.count(Key::User(username.to_owned()), PER_USER, now)
    }

    fn count(&mut self, key: Key, limit: usize, now: Instant) -> Result<(), Duration> {
        let times = self.recent.entry(key).or_default();
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
