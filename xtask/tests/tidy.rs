//! The rules that the repository's code has to keep.
//!
//! `fleetbeat-xtask circles` and `fleetbeat-xtask undocumented` print what two of these
//! tests say, for any checkout.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use fleetbeat_xtask::guard::engines::Follow;
use fleetbeat_xtask::guard::{circles, engines, undocumented};
use fleetbeat_xtask::source::package::{Package, read_packages};
use fleetbeat_xtask::source::tree::Crate;

/// Which package may use which other ones of the workspace.
const ARROWS: [(&str, &[&str]); 13] = [
    ("protocol", &[]),
    ("settings", &[]),
    ("history", &[]),
    ("selector", &[]),
    ("alerts", &["protocol", "selector"]),
    ("channels", &["protocol", "tools"]),
    ("daemon", &[]),
    ("collectors", &["protocol", "settings"]),
    ("agent", &["collectors", "daemon", "protocol", "settings"]),
    (
        "server",
        &[
            "alerts", "channels", "daemon", "history", "protocol", "selector", "settings",
        ],
    ),
    ("xtask", &[]),
    ("tools", &["protocol"]),
    ("tests", &["channels", "protocol", "tools"]),
];

/// Crates that the server hides, and where each may be named: the beginnings of paths
/// below `server/src/`.
const HIDDEN: [(&str, &[&str]); 13] = [
    ("tiny_http", &["http/guard/head.rs", "http/response.rs"]),
    ("httparse", &["http/guard/"]),
    ("rustls", &["http/guard/"]),
    ("rusqlite", &["store/embedded/"]),
    ("mongodb", &["store/mongodb/"]),
    ("tokio", &["store/mongodb/connection.rs"]),
    ("redis", &["store/mongodb/redis.rs"]),
    ("jsonwebtoken", &["auth/tokens.rs"]),
    ("bcrypt", &["auth/passwords.rs"]),
    ("prometheus", &["metrics/"]),
    ("sha1", &["auth/totp.rs"]),
    ("unicode_normalization", &["usernames.rs"]),
    ("maxminddb", &["places.rs"]),
];

/// Crates that history hides, and where each may be named, below `history/src/`.
const HIDDEN_BY_HISTORY: [(&str, &[&str]); 2] = [
    ("flate2", &["chunk/section.rs", "chunk/envelope.rs"]),
    ("rusqlite", &["file_store/"]),
];

/// Where code may be `async`, below `server/src/`.
const ASYNC: &[&str] = &["store/mongodb/"];

/// The files below `server/src/` that know no engine: what stands there is true of every
/// store. Not even a re-export may lead to one of [`ENGINES`].
const STORE_WALL: [&str; 2] = ["store/mod.rs", "store/error.rs"];

/// Crates whose types must not pass the store's wall.
const ENGINES: [&str; 6] = ["bson", "mongodb", "redis", "rusqlite", "tiny_http", "tokio"];

static REPOSITORY: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    folder.canonicalize().unwrap()
});

static PACKAGES: LazyLock<Vec<Package>> =
    LazyLock::new(|| read_packages(&REPOSITORY).unwrap());

/// The crates of a package, without its tests.
fn crates(package: &Package) -> impl Iterator<Item = Crate> {
    let read = |root: &PathBuf| Crate::read(&REPOSITORY, root).unwrap();
    package.roots.iter().map(read)
}

fn server() -> Crate {
    first_crate("server")
}

/// The library of a package, or its program if it has none.
fn first_crate(package: &str) -> Crate {
    let mut packages = PACKAGES.iter();
    let package = packages.find(|of| of.short_name() == package).unwrap();
    crates(package).next().unwrap()
}

/// What all crates of the repository say to a rule, a place a line.
fn breaches(rule: fn(&Crate) -> Vec<String>) -> String {
    let crates = PACKAGES.iter().flat_map(crates);
    let breaches: Vec<_> = crates.flat_map(|of| rule(&of)).collect();
    breaches.join("\n")
}

#[test]
fn dependencies_follow_the_arrows() {
    let packages: Vec<_> = PACKAGES.iter().map(Package::short_name).collect();
    assert_eq!(
        packages.len(),
        ARROWS.len(),
        "{packages:?}: a new package needs its arrows here and in ARCHITECTURE.md"
    );

    for (name, allowed) in ARROWS {
        let package = PACKAGES.iter().find(|package| package.short_name() == name);
        let package = package.unwrap_or_else(|| panic!("{name} is not there"));
        let used = package.dependencies.iter();
        let used: Vec<_> = used
            .filter_map(|name| name.strip_prefix("fleetbeat-"))
            .collect();

        let others: Vec<_> = used.iter().filter(|used| !allowed.contains(used)).collect();
        assert!(others.is_empty(), "{name} uses {others:?}");
    }
}

#[test]
fn no_file_is_part_of_a_circle() {
    let circles = breaches(circles::circles);
    assert!(
        circles.is_empty(),
        "files that name items of each other in a circle:\n{circles}"
    );
}

#[test]
fn every_type_is_documented() {
    let places = breaches(undocumented::places);
    assert!(places.is_empty(), "types without a doc comment:\n{places}");
}

#[test]
fn every_file_says_what_it_is_for() {
    let undocumented = breaches(|of| {
        let files = of.files.iter();
        let undocumented = files.filter(|file| !file.text.starts_with("//! "));
        undocumented
            .map(|file| file.path.display().to_string())
            .collect()
    });
    assert!(
        undocumented.is_empty(),
        "files without module documentation:\n{undocumented}"
    );
}

#[test]
fn each_hidden_engine_is_known_to_one_place() {
    let server = server();
    let mut breaches = hidden_breaches(&server, "server/src/", &HIDDEN);
    let history = first_crate("history");
    breaches.extend(hidden_breaches(
        &history,
        "history/src/",
        &HIDDEN_BY_HISTORY,
    ));

    let uses = engines::async_code(&server);
    breaches.extend(breaches_of("async", ASYNC, "server/src/", uses));
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}

/// Where a crate names an engine outside of the engine's places, which are below `root`.
fn hidden_breaches(
    of: &Crate,
    root: &str,
    hidden: &[(&str, &'static [&'static str])],
) -> Vec<String> {
    let breaches = hidden.iter().flat_map(|(engine, places)| {
        let uses = engines::uses(of, engine, Follow::Direct);
        breaches_of(engine, places, root, uses)
    });
    breaches.collect()
}

fn breaches_of(
    engine: &str,
    places: &[&str],
    root: &str,
    uses: BTreeMap<String, usize>,
) -> Vec<String> {
    if uses.is_empty() {
        return vec![format!("{engine} is nowhere: this rule is out of date")];
    }
    let is_allowed = |file: &str| {
        let place = file.strip_prefix(root).unwrap();
        places.iter().any(|allowed| place.starts_with(allowed))
    };
    let breaches = uses.into_iter().filter(|(file, _)| !is_allowed(file));
    breaches
        .map(|(file, line)| format!("{file}:{line} names {engine}"))
        .collect()
}

#[test]
fn no_engine_passes_the_wall_of_the_store() {
    let server = server();
    let walls = STORE_WALL.map(|place| format!("server/src/{place}"));
    for wall in &walls {
        let is_there = server.files.iter().any(|file| file.path == Path::new(wall));
        assert!(is_there, "{wall} is not there: this rule is out of date");
    }

    let breaches = ENGINES.into_iter().flat_map(|engine| {
        let mut uses = engines::uses(&server, engine, Follow::Reexports);
        uses.retain(|file, _| walls.contains(file));
        let breach = move |(file, line)| format!("{file}:{line} names {engine}");
        uses.into_iter().map(breach)
    });
    let breaches: Vec<_> = breaches.collect();
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}

#[test]
fn the_changelog_and_the_openapi_document_have_the_current_version() {
    let version = env!("CARGO_PKG_VERSION");
    let read = |path: &str| std::fs::read_to_string(REPOSITORY.join(path)).unwrap();

    let changelog = read("CHANGELOG.md");
    assert!(
        changelog.contains(&format!("## [{version}]"))
            || changelog.contains("## [Unreleased]")
    );

    let openapi = read("server/src/api/openapi.json");
    let openapi: serde_json::Value = serde_json::from_str(&openapi).unwrap();
    assert_eq!(
        openapi["info"]["version"], version,
        "the OpenAPI document's version"
    );
}
