//! The agent as systemd runs it: the packaged unit in a machine with a real systemd.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use fleetbeat_tests::nspawn::{Kind, Machine};
use fleetbeat_tools::process::program_path;
use fleetbeat_tools::server::{AGENT_KEY, FleetbeatServer};
use fleetbeat_tools::wait::wait_for;
use serde_json::Value;

const UNIT: &str = "fleetbeat-agent.service";
const UNIT_PATH: &str = "/usr/lib/systemd/system/fleetbeat-agent.service";
/// What `systemd-analyze security` may say at most, from 0 to 10.
const MAX_EXPOSURE: f64 = 2.0;

fn packaging() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging")
}

fn unit() -> String {
    fs::read_to_string(packaging().join(UNIT)).unwrap()
}

/// A machine with the agent installed for a server, and not started yet.
fn machine_with_agent(server: &FleetbeatServer) -> Option<Machine> {
    let machine = Machine::boot(Kind::Bare)?;
    machine.write(
        "/usr/bin/fleetbeat-agent",
        fs::read(program_path("fleetbeat-agent")).unwrap(),
        0o755,
    );
    machine.write(UNIT_PATH, unit(), 0o644);
    let user = fs::read(packaging().join("fleetbeat-agent.sysusers")).unwrap();
    machine.write("/usr/lib/sysusers.d/fleetbeat-agent.conf", user, 0o644);
    let settings = format!(
        "[server]\nurl = \"http://{}\"\n[schedule]\nsample_every = \"1s\"\nsamples_per_heartbeat = 1\n\
         [collectors.cpu]\n[collectors.ram]\n[collectors.disk]\n[collectors.uptime]\n[collectors.net]\ninterface = \"lo\"\nspeed_mbps = 1000\n\
         [collectors.services]\nunits = [ {{name = \"bus\", unit = \"dbus\"}}, {{name = \"no\", unit = \"nothing\"}} ]\n",
        server.address()
    );
    machine.write("/etc/fleetbeat/agent.toml", settings, 0o644);
    machine.write(
        "/etc/fleetbeat/agent.env",
        format!("AGENT_API_KEY={AGENT_KEY}\n"),
        0o600,
    );
    let tmpfiles = fs::read(packaging().join("fleetbeat-agent.tmpfiles")).unwrap();
    machine.write("/usr/lib/tmpfiles.d/fleetbeat-agent.conf", tmpfiles, 0o644);
    machine.ask("systemd-sysusers", &[]);
    // As the package does it: the agent has to be able to read its key.
    machine.ask(
        "systemd-tmpfiles",
        &["--create", "/usr/lib/tmpfiles.d/fleetbeat-agent.conf"],
    );
    machine.ask("systemctl", &["daemon-reload"]);
    Some(machine)
}

/// The output of `once`, without the values that differ from run to run; of measured
/// values only their presence is shown.
fn stable(printed: &str) -> Value {
    let mut heartbeat: Value = serde_json::from_str(printed)
        .unwrap_or_else(|error| panic!("{error}: {printed}"));
    let fields = heartbeat.as_object_mut().unwrap();
    assert!(fields.remove("seq").is_some() && fields.remove("collected_at").is_some());
    for group in ["load", "metrics"] {
        let Some(group) = fields.get_mut(group) else {
            continue;
        };
        for value in group.as_object_mut().unwrap().values_mut() {
            *value = Value::from(if value.is_number() {
                "a number"
            } else {
                "none"
            });
        }
    }
    heartbeat
}

#[test]
fn the_units_leave_agent_and_server_powerless() {
    for unit in [UNIT, "fleetbeat-server.service"] {
        let output = Command::new("systemd-analyze")
            .args(["security", "--no-pager", "--offline=true"])
            .arg(packaging().join(unit))
            .output()
            .expect("systemd-analyze, which comes with systemd");
        let told = String::from_utf8(output.stdout).unwrap();
        let exposure = told
            .lines()
            .find_map(|line| line.split_once("exposure level for")?.1.split(' ').nth(2));
        let exposure: f64 = exposure
            .and_then(|number| number.parse().ok())
            .unwrap_or_else(|| panic!("{told}"));
        assert!(exposure <= MAX_EXPOSURE, "{unit}: {exposure}\n{told}");
    }
}

#[test]
fn the_agent_runs_as_its_user_and_says_so_and_stops_at_once() {
    let server = FleetbeatServer::start();
    let Some(machine) = machine_with_agent(&server) else {
        return;
    };
    // Returns when READY=1 has come; Type=notify would time out otherwise.
    machine.ask("systemctl", &["start", UNIT]);
    assert_eq!(machine.show(UNIT, "Type"), "notify");
    assert_eq!(machine.show(UNIT, "ActiveState"), "active");
    let pid = machine.show(UNIT, "MainPID");
    let status = machine.ask("cat", &[&format!("/proc/{pid}/status")]);
    let user = machine.ask("id", &["-u", "fleetbeat-agent"]);
    assert_ne!(user, "0");
    assert!(
        status.contains(&format!("\nUid:\t{user}\t{user}\t{user}\t{user}\n")),
        "{status}"
    );
    assert!(
        status.contains("\nCapBnd:\t0000000000000000\n")
            && status.contains("\nNoNewPrivs:\t1\n"),
        "{status}"
    );
    // Where the environment and the memory are, with the key: closed to the agent's own
    // user, too.
    for file in ["environ", "mem"] {
        let path = format!("/proc/{pid}/{file}");
        assert_eq!(
            machine.ask("stat", &["--format=%U", &path]),
            "root",
            "{path}"
        );
    }
    let state = machine.ask("stat", &["--format=%U %a", "/var/lib/fleetbeat-agent"]);
    assert_eq!(state, "fleetbeat-agent 700");
    let token = server.admin_token();
    wait_for("a heartbeat", || {
        (server.servers(&token).len() == 1).then_some(())
    });

    let asked = Instant::now();
    machine.ask("systemctl", &["stop", UNIT]);
    assert!(
        asked.elapsed() < Duration::from_secs(1),
        "{:?}",
        asked.elapsed()
    );
    assert_eq!(machine.show(UNIT, "Result"), "success");
    let journal = machine.ask("journalctl", &["--unit", UNIT, "--output=cat"]);
    assert!(
        journal.contains("the server accepts heartbeats") && !journal.contains(AGENT_KEY),
        "{journal}"
    );
}

#[test]
fn a_reload_takes_over_a_good_configuration_and_leaves_a_bad_one() {
    let server = FleetbeatServer::start();
    let Some(machine) = machine_with_agent(&server) else {
        return;
    };
    machine.ask("systemctl", &["start", UNIT]);
    let pid = machine.show(UNIT, "MainPID");
    let settled = |said: &str, is_good: bool| {
        let reload = machine.run("systemctl", &["reload", UNIT]);
        assert_eq!(reload.status.success(), is_good, "{said}");
        wait_for("the word in the journal", || {
            machine
                .ask("journalctl", &["--unit", UNIT, "--output=cat"])
                .contains(said)
                .then_some(())
        });
        wait_for("the reload to be over", || {
            (machine.show(UNIT, "ActiveState") == "active").then_some(())
        });
        assert_eq!(machine.show(UNIT, "MainPID"), pid, "it is the same process");
    };
    machine.write(
        "/etc/fleetbeat/agent.d/slower.toml",
        "[schedule]\nsample_every = \"2s\"\n",
        0o644,
    );
    settled("configuration reloaded: a heartbeat to", true);
    machine.write(
        "/etc/fleetbeat/agent.d/wrong.toml",
        "[schedule]\nsample_evry = \"3s\"\n",
        0o644,
    );
    settled("schedule.sample_evry", false);

    // The mistake is not the end at the next start either.
    machine.ask("systemctl", &["restart", UNIT]);
    assert_eq!(machine.show(UNIT, "ActiveState"), "active");
    let journal = machine.ask("journalctl", &["--unit", UNIT, "--output=cat"]);
    assert!(journal.contains("was accepted last counts"), "{journal}");

    // A key in agent.env is exchanged by a reload.
    machine.ask("rm", &["/etc/fleetbeat/agent.d/wrong.toml"]);
    let env = "/etc/fleetbeat/agent.env";
    machine.ask("sed", &["-i", "s/=.*/=another-key-than-the-servers/", env]);
    machine.ask("systemctl", &["reload", UNIT]);
    wait_for("the new key's failure", || {
        let journal = machine.ask("journalctl", &["--unit", UNIT, "--output=cat"]);
        journal.contains("does not know this key").then_some(())
    });
}

#[test]
fn the_doctor_finds_the_service_well_when_called_as_its_user() {
    let server = FleetbeatServer::start();
    let Some(machine) = machine_with_agent(&server) else {
        return;
    };
    machine.ask("systemctl", &["start", UNIT]);
    let as_user = [
        "--reuid=fleetbeat-agent",
        "--regid=fleetbeat-agent",
        "--clear-groups",
    ];
    let told = machine.ask(
        "setpriv",
        &[as_user.as_slice(), &["fleetbeat-agent", "doctor"]].concat(),
    );
    assert!(
        told.contains("key                   the server knows it"),
        "{told}"
    );
    assert!(
        told.contains("collector services    bus active, no inactive"),
        "{told}"
    );
}

/// Images get their names late, by cloud-init or by hand.
#[test]
fn a_name_that_the_host_gets_later_is_the_services_too() {
    let server = FleetbeatServer::start();
    let Some(machine) = machine_with_agent(&server) else {
        return;
    };
    machine.ask("systemctl", &["start", UNIT]);
    let token = server.admin_token();
    let name = || Some(server.servers(&token).first()?["hostname"].clone());
    wait_for("a heartbeat", name);
    machine.ask("hostname", &["vpn-de-01"]);
    wait_for("the new name", || (name()? == "vpn-de-01").then_some(()));
}

/// What root may do says nothing about the service.
#[test]
fn the_doctor_that_root_calls_looks_from_inside_the_units_walls() {
    let server = FleetbeatServer::start();
    let Some(machine) = machine_with_agent(&server) else {
        return;
    };
    let commands = "[collectors.exec]\ncommands = [\n\
        {name = \"who\", run = [\"/bin/sh\", \"-c\", \"echo uid $(id -u)\"]},\n\
        {name = \"tmp\", run = [\"/bin/sh\", \"-c\", \"cat /tmp/number\"]},\n\
        {name = \"net\", run = [\"/usr/bin/perl\", \"-e\", 'socket(S, 16, 3, 0) or die $!; print \"up 1\\n\"']} ]\n";
    machine.write("/etc/fleetbeat/agent.d/exec.toml", commands, 0o644);
    machine.write("/tmp/number", "number 1\n", 0o644);
    machine.ask("systemctl", &["start", UNIT]);
    machine.ask("systemctl", &["stop", UNIT]);
    let user = machine.ask("id", &["-u", "fleetbeat-agent"]);
    let doctor = || {
        let output = machine.run("fleetbeat-agent", &["doctor"]);
        (
            output.status.success(),
            String::from_utf8(output.stdout).unwrap(),
        )
    };

    let (is_well, told) = doctor();
    assert!(
        is_well && told.contains("key                   the server knows it"),
        "{told}"
    );
    assert!(
        told.contains(&format!("can be written by user {user}")),
        "{told}"
    );
    assert!(
        told.contains("warning  collector exec        tmp: "),
        "{told}"
    );
    assert!(told.contains("/tmp/number: No such file"), "{told}");
    assert!(!told.contains("net: "), "netlink is let through: {told}");

    // The operator's drop-ins are part of the walls.
    let drop_in = "/run/systemd/system/fleetbeat-agent.service.d/tmp.conf";
    machine.write(drop_in, "[Service]\nPrivateTmp=no\n", 0o644);
    machine.ask("systemctl", &["daemon-reload"]);
    let (is_well, told) = doctor();
    assert!(is_well && told.contains("tmp_number 1"), "{told}");
    assert!(told.contains(&format!("who_uid {user}")), "{told}");

    let file = "/etc/fleetbeat/agent.toml";
    machine.ask("chmod", &["600", file]);
    let (is_well, told) = doctor();
    assert!(
        !is_well && told.contains("failed   configuration"),
        "{told}"
    );
    assert!(told.contains("Permission denied"), "{told}");
    machine.ask("chmod", &["644", file]);

    machine.ask("chown", &["root", "/var/lib/fleetbeat-agent/spool"]);
    machine.ask("chmod", &["600", "/var/lib/fleetbeat-agent/spool"]);
    let (is_well, told) = doctor();
    assert!(!is_well && told.contains("failed   spool"), "{told}");
}

/// What root's check-config says holds for the service, its reload and its restart.
#[test]
fn check_config_that_root_calls_looks_as_the_service_does() {
    let server = FleetbeatServer::start();
    let Some(machine) = machine_with_agent(&server) else {
        return;
    };
    let (env, drop_in) = ("/etc/fleetbeat/agent.env", "/etc/fleetbeat/agent.d/x.toml");
    let check = || {
        let output = machine.run("fleetbeat-agent", &["check-config"]);
        let told = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.code(), told)
    };
    machine.ask("systemctl", &["start", UNIT]);
    let (code, told) = check();
    assert!(code == Some(0) && told.contains("is valid"), "{told}");

    // Inside the unit /etc is read-only, and everybody may read the key all the same.
    machine.ask("chmod", &["644", env]);
    let (code, told) = check();
    assert!(
        code == Some(78) && told.contains("lets everybody in"),
        "{told}"
    );
    assert!(
        !machine
            .run("systemctl", &["restart", UNIT])
            .status
            .success()
    );
    machine.ask("chmod", &["640", env]);
    machine.ask("systemctl", &["restart", UNIT]);

    // Root alone may read the key, or a drop-in: a restart would end the service.
    for closed in [env, drop_in] {
        if closed == drop_in {
            machine.write(drop_in, "[host]\ncity = \"x\"\n", 0o600);
        } else {
            machine.ask("chown", &["root:root", env]);
        }
        let (code, told) = check();
        assert!(code == Some(1) && told.contains(closed), "{told}");
        assert!(told.contains("640"), "{told}");
        assert!(!machine.run("systemctl", &["reload", UNIT]).status.success());
        machine.ask("chown", &["root:fleetbeat-agent", env]);
    }
    machine.ask("rm", &[drop_in]);

    machine.write(env, "# no key\n", 0o640);
    machine.ask("chown", &["root:fleetbeat-agent", env]);
    let (code, told) = check();
    assert!(
        code == Some(78) && told.contains("put AGENT_API_KEY="),
        "{told}"
    );
}

#[test]
fn the_unit_takes_nothing_from_what_is_measured() {
    let server = FleetbeatServer::start();
    let Some(machine) = machine_with_agent(&server) else {
        return;
    };
    let once = unit()
        .replace(
            "Type=notify",
            "Type=oneshot\nStandardOutput=file:/run/once.json",
        )
        .replace("fleetbeat-agent run", "fleetbeat-agent once")
        .replace("Restart=always", "");
    machine.write("/run/systemd/system/once.service", once, 0o644);
    machine.ask("systemctl", &["daemon-reload"]);
    machine.ask("systemctl", &["start", "once.service"]);
    let confined = stable(&machine.ask("cat", &["/run/once.json"]));
    let unconfined = stable(&machine.ask("fleetbeat-agent", &["once"]));
    assert_eq!(confined, unconfined);
    let services = serde_json::json!([{"name": "bus", "active": true}, {"name": "no", "active": false}]);
    assert_eq!(confined["services"], services);
    let load =
        serde_json::json!({"cpu": "a number", "ram": "a number", "net": "a number"});
    assert_eq!(confined["load"], load);
}

#[test]
fn an_agent_that_hangs_is_killed_and_started_again() {
    let server = FleetbeatServer::start();
    let Some(machine) = machine_with_agent(&server) else {
        return;
    };
    // Shorter than the unit's, or the test would take minutes; the agent has to report in
    // more often then.
    machine.write(
        "/run/systemd/system/fleetbeat-agent.service.d/test.conf",
        "[Service]\nWatchdogSec=2s\nRestartSec=100ms\n",
        0o644,
    );
    machine.write(
        "/etc/fleetbeat/agent.d/rare.toml",
        "[schedule]\nsample_every = \"1h\"\n",
        0o644,
    );
    machine.ask("systemctl", &["daemon-reload"]);
    machine.ask("systemctl", &["start", UNIT]);
    let pid = machine.show(UNIT, "MainPID");
    let token = server.admin_token();
    wait_for("a heartbeat", || {
        (server.servers(&token).len() == 1).then_some(())
    });
    // It has nothing to do for an hour now, and reports in all the same.
    let reported = || {
        machine
            .show(UNIT, "WatchdogTimestampMonotonic")
            .parse::<u64>()
            .unwrap()
    };
    let first = reported();
    wait_for("three watchdog times without a restart", || {
        (reported() > first + 6_000_000).then_some(())
    });
    assert_eq!(machine.show(UNIT, "MainPID"), pid);
    assert_eq!(machine.show(UNIT, "NRestarts"), "0");

    machine.ask(
        "systemctl",
        &["kill", "--signal=STOP", "--kill-who=main", UNIT],
    );
    wait_for("a new agent", || {
        let now = machine.show(UNIT, "MainPID");
        (now != pid && now != "0" && machine.show(UNIT, "ActiveState") == "active")
            .then_some(())
    });
    assert_eq!(machine.show(UNIT, "NRestarts"), "1");
    let journal = machine.ask("journalctl", &["--unit", UNIT, "--output=cat"]);
    assert!(journal.contains("Watchdog timeout"), "{journal}");
}

#[test]
fn the_key_can_be_a_credential() {
    let server = FleetbeatServer::start();
    let Some(machine) = machine_with_agent(&server) else {
        return;
    };
    machine.ask("rm", &["/etc/fleetbeat/agent.env"]);
    machine.write("/etc/fleetbeat/agent.key", format!("{AGENT_KEY}\n"), 0o600);
    machine.write(
        UNIT_PATH,
        unit().replace("#LoadCredential=", "LoadCredential="),
        0o644,
    );
    machine.ask("systemctl", &["daemon-reload"]);
    machine.ask("systemctl", &["start", UNIT]);
    let token = server.admin_token();
    wait_for("a heartbeat", || {
        (server.servers(&token).len() == 1).then_some(())
    });
}

#[test]
fn a_wrong_configuration_is_not_tried_again() {
    let server = FleetbeatServer::start();
    let Some(machine) = machine_with_agent(&server) else {
        return;
    };
    machine.write(
        "/etc/fleetbeat/agent.d/wrong.toml",
        "[schedule]\nsample_every = \"soon\"\n",
        0o644,
    );
    assert!(!machine.run("systemctl", &["start", UNIT]).status.success());
    assert_eq!(machine.show(UNIT, "ActiveState"), "failed");
    assert_eq!(machine.show(UNIT, "ExecMainStatus"), "78");
    let journal = machine.ask("journalctl", &["--unit", UNIT, "--output=cat"]);
    assert!(
        journal
            .contains("agent.d/wrong.toml:2: schedule.sample_every: must be a duration"),
        "{journal}"
    );
}
