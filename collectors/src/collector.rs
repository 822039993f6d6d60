//! What a collector is: the trait that each file of this crate implements, what goes into
//! a collector ([`Roots`]) and what comes out ([`Sample`], [`PartError`]).
//!
//! # Four ways to have no value
//! - `Ok(None)` from [`Collector::collect`]: there is nothing to tell *yet*, such as a
//!   rate before the second reading, and nothing is wrong. Nothing is logged.
//! - `Err` from [`Collector::open`] or [`Collector::collect`]: the whole collector fails.
//!   The log says so once, and again when the text changes or the fault is over.
//! - [`Collector::fallback`]: what the heartbeat carries in place of the sample of a
//!   collector that fails. Most have no fallback; the services are all inactive then.
//! - [`Collector::part_errors`]: a part fails (one of several files), the rest has its
//!   values. Each part is logged like a whole collector, by its name.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use fleetbeat_protocol::Service;

use crate::error::Error;

/// Measures one thing, once per sample.
///
/// A sample has a window of about a second: `open` begins the window, `collect` ends it.
/// So a collector can measure a rate within the window (read a counter in `open`, read it
/// again in `collect`: `net` does), or ask in `open` and take the answer in `collect`
/// (`services` and `exec` do). And because a collector is kept from window to window, it
/// can also compare with the sample before (`cpu` does).
///
/// The agent calls both functions in a thread of the collector's own, and waits for that
/// thread no longer than the window and a moment: a collector that hangs costs only its
/// own values.
pub trait Collector: Send {
    /// Called at the beginning of the window, for what `collect` needs then.
    ///
    /// # Errors
    /// What failed; there is no `collect` for this window then.
    fn open(&mut self, _now: Instant) -> Result<(), Error> {
        Ok(())
    }

    /// Called at the end of the window. `None` where there is nothing to compare with
    /// yet, which is not a failure.
    ///
    /// # Errors
    /// What failed. The text stays the same while the cause does, because each new text
    /// is a line in the log: it has no times and no counters in it.
    fn collect(&mut self, now: Instant) -> Result<Option<Sample>, Error>;

    /// What stands in for the sample of a window that failed.
    fn fallback(&self) -> Option<Sample> {
        None
    }

    /// Takes what failed of the window's sample, though there is a sample.
    fn part_errors(&mut self) -> Vec<PartError> {
        Vec::new()
    }
}

/// A part of a collector that fails, such as one of its files, while other parts do not.
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
    /// Finite numbers by their names, which are those of Prometheus:
    /// `disk_used_percent{mount="/"}`. The agent leaves out names of more than
    /// [`MAX_NAME_CHARS`](fleetbeat_protocol::MAX_NAME_CHARS) characters, and what is
    /// over the [`MAX_METRICS`](fleetbeat_protocol::MAX_METRICS) of a heartbeat.
    Metrics(BTreeMap<String, f64>),
}

/// In which windows a collector runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// In each window. For the loads, because a heartbeat carries the mean of their
    /// samples. Metrics and services are *not* averaged, whatever the pace: a heartbeat
    /// carries their last value, so the samples before would be for nothing.
    EachSample,
    /// In the last window before a heartbeat, since only the last state is carried. The
    /// usual choice, because starting a program for each sample is most of what the agent
    /// costs.
    LastSample,
}

/// Where a collector looks at the host: no collector names /proc or /sys itself, so that
/// tests can point each of them at a fixture tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roots {
    /// The proc file system.
    pub proc: PathBuf,
    /// The sys file system.
    pub sys: PathBuf,
    /// The program that knows the services' states; a bare name is looked up in `PATH`.
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
