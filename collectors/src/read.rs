//! Reads small files, such as those of /proc and /sys.

use std::fs;
use std::path::Path;

use crate::error::Error;

/// The text of a file that has to be UTF-8.
pub(crate) fn read_text(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|source| Error::read(path, source))
}

/// The text of a file in which names may be in any encoding, such as those of mount
/// points: a name that is not UTF-8 is changed a little, instead of hiding all the
/// others.
pub(crate) fn read_lossy(path: &Path) -> Result<String, Error> {
    let bytes = fs::read(path).map_err(|source| Error::read(path, source))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The one number in a file.
pub(crate) fn read_number(path: &Path) -> Result<u64, Error> {
    let text = read_text(path)?;
    text.trim().parse().map_err(|_| Error::Content {
        path: path.to_owned(),
        message: "holds no number",
    })
}
