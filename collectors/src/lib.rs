//! What an agent measures on its host.
//!
//! One collector, one file, one line in [`COLLECTORS`]. A collector reads the host
//! through [`Roots`] only, so that the tests can point it at a fixture tree; reading and
//! parsing are separate functions. One that fails says so in its result and never hides
//! another.

mod cpu;
mod disk;
mod exec;
mod net;
mod prometheus_text;
mod ram;
mod read;
mod services;
mod subprocess;
mod textfile;
mod uptime;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use fleetbeat_protocol::Service;
use fleetbeat_settings::Table;

pub use read::Error;

/// Every collector there is, in the order in which they run.
pub static COLLECTORS: [Definition; 8] = [
    Definition {
        name: "cpu",
        pace: Pace::EachSample,
        build: cpu::build,
    },
    Definition {
        name: "ram",
        pace: Pace::EachSample,
        build: ram::build,
    },
    Definition {
        name: "net",
        pace: Pace::EachSample,
        build: net::build,
    },
    Definition {
        name: "services",
        pace: Pace::LastSample,
        build: services::build,
    },
    Definition {
        name: "uptime",
        pace: Pace::LastSample,
        build: uptime::build,
    },
    Definition {
        name: "disk",
        pace: Pace::LastSample,
        build: disk::build,
    },
    Definition {
        name: "textfile",
        pace: Pace::LastSample,
        build: textfile::build,
    },
    Definition {
        name: "exec",
        pace: Pace::LastSample,
        build: exec::build,
    },
];

/// A collector's name, when it runs, and how to make one.
pub struct Definition {
    /// Its name in the log, and its table's under `[collectors]`.
    pub name: &'static str,
    /// In which of a heartbeat's windows it runs.
    pub pace: Pace,
    /// Makes one from the options in its table; `None` if they are wrong, which is then
    /// among the problems.
    build: fn(&mut Table<'_>, &Roots) -> Option<Box<dyn Collector>>,
}

/// In which windows a collector runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// In each: the heartbeat carries the mean.
    EachSample,
    /// In the last before a heartbeat, which carries no more than the last state.
    LastSample,
}

/// Measures one thing, once per sample.
///
/// A sample has a short window: `open` begins it, `collect` ends it. That is where rates
/// over a second and answers that take a moment come from. The agent calls both in a
/// thread of its own, which it does not wait for longer than the window and a moment: a
/// collector may hang, but only itself.
pub trait Collector: Send {
    /// Called at the beginning of the window, for what `collect` needs then.
    ///
    /// # Errors
    /// What failed; there is no `collect` for this window then.
    fn open(&mut self, _now: Instant) -> Result<(), Error> {
        Ok(())
    }

    /// Called at the end of the window. `None` where there is nothing to compare with
    /// yet, which is no failure.
    ///
    /// # Errors
    /// What failed. The text stays the same while the cause does: a change is worth a
    /// line in the log.
    fn collect(&mut self, now: Instant) -> Result<Option<Sample>, Error>;

    /// What stands in for the sample of a window that failed.
    fn fallback(&self) -> Option<Sample> {
        None
    }

    /// What failed of the window's sample though there is one.
    fn failures(&mut self) -> Vec<Failure> {
        Vec::new()
    }
}

/// A part of a collector that fails, such as one of its files, while others do not.
#[derive(Debug)]
pub struct Failure {
    /// Its name in the log.
    pub part: String,
    /// Why.
    pub error: Error,
}

/// One collector's result.
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
    /// `disk_used_percent{mount="/"}`.
    Metrics(BTreeMap<String, f64>),
}

/// Where a collector looks at the host.
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

/// The collectors that have a table in `collectors`, unless it says `enabled = false`.
pub fn build(
    collectors: &mut Table<'_>,
    roots: &Roots,
) -> Vec<(&'static Definition, Box<dyn Collector>)> {
    let mut built = Vec::new();
    for definition in &COLLECTORS {
        let collector = collectors.table(definition.name, |options| {
            let enabled = options.boolean("enabled").unwrap_or(true);
            (definition.build)(options, roots).filter(|_| enabled)
        });
        built.extend(collector.flatten().map(|collector| (definition, collector)));
    }
    built
}
