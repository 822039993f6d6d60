//! The packages of a workspace, as `cargo metadata` tells them.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::cargo::read_metadata;
use crate::error::XtaskError;

/// A package of the workspace.
#[derive(Debug)]
pub struct Package {
    /// The name in Cargo.toml, for example `fleetbeat-agent`.
    pub name: String,
    /// The folder of Cargo.toml.
    pub folder: PathBuf,
    /// The names of the dependencies of every kind, build and test dependencies included.
    pub dependencies: Vec<String>,
    /// The root files of the library and the programs, without tests, examples and
    /// benchmarks.
    pub roots: Vec<PathBuf>,
}

impl Package {
    /// The name without the workspace's prefix: `agent` for `fleetbeat-agent`.
    pub fn short_name(&self) -> &str {
        self.name.strip_prefix("fleetbeat-").unwrap_or(&self.name)
    }
}

/// The packages of the workspace in `folder`, in the order of their names.
///
/// # Errors
/// Cargo does not understand the workspace.
pub fn read_packages(folder: &Path) -> Result<Vec<Package>, XtaskError> {
    let metadata = read_metadata(folder, &["--no-deps", "--offline"])?;

    let mut packages: Vec<_> = array(&metadata["packages"]).iter().map(package).collect();
    packages.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(packages)
}

fn package(package: &Value) -> Package {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let has_code = |target: &&Value| {
        let kinds = array(&target["kind"]);
        kinds.iter().any(|kind| kind == "lib" || kind == "bin")
    };
    let manifest = PathBuf::from(text(&package["manifest_path"]));
    let roots = array(&package["targets"]).iter().filter(has_code);
    let dependencies = array(&package["dependencies"]).iter();

    Package {
        name: text(&package["name"]),
        folder: manifest.parent().unwrap_or(&manifest).to_owned(),
        dependencies: dependencies.map(|other| text(&other["name"])).collect(),
        roots: roots
            .map(|target| text(&target["src_path"]).into())
            .collect(),
    }
}

/// The elements of an array; no element if `value` is not an array.
fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
