//! fleetsim: plays a fleet of agents.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::{SocketAddr, ToSocketAddrs};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use fleetbeat_tools::client;
use fleetbeat_tools::fleet::Fleet;
use fleetbeat_tools::load::Report;
use lexopt::{Arg, ValueExt};

const HELP: &str = "\
fleetsim: plays a fleet of agents whose load moves, that fall silent and return

Usage: AGENT_API_KEY=… fleetsim --url http://127.0.0.1:8080 [OPTIONS]

Options:
  --url URL             the server
  --hosts N             how many agents [default: 100]
  --interval SECONDS    time between two heartbeats of an agent [default: 120]
  --duration SECONDS    how long to play [default: 60; 0: until stopped]
  --rate N              most heartbeats a second [default: 1000]
  --seed N              the same seed plays the same fleet [default: 1]
  --threads N           connections at once [default: 8]
  --allow-remote        send to other addresses than loopback
";

/// The arguments, checked.
struct Options {
    server: SocketAddr,
    hosts: u32,
    interval: Duration,
    duration: Option<Duration>,
    rate: f64,
    seed: u64,
    threads: usize,
}

fn main() -> ExitCode {
    let key = std::env::var("AGENT_API_KEY").unwrap_or_default();
    match parse() {
        Ok(None) => print!("{HELP}"),
        Ok(Some(options)) => {
            let report = play(&options, &key);
            println!(
                "{} heartbeats in {:.1} s: {} ok, {} failed {:?}, p50 {:.1?}, p99 {:.1?}",
                report.latencies.len(),
                report.took.as_secs_f64(),
                report.ok(),
                report.failed(),
                report.statuses,
                report.percentile(50),
                report.percentile(99),
            );
            if report.failed() > 0 {
                return ExitCode::FAILURE;
            }
        }
        Err(error) => {
            eprintln!("fleetsim: {error}");
            return ExitCode::from(64);
        }
    }
    ExitCode::SUCCESS
}

fn parse() -> Result<Option<Options>, lexopt::Error> {
    let (mut url, mut allow_remote) = (String::new(), false);
    let (mut hosts, mut interval, mut duration, mut rate, mut seed, mut threads) =
        (100, 120.0, 60.0, 1000.0, 1, 8);
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Long("url") => url = parser.value()?.string()?,
            Arg::Long("hosts") => hosts = parser.value()?.parse()?,
            Arg::Long("interval") => interval = parser.value()?.parse()?,
            Arg::Long("duration") => duration = parser.value()?.parse()?,
            Arg::Long("rate") => rate = parser.value()?.parse()?,
            Arg::Long("seed") => seed = parser.value()?.parse()?,
            Arg::Long("threads") => threads = parser.value()?.parse()?,
            Arg::Long("allow-remote") => allow_remote = true,
            Arg::Short('h') | Arg::Long("help") => return Ok(None),
            _ => return Err(argument.unexpected()),
        }
    }

    let seconds = |name: &str, value: f64| {
        Duration::try_from_secs_f64(value)
            .map_err(|_| format!("{name} must be a number of seconds"))
    };
    let interval = seconds("--interval", interval)?;
    let duration = seconds("--duration", duration)?;
    let options = Options {
        server: resolve(&url)?,
        hosts,
        interval,
        duration: Some(duration).filter(|duration| !duration.is_zero()),
        rate,
        seed,
        threads,
    };
    options.check(allow_remote)?;
    Ok(Some(options))
}

impl Options {
    /// Whether the numbers can be played, and the server may be played against.
    fn check(&self, allow_remote: bool) -> Result<(), String> {
        let most_hosts = 1 << 23;
        if !(1..=most_hosts).contains(&self.hosts)
            || !(0.1..=1e6).contains(&self.rate)
            || !(1..=1024).contains(&self.threads)
        {
            return Err(
                "--hosts, --rate and --threads must be positive and not absurd".into(),
            );
        }
        if self.interval < Duration::from_millis(100) {
            return Err("--interval must be at least 0.1".into());
        }

        let server = self.server;
        if !server.ip().is_loopback() && !allow_remote {
            return Err(format!(
                "{server} is not loopback: give --allow-remote if that is meant"
            ));
        }
        Ok(())
    }
}

fn resolve(url: &str) -> Result<SocketAddr, String> {
    let authority = url
        .strip_prefix("http://")
        .map(|rest| rest.trim_end_matches('/'));
    let wrong = || format!("--url must be such as http://127.0.0.1:8080, not {url:?}");
    let mut addresses = authority
        .ok_or_else(wrong)?
        .to_socket_addrs()
        .map_err(|_| wrong())?;
    addresses.next().ok_or_else(wrong)
}

/// Each host beats once soon after the start, so that the fleet is there at once. From
/// then on each host beats every interval at a time of its own, as agents do.
fn play(options: &Options, key: &str) -> Report {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        signal_hook::flag::register(signal, stop.clone())
            .expect("these signals can be caught");
    }

    let (to_senders, requests) = mpsc::sync_channel::<Vec<u8>>(options.threads);
    let requests = Mutex::new(requests);
    let report = Mutex::new(Report::default());
    let started = Instant::now();

    thread::scope(|scope| {
        for _ in 0..options.threads {
            scope.spawn(|| send_all(options.server, &requests, &report));
        }
        schedule(options, key, &stop, &to_senders);
        drop(to_senders);
    });

    let mut report = report.into_inner().expect("no thread panics");
    report.took = started.elapsed();
    report.latencies.sort_unstable();
    report
}

fn send_all(
    server: SocketAddr,
    requests: &Mutex<mpsc::Receiver<Vec<u8>>>,
    report: &Mutex<Report>,
) {
    loop {
        let next = requests.lock().expect("no thread panics").recv();
        let Ok(request) = next else { return };
        let sent = Instant::now();
        let status = client::exchange(server, &request).map_or(0, |answer| answer.status);
        report
            .lock()
            .expect("no thread panics")
            .add(status, sent.elapsed(), 0);
    }
}

fn schedule(
    options: &Options,
    key: &str,
    stop: &AtomicBool,
    to_senders: &mpsc::SyncSender<Vec<u8>>,
) {
    let mut fleet = Fleet::new(options.seed, options.hosts);
    let gap = Duration::from_secs_f64(1.0 / options.rate);
    let started = Instant::now();

    let mut due: BinaryHeap<Reverse<(Instant, usize)>> = (0..options.hosts)
        .map(|host| Reverse((started + gap * host, host as usize)))
        .collect();
    let mut is_first = vec![true; options.hosts as usize];
    let mut free = started;

    while let Some(Reverse((at, host))) = due.pop() {
        let at = at.max(free);
        if options
            .duration
            .is_some_and(|duration| at >= started + duration)
        {
            return;
        }

        sleep_until(at, stop);
        // Checked here, too: a schedule that is late for a slow server never sleeps.
        if stop.load(Ordering::Relaxed) {
            return;
        }

        if let Some(body) = fleet.next(host) {
            let headers = [("X-API-Key", key), ("Content-Type", "application/json")];
            if to_senders
                .send(client::encode("POST", "/heartbeat", &headers, &body))
                .is_err()
            {
                return;
            }
            free = at + gap;
        }

        let first = is_first.get_mut(host).is_some_and(std::mem::take);
        let share = if first {
            (host + 1) as f64 / f64::from(options.hosts)
        } else {
            1.0
        };
        due.push(Reverse((at + options.interval.mul_f64(share), host)));
    }
}

/// Sleeps until `at`, or until `stop` is set.
fn sleep_until(at: Instant, stop: &AtomicBool) {
    while Instant::now() < at && !stop.load(Ordering::Relaxed) {
        thread::sleep(
            at.saturating_duration_since(Instant::now())
                .min(Duration::from_millis(100)),
        );
    }
}
