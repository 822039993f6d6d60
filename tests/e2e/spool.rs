//! What becomes of heartbeats when the server, the agent or the clock fails; and the
//! configuration read again.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fleetbeat_protocol::{Heartbeat, Timestamp};
use fleetbeat_tools::outage::{self, Plan};
use fleetbeat_tools::process::program_path;
use fleetbeat_tools::server::FleetbeatServer;
use fleetbeat_tools::wait::wait_for;
use serde_json::{Value, json};

use crate::agent::{
    Agent, FAST, OK, Request, ScriptedServer, agent_command, answer, settings,
    write_settings,
};

/// The answer to a batch of which nothing is rejected.
const BATCH_OK: &str = r#"{"status":"ok","accepted":1,"rejected":[]}"#;
const MAGIC: &[u8] = b"\xFFfb1";
const HEADER_BYTES: usize = 21;

/// The bodies in a folder's spool, read as described in `agent/src/delivery/spool/record.rs`.
pub(crate) fn spooled(folder: &Path) -> Vec<Value> {
    let file = fs::read(folder.join("spool")).unwrap_or_default();
    let starts = (0..file.len()).filter(|at| file[*at..].starts_with(MAGIC));
    let bodies = starts.filter_map(|at| {
        let header = file.get(at..at + HEADER_BYTES)?;
        let length = u32::from_le_bytes(header[17..].try_into().unwrap()) as usize;
        let body = file.get(at + HEADER_BYTES..at + HEADER_BYTES + length)?;
        (header[4] == b'w').then(|| serde_json::from_slice(body).ok())?
    });
    bodies.collect()
}

fn record(number: u64, body: &str) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_le_bytes();
    let checked = [&number.to_le_bytes()[..], &length, body.as_bytes()].concat();
    let mut crc = flate2::Crc::new();
    crc.update(&checked);
    [MAGIC, b"w", &crc.sum().to_le_bytes(), &checked].concat()
}

fn numbers(heartbeats: &[Value]) -> BTreeSet<u64> {
    let numbers: BTreeSet<u64> = heartbeats
        .iter()
        .map(|one| one["seq"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers.len(), heartbeats.len(), "one is there twice");
    numbers
}

/// The seconds in which these heartbeats were made.
fn seconds(heartbeats: &[Value]) -> BTreeSet<i64> {
    let times = heartbeats.iter().map(|one| one["collected_at"].as_str());
    let times = times.map(|time| time.unwrap().parse::<Timestamp>().unwrap());
    times.map(Timestamp::as_second).collect()
}

/// The seconds of which the history of a host has a heartbeat.
fn history(server: &FleetbeatServer, token: &str, host: &str) -> BTreeSet<i64> {
    let path = format!("/server/{host}/history?points=1000");
    let chart = server.api(token, "GET", &path, None).json();
    serde_json::from_value(chart["t"].clone()).unwrap()
}

/// Waits until more than `count` heartbeats wait, and gives the seconds of the first ones.
fn wait_for_kept(agent: &Agent, count: usize) -> BTreeSet<i64> {
    wait_for_spooled(agent, count);
    seconds(&spooled(agent.settings.path())[..count])
}

fn url(server: &FleetbeatServer) -> String {
    format!("http://{}", server.address())
}

/// Waits until `count` heartbeats wait, and gives their numbers but for the newest, which
/// may still be tried.
fn wait_for_spooled(agent: &Agent, count: usize) -> BTreeSet<u64> {
    wait_for("heartbeats in the spool", || {
        let spooled = spooled(agent.settings.path());
        (spooled.len() > count).then(|| numbers(&spooled[..spooled.len() - 1]))
    })
}

fn wait_for_empty_spool(folder: &Path) {
    wait_for("an empty spool", || {
        (fs::metadata(folder.join("spool")).ok()?.len() == 0).then_some(())
    });
}

#[test]
fn after_an_outage_every_heartbeat_is_in_the_history_once() {
    let mut server = FleetbeatServer::start();
    let token = server.admin_token();
    let agent =
        Agent::start(&url(&server), &format!("{FAST}[host]\nip = \"10.1.1.1\"\n"));
    agent.wait_for_log("the server accepts heartbeats");
    server.kill();
    let kept = wait_for_kept(&agent, 5);
    server.restart();
    agent.wait_for_log("of the spool are delivered, it is empty");
    let delivered = history(&server, &token, "10.1.1.1");
    assert!(
        delivered.is_superset(&kept),
        "{kept:?} were kept, {delivered:?} are there"
    );

    let sent: Vec<_> = delivered.iter().collect();
    assert!(
        sent.windows(2).all(|pair| pair[1] - pair[0] <= 1),
        "a heartbeat is missing: {sent:?}"
    );
    assert_eq!(server.servers(&token)[0]["status"], "active");
}

#[test]
fn the_newest_heartbeat_goes_first_and_the_spool_follows_in_order() {
    let is_back = Arc::new(AtomicBool::new(false));
    let back = Arc::clone(&is_back);
    let server = ScriptedServer::start_seeing(move |_, request| {
        match back.load(Ordering::Relaxed) {
            false => answer(500, "", ""),
            true => accept(request),
        }
    });

    let agent = Agent::start(&server.url(), FAST);
    let kept = wait_for_spooled(&agent, 4);
    is_back.store(true, Ordering::Relaxed);
    agent.wait_for_log("the server accepts heartbeats");
    let batch = loop {
        let request = server.next();
        if request.line.starts_with("POST /heartbeats ") {
            break request;
        }
    };

    let batch: Vec<Value> = serde_json::from_str(&batch.body).unwrap();
    let sent: Vec<u64> = batch
        .iter()
        .map(|one| one["seq"].as_u64().unwrap())
        .collect();
    assert!(sent.is_sorted(), "{sent:?}");
    assert!(numbers(&batch).is_superset(&kept), "{kept:?}: {sent:?}");
    wait_for_empty_spool(agent.settings.path());
}

fn accept(request: &Request) -> Vec<u8> {
    answer(
        200,
        "",
        if request.line.starts_with("POST /heartbeats ") {
            BATCH_OK
        } else {
            OK
        },
    )
}

#[test]
fn an_agent_that_is_killed_during_the_outage_loses_nothing() {
    let mut server = FleetbeatServer::start();
    let token = server.admin_token();
    let agent =
        Agent::start(&url(&server), &format!("{FAST}[host]\nip = \"10.1.1.2\"\n"));
    agent.wait_for_log("the server accepts heartbeats");
    server.kill();
    let mut kept = wait_for_kept(&agent, 3);
    let mut agent = agent.restart();
    for count in [6, 9] {
        agent.wait_for_log("heartbeats wait in the spool");
        kept.extend(wait_for_kept(&agent, count));
        agent = agent.restart();
    }
    server.restart();
    agent.wait_for_log("of the spool are delivered, it is empty");
    let delivered = history(&server, &token, "10.1.1.2");
    assert!(
        delivered.is_superset(&kept),
        "{kept:?} were kept, {delivered:?} are there"
    );
}

#[test]
fn an_agent_that_is_stopped_keeps_what_it_has_measured() {
    let server = ScriptedServer::start(|_| answer(200, "", OK));
    let schedule = "[schedule]\nsample_every = \"100ms\"\nsamples_per_heartbeat = 1000\n[collectors.ram]\n";
    let mut agent = Agent::start(&server.url(), schedule);
    server.next();
    wait_for_empty_spool(agent.settings.path());
    agent.wait_for_log("the server accepts heartbeats");
    let stopped = Instant::now();
    // The first sample after the first heartbeat is due within one tenth of a second, and
    // over in another half.
    while stopped.elapsed() < Duration::from_millis(500) {
        std::thread::yield_now();
    }
    agent.signal("TERM");
    assert_eq!(agent.wait(), Some(0));
    let kept = spooled(agent.settings.path());
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert!(kept[0]["load"]["ram"].as_f64().is_some(), "{kept:?}");
}

#[test]
fn a_clock_that_was_wrong_and_a_damaged_spool_lose_no_heartbeat() {
    let server = FleetbeatServer::start();
    let token = server.admin_token();
    let settings = settings(&url(&server), &format!("{FAST}[host]\nip = \"10.1.1.3\"\n"));
    let element = |seq: u64, at: &str| {
        let mut body: Value = serde_json::from_str(include_str!(
            "../../protocol/golden/heartbeat-minimal.json"
        ))
        .unwrap();
        body["ip"] = "10.1.1.3".into();
        body["seq"] = seq.into();
        body["collected_at"] = at.into();
        body["services"] = json!([{"name": format!("of-{seq}"), "active": true}]);
        body.to_string()
    };
    // What is farther ahead than a day is refused.
    let now = jiff::Timestamp::now().as_second();
    let ahead = jiff::Timestamp::from_second(now + 3600)
        .unwrap()
        .to_string();
    let times = [
        "2026-07-01T00:00:00Z",
        ahead.as_str(),
        "2026-07-01T00:04:00Z",
        "2026-07-01T00:06:00Z",
    ];
    let mut file: Vec<u8> = Vec::new();
    for (number, at) in (1..).zip(times) {
        file.extend(record(number, &element(number, at)));
        file.extend(b"\xFFfb1 damage");
    }
    file.extend(&record(9, &element(9, times[0]))[..100]);
    fs::write(settings.path().join("spool"), file).unwrap();

    let agent = Agent::start_in(settings);
    agent.wait_for_log("bytes were no whole heartbeat and are left out");
    agent.wait_for_log("4 heartbeats of the spool are delivered, it is empty");
    let path = "/server/10.1.1.3/history?from=2026-06-30T00:00:00Z&series=services";
    let chart = server.api(&token, "GET", path, None).json();
    let told: Vec<&String> = chart["series"].as_object().unwrap().keys().collect();
    assert_eq!(
        told,
        [1, 2, 3, 4]
            .map(|seq| format!("services.of-{seq}"))
            .each_ref()
    );
    assert_eq!(server.servers(&token)[0]["status"], "active");
}

#[test]
fn a_batch_that_is_too_large_or_rejected_in_part_holds_up_nothing() {
    let is_back = Arc::new(AtomicBool::new(false));
    let back = Arc::clone(&is_back);
    let rejected = r#"{"status":"ok","accepted":0,"rejected":[{"index":0,"errors":[
        {"field":"load.cpu","message":"must be from 0 to 100"}]}]}"#;
    let server = ScriptedServer::start_seeing(move |_, request| {
        let is_batch = request.line.starts_with("POST /heartbeats ");
        let count = request.body.matches("collected_at").count();
        match (back.load(Ordering::Relaxed), is_batch) {
            (false, _) => answer(503, "", ""),
            (true, true) if count > 2 => answer(413, "", ""),
            (true, true) => answer(200, "", rejected),
            (true, false) => answer(200, "", OK),
        }
    });

    let agent = Agent::start(&server.url(), FAST);
    wait_for_spooled(&agent, 4);
    is_back.store(true, Ordering::Relaxed);
    let reason = "load.cpu must be from 0 to 100";
    agent.wait_for_log(&format!("heartbeat dropped, 2 since the start: {reason}"));
    wait_for_empty_spool(agent.settings.path());
}

#[test]
fn batches_are_a_second_apart() {
    let is_back = Arc::new(AtomicBool::new(false));
    let back = Arc::clone(&is_back);
    let server = ScriptedServer::start_seeing(move |_, request| {
        match back.load(Ordering::Relaxed) {
            false => answer(503, "", ""),
            true if request.body.matches("collected_at").count() > 1 => {
                answer(400, "", "")
            }
            true => accept(request),
        }
    });

    let agent = Agent::start(&server.url(), FAST);
    wait_for_spooled(&agent, 3);
    is_back.store(true, Ordering::Relaxed);
    let mut batches = Vec::new();
    while batches.len() < 3 {
        let request = server.next();
        if request.line.starts_with("POST /heartbeats ") {
            batches.push(request.at);
        }
    }

    let gaps: Vec<Duration> = batches.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(
        gaps.iter().all(|gap| *gap >= Duration::from_millis(950)),
        "{gaps:?}"
    );
}

#[test]
fn a_second_agent_on_the_same_spool_says_so_and_ends() {
    let server = ScriptedServer::start(|_| answer(200, "", OK));
    let agent = Agent::start(&server.url(), FAST);
    server.next();
    let second = agent_command(&agent.settings).output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    let expected = format!(
        "fleetbeat-agent: {:?} is in use: is another fleetbeat-agent running?\n",
        agent.settings.path().join("spool")
    );
    assert_eq!(String::from_utf8(second.stderr).unwrap(), expected);
    let once = agent_command(&agent.settings)
        .args(["once", "--send"])
        .output()
        .unwrap();
    assert!(once.status.success(), "once needs no spool");
}

#[test]
fn without_a_folder_for_the_spool_the_agent_sends_and_says_so_once() {
    let server = ScriptedServer::start(|_| answer(200, "", OK));
    let rest = format!("{FAST}[spool]\npath = \"/nowhere\"\n");
    let agent = Agent::start(&server.url(), &rest);
    for _ in 0..4 {
        server.next();
    }
    let told = "/nowhere/spool: No such file or directory (os error 2): heartbeats that the server does not take \
                at once are lost";
    agent.wait_for_log(told);
    // Once for the heartbeats, and once for the host's identity.
    assert_eq!(
        agent.log().matches("/nowhere").count(),
        2,
        "{}",
        agent.log()
    );
}

#[test]
fn sighup_makes_a_new_configuration_take_effect_and_loses_no_heartbeat() {
    let [first, second] =
        [(); 2].map(|()| ScriptedServer::start_seeing(|_, request| accept(request)));
    let agent = Agent::start(&first.url(), &format!("{FAST}[host]\ncity = \"Munich\"\n"));
    let before = first.next().heartbeat();
    assert_eq!(before.city, "Munich");

    let rest = format!("{FAST}[host]\ncity = \"Berlin\"\n");
    write_settings(&agent.settings, &first.url(), &rest);
    agent.signal("HUP");
    let mut heartbeats = vec![before];
    while heartbeats.last().unwrap().city != "Berlin" {
        heartbeats.push(first.next().heartbeat());
    }
    assert_follow_each_other(&heartbeats);
    assert!(
        heartbeats
            .iter()
            .all(|heartbeat| heartbeat.load.ram.is_some())
    );

    write_settings(
        &agent.settings,
        &second.url(),
        &rest.replace("200ms", "150ms"),
    );
    agent.signal("HUP");
    agent.wait_for_log(&format!(
        "configuration reloaded: a heartbeat to {} every 300ms",
        second.url()
    ));
    let moved = second.next().heartbeat();
    heartbeats.extend(first.requests.try_iter().map(|request| request.heartbeat()));
    heartbeats.extend([moved, second.next().heartbeat()]);
    assert_follow_each_other(&heartbeats);
}

/// Numbers count milliseconds.
fn assert_follow_each_other(heartbeats: &[Heartbeat]) {
    let numbers: Vec<u64> = heartbeats
        .iter()
        .map(|heartbeat| heartbeat.seq.unwrap())
        .collect();
    assert!(
        numbers
            .windows(2)
            .all(|pair| pair[0] < pair[1] && pair[1] - pair[0] < 1000),
        "{numbers:?}"
    );
}

#[test]
fn a_bad_configuration_on_sighup_changes_nothing_and_is_told_in_full() {
    let server = ScriptedServer::start_seeing(|_, request| accept(request));
    let agent =
        Agent::start(&server.url(), &format!("{FAST}[host]\ncity = \"Munich\"\n"));
    server.next();
    let path = agent.settings.path().join("agent.toml");
    write_settings(
        &agent.settings,
        "ftp://elsewhere",
        &format!("{FAST}[gpu]\n[host]\ncity = \"Berlin\"\n"),
    );
    agent.signal("HUP");
    agent.wait_for_log("ERROR the configuration is wrong, so the one before stays:");
    agent.wait_for_log(&format!(
        "ERROR {}:2: server.url: must be a URL",
        path.display()
    ));
    agent.wait_for_log(&format!(
        "ERROR {}:7: gpu: is not a known key",
        path.display()
    ));
    server.requests.try_iter().for_each(drop);
    for _ in 0..2 {
        assert_eq!(server.next().heartbeat().city, "Munich");
    }

    let moved =
        format!("{FAST}[spool]\npath = \"/nowhere\"\n[host]\ncity = \"Berlin\"\n");
    write_settings(&agent.settings, &server.url(), &moved);
    agent.signal("HUP");
    agent.wait_for_log("WARN  spool.path takes effect when the agent starts again");
    let is_moved = |request: Request| request.heartbeat().city == "Berlin";
    wait_for("the rest of that configuration", || {
        is_moved(server.next()).then_some(())
    });
}

#[test]
fn a_fleet_whose_server_dies_comes_back_spread_and_complete() {
    let plan = Plan {
        agent: program_path("fleetbeat-agent"),
        agents: 150,
        interval: Duration::from_secs(6),
        dead: Duration::from_secs(3),
        bucket: Duration::from_secs(2),
    };

    let report = outage::play(&plan);
    assert_eq!(
        (
            report.twice.as_slice(),
            report.gaps.as_slice(),
            report.not_emptied
        ),
        (&[][..], &[][..], 0)
    );
    assert!(
        report.peak() < 3.0,
        "{:.2} times the mean: {:?}",
        report.peak(),
        report.buckets
    );

    // So few heartbeats would be no fleet at all.
    assert!(report.accepted > 4 * 150, "{}", report.accepted);
}
