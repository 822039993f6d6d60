//! What the measurements have in common: a fleet to measure and its heartbeats, the
//! server's CPU time, and limits.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fleetbeat_protocol::Timestamp;
use fleetbeat_tools::fleet::Fleet;
use fleetbeat_tools::load::{self, Report};
use fleetbeat_tools::server::{AGENT_KEY, FleetbeatServer};
use fleetbeat_tools::{client, process};
use serde_json::Value;

/// Seconds between two heartbeats of a host.
const INTERVAL_SECS: f64 = 120.0;

/// A fleet whose hosts have sent one heartbeat each.
pub(super) fn populate(server: &FleetbeatServer, hosts: u32) -> Fleet {
    let mut fleet = Fleet::new(1, hosts);
    let bodies: Vec<Value> = (0..hosts as usize)
        .filter_map(|host| fleet.next(host))
        .map(|body| {
            let mut body: Value =
                serde_json::from_slice(&body).expect("the fleet speaks JSON");
            body["collected_at"] = Timestamp::now().to_string().into();
            body
        })
        .collect();

    for batch in bodies.chunks(500) {
        let answer = server
            .post_heartbeat("/heartbeats", Value::from(batch).to_string().as_bytes());
        assert_eq!(answer.json()["accepted"], batch.len(), "{answer:?}");
    }
    fleet
}

/// The report of `run`, and the CPU time of the server meanwhile.
pub(super) fn measure(
    server: &FleetbeatServer,
    run: impl FnOnce() -> Report,
) -> (Report, Duration) {
    let before = process::cpu_time(server.pid());
    let report = run();
    (report, process::cpu_time(server.pid()) - before)
}

/// How many, as a number to divide a time by.
pub(super) fn count(requests: usize) -> u32 {
    u32::try_from(requests.max(1)).unwrap_or(u32::MAX)
}

/// 1 for a number over its limit, which is told.
pub(super) fn limit(what: &str, number: f64, most: f64) -> usize {
    if number <= most {
        return 0;
    }
    eprintln!("bench: {what}: {number:.2}, and at most {most:.2} is allowed");
    1
}

/// The next heartbeat of a host that is not silent.
pub(super) fn next_loud(
    fleet: &mut Fleet,
    hosts: &mut impl Iterator<Item = usize>,
) -> Vec<u8> {
    hosts
        .find_map(|host| fleet.next(host))
        .expect("hosts go round for ever")
}

/// The request with a heartbeat.
pub(super) fn heartbeat(body: &[u8]) -> Vec<u8> {
    let headers = [
        ("X-API-Key", AGENT_KEY),
        ("Content-Type", "application/json"),
    ];
    client::encode("POST", "/heartbeat", &headers, body)
}

/// Lets the fleet beat at its usual rate until `done`.
pub(super) fn beat(
    server: &FleetbeatServer,
    fleet: &mut Fleet,
    hosts: u32,
    done: &AtomicBool,
) -> Report {
    let mut order = (0..hosts as usize).cycle();
    load::run(
        server.address(),
        2,
        Some((f64::from(hosts) / INTERVAL_SECS).max(1.0)),
        || {
            (!done.load(Ordering::Relaxed))
                .then(|| heartbeat(&next_loud(fleet, &mut order)))
        },
    )
}
