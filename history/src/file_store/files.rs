//! The file as a file: making it, knowing it again, moving it aside.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// What SQLite adds to the name for the files beside the database.
const LOG: &str = "-wal";
const INDEX_OF_LOG: &str = "-shm";
/// Damaged files that are kept: more could fill the disk of the fleet's own database.
const KEPT_BROKEN: usize = 2;

/// By what a file is known again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileId {
    device: u64,
    inode: u64,
}

/// The file that has this name now; `None` if there is none.
///
/// # Errors
/// Nobody knows, or the name is a link to a file that is not there: a volume may not be
/// mounted.
pub(crate) fn identify(path: &Path) -> io::Result<Option<FileId>> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(Some(FileId {
            device: metadata.dev(),
            inode: metadata.ino(),
        })),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Err(_) if path.is_symlink() => Err(io::Error::other(
            "the link leads to a file that is not there",
        )),
        Err(_) => Ok(None),
    }
}

/// The log beside the file.
pub(crate) fn identify_log(path: &Path) -> io::Result<Option<FileId>> {
    identify(&beside(path, LOG))
}

/// Deletes the log `log`, if it is still there. SQLite leaves the log of a file whose
/// name another file has taken, and would read it into that one.
pub(crate) fn remove_log(path: &Path, log: Option<FileId>) -> io::Result<()> {
    if log.is_none() || identify_log(path)? != log {
        return Ok(());
    }
    remove_if_there(&beside(path, LOG))?;
    remove_if_there(&beside(path, INDEX_OF_LOG))
}

/// Makes a file that only its owner may read, if there is none. A log that was left
/// behind by a file that is gone goes, too: it belongs to no file any more.
pub(crate) fn create(path: &Path) -> io::Result<()> {
    let created = File::options()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(path);
    match created {
        Ok(_) => {
            remove_if_there(&beside(path, LOG))?;
            remove_if_there(&beside(path, INDEX_OF_LOG))
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// Moves the file and its log aside, and says where to. The oldest files of earlier such
/// moves are deleted.
pub(crate) fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let target = free_name(path)?;
    fs::rename(path, &target)?;
    match fs::rename(beside(path, LOG), beside(&target, LOG)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    remove_if_there(&beside(path, INDEX_OF_LOG))?;

    for old in broken(path)?.into_iter().rev().skip(KEPT_BROKEN) {
        remove_if_there(&old)?;
        remove_if_there(&beside(&old, LOG))?;
    }
    Ok(target)
}

/// How much of the disk the file and its log take, in bytes.
pub(crate) fn bytes_on_disk(path: &Path) -> u64 {
    let files = [path.to_path_buf(), beside(path, LOG)];
    let sizes = files.iter().filter_map(|file| fs::metadata(file).ok());
    sizes.map(|metadata| metadata.len()).sum()
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// The beginning of the names of damaged files.
fn broken_prefix(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    format!("{name}.broken-")
}

/// A name for a damaged file that no file has: with the time, and a number if need be.
fn free_name(path: &Path) -> io::Result<PathBuf> {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
    let seconds = since_1970.map_or(0, |time| time.as_secs());
    let prefix = broken_prefix(path);
    for number in 0..1000 {
        let target = path.with_file_name(format!("{prefix}{seconds:010}.{number:03}"));
        if identify(&target)?.is_none() {
            return Ok(target);
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// The damaged files beside the file, the oldest first.
fn broken(path: &Path) -> io::Result<Vec<PathBuf>> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let prefix = broken_prefix(path);
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(&prefix) && !name.ends_with(LOG) {
            found.push(folder.join(&*name));
        }
    }
    found.sort();
    Ok(found)
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
