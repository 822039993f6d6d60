//! `fleetbeat-agent enroll`, and what becomes of the key afterwards: answers that are cut,
//! kills at any moment, and keys that are replaced while a fleet beats.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use fleetbeat_protocol::owner_of_key;
use fleetbeat_tools::client;
use fleetbeat_tools::process::Running;
use fleetbeat_tools::recorder::Recorder;
use fleetbeat_tools::server::{AGENT_KEY, FleetbeatServer};
use fleetbeat_tools::stand_in::StandIn;
use fleetbeat_tools::wait::wait_for;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::agent::{FAST, ScriptedServer, agent_command, answer, write_settings};
use crate::agent_keys::{code, heartbeat, post};

/// A host that is not enrolled: its configuration, and its state folder.
struct Host {
    folder: TempDir,
}

impl Host {
    /// A host whose agent.toml names this server.
    fn new(url: &str, rest: &str) -> Host {
        let folder = tempfile::tempdir().unwrap();
        write_settings(&folder, url, &format!("{FAST}{rest}"));
        let env = folder.path().join("agent.env");
        fs::write(&env, "# Secrets.\n#AGENT_API_KEY=\n").unwrap();
        fs::set_permissions(&env, fs::Permissions::from_mode(0o640)).unwrap();
        Host { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// The agent, with its key from its files alone.
    fn command(&self) -> Command {
        let mut command = agent_command(&self.folder);
        command.env_remove("AGENT_API_KEY");
        command
    }

    fn enroll_command(&self, server: Option<&str>) -> Command {
        let mut command = self.command();
        command.arg("enroll");
        if let Some(server) = server {
            command.args(["--server", server]);
        }
        command.args(["--code", "-"]).stdin(Stdio::piped());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn enroll(&self, server: Option<&str>, code: &str) -> Output {
        let mut child = self.enroll_command(server).spawn().unwrap();
        // An agent that sees before what is wrong does not read the code.
        let _ = writeln!(child.stdin.take().unwrap(), "{code}");
        child.wait_with_output().unwrap()
    }

    fn key(&self) -> String {
        self.read("key").trim_end().to_owned()
    }

    fn start(&self) -> Running {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.path("log"));
        let mut command = self.command();
        Running::spawn(command.stdin(Stdio::null()).stderr(log.unwrap()))
    }

    /// Asserts that the key of the host's files is the one that the server takes.
    fn assert_enrolled(&self, server: &FleetbeatServer) {
        let key = self.key();
        let id = owner_of_key(&key).unwrap_or_else(|| panic!("no key"));
        let identity = self.read("identity");
        assert!(identity.contains(&id.expose()), "the identity is the key's");
        let answer = post(server, "/heartbeats", Some(&key), &json!([]));
        assert_eq!(answer.status, 200, "{answer:?}");
        let line = format!("AGENT_API_KEY_FILE={}\n", self.path("key").display());
        let env = self.read("agent.env");
        assert!(env.ends_with(&line), "{env}");
        assert!(!self.path("key.staged").exists());
        let checked = self.command().arg("check-config").output().unwrap();
        let told = String::from_utf8_lossy(&checked.stdout).into_owned();
        assert!(told.contains("this host's own"), "{told}");
    }
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

fn url(address: SocketAddr) -> String {
    format!("http://{address}")
}

/// A code of the command line, as a first installation makes one.
fn code_of_command(server: &FleetbeatServer, options: &[&str]) -> String {
    let arguments = [&["enroll-code"], options].concat();
    let output = server.command(&arguments, "");
    assert!(output.status.success(), "{}", told(&output));
    String::from_utf8(output.stdout)
        .unwrap()
        .trim_end()
        .to_owned()
}

#[test]
fn a_host_is_enrolled_and_beats_with_a_key_of_its_own() {
    let server = FleetbeatServer::start();
    let token = server.admin_token();
    let host = Host::new("https://fleet.example.com", "[host]\nip = \"10.9.0.1\"\n");
    fs::write(
        host.path("agent.env"),
        "AGENT_API_KEY=old\nOTHER=\"stays\"\n",
    )
    .unwrap();
    let code = code_of_command(&server, &["--note", "first"]);
    let output = host.enroll(Some(&url(server.address())), &code);
    assert!(output.status.success(), "{}", told(&output));
    assert!(!told(&output).contains(&host.key()) && !told(&output).contains(&code));

    let key = host.path("key");
    assert_eq!(
        host.read("agent.env").lines().last(),
        Some("OTHER=\"stays\"")
    );
    assert!(!host.read("agent.env").contains("old"));
    let drop_in = host.read("agent.d/90-enrolled.toml");
    assert!(drop_in.contains(&url(server.address())), "{drop_in}");
    for (path, mode) in [
        (key.as_path(), 0o600),
        (&host.path("identity"), 0o600),
        (&host.path("agent.env"), 0o640),
        (&host.path("agent.d/90-enrolled.toml"), 0o640),
    ] {
        let found = fs::metadata(path).unwrap();
        assert_eq!(found.mode() & 0o777, mode, "{}", path.display());
    }

    let agent = host.start();
    let host_of = |listed: &Value| listed[0]["ip"].as_str().map(str::to_owned);
    let ip = wait_for("the first heartbeat", || {
        host_of(&server.api(&token, "GET", "/agent-keys", None).json())
    });
    assert_eq!(ip, "10.9.0.1");
    let shared = post(
        &server,
        "/heartbeat",
        Some(AGENT_KEY),
        &heartbeat("10.9.0.1", None),
    );
    assert_eq!(shared.status, 409);
    drop(agent);

    // Called again it changes nothing, though the code is used up.
    let before = (host.key(), host.read("agent.env"));
    let output = host.enroll(None, &code);
    assert!(output.status.success(), "{}", told(&output));
    assert_eq!((host.key(), host.read("agent.env")), before);
    // After a revocation, another code gets it another key.
    server.api(&token, "DELETE", "/agent-keys/10.9.0.1", None);
    let output = host.enroll(None, &code);
    assert_eq!(output.status.code(), Some(1));
    let code = code_of_command(&server, &[]);
    let output = host.enroll(None, &code);
    assert!(output.status.success(), "{}", told(&output));
    assert_ne!(host.key(), before.0);
    let answer = post(&server, "/heartbeats", Some(&host.key()), &json!([]));
    assert_eq!(answer.status, 200);
    let log = host.read("log");
    assert!(
        !log.contains(&before.0) && !log.contains(&host.key()),
        "{log}"
    );
}

#[test]
fn calls_at_once_enrol_one_host_with_one_use_of_the_code() {
    let server = FleetbeatServer::start();
    let here = url(server.address());
    for round in 0..6 {
        let code = code_of_command(&server, &[]);
        let host = Host::new(&here, "");
        thread::scope(|scope| {
            let calls: Vec<_> = (0..3)
                .map(|_| scope.spawn(|| host.enroll(None, &code)))
                .collect();
            for call in calls {
                let output = call.join().unwrap();
                assert!(output.status.success(), "{round}: {}", told(&output));
            }
        });
        host.assert_enrolled(&server);
    }
}

#[test]
fn an_agent_that_starts_while_its_host_is_enrolled_is_that_host() {
    let server = FleetbeatServer::start();
    let token = server.admin_token();
    let here = url(server.address());
    for round in 1..5 {
        let code = code_of_command(&server, &[]);
        let ip = format!("10.9.1.{round}");
        let host = Host::new(&here, &format!("[host]\nip = \"{ip}\"\n"));
        let mut command = host.command();
        command.env("AGENT_API_KEY_FILE", host.path("shared"));
        fs::write(host.path("shared"), format!("{AGENT_KEY}\n")).unwrap();
        fs::set_permissions(host.path("shared"), fs::Permissions::from_mode(0o600))
            .unwrap();
        let agent = Running::spawn(&mut command);
        let output = host.enroll(None, &code);
        assert!(output.status.success(), "{}", told(&output));
        drop(agent);
        host.assert_enrolled(&server);
        let shown = server.api(&token, "GET", "/agent-keys", None).json();
        assert_eq!(shown.as_array().unwrap().len(), round);
    }
}

#[test]
fn no_server_sees_a_key_that_it_has_not_taken_yet() {
    let wrong = ScriptedServer::start(|_| {
        let body = r#"{"status":403,"title":"t","detail":"d","request_id":"r"}"#;
        answer(403, "", body)
    });
    let server = FleetbeatServer::start();
    let code = code_of_command(&server, &[]);
    let host = Host::new(&url(server.address()), "");
    for is_enrolled in [false, true] {
        let output = host.enroll(Some(&wrong.url()), "fbe_any");
        assert!(!output.status.success(), "{}", told(&output));
        let seen = wrong.next();
        assert!(seen.line.contains("/enroll"), "{}", seen.line);
        assert_eq!(seen.header("x-api-key"), None);
        if !is_enrolled {
            assert!(host.enroll(None, &code).status.success());
            host.assert_enrolled(&server);
        }
    }
    let answer = post(&server, "/heartbeats", Some(&host.key()), &json!([]));
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[test]
fn a_key_in_the_environment_keeps_a_host_from_being_enrolled() {
    let server = FleetbeatServer::start();
    let code = code_of_command(&server, &[]);
    let host = Host::new(&url(server.address()), "");
    let credentials = host.path("credentials");
    fs::create_dir(&credentials).unwrap();
    fs::write(credentials.join("agent_api_key"), AGENT_KEY).unwrap();
    for (name, value) in [
        ("AGENT_API_KEY", AGENT_KEY),
        ("AGENT_API_KEY_FILE", "/elsewhere"),
        ("CREDENTIALS_DIRECTORY", credentials.to_str().unwrap()),
    ] {
        let mut command = host.enroll_command(None);
        let mut child = command.env(name, value).spawn().unwrap();
        let _ = writeln!(child.stdin.take().unwrap(), "{code}");
        let output = child.wait_with_output().unwrap();
        assert!(!output.status.success());
        let place = "is a place of the key already";
        assert!(told(&output).contains(place), "{name}: {}", told(&output));
        assert!(!host.path("key").exists());
    }
    assert!(host.enroll(None, &code).status.success());
}

#[test]
fn what_keeps_a_host_from_being_enrolled_is_told() {
    let server = FleetbeatServer::start();
    let here = url(server.address());
    let code = code_of_command(&server, &["--uses", "9"]);
    let refuse = |host: &Host, server: Option<&str>, code: &str, words: &[&str]| {
        let output = host.enroll(server, code);
        assert!(!output.status.success(), "{}", told(&output));
        for word in words {
            assert!(told(&output).contains(word), "{word}: {}", told(&output));
        }
        assert_eq!(host.read("agent.env"), "# Secrets.\n#AGENT_API_KEY=\n");
        assert!(!host.path("key").exists() && !host.path("agent.d").exists());
    };
    let host = Host::new(&here, "");
    refuse(&host, None, "fbe_none", &["403", "not known"]);
    refuse(&host, None, "", &["code is empty"]);
    refuse(
        &host,
        Some("ftp://x"),
        &code,
        &["90-enrolled.toml:2: server.url"],
    );
    refuse(
        &host,
        Some("http://198.51.100.1"),
        &code,
        &["allow_insecure"],
    );
    refuse(
        &host,
        Some("http://127.0.0.1:9"),
        &code,
        &["no answer from", "again"],
    );

    let other = tempfile::tempdir().unwrap();
    let file = other.path().join("key");
    fs::write(&file, "a-shared-key-in-a-file\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let host = Host::new(&here, "");
    let text = host.read("agent.toml");
    let text =
        text.replacen("[server]", &format!("[server]\napi_key_file = {file:?}"), 1);
    fs::write(host.path("agent.toml"), text).unwrap();
    refuse(&host, None, &code, &["api_key_file", "take the line out"]);
}

/// Takes requests, has the server answer, and keeps the first `cut` answers back.
fn cutting(server: SocketAddr, cut: usize) -> StandIn {
    let seen = Arc::new(AtomicUsize::new(0));
    StandIn::start(move |mut stream| {
        let Some(request) = read_request(&mut stream) else {
            return;
        };
        let answer = client::exchange(server, &request).unwrap();
        if seen.fetch_add(1, Ordering::Relaxed) >= cut {
            let head = format!(
                "HTTP/1.1 {} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                answer.status,
                answer.body.len()
            );
            let _ = stream.write_all(&[head.as_bytes(), &answer.body].concat());
        }
    })
}

/// A request with its body.
fn read_request(stream: &mut impl Read) -> Option<Vec<u8>> {
    let (mut bytes, mut byte) = (Vec::new(), [0]);
    while !bytes.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        bytes.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&bytes).to_ascii_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).ok()?;
    bytes.extend(body);
    Some(bytes)
}

#[test]
fn an_answer_that_is_cut_costs_nothing() {
    let server = FleetbeatServer::start();
    let token = server.admin_token();
    let front = cutting(server.address(), 2);
    let here = url(front.address());
    let host = Host::new(&here, "");
    let code = code(&server, &token, &json!({"max_uses": 1}));
    for _ in 0..2 {
        let output = host.enroll(None, &code);
        assert_eq!(output.status.code(), Some(1));
        assert!(told(&output).contains("call this again with the same code"));
    }
    let staged = host.read("key.staged");
    let output = host.enroll(None, &code);
    assert!(output.status.success(), "{}", told(&output));
    assert_eq!(
        host.read("key"),
        staged,
        "the key is the one of the first call"
    );
    host.assert_enrolled(&server);
    let codes = server.api(&token, "GET", "/enrollment-codes", None).json();
    assert_eq!(codes[0]["uses"], 1);
}

#[test]
fn a_kill_at_any_moment_and_the_same_call_again_end_well() {
    const KILLS: u32 = 60;
    let server = FleetbeatServer::start();
    let token = server.admin_token();
    let here = url(server.address());
    let mut unfinished = 0;
    for n in 0..KILLS {
        let code = code(&server, &token, &json!({"max_uses": 1}));
        let host = Host::new("https://fleet.example.com", "");
        let mut child = host.enroll_command(Some(&here)).spawn().unwrap();
        writeln!(child.stdin.take().unwrap(), "{code}").unwrap();
        thread::sleep(Duration::from_micros(u64::from(n) * 250));
        unfinished += u32::from(child.try_wait().unwrap().is_none());
        let _ = child.kill();
        child.wait().unwrap();

        let output = host.enroll(Some(&here), &code);
        assert!(output.status.success(), "kill {n}: {}", told(&output));
        host.assert_enrolled(&server);
    }
    assert!(
        unfinished > KILLS / 4,
        "{unfinished} kills have met it at work"
    );
}

/// Puts something in the way of the file that is about to be written at `path`.
fn block(path: &Path) -> PathBuf {
    let new = path.with_extension("new");
    fs::create_dir_all(&new).unwrap();
    fs::write(new.join("x"), "").unwrap();
    new
}

#[test]
fn a_step_that_fails_is_done_by_the_same_call_again() {
    let server = FleetbeatServer::start();
    let token = server.admin_token();
    let here = url(server.address());
    for name in ["key", "agent.d/90-enrolled.toml", "agent.env"] {
        let code = code(&server, &token, &json!({"max_uses": 1}));
        let host = Host::new("https://fleet.example.com", "");
        let obstacle = block(&host.path(name));
        let output = host.enroll(Some(&here), &code);
        assert_eq!(output.status.code(), Some(1), "{name}: {}", told(&output));
        let env = host.read("agent.env");
        assert_eq!(
            env, "# Secrets.\n#AGENT_API_KEY=\n",
            "the host works as before"
        );

        fs::remove_dir_all(obstacle).unwrap();
        let output = host.enroll(Some(&here), &code);
        assert!(output.status.success(), "{name}: {}", told(&output));
        host.assert_enrolled(&server);
    }
}

#[test]
fn a_copied_disk_does_not_speak_with_the_originals_key() {
    let server = FleetbeatServer::start();
    let host = Host::new(&url(server.address()), "[host]\nip = \"10.9.0.1\"\n");
    let code = code_of_command(&server, &["--uses", "2"]);
    assert!(host.enroll(None, &code).status.success());
    let key = host.key();

    // The machine that the identity was made on is another one.
    let identity = host.read("identity");
    let machine = identity
        .lines()
        .find(|line| line.starts_with("machine "))
        .unwrap();
    let copied = identity.replace(machine, "machine 0123456789abcdef");
    fs::write(host.path("identity"), copied).unwrap();
    let agent = host.start();
    wait_for("the refusal", || {
        host.read("log").contains("is another host's").then_some(())
    });
    assert!(host.read("log").contains("the key is that of the host"));
    drop(agent);

    let output = host.enroll(None, &code);
    assert!(output.status.success(), "{}", told(&output));
    assert_ne!(owner_of_key(&host.key()), owner_of_key(&key));
    host.assert_enrolled(&server);
}

#[test]
fn a_whole_fleet_replaces_its_keys_without_missing_a_heartbeat() {
    const HOSTS: usize = 5;
    const ROUNDS: usize = 3;
    /// Numbers are milliseconds, and a heartbeat comes every 400 ms.
    const MAX_GAP: u64 = 799;
    let server = FleetbeatServer::start();
    let token = server.admin_token();
    let recorder = Recorder::start(server.address());
    let code = code(&server, &token, &json!({"max_uses": HOSTS}));
    let hosts: Vec<(Host, Running)> = (0..HOSTS)
        .map(|n| {
            let ip = format!("[host]\nip = \"10.9.0.{n}\"\n");
            let host = Host::new(&url(recorder.address()), &ip);
            let output = host.enroll(None, &code);
            assert!(output.status.success(), "{}", told(&output));
            let agent = host.start();
            (host, agent)
        })
        .collect();
    let accepted = |n: usize| {
        let ip = format!("10.9.0.{n}");
        let all = recorder.accepted().into_iter();
        all.filter(|one| one.ip == ip).count()
    };
    for n in 0..HOSTS {
        wait_for("a heartbeat", || (accepted(n) > 0).then_some(()));
    }

    for _ in 0..ROUNDS {
        let before: Vec<String> = hosts.iter().map(|(host, _)| host.key()).collect();
        for n in 0..HOSTS {
            let target = format!("/agent-keys/10.9.0.{n}/rotate");
            assert_eq!(server.api(&token, "POST", &target, None).status, 200);
        }
        for ((host, _), before) in hosts.iter().zip(&before) {
            wait_for("another key", || (host.key() != *before).then_some(()));
        }
        wait_for("the new keys' first use", || {
            let keys = server.api(&token, "GET", "/agent-keys", None).json();
            let is_done =
                |key: &Value| key["state"] == "active" && key["rotate"] == false;
            keys.as_array().unwrap().iter().all(is_done).then_some(())
        });
        for before in &before {
            let answer = post(&server, "/heartbeats", Some(before), &json!([]));
            assert_eq!(answer.status, 401, "the old key has ended");
        }
    }
    let counts: Vec<usize> = (0..HOSTS).map(accepted).collect();
    for (n, before) in counts.iter().enumerate() {
        wait_for("two more", || (accepted(n) >= before + 2).then_some(()));
    }

    let mut numbers: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for one in recorder.accepted() {
        numbers.entry(one.ip).or_default().push(one.seq);
    }
    for (ip, mut numbers) in numbers {
        numbers.sort_unstable();
        let once = numbers.windows(2).all(|pair| pair[0] < pair[1]);
        assert!(once, "{ip}: a heartbeat came twice: {numbers:?}");
        let whole = numbers.windows(2).all(|pair| pair[1] - pair[0] <= MAX_GAP);
        assert!(whole, "{ip}: a heartbeat is missing: {numbers:?}");
    }
    assert_eq!(recorder.unauthorized(), 0);
    for (host, _) in &hosts {
        assert!(!host.read("log").contains(&host.key()));
    }
}

#[test]
fn an_agent_that_is_killed_while_it_replaces_its_key_goes_on() {
    const KILLS: u32 = 15;
    let server = FleetbeatServer::start();
    let token = server.admin_token();
    let host = Host::new(&url(server.address()), "[host]\nip = \"10.9.0.1\"\n");
    let code = code(&server, &token, &json!({}));
    assert!(host.enroll(None, &code).status.success());
    let mut agent = host.start();
    let target = "/agent-keys/10.9.0.1";
    wait_for("the first heartbeat", || {
        let keys = server.api(&token, "GET", "/agent-keys", None).json();
        keys[0]["ip"].as_str().map(drop)
    });
    for n in 0..KILLS {
        let before = host.key();
        let asked = server.api(&token, "POST", &format!("{target}/rotate"), None);
        assert_eq!(asked.status, 200);
        // The next heartbeat is asked for a key within 400 ms.
        thread::sleep(Duration::from_millis(u64::from(n) * 30));
        agent.kill();
        agent = host.start();
        wait_for("the new key's first use", || {
            let keys = server.api(&token, "GET", "/agent-keys", None).json();
            let is_done = keys[0]["rotate"] == false && keys[0]["state"] == "active";
            is_done.then_some(())
        });
        assert_ne!(host.key(), before, "kill {n}");
        let answer = post(&server, "/heartbeats", Some(&host.key()), &json!([]));
        assert_eq!(answer.status, 200, "kill {n}");
    }
    drop(agent);
    assert!(!host.read("log").contains("does not know this key"));
}

#[test]
fn hosts_behind_one_address_have_an_address_each_that_is_made_of_their_id() {
    let server = FleetbeatServer::start();
    let token = server.admin_token();
    let code = code(&server, &token, &json!({"max_uses": 2}));
    let hosts = [0, 1].map(|_| {
        let host = Host::new(&url(server.address()), "[host]\nip = \"derived\"\n");
        assert!(host.enroll(None, &code).status.success());
        let agent = host.start();
        (host, agent)
    });
    let servers = wait_for("two hosts", || {
        let servers = server.servers(&token);
        (servers.len() == 2).then_some(servers)
    });
    for server in &servers {
        let ip = server["ip"].as_str().unwrap();
        assert!(ip.starts_with("fd"), "{ip}");
        assert_eq!(server["observed_ip"], "127.0.0.1");
        assert_eq!(server["ip_confirmed"], false);
    }
    drop(hosts);
}
