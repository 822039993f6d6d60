//! What an open dashboard takes of `GET /servers/changes` every five seconds.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fleetbeat_tools::client::Answer;
use fleetbeat_tools::server::FleetbeatServer;

use crate::measure::{beat, limit, populate};
use crate::scale::Scale;

/// A dashboard asks so often.
const POLL: Duration = Duration::from_secs(5);
/// For so long the weight of a new host grows, in steps at which all hosts change.
const RISING: Duration = Duration::from_secs(5 * 60 + 10);
/// The most bytes of an answer, compressed.
const MOST_BYTES: f64 = 60_000.0;

/// Prints the table; gives the number of failed requests, and of limits that are not kept.
pub(super) fn measure(scale: &Scale) -> usize {
    let hosts = *scale.fleets.last().expect("a fleet");
    let server = FleetbeatServer::start();
    let mut fleet = populate(&server, hosts);
    let token = server.admin_token();
    let done = AtomicBool::new(false);
    let (answers, beats) = thread::scope(|scope| {
        let beating = scope.spawn(|| beat(&server, &mut fleet, hosts, &done));
        if scale.is_full {
            thread::sleep(RISING);
        }
        let asked = ask(&server, &token, scale);
        done.store(true, Ordering::Relaxed);
        (asked, beating.join().expect("no thread panics"))
    });

    let sizes: Vec<usize> = answers.iter().map(|answer| answer.0).collect();
    let changed: usize = answers.iter().map(|answer| answer.1).sum();
    let mean = sizes.iter().sum::<usize>() / sizes.len();
    let most = sizes.iter().max().copied().unwrap_or_default();
    println!(
        "| GET /servers/changes at {hosts} hosts, every {} s | hosts in it | bytes, gzip | at most |\n|---|--:|--:|--:|",
        POLL.as_secs()
    );
    println!(
        "| mean of {} | {} | {mean} | {most} |\n",
        sizes.len(),
        changed / sizes.len()
    );

    let mut broken = 0;
    if scale.is_full {
        broken += limit("bytes of changes", most as f64, MOST_BYTES);
    }
    broken + beats.failed()
}

/// Asks as a dashboard does. Gives the bytes of each answer and how many hosts are in it.
fn ask(server: &FleetbeatServer, token: &str, scale: &Scale) -> Vec<(usize, usize)> {
    let get = |target: &str, encoding: &str| {
        let bearer = format!("Bearer {token}");
        let headers = [
            ("Authorization", bearer.as_str()),
            ("Accept-Encoding", encoding),
        ];
        let answer = server.request("GET", target, &headers, b"");
        assert_eq!(answer.status, 200, "{answer:?}");
        answer
    };
    let cursor = |answer: &Answer| {
        let cursor = answer.json()["cursor"].as_str().map(str::to_owned);
        cursor.expect("a cursor")
    };
    let mut since = cursor(&get("/servers/changes", "identity"));
    let rounds = if scale.is_full { 12 } else { 1 };
    let mut due = Instant::now();
    let mut answers = Vec::new();
    for _ in 0..rounds {
        due += POLL;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let target = format!("/servers/changes?since={since}");
        let compressed = get(&target, "gzip");
        // The same once more, to be read: a moment later a few hosts more are in it.
        let readable = get(&target, "identity");
        let changed = readable.json()["changed"].as_array().map_or(0, Vec::len);
        answers.push((compressed.body.len(), changed));
        since = cursor(&readable);
    }
    answers
}
