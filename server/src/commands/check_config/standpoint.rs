//! From where `check-config` looks. The service runs as a user of its own; root may read
//! more, so what root finds well says nothing about the service. Called by root,
//! `check-config` therefore goes on as the service's user.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::process::geteuid;

use super::service::Service;
use crate::accounts::Account;
use crate::config::Storage;

/// Goes on as the user of `service`, or, where there is none, as the owner of the
/// embedded store's folder. Gives that user; `None` if the caller's own eyes have to do.
///
/// # Errors
/// The system does not allow it.
pub(super) fn take(
    root: &Path,
    service: Option<&Service>,
    storage: &Storage,
) -> io::Result<Option<Account>> {
    let of_service = service.and_then(|service| service.account(root));
    if !geteuid().is_root() {
        if let Some(account) = of_service
            && account.uid != geteuid().as_raw()
        {
            let (asked, user) = (geteuid().as_raw(), account.name);
            eprintln!("user {asked} is asked here; called by root, {user} is asked");
        }
        return Ok(None);
    }

    let account = of_service.or_else(|| find_owner(root, storage));
    if let Some(account) = &account {
        account.take_over()?;
    }
    Ok(account)
}

/// The owner of the embedded store's folder, unless that is root.
fn find_owner(root: &Path, storage: &Storage) -> Option<Account> {
    let Storage::Embedded { path } = storage else {
        return None;
    };
    let folder = fs::metadata(path).ok()?;
    let uid = folder.uid();
    let unnamed = || Account {
        name: uid.to_string(),
        uid,
        gid: folder.gid(),
        groups: Vec::new(),
    };
    (uid != 0).then(|| Account::find_by_uid(root, uid).unwrap_or_else(unnamed))
}
