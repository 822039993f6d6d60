//! `health` as the real binary answers, over spools of every age.
#![allow(clippy::unwrap_used, reason = "a test may panic in its helpers, too")]

use std::fs::{self, File};
use std::process::Command;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

/// A configuration with a heartbeat every two minutes and a spool in its folder.
fn configured(more: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let spool = folder.path();
    let text = format!(
        "[server]\nurl = \"http://127.0.0.1:9\"\n[spool]\npath = {spool:?}\n{more}"
    );
    fs::write(folder.path().join("agent.toml"), text).unwrap();
    folder
}

/// Exit code and all that was printed.
fn health(folder: &TempDir) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fleetbeat-agent"));
    command
        .arg("-c")
        .arg(folder.path().join("agent.toml"))
        .arg("health")
        .env("STATE_DIRECTORY", folder.path())
        .env_remove("AGENT_API_KEY");
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.code().unwrap(),
        String::from_utf8(text).unwrap(),
    )
}

#[test]
fn an_agent_is_healthy_as_long_as_its_spool_is_no_older_than_two_intervals_and_a_moment()
{
    let (old, quick) = (
        "",
        "[schedule]\nsample_every = \"1s\"\nsamples_per_heartbeat = 5\n",
    );
    for (settings, age_s, expected, told) in [
        (
            old,
            0,
            0,
            "fleetbeat-agent is healthy: its last sign of life is ",
        ),
        (
            old,
            200,
            0,
            "fleetbeat-agent is healthy: its last sign of life is ",
        ),
        (old, 3600, 1, "not healthy: its last sign of life is "),
        (old, 3600, 1, "more than 250s\n"),
        (
            quick,
            10,
            0,
            "fleetbeat-agent is healthy: its last sign of life is ",
        ),
        (quick, 3600, 1, "more than 20s\n"),
    ] {
        let folder = configured(settings);
        let written_at = SystemTime::now() - Duration::from_secs(age_s);
        File::create(folder.path().join("spool"))
            .unwrap()
            .set_modified(written_at)
            .unwrap();
        let (code, printed) = health(&folder);
        assert_eq!(code, expected, "{age_s} s: {printed}");
        assert!(
            printed.contains(told) && printed.lines().count() == 1,
            "{age_s} s: {printed}"
        );
    }
}

#[test]
fn a_clock_that_was_set_back_is_no_illness() {
    let folder = configured("");
    let later = SystemTime::now() + Duration::from_secs(3600);
    File::create(folder.path().join("spool"))
        .unwrap()
        .set_modified(later)
        .unwrap();
    assert_eq!(health(&folder).0, 0);
}

#[test]
fn a_mistake_in_the_files_makes_no_agent_ill_that_goes_on_with_its_copy() {
    let folder = configured("");
    let config = folder.path().join("agent.toml");
    let text = fs::read_to_string(&config).unwrap();
    let copy = format!("#= {} {}\n{text}\n", text.len(), config.display());
    fs::write(folder.path().join("accepted-configuration"), copy).unwrap();
    fs::write(folder.path().join("spool"), "").unwrap();
    fs::write(&config, "[server]\nurl = 1\n").unwrap();
    let (code, printed) = health(&folder);
    assert_eq!(code, 0, "{printed}");
    fs::remove_file(folder.path().join("accepted-configuration")).unwrap();
    let (code, printed) = health(&folder);
    assert!(
        code == 1 && printed.contains("must be a string"),
        "{printed}"
    );
}

#[test]
fn without_a_spool_or_a_configuration_nothing_can_be_told() {
    let folder = configured("");
    let (code, printed) = health(&folder);
    assert_eq!(code, 1);
    assert!(
        printed.contains("/spool: No such file") && printed.contains("without its spool"),
        "{printed}"
    );
    fs::remove_file(folder.path().join("agent.toml")).unwrap();
    let (code, printed) = health(&folder);
    assert_eq!(code, 1);
    assert!(printed.contains("agent.toml: cannot be read"), "{printed}");
}
