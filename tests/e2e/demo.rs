//! The whole loop on one machine: the real agent, the real server, and the demo of both.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use fleetbeat_tools::process::{Running, install, program, program_path};
use fleetbeat_tools::server::{AGENT_KEY, FleetbeatServer};
use fleetbeat_tools::wait::wait_for;
use fleetbeat_tools::{client, process};
use serde_json::Value;

#[test]
fn this_machine_is_measured_sent_stored_and_shown_through_an_outage() {
    let mut server = FleetbeatServer::start();
    let token = server.admin_token();
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("agent.toml");
    let settings = format!(
        "[server]\nurl = \"http://{}\"\n[host]\nip = \"10.9.8.7\"\ncity = \"Here\"\n\
         [schedule]\nsample_every = \"200ms\"\nsamples_per_heartbeat = 2\n\
         [collectors.cpu]\n[collectors.ram]\n[collectors.net]\n[collectors.services]\n\
         units = [ {{name = \"none\", unit = \"no-such-unit\"}} ]\n[spool]\npath = {:?}\n",
        server.address(),
        folder.path(),
    );
    fs::write(&config, settings).unwrap();
    let log = File::create(folder.path().join("log")).unwrap();
    let mut command = program("fleetbeat-agent");
    command
        .arg("-c")
        .arg(&config)
        .arg("run")
        .env("AGENT_API_KEY", AGENT_KEY)
        .stdin(Stdio::null())
        .stderr(log);
    let mut agent = Running::spawn(&mut command);

    let heard_after = |server: &FleetbeatServer, before: &Value| {
        wait_for("a heartbeat of the agent", || {
            let shown = server.servers(&token).into_iter().next()?;
            (shown["last_heartbeat"] != *before).then_some(shown)
        })
    };
    let first = heard_after(&server, &Value::Null);
    assert_eq!(
        (&first["ip"], &first["city"], &first["status"]),
        (&"10.9.8.7".into(), &"Here".into(), &"active".into())
    );
    assert_eq!(
        first["hostname"].as_str().unwrap(),
        fs::read_to_string("/proc/sys/kernel/hostname")
            .unwrap()
            .trim()
    );
    assert_eq!(
        first["services"],
        serde_json::json!([{"name": "none", "active": false}])
    );
    let ram = first["load"]["ram"].as_f64().unwrap();
    assert!(ram > 0.0 && ram < 100.0, "{first}");
    let second = heard_after(&server, &first["last_heartbeat"]);
    assert!(second["load"]["cpu"].as_f64().is_some(), "{second}");
    assert_eq!(second["first_heartbeat"], first["first_heartbeat"]);

    server.kill();
    wait_for("the agent to notice", || {
        let log = fs::read_to_string(folder.path().join("log")).unwrap();
        (log.contains("WARN") || log.contains("ERROR")).then_some(())
    });
    server.restart();
    heard_after(&server, &second["last_heartbeat"]);
    assert!(agent.terminate().success());
}

#[test]
fn the_demo_shows_a_fleet_and_leaves_nothing_running() {
    let temporary = tempfile::tempdir().unwrap();
    let output = temporary.path().join("output");
    let mut demo = start_demo(
        program_path("fleetbeat-server").parent().unwrap(),
        temporary.path(),
    );
    let text = wait_for("the demo to be up", || {
        let text = fs::read_to_string(&output).unwrap();
        assert!(demo.is_running() || text.contains("Ctrl-C"), "{text}");
        text.contains("Ctrl-C").then_some(text)
    });
    let printed = |name: &str| {
        let line = text
            .lines()
            .find_map(|line| line.trim_start().strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name} in {text}"))
            .trim()
            .to_owned()
    };
    let address = printed("Open")
        .strip_prefix("http://")
        .unwrap()
        .parse()
        .unwrap();
    let body = format!(
        "username={}&password={}",
        printed("User"),
        printed("Password")
    );
    let answer =
        client::request(address, "POST", "/token", &[], body.as_bytes()).unwrap();
    let bearer = format!("Bearer {}", answer.json()["access_token"].as_str().unwrap());
    let hosts = wait_for("the fleet and this machine", || {
        let answer = client::request(
            address,
            "GET",
            "/servers?all_servers=true",
            &[("Authorization", &bearer)],
            b"",
        );
        let servers = answer.unwrap().json().as_array().unwrap().clone();
        (servers.len() == 21).then_some(servers)
    });
    assert_eq!(
        hosts
            .iter()
            .filter(|server| server["city"] == "This machine")
            .count(),
        1
    );
    let page = client::request(address, "GET", "/", &[], b"").unwrap();
    assert!(String::from_utf8_lossy(&page.body).contains("Fleetbeat"));

    assert!(
        process::of_group(demo.pid()).len() >= 4,
        "script, server, agent, fleet"
    );
    end_demo(demo, temporary.path());
    assert!(client::connect(address).is_err(), "the port is free");
}

#[test]
fn the_demo_leaves_nothing_running_when_it_is_ended_during_its_start() {
    let temporary = tempfile::tempdir().unwrap();
    let bin = tempfile::tempdir().unwrap();
    // A server that never listens and does not want to stop either.
    let server = bin.path().join("fleetbeat-server");
    let text = bin.path().join("text");
    fs::write(
        &text,
        "#!/bin/sh\ntrap '' INT TERM\ntouch \"$0.started\"\nexec sleep 600\n",
    )
    .unwrap();
    install(&text, &server);
    let demo = start_demo(bin.path(), temporary.path());
    wait_for("the server to start", || {
        bin.path()
            .join("fleetbeat-server.started")
            .exists()
            .then_some(())
    });
    end_demo(demo, temporary.path());
}

/// The demo with the programs in `bin`, and with its folder and its output in
/// `temporary`.
fn start_demo(bin: &Path, temporary: &Path) -> Running {
    let file = File::create(temporary.join("output")).unwrap();
    // Where a shell has started the tests in the background, Ctrl-C is ignored, which
    // bash could not change.
    let mut command = Command::new("env");
    command.arg("--default-signal=INT");
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/demo.sh"));
    command
        .arg(bin)
        .env("HOSTS", "020")
        .env("PORT", "0")
        .env("TMPDIR", temporary);
    // The demo's own secrets are what counts.
    command
        .env("AGENT_API_KEY_FILE", "/nowhere")
        .env("SECRET_KEY", "short");
    command
        .stdin(Stdio::null())
        .stdout(file.try_clone().unwrap())
        .stderr(file);
    // A process group, as a terminal makes one: Ctrl-C goes to the whole group.
    Running::spawn(command.process_group(0))
}

/// Presses Ctrl-C: nothing may be left of it.
fn end_demo(mut demo: Running, temporary: &Path) {
    let group = format!("-{}", demo.pid());
    assert!(
        Command::new("kill")
            .args(["-INT", "--", &group])
            .status()
            .unwrap()
            .success()
    );
    assert!(
        demo.wait().success(),
        "{}",
        fs::read_to_string(temporary.join("output")).unwrap()
    );

    let left = process::of_group(demo.pid());
    assert!(left.is_empty(), "still running: {left:?}");
    let left: Vec<_> = fs::read_dir(temporary)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["output"], "the demo's folder is gone");
}

#[test]
fn fleetsim_repeats_itself_and_stays_on_loopback() {
    let server = FleetbeatServer::start();
    let run = |arguments: &[&str]| {
        let mut command = program("fleetsim");
        command
            .args(["--url", &format!("http://{}", server.address())])
            .args(arguments);
        command.env("AGENT_API_KEY", AGENT_KEY).output().unwrap()
    };
    let output = run(&[
        "--hosts",
        "30",
        "--duration",
        "1",
        "--rate",
        "200",
        "--seed",
        "5",
    ]);
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success() && told.contains("30 ok, 0 failed"),
        "{told}"
    );
    let token = server.admin_token();
    let shown = |server: &Value| {
        [&server["ip"], &server["hostname"], &server["load"]].map(ToString::to_string)
    };
    let first: Vec<_> = server.servers(&token).iter().map(shown).collect();
    assert_eq!(first.len(), 30);
    run(&[
        "--hosts",
        "30",
        "--duration",
        "1",
        "--rate",
        "200",
        "--seed",
        "5",
    ]);
    assert_eq!(
        server.servers(&token).iter().map(shown).collect::<Vec<_>>(),
        first
    );

    let mut remote = program("fleetsim");
    let output = remote
        .args(["--url", "http://192.0.2.1:80"])
        .env("AGENT_API_KEY", AGENT_KEY)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(64));
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("not loopback")
    );
}

#[test]
fn fleetsim_stops_when_it_is_asked_to_however_far_behind_it_is() {
    let server = FleetbeatServer::start();
    let mut command = program("fleetsim");
    command.args([
        "--url",
        &format!("http://{}", server.address()),
        "--duration",
        "0",
        "--threads",
        "1",
    ]);
    command
        .args(["--hosts", "100000", "--rate", "1000000"])
        .env("AGENT_API_KEY", AGENT_KEY);
    let mut fleetsim = Running::spawn(command.stdin(Stdio::null()).stdout(Stdio::null()));

    let token = server.admin_token();
    wait_for("heartbeats", || {
        (server.servers(&token).len() > 10).then_some(())
    });
    assert!(fleetsim.terminate().success());
}
