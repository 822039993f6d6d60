//! The configuration as the real binary reads it.
//!
//! Each rule has a file in `fixtures/config/` that breaks it, and beside it, in the .txt file of the same name,
//! what must be said about it. A new rule is a new pair of files, nothing here.
#![allow(clippy::unwrap_used, reason = "a test may panic in its helpers, too")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Exit code and all that was printed of `check-config` on `config`, with these variables set.
fn check_config(config: &Path, variables: &[(&str, &str)]) -> (i32, String) {
    run(&["check-config"], config, variables)
}

fn run(words: &[&str], config: &Path, variables: &[(&str, &str)]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fleetbeat-agent"));
    command.arg("-c").arg(config.file_name().unwrap()).args(words);
    command.current_dir(config.parent().unwrap());
    command.env_remove("AGENT_API_KEY").env_remove("AGENT_API_KEY_FILE").envs(variables.iter().copied());
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

#[test]
fn every_rule_is_told_with_file_line_and_key() {
    let mut count = 0;
    for entry in fs::read_dir(fixtures().join("config")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let expected = fs::read_to_string(path.with_extension("txt")).unwrap();
        assert_eq!(check_config(&path, &[]), (78, expected), "{}", path.display());
        count += 1;
    }
    assert!(count > 20, "only {count} fixtures");
}

#[test]
fn problems_of_the_environment_join_those_of_the_file() {
    let path = fixtures().join("config/url-missing.toml");
    let variables = [("AGENT_API_KEY", "first"), ("AGENT_API_KEY_FILE", "/nowhere")];
    let expected = "environment: AGENT_API_KEY: is set, and so is AGENT_API_KEY_FILE: one of them must go\n\
        url-missing.toml: server.url: is missing\n";
    assert_eq!(check_config(&path, &variables), (78, expected.to_owned()));
    let (_, told) = check_config(&path, &[("AGENT_API_KEY", "top secret")]);
    assert!(told.contains("environment: AGENT_API_KEY: is no key") && !told.contains("top secret"), "{told}");
}

#[test]
fn a_missing_key_is_told_with_the_rest_by_what_sends() {
    let path = fixtures().join("config/url-wrong.toml");
    let url = fs::read_to_string(path.with_extension("txt")).unwrap();
    let key = "url-wrong.toml:1: server.api_key_file: is missing, and so is AGENT_API_KEY in the environment: \
        the service's is in /etc/fleetbeat/agent.env\n";
    for words in [["run"].as_slice(), &["once", "--send"]] {
        assert_eq!(run(words, &path, &[]), (78, format!("{key}{url}")), "{words:?}");
        assert_eq!(run(words, &path, &[("AGENT_API_KEY", "key")]), (78, url.clone()), "{words:?}");
    }
    assert_eq!(run(&["once"], &path, &[]), (78, url));
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let expected = "nowhere.toml: cannot be read: No such file or directory (os error 2)\n";
    let (code, told) = check_config(&fixtures().join("nowhere.toml"), &[]);
    assert_eq!(code, 78);
    assert!(told.starts_with(expected), "{told}");
}

/// The packaged configuration after `change`, checked beside a key and a certificate.
fn check_packaged(change: impl Fn(&str) -> String) -> (i32, String) {
    let packaged = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/agent.toml");
    let folder = tempfile::tempdir().unwrap();
    let text = change(&fs::read_to_string(packaged).unwrap());
    let path = folder.path().join("agent.toml");
    fs::write(&path, text.replace("/etc/fleetbeat", folder.path().to_str().unwrap())).unwrap();
    fs::copy(fixtures().join("ca.pem"), folder.path().join("ca.pem")).unwrap();
    let key = folder.path().join("agent.key");
    fs::write(&key, "key\n").unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    check_config(&path, &[])
}

#[test]
fn the_packaged_configuration_is_valid() {
    let expected = "agent.toml is valid\n\
        server:     https://fleet.example.com\n\
        heartbeat:  every 2m, of 4 samples\n\
        collectors: cpu, ram, net\n\
        spool:      /var/lib/fleetbeat-agent\n\
        key:        not in this environment; the service's is in /etc/fleetbeat/agent.env\n";
    assert_eq!(check_packaged(str::to_owned), (0, expected.to_owned()));
}

#[test]
fn an_interval_above_what_the_server_expects_is_pointed_out() {
    let (code, told) =
        check_packaged(|text| text.replace("# samples_per_heartbeat = 4", "samples_per_heartbeat = 5"));
    let expected = "heartbeat:  every 150s, of 5 samples (over 2m: raise the server's sweep.down_after";
    assert!(code == 0 && told.contains(expected), "{told}");
}

#[test]
fn the_packaged_configuration_is_valid_with_every_comment_taken_up() {
    let is_setting = |text: &str| {
        let key = text.split_once(" = ").map(|(key, _)| key);
        text.starts_with('[')
            || key.is_some_and(|key| key.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
    };
    let (code, told) = check_packaged(|text| {
        let uncomment = |line: &str| match line.strip_prefix("# ") {
            Some(text) if is_setting(text) => format!("{text}\n"),
            _ => format!("{line}\n"),
        };
        text.lines().map(uncomment).collect()
    });
    assert_eq!(code, 0, "{told}");
    assert!(
        told.contains(
            "\ncollectors: cpu, ram, net, services\nspool:      /var/lib/fleetbeat-agent\nkey:        found\n"
        ),
        "{told}"
    );
}
