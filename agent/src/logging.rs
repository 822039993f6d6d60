//! The log: standard error, one line each.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use fleetbeat_protocol::Timestamp;
use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::host;

/// Starts logging, once per process. Only our own messages pass: those of the HTTP
/// library could show the key.
pub(crate) fn start() {
    let logger = StandardError {
        is_journal: is_journal(),
    };
    if log::set_boxed_logger(Box::new(logger)).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
}

/// A logger of a few lines, because the binary's size counts.
struct StandardError {
    is_journal: bool,
}

impl Log for StandardError {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= Level::Info && metadata.target().starts_with("fleetbeat")
    }

    /// Written in one piece; where nobody takes it there is nobody to tell.
    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let (level, message) = (record.level(), record.args());
        let line = if self.is_journal {
            format!("<{}>{message}\n", priority(level))
        } else {
            let now = host::now();
            let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
            format!("{now} {level:5} {message}\n")
        };
        let _ = io::stderr().write_all(line.as_bytes());
    }

    fn flush(&self) {}
}

/// Whether standard error is systemd's journal, which has clock and priority of its own.
/// systemd says what the journal is by device and inode; who inherited that may write
/// elsewhere.
fn is_journal() -> bool {
    let Some(journal) = std::env::var_os("JOURNAL_STREAM") else {
        return false;
    };
    let standard_error = io::stderr().as_fd().try_clone_to_owned().map(File::from);
    standard_error
        .and_then(|file| file.metadata())
        .is_ok_and(|file| *journal == *format!("{}:{}", file.dev(), file.ino()))
}

/// syslog's priority of a level.
fn priority(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}
