//! What an agent measures on its host.
//!
//! One collector, one file, one line in [`COLLECTORS`]. A collector reads the host through [`Roots`] only, so
//! that the tests can point it at a fixture tree; reading and parsing are separate functions. One that fails
//! says so in its result and never hides another.

mod cpu;
mod net;
mod ram;
mod read;
mod services;

use std::path::PathBuf;
use std::time::Instant;

use fleetbeat_protocol::Service;
use fleetbeat_settings::Table;

pub use read::Error;

/// Every collector there is, in the order in which they run.
pub const COLLECTORS: [Definition; 4] = [
    Definition { name: "cpu", build: cpu::build },
    Definition { name: "ram", build: ram::build },
    Definition { name: "net", build: net::build },
    Definition { name: "services", build: services::build },
];

/// A collector's name and how to make one.
pub struct Definition {
    /// Its name in the log, and its table's under `[collectors]`.
    pub name: &'static str,
    /// Makes one from the options in its table; `None` if they are wrong, which is then among the problems.
    build: fn(&mut Table<'_>, &Roots) -> Option<Box<dyn Collector>>,
}

/// Measures one thing, once per sample.
///
/// A sample has a short window: `open` begins it, `collect` ends it. That is where rates over a second and
/// answers that take a moment come from, with one loop and no thread per collector.
pub trait Collector: Send {
    /// Called at the beginning of the window, for what `collect` needs then.
    ///
    /// # Errors
    /// What failed; there is no `collect` for this window then.
    fn open(&mut self, _now: Instant) -> Result<(), Error> {
        Ok(())
    }

    /// Called at the end of the window. `None` where there is nothing to compare with yet, which is no failure.
    ///
    /// # Errors
    /// What failed. The text stays the same while the cause does: a change is worth a line in the log.
    fn collect(&mut self, now: Instant) -> Result<Option<Sample>, Error>;

    /// What stands in for the sample of a window that failed.
    fn fallback(&self) -> Option<Sample> {
        None
    }
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
        Roots { proc: "/proc".into(), sys: "/sys".into(), systemctl: "systemctl".into() }
    }
}

/// The collectors that have a table in `collectors`, unless it says `enabled = false`, each with its name.
pub fn build(collectors: &mut Table<'_>, roots: &Roots) -> Vec<(&'static str, Box<dyn Collector>)> {
    let mut built = Vec::new();
    for Definition { name, build } in COLLECTORS {
        let collector = collectors.table(name, |options| {
            let enabled = options.boolean("enabled").unwrap_or(true);
            build(options, roots).filter(|_| enabled)
        });
        built.extend(collector.flatten().map(|collector| (name, collector)));
    }
    built
}
