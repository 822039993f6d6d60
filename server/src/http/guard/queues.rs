//! The two queues between the poll loop and the threads that answer.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Condvar, Mutex, PoisonError};

use fleetbeat_daemon::lock::lock;
use rustix::event::{EventfdFlags, eventfd};

use super::connection::Connection;
use super::outgoing::Outgoing;
use crate::http::request::Request;

/// A request that a worker can begin with.
#[derive(Debug)]
pub(crate) struct Arrived {
    /// The connection, which waits for the response.
    pub(crate) connection: Connection,
    /// The request: with its body, or with a body that the peer has not sent whole.
    pub(crate) request: Request,
}

/// What the poll loop has to do for a connection that a worker had.
#[derive(Debug)]
pub(crate) enum Task {
    /// Read the request's body, and give the request to a worker again.
    ReadBody {
        /// The request and its connection.
        arrived: Box<Arrived>,
        /// The longest body.
        limit: usize,
    },
    /// Send what the socket has not taken at once.
    Send(Connection, Outgoing),
    /// Everything is sent: see the peer go.
    Close(Connection),
    /// The handshake needs more of the peer.
    ShakeOn(Connection),
    /// The handshake is done: read the head.
    Shaken(Connection),
}

/// Requests on their way to the workers. Bounded by the number of connections.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    queue: Mutex<Queue>,
    changed: Condvar,
}

/// The requests that wait for a worker.
#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Arrived>,
    /// The requests that workers have taken so far.
    taken: u64,
    is_closed: bool,
}

impl Arrivals {
    /// Adds a request; a closed queue drops the request with its connection.
    pub(super) fn push(&self, arrived: Arrived) {
        let mut queue = lock(&self.queue);
        if !queue.is_closed {
            queue.waiting.push_back(arrived);
            drop(queue);
            self.changed.notify_one();
        }
    }

    /// The next request; `None` when the queue is closed and empty.
    pub(crate) fn next(&self) -> Option<Arrived> {
        let mut queue = lock(&self.queue);
        loop {
            if let Some(arrived) = queue.waiting.pop_front() {
                queue.taken += 1;
                return Some(arrived);
            }
            if queue.is_closed {
                return None;
            }
            let waited = self.changed.wait(queue);
            queue = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The requests that workers have taken so far, and whether others wait.
    pub(super) fn taken(&self) -> (u64, bool) {
        let queue = lock(&self.queue);
        (queue.taken, !queue.waiting.is_empty())
    }

    /// Takes nothing more.
    pub(crate) fn close(&self) {
        lock(&self.queue).is_closed = true;
        self.changed.notify_all();
    }
}

/// Tasks on their way to the poll loop. Bounded by the number of connections.
#[derive(Debug)]
pub(crate) struct Tasks {
    waiting: Mutex<Waiting>,
    /// Readable while something waits.
    pub(super) wake: OwnedFd,
}

/// What waits for the poll loop.
#[derive(Debug, Default)]
struct Waiting {
    tasks: Vec<Task>,
    stop_is_asked: bool,
    /// Once the loop has ended, tasks are dropped with their connections.
    is_closed: bool,
}

impl Tasks {
    /// An empty queue.
    ///
    /// # Errors
    /// The system gives no further descriptor.
    pub(super) fn new() -> io::Result<Tasks> {
        Ok(Tasks {
            waiting: Mutex::default(),
            wake: eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?,
        })
    }

    /// Adds a task.
    pub(crate) fn push(&self, task: Task) {
        let mut waiting = lock(&self.waiting);
        if waiting.is_closed {
            return;
        }
        waiting.tasks.push(task);
        let is_first = waiting.tasks.len() == 1;
        drop(waiting);

        if is_first {
            self.wake_up();
        }
    }

    /// Asks the loop to end.
    pub(crate) fn ask_to_stop(&self) {
        lock(&self.waiting).stop_is_asked = true;
        self.wake_up();
    }

    /// Takes all tasks, and tells whether a stop is asked for.
    pub(super) fn take(&self) -> (Vec<Task>, bool) {
        let _ = rustix::io::read(&self.wake, &mut [0; 8]);
        let mut waiting = lock(&self.waiting);
        (std::mem::take(&mut waiting.tasks), waiting.stop_is_asked)
    }

    /// Drops what waits and what will come.
    pub(super) fn close(&self) {
        let mut waiting = lock(&self.waiting);
        waiting.is_closed = true;
        waiting.tasks.clear();
    }

    /// Has the poll loop make a round.
    pub(super) fn wake_up(&self) {
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }
}
