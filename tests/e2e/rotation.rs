//! The agents' key is exchanged under a fleet that goes on beating: docs/operating.md has
//! the steps.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use fleetbeat_tools::client;
use fleetbeat_tools::process::Running;
use fleetbeat_tools::recorder::Recorder;
use fleetbeat_tools::server::{AGENT_KEY, FleetbeatServer};
use fleetbeat_tools::wait::wait_for;
use tempfile::TempDir;

use crate::agent::{FAST, agent_command, write_settings};

const AGENTS: usize = 5;
const NEW_KEY: &str = "the-key-that-replaces-it";
/// Numbers are milliseconds, and a heartbeat comes every 400 ms: a longer gap means a
/// missing heartbeat.
const MAX_GAP: u64 = 799;

/// A real agent whose key stands in a file.
struct Agent {
    ip: String,
    folder: TempDir,
    /// Whether the key has a file of its own, and is not in agent.env.
    is_plain: bool,
    process: Running,
}

impl Agent {
    fn start(number: usize, recorder: &Recorder, key: &str) -> Agent {
        let (ip, is_plain) = (format!("10.8.0.{number}"), number == 0);
        let folder = tempfile::tempdir().unwrap();
        let key_file = format!("api_key_file = {:?}\n", folder.path().join("key"));
        let key_file = if is_plain { &key_file } else { "" };
        let rest = format!("{key_file}{FAST}[host]\nip = \"{ip}\"\n");
        write_settings(&folder, &format!("http://{}", recorder.address()), &rest);
        write_key(&folder, is_plain, key);
        let process = spawn(&folder);
        Agent {
            ip,
            folder,
            is_plain,
            process,
        }
    }

    /// Takes the new key by a reload.
    fn change_key(&mut self, key: &str) {
        write_key(&self.folder, self.is_plain, key);
        self.process.signal("HUP");
        wait_for("the reload", || {
            self.log().contains("configuration reloaded").then_some(())
        });
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    fn has_empty_spool(&self) -> bool {
        fs::metadata(self.folder.path().join("spool")).is_ok_and(|file| file.len() == 0)
    }
}

fn write_key(folder: &TempDir, is_plain: bool, key: &str) {
    let (name, text) = if is_plain {
        ("key", key.to_owned())
    } else {
        ("agent.env", format!("AGENT_API_KEY={key}\n"))
    };
    let path = folder.path().join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o640)).unwrap();
}

fn spawn(folder: &TempDir) -> Running {
    let mut command = agent_command(folder);
    command.env_remove("AGENT_API_KEY");
    let log = File::options()
        .create(true)
        .append(true)
        .open(folder.path().join("log"))
        .unwrap();
    Running::spawn(command.stdin(Stdio::null()).stderr(log))
}

/// How many of the host's heartbeats have been accepted.
fn accepted(recorder: &Recorder, ip: &str) -> usize {
    recorder
        .accepted()
        .iter()
        .filter(|heartbeat| heartbeat.ip == ip)
        .count()
}

/// Waits until the server has heard of each agent again, and none has kept anything.
fn wait_for_everybody(recorder: &Recorder, agents: &[Agent]) {
    let before: Vec<usize> = agents
        .iter()
        .map(|agent| accepted(recorder, &agent.ip))
        .collect();
    for (agent, before) in agents.iter().zip(before) {
        wait_for("two more heartbeats", || {
            (accepted(recorder, &agent.ip) >= before + 2).then_some(())
        });
        wait_for("an empty spool", || agent.has_empty_spool().then_some(()));
    }
}

fn status_with(server: &FleetbeatServer, key: &str) -> u16 {
    let body = include_bytes!("../../protocol/golden/heartbeat-minimal.json");
    client::request(
        server.address(),
        "POST",
        "/heartbeat",
        &[("X-API-Key", key)],
        body,
    )
    .unwrap()
    .status
}

/// Plays the exchange: `set_keys` writes down the server's keys before each of its two
/// restarts.
fn rotate(
    mut server: FleetbeatServer,
    old: &str,
    set_keys: impl Fn(&mut FleetbeatServer, &str),
) {
    let recorder = Recorder::start(server.address());
    let mut agents: Vec<Agent> = (0..AGENTS)
        .map(|n| Agent::start(n, &recorder, old))
        .collect();
    let restart_with = |server: &mut FleetbeatServer, keys: &str| {
        set_keys(server, keys);
        // While the server is away, its port may be another test's.
        recorder.cut(true);
        assert!(server.stop().success());
        server.restart();
        recorder.cut(false);
    };
    wait_for_everybody(&recorder, &agents);
    restart_with(&mut server, &format!("{NEW_KEY},{old}"));
    wait_for_everybody(&recorder, &agents);
    for agent in &mut agents {
        // Just after a heartbeat: a heartbeat that is cut off in the middle would be sent
        // again, which changes nothing.
        let before = accepted(&recorder, &agent.ip);
        wait_for("a heartbeat that the agent knows to be accepted", || {
            (accepted(&recorder, &agent.ip) > before && agent.has_empty_spool())
                .then_some(())
        });
        agent.change_key(NEW_KEY);
    }
    wait_for_everybody(&recorder, &agents);
    restart_with(&mut server, NEW_KEY);
    wait_for_everybody(&recorder, &agents);

    assert_eq!(recorder.unauthorized(), 0);
    assert_eq!(
        (status_with(&server, old), status_with(&server, NEW_KEY)),
        (401, 200)
    );
    assert_each_arrived_once(&recorder, &agents);
}

/// No agent is ever silent.
fn assert_each_arrived_once(recorder: &Recorder, agents: &[Agent]) {
    let mut numbers: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for heartbeat in recorder.accepted() {
        numbers.entry(heartbeat.ip).or_default().push(heartbeat.seq);
    }
    for agent in agents {
        let numbers = numbers.get_mut(&agent.ip).unwrap();
        numbers.sort_unstable();
        assert!(
            numbers.windows(2).all(|pair| pair[0] < pair[1]),
            "{}: one came twice: {numbers:?}",
            agent.ip
        );
        let is_gap = |pair: &[u64]| pair[1] - pair[0] > MAX_GAP;
        assert!(
            !numbers.windows(2).any(is_gap),
            "{}: one is missing: {numbers:?}",
            agent.ip
        );
        let log = agent.log();
        assert!(!log.contains("dropped") && !log.contains("(401)"), "{log}");
    }
}

#[test]
fn a_key_in_the_environment_is_rotated_while_every_heartbeat_arrives_once() {
    rotate(FleetbeatServer::start(), AGENT_KEY, |server, keys| {
        server.set_environment("AGENT_API_KEY", keys);
    });
}

#[test]
fn the_key_that_the_server_has_made_is_rotated_in_its_file() {
    let server = FleetbeatServer::start_with_keys_of_its_own();
    let file = server.data().join("agent_api_key");
    let old = fs::read_to_string(&file).unwrap().trim().to_owned();
    rotate(server, &old, |_, keys| {
        fs::write(&file, format!("{keys}\n")).unwrap();
    });
}
