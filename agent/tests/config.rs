//! The configuration as the real binary reads it.
//!
//! Each rule has a file in `fixtures/config/` that breaks it, and beside it, in the .txt
//! file of the same name, what must be said about the mistake. `EVERY_COLLECTOR` stands
//! for the names of all collectors. A new rule is a new pair of files, nothing here.
#![allow(clippy::unwrap_used, reason = "a test may panic in its helpers, too")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use fleetbeat_collectors::{COLLECTORS, Definition};
use tempfile::TempDir;

/// Exit code and all that was printed of `check-config` on `config`, with these variables
/// set.
fn check_config(config: &Path, variables: &[(&str, &str)]) -> (i32, String) {
    run(&["check-config"], config, variables)
}

fn run(words: &[&str], config: &Path, variables: &[(&str, &str)]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fleetbeat-agent"));
    command
        .arg("-c")
        .arg(config.file_name().unwrap())
        .args(words);
    command.current_dir(config.parent().unwrap());
    command
        .env_remove("AGENT_API_KEY")
        .env_remove("AGENT_API_KEY_FILE");
    command
        .env_remove("CREDENTIALS_DIRECTORY")
        .envs(variables.iter().copied());
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.code().unwrap(),
        String::from_utf8(text).unwrap(),
    )
}

/// A key, for what is not about keys.
const KEY: [(&str, &str); 1] = [("AGENT_API_KEY", "a-key")];

/// The names as check-config lists them.
fn names_of<'a>(definitions: impl IntoIterator<Item = &'a Definition>) -> String {
    let names = definitions.into_iter().map(|definition| definition.name);
    names.collect::<Vec<_>>().join(", ")
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
        let expected = fs::read_to_string(path.with_extension("txt"))
            .unwrap()
            .replace("EVERY_COLLECTOR", &names_of(COLLECTORS));
        // Who waits may see a missing file or folder appear; a wrong text stays wrong.
        let is_missing = path.display().to_string().ends_with("-missing.toml")
            && ["No such file", "is no folder"].map(|end| expected.contains(end))
                != [false; 2];
        let code = if is_missing { 1 } else { 78 };
        assert_eq!(
            check_config(&path, &KEY),
            (code, expected),
            "{}",
            path.display()
        );
        count += 1;
    }
    assert!(count > 20, "only {count} fixtures");
}

#[test]
fn problems_of_the_environment_join_those_of_the_file() {
    let path = fixtures().join("config/url-missing.toml");
    let variables = [
        ("AGENT_API_KEY", "first"),
        ("AGENT_API_KEY_FILE", "/nowhere"),
    ];
    let expected = "environment: AGENT_API_KEY: is set, and so is AGENT_API_KEY_FILE: \
        one of them must go\n\
        url-missing.toml: server.url: is missing\n";
    assert_eq!(check_config(&path, &variables), (78, expected.to_owned()));
    let (_, told) = check_config(&path, &[("AGENT_API_KEY", "top secret")]);
    assert!(
        told.contains("environment: AGENT_API_KEY: is no key")
            && !told.contains("top secret"),
        "{told}"
    );
}

#[test]
fn a_missing_key_is_told_with_the_rest_by_what_sends() {
    let path = fixtures().join("config/url-wrong.toml");
    let url = fs::read_to_string(path.with_extension("txt")).unwrap();
    let key = "url-wrong.toml:1: server.api_key_file: is missing, and there is no key \
        elsewhere: fleetbeat-agent enroll gets this host a key of its own; or put \
        AGENT_API_KEY=... into url-wrong.env (on the server: cat \
        /var/lib/fleetbeat/agent_api_key)\n";
    for words in [["run"].as_slice(), &["once", "--send"], &["check-config"]] {
        assert_eq!(
            run(words, &path, &[]),
            (78, format!("{key}{url}")),
            "{words:?}"
        );
        assert_eq!(
            run(words, &path, &[("AGENT_API_KEY", "key")]),
            (78, url.clone()),
            "{words:?}"
        );
    }
    assert_eq!(run(&["once"], &path, &[]), (78, url));
}

/// A folder with an agent.toml that says nothing of a key, and this file with this text
/// and mode beside it.
fn beside(name: &str, text: &str, mode: u32) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join("agent.toml"),
        "[server]\nurl = \"http://127.0.0.1:9\"\n",
    )
    .unwrap();
    let path = folder.path().join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    folder
}

#[test]
fn the_key_is_found_in_each_of_its_places() {
    let found = |folder: &TempDir, variables: &[(&str, &str)]| {
        let (code, told) = check_config(&folder.path().join("agent.toml"), variables);
        assert_eq!(
            code == 78,
            told.contains("there is no key elsewhere"),
            "{told}"
        );
        told.contains("key:        found in ")
    };
    let env = beside(
        "agent.env",
        "# for the service\nAGENT_API_KEY=\"a-key\"\n",
        0o640,
    );
    assert!(found(&env, &[]));
    for text in [
        "\u{feff}AGENT_API_KEY=a-key\r\n",
        "export AGENT_API_KEY='a-key'\n",
    ] {
        assert!(found(&beside("agent.env", text, 0o600), &[]), "{text:?}");
    }
    let credential = beside("agent_api_key", "a-key\n", 0o400);
    let folder = credential.path().to_str().unwrap();
    assert!(found(&credential, &[("CREDENTIALS_DIRECTORY", folder)]));
    let file = format!("{folder}/agent_api_key");
    assert!(found(&credential, &[("AGENT_API_KEY_FILE", &file)]));
    assert!(found(&credential, &[("AGENT_API_KEY", "a-key")]));
    assert!(!found(&credential, &[]));
}

#[test]
fn a_key_that_everybody_can_read_is_refused_wherever_it_is() {
    for (name, place) in [
        ("agent.env", "agent.env"),
        ("agent_api_key", "environment: CREDENTIALS_DIRECTORY: "),
    ] {
        let folder = beside(name, "AGENT_API_KEY=top-secret\n", 0o644);
        let variables = [("CREDENTIALS_DIRECTORY", folder.path().to_str().unwrap())];
        let (code, told) = check_config(&folder.path().join("agent.toml"), &variables);
        assert_eq!(code, 78);
        assert!(
            told.starts_with(place)
                && told.ends_with("its mode 644 lets everybody in: chmod o=\n"),
            "{told}"
        );
    }
}

#[test]
fn files_that_are_closed_or_just_being_written_may_be_right_at_the_next_try() {
    let folder = beside("agent.env", "AGENT_API_KEY=key\n", 0o640);
    let config = folder.path().join("agent.toml");
    let text = fs::read_to_string(&config).unwrap();
    let empty = folder.path().join("empty");
    fs::write(&empty, "").unwrap();
    fs::set_permissions(&empty, fs::Permissions::from_mode(0o600)).unwrap();
    for setting in ["ca_file", "api_key_file"] {
        fs::write(&config, format!("{text}{setting} = {empty:?}\n")).unwrap();
        let (code, told) = check_config(&config, &[]);
        assert_eq!(code, 1, "{told}");
    }
    let pem = fs::read_to_string(fixtures().join("ca.pem")).unwrap();
    let ca_file = format!("{text}ca_file = {empty:?}\n");
    fs::write(&config, ca_file).unwrap();
    for (pem, expected) in [
        (pem.clone(), 0),
        (format!("\u{feff}{pem}"), 0),
        (pem[..pem.len() / 2].to_owned(), 1),
        ("no certificate".to_owned(), 78),
        (
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned(),
            78,
        ),
    ] {
        fs::write(&empty, &pem).unwrap();
        let (code, told) = check_config(&config, &[]);
        assert_eq!(code, expected, "{pem}: {told}");
        assert!(
            !told.contains("PemError") && !told.contains("Error("),
            "{told}"
        );
    }
}

#[test]
fn a_closed_configuration_folder_may_be_open_at_the_next_try() {
    let folder = beside("agent.env", "AGENT_API_KEY=key\n", 0o640);
    // Root may read everything, so somebody else is asked.
    if !is_root() {
        return;
    }
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(env!("CARGO_BIN_EXE_fleetbeat-agent"))
        .arg("-c")
        .arg(folder.path().join("agent.toml"))
        .arg("run")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("Permission denied"), "{told}");
}

/// Whether these tests run as root.
fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").unwrap().uid() == 0
}

#[test]
fn a_pipe_in_a_files_place_is_not_waited_for() {
    let folder = beside("agent.env", "AGENT_API_KEY=key\n", 0o640);
    let config = folder.path().join("agent.toml");
    let pipe = folder.path().join("pipe");
    fs::create_dir(folder.path().join("agent.d")).unwrap();
    let text = fs::read_to_string(&config).unwrap();
    let make = |path: &Path| {
        assert!(
            Command::new("mkfifo")
                .args(["-m", "600"])
                .arg(path)
                .status()
                .unwrap()
                .success()
        );
    };
    make(&pipe);
    for setting in ["ca_file", "api_key_file"] {
        fs::write(&config, format!("{text}{setting} = {pipe:?}\n")).unwrap();
        let (code, told) = check_config(&config, &[]);
        assert!(
            code == 78 && told.contains("is not a regular file"),
            "{told}"
        );
    }
    fs::write(&config, text).unwrap();
    for name in ["agent.d/x.toml", "agent.env"] {
        let path = folder.path().join(name);
        let _ = fs::remove_file(&path);
        make(&path);
        let (code, told) = check_config(&config, &[]);
        assert!(
            code == 78 && told.contains("is not a regular file"),
            "{told}"
        );
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let expected =
        "nowhere.toml: cannot be read: No such file or directory (os error 2)\n";
    let told = check_config(&fixtures().join("nowhere.toml"), &[]);
    assert_eq!(told, (1, expected.to_owned()));
}

#[test]
fn two_different_keys_are_a_problem_that_names_both_places() {
    let folder = beside("agent.env", "# mine\nAGENT_API_KEY=one\n", 0o640);
    let config = folder.path().join("agent.toml");
    let other = folder.path().join("other.key");
    fs::write(&other, "two\n").unwrap();
    fs::set_permissions(&other, fs::Permissions::from_mode(0o600)).unwrap();

    let check = |variables: &[(&str, &str)]| check_config(&config, variables);
    let (code, told) = check(&[("AGENT_API_KEY", "two")]);
    let expected = "environment: AGENT_API_KEY: is another key than that of \
                    agent.env:2: AGENT_API_KEY: one of the two must go\n";
    assert_eq!((code, told.as_str()), (78, expected));
    let (code, told) = check(&[("AGENT_API_KEY", "one")]);
    assert!(
        code == 0 && told.contains("found in environment: "),
        "{told}"
    );

    let text = fs::read_to_string(&config).unwrap();
    let file = format!("{text}api_key_file = {:?}\n", other.display());
    fs::write(&config, file).unwrap();
    let (code, told) = check(&[]);
    let expected = "agent.toml:3: server.api_key_file: is another key than that of \
                    agent.env:2: AGENT_API_KEY: one of the two must go\n";
    assert_eq!((code, told.as_str()), (78, expected));
    fs::write(&other, "one\n").unwrap();
    let (code, told) = check(&[]);
    assert!(
        code == 0 && told.contains("found in agent.env:2: "),
        "{told}"
    );
}

#[test]
fn a_wrong_key_in_agent_env_is_told_with_file_and_line() {
    for (text, expected) in [
        (
            "\nAGENT_API_KEY=two words\n",
            "agent.env:2: AGENT_API_KEY: is no key: a key is one word of printable ASCII \
             characters\n",
        ),
        ("AGENT_API_KEY=\n", "agent.env:1: AGENT_API_KEY: is empty\n"),
        (
            "AGENT_API_KEY=\"key\n",
            "agent.env:1: AGENT_API_KEY: has a quote without its other one\n",
        ),
        (
            "AGENT_API_KEY_FILE=/nowhere\n\nAGENT_API_KEY=key\n",
            "agent.env:3: AGENT_API_KEY: is set, and so is AGENT_API_KEY_FILE in line 1: \
             one of them must go\n",
        ),
    ] {
        let folder = beside("agent.env", text, 0o640);
        let told = check_config(&folder.path().join("agent.toml"), &[]);
        assert_eq!(told, (78, expected.to_owned()), "{text:?}");
    }
    let folder = beside("agent.env", "AGENT_API_KEY_FILE=/nowhere\n", 0o640);
    let (code, told) = check_config(&folder.path().join("agent.toml"), &[]);
    assert!(code == 1 && told.starts_with("agent.env:1: "), "{told}");
}

/// The packaged configuration after `change`, checked beside a key and a certificate.
fn check_packaged(
    variables: &[(&str, &str)],
    change: impl Fn(&str) -> String,
) -> (i32, String) {
    let packaged = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/agent.toml");
    let folder = tempfile::tempdir().unwrap();
    let text = change(&fs::read_to_string(packaged).unwrap());
    let path = folder.path().join("agent.toml");
    fs::write(
        &path,
        text.replace("/etc/fleetbeat", folder.path().to_str().unwrap()),
    )
    .unwrap();
    fs::copy(fixtures().join("ca.pem"), folder.path().join("ca.pem")).unwrap();
    let key = folder.path().join("agent.key");
    fs::write(&key, "key\n").unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    check_config(&path, variables)
}

#[test]
fn a_key_file_holds_the_key_alone() {
    let folder = beside("agent.env", "", 0o640);
    let key = folder.path().join("key");
    for (text, expected) in [
        ("\u{feff}key\r\n", 0),
        ("AGENT_API_KEY=key\n", 78),
        ("two words\n", 78),
    ] {
        fs::write(&key, text).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        let variables = [("AGENT_API_KEY_FILE", key.to_str().unwrap())];
        let told = check_config(&folder.path().join("agent.toml"), &variables);
        assert_eq!(told.0, expected, "{told:?}");
    }
}

#[test]
fn the_packaged_configuration_is_valid() {
    let packaged = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/agent.toml");
    let packaged = fs::read_to_string(packaged).unwrap();
    let is_on = |definition: &&Definition| {
        let table = format!("[collectors.{}]", definition.name);
        packaged.lines().any(|line| line == table)
    };
    let names = names_of(COLLECTORS.iter().filter(is_on));
    assert!(names.starts_with("cpu, ram, net"), "{names}");
    let expected = format!(
        "agent.toml is valid\n\
        server:     https://fleet.example.com\n\
        heartbeat:  every 2m, of 4 samples\n\
         collectors: {names}\n\
         spool:      /var/lib/fleetbeat-agent\n\
         key:        found in environment: AGENT_API_KEY\n\
         identity:   none that this user can read; the service makes it\n"
    );
    assert_eq!(check_packaged(&KEY, str::to_owned), (0, expected));
}

#[test]
fn an_interval_above_what_the_server_expects_is_pointed_out() {
    let (code, told) = check_packaged(&KEY, |text| {
        text.replace("# samples_per_heartbeat = 4", "samples_per_heartbeat = 5")
    });
    let expected = "heartbeat:  every 150s, of 5 samples (over 2m: raise the server's \
        sweep.down_after";
    assert!(code == 0 && told.contains(expected), "{told}");
}

#[test]
fn the_packaged_configuration_is_valid_with_every_comment_taken_up() {
    let is_setting = |text: &str| {
        let key = text.split_once(" = ").map(|(key, _)| key);
        text.starts_with('[')
            || key.is_some_and(|key| {
                key.chars().all(|c| c.is_ascii_lowercase() || c == '_')
            })
    };
    let (code, told) = check_packaged(&[], |text| {
        let uncomment = |line: &str| match line.strip_prefix("# ") {
            Some(text) if is_setting(text) => format!("{text}\n"),
            _ => format!("{line}\n"),
        };
        text.lines().map(uncomment).collect()
    });
    assert_eq!(code, 0, "{told}");
    let collectors = format!(
        "\ncollectors: {}\nspool:      /var/lib/fleetbeat-agent\nkey:        found in \
         server.api_key_file: ",
        names_of(COLLECTORS)
    );
    assert!(told.contains(&collectors), "{told}");
}
