//! The repository's own rules: which crate may use which, and what must not stand in the
//! code.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .unwrap()
}

/// The Rust files of a crate's program or library, tests aside.
fn sources(of: &str) -> Vec<(PathBuf, String)> {
    let mut folders = vec![root().join(of).join("src")];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let text = text
                    .split("#[cfg(test)]\nmod tests")
                    .next()
                    .unwrap()
                    .to_owned();
                files.push((path, text));
            }
        }
    }
    assert!(!files.is_empty(), "{of}");
    files
}

#[test]
fn dependencies_follow_the_arrows() {
    let arrows = [
        ("protocol", &[][..]),
        ("settings", &[]),
        ("daemon", &[]),
        ("collectors", &["protocol", "settings"]),
        ("agent", &["collectors", "daemon", "protocol", "settings"]),
        ("server", &["daemon", "protocol", "settings"]),
        ("manual", &[]),
        ("tests", &["protocol"]),
    ];
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
            "--offline",
        ])
        .current_dir(root())
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    assert_eq!(
        packages.len(),
        arrows.len(),
        "a new crate needs its arrows here and in ARCHITECTURE.md"
    );
    for (name, allowed) in arrows {
        let package = packages
            .iter()
            .find(|package| package["name"] == format!("fleetbeat-{name}"))
            .unwrap();
        let used: BTreeSet<&str> = package["dependencies"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|dependency| {
                dependency["name"]
                    .as_str()
                    .unwrap()
                    .strip_prefix("fleetbeat-")
            })
            .collect();
        assert!(
            used.iter().all(|used| allowed.contains(used)),
            "{name} uses {used:?}"
        );
    }
}

#[test]
fn each_hidden_engine_is_known_to_one_place() {
    for (of, word, place) in [
        ("server", "tiny_http::", "http/"),
        ("server", "rusqlite::", "store/"),
        ("server", "tokio::", "store/mongodb/connection.rs"),
        ("server", "async ", "store/mongodb/"),
        ("server", "redis::", "store/mongodb/redis.rs"),
        ("server", "jsonwebtoken", "auth/tokens.rs"),
        ("server", "bcrypt::", "auth/passwords.rs"),
    ] {
        let mut found = false;
        for (path, text) in sources(of)
            .into_iter()
            .filter(|(path, _)| !path.to_str().unwrap().contains("/conformance/"))
        {
            // A module of ours may be called after the engine that it hides.
            let own_module = format!("::{word}");
            if text.lines().any(|line| {
                line.contains(word)
                    && !line.contains(&own_module)
                    && !line.trim_start().starts_with("//")
            }) {
                found = true;
                assert!(
                    path.to_str().unwrap().contains(place),
                    "{word} in {}",
                    path.display()
                );
            }
        }
        assert!(found, "{word} is nowhere in {of}: this rule is out of date");
    }
}

#[test]
fn every_file_says_what_it_is_for() {
    for of in [
        "protocol",
        "settings",
        "collectors",
        "agent",
        "server",
        "manual",
        "tests",
    ] {
        for (path, text) in sources(of) {
            assert!(
                text.starts_with("//! "),
                "{} has no module documentation",
                path.display()
            );
        }
    }
}

#[test]
fn the_changelog_has_the_current_version() {
    let changelog = fs::read_to_string(root().join("CHANGELOG.md")).unwrap();
    let version = env!("CARGO_PKG_VERSION");
    assert!(
        changelog.contains(&format!("## [{version}]"))
            || changelog.contains("## [Unreleased]")
    );
    let manual: Value = serde_json::from_str(
        &fs::read_to_string(root().join("server/src/api/openapi.json")).unwrap(),
    )
    .unwrap();
    assert_eq!(
        manual["info"]["version"], version,
        "the OpenAPI document's version"
    );
}

#[test]
fn every_release_is_frozen_and_this_version_is_one() {
    let folder = crate::release::folder();
    let releases: BTreeSet<String> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let version = env!("CARGO_PKG_VERSION");
    assert!(
        releases.contains(version),
        "{version} is not in {}: see CONTRIBUTING.md",
        folder.display()
    );
    let expected: BTreeSet<String> = crate::release::files().into_iter().collect();
    for release in releases {
        let files = fs::read_dir(folder.join(&release)).unwrap();
        let files: BTreeSet<String> = files
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        assert_eq!(files, expected, "{release}");
    }
}
