//! How collectors fail.

use std::io;
use std::path::PathBuf;

/// Why a collector, or a part of one, has no result. What the system says is the error's
/// source.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file can be read, but does not hold what the collector looks for.
    #[error("{} {message}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What the file lacks; a verb's phrase, since the file's path goes before the
        /// message: "has no line with the times of all CPUs".
        message: &'static str,
    },
    /// A program cannot be started.
    #[error("cannot start {}", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The host does not tell what the collector needs to know. The sentence says what to
    /// do, where anything can be done.
    #[error("{0}")]
    Unknown(String),
}

impl Error {
    /// The error of a file at `path` that the system refuses to give.
    pub(crate) fn read(path: impl Into<PathBuf>, source: io::Error) -> Error {
        Error::Read {
            path: path.into(),
            source,
        }
    }
}
