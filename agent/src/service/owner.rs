//! The user that the agent works as. Root may call the agent by hand, but the state folder
//! belongs to the service's user, who decides what is in there.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{Gid, Uid};
use rustix::process::geteuid;
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

/// Where root calls, and `folder` belongs to another user: this process goes on as that
/// user, whom root cannot harm in the folder, and the folder's user cannot harm root. Must
/// be called before any thread is started, because a thread has a user of its own.
///
/// A root without the power to become somebody else, as in a container, stays what it is.
pub(crate) fn become_owner_of(folder: &Path) {
    let Ok(found) = fs::metadata(folder) else {
        return;
    };
    if !geteuid().is_root() || found.uid() == 0 {
        return;
    }
    let (user, shown) = (found.uid(), folder.display());
    match become_user(user, found.gid()) {
        Ok(()) => log::info!("{shown} belongs to user {user}, who goes on from here"),
        Err(error) => log::warn!("root cannot become user {user} of {shown}: {error}"),
    }
}

fn become_user(user: u32, group: u32) -> io::Result<()> {
    let (user, group) = (Uid::from_raw(user), Gid::from_raw(group));
    set_thread_groups(&[group])?;
    set_thread_res_gid(group, group, group)?;
    Ok(set_thread_res_uid(user, user, user)?)
}
