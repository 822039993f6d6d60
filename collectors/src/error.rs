//! How collectors fail.

use std::io;
use std::path::PathBuf;

/// Why a collector, or a part of a collector, has no result. The system's error is the
/// source of this error.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
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
        /// The system's error.
        source: io::Error,
    },
    /// Something failed, with details that may differ each time.
    #[error("{message}{}", show_detail(detail.as_deref()))]
    Detailed {
        /// What stays the same while the fault does: "/usr/bin/x ended with exit
        /// status: 3".
        message: String,
        /// What may have times and numbers in it, such as a program's own words.
        detail: Option<String>,
    },
    /// The host does not tell something, as many hosts do not. The sentence names the
    /// setting that tells it in the host's place.
    #[error("{0}")]
    NeedsSetting(String),
    /// The host does not tell something that the collector needs. The sentence says what
    /// to do, where anything can be done.
    #[error("{0}")]
    Unknown(String),
}

fn show_detail(detail: Option<&str>) -> String {
    detail.map_or_else(String::new, |detail| format!(": {detail}"))
}

impl Error {
    /// What stays the same while the cause does, if that is not the whole text.
    pub fn cause(&self) -> Option<&str> {
        match self {
            Error::Detailed { message, .. } => Some(message),
            _ => None,
        }
    }

    /// The error of a file at `path` that cannot be read.
    pub(crate) fn read(path: impl Into<PathBuf>, source: io::Error) -> Error {
        Error::Read {
            path: path.into(),
            source,
        }
    }
}
