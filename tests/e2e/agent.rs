//! The agent against a server with a script: which requests arrive, when, and the agent's
//! log.
#![allow(clippy::unwrap_used, reason = "a test may panic in its helpers, too")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use fleetbeat_protocol::{Heartbeat, Timestamp};
use fleetbeat_tools::process;
use fleetbeat_tools::process::{Running, program};
use fleetbeat_tools::wait::wait_for;
use tempfile::TempDir;

const KEY: &str = fleetbeat_tools::server::AGENT_KEY;
pub(crate) const OK: &str = r#"{"status":"ok"}"#;
/// Longest wait for anything that should happen soon.
const SOON: Duration = Duration::from_secs(10);
/// A heartbeat every 400 ms; retries follow within that.
pub(crate) const FAST: &str =
    "[schedule]\nsample_every = \"200ms\"\nsamples_per_heartbeat = 2\n[collectors.ram]\n";

#[test]
fn the_first_heartbeat_arrives_within_three_seconds() {
    let server = ScriptedServer::start(|_| answer(200, "", OK));
    let started = Instant::now();
    let agent = Agent::start(
        &server.url(),
        "[host]\ncountry_code = \"DE\"\ncountry = \"Germany\"\ncity = \"Munich\"\n\
         [collectors.cpu]\n[collectors.ram]\n[collectors.net]\n\
         [collectors.services]\nunits = [ {name = \"wg\", unit = \"wg-quick@wg0\"}, \
         {name = \"ov\", unit = \"openvpn-server@server\"} ]\n",
    );
    let request = server.next();
    assert!(
        started.elapsed() < Duration::from_secs(3),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(request.line, "POST /heartbeat HTTP/1.1");
    assert_eq!(request.header("X-API-Key"), Some(KEY));
    assert_eq!(request.header("Content-Type"), Some("application/json"));
    assert_eq!(request.header("Connection"), Some("close"));

    let heartbeat = request.heartbeat();
    let of_kernel = |name| {
        fs::read_to_string(format!("/proc/sys/kernel/{name}"))
            .unwrap()
            .trim()
            .to_owned()
    };
    assert_eq!(heartbeat.ip.unwrap().to_string(), "127.0.0.1");
    assert_eq!(heartbeat.hostname, of_kernel("hostname"));
    assert_eq!(heartbeat.boot_id, Some(of_kernel("random/boot_id")));
    assert_eq!(heartbeat.country_code, "DE");
    assert!(heartbeat.load.ram.is_some() && heartbeat.collected_at.is_some());
    let states: Vec<_> = heartbeat
        .services
        .iter()
        .map(|service| (service.name.as_str(), service.active))
        .collect();
    assert_eq!(states, [("wg", true), ("ov", false)]);
    agent.wait_for_log("the server accepts heartbeats");
    let threads = || process::status(agent.child.id(), "Threads");
    wait_for("the call's thread to end", || {
        (threads() == 2).then_some(())
    });
}

#[test]
fn the_agent_listens_on_nothing() {
    let settings = settings("http://127.0.0.1:9", FAST);
    let log = settings.path().join("log");
    let agent = agent_command(&settings);
    // In a network of its own, every socket is the agent's.
    let mut command = Command::new("unshare");
    command
        .args(["--map-root-user", "--net"])
        .arg(agent.get_program())
        .args(agent.get_args());
    command.envs(
        agent
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );

    let agent = Running::spawn(command.stderr(fs::File::create(&log).unwrap()));
    wait_for("a call that fails", || {
        fs::read_to_string(&log)
            .unwrap()
            .contains("no answer from")
            .then_some(())
    });

    // Finding the way to the server takes an unconnected socket for a moment.
    wait_for("no socket to listen", || {
        let tables = ["tcp", "tcp6", "udp", "udp6", "raw", "raw6"];
        let paths = tables.map(|table| format!("/proc/{}/net/{table}", agent.pid()));
        let sockets = paths
            .map(|path| fs::read_to_string(path).unwrap_or_default())
            .concat();
        let is_listening =
            |line: &str| ["0A", "07"].contains(&line.split_whitespace().nth(3).unwrap());
        (sockets.contains("local_address") && !sockets.lines().any(is_listening))
            .then_some(())
    });
}

#[test]
fn the_key_is_shown_nowhere() {
    // The last server sends back the agent's own request.
    let server = ScriptedServer::start(|n| match n {
        0 => answer(401, "", ""),
        1 => answer(422, "", &format!("{{\"detail\":\"{KEY}\"}}")),
        2 => answer(500, &format!("X-API-Key: {KEY}\r\n"), KEY),
        3 => format!("HTTP/1.1 {KEY}").into(),
        _ => answer(200, "", OK),
    });

    let settings = settings(&server.url(), FAST);
    let log = settings.path().join("log");
    let mut command = agent_command(&settings);
    command
        .env("RUST_LOG", "trace")
        .stderr(fs::File::create(&log).unwrap());
    let agent = Running::spawn(&mut command);

    let arguments = fs::read_to_string(format!("/proc/{}/cmdline", agent.pid())).unwrap();
    let log = || fs::read_to_string(&log).unwrap();
    wait_for("all answers", || {
        log().contains("accepts heartbeats").then_some(())
    });
    assert!(log().contains("no answer from"), "{}", log());
    assert!(
        !log().contains(KEY) && !arguments.contains(KEY),
        "{}",
        log()
    );
}

#[test]
fn heartbeats_follow_each_other_with_growing_numbers() {
    let server = ScriptedServer::start(|_| answer(200, "", OK));
    let _agent = Agent::start(&server.url(), FAST);
    let heartbeats: Vec<_> = (0..4).map(|_| server.next().heartbeat()).collect();
    for pair in heartbeats.windows(2) {
        assert!(pair[0].seq < pair[1].seq && pair[0].collected_at < pair[1].collected_at);
        assert_eq!(pair[0].boot_id, pair[1].boot_id);
    }
}

#[test]
fn a_wrong_key_is_an_error_and_tried_on() {
    let is_key_known = Arc::new(AtomicBool::new(false));
    let known = Arc::clone(&is_key_known);
    let problem =
        r#"{"status":401,"title":"Unauthorized","detail":"no","request_id":"r"}"#;
    let server = ScriptedServer::start(move |_| match known.load(Ordering::Relaxed) {
        true => answer(200, "", OK),
        false => answer(401, "", problem),
    });

    let agent = Agent::start(&server.url(), FAST);
    server.next_retry();
    is_key_known.store(true, Ordering::Relaxed);
    agent.wait_for_log(
        "ERROR heartbeat not accepted: the server does not know this key (401): is AGENT_API_KEY",
    );
    agent.wait_for_log("the server accepts heartbeats again");
    assert!(!agent.log().contains(KEY));
    assert_eq!(agent.log().matches("(401)").count(), 1, "{}", agent.log());
}

#[test]
fn a_refused_heartbeat_is_dropped_and_counted() {
    let problem = r#"{"status":422,"title":"Unprocessable Content","detail":"1 rule is broken",
        "request_id":"r","errors":[{"field":"load.cpu","message":"must be from 0 to 100"}]}"#;
    let server = ScriptedServer::start(move |n| {
        if n < 2 {
            answer(422, "", problem)
        } else {
            answer(200, "", OK)
        }
    });

    let agent = Agent::start(&server.url(), FAST);
    let numbers: Vec<_> = (0..3)
        .map(|_| server.next().heartbeat().seq.unwrap())
        .collect();
    assert!(
        numbers[0] < numbers[1] && numbers[1] < numbers[2],
        "{numbers:?}"
    );
    let reason = "answer 422: 1 rule is broken; load.cpu must be from 0 to 100";
    agent.wait_for_log(&format!("heartbeat dropped, 1 since the start: {reason}"));
    agent.wait_for_log(&format!("heartbeat dropped, 2 since the start: {reason}"));
}

#[test]
fn an_answer_that_says_nothing_of_a_heartbeat_costs_none() {
    // The status of the answer, and that of the server's problem in it.
    for (status, told) in [(404, 404), (405, 405), (409, 409), (403, 503)] {
        let problem = format!(
            r#"{{"status":{told},"title":"t","detail":"d","request_id":"r","errors":[]}}"#
        );
        let server = ScriptedServer::start(move |_| answer(status, "", &problem));
        let agent = Agent::start(&server.url(), FAST);
        agent.wait_for_log("a heartbeat stays in the spool");
        let log = agent.log();
        assert!(!log.contains("dropped"), "{status}: {log}");
    }
}

#[test]
fn what_a_proxy_says_costs_no_heartbeat() {
    for status in [400, 401, 403, 404, 405, 413, 422] {
        let is_back = Arc::new(AtomicBool::new(false));
        let back = Arc::clone(&is_back);
        let server = ScriptedServer::start_seeing(move |_, request| {
            match (
                back.load(Ordering::Relaxed),
                request.line.contains("heartbeats"),
            ) {
                (false, _) => answer(status, "", "<html>not here</html>"),
                (true, false) => answer(200, "", OK),
                (true, true) => {
                    answer(200, "", r#"{"status":"ok","accepted":9,"rejected":[]}"#)
                }
            }
        });
        let agent = Agent::start(&server.url(), FAST);
        agent.wait_for_log(&format!("answer {status} is not fleetbeat-server's"));
        agent.wait_for_log("a heartbeat stays in the spool");
        is_back.store(true, Ordering::Relaxed);
        agent.wait_for_log("of the spool");

        let log = agent.log();
        assert!(!log.contains("dropped"), "{log}");
        assert_eq!(log.matches("WARN").count(), 1, "{log}");
    }
}

#[test]
fn retry_after_keeps_the_agent_silent_though_heartbeats_are_due() {
    let date = "Date: Wed, 21 Oct 2026 07:28:58 GMT\r\nRetry-After: Wed, 21 Oct 2026 07:29:00 GMT\r\n";
    for (status, pause) in [
        (503, "Retry-After: 2\r\n"),
        (429, date),
        (500, "Retry-After: 2\r\n"),
    ] {
        // Too long a body takes nothing of what the headers say.
        let unavailable = answer(status, pause, &"x".repeat(100 << 10));
        let server = ScriptedServer::start(move |n| {
            if n == 0 {
                unavailable.clone()
            } else {
                answer(200, "", OK)
            }
        });
        let agent = Agent::start(&server.url(), FAST);
        let (first, second) = (server.next(), server.next());
        let silence = second.at - first.at;
        assert!(
            silence >= Duration::from_secs(2),
            "{pause}: {silence:?}: {}",
            agent.log()
        );
        assert!(
            first.heartbeat().seq < second.heartbeat().seq,
            "the newest heartbeat is what is sent then"
        );
        agent.wait_for_log(&format!("heartbeat not accepted: answer {status}"));
    }
}

#[test]
fn a_server_that_comes_back_is_found() {
    let is_back = Arc::new(AtomicBool::new(false));
    let back = Arc::clone(&is_back);
    // Until then the server hangs up in the middle of its answer. A port that is closed
    // and opened again could be another test's meanwhile.
    let server = ScriptedServer::start(move |_| match back.load(Ordering::Relaxed) {
        true => answer(200, "", OK),
        false => b"HTTP/1.1 200".to_vec(),
    });

    let agent = Agent::start(&server.url(), FAST);
    agent.wait_for_log("heartbeat not accepted: no answer from");
    agent.wait_for_log("a heartbeat stays in the spool: ");
    is_back.store(true, Ordering::Relaxed);
    agent.wait_for_log("the server accepts heartbeats again");
}

#[test]
fn samples_go_on_while_a_call_waits_for_its_answer() {
    let server = ScriptedServer::start(|n| {
        if n == 0 {
            Vec::new()
        } else {
            answer(200, "", OK)
        }
    });

    let agent = Agent::start(
        &server.url(),
        &format!("{FAST}[spool]\npath = \"/nowhere\"\n"),
    );
    // The call gives up after 15 s only.
    agent.wait_for_log("heartbeat dropped, 4 since the start: the next one is due");
    server.next();
    assert!(server.requests.try_recv().is_err(), "one call at a time");
}

#[test]
fn a_redirect_is_not_followed() {
    let elsewhere = ScriptedServer::start(|_| answer(200, "", OK));
    let location = format!("Location: {}/heartbeat\r\n", elsewhere.url());
    let codes = [301, 302, 303, 307, 308];
    let server =
        ScriptedServer::start(move |n| answer(codes[n % codes.len()], &location, ""));
    let agent = Agent::start(&server.url(), FAST);
    for _ in codes {
        assert_eq!(server.next().line, "POST /heartbeat HTTP/1.1");
    }
    agent.wait_for_log("answer 308 leads elsewhere, which is not followed");
    assert!(
        elsewhere.requests.try_recv().is_err(),
        "the key went elsewhere"
    );
}

#[test]
fn an_answer_without_end_is_cut_off() {
    let no_answers = [
        (
            answer(200, "", &(OK.to_owned() + &" ".repeat(10 << 20))),
            "no answer from",
        ),
        (
            answer(200, &format!("X-Long: {}\r\n", "x".repeat(1 << 20)), OK),
            "no answer from",
        ),
        (
            answer(200, "", "<html>not ours</html>"),
            "answer 200 is not fleetbeat-server's",
        ),
    ];
    for (no_answer, told) in no_answers {
        let server = ScriptedServer::start(move |_| no_answer.clone());
        let agent = Agent::start(&server.url(), FAST);
        server.next_retry();
        agent.wait_for_log(told);
    }
}

#[test]
fn a_server_that_never_answers_is_given_up() {
    let server = ScriptedServer::start(|n| {
        if n == 0 {
            Vec::new()
        } else {
            answer(200, "", OK)
        }
    });

    let agent = Agent::start(&server.url(), FAST);
    let first = server.next();
    let second = server.next_within(Duration::from_secs(25));
    let waited = second.at - first.at;
    assert!((14..20).contains(&waited.as_secs()), "{waited:?}");
    agent.wait_for_log("no answer from");
}

#[test]
fn sigterm_ends_the_agent_within_a_second_even_during_a_call() {
    let quick = ScriptedServer::start(|_| answer(200, "", OK));
    let silent = ScriptedServer::start(|_| Vec::new());
    for server in [&quick, &silent] {
        let mut agent = Agent::start(&server.url(), FAST);
        server.next();
        let asked = Instant::now();
        agent.signal("TERM");
        let code = agent.wait();
        assert!(
            asked.elapsed() < Duration::from_secs(1),
            "{:?}",
            asked.elapsed()
        );
        assert_eq!(code, Some(0));
    }
}

#[test]
fn once_prints_exactly_what_it_sends() {
    let server = ScriptedServer::start(|n| {
        if n == 0 {
            answer(200, "", OK)
        } else {
            answer(422, "", "")
        }
    });
    let settings = settings(&server.url(), FAST);

    let printed = once(&settings, &[]);
    assert!(printed.status.success());
    Heartbeat::from_json(&serde_json::from_slice(&printed.stdout).unwrap()).unwrap();
    assert!(
        server.requests.try_recv().is_err(),
        "nothing is sent without --send"
    );

    let sent = once(&settings, &["--send"]);
    assert_eq!(
        String::from_utf8_lossy(&sent.stdout),
        format!("{}\n", server.next().body)
    );
    assert!(
        sent.status.success()
            && String::from_utf8_lossy(&sent.stderr).contains("the server accepted it")
    );

    let refused = once(&settings, &["--send"]);
    assert_eq!(refused.status.code(), Some(1));
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        told.contains("fleetbeat-agent: the heartbeat was not accepted: answer 422"),
        "{told}"
    );
}

#[test]
fn services_are_seen_though_the_parent_ignores_its_children() {
    let units = "[collectors.services]\nunits = [ {name = \"wg\", unit = \"wg-quick@wg0\"}, \
                 {name = \"ov\", unit = \"openvpn-server@server\"} ]\n";
    let settings = settings("http://127.0.0.1:9", &format!("{FAST}{units}"));
    let agent = agent_command(&settings);
    let mut command = Command::new("env");
    command
        .arg("--ignore-signal=CHLD")
        .arg(agent.get_program())
        .args(agent.get_args())
        .arg("once");
    command.envs(
        agent
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );

    let output = command.output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(
        printed.contains(r#"{"name":"wg","active":true},{"name":"ov","active":false}"#),
        "{printed}"
    );
}

#[test]
fn a_collector_that_hangs_holds_up_nothing_and_is_named_once() {
    let proc = tempfile::tempdir().unwrap();
    // Opening a pipe hangs until somebody writes, as a file does on a server that is
    // gone.
    let pipe = proc.path().join("meminfo");
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    fs::write(proc.path().join("stat"), "cpu  1 2 3 4\nbtime 1700000000\n").unwrap();
    fs::write(proc.path().join("uptime"), "10.00 1.00\n").unwrap();
    fs::write(proc.path().join("loadavg"), "0.20 0.18 0.12 1/80 11206\n").unwrap();
    let paths = format!("[paths]\nproc = \"{}\"\n", proc.path().display());
    let server = ScriptedServer::start(|_| answer(200, "", OK));
    let started = Instant::now();
    let agent = Agent::start(
        &server.url(),
        &format!("{FAST}[collectors.uptime]\n{paths}"),
    );
    let first = server.next().heartbeat();
    assert!(
        started.elapsed() < Duration::from_secs(3),
        "{:?}",
        started.elapsed()
    );
    assert_eq!((first.load.ram, first.metrics["load1"]), (None, 0.2));
    let began = Instant::now();
    (0..5).for_each(|_| drop(server.next()));
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );

    // Nothing hangs any more: whoever waits for the pipe gets the file.
    let file = proc.path().join("file");
    fs::write(&file, "MemTotal: 1000 kB\nMemAvailable: 250 kB\n").unwrap();
    let writer = fs::OpenOptions::new().write(true).open(&pipe).unwrap();
    fs::rename(&file, &pipe).unwrap();
    drop(writer);
    agent.wait_for_log("collector ram works again");
    wait_for("a heartbeat with ram", || {
        (server.next().heartbeat().load.ram == Some(75.0)).then_some(())
    });
    assert_eq!(
        agent.log().matches("collector ram: hangs").count(),
        1,
        "{}",
        agent.log()
    );
}

#[test]
fn only_the_journal_gets_lines_without_a_time() {
    let settings = settings(
        "http://127.0.0.1:9",
        &format!("{FAST}[collectors.net]\ninterface = \"nowhere0\"\n"),
    );
    let path = settings.path().join("log");
    let log = |journal: &dyn Fn(&fs::Metadata) -> String| {
        let file = fs::File::create(&path).unwrap();
        let journal = journal(&file.metadata().unwrap());
        let mut command = agent_command(&settings);
        command
            .arg("once")
            .env("JOURNAL_STREAM", journal)
            .stdout(Stdio::null())
            .stderr(file);
        assert!(command.status().unwrap().success());
        fs::read_to_string(&path).unwrap()
    };

    let of_journal = log(&|file| format!("{}:{}", file.dev(), file.ino()));
    assert!(of_journal.starts_with("<4>collector net: "), "{of_journal}");
    let inherited = log(&|file| format!("{}:{}", file.dev(), file.ino() + 1));
    assert!(inherited.contains("Z WARN  collector net: "), "{inherited}");
}

#[test]
fn a_bad_configuration_starts_nothing() {
    let settings = settings(
        "http://fleet.example.com:99999",
        "[schedule]\nsample_every = \"soon\"\n[gpu]\n",
    );
    for command in ["run", "once", "check-config"] {
        let output = agent_command(&settings).arg(command).output().unwrap();
        assert_eq!(output.status.code(), Some(78), "{command}");
        let told = String::from_utf8(output.stderr).unwrap();
        let places: Vec<_> = told
            .lines()
            .map(|line| line.split(": ").take(2).collect::<Vec<_>>())
            .collect();
        let file = settings.path().join("agent.toml").display().to_string();
        let expected = [(2, "server.url"), (4, "schedule.sample_every"), (5, "gpu")];
        assert_eq!(
            places,
            expected.map(|(line, key)| vec![format!("{file}:{line}"), key.to_owned()]),
            "{told}"
        );
    }
}

#[test]
fn cpu_and_ram_agree_with_proc_under_load() {
    let server = ScriptedServer::start(|_| answer(200, "", OK));
    let stop = Arc::new(AtomicBool::new(false));
    let memory = vec![1_u8; 256 << 20];
    let spinner = spawn_until(&stop, std::hint::spin_loop);
    let readings = Arc::new(Mutex::new(Vec::new()));
    let shared = Arc::clone(&readings);
    let watcher = spawn_until(&stop, move || {
        shared.lock().unwrap().push(Reading::take());
        thread::sleep(Duration::from_millis(5));
    });

    let schedule = "[schedule]\nsample_every = \"2s\"\nsamples_per_heartbeat = 1\n";
    let agent = Agent::start(
        &server.url(),
        &format!("{schedule}[collectors.cpu]\n[collectors.ram]\n"),
    );
    // The window of a heartbeat's one sample reaches back to the sample before. A counter
    // may have jumped back, or an offset may put the first two heartbeats close together:
    // then the next pair will do.
    let mut before = server.next().heartbeat();
    let (begin, end) = loop {
        let after = server.next().heartbeat();
        let [begin, end] =
            [&before, &after].map(|heartbeat| heartbeat.collected_at.unwrap());
        if after.load.cpu.is_some() && end.duration_since(begin).as_millis() > 1900 {
            before = after;
            break (begin, end);
        }
        before = after;
    };
    // One more reading after the window's end.
    let wait = Instant::now();
    while readings
        .lock()
        .unwrap()
        .last()
        .is_none_or(|last: &Reading| last.at <= end)
        && wait.elapsed() < SOON
    {
        thread::yield_now();
    }
    drop(agent);
    stop.store(true, Ordering::Relaxed);
    spinner.join().unwrap();
    watcher.join().unwrap();
    drop(memory);

    let readings = readings.lock().unwrap();
    let (begins, ends) = (around(&readings, begin), around(&readings, end));
    let cpu = begins
        .iter()
        .flat_map(|begin| ends.iter().map(|end| end.cpu_percent_since(begin)));
    assert_within_a_point("cpu", before.load.cpu.unwrap(), cpu);
    assert_within_a_point(
        "ram",
        before.load.ram.unwrap(),
        ends.iter().map(|reading| reading.ram_percent),
    );
}

/// The test's own reading of /proc.
#[derive(Clone)]
struct Reading {
    at: Timestamp,
    busy_ticks: f64,
    total_ticks: f64,
    ram_percent: f64,
}

impl Reading {
    fn take() -> Reading {
        let stat = fs::read_to_string("/proc/stat").unwrap();
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap();
        let since = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        // user, nice, system, idle, iowait, irq, softirq, steal; guest time is inside
        // user time.
        let ticks: Vec<f64> = stat
            .lines()
            .next()
            .unwrap()
            .split_whitespace()
            .skip(1)
            .take(8)
            .map(|n| n.parse().unwrap())
            .collect();
        let kb = |key: &str| {
            let line = meminfo.lines().find(|line| line.starts_with(key)).unwrap();
            line.split_whitespace()
                .nth(1)
                .unwrap()
                .parse::<f64>()
                .unwrap()
        };

        let total_ticks: f64 = ticks.iter().sum();
        Reading {
            at: Timestamp::from_millisecond(since.as_millis().try_into().unwrap())
                .unwrap(),
            busy_ticks: total_ticks - ticks[3] - ticks[4],
            total_ticks,
            ram_percent: 100.0 * (1.0 - kb("MemAvailable:") / kb("MemTotal:")),
        }
    }

    fn cpu_percent_since(&self, before: &Reading) -> f64 {
        100.0 * (self.busy_ticks - before.busy_ticks)
            / (self.total_ticks - before.total_ticks)
    }
}

/// The last reading before the moment, and the first after.
fn around(readings: &[Reading], moment: Timestamp) -> [Reading; 2] {
    let after = readings
        .iter()
        .position(|reading| reading.at > moment)
        .expect("a reading after that moment");
    [readings[after - 1].clone(), readings[after].clone()]
}

fn assert_within_a_point(name: &str, measured: f64, expected: impl Iterator<Item = f64>) {
    let (least, most) = expected.fold((f64::MAX, f64::MIN), |(least, most), x| {
        (least.min(x), most.max(x))
    });
    let range = least - 1.0..=most + 1.0;
    assert!(
        range.contains(&measured),
        "{name}: {measured} is not from {least} to {most}"
    );
}

fn spawn_until(
    stop: &Arc<AtomicBool>,
    work: impl Fn() + Send + 'static,
) -> JoinHandle<()> {
    let stop = Arc::clone(stop);
    thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            work();
        }
    })
}

/// A folder with an agent.toml for the server at `url`, which is also the spool's folder.
pub(crate) fn settings(url: &str, rest: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    write_settings(&folder, url, rest);
    folder
}

/// Settings of an agent whose server is at `url` and away: its heartbeats stay in the
/// spool.
pub(crate) fn away(url: &str) -> TempDir {
    settings(url, &format!("allow_insecure = true\n{FAST}"))
}

pub(crate) fn write_settings(folder: &TempDir, url: &str, rest: &str) {
    let spool = if rest.contains("[spool]") {
        String::new()
    } else {
        format!("[spool]\npath = {:?}\n", folder.path())
    };
    fs::write(
        folder.path().join("agent.toml"),
        format!("[server]\nurl = \"{url}\"\n{rest}{spool}"),
    )
    .unwrap();
}

/// The agent with the folder's configuration, the key, and a systemctl that knows wg as
/// active and ov as inactive.
pub(crate) fn agent_command(settings: &TempDir) -> Command {
    let systemctl = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../collectors/fixtures/services-mixed/before");
    let mut path = vec![systemctl];
    path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap()));
    let mut command = program("fleetbeat-agent");
    command.arg("-c").arg(settings.path().join("agent.toml"));
    command
        .env("AGENT_API_KEY", KEY)
        .env("PATH", std::env::join_paths(path).unwrap());
    // A proxy that the environment names is nobody's wish.
    command
        .env("http_proxy", "http://127.0.0.1:9")
        .env("ALL_PROXY", "http://127.0.0.1:9");
    command.env_remove("JOURNAL_STREAM");
    command
}

fn once(settings: &TempDir, options: &[&str]) -> Output {
    agent_command(settings)
        .arg("once")
        .args(options)
        .output()
        .unwrap()
}

/// A running agent; dropped, it is killed and reaped.
pub(crate) struct Agent {
    child: Child,
    log: Arc<Mutex<String>>,
    log_reader: Option<JoinHandle<()>>,
    pub(crate) settings: TempDir,
}

impl Agent {
    pub(crate) fn start(url: &str, rest: &str) -> Agent {
        Agent::start_in(settings(url, rest))
    }

    pub(crate) fn start_in(settings: TempDir) -> Agent {
        let mut child = agent_command(&settings)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let (lines, shared) = (
            BufReader::new(child.stderr.take().unwrap()).lines(),
            Arc::clone(&log),
        );
        let log_reader = thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                *shared.lock().unwrap() += &(line + "\n");
            }
        });
        Agent {
            child,
            log,
            log_reader: Some(log_reader),
            settings,
        }
    }

    /// Kills the agent as a power cut would, and starts the agent again.
    pub(crate) fn restart(self) -> Agent {
        let settings = self.end();
        Agent::start_in(settings)
    }

    /// Kills the agent and keeps its folder.
    pub(crate) fn end(mut self) -> TempDir {
        let settings =
            std::mem::replace(&mut self.settings, tempfile::tempdir().unwrap());
        drop(self);
        settings
    }

    /// Sends a signal such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args([&format!("-{name}"), &pid])
                .status()
                .unwrap()
                .success()
        );
    }

    /// Waits until it has ended by itself.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    pub(crate) fn wait_for_log(&self, text: &str) {
        let deadline = Instant::now() + SOON;
        while !self.log().contains(text) {
            assert!(
                Instant::now() < deadline,
                "{text:?} is not in the log:\n{}",
                self.log()
            );
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(reader) = self.log_reader.take() {
            let _ = reader.join();
        }
        let is_secret = !self.log().contains(KEY);
        assert!(is_secret || thread::panicking(), "the key is in the log");
    }
}

/// A request as the server got the bytes.
pub(crate) struct Request {
    pub(crate) at: Instant,
    pub(crate) line: String,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Request {
    fn read(stream: &TcpStream) -> Option<Request> {
        let mut reader = BufReader::new(stream);
        let mut next_line = || {
            let mut line = String::new();
            reader
                .read_line(&mut line)
                .ok()
                .filter(|count| *count > 0)?;
            Some(line.trim_end().to_owned())
        };

        let line = next_line()?;
        let mut headers = Vec::new();
        loop {
            let header = next_line()?;
            let Some((name, value)) = header.split_once(": ") else {
                break;
            };
            headers.push((name.to_ascii_lowercase(), value.to_owned()));
        }

        let mut request = Request {
            at: Instant::now(),
            line,
            headers,
            body: String::new(),
        };

        let length = request.header("Content-Length")?.parse().ok()?;
        reader.take(length).read_to_string(&mut request.body).ok()?;
        Some(request)
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let name = name.to_ascii_lowercase();
        self.headers
            .iter()
            .find(|(other, _)| *other == name)
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn heartbeat(&self) -> Heartbeat {
        Heartbeat::from_json(&serde_json::from_str(&self.body).unwrap()).unwrap()
    }
}

pub(crate) fn answer(status: u16, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status} X\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}")
        .into()
}

/// A server whose script answers the n-th request, from 0. An empty answer stands for no
/// answer at all.
pub(crate) struct ScriptedServer {
    address: SocketAddr,
    pub(crate) requests: Receiver<Request>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl ScriptedServer {
    pub(crate) fn start(
        script: impl Fn(usize) -> Vec<u8> + Send + 'static,
    ) -> ScriptedServer {
        ScriptedServer::start_seeing(move |n, _| script(n))
    }

    /// As [`ScriptedServer::start`] with a script that looks at the request.
    pub(crate) fn start_seeing(
        script: impl Fn(usize, &Request) -> Vec<u8> + Send + 'static,
    ) -> ScriptedServer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let (arrived, requests) = mpsc::channel();
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut unanswered = Vec::new();
            for (n, stream) in listener.incoming().map_while(Result::ok).enumerate() {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let Some(request) = Request::read(&stream) else {
                    continue;
                };
                match script(n, &request).as_slice() {
                    [] => unanswered.push(stream),
                    // The agent may hang up on a long answer.
                    answer => drop((&stream).write_all(answer)),
                }
                let _ = arrived.send(request);
            }
        });
        ScriptedServer {
            address,
            requests,
            stop,
            thread: Some(thread),
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn next(&self) -> Request {
        self.next_within(SOON)
    }

    /// The next request with the body of the one before: a heartbeat that is tried again.
    fn next_retry(&self) -> Request {
        let mut before = self.next();
        for _ in 0..20 {
            let request = self.next();
            if request.body == before.body {
                return request;
            }
            before = request;
        }
        panic!("no heartbeat was tried again");
    }

    pub(crate) fn next_within(&self, wait: Duration) -> Request {
        self.requests.recv_timeout(wait).expect("a request arrives")
    }
}

impl Drop for ScriptedServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
