//! The collectors: each measures something on the agent's host.
//!
//! One collector, one file, one entry in [`COLLECTORS`]. A collector reads the host
//! through [`Roots`] only, so that the tests can point the collector at a fixture tree.
//! Reading and parsing are separate functions. A failing collector never hides another.
//!
//! # To add a collector
//! "A collector" in ARCHITECTURE.md has the steps. `make check` names a forgotten one:
//! the tests of this crate and of the agent walk [`COLLECTORS`] and look at fixtures,
//! fuzzing, packaged settings, the Ansible role and the README.

mod collector;
mod cpu;
mod disk;
mod error;
mod exec;
mod leftovers;
mod net;
mod prometheus_text;
mod ram;
mod read;
mod services;
mod subprocess;
mod textfile;
mod uptime;

use fleetbeat_settings::Table;

pub use collector::{Collector, Pace, PartError, Roots, Sample};
pub use error::Error;

/// Every collector there is. The order means something:
/// - Where a heartbeat has no place for all metrics (64 of them), each collector has the
///   same share, and what is left of the shares goes to the earlier collectors: put a
///   collector of few, known metrics before a collector of hundreds.
/// - `check-config` and `doctor` list the collectors in this order, and so does the
///   message about an unknown table.
/// - In each window, the earlier collectors are started first.
pub static COLLECTORS: &[Definition] = &[
    Definition {
        name: "cpu",
        measures: "Share of CPU time that is neither idle nor waiting for I/O",
        pace: Pace::EachSample,
        build: cpu::build,
    },
    Definition {
        name: "ram",
        measures: "Share of memory that is not available to new programs",
        pace: Pace::EachSample,
        build: ram::build,
    },
    Definition {
        name: "net",
        measures: "Traffic in both directions as a share of the interface's speed",
        pace: Pace::EachSample,
        build: net::build,
    },
    Definition {
        name: "services",
        measures: "Whether systemd calls each unit active",
        pace: Pace::LastSample,
        build: services::build,
    },
    Definition {
        name: "uptime",
        measures: "Time of the boot, time since then, load averages",
        pace: Pace::LastSample,
        build: uptime::build,
    },
    Definition {
        name: "disk",
        measures: "How full each file system is, by space and by inodes",
        pace: Pace::LastSample,
        build: disk::build,
    },
    Definition {
        name: "exec",
        measures: "Numbers that commands of your own print",
        pace: Pace::LastSample,
        build: exec::build,
    },
    Definition {
        name: "textfile",
        measures: "The metrics in a folder's `*.prom` files",
        pace: Pace::LastSample,
        build: textfile::build,
    },
];

/// An entry of [`COLLECTORS`].
pub struct Definition {
    /// The collector's name in the log, and the name of the collector's table under
    /// `[collectors]`.
    pub name: &'static str,
    /// A line for operators: what is measured. README.md has the same line.
    pub measures: &'static str,
    /// When the collector runs.
    pub pace: Pace,
    /// Makes a collector from the options in the collector's table. `None` if an option
    /// is wrong; the mistake is then among the problems.
    build: fn(&mut Table<'_>, &Roots) -> Option<Box<dyn Collector>>,
}

/// The collectors that have a table in `collectors`, unless the table says
/// `enabled = false`. The options of a disabled collector are checked, too.
pub fn build(
    collectors: &mut Table<'_>,
    roots: &Roots,
) -> Vec<(&'static Definition, Box<dyn Collector>)> {
    let mut built = Vec::new();

    for definition in COLLECTORS {
        let collector = collectors.table(definition.name, |options| {
            let enabled = options.boolean("enabled").unwrap_or(true);
            (definition.build)(options, roots).filter(|_| enabled)
        });
        built.extend(collector.flatten().map(|collector| (definition, collector)));
    }

    built
}
