//! The folder in which heartbeats wait while the server does not answer.

use std::fs;
use std::io;
use std::path::Path;

use rustix::fs::{Access, access, statvfs};
use rustix::process::geteuid;

use super::finding::{Finding, Obstacle, Trouble};
use super::found::Found;
use crate::delivery::spool;

/// Most space taken by the spool.
const NEEDED_BYTES: u64 = 4 << 20;

/// The step "spool": whether the user can keep a spool in the folder. The step leaves
/// nothing there.
pub(super) fn examine(found: &mut Found) -> Finding {
    let config = found.config.as_ref().ok_or(Obstacle::Missing)?;
    Ok(examine_folder(&config.spool)?)
}

fn examine_folder(folder: &Path) -> Result<String, Trouble> {
    let shown = folder.display();
    let user = format!("user {}", geteuid().as_raw());
    check_access(folder).map_err(|error| {
        Trouble::new(
            format!("{shown} cannot be used by {user}: {error}"),
            format!(
                "systemd makes the folder for the service (StateDirectory=); by hand: \
                 install -d -o fleetbeat-agent -m 700 {shown}"
            ),
        )
    })?;

    check_files(folder, &user)?;
    let file = spool::file_path(folder);
    if fs::symlink_metadata(&file).is_ok_and(|found| !found.is_file()) {
        return Err(Trouble::new(
            format!(
                "{} is not a file, so nothing can wait there",
                file.display()
            ),
            "remove it, and restart the agent, which makes the file",
        ));
    }

    let disk = statvfs(folder).map_err(|error| {
        Trouble::new(format!("{shown}: {error}"), "is its disk well?")
    })?;
    let free_bytes = disk.f_bavail.saturating_mul(disk.f_frsize);
    let free_mib = free_bytes >> 20;
    if free_bytes < NEEDED_BYTES {
        let needed_mib = NEEDED_BYTES >> 20;
        let what = format!(
            "the disk of {shown} has {free_mib} MiB left, and {needed_mib} may be needed"
        );
        let advice = "make room, or name a folder on another disk in spool.path";
        return Err(Trouble::new(what, advice));
    }

    Ok(format!(
        "{shown} can be written by {user}, {free_mib} MiB free"
    ))
}

/// An error unless the user may read and write the files that an earlier run has left.
fn check_files(folder: &Path, user: &str) -> Result<(), Trouble> {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        // Anything else is not the agent's, and not opened: a pipe would wait.
        if !entry.file_type().is_ok_and(|kind| kind.is_file()) {
            continue;
        }

        let opened = fs::File::options().read(true).write(true).open(&path);
        opened.map_err(|error| {
            let (shown, folder) = (path.display(), folder.display());
            Trouble::new(
                format!("{shown} cannot be used by {user}: {error}"),
                format!(
                    "was the agent once run by another user? Give its files back: chown \
                     -R --reference={folder} {folder}"
                ),
            )
        })?;
    }
    Ok(())
}

/// An error unless `folder` is a folder and the user may make files there.
fn check_access(folder: &Path) -> io::Result<()> {
    if !fs::metadata(folder)?.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    Ok(access(folder, Access::WRITE_OK | Access::EXEC_OK)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_a_file_is_no_spool() {
        let folder = tempfile::tempdir().unwrap();
        assert!(examine_folder(folder.path()).is_ok());
        fs::create_dir(spool::file_path(folder.path())).unwrap();
        let trouble = examine_folder(folder.path()).map_err(|trouble| trouble.what);
        assert!(trouble.unwrap_err().ends_with("nothing can wait there"));
    }
}
