//! The log: standard error, one line each.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use env_logger::fmt::Formatter;
use fleetbeat_protocol::Timestamp;
use log::{Level, LevelFilter, Record};

use crate::host;

/// Starts logging, once per process. Only our own messages pass: those of the HTTP library could show the key.
pub(crate) fn start() {
    let mut builder = env_logger::Builder::new();
    builder.filter_level(LevelFilter::Off).filter_module("fleetbeat", LevelFilter::Info);
    if is_journal() {
        builder.format(|line, record| writeln!(line, "<{}>{}", priority(record.level()), record.args()));
    } else {
        builder.format(write_with_time);
    }
    builder.init();
}

/// Whether standard error is systemd's journal, which has clock and priority of its own. systemd says what the
/// journal is by device and inode; who inherited that may write elsewhere.
fn is_journal() -> bool {
    let Some(journal) = std::env::var_os("JOURNAL_STREAM") else { return false };
    let standard_error = io::stderr().as_fd().try_clone_to_owned().map(File::from);
    standard_error
        .and_then(|file| file.metadata())
        .is_ok_and(|file| *journal == *format!("{}:{}", file.dev(), file.ino()))
}

fn write_with_time(line: &mut Formatter, record: &Record<'_>) -> io::Result<()> {
    let now = host::now();
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
    writeln!(line, "{now} {:5} {}", record.level(), record.args())
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
