//! `make capacity`: plays fleets of a hundred to a hundred thousand hosts and prints the
//! costs: the measured figures of docs/capacity.md.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fleetbeat_tools::process::{Running, program};
use fleetbeat_tools::redis_server::RedisServer;
use fleetbeat_tools::report::{self, mib};
use fleetbeat_tools::server::{AGENT_KEY, Database, FleetbeatServer};
use fleetbeat_tools::stand_in::{Authority, StandIn};
use fleetbeat_tools::wait::{DEADLINE, wait_for};
use fleetbeat_tools::{dashboard, process};
use lexopt::{Arg, ValueExt};
use mongodb::bson::{Bson, doc};

const HELP: &str = "\
capacity: what fleets of a hundred to a hundred thousand hosts cost

Usage: capacity [OPTIONS] (embedded | mongodb | network)...

  embedded   one server with its own store, for each size
  mongodb    two servers on MONGODB_URL and a Redis, for each size
  network    bytes of a heartbeat over TLS; wants a network namespace of its own, since it reads what lo counts

Options:
  --hosts N  fleets of this size alone
  --quick    small fleets for a few seconds: the same ways, where the figures mean nothing
";

/// The default interval of agents, in seconds.
const INTERVAL: u32 = 120;
/// A store that takes a new host more slowly cannot be measured.
const SLOWEST_ARRIVAL: Duration = Duration::from_millis(5);
/// Admins with an open dashboard.
const DASHBOARDS: usize = 3;

/// How long and how large.
struct Scale {
    fleets: Vec<u32>,
    /// How long a complete fleet is watched.
    watched: Duration,
    /// The number of heartbeats over which bytes are counted.
    heartbeats: usize,
}

impl Scale {
    fn full() -> Scale {
        Scale {
            fleets: vec![100, 1_000, 10_000, 100_000],
            watched: Duration::from_secs(60),
            heartbeats: 200,
        }
    }

    fn quick() -> Scale {
        Scale {
            fleets: vec![100],
            watched: Duration::from_secs(6),
            heartbeats: 20,
        }
    }
}

fn main() -> ExitCode {
    let (mut scale, mut parts) = (Scale::full(), Vec::new());
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next().expect("arguments are readable") {
        match argument {
            Arg::Long("quick") => scale = Scale::quick(),
            Arg::Long("hosts") => {
                let hosts = parser
                    .value()
                    .and_then(|hosts| hosts.parse())
                    .expect("--hosts with a number");
                scale.fleets = vec![hosts];
            }
            Arg::Value(part) => parts.push(part.to_string_lossy().into_owned()),
            _ => {
                print!("{HELP}");
                return ExitCode::from(64);
            }
        }
    }

    if parts.is_empty() {
        print!("{HELP}");
        return ExitCode::from(64);
    }

    println!("{}\n", report::measured_on());
    for part in parts {
        match part.as_str() {
            "embedded" => embedded(&scale),
            "mongodb" => production(&scale),
            "network" => network(&scale),
            _ => panic!("{part:?} is neither embedded nor mongodb nor network"),
        }
    }
    ExitCode::SUCCESS
}

fn embedded(scale: &Scale) {
    println!(
        "| hosts, embedded store, {DASHBOARDS} dashboards open | heartbeats offered a second | their p99 | CPU, of a core | memory | at most | database | written to disk a day | to each dashboard |"
    );
    println!("|--:|--:|--:|--:|--:|--:|--:|--:|--:|");

    for hosts in &scale.fleets {
        let server = FleetbeatServer::start();
        let watched = watch(scale, *hosts, &[&server]);
        let [seen] = watched.servers.as_slice() else {
            unreachable!("one server")
        };

        println!(
            "| {hosts} | {} | {:.1} % | {} | {} | {} | {} | {:.1} KB/s |",
            watched.heartbeats,
            seen.cpu_percent,
            mib(seen.memory as f64),
            mib(seen.most_memory as f64),
            mib(folder_bytes(&server.data()) as f64),
            mib(seen.written_a_day as f64),
            watched.dashboard_bytes_a_second as f64 / 1e3,
        );
    }
    println!();
}

fn production(scale: &Scale) {
    println!(
        "| hosts, MongoDB and Redis, {DASHBOARDS} dashboards open | heartbeats offered a second | their p99 | CPU of the instance they go to | of the other | memory | of the other | data in MongoDB | memory of Redis |"
    );
    println!("|--:|--:|--:|--:|--:|--:|--:|--:|--:|");

    for hosts in &scale.fleets {
        let (database, redis) = (Database::new(), RedisServer::start());
        let [first, second] = [(); 2].map(|()| {
            FleetbeatServer::start_on_mongodb(&database, &database.url, &redis.url(), "")
        });
        let watched = watch(scale, *hosts, &[&first, &second]);
        let [one, other] = watched.servers.as_slice() else {
            unreachable!("two servers")
        };

        println!(
            "| {hosts} | {} | {:.1} % | {:.1} % | {} | {} | {} | {} |",
            watched.heartbeats,
            one.cpu_percent,
            other.cpu_percent,
            mib(one.most_memory as f64),
            mib(other.most_memory as f64),
            mib(data_bytes(&database)),
            mib(redis_bytes(&redis) as f64),
        );
    }
    println!();
}

/// The measurements while a complete fleet beat.
struct Watched {
    /// How many are offered a second, and how soon 99 of 100 are answered, as two cells
    /// of a table.
    heartbeats: String,
    dashboard_bytes_a_second: u64,
    servers: Vec<Seen>,
}

/// The costs of one server.
struct Seen {
    cpu_percent: f64,
    memory: u64,
    most_memory: u64,
    written_a_day: u64,
}

/// Plays a fleet against the first of the servers, and dashboards against the last.
fn watch(scale: &Scale, hosts: u32, servers: &[&FleetbeatServer]) -> Watched {
    let (first, last) = (servers[0], servers[servers.len() - 1]);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let told = folder.path().join("fleetsim");
    let mut fleet = play(first.address(), hosts, &told);
    let token = first.admin_token();
    wait_for_host(first, &token, hosts, &mut fleet);

    let done = AtomicBool::new(false);
    let (mut seen, mut dashboard_bytes) = (Vec::new(), 0);
    thread::scope(|scope| {
        let dashboards: Vec<_> = (0..DASHBOARDS)
            .map(|_| scope.spawn(|| dashboard::look(last.address(), &token, &done)))
            .collect();

        let before: Vec<_> = servers.iter().map(|server| costs(server)).collect();
        thread::sleep(scale.watched);
        seen = servers
            .iter()
            .zip(before)
            .map(|(server, before)| Seen::since(before, server, scale.watched))
            .collect();

        done.store(true, Ordering::Relaxed);
        let bytes = dashboards
            .into_iter()
            .map(|dashboard| dashboard.join().expect("no thread panics"));
        dashboard_bytes =
            bytes.sum::<u64>() / DASHBOARDS as u64 / scale.watched.as_secs();
    });

    let ended = fleet.terminate();
    let told = fs::read_to_string(&told).expect("fleetsim has said how it went");
    assert!(ended.success(), "heartbeats failed: {told}");
    let p99 = told
        .trim_end()
        .rsplit_once("p99 ")
        .expect("how they were answered")
        .1;

    Watched {
        heartbeats: format!("{:.1} | {p99}", f64::from(hosts) / f64::from(INTERVAL)),
        dashboard_bytes_a_second: dashboard_bytes,
        servers: seen,
    }
}

impl Seen {
    /// The costs of a server since `before`, which is `watched` ago.
    fn since(
        before: (Duration, u64),
        server: &FleetbeatServer,
        watched: Duration,
    ) -> Seen {
        let after = costs(server);
        let status = |name| process::status(server.pid(), name) * 1024;
        Seen {
            cpu_percent: (after.0 - before.0).as_secs_f64() / watched.as_secs_f64()
                * 100.0,
            memory: status("VmRSS"),
            most_memory: status("VmHWM"),
            written_a_day: (after.1 - before.1) * 86_400 / watched.as_secs(),
        }
    }
}

/// CPU time and bytes written.
fn costs(server: &FleetbeatServer) -> (Duration, u64) {
    (
        process::cpu_time(server.pid()),
        process::written_bytes(server.pid()),
    )
}

fn play(server: SocketAddr, hosts: u32, told: &Path) -> Running {
    let mut command = program("fleetsim");
    command.args([
        "--url",
        &format!("http://{server}"),
        "--hosts",
        &hosts.to_string(),
        "--duration",
        "0",
    ]);

    command
        .args(["--interval", &INTERVAL.to_string(), "--threads", "64"])
        .env("AGENT_API_KEY", AGENT_KEY);
    command
        .stdout(File::create(told).expect("a writable folder"))
        .stdin(Stdio::null());
    Running::spawn(&mut command)
}

/// Waits until the last host of the fleet has shown up.
fn wait_for_host(server: &FleetbeatServer, token: &str, hosts: u32, fleet: &mut Running) {
    let address = IpAddr::V4(Ipv4Addr::from_bits((10 << 24) + hosts));
    let deadline = Instant::now() + DEADLINE + SLOWEST_ARRIVAL * hosts;

    while server
        .api(token, "GET", &format!("/server/{address}"), None)
        .status
        != 200
    {
        assert!(
            fleet.is_running(),
            "fleetsim ended before all hosts had shown up"
        );
        assert!(
            Instant::now() < deadline,
            "not all hosts have shown up: most of their heartbeats must have failed"
        );
        thread::sleep(Duration::from_millis(500));
    }
}

fn folder_bytes(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).expect("the data folder").flatten();
    entries
        .filter_map(|entry| Some(entry.metadata().ok()?.len()))
        .sum()
}

/// The size of documents and indexes, uncompressed.
fn data_bytes(database: &Database) -> f64 {
    let stats = database
        .connect()
        .run_command(doc! {"dbStats": 1})
        .run()
        .expect("MongoDB answers");
    let number = |name: &str| match stats.get(name) {
        Some(Bson::Double(number)) => *number,
        Some(Bson::Int64(number)) => *number as f64,
        Some(Bson::Int32(number)) => f64::from(*number),
        _ => panic!("no {name} in {stats}"),
    };
    number("dataSize") + number("indexSize")
}

fn redis_bytes(server: &RedisServer) -> u64 {
    let client = redis::Client::open(server.url()).expect("a URL");
    let mut connection = client.get_connection().expect("Redis answers");
    let info: String = redis::cmd("INFO")
        .arg("memory")
        .query(&mut connection)
        .expect("Redis answers");
    let fields: BTreeMap<&str, &str> = info
        .lines()
        .filter_map(|line| line.split_once(':'))
        .collect();
    fields["used_memory"].parse().expect("a number")
}

/// The bytes between the agent and the TLS stand-in for a heartbeat, with TCP, IP and
/// Ethernet around.
fn network(scale: &Scale) {
    let authority = Authority::new();
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = requests.clone();
    // The stand-in answers by itself, so that nothing goes over lo behind the stand-in.
    // The answer is as long as nginx's.
    let answer = "HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Tue, 24 Nov 2026 12:00:00 GMT\r\n\
                  Content-Type: application/json\r\nContent-Length: 15\r\nConnection: close\r\n\r\n{\"status\":\"ok\"}";
    let stand_in = StandIn::answering_with_tls(
        &authority.certify("localhost", 2020..2100),
        move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
            Some(answer.into())
        },
    );

    let folder = tempfile::tempdir().expect("a temporary folder");
    let _agent = start_agent(&stand_in, &authority, folder.path());

    let reach = |count| {
        wait_for("heartbeats", || {
            (requests.load(Ordering::Relaxed) >= count).then_some(())
        });
    };
    reach(2);

    let (mut bytes, first) = (lo_bytes(), requests.load(Ordering::Relaxed));
    for n in 1..=scale.heartbeats {
        reach(first + n);
    }
    bytes = lo_bytes() - bytes;
    let each = bytes / (requests.load(Ordering::Relaxed) - first) as u64;

    println!(
        "| a heartbeat over TLS 1.3, new connection, certificate of one link | bytes on the wire, both ways |"
    );
    println!("|---|--:|");
    println!("| mean of {} | {each} |\n", scale.heartbeats);
}

/// An agent that beats as often as possible, with its files in `folder`.
fn start_agent(stand_in: &StandIn, authority: &Authority, folder: &Path) -> Running {
    let (config, ca_file) = (folder.join("agent.toml"), folder.join("ca.pem"));
    fs::write(&ca_file, authority.pem()).expect("a writable folder");

    let text = format!(
        "[server]\nurl = \"https://localhost:{}\"\nca_file = {ca_file:?}\n[spool]\npath = {:?}\n\
         [host]\nip = \"192.0.2.1\"\ncountry_code = \"DE\"\ncountry = \"Germany\"\ncity = \"Munich\"\n\
         [schedule]\nsample_every = \"100ms\"\nsamples_per_heartbeat = 1\n\
         [collectors.cpu]\n[collectors.ram]\n[collectors.net]\n[collectors.services]\n\
         units = [ {{name = \"wg\", unit = \"wg-quick@wg0\"}}, {{name = \"ov\", unit = \"openvpn-server@server\"}} ]\n",
        stand_in.address().port(),
        folder
    );
    fs::write(&config, text).expect("a writable folder");

    let mut command: Command = program("fleetbeat-agent");
    command
        .arg("-c")
        .arg(&config)
        .arg("run")
        .env("AGENT_API_KEY", AGENT_KEY);
    Running::spawn(command.stdin(Stdio::null()).stderr(Stdio::null()))
}

/// Bytes that lo has received so far, which are those that were sent over lo.
fn lo_bytes() -> u64 {
    let interfaces = fs::read_to_string("/proc/net/dev").expect("/proc is mounted");
    let lo = interfaces
        .lines()
        .find_map(|line| line.trim_start().strip_prefix("lo:"))
        .expect("lo is there");
    lo.split_whitespace()
        .next()
        .and_then(|bytes| bytes.parse().ok())
        .expect("a number")
}
