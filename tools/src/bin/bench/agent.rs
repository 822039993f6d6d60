//! The agent's tables: its costs alone, and beside other programs of its kind.

use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use fleetbeat_tools::nginx::free_address;
use fleetbeat_tools::process::Running;
use fleetbeat_tools::report::millis;
use fleetbeat_tools::server::{AGENT_KEY, FleetbeatServer};
use fleetbeat_tools::stand_in::{Authority, StandIn};
use fleetbeat_tools::wait::wait_for;
use fleetbeat_tools::{client, process};
use serde_json::Value;
use tempfile::TempDir;

use crate::scale::Scale;

/// The programs side by side run at so many times their usual pace, so that a clock with
/// ticks of ten milliseconds shows a few milliseconds a minute.
const PACE: u32 = 10;
/// As many as operators watch on a VPN host.
const UNITS: &str = "[collectors.services]\nunits = [ {name = \"wg\", unit = \"wg-quick@wg0\"}, \
                     {name = \"ov\", unit = \"openvpn-server@server\"}, {name = \"sq\", unit = \"squid\"}, \
                     {name = \"vr\", unit = \"v2ray\"} ]\n";

/// When the stand-in's certificate is valid.
const YEARS: std::ops::Range<i32> = 2020..2100;

/// A running agent, its server, and TLS between the two.
struct Agent {
    process: Running,
    server: FleetbeatServer,
    _stand_in: StandIn,
    _folder: TempDir,
}

impl Agent {
    fn start(program: &Path, schedule: &str, collectors: &str) -> Agent {
        let server = FleetbeatServer::start();
        let authority = Authority::new();
        let stand_in =
            StandIn::with_tls(&authority.certify("localhost", YEARS), server.address());

        let folder = tempfile::tempdir().expect("a temporary folder");
        let ca_file = folder.path().join("ca.pem");
        fs::write(&ca_file, authority.pem()).expect("a writable folder");

        let config = folder.path().join("agent.toml");
        let text = format!(
            "[server]\nurl = \"https://localhost:{}\"\nca_file = {ca_file:?}\n[spool]\npath = {:?}\n\
             [host]\nip = \"192.0.2.1\"\n[schedule]\n{schedule}\n\
             [collectors.cpu]\n[collectors.ram]\n[collectors.net]\n{collectors}",
            stand_in.address().port(),
            folder.path()
        );
        fs::write(&config, text).expect("a writable folder");

        let mut command = Command::new(program);
        command
            .arg("-c")
            .arg(&config)
            .arg("run")
            .env("AGENT_API_KEY", AGENT_KEY);
        let process = Running::spawn(command.stdin(Stdio::null()).stderr(Stdio::null()));

        Agent {
            process,
            server,
            _stand_in: stand_in,
            _folder: folder,
        }
    }

    /// Waits for so many heartbeats more.
    fn wait_for(&self, heartbeats: u32) {
        let token = self.server.admin_token();
        let heard = |after: &str| {
            let server: Value = self
                .server
                .api(&token, "GET", "/server/192.0.2.1", None)
                .json();
            let at = server["last_heartbeat"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            (at != after).then_some(at)
        };

        let mut last = String::new();
        for _ in 0..heartbeats {
            last = wait_for("the agent's next heartbeat", || heard(&last));
        }
    }

    fn rss_mib(&self) -> f64 {
        rss_mib(self.process.pid())
    }
}

/// The limits that operators are promised of the static agent.
const MAX_RSS_MIB: f64 = 2.5;
const MAX_THREADS: u64 = 2;
const MAX_CPU: Duration = Duration::from_millis(15);
/// The agent may seem to grow by so much, because a page more or less is in memory just
/// then.
const MAX_GROWTH_MIB: f64 = 0.25;

/// Prints the tables; gives the number of broken promises, if the agent is the static
/// one.
pub(super) fn measure(scale: &Scale, program: &Path, is_static: bool) -> usize {
    let broken = alone(scale, program);
    if !scale.side_by_side.is_zero() {
        side_by_side(scale.side_by_side, program);
    }
    if is_static { broken } else { 0 }
}

fn alone(scale: &Scale, program: &Path) -> usize {
    let (few, many) = scale.agent_heartbeats;
    let size = fs::metadata(program).expect("the agent is built").len();
    let usual = Agent::start(
        program,
        "sample_every = \"200ms\"\nsamples_per_heartbeat = 4",
        UNITS,
    );
    usual.wait_for(1);
    let pid = usual.process.pid();
    let before = (process::cpu_time(pid), process::cpu_time_with_children(pid));
    usual.wait_for(few);
    let own = process::cpu_time(pid) - before.0;
    let with_children = process::cpu_time_with_children(pid) - before.1;
    let threads = fewest_threads(pid);
    drop(usual);

    let fast = Agent::start(
        program,
        "sample_every = \"100ms\"\nsamples_per_heartbeat = 1",
        "",
    );
    fast.wait_for(many / 10);
    let early = fast.rss_mib();
    fast.wait_for(many - many / 10);
    println!(
        "| agent (4 samples, 4 units and a TLS handshake each) | binary | CPU per heartbeat | with systemctl | threads | RSS after {} heartbeats | after {many} |",
        many / 10
    );
    println!("|---|--:|--:|--:|--:|--:|--:|");
    let late = fast.rss_mib();
    println!(
        "| {few} heartbeats for the CPU | {size} bytes | {} | {} | {threads} | {early:.1} MiB | {late:.1} MiB |\n",
        millis(own / few),
        millis(with_children / few),
    );
    let broken = [
        ("memory", late > MAX_RSS_MIB),
        ("growth", late > early + MAX_GROWTH_MIB),
        ("threads", threads > MAX_THREADS),
        // A few heartbeats are too few for a clock of ten milliseconds.
        ("CPU", few >= 50 && with_children / few > MAX_CPU),
    ];
    let broken = broken.iter().filter(|(_, is_broken)| *is_broken);
    broken
        .inspect(|(what, _)| eprintln!("bench: the agent's {what} is over its limit"))
        .count()
}

/// Another program of the agent's kind, as Debian packages the program.
struct Peer {
    process: Running,
    name: &'static str,
    package: &'static str,
    /// The address to scrape, of a peer that does nothing by itself.
    scraped_at: Option<SocketAddr>,
}

/// The agent and its peers on this machine, as far as the peers are installed, at the
/// same time.
fn side_by_side(time: Duration, program: &Path) {
    let usual = Agent::start(
        program,
        "sample_every = \"3s\"\nsamples_per_heartbeat = 4",
        UNITS,
    );
    let folder = tempfile::tempdir().expect("a temporary folder");
    let peers: Vec<Peer> = [start_node_exporter(), start_collectd(folder.path())]
        .into_iter()
        .flatten()
        .collect();
    usual.wait_for(1);
    scrape_all(&peers);

    let agent_bytes = fs::metadata(program).expect("it is built").len();
    let mut processes =
        vec![("fleetbeat-agent (static)", usual.process.pid(), agent_bytes)];
    processes.extend(
        peers
            .iter()
            .map(|peer| (peer.name, peer.process.pid(), installed_bytes(peer.package))),
    );
    let before: Vec<Duration> = processes
        .iter()
        .map(|(_, pid, _)| process::cpu_time_with_children(*pid))
        .collect();
    let until = Instant::now() + time;
    while Instant::now() < until {
        thread::sleep(Duration::from_secs(30) / PACE);
        scrape_all(&peers);
    }

    println!(
        "| side by side for {} s at {PACE} times the usual pace | RSS | CPU per hour | installed |",
        time.as_secs()
    );
    println!("|---|--:|--:|--:|");
    for ((name, pid, bytes), before) in processes.into_iter().zip(before) {
        let cpu = process::cpu_time_with_children(pid) - before;
        let hours = time.as_secs_f64() * f64::from(PACE) / 3600.0;
        println!(
            "| {name} | {:.1} MiB | {:.2} s | {:.1} MB |",
            rss_mib(pid),
            cpu.as_secs_f64() / hours,
            bytes as f64 / 1e6
        );
    }
    println!();
}

/// Starts `node_exporter` and waits until scrapes work; `None` if `node_exporter` is not
/// installed.
fn start_node_exporter() -> Option<Peer> {
    let address = free_address();
    let process = start("prometheus-node-exporter", |command| {
        command
            .arg(format!("--web.listen-address={address}"))
            .arg("--log.level=error");
    })?;
    wait_for("node_exporter", || client::connect(address).ok());
    Some(Peer {
        process,
        name: "node_exporter of Debian",
        package: "prometheus-node-exporter",
        scraped_at: Some(address),
    })
}

/// Starts collectd with its files in `folder`; `None` if collectd is not installed.
fn start_collectd(folder: &Path) -> Option<Peer> {
    let config = folder.join("collectd.conf");
    fs::write(&config, collectd_config(folder)).expect("a writable folder");
    let process = start("collectd", |command| {
        command.arg("-f").arg("-C").arg(&config);
    })?;
    Some(Peer {
        process,
        name: "collectd of Debian",
        package: "collectd-core",
        scraped_at: None,
    })
}

/// Starts a peer. If the peer is not installed, a line on standard error says that the
/// comparison goes without.
fn start(program: &str, arguments: impl FnOnce(&mut Command)) -> Option<Running> {
    let paths = ["/usr/bin", "/usr/sbin"].map(|folder| Path::new(folder).join(program));
    let Some(path) = paths.iter().find(|path| path.is_file()) else {
        eprintln!("bench: {program} is not installed: the agent is measured without it");
        return None;
    };

    let mut command = Command::new(path);
    arguments(&mut command);
    let running = Running::spawn(
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null()),
    );
    Some(running)
}

/// Measures as the agent does, every 30 s at the usual pace, and sends to where nobody
/// listens.
fn collectd_config(folder: &Path) -> String {
    let plugins = ["cpu", "memory", "interface", "df", "load", "uptime"];
    let plugins: String = plugins
        .iter()
        .map(|name| format!("LoadPlugin {name}\n"))
        .collect();
    format!(
        "BaseDir {folder:?}\nPIDFile \"{}/pid\"\nInterval {}\n{plugins}LoadPlugin network\n\
         <Plugin network>\nServer \"127.0.0.1\" \"9\"\n</Plugin>\n",
        folder.display(),
        30 / PACE
    )
}

/// Scrapes the peers that wait for scrapes.
fn scrape_all(peers: &[Peer]) {
    for address in peers.iter().filter_map(|peer| peer.scraped_at) {
        scrape(address);
    }
}

/// As Prometheus does, but in HTTP/1.0, which has no chunks.
fn scrape(address: SocketAddr) {
    let mut stream = client::connect(address).expect("node_exporter listens");
    stream
        .write_all(b"GET /metrics HTTP/1.0\r\n\r\n")
        .expect("node_exporter reads");
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .expect("node_exporter answers");
    assert!(answer.starts_with("HTTP/1.0 200 "), "{answer}");
}

/// The installed size of a package according to dpkg, without its dependencies.
fn installed_bytes(package: &str) -> u64 {
    let output = Command::new("dpkg-query")
        .args(["-W", "-f", "${Installed-Size}", package])
        .output();
    let output = output.expect("dpkg-query, as the package is Debian's");
    let kib: u64 = String::from_utf8_lossy(&output.stdout)
        .parse()
        .expect("the package is installed");
    kib * 1024
}

/// The number of threads at rest, which at this pace lasts for moments only.
fn fewest_threads(pid: u32) -> u64 {
    let look = |_| {
        thread::sleep(Duration::from_millis(5));
        process::status(pid, "Threads")
    };
    (0..100).map(look).min().expect("a hundred looks")
}

fn rss_mib(pid: u32) -> f64 {
    process::status(pid, "VmRSS") as f64 / 1024.0
}
