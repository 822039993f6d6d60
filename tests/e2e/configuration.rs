//! The agent's configuration while the operator makes mistakes, and what a stop keeps.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use fleetbeat_tools::process::Running;
use fleetbeat_tools::wait::wait_for;

use crate::agent::{FAST, OK, ScriptedServer, agent_command, answer, settings};
use crate::spool::spooled;

#[test]
fn a_start_with_a_mistake_goes_on_with_what_was_accepted() {
    let server = ScriptedServer::start(|_| answer(200, "", OK));
    let settings = settings(&server.url(), FAST);
    let path = settings.path().join("agent.toml");
    let drop_ins = settings.path().join("agent.d");
    fs::create_dir(&drop_ins).unwrap();
    fs::write(
        drop_ins.join("10-host.toml"),
        "[host]\nhostname = \"good\"\n",
    )
    .unwrap();

    let state = settings.path().join("state");
    fs::create_dir(&state).unwrap();
    let log = settings.path().join("log");
    let command = || {
        let mut command = agent_command(&settings);
        command.env("STATE_DIRECTORY", &state);
        command.stderr(fs::File::create(&log).unwrap());
        command
    };
    let start = || Running::spawn(&mut command());
    let mut agent = start();
    assert_eq!(server.next().heartbeat().hostname, "good");
    assert!(agent.terminate().success());

    let good = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{good}[collectors.cpuu]\n")).unwrap();
    fs::remove_dir_all(&drop_ins).unwrap();
    let mut agent = start();
    assert_eq!(server.next().heartbeat().hostname, "good");
    let told = fs::read_to_string(&log).unwrap();
    let expected = "the configuration is wrong, so the one that was accepted last counts";
    assert!(
        told.contains(expected) && told.contains("collectors.cpuu"),
        "{told}"
    );

    // A reload takes what is right, and keeps what is wrong out of the copy.
    agent.signal("HUP");
    wait_for("the mistake in the log", || {
        let told = fs::read_to_string(&log).unwrap();
        told.contains("so the one before stays").then_some(())
    });
    fs::write(&path, format!("{good}[host]\nhostname = \"better\"\n")).unwrap();
    agent.signal("HUP");
    wait_for("the new name", || {
        (server.next().heartbeat().hostname == "better").then_some(())
    });
    assert!(agent.terminate().success());
    fs::write(&path, "not TOML").unwrap();
    let mut agent = start();
    wait_for("the new name", || {
        (server.next().heartbeat().hostname == "better").then_some(())
    });
    assert!(agent.terminate().success());

    // Nobody has ever accepted another file.
    fs::rename(&path, settings.path().join("other.toml")).unwrap();
    let status = command()
        .arg("-c")
        .arg(settings.path().join("other.toml"))
        .status();
    assert_eq!(status.unwrap().code(), Some(78));
}

#[test]
fn a_stop_keeps_the_samples_while_a_collector_hangs() {
    let proc = tempfile::tempdir().unwrap();
    fs::copy("/proc/stat", proc.path().join("stat")).unwrap();
    let fifo = Command::new("mkfifo")
        .arg(proc.path().join("meminfo"))
        .status();
    assert!(fifo.unwrap().success());
    let rest = format!(
        "[schedule]\nsample_every = \"200ms\"\nsamples_per_heartbeat = 2\n\
         [collectors.cpu]\n[collectors.ram]\n[paths]\nproc = {:?}\n\
         [host]\nhostname = \"h\"\n",
        proc.path()
    );
    let settings = settings("http://127.0.0.1:9", &rest);

    let mut agent = Running::spawn(agent_command(&settings).stderr(Stdio::null()));
    // The collector's thread waits in the kernel for somebody to write. The other one has
    // given its sample: a thread that has just been started is called as the program.
    let started = Instant::now();
    wait_for("the hanging collector", || {
        let threads = fs::read_dir(format!("/proc/{}/task", agent.pid())).ok()?;
        let names = threads
            .filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
        let names: Vec<String> = names.collect();
        let count = |wanted| names.iter().filter(|name| name.trim() == wanted).count();
        let counts = ["ram", "cpu", "fleetbeat-agent"].map(count);
        (counts == [1, 0, 1]).then_some(())
    });
    assert!(agent.terminate().success());
    let took = started.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert!(!spooled(settings.path()).is_empty(), "the samples are lost");
}
