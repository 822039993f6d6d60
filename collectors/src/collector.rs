//! The trait of all collectors, with the input of a collector ([`Roots`]) and the output
//! ([`Sample`], [`PartError`]).
//!
//! # Four ways to have no value
//! - `Ok(None)` from [`Collector::collect`]: there is nothing to tell *yet*, such as a
//!   rate before the second reading, and nothing is wrong. Nothing is logged.
//! - `Err` from [`Collector::open`] or [`Collector::collect`]: the whole collector fails.
//!   The log says so once, and again when the text changes or the fault is over.
//! - [`Collector::fallback`]: what the heartbeat carries in place of the sample of a
//!   failing collector. Most have no fallback; the services are all inactive then.
//! - [`Collector::part_errors`]: a part fails (one of several files), the rest has its
//!   values. Each part is logged by name, like a whole collector.

use std::path::PathBuf;
use std::time::Instant;

use fleetbeat_protocol::Service;

use crate::error::Error;

/// Measures one thing, once per sample.
///
/// A sample has a window of about a second, between `open` and `collect`.
/// So a collector can measure a rate within the window (read a counter in `open` and
/// again in `collect`: `net` does), or ask in `open` and take the answer in `collect`
/// (`services` and `exec` do). And because a collector is kept from window to window, it
/// can also compare with the sample before (`cpu` does).
///
/// The agent calls both functions in a thread of the collector's own, and waits no longer
/// than the window and a moment: a hanging collector costs only the collector's values.
pub trait Collector: Send {
    /// Called at the beginning of the window, to prepare for `collect`.
    ///
    /// # Errors
    /// The collector fails; there is no `collect` for the window then.
    fn open(&mut self, _now: Instant) -> Result<(), Error> {
        Ok(())
    }

    /// Called at the end of the window. `None` where there is nothing to compare with
    /// yet, as before the second reading of a counter.
    ///
    /// # Errors
    /// The collector fails. The text stays the same while the cause does, without times
    /// and counters, because each new text is a line in the log.
    fn collect(&mut self, now: Instant) -> Result<Option<Sample>, Error>;

    /// Stands in for the sample of a window that failed.
    fn fallback(&self) -> Option<Sample> {
        None
    }

    /// Takes the parts of the window's sample that failed, though there is a sample.
    fn part_errors(&mut self) -> Vec<PartError> {
        Vec::new()
    }
}

/// A failing part of a collector, such as a file, while other parts do not fail.
#[derive(Debug)]
pub struct PartError {
    /// The part's name in the log: the name of the file, the command or the mount.
    pub part: String,
    /// Why the part has no result.
    pub error: Error,
}

/// One collector's result. The loads are averaged over the samples of a heartbeat. Of
/// anything else, a heartbeat carries the result of the last sample.
#[derive(Debug, Clone, PartialEq)]
pub enum Sample {
    /// `load.cpu`, in percent.
    Cpu(f64),
    /// `load.ram`, in percent.
    Ram(f64),
    /// `load.net`, in percent.
    Net(f64),
    /// The services, in the order of the configuration.
    Services(Vec<Service>),
    /// Finite numbers by name, in Prometheus's form:
    /// `disk_used_percent{mount="/"}`, each name once, and the most important number
    /// first. The agent leaves out names of more than
    /// [`MAX_NAME_CHARS`](fleetbeat_protocol::MAX_NAME_CHARS) characters, and the last
    /// numbers where a heartbeat has no place for all.
    Metrics(Vec<(String, f64)>),
}

/// In which windows a collector runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// In each window. For the loads, because a heartbeat carries the mean of the loads
    /// of all samples. Metrics and services are *not* averaged at either pace: a
    /// heartbeat carries the last value, and the samples before are for nothing.
    EachSample,
    /// In the last window before a heartbeat, since only the last state is carried. The
    /// usual choice, because starting a program for each sample is most of what the agent
    /// costs.
    LastSample,
}

/// Where a collector looks at the host. No collector spells /proc or /sys, so that tests
/// can point each collector at a fixture tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roots {
    /// The proc file system.
    pub proc: PathBuf,
    /// The sys file system.
    pub sys: PathBuf,
    /// The program systemctl; a bare name is looked up in `PATH`.
    pub systemctl: PathBuf,
}

impl Default for Roots {
    fn default() -> Self {
        Roots {
            proc: "/proc".into(),
            sys: "/sys".into(),
            systemctl: "systemctl".into(),
        }
    }
}
