//! Sends requests from a few threads and measures the answers.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use crate::client;

/// How a run went.
#[derive(Debug, Default)]
pub struct Report {
    /// Answers by status code; 0 stands for no answer.
    pub statuses: BTreeMap<u16, usize>,
    /// Sorted times from the moment when each request was due, or was sent, to its
    /// answer.
    pub latencies: Vec<Duration>,
    /// Bytes of the bodies received.
    pub body_bytes: usize,
    /// From the first request to the last answer.
    pub took: Duration,
}

impl Report {
    /// How many were answered 200 or 304.
    pub fn ok(&self) -> usize {
        [200, 304]
            .iter()
            .filter_map(|status| self.statuses.get(status))
            .sum()
    }

    /// How many were not.
    pub fn failed(&self) -> usize {
        self.statuses.values().sum::<usize>() - self.ok()
    }

    /// Good answers per second.
    pub fn rate(&self) -> f64 {
        self.ok() as f64 / self.took.as_secs_f64()
    }

    /// The latency that `percent` of the requests did not exceed.
    pub fn percentile(&self, percent: usize) -> Duration {
        let index = (self.latencies.len() * percent)
            .div_ceil(100)
            .saturating_sub(1);
        self.latencies.get(index).copied().unwrap_or_default()
    }

    /// Counts an answer by its status (0 for no answer), its latency, and the length of
    /// its body.
    pub fn add(&mut self, status: u16, latency: Duration, body_bytes: usize) {
        *self.statuses.entry(status).or_default() += 1;
        self.latencies.push(latency);
        self.body_bytes += body_bytes;
    }

    /// The answers of both, for all that counts answers; the time stays this one's.
    pub fn merge(&mut self, other: &Report) {
        for (status, count) in &other.statuses {
            *self.statuses.entry(*status).or_default() += count;
        }
        self.latencies.extend(&other.latencies);
        self.latencies.sort_unstable();
        self.body_bytes += other.body_bytes;
    }
}

/// Sends the requests that `next` gives, until there are no more, from `threads` threads
/// and on a new connection each.
///
/// With `rate` requests a second, each request is due at a certain time, and its latency
/// counts from then: a server that stalls is charged for the requests that had to wait.
/// Without a rate, each thread sends its next request when the last is answered.
pub fn run(
    address: SocketAddr,
    threads: usize,
    rate: Option<f64>,
    next: impl FnMut() -> Option<Vec<u8>> + Send,
) -> Report {
    let started = Instant::now();
    let source = Mutex::new((next, 0_u32));
    let take = || {
        let mut source = source.lock().expect("no thread panics");
        let request = (source.0)()?;
        let due = rate
            .map(|rate| started + Duration::from_secs_f64(f64::from(source.1) / rate));
        source.1 += 1;
        Some((request, due))
    };

    let send = || {
        let mut report = Report::default();
        while let Some((request, due)) = take() {
            if let Some(due) = due {
                thread::sleep(due.saturating_duration_since(Instant::now()));
            }
            let from = due.unwrap_or_else(Instant::now);
            let answer = client::exchange(address, &request);
            let (status, length) =
                answer.map_or((0, 0), |answer| (answer.status, answer.body.len()));
            report.add(status, from.elapsed(), length);
        }
        report
    };

    let mut total = Report::default();
    thread::scope(|scope| {
        let senders: Vec<_> = (0..threads).map(|_| scope.spawn(send)).collect();
        for sender in senders {
            total.merge(&sender.join().expect("no thread panics"));
        }
    });

    total.took = started.elapsed();
    total
}
