//! The log: standard error, one line for each message.
//!
//! Under systemd a line begins with its priority, and the journal adds the time. In a
//! terminal or a file it begins with the time and the level.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::clock;

/// The messages of our own crates are logged from this level on.
const OWN: LevelFilter = LevelFilter::Info;
/// The names of our own crates begin so, and with them the targets of their messages.
const OWN_CRATES: &str = "fleetbeat";

/// Starts logging, once for each process. The messages of the libraries are logged from
/// the level `libraries` on. The agent logs none of them: those of an HTTP library could
/// show the key.
pub fn start(libraries: LevelFilter) {
    let logger = StandardError {
        libraries,
        is_journal: is_journal(),
    };
    if log::set_boxed_logger(Box::new(logger)).is_ok() {
        log::set_max_level(OWN.max(libraries));
    }
}

/// A logger of a few lines, because the size of the agent's binary counts.
struct StandardError {
    libraries: LevelFilter,
    is_journal: bool,
}

impl Log for StandardError {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let is_own = metadata.target().starts_with(OWN_CRATES);
        metadata.level() <= if is_own { OWN } else { self.libraries }
    }

    /// Writes the line in one piece. Where nobody reads standard error there is nobody to
    /// tell that it failed.
    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let (level, message) = (record.level(), record.args());
        let line = if self.is_journal {
            format!("<{}>{message}\n", priority(level))
        } else {
            format!("{:.3} {level:5} {message}\n", clock::now())
        };
        let _ = io::stderr().write_all(line.as_bytes());
    }

    fn flush(&self) {}
}

/// Whether standard error leads to systemd's journal. systemd names the journal's device
/// and inode in `JOURNAL_STREAM`; a program that has inherited the variable may have its
/// standard error elsewhere.
fn is_journal() -> bool {
    let Some(journal) = std::env::var_os("JOURNAL_STREAM") else {
        return false;
    };
    let standard_error = io::stderr().as_fd().try_clone_to_owned().map(File::from);
    standard_error
        .and_then(|file| file.metadata())
        .is_ok_and(|file| *journal == *format!("{}:{}", file.dev(), file.ino()))
}

/// The syslog priority of a level, as sd-daemon(3) has them.
fn priority(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_messages_of_libraries_have_a_level_of_their_own() {
        let is_logged = |libraries, level, target: &str| {
            let logger = StandardError {
                libraries,
                is_journal: false,
            };
            logger.enabled(&Metadata::builder().level(level).target(target).build())
        };
        for libraries in [LevelFilter::Off, LevelFilter::Warn] {
            assert!(is_logged(libraries, Level::Info, "fleetbeat_agent::spool"));
            assert!(!is_logged(
                libraries,
                Level::Debug,
                "fleetbeat_agent::spool"
            ));
            assert!(!is_logged(libraries, Level::Info, "ureq"));
        }
        assert!(is_logged(LevelFilter::Warn, Level::Warn, "tiny_http"));
        assert!(!is_logged(LevelFilter::Off, Level::Error, "ureq"));
    }
}
