//! How cargo is asked about the workspace.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::error::XtaskError;

/// What `cargo metadata` prints, run in `folder`.
///
/// # Errors
/// Cargo does not understand the workspace, or a file that cargo needs is missing.
pub fn read_metadata(folder: &Path, options: &[&str]) -> Result<Value, XtaskError> {
    let command = ["metadata", "--format-version", "1"];
    let printed = cargo(folder, &[&command, options].concat())?;
    serde_json::from_str(&printed).map_err(|error| XtaskError::Program {
        program: "cargo metadata".to_owned(),
        message: error.to_string(),
    })
}

/// What cargo prints when it is run in `folder`.
///
/// # Errors
/// Cargo cannot be run, or fails.
pub fn cargo(folder: &Path, arguments: &[&str]) -> Result<String, XtaskError> {
    let failed = |message: String| XtaskError::Program {
        program: format!("cargo {}", arguments.first().unwrap_or(&"")),
        message,
    };
    // Inside `cargo test` and `cargo run`, CARGO names the cargo that runs.
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());

    let output = Command::new(cargo)
        .args(arguments)
        .current_dir(folder)
        .output()
        .map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        return Err(failed(complaint.trim_end().to_owned()));
    }

    String::from_utf8(output.stdout).map_err(|error| failed(error.to_string()))
}
