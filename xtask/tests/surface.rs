//! What each program and each packaged configuration file looks like from outside, held
//! by golden files.
//!
//! `FLEETBEAT_WRITE=1 cargo test -p fleetbeat-xtask --test surface` writes the golden
//! files anew. A difference is a change that operators and their scripts notice: it
//! belongs into CHANGELOG.md.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::path::Path;

use fleetbeat_xtask::manual::help::Help;
use fleetbeat_xtask::manual::settings::Settings;
use fleetbeat_xtask::surface;

/// The packaged configuration files, below `packaging/`.
const SETTINGS: [&str; 6] = [
    "agent.toml",
    "compose/embedded.toml",
    "compose/server.toml",
    "container/agent.toml",
    "container/server.toml",
    "server.toml",
];

#[test]
fn programs_are_called_as_before() {
    for of in ["agent", "server"] {
        let help = read(&format!("{of}/src/help.txt"));
        let surface = surface::of_program(&Help::parse(&help));
        compare(&format!("fleetbeat-{of}"), &surface);
    }
}

#[test]
fn packaged_configuration_files_set_and_offer_what_they_did() {
    for file in SETTINGS {
        let settings = Settings::parse(&read(&format!("packaging/{file}")));
        compare(&file.replace('/', "-"), &surface::of_settings(&settings));
    }
}

/// Compares a surface with its golden file.
fn compare(name: &str, surface: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("golden/surface")
        .join(format!("{name}.txt"));
    if std::env::var_os("FLEETBEAT_WRITE").is_some() {
        fs::write(&path, surface).unwrap();
    }

    let golden = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(surface, golden, "{name} is not as {}", path.display());
}

fn read(path: &str) -> String {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    fs::read_to_string(repository.join(path)).unwrap()
}
