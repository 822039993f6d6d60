//! A consistent copy of the database while it is in use.

use std::io;
use std::path::Path;

use super::connection::Connections;
use super::error::unusable;
use super::folder::create_new_private_file;
use crate::store::error::StoreError;

/// Writes a consistent copy of the whole database to `file`, which must not exist.
///
/// # Errors
/// The file exists or cannot be written.
pub(super) fn backup(connections: &Connections, file: &Path) -> Result<(), StoreError> {
    // SQLite takes an empty file; made here first, it is private from its first byte on.
    create_new_private_file(file).map_err(|error| unusable(file, &error))?;
    let name = file
        .to_str()
        .ok_or_else(|| unusable(file, &io::Error::from(io::ErrorKind::InvalidInput)))?;
    connections.writer().execute("VACUUM INTO ?1", [name])?;
    Ok(())
}
