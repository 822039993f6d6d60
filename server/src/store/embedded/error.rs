//! SQLite's errors in the store's words.

use std::io;
use std::path::Path;

use rusqlite::ErrorCode;

use crate::store::error::{Setup, StoreError, Unavailable};

/// The database's name in messages.
const DATABASE: &str = "the database";

impl From<rusqlite::Error> for StoreError {
    /// A database that is busy may be free later: another process, such as the user
    /// command, has locked the database. Any other error is a refusal.
    fn from(error: rusqlite::Error) -> StoreError {
        let (database, reason) = (DATABASE, error.to_string());
        if is_busy(&error) {
            Unavailable::Unreachable { database, reason }.into()
        } else {
            StoreError::Refused { database, reason }
        }
    }
}

/// The folder that the packaged service may write.
const SERVICE_FOLDER: &str = "/var/lib/fleetbeat";

/// Whether another process has the database at present.
pub(super) fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
    )
}

/// Whether a new host's id belongs to another host already.
pub(super) fn is_taken_server_id(error: &rusqlite::Error) -> bool {
    matches!(error, rusqlite::Error::SqliteFailure(failure, Some(message))
        if failure.code == ErrorCode::ConstraintViolation
            && message.contains("servers.server_id"))
}

/// Why the database `file` cannot be opened.
pub(super) fn explain_open_error(file: &Path, error: rusqlite::Error) -> StoreError {
    let (path, reason) = (file.display().to_string(), error.to_string());
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            Setup::Damaged { path, reason }.into()
        }
        Some(
            ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied,
        ) => {
            let reason = explain_walls(file, reason);
            Setup::Unusable { path, reason }.into()
        }
        _ => error.into(),
    }
}

/// The file or folder `path` cannot be used.
pub(super) fn unusable(path: &Path, error: &io::Error) -> StoreError {
    let mut reason = error.to_string();
    if error.kind() == io::ErrorKind::ReadOnlyFilesystem {
        reason = explain_walls(path, reason);
    }
    let path = path.display().to_string();
    Setup::Unusable { path, reason }.into()
}

/// The reason, and what helps where systemd's walls around the service are it.
fn explain_walls(path: &Path, reason: String) -> String {
    let is_service = std::env::var_os("INVOCATION_ID").is_some();
    if !is_service || path.starts_with(SERVICE_FOLDER) {
        return reason;
    }
    format!(
        "{reason}; the service may write {SERVICE_FOLDER} only, until \
         `systemctl edit fleetbeat-server` has added [Service] and ReadWritePaths= with \
         this folder, which must belong to the user fleetbeat"
    )
}

/// The file `path` is not a backup that could be restored.
pub(super) fn no_backup(path: &Path, reason: impl Into<String>) -> StoreError {
    Setup::NoBackup {
        path: path.display().to_string(),
        reason: reason.into(),
    }
    .into()
}
