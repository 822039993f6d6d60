//! What is kept of heartbeats until the server has them: a bounded file that outlives
//! this process.
//!
//! A heartbeat is added before it is sent for the first time and removed when it is
//! accepted, so one that was made is never only in memory. While all goes well that costs
//! the disk next to nothing: the file is emptied before the kernel writes it out, and
//! nothing is synced. Only a heartbeat whose first try failed is synced, once.
//!
//! The limit is a number of heartbeats, not their age: no clock that jumps can make them
//! too old.

mod file;
mod record;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::service::exit::AgentError;
pub(crate) use file::Batch;
use file::{Limits, SpoolFile};

/// The file's name in its folder.
const FILE_NAME: &str = "spool";
/// A longest file of 4 MiB; records are moved to get back 64 KiB or more.
const LIMITS: Limits = Limits {
    max_bytes: 4 << 20,
    min_gap: 64 << 10,
};

/// Where the file of the spool in `folder` is.
pub(crate) fn file_path(folder: &Path) -> PathBuf {
    folder.join(FILE_NAME)
}

/// The spool, or the lack of one: where there is none, the agent sends as usual and keeps
/// nothing.
pub(crate) struct Spool {
    path: PathBuf,
    file: Option<SpoolFile>,
    /// What the log said last about its failing.
    complaint: Option<String>,
}

impl Spool {
    /// The spool in `folder`.
    ///
    /// # Errors
    /// Another agent has it. Whatever else is wrong is logged.
    pub(crate) fn open(folder: &Path) -> Result<Spool, AgentError> {
        let mut spool = Spool {
            path: file_path(folder),
            file: None,
            complaint: None,
        };
        match spool.try_open() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Err(AgentError::SpoolInUse(spool.path))
            }
            Err(error) => {
                spool.complain(&error);
                Ok(spool)
            }
            Ok(()) => Ok(spool),
        }
    }

    /// Takes the one in `folder` instead, unless it has one: `false` if it goes on with
    /// another.
    pub(crate) fn set_folder(&mut self, folder: &Path) -> bool {
        let path = file_path(folder);
        if self.file.is_none() && self.path != path {
            (self.path, self.complaint) = (path.clone(), None);
        }
        self.path == path
    }

    /// How many heartbeats wait.
    pub(crate) fn len(&self) -> usize {
        self.file.as_ref().map_or(0, SpoolFile::len)
    }

    /// The open file, for syncing it.
    pub(crate) fn file(&self) -> Option<Arc<File>> {
        self.file.as_ref().map(SpoolFile::file)
    }

    /// Keeps a heartbeat and gives the number that it has here; of those that wait, at
    /// most `most` are kept.
    pub(crate) fn append(&mut self, body: &[u8], most: usize) -> Option<u64> {
        // A folder may have come to be there meanwhile.
        let opened = if self.file.is_none() {
            self.try_open()
        } else {
            Ok(())
        };
        let appended = opened.and_then(|()| match &mut self.file {
            Some(file) => {
                let before = file.dropped();
                let number = file.append(body, most);
                report_dropped(before, file.dropped());
                number
            }
            None => Err(io::ErrorKind::NotFound.into()),
        });
        match &appended {
            Err(error) => self.complain(error),
            Ok(_) if self.complaint.take().is_some() => {
                log::info!("the spool works again")
            }
            Ok(_) => {}
        }
        appended.ok()
    }

    /// The server has the heartbeat with that number, or never will.
    pub(crate) fn remove(&mut self, number: u64) {
        self.change(|file| file.remove(number));
    }

    /// As [`Spool::remove`], for all up to that number.
    pub(crate) fn remove_through(&mut self, number: u64) {
        self.change(|file| file.remove_through(number));
    }

    /// The oldest heartbeats: at most `most`, and at most `max_bytes` unless the first
    /// one alone is longer.
    pub(crate) fn batch(&mut self, most: usize, max_bytes: usize) -> Option<Batch> {
        if self.len() == 0 {
            return None;
        }
        self.change(|file| file.batch(most, max_bytes)).flatten()
    }

    fn change<T>(
        &mut self,
        change: impl FnOnce(&mut SpoolFile) -> io::Result<T>,
    ) -> Option<T> {
        let result = change(self.file.as_mut()?);
        result.inspect_err(|error| self.complain(error)).ok()
    }

    fn try_open(&mut self) -> io::Result<()> {
        let file = SpoolFile::open(&self.path, LIMITS)?;
        if file.skipped_bytes() > 0 {
            let path = self.path.display();
            log::warn!(
                "{path}: {} bytes were no whole heartbeat and are left out",
                file.skipped_bytes()
            );
        }
        if file.len() > 0 {
            log::info!("{} heartbeats wait in the spool", file.len());
        }
        self.file = Some(file);
        Ok(())
    }

    /// Once for each reason.
    fn complain(&mut self, error: &io::Error) {
        let complaint = error.to_string();
        if self.complaint.as_ref() != Some(&complaint) {
            let path = self.path.display();
            log::warn!(
                "{path}: {complaint}: heartbeats that the server does not take at once are lost"
            );
            self.complaint = Some(complaint);
        }
    }
}

/// At the first one, the second, the fourth and so on: an outage of days shall not fill
/// the log.
fn report_dropped(before: u64, now: u64) {
    if before.checked_ilog2() != now.checked_ilog2() {
        log::warn!(
            "the spool is full: {now} of its oldest heartbeats dropped since the start"
        );
    }
}

#[cfg(test)]
mod tests;
