//! The errors that end a task.

use std::io;
use std::path::{Path, PathBuf};

/// Why a task cannot be done. Each error names the file or program that it is about.
#[derive(Debug, thiserror::Error)]
pub enum XtaskError {
    /// The command line makes no sense.
    #[error("{0}\n\n{help}", help = crate::HELP.trim_end())]
    Usage(String),
    /// A file or folder cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("{}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A Rust file that the parser does not understand.
    #[error("{}:{line}: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// The parser's reason.
        message: String,
    },
    /// Another program failed.
    #[error("{program}: {message}")]
    Program {
        /// The program's name, for example `cargo metadata`.
        program: String,
        /// The reason that the program gave.
        message: String,
    },
    /// A file that a task needs is missing.
    #[error("{0}")]
    Missing(String),
}

impl XtaskError {
    /// An error of reading `path`.
    pub fn read(path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> XtaskError {
        let path = path.as_ref().to_owned();
        |source| XtaskError::Read { path, source }
    }

    /// An error of writing `path`.
    pub fn write(path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> XtaskError {
        let path = path.as_ref().to_owned();
        |source| XtaskError::Write { path, source }
    }
}
