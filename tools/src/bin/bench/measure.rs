//! What the measurements have in common: a fleet to measure, and the server's CPU time.

use std::time::Duration;

use fleetbeat_protocol::Timestamp;
use fleetbeat_tools::fleet::Fleet;
use fleetbeat_tools::load::Report;
use fleetbeat_tools::process;
use fleetbeat_tools::server::FleetbeatServer;
use serde_json::Value;

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
