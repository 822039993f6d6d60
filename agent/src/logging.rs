//! The log: standard error, one line each.

use std::io::Write;

use env_logger::fmt::Formatter;
use fleetbeat_protocol::Timestamp;
use log::{Level, LevelFilter, Record};

use crate::host;

/// Starts logging, once per process. Only our own messages pass: those of the HTTP library could show the key.
pub(crate) fn start() {
    let mut builder = env_logger::Builder::new();
    builder.filter_level(LevelFilter::Off).filter_module("fleetbeat", LevelFilter::Info);
    // systemd sets it where standard error is its journal, which has clock and priority of its own.
    if std::env::var_os("JOURNAL_STREAM").is_some() {
        builder.format(|line, record| writeln!(line, "<{}>{}", priority(record.level()), record.args()));
    } else {
        builder.format(write_with_time);
    }
    builder.init();
}

fn write_with_time(line: &mut Formatter, record: &Record<'_>) -> std::io::Result<()> {
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
