//! Files that an operator has named, which may be anything.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

/// Longest settings file, in bytes: a longer one is something else.
pub(crate) const MAX_SETTINGS_BYTES: u64 = 4 << 20;

/// The bytes of the file at `path`. Anything but a regular file is refused before it is
/// opened, because a pipe would wait for a writer.
///
/// # Errors
/// The file cannot be read, is not a regular file, or is longer than `max_bytes`.
pub fn read_file(path: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("is not a regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?
        .take(max_bytes + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max_bytes {
        return Err(io::Error::other("is too long"));
    }
    Ok(bytes)
}

/// As [`read_file`], for a text.
///
/// # Errors
/// As for [`read_file`]; and `InvalidData` for what is not UTF-8.
pub fn read_text(path: &Path, max_bytes: u64) -> io::Result<String> {
    let bytes = read_file(path, max_bytes)?;
    let refused = |_| io::Error::new(io::ErrorKind::InvalidData, "is not UTF-8");
    String::from_utf8(bytes).map_err(refused)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn only_a_regular_file_of_a_sensible_length_is_read() {
        let folder =
            std::env::temp_dir().join(format!("settings-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (file, pipe) = (folder.join("file"), folder.join("pipe"));
        fs::write(&file, "ü").unwrap();
        assert!(
            Command::new("mkfifo")
                .arg(&pipe)
                .status()
                .unwrap()
                .success()
        );

        assert_eq!(read_text(&file, 2).unwrap(), "ü");
        read_file(&file, 1).unwrap_err();
        read_file(&pipe, 9).unwrap_err();
        read_file(&folder, 9).unwrap_err();
        fs::write(&file, b"\xff").unwrap();
        assert_eq!(
            read_text(&file, 9).unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
        fs::remove_dir_all(&folder).unwrap();
    }
}
