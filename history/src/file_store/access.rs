//! The file as it is used: opened when it is needed, given up when another one has its
//! name, moved aside when it is damaged.

use std::path::PathBuf;
use std::sync::Mutex;

use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::file_store::connection::{open_reader, open_writer};
use crate::file_store::error::FileError;
use crate::file_store::files::{self, FileId};
use crate::file_store::troubles::{Troubles, lock};
use crate::store::{HistoryError, Trouble};

/// The connections to the file.
#[derive(Debug)]
pub(crate) struct Access {
    pub(crate) path: PathBuf,
    max_bytes: u64,
    /// Idle reading connections. There are never more than there were readers at once.
    /// They are closed before the writer, because SQLite clears the log away when the
    /// last connection is closed, if that one may write.
    readers: Mutex<Vec<(Connection, FileId)>>,
    writer: Mutex<Option<Writer>>,
    /// The file that the writer has open, for those who do not wait for it.
    open: Mutex<Option<FileId>>,
    pub(crate) troubles: Troubles,
}

/// What a query has found.
#[derive(Debug)]
pub(crate) enum Found<T> {
    /// An answer.
    Value(T),
    /// There is no file.
    NoFile,
    /// The file is damaged, and was moved aside.
    SetAside,
}

impl<T> Found<T> {
    /// The answer, if there is one.
    pub(crate) fn value(self) -> Option<T> {
        match self {
            Found::Value(value) => Some(value),
            Found::NoFile | Found::SetAside => None,
        }
    }
}

/// The connection that writes, and the files that it has open.
#[derive(Debug)]
struct Writer {
    connection: Connection,
    file: FileId,
    log: Option<FileId>,
}

impl Access {
    /// Access to the file `path`, which is opened when it is needed first.
    pub(crate) fn new(path: PathBuf, max_bytes: u64) -> Access {
        Access {
            path,
            max_bytes,
            readers: Mutex::default(),
            writer: Mutex::default(),
            open: Mutex::default(),
            troubles: Troubles::default(),
        }
    }

    /// Runs `change` in a transaction. A damaged file is moved aside first, and `change`
    /// runs once more on an empty one.
    pub(crate) fn write<T>(
        &self,
        change: impl Fn(&Transaction<'_>) -> Result<T, FileError>,
    ) -> Result<T, HistoryError> {
        let mut slot = lock(&self.writer);
        let file = files::identify(&self.path).unwrap_or(None);
        let first = self.try_to_write(&mut slot, &change);
        let reason = match first {
            Err(FileError::Damaged(reason)) => reason,
            other => return told(other),
        };
        self.set_aside(&mut slot, file, reason)?;
        told(self.try_to_write(&mut slot, &change))
    }

    fn try_to_write<T>(
        &self,
        slot: &mut Option<Writer>,
        change: impl Fn(&Transaction<'_>) -> Result<T, FileError>,
    ) -> Result<T, FileError> {
        let now = files::identify(&self.path)?;
        if slot.as_ref().map(|writer| writer.file) != now || now.is_none() {
            // The file is gone or another one. What was open goes first, with its log:
            // the log of one file is not that of another one.
            let log = slot.as_ref().and_then(|writer| writer.log);
            self.close(slot);
            files::remove_log(&self.path, log)?;
            *slot = Some(self.open()?);
        }
        let Some(writer) = slot else {
            return Err(vanished());
        };

        let written = write_with(&mut writer.connection, change);
        if written.is_err() {
            self.close(slot);
        }
        written
    }

    fn open(&self) -> Result<Writer, FileError> {
        let connection = open_writer(&self.path, self.max_bytes)?;
        let file = files::identify(&self.path)?.ok_or_else(vanished)?;
        *lock(&self.open) = Some(file);
        Ok(Writer {
            connection,
            file,
            log: files::identify_log(&self.path)?,
        })
    }

    /// Closes all connections but those that are reading.
    fn close(&self, slot: &mut Option<Writer>) {
        *lock(&self.open) = None;
        lock(&self.readers).clear();
        *slot = None;
    }

    /// Runs `query` on a reading connection. A damaged file is moved aside.
    pub(crate) fn query<T>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, FileError>,
    ) -> Result<Found<T>, HistoryError> {
        let file = files::identify(&self.path).unwrap_or(None);
        match self.try_to_query(query) {
            Err(FileError::Damaged(reason)) => {
                self.set_aside(&mut lock(&self.writer), file, reason)?;
                Ok(Found::SetAside)
            }
            other => told(other),
        }
    }

    fn try_to_query<T>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, FileError>,
    ) -> Result<Found<T>, FileError> {
        let Some(id) = files::identify(&self.path)? else {
            return Ok(Found::NoFile);
        };
        let idle = lock(&self.readers).pop().filter(|(_, of)| *of == id);
        let (reader, id) = match idle {
            Some(idle) => idle,
            None => (self.new_reader(id)?, id),
        };
        let value = query(&reader)?;
        lock(&self.readers).push((reader, id));
        Ok(Found::Value(value))
    }

    /// A new reading connection. The writing one opens the file first, if it has not yet:
    /// it makes the tables, reads the log of a process that was killed, and gives up a
    /// file of which only the log is left here.
    fn new_reader(&self, id: FileId) -> Result<Connection, FileError> {
        if *lock(&self.open) != Some(id) {
            let opened = self.try_to_write(&mut lock(&self.writer), |_| Ok(()));
            // A file that cannot be written may be read all the same.
            if let Err(FileError::Damaged(reason)) = opened {
                return Err(FileError::Damaged(reason));
            }
        }
        open_reader(&self.path)
    }

    /// Moves the damaged file aside, unless another thread has done so already.
    fn set_aside(
        &self,
        slot: &mut Option<Writer>,
        damaged: Option<FileId>,
        reason: String,
    ) -> Result<(), HistoryError> {
        if files::identify(&self.path).unwrap_or(None) != damaged {
            return Ok(());
        }
        self.close(slot);
        let moved = files::set_aside(&self.path);
        let to = moved.map_err(|error| {
            let path = self.path.display();
            let reason = format!("{path} is damaged ({reason}) and stays there: {error}");
            HistoryError::Unavailable(reason)
        })?;
        let to = to.display().to_string();
        self.troubles.add(Trouble::SetAside { to, reason });
        Ok(())
    }
}

fn write_with<T>(
    writer: &mut Connection,
    change: impl Fn(&Transaction<'_>) -> Result<T, FileError>,
) -> Result<T, FileError> {
    let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let value = change(&transaction)?;
    transaction.commit()?;
    Ok(value)
}

fn vanished() -> FileError {
    let reason = "the file has vanished".to_owned();
    HistoryError::Unavailable(reason).into()
}

fn told<T>(result: Result<T, FileError>) -> Result<T, HistoryError> {
    result.map_err(FileError::into_told)
}
