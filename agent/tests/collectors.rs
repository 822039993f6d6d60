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

fn table(definition: &Definition) -> String {
    format!("[collectors.{}]", definition.name)
}

#[test]
fn the_packaged_configuration_has_each_collector() {
    let place = "packaging/agent.toml";
    assert_each_is_in(place, &read(place), table);
}

#[test]
fn the_configuration_of_the_image_has_each_collector_or_says_why_not() {
    let place = "packaging/container/agent.toml";
    assert_each_is_in(place, &read(place), table);
}

#[test]
fn a_table_of_the_packaged_configuration_is_explained_and_can_be_turned_off() {
    let text = read("packaging/agent.toml");
    for definition in COLLECTORS {
        let (name, table) = (definition.name, table(definition));
        let mut paragraphs = text.split("\n\n");
        let parts = paragraphs.find_map(|paragraph| paragraph.split_once(&table));
        // Another test tells that there is no table.
        let Some((before, after)) = parts else {
            continue;
        };
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
    let found = files.find_map(|file| {
        let file = file.unwrap();
        let text = fs::read_to_string(file.path()).ok()?;
        let (_, function) = text.split_once(begin)?;
        let function = function.split("\n}\n").next()?.to_owned();
        Some((file.file_name(), function))
    });
    let (file, text) =
        found.unwrap_or_else(|| panic!("no file in tests/e2e has a {begin}…)"));
    let place = format!(
        "the function every_collector in tests/e2e/{}",
        file.display()
    );
    assert_each_is_in(&place, &text, table);
}
