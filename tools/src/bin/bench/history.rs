//! The tables of history: what keeping every heartbeat costs the server, how small what is
//! kept is, and how long charts take.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use fleetbeat_protocol::Timestamp;
use fleetbeat_tools::client;
use fleetbeat_tools::load::{self, Report};
use fleetbeat_tools::process;
use fleetbeat_tools::report::{micros, millis};
use fleetbeat_tools::server::{AGENT_KEY, FleetbeatServer};
use fleetbeat_tools::wait::wait_for;
use serde_json::{Value, json};

use crate::measure::{count, limit};
use crate::scale::Scale;

/// Agents that each wait for an answer.
const CONNECTIONS: usize = 64;
/// Hosts of which heartbeats come.
const HOSTS: usize = 500;
/// The heartbeats of a host between two merges, which are four hours apart: so far an open
/// chunk grows.
const BETWEEN_MERGES: usize = 120;
/// Both servers take turns, so that a machine that gets slower does so for both.
const TURNS: usize = 12;
/// Heartbeats of a turn that come one by one.
const ALONE: usize = 250;
/// Heartbeats a second of 10,000 hosts.
pub(super) const FLEET_RATE: f64 = 83.3;
/// Seconds between two heartbeats of a host.
const INTERVAL: i64 = 120;
/// Heartbeats in a request.
const BATCH: usize = 500;

/// More heartbeats of a host than an open chunk has room for.
const MAX_OPEN: usize = 1000;

/// What the server tells of history.
pub(super) const MERGED: &str = "fleetbeat_history_merged_heartbeats_total";
const DROPPED: &str = "fleetbeat_history_dropped_heartbeats_total";
const USED: &str = "fleetbeat_history_bytes";

/// Prints the tables; gives the number of failed requests, and of limits that are not kept.
pub(super) fn measure(scale: &Scale) -> usize {
    heartbeats(scale) + charts(scale)
}

/// A host whose measures wander as real ones do: three loads, four services, seven
/// metrics.
struct Host {
    rng: Rng,
    ip: String,
    seq: u64,
    slow: f64,
    clients: f64,
    disk: f64,
}

impl Host {
    fn new(number: usize) -> Host {
        let mut rng = Rng::with_seed(number as u64 + 1);
        Host {
            ip: format!("10.7.{}.{}", number / 250, number % 250 + 1),
            seq: 0,
            slow: 0.0,
            clients: rng.f64() * 80.0,
            disk: 30.0 + 40.0 * rng.f64(),
            rng,
        }
    }

    fn noise(&mut self) -> f64 {
        (0..4).map(|_| self.rng.f64() - 0.5).sum::<f64>() * 1.7
    }

    /// The heartbeat that was made at `at`, in seconds since 1970.
    fn heartbeat(&mut self, at: i64) -> Value {
        let wave = (at as f64 / 86_400.0 * std::f64::consts::TAU).sin();
        self.slow = 0.98 * self.slow + self.noise();
        let cpu = (25.0 * (1.0 + 0.4 * wave) + self.slow + 1.5 * self.noise()).abs();
        let net = (20.0 * (1.0 + 0.5 * wave) + self.slow + self.noise()).abs();
        self.clients = (self.clients + self.noise() + 0.5 * wave).abs().round();
        self.disk = (self.disk + 0.0002 + 0.002 * self.noise()).clamp(0.0, 100.0);
        let number = self.seq;
        self.seq += 1;
        let is_odd_up = self.rng.u32(..500) != 0;
        let service = |name, active| json!({"name": name, "active": active});
        json!({
            "ip": self.ip,
            "countryCode": "DE", "country": "Germany", "city": "Munich",
            "hostname": format!("host-{}", self.ip),
            "boot_id": "a-boot", "seq": number,
            "collected_at": time(at).to_string(),
            "load": {
                "cpu": cpu.min(100.0),
                "ram": 45.0 + 3.0 * wave + 0.1 * self.noise(),
                "net": net.min(100.0),
            },
            "services": [
                service("wg", true), service("ov", is_odd_up),
                service("xray", true), service("dns", true),
            ],
            "metrics": {
                "load1": (cpu / 25.0 + 0.1 * self.noise()).max(0.0),
                "vpn_clients": self.clients,
                "disk_used_percent{mount=\"/\"}": self.disk,
                "disk_inodes_percent{mount=\"/\"}": 7.0 + 0.01 * self.disk,
                "network_utilization_percent": 0.6 * net,
                "tcp_sockets": (4.0 * self.clients + 3.0 * self.noise()).round().abs(),
                "swap_used_percent": 1.5,
            },
        })
    }
}

fn time(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a time of this century")
}

/// A server that is measured, and what it has cost.
struct Measured {
    name: &'static str,
    server: FleetbeatServer,
    /// As many heartbeats at once as come.
    at_once: Cost,
    /// One heartbeat after the other, each with a commit of its own: as they come from
    /// 10,000 hosts.
    alone: Cost,
}

/// What heartbeats have cost.
#[derive(Default)]
struct Cost {
    cpu: Duration,
    written: u64,
    report: Report,
}

impl Measured {
    fn start(name: &'static str, settings: &str) -> Measured {
        Measured {
            name,
            server: FleetbeatServer::start_with(settings, &[]),
            at_once: Cost::default(),
            alone: Cost::default(),
        }
    }

    /// Sends the requests, the last of them one after the other.
    fn send(&mut self, requests: &[Vec<u8>], alone: usize) {
        let (many, few) = requests.split_at(requests.len() - alone);
        self.at_once.add(&self.server, many, CONNECTIONS);
        self.alone.add(&self.server, few, 1);
    }

    fn failed(&self) -> usize {
        self.at_once.report.failed() + self.alone.report.failed()
    }
}

impl Cost {
    /// Sends the requests, as fast as they are answered.
    fn add(&mut self, server: &FleetbeatServer, requests: &[Vec<u8>], at_once: usize) {
        let pid = server.pid();
        let before = (process::cpu_time(pid), process::written_bytes(pid));
        let mut next = requests.iter().cloned();
        let report = load::run(server.address(), at_once, None, || next.next());
        self.cpu += process::cpu_time(pid) - before.0;
        self.written += process::written_bytes(pid) - before.1;
        self.report.merge(&report);
    }

    fn cpu_each(&self) -> Duration {
        self.cpu / count(self.report.ok())
    }

    fn written_each(&self) -> f64 {
        self.written as f64 / self.report.ok().max(1) as f64
    }
}

/// What heartbeats cost with history and without, while open chunks grow as they do
/// between two merges.
fn heartbeats(scale: &Scale) -> usize {
    let (hosts, turns) = if scale.is_full {
        (HOSTS, TURNS)
    } else {
        (20, 2)
    };
    let mut measured = [
        Measured::start("without history", "[history]\nenabled = false\n"),
        Measured::start("with history", ""),
    ];
    let mut fleet: Vec<Host> = (0..hosts).map(Host::new).collect();
    // A heartbeat a second: the clocks are near enough.
    let start = Timestamp::now().as_second() - 130;
    let per_turn = if scale.is_full {
        BETWEEN_MERGES / turns
    } else {
        3
    };
    for _ in 0..turns {
        let requests: Vec<Vec<u8>> = (0..per_turn * hosts)
            .map(|place| {
                let host = &mut fleet[place % hosts];
                let at = start + i64::try_from(host.seq).unwrap_or_default();
                let body = host.heartbeat(at).to_string();
                request("/heartbeat", body.as_bytes())
            })
            .collect();
        let alone = hosts.min(ALONE);
        for one in &mut measured {
            one.send(&requests, alone);
        }
    }

    print_heartbeats(&measured, hosts, turns * per_turn);
    let mut broken = 0;
    if scale.is_full {
        let [without, with] = &measured;
        let written = with.alone.written_each() / without.alone.written_each();
        broken += limit("bytes written with history", written, 1.35);
        let cpu = with.at_once.cpu_each().as_secs_f64()
            / without.at_once.cpu_each().as_secs_f64();
        broken += limit("CPU with history", cpu, 1.0 / 0.9);
    }
    broken + measured.iter().map(Measured::failed).sum::<usize>()
}

fn print_heartbeats(measured: &[Measured; 2], hosts: usize, waiting: usize) {
    println!(
        "| a heartbeat, {hosts} hosts, from 0 to {waiting} of each that wait | server CPU | bytes written | p50 | p99 |\n|---|--:|--:|--:|--:|"
    );
    for one in measured {
        let at_once = format!("{CONNECTIONS} at once");
        for (how, cost) in [(&*at_once, &one.at_once), ("one by one", &one.alone)] {
            println!(
                "| {}, {how} | {} | {:.0} | {} | {} |",
                one.name,
                micros(cost.cpu_each()),
                cost.written_each(),
                millis(cost.report.percentile(50)),
                millis(cost.report.percentile(99)),
            );
        }
    }
    println!("\nThe merges are not in it: a day's chunk, six times a day.\n");
}

/// How small heartbeats are in history.db, and how long charts of them take while the
/// heartbeats of 10,000 hosts come.
fn charts(scale: &Scale) -> usize {
    let (hosts, days) = if scale.is_full { (4, 364) } else { (2, 3) };
    let server = FleetbeatServer::start();
    let mut fleet: Vec<Host> = (0..hosts).map(Host::new).collect();
    let spooled = fill(&server, &mut fleet, days);
    let token = server.admin_token();
    let (used, merged) = (
        number(&server, &token, USED),
        number(&server, &token, MERGED),
    );
    println!(
        "{spooled} heartbeats of {hosts} hosts and {days} days: {:.2} bytes each in \
         history.db, pages counted; {:.2} MB a host and year.\n",
        used / merged,
        used / merged * 365.0 * 86_400.0 / INTERVAL as f64 / 1e6
    );

    let (is_over, mut broken) = (AtomicBool::new(false), 0);
    let background = thread::scope(|scope| {
        let beats = scope.spawn(|| {
            let mut others: Vec<Host> = (100..600).map(Host::new).collect();
            let mut place = 0;
            load::run(server.address(), 8, Some(FLEET_RATE), || {
                if is_over.load(Ordering::Relaxed) {
                    return None;
                }
                place += 1;
                let now = Timestamp::now().as_second();
                let host = place % others.len();
                let body = others[host].heartbeat(now).to_string();
                Some(request("/heartbeat", body.as_bytes()))
            })
        });
        broken += ask(&server, &fleet, days, scale);
        is_over.store(true, Ordering::Relaxed);
        beats.join().expect("no thread panics")
    });
    println!(
        "Heartbeats meanwhile: p50 {}, p99 {}.\n",
        millis(background.percentile(50)),
        millis(background.percentile(99))
    );
    if scale.is_full {
        broken += limit("bytes of a kept heartbeat", used / merged, 8.0);
    }
    broken + background.failed()
}

/// Sends the heartbeats of so many days as a spool. Gives how many.
fn fill(server: &FleetbeatServer, fleet: &mut [Host], days: i64) -> usize {
    let token = server.admin_token();
    let beats = days * 86_400 / INTERVAL;
    let start = Timestamp::now().as_second() - beats * INTERVAL;
    let all: Vec<i64> = (0..beats).collect();
    let mut sent = 0;
    // A host has room for some thousands until they are merged.
    for round in all.chunks(10 * BATCH) {
        for host in &mut *fleet {
            for numbers in round.chunks(BATCH) {
                let batch: Vec<Value> = numbers
                    .iter()
                    .map(|number| host.heartbeat(start + number * INTERVAL))
                    .collect();
                let body = Value::from(batch).to_string();
                let answer = server.post_heartbeat("/heartbeats", body.as_bytes());
                assert_eq!(answer.json()["accepted"], numbers.len(), "{answer:?}");
            }
            sent += round.len();
        }
        let wait = sent.saturating_sub(fleet.len() * MAX_OPEN) as f64;
        wait_for("history to be merged", || {
            thread::sleep(Duration::from_millis(200));
            (number(server, &token, MERGED) >= wait).then_some(())
        });
    }
    assert_eq!(
        number(server, &token, DROPPED),
        0.0,
        "heartbeats had no room"
    );
    sent
}

/// A number that the server tells of itself.
pub(super) fn number(server: &FleetbeatServer, token: &str, name: &str) -> f64 {
    let answer = server.api(token, "GET", "/metrics", None);
    let text = String::from_utf8(answer.body).expect("metrics are text");
    let mut lines = text.lines();
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value
        .and_then(|value| value.parse().ok())
        .expect("the server tells it")
}

/// Asks for charts and prints how long they take; gives how many limits are not kept.
fn ask(server: &FleetbeatServer, fleet: &[Host], days: i64, scale: &Scale) -> usize {
    const ASKED: usize = 200;
    let token = server.admin_token();
    let bearer = format!("Bearer {token}");
    println!("| a chart of 300 points, 14 series | p50 | p99 |\n|---|--:|--:|");
    let mut broken = 0;
    for (range, most_millis) in [(1, 5.0), (30, 30.0), (364, 150.0)] {
        if range > days {
            continue;
        }
        let mut report = Report::default();
        let from = time(Timestamp::now().as_second() - range * 86_400);
        let most = usize::try_from(scale.seconds * 20).unwrap_or(usize::MAX);
        for place in 0..ASKED.min(most) {
            let host = &fleet[place % fleet.len()];
            let path = format!(
                "/server/{}/history?from={from}&series=cpu,ram,net,services,metrics",
                host.ip
            );
            let started = Instant::now();
            let answer = server.request("GET", &path, &[("Authorization", &bearer)], b"");
            report.add(answer.status, started.elapsed(), answer.body.len());
        }
        println!(
            "| {range} days | {} | {} |",
            millis(report.percentile(50)),
            millis(report.percentile(99))
        );
        broken += report.failed();
        if scale.is_full {
            let took = report.percentile(99).as_secs_f64() * 1000.0;
            broken += limit(
                &format!("a chart of {range} days, in ms"),
                took,
                most_millis,
            );
        }
    }
    println!();
    broken
}

fn request(path: &str, body: &[u8]) -> Vec<u8> {
    let headers = [
        ("X-API-Key", AGENT_KEY),
        ("Content-Type", "application/json"),
    ];
    client::encode("POST", path, &headers, body)
}
