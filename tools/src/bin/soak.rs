//! `make soak`: a fleet for an hour, with what happens in an hour: spools that empty,
//! backups, reloads, and dashboards that look on.
//!
//! The soak fails if a heartbeat was not acknowledged, if the server does not show what
//! was acknowledged last, if the database grows by more than history needs, or if memory
//! grows; the full one fails for slow answers, too.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fleetbeat_protocol::Timestamp;

use fleetbeat_tools::fleet::Fleet;
use fleetbeat_tools::load::{self, Report};
use fleetbeat_tools::report::{self, mib, millis};
use fleetbeat_tools::server::{AGENT_KEY, FleetbeatServer};
use fleetbeat_tools::wait::DEADLINE;
use fleetbeat_tools::{client, dashboard, process};
use lexopt::Arg;
use serde_json::{Value, json};

const HELP: &str = "\
soak: a fleet for an hour, while spools empty, backups are made and settings are read again

Options:
  --quick    a small fleet for a minute and a half: the same ways, where the latencies mean nothing
";
/// Connections at once.
const THREADS: usize = 64;
/// Admins with an open dashboard.
const DASHBOARDS: usize = 3;
/// Hosts that empty their spools at once.
const SPOOLS_AT_ONCE: usize = 4;
/// The server's memory may grow by so much from the first windows to the last: by a tenth,
/// and by what an allocator keeps.
const MAX_GROWTH: (f64, f64) = (1.1, 4.0 * 1024.0 * 1024.0);

/// By how much a heartbeat may make the database larger, in bytes: about six in an open
/// chunk, and room that pages have left.
const MAX_BYTES_PER_BEAT: u64 = 40;
/// By how much the database may grow however few heartbeats come, in bytes.
const SLACK_BYTES: u64 = 256 * 1024;

/// How long, how large, and what may be judged.
struct Plan {
    hosts: u32,
    /// Time between two heartbeats of a host.
    interval: Duration,
    /// Heartbeats in the spool of each host, which become history before the soak begins.
    spooled: usize,
    sweep: &'static str,
    /// Latencies and memory are told for each of these.
    window: Duration,
    windows: u32,
    /// Settings are read again in each window whose number this divides.
    reload_every: u32,
    /// A backup is made in each window whose number this divides.
    backup_every: u32,
    /// The latency that 99 of 100 heartbeats must not exceed.
    max_p99: Option<Duration>,
}

impl Plan {
    fn full() -> Plan {
        Plan {
            hosts: 10_000,
            interval: Duration::from_secs(120),
            spooled: 100,
            sweep: "[sweep]\ninterval = \"60s\"\ndown_after = \"4m\"\ndelete_after = \"30m\"\n",
            window: Duration::from_secs(60),
            windows: 60,
            reload_every: 10,
            backup_every: 15,
            max_p99: Some(Duration::from_millis(50)),
        }
    }

    fn quick() -> Plan {
        Plan {
            hosts: 100,
            interval: Duration::from_secs(4),
            spooled: 200,
            sweep: "[sweep]\ninterval = \"1s\"\ndown_after = \"10s\"\ndelete_after = \"60s\"\n",
            window: Duration::from_secs(5),
            windows: 16,
            reload_every: 4,
            backup_every: 6,
            max_p99: None,
        }
    }

    /// Heartbeats a second.
    fn rate(&self) -> f64 {
        f64::from(self.hosts) / self.interval.as_secs_f64()
    }
}

/// The fleet, and what each host that beats has said last.
struct Hosts {
    fleet: Fleet,
    next: usize,
    last: Vec<Option<Value>>,
}

/// What was seen in a window.
struct Window {
    report: Report,
    memory: u64,
}

fn main() -> ExitCode {
    let mut plan = Plan::full();
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next().expect("arguments are readable") {
        match argument {
            Arg::Long("quick") => plan = Plan::quick(),
            _ => {
                print!("{HELP}");
                return ExitCode::from(64);
            }
        }
    }

    println!("{}\n", report::measured_on());
    let problems = soak(&plan);
    for problem in &problems {
        println!("FAILED: {problem}");
    }
    if problems.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn soak(plan: &Plan) -> Vec<String> {
    let server = FleetbeatServer::start_with(plan.sweep, &[]);
    let mut hosts = Hosts {
        fleet: Fleet::new(1, plan.hosts),
        next: 0,
        last: vec![None; plan.hosts as usize],
    };
    arrive(&server, &mut hosts, plan);
    fill_history(&server, plan, &hosts);
    let before = backup(&server).expect("a backup before the soak");

    let done = AtomicBool::new(false);
    let token = server.admin_token();
    let (mut windows, mut problems) = (Vec::new(), Vec::new());
    thread::scope(|scope| {
        for _ in 0..DASHBOARDS {
            scope.spawn(|| dashboard::look(server.address(), &token, &done));
        }

        println!("| window | heartbeats | p50 | p99 | slowest | memory | what else |");
        println!("|--:|--:|--:|--:|--:|--:|---|");
        for number in 1..=plan.windows {
            let server = &server;
            let operator = scope.spawn(move || operate(server, plan, number));
            let report = beat(server.address(), &mut hosts, plan);
            let memory = process::status(server.pid(), "VmRSS") * 1024;
            let (told, failed) = operator.join().expect("no thread panics");
            problems.extend(failed);

            println!(
                "| {number} | {} | {} | {} | {} | {} | {told} |",
                report.ok(),
                millis(report.percentile(50)),
                millis(report.percentile(99)),
                millis(report.percentile(100)),
                mib(memory as f64),
            );
            windows.push(Window { report, memory });
        }
        done.store(true, Ordering::Relaxed);
    });

    problems.extend(judge(plan, &windows));
    problems.extend(compare(&server, &token, &hosts));
    match backup(&server) {
        Ok(now) => {
            println!("\nA backup had {before} bytes before, and has {now} now.");
            let beats: usize = windows.iter().map(|window| window.report.ok()).sum();
            let most = before + SLACK_BYTES + MAX_BYTES_PER_BEAT * beats as u64;
            if now > most {
                problems.push(format!(
                    "the database grows: {beats} heartbeats may make it {most} bytes"
                ));
            }
        }
        Err(error) => problems.push(error),
    }
    problems
}

/// Every host beats once.
fn arrive(server: &FleetbeatServer, hosts: &mut Hosts, plan: &Plan) {
    let mut left = plan.hosts;
    let report = load::run(server.address(), THREADS, None, || {
        left = left.checked_sub(1)?;
        Some(hosts.request())
    });
    assert_eq!(report.failed(), 0, "{:?}", report.statuses);
}

/// Each host that beats empties a spool.
fn fill_history(server: &FleetbeatServer, plan: &Plan, hosts: &Hosts) {
    let beating: Vec<&Value> = hosts.last.iter().flatten().collect();
    let left = Mutex::new(beating.iter());
    let began = Instant::now();
    thread::scope(|scope| {
        for _ in 0..SPOOLS_AT_ONCE {
            scope.spawn(|| {
                loop {
                    let next = left.lock().expect("no thread panics").next();
                    let Some(heartbeat) = next else { return };
                    empty_spool(server.address(), heartbeat, plan.spooled);
                }
            });
        }
    });
    println!(
        "{} heartbeats out of spools stored in {:.1} s.\n",
        beating.len() * plan.spooled,
        began.elapsed().as_secs_f64()
    );
}

/// Sends `count` older heartbeats of a host, until the server has taken them.
fn empty_spool(server: SocketAddr, heartbeat: &Value, count: usize) {
    let now = Timestamp::now().as_millisecond();
    let spooled: Vec<Value> = (1..)
        .take(count)
        .map(|n| {
            let collected_at = Timestamp::from_millisecond(now - n * 120_000);
            let mut heartbeat = heartbeat.clone();
            heartbeat["collected_at"] = json!(collected_at.expect("a time").to_string());
            heartbeat
        })
        .collect();

    let body = json!(spooled).to_string();
    let request = client::encode("POST", "/heartbeats", &HEADERS, body.as_bytes());
    let deadline = Instant::now() + DEADLINE;
    loop {
        let answer = client::exchange(server, &request).expect("an answer");
        if answer.status == 200 {
            return;
        }
        assert_eq!(
            answer.status,
            503,
            "{:?}",
            String::from_utf8_lossy(&answer.body)
        );
        assert!(
            Instant::now() < deadline,
            "the server does not take a spool"
        );
        thread::sleep(Duration::from_millis(100));
    }
}

const HEADERS: [(&str, &str); 2] = [
    ("X-API-Key", AGENT_KEY),
    ("Content-Type", "application/json"),
];

/// One window of heartbeats.
fn beat(server: SocketAddr, hosts: &mut Hosts, plan: &Plan) -> Report {
    let windows = plan.interval.as_secs_f64() / plan.window.as_secs_f64();
    let mut left = f64::from(plan.hosts) / windows;
    load::run(server, THREADS, Some(plan.rate()), || {
        left -= 1.0;
        (left >= 0.0).then(|| hosts.request())
    })
}

impl Hosts {
    /// The next heartbeat of the next host that is not silent.
    fn request(&mut self) -> Vec<u8> {
        loop {
            let host = self.next;
            self.next = (host + 1) % self.last.len();
            let body = self.fleet.next(host);
            self.last[host] = body.as_deref().map(|body| {
                serde_json::from_slice(body).expect("a heartbeat is plain JSON")
            });
            if let Some(body) = body {
                return client::encode("POST", "/heartbeat", &HEADERS, &body);
            }
        }
    }
}

/// What the operator does in a window: in words, and what went wrong.
fn operate(
    server: &FleetbeatServer,
    plan: &Plan,
    number: u32,
) -> (String, Option<String>) {
    let (mut told, mut failed) = (Vec::new(), None);
    if number.is_multiple_of(plan.reload_every) {
        server.signal("HUP");
        told.push("reload".to_owned());
    }
    if number.is_multiple_of(plan.backup_every) {
        let began = Instant::now();
        match backup(server) {
            Ok(bytes) => told.push(format!(
                "backup of {} in {:.1} s",
                mib(bytes as f64),
                began.elapsed().as_secs_f64()
            )),
            Err(error) => failed = Some(error),
        }
    }
    (told.join(", "), failed)
}

/// Makes a backup and gives its size in bytes.
fn backup(server: &FleetbeatServer) -> Result<u64, String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let file = folder.path().join("backup.db");
    let output = server.command(&["backup", &file.display().to_string()], "");
    if !output.status.success() {
        return Err(format!("the backup failed: {output:?}"));
    }
    fs::metadata(&file)
        .map(|metadata| metadata.len())
        .map_err(|error| error.to_string())
}

/// What was refused, slow, or grew.
fn judge(plan: &Plan, windows: &[Window]) -> Vec<String> {
    let mut problems = Vec::new();
    let mut whole = Report::default();
    for window in windows {
        whole.merge(&window.report);
    }
    println!(
        "\n{} heartbeats: p50 {}, p99 {}, slowest {}.",
        whole.ok(),
        millis(whole.percentile(50)),
        millis(whole.percentile(99)),
        millis(whole.percentile(100)),
    );

    if whole.failed() > 0 {
        problems.push(format!("heartbeats failed: {:?}", whole.statuses));
    }
    if plan
        .max_p99
        .is_some_and(|most| whole.percentile(99) >= most)
    {
        problems.push(format!("p99 is {}", millis(whole.percentile(99))));
    }

    let most = |windows: &[Window]| {
        windows
            .iter()
            .map(|window| window.memory)
            .max()
            .unwrap_or(0) as f64
    };
    let part = windows.len().div_ceil(4);
    let (first, last) = (
        most(&windows[..part]),
        most(&windows[windows.len() - part..]),
    );
    if last > first * MAX_GROWTH.0 + MAX_GROWTH.1 {
        problems.push(format!("memory grew from {} to {}", mib(first), mib(last)));
    }
    problems
}

/// Hosts that the server shows otherwise than they were acknowledged. The list may be some
/// seconds old, so it gets some time.
fn compare(server: &FleetbeatServer, token: &str, hosts: &Hosts) -> Vec<String> {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let differing = find_differing(&server.servers(token), hosts);
        if differing.is_empty() || Instant::now() > deadline {
            return differing;
        }
        thread::sleep(Duration::from_millis(200));
    }
}

fn find_differing(shown: &[Value], hosts: &Hosts) -> Vec<String> {
    let shown: BTreeMap<&str, &Value> = shown
        .iter()
        .map(|record| (record["ip"].as_str().unwrap_or_default(), record))
        .collect();

    let beating = hosts.last.iter().flatten();
    let differing = beating.filter(|heartbeat| {
        let ip = heartbeat["ip"].as_str().unwrap_or_default();
        shown.get(ip).is_none_or(|record| {
            record["load"] != heartbeat["load"]
                || record["hostname"] != heartbeat["hostname"]
        })
    });
    differing
        .map(|heartbeat| format!("{} is not as acknowledged", heartbeat["ip"]))
        .take(5)
        .collect()
}
