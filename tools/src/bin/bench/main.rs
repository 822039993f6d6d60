//! `make bench`: measures the real binaries and prints the tables of the README.
//!
//! `--agent PATH` measures another agent than the one from the same build, such as the
//! shipped, static one. `--only PART` measures one of [`PARTS`]. `--quick` is the small
//! version in `make test`: the same paths in a few seconds, where the figures mean
//! nothing but every request must succeed.

mod agent;
mod alerts;
mod changes;
mod history;
mod keys;
mod measure;
mod scale;
mod selector;
mod upkeep;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fleetbeat_tools::fleet::Fleet;
use fleetbeat_tools::load::{self, Report};
use fleetbeat_tools::process::program_path;
use fleetbeat_tools::proxy::{Mode, Proxy};
use fleetbeat_tools::redis_server::RedisServer;
use fleetbeat_tools::report::{self, micros, millis};
use fleetbeat_tools::server::{Database, FleetbeatServer};
use fleetbeat_tools::wait::wait_for;
use fleetbeat_tools::{client, process};

use measure::{beat, count, heartbeat, limit, measure, next_loud, populate};
use scale::{FULL, QUICK, Scale};

/// 100,000 hosts at one heartbeat in two minutes.
const FULL_FLEET_RATE: f64 = 833.0;
/// Agents that each wait for an answer; enough to keep a commit filled.
const CONNECTIONS: usize = 64;

/// Round trips to MongoDB for 1,000 heartbeats of new hosts, with those of the watch: some
/// eight for a commit of up to 200. Two for each event would be 2,000 more.
const MAX_ROUND_TRIPS: f64 = 400.0;

/// The parts to measure, in this order.
const PARTS: [&str; 10] = [
    "heartbeats",
    "history",
    "upkeep",
    "keys",
    "fleets",
    "changes",
    "selector",
    "alerts",
    "production",
    "agent",
];

fn main() -> ExitCode {
    let (mut scale, mut agent) = (FULL, program_path("fleetbeat-agent"));
    let mut parts = PARTS.to_vec();
    let mut is_static = false;
    let mut arguments = std::env::args_os().skip(1);

    while let Some(argument) = arguments.next() {
        match argument.to_str() {
            Some("--quick") => scale = QUICK,
            Some("--agent") => {
                agent = arguments.next().expect("a path after --agent").into();
                is_static = true;
            }
            Some("--only") => {
                let wanted = arguments.next().expect("a part after --only");
                parts.retain(|part| wanted == *part);
                assert!(!parts.is_empty(), "{wanted:?} is none of {PARTS:?}");
            }
            _ => panic!("{argument:?} is not known"),
        }
    }

    println!("{}\n", report::measured_on());
    let mut failed = 0;
    for part in parts {
        failed += match part {
            "heartbeats" => heartbeats(&scale),
            "history" => history::measure(&scale),
            "upkeep" => upkeep::measure(&scale),
            "keys" => keys::measure(&scale),
            "fleets" => fleets(&scale),
            "changes" => changes::measure(&scale),
            "selector" => selector::selectors(&scale),
            "alerts" => alerts::measure(&scale),
            "production" => production(&scale),
            _ => agent::measure(&scale, &agent, is_static),
        };
    }

    if failed > 0 {
        eprintln!("bench: {failed} requests failed, or limits are not kept");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Prints the heartbeat table; gives the number of failed requests.
fn heartbeats(scale: &Scale) -> usize {
    println!(
        "| heartbeats (a new connection and a commit before each 200) | per second | server CPU each | p50 | p99 |"
    );
    println!("|---|--:|--:|--:|--:|");

    let mut failed = 0;
    let most = format!("as many as {CONNECTIONS} connections can send");
    let offered = format!("{FULL_FLEET_RATE} a second offered: 100,000 hosts");
    for (name, rate) in [(most, None), (offered, Some(FULL_FLEET_RATE))] {
        let server = FleetbeatServer::start();
        let mut fleet = Fleet::new(1, 10_000);
        let until = Instant::now() + Duration::from_secs(scale.seconds);
        let mut hosts = (0..10_000).cycle();

        let (report, cpu) = measure(&server, || {
            load::run(server.address(), CONNECTIONS, rate, || {
                (Instant::now() < until)
                    .then(|| heartbeat(&next_loud(&mut fleet, &mut hosts)))
            })
        });

        println!(
            "| {name} | {:.0} | {} | {} | {} |",
            report.rate(),
            micros(cpu / count(report.ok())),
            millis(report.percentile(50)),
            millis(report.percentile(99)),
        );
        failed += report.failed();
    }
    println!();
    failed
}

/// Prints the tables of the production backend; gives the number of failed requests.
fn production(scale: &Scale) -> usize {
    let (database, redis) = (Database::new(), RedisServer::start());
    let ways = [
        listener(&database.url),
        SocketAddr::from(([127, 0, 0, 1], redis.port())),
    ]
    .map(Proxy::start);
    let [to_mongodb, to_redis] = &ways;
    let url = format!("mongodb://{}/?directConnection=true", to_mongodb.address());

    let start = || {
        FleetbeatServer::start_on_mongodb(
            &database,
            &url,
            &format!("redis://{}", to_redis.address()),
            "",
        )
    };
    let (first, second) = (start(), start());
    heartbeats_through(scale, &first, to_mongodb, to_redis)
        + two_instances(scale, &first, &second, to_mongodb)
}

/// Prints the table of heartbeats to a server whose databases are behind these proxies;
/// gives the number of failed requests.
fn heartbeats_through(
    scale: &Scale,
    server: &FleetbeatServer,
    to_mongodb: &Proxy,
    to_redis: &Proxy,
) -> usize {
    println!(
        "| heartbeats on MongoDB and Redis | per second | server CPU each | p50 | p99 | MongoDB round trips for 1,000 | Redis round trips for 1,000 |"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|");

    let mut failed = 0;
    let most = format!("as many as {CONNECTIONS} connections can send");
    for (name, rate) in [
        (most, None),
        (
            "1,000 a second offered, each host with a new boot".to_owned(),
            Some(1000.0),
        ),
    ] {
        let mut fleet = Fleet::new(1, 10_000);
        let mut hosts = (0..10_000).cycle();
        let until = Instant::now() + Duration::from_secs(scale.seconds);
        let before = [to_mongodb.round_trips(), to_redis.round_trips()];

        let (report, cpu) = measure(server, || {
            load::run(server.address(), CONNECTIONS, rate, || {
                (Instant::now() < until)
                    .then(|| heartbeat(&next_loud(&mut fleet, &mut hosts)))
            })
        });

        let trips =
            |now: usize, before: usize| (now - before) * 1000 / report.ok().max(1);
        println!(
            "| {name} | {:.0} | {} | {} | {} | {} | {} |",
            report.rate(),
            micros(cpu / count(report.ok())),
            millis(report.percentile(50)),
            millis(report.percentile(99)),
            trips(to_mongodb.round_trips(), before[0]),
            trips(to_redis.round_trips(), before[1]),
        );
        failed += report.failed();
        if scale.is_full {
            let trips = trips(to_mongodb.round_trips(), before[0]) as f64;
            failed += limit("MongoDB round trips for 1,000", trips, MAX_ROUND_TRIPS);
        }
    }
    println!();
    failed
}

/// Prints the table of reading from one instance while another takes heartbeats; gives
/// the number of failed requests.
fn two_instances(
    scale: &Scale,
    first: &FleetbeatServer,
    second: &FleetbeatServer,
    to_mongodb: &Proxy,
) -> usize {
    let hosts = *scale.fleets.last().expect("a fleet");
    let mut fleet = populate(first, hosts);
    let token = first.admin_token();
    let done = AtomicBool::new(false);
    let mut failed = 0;

    thread::scope(|scope| {
        let beating = scope.spawn(|| beat(first, &mut fleet, hosts, &done));
        wait_for("the fleet on the other instance", || {
            (second.servers(&token).len() >= hosts as usize).then_some(())
        });

        let bearer = format!("Bearer {token}");
        let gzip = [
            ("Authorization", bearer.as_str()),
            ("Accept-Encoding", "gzip"),
        ];
        let (report, cpu) = measure(second, || repeat(second, scale, &gzip));

        let stale = (0..scale.seconds)
            .map(|n| staleness(first, second, &token, n % 2 == 0))
            .max()
            .unwrap_or_default();
        done.store(true, Ordering::Relaxed);
        failed += report.failed() + beating.join().expect("no thread panics").failed();

        println!(
            "| GET /servers at {hosts} hosts on one of two instances, the other takes heartbeats | per second | server CPU each | p99 | server RSS | a change is seen after at most |"
        );
        println!("|---|--:|--:|--:|--:|--:|");
        println!(
            "| gzip | {:.0} | {} | {} | {:.1} MiB | {} |\n",
            report.rate(),
            micros(cpu / count(report.ok())),
            millis(report.percentile(99)),
            process::status(second.pid(), "VmRSS") as f64 / 1024.0,
            millis(stale),
        );
    });
    blackhole(scale, first, to_mongodb);
    failed
}

/// The time until a change on one instance is seen on the other.
fn staleness(
    first: &FleetbeatServer,
    second: &FleetbeatServer,
    token: &str,
    value: bool,
) -> Duration {
    let flag = serde_json::json!({"gaming": value});
    assert_eq!(
        first
            .api(token, "PATCH", "/server/10.0.0.1/config", Some(&flag))
            .status,
        200
    );

    let changed = Instant::now();
    wait_for("the other instance to see it", || {
        let shown = second
            .api(
                token,
                "GET",
                "/servers?all_servers=true&sort=ip&limit=1",
                None,
            )
            .json();
        (shown[0]["gaming"] == value).then_some(())
    });
    changed.elapsed()
}

fn blackhole(scale: &Scale, server: &FleetbeatServer, to_mongodb: &Proxy) {
    let look = || {
        (
            process::status(server.pid(), "Threads"),
            process::status(server.pid(), "VmRSS") as f64 / 1024.0,
        )
    };

    let before = look();
    to_mongodb.set(Mode::Blackhole);
    let mut fleet = Fleet::new(1, 1000);
    let mut hosts = (0..1000).cycle();
    let seconds = scale.seconds * 6;
    let until = Instant::now() + Duration::from_secs(seconds);

    let report = load::run(server.address(), 32, Some(200.0), || {
        (Instant::now() < until).then(|| heartbeat(&next_loud(&mut fleet, &mut hosts)))
    });
    let after = look();
    to_mongodb.set(Mode::Forward);

    println!(
        "| MongoDB blackholed for {seconds} s, 200 heartbeats a second arriving | slowest answer | threads | server RSS |"
    );
    println!("|---|--:|--:|--:|");
    println!("| before | | {} | {:.1} MiB |", before.0, before.1);
    println!(
        "| after | {} | {} | {:.1} MiB |\n",
        millis(report.percentile(100)),
        after.0,
        after.1
    );
}

/// Where a database with such a URL listens.
fn listener(url: &str) -> SocketAddr {
    let host = url
        .split("://")
        .nth(1)
        .and_then(|rest| rest.split('/').next())
        .unwrap_or_default();
    host.parse().unwrap_or_else(|_| {
        panic!(
            "MONGODB_URL must have an address and a port for the benchmark, not {host}"
        )
    })
}

/// Prints the tables by size of the fleet; gives the number of failed requests.
fn fleets(scale: &Scale) -> usize {
    let mut failed = 0;
    println!(
        "| GET /servers, while the fleet beats | bytes | per second | server CPU each | p99 | 304: per second | 304: server CPU each | server RSS |"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|--:|");

    for hosts in scale.fleets {
        let server = FleetbeatServer::start();
        let mut fleet = populate(&server, *hosts);
        let token = server.admin_token();
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let beating = scope.spawn(|| beat(&server, &mut fleet, *hosts, &done));

            let bearer = format!("Bearer {token}");
            let gzip = [
                ("Authorization", bearer.as_str()),
                ("Accept-Encoding", "gzip"),
            ];

            let (full, full_cpu) = measure(&server, || repeat(&server, scale, &gzip));
            // "*" is current whatever the fleet does meanwhile.
            let current = [("Authorization", bearer.as_str()), ("If-None-Match", "*")];
            let (not_modified, current_cpu) =
                measure(&server, || repeat(&server, scale, &current));

            let rss = process::status(server.pid(), "VmRSS") as f64 / 1024.0;
            done.store(true, Ordering::Relaxed);
            let beats = beating.join().expect("no thread panics");
            failed += full.failed() + not_modified.failed() + beats.failed();

            println!(
                "| {hosts} hosts | {} | {:.0} | {} | {} | {:.0} | {} | {rss:.1} MiB |",
                full.body_bytes / full.ok().max(1),
                full.rate(),
                micros(full_cpu / count(full.ok())),
                millis(full.percentile(99)),
                not_modified.rate(),
                micros(current_cpu / count(not_modified.ok())),
            );
        });
    }
    println!();
    failed
}

fn repeat(server: &FleetbeatServer, scale: &Scale, headers: &[(&str, &str)]) -> Report {
    let until = Instant::now() + Duration::from_secs(scale.seconds);
    let request = client::encode("GET", "/servers?all_servers=true", headers, b"");
    load::run(server.address(), 8, None, || {
        (Instant::now() < until).then(|| request.clone())
    })
}
