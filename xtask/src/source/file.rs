//! A Rust file: its text, and its syntax without test code.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::XtaskError;
use crate::source::test_code;

/// A file of a crate.
#[derive(Debug)]
pub struct SourceFile {
    /// The path below the workspace's folder, for example `agent/src/main.rs`.
    pub path: PathBuf,
    /// The whole text, test code included.
    pub text: String,
    /// For each line of the text, whether it belongs to test code.
    pub is_test_line: Vec<bool>,
}

impl SourceFile {
    /// Reads and parses the file `path` below `folder`. The file's syntax comes without
    /// test code.
    ///
    /// # Errors
    /// The file cannot be read, or it is not Rust.
    pub fn read(
        folder: &Path,
        path: &Path,
    ) -> Result<(SourceFile, syn::File), XtaskError> {
        let full = folder.join(path);
        let text = fs::read_to_string(&full).map_err(XtaskError::read(&full))?;
        SourceFile::parse(path, text)
    }

    /// Parses a file's text; `path` only names it.
    ///
    /// # Errors
    /// The text is not Rust.
    pub fn parse(
        path: &Path,
        text: String,
    ) -> Result<(SourceFile, syn::File), XtaskError> {
        let mut syntax = syn::parse_file(&text).map_err(|error| XtaskError::Syntax {
            path: path.to_owned(),
            line: error.span().start().line,
            message: error.to_string(),
        })?;

        let mut is_test_line = vec![false; text.lines().count()];
        for lines in test_code::remove_test_code(&mut syntax) {
            is_test_line[lines.start() - 1..*lines.end()].fill(true);
        }

        let path = path.to_owned();
        let file = SourceFile {
            path,
            text,
            is_test_line,
        };
        Ok((file, syntax))
    }
}
