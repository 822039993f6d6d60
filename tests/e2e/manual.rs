//! The manual pages and completions, as `make man` writes them, and that the pages tell
//! of every setting.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use fleetbeat_tools::process::program;
use tempfile::TempDir;

/// A folder with all of them.
fn manual() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    assert!(
        program("fleetbeat-xtask")
            .arg("manual")
            .arg(folder.path())
            .status()
            .unwrap()
            .success()
    );
    folder
}

/// What a program of this machine prints, which has to succeed.
fn run(name: &str, arguments: &[&str]) -> String {
    let output = Command::new(name).args(arguments).output();
    let output = output
        .unwrap_or_else(|error| panic!("{name}: {error}: `make setup` installs it"));
    let [printed, complaints] =
        [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    assert!(
        output.status.success(),
        "{name} {arguments:?}: {printed}{complaints}"
    );
    assert_eq!(complaints, "", "{name} {arguments:?}");
    printed
}

#[test]
fn the_pages_are_in_order_and_say_what_the_help_says() {
    let folder = manual();
    for (page, program_name) in [
        ("fleetbeat-agent.8", Some("fleetbeat-agent")),
        ("fleetbeat-server.8", Some("fleetbeat-server")),
        ("agent.toml.5", None),
        ("server.toml.5", None),
    ] {
        let path = folder.path().join("man").join(page);
        let path = path.to_str().unwrap();
        let options = [
            "--warnings",
            "--no-hyphenation",
            "--no-justification",
            "--encoding=UTF-8",
            "--local-file",
        ];
        let shown = run("man", &[options.as_slice(), &[path]].concat());
        assert!(shown.contains("SEE ALSO"), "{shown}");

        let Some(name) = program_name else { continue };
        let help = program(name).arg("--help").output().unwrap();
        let shown: BTreeSet<&str> = shown.split_whitespace().collect();
        let help = String::from_utf8(help.stdout).unwrap();
        let headings = [
            "Usage:",
            "Commands:",
            "Options:",
            "Environment:",
            "Files:",
            "Exit",
            "codes:",
        ];
        for word in help
            .split_whitespace()
            .filter(|word| !headings.contains(word))
        {
            assert!(shown.contains(word), "{word:?} is not in {page}");
        }
    }
}

#[test]
fn each_shell_completes_commands_options_and_values() {
    let folder = manual();
    let completions = folder.path().join("completions");
    let path = |of: &str| completions.join(of).to_str().unwrap().to_owned();
    let cases = [
        (
            "fleetbeat-agent",
            "",
            &["run", "check-config", "doctor", "health", "once"][..],
        ),
        ("fleetbeat-agent", "--c", &["--config"]),
        ("fleetbeat-agent", "-c x o", &["once"]),
        ("fleetbeat-agent", "once --s", &["--send"]),
        (
            "fleetbeat-server",
            "user ",
            &["add", "passwd", "list", "remove"],
        ),
        (
            "fleetbeat-server",
            "user add ann --p",
            &["--password-stdin"],
        ),
        (
            "fleetbeat-server",
            "user add ann --role ",
            &["readonly", "admin", "superadmin"],
        ),
    ];
    for (name, typed, expected) in cases {
        let function = format!("_{}", name.replace('-', "_"));
        let bash = format!(
            "compopt() {{ :; }}; source {}; COMP_WORDS=({name} {typed} {}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             {function}; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            path(&format!("bash/{name}")),
            if typed.is_empty() || typed.ends_with(' ') {
                "''"
            } else {
                ""
            },
        );
        let fish = format!(
            "source {}; complete -C '{name} {typed}'",
            path(&format!("fish/{name}.fish"))
        );
        // `_describe` and the others belong to zsh's line editor: these stand in for
        // them.
        let zsh = format!(
            "_describe() {{ print -l -- ${{offers%%:*}} }}; compadd() {{ shift; print -l -- $@ }}; complete() {{ local -a words=({name} {typed} {}); \
             local CURRENT=$#words; source {} }}; complete",
            if typed.is_empty() || typed.ends_with(' ') {
                "''"
            } else {
                ""
            },
            path(&format!("zsh/_{name}")),
        );
        for (shell, script) in [("bash", bash), ("fish", fish), ("zsh", zsh)] {
            let printed = run(shell, &["-c", &script]);
            let offered: BTreeSet<&str> = printed
                .lines()
                .filter_map(|line| line.split('\t').next())
                .collect();
            assert!(
                expected.iter().all(|word| offered.contains(word)),
                "{shell}: {name} {typed}: {offered:?}"
            );
            assert!(
                !offered.contains("--role") || typed.contains("user"),
                "{shell}: {name} {typed}: {offered:?}"
            );
        }
    }
}

#[test]
fn the_packaged_configuration_names_every_setting_and_no_other() {
    for (name, file) in [
        ("fleetbeat-agent", "agent.toml"),
        ("fleetbeat-server", "server.toml"),
    ] {
        let packaged = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../packaging")
            .join(file);
        let described = described(&fs::read_to_string(packaged).unwrap());
        // A key that nobody knows, in each table, makes the program tell those that it
        // knows.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(file);
        let header = |table: &String| {
            if table.is_empty() {
                String::new()
            } else {
                format!("[{table}]\n")
            }
        };
        let text: String = described
            .keys()
            .map(|table| header(table) + "unheard_of = 0\n")
            .collect();
        fs::write(&path, text).unwrap();
        let output = program(name)
            .arg("-c")
            .arg(&path)
            .arg("check-config")
            .output()
            .unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        let mut known = BTreeMap::new();
        for line in told.lines() {
            let Some((place, keys)) =
                line.split_once(": is not a known key; known here: ")
            else {
                continue;
            };
            let table = place
                .rsplit(": ")
                .next()
                .unwrap()
                .trim_end_matches("unheard_of")
                .trim_end_matches('.');
            known.insert(
                table.to_owned(),
                keys.split(", ").map(str::to_owned).collect::<BTreeSet<_>>(),
            );
        }
        assert_eq!(known, described, "{file}: {told}");
    }
}

/// The keys of each table in a packaged file, commented out or not, and the tables within
/// it.
fn described(text: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut tables: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut current = String::new();
    for line in text.lines() {
        let setting = line.strip_prefix("# ").unwrap_or(line);
        if let Some(name) = setting
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            current = name.to_owned();
            tables.entry(current.clone()).or_default();
            let (parent, own) = name.rsplit_once('.').unwrap_or(("", name));
            tables
                .entry(parent.to_owned())
                .or_default()
                .insert(own.to_owned());
            // A table that only holds others has no header of its own.
            if !parent.is_empty() {
                tables
                    .entry(String::new())
                    .or_default()
                    .insert(parent.to_owned());
            }
        } else if let Some((key, _)) = setting.split_once(" = ")
            && key.chars().all(|c| c.is_ascii_lowercase() || c == '_')
        {
            tables
                .entry(current.clone())
                .or_default()
                .insert(key.to_owned());
        }
    }
    tables
}
