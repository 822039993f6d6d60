//! What root does by calling `run` by hand, in a state folder of the agent's user who
//! means no good. These tests are nothing without root.
#![allow(clippy::unwrap_used, reason = "a test may panic in its helpers, too")]

use std::fs;
use std::os::unix::fs::{MetadataExt, chown, symlink};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A user without rights.
const NOBODY: u32 = 65534;
const QUICK: &str = "[schedule]\nsample_every = \"100ms\"\nsamples_per_heartbeat = 1\n";

/// A folder that everybody may enter, with agent.toml and a state folder of nobody's.
/// `None` for anybody but root.
fn prepare() -> Option<TempDir> {
    let folder = tempfile::tempdir().unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(folder.path(), mode).unwrap();
    let state = folder.path().join("state");
    fs::create_dir(&state).unwrap();
    if fs::metadata(&state).unwrap().uid() != 0 {
        return None;
    }
    chown(&state, Some(NOBODY), Some(NOBODY)).unwrap();
    let text = format!(
        "[server]\nurl = \"http://127.0.0.1:9\"\n[collectors.uptime]\n{QUICK}\
         [spool]\npath = {state:?}\n"
    );
    fs::write(folder.path().join("agent.toml"), text).unwrap();
    Some(folder)
}

struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn run(folder: &Path) -> Agent {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fleetbeat-agent"));
    command
        .arg("-c")
        .arg(folder.join("agent.toml"))
        .arg("run")
        .env("AGENT_API_KEY", "a-key")
        .env("STATE_DIRECTORY", folder.join("state"))
        .stdout(Stdio::null());
    Agent(command.spawn().unwrap())
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn links_in_the_state_folder_lead_to_nothing() {
    let Some(folder) = prepare() else { return };
    let state = folder.path().join("state");
    let precious = ["one", "two", "three"].map(|name| folder.path().join(name));
    let links = ["spool", "identity.new", "accepted-configuration.new"];
    for (path, link) in precious.iter().zip(links) {
        fs::write(path, "precious").unwrap();
        symlink(path, state.join(link)).unwrap();
    }

    let agent = run(folder.path());
    wait_until("no identity", || state.join("identity").exists());
    let status = fs::read_to_string(format!("/proc/{}/status", agent.0.id())).unwrap();
    let users = format!("Uid:\t{NOBODY}\t{NOBODY}\t{NOBODY}\t{NOBODY}\n");
    assert!(status.contains(&users), "{status}");
    assert!(
        status.contains(&format!("Groups:\t{NOBODY} \n")),
        "{status}"
    );
    drop(agent);

    for path in &precious {
        assert_eq!(fs::read_to_string(path).unwrap(), "precious", "{path:?}");
        assert_eq!(fs::metadata(path).unwrap().uid(), 0, "{path:?}");
    }
    let identity = fs::metadata(state.join("identity")).unwrap();
    assert_eq!((identity.uid(), identity.mode() & 0o777), (NOBODY, 0o600));
}

#[test]
fn an_accepted_configuration_has_no_more_rights_than_its_owner() {
    let Some(folder) = prepare() else { return };
    let state = folder.path().join("state");
    let (config, told) = (folder.path().join("agent.toml"), state.join("told"));
    let command = format!("id -u > {}; echo x 1", told.display());
    let text = format!(
        "[server]\nurl = \"http://127.0.0.1:9\"\n{QUICK}[spool]\npath = {state:?}\n\
         [collectors.exec]\ncommands = [{{name = \"a\", run = [\"/bin/sh\", \"-c\", \
         {command:?}]}}]\n"
    );
    let copy = format!("#= {} {}\n{text}\n", text.len(), config.display());
    let kept = state.join("accepted-configuration");
    fs::write(&kept, copy).unwrap();
    chown(&kept, Some(NOBODY), Some(NOBODY)).unwrap();
    fs::write(&config, "[server]\nurl = 1\n").unwrap();

    let _agent = run(folder.path());
    let read = || fs::read_to_string(&told).unwrap_or_default();
    wait_until("the command has not run", || !read().is_empty());
    assert_eq!(read(), format!("{NOBODY}\n"));
}
