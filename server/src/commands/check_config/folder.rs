//! Whether the service's user can use the folders that the server writes.

use std::io;
use std::path::Path;

use rustix::fs::{Access, access};
use rustix::io::Errno;

use crate::accounts::Account;

/// The folders that the unit gives to the service's user at each start, with all that is
/// in them if they belong to somebody else.
const GIVEN_BY_UNIT: [&str; 2] = ["/var/lib/fleetbeat", "/run/fleetbeat"];
/// The embedded store's files, and what the server does with them.
const FILES: [(&str, Access); 9] = [
    ("fleetbeat.db", Access::READ_OK.union(Access::WRITE_OK)),
    ("fleetbeat.db-wal", Access::READ_OK.union(Access::WRITE_OK)),
    ("fleetbeat.db-shm", Access::READ_OK.union(Access::WRITE_OK)),
    ("history.db", Access::READ_OK.union(Access::WRITE_OK)),
    ("history.db-wal", Access::READ_OK.union(Access::WRITE_OK)),
    ("history.db-shm", Access::READ_OK.union(Access::WRITE_OK)),
    ("lock", Access::WRITE_OK),
    ("agent_api_key", Access::READ_OK),
    ("secret_key", Access::READ_OK),
];

/// Whether the unit puts the folder right by itself before the server starts.
pub(super) fn is_given_by_unit(folder: &Path, owner: Option<u32>, user: u32) -> bool {
    GIVEN_BY_UNIT.iter().any(|given| folder == Path::new(given)) && owner != Some(user)
}

/// What `user`, who looks, cannot use in the embedded store's folder: the folder, if it is
/// there or can be made, and its files.
pub(super) fn find_closed(folder: &Path, user: &Account) -> Vec<String> {
    let needed = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
    let nearest = folder
        .ancestors()
        .find(|path| access(*path, Access::EXISTS) != Err(Errno::NOENT));
    let closed_folder = nearest
        .filter(|path| is_closed(path, needed))
        .map(|path| explain(path, user));

    let files = FILES
        .iter()
        .map(|(name, needed)| (folder.join(name), *needed));
    let closed_files = files
        .filter(|(file, needed)| is_closed(file, *needed))
        .map(|(file, _)| explain(&file, user));
    match closed_folder {
        // Nothing can be said about what is in there.
        Some(folder) => vec![folder],
        None => closed_files.collect(),
    }
}

/// Why nobody can make a socket in the folder; `None` if `user`, who looks, can, or the
/// folder is not there yet.
pub(super) fn find_closed_for_socket(folder: &Path, user: &Account) -> Option<String> {
    is_closed(folder, Access::WRITE_OK | Access::EXEC_OK).then(|| explain(folder, user))
}

fn is_closed(path: &Path, needed: Access) -> bool {
    let denied = io::ErrorKind::PermissionDenied;
    access(path, needed).is_err_and(|error| io::Error::from(error).kind() == denied)
}

fn explain(path: &Path, user: &Account) -> String {
    let (path, name) = (path.display(), &user.name);
    format!(
        "{path} is not for the user {name}, as whom the service runs: `chown {name} \
         {path}` gives it to that user"
    )
}
