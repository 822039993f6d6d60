//! `backup` and `restore`: the embedded database as a file.

use std::path::Path;

use fleetbeat_daemon::clock;

use crate::config::Storage;
use crate::store::{self, Extent, StoreError};

/// Writes a copy of the database to `file`, also while the server runs, and tells what is
/// in the copy.
pub(super) fn backup(
    storage: &Storage,
    file: &Path,
    extent: Extent,
) -> Result<(), StoreError> {
    println!("saved: {}", store::backup(storage, file, extent)?);
    Ok(())
}

/// Puts such a copy in the database's place and tells what was done, while the server is
/// stopped.
pub(super) fn restore(
    storage: &Storage,
    file: &Path,
    extent: Extent,
) -> Result<(), StoreError> {
    print!("{}", store::restore(storage, file, extent, clock::now())?);
    Ok(())
}
