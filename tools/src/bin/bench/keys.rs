//! The table of keys: what a heartbeat costs the server with a host's own key, and with
//! the key that all hosts share.

use std::time::{Duration, Instant};

use fleetbeat_protocol::{AgentId, KeyHash, new_agent_key};
use fleetbeat_tools::fleet::Fleet;
use fleetbeat_tools::load::{self, Report};
use fleetbeat_tools::report::{micros, millis};
use fleetbeat_tools::server::{AGENT_KEY, FleetbeatServer};
use fleetbeat_tools::{client, process};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::scale::Scale;

/// Agents that each wait for an answer.
const CONNECTIONS: usize = 64;
/// Both kinds take turns, so that a machine that gets slower does so for both.
const TURNS: usize = 10;

/// Hosts that send heartbeats with one kind of key.
struct Hosts {
    name: &'static str,
    /// A heartbeat of each, as HTTP.
    requests: Vec<Vec<u8>>,
    cpu: Duration,
    report: Report,
}

/// Prints the table; gives the number of failed requests.
pub(super) fn measure(scale: &Scale) -> usize {
    let hosts = *scale.fleets.last().expect("a fleet");
    let server = FleetbeatServer::start();
    let mut fleet = Fleet::new(1, 2 * hosts);
    let ids: Vec<AgentId> = (1..=2 * u128::from(hosts))
        .map(AgentId::from_bits)
        .collect();
    let bodies: Vec<Vec<u8>> = ids
        .iter()
        .enumerate()
        .map(|(host, id)| body(&mut fleet, host, *id))
        .collect();
    let (shared_ids, own_ids) = ids.split_at(hosts as usize);
    let (shared_bodies, own_bodies) = bodies.split_at(hosts as usize);

    let before = rss(&server);
    let keys = enroll(&server, own_ids);
    let keys_rss = rss(&server) - before;
    let shared = shared_ids.iter().map(|_| AGENT_KEY);
    let mut kinds = [
        Hosts::new("the key that all share", shared_bodies, shared),
        Hosts::new(
            "a key of its own",
            own_bodies,
            keys.iter().map(String::as_str),
        ),
    ];

    // The first heartbeat of each makes its record.
    for kind in &kinds {
        let mut all = kind.requests.iter().cloned();
        let made = load::run(server.address(), CONNECTIONS, None, || all.next());
        assert_eq!(made.failed(), 0, "{:?}", made.statuses);
    }
    for _ in 0..TURNS {
        for kind in &mut kinds {
            kind.beat(&server, scale);
        }
    }

    println!(
        "| {hosts} hosts with | server CPU a heartbeat | p50 | p99 |\n|---|--:|--:|--:|"
    );
    for kind in &kinds {
        println!(
            "| {} | {} | {} | {} |",
            kind.name,
            micros(kind.cpu_each()),
            millis(kind.report.percentile(50)),
            millis(kind.report.percentile(99)),
        );
    }
    let [shared, own] = kinds.each_ref().map(|kind| kind.cpu_each().as_secs_f64());
    println!(
        "\nAn own key costs {:+.1} % of the server's CPU; {hosts} keys take {:.1} MiB of \
         memory.\n",
        (own / shared - 1.0) * 100.0,
        keys_rss / 1024.0
    );
    kinds.iter().map(|kind| kind.report.failed()).sum()
}

impl Hosts {
    fn new<'a>(
        name: &'static str,
        bodies: &[Vec<u8>],
        keys: impl Iterator<Item = &'a str>,
    ) -> Hosts {
        let encode = |(body, key): (&Vec<u8>, &str)| {
            let headers = [("X-API-Key", key), ("Content-Type", "application/json")];
            client::encode("POST", "/heartbeat", &headers, body)
        };
        Hosts {
            name,
            requests: bodies.iter().zip(keys).map(encode).collect(),
            cpu: Duration::ZERO,
            report: Report::default(),
        }
    }

    /// Sends heartbeats for one turn.
    fn beat(&mut self, server: &FleetbeatServer, scale: &Scale) {
        let turn = Duration::from_secs(scale.seconds) / 5;
        let until = Instant::now() + turn;
        let before = process::cpu_time(server.pid());
        let mut requests = self.requests.iter().cycle();
        let report = load::run(server.address(), CONNECTIONS, None, || {
            let next = requests.next().filter(|_| Instant::now() < until)?;
            Some(next.clone())
        });
        self.cpu += process::cpu_time(server.pid()) - before;
        self.report.merge(&report);
    }

    fn cpu_each(&self) -> Duration {
        let beats = u32::try_from(self.report.ok().max(1)).unwrap_or(u32::MAX);
        self.cpu / beats
    }
}

/// A heartbeat of the host, which names itself.
fn body(fleet: &mut Fleet, host: usize, id: AgentId) -> Vec<u8> {
    let body = fleet.next(host).expect("no host is silent at first");
    let mut body: Value = serde_json::from_slice(&body).expect("the fleet speaks JSON");
    body["agent_id"] = id.expose().into();
    body.to_string().into_bytes()
}

/// Enrols the hosts, and gives their keys.
fn enroll(server: &FleetbeatServer, ids: &[AgentId]) -> Vec<String> {
    let token = server.admin_token();
    let wish = json!({"max_uses": ids.len()});
    let made = server.api(&token, "POST", "/enrollment-codes", Some(&wish));
    assert_eq!(made.status, 201, "{made:?}");
    let code = made.json()["code"].clone();

    let new_key = |id| new_agent_key(id, std::array::from_fn(|_| fastrand::u8(..)));
    let keys: Vec<String> = ids.iter().copied().map(new_key).collect();
    let mut wishes = ids.iter().zip(&keys).map(|(id, key)| {
        let hash = KeyHash(Sha256::digest(key).into()).show();
        let wish = json!({
            "agent_id": id.expose(), "key_sha256": hash, "hostname": "", "code": code,
        });
        let headers = [("Content-Type", "application/json")];
        client::encode("POST", "/enroll", &headers, wish.to_string().as_bytes())
    });
    let report = load::run(server.address(), CONNECTIONS, None, || wishes.next());
    let count = report.statuses.get(&201).copied();
    assert_eq!(count, Some(ids.len()), "{:?}", report.statuses);
    keys
}

/// The server's memory in KiB.
fn rss(server: &FleetbeatServer) -> f64 {
    process::status(server.pid(), "VmRSS") as f64
}
