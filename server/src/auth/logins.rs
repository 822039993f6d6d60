//! Logins: slow on purpose, so they have threads, queues and limits of their own.
//!
//! A password check holds a core for a quarter of a second. Half the cores do nothing
//! else, short queues wait for them, and a login that does not fit is told to come back:
//! heartbeats never wait behind a login.

use std::io;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fleetbeat_daemon::lock::lock;

use super::login_limits::Limits;
pub(crate) use super::login_limits::WrongPart;
use super::login_queue::{LoginQueue, Rank};
use super::networks::{KnownNetworks, Network, widest_network};
use crate::http::{Exchange, Failure};
use crate::jobs::{Jobs, Pulse};
use crate::metrics::Metrics;
use crate::usernames::fold_username;

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

/// Whose logins are counted together while they wait.
#[derive(Debug, PartialEq, Eq)]
enum Owner {
    /// The user of this name, as it is compared.
    User(String),
    /// Strangers from this network.
    Network(Network),
}

/// The queues before the slots.
type Queue = LoginQueue<Owner, WaitingLogin>;

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
        let queue = Arc::new(Queue::new());

        for n in 0..slots {
            let (closed, served) = (queue.clone(), queue.clone());
            jobs.start_at_queue(
                format!("login-{n}"),
                move || closed.close(),
                move |pulse| serve(&served, pulse),
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
        let work = Box::new(work);
        let (rank, owner) = self.place(attempt);
        let refused = self
            .queue
            .push(rank, owner, WaitingLogin { exchange, work });
        if let Some(login) = refused {
            self.metrics.logins.busy();
            let failure = Failure::too_many("too many logins at once", 2);
            login.exchange.finish(Err(failure));
        }
    }

    /// Where the login waits.
    fn place(&self, attempt: &Attempt) -> (Rank, Owner) {
        let (username, source) = (&attempt.username, attempt.source);
        if self.known.contains(username, source) {
            return (Rank::Known, Owner::User(fold_username(username)));
        }
        let network = widest_network(source);
        let rank = match lock(&self.limits).is_suspect(source, Instant::now()) {
            true => Rank::Suspect,
            false => Rank::Fresh,
        };
        (rank, Owner::Network(network))
    }
}

fn too_many(wait: Duration) -> Failure {
    let detail = "too many wrong passwords: wait before the next login";
    Failure::too_many(detail, wait.as_secs() + 1)
}

/// A slot's work: one login after the other, until the queues are closed and empty.
fn serve(queue: &Queue, pulse: &Pulse) {
    while let Some((login, is_closed)) = queue.next() {
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
