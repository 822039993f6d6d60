//! The folder in which heartbeats wait for a server that is away.

use std::fs;
use std::io;
use std::path::Path;

use rustix::fs::{Access, access, statvfs};
use rustix::process::geteuid;

use super::{Finding, Trouble};

/// What the spool takes at most.
const NEEDED_BYTES: u64 = 4 << 20;

/// Whether this user can keep a spool in `folder`. It leaves nothing there.
pub(super) fn check(folder: &Path) -> Finding {
    let shown = folder.display();
    let advice = format!(
        "systemd makes the folder for the service (StateDirectory=); by hand: \
         install -d -o fleetbeat-agent -m 700 {shown}"
    );
    let usable = fs::metadata(folder).and_then(|metadata| {
        let no_folder = || Err(io::ErrorKind::NotADirectory.into());
        if metadata.is_dir() {
            Ok(access(folder, Access::WRITE_OK | Access::EXEC_OK)?)
        } else {
            no_folder()
        }
    });
    let user = format!("user {}", geteuid().as_raw());
    usable.map_err(|error| {
        Trouble::new(format!("{shown} cannot be used by {user}: {error}"), advice)
    })?;

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
        return Err(Trouble::new(
            what,
            "make room, or name a folder on another disk in spool.path",
        ));
    }
    Ok(format!(
        "{shown} can be written by {user}, {free_mib} MiB free"
    ))
}
