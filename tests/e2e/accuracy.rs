//! The agent's figures under a known load, against a calculation by another way.
//!
//! The network's test makes a network namespace. Only root may do so: for other users the
//! test fails, and says so.

use std::fs;
use std::net::UdpSocket;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fleetbeat_tools::process::program;
use serde_json::Value;

/// The window of `once`.
const WINDOW_MS: f64 = 1000.0;

/// The heartbeat that the agent would send, with the figures of a single collector.
fn once(collector: &str) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("agent.toml");
    fs::write(
        &config,
        format!("[server]\nurl = \"http://127.0.0.1:9\"\n{collector}\n"),
    )
    .unwrap();

    let output = program("fleetbeat-agent")
        .arg("-c")
        .arg(config)
        .arg("once")
        .output()
        .unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
}

/// The result of `run`, and the readings that another thread takes meanwhile, each with
/// its time in milliseconds.
fn watch<T, R: Send>(
    read: impl Fn() -> R + Sync,
    run: impl FnOnce() -> T,
) -> (T, Vec<(f64, R)>) {
    let (done, readings) = (AtomicBool::new(false), Mutex::new(Vec::new()));
    let result = thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let reading = read();
                readings.lock().unwrap().push((now_ms(), reading));
                thread::sleep(Duration::from_millis(2));
            }
        });
        // One reading before the window, and another after the window.
        let wait_for_reading = || {
            let taken = readings.lock().unwrap().len();
            while readings.lock().unwrap().len() == taken {
                thread::yield_now();
            }
        };
        wait_for_reading();
        let result = run();
        wait_for_reading();
        done.store(true, Ordering::Relaxed);
        result
    });
    (result, readings.into_inner().unwrap())
}

fn now_ms() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs_f64()
        * 1000.0
}

/// The reading that was current at a moment.
fn at<R>(readings: &[(f64, R)], moment_ms: f64) -> &(f64, R) {
    readings
        .iter()
        .rev()
        .find(|(at_ms, _)| *at_ms <= moment_ms)
        .expect("a reading before that moment")
}

fn end_of_window_ms(heartbeat: &Value) -> f64 {
    let collected_at = heartbeat["collected_at"]
        .as_str()
        .unwrap()
        .parse::<fleetbeat_protocol::Timestamp>();
    collected_at.unwrap().as_millisecond() as f64
}

#[track_caller]
fn assert_near(what: &str, told: f64, expected: f64, tolerance: f64) {
    assert!(
        (told - expected).abs() <= tolerance,
        "{what}: {told}, not {expected} ± {tolerance}"
    );
}

#[test]
fn cpu_agrees_with_the_idle_time_of_proc_uptime() {
    let cpus = thread::available_parallelism().unwrap().get() as f64;
    let stop = AtomicBool::new(false);
    let (heartbeat, readings) = thread::scope(|scope| {
        // One busy thread, so that there is idle time to measure, too, unless other
        // programs are busy.
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        });
        // The idle time of all CPUs, of which /proc/uptime has the sum. Time waiting for
        // I/O is idle, too, for the agent, and is only in /proc/stat, in hundredths.
        let field = |file: &str, place: usize| {
            let text = fs::read_to_string(file).unwrap();
            let field = text.split_whitespace().nth(place).unwrap();
            field.parse::<f64>().unwrap()
        };
        let read_idle_seconds =
            || field("/proc/uptime", 1) + field("/proc/stat", 5) / 100.0;
        let result = watch(read_idle_seconds, || once("[collectors.cpu]"));
        stop.store(true, Ordering::Relaxed);
        result
    });

    let end_ms = end_of_window_ms(&heartbeat);
    let (begin, end) = (at(&readings, end_ms - WINDOW_MS), at(&readings, end_ms));
    let idle = (end.1 - begin.1) * 1000.0 / ((end.0 - begin.0) * cpus);
    let told = heartbeat["load"]["cpu"].as_f64().unwrap();
    // The kernel counts in hundredths of a second for each CPU.
    assert_near("cpu", told, 100.0 * (1.0 - idle), 5.0);
    assert!(
        told > 90.0 / cpus,
        "{told} with a thread that is always busy"
    );
}

#[test]
fn memory_agrees_with_free() {
    let total_and_available = || {
        let output = Command::new("free")
            .arg("-b")
            .output()
            .expect("free of procps");
        let output = String::from_utf8(output.stdout).unwrap();
        // total used free shared buff/cache available
        let line = output
            .lines()
            .find_map(|line| line.strip_prefix("Mem:"))
            .unwrap();
        let numbers: Vec<f64> = line
            .split_whitespace()
            .map(|word| word.parse().unwrap())
            .collect();
        [numbers[0], numbers[5]]
    };

    let [total, available] = total_and_available();
    // So much that it shows: with less, agent and test could agree by chance.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a number of bytes"
    )]
    let taken = vec![1_u8; (available / 10.0) as usize];

    let (heartbeat, readings) = watch(total_and_available, || once("[collectors.ram]"));
    let told = heartbeat["load"]["ram"].as_f64().unwrap();
    let [_, available] = at(&readings, end_of_window_ms(&heartbeat)).1;
    assert_near("ram", told, 100.0 * (total - available) / total, 1.0);
    assert!(
        told > 100.0 * taken.len() as f64 / total,
        "{told} does not hold what is taken here"
    );
}

/// A virtual cable whose other end is in a network namespace; dropping the value removes
/// both.
struct Cable {
    name: String,
    namespace: String,
}

impl Cable {
    fn new() -> Cable {
        let pid = std::process::id();
        let cable = Cable {
            name: format!("fleet{pid}"),
            namespace: format!("fleetbeat-{pid}"),
        };

        let Cable { name, namespace } = &cable;
        ip(&format!("netns add {namespace}"));
        ip(&format!(
            "link add {name} type veth peer name eth0 netns {namespace}"
        ));
        ip(&format!("-n {namespace} link set eth0 up"));
        ip(&format!("address add 198.18.77.1/30 dev {name}"));
        ip(&format!("link set {name} up"));
        // Nobody has this address: the other end drops the packets and answers nothing.
        ip(&format!(
            "neighbour add 198.18.77.2 lladdr 02:00:00:00:00:02 dev {name}"
        ));
        cable
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        for words in [
            ["link", "delete", &self.name],
            ["netns", "delete", &self.namespace],
        ] {
            let _ = Command::new("ip").args(words).status();
        }
    }
}

#[track_caller]
fn ip(line: &str) {
    let output = Command::new("ip")
        .args(line.split_whitespace())
        .output()
        .expect("ip of iproute2");
    assert!(
        output.status.success(),
        "ip {line}: {}; this test makes a network namespace, which needs root: run it as root",
        String::from_utf8_lossy(&output.stderr).trim(),
    );
}

#[test]
fn net_agrees_with_what_was_sent() {
    const PAYLOAD: usize = 1000;
    /// With the headers of UDP, IPv4 and Ethernet.
    const PACKET_BITS: f64 = (PAYLOAD + 8 + 20 + 14) as f64 * 8.0;
    /// A packet each millisecond, of a cable of 20 Mbit/s: 42 %.
    const PAUSE: Duration = Duration::from_millis(1);
    const SPEED_MBPS: f64 = 20.0;

    let cable = Cable::new();
    let socket = UdpSocket::bind("198.18.77.1:0").unwrap();
    socket.connect("198.18.77.2:9").unwrap();
    let sent = Mutex::new(Vec::<f64>::new());
    let done = AtomicBool::new(false);
    let heartbeat = thread::scope(|scope| {
        scope.spawn(|| {
            let (began, mut due) = (Instant::now(), Duration::ZERO);
            while !done.load(Ordering::Relaxed) {
                // On a busy machine several may be due.
                while due <= began.elapsed() {
                    socket.send(&[0; PAYLOAD]).unwrap();
                    sent.lock().unwrap().push(now_ms());
                    due += PAUSE;
                }
                thread::sleep(PAUSE / 2);
            }
        });
        let interface = format!(
            "[collectors.net]\ninterface = \"{}\"\nspeed_mbps = {SPEED_MBPS}",
            cable.name
        );
        let heartbeat = once(&interface);
        done.store(true, Ordering::Relaxed);
        heartbeat
    });
    let end_ms = end_of_window_ms(&heartbeat);
    let window = end_ms - WINDOW_MS..end_ms;
    let packets = sent
        .lock()
        .unwrap()
        .iter()
        .filter(|at_ms| window.contains(at_ms))
        .count();
    assert!(
        packets > 300,
        "only {packets} packets in a second: the machine is too busy to tell"
    );
    let expected = 100.0 * packets as f64 * PACKET_BITS / (SPEED_MBPS * 1e6);
    assert_near(
        "net",
        heartbeat["load"]["net"].as_f64().unwrap(),
        expected,
        2.0,
    );
}
