//! Every collector of the table stands wherever operators and tests look for it.
//!
//! A new collector is an entry in `COLLECTORS`; each test here names the files that do
//! not have the collector yet. A file may mention a collector only to say why it is left
//! out there: what counts is that somebody has thought of it.
#![allow(clippy::unwrap_used, reason = "a test may panic in its helpers, too")]

use std::fs;
use std::path::{Path, PathBuf};

use fleetbeat_collectors::{COLLECTORS, Definition};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path))
        .unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every collector has to be in `text`, in the form that `form` gives to its definition.
fn assert_each_is_in(place: &str, text: &str, form: impl Fn(&Definition) -> String) {
    let missing: Vec<String> = COLLECTORS
        .iter()
        .filter(|definition| !text.contains(&form(definition)))
        .map(|definition| format!("{}: add {:?}", definition.name, form(definition)))
        .collect();
    assert!(missing.is_empty(), "{place} lacks {missing:#?}");
}

#[test]
fn the_packaged_configurations_have_each_collector() {
    let table = |definition: &Definition| format!("[collectors.{}]", definition.name);
    for place in ["packaging/agent.toml", "packaging/container/agent.toml"] {
        assert_each_is_in(place, &read(place), table);
    }
}

#[test]
fn a_table_of_the_packaged_configuration_is_explained_and_can_be_turned_off() {
    let text = read("packaging/agent.toml");
    for Definition { name, .. } in COLLECTORS {
        let table = format!("[collectors.{name}]");
        let paragraph = text
            .split("\n\n")
            .find(|paragraph| paragraph.contains(&table))
            .unwrap();
        let (before, after) = paragraph.split_once(&table).unwrap();
        let explains = before.trim_end_matches("# ");
        assert!(
            explains.starts_with("# ") && explains.ends_with('\n'),
            "packaging/agent.toml: say what {name} measures in a comment above {table}"
        );
        assert!(
            after.lines().any(|line| line == "# enabled = true"),
            "packaging/agent.toml: {table} lacks \"# enabled = true\""
        );
    }
}

#[test]
fn the_ansible_role_sets_each_collector_or_says_who_does() {
    let place = "packaging/ansible/roles/fleetbeat_agent/vars/main.yml";
    let quoted = |definition: &Definition| format!("'{}'", definition.name);
    assert_each_is_in(place, &read(place), quoted);
}

#[test]
fn the_readme_says_what_each_collector_measures() {
    let row = |definition: &Definition| {
        format!("| `{}` | {} |\n", definition.name, definition.measures)
    };
    assert_each_is_in("README.md", &read("README.md"), row);
}

/// What the agents of a release say is frozen with every collector, so that a later
/// server is tried with the metrics of each.
#[test]
fn the_bodies_that_are_frozen_with_a_release_come_from_each_collector() {
    let begin = "fn every_collector(";
    let mut files = fs::read_dir(root().join("tests/e2e")).unwrap();
    let (place, text) = files
        .find_map(|file| {
            let path = file.unwrap().path();
            let text = fs::read_to_string(&path).ok()?;
            let (_, function) = text.split_once(begin)?;
            let function = function.split("\n}\n").next()?.to_owned();
            Some((path.display().to_string(), function))
        })
        .unwrap_or_else(|| panic!("no file in tests/e2e has a {begin}…)"));
    let place = format!("{place}, function every_collector,");
    assert_each_is_in(&place, &text, |definition| {
        format!("[collectors.{}]", definition.name)
    });
}
