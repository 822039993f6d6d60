//! The folder of the embedded store. The files in the folder are private, and a single
//! server at a time may use the folder.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;

use super::error::unusable;
use crate::ownership::give_to_owner_of_folder;
use crate::store::error::{Setup, StoreError};

/// The database's name in its folder.
pub(super) const DATABASE: &str = "fleetbeat.db";
/// The name of the file with the history of heartbeats.
pub(super) const HISTORY: &str = "history.db";
/// What the name of the copy of history.db has behind that of the backup.
pub(super) const HISTORY_ENDING: &str = ".history";
/// The file that a server locks.
const LOCK: &str = "lock";

/// How long a server or a command waits for the lock: a command holds it for the moment
/// in which it changes the schema.
const LOCK_WAIT: Duration = Duration::from_secs(1);

/// Why `folder` can be no folder; `None` if it is one, or can be made.
pub(super) fn explain_no_folder(folder: &Path) -> Option<String> {
    // The nearest ancestor that is there, which is the folder itself at best.
    let nearest = folder.ancestors().find_map(|ancestor| {
        let metadata = fs::metadata(ancestor).ok()?;
        Some((ancestor, metadata))
    });
    match nearest {
        Some((path, metadata)) if !metadata.is_dir() => {
            Some(format!("{} is not a folder", path.display()))
        }
        _ if fs::symlink_metadata(folder).is_ok() && fs::metadata(folder).is_err() => {
            Some(format!("{} is a link to nowhere", folder.display()))
        }
        _ => None,
    }
}

/// Refuses a folder without a database.
///
/// # Errors
/// There is no database, or the folder cannot be read.
pub(super) fn find_database(folder: &Path) -> Result<(), StoreError> {
    let file = folder.join(DATABASE);
    if is_database(&file)? {
        return Ok(());
    }
    let path = file.display().to_string();
    Err(Setup::NoDatabase { path }.into())
}

/// Whether `file` is there and not empty: SQLite takes an empty file for a new database.
///
/// # Errors
/// The file cannot be looked at.
pub(super) fn is_database(file: &Path) -> Result<bool, StoreError> {
    match fs::metadata(file) {
        Ok(metadata) => Ok(metadata.len() > 0),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(unusable(file, &error)),
    }
}

/// Makes the folder if there is none. Only the owner may read the folder, because
/// password hashes and keys are in there.
pub(super) fn create_private_folder(folder: &Path) -> Result<(), StoreError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|error| unusable(folder, &error))
}

/// Makes a file that only the server's user may read, if there is none. SQLite gives the
/// same mode to the files beside the database.
pub(super) fn create_private_file(file: &Path) -> io::Result<()> {
    match create_new_private_file(file) {
        Ok(created) => give_to_owner_of_folder(&created, file),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// Makes a file that only the caller's user may read; an error if it exists.
pub(super) fn create_new_private_file(file: &Path) -> io::Result<File> {
    File::options()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(file)
}

/// Opens a file that only the caller's user may read from now on, and makes it if there is
/// none. Whatever else has the name, such as a link to a file of somebody else, is refused.
pub(super) fn open_private_file(file: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let opened = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .custom_flags(flags.bits().cast_signed())
        .open(file)?;

    let metadata = opened.metadata()?;
    if !metadata.is_file() || metadata.nlink() > 1 {
        let message = "is not a file of its own";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    opened.set_permissions(Permissions::from_mode(0o600))?;
    Ok(opened)
}

/// Takes the lock that a server holds on the folder, until the file is closed.
///
/// # Errors
/// Another server has the lock, or the folder cannot be written.
pub(super) fn take_lock(folder: &Path) -> Result<File, StoreError> {
    let path = folder.join(LOCK);
    let file =
        create_private_file(&path).and_then(|()| File::options().write(true).open(&path));
    let file = file.map_err(|error| unusable(&path, &error))?;

    let deadline = Instant::now() + LOCK_WAIT;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(fs::TryLockError::WouldBlock) if Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(20));
            }
            Err(fs::TryLockError::WouldBlock) => {
                let path = folder.display().to_string();
                return Err(Setup::Locked { path }.into());
            }
            Err(fs::TryLockError::Error(error)) => return Err(unusable(&path, &error)),
        }
    }
}
