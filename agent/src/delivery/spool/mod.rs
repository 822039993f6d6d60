//! The heartbeats waiting for the server: a bounded file that outlives this process.
//!
//! A heartbeat is added before the first try to send it, and removed when the server has
//! accepted it, so no heartbeat is ever in memory only. While all goes well, the disk has
//! next to nothing to do: the file is emptied before the kernel writes the file out, and
//! nothing is synced. Only when a heartbeat's first try fails is the file synced, once.
//!
//! The limit is a number of heartbeats. A limit on the age of heartbeats would depend on
//! the clock: a clock that jumps would empty the spool.

mod file;
mod record;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};

use fleetbeat_daemon::condition::Condition;

use crate::service::exit::AgentError;
pub(crate) use file::{Batch, Unsynced};
use file::{Limits, SpoolFile};

/// The file's name in its folder.
const FILE_NAME: &str = "spool";
/// The file is at most 4 MiB long, and records are moved to get back 64 KiB or more.
const LIMITS: Limits = Limits {
    max_bytes: 4 << 20,
    min_gap_bytes: 64 << 10,
};

/// Where the file of the spool in `folder` is.
pub(crate) fn file_path(folder: &Path) -> PathBuf {
    folder.join(FILE_NAME)
}

/// The spool, working or not: without a usable file, the agent sends as usual and keeps
/// nothing.
pub(crate) struct Spool {
    path: PathBuf,
    file: Option<SpoolFile>,
    /// Why the file cannot be used.
    trouble: Condition,
}

impl Spool {
    /// The spool in `folder`.
    ///
    /// # Errors
    /// Another agent uses the file. Any other trouble is logged, and the spool keeps
    /// nothing until the trouble is over.
    pub(crate) fn open(folder: &Path) -> Result<Spool, AgentError> {
        let mut spool = Spool {
            path: file_path(folder),
            file: None,
            trouble: Condition::default(),
        };
        match spool.try_open() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(AgentError::SpoolInUse(spool.path));
            }
            Err(error) => spool.complain(&error),
            Ok(()) => {}
        }
        Ok(spool)
    }

    /// Moves to `folder`, unless the spool has a file already. `false` if the spool stays
    /// in another folder.
    pub(crate) fn set_folder(&mut self, folder: &Path) -> bool {
        let path = file_path(folder);
        if self.file.is_none() && self.path != path {
            self.path.clone_from(&path);
            self.trouble = Condition::default();
        }
        self.path == path
    }

    /// How many heartbeats wait.
    pub(crate) fn len(&self) -> usize {
        self.file.as_ref().map_or(0, SpoolFile::len)
    }

    /// A handle for another thread to sync the heartbeats so far.
    pub(crate) fn unsynced(&self) -> Option<Unsynced> {
        self.file.as_ref().map(SpoolFile::unsynced)
    }

    /// Keeps a heartbeat and gives its number in the spool. The oldest heartbeats go when
    /// more than `max_count` would wait.
    pub(crate) fn append(&mut self, body: &[u8], max_count: usize) -> Option<u64> {
        match self.try_append(body, max_count) {
            Ok(number) => {
                if self.trouble.ends() {
                    log::info!("the spool works again");
                }
                Some(number)
            }
            Err(error) => {
                self.complain(&error);
                None
            }
        }
    }

    fn try_append(&mut self, body: &[u8], max_count: usize) -> io::Result<u64> {
        let removed = self.file.take_if(|file| file.is_removed());
        if removed.is_some() {
            let path = self.path.display();
            log::warn!("{path} was removed while the agent uses it, and is made anew");
        }
        // Somebody may have made the folder since the last heartbeat.
        if self.file.is_none() {
            self.try_open()?;
        }
        if let (Some(file), Some(removed)) = (&mut self.file, removed) {
            file.follow(&removed);
        }
        let file = self.file.as_mut().ok_or(io::ErrorKind::NotFound)?;
        let dropped_before = file.dropped();
        let number = file.append(body, max_count);
        report_dropped(dropped_before, file.dropped());
        number
    }

    /// Removes a heartbeat, because the server has accepted or refused it.
    pub(crate) fn remove(&mut self, number: u64) {
        self.with_file(|file| file.remove(number));
    }

    /// As [`Spool::remove`], for all heartbeats up to `number`.
    pub(crate) fn remove_through(&mut self, number: u64) {
        self.with_file(|file| file.remove_through(number));
    }

    /// The oldest heartbeats: at most `max_count`, and at most `max_bytes` unless the
    /// first heartbeat alone is longer.
    pub(crate) fn batch(&mut self, max_count: usize, max_bytes: usize) -> Option<Batch> {
        if self.len() == 0 {
            return None;
        }
        self.with_file(|file| file.batch(max_count, max_bytes))
            .flatten()
    }

    fn with_file<T>(
        &mut self,
        work: impl FnOnce(&mut SpoolFile) -> io::Result<T>,
    ) -> Option<T> {
        let result = work(self.file.as_mut()?);
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
        match file.len() {
            0 => {}
            1 => log::info!("1 heartbeat waits in the spool"),
            count => log::info!("{count} heartbeats wait in the spool"),
        }
        self.file = Some(file);
        Ok(())
    }

    fn complain(&mut self, error: &io::Error) {
        let cause = error.to_string();
        let path = self.path.display();
        if self.trouble.begins(cause) {
            log::warn!(
                "{path}: {error}: heartbeats that the server does not take at once are \
                 lost"
            );
        }
    }
}

/// Logs the first drop, the second, the fourth and so on: an outage of days must not fill
/// the log.
fn report_dropped(before: u64, now: u64) {
    if before.checked_ilog2() != now.checked_ilog2() {
        log::warn!(
            "the spool is full: {now} of its oldest heartbeats dropped since the start"
        );
    }
}
