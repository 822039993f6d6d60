//! The parts of a static binary that others have written, with the terms of each part:
//! the crates, Rust's standard library and musl; for the server the dashboard's Vue, too.
//!
//! `cargo tree` says which crates are linked into a package, because it resolves the
//! features of that package alone. `cargo metadata` would add the features that other
//! packages of the workspace ask for, and only says where each crate's source lies.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::cargo::{cargo, read_metadata};
use crate::error::XtaskError;

/// The packages whose binaries are shipped.
const PACKAGES: [&str; 2] = ["fleetbeat-agent", "fleetbeat-server"];
/// The crates are looked up for amd64; a binary for arm64 holds the same crates.
const TARGET: &str = "x86_64-unknown-linux-musl";
/// How the names of files with a licence begin, in any case; the order of the printed
/// texts follows.
const BEGINNINGS: [&[&str]; 5] = [
    &["LICENCE", "LICENSE"],
    &["COPYING"],
    &["COPYRIGHT"],
    &["NOTICE"],
    &["UNLICENSE"],
];

/// A part of a binary.
struct Part {
    name: String,
    /// The licence, as an SPDX expression.
    terms: String,
    /// The files with the licence's text.
    texts: Vec<PathBuf>,
}

/// The licences of everything that the static binary of `package` holds, in words.
/// `repository` is the folder of the workspace.
///
/// # Errors
/// The package is not one that is shipped, cargo fails, or a source is missing.
pub fn licences(repository: &Path, package: &str) -> Result<String, XtaskError> {
    if !PACKAGES.contains(&package) {
        let packages = PACKAGES.join(" or ");
        let message = format!("unknown package {package}: it is {packages}");
        return Err(XtaskError::Usage(message));
    }

    let mut parts = crates(repository, package)?;
    parts.push(Part {
        name: "The Rust standard library, by the Rust Project's contributors".to_owned(),
        terms: "MIT OR Apache-2.0".to_owned(),
        texts: Vec::new(),
    });
    parts.push(Part {
        name: "musl".to_owned(),
        terms: "MIT".to_owned(),
        texts: vec![find_text_of_musl()?],
    });
    if package == "fleetbeat-server" {
        parts.push(vue(repository)?);
    }

    let mut text = format!(
        "What others have written and {package} holds, and the terms on which it does.\n\
         Where a crate brings no text of its own, the licence is the one that is named.\n"
    );
    for part in parts {
        add_part(&mut text, &part)?;
    }
    Ok(text)
}

/// The crates that are linked into `package`, without our own. A crate that only runs
/// during the build is not in the binary.
fn crates(repository: &Path, package: &str) -> Result<Vec<Part>, XtaskError> {
    let tree = cargo(
        repository,
        &[
            "tree",
            "--locked",
            "--package",
            package,
            "--target",
            TARGET,
            "--edges",
            "normal,no-proc-macro",
            "--no-dedupe",
            "--prefix",
            "none",
            "--format",
            "{p}|{l}",
        ],
    )?;
    let folders = folders(repository)?;

    let lines: BTreeSet<&str> = tree.lines().collect();
    let lines = lines.iter().filter(|line| !line.starts_with("fleetbeat-"));
    lines
        .map(|line| {
            let (name, terms) = line.split_once('|').unwrap_or((line, ""));
            let folder = folders.get(name).ok_or_else(|| {
                XtaskError::Missing(format!("the source of {name} is missing"))
            })?;
            Ok(Part {
                name: name.to_owned(),
                terms: terms.to_owned(),
                texts: find_texts(folder)?,
            })
        })
        .collect()
}

/// The folder of each crate's source, by the name that `cargo tree` has for the crate:
/// `name vVERSION`.
fn folders(repository: &Path) -> Result<HashMap<String, PathBuf>, XtaskError> {
    let metadata = read_metadata(repository, &["--locked", "--filter-platform", TARGET])?;
    let packages = metadata["packages"].as_array();

    let folder = |package: &Value| {
        let manifest = Path::new(package["manifest_path"].as_str()?);
        let (name, version) = (package["name"].as_str()?, package["version"].as_str()?);
        Some((format!("{name} v{version}"), manifest.parent()?.to_owned()))
    };
    Ok(packages.into_iter().flatten().filter_map(folder).collect())
}

/// The files in `folder` that hold a licence.
fn find_texts(folder: &Path) -> Result<Vec<PathBuf>, XtaskError> {
    let entries = fs::read_dir(folder).map_err(XtaskError::read(folder))?;
    let mut files = BTreeSet::new();
    for entry in entries {
        let path = entry.map_err(XtaskError::read(folder))?.path();
        if path.is_file() {
            files.insert(path);
        }
    }

    let begins = |file: &Path, with: &[&str]| {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let name = name.to_uppercase();
        with.iter().any(|beginning| name.starts_with(beginning))
    };
    let of_kind = |with| files.iter().filter(move |file| begins(file, with)).cloned();
    Ok(BEGINNINGS.into_iter().flat_map(of_kind).collect())
}

/// musl's licence comes with zig, which links the static binaries.
fn find_text_of_musl() -> Result<PathBuf, XtaskError> {
    let toolchain = std::env::var_os("FLEETBEAT_TOOLCHAIN").map(PathBuf::from);
    let toolchain = toolchain
        .or_else(|| Some(std::env::home_dir()?.join(".cache/fleetbeat/toolchain")))
        .unwrap_or_default();
    let versions = fs::read_dir(toolchain.join("venv/lib"));

    let mut texts: Vec<_> = versions
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let python = entry.ok()?.path();
            Some(python.join("site-packages/ziglang/lib/libc/musl/COPYRIGHT"))
        })
        .filter(|text| text.is_file())
        .collect();
    texts.sort();

    let missing =
        "musl's licence is missing: scripts/static.sh installs zig, which has it";
    let text = texts.into_iter().next();
    text.ok_or_else(|| XtaskError::Missing(missing.to_owned()))
}

/// The library that the dashboard is made with.
fn vue(repository: &Path) -> Result<Part, XtaskError> {
    let folder = repository.join("dashboard/node_modules/vue");
    let missing = || XtaskError::Missing("Vue is missing: make dashboard".to_owned());

    let package = fs::read(folder.join("package.json")).map_err(|_| missing())?;
    let package: Value = serde_json::from_slice(&package).map_err(|_| missing())?;
    let version = package["version"].as_str().ok_or_else(missing)?;
    let text = folder.join("LICENSE");
    if !text.is_file() {
        return Err(missing());
    }

    Ok(Part {
        name: format!("Vue {version}, in the dashboard"),
        terms: "MIT".to_owned(),
        texts: vec![text],
    })
}

/// Adds a part's name and terms, and the texts that come with the part. Many texts are
/// the same but for the name in them, and compress well.
fn add_part(text: &mut String, part: &Part) -> Result<(), XtaskError> {
    let line = "=".repeat(100);
    let (name, terms) = (&part.name, &part.terms);
    let _ = write!(text, "\n{line}\n{name}\nLicence: {terms}\n");

    for path in &part.texts {
        let bytes = fs::read(path).map_err(XtaskError::read(path))?;
        text.push('\n');
        text.push_str(&String::from_utf8_lossy(&bytes));
    }
    Ok(())
}
