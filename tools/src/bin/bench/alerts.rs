//! What alerts cost: heartbeats and CPU time beside a hundred rules, memory with an open
//! alert of each host, and the time from a host's silence to the message.

use std::thread;
use std::time::{Duration, Instant};

use fleetbeat_tools::fake_http::FakeHttp;
use fleetbeat_tools::fleet::Fleet;
use fleetbeat_tools::load::{self, Report};
use fleetbeat_tools::process;
use fleetbeat_tools::report::millis;
use fleetbeat_tools::server::FleetbeatServer;
use fleetbeat_tools::wait;
use serde_json::{Value, json};

use crate::history::FLEET_RATE;
use crate::measure::{heartbeat, limit, measure as measure_cpu, next_loud, populate};
use crate::scale::Scale;

/// Channels may be on loopback, and no host is down while another server is measured.
const SETTINGS: &str = "[alerts]\nallow_private = [\"127.0.0.0/8\"]\n\
    [sweep]\ndown_after = \"1h\"\n";
/// The same without alerts.
const OFF: &str = "[alerts]\nenabled = false\n[sweep]\ndown_after = \"1h\"\n";
const RULES: usize = 100;
/// The server looks so often.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// With alerts, heartbeats may take this many times as long as without.
const MOST: f64 = 1.1;
/// A look sees hosts as they were up to two seconds before, and senders look for messages
/// twice a second.
const SLACK: Duration = Duration::from_millis(2500);
/// Longest wait for a message.
const LONG: Duration = Duration::from_secs(300);

/// Prints the tables; gives the number of failed requests, and of limits that are not kept.
pub(super) fn measure(scale: &Scale) -> usize {
    let broken = beside_rules(scale);
    // Nothing of these two takes much of the machine.
    let (memory, silence) = thread::scope(|scope| {
        let memory = scope.spawn(|| open_alerts(scale));
        let silence = scope.spawn(|| silence(scale));
        (
            memory.join().expect("no thread panics"),
            silence.join().expect("no thread panics"),
        )
    });
    memory.print();
    broken + silence.print(scale)
}

/// A server and the heartbeats that it takes.
struct Arm {
    server: FleetbeatServer,
    fleet: Fleet,
    next: usize,
    hosts: usize,
    windows: Vec<(Report, Duration)>,
}

impl Arm {
    fn start(settings: &str, hosts: u32) -> Arm {
        let server = FleetbeatServer::start_with(settings, &[]);
        let fleet = populate(&server, hosts);
        Arm {
            server,
            fleet,
            next: 0,
            hosts: hosts as usize,
            windows: Vec::new(),
        }
    }

    /// Heartbeats at the rate of 10,000 hosts.
    fn beat(&mut self, seconds: Duration) {
        let until = Instant::now() + seconds;
        let first = self.next;
        let mut hosts = (0..self.hosts).cycle().skip(first);
        let fleet = &mut self.fleet;
        let address = self.server.address();
        let window = measure_cpu(&self.server, || {
            load::run(address, 8, Some(FLEET_RATE), || {
                (Instant::now() < until).then(|| heartbeat(&next_loud(fleet, &mut hosts)))
            })
        });
        self.next = hosts.next().unwrap_or_default();
        self.windows.push(window);
    }

    fn report(&self) -> Report {
        let mut whole = Report::default();
        for (report, _) in &self.windows {
            whole.merge(report);
            whole.took += report.took;
        }
        whole
    }

    fn cpu(&self) -> Duration {
        self.windows.iter().map(|(_, cpu)| *cpu).sum()
    }
}

/// Prints the tables of heartbeats beside rules, in turns with a server without alerts;
/// gives the number of failed requests, and of limits that are not kept.
fn beside_rules(scale: &Scale) -> usize {
    let hosts = *scale.fleets.last().expect("a fleet");
    // Whole looks, so that each window has as many of them.
    let (rounds, seconds) = if scale.is_full { (10, 20) } else { (1, 1) };
    let seconds = Duration::from_secs(seconds);
    let (mut off, mut on) = (Arm::start(OFF, hosts), Arm::start(SETTINGS, hosts));
    let token = on.server.admin_token();
    for number in 0..RULES {
        make(&on.server, &token, "/alert-rules", &rule(number));
    }
    if scale.is_full {
        // The first look sees every host anew.
        thread::sleep(LOOK_EVERY * 2);
    }
    for round in 0..rounds {
        let mut arms = [&mut off, &mut on];
        arms.rotate_left(round % 2);
        arms.into_iter().for_each(|arm| arm.beat(seconds));
    }

    println!(
        "| heartbeats at {FLEET_RATE} a second, {hosts} hosts, in turns | for | p50 | p99 | server CPU |\n|---|--:|--:|--:|--:|"
    );
    for (what, arm) in [
        ("without alerts".to_owned(), &off),
        (format!("with {RULES} rules"), &on),
    ] {
        let report = arm.report();
        println!(
            "| {what} | {:.0} s | {} | {} | {:.2} % of a core |",
            report.took.as_secs_f64(),
            millis(report.percentile(50)),
            millis(report.percentile(99)),
            100.0 * arm.cpu().as_secs_f64() / report.took.as_secs_f64(),
        );
    }

    let (times, noise) = compare(&off, &on);
    let looks = on.report().took.as_secs_f64() / LOOK_EVERY.as_secs_f64();
    let more = on.cpu().as_secs_f64() - off.cpu().as_secs_f64();
    println!(
        "\n| {RULES} rules over {hosts} hosts | p99 of heartbeats, times that without | server CPU of a look |\n|---|--:|--:|"
    );
    println!(
        "| mean of {rounds} turns | {times:.2} ± {noise:.2} | {:.0} ms |\n",
        1000.0 * more / looks
    );
    let mut broken = off.report().failed() + on.report().failed();
    if scale.is_full {
        broken += limit("p99 of heartbeats beside rules", times - noise, MOST);
    }
    broken
}

/// How many times as long the heartbeats of `on` took as those of `off` in the same turn:
/// the mean of all turns, and its standard error.
fn compare(off: &Arm, on: &Arm) -> (f64, f64) {
    let turns = off.windows.iter().zip(&on.windows);
    let ratios: Vec<f64> = turns
        .map(|((off, _), (on, _))| {
            on.percentile(99).as_secs_f64() / off.percentile(99).as_secs_f64()
        })
        .collect();
    let count = ratios.len() as f64;
    let mean = ratios.iter().sum::<f64>() / count;
    let squares = ratios.iter().map(|ratio| (ratio - mean).powi(2));
    let variance = squares.sum::<f64>() / (count - 1.0).max(1.0);
    (mean, (variance / count).sqrt())
}

/// One of a hundred rules, each with a selector of its own.
fn rule(number: usize) -> Value {
    let mut rule = match number % 5 {
        0 => json!({"when": "metric", "metric": "disk_used_percent", "above": 95}),
        1 => json!({"when": "load", "load": "cpu", "above": 99.9, "for": "10m"}),
        2 => json!({"when": "down", "for": "1m"}),
        3 => json!({"when": "service", "service": "wg*", "for": "1h"}),
        _ => json!({"when": "many_down", "group_by": ["country"]}),
    };
    rule["name"] = format!("rule {number}").into();
    rule["severity"] = "warning".into();
    let select = format!("country in (DE, NL, US) and load.cpu < {}", number + 1);
    rule["where"] = select.into();
    rule
}

fn make(server: &FleetbeatServer, token: &str, target: &str, body: &Value) {
    let made = server.api(token, "POST", target, Some(body));
    assert_eq!(made.status, 201, "{made:?}");
}

fn make_hook(server: &FleetbeatServer, token: &str, peer: &FakeHttp) {
    let settings = json!({"url": peer.url("/hook")});
    let channel = json!({"name": "hook", "kind": "webhook", "settings": settings});
    make(server, token, "/channels", &channel);
}

/// What open alerts take of the server's memory, in MiB.
struct Memory {
    hosts: u32,
    before: f64,
    after: f64,
}

impl Memory {
    fn print(&self) {
        println!("| server RSS at {} hosts | MiB |\n|---|--:|", self.hosts);
        println!("| no alert | {:.1} |", self.before);
        println!(
            "| an open alert of each, which was told | {:.1} |\n",
            self.after
        );
    }
}

fn open_alerts(scale: &Scale) -> Memory {
    let hosts = *scale.fleets.last().expect("a fleet");
    let (down, settle) = if scale.is_full { (60, 30) } else { (5, 0) };
    let server = FleetbeatServer::start_with(&settings(down, 1), &[]);
    let token = server.admin_token();
    let peer = FakeHttp::start([]);
    make_hook(&server, &token, &peer);
    let memory = || process::status(server.pid(), "VmRSS") as f64 / 1024.0;

    // The time of grace after a start is over.
    keep_up(
        &server,
        hosts,
        Duration::from_secs(down + settle) + LOOK_EVERY,
    );
    let before = memory();
    let all = json!({
        "name": "all", "severity": "warning", "when": "load", "load": "ram", "above": 0.1,
        "group_wait": "0s", "channels": ["all"],
    });
    make(&server, &token, "/alert-rules", &all);
    wait::within(
        LONG,
        Duration::from_secs(1),
        "all alerts to be told",
        || {
            populate(&server, hosts);
            let told = peer.received().into_iter();
            let firing = told.map(|told| told.json()["groups"][0]["firing"].as_u64());
            (firing.max() == Some(Some(hosts.into()))).then_some(())
        },
    );
    keep_up(&server, hosts, Duration::from_secs(settle));
    Memory {
        hosts,
        before,
        after: memory(),
    }
}

/// Sends heartbeats of all hosts for so long.
fn keep_up(server: &FleetbeatServer, hosts: u32, time: Duration) {
    let until = Instant::now() + time;
    while Instant::now() < until {
        populate(server, hosts);
        thread::sleep(Duration::from_secs(1));
    }
}

/// Settings of a server that sends messages to a channel on loopback, with times in
/// seconds.
fn settings(down_after: u64, sweep: u64) -> String {
    format!(
        "[alerts]\nallow_private = [\"127.0.0.0/8\"]\n\
         [sweep]\ndown_after = \"{down_after}s\"\ninterval = \"{sweep}s\"\n"
    )
}

/// How long it took from each host's last heartbeat to the message.
struct Silence {
    took: Vec<Duration>,
    most: Duration,
}

impl Silence {
    fn print(&self, scale: &Scale) -> usize {
        let count = self.took.len();
        let mean = self.took.iter().sum::<Duration>().as_secs_f64() / count as f64;
        let longest = self.took.iter().max().copied().unwrap_or_default();
        println!(
            "| from the last heartbeat to the message | mean | longest | down_after + sweep + 10 s + group_wait |\n|---|--:|--:|--:|"
        );
        println!(
            "| {count} hosts that fall silent | {mean:.1} s | {:.1} s | {:.0} s |\n",
            longest.as_secs_f64(),
            self.most.as_secs_f64()
        );
        if !scale.is_full {
            return 0;
        }
        let most = self.most + SLACK;
        limit("a message", longest.as_secs_f64(), most.as_secs_f64())
    }
}

fn silence(scale: &Scale) -> Silence {
    let (hosts, spread, down, sweep, wait) = if scale.is_full {
        (60, LOOK_EVERY * 6, 20, 5, 30)
    } else {
        (2, LOOK_EVERY, 2, 1, 0)
    };
    let server = FleetbeatServer::start_with(&settings(down, sweep), &[]);
    let token = server.admin_token();
    let peer = FakeHttp::start([]);
    make_hook(&server, &token, &peer);
    let rule = json!({
        "name": "down", "severity": "critical", "when": "down", "channels": ["all"],
        "group_by": ["hostname"], "group_wait": format!("{wait}s"),
    });
    make(&server, &token, "/alert-rules", &rule);
    // The time of grace after a start is over.
    let began = Instant::now() + Duration::from_secs(down) + LOOK_EVERY;
    let silent_from: Vec<Instant> = (0..hosts)
        .map(|host| began + spread * host / hosts)
        .collect();
    let last = beat_until(&server, &silent_from, &peer);
    let took = last.iter().enumerate().map(|(host, last)| {
        let told = told(&peer, &hostname(host)).expect("it was told");
        told.saturating_duration_since(*last)
    });
    Silence {
        took: took.collect(),
        most: Duration::from_secs(down + sweep + wait) + LOOK_EVERY,
    }
}

/// Hosts that beat each half a second, each until its time comes, and three more until all
/// is told. Gives when each was heard last.
fn beat_until(
    server: &FleetbeatServer,
    silent_from: &[Instant],
    peer: &FakeHttp,
) -> Vec<Instant> {
    let mut last = vec![Instant::now(); silent_from.len()];
    wait::within(
        LONG,
        Duration::from_millis(500),
        "all hosts to be told",
        || {
            for host in 0..silent_from.len() + 3 {
                let until = silent_from.get(host);
                if until.is_none_or(|until| *until > Instant::now()) {
                    let answer = server.heartbeat(&body(host));
                    assert_eq!(answer.status, 200, "{answer:?}");
                    if let Some(last) = last.get_mut(host) {
                        *last = Instant::now();
                    }
                }
            }
            let mut names = (0..silent_from.len()).map(hostname);
            names.all(|name| told(peer, &name).is_some()).then_some(())
        },
    );
    last
}

/// When a peer was told of a host.
fn told(peer: &FakeHttp, name: &str) -> Option<Instant> {
    let mut received = peer.received().into_iter();
    let quoted = format!("\"{name}\"");
    let about = received.find(|received| received.body.contains(&quoted));
    about.map(|received| received.at)
}

fn hostname(host: usize) -> String {
    format!("silent-{host}")
}

fn body(host: usize) -> Value {
    json!({
        "ip": format!("10.0.{}.{}", host / 200, host % 200 + 1),
        "countryCode": "DE", "country": "Germany", "city": "Munich",
        "hostname": hostname(host), "services": [],
        "load": {"cpu": 10.0, "ram": 20.0, "net": 30.0},
    })
}
