//! To whom the files of the server belong. The service has a user of its own; a file that
//! root has made beside it must not shut the service out.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::Path;

use rustix::process::geteuid;

/// Gives a file that root has made to the owner of the folder, who is the server's user,
/// because the server could not open the file otherwise. Only for a file that was made
/// just now: a file that was there before may be a link to a file of somebody else.
///
/// # Errors
/// The folder cannot be looked at, or the caller may not give the file away.
pub(crate) fn give_to_owner_of_folder(created: &File, path: &Path) -> io::Result<()> {
    let folder = fs::metadata(path.parent().unwrap_or(path))?;
    if created.metadata()?.uid() == folder.uid() {
        return Ok(());
    }
    fchown(created, Some(folder.uid()), Some(folder.gid()))
}

/// The user to whom the folder belongs, where root is asked and is not that user.
pub(crate) fn find_other_owner(folder: &Path) -> Option<u32> {
    let owner = fs::metadata(folder).ok()?.uid();
    (geteuid().is_root() && owner != 0).then_some(owner)
}
