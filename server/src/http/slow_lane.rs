//! The slow lane: threads for requests that may have to wait for their peer.
//!
//! The workers never wait for a peer, because a heartbeat would wait behind it. A request
//! whose body is still to come goes here and gets a thread of its own.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use fleetbeat_daemon::lock::lock;
use fleetbeat_daemon::thread::spawn;

use super::exchange::{self, Handler};
use super::request::Request;

/// Threads that may wait for slow peers; each is started when it is needed.
const MAX_THREADS: usize = 256;

/// The threads for slow requests, and the requests that wait for one.
pub(super) struct SlowLane {
    handler: Arc<Handler>,
    traffic: Mutex<Traffic>,
}

/// What is in the slow lane at the moment.
#[derive(Default)]
struct Traffic {
    threads: usize,
    /// Requests that wait while all threads are busy. Each is a connection that tiny_http
    /// holds a thread for anyway, so the limit on open files bounds this queue, too.
    waiting: VecDeque<Request>,
}

impl SlowLane {
    /// An empty lane whose requests `handler` answers.
    pub(super) fn new(handler: Arc<Handler>) -> SlowLane {
        SlowLane {
            handler,
            traffic: Mutex::default(),
        }
    }

    /// Serves the request in a thread of its own, which then serves what has come to wait
    /// meanwhile.
    pub(super) fn take(self: &Arc<Self>, request: Request) {
        let mut traffic = lock(&self.traffic);
        traffic.waiting.push_back(request);
        if traffic.threads == MAX_THREADS {
            return;
        }
        traffic.threads += 1;
        drop(traffic);

        let lane = self.clone();
        if let Err(error) = spawn("slow", move || lane.run()) {
            log::error!("no thread for a slow request: {error}");
            lock(&self.traffic).threads -= 1;
        }
    }

    /// Waits until the lane is empty, for at most `time`: a thread that is stuck on a peer
    /// ends with the process.
    pub(super) fn drain(&self, time: Duration) {
        let deadline = Instant::now() + time;
        while Instant::now() < deadline && lock(&self.traffic).threads > 0 {
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn run(&self) {
        loop {
            let mut traffic = lock(&self.traffic);
            let Some(request) = traffic.waiting.pop_front() else {
                traffic.threads -= 1;
                return;
            };
            drop(traffic);

            exchange::serve(request, &*self.handler);
        }
    }
}
