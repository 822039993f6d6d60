//! How collectors read files, and how they fail.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Why a collector has no sample; the system's word is the error's source.
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
    /// A file holds something else than it should.
    #[error("{} {message}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What it lacks.
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
    /// The host does not tell what the collector needs to know; the sentence says what to
    /// do.
    #[error("{0}")]
    Unknown(String),
}

pub(crate) fn read_text(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })
}

/// For files in which names may be written in any encoding: what is no UTF-8 must not
/// hide the rest.
pub(crate) fn read_lossy(path: &Path) -> Result<String, Error> {
    let bytes = fs::read(path).map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The one number in the file.
pub(crate) fn read_number(path: &Path) -> Result<u64, Error> {
    let text = read_text(path)?;
    text.trim().parse().map_err(|_| Error::Content {
        path: path.to_owned(),
        message: "holds no number",
    })
}
