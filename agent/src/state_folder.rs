//! Files in the agent's state folder. The folder belongs to the agent's user, and root may
//! call the agent by hand: so no link in the folder is followed, and nothing there is
//! trusted because of its name.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;
use rustix::process::geteuid;

/// How long another process is waited for, which holds a lock while it asks the server.
const LOCK_TIMEOUT: Duration = Duration::from_secs(30);
/// The time between two tries to take a lock.
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Opens the private file at `path` to read and write, and makes the file if need be.
///
/// # Errors
/// The file cannot be opened or made, or there is something else.
pub(crate) fn open_or_create(path: &Path) -> io::Result<File> {
    let is_new = !path.exists();
    let file = open(
        path,
        File::options()
            .read(true)
            .write(true)
            .create(true)
            .mode(0o600),
    )?;
    if is_new {
        sync_folder_of(path);
    }
    Ok(file)
}

/// What one process of the agent holds at a time: the service, or a command that root has
/// called beside it. Dropping it lets the next one in.
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// The lock of the file `path`, which is made if need be and stays.
    ///
    /// # Errors
    /// The file cannot be made, or `TimedOut`: another process keeps the lock.
    pub(crate) fn of_file(path: &Path) -> io::Result<Lock> {
        let file = open_or_create(path)?;
        if let Owner::Id(user, group) = owner_of_new(path)? {
            fchown(&file, Some(user), Some(group))?;
        }
        Lock::take(file)
    }

    /// The lock of the folder that `path` is in.
    ///
    /// # Errors
    /// As for [`Lock::of_file`].
    pub(crate) fn of_folder(path: &Path) -> io::Result<Lock> {
        Lock::take(File::open(folder_of(path))?)
    }

    fn take(file: File) -> io::Result<Lock> {
        let until = Instant::now() + LOCK_TIMEOUT;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Lock { _file: file }),
                Err(Errno::WOULDBLOCK | Errno::INTR) if Instant::now() < until => {
                    thread::sleep(LOCK_PAUSE);
                }
                Err(Errno::WOULDBLOCK) => return Err(io::ErrorKind::TimedOut.into()),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Whose a new file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    /// The caller's.
    Caller,
    /// This user's and this group's.
    Id(u32, u32),
}

/// Replaces the private file at `path` by one with `bytes`, at once and for good: a power
/// cut leaves the old file or the new one. A file that root writes is its folder's owner's.
///
/// # Errors
/// The file stays as it was.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace_as(path, bytes, 0o600, owner_of_new(path)?)
}

fn owner_of_new(path: &Path) -> io::Result<Owner> {
    if !geteuid().is_root() {
        return Ok(Owner::Caller);
    }
    let folder = fs::metadata(folder_of(path))?;
    Ok(Owner::Id(folder.uid(), folder.gid()))
}

/// As [`replace`], with another mode and owner.
///
/// # Errors
/// As for [`replace`].
pub(crate) fn replace_as(
    path: &Path,
    bytes: &[u8],
    mode: u32,
    owner: Owner,
) -> io::Result<()> {
    let new = path.with_extension("new");
    // A kill may have left one, and anybody else a link.
    let _ = fs::remove_file(&new);
    let mut options = File::options();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)?;

    let written = own(&file, mode, owner)
        .and_then(|()| file.write_all(bytes))
        .and_then(|()| file.sync_all());
    written
        .and_then(|()| fs::rename(&new, path))
        .inspect_err(|_| drop(fs::remove_file(&new)))?;
    sync_folder_of(path);
    Ok(())
}

fn own(file: &File, mode: u32, owner: Owner) -> io::Result<()> {
    if let Owner::Id(user, group) = owner {
        fchown(file, Some(user), Some(group))?;
    }
    file.set_permissions(Permissions::from_mode(mode))
}

/// The text of the file at `path`, if it is a file of at most `max_bytes`.
///
/// # Errors
/// `NotFound` where there is no file; another kind where there is something else.
pub(crate) fn read(path: &Path, max_bytes: u64) -> io::Result<String> {
    read_text(open(path, File::options().read(true))?, max_bytes)
}

/// As [`read`], of a file that nobody but this process's user can have written.
///
/// # Errors
/// As for [`read`]; `PermissionDenied` where another user may have written the file.
pub(crate) fn read_own(path: &Path, max_bytes: u64) -> io::Result<String> {
    let file = open(path, File::options().read(true))?;
    let found = file.metadata()?;
    if found.uid() != geteuid().as_raw() || found.mode() & 0o022 != 0 {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    read_text(file, max_bytes)
}

fn read_text(file: File, max_bytes: u64) -> io::Result<String> {
    let mut text = String::new();
    file.take(max_bytes + 1).read_to_string(&mut text)?;
    if text.len() as u64 > max_bytes {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(text)
}

/// Opens the file at `path`, which must not be a link: neither a symbolic link nor, where
/// root opens it, a second name of a file that may be elsewhere. A pipe in its place is
/// not waited for.
fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = options.custom_flags(flags).open(path)?;
    let found = file.metadata()?;
    if !found.is_file() || (geteuid().is_root() && found.nlink() > 1) {
        return Err(io::Error::other("is not a file of its own"));
    }
    Ok(file)
}

fn folder_of(path: &Path) -> &Path {
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    folder.unwrap_or(Path::new("."))
}

/// So that a power cut leaves a new file in its folder. Some file systems cannot sync a
/// folder, and the file is of use there as well.
fn sync_folder_of(path: &Path) {
    let _ = File::open(folder_of(path)).and_then(|folder| folder.sync_all());
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{chown, symlink};
    use std::process::Command;

    use super::*;

    #[test]
    fn a_file_is_private_and_replaced_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        let (spool, identity) =
            (folder.path().join("spool"), folder.path().join("identity"));
        open_or_create(&spool).unwrap();
        for text in ["one", "two"] {
            replace(&identity, text.as_bytes()).unwrap();
            assert_eq!(read(&identity, 3).unwrap(), text);
            assert_eq!(read_own(&identity, 3).unwrap(), text);
        }
        for path in [&spool, &identity] {
            assert_eq!(fs::metadata(path).unwrap().mode() & 0o777, 0o600);
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);

        let too_long = read(&identity, 2).unwrap_err();
        assert_eq!(too_long.kind(), io::ErrorKind::FileTooLarge);
        assert!(read(folder.path(), 9).is_err());
    }

    #[test]
    fn one_process_at_a_time_holds_a_lock() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.lock");
        for take in [Lock::of_file, Lock::of_folder] {
            let held = take(&path).unwrap();
            let (told, heard) = std::sync::mpsc::channel();
            thread::scope(|scope| {
                scope.spawn(|| {
                    let lock = take(&path).unwrap();
                    told.send(()).unwrap();
                    drop(lock);
                });
                heard.recv_timeout(LOCK_PAUSE * 5).unwrap_err();
                drop(held);
                heard.recv_timeout(LOCK_TIMEOUT).unwrap();
            });
        }
        let mode = fs::metadata(&path).unwrap().mode() & 0o777;
        assert_eq!(mode, 0o600);
    }

    #[test]
    fn no_link_is_followed_and_no_pipe_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let [target, link, pipe] =
            ["target", "link", "pipe"].map(|name| folder.path().join(name));
        fs::write(&target, "precious").unwrap();
        symlink(&target, &link).unwrap();
        symlink(&target, folder.path().join("link.new")).unwrap();
        let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());

        for path in [&link, &pipe] {
            open_or_create(path).unwrap_err();
            read(path, 99).unwrap_err();
            read_own(path, 99).unwrap_err();
        }
        replace(&link, b"new").unwrap();
        assert_eq!(read(&link, 99).unwrap(), "new");
        assert_eq!(fs::read_to_string(&target).unwrap(), "precious");
    }

    #[test]
    fn a_file_that_others_may_have_written_is_not_ones_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("accepted");
        for (mode, is_own) in
            [(0o600, true), (0o644, true), (0o620, false), (0o602, false)]
        {
            fs::write(&path, "text").unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            assert_eq!(read_own(&path, 99).is_ok(), is_own, "{mode:o}");
            assert_eq!(read(&path, 99).unwrap(), "text");
        }
        if geteuid().is_root() {
            fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
            chown(&path, Some(65534), None).unwrap();
            read_own(&path, 99).unwrap_err();
        }
    }
}
