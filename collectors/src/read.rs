//! Reads small files, such as the files of /proc and /sys.

use std::fs;
use std::path::Path;

use crate::error::Error;

/// The text of a file in UTF-8.
pub(crate) fn read_text(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|source| Error::read(path, source))
}

/// The text of a file with names in any encoding, such as the names of mount points. A
/// name that is not UTF-8 is changed a little, instead of hiding all the others.
pub(crate) fn read_lossy(path: &Path) -> Result<String, Error> {
    Ok(String::from_utf8_lossy(&read_bytes(path)?).into_owned())
}

/// The bytes of a file with names that become parts of paths, which are not text.
pub(crate) fn read_bytes(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|source| Error::read(path, source))
}

/// The number in a file that holds nothing else.
pub(crate) fn read_number(path: &Path) -> Result<u64, Error> {
    let text = read_text(path)?;
    text.trim().parse().map_err(|_| Error::Content {
        path: path.to_owned(),
        message: "holds no number",
    })
}
