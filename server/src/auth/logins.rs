//! Logins: slow on purpose, so they have threads, a queue and limits of their own.
//!
//! A password check holds a core for a quarter of a second. Half the cores do nothing
//! else, a short queue waits for them, and a login that does not fit is told to come back:
//! heartbeats never wait behind a login. A second queue, which is served first, is for
//! users in networks where they have been before: strangers cannot fill it.

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use fleetbeat_daemon::lock::lock;

use super::login_limits::Limits;
pub(crate) use super::login_limits::WrongPart;
use super::networks::KnownNetworks;
use crate::http::{Exchange, Failure};
use crate::jobs::{Jobs, Pulse};
use crate::metrics::Metrics;

/// Logins that may wait for a slot, in each of the two queues.
const MAX_WAITING: usize = 16;

/// A login that waits for its slot.
struct WaitingLogin {
    exchange: Exchange,
    /// Checks the password and answers.
    work: Box<dyn FnOnce(Exchange) + Send>,
}

/// Who tries to log in: what is counted.
#[derive(Debug, Clone)]
pub(crate) struct Attempt {
    /// The name that was sent; perhaps there is no such user.
    pub(crate) username: String,
    /// Where the request comes from, as far as that can be believed.
    pub(crate) source: Option<IpAddr>,
}

/// The slots: so many threads that check passwords, and the queues before them.
#[derive(Clone)]
pub(crate) struct Logins {
    queue: Arc<Queue>,
    limits: Arc<Mutex<Limits>>,
    known: Arc<KnownNetworks>,
    metrics: Arc<Metrics>,
}

/// The queues before the slots.
#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

/// The logins that wait for a slot.
#[derive(Default)]
struct Waiting {
    /// Users in networks where they have been before.
    known: VecDeque<WaitingLogin>,
    strangers: VecDeque<WaitingLogin>,
    is_closed: bool,
}

impl Logins {
    /// Starts so many slots. When they stop, a login that is in a slot is answered, and a
    /// login that waits for a slot is told to come back.
    ///
    /// # Errors
    /// The system gives no further thread.
    pub(crate) fn start(
        jobs: &mut Jobs,
        slots: usize,
        known: Arc<KnownNetworks>,
        metrics: Arc<Metrics>,
    ) -> io::Result<Logins> {
        let queue = Arc::new(Queue::default());

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
            known,
            metrics,
        })
    }

    /// Whether the login may be tried: asked before it waits for a slot and again in the
    /// slot, because the logins before it may have failed meanwhile.
    ///
    /// # Errors
    /// 429 after too many wrong passwords.
    pub(crate) fn check(&self, attempt: &Attempt) -> Result<(), Failure> {
        let mut limits = lock(&self.limits);
        let checked = limits.check(
            &attempt.username,
            attempt.source,
            &self.known,
            Instant::now(),
        );
        checked.map_err(|wait| {
            self.metrics.logins.limited();
            too_many(wait)
        })
    }

    /// Whether a code may be tried, of a user whose password was right.
    ///
    /// # Errors
    /// 429 after too many wrong codes.
    pub(crate) fn check_code(&self, attempt: &Attempt) -> Result<(), Failure> {
        let now = Instant::now();
        let (username, source) = (&attempt.username, attempt.source);
        let mut limits = lock(&self.limits);
        let checked = limits.check_code(username, source, &self.known, now);
        checked.map_err(|wait| {
            self.metrics.logins.limited();
            too_many(wait)
        })
    }

    /// Counts a wrong password, or a wrong code.
    pub(crate) fn failed(&self, part: WrongPart, attempt: &Attempt) {
        self.metrics.logins.wrong();
        let now = Instant::now();
        let (username, source) = (&attempt.username, attempt.source);
        let mut limits = lock(&self.limits);
        limits.failed(part, username, source, &self.known, now);
    }

    /// Remembers where a right password came from.
    pub(crate) fn succeeded(&self, attempt: &Attempt) {
        self.metrics.logins.right();
        self.known.note(&attempt.username, attempt.source);
    }

    /// Runs `work` in a slot, or answers 429 if too many logins wait for one.
    pub(crate) fn queue(
        &self,
        attempt: &Attempt,
        exchange: Exchange,
        work: impl FnOnce(Exchange) + Send + 'static,
    ) {
        let is_known = self.known.contains(&attempt.username, attempt.source);
        let work = Box::new(work);
        let refused = self.queue.push(WaitingLogin { exchange, work }, is_known);
        if let Some(login) = refused {
            self.metrics.logins.busy();
            let failure = Failure::too_many("too many logins at once", 2);
            login.exchange.finish(Err(failure));
        }
    }
}

fn too_many(wait: Duration) -> Failure {
    let detail = "too many wrong passwords: wait before the next login";
    Failure::too_many(detail, wait.as_secs() + 1)
}

impl Queue {
    /// Gives the login back if its queue is full, or all are closed.
    fn push(&self, login: WaitingLogin, is_known: bool) -> Option<WaitingLogin> {
        let mut waiting = lock(&self.waiting);
        let is_closed = waiting.is_closed;
        let queue = if is_known {
            &mut waiting.known
        } else {
            &mut waiting.strangers
        };
        if is_closed || queue.len() >= MAX_WAITING {
            return Some(login);
        }

        queue.push_back(login);
        drop(waiting);
        self.changed.notify_one();
        None
    }

    fn close(&self) {
        lock(&self.waiting).is_closed = true;
        self.changed.notify_all();
    }

    /// A slot's work: one login after the other, until the queues are closed and empty.
    fn serve(&self, pulse: &Pulse) {
        while let Some((login, is_closed)) = self.next() {
            if is_closed {
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

    /// The next login, and whether the queues are closed; `None` when they are empty, too.
    fn next(&self) -> Option<(WaitingLogin, bool)> {
        let is_idle = |waiting: &mut Waiting| {
            let is_empty = waiting.known.is_empty() && waiting.strangers.is_empty();
            is_empty && !waiting.is_closed
        };
        let mut waiting = self
            .changed
            .wait_while(lock(&self.waiting), is_idle)
            .unwrap_or_else(PoisonError::into_inner);

        let next = waiting.known.pop_front();
        let next = next.or_else(|| waiting.strangers.pop_front());
        next.map(|login| (login, waiting.is_closed))
    }
}
