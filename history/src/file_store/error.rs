//! SQLite's errors in history's words.

use rusqlite::ErrorCode;

use crate::store::HistoryError;

/// Why a statement or the file failed.
#[derive(Debug)]
pub(crate) enum FileError {
    /// The file is not a database, or a page of it is not what was written.
    Damaged(String),
    /// What the caller is told.
    Told(HistoryError),
}

impl FileError {
    /// What a caller is told who does not move damaged files aside.
    pub(crate) fn into_told(self) -> HistoryError {
        match self {
            FileError::Damaged(reason) => HistoryError::Unavailable(reason),
            FileError::Told(error) => error,
        }
    }
}

impl From<rusqlite::Error> for FileError {
    fn from(error: rusqlite::Error) -> FileError {
        let reason = error.to_string();
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                FileError::Damaged(reason)
            }
            Some(ErrorCode::DiskFull) => FileError::Told(HistoryError::Full(reason)),
            _ => FileError::Told(HistoryError::Unavailable(reason)),
        }
    }
}

impl From<HistoryError> for FileError {
    fn from(error: HistoryError) -> FileError {
        FileError::Told(error)
    }
}

impl From<std::io::Error> for FileError {
    fn from(error: std::io::Error) -> FileError {
        let reason = error.to_string();
        FileError::Told(if error.kind() == std::io::ErrorKind::StorageFull {
            HistoryError::Full(reason)
        } else {
            HistoryError::Unavailable(reason)
        })
    }
}
