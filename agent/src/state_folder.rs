//! Files in the agent's state folder. Root may call the agent by hand, and what root
//! makes there belongs to the folder's owner all the same, because the service has to be
//! able to use it.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::Path;

use rustix::process::geteuid;

/// Opens the private file at `path` to read and write, and makes the file if need be.
///
/// # Errors
/// The file cannot be opened or made.
pub(crate) fn open_or_create(path: &Path) -> io::Result<File> {
    let is_new = !path.exists();
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)?;
    give_to_owner(&file, path);
    if is_new {
        sync_folder_of(path);
    }
    Ok(file)
}

/// Replaces the private file at `path` by one with `bytes`, at once and for good: a power
/// cut leaves the old file or the new one.
///
/// # Errors
/// The file stays as it was.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut options = File::options();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)?;
    give_to_owner(&file, path);

    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    written
        .and_then(|()| fs::rename(&new, path))
        .inspect_err(|_| drop(fs::remove_file(&new)))?;
    sync_folder_of(path);
    Ok(())
}

/// The text of the file at `path`, if it is a file of at most `max_bytes`.
///
/// # Errors
/// `NotFound` where there is no file; another kind where there is something else.
pub(crate) fn read(path: &Path, max_bytes: u64) -> io::Result<String> {
    // Opening a pipe would wait for a writer.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("is not a file"));
    }
    let mut text = String::new();
    File::open(path)?
        .take(max_bytes + 1)
        .read_to_string(&mut text)?;
    if text.len() as u64 > max_bytes {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(text)
}

/// Gives the file at `path` to the owner of its folder, if that takes root and root is
/// who asks. Where it fails, the file is root's, as before.
fn give_to_owner(file: &File, path: &Path) {
    let folder = path.parent().and_then(|folder| fs::metadata(folder).ok());
    if let Some(owner) = folder
        && geteuid().is_root()
        && file.metadata().is_ok_and(|file| file.uid() != owner.uid())
    {
        let _ = fchown(file, Some(owner.uid()), Some(owner.gid()));
    }
}

/// So that a power cut leaves a new file in its folder. Some file systems cannot sync a
/// folder, and the file is of use there as well.
fn sync_folder_of(path: &Path) {
    let folder = path.parent().unwrap_or(Path::new("."));
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_private_and_belongs_to_the_folders_owner() {
        let folder = tempfile::tempdir().unwrap();
        let root = geteuid().is_root();
        if root {
            std::os::unix::fs::chown(folder.path(), Some(65534), Some(65534)).unwrap();
        }
        let owner = fs::metadata(folder.path()).unwrap().uid();

        let (spool, identity) =
            (folder.path().join("spool"), folder.path().join("identity"));
        open_or_create(&spool).unwrap();
        for text in ["one", "two"] {
            replace(&identity, text.as_bytes()).unwrap();
            assert_eq!(read(&identity, 3).unwrap(), text);
        }
        for path in [&spool, &identity] {
            let file = fs::metadata(path).unwrap();
            assert_eq!((file.mode() & 0o777, file.uid()), (0o600, owner));
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);

        let too_long = read(&identity, 2).unwrap_err();
        assert_eq!(too_long.kind(), io::ErrorKind::FileTooLarge);
        assert!(read(folder.path(), 9).is_err());
    }
}
